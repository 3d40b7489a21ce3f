//! What a host knows of the changes that other hosts make in L3: who listens for it, what it was
//! told, and which changes are its own.
//!
//! The words lie in the store, where all processes of the host see them, or without a store in
//! this process, which then is a host of its own.
//!
//! ```text
//!   term       counts the subscribers: who raised it last is the one
//!   alive at   when that one last showed a sign of life, boot-time milliseconds; 0: it left
//!   live term  the term in which L3 tells us of all changes; not the term: nobody is told
//!   told until all changes made before were told, boot-time milliseconds
//!   tag era, tag number   up to which change of tags in L3 all are known here, and dealt with
//!   tag seen   the highest number of which the host heard
//!   bounded    1 while clients that are no tierce are not told of: copies live for the bound
//!   known      of each group of keys: the stamp in L3 up to which changes are known here
//!   own        a table of the latest changes that this host made, by hash of the key
//!   offsets    of each group of keys: how far L3's master had come by then, for who asks a replica
//!   heard      a table, by hash of the key, of when changes were heard of, boot-time milliseconds
//!   groups     of each group of keys: an epoch, and whether its copies are suspended
//! ```
//!
//! **Terms.** A subscriber that shows no sign of life for the patience of the others is replaced,
//! whether it died or was stopped. One that wakes up later finds another term and stands down.
//!
//! **Groups.** A copy above L3 bears the word of its group, as it was when the copy was looked for,
//! and is current while the word is the same. So all copies of a group are voided by raising its
//! epoch, and suspended and brought back by a bit.
//!
//! **What is known.** L3 raises the stamp of a group with every change of one of its keys. A change
//! that this host made, and one that it was told of, is dealt with in the copies; the stamps that
//! are known say up to which change all are. Who begins to listen compares them with those of now:
//! where they are equal nothing was missed, whoever listened before and however long nobody did,
//! and the copies stay. The other groups are voided. Stamps that L3 lost begin anew at random.
//! Nothing is known where nobody ever listened. All is voided then, unless all copies are known to
//! live for the staleness bound at most.
//!
//! **Tags.** The number up to which changes of tags are known is of one writer, the subscriber, but for
//! who changes a tag here: where that raised the number from the one that is known, it is known. The
//! word of the number has some bits of the era, so the two are told to belong together.
//!
//! **A lost stream.** Copies are served until the staleness bound has passed since all changes were
//! known to be told, then suspended. What is filed meanwhile bears the suspended word, so it is void
//! when the others are brought back: by the next subscription, or by the same one where it was only late.
//!
//! **Own changes** are in `own_changes.rs`.
//!
//! **Replicas.** What a replica of L3 says may be older than what this host knows. It counts as long as
//! the host is told of changes, for keys of which nothing was heard since the last look at L3's master
//! (*until* is the time before that look), from a replica that has come as far as the master had then:
//!
//! ```text
//!   heard of the key < until      every change of the key that is known here is from before the look
//!   offset of the replica >= that of the master      so the replica has it, and all fills of before
//!   stamp at the replica >= the known one      and it is a replica of that master, and its reign
//! ```
//!
//! A change that the host makes is heard after L3 took it and before the stamps above are raised: who
//! finds the stamp raised finds it heard. News of others is heard before copies go. So what is fetched
//! from a replica is filed as anything is: a change that it lacks is heard of later, and ends the copy.
//! Two keys that share a slot of the table can cost each other a question to the master.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use super::own_changes::SLOTS;
use crate::{
    clock::Millis,
    group_word::GroupWord,
    key::{self, GROUPS},
    simulated::{self, Fault},
    tag_cells::KnownBelow,
    tier::Reached,
};

const TERM: usize = 0;
const ALIVE_AT: usize = 1;
const LIVE_TERM: usize = 2;
const TOLD_UNTIL: usize = 3;
const TAG_ERA: usize = 4;
const TAG_NUMBER: usize = 5;
const TAG_SEEN: usize = 6;
const BOUNDED: usize = 7;
/// Words before the known stamps: a line.
const HEAD: usize = 8;
/// All of them.
const WORDS: usize = HEAD + GROUPS + SLOTS + GROUPS + HEARD;

/// Bits of a tag number; above them are bits of the era.
const TAG_NUMBER_BITS: u32 = 44;

/// Slots of the table of what was heard: with a thousand changes a second and some looks at the master in
/// that time, few slots wait for the next one.
const HEARD: usize = 4096;

/// Stamps that this host may have raised since L3 was asked for them.
const AHEAD: u64 = 1 << 32;

/// Bits of how far a master had come; above them are bits of the term, so that what a subscriber says
/// that was stopped and replaced counts no more.
const OFFSET_BITS: u32 = Reached::OFFSET_BITS;

/// The words of a host, or of a process that has no store.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a> {
    head: &'a [AtomicU64],
    known: &'a [AtomicU64],
    /// The latest changes that the host made (`own_changes.rs`).
    pub(super) own: &'a [AtomicU64],
    offsets: &'a [AtomicU64],
    heard: &'a [AtomicU64],
    groups: &'a [AtomicU32],
}

/// The words of a process that has no store.
pub(crate) struct OwnStream {
    words: Box<[AtomicU64]>,
    groups: Box<[AtomicU32]>,
}

impl OwnStream {
    pub(crate) fn new() -> Self {
        Self {
            words: (0..WORDS).map(|_| AtomicU64::new(0)).collect(),
            groups: (0..GROUPS).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    pub(crate) fn stream(&self) -> Stream<'_> {
        Stream::new(&self.words, &self.groups)
    }

    /// True while copies that bear this word are current.
    #[inline]
    pub(crate) fn is_current(&self, word: GroupWord) -> bool {
        word == GroupWord::NONE || self.stream_word(word.group()) == word
    }

    #[inline]
    fn stream_word(&self, group: usize) -> GroupWord {
        GroupWord::of(self.groups[group].load(Ordering::Acquire), group)
    }
}

impl<'a> Stream<'a> {
    /// The stream of these words.
    pub(crate) fn new(words: &'a [AtomicU64], groups: &'a [AtomicU32]) -> Self {
        assert_eq!(words.len(), WORDS, "words of a stream");
        assert_eq!(groups.len(), GROUPS, "words of groups");
        let (head, rest) = words.split_at(HEAD);
        let (known, rest) = rest.split_at(GROUPS);
        let (own, rest) = rest.split_at(SLOTS);
        let (offsets, heard) = rest.split_at(GROUPS);
        Self { head, known, own, offsets, heard, groups }
    }

    /// Shows a sign of life of the subscriber whose term is `mine`, or replaces one that has shown
    /// none for `patience`. The term of the caller, or `None` where another one is the subscriber.
    pub(crate) fn subscribe(
        &self,
        mine: Option<u64>,
        now: Millis,
        patience: Duration,
    ) -> Option<u64> {
        let term = self.head[TERM].load(Ordering::Acquire);
        if mine == Some(term) {
            self.head[ALIVE_AT].store(now.0, Ordering::Release);
            return mine;
        }
        if !self.is_silent(now, patience) {
            return None;
        }
        let next = term + 1;
        self.head[TERM]
            .compare_exchange(term, next, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
            .then(|| {
                self.head[ALIVE_AT].store(now.0, Ordering::Release);
                next
            })
    }

    /// A time to come is one of before the host was started anew.
    fn is_silent(&self, now: Millis, patience: Duration) -> bool {
        let alive_at = Millis(self.head[ALIVE_AT].load(Ordering::Acquire));
        alive_at == Millis(0) || alive_at.after(patience) <= now || alive_at > now.after(patience)
    }

    /// The subscriber of this term is told of all changes since `since`, and these are the stamps of
    /// all groups of a moment after that: voids the groups of which changes were missed, and brings
    /// the others back.
    ///
    /// With `keeps` none is voided: for copies of which each lives for the staleness bound at most.
    /// With `bounds` those that are kept from now on live so, as not all changes are told. Where that
    /// changes all are voided: what was kept for longer, and what was looked for before all are told.
    pub(crate) fn begin(
        &self,
        term: u64,
        since: Millis,
        stamps: &[Option<u64>],
        keeps: bool,
        bounds: bool,
    ) {
        let was_bounded = self.head[BOUNDED].swap(u64::from(bounds), Ordering::AcqRel) != 0;
        if bounds != was_bounded && !keeps {
            (0..GROUPS).for_each(|group| self.void(group));
        }
        // Until the master is looked at: what was heard of may have been missed.
        self.offsets.iter().for_each(|offset| offset.store(0, Ordering::Release));
        for (group, stamp) in stamps.iter().enumerate().take(GROUPS) {
            let known = self.known[group].load(Ordering::Acquire);
            match stamp {
                Some(stamp) if known == *stamp || simulated::is_planted(Fault::GapIgnored) => {
                    self.bring_back(group);
                }
                stamp => {
                    if !keeps {
                        self.void(group);
                    }
                    // After that: whoever sees the stamp as known sees the copies voided.
                    self.known[group].store(stamp.unwrap_or(0), Ordering::Release);
                }
            }
        }
        self.head[TOLD_UNTIL].store(since.0, Ordering::Release);
        self.head[LIVE_TERM].store(term, Ordering::Release);
    }

    /// The subscriber of this term was told of all changes up to these stamps, and of all that
    /// were made before `until`, and they were dealt with. `offsets` say of each group how far its
    /// master had come by then, where that was asked.
    pub(crate) fn told_until(
        &self,
        term: u64,
        until: Millis,
        stamps: &[Option<u64>],
        offsets: &[Option<u64>],
    ) {
        // Before the time: who finds that finds these, or later ones.
        for (group, word) in self.offsets.iter().enumerate() {
            let offset = offsets.get(group).copied().flatten();
            word.store(offset.map_or(0, |offset| offset_word(term, offset)), Ordering::Release);
        }
        for (known, stamp) in self.known.iter().zip(stamps) {
            let Some(stamp) = *stamp else { continue };
            let before = known.load(Ordering::Acquire);
            // This host may have made changes since L3 was asked.
            if before.wrapping_sub(stamp) >= AHEAD {
                _ = known.compare_exchange(before, stamp, Ordering::AcqRel, Ordering::Relaxed);
            }
        }
        self.head[TOLD_UNTIL].fetch_max(until.0, Ordering::AcqRel);
        // Whoever said that the term is over was wrong.
        if self.head[TERM].load(Ordering::Acquire) == term {
            let live = &self.head[LIVE_TERM];
            _ = live.compare_exchange(0, term, Ordering::AcqRel, Ordering::Relaxed);
        }
    }

    /// Heard of a change of `key` at this time, by this host or another, that L3 has.
    pub(crate) fn hear(&self, key: &[u8], now: Millis) {
        self.heard[heard_slot(key)].fetch_max(now.0, Ordering::AcqRel);
    }

    /// Heard of changes of any keys.
    pub(crate) fn hear_all(&self, now: Millis) {
        for heard in self.heard {
            // A clear is told of as 256 groups: most find that the one before has done it.
            if heard.load(Ordering::Acquire) < now.0 {
                heard.fetch_max(now.0, Ordering::AcqRel);
            }
        }
    }

    /// What a replica must have reached whose answer about `key` is as new as what this host knows, and
    /// as anything that is `patience` old; `None` where the master alone can say. All that was made here
    /// without being heard of, until `unheard`, counts as a change of the key.
    pub(crate) fn replica_of(
        &self,
        key: &[u8],
        now: Millis,
        patience: Duration,
        unheard: Millis,
    ) -> Option<Reached> {
        let until = Millis(self.head[TOLD_UNTIL].load(Ordering::Acquire));
        let heard = Millis(self.heard[heard_slot(key)].load(Ordering::Acquire));
        let is_looked_at = heard < until && unheard < until;
        let is_recent = until <= now && now < until.after(patience);
        if !is_looked_at || !is_recent || !self.is_live(now, patience) {
            return None;
        }
        let group = key::group(key);
        let word = self.offsets[group].load(Ordering::Acquire);
        let stamp = self.known[group].load(Ordering::Acquire);
        let is_known = word != 0 && stamp != 0;
        let live_term = self.head[LIVE_TERM].load(Ordering::Acquire);
        let offset = offset_word(0, word);
        (is_known && word == offset_word(live_term, offset)).then_some(Reached { stamp, offset })
    }

    /// True while nobody was ever told of anything.
    pub(crate) fn is_untold(&self) -> bool {
        self.head[TOLD_UNTIL].load(Ordering::Acquire) == 0
    }

    /// This host made the change that gave the group of `key` this stamp, and has dealt with it.
    pub(crate) fn made(&self, key: &[u8], stamp: u64) {
        simulated::point();
        // Where others are between it and what is known, they have to be told first.
        _ = self.known[key::group(key)].compare_exchange(
            stamp.wrapping_sub(1),
            stamp,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// True if all changes of the group of `key` up to this stamp are known here, and dealt with.
    pub(crate) fn knows(&self, key: &[u8], stamp: u64) -> bool {
        let known = self.known[key::group(key)].load(Ordering::Acquire);
        known.wrapping_sub(stamp) < AHEAD
    }

    /// Up to which change of tags in L3 all are known here, and dealt with.
    pub(crate) fn tags_known(&self) -> Option<KnownBelow> {
        self.tags_by(TAG_NUMBER)
    }

    /// The latest change of tags in L3 of which anything is known here: what is loaded from now on is
    /// newer.
    pub(crate) fn tags_seen(&self) -> Option<KnownBelow> {
        let (known, seen) = (self.tags_known(), self.tags_by(TAG_SEEN));
        known.into_iter().chain(seen).max_by_key(|known| known.raises)
    }

    fn tags_by(&self, word: usize) -> Option<KnownBelow> {
        let word = self.head[word].load(Ordering::Acquire);
        let era = self.head[TAG_ERA].load(Ordering::Acquire);
        let known = KnownBelow { era, raises: word & ((1 << TAG_NUMBER_BITS) - 1) };
        (era != 0 && tag_word(known, known.raises) == word).then_some(known)
    }

    /// L3 has changes of tags until then, which this host made, or is about to deal with.
    pub(crate) fn tags_heard(&self, known: KnownBelow) {
        if self.tags_by(TAG_SEEN).is_none_or(|seen| seen.raises < known.raises) {
            self.head[TAG_SEEN].store(tag_word(known, known.raises), Ordering::Release);
        }
    }

    /// All changes of tags until then are known here, and dealt with.
    pub(crate) fn tags_told(&self, known: Option<KnownBelow>) {
        let known = known.unwrap_or(KnownBelow { era: 0, raises: 0 });
        self.head[TAG_ERA].store(known.era, Ordering::Release);
        self.head[TAG_NUMBER].store(tag_word(known, known.raises), Ordering::Release);
    }

    /// This host made the changes of tags after `before` up to the number `after`, and has dealt with
    /// them.
    pub(crate) fn tags_made(&self, before: KnownBelow, after: u64) {
        simulated::point();
        if self.head[TAG_ERA].load(Ordering::Acquire) == before.era {
            self.tags_heard(KnownBelow { raises: after, ..before });
            // Where others are between, they have to be told first.
            _ = self.head[TAG_NUMBER].compare_exchange(
                tag_word(before, before.raises),
                tag_word(before, after),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        }
    }

    /// Says that the subscriber of this term is told no more.
    pub(crate) fn set_lost(&self, term: u64) {
        let live = &self.head[LIVE_TERM];
        _ = live.compare_exchange(term, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Suspends all copies if the last that was told is longer ago than `bound`; `None` where it is
    /// not, else whether there were some that were not suspended. Where nobody was ever told of
    /// anything, there are no copies that live for longer than the bound.
    pub(crate) fn suspend_after(&self, now: Millis, bound: Duration) -> Option<bool> {
        if simulated::is_planted(Fault::NeverSuspended) {
            return None;
        }
        if self.is_recent(now, bound) || self.is_untold() {
            return None;
        }
        let mut news = false;
        for word in self.groups {
            news |=
                word.fetch_or(GroupWord::SUSPENDED, Ordering::AcqRel) & GroupWord::SUSPENDED == 0;
        }
        Some(news)
    }

    /// Brings copies back that were suspended though the subscriber of this term missed nothing: it was
    /// stopped for a while, or had much to do. To be called when it told up to when all was told.
    pub(crate) fn resume(&self, term: u64, now: Millis, bound: Duration) {
        let is_told = self.head[LIVE_TERM].load(Ordering::Acquire) == term
            && self.head[TERM].load(Ordering::Acquire) == term;
        if !self.is_recent(now, bound) || !is_told || simulated::is_planted(Fault::NeverResumed) {
            return;
        }
        let is_suspended =
            |group: &AtomicU32| group.load(Ordering::Relaxed) & GroupWord::SUSPENDED != 0;
        for (group, _) in self.groups.iter().enumerate().filter(|(_, word)| is_suspended(word)) {
            self.bring_back(group);
        }
    }

    /// True where all changes are known that were made until less than `bound` ago: else copies are
    /// suspended, or will be at the next look.
    pub(crate) fn is_recent(&self, now: Millis, bound: Duration) -> bool {
        let told_until = Millis(self.head[TOLD_UNTIL].load(Ordering::Acquire));
        told_until.after(bound) > now && told_until <= now
    }

    /// Ends a term, so that another process need not wait for the patience to end.
    pub(crate) fn leave(&self, term: u64) {
        self.set_lost(term);
        if self.head[TERM].load(Ordering::Acquire) == term {
            self.head[ALIVE_AT].store(0, Ordering::Release);
        }
    }

    /// True while somebody of the host is told of all changes, as far as is known: a subscriber
    /// that was silent for `patience` counts no more.
    pub(crate) fn is_live(&self, now: Millis, patience: Duration) -> bool {
        let live = self.head[LIVE_TERM].load(Ordering::Acquire);
        live != 0
            && live == self.head[TERM].load(Ordering::Acquire)
            && !self.is_silent(now, patience)
    }

    /// True while the changes of some are not told, so that copies are to live for the staleness bound.
    pub(crate) fn is_bounded(&self) -> bool {
        self.head[BOUNDED].load(Ordering::Acquire) != 0
    }

    /// The word that copies of `key` bear which are looked for from now on.
    pub(crate) fn word(&self, key: &[u8]) -> GroupWord {
        let group = key::group(key);
        // Acquire: who sees an epoch sees what was done before it was raised.
        GroupWord::of(self.groups[group].load(Ordering::Acquire), group)
    }

    /// Voids all copies of a group.
    pub(crate) fn void(&self, group: usize) {
        GroupWord::raise(&self.groups[group]);
    }

    /// Voids the copies of all groups of which no change was ever known: for who takes up a stream
    /// that is [`untold`](Self::is_untold), and finds copies of before anybody followed other hosts.
    pub(crate) fn void_unknown(&self) {
        for (group, known) in self.known.iter().enumerate() {
            if known.load(Ordering::Acquire) == 0 {
                self.void(group);
            }
        }
    }

    fn bring_back(&self, group: usize) {
        self.groups[group].fetch_and(!GroupWord::SUSPENDED, Ordering::AcqRel);
    }
}

/// The word of how far a master had come, by the look of the subscriber of this term.
fn offset_word(term: u64, offset: u64) -> u64 {
    term << OFFSET_BITS | offset & ((1 << OFFSET_BITS) - 1)
}

/// The slot of a key in the table of what was heard: bits that are not those of its group.
fn heard_slot(key: &[u8]) -> usize {
    (key::hash(key) >> 16) as usize % HEARD
}

/// The word of a number of this era.
fn tag_word(known: KnownBelow, number: u64) -> u64 {
    known.era << TAG_NUMBER_BITS | number & ((1 << TAG_NUMBER_BITS) - 1)
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;

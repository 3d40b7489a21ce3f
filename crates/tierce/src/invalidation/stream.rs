//! What a host knows of the changes that other hosts make: who listens to L3 for it, whether
//! anybody does, and which changes are its own.
//!
//! The words lie in the store, where all processes of the host see them, or without a store in
//! this process, which then is a host of its own.
//!
//! ```text
//!   term       counts the subscribers: who raised it last is the one
//!   alive at   when that one last showed a sign of life, boot-time milliseconds; 0: it left
//!   live term  the term in which L3 tells us of all changes; not the term: nobody is told
//!   own        a table of the latest changes that this host made, by hash of the key
//! ```
//!
//! **Terms.** A subscriber that shows no sign of life for the patience of the others is replaced,
//! whether it died or was stopped. One that wakes up later finds another term and stands down.
//!
//! **Own changes.** L3 tells of all changes, of those too that this host made; the copies that it
//! has of such keys need not go. Which change made a record is written in it ([`Change`]). So who
//! hears that a key changed and finds its slot in the table taken looks at the record in L3: is it
//! of the change in the slot, and is that change done with the tiers above, then the copies here
//! are of that very record. In any other case they go. A slot that two keys share, or a change
//! that another one of the host overwrote, costs a copy, never a wrong value.
//!
//! ```text
//!   change   63        48 47           1   0
//!           +------------+--------------+------+
//!           | of the key | random       | done |     0 = none
//!           +------------+--------------+------+
//! ```
//!
//! Two hosts that change one key at the same moment draw the same 47 bits once in 10^14 times.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{clock::Millis, key, random};

const TERM: usize = 0;
const ALIVE_AT: usize = 1;
const LIVE_TERM: usize = 2;
/// Words before the table: a line.
const HEAD: usize = 8;
/// Slots of the table. A slot is in use from a change until its echo has come back.
const SLOTS: usize = 4096;

const DONE: u64 = 1;
const KEY: u64 = 0xffff << 48;

/// The words of a host, or of a process that has no store.
#[derive(Clone, Copy)]
pub(crate) struct Stream<'a>(&'a [AtomicU64]);

/// Which change of a key made a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change(u64);

impl Change {
    /// The change as the record has it.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl<'a> Stream<'a> {
    /// Words of a process of its own.
    pub(crate) fn words() -> Box<[AtomicU64]> {
        (0..HEAD + SLOTS).map(|_| AtomicU64::new(0)).collect()
    }

    /// The stream of which these are the words.
    pub(crate) fn new(words: &'a [AtomicU64]) -> Self {
        assert_eq!(words.len(), HEAD + SLOTS, "words of a stream");
        Self(words)
    }

    /// Shows a sign of life of the subscriber whose term is `mine`, or replaces one that has shown
    /// none for `patience`. The term of the caller, or `None` where another one is the subscriber.
    pub(crate) fn subscribe(
        &self,
        mine: Option<u64>,
        now: Millis,
        patience: Duration,
    ) -> Option<u64> {
        let term = self.0[TERM].load(Ordering::Acquire);
        if mine == Some(term) {
            self.0[ALIVE_AT].store(now.0, Ordering::Release);
            return mine;
        }
        if !self.is_silent(now, patience) {
            return None;
        }
        let next = term + 1;
        self.0[TERM].compare_exchange(term, next, Ordering::AcqRel, Ordering::Relaxed).is_ok().then(
            || {
                self.0[ALIVE_AT].store(now.0, Ordering::Release);
                next
            },
        )
    }

    /// A time to come is one of before the host was started anew.
    fn is_silent(&self, now: Millis, patience: Duration) -> bool {
        let alive_at = Millis(self.0[ALIVE_AT].load(Ordering::Acquire));
        alive_at == Millis(0) || alive_at.after(patience) <= now || alive_at > now.after(patience)
    }

    /// Says that from now on the subscriber of this term is told of all changes.
    pub(crate) fn set_live(&self, term: u64) {
        self.0[LIVE_TERM].store(term, Ordering::Release);
    }

    /// Says that it no longer is.
    pub(crate) fn set_lost(&self, term: u64) {
        let live = &self.0[LIVE_TERM];
        _ = live.compare_exchange(term, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// Ends a term, so that another process need not wait for the patience to end.
    pub(crate) fn leave(&self, term: u64) {
        self.set_lost(term);
        if self.0[TERM].load(Ordering::Acquire) == term {
            self.0[ALIVE_AT].store(0, Ordering::Release);
        }
    }

    /// True while somebody of the host is told of all changes, as far as is known: a subscriber
    /// that was silent for `patience` counts no more.
    pub(crate) fn is_live(&self, now: Millis, patience: Duration) -> bool {
        let live = self.0[LIVE_TERM].load(Ordering::Acquire);
        live != 0 && live == self.0[TERM].load(Ordering::Acquire) && !self.is_silent(now, patience)
    }

    /// A change that this host is about to make. To be called before L3 is told of it.
    pub(crate) fn begin_change(&self, key: &[u8]) -> Change {
        let hash = key::hash(key);
        let change = hash & KEY | random::random() & !KEY & !DONE;
        self.slot(hash).store(change, Ordering::Release);
        Change(change)
    }

    /// Says that a change is done with the tiers above L3: what they have of the key is what L3
    /// was given, or nothing.
    pub(crate) fn end_change(&self, key: &[u8], change: Change) {
        // If not, another change came to the slot.
        _ = self.slot(key::hash(key)).compare_exchange(
            change.0,
            change.0 | DONE,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// True if a change of this key may be one of this host, so that L3 should be asked.
    pub(crate) fn may_be_own(&self, key: &[u8]) -> bool {
        let hash = key::hash(key);
        let own = self.slot(hash).load(Ordering::Acquire);
        own != 0 && own & KEY == hash & KEY
    }

    /// True if what L3 has of the key now, a record of change `in_l3`, is what this host put there
    /// and has above. If not, the slot is empty from now on.
    pub(crate) fn is_own(&self, key: &[u8], in_l3: Option<u64>) -> bool {
        let slot = self.slot(key::hash(key));
        let own = slot.load(Ordering::Acquire);
        if own & DONE != 0 && in_l3 == Some(own & !DONE) {
            return true;
        }
        if own & DONE != 0 && own & KEY == key::hash(key) & KEY {
            _ = slot.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Relaxed);
        }
        false
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        // Bits that are not those of the tag.
        &self.0[HEAD + (hash >> 16) as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    #[test]
    fn one_listens_and_is_replaced_when_it_is_silent_or_left() {
        let words = Stream::words();
        let stream = Stream::new(&words);
        let at = |now, mine| stream.subscribe(mine, Millis(now), PATIENCE);
        let first = at(1000, None).unwrap();
        assert_eq!((at(1050, None), at(1099, Some(first))), (None, Some(first)));
        stream.set_live(first);
        assert_eq!(at(1198, None), None);
        assert!(stream.is_live(Millis(1198), PATIENCE));
        assert!(!stream.is_live(Millis(1199), PATIENCE), "silent");

        let second = at(1199, None).unwrap();
        assert!(!stream.is_live(Millis(1199), PATIENCE), "not told of anything yet");
        assert_eq!(at(1200, Some(first)), None, "stopped, and late");
        stream.leave(first);
        assert_eq!(at(1201, None), None, "not the late one's to leave");
        stream.set_live(second);
        assert!(stream.is_live(Millis(1201), PATIENCE));
        stream.leave(second);
        assert!(!stream.is_live(Millis(1202), PATIENCE));
        let third = at(1202, None).unwrap();
        assert!(third != second && at(7, None).is_some(), "of an earlier boot");
    }

    #[test]
    fn only_the_latest_change_that_is_done_and_lies_in_l3_is_an_own_one() {
        let words = Stream::words();
        let stream = Stream::new(&words);
        assert!(!stream.may_be_own(b"a") && !stream.is_own(b"a", Some(0)));
        let change = stream.begin_change(b"a");
        let number = Some(change.number());
        assert!(stream.may_be_own(b"a") && !stream.is_own(b"a", number), "not done");
        stream.end_change(b"a", change);
        assert!(stream.is_own(b"a", number));
        assert!(!stream.is_own(b"b", number) || !stream.may_be_own(b"b"));
        // Removed, or changed by another host: the slot is of no use any more.
        assert!(!stream.is_own(b"a", None) && !stream.may_be_own(b"a"));
        assert!(!stream.is_own(b"a", number));

        let (older, newer) = (stream.begin_change(b"a"), stream.begin_change(b"a"));
        assert_ne!(older, newer);
        stream.end_change(b"a", older);
        assert!(!stream.is_own(b"a", Some(older.number())));
        stream.end_change(b"a", newer);
        assert!(stream.is_own(b"a", Some(newer.number())));
    }
}

//! What is set behind L3: in L2 and L1 when the call returns, in L3 a while after
//! ([`WritePolicy::Behind`]).
//!
//! The argument is in ARCHITECTURE.md ("Behind L3"). In short:
//!
//! 1. *A set* claims the cell of its key ([`store::pending`](crate::store)), changes L2 and L1, and has
//!    its value wait with the stamp that this made. Nobody of the host asks L3 for keys of a claimed cell;
//!    who claimed it knows the very keys.
//! 2. *Any other change of a key in a claimed cell* raises the key's stamp before it goes to L3, too.
//! 3. *Who sends a value* looks at the stamp before and after. Where it is another one before, the value
//!    goes nowhere; where it is another one after, what L3 has by then may be this older value. In both
//!    cases L3 gets a word without a value, unless what it has is a later change of this host. Only then
//!    the claim is given back. While nobody knows what other hosts changed, values go on waiting.
//! 4. *A load that replaces what was set* raises no stamp, so nobody would see that it came later. It has what
//!    waits of its key sent before it takes its marks: from then on it is a load like any other, which reads
//!    what L3 has and fills it, and all hosts agree. Where what waits cannot be sent then, the value that is
//!    loaded is given to those who wait for it and kept nowhere: all hosts go on to agree on what was set.
//!    A load that leaves nothing ([`unkept`](super::unkept)) raises the stamp as any other change does.
//!
//! | file | answers |
//! |---|---|
//! | `queue.rs` | which values wait in this process, and when they are due |
//! | `raised.rs` | which steps of a stamp say nothing against what waits |

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

mod queue;
mod raised;

use bytes::Bytes;
use queue::{Basis, Entry, Key, Queue, Take, Taken};

use super::{
    Cache, Inner,
    change::{SetOptions, closed},
    filing::Draft,
    load::Call,
    marks::Marks,
    plan::{Plan, Reach},
};
use crate::{
    clock::Clock,
    codec::Format,
    error::{ErrorKind, Result},
    invalidation::Filed,
    load::Crew,
    metrics::CacheCounter,
    shared_stamp::SharedStamp,
    simulated::{self, Fault},
    tier::{self, Changed, ClaimWord, Record, SharedCell, SharedTier, WritePolicy},
    tiering::TierKind,
};

/// How long threads that send stay when nothing waits.
const IDLE: Duration = Duration::from_secs(10);
/// Threads that send at most. What they write within a moment goes in one pipeline, so many are as fast as
/// the server; each costs a stack.
const SENDERS: usize = 16;
/// Keys for which another thread is worth it.
const EACH: usize = 8;
/// How long a change that depends on what is there waits for another process that is to send first: it is
/// asked to hurry, which takes it some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a load that replaces nothing waits for that: as a rule it has its answer from L3 then.
const BRIEF: Duration = Duration::from_millis(100);
/// Between two looks whether it has.
const NAP: Duration = Duration::from_millis(1);
/// For how long a change waits for another thread of this process that sends a value of its key.
const SENDING: Duration = Duration::from_secs(2);

/// What a cache keeps of this.
pub(super) struct Behind {
    queue: Arc<Queue>,
    crew: Crew,
    flush_timeout: Duration,
    /// How many values were sent of which nobody knows whether L3 took them.
    in_doubt: AtomicU64,
}

/// Why L3 is not asked for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unsettled {
    /// A value of it that was set here waits, or is on its way.
    Own,
    /// One that was set by another process of the host, of the key or of one that shares its cell.
    Cell,
}

/// A key that is changed while a value of it was to wait: nobody asks L3 for it until this is dropped.
pub(super) struct Withdrawn<'a> {
    behind: &'a Behind,
    shared: Option<&'a SharedTier>,
    key: Arc<[u8]>,
    cell: Option<SharedCell>,
}

impl Drop for Withdrawn<'_> {
    fn drop(&mut self) {
        self.behind.queue.done(self.shared, &self.key, self.cell);
    }
}

impl Behind {
    pub(super) fn new(options: Option<tier::Behind>, rest: Duration, clock: &Clock) -> Self {
        let (delay, flush_timeout) =
            options.map_or_else(Default::default, |it| (it.delay, it.flush_timeout));
        Self {
            queue: Arc::new(Queue::new(delay, rest, clock)),
            crew: Crew::named("tierce-write", SENDERS, SENDERS, IDLE),
            flush_timeout,
            in_doubt: AtomicU64::new(0),
        }
    }

    /// How many values wait, and their bytes.
    pub(super) fn len(&self) -> (u64, u64) {
        self.queue.len()
    }

    /// True while a value of the key waits in this process, or is on its way.
    pub(super) fn has(&self, key: &[u8]) -> bool {
        self.queue.has(key)
    }

    fn withdraw<'a>(&'a self, shared: Option<&'a SharedTier>, key: &[u8]) -> Option<Withdrawn<'a>> {
        let (key, cell) = self.queue.withdraw(key)?;
        Some(Withdrawn { behind: self, shared, key, cell })
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Sends L3 what was set behind it until now ([`WritePolicy::Behind`](crate::WritePolicy::Behind)), for
    /// [`RedisOptions::flush_timeout`](crate::RedisOptions::flush_timeout) at most. True where all of it
    /// is there or was overtaken by other changes; at once where nothing waits. What does not get there in
    /// time goes on waiting; what got no answer is a change that L3 did not take.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`] only.
    pub fn flush(&self) -> Result<bool> {
        if !self.inner.plan.load().is_open() {
            return Err(closed());
        }
        Ok(self.inner.flush(self.inner.behind.flush_timeout))
    }

    /// Has what waits behind L3 be lost, as if the process had been killed.
    #[cfg(feature = "sim")]
    pub(crate) fn lose_waiting(&self) {
        self.inner.behind.queue.lose();
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Whether a set that goes this far and names no tiers, or does, is to be behind L3.
    pub(super) fn goes_behind(&self, reach: Reach, options: &SetOptions) -> bool {
        let plan = self.plan.load().within(reach);
        let is_kept = plan.reaches(TierKind::Memory) || plan.reaches(TierKind::Shared);
        self.writes == WritePolicy::Behind
            && !options.names_tiers()
            && is_kept
            && plan.reaches(TierKind::Redis)
    }

    /// Puts a value into the tiers above L3, and has it wait. False where it has to go there at once;
    /// then it may be above already.
    pub(super) fn put_behind(&self, plan: Plan, key: &[u8], draft: &Draft<V>) -> bool {
        let is_put = self.try_behind(plan, key, draft).is_some();
        let counter = if is_put { CacheCounter::BehindQueued } else { CacheCounter::BehindThrough };
        self.metrics.count(counter);
        is_put
    }

    fn try_behind(&self, plan: Plan, key: &[u8], draft: &Draft<V>) -> Option<()> {
        let record = draft.record.as_ref()?;
        // What other hosts change meanwhile must be known before it is sent.
        if !self.is_told(plan) {
            return None;
        }
        let shared = match (self.lowers.shared.in_force(plan), self.lowers.shared.opened()) {
            (Some(shared), _) => Some(shared),
            (None, None) if !plan.has(TierKind::Shared) => None,
            // Others of the host change keys by a store in which this process does not look.
            _ => return None,
        };
        let place = self.behind.queue.claim(shared, key, record.value.len())?;
        // After the claim: who takes the stamp that this makes sees it.
        let marks = self.marks(plan, key);
        let mut draft = draft.clone();
        draft.bear(key, &marks);
        // L3 numbers what has tags when it takes it: a removal of before that would not concern it.
        let basis = match draft.tags() {
            None => self.put_over(plan, key, draft.clone(), &marks),
            Some(_) => None,
        };
        let (Some(basis), Some(record)) = (basis, draft.record) else {
            self.behind.queue.give_back(shared, place);
            return None;
        };
        let before = self.latest_change(plan, key);
        let entry = Entry { record, basis, before, set_at: self.clock.coarse() };
        let (is_coalesced, needs_thread) = self.behind.queue.enqueue(shared, place, entry);
        if is_coalesced {
            self.metrics.count(CacheCounter::BehindCoalesced);
        }
        if needs_thread && !self.start_sending() {
            self.send_key(key);
        }
        Some(())
    }

    /// Puts what is to wait into L2 and L1. Returns by what a later change of the key is known; `None`
    /// where there was one, or L1 alone would have it and does not take it.
    fn put_over(&self, plan: Plan, key: &[u8], draft: Draft<V>, marks: &Marks) -> Option<Basis> {
        let record = draft.record.as_ref().filter(|_| plan.reaches(TierKind::Shared));
        let life = self.life_above(plan, draft.life, marks);
        let Some((mark, tier)) = marks.shared().zip(self.lowers.shared.in_force(plan)) else {
            self.lowers.shared.note(key);
            let filed = marks.filed_private(plan);
            let word = match filed {
                Filed::Private { word, .. } | Filed::Shared(SharedStamp { word, .. }) => word,
            };
            _ = self.file_changed(plan, key, Draft { life, ..draft }, filed, marks, false);
            let after = marks.local().raised();
            return self.stamps.is_current(after).then_some(Basis::Private(after, word));
        };
        let Changed { stamp, keep } = match record {
            Some(record) => {
                let record = Record { ttl: life.ttl, stale: life.stale, ..record.clone() };
                tier.change(mark, key, &record, false)
            }
            None => tier.remove_marked(mark, key),
        };
        self.tell_evictions();
        let stamp = SharedStamp { stamp, ..mark.stamp() };
        if keep {
            let filed = Filed::Shared(stamp);
            _ = self.file_changed(plan, key, Draft { life, ..draft }, filed, marks, false);
        } else {
            self.drop_near(key);
        }
        Some(Basis::Shared(stamp))
    }

    /// Sees to it that no value of the key which waits, or is on its way, gets to L3 after the change that
    /// is about to be made there: to be called when the marks were taken, which it renews. What it
    /// returns is to be dropped when the change is done.
    pub(super) fn overrule(&self, key: &[u8], marks: Option<&mut Marks>) -> Option<Withdrawn<'_>> {
        let shared = self.lowers.shared.opened();
        let is_in_use = shared.is_some_and(SharedTier::is_written_behind);
        if self.writes != WritePolicy::Behind && !is_in_use {
            return None;
        }
        let withdrawn = self.behind.withdraw(shared, key);
        if withdrawn.is_some() {
            self.metrics.count(CacheCounter::BehindOvertaken);
        }
        let is_claimed = withdrawn.is_some() || self.behind.queue.has(key);
        if let Some(shared) = shared {
            if is_claimed || self.is_claimed(shared, key) {
                let mark = marks.as_ref().and_then(|marks| marks.shared());
                let after = shared.delete_before(mark, key);
                if let Some((marks, after)) = marks.zip(after) {
                    marks.renew_shared(after);
                }
            }
        } else if is_claimed {
            let mark = self.stamps.mark(self.memory.hash(key));
            let mark = marks.as_ref().map_or(mark, |marks| marks.local());
            self.stamps.raise(mark);
            if let Some(marks) = marks {
                marks.local = mark.raised();
            }
        }
        withdrawn
    }

    /// The same of all keys. L2 is cleared once more when L3 was.
    pub(super) fn overrule_all(&self) -> Vec<Withdrawn<'_>> {
        let shared = self.lowers.shared.opened();
        let mut withdrawn = Vec::new();
        while let Some(key) = self.behind.queue.first(u64::MAX) {
            withdrawn.extend(self.behind.withdraw(shared, &key));
        }
        self.metrics.add(CacheCounter::BehindOvertaken, withdrawn.len() as u64);
        match shared {
            Some(shared) if shared.is_written_behind() => shared.clear_all(),
            Some(_) => {}
            None => self.stamps.raise_all(),
        }
        withdrawn
    }

    /// False while a value of the key may be on its way to L3, which has an older one. Then L3 must not be
    /// asked.
    pub(super) fn is_settled_below(&self, key: &[u8]) -> bool {
        match self.lowers.shared.opened() {
            Some(_) if simulated::is_planted(Fault::ClaimsIgnored) => true,
            Some(shared) => !self.is_claimed(shared, key),
            None => self.writes != WritePolicy::Behind || !self.behind.queue.has(key),
        }
    }

    /// Whether a value of the key, or of one that shares its cell, may be on its way.
    fn is_claimed(&self, shared: &SharedTier, key: &[u8]) -> bool {
        if !shared.is_written_behind() {
            return false;
        }
        let cell = shared.cell_below(key);
        let mine = self.behind.queue.claim_of(cell);
        let word = shared.claim_below(cell, mine);
        if word.is_free() {
            // It may have become a doubt at this look.
            return shared.doubts_below(key);
        }
        word.claim() != mine || self.behind.queue.has(key)
    }

    /// Has L3 know the key's latest value, for changes that L3 decides about: sends what waits in this
    /// process, and waits a while for others. Where that does not help L3 is not asked.
    pub(super) fn await_settled(&self, key: &[u8]) {
        self.await_settled_for(key, PATIENCE);
    }

    fn await_settled_for(&self, key: &[u8], patience: Duration) {
        let begin = simulated::now();
        while !self.is_settled_below(key) && simulated::since(begin) < patience {
            if self.behind.queue.has(key) {
                if !self.send_key(key) {
                    simulated::sleep(NAP);
                }
                continue;
            }
            let Some(shared) = self.lowers.shared.opened() else { return };
            let cell = shared.cell_below(key);
            if shared.claim_below(cell, ClaimWord::FREE).is_free() {
                // A doubt, which others settle.
                return;
            }
            shared.want_below(cell);
            simulated::sleep(NAP);
        }
    }

    /// Has L3 know what was set before a load of its key, which may replace it, or make up for what L2 lost. To be
    /// called before the load takes its marks. Costs nothing unless something waits.
    pub(super) fn settle_before_load(&self, plan: Plan, key: &[u8], call: &Call<'_, V>) {
        if !plan.reaches(TierKind::Redis) || self.is_settled_below(key) {
            return;
        }
        let replaces = call.reason.is_some() || call.max_age.is_some() || call.best.is_some();
        if replaces {
            self.await_settled(key);
        } else if !self.behind.queue.has(key) {
            // It may be another key of the cell that another process is to send; then L3 answers the call.
            self.await_settled_for(key, BRIEF);
        } else if self.waiting_record(key).is_none() {
            // What waits here has ended, or was changed since; else it answers the call.
            self.await_settled(key);
        }
    }

    /// Why L3 must not be asked for a key now, if that is so.
    pub(super) fn unsettled(&self, key: &[u8]) -> Option<Unsettled> {
        // First, for it may be sent meanwhile.
        if self.writes == WritePolicy::Behind && self.behind.queue.has(key) {
            return Some(Unsettled::Own);
        }
        let shared = self.lowers.shared.opened().filter(|shared| shared.is_written_behind())?;
        let cell = shared.cell_below(key);
        let mine = self.behind.queue.claim_of(cell);
        let word = shared.claim_below(cell, mine);
        // One that is over has become a doubt at this look.
        (!word.is_free() && word.claim() != mine).then_some(Unsettled::Cell)
    }

    /// True if the key was set behind L3 since these marks were taken and L3 was asked: what is loaded under them
    /// is not to go there, or the value that waits would give way to the news of it.
    pub(super) fn is_set_behind_since(&self, plan: Plan, key: &[u8], marks: &Marks) -> bool {
        match self.unsettled(key) {
            Some(Unsettled::Own) => true,
            Some(Unsettled::Cell) => !self.is_current(plan, marks.filed()),
            None => false,
        }
    }

    /// True if a load that is about to be kept, and that L3 did not judge, might be followed there by what
    /// was set before it: then it must not be kept. It may be another key for which L3 was not asked; what
    /// it has of this one would be served again.
    pub(super) fn is_followed(&self, plan: Plan, key: &[u8], marks: &Marks) -> bool {
        plan.reaches(TierKind::Redis) && (marks.unsettled.is_some() || self.behind.has(key))
    }

    /// What waits in this process of a key, if it is the latest that was set, as L3 would return it.
    pub(super) fn waiting_record(&self, key: &[u8]) -> Option<Record> {
        if self.writes != WritePolicy::Behind {
            return None;
        }
        let entry = self.behind.queue.waiting(key)?;
        let record = self.aged_entry(&entry)?;
        self.is_latest(&entry.basis).then_some(record)
    }

    /// The record of an entry as of now; `None` where its time is over.
    fn aged_entry(&self, entry: &Entry) -> Option<Record> {
        let passed = Duration::from_millis(self.clock.coarse().0.saturating_sub(entry.set_at.0));
        let ttl = entry.record.ttl.map(|ttl| ttl.saturating_sub(passed));
        let age = entry.record.age.map(|age| age.saturating_add(passed));
        let record = Record { ttl, age, ..entry.record.clone() };
        (ttl != Some(Duration::ZERO)).then_some(record)
    }

    fn is_latest(&self, basis: &Basis) -> bool {
        // Before the stamp is looked at, which may be raised meanwhile.
        match self.behind.queue.carried(*basis) {
            Basis::Shared(stamp) => {
                self.lowers.shared.opened().is_some_and(|shared| shared.is_current(stamp))
            }
            Basis::Private(mark, word) => {
                self.stamps.is_current(mark) && self.coherence.is_current(word)
            }
        }
    }

    /// Sends the value of a key that waits, by this thread or, where another is at it, by that. False where
    /// it goes on waiting: nobody knows now whether another host changed it.
    pub(super) fn send_key(&self, key: &[u8]) -> bool {
        let straddles_no_retier = self.changing();
        match self.behind.queue.take(key) {
            Take::Taken(taken) => return self.send(taken),
            Take::Busy => {
                drop(straddles_no_retier);
                self.behind.queue.wait_until_idle(Some(key), simulated::now() + SENDING);
            }
            Take::Nothing => {}
        }
        true
    }

    fn send(&self, taken: Taken) -> bool {
        let (plan, shared) = (self.plan.load(), self.lowers.shared.opened());
        if self.is_suspended(plan, &taken.key, taken.entry.basis.word()) {
            self.behind.queue.postpone(shared, taken);
            return false;
        }
        let Taken { key, entry, cell, .. } = taken;
        let outcome = self.send_entry(plan, &key, &entry);
        self.metrics.count(outcome);
        if matches!(outcome, CacheCounter::BehindInDoubt) {
            self.behind.in_doubt.fetch_add(1, Ordering::Relaxed);
        }
        self.behind.queue.done(shared, &key, cell);
        true
    }

    /// Sends a value, unless its key was changed since.
    fn send_entry(&self, plan: Plan, key: &[u8], entry: &Entry) -> CacheCounter {
        // Before there is another number for the latest change.
        if !self.is_to_be_sent(key, entry) {
            return self.give_way(plan, key, entry, entry.before);
        }
        // Before the look that counts: a value that is set after that knows that this is an older change.
        let change = self.begin_change(plan, key);
        let is_latest = self.is_to_be_sent(key, entry);
        let Some(mut record) = self.aged_entry(entry).filter(|_| is_latest) else {
            self.abandon_change(plan, key, change);
            return self.give_way(plan, key, entry, entry.before);
        };
        record.change = Self::number_of(change);
        self.count_bytes_in(plan.within(Reach::of(crate::tiering::Tiering::L3)), &record);
        let Some(made) = self.write_below(plan, key, &record) else {
            self.abandon_change(plan, key, change);
            return CacheCounter::BehindInDoubt;
        };
        // Whatever the tiers above have by now, it is not older: news of this change are to leave it.
        self.end_change(plan, key, change);
        self.made(plan, key, made);
        if !self.is_latest(&entry.basis) && !simulated::is_planted(Fault::SentUnlooked) {
            return self.give_way(plan, key, entry, Some(record.change));
        }
        CacheCounter::BehindSent
    }

    /// False where the key was changed since, or a newer value of it waits: that one was set before there was
    /// a number for this change, and would take it for a later one.
    fn is_to_be_sent(&self, key: &[u8], entry: &Entry) -> bool {
        self.is_latest(&entry.basis) && !self.behind.queue.has_newer(key)
    }

    /// Writes a record into L3; the stamp that this made. `None` where L3 did not take it, and is not asked
    /// for the key any more.
    #[allow(clippy::option_option)]
    fn write_below(&self, plan: Plan, key: &[u8], record: &Record) -> Option<Option<u64>> {
        let mut written = None;
        self.change_remote(plan, key, |tier| {
            // What it does not keep must not leave the old value there either.
            written = Some(match tier.write(key, record) {
                Err(error) if error.kind() == ErrorKind::TooLarge => {
                    self.metrics.tier(TierKind::Redis).error(error.kind());
                    tier.write(key, &record.oversized())
                }
                Err(error) if error.kind() == ErrorKind::Full => {
                    self.metrics.tier(TierKind::Redis).error(error.kind());
                    tier.delete(key)
                }
                taken => taken,
            }?);
            Ok(())
        });
        written
    }

    /// Has L3 hold nothing older than the change that came to a key while its value waited: a word
    /// without a value, unless that change is there: not the change `before`, which was before it.
    fn give_way(&self, plan: Plan, key: &[u8], entry: &Entry, before: Option<u64>) -> CacheCounter {
        if self.behind.queue.has_newer(key) {
            // Which keeps all from asking L3, and sees to it in its turn.
            return CacheCounter::BehindOvertaken;
        }
        let found = self.lowers.redis.call(plan, &self.metrics, |tier| tier.read(key));
        let seen = found.and_then(|found| found.token).map_or(0, |token| token.seen);
        if seen != 0 && before != Some(seen) && self.has_done(plan, key, seen) {
            return CacheCounter::BehindOvertaken;
        }
        let nothing = Record::new(Bytes::new(), Format::Absent, entry.record.ttl);
        let change = self.begin_change(plan, key);
        let nothing = Record { change: Self::number_of(change), ..nothing }.oversized();
        let written = self.write_below(plan, key, &nothing);
        // Another host may have changed the key between what overtook this value and the word. Whoever hears
        // of that finds the word there, which is not what the tiers above have: they lose the key.
        if simulated::is_planted(Fault::GivenWayKept) {
            self.end_change(plan, key, change);
        }
        self.abandon_change(plan, key, change);
        match written {
            Some(_) => CacheCounter::BehindOvertaken,
            None => CacheCounter::BehindInDoubt,
        }
    }

    /// Sends all that waits now, for so long at most. False where some still does, or some that was sent
    /// meanwhile may not be there.
    pub(super) fn flush(&self, timeout: Duration) -> bool {
        let queue = &self.behind.queue;
        if queue.is_empty() {
            return true;
        }
        let in_doubt = || self.behind.in_doubt.load(Ordering::Relaxed);
        let before = in_doubt();
        let until = simulated::now() + timeout;
        let below = queue.next_number();
        self.share(queue.all(below)).send(self, until);
        while simulated::now() < until
            && let Some(key) = queue.first(below)
        {
            if !self.send_key(&key) {
                simulated::sleep(NAP);
            }
        }
        queue.wait_until_idle(None, until);
        queue.first(below).is_none() && in_doubt() == before
    }

    /// Sends what waits before tiers enter or leave.
    pub(super) fn flush_for_retier(&self) {
        self.flush(self.behind.flush_timeout);
    }

    /// Has nothing wait any more, for who changes the tiers alone: L3 is doubted instead.
    pub(super) fn give_up_waiting(&self) {
        let shared = self.lowers.shared.opened();
        while let Some(key) = self.behind.queue.first(u64::MAX) {
            let Some(withdrawn) = self.behind.withdraw(shared, &key) else { continue };
            // Before the claim is given back.
            self.doubt_remote(&key);
            self.metrics.count(CacheCounter::BehindInDoubt);
            drop(withdrawn);
        }
    }

    /// Sends what waits, or doubts L3, for good.
    pub(super) fn close_behind(&self) {
        self.behind.queue.close();
        self.flush(self.behind.flush_timeout);
    }

    /// For who drops a cache that was not closed.
    pub(super) fn end_behind(&self) {
        if self.behind.queue.is_empty() {
            return;
        }
        self.close_behind();
        self.give_up_waiting();
    }

    pub(super) fn close_sending(&self) {
        self.behind.crew.close(Duration::ZERO);
    }

    /// Has other threads send a part of these keys, where they are many.
    fn share(&self, keys: Vec<Key>) -> Arc<Share> {
        let helpers = (keys.len() / EACH).min(SENDERS - 1);
        let share = Arc::new(Share { keys, next: AtomicUsize::new(0) });
        for _ in 0..helpers {
            let (me, share) = (self.me.clone(), Arc::clone(&share));
            let helps = move || {
                // Who drops the cache sends alone.
                if let Some(inner) = me.upgrade() {
                    share.send(&inner, simulated::now() + SENDING);
                }
            };
            if self.behind.crew.spawn(helps).is_err() {
                break;
            }
        }
        share
    }

    /// Has a thread send what is due; false where there is none to be had.
    fn start_sending(&self) -> bool {
        let (me, queue) = (self.me.clone(), Arc::clone(&self.behind.queue));
        let is_started = self.behind.crew.spawn(move || send_when_due(&me, &queue)).is_ok();
        if !is_started {
            self.behind.queue.thread_ended();
        }
        is_started
    }
}

/// Keys that several threads send.
struct Share {
    keys: Vec<Key>,
    next: AtomicUsize,
}

impl Share {
    /// Sends one key after the other that no other thread has taken, until this moment, or until one has
    /// to go on waiting: so do others, as a rule.
    fn send<V: Clone + Send + Sync + 'static>(&self, inner: &Inner<V>, until: Instant) {
        while simulated::now() < until
            && let Some(key) = self.keys.get(self.next.fetch_add(1, Ordering::Relaxed))
            && inner.send_key(key)
        {}
    }
}

/// Sends what is due until nothing waits.
fn send_when_due<V: Clone + Send + Sync + 'static>(me: &Weak<Inner<V>>, queue: &Queue) {
    loop {
        // Who drops the cache is not to wait for this thread.
        queue.nap();
        let Some(inner) = me.upgrade() else { return };
        let Some(due) = queue.due(inner.lowers.shared.opened()) else { return };
        inner.share(due).send(&inner, simulated::now() + SENDING);
    }
}

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
//! | `send.rs` | how what waits is sent |
//! | `settled.rs` | whether L3 may be asked for a key meanwhile |

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

mod queue;
mod raised;
mod send;
mod settled;

use queue::{Basis, Entry, Queue};
pub(in crate::cache) use settled::Unsettled;

use super::{
    Inner,
    change::SetOptions,
    filing::Draft,
    marks::Marks,
    plan::{Plan, Reach},
};
use crate::{
    clock::Clock,
    invalidation::Filed,
    load::Crew,
    metrics::CacheCounter,
    shared_stamp::SharedStamp,
    tier::{self, Changed, Record, SharedCell, SharedTier, WritePolicy},
    tiering::TierKind,
};

/// Between two looks whether it has.
const NAP: Duration = Duration::from_millis(1);
/// How long threads that send stay when nothing waits.
const IDLE: Duration = Duration::from_secs(10);
/// Threads that send at most. What they write within a moment goes in one pipeline, so many are as fast as
/// the server; each costs a stack.
const SENDERS: usize = 16;

/// What a cache keeps of this.
pub(super) struct Behind {
    queue: Arc<Queue>,
    crew: Crew,
    flush_timeout: Duration,
    /// How many values were sent of which nobody knows whether L3 took them.
    in_doubt: AtomicU64,
    /// How many values gave way to newer ones of their keys, which are to be sent in their stead.
    outrun: AtomicU64,
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
            outrun: AtomicU64::new(0),
        }
    }

    /// How many values wait, and their bytes.
    pub(super) fn len(&self) -> (u64, u64) {
        self.queue.len()
    }

    /// True while a value of the key waits in this process, or is about to, that nobody sends yet.
    #[cfg(feature = "redis")]
    pub(super) fn waits(&self, key: &[u8]) -> bool {
        self.queue.has_newer(key)
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
}

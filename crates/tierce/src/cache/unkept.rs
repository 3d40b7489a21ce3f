//! What a loader returned to be kept for no time, where something older is there: that goes, from all tiers,
//! or time would run backwards for whoever reads the key next.
//!
//! It is judged as what is loaded and kept: what was changed since the marks of the load were taken stays,
//! and so does what another one loaded since. In each tier it goes as one step with that look:
//!
//! | tier | what goes | who is refused after it |
//! |---|---|---|
//! | L3 | the record that the load read; a word without a value takes its place and tells other hosts | loads that read L3 before |
//! | L2 | what is no younger than the load, if the key has the stamp that was marked | fills of before, and copies of what went |
//! | L1 | what is no younger than the load | fills of before |
//!
//! The stamps that this raises say that it came after what waits behind L3 too, which gives way.

use std::{cell::Cell, time::Duration};

use bytes::Bytes;

use super::{Inner, Near, marks::Marks, plan::Plan};
use crate::{
    clock::Millis,
    codec::Format,
    invalidation::LocalMark,
    simulated::{self, Fault},
    tier::{Expected, Record, SharedTier, Written},
    tiering::TierKind,
};

/// How long the word lies in L3: until the listener of this host has seen by it whose change it was told of,
/// which takes it some milliseconds.
const WORD: Duration = Duration::from_secs(1);

/// What is to go.
#[derive(Clone, Copy)]
pub(super) struct Older {
    /// What was made until then: when the load began.
    pub(super) over: Millis,
    /// It was found, or is to go by the caller's wish: L3 may have it where it does not say. Else it has nothing
    /// as a rule.
    pub(super) is_there: bool,
}

/// What has become of the record in L3.
enum Below {
    /// A word is there in its stead, with the stamp that this made.
    Removed(Option<u64>),
    /// It had none, or has another one by now.
    Otherwise,
    /// L3 was not asked, or does not say.
    Silent,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Removes what is older than the load of these marks.
    pub(super) fn remove_older(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &Marks,
        Older { over, is_there }: Older,
    ) {
        if simulated::is_planted(Fault::AbsenceUnkept) {
            return;
        }
        // L3 first, as in any change: what is read there until then is filed under marks that L2 voids.
        let change = self.begin_change(plan, key);
        let number = Self::number_of(change);
        let below = self.remove_older_below(plan, key, marks, number);
        if matches!(below, Below::Silent) && is_there && plan.reaches(TierKind::Redis) {
            self.doubt_remote(key);
        }
        let is_gone = self.remove_older_above(plan, key, marks, over);
        match below {
            Below::Removed(made) => {
                if is_gone {
                    self.made(plan, key, made);
                    self.end_change(plan, key, change);
                } else {
                    self.abandon_change(plan, key, change);
                }
            }
            Below::Otherwise => self.undo_change(plan, key, change),
            Below::Silent => self.abandon_change(plan, key, change),
        }
    }

    fn remove_older_below(&self, plan: Plan, key: &[u8], marks: &Marks, number: u64) -> Below {
        let Some(token) = marks.remote() else { return Below::Silent };
        if token.seen == 0 || self.behind.has(key) {
            // What this process has set since is sent later, and is not to give way to the news of this.
            return Below::Otherwise;
        }
        let word = Record::new(Bytes::new(), Format::Absent, Some(WORD));
        let word = Record { change: number, ..word }.oversized();
        // Made stale before its time since or not, it is what the load is to replace.
        let expected = Some(Expected { change: token.seen, is_fresh: false });
        let written = self.ask_settled(plan, key, |tier| tier.write_if(key, &word, expected));
        // Done or not.
        self.hear_of(plan, key);
        match written {
            Some(Written::Done(made)) => Below::Removed(made),
            Some(Written::Otherwise) => Below::Otherwise,
            None => Below::Silent,
        }
    }

    /// What a load has replaced in L3 goes here, where the tiers above L3 have not taken the load's value as
    /// something was set after it began, and before its look into L3. The marks are from before L3 took it:
    /// what was set since stays. By the news it would go too, unless they are lost.
    pub(super) fn remove_replaced(&self, plan: Plan, key: &[u8], before: &Marks) {
        if let Some(mark) = before.shared() {
            let remove = |tier: &SharedTier| tier.remove_if(mark, key, Millis::NEVER);
            _ = self.lowers.shared.ask(plan, &self.metrics, key, remove);
            self.tell_evictions();
        }
        self.remove_near_if_unchanged(key, before.local(), |_| true);
    }

    /// False where something may be left.
    fn remove_older_above(&self, plan: Plan, key: &[u8], marks: &Marks, over: Millis) -> bool {
        let mut is_gone = true;
        if let Some(mark) = marks.shared().filter(|_| plan.reaches(TierKind::Shared)) {
            let lower = &self.lowers.shared;
            let age = self.since_at_least(over);
            let remove = |tier: &SharedTier| tier.remove_if(mark, key, tier.made_before(age));
            let removed = lower.ask(plan, &self.metrics, key, remove).flatten();
            self.tell_evictions();
            is_gone = removed.is_some();
        }
        if plan.reaches(TierKind::Memory) {
            let now = self.clock.coarse();
            let gives_way = |near: &Near<V>| near.gives_way(now, Some(over));
            is_gone &= self.remove_near_if_unchanged(key, marks.local(), gives_way);
        }
        is_gone
    }

    /// Removes what L1 has and `gives_way`, and raises the key's stamp there; false, with nothing done, where
    /// the key changed since the mark.
    fn remove_near_if_unchanged(
        &self,
        key: &[u8],
        mark: LocalMark,
        gives_way: impl Fn(&Near<V>) -> bool,
    ) -> bool {
        let is_current = Cell::new(false);
        // Under the shard's lock, as in a fill. Loads that this one has overtaken file no more.
        let raise = || {
            is_current.set(self.stamps.is_current(mark));
            if is_current.get() {
                self.stamps.raise(mark);
            }
        };
        self.memory.remove_if_after(key, raise, |near| is_current.get() && gives_way(near));
        is_current.get()
    }
}

//! Whether L3 may be asked for a key, or may be about to get a value of it, and how a load or a change waits until
//! it may.

use std::time::Duration;

use super::NAP;
use crate::{
    cache::{Inner, load::Call, marks::Marks, plan::Plan},
    simulated::{self, Fault},
    tier::{ClaimWord, SharedTier, WritePolicy},
    tiering::TierKind,
};

/// How long a change that depends on what is there waits for another process that is to send first: it is
/// asked to hurry, which takes it some hundredths of a second.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a load that replaces nothing waits for that: as a rule it has its answer from L3 then.
const BRIEF: Duration = Duration::from_millis(100);

/// Why L3 is not asked for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cache) enum Unsettled {
    /// A value of it that was set here waits, or is on its way.
    Own,
    /// One that was set by another process of the host, of the key or of one that shares its cell.
    Cell,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// False while a value of the key may be on its way to L3, which has an older one. Then L3 must not be
    /// asked.
    pub(in crate::cache) fn is_settled_below(&self, key: &[u8]) -> bool {
        match self.lowers.shared.opened() {
            Some(_) if simulated::is_planted(Fault::ClaimsIgnored) => true,
            Some(shared) => !self.is_claimed(shared, key),
            None => self.writes != WritePolicy::Behind || !self.behind.queue.has(key),
        }
    }

    /// Whether a value of the key, or of one that shares its cell, may be on its way.
    pub(super) fn is_claimed(&self, shared: &SharedTier, key: &[u8]) -> bool {
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
    pub(in crate::cache) fn await_settled(&self, key: &[u8]) {
        self.await_settled_for(key, PATIENCE);
    }

    fn await_settled_for(&self, key: &[u8], patience: Duration) {
        let begin = simulated::now();
        while !self.is_settled_below(key) && simulated::since(begin) < patience {
            if self.behind.queue.has(key) {
                if !self.send_key(key) || self.behind.queue.is_coming(key) {
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
    pub(in crate::cache) fn settle_before_load(&self, plan: Plan, key: &[u8], call: &Call<'_, V>) {
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
    pub(in crate::cache) fn unsettled(&self, key: &[u8]) -> Option<Unsettled> {
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
    pub(in crate::cache) fn is_set_behind_since(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &Marks,
    ) -> bool {
        match self.unsettled(key) {
            Some(Unsettled::Own) => true,
            Some(Unsettled::Cell) => !self.is_current(plan, marks.filed()),
            None => false,
        }
    }

    /// True if a load that is about to be kept, and that L3 did not judge, might be followed there by what
    /// was set before it: then it must not be kept. It may be another key for which L3 was not asked; what
    /// it has of this one would be served again.
    pub(in crate::cache) fn is_followed(&self, plan: Plan, key: &[u8], marks: &Marks) -> bool {
        plan.reaches(TierKind::Redis) && (marks.unsettled.is_some() || self.behind.has(key))
    }
}

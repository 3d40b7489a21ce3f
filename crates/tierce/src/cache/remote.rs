//! L3 as a cache uses it: asked only for keys of which it cannot hold something older than a
//! change that this host made.
//!
//! A change that L3 did not take, or may not have taken, must keep everybody from reading the key
//! there until it was removed. Where there is a store, all its processes must be kept from it,
//! also those that outlive this one: the store holds the *doubts*, by group of keys, and whoever
//! reaches L3 clears the group. Without a store there is only this process, and the *ledger* of
//! the tier has the very keys.

use super::{Inner, plan::Plan};
use crate::{
    error::Result,
    simulated::{self, Fault},
    tier::{RemoteTier, SharedDoubt, SharedTier},
};

/// Calls of L3 that the thread that listens makes at most in a heartbeat: some milliseconds.
#[cfg(feature = "redis")]
const SETTLED_PER_HEARTBEAT: usize = 64;

/// L3 behind its trait.
type Remote = dyn RemoteTier + 'static;

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Asks L3 about a key, unless what it has may be too old.
    pub(super) fn ask_remote<R>(
        &self,
        plan: Plan,
        key: &[u8],
        ask: impl FnOnce(&Remote) -> Result<R>,
    ) -> Option<R> {
        if !self.is_settled_below(key) {
            return None;
        }
        self.ask_settled(plan, key, ask)
    }

    /// As [`ask_remote`](Self::ask_remote), for who saw since it took its marks that no value of the key is on
    /// its way.
    pub(super) fn ask_settled<R>(
        &self,
        plan: Plan,
        key: &[u8],
        ask: impl FnOnce(&Remote) -> Result<R>,
    ) -> Option<R> {
        self.lowers.redis.in_force(plan)?;
        if !self.is_trusted_below(plan, key) {
            return None;
        }
        self.lowers.redis.ask(plan, &self.metrics, key, ask)
    }

    /// Whether L3 may be asked about a key: it has nothing that may be too old.
    pub(super) fn may_ask_remote(&self, plan: Plan, key: &[u8]) -> bool {
        self.is_below_known(plan, key) && self.lowers.redis.may_ask(plan, &self.metrics, key)
    }

    /// False while the store doubts what is below it of a key, or a value is on its way there.
    fn is_below_known(&self, plan: Plan, key: &[u8]) -> bool {
        self.is_trusted_below(plan, key) && self.is_settled_below(key)
    }

    /// False while the store doubts what is below it of a key.
    fn is_trusted_below(&self, plan: Plan, key: &[u8]) -> bool {
        let Some(shared) = self.lowers.shared.opened().filter(|it| it.doubts_below(key)) else {
            return true;
        };
        self.settle_doubt(plan, shared, key);
        !shared.doubts_below(key)
    }

    /// Changes a key in L3, or sees to it that nobody asks L3 about it. To be called before the
    /// key's stamp is raised.
    pub(super) fn change_remote(
        &self,
        plan: Plan,
        key: &[u8],
        ask: impl FnOnce(&Remote) -> Result<()>,
    ) {
        let is_taken = self.lowers.redis.change(plan, &self.metrics, key, |tier| {
            let taken = ask(tier);
            // Before the key is settled, and asked for again.
            self.hear_of(plan, key);
            taken
        });
        if !is_taken && !simulated::is_planted(Fault::NoDoubtAfterLostReply) {
            self.doubt_remote(key);
        }
    }

    /// Sees to it that nobody asks L3 about a key until it was removed there. To be called before
    /// the key's stamp is raised.
    pub(super) fn doubt_remote(&self, key: &[u8]) {
        match self.lowers.shared.opened() {
            Some(shared) => shared.doubt_below(key),
            None => self.lowers.redis.note(key),
        }
    }

    /// Clears L3, or sees to it that nobody asks L3 about anything until it was cleared.
    pub(super) fn clear_remote(&self, plan: Plan) {
        if simulated::is_planted(Fault::StaleAfterClear) {
            return;
        }
        if !self.lowers.redis.clear(plan, &self.metrics, || self.hear_of_all(plan)) {
            match self.lowers.shared.opened() {
                Some(shared) => shared.doubt_all_below(),
                None => self.lowers.redis.note_everything(),
            }
        }
    }

    fn settle_doubt(&self, plan: Plan, shared: &SharedTier, key: &[u8]) {
        if let Some(doubt) = shared.doubt_to_settle(key, self.lowers.redis.rest) {
            self.settle(plan, shared, doubt);
        }
    }

    /// True if it is settled.
    fn settle(&self, plan: Plan, shared: &SharedTier, doubt: SharedDoubt) -> bool {
        let clear = |tier: &Remote| tier.clear_group(doubt.group);
        let cleared = self.lowers.redis.call(plan, &self.metrics, clear).is_some();
        if cleared {
            self.hear_of_all(plan);
            shared.settle_below(doubt);
        }
        cleared
    }

    /// Settles what has rested, though nobody asks for it here: other hosts hear of a change that L3
    /// did not take only then.
    #[cfg(feature = "redis")]
    pub(super) fn settle_some(&self, plan: Plan) {
        self.send_tags(plan);
        match self.lowers.shared.opened() {
            Some(shared) => {
                shared.give_up_overdue();
                let doubts = shared.doubts_to_settle(self.lowers.redis.rest, SETTLED_PER_HEARTBEAT);
                // Where L3 does not take one it will not take the next.
                let _ = doubts.into_iter().all(|doubt| self.settle(plan, shared, doubt));
            }
            None => self.lowers.redis.replay(plan, &self.metrics, SETTLED_PER_HEARTBEAT),
        }
    }
}

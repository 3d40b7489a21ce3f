//! How tiers enter and leave a running cache.
//!
//! A change holds `changes` for its length and sees one plan; retiering takes it exclusively to
//! put the next plan in force. So every change is either known to a tier or in its ledger. Reads
//! do not take part: what they file carries its mark, and a mark of before is void where it could
//! be wrong (see `plan.rs`).

use std::{thread, time::Duration};

use super::{Event, Inner, change::closed};
use crate::{
    error::Result,
    event::Span,
    simulated::{self, Fault},
    tiering::{TierKind, Tiering},
};

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn retier(&self, tiering: Tiering) -> Result<()> {
        let span = Span::retier(self.plan.load().tiering().name(), tiering.name());
        let _in = span.enter();
        // Opening may take long (a new store is allocated): before changes are held up.
        self.open_lowers(tiering)?;
        self.put_in_force(tiering, false)
    }

    /// Puts tiers in force that were opened, or could not be.
    pub(super) fn put_in_force(&self, tiering: Tiering, is_split: bool) -> Result<()> {
        self.flush_for_retier();
        let exclusive = self.changes.write();
        let before = self.plan.load();
        if !before.is_open() {
            return Err(closed());
        }
        self.give_up_waiting();
        let leaves = |tier| before.tiering().has(tier) && !tiering.has(tier);
        // Who follows other hosts from now on did not hear of what they changed until now.
        let is_to_follow = self.follows(tiering) && !self.follows(before.tiering());
        let private_entries_are_void =
            (tiering.has(TierKind::Shared) || leaves(TierKind::Memory) || is_to_follow)
                && !simulated::is_planted(Fault::EraKept);
        let era = before.era().wrapping_add(u32::from(private_entries_are_void));
        let plan = before.with(tiering, era, is_split);
        // Before the plan: a store that other processes share must have lost what this process
        // changed alone before anybody here reads it. It is memory: 64 Ki removals take 0.1 s.
        self.lowers.shared.replay_now(plan, &self.metrics, usize::MAX);
        self.hand_tags_over();
        // From now on all processes of the host must know what L3 does not.
        if let Some(shared) = self.lowers.shared.opened() {
            self.lowers.redis.hand_notes_to(shared);
        }
        self.plan.store(plan);
        drop(exclusive);
        self.listen(plan);
        let from = before.tiering();
        self.events.tell(|| Event::Retier { from, to: tiering });
        if leaves(TierKind::Memory) {
            self.memory.clear();
        }
        // L3 is a round trip a key: its ledger blocks the keys and empties by and by.
        Ok(())
    }

    pub(super) fn open_lowers(&self, tiering: Tiering) -> Result<()> {
        if tiering.has(TierKind::Shared) {
            self.lowers.shared.open(&self.metrics)?;
        }
        if tiering.has(TierKind::Redis) {
            self.lowers.redis.open(&self.metrics)?;
        }
        if let (Some(shared), Some(_)) = (self.lowers.shared.opened(), self.lowers.redis.opened()) {
            shared.join_below();
        }
        Ok(())
    }

    /// Sees to it that a store that could not be opened is tried again when it is time, by a thread
    /// of its own: a store that is made anew takes long.
    #[cold]
    pub(super) fn retry_shared(&self) {
        if self.lowers.shared.is_retry_due() {
            let me = self.me.clone();
            let retry = thread::Builder::new().name("tierce-reopen".into());
            let started = retry.spawn(move || {
                if let Some(inner) = me.upgrade() {
                    inner.open_shared_late();
                }
            });
            if started.is_err() {
                // Without a thread for it the caller has to wait.
                self.open_shared_late();
            }
        }
    }

    /// Opens the store that the plan has and puts it in force as `retier` would.
    fn open_shared_late(&self) {
        let plan = self.plan.load();
        // An error that no later attempt can change is not kept: it was returned when the tiering
        // was chosen.
        if !plan.has(TierKind::Shared) || self.open_lowers(plan.tiering()).is_err() {
            return;
        }
        let Some(shared) = self.lowers.shared.opened() else { return };
        let _exclusive = self.changes.write();
        let plan = self.plan.load();
        self.give_up_waiting();
        self.lowers.shared.replay_now(plan, &self.metrics, usize::MAX);
        self.hand_tags_over();
        self.lowers.redis.hand_notes_to(shared);
        // Other processes have their say from now on.
        self.plan.store(plan.with(plan.tiering(), plan.era().wrapping_add(1), plan.is_split()));
    }

    pub(super) fn close(&self) {
        self.close_behind();
        let exclusive = self.changes.write();
        self.give_up_waiting();
        let plan = self.plan.load();
        self.plan.store(plan.closed());
        drop(exclusive);
        if plan.is_open() {
            self.close_sending();
            self.flights.cancel_all();
            // Not waited for: a loader may hang.
            self.crew.close(Duration::ZERO);
            self.tasks.close();
            self.fleet.close();
            self.events.close();
            self.lowers.redis.close();
            self.leave_post();
            self.lowers.shared.close();
            self.memory.clear();
        }
    }
}

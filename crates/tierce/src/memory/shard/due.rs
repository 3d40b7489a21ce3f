//! Which entries of a shard are over, and freeing those.

use std::sync::atomic::Ordering;

use super::{
    super::{
        departures::Departures,
        slab::Slab,
        slot::{number_of, numbered},
        statistics::RemovalCause,
    },
    Hit, Locked, Writer,
};
use crate::{clock::Millis, policy::Slot};

/// Expired entries that one insert frees: more than the one that it adds, so that the expired
/// never pile up.
const FREED_PER_INSERT: usize = 4;

/// Steps in the tree of deadlines in one insert.
const EXPIRY_STEPS_PER_INSERT: usize = 4;

impl<K, V> Writer<K, V> {
    /// When an entry really expires; never where there is none.
    pub(super) fn deadline_of(slab: &Slab<K, V>, time_to_idle: Option<u64>, slot: Slot) -> Millis {
        if number_of(slot) >= slab.used() || !slab.place(slot).is_live() {
            return Millis::NEVER;
        }
        let deadline = slab.place(slot).deadline();
        match (time_to_idle, slab.used_at(slot)) {
            (Some(idle), Some(used_at)) => {
                let used_at = used_at.load(Ordering::Relaxed);
                deadline.min(Millis(used_at.saturating_add(idle)))
            }
            _ => deadline,
        }
    }
}

impl<K, V> Locked<'_, K, V> {
    /// When the entry that was found expires.
    #[inline]
    pub(in crate::memory) fn deadline_of(&self, hit: Hit<K, V>) -> Millis {
        match self.writer.time_to_idle {
            // SAFETY: live, as `find` named it and the lock was not let go since.
            None => unsafe { hit.place.as_ref() }.deadline(),
            Some(_) => self.deadline(hit.slot),
        }
    }

    /// When the entry in a slot expires.
    #[inline]
    pub(in crate::memory) fn deadline(&self, slot: Slot) -> Millis {
        Writer::deadline_of(&self.writer.slab, self.writer.time_to_idle, slot)
    }

    /// True if a call that puts something in must read the clock first.
    #[inline]
    pub(in crate::memory) fn has_deadlines(&self) -> bool {
        self.writer.expiry.earliest() != Millis::NEVER || self.writer.time_to_idle.is_some()
    }

    /// Frees a few expired entries, as each insert does.
    #[inline]
    pub(in crate::memory) fn free_some(
        &mut self,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) {
        if self.writer.expiry.earliest() <= now {
            let mut steps = EXPIRY_STEPS_PER_INSERT;
            self.free_expired(now, FREED_PER_INSERT, &mut steps, departures);
        }
    }

    /// Frees up to `most` expired entries in as many steps as `steps` allows, and says how many.
    pub(in crate::memory) fn free_expired(
        &mut self,
        now: Millis,
        most: usize,
        steps: &mut usize,
        departures: &mut Departures<'_, K, V>,
    ) -> usize {
        for freed in 0..most {
            let writer = &mut *self.writer;
            let (slab, idle) = (&writer.slab, writer.time_to_idle);
            let deadline_of = |number| Writer::deadline_of(slab, idle, numbered(number));
            let Some(due) = writer.expiry.poll(now, steps, deadline_of) else { return freed };
            self.take(numbered(due), RemovalCause::Expired, departures);
        }
        most
    }
}

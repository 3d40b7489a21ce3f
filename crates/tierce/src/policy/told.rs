//! Policies for a shard that tells of each hit and keeps no reads or marks in its entries.

use std::collections::TryReserveError;

use super::{Entries, Lru, Policy as _, PolicyKind, Slot};

/// What such a shard asks of its policy; see [`super::Policy`] for the rules.
pub(crate) trait Policy {
    fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError>;
    fn on_insert(&mut self, slot: Slot);
    fn on_hit(&mut self, slot: Slot);
    fn on_remove(&mut self, slot: Slot);
    fn victim(&mut self) -> Option<Slot>;
    fn validate(&self, live: &[bool]);
}

/// Exact LRU, whichever kind was asked for.
#[derive(Debug)]
pub(crate) struct Chosen(Lru);

impl Chosen {
    pub(crate) fn new(_kind: PolicyKind) -> Self {
        Self(Lru::default())
    }
}

/// LRU asks nothing of the entries.
struct Unasked;

impl Entries for Unasked {
    fn reads(&self, _slot: Slot) -> u8 {
        0
    }
    fn set_reads(&self, _slot: Slot, _reads: u8) {}
    fn mark(&self, _slot: Slot) -> u8 {
        0
    }
    fn set_mark(&self, _slot: Slot, _mark: u8) {}
    fn hash(&self, _slot: Slot) -> u32 {
        0
    }
    fn cost(&self, _slot: Slot) -> u64 {
        1
    }
    fn prefetch(&self, _slot: Slot) {}
}

impl Policy for Chosen {
    fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        self.0.reserve(slots)
    }
    #[inline]
    fn on_insert(&mut self, slot: Slot) {
        self.0.on_insert(slot, &Unasked);
    }
    #[inline]
    fn on_hit(&mut self, slot: Slot) {
        self.0.on_hit(slot);
    }
    #[inline]
    fn on_remove(&mut self, slot: Slot) {
        self.0.on_remove(slot, &Unasked);
    }
    #[inline]
    fn victim(&mut self) -> Option<Slot> {
        self.0.victim(&Unasked)
    }
    fn validate(&self, live: &[bool]) {
        self.0.validate(live, &Unasked);
    }
}

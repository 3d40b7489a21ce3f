//! What a policy sees of a shard's entries.

use std::sync::atomic::Ordering;

use super::{
    super::{
        place::Place,
        slab::Slab,
        slot::{number_of, numbered},
    },
    Index,
};
use crate::{
    policy::{Entries, Entry, Slot},
    prefetch::prefetch,
};

pub(super) struct View<'a, K, V> {
    pub(super) slab: &'a Slab<K, V>,
    pub(super) table: &'a Index<K, V>,
    /// Weights count, not numbers.
    pub(super) by_weight: bool,
}

impl<K, V> Entry for Place<K, V> {
    #[inline]
    fn reads(&self) -> u8 {
        self.reads.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_reads(&self, reads: u8) {
        self.reads.store(reads, Ordering::Relaxed);
    }

    #[inline]
    fn mark(&self) -> u8 {
        self.mark.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_mark(&self, mark: u8) {
        self.mark.store(mark, Ordering::Relaxed);
    }

    #[inline]
    fn hash(&self) -> u32 {
        Self::hash(self)
    }
}

impl<K, V> Entries for View<'_, K, V> {
    type Entry = Place<K, V>;

    #[inline]
    fn entry(&self, slot: Slot) -> &Place<K, V> {
        self.slab.place(slot)
    }

    #[inline]
    fn place(&self, slot: Slot) -> Option<&Place<K, V>> {
        // A slab that was made smaller has fewer slots than the policy may remember.
        self.slab.segments().any(slot)
    }

    #[inline]
    fn cost(&self, entry: &Place<K, V>) -> u64 {
        // What is heavier than 4 GiB counts as that.
        if self.by_weight { u64::from(entry.weight()) } else { 1 }
    }

    #[inline]
    fn prefetch(&self, slot: Slot, ahead: usize) {
        prefetch(self.slab.segments().pointer(slot).wrapping_add(ahead).cast_const());
    }

    #[inline]
    fn lines_of(&self, slot: Slot, hash: u32) -> [*const u8; 2] {
        let place = self.slab.segments().pointer(slot).cast_const().cast();
        [place, self.table.current(hash).line_of(hash)]
    }

    #[inline]
    fn after(&self, slot: Slot) -> Slot {
        self.slab.after(slot)
    }

    #[inline]
    fn number(&self, slot: Slot) -> usize {
        number_of(slot) as usize
    }

    fn numbered(&self, number: usize) -> Slot {
        numbered(number as u32)
    }
}

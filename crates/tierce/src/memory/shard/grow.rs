//! The index of a shard, as far as it grows: a few buckets at each insert.

use std::{ptr::NonNull, sync::atomic::Ordering};

use super::{
    super::{
        departures::Departures, index::MOST_OF_HOME, slot::MAX_SLOTS, statistics::RemovalCause,
    },
    Index, Locked, OwnedTable, Room,
};
use crate::{
    policy::{NO_SLOT, Slot},
    prefetch::prefetch,
};

/// Home buckets that one insert moves while a table grows: so few that no insert takes long, and
/// so many that a table that was to grow is hardly fuller when all have moved, and that it is seldom
/// left in two parts: while it is, a read takes a fifth longer, and it stays so if nothing is put in.
const MOVED_PER_INSERT: u32 = 8;

/// A table grows by half: the load, and with it the memory per entry, stays within a third.
const fn grown(homes: u32) -> u32 {
    homes.saturating_add(homes / 2).saturating_add(1)
}

impl<K, V> Locked<'_, K, V> {
    /// Moves some entries to a larger table, or begins that, if it is time.
    #[inline]
    pub(super) fn grow(&mut self, departures: &mut Departures<'_, K, V>) {
        if self.table().next().is_some() {
            for _ in 0..MOVED_PER_INSERT {
                self.grow_step(departures);
            }
            self.fetch_next();
        } else if self.table().is_full(self.writer.len) {
            self.begin_to_grow();
        }
    }

    /// Has the index name a slot. False if that cannot be.
    pub(super) fn name(
        &mut self,
        hash: u32,
        slot: Slot,
        departures: &mut Departures<'_, K, V>,
    ) -> bool {
        loop {
            let table = self.table().current(hash);
            if table.insert(hash, slot) {
                return true;
            }
            if self.table().next().is_some() {
                self.grow_step(departures);
            } else if !self.table().is_worth_growing(self.writer.len) || !self.begin_to_grow() {
                // Keys whose hashes are all alike, or no memory for more buckets.
                match self.table().any(hash) {
                    Some(victim) => self.take(victim, RemovalCause::Size, departures),
                    None => return false,
                }
            }
        }
    }

    /// False if memory is short: the table stays as it is, and fuller than it should be.
    #[cold]
    fn begin_to_grow(&mut self) -> bool {
        if !self.reserve_rooms(1) {
            return false;
        }
        let table = self.table();
        let needed = Index::<K, V>::homes_for(self.writer.bounds.entries.min(MAX_SLOTS.into()));
        let mut homes = grown(table.homes());
        if table.homes() < needed && u64::from(homes) + u64::from(homes / 8) > u64::from(needed) {
            homes = needed;
        }
        let Some(next) = Index::new(homes, table.places()) else { return false };
        table.set_next(NonNull::from(Box::leak(next)));
        true
    }

    /// Has the entries fetched that the next insert moves: their hashes are in their places, anywhere
    /// in memory.
    fn fetch_next(&self) {
        let segments = self.writer.slab.segments();
        self.table().next_to_move(MOVED_PER_INSERT, |slot| {
            prefetch(segments.pointer(slot).cast_const());
        });
    }

    #[cold]
    pub(super) fn grow_step(&mut self, departures: &mut Departures<'_, K, V>) {
        // Of one in 10^8 steps, and not in memory of its own, which may be short.
        let (mut homeless, mut count) = (None, 0);
        let slab = &self.writer.slab;
        let table = self.table();
        let done = table.move_one(
            |slot| slab.place(slot).hash(),
            |slot| {
                homeless.get_or_insert([NO_SLOT; MOST_OF_HOME])[count] = slot;
                count += 1;
            },
        );
        if done && let Some(next) = table.next() {
            let old = self.root.swap(next.as_ptr(), Ordering::AcqRel);
            // SAFETY: leaked from a box when it was made, and owned again once, here.
            let old = unsafe { OwnedTable::new(old) };
            self.retire_room(Room::Table { _table: old });
        }
        for &slot in homeless.iter().flatten().take(count) {
            self.take_unnamed(slot, RemovalCause::Size, departures);
        }
    }
}

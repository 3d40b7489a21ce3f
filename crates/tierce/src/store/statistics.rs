//! Counters of all processes of the host, in the lock file.
//!
//! ```text
//! slot 0        what no longer has an owner: folded from slots of processes that are gone
//! slot 1..127   one open store each; its owner holds the write lock on the byte of that number
//! ```
//! A slot whose byte can be locked has no owner: the kernel let go of the lock with the last
//! descriptor. So no process ids are compared, and a forked child counts into its parent's slot.
//! Where all slots are taken, slot 0 is counted into directly. The counters are for people; no
//! decision depends on them. They start at zero with the first process that opens the store.

use std::{
    fs::File,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::store::{
    StoreStatistics, files,
    lock::{LockArea, STATISTICS_AT},
    map::shared_struct,
};

/// Slots, the shared one included.
pub(super) const SLOTS: u32 = 128;
pub(super) const COUNTERS: usize = 32;

shared_struct! {
    Slot, 256 { counters: [AtomicU64; COUNTERS] }
}

/// What is counted; numbers are part of the layout of the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Count {
    Hits = 0,
    Misses = 1,
    Puts = 2,
    Fills = 3,
    FillsAdopted = 4,
    FillsRefused = 5,
    Deletes = 6,
    Clears = 7,
    DroppedBusy = 8,
    DroppedNoRoom = 9,
    DroppedTooLarge = 10,
    DroppedRaced = 11,
    DroppedIo = 12,
    DroppedParked = 13,
    OwnerDeaths = 14,
    Corrupt = 15,
    IoErrors = 16,
    EvictedSize = 17,
    EvictedExpired = 18,
    Replaced = 19,
    Deleted = 20,
    Reinserted = 21,
    EpochsRaised = 22,
    Broken = 23,
}

/// The counters of one open store.
pub(super) struct Statistics {
    slot: u32,
}

impl Statistics {
    /// Takes a slot nobody owns, folding into the shared one what its last owner left.
    pub(super) fn claim(locks: &LockArea, file: &File) -> Self {
        for slot in 1..SLOTS {
            if files::lock_byte(file, u64::from(slot), files::ByteLock::Write).unwrap_or(false) {
                let (left, shared) = (at(locks, slot), at(locks, 0));
                for (left, shared) in left.counters.iter().zip(&shared.counters) {
                    shared.fetch_add(left.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                }
                return Self { slot };
            }
        }
        Self { slot: 0 }
    }

    #[inline]
    pub(super) fn add(&self, locks: &LockArea, count: Count, number: u64) {
        at(locks, self.slot).counters[count as usize].fetch_add(number, Ordering::Relaxed);
    }
}

fn at(locks: &LockArea, slot: u32) -> &Slot {
    locks.mapping().at(STATISTICS_AT + u64::from(slot) * 256)
}

/// The sums over all slots.
pub(super) fn sum(locks: &LockArea) -> StoreStatistics {
    let mut sums = [0_u64; COUNTERS];
    for slot in 0..SLOTS {
        for (sum, counter) in sums.iter_mut().zip(&at(locks, slot).counters) {
            *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
        }
    }
    named(&sums)
}

/// Counters by their names.
pub(super) fn named(counters: &[u64; COUNTERS]) -> StoreStatistics {
    let of = |count: Count| counters[count as usize];
    StoreStatistics {
        hits: of(Count::Hits),
        misses: of(Count::Misses),
        puts: of(Count::Puts),
        fills: of(Count::Fills),
        fills_adopted: of(Count::FillsAdopted),
        fills_refused: of(Count::FillsRefused),
        deletes: of(Count::Deletes),
        clears: of(Count::Clears),
        dropped_busy: of(Count::DroppedBusy),
        dropped_no_room: of(Count::DroppedNoRoom),
        dropped_too_large: of(Count::DroppedTooLarge),
        dropped_raced: of(Count::DroppedRaced),
        dropped_io: of(Count::DroppedIo),
        dropped_parked: of(Count::DroppedParked),
        owner_deaths: of(Count::OwnerDeaths),
        corrupt: of(Count::Corrupt),
        io_errors: of(Count::IoErrors),
        evicted_size: of(Count::EvictedSize),
        evicted_expired: of(Count::EvictedExpired),
        replaced: of(Count::Replaced),
        deleted: of(Count::Deleted),
        reinserted: of(Count::Reinserted),
        epochs_raised: of(Count::EpochsRaised),
        broken: of(Count::Broken),
    }
}

//! Counters of all processes of the host, in the lock file.
//!
//! ```text
//! slot 0        what no longer has an owner: folded from slots of processes that are gone
//! slot 1..127   one open store each; its owner holds the write lock on the byte of that number
//!
//! slot (1 KiB)  32 counters | 12 stripes of 8 counters, a cache line each
//! ```
//! A slot whose byte can be locked has no owner: the kernel let go of the lock with the last
//! descriptor. So no process ids are compared. Where all slots are taken, slot 0 is counted into
//! directly. The counters are for people; no decision depends on them. They start at zero with the
//! first process that opens the store.
//!
//! What every get and every put count must not cost a locked instruction, which would also wait
//! for all loads before it: 12 threads of a process have a **stripe** of their own for the first 8
//! counters, and add there with a load and a store. The others add to the slot. A thread has its
//! stripe until it ends, in all stores of the process. A forked child has its parent's descriptors,
//! memory and thread, but is another process: it takes a slot and stripes of its own when it first
//! counts.

use std::{
    array,
    cell::Cell,
    fs::File,
    mem::offset_of,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    store::{
        StoreStatistics, files,
        lock::{LockArea, STATISTICS_AT},
        map::shared_struct,
    },
    sync::{self, Mutex},
};

/// Slots, the shared one included.
pub(super) const SLOTS: u32 = 128;
/// Bytes of a slot.
pub(super) const SLOT_BYTES: u64 = 1024;
pub(super) const COUNTERS: usize = 32;
/// Counters that stripes have: those below in [`Count`].
const STRIPED: usize = 8;
/// More threads than this seldom count at the same time.
const STRIPES: u32 = 12;

shared_struct! {
    Stripe, 64 { counters: [AtomicU64; STRIPED] }
}

shared_struct! {
    Slot, 1024 {
        counters: [AtomicU64; COUNTERS],
        stripes: [Stripe; STRIPES as usize],
    }
}

/// What is counted; numbers are part of the layout of the lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Count {
    Hits = 0,
    Misses = 1,
    Puts = 2,
    Replaced = 3,
    Fills = 4,
    EvictedSize = 5,
    Deletes = 6,
    Deleted = 7,
    FillsRefused = 8,
    Clears = 9,
    DroppedBusy = 10,
    DroppedNoRoom = 11,
    DroppedTooLarge = 12,
    DroppedRaced = 13,
    DroppedIo = 14,
    DroppedParked = 15,
    OwnerDeaths = 16,
    Corrupt = 17,
    IoErrors = 18,
    FillsAdopted = 19,
    EvictedExpired = 20,
    Reinserted = 21,
    EpochsRaised = 22,
    Broken = 23,
}

/// A number together with the process ([`sync::generation`]) that has it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Held(u64);

impl Held {
    const NOTHING: Self = Self(0);

    fn new(generation: u32, number: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(number))
    }

    #[inline(always)]
    fn by(self, generation: u32) -> Option<u32> {
        ((self.0 >> 32) as u32 == generation).then_some(self.0 as u32)
    }
}

/// The stripes that threads of this process have, as bits.
static TAKEN: AtomicU64 = AtomicU64::new(Held::NOTHING.0);

thread_local! {
    /// The stripe of this thread; [`STRIPES`] for none. Without a destructor, so that it can be
    /// looked at for as long as the thread runs.
    static STRIPE: Cell<Held> = const { Cell::new(Held::NOTHING) };
    /// Gives the stripe back when the thread ends.
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        let generation = sync::generation();
        let mine = STRIPE.replace(Held::new(generation, STRIPES));
        if let Some(stripe) = mine.by(generation).filter(|stripe| *stripe < STRIPES) {
            // Release: who takes it next goes on from what was counted here.
            TAKEN.fetch_and(!(1 << stripe), Ordering::Release);
        }
    }
}

#[cold]
#[inline(never)]
fn take_stripe(generation: u32) {
    let mut stripe = STRIPES;
    if END.try_with(|_| ()).is_ok() {
        let _all_taken = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, |word| {
            let taken = Held(word).by(generation).unwrap_or(0);
            stripe = (!taken).trailing_zeros().min(STRIPES);
            (stripe < STRIPES).then(|| Held::new(generation, taken | 1 << stripe).0)
        });
    }
    STRIPE.set(Held::new(generation, stripe));
}

/// The counters of one open store.
pub(super) struct Statistics {
    /// A [`Held`] slot.
    slot: AtomicU64,
    /// Another description of the lock file, which holds the lock on the slot of a forked child.
    child: Mutex<Option<File>>,
}

impl Statistics {
    /// Takes a slot nobody owns, folding into the shared one what its last owner left.
    pub(super) fn claim(locks: &LockArea, file: &File) -> Self {
        let slot = Held::new(sync::generation(), claim(locks, file));
        Self { slot: AtomicU64::new(slot.0), child: Mutex::new(None) }
    }

    /// Adds to the stripe of this thread; false where it has none yet, or none is left.
    ///
    /// Calls nothing, so that who calls it need not make room for what is called.
    #[inline(always)]
    pub(super) fn add_striped(&self, locks: &LockArea, count: Count, number: u64) -> bool {
        let generation = sync::known_generation();
        let slot = Held(self.slot.load(Ordering::Relaxed)).by(generation);
        let (Some(slot @ 1..), Some(stripe)) = (slot, STRIPE.get().by(generation)) else {
            return false;
        };
        let stripe = at(locks, slot).stripes.get(stripe as usize);
        let Some(counter) = stripe.and_then(|stripe| stripe.counters.get(count as usize)) else {
            return false;
        };
        // Nobody else writes it.
        let sum = counter.load(Ordering::Relaxed).wrapping_add(number);
        counter.store(sum, Ordering::Relaxed);
        true
    }

    #[inline]
    pub(super) fn add(&self, locks: &LockArea, file: &File, count: Count, number: u64) {
        if !self.add_striped(locks, count, number) {
            self.add_anywhere(locks, file, count, number);
        }
    }

    #[cold]
    #[inline(never)]
    fn add_anywhere(&self, locks: &LockArea, file: &File, count: Count, number: u64) {
        let generation = sync::generation();
        let slot = Held(self.slot.load(Ordering::Relaxed)).by(generation);
        let slot = slot.unwrap_or_else(|| self.claim_as_child(locks, file, generation));
        if STRIPE.get().by(generation).is_none() {
            take_stripe(generation);
        }
        if !self.add_striped(locks, count, number) {
            at(locks, slot).counters[count as usize].fetch_add(number, Ordering::Relaxed);
        }
    }

    #[cold]
    #[inline(never)]
    fn claim_as_child(&self, locks: &LockArea, file: &File, generation: u32) -> u32 {
        let mut child = self.child.lock();
        if let Some(slot) = Held(self.slot.load(Ordering::Relaxed)).by(generation) {
            return slot;
        }
        // The descriptor at hand shares its locks with the parent's. Without another one, the
        // child counts with those that found no slot.
        let own = files::reopen(file).ok();
        let slot = own.as_ref().map_or(0, |own| claim(locks, own));
        *child = own;
        self.slot.store(Held::new(generation, slot).0, Ordering::Relaxed);
        slot
    }
}

/// Locks the byte of a slot nobody owns and empties it into the shared one; 0 where all are taken.
fn claim(locks: &LockArea, file: &File) -> u32 {
    for slot in 1..SLOTS {
        if files::lock_byte(file, u64::from(slot), files::ByteLock::Write).unwrap_or(false) {
            let shared = &at(locks, 0).counters;
            let left = at(locks, slot);
            let stripes = left.stripes.iter();
            for counters in stripes.map(|stripe| &stripe.counters[..]).chain([&left.counters[..]]) {
                for (left, shared) in counters.iter().zip(shared) {
                    shared.fetch_add(left.swap(0, Ordering::Relaxed), Ordering::Relaxed);
                }
            }
            return slot;
        }
    }
    0
}

#[inline]
fn at(locks: &LockArea, slot: u32) -> &Slot {
    locks.mapping().at(STATISTICS_AT + u64::from(slot) * SLOT_BYTES)
}

/// The sums over all slots.
pub(super) fn sum(locks: &LockArea) -> StoreStatistics {
    let mut sums = [0_u64; COUNTERS];
    for slot in 0..SLOTS {
        let slot = at(locks, slot);
        let stripes = slot.stripes.iter().map(|stripe| &stripe.counters[..]);
        for counters in stripes.chain([&slot.counters[..]]) {
            for (sum, counter) in sums.iter_mut().zip(counters) {
                *sum = sum.wrapping_add(counter.load(Ordering::Relaxed));
            }
        }
    }
    named(&sums)
}

/// The counters of a slot whose words are read by their offsets in it.
pub(super) fn of_slot(word: impl Fn(usize) -> u64) -> [u64; COUNTERS] {
    let at = |counters: usize, count: usize| word(counters + count * size_of::<u64>());
    let mut sums = array::from_fn(|count| at(offset_of!(Slot, counters), count));
    for stripe in 0..STRIPES as usize {
        let counters = offset_of!(Slot, stripes) + stripe * size_of::<Stripe>();
        for (count, sum) in sums.iter_mut().enumerate().take(STRIPED) {
            *sum = sum.wrapping_add(at(counters, count));
        }
    }
    sums
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

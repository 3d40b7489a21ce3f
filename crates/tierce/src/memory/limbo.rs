//! Retired entries: unlinked, but perhaps still looked at by readers.
//!
//! Three lists, one for each epoch in which a retired entry may still be seen (the present one and
//! the two before it), and one of those whose readers are gone. They are linked through the
//! places themselves, so retiring allocates nothing and cannot fail.
//!
//! Lists for the recent epochs: Fraser, "Practical lock-freedom", 2004, section 5.2.

use super::{place::Place, slab::Slab};
use crate::{
    policy::{NO_SLOT, Slot},
    sync::epoch::{self, Epoch},
};

/// How many epochs have lists of their own.
const EPOCHS: usize = 3;

/// So often, while the limbo fills up, the epoch is moved on if that interrupts nobody: mostly the
/// other threads read or write soon enough. Few, as each looks at the records of all threads, whose
/// lines these want back at once: with eight looks, two threads that insert took 4 % longer.
const LOOKS: usize = 3;

/// Should the epoch move on?
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Advance {
    No,
    /// If nobody need be interrupted for it.
    IfCheap,
    AtAnyPrice,
}

/// A list through the places' links. What came last is its first, so that a place that comes is
/// the only one that is stored to.
#[derive(Clone, Copy)]
struct List {
    first: Slot,
    last: Slot,
    count: u32,
}

const EMPTY: List = List { first: NO_SLOT, last: NO_SLOT, count: 0 };

impl List {
    #[inline]
    fn push<K, V>(&mut self, slot: Slot, place: &Place<K, V>) {
        place.set_next(self.first);
        if self.first == NO_SLOT {
            self.last = slot;
        }
        self.first = slot;
        self.count += 1;
    }

    /// Puts another list before this one.
    fn prepend<K, V>(&mut self, slab: &Slab<K, V>, other: &mut Self) {
        let other = std::mem::replace(other, EMPTY);
        if other.first == NO_SLOT {
            return;
        }
        match self.first {
            NO_SLOT => self.last = other.last,
            first => slab.place(other.last).set_next(first),
        }
        self.first = other.first;
        self.count += other.count;
    }
}

/// The retired entries of a shard. All calls need its lock. Two cache lines.
#[repr(C)]
pub(super) struct Limbo {
    /// Those that wait, and the sum of their weights as far as it fits.
    count: usize,
    /// Nobody sees these any more.
    ready: List,
    weight: u64,
    /// When it was last asked which these are.
    looked: Epoch,
    /// What waits was retired in these epochs ...
    retired: [Epoch; EPOCHS],
    /// ... each in the place of its number modulo [`EPOCHS`].
    waiting: [List; EPOCHS],
    weights: [u64; EPOCHS],
}

impl Limbo {
    pub(super) fn new() -> Self {
        let now = epoch::current();
        Self {
            count: 0,
            ready: EMPTY,
            weight: 0,
            looked: now,
            retired: [now; EPOCHS],
            waiting: [EMPTY; EPOCHS],
            weights: [0; EPOCHS],
        }
    }

    /// How many entries are here.
    pub(super) fn len(&self) -> usize {
        self.ready.count as usize + self.count
    }

    /// How many wait for readers.
    pub(super) fn waiting(&self) -> usize {
        self.count
    }

    /// The sum of the weights of those that wait, as far as it fits.
    pub(super) fn weight(&self) -> u64 {
        self.weight
    }

    /// Takes in an entry of this weight that the index no longer names.
    #[inline]
    pub(super) fn push<K, V>(
        &mut self,
        slab: &Slab<K, V>,
        slot: Slot,
        place: &Place<K, V>,
        weight: u64,
    ) {
        let now = epoch::current();
        let index = now.modulo(EPOCHS);
        if self.retired[index] != now {
            // That list is three epochs old at least: nobody can see what is in it.
            self.free_list(slab, index);
            self.retired[index] = now;
        }
        place.retire();
        self.waiting[index].push(slot, place);
        self.count += 1;
        self.weights[index] = self.weights[index].saturating_add(weight);
        self.weight = self.weight.saturating_add(weight);
    }

    /// Nobody sees what is in a list of those that wait.
    fn free_list<K, V>(&mut self, slab: &Slab<K, V>, index: usize) {
        self.count -= self.waiting[index].count as usize;
        self.weight = self.weight.saturating_sub(std::mem::take(&mut self.weights[index]));
        self.ready.prepend(slab, &mut self.waiting[index]);
    }

    /// Finds out which entries nobody can see any more.
    pub(super) fn look<K, V>(&mut self, slab: &Slab<K, V>) {
        for index in 0..EPOCHS {
            if self.waiting[index].count > 0 && epoch::is_over(self.retired[index]) {
                self.free_list(slab, index);
            }
        }
    }

    /// Takes out one entry that nobody can see any more.
    #[inline]
    pub(super) fn pop<K, V>(&mut self, slab: &Slab<K, V>) -> Option<Slot> {
        if self.ready.first == NO_SLOT {
            if self.count == 0 {
                return None;
            }
            // What bears the stamp of the present epoch is not over, nor will be before the next.
            let now = epoch::current();
            if now == self.looked {
                return None;
            }
            self.looked = now;
            self.look(slab);
            if self.ready.first == NO_SLOT {
                return None;
            }
        }
        let slot = self.ready.first;
        self.ready.first = slab.place(slot).next();
        self.ready.count -= 1;
        if self.ready.count == 0 {
            self.ready = EMPTY;
        }
        Some(slot)
    }

    /// Says that nobody sees any of what is here.
    pub(super) fn nobody_looks<K, V>(&mut self, slab: &Slab<K, V>) {
        (0..EPOCHS).for_each(|index| self.free_list(slab, index));
    }

    /// How badly the epoch should move on, if no more than so many entries, and so much weight,
    /// should wait.
    #[inline]
    pub(super) fn wants(&self, entries: usize, weight: u64) -> Advance {
        if self.count >= entries || self.weight >= weight {
            Advance::AtAnyPrice
        } else if self.count > 0 && self.count.is_multiple_of((entries / LOOKS).max(1)) {
            Advance::IfCheap
        } else {
            Advance::No
        }
    }

    /// Forgets all: the slab that they lie in is on its way out as a whole.
    pub(super) fn forget(&mut self) {
        *self = Self::new();
    }

    /// Asserts that the lists hold retired entries only, and as many as were counted.
    pub(super) fn validate<K, V>(&self, slab: &Slab<K, V>) {
        for list in self.waiting.iter().chain([&self.ready]) {
            let (mut count, mut slot) = (0, list.first);
            while slot != NO_SLOT {
                let place = slab.place(slot);
                assert!(place.holds() && !place.is_live(), "slot {slot} is not retired");
                count += 1;
                assert!(count <= list.count, "more retired entries than were counted");
                slot = place.next();
            }
            assert_eq!(count, list.count, "retired entries and their count");
        }
    }
}

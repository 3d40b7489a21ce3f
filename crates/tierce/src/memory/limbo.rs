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

/// A list through the places' links.
#[derive(Clone, Copy)]
struct List {
    first: Slot,
    last: Slot,
    count: usize,
    weight: u64,
}

const EMPTY: List = List { first: NO_SLOT, last: NO_SLOT, count: 0, weight: 0 };

impl List {
    /// Puts another list behind this one.
    fn append<K, V>(&mut self, slab: &Slab<K, V>, other: &mut Self) {
        let other = std::mem::replace(other, EMPTY);
        if other.first == NO_SLOT {
            return;
        }
        match self.first {
            NO_SLOT => self.first = other.first,
            _ => slab.place(self.last).set_next(other.first),
        }
        self.last = other.last;
        self.count += other.count;
        self.weight = self.weight.saturating_add(other.weight);
    }
}

/// The retired entries of a shard. All calls need its lock.
#[repr(C)]
pub(super) struct Limbo {
    /// Those that wait, and the sum of their weights as far as it fits.
    count: usize,
    weight: u64,
    /// Nobody sees these any more.
    ready: List,
    /// When it was last asked which these are.
    looked: Epoch,
    /// Retired in an epoch of that number modulo [`EPOCHS`] ...
    waiting: [List; EPOCHS],
    /// ... namely this one.
    retired: [Epoch; EPOCHS],
}

impl Limbo {
    pub(super) fn new() -> Self {
        let now = epoch::current();
        Self {
            count: 0,
            weight: 0,
            ready: EMPTY,
            looked: now,
            waiting: [EMPTY; EPOCHS],
            retired: [now; EPOCHS],
        }
    }

    /// How many entries are here.
    pub(super) fn len(&self) -> usize {
        self.ready.count + self.count
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
        place.set_next(NO_SLOT);
        let list = &mut self.waiting[index];
        match list.first {
            NO_SLOT => list.first = slot,
            _ => slab.place(list.last).set_next(slot),
        }
        list.last = slot;
        list.count += 1;
        list.weight = list.weight.saturating_add(weight);
        self.count += 1;
        self.weight = self.weight.saturating_add(weight);
    }

    /// Nobody sees what is in a list of those that wait.
    fn free_list<K, V>(&mut self, slab: &Slab<K, V>, index: usize) {
        self.count -= self.waiting[index].count;
        self.weight = self.weight.saturating_sub(self.waiting[index].weight);
        self.ready.append(slab, &mut self.waiting[index]);
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

    /// True if so many entries, or so much weight, wait that the epoch should move on.
    #[inline]
    pub(super) fn wants_advance(&self, entries: usize, weight: u64) -> bool {
        self.count >= entries || self.weight >= weight
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

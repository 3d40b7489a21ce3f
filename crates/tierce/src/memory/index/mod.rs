//! From a key's hash to its slot: an open-addressing table of 64-byte buckets that readers search
//! without a lock.
//!
//! ```text
//!   bucket:  [ 12 tags of 8 bits | passed by (8 bits) | - - - | 12 slots of 32 bits ]
//!             ^ 0 = empty           ^ entries that belong to this bucket or an earlier one and
//!                                     lie further on, as it was full
//! ```
//! The upper bits of a 32-bit hash choose the home bucket by multiplication, the lower eight are
//! the tag; an entry lies in its home bucket or, where that is full, in one of the next
//! 64. A search compares the twelve tags of a line at once and goes on only if the bucket
//! was passed by, so a hit costs this one line and that of the entry.
//!
//! # Reading without a lock
//! Writers hold the shard's lock; readers hold a pin ([`epoch`](crate::sync::epoch)), so that no
//! slot that they meet is used for another entry meanwhile. A writer stores the slot before the
//! tag (Release); a reader loads the tag before the slot (Acquire), and compares the key in any
//! case. Replacing a value swaps the slot in place, so a key that stays is never missed. A key
//! that is removed and put in again elsewhere may be missed by a search in between, and there was
//! a moment in that search when it was not there.
//!
//! How a table grows without a moment at which it is copied as a whole stands in `moving`.
//!
//! Layout and counters of passing entries as in Facebook's F14 (Bronson, Shi, 2019).

use std::{
    alloc::Layout,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicU32, Ordering},
};

use super::bucket::{Bucket, MOST_PASSED, WIDTH, tag_of};
use crate::{pages, policy::Slot, prefetch::prefetch};

mod moving;

/// How many buckets past its home an entry may lie. A run of full buckets is as long with a
/// chance of e^(-0.87 n) at the load where a table grows (Poisson, Chernoff bound), so that a fair
/// hash never comes to this limit; while a table grows it is fuller, and comes to it once in 10^8
/// inserts, which only makes it grow faster. For an unfair
/// one this bounds the work.
const REACH: u32 = 64;

/// What the buckets that a home reaches can name.
pub(super) const MOST_OF_HOME: usize = (REACH as usize + 1) * WIDTH;

/// The buckets behind the last home: an eighth of the homes, within these.
const LEAST_BEHIND: u32 = 4;

/// Entries per bucket, in tenths, above which the table grows: two thirds of the places. So one
/// bucket of twelve is passed by, and most searches for keys that are not there end in the home
/// bucket; at four fifths, which would save 1.3 bytes an entry, it would be every third.
const LOAD_TENTHS: u64 = 80;

/// Entries per bucket below which a table does not grow because a run of buckets is full: the
/// hashes are alike, and it would not help.
const LEAST_LOAD_TENTHS: u64 = 40;

/// So many that the buckets behind them can be numbered as well.
const MOST_HOMES: u32 = u32::MAX - REACH;

/// What the home bucket alone says of a key.
pub(super) enum Home<R> {
    Found(R),
    Absent,
    /// The key may be elsewhere.
    Unsure,
}

/// Where an entry is named, for as long as the table is.
#[derive(Clone, Copy)]
pub(super) struct Spot {
    bucket: NonNull<Bucket>,
    position: u32,
}

/// What readers need of a shard: one line, changed only when the index grows.
///
/// `P` is what slots are numbers of; a table only carries the pointer, so that a reader gets both
/// from one load.
#[repr(align(64))]
pub(super) struct Table<P> {
    buckets: NonNull<Bucket>,
    /// Buckets that are home to hashes.
    homes: u32,
    /// All buckets: some more follow the homes, for what does not find room in the last of them.
    total: u32,
    /// Home buckets below this number are looked up in `next`.
    moved: AtomicU32,
    /// The successor, once there is one; never changes after that.
    next: AtomicPtr<Table<P>>,
    /// A stand-in while the shard's entries move to other memory: what is not found here has to
    /// be looked for again once the shard's lock was free.
    in_transit: bool,
    places: NonNull<P>,
}

// SAFETY: the table itself holds atomics; what `places` points to is `Sync` by the bound of those
// who use it.
unsafe impl<P> Send for Table<P> {}
// SAFETY: as above.
unsafe impl<P> Sync for Table<P> {}

impl Spot {
    #[inline]
    fn new(bucket: &Bucket, position: usize) -> Self {
        Self { bucket: NonNull::from(bucket), position: position as u32 }
    }
}

impl<P> Table<P> {
    /// The buckets that `entries` need.
    pub(super) fn homes_for(entries: u64) -> u32 {
        let homes = entries.saturating_mul(10).div_ceil(LOAD_TENTHS).max(1);
        u32::try_from(homes).unwrap_or(MOST_HOMES).min(MOST_HOMES)
    }

    /// A table without entries, or `None` if memory is short.
    pub(super) fn new(homes: u32, places: NonNull<P>) -> Option<Box<Self>> {
        let total = homes + (homes / 8).clamp(LEAST_BEHIND, REACH);
        let layout = Self::layout(total)?;
        // Zeros are what an empty bucket consists of.
        let buckets = pages::allocate(layout)?.cast::<Bucket>();
        // Where there is no room for it, it is dropped, and the buckets with it.
        super::try_box(Self {
            buckets,
            homes,
            total,
            moved: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            in_transit: false,
            places,
        })
    }

    /// Makes the table a stand-in.
    pub(super) fn in_transit(mut self: Box<Self>) -> Box<Self> {
        self.in_transit = true;
        self
    }

    pub(super) fn is_in_transit(&self) -> bool {
        self.in_transit
    }

    fn layout(total: u32) -> Option<Layout> {
        Layout::array::<Bucket>(total as usize).ok()
    }

    /// The last bucket in which entries of a home may lie.
    #[inline]
    fn last_of(&self, home: u32) -> u32 {
        (home + REACH).min(self.total - 1)
    }

    pub(super) fn homes(&self) -> u32 {
        self.homes
    }

    #[inline]
    pub(super) fn places(&self) -> NonNull<P> {
        self.places
    }

    #[inline]
    pub(super) fn home(&self, hash: u32) -> u32 {
        ((u64::from(hash) * u64::from(self.homes)) >> 32) as u32
    }

    #[inline]
    fn bucket(&self, number: u32) -> &Bucket {
        #[cfg(test)]
        super::work::look();
        debug_assert!(number < self.total);
        // SAFETY: `total` buckets were allocated and live as long as the table; `home` is below
        // `homes`, and every walk ends at `last_of` at the latest, which is below `total`.
        unsafe { self.buckets.add(number as usize).as_ref() }
    }

    /// Tells the processor to fetch the home bucket of a hash.
    #[inline]
    pub(super) fn prefetch(&self, hash: u32) {
        prefetch(self.line_of(hash));
    }

    /// The line of the home bucket of a hash, for a prefetch.
    #[inline]
    pub(super) fn line_of(&self, hash: u32) -> *const u8 {
        self.buckets.as_ptr().cast_const().wrapping_add(self.home(hash) as usize).cast()
    }

    /// Names the slots at which a hash may be found, as far as its home bucket tells: to be fetched, its bucket
    /// being at hand.
    #[inline]
    pub(super) fn candidates<'a>(&'a self, hash: u32, mut fetch: impl FnMut(&'a P, Slot)) {
        let table = self.current(hash);
        let bucket = table.bucket(table.home(hash));
        let mut positions = bucket.matching_now(hash);
        while positions != 0 {
            let position = positions.trailing_zeros() as usize;
            let slot = bucket.slot(position, Ordering::Acquire);
            // SAFETY: what `places` points to lives as long as the tables that carry it.
            let places = unsafe { table.places.as_ref() };
            fetch(places, slot);
            positions &= positions - 1;
        }
    }

    /// Asks `found` about the slots in the home bucket that a key of this hash may have, until
    /// it says something: the whole search for nine keys of ten.
    #[inline]
    pub(super) fn search_home<R>(
        &self,
        hash: u32,
        mut found: impl FnMut(Slot) -> Option<R>,
    ) -> Home<R> {
        let table = self.current(hash);
        let bucket = table.bucket(table.home(hash));
        let mut positions = bucket.matching_now(hash);
        while positions != 0 {
            let position = positions.trailing_zeros() as usize;
            if let Some(result) = found(bucket.slot(position, Ordering::Acquire)) {
                return Home::Found(result);
            }
            positions &= positions - 1;
        }
        // A successor may have taken over during the search.
        if bucket.is_passed() || table.in_transit || table.successor_of(hash).is_some() {
            return Home::Unsure;
        }
        Home::Absent
    }

    /// Asks `found` about each slot that a key of this hash may have, until it says something.
    /// Only this table is searched.
    #[inline]
    pub(super) fn search<R>(
        &self,
        hash: u32,
        mut found: impl FnMut(Slot) -> Option<R>,
    ) -> Option<R> {
        let home = self.home(hash);
        let mut number = home;
        loop {
            let bucket = self.bucket(number);
            let mut positions = bucket.matching_now(hash);
            while positions != 0 {
                let position = positions.trailing_zeros() as usize;
                // The slot may be newer than the tag; it is a slot in any case.
                let slot = bucket.slot(position, Ordering::Acquire);
                if let Some(result) = found(slot) {
                    return Some(result);
                }
                positions &= positions - 1;
            }
            // After the tags: a key that came to lie further on since was counted before.
            if !bucket.is_passed() || number == self.last_of(home) {
                return None;
            }
            number += 1;
        }
    }

    /// Where the index names an entry that `is_it` knows. Only under the lock.
    #[inline]
    pub(super) fn find(
        &self,
        hash: u32,
        mut is_it: impl FnMut(Slot) -> bool,
    ) -> Option<(Spot, Slot)> {
        let home = self.home(hash);
        let bucket = self.bucket(home);
        if let Some(position) = bucket.position_of(tag_of(hash), &mut is_it) {
            return Some((Spot::new(bucket, position), bucket.slot(position, Ordering::Relaxed)));
        }
        if bucket.passed() == 0 {
            return None;
        }
        let (number, position) = self.find_beyond(home, hash, is_it)?;
        let bucket = self.bucket(number);
        Some((Spot::new(bucket, position), bucket.slot(position, Ordering::Relaxed)))
    }

    /// The bucket and position of an entry that is not in its home bucket.
    #[inline(never)]
    fn find_beyond(
        &self,
        home: u32,
        hash: u32,
        mut is_it: impl FnMut(Slot) -> bool,
    ) -> Option<(u32, usize)> {
        for number in home + 1..=self.last_of(home) {
            let bucket = self.bucket(number);
            if let Some(position) = bucket.position_of(tag_of(hash), &mut is_it) {
                return Some((number, position));
            }
            if bucket.passed() == 0 {
                break;
            }
        }
        None
    }

    /// Where the index names this slot. Only under the lock.
    pub(super) fn spot(&self, hash: u32, slot: Slot) -> Option<Spot> {
        self.find(hash, |other| other == slot).map(|(spot, _)| spot)
    }

    /// Names a slot; false if there is no room within reach. Only under the lock.
    #[must_use]
    #[inline]
    pub(super) fn insert(&self, hash: u32, slot: Slot) -> bool {
        let home = self.home(hash);
        let bucket = self.bucket(home);
        if let Some(position) = bucket.free_position() {
            bucket.set_slot(position, slot);
            bucket.set_tag(position, tag_of(hash));
            return true;
        }
        self.insert_beyond(home, hash, slot)
    }

    /// Names a slot whose home bucket is full.
    fn insert_beyond(&self, home: u32, hash: u32, slot: Slot) -> bool {
        for number in home + 1..=self.last_of(home) {
            let bucket = self.bucket(number);
            if let Some(position) = bucket.free_position() {
                // Readers must see that earlier buckets were passed before they can need it.
                for passed in home..number {
                    self.bucket(passed).pass();
                }
                bucket.set_slot(position, slot);
                bucket.set_tag(position, tag_of(hash));
                return true;
            }
        }
        false
    }

    /// Names another slot of the same key in place. Only under the lock.
    #[inline]
    pub(super) fn swap(&self, spot: Spot, slot: Slot) {
        self.bucket_of(spot).set_slot(spot.position as usize, slot);
    }

    /// Names a slot no longer. Only under the lock.
    #[inline]
    pub(super) fn remove(&self, hash: u32, spot: Spot) {
        let bucket = self.bucket_of(spot);
        bucket.set_tag(spot.position as usize, 0);
        let home = self.home(hash);
        if !ptr::eq(bucket, self.bucket(home)) {
            let passed = (home..self.total).map(|number| self.bucket(number));
            passed.take_while(|passed| !ptr::eq(*passed, bucket)).for_each(Bucket::unpass);
        }
    }

    /// Names a slot no longer, if it was named. Only under the lock.
    #[inline]
    pub(super) fn remove_slot(&self, hash: u32, slot: Slot) {
        let home = self.home(hash);
        let bucket = self.bucket(home);
        match bucket.position_of(tag_of(hash), |other| other == slot) {
            Some(position) => bucket.set_tag(position, 0),
            None => self.remove_beyond(home, hash, slot),
        }
    }

    /// Names a slot no longer that does not lie in its home bucket.
    #[inline(never)]
    fn remove_beyond(&self, home: u32, hash: u32, slot: Slot) {
        if let Some((number, position)) = self.find_beyond(home, hash, |other| other == slot) {
            self.bucket(number).set_tag(position, 0);
            (home..number).for_each(|passed| self.bucket(passed).unpass());
        }
    }

    /// The bucket of a spot of this table.
    #[inline]
    fn bucket_of(&self, spot: Spot) -> &Bucket {
        let last = ptr::from_ref(self.bucket(self.total - 1));
        debug_assert!(
            (ptr::from_ref(self.bucket(0))..=last).contains(&spot.bucket.as_ptr().cast_const()),
            "a spot of another table"
        );
        // SAFETY: spots are made by `find`, of buckets of the table; they are used
        // with the table that they were found in, which lives as long as its buckets.
        unsafe { spot.bucket.as_ref() }
    }

    /// Any slot that lies in the home bucket of a hash, for when there is no room within reach.
    pub(super) fn any(&self, hash: u32) -> Option<Slot> {
        let bucket = self.bucket(self.home(hash));
        (bucket.tag(0) != 0).then(|| bucket.slot(0, Ordering::Relaxed))
    }

    /// The least hash whose home comes after this bucket; 2^32 after the last one.
    pub(super) fn end_of_home(&self, home: u32) -> u64 {
        ((u64::from(home) + 1) << 32).div_ceil(u64::from(self.homes))
    }

    /// Calls `each` for every slot in this bucket and those after it that its entries may lie in;
    /// others lie there as well.
    pub(super) fn of_home(&self, home: u32, mut each: impl FnMut(Slot)) {
        for number in home..=self.last_of(home) {
            let bucket = self.bucket(number);
            let mut taken = bucket.taken_now();
            while taken != 0 {
                each(bucket.slot(taken.trailing_zeros() as usize, Ordering::Acquire));
                taken &= taken - 1;
            }
            if !bucket.is_passed() {
                break;
            }
        }
    }

    /// Asserts that the counts of passing entries are right, and calls `each` with every slot
    /// that this table is asked for, that is, those that were not moved. Only under the lock.
    pub(super) fn validate(&self, hash_of: impl Fn(Slot) -> u32, mut each: impl FnMut(Slot)) {
        let moved = self.moved.load(Ordering::Relaxed);
        let mut passed = vec![0_u64; self.total as usize];
        for number in moved..self.total {
            let bucket = self.bucket(number);
            for position in 0..WIDTH {
                if bucket.tag(position) == 0 {
                    continue;
                }
                let slot = bucket.slot(position, Ordering::Relaxed);
                let hash = hash_of(slot);
                let home = self.home(hash);
                assert_eq!(bucket.tag(position), tag_of(hash), "tag of {slot:#x}");
                assert!(
                    home >= moved && home <= number && number <= self.last_of(home),
                    "home of {slot:#x}"
                );
                (home..number).for_each(|number| passed[number as usize] += 1);
                each(slot);
            }
        }
        for number in moved..self.total {
            let counted = self.bucket(number).passed();
            let real = passed[number as usize];
            assert!(counted == real || counted == MOST_PASSED, "bucket {number} passed by");
        }
    }
}

impl<P> Drop for Table<P> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.total) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { pages::free(self.buckets.cast(), layout) };
        }
    }
}

/// A table that is on its way out while readers may still look at it: a pointer and no `Box`,
/// which would say that nobody else does.
pub(super) struct OwnedTable<P>(NonNull<Table<P>>);

impl<P> OwnedTable<P> {
    /// # Safety
    /// The table was leaked from a box, and nobody else will free it.
    pub(super) unsafe fn new(table: *mut Table<P>) -> Self {
        // SAFETY: a leaked box is not null.
        Self(unsafe { NonNull::new_unchecked(table) })
    }

    /// The successor.
    pub(super) fn next(&self) -> Option<NonNull<Table<P>>> {
        // SAFETY: the table is freed in `drop`.
        unsafe { self.0.as_ref() }.next()
    }
}

impl<P> Drop for OwnedTable<P> {
    fn drop(&mut self) {
        // SAFETY: ours to free, by the word given to `new`; who drops it knows that the readers
        // are gone.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes by slot, as the places know them.
    fn hash_of(slot: Slot) -> u32 {
        slot.wrapping_mul(0x9E37_79B9)
    }

    fn found(table: &Table<()>, number: u32) -> bool {
        let hash = hash_of(number);
        let is_it = |slot: Slot| (slot == number).then_some(());
        table.current(hash).search(hash, is_it).is_some()
    }

    #[test]
    fn a_table_that_moves_names_everything_at_every_step() {
        let seed = 11;
        let mut random = fastrand::Rng::with_seed(seed);
        let old = Table::<()>::new(40, NonNull::dangling()).unwrap();
        let new = Table::<()>::new(61, NonNull::dangling()).unwrap();
        let mut named = Vec::new();
        for number in 0..400 {
            assert!(old.insert(hash_of(number), number));
            named.push(number);
        }
        old.set_next(NonNull::from(&*new));
        let mut next_number = 400;
        loop {
            // Some go and some come while the table moves.
            for _ in 0..3 {
                let gone = named.swap_remove(random.usize(..named.len()));
                let hash = hash_of(gone);
                let table = old.current(hash);
                if gone % 2 == 0 {
                    table.remove(hash, table.spot(hash, gone).unwrap());
                } else {
                    table.remove_slot(hash, gone);
                }
                assert!(!found(&old, gone), "seed {seed}");
                let hash = hash_of(next_number);
                assert!(old.current(hash).insert(hash, next_number));
                named.push(next_number);
                next_number += 1;
            }
            let done = old.move_one(hash_of, |slot| panic!("no room for {slot:#x}"));
            assert!(named.iter().all(|number| found(&old, *number)), "seed {seed}");
            let mut seen = 0;
            for table in [&old, &new] {
                table.validate(hash_of, |_| seen += 1);
            }
            assert_eq!(seen, named.len(), "seed {seed}");
            if done {
                break;
            }
        }
        assert!(named.iter().all(|number| found(&new, *number)));
    }
}

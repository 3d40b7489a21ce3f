//! Where the entries of a shard lie: numbered places that never move.
//!
//! ```text
//!   address:  [ segment (7 bits) | place in it (25 bits) ]       what the index keeps
//!   slot:     the same places, numbered without gaps             what policy and deadlines use
//!   place:    [ hash | link | deadline | reads | mark | key | value ]
//!   segments: 16 16 16 16 | 32 32 32 32 | 64 64 64 64 | ...     four to each doubling
//! ```
//! A reader goes from an address to its place by a shift, a load and a multiplication; only
//! writers turn slots into addresses and back.
//!
//! Readers hold no lock while they look at a place, so a place stays where it is for as long as
//! the slab lives, and its key and value stay as they are for as long as somebody may look at
//! them. Growing adds a segment and copies nothing; what is allocated and not yet used is at most
//! a fourth, and the pages of a large segment cost nothing before they are used.
//!
//! # Who may touch a place
//! | state | key, value | changed by |
//! |---|---|---|
//! | free | not initialised | the shard's lock |
//! | live: an index names it | initialised, shared by readers | nobody |
//! | retired: unlinked, readers may still look | initialised, shared by readers | nobody |
//!
//! A retired place becomes free when no pin is left that could have seen it
//! ([`epoch`](crate::sync::epoch)); its key and value are moved out then.

use std::{
    alloc::{Layout, alloc, alloc_zeroed, dealloc},
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering},
};

use crate::{
    clock::Millis,
    policy::{NO_SLOT, Slot},
};

/// Segments to a doubling: with four, at most a fifth of the places is not in use.
const STEPS_PER_DOUBLING_BITS: u32 = 2;

/// The first doubling has this many places before it, so that the smallest segment has 16.
const OFFSET_BITS: u32 = 6;

/// The bits of an address that number the places of a segment.
const PLACE_BITS: u32 = 25;

/// Enough segments for [`MAX_SLOTS`].
const SEGMENTS: usize = ((27 - OFFSET_BITS) << STEPS_PER_DOUBLING_BITS) as usize;

/// So many that the largest segment's places can be told apart: 134 million, less what the first
/// doubling lacks.
pub(super) const MAX_SLOTS: u32 = (1 << 27) - (1 << OFFSET_BITS);

/// Where a place lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address(pub(super) u32);

impl Address {
    pub(super) fn of(slot: Slot) -> Self {
        let (segment, place) = locate(slot);
        Self((segment as u32) << PLACE_BITS | place as u32)
    }

    pub(super) fn slot(self) -> Slot {
        first_of(self.segment()) + self.place() as u32
    }

    #[inline]
    fn segment(self) -> usize {
        (self.0 >> PLACE_BITS) as usize
    }

    #[inline]
    fn place(self) -> usize {
        (self.0 & ((1 << PLACE_BITS) - 1)) as usize
    }
}

/// A cache line: places of 16, 32 or 64 bytes do not straddle two.
const ALIGNMENT: usize = 64;

/// From here on, some 2,200 years, a deadline is [`Millis::NEVER`]: the upper 14 of its 46 bits
/// are ones.
const NEVER: u64 = (NEVER_HIGH as u64) << 32;
const NEVER_HIGH: u16 = 0x3FFF;

/// Bits above those of a deadline: the place is named by the index ...
const LIVE: u16 = 0x8000;
/// ... and key and value are initialised, that is, it is live or retired.
const HOLDS: u16 = 0x4000;

/// The weight of an entry that does not fit 32 bits; the shard keeps the real one elsewhere.
pub(super) const HUGE: u32 = u32::MAX;

/// One entry, or room for one.
#[repr(C)]
pub(super) struct Place<K, V> {
    hash: AtomicU32,
    /// The entry's weight; where it is not live, the next slot of the list that it is in. Only
    /// under the lock.
    link: AtomicU32,
    deadline_low: AtomicU32,
    /// The upper 14 bits of the deadline, and the state of the place above them.
    deadline_high: AtomicU16,
    /// Reads since the policy last looked, as far as they were counted.
    pub(super) reads: AtomicU8,
    /// The policy's. Only under the lock.
    pub(super) mark: AtomicU8,
    key: UnsafeCell<MaybeUninit<K>>,
    value: UnsafeCell<MaybeUninit<V>>,
}

impl<K, V> Place<K, V> {
    /// # Safety
    /// `place` is valid for writes of a `Place`, and nobody else looks at it.
    unsafe fn clear(place: *mut Self) {
        // SAFETY:
        // 1. Valid for writes, by the caller's word; the fields are inside.
        // 2. No reference is made to a field before it is written.
        unsafe {
            (&raw mut (*place).hash).write(AtomicU32::new(0));
            (&raw mut (*place).link).write(AtomicU32::new(NO_SLOT));
            (&raw mut (*place).deadline_low).write(AtomicU32::new(0));
            (&raw mut (*place).deadline_high).write(AtomicU16::new(0));
            (&raw mut (*place).reads).write(AtomicU8::new(0));
            (&raw mut (*place).mark).write(AtomicU8::new(0));
        }
    }

    /// Puts an entry in; it is live from here on.
    ///
    /// # Safety
    /// The place is free and the caller holds the shard's lock.
    pub(super) unsafe fn fill(&self, hash: u32, weight: u32, deadline: Millis, key: K, value: V) {
        let deadline = deadline.0.min(NEVER);
        self.hash.store(hash, Ordering::Relaxed);
        self.link.store(weight, Ordering::Relaxed);
        self.deadline_low.store(deadline as u32, Ordering::Relaxed);
        self.deadline_high.store((deadline >> 32) as u16 | LIVE | HOLDS, Ordering::Relaxed);
        self.reads.store(0, Ordering::Relaxed);
        self.mark.store(0, Ordering::Relaxed);
        // SAFETY: a free place is looked at by nobody, and the lock keeps others from filling it.
        unsafe {
            (*self.key.get()).write(key);
            (*self.value.get()).write(value);
        }
    }

    /// # Safety
    /// The place is live or retired for as long as the reference is used: the caller holds a pin
    /// since before it learnt of the slot, or the shard's lock, or the whole cache.
    #[inline]
    pub(super) unsafe fn key(&self) -> &K {
        // SAFETY: live and retired places hold a key that nobody changes (see the table above).
        unsafe { (*self.key.get()).assume_init_ref() }
    }

    /// # Safety
    /// As [`key`](Self::key).
    #[inline]
    pub(super) unsafe fn value(&self) -> &V {
        // SAFETY: as in `key`.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Moves key and value out; the place is free from here on.
    ///
    /// # Safety
    /// The place is live or retired, nobody looks at it any more nor will, and the caller holds
    /// the shard's lock or the whole cache.
    pub(super) unsafe fn empty(&self) -> (K, V) {
        self.deadline_high.store(0, Ordering::Relaxed);
        // SAFETY: initialised, as the place is live or retired; its state says free from now on,
        // so neither is read again.
        unsafe { ((*self.key.get()).assume_init_read(), (*self.value.get()).assume_init_read()) }
    }

    #[inline]
    pub(super) fn hash(&self) -> u32 {
        self.hash.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn deadline(&self) -> Millis {
        let high = self.deadline_high.load(Ordering::Relaxed) & NEVER_HIGH;
        let high = u64::from(high) << 32;
        let deadline = high | u64::from(self.deadline_low.load(Ordering::Relaxed));
        if deadline >= NEVER { Millis::NEVER } else { Millis(deadline) }
    }

    /// True if there is no deadline. Cheaper than to look at it.
    #[inline]
    pub(super) fn never_expires(&self) -> bool {
        // No other deadline that a clock comes to has these upper bits.
        self.deadline_high.load(Ordering::Relaxed) & NEVER_HIGH == NEVER_HIGH
    }

    /// Of a live place; [`HUGE`] if the shard knows better. Only under the lock.
    #[inline]
    pub(super) fn weight(&self) -> u32 {
        self.link.load(Ordering::Relaxed)
    }

    /// Of a place that is not live. Only under the lock.
    #[inline]
    pub(super) fn next(&self) -> Slot {
        self.link.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn set_next(&self, next: Slot) {
        self.link.store(next, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_live(&self) -> bool {
        self.deadline_high.load(Ordering::Relaxed) & LIVE != 0
    }

    /// True if there are a key and a value, live or retired.
    pub(super) fn holds(&self) -> bool {
        self.deadline_high.load(Ordering::Relaxed) & HOLDS != 0
    }

    /// Says that the index no longer names this place.
    #[inline]
    pub(super) fn retire(&self) {
        let deadline = self.deadline_high.load(Ordering::Relaxed) & NEVER_HIGH;
        self.deadline_high.store(deadline | HOLDS, Ordering::Relaxed);
    }
}

/// The segment of a slot, and the place inside it.
#[inline]
fn locate(slot: Slot) -> (usize, usize) {
    let place = u64::from(slot) + (1 << OFFSET_BITS);
    let doubling = place.ilog2();
    let shift = doubling - STEPS_PER_DOUBLING_BITS;
    let segment = ((doubling - OFFSET_BITS) << STEPS_PER_DOUBLING_BITS)
        + ((place >> shift) as u32 & ((1 << STEPS_PER_DOUBLING_BITS) - 1));
    (segment as usize, (place & ((1 << shift) - 1)) as usize)
}

/// The first slot of a segment.
fn first_of(segment: usize) -> Slot {
    let steps = 1 << STEPS_PER_DOUBLING_BITS;
    let places = places(segment) as u32;
    places * (steps + (segment as u32 & (steps - 1))) - (1 << OFFSET_BITS)
}

/// How many places a segment has.
fn places(segment: usize) -> usize {
    1 << (OFFSET_BITS - STEPS_PER_DOUBLING_BITS + (segment as u32 >> STEPS_PER_DOUBLING_BITS))
}

/// The segments that are there. Readers look at it with a pin and no lock.
pub(super) struct Segments<K, V> {
    pointers: [AtomicPtr<Place<K, V>>; SEGMENTS],
    /// When each entry was used last, in milliseconds of the cache's clock; only where somebody
    /// asked for it.
    used_at: [AtomicPtr<AtomicU64>; SEGMENTS],
    tracks_use: bool,
}

impl<K, V> Segments<K, V> {
    /// # Safety
    /// The address is that of a slot that was handed out by the slab that these segments belong
    /// to, and the slab lives for as long as the reference.
    #[inline]
    pub(super) unsafe fn place(&self, address: Address) -> &Place<K, V> {
        // SAFETY:
        // 1. In bounds: slots that are handed out are below `MAX_SLOTS`, whose segments there are.
        // 2. The segment is there and the place was cleared: both come before the slot is handed
        //    out, and who learnt of the address from the index did so by an Acquire load.
        unsafe {
            let segment = self.pointers.get_unchecked(address.segment()).load(Ordering::Acquire);
            &*segment.add(address.place())
        }
    }

    /// When the entry was used last; `None` if this slab does not note it.
    ///
    /// # Safety
    /// As [`place`](Self::place).
    #[inline]
    pub(super) unsafe fn used_at(&self, address: Address) -> Option<&AtomicU64> {
        if !self.tracks_use {
            return None;
        }
        let times = self.used_at[address.segment()].load(Ordering::Acquire);
        // SAFETY: both kinds of segment are allocated together; the rest as in `place`. The
        // memory came zeroed, which is a valid `AtomicU64`.
        Some(unsafe { &*times.add(address.place()) })
    }

    /// Where a place lies in memory, also one that was never handed out.
    #[inline]
    pub(super) fn pointer(&self, address: Address) -> *mut Place<K, V> {
        let segment = self.pointers[address.segment() % SEGMENTS].load(Ordering::Acquire);
        segment.wrapping_add(address.place())
    }
}

/// The places of a shard, and which are free. All calls need the shard's lock.
pub(super) struct Slab<K, V> {
    /// Owned; a pointer and no `Box`, because readers hold it as well.
    segments: NonNull<Segments<K, V>>,
    /// Places below this number were handed out at least once.
    used: u32,
    /// Places below this number are allocated.
    allocated: u32,
    first_free: Slot,
    free: u32,
}

// SAFETY: the slab owns its entries and hands out shared references to them under the rules of
// the module; that is what `Send` of both and `Sync` of both allow.
unsafe impl<K: Send, V: Send> Send for Slab<K, V> {}
// SAFETY: as above.
unsafe impl<K: Send + Sync, V: Send + Sync> Sync for Slab<K, V> {}

impl<K, V> Slab<K, V> {
    /// A slab without places; `None` if memory is short.
    pub(super) fn new(tracks_use: bool) -> Option<Self> {
        let segments = NonNull::from(Box::leak(super::try_box(Segments {
            pointers: [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENTS],
            used_at: [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENTS],
            tracks_use,
        })?));
        Some(Self { segments, used: 0, allocated: 0, first_free: NO_SLOT, free: 0 })
    }

    #[inline]
    pub(super) fn segments(&self) -> &Segments<K, V> {
        // SAFETY: allocated in `new` and freed in `drop`; only shared references exist until then.
        unsafe { self.segments.as_ref() }
    }

    /// When the entry in a slot was used last; `None` if this slab does not note it.
    pub(super) fn used_at(&self, slot: Slot) -> Option<&AtomicU64> {
        assert!(slot < self.used, "slot {slot} was never handed out");
        // SAFETY: handed out, as just checked, and the slab outlives the reference.
        unsafe { self.segments().used_at(Address::of(slot)) }
    }

    /// How many places have been in use.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// How many places are allocated.
    pub(super) fn allocated(&self) -> u32 {
        self.allocated
    }

    /// A place that was handed out.
    #[inline]
    pub(super) fn place(&self, slot: Slot) -> &Place<K, V> {
        self.at(Address::of(slot))
    }

    /// As [`place`](Self::place), by its address.
    #[inline]
    pub(super) fn at(&self, address: Address) -> &Place<K, V> {
        let segment = self.segments().pointers[address.segment()].load(Ordering::Relaxed);
        assert!(!segment.is_null(), "{address:?} was never handed out");
        debug_assert!(address.slot() < self.used, "{address:?} was never handed out");
        // SAFETY: places of a segment that is there are cleared before anybody learns of their
        // numbers: index, policy, deadlines and lists name only slots that were handed out. The
        // slab outlives the reference.
        unsafe { &*segment.add(address.place()) }
    }

    /// True if [`take`](Self::take) has a place to give.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.first_free != NO_SLOT || self.used < self.allocated
    }

    /// How many places will be allocated after [`reserve`](Self::reserve).
    pub(super) fn next_allocated(&self) -> Option<u32> {
        if self.has_room() {
            return Some(self.allocated);
        }
        let (segment, _) = locate(self.allocated);
        (self.allocated < MAX_SLOTS).then(|| self.allocated + places(segment) as u32)
    }

    /// Makes sure that [`take`](Self::take) has a place to give; says false if memory is short.
    #[must_use]
    pub(super) fn reserve(&mut self) -> bool {
        if self.has_room() {
            return true;
        }
        if self.allocated >= MAX_SLOTS {
            return false;
        }
        let (segment, _) = locate(self.allocated);
        let count = places(segment);
        let Some(allocated) = self.allocated.checked_add(count as u32) else { return false };
        let Some((layout, use_layout)) = Self::layouts(segment) else { return false };
        if self.segments().tracks_use
            && self.segments().used_at[segment].load(Ordering::Relaxed).is_null()
        {
            // SAFETY: the layout is not of size zero.
            let used_at = unsafe { alloc_zeroed(use_layout) }.cast::<AtomicU64>();
            if used_at.is_null() {
                return false;
            }
            self.segments().used_at[segment].store(used_at, Ordering::Release);
        }
        // SAFETY: the layout is not of size zero: a place has a header.
        let places = unsafe { alloc(layout) }.cast::<Place<K, V>>();
        if places.is_null() {
            return false;
        }
        self.segments().pointers[segment].store(places, Ordering::Release);
        self.allocated = allocated;
        true
    }

    /// Takes a free place; [`reserve`](Self::reserve) must have said that there is one.
    #[inline]
    pub(super) fn take(&mut self) -> (Slot, &Place<K, V>) {
        let slot = self.first_free;
        if slot == NO_SLOT {
            return self.take_unused();
        }
        let next = self.place(slot).next();
        self.first_free = next;
        self.free -= 1;
        (slot, self.place(slot))
    }

    /// Takes a place for the first time.
    fn take_unused(&mut self) -> (Slot, &Place<K, V>) {
        assert!(self.used < self.allocated, "a place was reserved");
        let slot = self.used;
        // SAFETY: the segment is allocated, and nobody knows of this place yet.
        unsafe { Place::clear(self.segments().pointer(Address::of(slot))) };
        self.used += 1;
        (slot, self.place(slot))
    }

    /// Moves key and value out of a place and gives it back.
    ///
    /// # Safety
    /// As [`Place::empty`].
    #[inline]
    pub(super) unsafe fn empty(&mut self, slot: Slot) -> (K, V) {
        let first_free = self.first_free;
        let place = self.place(slot);
        // SAFETY: by the caller's word.
        let entry = unsafe { place.empty() };
        place.set_next(first_free);
        self.first_free = slot;
        self.free += 1;
        entry
    }

    /// Gives up all places from this one on, none of which may hold an entry; no place below may
    /// be free. Nobody may look at them any more.
    pub(super) fn truncate(&mut self, used: u32) {
        self.used = used;
        self.first_free = NO_SLOT;
        self.free = 0;
        let (last, place) = locate(used);
        let keep = if place == 0 { last } else { last + 1 };
        for segment in keep..SEGMENTS {
            self.free_segment(segment);
        }
        self.allocated = (0..keep).map(|segment| places(segment) as u32).sum();
    }

    fn free_segment(&self, segment: usize) {
        let Some((layout, use_layout)) = Self::layouts(segment) else { return };
        let segments = self.segments();
        let places = segments.pointers[segment].swap(ptr::null_mut(), Ordering::Relaxed);
        if !places.is_null() {
            // SAFETY: allocated in `reserve` with this layout, and nobody looks at it any more.
            // Entries that are still held were moved out by `drain`, or leak.
            unsafe { dealloc(places.cast(), layout) };
        }
        let used_at = segments.used_at[segment].swap(ptr::null_mut(), Ordering::Relaxed);
        if !used_at.is_null() {
            // SAFETY: as above.
            unsafe { dealloc(used_at.cast(), use_layout) };
        }
    }

    /// Moves everything that the places still hold, live or retired, out.
    pub(super) fn drain(&mut self, mut each: impl FnMut(K, V)) {
        for slot in 0..self.used {
            let place = self.place(slot);
            if place.holds() {
                // SAFETY: nobody looks at it any more: the caller has the slab for itself
                // (`&mut`, and no pin is left that could have seen it: `Shard::clear`, `Drop`).
                let (key, value) = unsafe { place.empty() };
                each(key, value);
            }
        }
        self.used = 0;
        self.first_free = NO_SLOT;
        self.free = 0;
    }

    /// Of a segment of places, and of one of times.
    fn layouts(segment: usize) -> Option<(Layout, Layout)> {
        let layout = Layout::array::<Place<K, V>>(places(segment)).ok()?;
        let use_layout = Layout::array::<AtomicU64>(places(segment)).ok()?;
        Some((layout.align_to(ALIGNMENT).ok()?, use_layout))
    }

    /// The number of free places that were in use; counted for `validate`.
    pub(super) fn count_free(&self) -> u32 {
        let (mut count, mut slot) = (0, self.first_free);
        while slot != NO_SLOT {
            assert!(!self.place(slot).holds(), "slot {slot} is free and holds an entry");
            count += 1;
            assert!(count <= self.used, "the list of free slots is a ring");
            slot = self.place(slot).next();
        }
        assert_eq!(count, self.free, "free slots and their count");
        count
    }
}

impl<K, V> Drop for Slab<K, V> {
    fn drop(&mut self) {
        (0..SEGMENTS).for_each(|segment| self.free_segment(segment));
        // SAFETY: leaked from a box in `new`, taken back once, here.
        drop(unsafe { Box::from_raw(self.segments.as_ptr()) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_a_place_of_its_own() {
        let mut at = 0_u32;
        for segment in 0..SEGMENTS {
            assert_eq!(first_of(segment), at);
            for place in [0, 1, places(segment) - 1] {
                let slot = at + place as u32;
                assert_eq!(locate(slot), (segment, place), "slot {slot}");
                assert_eq!(Address::of(slot).slot(), slot);
                assert_eq!(
                    (Address::of(slot).segment(), Address::of(slot).place()),
                    (segment, place)
                );
            }
            at += places(segment) as u32;
        }
        assert_eq!(at, MAX_SLOTS);
    }

    #[test]
    fn places_are_reused_and_entries_come_out_once() {
        let mut slab = Slab::<u64, String>::new(false).unwrap();
        let mut slots = Vec::new();
        for number in 0..1_000_u32 {
            assert!(slab.reserve());
            let (slot, place) = slab.take();
            // SAFETY: just taken, and there are no other threads.
            unsafe { place.fill(number, 7, Millis::NEVER, number.into(), number.to_string()) };
            slots.push(slot);
        }
        assert!(slab.allocated() < 1_300 && slab.used() == 1_000);
        for slot in slots.iter().step_by(2) {
            slab.place(*slot).retire();
            // SAFETY: there are no other threads.
            let (key, value) = unsafe { slab.empty(*slot) };
            assert_eq!((key, value), (u64::from(*slot), slot.to_string()));
        }
        assert_eq!(slab.count_free(), 500);
        for _ in 0..500 {
            assert!(slab.reserve());
            assert_eq!(slab.take().0 % 2, 0);
        }
        let mut left = Vec::new();
        slab.drain(|key, _| left.push(key));
        assert_eq!(left, (0..1_000).filter(|key| key % 2 == 1).collect::<Vec<u64>>());
    }

    #[test]
    fn deadlines_of_46_bits_are_exact_and_later_ones_are_never() {
        let mut slab = Slab::<u8, u8>::new(true).unwrap();
        assert!(slab.reserve());
        let slot = slab.take().0;
        for (deadline, kept) in [
            (Millis(0), Millis(0)),
            (Millis((7 << 32) + 5), Millis((7 << 32) + 5)),
            (Millis(NEVER - 1), Millis(NEVER - 1)),
            (Millis(NEVER), Millis::NEVER),
            (Millis::NEVER, Millis::NEVER),
        ] {
            // SAFETY: there are no other threads, and `u8` needs no drop.
            unsafe { slab.place(slot).fill(0, 0, deadline, 0, 0) };
            assert_eq!(slab.place(slot).deadline(), kept);
        }
    }
}

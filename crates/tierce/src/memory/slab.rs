//! Where the entries of a shard lie: places that never move.
//!
//! Readers hold no lock while they look at a [`Place`], so a place stays where it is for as long
//! as the slab lives, and its key and value stay as they are for as long as somebody may look at
//! them. Growing adds a segment and copies nothing; what is allocated and not yet used is at most
//! a fourth, and the pages of a large segment cost nothing before they are used.

use std::{
    alloc::Layout,
    ptr::{self, NonNull},
    sync::atomic::{AtomicPtr, AtomicU64, Ordering},
};

use super::{
    place::Place,
    slot::{
        MAX_SLOTS, NAMED_SEGMENTS, SEGMENTS, after, number_of, numbered, place_of, places,
        segment_of,
    },
};
use crate::{
    pages,
    policy::{FIRST_SLOT, NO_SLOT, Slot},
};

/// A cache line: places of 16, 32 or 64 bytes do not straddle two.
const ALIGNMENT: usize = 64;

/// The segments that are there. Readers look at it with a pin and no lock.
pub(super) struct Segments<K, V> {
    /// Those from [`SEGMENTS`] on are never there.
    pointers: [AtomicPtr<Place<K, V>>; NAMED_SEGMENTS],
    /// When each entry was used last, in milliseconds of the cache's clock; only where somebody
    /// asked for it.
    used_at: [AtomicPtr<AtomicU64>; SEGMENTS],
    tracks_use: bool,
}

impl<K, V> Segments<K, V> {
    /// # Safety
    /// The slot was handed out by the slab that these segments belong to, and the slab lives for
    /// as long as the reference.
    #[inline]
    pub(super) unsafe fn place(&self, slot: Slot) -> &Place<K, V> {
        // SAFETY:
        // 1. In bounds: slots that are handed out are below `MAX_SLOTS`, whose segments there are.
        // 2. The segment is there and the place was cleared: both come before the slot is handed
        //    out, and who learnt of it from the index did so by an Acquire load.
        unsafe {
            let segment = self.pointers.get_unchecked(segment_of(slot)).load(Ordering::Acquire);
            &*segment.add(place_of(slot))
        }
    }

    /// When the entry was used last; `None` if this slab does not note it.
    ///
    /// # Safety
    /// As [`place`](Self::place).
    #[inline]
    pub(super) unsafe fn used_at(&self, slot: Slot) -> Option<&AtomicU64> {
        if !self.tracks_use {
            return None;
        }
        let times = self.used_at[segment_of(slot)].load(Ordering::Acquire);
        // SAFETY: both kinds of segment are allocated together; the rest as in `place`. The
        // memory came zeroed, which is a valid `AtomicU64`.
        Some(unsafe { &*times.add(place_of(slot)) })
    }

    /// Where a place lies in memory, or would lie: the segment may not be there.
    #[inline]
    pub(super) fn pointer(&self, slot: Slot) -> *mut Place<K, V> {
        let segment = self.pointers[segment_of(slot)].load(Ordering::Acquire);
        segment.wrapping_add(place_of(slot))
    }

    /// The place of any slot that was ever handed out; `None` if its segment is gone. Without an
    /// entry its mark is 0. Only under the lock, as segments go.
    #[inline]
    pub(super) fn any(&self, slot: Slot) -> Option<&Place<K, V>> {
        let segment = self.pointers[segment_of(slot)].load(Ordering::Relaxed);
        if segment.is_null() {
            return None;
        }
        // SAFETY: segments come zeroed, and their places are only ever filled and emptied: all
        // that the atomics of a place may be is valid, and key and value may be uninitialised. In
        // bounds, as `slot` was handed out once.
        Some(unsafe { &*segment.add(place_of(slot)) })
    }
}

/// The places of a shard, and which are free. All calls need the shard's lock.
pub(super) struct Slab<K, V> {
    /// Owned; a pointer and no `Box`, because readers hold it as well.
    segments: NonNull<Segments<K, V>>,
    /// Places below this number were handed out at least once.
    used: u32,
    /// The place of that number.
    unused: Slot,
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
            pointers: [const { AtomicPtr::new(ptr::null_mut()) }; NAMED_SEGMENTS],
            used_at: [const { AtomicPtr::new(ptr::null_mut()) }; SEGMENTS],
            tracks_use,
        })?));
        let unused = FIRST_SLOT;
        Some(Self { segments, used: 0, unused, allocated: 0, first_free: NO_SLOT, free: 0 })
    }

    #[inline]
    pub(super) fn segments(&self) -> &Segments<K, V> {
        // SAFETY: allocated in `new` and freed in `drop`; only shared references exist until then.
        unsafe { self.segments.as_ref() }
    }

    /// When the entry in a slot was used last; `None` if this slab does not note it.
    pub(super) fn used_at(&self, slot: Slot) -> Option<&AtomicU64> {
        assert!(number_of(slot) < self.used, "slot {slot:#x} was never handed out");
        // SAFETY: handed out, as just checked, and the slab outlives the reference.
        unsafe { self.segments().used_at(slot) }
    }

    /// How many places have been in use.
    pub(super) fn used(&self) -> u32 {
        self.used
    }

    /// How many places are allocated.
    #[inline]
    pub(super) fn allocated(&self) -> u32 {
        self.allocated
    }

    /// The slot that follows in the order of numbers; after the last that was in use, the first.
    #[inline]
    pub(super) fn after(&self, slot: Slot) -> Slot {
        let next = after(slot);
        if next == self.unused { FIRST_SLOT } else { next }
    }

    /// A place that was handed out.
    #[inline]
    pub(super) fn place(&self, slot: Slot) -> &Place<K, V> {
        let segment = self.segments().pointers[segment_of(slot)].load(Ordering::Relaxed);
        assert!(!segment.is_null(), "slot {slot:#x} was never handed out");
        debug_assert!(number_of(slot) < self.used, "slot {slot:#x} was never handed out");
        // SAFETY: places of a segment that is there are cleared before anybody learns of their
        // names: index, policy, deadlines and lists name only slots that were handed out. The
        // slab outlives the reference.
        unsafe { &*segment.add(place_of(slot)) }
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
        let segment = segment_of(numbered(self.allocated));
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
        let segment = segment_of(numbered(self.allocated));
        let count = places(segment);
        let Some(allocated) = self.allocated.checked_add(count as u32) else { return false };
        let Some((layout, use_layout)) = Self::layouts(segment) else { return false };
        if self.segments().tracks_use
            && self.segments().used_at[segment].load(Ordering::Relaxed).is_null()
        {
            let Some(used_at) = pages::allocate(use_layout) else { return false };
            self.segments().used_at[segment].store(used_at.as_ptr().cast(), Ordering::Release);
        }
        let Some(places) = pages::allocate(layout) else { return false };
        self.segments().pointers[segment].store(places.as_ptr().cast(), Ordering::Release);
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
        debug_assert!(number_of(slot) < self.used, "slot {slot:#x} was never handed out");
        // SAFETY: the list names only slots that were handed out; places stay where they are for
        // as long as the slab lives, which outlives the reference.
        let place = unsafe { &*ptr::from_ref(self.segments().place(slot)) };
        self.first_free = place.next();
        self.free -= 1;
        (slot, place)
    }

    /// Takes a place for the first time.
    fn take_unused(&mut self) -> (Slot, &Place<K, V>) {
        assert!(self.used < self.allocated, "a place was reserved");
        let slot = self.unused;
        // SAFETY: the segment is allocated, and nobody knows of this place yet.
        unsafe { Place::clear(self.segments().pointer(slot)) };
        self.used += 1;
        self.unused = after(slot);
        (slot, self.place(slot))
    }

    /// Moves key and value out of a place and gives it back.
    ///
    /// # Safety
    /// As [`Place::empty`].
    #[inline]
    pub(super) unsafe fn empty(&mut self, slot: Slot) -> (K, V) {
        let place = NonNull::from(self.place(slot));
        // SAFETY: by the caller's word; places stay where they are.
        unsafe { self.empty_at(slot, place.as_ref()) }
    }

    /// As [`empty`](Self::empty), with the place of the slot at hand.
    ///
    /// # Safety
    /// As [`Place::empty`], and it is the place of the slot.
    #[inline]
    pub(super) unsafe fn empty_at(&mut self, slot: Slot, place: *const Place<K, V>) -> (K, V) {
        // SAFETY: by the caller's word.
        let place = unsafe { &*place };
        // SAFETY: by the caller's word.
        let entry = unsafe { place.empty() };
        place.set_next(self.first_free);
        self.first_free = slot;
        self.free += 1;
        entry
    }

    /// Gives up all places from this one on, none of which may hold an entry; no place below may
    /// be free. Nobody may look at them any more.
    pub(super) fn truncate(&mut self, used: u32) {
        self.used = used;
        self.unused = numbered(used);
        self.first_free = NO_SLOT;
        self.free = 0;
        let (last, place) = (segment_of(self.unused), place_of(self.unused));
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
        if let Some(places) = NonNull::new(places) {
            // SAFETY: allocated in `reserve` with this layout, and nobody looks at it any more.
            // Entries that are still held were moved out by `drain`, or leak.
            unsafe { pages::free(places.cast(), layout) };
        }
        let used_at = segments.used_at[segment].swap(ptr::null_mut(), Ordering::Relaxed);
        if let Some(used_at) = NonNull::new(used_at) {
            // SAFETY: as above.
            unsafe { pages::free(used_at.cast(), use_layout) };
        }
    }

    /// Moves everything that the places still hold, live or retired, out.
    pub(super) fn drain(&mut self, mut each: impl FnMut(K, V)) {
        for number in 0..self.used {
            let place = self.place(numbered(number));
            if place.holds() {
                // SAFETY: nobody looks at it any more: the caller has the slab for itself
                // (`&mut`, and no pin is left that could have seen it: `Shard::clear`, `Drop`).
                let (key, value) = unsafe { place.empty() };
                each(key, value);
            }
        }
        self.used = 0;
        self.unused = FIRST_SLOT;
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
    use crate::clock::Millis;

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
            let number = u64::from(number_of(*slot));
            assert_eq!((key, value), (number, number.to_string()));
        }
        assert_eq!(slab.count_free(), 500);
        for _ in 0..500 {
            assert!(slab.reserve());
            assert_eq!(number_of(slab.take().0) % 2, 0);
        }
        let mut left = Vec::new();
        slab.drain(|key, _| left.push(key));
        assert_eq!(left, (0..1_000).filter(|key| key % 2 == 1).collect::<Vec<u64>>());
    }

    #[test]
    fn deadlines_of_42_bits_are_exact_and_later_ones_are_never() {
        const LATEST: u64 = (1 << 42) - (2 << 10) - 1;
        let mut slab = Slab::<u8, u8>::new(true).unwrap();
        assert!(slab.reserve());
        let slot = slab.take().0;
        for (deadline, kept) in [
            (Millis(0), Millis(0)),
            (Millis(1_023), Millis(1_023)),
            (Millis(1_024), Millis(1_024)),
            (Millis((7 << 32) + 5), Millis((7 << 32) + 5)),
            (Millis(LATEST), Millis(LATEST)),
            (Millis(LATEST + 1), Millis::NEVER),
            (Millis::NEVER, Millis::NEVER),
        ] {
            // SAFETY: there are no other threads, and `u8` needs no drop.
            unsafe { slab.place(slot).fill(0, 0, deadline, 0, 0) };
            assert_eq!(slab.place(slot).deadline(), kept);
        }
    }
}

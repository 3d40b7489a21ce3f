//! One entry, or room for one.
//!
//! ```text
//!   place:  [ hash | link | span | rest, state | reads | mark | key | value ]
//!              4      4      4         2           1       1
//! ```
//! # Who may touch a place
//! | state | key, value | changed by |
//! |---|---|---|
//! | free | not initialised | the shard's lock |
//! | live: an index names it | initialised, shared by readers | nobody; who is alone |
//! | retired: unlinked, readers may still look | initialised, shared by readers | nobody |
//!
//! Who holds the lock and a [`Sole`](crate::sync::epoch::Sole) is alone: there are no readers then,
//! and those that come wait for its end.
//!
//! A retired place becomes free when no pin is left that could have seen it
//! ([`epoch`](crate::sync::epoch)); its key and value are moved out then.

use std::{
    cell::UnsafeCell,
    mem::{self, MaybeUninit},
    sync::atomic::{AtomicU8, AtomicU16, AtomicU32, Ordering},
};

use crate::{
    clock::{Millis, Span},
    policy::{NO_SLOT, Slot},
    prefetch::prefetch_pointees,
};

/// The bits of `rest` that hold milliseconds ...
const REST: u16 = (1 << Span::BITS) - 1;
/// ... and those above them: the place is named by the index ...
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
    /// The [`Span`] in which the deadline lies.
    span: AtomicU32,
    /// The milliseconds from its begin to the deadline, and the state of the place above them.
    rest: AtomicU16,
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
    pub(super) unsafe fn clear(place: *mut Self) {
        // SAFETY:
        // 1. Valid for writes, by the caller's word; the fields are inside.
        // 2. No reference is made to a field before it is written.
        unsafe {
            (&raw mut (*place).hash).write(AtomicU32::new(0));
            (&raw mut (*place).link).write(AtomicU32::new(NO_SLOT));
            (&raw mut (*place).span).write(AtomicU32::new(0));
            (&raw mut (*place).rest).write(AtomicU16::new(0));
            (&raw mut (*place).reads).write(AtomicU8::new(0));
            (&raw mut (*place).mark).write(AtomicU8::new(0));
        }
    }

    /// Puts an entry in; it is live from here on.
    ///
    /// # Safety
    /// The place is free and the caller holds the shard's lock.
    #[inline]
    pub(super) unsafe fn fill(&self, hash: u32, weight: u32, deadline: Millis, key: K, value: V) {
        let span = Span::of(deadline);
        self.hash.store(hash, Ordering::Relaxed);
        self.link.store(weight, Ordering::Relaxed);
        self.span.store(span.0, Ordering::Relaxed);
        self.rest.store(deadline.0 as u16 & REST | LIVE | HOLDS, Ordering::Relaxed);
        self.reads.store(0, Ordering::Relaxed);
        self.mark.store(0, Ordering::Relaxed);
        // SAFETY: a free place is looked at by nobody, and the lock keeps others from filling it.
        unsafe {
            (*self.key.get()).write(key);
            (*self.value.get()).write(value);
        }
    }

    /// Puts another value of the same key into a live place, and moves the entry out that was there.
    /// Reads and mark stay.
    ///
    /// # Safety
    /// The place is live, nobody looks at it nor can before this returns, and the caller holds the
    /// shard's lock.
    #[inline]
    pub(super) unsafe fn refill(&self, weight: u32, deadline: Millis, key: K, value: V) -> (K, V) {
        self.link.store(weight, Ordering::Relaxed);
        self.span.store(Span::of(deadline).0, Ordering::Relaxed);
        self.rest.store(deadline.0 as u16 & REST | LIVE | HOLDS, Ordering::Relaxed);
        // SAFETY:
        // 1. Nobody else looks at key and value, by the caller's word.
        // 2. Both are initialised, as the place is live, and again afterwards.
        unsafe {
            let old_key = (*self.key.get()).assume_init_mut();
            let old_value = (*self.value.get()).assume_init_mut();
            (mem::replace(old_key, key), mem::replace(old_value, value))
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

    /// Tells the processor to fetch what key and value point to.
    ///
    /// # Safety
    /// As [`key`](Self::key).
    #[inline(always)]
    pub(super) unsafe fn prefetch_pointees(&self) {
        // SAFETY: memory of a key and a value, as in `key`.
        unsafe {
            if const { mem::needs_drop::<K>() } {
                prefetch_pointees(self.key.get().cast_const());
            }
            self.prefetch_value_pointees();
        }
    }

    /// Tells the processor to fetch what the value points to, while the key is compared: to clone or to
    /// drop it, where owners are counted, is a locked instruction, and none begins before all that
    /// comes before it is done. So one would wait for memory after the other.
    ///
    /// # Safety
    /// As [`key`](Self::key).
    #[inline(always)]
    pub(super) unsafe fn prefetch_value_pointees(&self) {
        if const { mem::needs_drop::<V>() } {
            // SAFETY: memory of a value, as in `key`.
            unsafe { prefetch_pointees(self.value.get().cast_const()) };
        }
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
    #[inline]
    pub(super) unsafe fn empty(&self) -> (K, V) {
        self.rest.store(0, Ordering::Relaxed);
        // SAFETY: initialised, as the place is live or retired; its state says free from now on,
        // so neither is read again.
        unsafe { ((*self.key.get()).assume_init_read(), (*self.value.get()).assume_init_read()) }
    }

    #[inline]
    pub(super) fn hash(&self) -> u32 {
        self.hash.load(Ordering::Relaxed)
    }

    /// When the entry expires, idle time apart.
    #[inline]
    pub(super) fn deadline(&self) -> Millis {
        match self.span() {
            Span::NEVER => Millis::NEVER,
            Span(span) => {
                let rest = self.rest.load(Ordering::Relaxed) & REST;
                Millis(u64::from(span) << Span::BITS | u64::from(rest))
            }
        }
    }

    /// The span in which [`deadline`](Self::deadline) lies.
    #[inline]
    pub(super) fn span(&self) -> Span {
        Span(self.span.load(Ordering::Relaxed))
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
        self.rest.load(Ordering::Relaxed) & LIVE != 0
    }

    /// True if there are a key and a value, live or retired.
    pub(super) fn holds(&self) -> bool {
        self.rest.load(Ordering::Relaxed) & HOLDS != 0
    }

    /// Says that the index no longer names this place.
    #[inline]
    pub(super) fn retire(&self) {
        let rest = self.rest.load(Ordering::Relaxed);
        self.rest.store(rest & !LIVE, Ordering::Relaxed);
    }
}

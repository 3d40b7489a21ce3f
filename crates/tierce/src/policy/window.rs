//! The window of the adaptive policy: a ring of slot numbers, first in, first out.
//!
//! An entry that is removed from the middle leaves its number behind; whoever takes the front
//! must ask the slot's mark if it is still meant. A slot may therefore stand in the ring twice,
//! and the second entry to use it may leave a little early: that costs a hit at worst, where
//! links to find the place of any entry would cost 8 bytes a slot.

use super::Slot;
use crate::pages::Zeroed;

/// A ring of slot numbers in memory that grows only in [`reserve`](Self::reserve).
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Window {
    front: usize,
    len: usize,
    ring: Zeroed<Slot>,
}

impl Window {
    /// Makes room for so many slots; false if memory is short.
    #[must_use]
    pub(super) fn reserve(&mut self, places: usize) -> bool {
        if places <= self.ring.len() {
            return true;
        }
        let Some(mut ring) = Zeroed::new(places) else { return false };
        for nth in 0..self.len {
            ring[nth] = self.ring[self.place(nth)];
        }
        self.ring = ring;
        self.front = 0;
        true
    }

    /// The place of the `nth` number from the front; `nth` is at most the length of the ring.
    #[inline]
    fn place(&self, nth: usize) -> usize {
        let place = self.front + nth;
        if place < self.ring.len() { place } else { place - self.ring.len() }
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len == self.ring.len()
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Slot> {
        self.nth(0)
    }

    #[inline]
    pub(super) fn nth(&self, nth: usize) -> Option<Slot> {
        (nth < self.len).then(|| self.ring[self.place(nth)])
    }

    #[inline]
    pub(super) fn pop_front(&mut self) {
        if self.len > 0 {
            self.front = self.place(1);
            self.len -= 1;
        }
    }

    /// Puts a slot last. The ring must not be full.
    #[inline]
    pub(super) fn push_back(&mut self, slot: Slot) {
        let place = self.place(self.len);
        self.ring[place] = slot;
        self.len += 1;
    }

    /// Puts a slot first. The ring must not be full.
    pub(super) fn push_front(&mut self, slot: Slot) {
        self.front = if self.front == 0 { self.ring.len() - 1 } else { self.front - 1 };
        self.ring[self.front] = slot;
        self.len += 1;
    }

    pub(super) fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    pub(super) fn validate(&self) {
        assert!(self.len <= self.ring.len(), "window: more slots than places");
        assert!(self.front < self.ring.len().max(1), "window: the front is outside of the ring");
    }
}

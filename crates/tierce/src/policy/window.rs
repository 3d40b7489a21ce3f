//! The window of the adaptive policy: a ring of slot numbers, first in, first out.
//!
//! An entry that is removed from the middle leaves its number behind; whoever takes the front
//! must ask the slot's mark if it is still meant. A slot may therefore stand in the ring twice,
//! and the second entry to use it may leave a little early: that costs a hit at worst, where
//! links to find the place of any entry would cost 8 bytes a slot.

use std::mem::offset_of;

use super::Slot;
use crate::pages::Zeroed;

/// A ring of slot numbers in memory that grows only in [`reserve`](Self::reserve).
#[derive(Debug, Default)]
#[repr(C)]
pub(super) struct Window {
    /// The place of the first number ...
    front: u32,
    /// ... and that after the last one. Both below the length of the ring, unless that is 0.
    back: u32,
    len: u32,
    ring: Zeroed<Slot>,
}

impl Window {
    /// The bytes of the ends, with what follows them up to the ring.
    pub(super) const ENDS: usize = offset_of!(Self, ring);

    /// Makes room for so many slots; false if memory is short.
    #[must_use]
    pub(super) fn reserve(&mut self, places: usize) -> bool {
        if places <= self.ring.len() {
            return true;
        }
        let Ok(most) = u32::try_from(places) else { return false };
        let Some(mut ring) = Zeroed::new(places) else { return false };
        for (place, slot) in ring.iter_mut().zip(self.slots()) {
            *place = slot;
        }
        self.ring = ring;
        self.front = 0;
        self.back = self.len % most;
        true
    }

    /// All slots, from the front on.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        let (before, from_front) = self.ring.split_at(self.front as usize);
        from_front.iter().chain(before).copied().take(self.len as usize)
    }

    /// So many places after the front; `more` is at most the length of the ring.
    #[inline]
    fn after_front(&self, more: usize) -> usize {
        let place = self.front as usize + more;
        if place < self.ring.len() { place } else { place - self.ring.len() }
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.len as usize == self.ring.len()
    }

    #[inline]
    pub(super) fn front(&self) -> Option<Slot> {
        if self.len == 0 { None } else { self.ring.get(self.front as usize).copied() }
    }

    /// What the place so far behind the front holds, which may be a number of long ago where the
    /// window is shorter: for a hint. `behind` is at most 2.
    #[inline]
    pub(super) fn perhaps(&self, behind: usize) -> Option<Slot> {
        self.ring.get(self.after_front(behind)).copied()
    }

    #[inline]
    pub(super) fn pop_front(&mut self) {
        if self.len > 0 {
            self.front = self.after_front(1) as u32;
            self.len -= 1;
        }
    }

    /// Puts a slot last. The ring must not be full.
    #[inline]
    pub(super) fn push_back(&mut self, slot: Slot) {
        let back = self.back as usize;
        self.ring[back] = slot;
        self.back = if back + 1 < self.ring.len() { back as u32 + 1 } else { 0 };
        self.len += 1;
    }

    /// Puts a slot first. The ring must not be full.
    pub(super) fn push_front(&mut self, slot: Slot) {
        self.front = match self.front {
            0 => self.ring.len() as u32 - 1,
            front => front - 1,
        };
        self.ring[self.front as usize] = slot;
        self.len += 1;
    }

    pub(super) fn bytes(&self) -> usize {
        self.ring.bytes()
    }

    pub(super) fn validate(&self) {
        let places = self.ring.len();
        assert!(self.len as usize <= places, "window: more slots than places");
        assert!((self.front as usize) < places.max(1), "window: the front is outside of the ring");
        let back = (self.front as usize + self.len as usize).checked_rem(places).unwrap_or(0);
        assert_eq!(self.back as usize, back, "window: the back is not behind the last slot");
    }
}

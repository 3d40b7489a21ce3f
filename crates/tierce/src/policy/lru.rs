//! Exact LRU: a doubly linked list through the slots, most recent first.
//!
//! ```text
//!   newest -> [prev|next] <-> [prev|next] <-> [prev|next] <- oldest (the victim)
//!   links[slot], slots named by u32; the list ends in NO_SLOT on both sides
//! ```
//! The links lie apart from the entries, so that moving an entry to the front does not touch its
//! neighbours' keys and values.

use std::collections::TryReserveError;

use super::{NO_SLOT, Policy, Slot};

#[derive(Clone, Copy, Debug)]
struct Link {
    newer: Slot,
    older: Slot,
}

/// Exact least-recently-used order over slot numbers.
#[derive(Debug)]
pub(crate) struct Lru {
    links: Vec<Link>,
    newest: Slot,
    oldest: Slot,
}

impl Default for Lru {
    fn default() -> Self {
        Self { links: Vec::new(), newest: NO_SLOT, oldest: NO_SLOT }
    }
}

impl Lru {
    #[inline]
    fn link_newest(&mut self, slot: Slot) {
        self.links[slot as usize] = Link { newer: NO_SLOT, older: self.newest };
        match self.newest {
            NO_SLOT => self.oldest = slot,
            second => self.links[second as usize].newer = slot,
        }
        self.newest = slot;
    }

    #[inline]
    fn unlink(&mut self, slot: Slot) {
        let Link { newer, older } = self.links[slot as usize];
        match newer {
            NO_SLOT => self.newest = older,
            newer => self.links[newer as usize].older = older,
        }
        match older {
            NO_SLOT => self.oldest = newer,
            older => self.links[older as usize].newer = newer,
        }
    }
}

impl Policy for Lru {
    fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        let missing = slots.saturating_sub(self.links.len());
        self.links.try_reserve_exact(missing)?;
        let unused = Link { newer: NO_SLOT, older: NO_SLOT };
        self.links.resize(self.links.len() + missing, unused);
        Ok(())
    }

    #[inline]
    fn on_insert(&mut self, slot: Slot) {
        self.link_newest(slot);
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    #[inline]
    fn on_remove(&mut self, slot: Slot) {
        self.unlink(slot);
    }

    #[inline]
    fn victim(&mut self) -> Option<Slot> {
        (self.oldest != NO_SLOT).then_some(self.oldest)
    }

    fn validate(&self, live: &[bool]) {
        let mut seen = vec![false; live.len()];
        let (mut newer, mut slot) = (NO_SLOT, self.newest);
        while slot != NO_SLOT {
            let link = self.links[slot as usize];
            assert!(live[slot as usize], "lru: slot {slot} is linked but holds no entry");
            assert!(!seen[slot as usize], "lru: slot {slot} is linked twice");
            assert_eq!(link.newer, newer, "lru: slot {slot} has a wrong link back");
            seen[slot as usize] = true;
            (newer, slot) = (slot, link.older);
        }
        assert_eq!(self.oldest, newer, "lru: the list does not end in its oldest slot");
        assert_eq!(seen, live, "lru: an entry is not linked");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn victims_come_in_order_of_last_use() {
        let mut lru = Lru::default();
        lru.reserve(4).unwrap();
        for slot in 0..4 {
            lru.on_insert(slot);
        }
        lru.on_hit(0);
        lru.on_hit(2);
        lru.on_remove(3);
        lru.validate(&[true, true, true, false]);
        let mut victims = Vec::new();
        while let Some(slot) = lru.victim() {
            victims.push(slot);
            lru.on_remove(slot);
        }
        assert_eq!(victims, [1, 0, 2]);
        lru.validate(&[false; 4]);
    }
}

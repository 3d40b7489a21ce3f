//! Exact LRU: a doubly linked list through the slots, most recent first.
//!
//! ```text
//!   newest -> [prev|next] <-> [prev|next] <-> [prev|next] <- oldest (the victim)
//!   links[slot], slots named by u32; the list ends in NO_SLOT on both sides
//! ```
//! The links lie apart from the entries, so that moving an entry to the front does not touch its
//! neighbours' keys and values. It is the one policy that must be told of each hit.

use std::collections::TryReserveError;

use super::{Entries, NO_SLOT, Policy, PolicyKind, PolicyView, Slot};

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
    entries: usize,
}

impl Default for Lru {
    fn default() -> Self {
        Self { links: Vec::new(), newest: NO_SLOT, oldest: NO_SLOT, entries: 0 }
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
    fn on_insert(&mut self, slot: Slot, _entries: &impl Entries) {
        self.link_newest(slot);
        self.entries += 1;
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot) {
        if self.newest != slot {
            self.unlink(slot);
            self.link_newest(slot);
        }
    }

    fn on_replace(&mut self, old: Slot, new: Slot, _entries: &impl Entries) {
        self.unlink(old);
        self.link_newest(new);
    }

    fn on_move(&mut self, old: Slot, new: Slot, _entries: &impl Entries) {
        let Link { newer, older } = self.links[old as usize];
        self.links[new as usize] = Link { newer, older };
        match newer {
            NO_SLOT => self.newest = new,
            newer => self.links[newer as usize].older = new,
        }
        match older {
            NO_SLOT => self.oldest = new,
            older => self.links[older as usize].newer = new,
        }
    }

    fn truncate(&mut self, slots: usize) {
        self.links.truncate(slots);
        self.links.shrink_to_fit();
    }

    #[inline]
    fn on_remove(&mut self, slot: Slot, _entries: &impl Entries) {
        self.unlink(slot);
        self.entries -= 1;
    }

    #[inline]
    fn victim(&mut self, entries: &impl Entries) -> Option<Slot> {
        let victim = (self.oldest != NO_SLOT).then_some(self.oldest)?;
        match self.links[victim as usize].newer {
            NO_SLOT => {}
            next => entries.prefetch(next),
        }
        Some(victim)
    }

    fn view(&self) -> PolicyView {
        PolicyView {
            kind: PolicyKind::Lru,
            entries: self.entries,
            window_entries: 0,
            window_share: 0.0,
            ghosts: 0,
            bytes: self.links.capacity() * size_of::<Link>(),
        }
    }

    fn validate(&self, live: &[bool], _entries: &impl Entries) {
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
        assert_eq!(live.iter().filter(|live| **live).count(), self.entries, "lru: count");
    }
}

//! Exact LRU: a doubly linked list through the slots, most recent first.
//!
//! ```text
//!   newest -> [prev|next] <-> [prev|next] <-> [prev|next] <- oldest (the victim)
//!   links[number of a slot]; they name slots, and the list ends in NO_SLOT on both sides
//! ```
//! The links lie apart from the entries, so that moving an entry to the front does not touch its
//! neighbours' keys and values. It is the one policy that must be told of each hit.

use super::{Entries, NO_SLOT, Named, Policy, PolicyKind, PolicyView, Slot};

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
    fn link_newest(&mut self, slot: Slot, entries: &impl Entries) {
        self.links[entries.number(slot)] = Link { newer: NO_SLOT, older: self.newest };
        match self.newest {
            NO_SLOT => self.oldest = slot,
            second => self.links[entries.number(second)].newer = slot,
        }
        self.newest = slot;
    }

    #[inline]
    fn unlink(&mut self, slot: Slot, entries: &impl Entries) {
        let Link { newer, older } = self.links[entries.number(slot)];
        match newer {
            NO_SLOT => self.newest = older,
            newer => self.links[entries.number(newer)].older = older,
        }
        match older {
            NO_SLOT => self.oldest = newer,
            older => self.links[entries.number(older)].newer = newer,
        }
    }
}

impl Policy for Lru {
    fn reserve(&mut self, slots: usize, _entries: usize) -> bool {
        let missing = slots.saturating_sub(self.links.len());
        if self.links.try_reserve_exact(missing).is_err() {
            return false;
        }
        let unused = Link { newer: NO_SLOT, older: NO_SLOT };
        self.links.resize(self.links.len() + missing, unused);
        true
    }

    #[inline]
    fn on_insert<E: Entries>(&mut self, slot: Slot, _: &E::Entry, entries: &E) {
        self.link_newest(slot, entries);
        self.entries += 1;
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot, entries: &impl Entries) {
        if self.newest != slot {
            self.unlink(slot, entries);
            self.link_newest(slot, entries);
        }
    }

    fn on_replace<E: Entries>(
        &mut self,
        (old, _): Named<'_, E>,
        (new, _): Named<'_, E>,
        entries: &E,
    ) {
        self.unlink(old, entries);
        self.link_newest(new, entries);
    }

    fn on_rewrite<E: Entries>(&mut self, (slot, _): Named<'_, E>, _: u64, entries: &E) {
        self.on_hit(slot, entries);
    }

    fn on_move<E: Entries>(&mut self, (old, _): Named<'_, E>, (new, _): Named<'_, E>, entries: &E) {
        let Link { newer, older } = self.links[entries.number(old)];
        self.links[entries.number(new)] = Link { newer, older };
        match newer {
            NO_SLOT => self.newest = new,
            newer => self.links[entries.number(newer)].older = new,
        }
        match older {
            NO_SLOT => self.oldest = new,
            older => self.links[entries.number(older)].newer = new,
        }
    }

    fn truncate(&mut self, slots: usize) {
        self.links.truncate(slots);
        self.links.shrink_to_fit();
    }

    #[inline]
    fn on_remove<E: Entries>(&mut self, slot: Slot, _: &E::Entry, entries: &E) {
        self.unlink(slot, entries);
        self.entries -= 1;
    }

    #[inline]
    fn evict<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>> {
        let victim = (self.oldest != NO_SLOT).then_some(self.oldest)?;
        let entry = entries.entry(victim);
        self.on_remove(victim, entry, entries);
        if self.oldest != NO_SLOT {
            entries.prefetch(self.oldest, 0);
        }
        Some((victim, entry))
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

    fn validate(&self, live: &[bool], entries: &impl Entries) {
        let mut seen = vec![false; live.len()];
        let (mut newer, mut slot) = (NO_SLOT, self.newest);
        while slot != NO_SLOT {
            let number = entries.number(slot);
            let link = self.links[number];
            assert!(live[number], "lru: slot {number} is linked but holds no entry");
            assert!(!seen[number], "lru: slot {number} is linked twice");
            assert_eq!(link.newer, newer, "lru: slot {number} has a wrong link back");
            seen[number] = true;
            (newer, slot) = (slot, link.older);
        }
        assert_eq!(self.oldest, newer, "lru: the list does not end in its oldest slot");
        assert_eq!(seen, live, "lru: an entry is not linked");
        assert_eq!(live.iter().filter(|live| **live).count(), self.entries, "lru: count");
    }
}

//! Which entries of a shard have expired: lower bounds of deadlines over blocks of slots.
//!
//! The slots of a shard are numbered densely. 32 consecutive ones are a block, and each block has
//! a bound: no deadline in it is earlier. Sixteen bounds are a group of two cache lines, whose
//! least is one bound of the level above, up to a single group:
//!
//! ```text
//!   earliest                      least of all: the only word read while nothing is due
//!   level 1   [ 16 bounds ]       each the least of a group below
//!   level 0   [ 16 bounds ] [ 16 bounds ] ..    one per block
//!   slots     32 32 32 ..         their deadlines stay with the entries
//!
//!   groups:  level 0 | level 1 | .. | the top      one allocation
//! ```
//! Only [`note`](Expiry::note) lowers a bound, and it stops at the first that is low enough
//! already, which is usually the block's. Nothing is done when an entry is evicted or removed, or
//! its deadline put off (as each read does under an idle time to live): bounds are then too low,
//! which costs one look at the block. [`poll`](Expiry::poll) takes the block with the lowest
//! bound, reads all its deadlines, sets the bound right and reports what is due.
//!
//! So a block is read at most once for each deadline noted or put off, and the structure takes
//! 0.27 bytes a slot. The lists of a timing wheel (Varghese, Lauck: "Hashed and Hierarchical
//! Timing Wheels", SOSP 1987) take 8, and two to three cache lines elsewhere in memory whenever an
//! entry comes, goes, or has its deadline moved; only its poll is cheaper, as it never reads an
//! entry that is not due.

use std::{collections::TryReserveError, iter};

use crate::clock::Millis;

/// One bound for as many slots as one word of `due` has bits: reading a block costs about a
/// microsecond if none of it is cached, and more slots would save little of the 0.27 bytes.
const BLOCK: usize = u32::BITS as usize;

/// Bounds in a group: two cache lines, which processors fetch together. A million slots make four
/// levels.
const FAN_OUT: usize = 16;

/// The tree grows by a fourth, as the slab does, so that growing is O(1) a slot.
const GROWTH_DIVISOR: usize = 4;

/// Memory is given back once this many times the groups that are needed are there; below that,
/// copying is not worth the memory.
const SHRINK_FACTOR: usize = 2;

/// The last deadline there is: [`Millis::NEVER`] is not one, however late it is.
const LAST: Millis = Millis(Millis::NEVER.0 - 1);

#[derive(Clone, Copy, Debug)]
#[repr(align(128))]
struct Group([Millis; FAN_OUT]);

impl Group {
    const EMPTY: Self = Self([Millis::NEVER; FAN_OUT]);

    /// The lowest bound and its place.
    #[inline]
    fn least(&self) -> (usize, Millis) {
        let first = (0, self.0[0]);
        let lower = |least: (usize, Millis), other: (usize, Millis)| {
            if other.1 < least.1 { other } else { least }
        };
        self.0.iter().copied().enumerate().skip(1).fold(first, lower)
    }
}

/// The deadlines of one shard's slots, as far as they must be known to find those that passed.
#[derive(Debug)]
pub(super) struct Expiry {
    /// Not later than any deadline. The least bound of the top group, unless `due` has bits:
    /// then what it was when they were found.
    earliest: Millis,
    groups: Vec<Group>,
    /// How many groups level 0 has.
    leaves: usize,
    /// The slot numbers below this may be noted; the bounds of all other blocks are `NEVER`.
    slots: usize,
    /// The first slot of the block that was read last, and a bit for each slot of it that was due
    /// then. These are not in the block's bound, and are looked at again before they are reported.
    read: u32,
    due: u32,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { earliest: Millis::NEVER, groups: Vec::new(), leaves: 0, slots: 0, read: 0, due: 0 }
    }
}

impl Expiry {
    /// Makes room for the slot numbers below `slots`, so that [`note`](Self::note) allocates
    /// nothing.
    ///
    /// # Errors
    /// If memory is short; everything is then as before.
    #[inline]
    pub(super) fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        if slots <= self.slots { Ok(()) } else { self.grow(slots) }
    }

    fn grow(&mut self, slots: usize) -> Result<(), TryReserveError> {
        let leaves = slots.div_ceil(BLOCK * FAN_OUT);
        if leaves > self.leaves {
            self.rebuild(leaves.max(self.leaves + self.leaves / GROWTH_DIVISOR))?;
        }
        self.slots = slots;
        Ok(())
    }

    /// A point not later than any deadline noted: the time before which [`poll`](Self::poll) finds
    /// nothing. [`Millis::NEVER`] if there is none.
    #[inline]
    pub(super) fn earliest(&self) -> Millis {
        self.earliest
    }

    /// Takes down that the entry in `slot` has this deadline from now on; [`Millis::NEVER`] is
    /// ignored. Room must have been reserved.
    ///
    /// Must be called for each entry that is put in, and where a deadline is brought forward. A
    /// deadline that is put off, and an entry that is taken out, need nothing.
    #[inline(always)]
    pub(super) fn note(&mut self, slot: u32, deadline: Millis) {
        if deadline == Millis::NEVER {
            return;
        }
        debug_assert!((slot as usize) < self.slots, "slot {slot}: no room was reserved");
        let block = slot as usize / BLOCK;
        if self.groups[block / FAN_OUT].0[block % FAN_OUT] > deadline {
            self.lower(block, deadline);
        }
    }

    /// Lowers the bound of a block, and those above it as far as they are higher.
    #[inline(never)]
    fn lower(&mut self, block: usize, deadline: Millis) {
        let mut at = block;
        for (start, _) in levels(self.leaves) {
            let bound = &mut self.groups[start + at / FAN_OUT].0[at % FAN_OUT];
            if *bound <= deadline {
                return;
            }
            *bound = deadline;
            at /= FAN_OUT;
        }
        self.earliest = self.earliest.min(deadline);
    }

    /// A slot whose deadline is not after `now`, or `None` if there is none or `steps` ran out.
    ///
    /// `deadline_of` says which deadline the entry in a slot has at this moment, and
    /// [`Millis::NEVER`] for a slot without entry; it is asked about any slot number that room was
    /// reserved for. The caller takes the entry out: as long as it does not, the slot is reported
    /// again.
    ///
    /// Each block read takes one from `steps`, and at most 32 more slots are looked at for each
    /// call. `None` with steps left means that nothing is due.
    #[inline]
    pub(super) fn poll(
        &mut self,
        now: Millis,
        steps: &mut usize,
        deadline_of: impl Fn(u32) -> Millis,
    ) -> Option<u32> {
        if self.earliest > now { None } else { self.find(now.min(LAST), steps, deadline_of) }
    }

    fn find(
        &mut self,
        now: Millis,
        steps: &mut usize,
        deadline_of: impl Fn(u32) -> Millis,
    ) -> Option<u32> {
        loop {
            while self.due != 0 {
                let slot = self.read + self.due.trailing_zeros();
                let deadline = deadline_of(slot);
                if deadline <= now {
                    return Some(slot);
                }
                // Taken out since, or put off, which nobody needs to have noted.
                self.due &= self.due - 1;
                self.note(slot, deadline);
                if self.due == 0 {
                    self.earliest = self.top();
                }
            }
            if self.earliest > now || *steps == 0 {
                return None;
            }
            *steps -= 1;
            self.read_block(now, &deadline_of);
        }
    }

    /// Reads the block with the lowest bound: what is due goes into `due`, the rest makes the
    /// bound.
    fn read_block(&mut self, now: Millis, deadline_of: &impl Fn(u32) -> Millis) {
        let block = self.lowest(0, self.leaves);
        let first = block * BLOCK;
        let mut bound = Millis::NEVER;
        // Below `slots`, which no slot number reaches: fits.
        self.read = first as u32;
        for offset in 0..BLOCK.min(self.slots - first) {
            let deadline = deadline_of(self.read + offset as u32);
            if deadline <= now {
                self.due |= 1 << offset;
            } else {
                bound = bound.min(deadline);
            }
        }
        self.set(block, bound);
        if self.due == 0 {
            self.earliest = self.top();
        }
    }

    /// The place of the lowest bound in the level that has `len` groups from `start` on.
    fn lowest(&self, start: usize, len: usize) -> usize {
        let group = if len == 1 { 0 } else { self.lowest(start + len, len.div_ceil(FAN_OUT)) };
        group * FAN_OUT + self.groups[start + group].least().0
    }

    /// Sets a block's bound, and those above it to the least of what is below them.
    fn set(&mut self, block: usize, mut bound: Millis) {
        let mut at = block;
        for (start, _) in levels(self.leaves) {
            let group = &mut self.groups[start + at / FAN_OUT];
            group.0[at % FAN_OUT] = bound;
            bound = group.least().1;
            at /= FAN_OUT;
        }
    }

    fn top(&self) -> Millis {
        self.groups.last().map_or(Millis::NEVER, |group| group.least().1)
    }

    /// Forgets the slot numbers from `slots` on, whose entries are gone, and gives memory back:
    /// at once where at least half of it is not needed, unless memory is too short to copy the
    /// rest.
    pub(super) fn truncate(&mut self, slots: usize) {
        if slots >= self.slots {
            return;
        }
        for block in slots.div_ceil(BLOCK)..self.slots.div_ceil(BLOCK) {
            self.groups[block / FAN_OUT].0[block % FAN_OUT] = Millis::NEVER;
        }
        self.slots = slots;
        let kept = slots.saturating_sub(self.read as usize);
        if kept < BLOCK {
            self.due &= (1 << kept) - 1;
        }
        let leaves = slots.div_ceil(BLOCK * FAN_OUT);
        if leaves * SHRINK_FACTOR > self.leaves || self.rebuild(leaves).is_err() {
            self.fill_above();
        }
        if self.due == 0 {
            self.earliest = self.top();
        }
    }

    /// The bytes that this has allocated.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
    }

    /// Moves into fresh memory with `leaves` groups at level 0, as many of the present ones as
    /// fit.
    fn rebuild(&mut self, leaves: usize) -> Result<(), TryReserveError> {
        let count = if leaves == 0 { 0 } else { levels(leaves).map(|(_, len)| len).sum() };
        let mut groups = Vec::new();
        groups.try_reserve_exact(count)?;
        groups.extend_from_slice(&self.groups[..leaves.min(self.leaves)]);
        groups.resize(count, Group::EMPTY);
        self.groups = groups;
        self.leaves = leaves;
        self.fill_above();
        Ok(())
    }

    /// Sets all bounds above level 0.
    fn fill_above(&mut self) {
        for (start, len) in levels(self.leaves).filter(|(_, len)| *len > 1) {
            for at in 0..len.next_multiple_of(FAN_OUT) {
                let bound =
                    if at < len { self.groups[start + at].least().1 } else { Millis::NEVER };
                self.groups[start + len + at / FAN_OUT].0[at % FAN_OUT] = bound;
            }
        }
    }

    /// Asserts every invariant; the slot numbers from `slots` on have no entry.
    ///
    /// # Panics
    /// If one does not hold.
    pub(super) fn validate(&self, deadline_of: impl Fn(u32) -> Millis, slots: usize) {
        for (start, len) in levels(self.leaves).filter(|(_, len)| *len > 1) {
            for at in 0..len.next_multiple_of(FAN_OUT) {
                let expected =
                    if at < len { self.groups[start + at].least().1 } else { Millis::NEVER };
                let bound = self.groups[start + len + at / FAN_OUT].0[at % FAN_OUT];
                assert_eq!(bound, expected, "bound above group {at} of the {len} from {start} on");
            }
        }
        for block in self.slots.div_ceil(BLOCK)..self.leaves * FAN_OUT {
            let bound = self.groups[block / FAN_OUT].0[block % FAN_OUT];
            assert_eq!(bound, Millis::NEVER, "block {block} is past the last slot");
        }
        if self.due == 0 {
            assert_eq!(self.earliest, self.top(), "earliest of all");
        } else {
            assert!(self.earliest <= self.top(), "earliest of all, with due slots");
            let last = self.read as usize + self.due.ilog2() as usize;
            assert!(last < self.slots, "slot {last} is due, and past the last slot");
        }
        for slot in 0..slots {
            let deadline = deadline_of(slot as u32);
            if deadline == Millis::NEVER {
                continue;
            }
            assert!(slot < self.slots, "slot {slot} has a deadline and no room");
            let is_due =
                (slot - slot % BLOCK == self.read as usize) && self.due >> (slot % BLOCK) & 1 == 1;
            let bound = self.groups[slot / BLOCK / FAN_OUT].0[slot / BLOCK % FAN_OUT];
            assert!(is_due || bound <= deadline, "slot {slot}: {deadline:?} is below {bound:?}");
            assert!(self.earliest <= deadline, "slot {slot}: {deadline:?} is before the earliest");
        }
    }
}

/// First group and number of groups of each level, for a tree that has `leaves` at level 0.
#[inline]
fn levels(leaves: usize) -> impl Iterator<Item = (usize, usize)> {
    iter::successors(Some((0, leaves)), |(start, len)| {
        (*len > 1).then(|| (start + len, len.div_ceil(FAN_OUT)))
    })
}

#[cfg(test)]
#[path = "expiry_tests.rs"]
mod tests;

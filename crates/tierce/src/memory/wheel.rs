//! Which entry of a shard expires next: a hierarchical timing wheel over slot numbers.
//!
//! Varghese, Lauck: "Hashed and Hierarchical Timing Wheels", SOSP 1987. A deadline is read as
//! eleven digits of six bits. An entry lies at the level of the highest digit in which its
//! deadline differs from the wheel's time, in the bucket of that digit:
//!
//! ```text
//!   level 0: 64 buckets of 1 ms     level 1: 64 of 64 ms     level 2: 64 of 4 s    ... level 10
//!   bucket -> slot <-> slot <-> slot   (circular lists; the first LISTS links are the list heads)
//!   MOVING: the bucket that is being taken apart     DUE: entries whose time has come
//! ```
//! So the lowest level that holds anything holds the earliest deadlines, and an entry moves down
//! at most ten times in its life. Unlike the paper's, this wheel has no ticker: it advances only
//! when polled, jumps over empty buckets by a bit map per level, and takes a bucket apart one
//! entry at a time, so that each call can be bounded.
//!
//! The links and heads (6 KiB a shard) are allocated with the first deadline.

use std::collections::TryReserveError;

use crate::{
    clock::Millis,
    policy::{NO_SLOT, Slot},
};

const DIGIT_BITS: u32 = 6;
const BUCKETS: u32 = 1 << DIGIT_BITS;
/// As many digits as cover 64 bits, so that no deadline needs a special place.
const LEVELS: u32 = u64::BITS.div_ceil(DIGIT_BITS);
const DUE: u32 = LEVELS * BUCKETS;
const MOVING: u32 = DUE + 1;
/// How many links are list heads; a slot's link is this many further on.
pub(super) const LISTS: u32 = MOVING + 1;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

const UNLINKED: Link = Link { previous: NO_SLOT, next: NO_SLOT };

/// The wheel of one shard. It names slots; their deadlines stay with the entries.
#[derive(Debug, Default)]
pub(super) struct Wheel {
    /// Everything with a deadline up to here is in `DUE` or `MOVING`.
    now: u64,
    occupied: [u64; LEVELS as usize],
    links: Vec<Link>,
    len: usize,
}

impl Wheel {
    /// True if no slot is in the wheel.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes room for the slot numbers below `slots`.
    pub(super) fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        let missing = (slots + LISTS as usize).saturating_sub(self.links.len());
        self.links.try_reserve_exact(missing)?;
        if self.links.is_empty() {
            self.links.extend((0..LISTS).map(|list| Link { previous: list, next: list }));
        }
        self.links.resize(slots.max(self.links.len() - LISTS as usize) + LISTS as usize, UNLINKED);
        Ok(())
    }

    /// Puts a slot into the wheel. Room must have been reserved, and the slot not be in it.
    pub(super) fn insert(&mut self, slot: Slot, deadline: Millis, now: Millis) {
        if self.len == 0 {
            self.now = now.0;
        }
        self.len += 1;
        self.place(slot + LISTS, deadline.0);
    }

    /// Takes a slot out if it is in.
    pub(super) fn remove(&mut self, slot: Slot) {
        let node = slot + LISTS;
        if self.links.get(node as usize).is_some_and(|link| link.next != NO_SLOT) {
            self.unlink(node);
            self.len -= 1;
        }
    }

    /// The next slot whose deadline is not after `now`; it stays until it is removed.
    ///
    /// Each entry moved and each bucket opened takes one from `work`; with `work` at 0 the answer
    /// is `None` though more may be due.
    pub(super) fn poll(
        &mut self,
        now: Millis,
        work: &mut usize,
        deadline_of: impl Fn(Slot) -> Millis,
    ) -> Option<Slot> {
        if self.len == 0 {
            return None;
        }
        loop {
            if let Some(node) = self.first(DUE) {
                return Some(node - LISTS);
            }
            if *work == 0 {
                return None;
            }
            *work -= 1;
            if let Some(node) = self.first(MOVING) {
                self.unlink(node);
                self.place(node, deadline_of(node - LISTS).0);
                continue;
            }
            match self.next_bucket() {
                Some((start, list)) if start <= now.0 => {
                    self.now = start;
                    // All of a bucket of level 0 has the deadline `start`.
                    self.splice(list, if list < BUCKETS { DUE } else { MOVING });
                }
                _ => {
                    self.now = self.now.max(now.0);
                    return None;
                }
            }
        }
    }

    /// The earliest bucket that holds anything, and the time at which it must be opened.
    fn next_bucket(&self) -> Option<(u64, u32)> {
        let level = self.occupied.iter().position(|bits| *bits != 0)? as u32;
        let bucket = self.occupied[level as usize].trailing_zeros();
        let above = DIGIT_BITS * (level + 1);
        let base = self.now.checked_shr(above).map_or(0, |digits| digits << above);
        Some((base | u64::from(bucket) << (DIGIT_BITS * level), level * BUCKETS + bucket))
    }

    fn list_of(&self, deadline: u64) -> u32 {
        if deadline <= self.now {
            return DUE;
        }
        let level = (deadline ^ self.now).ilog2() / DIGIT_BITS;
        let bucket = (deadline >> (DIGIT_BITS * level)) as u32 % BUCKETS;
        level * BUCKETS + bucket
    }

    fn place(&mut self, node: u32, deadline: u64) {
        let list = self.list_of(deadline);
        let last = self.links[list as usize].previous;
        self.links[node as usize] = Link { previous: last, next: list };
        self.links[last as usize].next = node;
        self.links[list as usize].previous = node;
        if list < DUE {
            self.occupied[(list / BUCKETS) as usize] |= 1 << (list % BUCKETS);
        }
    }

    fn unlink(&mut self, node: u32) {
        let Link { previous, next } = self.links[node as usize];
        self.links[previous as usize].next = next;
        self.links[next as usize].previous = previous;
        self.links[node as usize] = UNLINKED;
        if previous == next && next < DUE {
            self.mark_empty(next);
        }
    }

    fn mark_empty(&mut self, list: u32) {
        self.occupied[(list / BUCKETS) as usize] &= !(1 << (list % BUCKETS));
    }

    /// Moves the whole of the bucket `from` into `to`, which is empty.
    fn splice(&mut self, from: u32, to: u32) {
        let Link { previous, next } = self.links[from as usize];
        self.links[to as usize] = Link { previous, next };
        self.links[next as usize].previous = to;
        self.links[previous as usize].next = to;
        self.links[from as usize] = Link { previous: from, next: from };
        self.mark_empty(from);
    }

    fn first(&self, list: u32) -> Option<u32> {
        let node = self.links[list as usize].next;
        (node != list).then_some(node)
    }

    /// Asserts every invariant; `deadlines` are those of all live slots, by number.
    pub(super) fn validate(&self, deadlines: &[Option<Millis>]) {
        let mut found = 0;
        let lists = if self.links.is_empty() { 0 } else { LISTS };
        for list in 0..lists {
            let (mut previous, mut node) = (list, self.links[list as usize].next);
            while node != list {
                let slot = (node - LISTS) as usize;
                let deadline = deadlines[slot].expect("a slot in the wheel holds an entry").0;
                assert_eq!(self.links[node as usize].previous, previous, "slot {slot}: link back");
                if list < DUE {
                    assert_eq!(self.list_of(deadline), list, "slot {slot}: wrong bucket");
                } else if list == DUE {
                    assert!(deadline <= self.now, "slot {slot}: due before its deadline");
                }
                found += 1;
                (previous, node) = (node, self.links[node as usize].next);
            }
            assert_eq!(self.links[list as usize].previous, previous, "list {list}: end");
            if list < DUE {
                let bit = self.occupied[(list / BUCKETS) as usize] >> (list % BUCKETS) & 1;
                assert_eq!(bit == 1, self.first(list).is_some(), "list {list}: bit map");
            }
        }
        assert_eq!(found, self.len, "wheel: count of slots");
        let expected = deadlines.iter().flatten().filter(|at| **at != Millis::NEVER).count();
        assert_eq!(found, expected, "wheel: an entry with a deadline is missing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls until nothing is due, with `work` steps at a time; two at least, as finding that
    /// nothing is due is a step too.
    fn drain(wheel: &mut Wheel, deadlines: &mut [Option<Millis>], now: u64, work: usize) -> usize {
        let mut freed = 0;
        loop {
            let mut left = work;
            while let Some(slot) =
                wheel.poll(Millis(now), &mut left, |slot| deadlines[slot as usize].expect("live"))
            {
                assert!(deadlines[slot as usize].expect("live").0 <= now);
                wheel.remove(slot);
                deadlines[slot as usize] = None;
                freed += 1;
            }
            wheel.validate(deadlines);
            if left > 0 {
                return freed;
            }
        }
    }

    #[test]
    fn everything_due_and_nothing_else_comes_out_of_the_wheel() {
        let seed = 0x1987_u64;
        let mut random = fastrand::Rng::with_seed(seed);
        let mut wheel = Wheel::default();
        wheel.reserve(500).unwrap();
        let mut deadlines = vec![None; 500];
        let mut now = 1_000_000_u64;
        for round in 0..3_000 {
            let slot = random.u32(0..500);
            wheel.remove(slot);
            let ahead = 1 + (random.u64(..) >> random.u32(20..64));
            deadlines[slot as usize] = Some(Millis(now.saturating_add(ahead)));
            let deadline = deadlines[slot as usize].unwrap();
            if deadline == Millis::NEVER {
                deadlines[slot as usize] = None;
            } else {
                wheel.insert(slot, deadline, Millis(now));
            }
            if round % 7 == 0 {
                now += random.u64(..) >> random.u32(24..64);
                let due = deadlines.iter().flatten().filter(|at| at.0 <= now).count();
                let freed = drain(&mut wheel, &mut deadlines, now, random.usize(2..50));
                assert_eq!(freed, due, "seed {seed:#x}, round {round}");
            }
        }
        let left = deadlines.iter().flatten().count();
        assert_eq!(drain(&mut wheel, &mut deadlines, u64::MAX, 7), left);
        assert!(wheel.is_empty());
    }

    #[test]
    fn no_poll_does_more_than_its_work() {
        let mut wheel = Wheel::default();
        wheel.reserve(10_000).unwrap();
        let deadline = Millis(5_000_000);
        for slot in 0..10_000 {
            wheel.insert(slot, deadline, Millis(1));
        }
        let mut calls = 0;
        loop {
            let mut work = 16;
            calls += 1;
            if wheel.poll(Millis(5_000_000), &mut work, |_| deadline).is_some() {
                break;
            }
            assert_eq!(work, 0);
        }
        assert!(calls > 600, "10,000 slots were moved by {calls} calls of 16 steps");
    }
}

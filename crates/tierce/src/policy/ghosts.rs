//! Ghosts: what is remembered of entries that were turned away, two bytes each.
//!
//! ```text
//!   bucket = 16 cells, newest first:  [ fingerprint 10 | tick 6 ] [ .. ] ... [ 0 = empty ]
//! ```
//! The hash chooses a bucket; adding one ghost pushes the oldest of a full bucket out. The tick
//! is the time (in the policy's own clock) at which the entry had been inserted; it wraps after
//! 64 ticks, so [`expire_some`](Ghosts::expire_some) must be called often enough that no ghost
//! lives that long. A stranger passes for a ghost of a full bucket in 1.6 % of all look-ups.

use std::collections::TryReserveError;

/// Cells of a bucket: two buckets are one cache line.
const WAYS: usize = 16;

/// Bits of a cell that hold the tick.
const TICK_BITS: u32 = 6;

/// Ticks that a cell can tell apart.
pub(super) const TICKS: u8 = 1 << TICK_BITS;

const TICK_MASK: u16 = (1 << TICK_BITS) - 1;

/// Spreads the hash again, as the shard was chosen by some bits of it.
const SPREAD: u32 = 0x9E37_79B1;

/// A set of fingerprints with the tick at which each key was inserted.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    cells: Vec<u16>,
    /// Cells in use of each bucket, so that small caches keep as many ghosts as they asked for.
    ways: usize,
    /// The bucket that is cleaned next.
    next: usize,
    held: usize,
}

impl Ghosts {
    /// Makes room for `count` ghosts. What is held is forgotten if the memory must grow.
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), TryReserveError> {
        let buckets = count.div_ceil(WAYS);
        if buckets * WAYS > self.cells.len() {
            let mut cells = Vec::new();
            cells.try_reserve_exact(buckets * WAYS)?;
            cells.resize(buckets * WAYS, 0);
            *self = Self { cells, ways: count.div_ceil(buckets), next: 0, held: 0 };
        } else if count > self.ways * self.buckets() {
            self.ways = count.div_ceil(self.buckets());
        }
        Ok(())
    }

    fn buckets(&self) -> usize {
        self.cells.len() / WAYS
    }

    /// The cells in use of the key's bucket, and the key's fingerprint, which is never 0.
    #[inline]
    fn locate(&mut self, hash: u32) -> (&mut [u16], u16) {
        let spread = hash.wrapping_mul(SPREAD);
        let bucket = ((u64::from(spread) * self.buckets() as u64) >> 32) as usize;
        let fingerprint = (hash as u16 >> TICK_BITS).max(1);
        let ways = self.ways;
        (&mut self.cells[bucket * WAYS..][..ways], fingerprint)
    }

    /// Remembers a key that was inserted at `tick`.
    pub(super) fn add(&mut self, hash: u32, tick: u8) {
        if self.cells.is_empty() {
            return;
        }
        let (cells, fingerprint) = self.locate(hash);
        let empty = cells.iter().position(|&cell| cell == 0);
        let last = empty.unwrap_or(cells.len() - 1);
        cells.copy_within(..last, 1);
        cells[0] = fingerprint << TICK_BITS | u16::from(tick) & TICK_MASK;
        self.held += usize::from(empty.is_some());
    }

    /// Forgets a key, and says how many ticks before `now` it had been inserted.
    pub(super) fn take(&mut self, hash: u32, now: u8) -> Option<u8> {
        if self.cells.is_empty() {
            return None;
        }
        let (cells, fingerprint) = self.locate(hash);
        let found = cells.iter_mut().find(|cell| **cell >> TICK_BITS == fingerprint)?;
        let age = age(now, *found);
        *found = 0;
        self.held -= 1;
        Some(age)
    }

    /// Forgets what is older than `oldest` ticks in the next bucket.
    pub(super) fn expire_some(&mut self, now: u8, oldest: u8) {
        let Some(cells) = self.cells.get_mut(self.next * WAYS..(self.next + 1) * WAYS) else {
            self.next = 0;
            return;
        };
        for cell in cells {
            if *cell != 0 && age(now, *cell) > oldest {
                *cell = 0;
                self.held -= 1;
            }
        }
        self.next += 1;
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn bytes(&self) -> usize {
        self.cells.capacity() * size_of::<u16>()
    }

    pub(super) fn validate(&self) {
        let held = self.cells.iter().filter(|&&cell| cell != 0).count();
        assert_eq!(held, self.held, "ghosts: wrong count");
        assert!(self.ways <= WAYS, "ghosts: more ways than cells in a bucket");
    }
}

#[inline]
fn age(now: u8, cell: u16) -> u8 {
    now.wrapping_sub(cell as u8) & (TICKS - 1)
}

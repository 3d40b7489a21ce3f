//! Ghosts: what is remembered of entries that were turned away, two bytes each.
//!
//! ```text
//!   bucket = 8 cells, newest first:  [ fingerprint 11 | tick 5 ] .. [ 0 = empty ]
//! ```
//! The hash chooses a bucket; adding a ghost shifts the others up to the first empty cell, or the
//! oldest out of a full bucket. The tick is the time (in the policy's own clock) at which the
//! entry had been inserted; it wraps after 32 ticks, so [`expire_some`](Ghosts::expire_some) must
//! be called often enough that no ghost lives that long. A stranger passes for a ghost of a full
//! bucket in 0.4 % of all look-ups.

use super::cells::{Cells, WAYS};
use crate::pages::Zeroed;

/// Bits of a cell that hold the tick.
const TICK_BITS: u32 = 5;

/// Ticks that a cell can tell apart.
pub(super) const TICKS: u8 = 1 << TICK_BITS;

/// The bits of a cell that hold the fingerprint.
const FINGERPRINT: u16 = !(TICKS as u16 - 1);

/// Spreads the hash again, as the shard was chosen by some bits of it.
const SPREAD: u32 = 0x9E37_79B1;

/// A set of fingerprints with the tick at which each key was inserted.
#[derive(Debug, Default)]
pub(super) struct Ghosts {
    buckets: Zeroed<Cells>,
    /// Cells of a bucket in use, so that small caches keep as many ghosts as they asked for.
    ways: usize,
}

impl Ghosts {
    /// Makes room for `count` ghosts; false if memory is short. What is held is forgotten if the
    /// memory must grow.
    #[must_use]
    pub(super) fn reserve(&mut self, count: usize) -> bool {
        let buckets = count.div_ceil(WAYS);
        if buckets > self.buckets.len() {
            let Some(fresh) = Zeroed::new(buckets) else { return false };
            *self = Self { buckets: fresh, ways: 1 };
        }
        self.ways = self.ways.max(count.div_ceil(self.buckets.len().max(1)));
        true
    }

    /// The line of the key's bucket, for a prefetch.
    #[inline]
    pub(super) fn line_of(&self, hash: u32) -> *const u8 {
        self.buckets.as_ptr().wrapping_add(self.place(hash)).cast()
    }

    /// The number of the key's bucket.
    #[inline]
    fn place(&self, hash: u32) -> usize {
        let spread = u64::from(hash.wrapping_mul(SPREAD));
        ((spread * self.buckets.len() as u64) >> 32) as usize
    }

    /// The key's bucket, and its fingerprint where the cell has it, which is never 0.
    #[inline]
    fn locate(&mut self, hash: u32) -> Option<(&mut Cells, u16)> {
        let bucket = self.place(hash);
        let fingerprint = (hash as u16) & FINGERPRINT;
        let never_zero = if fingerprint == 0 { u16::from(TICKS) } else { fingerprint };
        Some((self.buckets.get_mut(bucket)?, never_zero))
    }

    /// Remembers a key that was inserted at `tick`.
    #[inline]
    pub(super) fn add(&mut self, hash: u32, tick: u8) {
        let ways = self.ways;
        if let Some((bucket, fingerprint)) = self.locate(hash) {
            bucket.push(fingerprint | u16::from(tick & (TICKS - 1)), ways);
        }
    }

    /// Forgets a key, and says how many ticks before `now` it had been inserted.
    #[inline]
    pub(super) fn take(&mut self, hash: u32, now: u8) -> Option<u8> {
        let (bucket, fingerprint) = self.locate(hash)?;
        let way = bucket.find(fingerprint, FINGERPRINT)?;
        let age = age(now, bucket.get(way));
        bucket.clear(way);
        Some(age)
    }

    /// Forgets what is older than `oldest` ticks in the bucket of this number; gives the number of
    /// the one whose turn is next. The turns are the caller's, who has a line for what changes.
    #[inline]
    #[must_use]
    pub(super) fn expire_some(&mut self, bucket: u32, now: u8, oldest: u8) -> u32 {
        let Some(cells) = self.buckets.get_mut(bucket as usize) else { return 0 };
        cells.clear_older(now.into(), (TICKS - 1).into(), oldest.into());
        bucket + 1
    }

    /// How many there are; walks them all.
    pub(super) fn held(&self) -> usize {
        self.buckets.iter().flat_map(Cells::iter).filter(|cell| *cell != 0).count()
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.bytes()
    }

    pub(super) fn validate(&self) {
        for bucket in self.buckets.iter() {
            let outside = bucket.iter().skip(self.ways).find(|cell| *cell != 0);
            assert_eq!(outside, None, "ghosts: a cell outside of the ways in use");
        }
    }
}

#[inline]
fn age(now: u8, cell: u16) -> u8 {
    now.wrapping_sub(cell as u8) & (TICKS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ghost_is_found_once_with_its_age() {
        let mut ghosts = Ghosts::default();
        assert_eq!(ghosts.take(1, 0), None);
        assert!(ghosts.reserve(64));
        ghosts.add(0xABCD_1234, 30);
        assert_eq!(ghosts.held(), 1);
        assert_eq!(ghosts.take(0xABCD_1234, 33 % TICKS), Some(3));
        assert_eq!(ghosts.take(0xABCD_1234, 33 % TICKS), None);
        assert_eq!(ghosts.held(), 0);
    }

    #[test]
    fn a_full_bucket_drops_its_oldest_and_a_hole_is_filled_first() {
        let mut ghosts = Ghosts::default();
        assert!(ghosts.reserve(5));
        let key = |n: u32| n << TICK_BITS;
        for n in 1..=5 {
            ghosts.add(key(n), 0);
        }
        assert_eq!(ghosts.take(key(3), 0), Some(0));
        ghosts.add(key(6), 0);
        assert_eq!(ghosts.held(), 5);
        ghosts.add(key(7), 0);
        ghosts.validate();
        let left: Vec<_> = (1..=7).filter(|&n| ghosts.take(key(n), 0).is_some()).collect();
        assert_eq!(left, [2, 4, 5, 6, 7]);
    }

    #[test]
    fn old_ghosts_are_cleaned_away() {
        let mut ghosts = Ghosts::default();
        assert!(ghosts.reserve(800));
        for n in 0..400_u32 {
            ghosts.add(n.wrapping_mul(0x85EB_CA6B), (n % 20) as u8);
        }
        let turn = (0..=100).fold(0, |turn, _| ghosts.expire_some(turn, 20, 10));
        assert_eq!(turn, 0, "behind the last bucket comes the first");
        assert!(
            (0..400_u32).all(|n| {
                ghosts.take(n.wrapping_mul(0x85EB_CA6B), 20).is_none_or(|age| age <= 10)
            })
        );
    }
}

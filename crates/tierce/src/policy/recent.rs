//! The fingerprints of the last few entries that left one part of the cache.
//!
//! Buckets of eight 16-bit fingerprints, newest first: adding shifts a bucket, so the oldest
//! fingerprint of the bucket falls off its end. With one bucket the set is an exact queue.

use super::cells::{Cells, WAYS};
use crate::pages::Zeroed;

/// Spreads the hash again, as the shard was chosen by some bits of it.
const SPREAD: u32 = 0x85EB_CA6B;

/// A set of about as many fingerprints as it was given room for, that forgets the oldest first.
#[derive(Debug, Default)]
pub(super) struct Recent {
    buckets: Zeroed<Cells>,
    /// Cells of a bucket that are in use.
    ways: usize,
}

impl Recent {
    /// Makes room for about `count` fingerprints; false if memory is short. What is held is forgotten
    /// if memory must grow.
    #[must_use]
    pub(super) fn reserve(&mut self, count: usize) -> bool {
        let buckets = count.div_ceil(WAYS);
        if buckets > self.buckets.len() {
            let Some(fresh) = Zeroed::new(buckets) else { return false };
            self.buckets = fresh;
        }
        let ways = if buckets == 1 { count } else { WAYS };
        self.ways = self.ways.max(ways.max(1));
        true
    }

    /// The number of the key's bucket.
    #[inline]
    fn place(&self, hash: u32) -> usize {
        let spread = u64::from(hash.wrapping_mul(SPREAD));
        ((spread * self.buckets.len() as u64) >> 32) as usize
    }

    /// The line of the key's bucket, for a prefetch.
    #[inline]
    pub(super) fn line_of(&self, hash: u32) -> *const u8 {
        self.buckets.as_ptr().wrapping_add(self.place(hash)).cast()
    }

    #[inline]
    fn locate(&mut self, hash: u32) -> Option<(&mut Cells, u16)> {
        let bucket = self.place(hash);
        Some((self.buckets.get_mut(bucket)?, (hash as u16).max(1)))
    }

    #[inline]
    pub(super) fn add(&mut self, hash: u32) {
        let ways = self.ways;
        if let Some((bucket, fingerprint)) = self.locate(hash) {
            bucket.shift(fingerprint, ways);
        }
    }

    /// Forgets a key, and says if it was there.
    #[inline]
    pub(super) fn take(&mut self, hash: u32) -> bool {
        let Some((bucket, fingerprint)) = self.locate(hash) else { return false };
        match bucket.find(fingerprint, u16::MAX) {
            Some(way) => bucket.clear(way),
            None => return false,
        }
        true
    }

    pub(super) fn bytes(&self) -> usize {
        self.buckets.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_small_set_is_forgotten_first() {
        let mut recent = Recent::default();
        assert!(!recent.take(1));
        assert!(recent.reserve(3));
        (1..=4).for_each(|key| recent.add(key));
        assert!(!recent.take(1));
        assert!(recent.take(2) && recent.take(3) && recent.take(4));
        assert!(!recent.take(3));
    }

    #[test]
    fn a_large_set_holds_about_as_many_as_it_has_room_for() {
        let mut recent = Recent::default();
        assert!(recent.reserve(1000));
        let key = |n: u32| n.wrapping_mul(0x9E37_79B1) ^ n;
        (0..100_000).for_each(|n| recent.add(key(n)));
        let found = (99_000..100_000).filter(|&n| recent.take(key(n))).count();
        assert!((700..=1000).contains(&found), "{found}");
        assert!((0..10_000).filter(|&n| recent.take(key(n))).count() < 20);
    }
}

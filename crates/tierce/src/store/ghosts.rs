//! Ghosts: fingerprints of keys that left probation without a hit.
//!
//! Every set of the index has two words of four fingerprints, the latest in the low bits; a key
//! belongs to one of the words. A key that is stored again while its ghost is there begins with a
//! hit, so its record outlives its probation. A ghost is forgotten when it is used or when four
//! later ones came to its word. The words are hints: any bytes in them are valid, and a lost or
//! foreign fingerprint only moves one record to the wrong queue.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Store, layout::GHOST_WORDS};

/// Bits of a fingerprint.
const GHOST_BITS: u32 = 16;
/// Fingerprints in a word.
const GHOSTS: u32 = u64::BITS / GHOST_BITS;
/// Where the fingerprint begins in a hash: above the bits of the slot's tag.
const GHOST_SHIFT: u32 = 22;

/// The fingerprint of a hash; never 0, which is no ghost.
fn fingerprint(hash: u64) -> u64 {
    (hash >> GHOST_SHIFT & ((1 << GHOST_BITS) - 1)).max(1)
}

/// `word` without the fingerprint, if it has it.
fn without(word: u64, fingerprint: u64) -> Option<u64> {
    let shift = (0..GHOSTS)
        .map(|place| place * GHOST_BITS)
        .find(|shift| word >> shift & ((1 << GHOST_BITS) - 1) == fingerprint)?;
    let later = word & ((1 << shift) - 1);
    // Two shifts, because a shift by 64 is not one.
    let earlier = word >> shift >> GHOST_BITS << shift;
    Some(earlier | later)
}

impl Store {
    /// Has the processor fetch the ghosts of a hash.
    #[inline]
    pub(super) fn fetch_ghosts(&self, hash: u64) {
        self.mapping.prefetch(self.ghosts_position(hash), 1);
    }

    /// Remembers that the key of this hash left probation.
    pub(super) fn leave_ghost(&self, hash: u64) {
        let add = |word| {
            let word = without(word, fingerprint(hash)).unwrap_or(word);
            Some(word << GHOST_BITS | fingerprint(hash))
        };
        let _ = self.ghosts(hash).fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// True where the key of this hash has a ghost, which is forgotten.
    pub(super) fn take_ghost(&self, hash: u64) -> bool {
        let take = |word| without(word, fingerprint(hash));
        self.ghosts(hash).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    fn ghosts_position(&self, hash: u64) -> u64 {
        let word = hash >> (GHOST_SHIFT + GHOST_BITS) & (GHOST_WORDS as u64 - 1);
        let set = self.geometry.set_of(hash);
        self.geometry.ghosts_at() + (set * GHOST_WORDS as u64 + word) * 8
    }

    fn ghosts(&self, hash: u64) -> &AtomicU64 {
        self.mapping.at(self.ghosts_position(hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_a_fingerprint_keeps_the_others_in_order() {
        let word = 0x0004_0003_0002_0001;
        assert_eq!(without(word, 1), Some(0x0004_0003_0002));
        assert_eq!(without(word, 3), Some(0x0004_0002_0001));
        assert_eq!(without(word, 4), Some(0x0003_0002_0001));
        assert_eq!(without(word, 5), None);
    }
}

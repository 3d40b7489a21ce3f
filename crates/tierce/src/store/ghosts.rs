//! Ghosts: fingerprints of keys that left probation without a hit.
//!
//! Every set of the index has two words of four ghosts, the latest in the low bits; a key belongs
//! to one of the words. A key that is stored again while its ghost is there begins with a hit, so
//! its record outlives its probation.
//!
//! ```text
//! ghost   15        5 4      0
//!        +-----------+--------+
//!        | print 11  |period 5|   0 = none
//!        +-----------+--------+
//! ```
//! A ghost is forgotten when it is used, when four later ones came to its word, or when as many
//! segments were filled since as the store has. Without the last, a loop over more keys than fit
//! would turn the main queue over: there is room for two to four times as many ghosts as entries.
//! The words are hints: any bytes in them are valid, and a lost or foreign ghost only moves one
//! record to the wrong queue.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{Store, layout::GHOST_WORDS, stamps};

/// Bits of a ghost: those of a fingerprint, and below them its period.
const GHOST_BITS: u32 = 16;
/// Bits of a period: after 32 of them, four rounds, a ghost that is still there seems young again.
const PERIOD_BITS: u32 = 5;
const PERIODS: u64 = 1 << PERIOD_BITS;
/// Periods in the time in which as many segments are filled as there are.
const PERIODS_A_ROUND: u32 = 8;
/// Periods for which a ghost is believed: a round. S3-FIFO has as many ghosts as main entries.
const BELIEVED: u64 = PERIODS_A_ROUND as u64;
/// Ghosts in a word.
const GHOSTS: u32 = u64::BITS / GHOST_BITS;
/// Where the fingerprint begins in a hash: above the bits of the slot's tag.
const FINGERPRINT_SHIFT: u32 = 22;
/// Where the number of the word begins.
const WORD_SHIFT: u32 = FINGERPRINT_SHIFT + GHOST_BITS - PERIOD_BITS;

/// The fingerprint of a hash; never 0, which is no ghost.
fn fingerprint(hash: u64) -> u64 {
    (hash >> FINGERPRINT_SHIFT & ((1 << (GHOST_BITS - PERIOD_BITS)) - 1)).max(1)
}

/// The period in which the ghost of a fingerprint was left, and `word` without it.
fn without(word: u64, fingerprint: u64) -> Option<(u64, u64)> {
    let ghost = |shift: u32| word >> shift & ((1 << GHOST_BITS) - 1);
    let shift = (0..GHOSTS)
        .map(|place| place * GHOST_BITS)
        .find(|shift| ghost(*shift) >> PERIOD_BITS == fingerprint)?;
    let later = word & ((1 << shift) - 1);
    // Two shifts, because a shift by 64 is not one.
    let earlier = word >> shift >> GHOST_BITS << shift;
    Some((ghost(shift) % PERIODS, earlier | later))
}

impl Store {
    /// Has the processor fetch the ghosts of a hash.
    #[inline]
    pub(super) fn fetch_ghosts(&self, hash: u64) {
        self.mapping.prefetch(self.ghosts_position(hash), 1);
    }

    /// Remembers that the key of this hash left probation.
    pub(super) fn leave_ghost(&self, hash: u64) {
        let ghost = fingerprint(hash) << PERIOD_BITS | self.period();
        let add = |word| {
            let others = without(word, fingerprint(hash)).map_or(word, |(_, others)| others);
            Some(others << GHOST_BITS | ghost)
        };
        let _ = self.ghosts(hash).fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// True where the key of this hash has a ghost that is young enough; forgets it.
    pub(super) fn take_ghost(&self, hash: u64) -> bool {
        let take = |word| without(word, fingerprint(hash)).map(|(_, others)| others);
        let taken = self.ghosts(hash).fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        let left = taken.ok().and_then(|word| without(word, fingerprint(hash)));
        left.is_some_and(|(left, _)| self.period().wrapping_sub(left) % PERIODS <= BELIEVED)
    }

    /// The period of now.
    fn period(&self) -> u64 {
        let sequence = stamps::head(&self.mapping).sequence.load(Ordering::Relaxed);
        u64::from(sequence / (self.geometry.segments / PERIODS_A_ROUND).max(1)) % PERIODS
    }

    fn ghosts_position(&self, hash: u64) -> u64 {
        let word = hash >> WORD_SHIFT & (GHOST_WORDS as u64 - 1);
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
    fn taking_a_ghost_keeps_the_others_in_order() {
        let word = (0..GHOSTS).fold(0, |word, number| {
            word << GHOST_BITS | u64::from(4 - number) << PERIOD_BITS | u64::from(9 + number)
        });
        let fingerprints =
            |word: u64| [48, 32, 16, 0].map(|shift| word >> shift >> PERIOD_BITS & 0x7FF);
        assert_eq!(fingerprints(word), [4, 3, 2, 1]);
        let taken = |fingerprint| without(word, fingerprint).unwrap();
        assert_eq!((taken(1).0, fingerprints(taken(1).1)), (12, [0, 4, 3, 2]));
        assert_eq!((taken(3).0, fingerprints(taken(3).1)), (10, [0, 4, 2, 1]));
        assert_eq!((taken(4).0, fingerprints(taken(4).1)), (9, [0, 3, 2, 1]));
        assert_eq!(without(word, 5), None);
    }
}

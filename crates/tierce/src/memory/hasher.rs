//! The hash of a key, unless the caller brings a hasher: foldhash with a random seed per cache.
//!
//! One hash of 64 bits serves three times, so all its bits must be good and independent of one
//! another: the upper ones choose the shard, the lower 32 the bucket (by multiplication, so their
//! upper part counts) and the tag (their lowest eight).
//!
//! foldhash multiplies a key with a secret and folds the two halves of the product together. Its
//! `fast` variant leaves it at that, but one product is linear in the key: for keys in a regular
//! pattern there are secrets that leave many buckets empty and others overfull. Its `quality`
//! variant multiplies and folds the result once more, with a constant. So does the cache with
//! whatever a hasher gives ([`fold`]), which makes hashers of the caller's own good enough as
//! well; so the default one is `fast`, and the two together are `quality`. The worst of
//! 200 seeds over 63 patterns of 65,536 keys each (sequential, strides of 2 to 2^48, pointers,
//! one to three bits set, pairs, decimal and hexadecimal strings, ..) in 64 shards of 128 buckets:
//!
//! | | buckets: chi-square above its mean, in standard deviations | fullest bucket; mean is 8 | entries past the 15th of a bucket | equal tags, by chance 1 | a `u64`: independent, each awaited |
//! |---|---|---|---|---|---|
//! | `foldhash::fast` | 4,277 | 171 | 74 % | 320 | 1.1 ns, 3.7 ns |
//! | `foldhash::quality` | 4.0 | 28 | 0.28 % | 1.14 | 1.4 ns, 5.2 ns |
//! | random numbers | 4.2 | 29 | 0.28 % | 1.12 | |
//!
//! `fast` is that bad already for sequential numbers (1,128; 41 % of the entries past the 15th of
//! their bucket) and pointers (3,376). Times are the least of 401 rounds on an AMD EPYC, where the
//! loop by itself takes 0.6 and 1.9 ns. Over 8 to 32 seeds, a multiplication and a shift in place
//! of the second fold, `ahash` without AES, and `rapidhash::quality` are as even, and no faster
//! for a `u64`; two multiplications side by side save 0.7 ns where the hash is awaited, and are
//! not even (33).
//!
//! Seeds are random (from the system, by way of [`std::hash::RandomState`]), as who knows them can
//! make any number of keys with one and the same hash: all pairs with a certain first half, say.
//! With other seeds such keys meet at most 1.002 times the entries that random ones meet (a
//! million keys, 200 seeds; `fast`: 2.1 times). But the hash is not a cryptographic one: who can
//! measure or see in which order a cache does things may learn the seed. Where that is feared,
//! [`MemoryBuilder::hasher`](super::MemoryBuilder::hasher) takes [`std::hash::RandomState`].

use std::{
    fmt,
    hash::{BuildHasher, Hasher},
    sync::OnceLock,
};

use foldhash::{SharedSeed, fast::FoldHasher};

use crate::simulated;

/// Makes the hashers of one cache: fast, with a random seed of its own.
///
/// A clone hashes alike; each [`default`](Self::default) differs, within a process as well as
/// between processes, so hashes must not be kept beyond the life of the cache.
#[derive(Clone)]
pub struct RandomState {
    seed: u64,
    /// Secrets that all caches of the process share, as a hasher cannot borrow from its maker.
    secrets: &'static SharedSeed,
}

impl Default for RandomState {
    fn default() -> Self {
        static SECRETS: OnceLock<SharedSeed> = OnceLock::new();
        if let Some(seed) = simulated::random() {
            // The same in each process, so that a history is.
            static FIXED: OnceLock<SharedSeed> = OnceLock::new();
            return Self { seed, secrets: FIXED.get_or_init(|| SharedSeed::from_u64(1)) };
        }
        // Made before the lock is taken, which a process forked meanwhile would find taken for
        // ever: it is held for a copy of 48 bytes, once in the life of a process.
        let fresh = SharedSeed::from_u64(random());
        Self { seed: random(), secrets: SECRETS.get_or_init(|| fresh) }
    }
}

/// Spreads what there is in a hash over all of its bits: 2^64 divided by the golden ratio (Knuth,
/// volume 3, section 6.4), and the halves of the product folded together.
#[inline]
pub(super) fn fold(hash: u64) -> u64 {
    let product = u128::from(hash) * 0x9E37_79B9_7F4A_7C15;
    product as u64 ^ (product >> 64) as u64
}

/// A number from the system's source of randomness, another one at each call.
fn random() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

impl BuildHasher for RandomState {
    type Hasher = KeyHasher;

    #[inline]
    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(FoldHasher::with_seed(self.seed, self.secrets))
    }
}

/// Without the seed, which must not come into a log.
impl fmt::Debug for RandomState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RandomState").finish_non_exhaustive()
    }
}

/// Hashes one key; made by [`RandomState`].
#[derive(Clone)]
pub struct KeyHasher(FoldHasher<'static>);

impl Hasher for KeyHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.0.write_u8(number);
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.0.write_u16(number);
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.0.write_u32(number);
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.0.write_u64(number);
    }

    #[inline]
    fn write_u128(&mut self, number: u128) {
        self.0.write_u128(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.0.write_usize(number);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0.finish()
    }
}

impl fmt::Debug for KeyHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHasher").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "hasher_tests.rs"]
pub(super) mod tests;

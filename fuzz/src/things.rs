//! Keys and values that know who they are and whether they are still alive.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

/// Counts the living of one run, and what went wrong in a `Drop`, where a panic would be contained.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    living: AtomicI64,
    wrong: AtomicU64,
}

impl Registry {
    /// Things that were made and not dropped yet.
    pub(crate) fn living(&self) -> i64 {
        self.living.load(Ordering::Relaxed)
    }

    /// Asserts that nothing was dropped twice.
    pub(crate) fn validate(&self) {
        assert_eq!(self.wrong.load(Ordering::Relaxed), 0, "dropped twice, or never made");
    }
}

/// A key or a value.
pub(crate) trait Thing: Clone + Eq + Hash + Send + Sync + 'static {
    /// A thing of this number.
    fn new(number: u64, registry: &Arc<Registry>) -> Self;

    /// Its number; panics if it is no longer alive.
    fn number(&self) -> u64;

    /// What it puts on the count of the living.
    fn counts() -> i64;
}

/// A number that owns nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Plain(u64);

impl Thing for Plain {
    fn new(number: u64, _: &Arc<Registry>) -> Self {
        Self(number)
    }

    fn number(&self) -> u64 {
        self.0
    }

    fn counts() -> i64 {
        0
    }
}

/// A number here and on the heap, of which each instance must be dropped once.
pub(crate) struct Tracked {
    number: u64,
    own: Box<u64>,
    registry: Arc<Registry>,
}

impl Thing for Tracked {
    fn new(number: u64, registry: &Arc<Registry>) -> Self {
        registry.living.fetch_add(1, Ordering::Relaxed);
        Self { number, own: Box::new(number), registry: Arc::clone(registry) }
    }

    fn number(&self) -> u64 {
        assert_eq!(self.number, *self.own, "looked at after it was dropped");
        self.number
    }

    fn counts() -> i64 {
        1
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Self::new(self.number(), &self.registry)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.registry.living.fetch_sub(1, Ordering::Relaxed);
        // A panic here would be contained by the cache.
        if self.number != *self.own {
            self.registry.wrong.fetch_add(1, Ordering::Relaxed);
        }
        *self.own = std::hint::black_box(!self.number);
    }
}

impl PartialEq for Tracked {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Tracked {}

impl Hash for Tracked {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number().hash(state);
    }
}

/// A hasher of the caller's own, and how bad it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Hashing {
    /// Spread well.
    Fair,
    /// The key itself.
    Number,
    /// So few different hashes.
    Few(u64),
}

impl BuildHasher for Hashing {
    type Hasher = Hash64;

    fn build_hasher(&self) -> Hash64 {
        Hash64 { hashing: *self, number: 0 }
    }
}

/// The hasher that a [`Hashing`] makes.
#[derive(Debug)]
pub(crate) struct Hash64 {
    hashing: Hashing,
    number: u64,
}

impl Hasher for Hash64 {
    fn finish(&self) -> u64 {
        match self.hashing {
            Hashing::Fair => (self.number ^ self.number >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9),
            Hashing::Number => self.number,
            Hashing::Few(count) => self.number % count,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.number = self.number.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.number = number;
    }
}

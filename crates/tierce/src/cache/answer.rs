//! What a read answers and what a loader returns.

use std::time::Duration;

use crate::tiering::TierKind;

/// A value with where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Answer<V> {
    /// The value.
    pub value: V,
    /// Where it came from.
    pub origin: Origin,
}

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A tier had it.
    Tier(TierKind),
    /// This call's loader returned it.
    Loaded,
    /// It was loaded by another thread while this call waited.
    Joined,
}

/// What a loader returns: a value and, if it is to differ from the default, its time to live.
#[derive(Clone, Debug)]
pub struct Loaded<V> {
    pub(super) value: V,
    pub(super) ttl: Option<Duration>,
}

impl<V> Loaded<V> {
    /// A value with the default time to live.
    pub fn new(value: V) -> Self {
        Self { value, ttl: None }
    }

    /// Sets how long the value may be kept; zero hands it to the callers and keeps nothing.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

//! [`MemoryBuilder`]: the parts of a cache that are code.

use std::{
    hash::{BuildHasher, Hash},
    sync::{Arc, atomic::AtomicBool},
};

use super::{
    cache::{MemoryCache, Weigher},
    departures::{Heard, Listener},
    hasher::RandomState,
    options::MemoryOptions,
    statistics::RemovalCause,
};
use crate::{clock::Clock, error::Result};

/// Makes a [`MemoryCache`] with a weigher, listener, hasher or clock.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use tierce::{MemoryCache, MemoryOptions, RemovalCause};
///
/// static EVICTED: AtomicU64 = AtomicU64::new(0);
/// let cache = MemoryCache::builder(MemoryOptions::new().max_entries(10))
///     .weigher(|_key: &u64, text: &String| text.capacity())
///     .listener(|_key, _text, cause| {
///         if cause == RemovalCause::Size {
///             EVICTED.fetch_add(1, Ordering::Relaxed);
///         }
///     })
///     .build()?;
/// for key in 0..15 {
///     cache.insert(key, "text".to_owned());
/// }
/// assert_eq!((cache.len(), EVICTED.load(Ordering::Relaxed)), (10, 5));
/// # Ok::<(), tierce::Error>(())
/// ```
#[must_use]
pub struct MemoryBuilder<K, V, S = RandomState> {
    pub(super) options: MemoryOptions,
    pub(super) weigher: Option<Weigher<K, V>>,
    pub(super) listener: Option<Listener<K, V>>,
    pub(super) heard: Heard,
    pub(super) hasher: S,
    pub(super) clock: Clock,
}

impl<K, V> MemoryBuilder<K, V> {
    pub(super) fn new(options: MemoryOptions) -> Self {
        Self {
            options,
            weigher: None,
            listener: None,
            heard: None,
            hasher: RandomState::default(),
            clock: Clock::system(),
        }
    }
}

impl<K, V, S> MemoryBuilder<K, V, S> {
    /// Sets the weigher; see [`MemoryCache::with_weigher`]. Default: entries weigh their overhead.
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        self.weigher = Some(Box::new(weigher));
        self
    }

    /// Sets who is told of every entry that leaves, and why. Default: nobody.
    ///
    /// Called by the thread whose call had the entry leave, before that call returns, with no lock
    /// held: it may call the cache. As long as it runs, nothing that leaves any cache of the process is
    /// freed; one that blocks has inserts refused once thousands of entries wait for it. A panic in it is contained and counted
    /// ([`MemoryStatistics::drop_panics`](crate::MemoryStatistics::drop_panics)). Entries that go
    /// with the whole cache when it is dropped are not told.
    pub fn listener(
        mut self,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.listener = Some(Box::new(listener));
        self
    }

    /// As [`listener`](Self::listener), for one that wants to be told only while the flag is set;
    /// while it is not, it costs nothing.
    pub(crate) fn listener_while(
        mut self,
        heard: Arc<AtomicBool>,
        listener: impl Fn(&K, &V, RemovalCause) + Send + Sync + 'static,
    ) -> Self {
        self.heard = Some(heard);
        self.listener(listener)
    }

    /// Sets the hasher. Default: a fast one with a random seed for each cache.
    ///
    /// Who can choose keys can choose colliding ones, unless the hasher has a random seed.
    pub fn hasher<H: BuildHasher>(self, hasher: H) -> MemoryBuilder<K, V, H> {
        let Self { options, weigher, listener, heard, clock, .. } = self;
        MemoryBuilder { options, weigher, listener, heard, hasher, clock }
    }

    /// Sets the clock of times to live. Default: [`Clock::system`].
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Makes the cache.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) if no bound is given or an option breaks
    /// its rule; the message names it. No other kinds.
    pub fn build(self) -> Result<MemoryCache<K, V, S>>
    where
        K: Hash + Eq,
        S: BuildHasher,
    {
        MemoryCache::build(self)
    }
}

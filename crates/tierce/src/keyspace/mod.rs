//! Keyspaces: keys of one shape, made from a pattern, with defaults and counters of their own.
//!
//! | file | answers |
//! |---|---|
//! | `pattern.rs` | which keys a pattern makes |
//! | `parts.rs` | what may stand in its places |
//! | `counters.rs` | what is counted by label |
//! | `clear.rs` | how all of one is removed |
//! | `limits.rs` | what one may take of what all share |
//! | `mod.rs` | the calls |
//!
//! A keyspace is a view: its entries lie in the tiers of its cache beside all others, under the
//! keys that its pattern makes, and the same key used on the cache itself is the same entry.

mod clear;
mod counters;
mod limits;
mod parts;
mod pattern;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use self::limits::Limits;
pub use self::{
    counters::KeyspaceCounters,
    parts::{KeyPart, KeyParts},
    pattern::KeyPattern,
};
use crate::{
    cache::{Answer, Cache, Freshness, LoadOptions, Loaded, Origin, ReadOptions, SetOptions},
    error::Result,
    tiering::Tiering,
};

/// Keys of one shape in a cache of values of type `V`; the pattern has `N` places.
///
/// ```
/// use std::{sync::Arc, time::Duration};
/// use tierce::{Bytes, Cache, Freshness};
///
/// let cache = Cache::builder().build()?;
/// let users = cache.keyspace::<1>("user/:id")?.freshness(Freshness::new().ttl(Duration::from_secs(60)))?;
/// let posts = cache.keyspace::<2>("user/:id/posts/:post")?.label("posts")?;
///
/// users.set(7, Bytes::from("Ada"))?;
/// posts.set((7, "hello"), Bytes::from("world"))?;
/// assert_eq!(cache.get("user/7"), users.get(7));
/// assert_eq!(posts.key((7, "a/b")), b"user/7/posts/a%2Fb");
/// # Ok::<(), tierce::Error>(())
/// ```
pub struct Keyspace<V = Bytes, const N: usize = 1> {
    cache: Cache<V>,
    pattern: KeyPattern,
    freshness: Freshness,
    tiers: Option<Tiering>,
    /// Of all its entries, where it is clearable.
    tags: Arc<[u32]>,
    limits: Limits,
    counters: KeyspaceCounters,
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// The keys of a pattern with `N` places: segments between slashes, of which those that begin
    /// with a colon are filled in by each call. Its label is the pattern.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for a pattern that is none, or that has another number of places, and
    /// for more than 1,000 labels in one cache; the message says which.
    pub fn keyspace<const N: usize>(&self, pattern: &str) -> Result<Keyspace<V, N>> {
        let pattern = KeyPattern::with_places(pattern, N)?;
        let counters = self.keyspace_counters(pattern.text())?;
        let (freshness, tiers, tags) = (Freshness::new(), None, Arc::default());
        let (cache, limits) = (self.clone(), Limits::default());
        Ok(Keyspace { cache, pattern, freshness, tiers, tags, limits, counters })
    }
}

impl<V: Clone + Send + Sync + 'static, const N: usize> Keyspace<V, N> {
    /// Sets how long values of this keyspace are fresh, for what a call does not say; what is not
    /// said here either is as the cache has it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for options out of their range.
    pub fn freshness(mut self, freshness: Freshness) -> Result<Self> {
        freshness.check()?;
        self.freshness = freshness;
        Ok(self)
    }

    /// Keeps the values of this keyspace to these tiers, as far as they are in the tiering: L3 for
    /// chosen patterns only, say, or a pattern that no process is to hold in memory. Default: all.
    ///
    /// The bound is one of the calls, not of the keys: a `get` of the same key on the cache itself
    /// looks in all tiers, and a `set` there puts the value into all of them. Whoever changes the
    /// key, nobody is served what it had before: a `set` of the keyspace removes the key from the
    /// other tiers, and what removes a key removes it from all.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, Tiering};
    ///
    /// let cache = Cache::builder().build()?;
    /// let drafts = cache.keyspace::<1>("draft/:id")?.tiers(Tiering::L1L2);
    /// drafts.set(7, Bytes::from("not for other hosts"))?;
    /// assert!(drafts.get(7).is_some());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    #[must_use]
    pub fn tiers(mut self, tiers: Tiering) -> Self {
        self.tiers = Some(tiers);
        self
    }

    /// Sets the label under which metrics count this keyspace. Default: its pattern.
    ///
    /// # Errors
    /// [`ErrorKind::Config`](crate::ErrorKind::Config) for more than 1,000 labels in one cache.
    pub fn label(mut self, label: &str) -> Result<Self> {
        self.counters = self.cache.keyspace_counters(label)?;
        Ok(self)
    }

    /// The pattern.
    pub fn pattern(&self) -> &str {
        self.pattern.text()
    }

    /// The cache that this is a part of.
    pub fn cache(&self) -> &Cache<V> {
        &self.cache
    }

    /// The key with these values in its places.
    pub fn key(&self, values: impl KeyParts<N>) -> Vec<u8> {
        self.pattern.key_of(&values)
    }

    /// As [`Cache::get`].
    pub fn get(&self, values: impl KeyParts<N>) -> Option<V> {
        match self.tiers {
            None => self.counted(self.cache.get(self.key(values))),
            Some(_) => self.get_with(values, &ReadOptions::new()).map(|answer| answer.value),
        }
    }

    /// As [`Cache::get_with`].
    pub fn get_with(&self, values: impl KeyParts<N>, options: &ReadOptions) -> Option<Answer<V>> {
        let options = options.or_tiers(self.tiers);
        let found = self.cache.get_with(self.key(values), &options);
        self.counted(found)
    }

    /// As [`Cache::get_many`].
    pub fn get_many<P: KeyParts<N>>(&self, values: impl IntoIterator<Item = P>) -> Vec<Option<V>> {
        let keys: Vec<Vec<u8>> = values.into_iter().map(|values| self.key(values)).collect();
        let options = ReadOptions::new().or_tiers(self.tiers);
        let found: Vec<Option<V>> = self.cache.values_of(&keys, &options);
        let hits = found.iter().flatten().count();
        self.counters.hits(hits as u64);
        self.counters.misses((found.len() - hits) as u64);
        found
    }

    /// As [`Cache::set`].
    ///
    /// # Errors
    /// As there.
    pub fn set(&self, values: impl KeyParts<N>, value: V) -> Result<()> {
        self.set_with(values, value, &SetOptions::new())
    }

    /// As [`Cache::set_with`].
    ///
    /// # Errors
    /// As there.
    pub fn set_with(&self, values: impl KeyParts<N>, value: V, options: &SetOptions) -> Result<()> {
        self.check_value(&value)?;
        self.counters.changes(1);
        let options = options.clone().or(&self.freshness).or_tiers(self.tiers).and_tags(&self.tags);
        let options = options.map_freshness(|freshness| self.bounded(freshness));
        self.cache.set_with(self.key(values), value, &options)
    }

    /// As [`Cache::delete`].
    ///
    /// # Errors
    /// As there.
    pub fn delete(&self, values: impl KeyParts<N>) -> Result<()> {
        self.counters.changes(1);
        self.cache.delete(self.key(values))
    }

    /// As [`Cache::touch`].
    ///
    /// # Errors
    /// As there.
    pub fn touch(&self, values: impl KeyParts<N>, ttl: Duration) -> Result<bool> {
        self.counters.changes(1);
        self.cache.touch(self.key(values), self.bounded_ttl(ttl))
    }

    /// As [`Cache::get_or_load`].
    ///
    /// # Errors
    /// As there.
    pub fn get_or_load<L, E, F>(&self, values: impl KeyParts<N>, load: F) -> Result<V>
    where
        F: FnOnce(&[u8]) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.get_or_load_with(values, &LoadOptions::new(), load).map(|answer| answer.value)
    }

    /// As [`Cache::get_or_load_with`].
    ///
    /// # Errors
    /// As there.
    pub fn get_or_load_with<L, E, F>(
        &self,
        values: impl KeyParts<N>,
        options: &LoadOptions,
        load: F,
    ) -> Result<Answer<V>>
    where
        F: FnOnce(&[u8]) -> Result<L, E>,
        L: Into<Loaded<V>>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let options = options.clone().or(&self.freshness).or_tiers(self.tiers).and_tags(&self.tags);
        let options = self.bounded_load(options);
        let answer = self.cache.get_or_load_with(self.key(values), &options, |key| {
            self.counters.loads(1);
            load(key).map(|loaded| self.bounded_value(loaded.into()))
        });
        let is_hit = answer.as_ref().is_ok_and(|answer| matches!(answer.origin, Origin::Tier(_)));
        self.counters.read(is_hit);
        answer
    }

    fn counted<T>(&self, found: Option<T>) -> Option<T> {
        self.counters.read(found.is_some());
        found
    }
}

impl<V, const N: usize> Clone for Keyspace<V, N> {
    fn clone(&self) -> Self {
        Self {
            cache: self.cache.clone(),
            pattern: self.pattern.clone(),
            freshness: self.freshness.clone(),
            tiers: self.tiers,
            tags: Arc::clone(&self.tags),
            limits: self.limits.clone(),
            counters: self.counters.clone(),
        }
    }
}

impl<V, const N: usize> std::fmt::Debug for Keyspace<V, N> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Keyspace")
            .field("pattern", &self.pattern)
            .field("freshness", &self.freshness)
            .field("tiers", &self.tiers)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

//! What one keyspace may take of what all share: the size of its values, their time, and loads at
//! once.
//!
//! There is no bound on the entries of a keyspace, nor on all their bytes. They lie among all others,
//! and what leaves for room is chosen by how it is read, so a keyspace that nobody reads takes room
//! from no other for long. To count the entries of one would cost every insert and every eviction in
//! each tier, and to keep a bound would evict by keyspace what is worth more than what stays.

use std::{sync::Arc, time::Duration};

use super::Keyspace;
use crate::{
    cache::{Bulkhead, Freshness, LoadOptions, Loaded},
    error::{Error, ErrorKind, Result},
};

/// The bounds of a keyspace.
#[derive(Clone, Default)]
pub(super) struct Limits {
    max_value_bytes: Option<usize>,
    max_ttl: Option<Duration>,
    loads: Option<Arc<Bulkhead>>,
}

impl<V: Clone + Send + Sync + 'static, const N: usize> Keyspace<V, N> {
    /// Sets the largest value, in bytes as the codec weighs it. A larger one that is set is refused by
    /// [`ErrorKind::TooLarge`]; one that is loaded is given to those who wait, and kept nowhere.
    /// Default: the bounds of the tiers.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for zero.
    pub fn max_value_bytes(mut self, bytes: usize) -> Result<Self> {
        self.check("max_value_bytes", bytes == 0)?;
        self.limits.max_value_bytes = Some(bytes);
        Ok(self)
    }

    /// Sets the longest time to live, of values and of word that there is none. Whoever names a longer
    /// one, or none at all (a call, the loader, the keyspace, the cache), gets this one. Stale windows
    /// come after it. Default: none.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for zero.
    pub fn max_ttl(mut self, ttl: Duration) -> Result<Self> {
        self.check("max_ttl", ttl.is_zero())?;
        self.limits.max_ttl = Some(ttl);
        Ok(self)
    }

    /// Sets how many loads this handle and its clones run at once in this process: a slow origin of
    /// one keyspace cannot take all threads. Who comes beyond that does not wait: it gets a stale value
    /// where [`stale_if_error`](Freshness::stale_if_error) allows one, else
    /// [`ErrorKind::Busy`]. Callers of a key that is being loaded wait for that load, and
    /// count once. Default: no bound.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, ErrorKind};
    ///
    /// let cache = Cache::builder().build()?;
    /// let users = cache.keyspace::<1>("user/:id")?.max_loads(1)?;
    /// let load = |_: &[u8]| users.get_or_load(8, |_| std::io::Result::Ok(Bytes::from("Ben")));
    /// let inner = users.get_or_load(7, |key| load(key).map_err(|error| error.kind().as_str()));
    /// assert!(inner.is_err());
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for zero.
    pub fn max_loads(mut self, loads: usize) -> Result<Self> {
        self.check("max_loads", loads == 0)?;
        self.limits.loads = Some(Arc::new(Bulkhead::new(loads, self.pattern.text())));
        Ok(self)
    }

    fn check(&self, what: &str, is_zero: bool) -> Result<()> {
        if is_zero {
            let text = self.pattern.text();
            let message = format!("keyspace {text:?}: {what} = 0: must be above zero");
            return Err(Error::new(ErrorKind::Config, message));
        }
        Ok(())
    }

    /// Refuses a value that is too large.
    pub(super) fn check_value(&self, value: &V) -> Result<()> {
        let Some(most) = self.limits.max_value_bytes else { return Ok(()) };
        let bytes = self.cache.weight_of(value);
        if bytes > most {
            let text = self.pattern.text();
            let message =
                format!("keyspace {text:?}: value of {bytes} bytes: max_value_bytes is {most}");
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        Ok(())
    }

    /// These options within the bounds.
    pub(super) fn bounded(&self, freshness: Freshness) -> Freshness {
        match self.limits.max_ttl {
            Some(most) => self.cache.capped(freshness, most),
            None => freshness,
        }
    }

    /// The time to live within the bound.
    pub(super) fn bounded_ttl(&self, ttl: Duration) -> Duration {
        self.limits.max_ttl.map_or(ttl, |most| ttl.min(most))
    }

    /// The options of a load within the bounds.
    pub(super) fn bounded_load(&self, options: LoadOptions) -> LoadOptions {
        options.map_freshness(|freshness| self.bounded(freshness)).within(self.limits.loads.clone())
    }

    /// What was loaded within the bounds.
    pub(super) fn bounded_value(&self, loaded: Loaded<V>) -> Loaded<V> {
        let is_too_large = loaded.value().is_some_and(|value| self.check_value(value).is_err());
        let most = if is_too_large { Some(Duration::ZERO) } else { None };
        loaded.capped(self.limits.max_ttl, most)
    }
}

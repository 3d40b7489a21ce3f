//! What is counted of a keyspace, by its label.

use std::sync::Arc;

use crate::{
    cache::Cache,
    error::{Error, ErrorKind, Result},
    metrics::{KeyspaceCounter, KeyspaceMetrics},
};

/// Labels that one cache counts apart: each is a line in every answer to who collects metrics.
pub(super) const MOST_LABELS: usize = 1_000;

/// The counters of one label of a cache, for a keyspace of the caller's own making.
///
/// [`Keyspace`](crate::Keyspace) counts by itself. Counting waits for nobody; clones, and all who
/// asked for the same label, count together.
///
/// ```
/// let cache = tierce::Cache::builder().build()?;
/// let users = cache.keyspace_counters("users")?;
/// users.read(cache.get("user/7").is_some());
/// assert_eq!(cache.stats().keyspaces[0].misses, 1);
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct KeyspaceCounters(Arc<KeyspaceMetrics>);

impl KeyspaceCounters {
    /// Counts a read: a hit if a tier answered it.
    #[inline]
    pub fn read(&self, is_hit: bool) {
        self.0.count(if is_hit { KeyspaceCounter::Hits } else { KeyspaceCounter::Misses });
    }

    /// Adds reads that a tier answered.
    pub fn hits(&self, count: u64) {
        self.0.add(KeyspaceCounter::Hits, count);
    }

    /// Adds reads that no tier answered.
    pub fn misses(&self, count: u64) {
        self.0.add(KeyspaceCounter::Misses, count);
    }

    /// Adds loaders that were called.
    pub fn loads(&self, count: u64) {
        self.0.add(KeyspaceCounter::Loads, count);
    }

    /// Adds values set, deleted or expired.
    pub fn changes(&self, count: u64) {
        self.0.add(KeyspaceCounter::Changes, count);
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// The counters of a label.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for more than 1,000 labels in one cache.
    pub fn keyspace_counters(&self, label: &str) -> Result<KeyspaceCounters> {
        let counters = self.keyspaces().label(label, MOST_LABELS).ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                format!("keyspace label {label:?}: a cache counts {MOST_LABELS} labels at most"),
            )
        })?;
        Ok(KeyspaceCounters(counters))
    }
}

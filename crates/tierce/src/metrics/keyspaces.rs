//! What is counted for each keyspace of a cache, by its label.

use std::sync::Arc;

use super::Counters;
use crate::sync::Mutex;

/// A counter of one keyspace.
#[derive(Clone, Copy, Debug)]
pub(crate) enum KeyspaceCounter {
    Hits,
    Misses,
    Loads,
    Changes,
}

/// How many [`KeyspaceCounter`]s there are.
const KEYSPACE_COUNTERS: usize = KeyspaceCounter::Changes as usize + 1;

/// The counters of one label.
#[derive(Debug, Default)]
pub(crate) struct KeyspaceMetrics(Counters<KEYSPACE_COUNTERS>);

impl KeyspaceMetrics {
    /// Adds one to a counter.
    #[inline]
    pub(crate) fn count(&self, counter: KeyspaceCounter) {
        self.add(counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub(crate) fn add(&self, counter: KeyspaceCounter, count: u64) {
        self.0.add(counter as usize, count);
    }

    fn snapshot(&self, label: &str) -> KeyspaceStats {
        let sum = |counter: KeyspaceCounter| self.0.sum(counter as usize);
        KeyspaceStats {
            label: label.to_owned(),
            hits: sum(KeyspaceCounter::Hits),
            misses: sum(KeyspaceCounter::Misses),
            loads: sum(KeyspaceCounter::Loads),
            changes: sum(KeyspaceCounter::Changes),
        }
    }
}

/// What was done by way of the keyspaces of one label.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct KeyspaceStats {
    /// The label.
    pub label: String,
    /// Reads that a tier answered, with a value or with word that there is none.
    pub hits: u64,
    /// Reads that no tier answered.
    pub misses: u64,
    /// Loaders that were called.
    pub loads: u64,
    /// Values set, deleted or expired, one by one.
    pub changes: u64,
}

/// The labels of one cache.
#[derive(Debug, Default)]
pub(crate) struct Keyspaces(Mutex<Vec<(Box<str>, Arc<KeyspaceMetrics>)>>);

impl Keyspaces {
    /// The counters of a label, which all keyspaces that bear it share; `None` where there are
    /// `most` others.
    pub(crate) fn label(&self, label: &str, most: usize) -> Option<Arc<KeyspaceMetrics>> {
        let mut labels = self.0.lock();
        if let Some((_, counters)) = labels.iter().find(|(known, _)| **known == *label) {
            return Some(Arc::clone(counters));
        }
        if labels.len() >= most {
            return None;
        }
        let counters = Arc::<KeyspaceMetrics>::default();
        labels.push((label.into(), Arc::clone(&counters)));
        Some(counters)
    }

    /// The numbers now, in the order in which the labels were first used.
    pub(crate) fn snapshot(&self) -> Vec<KeyspaceStats> {
        let labels = self.0.lock().clone();
        labels.iter().map(|(label, counters)| counters.snapshot(label)).collect()
    }
}

//! What a cache should hold: a map with deadlines, and what is not known for sure.

use std::collections::BTreeMap;

use tierce::{MemoryStatistics, RemovalCause};

/// From here on a cache of millisecond deadlines says "never".
pub(crate) const NEVER: u64 = 0xFFFF << 32;

/// What is known of an entry that was stored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) value: u64,
    pub(crate) weight: u64,
    /// It expires from `earliest` on, and at `latest` at the latest: jitter lies between them.
    pub(crate) earliest: u64,
    pub(crate) latest: u64,
    pub(crate) used_at: u64,
}

/// May a look-up find an entry?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Live,
    /// The jitter decides.
    Either,
    Dead,
}

/// The entries that were stored and, as far as is known, did not leave.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) entries: BTreeMap<u64, Entry>,
    pub(crate) now: u64,
    pub(crate) idle: Option<u64>,
    /// Entries that were stored since the cache was made.
    pub(crate) stored: u64,
    /// Those that were refused.
    pub(crate) refused: u64,
}

/// How many entries left, whatever the reason.
pub(crate) fn departed(statistics: &MemoryStatistics) -> u64 {
    let MemoryStatistics { size, bytes, expired, replaced, removed, .. } = *statistics;
    size + bytes + expired + replaced + removed
}

/// How many entries left for this reason.
pub(crate) fn count(statistics: &MemoryStatistics, cause: RemovalCause) -> u64 {
    match cause {
        RemovalCause::Size => statistics.size,
        RemovalCause::Bytes => statistics.bytes,
        RemovalCause::Expired => statistics.expired,
        RemovalCause::Replaced => statistics.replaced,
        _ => statistics.removed,
    }
}

impl Model {
    pub(crate) fn life_of(&self, entry: &Entry) -> Life {
        let unused = self.idle.map_or(NEVER, |idle| entry.used_at.saturating_add(idle));
        if self.now < entry.earliest.min(unused) {
            Life::Live
        } else if self.now >= entry.latest.min(unused) {
            Life::Dead
        } else {
            Life::Either
        }
    }

    /// The entry of a key and whether it is found; `None` for a key that cannot be there.
    pub(crate) fn get(&self, key: u64) -> Option<(Entry, Life)> {
        let entry = self.entries.get(&key)?;
        Some((*entry, self.life_of(entry)))
    }

    /// The value that a look-up must find, if it must.
    pub(crate) fn live(&self, key: u64) -> Option<u64> {
        self.get(key).filter(|(_, life)| *life == Life::Live).map(|(entry, _)| entry.value)
    }

    /// A look-up said this; panics if it must not have.
    pub(crate) fn judge(&self, key: u64, found: Option<u64>, what: &str) {
        match (found, self.get(key)) {
            (Some(value), Some((entry, life))) => {
                assert_eq!(value, entry.value, "{what} of key {key}: not its latest value");
                assert_ne!(life, Life::Dead, "{what} of key {key}: it has expired");
            }
            (Some(value), None) => panic!("{what} of key {key}: {value:#x}, and nothing is there"),
            (None, Some((_, Life::Live))) => panic!("{what} of key {key}: missed"),
            (None, _) => {}
        }
    }

    /// A read found the entry of a key.
    pub(crate) fn used(&mut self, key: u64) {
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.used_at = self.now;
        }
    }

    /// Entries that a look-up must find.
    pub(crate) fn all_live(&self) -> impl Iterator<Item = (u64, Entry)> {
        let live = |entry: &Entry| self.life_of(entry) == Life::Live;
        self.entries.iter().filter(move |(_, entry)| live(entry)).map(|(key, entry)| (*key, *entry))
    }

    /// True if for no entry it depends on the jitter, nor on who freed it, whether it is there.
    pub(crate) fn is_sure(&self) -> bool {
        self.entries.values().all(|entry| self.life_of(entry) == Life::Live)
    }

    pub(crate) fn weight(&self) -> u64 {
        let sum: u128 = self.entries.values().map(|entry| u128::from(entry.weight)).sum();
        u64::try_from(sum).unwrap_or(u64::MAX)
    }
}

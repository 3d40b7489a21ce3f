//! Why entries left, and how many did not come in.

/// Why an entry left a [`MemoryCache`](crate::MemoryCache).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemovalCause {
    /// Evicted to keep `max_entries`.
    Size,
    /// Evicted to keep `max_bytes`.
    Bytes,
    /// Its time to live, or to idle, had passed.
    Expired,
    /// A newer value of the same key took its place.
    Replaced,
    /// Removed by key, by `retain` or by `clear`, or because a newer value was not stored.
    Removed,
}

/// Why entries left a [`MemoryCache`](crate::MemoryCache), or did not come in. Counted since it
/// was made; the numbers saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStatistics {
    /// Evicted to keep `max_entries`.
    pub size: u64,
    /// Evicted to keep `max_bytes`.
    pub bytes: u64,
    /// Freed because their time to live, or to idle, had passed.
    pub expired: u64,
    /// Replaced by a newer value of the same key.
    pub replaced: u64,
    /// Removed by key, by `retain` or by `clear`, or because a newer value was not stored.
    pub removed: u64,
    /// Not stored: too heavy, no room at all, memory was short, or readers held up too much.
    pub refused: u64,
    /// Keys and values whose `Drop` panicked after the cache had let go of them, and listeners
    /// that panicked.
    pub drop_panics: u64,
}

impl MemoryStatistics {
    pub(super) fn add(&mut self, other: &Self) {
        self.size = self.size.saturating_add(other.size);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.expired = self.expired.saturating_add(other.expired);
        self.replaced = self.replaced.saturating_add(other.replaced);
        self.removed = self.removed.saturating_add(other.removed);
        self.refused = self.refused.saturating_add(other.refused);
        self.drop_panics = self.drop_panics.saturating_add(other.drop_panics);
    }

    pub(super) fn count(&mut self, cause: RemovalCause) {
        let counter = match cause {
            RemovalCause::Size => &mut self.size,
            RemovalCause::Bytes => &mut self.bytes,
            RemovalCause::Expired => &mut self.expired,
            RemovalCause::Replaced => &mut self.replaced,
            RemovalCause::Removed => &mut self.removed,
        };
        *counter = counter.saturating_add(1);
    }
}

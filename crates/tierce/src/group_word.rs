//! What L3 says of copies above it, by groups of keys: a word that each copy bears.

#[cfg(feature = "redis")]
use std::sync::atomic::{AtomicU32, Ordering};

/// What a copy of a key in L1 or L2 bears: the word of its group when the copy was looked for, and
/// which group that is. While the group has the same word the copy is current.
///
/// ```text
///   table    31          30           8 7      0        31          30              8 7       0
///           +-----------+--------------+--------+      +-----------+-----------------+---------+
///           | suspended | epoch        | 0      |      | suspended | epoch + 1       | group   |
///           +-----------+--------------+--------+      +-----------+-----------------+---------+
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupWord(pub(crate) u32);

impl GroupWord {
    /// Of copies that no group judges.
    pub(crate) const NONE: Self = Self(0);
    /// In a table: copies are not to be used for now.
    #[cfg(feature = "redis")]
    pub(crate) const SUSPENDED: u32 = 1 << 31;
    #[cfg(any(feature = "shared", feature = "redis"))]
    const EPOCH: u32 = 1 << 8;

    /// The word of a group whose entry in the table this is.
    #[cfg(any(feature = "shared", feature = "redis"))]
    #[inline(always)]
    pub(crate) fn of(entry: u32, group: usize) -> Self {
        Self(entry.wrapping_add(Self::EPOCH) | (group % crate::key::GROUPS) as u32)
    }

    /// Which group it is.
    #[cfg(any(feature = "shared", feature = "redis"))]
    #[inline(always)]
    pub(crate) fn group(self) -> usize {
        self.0 as usize % crate::key::GROUPS
    }

    /// True where this is what the word of a group becomes while its copies are suspended.
    #[cfg(feature = "redis")]
    pub(crate) fn suspends(self, before: Self) -> bool {
        self.0 == before.0 | Self::SUSPENDED && self != before
    }

    /// Makes all copies that bear the word of this entry of a table void, and ends a suspension.
    #[cfg(feature = "redis")]
    pub(crate) fn raise(entry: &AtomicU32) {
        let next = |word: u32| Some(word.wrapping_add(Self::EPOCH) & !Self::SUSPENDED);
        _ = entry.fetch_update(Ordering::AcqRel, Ordering::Relaxed, next);
    }
}

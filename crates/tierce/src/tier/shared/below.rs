//! What the store says to all processes of the host of the tier below it.

use std::time::Duration;

use super::SharedTier;
use crate::{simulated, store::Doubt};

/// A doubt about a group of keys in the tier below.
pub(crate) type SharedDoubt = Doubt;

impl SharedTier {
    /// True once a tier below is in use with this store, by any process.
    pub(crate) fn has_below(&self) -> bool {
        self.store.view().store().has_below()
    }

    /// Says that a tier below is in use with this store.
    pub(crate) fn join_below(&self) {
        self.store.change(|view| view.store().join_below());
    }

    /// Tells all processes of the host that the tier below may hold something older than a change
    /// of `key`; to be called before the change of this tier.
    pub(crate) fn doubt_below(&self, key: &[u8]) {
        simulated::point();
        self.store.change(|view| view.store().doubt(key));
    }

    /// [`doubt_below`](Self::doubt_below) for all keys.
    pub(crate) fn doubt_all_below(&self) {
        self.store.change(|view| view.store().doubt_everything());
    }

    /// True while `key` must not be read from the tier below.
    pub(crate) fn doubts_below(&self, key: &[u8]) -> bool {
        self.store.current().store().is_doubted(key)
    }

    /// The doubt about the group of `key`, if there is one that has rested so long.
    pub(crate) fn doubt_to_settle(&self, key: &[u8], rest: Duration) -> Option<SharedDoubt> {
        self.store.current().store().rested_doubt(key, rest)
    }

    /// Doubts that have rested so long, at most so many.
    #[cfg(feature = "redis")]
    pub(crate) fn doubts_to_settle(&self, rest: Duration, most: usize) -> Vec<SharedDoubt> {
        self.store.current().store().rested_doubts(rest).take(most).collect()
    }

    /// Settles a doubt whose group was cleared below.
    pub(crate) fn settle_below(&self, doubt: SharedDoubt) {
        self.store.view().store().settle(doubt);
    }
}

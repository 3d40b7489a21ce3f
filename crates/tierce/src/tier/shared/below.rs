//! What the store says to all processes of the host of the tier below it.

use std::time::Duration;

use super::SharedTier;
use crate::{
    clock::Millis,
    simulated,
    store::{ClaimWord, Doubt},
};

/// A doubt about a group of keys in the tier below.
pub(crate) type SharedDoubt = Doubt;

/// Where the store says that a key's value is on its way to the tier below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharedCell {
    /// Which of the stores that had the name one after another.
    store: u32,
    cell: u32,
}

impl SharedTier {
    /// True once values may be on their way to the tier below.
    #[inline]
    pub(crate) fn is_written_behind(&self) -> bool {
        self.store.current().store().is_written_behind()
    }

    /// The cell of a key.
    pub(crate) fn cell_below(&self, key: &[u8]) -> SharedCell {
        let view = self.store.current();
        SharedCell { store: view.number(), cell: view.store().pending_cell(key) }
    }

    /// What a cell says now, to who claimed it with `mine`.
    pub(crate) fn claim_below(&self, cell: SharedCell, mine: ClaimWord) -> ClaimWord {
        let view = self.store.view();
        // Who put another store in this one's place made doubts of its claims.
        let is_of_view = view.number() == cell.store;
        if is_of_view { view.store().pending_word(cell.cell, mine) } else { ClaimWord::FREE }
    }

    /// Claims a cell, or prolongs a claim; `None` where that cannot be.
    pub(crate) fn hold_below(
        &self,
        cell: SharedCell,
        mine: ClaimWord,
        owner: u32,
        until: Millis,
    ) -> Option<ClaimWord> {
        let view = self.store.current();
        if view.number() != cell.store {
            return None;
        }
        let claim = view.store().claim_cell(cell.cell, mine, owner, until)?;
        // Else who made doubts of the claims may have come before this one.
        if view.store().is_superseded() {
            view.store().free_cell(cell.cell, claim);
            return None;
        }
        Some(claim)
    }

    /// Frees a cell.
    pub(crate) fn free_below(&self, cell: SharedCell, mine: ClaimWord) {
        let view = self.store.view();
        if view.number() == cell.store {
            view.store().free_cell(cell.cell, mine);
        }
    }

    /// Has the owner of a cell hurry.
    pub(crate) fn want_below(&self, cell: SharedCell) {
        let view = self.store.view();
        if view.number() == cell.store {
            view.store().want_cell(cell.cell);
        }
    }

    /// Makes doubts of claims that are over.
    #[cfg(feature = "redis")]
    pub(crate) fn give_up_overdue(&self) {
        self.store.current().store().give_up_overdue();
    }

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

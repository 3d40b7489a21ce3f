//! The numbering of changes of tags that lies in the store.

use super::{Record, SharedTier};
use crate::{
    store::View,
    tag_cells::{CellChange, Known, TagChange, Tags, Verdict},
};

impl SharedTier {
    /// What has become of something with these tags.
    pub(crate) fn judge(&self, tags: &Tags) -> Verdict {
        verdict(&self.store.view(), tags)
    }

    /// True unless a tag was changed since.
    pub(crate) fn is_unraised(&self, known: Known) -> bool {
        let view = self.store.view();
        known == Known { place: place(view.number()), raises: view.store().tag_raises() }
    }

    /// Changes all that bears one of these tags. Never fails.
    pub(crate) fn raise_tags(&self, hashes: &[u32], change: TagChange) {
        self.store.change(|view| raise(view, hashes, change));
    }

    /// The same where the tier below may not have taken the change: tells all processes of the host
    /// so.
    pub(crate) fn raise_tags_unsent(&self, hashes: &[u32], change: TagChange) {
        self.store.change(|view| raise_unsent(view, || raise(view, hashes, change)));
    }

    /// Whatever bears tags and was looked for before is gone.
    #[cfg(feature = "redis")]
    pub(crate) fn raise_all_tags(&self) {
        self.store.change(|view| view.store().tag_cells().raise_all());
    }

    /// Which changes of tags the tier below may not know of: a word to settle them by, and the cells.
    pub(crate) fn unsent_tags(&self) -> Option<(u64, Vec<CellChange>)> {
        let view = self.store.current();
        let (word, since) = view.store().unsent_tags().noted()?;
        Some((word, view.store().tag_cells().raised_since(since)))
    }

    /// True while the tier below may not know of changes of tags.
    pub(crate) fn has_unsent_tags(&self) -> bool {
        self.store.current().store().unsent_tags().noted().is_some()
    }

    /// The tier below knows by now of all that was noted.
    pub(crate) fn settle_tags(&self, word: u64) {
        self.store.view().store().unsent_tags().settle(word);
    }

    /// Changes all tags of some cells, each of a table of so many cells.
    pub(crate) fn raise_tag_cells(&self, cells: &[(usize, usize, TagChange)]) {
        self.store.change(|view| raise_cells(view, cells));
    }

    /// The same where the tier below may not have taken the changes.
    pub(crate) fn raise_tag_cells_unsent(&self, cells: &[(usize, usize, TagChange)]) {
        self.store.change(|view| raise_unsent(view, || raise_cells(view, cells)));
    }
}

/// The place of the numbering of a store.
pub(super) fn place(number: u32) -> u32 {
    number.wrapping_add(1)
}

/// What has become of something with these tags, by the store that numbered them.
pub(super) fn verdict(view: &View, tags: &Tags) -> Verdict {
    if tags.known.place != place(view.number()) {
        return Verdict::Removed;
    }
    view.store().tag_cells().judge(&tags.hashes, tags.known.raises)
}

fn raise(view: &View, hashes: &[u32], change: TagChange) {
    hashes.iter().for_each(|hash| view.store().tag_cells().raise(*hash, change));
}

/// Raises, and notes it, for who uses a tier below (`tag_cells::Unsent`). Where nobody does, all of that
/// tier will be in doubt for who does first.
fn raise_unsent(view: &View, raise: impl Fn()) {
    let since = view.store().tag_raises();
    raise();
    if view.store().is_below_in_use() {
        view.store().unsent_tags().note(since);
        raise();
    }
}

fn raise_cells(view: &View, cells: &[(usize, usize, TagChange)]) {
    cells.iter().for_each(|(cell, of, change)| view.store().raise_tag_cell(*cell, *of, *change));
}

/// What has become of a record.
pub(super) fn verdict_on(view: &View, record: &Record) -> Verdict {
    let tags = record.extras.as_deref().and_then(|extras| extras.tags.as_ref());
    tags.map_or(Verdict::Current, |tags| verdict(view, tags))
}

//! The numbering of changes of tags that all processes of the host share: the count of them in the
//! state region, the cells in a region of their own. What it says of a record is for those to judge
//! who read it.

use std::sync::atomic::Ordering;

use crate::{
    store::{Store, stamps},
    tag_cells::{TagCells, TagChange},
};

impl Store {
    /// How many changes of tags there were: to be asked before anything is looked for.
    #[inline]
    pub(crate) fn tag_raises(&self) -> u64 {
        stamps::head(&self.mapping).tag_raises.load(Ordering::Acquire)
    }

    /// The numbering.
    pub(crate) fn tag_cells(&self) -> TagCells<'_> {
        let cells =
            self.mapping.slice(self.geometry.tags_at(), 2 * self.geometry.tag_cells as usize);
        let head = stamps::head(&self.mapping);
        TagCells::new(&head.tag_raises, &head.tag_floor, cells)
    }

    /// Changes all tags of a cell in a table of `of` cells.
    pub(crate) fn raise_tag_cell(&self, cell: usize, of: usize, change: TagChange) {
        self.tag_cells().raise_alike(cell, of, change);
    }

    /// Takes over what another store knows of changes of tags.
    pub(crate) fn adopt_tags_of(&self, old: &Self) {
        self.tag_cells().adopt(&old.tag_cells());
        if let Some((_, since)) = old.unsent_tags().noted() {
            self.unsent_tags().note(since);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Clock,
        store::StoreOptions,
        tag_cells::{self, Verdict},
    };

    #[test]
    fn a_store_of_another_size_knows_which_tags_were_removed() {
        let folder = tempfile::tempdir().unwrap();
        let options = |bytes| StoreOptions::new(folder.path().join("store")).max_bytes(bytes);
        let (red, blue) = (tag_cells::hashes(["red"]), tag_cells::hashes(["blue"]));
        let raises = {
            let store = Store::open(&options(4 << 20), Clock::system()).unwrap();
            store.tag_cells().raise(red[0], TagChange::Remove);
            store.unsent_tags().note(store.tag_raises() - 1);
            store.tag_raises()
        };
        for bytes in [64 << 20, 4 << 20] {
            let store = Store::open(&options(bytes).resize(true), Clock::system()).unwrap();
            assert_eq!(store.geometry.tag_cells, if bytes == 4 << 20 { 4 << 10 } else { 64 << 10 });
            assert_eq!(store.tag_raises(), raises, "{bytes}");
            let judge = |hashes: &[u32], known| store.tag_cells().judge(hashes, known);
            assert_eq!(judge(&red, raises - 1), Verdict::Removed, "{bytes}");
            assert_eq!(judge(&red, raises), Verdict::Current, "{bytes}");
            assert_eq!(judge(&blue, 0), Verdict::Current, "{bytes}");
            let since = store.unsent_tags().noted().map(|(_, since)| since);
            assert_eq!(since, Some(raises - 1), "{bytes}");
        }
    }
}

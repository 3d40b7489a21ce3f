//! The numbering of changes of tags in this process: it judges what no store does.
//!
//! A cache in which no tag was ever changed has no table of them.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(feature = "redis")]
use crate::tag_cells::{CELLS_BELOW, raise_floor};
use crate::tag_cells::{CellChange, Known, TagCells, TagChange, Tags, Unsent, Verdict};

/// Enough that a hundred changes of tags cost another tag's entry its life in 2 % of cases. 64 KiB,
/// from the first change on.
const CELLS: usize = 1 << 12;

/// Of each cell whether it was removed, or expired, while there was no store to be told.
const PENDING_WORDS: usize = 2 * CELLS / 64;

/// What this process knows of changes of tags.
#[derive(Debug, Default)]
pub(crate) struct OwnTags {
    raises: AtomicU64,
    floor: AtomicU64,
    /// What L3 was not told of, while there is no store.
    unsent: AtomicU64,
    /// Whether anybody named a tag here.
    is_used: AtomicBool,
    /// The cells, then the bits of those that a store is still to be told of.
    words: OnceLock<Box<[AtomicU64]>>,
}

impl OwnTags {
    /// How many changes there were: to be asked before anything is looked for.
    pub(crate) fn known(&self) -> Known {
        Known { place: 0, raises: self.raises.load(Ordering::Acquire) }
    }

    /// True once somebody named a tag here, or found one in L3.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used.load(Ordering::Relaxed)
    }

    /// Takes note that tags are in use.
    pub(crate) fn be_used(&self) {
        if !self.is_used() {
            self.is_used.store(true, Ordering::Relaxed);
        }
    }

    /// The cells, then the bits of those that a store is still to be told of.
    fn words(&self) -> (&[AtomicU64], &[AtomicU64]) {
        let zeros = || (0..2 * CELLS + PENDING_WORDS).map(|_| AtomicU64::new(0)).collect();
        self.words.get_or_init(zeros).split_at(2 * CELLS)
    }

    /// What L3 was not told of, while there is no store.
    pub(crate) fn unsent(&self) -> Unsent<'_> {
        Unsent(&self.unsent)
    }

    /// The cells of L3's numbering that were raised here when the count was above `since`.
    pub(crate) fn raised_since(&self, since: u64) -> Vec<CellChange> {
        TagCells::new(&self.raises, &self.floor, self.words().0).raised_since(since)
    }

    /// Changes all tags of a cell of L3's numbering, as another host did.
    #[cfg(feature = "redis")]
    pub(crate) fn raise_cell(&self, raised: CellChange) {
        let cells = TagCells::new(&self.raises, &self.floor, self.words().0);
        cells.raise_alike(raised.cell, CELLS_BELOW, raised.change);
    }

    /// Whatever bears tags and was looked for before is gone.
    #[cfg(feature = "redis")]
    pub(crate) fn raise_all(&self) {
        raise_floor(&self.raises, &self.floor);
    }

    /// Changes all that bears one of these tags. `is_pending` says that no store was told.
    pub(crate) fn raise(&self, hashes: &[u32], change: TagChange, is_pending: bool) {
        let (cells, pending) = self.words();
        let first = if change == TagChange::Remove { 0 } else { CELLS };
        for hash in hashes {
            if is_pending {
                let bit = first + *hash as usize % CELLS;
                pending[bit / 64].fetch_or(1 << (bit % 64), Ordering::AcqRel);
            }
            TagCells::new(&self.raises, &self.floor, cells).raise(*hash, change);
        }
    }

    /// What has become of something with these tags.
    pub(crate) fn judge(&self, tags: &Tags) -> Verdict {
        match self.words.get() {
            None if tags.known.raises < self.floor.load(Ordering::Acquire) => Verdict::Removed,
            None => Verdict::Current,
            Some(words) => {
                let cells = TagCells::new(&self.raises, &self.floor, &words[..2 * CELLS]);
                cells.judge(&tags.hashes, tags.known.raises)
            }
        }
    }

    /// Tells of the changes that no store was told of: the cell, of how many, and what was done.
    pub(crate) fn hand_over(&self, mut tell: impl FnMut(usize, usize, TagChange)) {
        let Some(words) = self.words.get() else { return };
        for (at, word) in words[2 * CELLS..].iter().enumerate() {
            let mut bits = word.swap(0, Ordering::AcqRel);
            while bits != 0 {
                let bit = at * 64 + bits.trailing_zeros() as usize;
                let change = if bit < CELLS { TagChange::Remove } else { TagChange::Expire };
                tell(bit % CELLS, CELLS, change);
                bits &= bits - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tag_cells;

    #[test]
    fn what_no_store_was_told_of_is_handed_over_once() {
        let own = OwnTags::default();
        let (red, blue) = (tag_cells::hashes(["red"]), tag_cells::hashes(["blue"]));
        own.raise(&red, TagChange::Remove, true);
        own.raise(&blue, TagChange::Expire, true);
        own.raise(&blue, TagChange::Remove, false);
        let handed = || {
            let mut told = Vec::new();
            own.hand_over(|cell, _, change| told.push((cell, change)));
            told
        };
        let cell = |hashes: &[u32]| hashes[0] as usize % CELLS;
        let both = [(cell(&red), TagChange::Remove), (cell(&blue), TagChange::Expire)];
        assert_eq!(handed(), both);
        assert_eq!(handed(), []);
    }
}

//! Tags, and the numbering of their changes by which whatever bears a tag is judged.
//!
//! ```text
//!   raises        counts the changes of tags
//!   removed[i]    what it was at the last removal of a tag whose hash falls into cell i
//!   expired[i]    the same of the last that made it stale
//! ```
//! Who looks for a value takes the count first, and what is kept of the value bears that number:
//! it is gone if a cell of one of its tags was raised above the number since, however late its tags
//! came to be known. A change raises the count, then its cell, and only then returns. A copy of a
//! copy bears the number of the first.
//!
//! Tags that share a cell cost each other a miss, never a wrong value.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most tags of an entry.
pub(crate) const MAX_TAGS: usize = 128;

/// What is done to all that bears a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TagChange {
    /// It is gone.
    Remove,
    /// It is stale.
    Expire,
}

/// What the changes of its tags have made of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing.
    Current,
    /// It is stale.
    Expired,
    /// It is gone.
    Removed,
}

/// Up to which change of tags something is known, in which numbering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Known {
    /// 0 for the numbering of this process; else one more than the number of the store.
    pub(crate) place: u32,
    pub(crate) raises: u64,
}

/// The tags of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) hashes: Box<[u32]>,
    /// Of when its value was looked for.
    pub(crate) known: Known,
}

/// The hashes of tags as they are kept: each once, in order.
pub(crate) fn hashes<T: AsRef<[u8]>>(tags: impl IntoIterator<Item = T>) -> Vec<u32> {
    sorted(tags.into_iter().map(|tag| hash(tag.as_ref())).collect())
}

/// The hashes of two lists as one.
pub(crate) fn joined(one: &[u32], other: &[u32]) -> Vec<u32> {
    sorted([one, other].concat())
}

fn sorted(mut hashes: Vec<u32>) -> Vec<u32> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// The hash of a tag: the same in every process, on every host and in every version, and in builds
/// without the hash that the tiers below use. FNV-1a, its bits mixed as MurmurHash3 ends.
fn hash(tag: &[u8]) -> u32 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in tag {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    (hash ^ hash >> 33) as u32
}

/// A numbering, wherever its words lie.
#[derive(Clone, Copy)]
pub(crate) struct TagCells<'a> {
    raises: &'a AtomicU64,
    removed: &'a [AtomicU64],
    expired: &'a [AtomicU64],
}

impl<'a> TagCells<'a> {
    /// `cells` are those of removals, then as many others.
    pub(crate) fn new(raises: &'a AtomicU64, cells: &'a [AtomicU64]) -> Self {
        let (removed, expired) = cells.split_at(cells.len() / 2);
        Self { raises, removed, expired }
    }

    /// Changes all that bears the tag of this hash and was looked for before.
    pub(crate) fn raise(&self, hash: u32, change: TagChange) {
        self.raise_cell(self.cell(hash), change);
    }

    /// [`raise`](Self::raise) for all tags of a cell in a table of `of` cells.
    #[cfg(feature = "shared")]
    pub(crate) fn raise_alike(&self, cell: usize, of: usize, change: TagChange) {
        for index in (cell % self.removed.len()..self.removed.len()).step_by(of) {
            self.raise_cell(index, change);
        }
    }

    fn raise_cell(&self, cell: usize, change: TagChange) {
        // In one order with looks for a successor of the store.
        let number = self.raises.fetch_add(1, Ordering::SeqCst) + 1;
        self.of(change)[cell].fetch_max(number, Ordering::SeqCst);
    }

    /// What has become of something with these tags that knows of so many changes.
    pub(crate) fn judge(&self, hashes: &[u32], raises: u64) -> Verdict {
        let is_raised = |change| {
            let cells = self.of(change);
            hashes.iter().any(|hash| cells[self.cell(*hash)].load(Ordering::Acquire) > raises)
        };
        if is_raised(TagChange::Remove) {
            Verdict::Removed
        } else if is_raised(TagChange::Expire) {
            Verdict::Expired
        } else {
            Verdict::Current
        }
    }

    /// Takes over what another numbering says, so that what was judged there is judged here as it
    /// was, or as older.
    #[cfg(feature = "shared")]
    pub(crate) fn adopt(&self, old: &Self) {
        let cells = [(self.removed, old.removed), (self.expired, old.expired)];
        let read = |cell: &AtomicU64| cell.load(Ordering::Acquire);
        let most = self.removed.len().max(old.removed.len());
        for (mine, old) in cells {
            for index in 0..most {
                mine[index % mine.len()].fetch_max(read(&old[index % old.len()]), Ordering::AcqRel);
            }
        }
        // After the cells: none is above it.
        self.raises.fetch_max(read(old.raises), Ordering::AcqRel);
    }

    fn cell(&self, hash: u32) -> usize {
        hash as usize % self.removed.len()
    }

    fn of(&self, change: TagChange) -> &'a [AtomicU64] {
        match change {
            TagChange::Remove => self.removed,
            TagChange::Expire => self.expired,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(count: usize) -> Vec<AtomicU64> {
        (0..count).map(|_| AtomicU64::new(0)).collect()
    }

    #[test]
    fn a_change_of_a_tag_concerns_what_bears_it_and_was_looked_for_before() {
        let (raises, cells) = (AtomicU64::new(0), words(2 << 12));
        let table = TagCells::new(&raises, &cells);
        let (ours, others) = (hashes(["user:7", "red"]), hashes(["user:8"]));
        let read = || raises.load(Ordering::Relaxed);
        let before = read();
        table.raise(hash(b"red"), TagChange::Expire);
        assert_eq!(table.judge(&ours, before), Verdict::Expired);
        let between = read();
        table.raise(hash(b"user:7"), TagChange::Remove);
        assert_eq!(table.judge(&ours, before), Verdict::Removed);
        assert_eq!(table.judge(&ours, between), Verdict::Removed);
        assert_eq!(table.judge(&ours, read()), Verdict::Current);
        assert_eq!(table.judge(&others, before), Verdict::Current);
    }

    #[cfg(feature = "shared")]
    #[test]
    fn a_numbering_of_another_size_judges_as_the_one_that_it_took_over() {
        for (from, to) in [(1 << 12, 1 << 16), (1 << 16, 1 << 12), (1 << 12, 1 << 12)] {
            let (raises, cells) = (AtomicU64::new(7), words(2 * from));
            let (new_raises, new_cells) = (AtomicU64::new(0), words(2 * to));
            let old = TagCells::new(&raises, &cells);
            let new = TagCells::new(&new_raises, &new_cells);
            old.raise(hash(b"red"), TagChange::Remove);
            new.adopt(&old);
            let tags = hashes(["red"]);
            assert_eq!(new.judge(&tags, 7), Verdict::Removed, "{from} {to}");
            assert_eq!(new.judge(&tags, 8), Verdict::Current, "{from} {to}");
            assert_eq!(new_raises.load(Ordering::Relaxed), 8, "{from} {to}");

            let after = new_raises.load(Ordering::Relaxed);
            new.raise_alike(hash(b"blue") as usize % from, from, TagChange::Remove);
            assert_eq!(new.judge(&hashes(["blue"]), after), Verdict::Removed, "{from} {to}");
        }
    }

    #[test]
    fn tags_are_hashed_as_ever() {
        // Of 64-bit FNV-1a the reference says 0xaf63dc4c8601ec8c for "a".
        let mut mixed = 0xaf63_dc4c_8601_ec8c_u64;
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        mixed = (mixed ^ mixed >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        assert_eq!(hash(b"a"), (mixed ^ mixed >> 33) as u32);
        assert_eq!(hashes(["b", "a", "b"]), joined(&hashes(["a"]), &hashes(["b", "a"])));
    }
}

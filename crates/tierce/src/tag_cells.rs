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
//! Where changes may have been missed, whatever was looked for until now is gone: the *floor* is
//! raised to the count, and what bears a number below the floor is void.
//!
//! L3 has a numbering of its own ([`KnownBelow`], `tier/redis/tags.rs`), of [`CELLS_BELOW`] cells for
//! all hosts: its records bear that one. A change raises it first, as a change of a key reaches L3
//! first, and hosts that hear of it raise theirs. What L3 did not take is noted in one word beside
//! the numbering of the host ([`Unsent`]).
//!
//! Tags that share a cell cost each other a miss, never a wrong value.

use std::sync::atomic::{AtomicU64, Ordering};

/// The most tags of an entry that callers name.
pub(crate) const MAX_TAGS: usize = 128;

/// The most besides those of a keyspace that can be cleared: one for each part of its pattern.
pub(crate) const MAX_KEYSPACE_TAGS: usize = 16;

/// The most that an entry bears: those, the ones of its keyspace, and the ones of its key's prefixes.
#[cfg_attr(not(any(feature = "shared", feature = "redis")), allow(dead_code))]
pub(crate) const MOST_TAGS: usize = MAX_TAGS + MAX_KEYSPACE_TAGS + crate::hidden_tags::MAX_PREFIXES;

/// Cells of the numbering in L3: as many as in the smallest one of a host, which they are cells of.
pub(crate) const CELLS_BELOW: usize = 1 << 12;

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

/// Up to which change of tags something is known in the numbering of L3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KnownBelow {
    /// Drawn at random when the numbering began: what bears another one is gone.
    pub(crate) era: u64,
    pub(crate) raises: u64,
}

/// A change of all tags of a cell in L3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellChange {
    /// Below [`CELLS_BELOW`].
    pub(crate) cell: usize,
    pub(crate) change: TagChange,
}

impl CellChange {
    /// Of the tags of these hashes.
    pub(crate) fn of(hashes: &[u32], change: TagChange) -> Vec<Self> {
        let mut cells: Vec<usize> =
            hashes.iter().map(|hash| *hash as usize % CELLS_BELOW).collect();
        cells.sort_unstable();
        cells.dedup();
        cells.into_iter().map(|cell| Self { cell, change }).collect()
    }
}

/// The tags of an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tags {
    pub(crate) hashes: Box<[u32]>,
    /// Of when its value was looked for.
    pub(crate) known: Known,
    /// The same in L3; `None` where that is not known.
    pub(crate) below: Option<KnownBelow>,
}

/// The hashes of tags as they are kept: each once, in order.
pub(crate) fn hashes<T: AsRef<[u8]>>(tags: impl IntoIterator<Item = T>) -> Vec<u32> {
    sorted(tags.into_iter().map(|tag| hash(tag.as_ref())).collect())
}

/// The hashes of two lists as one.
pub(crate) fn joined(one: &[u32], other: &[u32]) -> Vec<u32> {
    sorted([one, other].concat())
}

/// Hashes in the order in which they are kept, each once.
pub(crate) fn sorted(mut hashes: Vec<u32>) -> Vec<u32> {
    hashes.sort_unstable();
    hashes.dedup();
    hashes
}

/// The hash of a tag: the same in every process, on every host and in every version, and in builds
/// without the hash that the tiers below use. FNV-1a, its bits mixed as MurmurHash3 ends.
fn hash(tag: &[u8]) -> u32 {
    TagHash::of(tag).end()
}

/// The hash of a tag whose bytes come one after the other.
#[derive(Clone, Copy)]
pub(crate) struct TagHash(u64);

impl TagHash {
    pub(crate) fn of(begin: &[u8]) -> Self {
        let mut hash = Self(0xcbf2_9ce4_8422_2325);
        begin.iter().for_each(|byte| hash.push(*byte));
        hash
    }

    pub(crate) fn push(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }

    /// The hash, if these are all bytes.
    pub(crate) fn end(self) -> u32 {
        let mut hash = self.0;
        hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        (hash ^ hash >> 33) as u32
    }
}

/// A numbering, wherever its words lie.
#[derive(Clone, Copy)]
pub(crate) struct TagCells<'a> {
    raises: &'a AtomicU64,
    /// What bears a lower number is gone.
    floor: &'a AtomicU64,
    removed: &'a [AtomicU64],
    expired: &'a [AtomicU64],
}

impl<'a> TagCells<'a> {
    /// `cells` are those of removals, then as many others.
    pub(crate) fn new(raises: &'a AtomicU64, floor: &'a AtomicU64, cells: &'a [AtomicU64]) -> Self {
        let (removed, expired) = cells.split_at(cells.len() / 2);
        Self { raises, floor, removed, expired }
    }

    /// Changes all that bears the tag of this hash and was looked for before.
    pub(crate) fn raise(&self, hash: u32, change: TagChange) {
        self.raise_cell(self.cell(hash), change);
    }

    /// [`raise`](Self::raise) for all tags of a cell in a table of `of` cells.
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

    /// Whatever bears tags and was looked for before is gone.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(crate) fn raise_all(&self) {
        raise_floor(self.raises, self.floor);
    }

    /// The cells of L3's numbering that were raised here when the count was above `since`.
    pub(crate) fn raised_since(&self, since: u64) -> Vec<CellChange> {
        let mut raised = Vec::new();
        for change in [TagChange::Remove, TagChange::Expire] {
            let mut is_raised = vec![false; CELLS_BELOW];
            for (index, cell) in self.of(change).iter().enumerate() {
                is_raised[index % CELLS_BELOW] |= cell.load(Ordering::Acquire) > since;
            }
            let cells = (0..CELLS_BELOW).filter(|cell| is_raised[*cell]);
            raised.extend(cells.map(|cell| CellChange { cell, change }));
        }
        raised
    }

    /// What has become of something with these tags that knows of so many changes.
    pub(crate) fn judge(&self, hashes: &[u32], raises: u64) -> Verdict {
        if raises < self.floor.load(Ordering::Acquire) {
            return Verdict::Removed;
        }
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
        self.floor.fetch_max(read(old.floor), Ordering::AcqRel);
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

/// Raises the count, and the floor to it.
pub(crate) fn raise_floor(raises: &AtomicU64, floor: &AtomicU64) {
    let number = raises.fetch_add(1, Ordering::SeqCst) + 1;
    floor.fetch_max(number, Ordering::SeqCst);
}

/// From which change on L3 may not know of the changes of tags that a host made.
///
/// ```text
///   63            16 15          0
///   +---------------+-------------+
///   | count before  | notes, + 1  |     0 = it knows of all
///   +---------------+-------------+
/// ```
/// Who changes a tag that L3 did not take raises its cells, then notes here what the count was
/// before, then raises the cells once more, and only then returns. So whoever sends what is noted
/// finds the cells raised, and what was looked for in L3 before it was noted is void.
pub(crate) struct Unsent<'a>(pub(crate) &'a AtomicU64);

impl Unsent<'_> {
    /// Notes that L3 may lack changes that raised the count above `since`.
    pub(crate) fn note(&self, since: u64) {
        let next = |word: u64| {
            let since = if word == 0 { since } else { since.min(word >> 16) };
            let notes = (word as u16).wrapping_add(1).max(1);
            Some(since << 16 | u64::from(notes))
        };
        _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, next);
    }

    /// What is noted: the word, to settle it by, and the count.
    pub(crate) fn noted(&self) -> Option<(u64, u64)> {
        match self.0.load(Ordering::Acquire) {
            0 => None,
            word => Some((word, word >> 16)),
        }
    }

    /// Forgets what was noted, unless there is more by now.
    pub(crate) fn settle(&self, word: u64) {
        _ = self.0.compare_exchange(word, 0, Ordering::AcqRel, Ordering::Relaxed);
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
        let (raises, floor, cells) = (AtomicU64::new(0), AtomicU64::new(0), words(2 << 12));
        let table = TagCells::new(&raises, &floor, &cells);
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
        table.raise_all();
        assert_eq!(table.judge(&others, between), Verdict::Removed);
        assert_eq!(table.judge(&others, read()), Verdict::Current);
    }

    #[test]
    fn the_cells_that_were_raised_since_are_those_of_l3_whatever_the_size_of_the_table() {
        for of in [CELLS_BELOW, 1 << 16] {
            let (raises, floor, cells) = (AtomicU64::new(0), AtomicU64::new(0), words(2 * of));
            let table = TagCells::new(&raises, &floor, &cells);
            table.raise(hash(b"red"), TagChange::Remove);
            let since = raises.load(Ordering::Relaxed);
            let changes = [(&b"blue"[..], TagChange::Remove), (b"green", TagChange::Expire)];
            let expected = changes.map(|(tag, change)| {
                table.raise(hash(tag), change);
                CellChange::of(&[hash(tag)], change)[0]
            });
            assert_eq!(table.raised_since(since), expected, "{of}");
            assert_eq!(table.raised_since(0).len(), 3, "{of}");
        }
    }

    #[test]
    fn what_l3_does_not_know_is_noted_until_all_of_it_was_sent() {
        let word = AtomicU64::new(0);
        let unsent = Unsent(&word);
        assert_eq!(unsent.noted(), None);
        unsent.note(7);
        let (first, since) = unsent.noted().unwrap();
        assert_eq!(since, 7);
        unsent.note(9);
        unsent.settle(first);
        let (second, since) = unsent.noted().unwrap();
        assert_eq!(since, 7, "nobody knows which of the two was sent");
        unsent.settle(second);
        assert_eq!(unsent.noted(), None);
    }

    #[cfg(feature = "shared")]
    #[test]
    fn a_numbering_of_another_size_judges_as_the_one_that_it_took_over() {
        for (from, to) in [(1 << 12, 1 << 16), (1 << 16, 1 << 12), (1 << 12, 1 << 12)] {
            let (raises, floor, cells) = (AtomicU64::new(7), AtomicU64::new(5), words(2 * from));
            let (new_raises, new_floor) = (AtomicU64::new(0), AtomicU64::new(0));
            let new_cells = words(2 * to);
            let old = TagCells::new(&raises, &floor, &cells);
            let new = TagCells::new(&new_raises, &new_floor, &new_cells);
            old.raise(hash(b"red"), TagChange::Remove);
            new.adopt(&old);
            let tags = hashes(["red"]);
            assert_eq!(new.judge(&tags, 7), Verdict::Removed, "{from} {to}");
            assert_eq!(new.judge(&tags, 8), Verdict::Current, "{from} {to}");
            assert_eq!(new_raises.load(Ordering::Relaxed), 8, "{from} {to}");
            let blue = hashes(["blue"]);
            assert_eq!(new.judge(&blue, 4), Verdict::Removed, "{from} {to}: below the floor");
            assert_eq!(new.judge(&blue, 5), Verdict::Current, "{from} {to}");

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

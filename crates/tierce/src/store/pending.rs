//! Cells of values that are on their way to a tier below: those that were set behind it, and are sent
//! a while after.
//!
//! Until then nobody of the host may read the key there, whatever becomes of the process that has it. A
//! cell stands for some of the keys of a group; who sets one behind claims its cell before the key's
//! stamp is raised, so whoever takes the stamp of after the set sees the claim.
//!
//! ```text
//!   word of a cell   63       62      44 43               0
//!                   +--------+----------+------------------+     0 = free
//!                   | wanted |  owner   |   claimed until  |     boot-time milliseconds
//!                   +--------+----------+------------------+
//! ```
//! How many values wait is known to the owner alone. A claim is known again by its whole word: an owner
//! takes it for its own only if it is what it wrote there last. Two that drew one number for an owner
//! never have the same word: a cell is claimed only when it is free, and freed by another only when the
//! end of the claim has passed.
//!
//! Claims end by themselves. Whoever meets one that is over raises the doubt of the group before it
//! frees the cell; the doubt is settled as any other. The owner prolongs its claims while it lives, so
//! what is over is that of a process that was killed, or did not get to run for so long.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    clock::Millis,
    key::{self, GROUPS},
    simulated::{self, Fault},
    store::Store,
};

/// Somebody waits for the cell to be free: its owner is to hurry, and to let nothing more wait there.
const WANTED: u64 = 1 << 63;
/// Where the number of the owner begins.
const OWNER_AT: u32 = 44;
const UNTIL: u64 = (1 << OWNER_AT) - 1;
/// Numbers of owners, which they draw: two have the same once in half a million.
const OWNERS: u32 = 1 << 19;

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClaimWord(u64);

impl ClaimWord {
    /// Of a free cell.
    pub(crate) const FREE: Self = Self(0);

    fn new(owner: u32, until: Millis) -> Self {
        let owner = u64::from(owner % (OWNERS - 1) + 1);
        Self(owner << OWNER_AT | until.0.min(UNTIL))
    }

    pub(crate) fn is_free(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn is_wanted(self) -> bool {
        self.0 & WANTED != 0
    }

    /// The claim, wanted or not.
    pub(crate) fn claim(self) -> Self {
        Self(self.0 & !WANTED)
    }

    /// When it ends, unless it is prolonged.
    pub(crate) fn until(self) -> Millis {
        Millis(self.0 & UNTIL)
    }
}

impl Store {
    /// The cell of a key: one of those of its group.
    pub(crate) fn pending_cell(&self, key: &[u8]) -> u32 {
        let each = self.geometry.pending_cells() / GROUPS as u32;
        // Bits that the number of the group leaves out.
        let within = (self.hash(key).0 >> 24) as u32 % each;
        key::group(key) as u32 * each + within
    }

    /// What a cell says now. A claim that is over becomes a doubt, unless it is `mine`.
    pub(crate) fn pending_word(&self, cell: u32, mine: ClaimWord) -> ClaimWord {
        let word = self.load_pending(cell);
        if word.is_free() || word.claim() == mine || word.until() > self.clock.boot() {
            return word;
        }
        self.give_up(cell, word);
        self.load_pending(cell)
    }

    /// Claims a free cell, or prolongs the claim `mine`; `None` where somebody else has it or wants it.
    pub(crate) fn claim_cell(
        &self,
        cell: u32,
        mine: ClaimWord,
        owner: u32,
        until: Millis,
    ) -> Option<ClaimWord> {
        simulated::point();
        self.join_behind();
        let claim = ClaimWord::new(owner, Millis(until.0.max(mine.until().0)));
        let word = &self.pending()[cell as usize];
        let claimed =
            word.compare_exchange(mine.0, claim.0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        claimed.then_some(claim)
    }

    /// Frees a cell of which this is the claim.
    pub(crate) fn free_cell(&self, cell: u32, mine: ClaimWord) {
        simulated::point();
        let free = |word| (ClaimWord(word).claim() == mine).then_some(0);
        _ = self.pending()[cell as usize].fetch_update(Ordering::AcqRel, Ordering::Acquire, free);
    }

    /// Has the owner of a cell hurry.
    pub(crate) fn want_cell(&self, cell: u32) {
        let want = |word| (word != 0).then_some(word | WANTED);
        _ = self.pending()[cell as usize].fetch_update(Ordering::AcqRel, Ordering::Acquire, want);
    }

    /// Makes doubts of all claims that are over.
    #[cfg(any(feature = "redis", test))]
    pub(crate) fn give_up_overdue(&self) {
        if !self.is_written_behind() {
            return;
        }
        let now = self.clock.boot();
        for cell in 0..self.geometry.pending_cells() {
            let word = self.load_pending(cell);
            if !word.is_free() && word.until() <= now {
                self.give_up(cell, word);
            }
        }
    }

    /// The groups in which there are claims.
    pub(super) fn pending_groups(&self) -> Vec<usize> {
        if !self.is_written_behind() {
            return Vec::new();
        }
        let each = self.pending().len() / GROUPS;
        let groups = self.pending().chunks(each).enumerate();
        let is_claimed = |cells: &[AtomicU64]| {
            cells.iter().any(|cell| !ClaimWord(cell.load(Ordering::Acquire)).is_free())
        };
        groups.filter(|(_, cells)| is_claimed(cells)).map(|(group, _)| group).collect()
    }

    /// As in a new store.
    #[cfg(feature = "sim")]
    pub(super) fn forget_pending(&self) {
        self.pending().iter().for_each(|cell| cell.store(0, Ordering::Release));
    }

    fn give_up(&self, cell: u32, word: ClaimWord) {
        let each = self.geometry.pending_cells() / GROUPS as u32;
        // First: who sees the cell free sees the doubt.
        if !simulated::is_planted(Fault::OverdueUndoubted) {
            self.raise_doubt((cell / each) as usize);
        }
        let cell = &self.pending()[cell as usize];
        // If not, its owner has prolonged it, and the doubt costs a few misses.
        _ = cell.compare_exchange(word.0, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    fn load_pending(&self, cell: u32) -> ClaimWord {
        ClaimWord(self.pending()[cell as usize].load(Ordering::Acquire))
    }

    fn pending(&self) -> &[AtomicU64] {
        let cells = self.geometry.pending_cells() as usize;
        self.mapping.slice(self.geometry.pending_at(), cells)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{clock::Clock, store::StoreOptions};

    const SPAN: Duration = Duration::from_secs(2);

    #[test]
    fn a_claim_is_seen_by_all_and_is_its_owners_until_it_is_over() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
        let open = || Store::open(&options, clock.clone()).unwrap();
        let (one, other) = (open(), open());
        other.join_below();
        let (cell, free) = (one.pending_cell(b"a"), ClaimWord::FREE);
        assert_eq!(cell, other.pending_cell(b"a"));
        let until = clock.boot().after(SPAN);
        let mine = one.claim_cell(cell, free, 7, until).unwrap();
        assert_eq!(other.pending_word(cell, free), mine);
        assert_eq!(other.claim_cell(cell, free, 8, until), None);
        other.free_cell(cell, free);
        assert_eq!(other.pending_word(cell, free), mine, "only its owner frees it");
        other.want_cell(cell);
        assert!(one.pending_word(cell, mine).is_wanted());
        assert_eq!(one.claim_cell(cell, mine, 7, until), None, "who is waited for lets go");
        one.free_cell(cell, mine);
        assert!(other.pending_word(cell, free).is_free() && !other.is_doubted(b"a"));

        let mine = one.claim_cell(cell, free, 7, until).unwrap();
        time.advance(SPAN);
        assert_eq!(one.pending_word(cell, mine), mine, "its own it may prolong");
        assert!(!one.is_doubted(b"a"));
        assert!(other.pending_word(cell, free).is_free());
        assert!(one.is_doubted(b"a"), "nobody knows what became of the value");
        assert_eq!(one.claim_cell(cell, mine, 7, until), None);
    }

    #[test]
    fn claims_that_are_over_become_doubts_though_nobody_asks() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
        let store = Store::open(&options, clock.clone()).unwrap();
        store.join_below();
        let until = clock.boot().after(SPAN);
        let cell = store.pending_cell(b"a");
        store.claim_cell(cell, ClaimWord::FREE, 7, until).unwrap();
        store.give_up_overdue();
        assert!(!store.is_doubted(b"a"));
        time.advance(SPAN);
        store.give_up_overdue();
        assert!(store.is_doubted(b"a"));
        assert!(store.pending_word(cell, ClaimWord::FREE).is_free());
    }

    #[test]
    fn a_store_that_takes_the_place_of_another_doubts_what_was_on_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let options = |bytes| StoreOptions::new(folder.path().join("store")).max_bytes(bytes);
        let clock = Clock::system();
        let old = Store::open(&options(4 << 20), clock.clone()).unwrap();
        old.join_below();
        let until = clock.boot().after(SPAN);
        old.claim_cell(old.pending_cell(b"a"), ClaimWord::FREE, 7, until).unwrap();
        let new = Store::open(&options(64 << 20).resize(true), clock).unwrap();
        assert!(new.is_doubted(b"a"));
        assert!(!new.is_doubted(b"b"), "of another group");
    }
}

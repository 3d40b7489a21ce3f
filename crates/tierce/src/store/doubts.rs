//! Doubts: which groups of keys a tier below may hold in an older state than this host set.
//!
//! A process whose change of a key did not reach the tier below tells all processes of the host
//! so here, before it raises the key's stamp: who takes the stamp of after the change sees the
//! doubt. While a group is in doubt nobody of the host reads it from the tier below. Whoever can
//! reach that tier clears the group there and settles the doubt; it need not be the process that
//! had it, which may be dead by then.
//!
//! ```text
//!   word of a group   0 = none, else when the latest doubt was had: boot-time milliseconds
//! ```
//!
//! A doubt must have rested before it is settled: the change that failed may still lie in a
//! buffer, and land after the group was cleared.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::Millis,
    key::{self, GROUPS},
    store::{Store, layout::STATE_AT, map::shared_struct},
    tag_cells::Unsent,
};

/// Position in the file: in the state region, past the shard states.
pub(super) const DOUBTS_AT: u64 = STATE_AT + (16 << 10);

shared_struct! {
    Doubts, 4096 {
        /// Whether a tier below is in use, and whether anybody changed a key before it was.
        below: AtomicU64,
        /// From which change of tags on the tier below may not know of them (`tag_cells.rs`).
        unsent_tags: AtomicU64,
        reserved: [AtomicU64; 254],
        groups: [AtomicU64; GROUPS],
    }
}

/// A cache with a tier below uses this store, or did: until then nobody has doubts.
pub(super) const IN_USE: u64 = 1;
/// A key was changed while no tier below was in use: what that tier has may be older.
pub(super) const CHANGED_ALONE: u64 = 2;
/// Values were kept back from the tier below for a while: its cells may say so ([`super::pending`]).
const BEHIND: u64 = 4;

/// A doubt that has rested, as it was when it was looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubt {
    /// The group of keys in doubt.
    pub(crate) group: usize,
    since: u64,
}

impl Store {
    /// Says that a tier below is in use with this store: from now on, every process of the host
    /// must tell of the changes that it does not take there. If there were changes before, all of
    /// the tier below is in doubt.
    pub(crate) fn join_below(&self) {
        if self.doubts().below.fetch_or(IN_USE, Ordering::AcqRel) == CHANGED_ALONE {
            self.doubt_everything();
        }
    }

    /// Tells all processes that the tier below did not take a change of `key`, or may not have.
    /// To be called before the key's stamp is raised; one load where no tier below is in use.
    pub(crate) fn doubt(&self, key: &[u8]) {
        if self.is_below_in_use() {
            self.raise_doubt(key::group(key));
        }
    }

    /// [`doubt`](Self::doubt) for all keys.
    pub(crate) fn doubt_everything(&self) {
        if self.is_below_in_use() {
            (0..GROUPS).for_each(|group| self.raise_doubt(group));
        }
    }

    /// Takes over what another store knows of the tier below.
    pub(crate) fn adopt_doubts_of(&self, old: &Self) {
        let below = old.doubts().below.load(Ordering::Acquire);
        self.doubts().below.fetch_or(below, Ordering::AcqRel);
        for (mine, old) in self.doubts().groups.iter().zip(&old.doubts().groups) {
            mine.fetch_max(old.load(Ordering::Acquire), Ordering::AcqRel);
        }
        // Who has them sends them no more, or to another tier's knowledge than this store's.
        old.pending_groups().into_iter().for_each(|group| self.raise_doubt(group));
    }

    /// Says that from now on cells may be claimed.
    pub(super) fn join_behind(&self) {
        if !self.is_written_behind() {
            self.doubts().below.fetch_or(BEHIND, Ordering::AcqRel);
        }
    }

    /// True once cells of this store may be claimed: one load.
    #[inline]
    pub(crate) fn is_written_behind(&self) -> bool {
        self.doubts().below.load(Ordering::Acquire) & BEHIND != 0
    }

    /// Which changes of tags the tier below may not know of.
    pub(crate) fn unsent_tags(&self) -> Unsent<'_> {
        Unsent(&self.doubts().unsent_tags)
    }

    /// True while `key` must not be read from the tier below.
    #[inline]
    pub(crate) fn is_doubted(&self, key: &[u8]) -> bool {
        self.doubts().groups[key::group(key)].load(Ordering::Acquire) != 0
    }

    /// The doubt about the group of `key`, if there is one that has rested: longer than any deadline
    /// of a change in the tier below, by the clocks of both.
    pub(crate) fn rested_doubt(&self, key: &[u8], rest: Duration) -> Option<Doubt> {
        self.rested_doubt_of(key::group(key), rest)
    }

    /// All doubts that have rested.
    #[cfg(feature = "redis")]
    pub(crate) fn rested_doubts(&self, rest: Duration) -> impl Iterator<Item = Doubt> {
        (0..GROUPS).filter_map(move |group| self.rested_doubt_of(group, rest))
    }

    fn rested_doubt_of(&self, group: usize, rest: Duration) -> Option<Doubt> {
        let since = self.doubts().groups[group].load(Ordering::Acquire);
        let rested = Millis(since).after(rest) <= self.clock.boot();
        (since != 0 && rested).then_some(Doubt { group, since })
    }

    /// Settles a doubt after its group was cleared below, unless there was a newer one.
    pub(crate) fn settle(&self, doubt: Doubt) {
        // A newer doubt has another time: this one has rested.
        let word = &self.doubts().groups[doubt.group];
        _ = word.compare_exchange(doubt.since, 0, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// If not, notes that there are changes of which it will not know.
    pub(crate) fn is_below_in_use(&self) -> bool {
        let below = &self.doubts().below;
        let known = match below.load(Ordering::Acquire) {
            0 => below.fetch_or(CHANGED_ALONE, Ordering::AcqRel),
            known => known,
        };
        known & IN_USE != 0
    }

    /// True once a tier below is in use with this store.
    pub(crate) fn has_below(&self) -> bool {
        self.doubts().below.load(Ordering::Acquire) & IN_USE != 0
    }

    /// As in a new store.
    #[cfg(feature = "sim")]
    pub(super) fn forget_doubts(&self) {
        let doubts = self.doubts();
        doubts.below.store(0, Ordering::Release);
        doubts.unsent_tags.store(0, Ordering::Release);
        doubts.groups.iter().for_each(|group| group.store(0, Ordering::Release));
        self.forget_pending();
    }

    pub(super) fn raise_doubt(&self, group: usize) {
        let now = self.clock.boot().0.max(1);
        self.doubts().groups[group].fetch_max(now, Ordering::AcqRel);
    }

    fn doubts(&self) -> &Doubts {
        self.mapping.at(DOUBTS_AT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::Clock, store::StoreOptions};

    const REST: Duration = Duration::from_secs(2);

    #[test]
    fn a_doubt_is_seen_by_all_rests_and_is_settled_unless_renewed() {
        let folder = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
        let open = || Store::open(&options, clock.clone()).unwrap();
        let (one, other) = (open(), open());
        other.join_below();
        one.doubt(b"a");
        assert!(other.is_doubted(b"a") && other.rested_doubt(b"a", REST).is_none());
        let doubted =
            (0..GROUPS).filter(|group| other.doubts().groups[*group].load(Ordering::Relaxed) != 0);
        assert_eq!(doubted.count(), 1);

        time.advance(REST);
        let doubt = other.rested_doubt(b"a", REST).unwrap();
        one.doubt(b"a");
        other.settle(doubt);
        assert!(other.is_doubted(b"a"), "renewed meanwhile");
        time.advance(REST);
        other.settle(other.rested_doubt(b"a", REST).unwrap());
        assert!(!one.is_doubted(b"a"));
    }

    #[test]
    fn what_changed_before_there_was_a_tier_below_puts_all_of_it_in_doubt() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
        let store = Store::open(&options, Clock::system()).unwrap();
        store.doubt(b"a");
        assert!(!store.is_doubted(b"a"), "nothing below: nothing to doubt");
        store.join_below();
        assert!(store.is_doubted(b"a") && store.is_doubted(b"b"));
    }
}

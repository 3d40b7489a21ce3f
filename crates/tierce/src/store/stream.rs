//! What L3 says of the copies that a store has: the words of groups that judge them, and room for
//! what the processes of the host tell each other of L3's stream of changes, whose meaning is for
//! those to know who listen.

#[cfg(feature = "redis")]
use std::sync::atomic::AtomicU32;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    key::GROUPS,
    store::{Store, layout::STATE_AT},
};

/// Position in the file: in the state region, past the doubts. A page.
pub(super) const GROUPS_AT: u64 = STATE_AT + (20 << 10);

/// Past that.
const STREAM_AT: u64 = STATE_AT + (24 << 10);

/// 68 KiB and a line, which end before the region does.
const STREAM_WORDS: usize = HEAD_WORDS + GROUPS + 4096 + GROUPS + 4096;

/// Words before those that say up to which stamp the changes of each group are known.
const HEAD_WORDS: usize = 8;

/// The word that says until when all changes were told: the only one of the head that is true of
/// the records, whoever listens.
const TOLD_UNTIL: usize = 3;

impl Store {
    /// Takes over what another store knows of the tier below, before its records are: those that
    /// it judges then are judged here as they were there.
    pub(crate) fn adopt_stream_of(&self, old: &Self) {
        let of_groups = HEAD_WORDS..HEAD_WORDS + GROUPS;
        for word in of_groups.chain([TOLD_UNTIL]) {
            self.words()[word].store(old.words()[word].load(Ordering::Acquire), Ordering::Release);
        }
    }

    fn words(&self) -> &[AtomicU64] {
        self.mapping.slice(STREAM_AT, STREAM_WORDS)
    }

    /// The words of all groups of keys; zeros in a new store.
    #[cfg(feature = "redis")]
    pub(crate) fn group_words(&self) -> &[AtomicU32] {
        self.mapping.slice(GROUPS_AT, GROUPS)
    }

    /// The words of those who listen; zeros in a new store.
    #[cfg(feature = "redis")]
    pub(crate) fn stream_words(&self) -> &[AtomicU64] {
        self.words()
    }
}

#[cfg(all(test, feature = "redis"))]
mod tests {
    use super::*;
    use crate::{
        clock::{Clock, Millis},
        group_word::GroupWord,
        key,
        store::{Dropped, NewRecord, Put, StoreFill, StoreOptions},
    };

    const RECORD: NewRecord<'_> = NewRecord::new(b"value", 0, Millis::NEVER);

    #[test]
    fn what_is_put_or_filled_bears_the_word_of_its_group_and_is_void_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
        let store = Store::open(&options, Clock::system()).unwrap();
        let hash = store.hash(b"a");
        let void = || GroupWord::raise(&store.group_words()[key::group(b"a")]);
        let is_there = || store.get(hash, b"a").unwrap().is_some();

        // With no tier below in use.
        store.put(hash, b"a", RECORD, None);
        assert!(is_there());
        void();
        assert!(!is_there(), "put");

        let token = store.judged_token(hash, b"a");
        // In place of the void one, of which there may be copies.
        assert!(matches!(store.fill(hash, b"a", RECORD, token), StoreFill::Replaced(_)));
        assert!(is_there());
        void();
        assert!(!is_there(), "filled");

        // What was fetched before the group was void is not to be kept anywhere.
        assert!(matches!(store.fill(hash, b"a", RECORD, token), StoreFill::Refused));
        let put = store.put(hash, b"a", RECORD, Some(token));
        assert!(matches!(put, Put::Removed { why: Dropped::Raced, .. }), "{put:?}");
        assert!(!is_there());
    }
}

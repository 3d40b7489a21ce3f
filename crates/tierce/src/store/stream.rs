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

/// 34 KiB and a line, which end before the region does.
const STREAM_WORDS: usize = HEAD_WORDS + GROUPS + 4096;

/// Words before those that say up to which stamp the changes of each group are known.
const HEAD_WORDS: usize = 8;

impl Store {
    /// Takes over what another store knows of the tier below, before its records are: those that
    /// it judges then are judged here as they were there.
    pub(crate) fn adopt_stream_of(&self, old: &Self) {
        for (mine, old) in self.words().iter().zip(old.words()).skip(HEAD_WORDS).take(GROUPS) {
            mine.store(old.load(Ordering::Acquire), Ordering::Release);
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

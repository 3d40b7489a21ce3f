//! Room in the state region for what the processes of a host tell each other of the stream of
//! changes that other hosts make. What the words mean is for those to know who listen.

use std::sync::atomic::AtomicU64;

use crate::store::{Store, layout::STATE_AT};

/// Position in the file: in the state region, past the doubts.
const STREAM_AT: u64 = STATE_AT + (24 << 10);

/// 32 KiB and a line, which end before the region does.
const STREAM_WORDS: usize = 8 + 4096;

impl Store {
    /// The words, which a new store has as zeros.
    pub(crate) fn stream_words(&self) -> &[AtomicU64] {
        self.mapping.slice(STREAM_AT, STREAM_WORDS)
    }
}

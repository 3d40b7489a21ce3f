//! The segment table: which segment is free, being filled, full, or being emptied.
//!
//! ```text
//!   Free --claim (CAS, owner's mutex)--> Active --full--> Sealed --evictor--> Evicting --+
//!    ^                                                                                   |
//!    +----------- generation odd, counters zero, generation even --------------------- <-+
//! ```
//! A generation changes before a byte of the segment is written again, so a record that bears the
//! generation of its segment's entry is one that was written there since.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::store::map::shared_struct;

shared_struct! {
    SegmentEntry, 64 {
        /// Odd while the segment is being emptied.
        generation: AtomicU64,
        /// A [`Status`].
        status: AtomicU64,
        /// Bytes filled from the segment's start.
        used: AtomicU32,
        /// About how many of them belong to records that are still wanted.
        live: AtomicU32,
        /// Boot-time second by which all records have expired; the maximum for never.
        max_expiry: AtomicU32,
        /// Clear epoch of the last record.
        clear_epoch: AtomicU32,
        reserved: [AtomicU32; 8],
    }
}

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Free = 0,
    Active = 1,
    Sealed = 2,
    Evicting = 3,
}

/// The status word: created u32 | owner u16 | class u8 | state u8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status {
    /// Counts claims, store-wide: the order of the ring.
    pub(super) created: u32,
    pub(super) owner: u16,
    pub(super) class: u8,
    pub(super) state: State,
}

impl Status {
    pub(super) fn to_word(self) -> u64 {
        u64::from(self.created) << 32
            | u64::from(self.owner) << 16
            | u64::from(self.class) << 8
            | self.state as u64
    }

    pub(super) fn from_word(word: u64) -> Self {
        let state = match word as u8 {
            0 => State::Free,
            1 => State::Active,
            // A state that cannot be is full of something that nobody fills: evictable.
            2 | 4.. => State::Sealed,
            3 => State::Evicting,
        };
        Self {
            created: (word >> 32) as u32,
            owner: (word >> 16) as u16,
            class: (word >> 8) as u8,
            state,
        }
    }
}

impl SegmentEntry {
    pub(super) fn status(&self) -> Status {
        Status::from_word(self.status.load(Ordering::Acquire))
    }

    /// Changes the status from `old`; false where it was another.
    pub(super) fn change(&self, old: Status, new: Status) -> bool {
        self.status
            .compare_exchange(old.to_word(), new.to_word(), Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// Gives up filling the segment, if it is still being filled by `owner`.
    pub(super) fn seal(&self, owner: u32) {
        let status = self.status();
        if status.state == State::Active && u32::from(status.owner) == owner {
            self.change(status, Status { state: State::Sealed, ..status });
        }
    }

    /// Forgets every record of the segment. Only under the evictor's mutex, or alone.
    pub(super) fn empty(&self) {
        let odd = self.generation.load(Ordering::Relaxed) | 1;
        self.generation.store(odd, Ordering::Relaxed);
        // Pairs with the acquire fence of readers: who sees a byte written after this, by whoever
        // claims the segment, also sees the odd generation or a later one.
        fence(Ordering::Release);
        self.used.store(0, Ordering::Relaxed);
        self.live.store(0, Ordering::Relaxed);
        self.max_expiry.store(0, Ordering::Relaxed);
        self.clear_epoch.store(0, Ordering::Relaxed);
        self.generation.store(odd.wrapping_add(1), Ordering::Release);
        let free = Status { created: 0, owner: 0, class: 0, state: State::Free };
        self.status.store(free.to_word(), Ordering::Release);
    }

    /// True for a segment as [`empty`](Self::empty) leaves it.
    pub(super) fn is_empty(&self) -> bool {
        self.used.load(Ordering::Relaxed) == 0
            && self.generation.load(Ordering::Relaxed).is_multiple_of(2)
    }

    /// Counts `bytes` as no longer wanted.
    pub(super) fn bury(&self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let _ = self.live.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |live| {
            Some(live.saturating_sub(bytes))
        });
    }

    /// Live bytes, never more than are used.
    pub(super) fn live_bytes(&self) -> u32 {
        self.live.load(Ordering::Relaxed).min(self.used.load(Ordering::Relaxed))
    }
}

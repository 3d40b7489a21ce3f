//! The state region: stamps, epochs and entry counts, and the token made of them.
//!
//! Stamps are raised under the shard's mutex, after the change they announce (or without it, after
//! the shard's epoch was raised); they are read without any lock. An entry count is kept together
//! with the clear epoch that it counts for, so that a clear empties every count by its one word.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::{
    group_word::GroupWord,
    key::GROUPS,
    prefetch::prefetch_to_write,
    store::{
        layout::{Geometry, RecordHeader, STATE_AT},
        map::{Counters, Mapping, shared_struct},
        stream::GROUPS_AT,
    },
};

shared_struct! {
    /// Fields that are read often and those that are written often have lines of their own.
    StateHead, 256 {
        boot_id: [AtomicU64; 2],
        sequence: AtomicU32,
        /// By what prefixes of keys end ([`super::delimiter`]).
        delimiter: AtomicU32,
        reserved_0: [AtomicU32; 10],
        clear_epoch: AtomicU32,
        /// Not 0 once another store has this one's name.
        superseded: AtomicU32,
        /// How far a rollout is ([`super::rollout`]).
        rollout: AtomicU64,
        reserved_1: [AtomicU32; 12],
        coherence_epoch: AtomicU32,
        reserved_2: [AtomicU32; 15],
        /// Counts changes of tags.
        tag_raises: AtomicU64,
        /// What bears tags and a lower number is gone.
        tag_floor: AtomicU64,
        reserved_3: [AtomicU64; 6],
    }
}

shared_struct! {
    ShardState, 128 {
        epoch: AtomicU32,
        reserved_0: [AtomicU32; 15],
        /// Clear epoch in the upper half, live entries under it in the lower.
        entries: AtomicU64,
        version: AtomicU32,
        reserved_1: [AtomicU32; 13],
    }
}

/// Position of the shard states: past the head, on a page of their own.
pub(super) const SHARDS_AT: u64 = STATE_AT + 4096;
/// Position of the clear epoch.
const CLEAR_EPOCH_AT: u64 = STATE_AT + 64;

/// Access to the state region and the stamps of one mapping.
pub(super) struct State {
    stamps: Counters,
    clear_epoch: Counters,
    groups: Counters,
    stamps_per_shard: u32,
}

impl State {
    /// # Safety
    /// The mapping must outlive the state.
    #[allow(unsafe_code)]
    pub(super) unsafe fn new(mapping: &Mapping, geometry: &Geometry) -> Self {
        Self {
            // SAFETY: passed on to the caller.
            stamps: unsafe { Counters::new(mapping, geometry.stamps_at(), geometry.stamps) },
            // SAFETY: passed on to the caller.
            clear_epoch: unsafe { Counters::new(mapping, CLEAR_EPOCH_AT, 1) },
            // SAFETY: passed on to the caller.
            groups: unsafe { Counters::new(mapping, GROUPS_AT, GROUPS as u32) },
            stamps_per_shard: geometry.stamps / geometry.shards,
        }
    }

    #[inline(always)]
    pub(super) fn stamp(&self, index: u32) -> u32 {
        self.stamps.at(index).load(Ordering::Acquire)
    }

    #[inline(always)]
    pub(super) fn clear_epoch(&self) -> u32 {
        self.clear_epoch.at(0).load(Ordering::Acquire)
    }

    /// The word of a group of keys now.
    #[inline]
    pub(super) fn group_word(&self, group: usize) -> GroupWord {
        // Acquire: who sees an epoch sees what was done before it was raised.
        GroupWord::of(self.groups.at(group as u32).load(Ordering::Acquire), group)
    }

    /// True while copies that bear this word are current.
    #[inline(always)]
    pub(super) fn is_group_current(&self, word: GroupWord) -> bool {
        word == GroupWord::NONE || self.group_word(word.group()) == word
    }

    pub(super) fn raise_stamp(&self, index: u32) -> u32 {
        self.stamps.raise(index)
    }

    pub(super) fn raise_clear_epoch(&self) -> u32 {
        self.clear_epoch.raise(0)
    }

    /// Raises every stamp of a shard: what a dead owner may have left to do.
    pub(super) fn raise_shard_stamps(&self, shard: u32) {
        let first = shard * self.stamps_per_shard;
        for index in first..first + self.stamps_per_shard {
            self.stamps.raise(index);
        }
    }
}

pub(super) fn head(mapping: &Mapping) -> &StateHead {
    mapping.at(STATE_AT)
}

pub(super) fn shard(mapping: &Mapping, shard: u32) -> &ShardState {
    mapping.at(SHARDS_AT + u64::from(shard) * 128)
}

impl ShardState {
    /// Has the processor take from others what a put writes to.
    #[inline]
    pub(super) fn fetch(&self) {
        prefetch_to_write(&raw const self.entries);
    }

    /// Live entries of the shard under `clear_epoch`.
    pub(super) fn entries(&self, clear_epoch: u32) -> u64 {
        let word = self.entries.load(Ordering::Relaxed);
        if (word >> 32) as u32 == clear_epoch { word & u64::from(u32::MAX) } else { 0 }
    }

    /// Counts entries that came (`change` above zero) or went under `clear_epoch`.
    pub(super) fn count(&self, clear_epoch: u32, change: i32) {
        let update = |word: u64| {
            let of_epoch = (word >> 32) as u32 == clear_epoch;
            let now = if of_epoch { word as u32 } else { 0 };
            Some(u64::from(clear_epoch) << 32 | u64::from(now.saturating_add_signed(change)))
        };
        let _ = self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// Counts no entries: all became misses.
    pub(super) fn forget(&self, clear_epoch: u32) {
        self.entries.store(u64::from(clear_epoch) << 32, Ordering::Relaxed);
    }

    /// Lowers a count that cannot be to `most`.
    pub(super) fn cap(&self, most: u32) {
        let cap =
            |word: u64| Some(word & !u64::from(u32::MAX) | u64::from((word as u32).min(most)));
        let _ = self.entries.fetch_update(Ordering::Relaxed, Ordering::Relaxed, cap);
    }

    /// True where a record of this shard was written under the epochs of now.
    pub(super) fn is_current(&self, header: &RecordHeader, clear_epoch: u32) -> bool {
        header.shard_epoch == self.epoch.load(Ordering::Acquire)
            && header.clear_epoch == clear_epoch
    }
}

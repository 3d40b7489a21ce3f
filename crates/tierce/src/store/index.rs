//! The slots of a set: publishing one, choosing which to displace, and the accounts of those gone.
//!
//! All of it under the mutex of the set's shard. Readers raise hits and empty slots of dead records
//! meanwhile, and the evictor moves records in place, so every change is a compare-and-swap; none
//! of them can give a slot another tag, so one pass over a set sees all that a key has.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{
    prefetch::prefetch_to_write,
    store::{
        Store,
        layout::{self, Kind, RECORD_HEADER_BYTES, RecordHeader, Slot},
        stamps,
        statistics::Count,
        tags,
    },
};

/// Neighbouring sets that are searched for a victim when a full shard gets a key whose own set is
/// empty; with any sensible bound one of the first few has one.
const NEIGHBOURS_SEARCHED: u64 = 64;

/// Records that a walk over a segment is ahead of itself: as long as memory takes to answer.
const RECORDS_AHEAD: usize = 8;

/// How far the walk over a segment has fetched.
#[derive(Default)]
pub(super) struct Ahead {
    /// Bytes from the segment's start.
    offset: u64,
}

impl Store {
    /// Has the processor fetch what a change of a key with this hash will look at first.
    #[inline]
    pub(super) fn fetch_for_change(&self, hash: u64) {
        let set = self.geometry.set_of(hash);
        let bytes = (layout::SET_SLOTS * 8) as u64;
        let at = self.geometry.index_at() + set * bytes;
        self.mapping.prefetch_to_write(at);
        self.mapping.prefetch_to_write(at + bytes / 2);
        self.fetch_ghosts(hash);
        let stamp = u64::from(self.geometry.stamp_of(hash));
        self.mapping.prefetch_to_write(self.geometry.stamps_at() + stamp * 4);
    }

    /// Has the processor take from others what a put of a key with this hash will write to, whoever
    /// of the host wrote to it last.
    #[inline]
    pub(super) fn fetch_for_put(&self, hash: u64, class: u32) {
        let shard = self.geometry.shard_of(hash);
        self.shard(shard).fetch();
        if let Some(segment) = self.locks.fetch_for_put(shard, class)
            && segment < self.geometry.segments
        {
            prefetch_to_write(self.segment(segment));
        }
    }

    /// As above, for all that the walk over a segment will look at a few records from now.
    #[inline]
    pub(super) fn fetch_ahead(&self, ahead: &mut Ahead, segment: u32, used: u32) {
        if self.on_disk {
            return;
        }
        let records = if ahead.offset == 0 { RECORDS_AHEAD } else { 1 };
        for _ in 0..records {
            if u64::from(used).saturating_sub(ahead.offset) < RECORD_HEADER_BYTES {
                return;
            }
            let position = self.geometry.segment_at(segment) + ahead.offset;
            let header = self.media().header(position).ok();
            let Some(header) = header.as_ref().and_then(RecordHeader::from_words) else { return };
            self.fetch_for_change(header.hash);
            ahead.offset += header.record_bytes();
        }
    }

    /// As above, for what it will look at then: the record that it replaces.
    #[inline]
    pub(super) fn fetch_replaced(&self, hash: u64) {
        let set = self.set(self.geometry.set_of(hash));
        let tagged = tags::tagged(set, hash);
        if tagged != 0 && !self.on_disk {
            let slot = &set[tagged.trailing_zeros() as usize % layout::SET_SLOTS];
            self.mapping.prefetch(Slot(slot.load(Ordering::Relaxed)).position(), 1);
        }
    }

    /// Makes `new` the only slot with the tag of `hash`; returns the slot it took the place of.
    /// Under the mutex of the shard.
    pub(super) fn publish(
        &self,
        shard: u32,
        hash: u64,
        new: Slot,
        clear_epoch: u32,
    ) -> Option<Slot> {
        let number = self.geometry.set_of(hash);
        let set = self.set(number);
        let mut replaced = None;
        let mut tagged = tags::tagged(set, hash);
        while tagged != 0 {
            let number = tagged.trailing_zeros() as usize % layout::SET_SLOTS;
            tagged &= tagged - 1;
            // Once placed, a later slot with the tag can only be a leftover.
            // What is written again is wanted as much as what is read: it keeps its hits.
            let hits = Slot(set[number].load(Ordering::Relaxed)).hits().max(1);
            let next = if replaced.is_none() { new.with_hits(hits) } else { Slot::EMPTY };
            let Some(old) = swap_tagged(&set[number], hash, next) else { continue };
            // A leftover may name this very place, from before its segment was emptied: what is
            // there now is the new record, which must not be accounted for as the old one.
            let old = if old.same_record(new) { Slot::EMPTY } else { old };
            match replaced {
                None => replaced = Some(old),
                Some(_) => self.retire(shard, old, Count::Replaced),
            }
        }
        // Counted as one more before what it replaces is counted as one less.
        self.shard(shard).count(clear_epoch, 1);
        if replaced.is_some() {
            return replaced;
        }
        let new = if self.take_ghost(hash) { new.with_hits(1) } else { new };
        // By a shift: shards are a power of two.
        let quota = (self.geometry.max_entries >> self.geometry.shards.trailing_zeros()).max(1);
        let is_full = self.shard(shard).entries(clear_epoch) > quota;
        if !is_full && place(set, new) {
            return None;
        }
        if let Some(victim) = self.displace(shard, number, new) {
            self.retire(shard, victim, Count::EvictedSize);
            return None;
        }
        // The shard is full but this set is empty: the room is taken from a neighbour.
        let per_shard = self.geometry.sets / u64::from(self.geometry.shards);
        let first = u64::from(shard) * per_shard;
        for step in 1..=NEIGHBOURS_SEARCHED.min(per_shard - 1) {
            let neighbour = first + (number - first + step) % per_shard;
            if let Some(victim) = self.displace(shard, neighbour, Slot::EMPTY) {
                self.retire(shard, victim, Count::EvictedSize);
                break;
            }
        }
        place(set, new);
        None
    }

    /// Puts `new` in the place of the set's least wanted slot and returns that one.
    ///
    /// Dead ones first; then the oldest without hits, where each hit saves a slot once.
    fn displace(&self, shard: u32, set: u64, new: Slot) -> Option<Slot> {
        let slots = self.set(set);
        let mut ages = [(u64::MAX, usize::MAX); layout::SET_SLOTS];
        let mut taken = 0;
        for (number, slot) in slots.iter().enumerate() {
            let word = Slot(slot.load(Ordering::Acquire));
            if !word.is_empty() {
                ages[taken] = (self.age(shard, word), number);
                taken += 1;
            }
        }
        let ages = &mut ages[..taken];
        ages.sort_unstable();
        // Two rounds: the first may take hits from all of them; readers may add some.
        for round in 0..2 {
            for &(age, number) in &*ages {
                let word = Slot(slots[number].load(Ordering::Acquire));
                let spared = age > 0 && word.hits() > 0 && round == 0;
                let next = if spared { word.with_hits(word.hits() - 1) } else { new };
                let swapped = !word.is_empty()
                    && slots[number]
                        .compare_exchange(word.0, next.0, Ordering::AcqRel, Ordering::Relaxed)
                        .is_ok();
                if swapped && !spared {
                    return Some(word);
                }
            }
        }
        None
    }

    /// The order in which records of a set are displaced: 0 for dead ones, then by age.
    fn age(&self, shard: u32, word: Slot) -> u64 {
        let Some((segment, left)) = self.geometry.locate(word.position()) else { return 0 };
        let entry = self.segment(segment);
        let clear_epoch = self.state.clear_epoch();
        let sequence = stamps::head(&self.mapping).sequence.load(Ordering::Relaxed);
        // Wraps with the counter, so a segment's age is its distance from now.
        let behind = sequence.wrapping_sub(entry.status().created);
        let age =
            1 + (u64::from(u32::MAX - behind) << 24 | (u64::from(u32::MAX) - left) & 0xff_ffff);
        if entry.clear_epoch.load(Ordering::Relaxed) != clear_epoch {
            return 0;
        }
        if self.on_disk {
            // A read of each header is worth more than knowing which of them are dead.
            return age;
        }
        let Ok(words) = self.media().header(word.position()) else { return 0 };
        let is_live = RecordHeader::from_words(&words).is_some_and(|header| {
            header.generation == entry.generation.load(Ordering::Relaxed)
                && word.has_tag_of(header.hash)
                && self.shard(shard).is_current(&header, clear_epoch)
                && !self.has_expired(&header)
        });
        if is_live { age } else { 0 }
    }

    /// Does the accounts of a record whose slot is gone.
    pub(super) fn retire(&self, shard: u32, old: Slot, cause: Count) {
        let Some((segment, left)) = self.geometry.locate(old.position()) else { return };
        let entry = self.segment(segment);
        // A device that fails is left alone: a record's room is not worth a timeout under the mutex.
        if self.parked.is_parked(&self.clock) {
            return;
        }
        let words = match self.media().header(old.position()) {
            Ok(words) => words,
            Err(error) => return self.io_failed(&error),
        };
        let Some(header) = RecordHeader::from_words(&words) else { return };
        // Else the segment was emptied since, and perhaps another record begins there now.
        let is_there = header.generation == entry.generation.load(Ordering::Relaxed)
            && header.record_bytes() <= left
            && old.has_tag_of(header.hash)
            && self.geometry.shard_of(header.hash) == shard;
        if !is_there {
            return;
        }
        entry.bury(header.record_bytes());
        if header.kind == Kind::Manifest {
            let mut scratch = None;
            let opened = self.media().open(old.position(), left, &mut scratch);
            if let Ok(Some(manifest)) = opened.and_then(|opened| opened.value(&header)) {
                self.abandon(&manifest);
            }
        }
        let clear_epoch = self.state.clear_epoch();
        let state = self.shard(shard);
        if state.is_current(&header, clear_epoch) {
            state.count(clear_epoch, -1);
            let has_expired = self.has_expired(&header);
            if cause == Count::EvictedSize && !has_expired {
                self.remember(old, entry.status(), header.hash);
            }
            self.count(if has_expired { Count::EvictedExpired } else { cause });
        }
    }
}

/// Puts `next` into a slot that has the tag of `hash` and returns what was there.
pub(super) fn swap_tagged(slot: &AtomicU64, hash: u64, next: Slot) -> Option<Slot> {
    let mut word = Slot(slot.load(Ordering::Acquire));
    // Ends: only a reader's hit or the evictor's move changes the slot meanwhile.
    while word.has_tag_of(hash) {
        match slot.compare_exchange(word.0, next.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(word),
            Err(now) => word = Slot(now),
        }
    }
    None
}

/// Puts `new` into an empty slot; false where there is none.
fn place(set: &[AtomicU64], new: Slot) -> bool {
    set.iter().any(|slot| {
        slot.load(Ordering::Relaxed) == Slot::EMPTY.0
            && slot
                .compare_exchange(Slot::EMPTY.0, new.0, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    })
}

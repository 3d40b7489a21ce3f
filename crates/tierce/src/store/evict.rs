//! Emptying segments: which one, what is carried over, and what dead owners leave.
//!
//! Under the evictor's mutex, which is never waited for while a shard's is held. The order is
//! S3-FIFO's (Yang et al., SOSP 2023) with segments for entries: those that shards filled are on
//! probation, and those that the evictor filled are the main queue. The victim is a sealed
//! segment: one whose records have all expired or been cleared, else one that is less than half
//! live, else the oldest on probation while these have more than a tenth of the room, else the
//! oldest of the main queue. (Navy and Segcache evict whole regions in this way; plain age alone
//! lost 13 % of the live keys under overwrites, when half of all bytes were dead.)
//!
//! Records that were hit, or any live ones of a segment that is mostly dead, are copied to the
//! evictor's own segment, up to a bound: from probation without hits, from the main queue with one
//! less. Of the others on probation a ghost stays ([`super::ghosts`]), and of those that the bound
//! of entries displaced: who comes back soon begins with a hit. So a scan passes through a tenth of
//! the store, and what was hit before stays.
//!
//! A victim is walked by the lengths of its records; at the first header that is none, the rest is
//! forgotten. Killed before the generation changes: every record has one valid copy or two, of
//! which the slot names one. Killed after: the segment is unreadable until the next evictor or
//! first opener finishes it.

use std::sync::atomic::Ordering;

use crate::store::{
    Dropped, Store, extents,
    index::Ahead,
    layout::{Kind, RECORD_HEADER_BYTES, RecordHeader, Slot, checksum, record_bytes},
    lock::{LockGuard, Wait},
    segment::{SegmentEntry, State, Status},
    statistics::Count,
    write::Draft,
};

/// Segments emptied by one call at most, so that no put pays for more.
const VICTIMS_PER_CALL: u32 = 2;
/// Free segments below which a put empties one ahead of need, after it let go of its shard: one
/// for the evictor and one for the next writer.
const LOW_WATER: u32 = 2;

/// Share of the room that is for records on probation: one in so many bytes.
const PROBATION_SHARE: u64 = 10;

/// Half segments that one call carries over at most. A first victim may be carried over whole, as
/// one of the main queue often has to be; the two of a call make room for half a segment at least.
const CARRIED_HALVES: u64 = 3;

/// What a look over the segment table found.
struct Survey {
    free: u32,
    victim: Option<(u32, Reason)>,
}

/// Why a segment is the victim; better reasons are smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// No record in it can be returned.
    Dead,
    /// Less than half of it is live.
    MostlyDead,
    /// It is the oldest of its queue.
    Oldest,
}

impl Store {
    /// Empties a segment ahead of need, if few are free and nobody else is at it; those that hold
    /// pieces of this manifest only where there is no other.
    pub(super) fn keep_spare(&self, manifest: &[u8]) {
        let low = LOW_WATER.max(self.geometry.shards / 8);
        if self.locks.free_segments().load(Ordering::Relaxed) >= low {
            return;
        }
        if let Ok(guard) = self.locks.try_lock(self.locks.evictor()) {
            self.reclaim(&guard, low, &self.spared(manifest));
        }
    }

    /// Empties segments until a writer can claim one, or none can be emptied; spares those that hold
    /// pieces of this manifest as [`keep_spare`](Self::keep_spare) does. A segment is as old as its
    /// first record, so what a large value filled up may be the oldest.
    pub(super) fn make_room(&self, wait: &Wait, manifest: &[u8]) -> Result<(), Dropped> {
        let spared = self.spared(manifest);
        let guard =
            self.locks.lock(self.locks.evictor(), wait).map_err(|error| self.not_locked(error))?;
        self.reclaim(&guard, LOW_WATER.max(self.geometry.shards / 8), &spared);
        Ok(())
    }

    /// The segments that hold pieces of a manifest.
    fn spared(&self, manifest: &[u8]) -> Vec<u32> {
        let pieces = extents::parse(manifest).into_iter().flat_map(|(_, pieces)| pieces);
        let segments = pieces.filter_map(|piece| self.geometry.locate(piece.position));
        segments.map(|(segment, _)| segment).collect()
    }

    fn reclaim(&self, guard: &LockGuard<'_>, wanted: u32, spared: &[u32]) {
        if guard.owner_died() {
            self.count(Count::OwnerDeaths);
            self.recover_evictor();
        }
        let mut budget = u64::from(self.geometry.segment_bytes) / 2 * CARRIED_HALVES;
        for _ in 0..VICTIMS_PER_CALL {
            let mut survey = self.survey(spared);
            if survey.victim.is_none() && !spared.is_empty() {
                survey = self.survey(&[]);
            }
            self.locks.free_segments().store(survey.free, Ordering::Relaxed);
            if survey.free >= wanted {
                return;
            }
            let Some((segment, reason)) = survey.victim else { return };
            self.evict(segment, reason, &mut budget);
            self.locks.free_segments().fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts free segments and chooses a victim among those that are not spared.
    fn survey(&self, spared: &[u32]) -> Survey {
        let clear_epoch = self.state.clear_epoch();
        let now_seconds = u32::try_from(self.clock.boot().0 / 1000).unwrap_or(u32::MAX - 1);
        let sequence = super::stamps::head(&self.mapping).sequence.load(Ordering::Relaxed);
        let mut survey = Survey { free: 0, victim: None };
        let mut dead = None;
        let (mut probation, mut main) = (None, None);
        let mut on_probation = 0;
        for (number, entry) in self.segments().iter().enumerate() {
            let status = entry.status();
            if status.state == State::Free {
                survey.free += 1;
            }
            let is_main = self.is_main(status);
            if !is_main && matches!(status.state, State::Active | State::Sealed) {
                on_probation += u64::from(entry.used.load(Ordering::Relaxed));
            }
            if status.state != State::Sealed || spared.contains(&(number as u32)) {
                continue;
            }
            // Wraps with the counter; larger is older.
            let age = sequence.wrapping_sub(status.created);
            let live = entry.live_bytes();
            let reason = if entry.max_expiry.load(Ordering::Relaxed) <= now_seconds
                || entry.clear_epoch.load(Ordering::Relaxed) != clear_epoch
            {
                Reason::Dead
            } else if live < self.geometry.segment_bytes / 2 {
                Reason::MostlyDead
            } else {
                Reason::Oldest
            };
            let (best, rank) = match reason {
                Reason::Dead => (&mut dead, u32::MAX - age),
                Reason::MostlyDead => (&mut dead, live),
                Reason::Oldest if is_main => (&mut main, u32::MAX - age),
                Reason::Oldest => (&mut probation, u32::MAX - age),
            };
            let candidate = (reason, rank, number as u32);
            *best = Some(best.map_or(candidate, |best| candidate.min(best)));
        }
        let room = self.geometry.data_bytes() / PROBATION_SHARE;
        let oldest = if on_probation > room { probation.or(main) } else { main.or(probation) };
        survey.victim = dead.or(oldest).map(|(reason, _, number)| (number, reason));
        survey
    }

    /// Carries over what is worth it, up to `budget` bytes, and frees the segment.
    fn evict(&self, segment: u32, reason: Reason, budget: &mut u64) {
        let entry = self.segment(segment);
        let status = entry.status();
        let evicting = Status { state: State::Evicting, ..status };
        if !entry.change(status, evicting) {
            // Only a damaged status word differs from its own reading.
            entry.status.store(evicting.to_word(), Ordering::Release);
        }
        self.walk(segment, entry, reason, status, budget);
        entry.empty();
    }

    fn walk(
        &self,
        segment: u32,
        entry: &SegmentEntry,
        reason: Reason,
        status: Status,
        budget: &mut u64,
    ) {
        let is_main = self.is_main(status);
        let generation = entry.generation.load(Ordering::Relaxed);
        let used = entry.used.load(Ordering::Relaxed).min(self.geometry.segment_bytes);
        let spare_unhit = entry.live_bytes() < self.geometry.segment_bytes / 2;
        let mut offset = 0;
        let mut ahead = Ahead::default();
        while u64::from(used) - offset >= RECORD_HEADER_BYTES {
            self.fetch_ahead(&mut ahead, segment, used);
            let position = self.geometry.segment_at(segment) + offset;
            let left = u64::from(used) - offset;
            let Ok(words) = self.media().header(position) else { return };
            let Some(header) = RecordHeader::from_words(&words) else { return };
            let bytes = header.record_bytes();
            if header.generation != generation || bytes > left {
                return;
            }
            offset += bytes;
            if header.kind == Kind::Extent {
                continue;
            }
            let Some((slot, word)) = self.slot_of(header.hash, position) else { continue };
            let shard = self.geometry.shard_of(header.hash);
            let clear_epoch = self.state.clear_epoch();
            let is_current = self.shard(shard).is_current(&header, clear_epoch);
            let has_expired = self.has_expired(&header);
            let is_wanted = reason != Reason::Dead
                && is_current
                && !has_expired
                && (word.hits() > 0 || spare_unhit)
                && bytes <= *budget;
            let hits = if is_main { word.hits().saturating_sub(1) } else { 0 };
            if is_wanted && self.carry_over(slot, word, hits, position, left, &header, &words) {
                *budget -= bytes;
                self.count(Count::Reinserted);
                continue;
            }
            if self.empty_slot(slot, position) && is_current {
                self.shard(shard).count(clear_epoch, -1);
                self.count(if has_expired { Count::EvictedExpired } else { Count::EvictedSize });
                if !has_expired {
                    self.remember(word, status, header.hash);
                }
                if header.kind == Kind::Manifest {
                    self.retire_pieces(position, left, &header);
                }
            }
        }
    }

    /// True for a segment of the main queue.
    fn is_main(&self, status: Status) -> bool {
        u32::from(status.owner) == self.locks.evictor()
    }

    /// Leaves a ghost of a live record that room was made of, while its segment had this status:
    /// only who was in the main queue and not asked for there has had its chance.
    pub(super) fn remember(&self, word: Slot, status: Status, hash: u64) {
        if !self.is_main(status) || word.hits() > 0 {
            self.leave_ghost(hash);
        }
    }

    /// The slot that names the record at `position`.
    fn slot_of(&self, hash: u64, position: u64) -> Option<(&std::sync::atomic::AtomicU64, Slot)> {
        self.set(self.geometry.set_of(hash)).iter().find_map(|slot| {
            let word = Slot(slot.load(Ordering::Acquire));
            (!word.is_empty() && word.position() == position).then_some((slot, word))
        })
    }

    fn empty_slot(&self, slot: &std::sync::atomic::AtomicU64, position: u64) -> bool {
        slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| {
            let word = Slot(word);
            (!word.is_empty() && word.position() == position).then_some(Slot::EMPTY.0)
        })
        .is_ok()
    }

    fn retire_pieces(&self, position: u64, left: u64, header: &RecordHeader) {
        let mut scratch = None;
        let opened = self.media().open(position, left, &mut scratch);
        if let Ok(Some(manifest)) = opened.and_then(|opened| opened.value(header)) {
            self.abandon(&manifest);
        }
    }

    /// Copies a record to the evictor's segment and its slot with it, which then has these `hits`;
    /// false where it cannot be.
    #[allow(clippy::too_many_arguments)]
    fn carry_over(
        &self,
        slot: &std::sync::atomic::AtomicU64,
        word: Slot,
        hits: u64,
        position: u64,
        left: u64,
        header: &RecordHeader,
        words: &[u64; 8],
    ) -> bool {
        let key_bytes = header.key_bytes as usize;
        let head_at = key_bytes.next_multiple_of(8);
        let value_at = head_at + header.head_bytes();
        let body_bytes = value_at + header.value_bytes as usize;
        let mut body = Vec::new();
        if body.try_reserve_exact(body_bytes).is_err() {
            return false;
        }
        let mut scratch = None;
        let read = self.media().open(position, left, &mut scratch).and_then(|opened| {
            opened.append(RECORD_HEADER_BYTES, head_at, &mut body)?;
            let rest = RECORD_HEADER_BYTES + head_at as u64;
            opened.append(rest, body_bytes - head_at, &mut body)
        });
        let Ok(sum) = read else { return false };
        let (head, value) = (&body[head_at..value_at], &body[value_at..]);
        if checksum(words, sum) != words[7] {
            self.count(Count::Corrupt);
            return false;
        }
        let draft = Draft {
            kind: header.kind,
            format: header.format,
            hash: header.hash,
            key: &body[..key_bytes],
            value,
            head,
            body_sum: sum,
            expires_at: header.expires_at,
            stale_millis: header.stale_millis,
            made_at: header.made_at,
            shard_epoch: header.shard_epoch,
            clear_epoch: header.clear_epoch,
            group_word: header.group_word,
        };
        let owner = self.locks.evictor();
        let bytes = record_bytes(key_bytes, head.len(), value.len() as u64);
        let Ok((target, _)) = self.active_segment(owner, 0, bytes) else { return false };
        let Ok(copy) = self.append(owner, target, &draft) else { return false };
        let mut word = word;
        // Ends: only readers' hits change a slot that still names the record.
        while word.position() == position && !word.is_empty() {
            let moved = Slot::new(header.hash, hits, copy);
            match slot.compare_exchange(word.0, moved.0, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => word = Slot(now),
            }
        }
        // Replaced or deleted meanwhile: nothing names the copy.
        self.segment(target).bury(bytes);
        true
    }

    /// Checks what a dead owner of a shard's mutex was filling: what it may go on filling stays,
    /// and what nobody fills any more becomes evictable.
    pub(super) fn recover_owner(&self, owner: u32) {
        let actives = &self.locks.active(owner).segments;
        for active in actives {
            let segment = active.load(Ordering::Relaxed);
            let is_sound = (1..=self.geometry.segments).contains(&segment)
                && self.is_filled_by(segment - 1, owner);
            if !is_sound {
                active.store(0, Ordering::Relaxed);
            }
        }
        for (number, entry) in self.segments().iter().enumerate() {
            let is_known =
                actives.iter().any(|active| active.load(Ordering::Relaxed) == number as u32 + 1);
            if !is_known {
                entry.seal(owner);
            }
        }
        if owner < self.geometry.shards {
            self.cap_entries(owner);
        }
    }

    fn recover_evictor(&self) {
        self.recover_owner(self.locks.evictor());
        self.finish_emptying();
    }

    /// Finishes what a dead evictor began. Under the evictor's mutex, or alone.
    pub(super) fn finish_emptying(&self) {
        for entry in self.segments() {
            let is_odd = entry.generation.load(Ordering::Relaxed) & 1 == 1;
            if is_odd || entry.status().state == State::Evicting {
                entry.empty();
            }
        }
    }

    /// Lowers a shard's entry count to the slots it has in use: a dead owner may have left the
    /// count of a record that it did not take away.
    pub(super) fn cap_entries(&self, shard: u32) {
        let per_shard = self.geometry.sets / u64::from(self.geometry.shards);
        let first = u64::from(shard) * per_shard;
        let taken: usize = (first..first + per_shard)
            .map(|set| {
                let set = self.set(set).iter();
                set.filter(|slot| slot.load(Ordering::Relaxed) != Slot::EMPTY.0).count()
            })
            .sum();
        self.shard(shard).cap(u32::try_from(taken).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
#[path = "evict_tests.rs"]
mod tests;

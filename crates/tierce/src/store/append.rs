//! The segments that are being filled: which one, and how a record comes to its end. Under the
//! mutex of the segment's owner.

use std::sync::atomic::Ordering;

use crate::{
    clock::Millis,
    store::{
        Dropped, Store,
        layout::{self, Kind, RECORD_ALIGN, RECORD_HEADER_BYTES, RecordHeader, record_bytes},
        segment::{self, Status},
        stamps,
        write::{Draft, Failure},
    },
};

const CACHE_LINE_BYTES: usize = 64;

/// Most cache lines that are fetched for a record to be written: the processor keeps no more
/// fetches under way.
const LINES_FETCHED: usize = 16;

impl Store {
    /// The segment that `owner` fills for `class`, and the bytes left in it: at least `least`.
    /// Under the mutex of `owner`.
    pub(super) fn active_segment(
        &self,
        owner: u32,
        class: u32,
        least: u64,
    ) -> Result<(u32, u64), Failure> {
        let active = &self.locks.active(owner).segments[class as usize % layout::MAX_CLASSES];
        let segment_bytes = u64::from(self.geometry.segment_bytes);
        let current = active.load(Ordering::Relaxed);
        if (1..=self.geometry.segments).contains(&current) {
            let entry = self.segment(current - 1);
            if self.is_filled_by(current - 1, owner) {
                let used = u64::from(entry.used.load(Ordering::Relaxed));
                let room = segment_bytes.saturating_sub(used);
                if room >= least {
                    return Ok((current - 1, room));
                }
            }
            entry.seal(owner);
            active.store(0, Ordering::Relaxed);
        }
        let segment = self.claim(owner, class).ok_or(Failure::NoSegment)?;
        active.store(segment + 1, Ordering::Relaxed);
        Ok((segment, segment_bytes))
    }

    /// True where `owner` may go on writing at the end of what is used of the segment.
    pub(super) fn is_filled_by(&self, segment: u32, owner: u32) -> bool {
        let entry = self.segment(segment);
        let status = entry.status();
        let used = entry.used.load(Ordering::Relaxed);
        status.state == segment::State::Active
            && u32::from(status.owner) == owner
            && entry.generation.load(Ordering::Relaxed) & 1 == 0
            && used <= self.geometry.segment_bytes
            && u64::from(used).is_multiple_of(RECORD_ALIGN)
    }

    /// Takes a free segment. One is always left to the evictor, for what it carries over.
    fn claim(&self, owner: u32, class: u32) -> Option<u32> {
        let sequence = &stamps::head(&self.mapping).sequence;
        let entries = self.segments();
        let start = sequence.load(Ordering::Relaxed) as usize % entries.len();
        let mut free = (0..entries.len())
            .map(|offset| (start + offset) % entries.len())
            .filter(|number| entries[*number].status().state == segment::State::Free);
        let mut next = free.next();
        while let Some(number) = next {
            next = free.next();
            if next.is_none() && owner != self.locks.evictor() {
                return None;
            }
            let created = sequence.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            let taken = Status {
                created,
                owner: owner as u16,
                class: class as u8,
                state: segment::State::Active,
            };
            let entry = &entries[number];
            let free = entry.status();
            if free.state == segment::State::Free && entry.change(free, taken) {
                let count = self.locks.free_segments();
                let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                    Some(free.saturating_sub(1))
                });
                if entry.is_empty() {
                    return Some(number as u32);
                }
                // Only damage calls it free: what may be in it, the evictor forgets as of any other.
                entry.seal(owner);
            }
        }
        None
    }

    /// Writes a record at the end of a segment that has room for it, and moves the end. Returns
    /// its position. Under the mutex of the segment's owner.
    pub(super) fn append(
        &self,
        owner: u32,
        segment: u32,
        draft: &Draft<'_>,
    ) -> Result<u64, Failure> {
        let entry = self.segment(segment);
        let used = entry.used.load(Ordering::Relaxed);
        let bytes = record_bytes(draft.key.len(), draft.head.len(), draft.value.len() as u64);
        let end = u64::from(used) + bytes;
        debug_assert!(bytes >= RECORD_HEADER_BYTES);
        if end > u64::from(self.geometry.segment_bytes) {
            return Err(Failure::NoSegment);
        }
        let shard = self.geometry.shard_of(draft.hash);
        // For people: that the evictor may count at the same moment is not worth a locked
        // instruction.
        let versions = &self.shard(shard).version;
        let version = versions.load(Ordering::Relaxed).wrapping_add(1);
        versions.store(version, Ordering::Relaxed);
        let header = RecordHeader {
            kind: draft.kind,
            format: draft.format,
            key_bytes: draft.key.len() as u32,
            head_words: (draft.head.len() / 8) as u8,
            value_bytes: draft.value.len() as u32,
            stale_millis: draft.stale_millis,
            hash: draft.hash,
            generation: entry.generation.load(Ordering::Relaxed),
            version,
            group_word: draft.group_word,
            expires_at: draft.expires_at,
            made_at: draft.made_at,
            shard_epoch: draft.shard_epoch,
            clear_epoch: draft.clear_epoch,
        };
        let begin = self.geometry.segment_at(segment);
        if !self.on_disk {
            let most = self.geometry.segment_bytes;
            self.present.reach(&self.mapping, segment, begin, end as u32, most);
        }
        let position = begin + u64::from(used);
        let words = header.to_words(draft.body_sum);
        let parts = [draft.key, draft.head, draft.value];
        if let Err(error) = self.media().write(position, &words, parts) {
            self.io_failed(&error);
            // What was written of it is not trusted to be there: go on in another segment.
            entry.seal(owner);
            return Err(Dropped::Io.into());
        }
        let expiry = if draft.expires_at == Millis::NEVER.0 {
            u32::MAX
        } else {
            u32::try_from(draft.expires_at.div_ceil(1000)).unwrap_or(u32::MAX)
        };
        // Only the owner of a segment that is being filled writes these, so what needs no locked
        // instruction has none.
        if entry.max_expiry.load(Ordering::Relaxed) < expiry {
            entry.max_expiry.store(expiry, Ordering::Relaxed);
        }
        let clear_epoch =
            if draft.kind == Kind::Extent { self.state.clear_epoch() } else { draft.clear_epoch };
        entry.clear_epoch.store(clear_epoch, Ordering::Relaxed);
        entry.live.fetch_add(bytes as u32, Ordering::Relaxed);
        entry.used.store(end as u32, Ordering::Release);
        if !self.on_disk {
            // Where the next record of the segment will go: until then its lines are at hand.
            let lines = (bytes as usize / CACHE_LINE_BYTES + 1).min(LINES_FETCHED);
            self.mapping.prefetch(begin + end, lines);
        }
        Ok(position)
    }
}

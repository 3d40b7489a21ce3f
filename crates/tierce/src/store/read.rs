//! `get`: finding the proved value of a key, or nothing.
//!
//! ```text
//! 1 slot w with the key's tag (acquire)       5 key equal, value copied
//! 2 generation g of its segment (acquire)     6 acquire fence; generation still g,
//! 3 slot again: still w, else once more         slot still w (less hits)
//! 4 header: kind, lengths, hash, g, epochs,   7 checksum
//!   expiry
//! ```
//! Step 3 closes the window in which the segment is emptied and filled anew between 1 and 2.

use std::{
    io,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use bytes::Bytes;

use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    group_word::GroupWord,
    store::{
        KeyHash, Store, StoreRecord,
        layout::{self, Kind, MAX_HITS, RecordHeader, SET_SLOTS, Slot},
        media::Media,
        statistics::Count,
        tags,
    },
    tiering::TierKind,
};

/// Times that one slot is read again because the evictor moved its record meanwhile.
const MOVES_FOLLOWED: u32 = 3;

/// Cache lines of a record that are fetched while its segment is looked at: all of a small one,
/// and of a large one as many as it takes until the processor sees where the copy is going.
const LINES_FETCHED: usize = 4;

/// What a slot turned out to hold.
enum Seen {
    Hit(StoreRecord),
    /// Another key's record, or one of which nothing can be said.
    Other,
    /// The slot holds something else now.
    Moved,
    /// Nothing that could ever be returned.
    Dead(Death),
}

/// Why a record cannot be returned.
#[derive(Clone, Copy)]
pub(super) enum Death {
    /// Its segment was emptied, or an epoch passed it by: it is not counted any more.
    Forgotten,
    /// Its time has passed; the bytes of the record.
    Expired(u64),
    /// Its bytes are not what was written.
    Corrupt,
    /// A piece of the large value was evicted; the bytes of the record.
    Broken(u64),
}

impl Store {
    /// Returns the record of `key`, or `None`: absent, expired, evicted, damaged, or in doubt.
    ///
    /// A miss reads the two cache lines of the key's slots and nothing else; a hit allocates the
    /// value (and the list of pieces, for a value above a quarter segment). Takes no lock.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) where the device fails; only on [`Medium::Disk`](crate::Medium).
    pub fn get(&self, hash: KeyHash, key: &[u8]) -> Result<Option<StoreRecord>> {
        // A miss is over here, and calls nothing that it would have to save registers for: the
        // fewer instructions it has, the more of them wait for memory at the same time.
        let set = self.set(self.geometry.set_of(hash.0));
        if self.parked.may_be_parked() || self.mapping.is_spoiled() {
            return self.get_with_care(set, hash.0, key);
        }
        let tagged = tags::tagged(set, hash.0);
        if tagged != 0 {
            return self.get_tagged(set, tagged, hash.0, key);
        }
        if self.statistics.add_striped(&self.locks, Count::Misses, 1) {
            return Ok(None);
        }
        self.get_nothing()
    }

    #[cold]
    #[inline(never)]
    fn get_nothing(&self) -> Result<Option<StoreRecord>> {
        self.count(Count::Misses);
        Ok(None)
    }

    /// As [`get`](Self::get), where records may have to be left alone.
    #[cold]
    #[inline(never)]
    fn get_with_care(
        &self,
        set: &[AtomicU64; SET_SLOTS],
        hash: u64,
        key: &[u8],
    ) -> Result<Option<StoreRecord>> {
        if self.is_parked() {
            return self.get_nothing();
        }
        self.get_tagged(set, tags::tagged(set, hash), hash, key)
    }

    /// What is left of [`get`](Self::get) for a key that is there, most likely.
    #[inline(never)]
    fn get_tagged(
        &self,
        set: &[AtomicU64; SET_SLOTS],
        tagged: u32,
        hash: u64,
        key: &[u8],
    ) -> Result<Option<StoreRecord>> {
        let found = if self.on_disk {
            self.search_disk(set, tagged, hash, key)
        } else {
            self.search(set, tagged, hash, key, false, 0)
        };
        match found {
            Ok(found) => {
                self.count(if found.is_some() { Count::Hits } else { Count::Misses });
                Ok(found)
            }
            Err(error) => {
                self.count(Count::Misses);
                Err(unread(error))
            }
        }
    }

    /// As [`get`](Self::get), without counting.
    pub(super) fn lookup(&self, hash: u64, key: &[u8]) -> io::Result<Option<StoreRecord>> {
        let set = self.set(self.geometry.set_of(hash));
        let tagged = tags::tagged(set, hash);
        if self.on_disk {
            self.search_disk(set, tagged, hash, key)
        } else {
            self.search(set, tagged, hash, key, false, 0)
        }
    }

    #[inline(never)]
    fn search_disk(
        &self,
        set: &[AtomicU64; SET_SLOTS],
        tagged: u32,
        hash: u64,
        key: &[u8],
    ) -> io::Result<Option<StoreRecord>> {
        self.search(set, tagged, hash, key, true, 0)
    }

    /// As [`lookup`](Self::lookup), for a record of before the latest clear.
    pub(super) fn lookup_cleared(&self, hash: u64, key: &[u8]) -> io::Result<Option<StoreRecord>> {
        let set = self.set(self.geometry.set_of(hash));
        self.search(set, tags::tagged(set, hash), hash, key, self.on_disk, 1)
    }

    /// `tagged` are the slots of `set` to look at. `on_disk` and `clears`, how many clears ago the
    /// record was written, are constants, so that nothing of them is left at each step.
    #[inline(always)]
    fn search(
        &self,
        set: &[AtomicU64; SET_SLOTS],
        mut tagged: u32,
        hash: u64,
        key: &[u8],
        on_disk: bool,
        clears: u32,
    ) -> io::Result<Option<StoreRecord>> {
        // More than one is seldom.
        while tagged != 0 {
            let slot = &set[tagged.trailing_zeros() as usize % SET_SLOTS];
            tagged &= tagged - 1;
            for _ in 0..MOVES_FOLLOWED {
                let word = Slot(slot.load(Ordering::Acquire));
                if !word.has_tag_of(hash) {
                    break;
                }
                match self.read(slot, word, hash, key, on_disk, clears) {
                    Ok(Seen::Hit(record)) => {
                        if word.hits() < MAX_HITS {
                            let hit = word.with_hits(word.hits() + 1);
                            // A hit that another one overtakes is not worth a second try.
                            let _ = slot.compare_exchange(
                                word.0,
                                hit.0,
                                Ordering::Relaxed,
                                Ordering::Relaxed,
                            );
                        }
                        return Ok(Some(record));
                    }
                    Ok(Seen::Other) => break,
                    Ok(Seen::Dead(death)) => {
                        self.discard(slot, word, hash, death);
                        break;
                    }
                    Ok(Seen::Moved) => {}
                    Err(error) => {
                        self.io_failed(&error);
                        return Err(error);
                    }
                }
            }
        }
        Ok(None)
    }

    pub(super) fn io_failed(&self, error: &io::Error) {
        self.count(Count::IoErrors);
        self.parked.device_failed(error, &self.clock);
    }

    #[inline(always)]
    fn read(
        &self,
        slot: &AtomicU64,
        word: Slot,
        hash: u64,
        key: &[u8],
        on_disk: bool,
        clears: u32,
    ) -> io::Result<Seen> {
        let position = word.position();
        let Some((segment, left)) = self.geometry.locate(position) else {
            return Ok(Seen::Dead(Death::Corrupt));
        };
        let media = Media { on_disk, ..self.media() };
        media.prefetch(position, LINES_FETCHED);
        let entry = self.segment(segment);
        let generation = entry.generation.load(Ordering::Acquire);
        if !Slot(slot.load(Ordering::Acquire)).same_record(word) {
            return Ok(Seen::Moved);
        }
        if generation & 1 == 1 {
            return Ok(Seen::Dead(Death::Forgotten));
        }
        let mut scratch = None;
        let opened = media.open(position, left, &mut scratch)?;
        let Some(header) = RecordHeader::from_words(&opened.words) else {
            return Ok(Seen::Dead(Death::Forgotten));
        };
        if header.generation != generation || header.record_bytes() > left {
            return Ok(Seen::Dead(Death::Forgotten));
        }
        // The segment was filled anew, and another key's record begins where the old one did.
        let is_of_slot = word.has_tag_of(header.hash)
            && self.geometry.set_of(header.hash) == self.geometry.set_of(hash);
        if !is_of_slot {
            return Ok(Seen::Dead(Death::Forgotten));
        }
        if header.hash != hash || header.key_bytes as usize != key.len() {
            return Ok(Seen::Other);
        }
        // The epochs are read after the header, so a record that is newer than them cannot be.
        let clear_epoch = self.state.clear_epoch().wrapping_sub(clears);
        let shard = self.shard(self.geometry.shard_of(hash));
        if header.kind == Kind::Extent || !shard.is_current(&header, clear_epoch) {
            return Ok(Seen::Dead(Death::Forgotten));
        }
        // It may be brought back: no reason to discard it.
        if !self.state.is_group_current(GroupWord(header.group_word)) {
            return Ok(Seen::Other);
        }
        if self.has_expired(&header) {
            return Ok(Seen::Dead(Death::Expired(header.record_bytes())));
        }
        if !opened.key_is(key)? {
            return Ok(Seen::Other);
        }
        let Some((body, sum)) = opened.body(&header)? else { return Ok(Seen::Other) };
        fence(Ordering::Acquire);
        if entry.generation.load(Ordering::Relaxed) != generation
            || !Slot(slot.load(Ordering::Relaxed)).same_record(word)
        {
            return Ok(Seen::Moved);
        }
        if layout::checksum(&opened.words, sum) != opened.words[7] {
            return Ok(Seen::Dead(Death::Corrupt));
        }
        let (head, value) = match header.head_bytes() {
            0 => (None, body),
            head_bytes => split(body, head_bytes),
        };
        let value = if header.kind == Kind::Manifest {
            match self.assemble(&header, &value)? {
                Ok(value) => value,
                Err(death) => return Ok(Seen::Dead(death)),
            }
        } else {
            value
        };
        if on_disk {
            self.parked.device_worked();
        }
        Ok(Seen::Hit(StoreRecord {
            // Capacity is length, so this keeps the buffer and allocates nothing.
            value: Bytes::from(value),
            format: header.format,
            expires_at: Millis(header.expires_at),
            made_at: Millis(header.made_at),
            head,
            stale_millis: header.stale_millis,
        }))
    }

    /// True where the record's time has passed.
    #[inline(always)]
    pub(super) fn has_expired(&self, header: &RecordHeader) -> bool {
        header.expires_at != Millis::NEVER.0 && self.clock.is_past_boot(Millis(header.expires_at))
    }

    /// Empties a slot whose record is dead, unless it changed meanwhile.
    #[cold]
    #[inline(never)]
    fn discard(&self, slot: &AtomicU64, word: Slot, hash: u64, death: Death) {
        let corrupt = matches!(death, Death::Corrupt);
        if corrupt {
            self.count(Count::Corrupt);
        }
        let emptied = slot
            .compare_exchange(word.0, Slot::EMPTY.0, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok();
        if !emptied {
            return;
        }
        if let Death::Expired(bytes) | Death::Broken(bytes) = death {
            self.count(match death {
                Death::Expired(_) => Count::EvictedExpired,
                _ => Count::Broken,
            });
            if let Some((segment, _)) = self.geometry.locate(word.position()) {
                self.segment(segment).bury(bytes);
            }
        }
        if !matches!(death, Death::Forgotten) {
            let shard = self.shard(self.geometry.shard_of(hash));
            shard.count(self.state.clear_epoch(), -1);
        }
    }
}

/// The head and the value of a body.
#[cold]
#[inline(never)]
fn split(mut body: Vec<u8>, head_bytes: usize) -> (Option<Box<[u8]>>, Vec<u8>) {
    let value = body.split_off(head_bytes);
    (Some(body.into_boxed_slice()), value)
}

#[cold]
#[inline(never)]
fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "the store's file could not be read")
        .in_tier(TierKind::Shared)
        .caused_by(error)
}

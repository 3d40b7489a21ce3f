//! `put`, `fill` and `delete`: changing what a key's slot says, under the mutex of its shard.
//!
//! ```text
//! put    hash, sum the body | lock | token still current? | room in the active segment
//!        | bytes, header, first word | used forward | publish the slot | raise the stamp | unlock
//! delete lock | empty the key's slots | raise the stamp | unlock
//!        no lock in time: raise the shard's epoch, then the stamp
//! ```
//! `used` moves before the slot is published, so a published record never lies in bytes that a
//! successor of a dead owner would write over. For the purpose of removing, every slot with the
//! key's tag counts as the key's: a stranger with the same tag (one in 4 million) loses its entry,
//! and no damage of a record can keep an invalidation from finding it.
//!
//! No mutex is waited for while another is held: a writer that finds no free segment lets go of
//! its shard, empties a segment under the evictor's mutex, and starts again.

use std::{io, sync::atomic::Ordering};

use crate::{
    clock::Millis,
    group_word::GroupWord,
    simulated::{self, Fault},
    store::{
        Dropped, KeyHash, NewRecord, Put, Store, StoreFill, StoreToken,
        index::swap_tagged,
        layout::{self, Kind, MAX_HEAD_BYTES, RecordHeader, Slot, record_bytes},
        lock::Wait,
        statistics::Count,
        types::is_replaced,
    },
};

/// Times that one call looks for room: others may take what it freed.
const ROOM_TRIES: u32 = 4;

impl Dropped {
    fn counter(self) -> Count {
        match self {
            Self::Busy => Count::DroppedBusy,
            Self::NoRoom => Count::DroppedNoRoom,
            Self::TooLarge => Count::DroppedTooLarge,
            Self::Raced => Count::DroppedRaced,
            Self::Io => Count::DroppedIo,
            Self::Parked => Count::DroppedParked,
        }
    }
}

/// Why a step under the mutex did not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There is no free segment: make room and start again.
    NoSegment,
    /// Give up.
    Dropped(Dropped),
}

impl From<Dropped> for Failure {
    fn from(why: Dropped) -> Self {
        Self::Dropped(why)
    }
}

/// Which live records are in the way of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Live {
    /// All of them.
    Any,
    /// Those that are not stale at this point of the boot-time line, and were made after another.
    FreshAt(Millis, Millis),
}

/// A record before it has a place.
#[derive(Clone, Copy)]
pub(super) struct Draft<'a> {
    pub(super) kind: Kind,
    pub(super) format: u8,
    pub(super) hash: u64,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
    pub(super) head: &'a [u8],
    /// Of head and value.
    pub(super) body_sum: u64,
    pub(super) expires_at: u64,
    pub(super) stale_millis: u32,
    pub(super) made_at: u64,
    pub(super) shard_epoch: u32,
    pub(super) clear_epoch: u32,
    pub(super) group_word: u32,
}

impl Store {
    /// Stores a record in place of whatever the key has, and raises the key's stamp.
    ///
    /// With `expect`, stores only if that token is still current: otherwise another change raced,
    /// and the key is removed. A put that cannot store removes, so afterwards no older record can
    /// be read. Waits at most [`lock_wait`](crate::StoreOptions::lock_wait) for locks; may empty a
    /// segment.
    pub fn put(
        &self,
        hash: KeyHash,
        key: &[u8],
        record: NewRecord<'_>,
        expect: Option<StoreToken>,
    ) -> Put {
        let wait = Wait::new(self.lock_wait);
        match self.try_put(&wait, hash.0, key, &record, expect) {
            Ok(stamp) => {
                self.count(Count::Puts);
                Put::Stored { stamp }
            }
            Err(why) => {
                self.count(why.counter());
                Put::Removed { stamp: self.remove(&wait, hash.0), why }
            }
        }
    }

    /// Stores a record in place of whatever the key has, and raises the key's stamp, if `expect` is
    /// still current: returns the value that the raise made. Waits as [`put`](Self::put) does.
    ///
    /// # Errors
    /// [`Dropped::Raced`] where the key changed since, and every other reason for which nothing was
    /// stored; the key has what it had.
    pub fn put_if(
        &self,
        hash: KeyHash,
        key: &[u8],
        record: NewRecord<'_>,
        expect: StoreToken,
    ) -> Result<u32, Dropped> {
        let wait = Wait::new(self.lock_wait);
        self.counted(self.try_put(&wait, hash.0, key, &record, Some(expect)))
    }

    /// As [`put_if`](Self::put_if), for who has seen what was made until `record.replaces`, or nothing
    /// fresh where that is 0: a fresh record of later is in the way, too. What is filled in raises no
    /// stamp.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn put_unseen(
        &self,
        hash: KeyHash,
        key: &[u8],
        record: NewRecord<'_>,
        expect: StoreToken,
    ) -> Result<u32, Dropped> {
        let wait = Wait::new(self.lock_wait);
        let unseen = Live::FreshAt(self.clock.boot(), record.replaces);
        self.counted(self.put_unless(&wait, hash.0, key, &record, Some(expect), Some(unseen)))
    }

    fn counted(&self, put: Result<u32, Dropped>) -> Result<u32, Dropped> {
        match put {
            Ok(_) => self.count(Count::Puts),
            Err(why) => self.count(why.counter()),
        }
        put
    }

    /// Stores what was fetched from below, if the key did not change since `token` was taken and
    /// has no live record that is as good: a record that is not stale takes the place of one that
    /// is.
    ///
    /// Raises the stamp only where the record says so, or where it takes the place of another, one that is
    /// stale or that this process is not to believe: else those who have a copy of that one and those who read the
    /// new one would disagree until the copy's time to live ends.
    pub fn fill(
        &self,
        hash: KeyHash,
        key: &[u8],
        record: NewRecord<'_>,
        token: StoreToken,
    ) -> StoreFill {
        let filled = self.try_fill(hash.0, key, &record, token);
        match &filled {
            StoreFill::Stored | StoreFill::Replaced(_) => self.count(Count::Fills),
            StoreFill::Adopted(_) => self.count(Count::FillsAdopted),
            StoreFill::Refused => self.count(Count::FillsRefused),
            StoreFill::Dropped(why) => self.count(why.counter()),
        }
        filled
    }

    /// Removes the key's record and raises its stamp; returns the value that the raise made.
    ///
    /// Never fails. Where the lock is not had in time the whole shard becomes a miss instead.
    pub fn delete(&self, hash: KeyHash, key: &[u8]) -> u32 {
        debug_assert_eq!(hash, self.hash(key), "the hash is that of the key in this store");
        self.count(Count::Deletes);
        self.remove(&Wait::new(self.lock_wait), hash.0)
    }

    pub(super) fn try_put(
        &self,
        wait: &Wait,
        hash: u64,
        key: &[u8],
        record: &NewRecord<'_>,
        expect: Option<StoreToken>,
    ) -> Result<u32, Dropped> {
        self.put_unless(wait, hash, key, record, expect, None)
    }

    /// [`try_put`](Self::try_put), but not over a live record of the kind `unless`.
    pub(super) fn put_unless(
        &self,
        wait: &Wait,
        hash: u64,
        key: &[u8],
        record: &NewRecord<'_>,
        expect: Option<StoreToken>,
        unless: Option<Live>,
    ) -> Result<u32, Dropped> {
        let shard = self.geometry.shard_of(hash);
        self.store_record(
            wait,
            hash,
            key,
            record,
            |draft, position| {
                // Checked and published under one mutex; `position` comes after the bytes are written.
                let new = Slot::new(hash, 0, position);
                let clear_epoch = draft.clear_epoch;
                let replaced = self.publish(shard, hash, new, clear_epoch);
                let stamp = self.state.raise_stamp(self.geometry.stamp_of(hash));
                if let Some(old) = replaced {
                    self.retire(shard, old, Count::Replaced);
                }
                stamp
            },
            expect,
            unless,
        )
    }

    fn try_fill(
        &self,
        hash: u64,
        key: &[u8],
        record: &NewRecord<'_>,
        token: StoreToken,
    ) -> StoreFill {
        let shard = self.geometry.shard_of(hash);
        for _ in 0..ROOM_TRIES {
            if !self.is_current(hash, token) {
                return StoreFill::Refused;
            }
            let now = self.clock.boot();
            let is_fresh = !record.is_stale(now);
            match self.lookup(hash, key) {
                Ok(Some(_)) if simulated::is_planted(Fault::FillOverwritesLive) => {}
                Ok(Some(found))
                    if !(is_replaced(found.made_at, record.replaces)
                        || is_fresh && found.is_stale(now)) =>
                {
                    return StoreFill::Adopted(found);
                }
                Ok(_) => {}
                Err(_) => return StoreFill::Dropped(Dropped::Io),
            }
            let wait = Wait::new(self.lock_wait);
            let stored = self.store_record(
                &wait,
                hash,
                key,
                record,
                |draft, position| {
                    let new = Slot::new(hash, 0, position);
                    let replaced = self.publish(shard, hash, new, draft.clear_epoch);
                    let is_told = record.raises
                        || replaced.is_some_and(|old| !old.is_empty())
                            && !simulated::is_planted(Fault::FillOverwritesLive);
                    let filled = if is_told {
                        let stamp = self.state.raise_stamp(self.geometry.stamp_of(hash));
                        StoreFill::Replaced(stamp)
                    } else {
                        StoreFill::Stored
                    };
                    if let Some(old) = replaced {
                        self.retire(shard, old, Count::Replaced);
                    }
                    filled
                },
                Some(token),
                Some(match record.replaces {
                    Millis(0) if !is_fresh => Live::Any,
                    replaces => Live::FreshAt(now, replaces),
                })
                .filter(|_| !simulated::is_planted(Fault::FillOverwritesLive)),
            );
            match stored {
                Ok(filled) => return filled,
                Err(Dropped::Raced) if self.is_current(hash, token) => {
                    // A live record appeared: look at it again.
                }
                Err(Dropped::Raced) => return StoreFill::Refused,
                Err(why) => return StoreFill::Dropped(why),
            }
        }
        StoreFill::Dropped(Dropped::Busy)
    }

    /// Writes a record and runs `publish` with its draft and position, all under the mutex.
    ///
    /// `expect` must be current there, and the key must have no live record of the kind
    /// `unless`. Both are `Raced` otherwise.
    #[allow(clippy::too_many_arguments)]
    fn store_record<T>(
        &self,
        wait: &Wait,
        hash: u64,
        key: &[u8],
        record: &NewRecord<'_>,
        publish: impl Fn(&Draft<'_>, u64) -> T,
        expect: Option<StoreToken>,
        unless: Option<Live>,
    ) -> Result<T, Dropped> {
        if self.is_parked() {
            return Err(Dropped::Parked);
        }
        let value_bytes = record.value.len() as u64;
        let is_too_large = key.len() > self.geometry.max_key_bytes()
            || value_bytes > self.geometry.max_value_bytes
            || record.head.len() > MAX_HEAD_BYTES
            || !record.head.len().is_multiple_of(8);
        if is_too_large {
            return Err(Dropped::TooLarge);
        }
        let (expires_at, stale_millis) = record.span();
        self.fetch_for_change(hash);
        let shard = self.geometry.shard_of(hash);
        let mut draft = Draft {
            kind: Kind::Value,
            format: record.format,
            hash,
            key,
            value: record.value,
            head: record.head,
            body_sum: 0,
            expires_at: expires_at.0,
            stale_millis,
            made_at: record.made_at.0,
            shard_epoch: 0,
            clear_epoch: 0,
            group_word: 0,
        };
        let remaining =
            (expires_at != Millis::NEVER).then(|| expires_at.0.saturating_sub(self.clock.boot().0));
        let class = self.geometry.class_of(remaining);
        let mut manifest = Vec::new();
        if record_bytes(key.len(), record.head.len(), value_bytes) > self.geometry.largest_record()
        {
            manifest = self.write_extents(wait, shard, class, &draft)?;
            draft = Draft { kind: Kind::Manifest, value: &manifest, ..draft };
        }
        let bytes = record_bytes(draft.key.len(), draft.head.len(), draft.value.len() as u64);
        self.fetch_for_put(hash, class);
        draft.body_sum = layout::body_sum_of(draft.head, draft.value);
        // Also where no tier below is in use: it may come in later, and judges this record too.
        let group_word = self.group_word(key).0;
        _ = self.is_below_in_use();
        let stored = self.with_room(wait, shard, &manifest, || {
            // Under the mutex and before the record is published: a change that could not have
            // the mutex raises the epoch, and makes what is published here a miss.
            let mut draft = draft;
            draft.shard_epoch = self.shard_epoch(shard);
            draft.clear_epoch = self.state.clear_epoch();
            draft.group_word = group_word;
            if let Some(token) = expect {
                if !self.is_current(hash, token) {
                    return Err(Dropped::Raced.into());
                }
                draft.shard_epoch = token.shard_epoch;
                draft.clear_epoch = token.clear_epoch;
                draft.group_word = token.group_word;
            }
            if let Some(live) = unless
                && self.has_live(hash, key, live)?
            {
                return Err(Dropped::Raced.into());
            }
            let (segment, _) = self.active_segment(shard, class, bytes)?;
            self.fetch_replaced(hash);
            let position = self.append(shard, segment, &draft)?;
            Ok(publish(&draft, position))
        });
        match &stored {
            Ok(_) => self.keep_spare(&manifest),
            Err(_) => self.abandon(&manifest),
        }
        stored
    }

    /// True while nothing changed since the token was taken.
    fn is_current(&self, hash: u64, token: StoreToken) -> bool {
        token.stamp_index == self.geometry.stamp_of(hash)
            && self.state.stamp(token.stamp_index) == token.stamp
            && self.shard_epoch(self.geometry.shard_of(hash)) == token.shard_epoch
            && self.state.clear_epoch() == token.clear_epoch
            && self.state.is_group_current(GroupWord(token.group_word))
    }

    /// Runs `step` under the mutex of a shard; where it finds no free segment, lets go, makes
    /// room, not of the pieces of this manifest, and runs it again.
    pub(super) fn with_room<T>(
        &self,
        wait: &Wait,
        shard: u32,
        manifest: &[u8],
        step: impl Fn() -> Result<T, Failure>,
    ) -> Result<T, Dropped> {
        for _ in 0..ROOM_TRIES {
            let guard = self.lock_shard(shard, wait)?;
            let done = step();
            drop(guard);
            match done {
                Ok(done) => return Ok(done),
                Err(Failure::Dropped(why)) => return Err(why),
                Err(Failure::NoSegment) => self.make_room(wait, manifest)?,
            }
        }
        Err(Dropped::NoRoom)
    }

    /// Empties the key's slots and raises its stamp, with the mutex or without it.
    pub(super) fn remove(&self, wait: &Wait, hash: u64) -> u32 {
        let shard = self.geometry.shard_of(hash);
        let stamp_index = self.geometry.stamp_of(hash);
        let Ok(_guard) = self.lock_shard(shard, wait) else {
            self.count(Count::EpochsRaised);
            let state = self.shard(shard);
            state.epoch.fetch_add(1, Ordering::AcqRel);
            state.forget(self.state.clear_epoch());
            return self.state.raise_stamp(stamp_index);
        };
        let mut removed = [Slot::EMPTY; layout::SET_SLOTS];
        for (slot, removed) in self.set(self.geometry.set_of(hash)).iter().zip(&mut removed) {
            *removed = swap_tagged(slot, hash, Slot::EMPTY).unwrap_or(Slot::EMPTY);
        }
        let stamp = if simulated::is_planted(Fault::DeleteSkipsStamp) {
            self.stamp_at(stamp_index)
        } else {
            self.state.raise_stamp(stamp_index)
        };
        for old in removed.into_iter().filter(|old| !old.is_empty()) {
            self.retire(shard, old, Count::Deleted);
        }
        stamp
    }

    /// True where a slot leads to a live record of this key; its value is not looked at.
    fn has_live(&self, hash: u64, key: &[u8], which: Live) -> Result<bool, Failure> {
        for slot in self.set(self.geometry.set_of(hash)) {
            let mut word = Slot(slot.load(Ordering::Acquire));
            while word.has_tag_of(hash) {
                if self.names_live(word, hash, key, which)? {
                    return Ok(true);
                }
                // The evictor may have moved the record under the look at it.
                let now = Slot(slot.load(Ordering::Acquire));
                if now.same_record(word) {
                    break;
                }
                word = now;
            }
        }
        Ok(false)
    }

    fn names_live(&self, word: Slot, hash: u64, key: &[u8], which: Live) -> Result<bool, Failure> {
        let Some((segment, left)) = self.geometry.locate(word.position()) else {
            return Ok(false);
        };
        let failed = |error: io::Error| {
            self.io_failed(&error);
            Dropped::Io
        };
        let generation = self.segment(segment).generation.load(Ordering::Acquire);
        let mut scratch = None;
        let opened = self.media().open(word.position(), left, &mut scratch).map_err(failed)?;
        let Some(header) = RecordHeader::from_words(&opened.words) else { return Ok(false) };
        let shard = self.shard(self.geometry.shard_of(hash));
        let is_live = header.generation == generation
            && header.record_bytes() <= left
            && header.hash == hash
            && header.key_bytes as usize == key.len()
            && shard.is_current(&header, self.state.clear_epoch())
            && self.state.is_group_current(GroupWord(header.group_word))
            && !self.has_expired(&header)
            && match which {
                Live::Any => true,
                Live::FreshAt(now, replaces) => {
                    !header.is_stale(now) && !is_replaced(Millis(header.made_at), replaces)
                }
            };
        Ok(is_live && opened.key_is(key).map_err(failed)?)
    }
}

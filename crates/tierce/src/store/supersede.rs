//! When another store takes the place of this one, under its name: its files were removed or
//! exchanged, or a process wants another size.
//!
//! ```text
//! who replaces   removes the names l2.lock and l2.data, if they are still this store's
//!                opens the store of that name: there is none, so it makes one
//!                marks the old one SUPERSEDED, then raises its clear epoch
//! all others     find the mark, or the names gone, and open what has the name now
//! ```
//! The mark comes when the new store can be opened by all. Whoever changes something looks for it
//! afterwards, and repeats the change in the new store if it is there: so one that did not see it
//! was done before anybody used the new store. The clear epoch voids every entry of L1 that the
//! old store judges, in all processes.
//!
//! A process that is killed in between has left less than the names: the next one that looks finds
//! them gone, and goes through all of it.

use std::{fs, os::unix::fs::MetadataExt, sync::atomic::Ordering};

use crate::error::Result;
use crate::store::{
    NewRecord, Store, StoreOptions,
    files::{self, ByteLock},
    layout::{RECORD_HEADER_BYTES, RecordHeader, Slot},
    lock::LOCK_FILE_BYTES,
    open, stamps,
    statistics::{Count, SLOTS},
};

/// The byte of the lock file that is locked while its names are removed.
const REMOVAL_BYTE: u64 = SLOTS as u64;
const NAMES: [&str; 2] = ["l2.lock", "l2.data"];

/// What became of the name of an open store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It still has it.
    Sound,
    /// Its files were removed or truncated, or others are in their place.
    Removed,
    /// Another store has the name, and this one is to be used no more.
    Superseded,
}

impl Store {
    /// True once all processes are to use the store that has this one's name now.
    #[inline]
    pub(crate) fn is_superseded(&self) -> bool {
        // In one order with the mark and with the raise of a stamp before this look.
        stamps::head(&self.mapping).superseded.load(Ordering::SeqCst) != 0
    }

    /// True where both are openings of the same store.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.locks.uuid() == other.locks.uuid()
    }

    /// What became of the store's name. Asks the system: not for every call.
    pub(crate) fn standing(&self) -> Standing {
        if self.mapping.is_spoiled() || self.locks.mapping().is_spoiled() {
            // Its names still are its own, of a file that is of no more use.
            Standing::Removed
        } else if self.is_superseded() {
            Standing::Superseded
        } else if self.is_whole() && NAMES.iter().all(|name| self.has_name(name)) {
            Standing::Sound
        } else {
            Standing::Removed
        }
    }

    /// Marks the store as superseded, once another one has its name.
    pub(crate) fn supersede(&self) {
        stamps::head(&self.mapping).superseded.store(1, Ordering::SeqCst);
        self.state.raise_clear_epoch();
        self.count(Count::Clears);
    }

    /// Removes the names of the store's files where they still are its own, so that the next one
    /// to open the store of this name makes a new one.
    pub(crate) fn remove_names(&self) {
        // Other openings of this store do the same at the same moment: between a look at a name
        // and its removal it must not come to be another file's.
        let Ok(own) = files::reopen(&self.lock_file) else { return };
        if !files::lock_byte(&own, REMOVAL_BYTE, ByteLock::Write).unwrap_or(false) {
            return;
        }
        for name in NAMES {
            if self.has_name(name) {
                // Fails where the folder cannot be written: then no other store can be made.
                let _ = fs::remove_file(self.directory.join(name));
            }
        }
    }

    /// False where a file was truncated: what is gone of it may be looked at any time.
    fn is_whole(&self) -> bool {
        let files =
            [(&self.data_file, self.geometry.file_bytes()), (&self.lock_file, LOCK_FILE_BYTES)];
        files.iter().all(|(file, bytes)| file.metadata().is_ok_and(|it| it.len() >= *bytes))
    }

    fn has_name(&self, name: &str) -> bool {
        let file = if name == "l2.data" { &self.data_file } else { &self.lock_file };
        let (Ok(mine), Ok(named)) =
            (file.metadata(), fs::symlink_metadata(self.directory.join(name)))
        else {
            return false;
        };
        (mine.dev(), mine.ino()) == (named.dev(), named.ino())
    }

    /// Puts a store of the sizes of `options` in the place of this one and copies the records that
    /// are live.
    pub(super) fn resize(self, options: &StoreOptions) -> Result<Self> {
        let clock = self.clock.clone();
        open::check_room(options)?;
        self.remove_names();
        let new = open::open(&options.clone().resize(false), clock)?;
        self.supersede_by(&new);
        new.adopt_records_of(&self);
        Ok(new)
    }

    /// Marks the store as superseded by `new`, which gets to know what this one knows of the tier
    /// below.
    pub(crate) fn supersede_by(&self, new: &Self) {
        new.adopt_doubts_of(self);
        new.adopt_stream_of(self);
        new.adopt_tags_of(self);
        new.adopt_delimiter_of(self);
        new.adopt_rollout_of(self);
        self.supersede();
        // Again, for those that came before the mark.
        new.adopt_doubts_of(self);
        new.adopt_tags_of(self);
        new.adopt_delimiter_of(self);
        new.adopt_rollout_of(self);
    }

    /// Fills in the live records of a store that this one takes the place of.
    fn adopt_records_of(&self, old: &Self) {
        for set in 0..old.geometry.sets {
            for slot in old.set(set) {
                let slot = Slot(slot.load(Ordering::Acquire));
                let Some(key) = old.key_at(slot) else { continue };
                // Before the record: a change that comes after the look at it makes this stale.
                let hash = self.hash(&key);
                let token = self.judged_token(hash, &key);
                // It was live until the mark, which cleared the old store.
                let found = old.lookup_cleared(old.hash(&key).0, &key);
                if let Ok(Some(record)) = found {
                    let new = NewRecord {
                        stale: record.stale(),
                        made_at: record.made_at,
                        head: record.head(),
                        ..NewRecord::new(&record.value, record.format, record.expires_at)
                    };
                    self.fill(hash, &key, new, token);
                }
            }
        }
    }

    /// The key of the record that a slot seems to name; nothing of it is proved.
    fn key_at(&self, slot: Slot) -> Option<Vec<u8>> {
        let (_, left) = self.geometry.locate(slot.position()).filter(|_| !slot.is_empty())?;
        let mut scratch = None;
        let opened = self.media().open(slot.position(), left, &mut scratch).ok()?;
        let header = RecordHeader::from_words(&opened.words)?;
        let bytes = header.key_bytes as usize;
        if header.record_bytes() > left || bytes > self.geometry.max_key_bytes() {
            return None;
        }
        let mut key = Vec::with_capacity(bytes);
        opened.append(RECORD_HEADER_BYTES, bytes, &mut key).ok()?;
        Some(key)
    }
}

//! L2: the store file that all processes of a host share, without a daemon.
//!
//! A [`Store`] is a lossy, bounded map from key bytes to value bytes in a preallocated file of
//! fixed segments. Records are appended to segments; an index of 8-byte slots says where a key's
//! record may be; whole segments are emptied in the order in which they were filled, and records
//! that were hit since are carried over. [`layout`] has the picture of the bytes.
//!
//! What holds, whatever other processes do and whenever they are killed:
//!
//! - A reader takes no lock, writes nothing on a hot key, and returns a value only if the slot and
//!   the generation of its segment did not change while it was copied, the whole key is equal,
//!   the record's epochs are current and its checksum is right. Any doubt is a miss.
//! - A writer holds the robust mutex of its shard. Every wait is bounded by
//!   [`StoreOptions::lock_wait`] per call. Nothing of the caller's runs under a mutex, and no
//!   mutex is waited for while another is held: a load holds the mutex of its lease.
//! - An entry may be lost at any time; an invalidation never. A change first removes or replaces
//!   the slot, then raises the key's stamp, both under the shard's mutex. A change that cannot
//!   have the mutex raises the epoch of the shard, which makes all its records misses, then the
//!   stamp. A process that dies in between did not return from its call; who takes over its mutex
//!   raises all stamps of the shard.
//!
//! | file | answers |
//! |---|---|
//! | `options`, `types` | what can be set, what is taken and returned |
//! | `layout` | where every byte is |
//! | `guard` | outliving a truncated file |
//! | `map`, `words`, `lock` | the mapping, copying from it, mutexes in it: most that is unsafe |
//! | `sum` | checksums |
//! | `files`, `limits`, `open` | opening, checking, making, repairing |
//! | `doubts`, `pending` | what the tier below may have in an older state; what is on its way there |
//! | `stamps`, `tag_table` | stamps, epochs, entry counts; changes of tags |
//! | `segment`, `evict`, `ghosts` | the life of a segment, its end, and what is remembered of it |
//! | `read`, `write`, `expire`, `touch`, `extents` | get; put, fill, delete; expire; touch; large values |
//! | `append` | the segments that are being filled |
//! | `index`, `tags` | the slots of a set; which of them have a tag |
//! | `lease` | one load of a key at a time on the host |
//! | `media`, `records` | mapped or `pread`; a disk's records mapped |
//! | `present`, `huge` | page faults spared; huge pages |
//! | `parked`, `statistics`, `check` | faults, counters, the whole walked |
//! | `inspect` | the file looked at from outside, whatever is in it |
//! | `diagnose` | what a store would find in its folder |
//! | `supersede`, `named`, `current` | another store takes the place of this one |
//!
//! On a disk the data goes by `pread` (or [`StoreOptions::mapped_reads`]) and `pwrite`, and index and stamps are mapped from the head
//! of the same file: they were allocated at creation on a file system that writes in place, so a
//! mapped access can fail only where the device itself does. After a reboot a store starts empty.
//! A process of the same user that truncates the file under the mapping ends those that have it,
//! unless they asked for the guard ([`StoreOptions::survive_truncation`]).
//! Other platforms than Linux get `elsewhere` in place of this file.

mod append;
mod check;
mod current;
mod delimiter;
mod diagnose;
mod doubts;
mod evict;
mod expire;
mod extents;
mod files;
#[cfg(feature = "sim")]
mod forget;
mod ghosts;
mod guard;
mod huge;
mod index;
mod inspect;
mod layout;
mod lease;
mod limits;
mod lock;
mod map;
mod media;
mod named;
mod open;
mod options;
mod parked;
mod pending;
mod present;
mod read;
mod records;
mod rollout;
mod segment;
#[cfg(test)]
mod span_tests;
mod stamps;
mod statistics;
mod stream;
mod sum;
mod supersede;
mod tag_table;
mod tags;
#[cfg(test)]
mod tests;
mod touch;
mod types;
mod words;
mod write;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::atomic::AtomicU64,
    time::Duration,
};

pub(crate) use self::{
    current::{Current, Look},
    doubts::Doubt,
    lease::{Turn, Turns},
    limits::check_memory,
    named::{NamedStore, View},
    pending::ClaimWord,
    supersede::Standing,
};
pub use self::{
    inspect::{
        StoreContents, StoreDoubts, StoreFinding, StoreHeader, StoreHistogram, StoreInspection,
        StoreLook, StorePlace, StoreProcess, StoreSegment, StoreSegmentState, StoreSeverity,
        StoreSlots, StoreUser, StoreUsers,
    },
    options::{Medium, StoreOptions},
    types::{
        Dropped, KeyHash, NewRecord, Put, StoreCheck, StoreFill, StoreRecord, StoreStatistics,
        StoreToken, StoreUsage,
    },
};
use crate::{
    clock::Clock,
    error::Result,
    group_word::GroupWord,
    key,
    store::{
        layout::{Geometry, SEGMENT_TABLE_AT, SET_SLOTS},
        lock::{LockArea, LockGuard, NotLocked, Wait},
        map::Mapping,
        media::{Calls, Media},
        parked::Parked,
        present::Present,
        records::Records,
        segment::SegmentEntry,
        stamps::{ShardState, State},
        statistics::{Count, Statistics},
    },
};

/// An open store. Any number of threads may use it; it may be opened several times in a process
/// and used on both sides of a fork.
pub struct Store {
    // Points into `mapping`, which is dropped with the same value and after it.
    state: State,
    geometry: Geometry,
    seed: u64,
    on_disk: bool,
    lock_wait: Duration,
    load_lease: Duration,
    clock: Clock,
    parked: Parked,
    statistics: Statistics,
    present: Present,
    directory: PathBuf,
    mapping: Mapping,
    records: Option<Records>,
    calls: Calls,
    locks: LockArea,
    data_file: File,
    // Holds the read lock on byte 0, which says that the store is in use.
    lock_file: File,
}

impl Store {
    /// Opens the store of `options`, making or repairing it where this process is the first.
    ///
    /// What another process made is used with its sizes. A file that cannot be used (damaged, of
    /// an older version, schema, size or boot) is replaced by an empty one, but only while no
    /// other process uses it.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) for options out of range;
    /// [`Denied`](crate::ErrorKind::Denied) where directory or files are not this user's alone;
    /// [`Version`](crate::ErrorKind::Version) for a file of a later version or of the other byte
    /// order, or of another schema in use; [`Full`](crate::ErrorKind::Full) where space, memory or a limit does not allow the
    /// size; [`Busy`](crate::ErrorKind::Busy) where another process did not finish opening within
    /// a second, or processes with another C library or of another PID namespace use the store; [`Corrupt`](crate::ErrorKind::Corrupt) for a damaged file in use;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for platforms and file systems that cannot
    /// carry a store; [`Io`](crate::ErrorKind::Io) for everything else. Nothing half made is left.
    pub fn open(options: &StoreOptions, clock: Clock) -> Result<Self> {
        open::open(options, clock)
    }

    /// Hashes a key for the other calls: XXH3-64 with the store's random seed.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(layout::key_hash(key, self.seed))
    }

    /// What the store knows of the key's changes now: take it before looking anywhere.
    #[inline]
    pub fn token(&self, hash: KeyHash) -> StoreToken {
        let stamp_index = self.geometry.stamp_of(hash.0);
        // The stamp first: whoever sees a stamp that was raised after an epoch sees the epoch.
        let stamp = self.state.stamp(stamp_index);
        let shard_epoch = self.shard_epoch(self.geometry.shard_of(hash.0));
        let clear_epoch = self.state.clear_epoch();
        StoreToken { stamp_index, stamp, shard_epoch, clear_epoch, group_word: 0 }
    }

    /// [`token`](Self::token) for a record that the tier below judges too.
    pub(crate) fn judged_token(&self, hash: KeyHash, key: &[u8]) -> StoreToken {
        StoreToken { group_word: self.group_word(key).0, ..self.token(hash) }
    }

    /// What the tier below says of the group of a key now.
    fn group_word(&self, key: &[u8]) -> GroupWord {
        self.state.group_word(key::group(key))
    }

    /// The stamp at an index of a [`StoreToken`]: one load.
    #[inline(always)]
    pub fn stamp_at(&self, stamp_index: u32) -> u32 {
        self.state.stamp(stamp_index)
    }

    /// True while copies that bear this word are current: one load.
    #[inline(always)]
    pub(crate) fn is_group_current(&self, word: GroupWord) -> bool {
        self.state.is_group_current(word)
    }

    /// Counts the clears: one load.
    #[inline(always)]
    pub fn clear_epoch(&self) -> u32 {
        self.state.clear_epoch()
    }

    /// Makes every record of the store a miss, and every entry of L1 that carries the clear epoch
    /// of before stale, by one word. Their room is taken first when room is needed.
    pub fn clear(&self) {
        self.state.raise_clear_epoch();
        self.count(Count::Clears);
    }

    /// How full the store is. Reads the segment table; waits for nothing.
    pub fn usage(&self) -> StoreUsage {
        let clear_epoch = self.state.clear_epoch();
        let entries = (0..self.geometry.shards).map(|shard| self.shard(shard).entries(clear_epoch));
        let live = self
            .segments()
            .iter()
            .filter(|entry| {
                entry.clear_epoch.load(std::sync::atomic::Ordering::Relaxed) == clear_epoch
            })
            .map(|entry| u64::from(entry.live_bytes()));
        StoreUsage {
            entries: entries.sum(),
            max_entries: self.geometry.max_entries,
            bytes: live.sum(),
            max_bytes: self.geometry.data_bytes(),
        }
    }

    /// The counters of all processes together.
    pub fn statistics(&self) -> StoreStatistics {
        statistics::sum(&self.locks)
    }

    /// What is wrong with the store in this process, if something is: its records are left alone
    /// (the device or a lock failed), or its files were removed or replaced, so that processes which
    /// open it now share another one, or somebody does not let go of a lock, and puts are dropped.
    /// Changes by this process still invalidate what its companions have.
    ///
    /// Asks the system for the file's attributes, and waits for as long as a call does where a lock
    /// was not had in time: for health reports, not for every call.
    pub fn trouble(&self) -> Option<String> {
        self.parked.reason(&self.clock).or_else(|| {
            let path = self.directory.display();
            if self.mapping.is_spoiled() {
                return Some(format!("l2.data in {path} was truncated by somebody"));
            }
            if self.locks.mapping().is_spoiled() {
                return Some(format!("l2.lock in {path} was truncated by somebody"));
            }
            match self.standing() {
                Standing::Sound => self.locks.stuck_owner(self.lock_wait).map(|owner| {
                    let owner = files::describe_thread(owner);
                    format!("{owner} holds a lock of the store and does not let go of it: is it stopped?")
                }),
                Standing::Removed => Some(format!("l2.lock or l2.data was removed from {path}")),
                Standing::Superseded => Some(format!("another store took the place of {path}")),
            }
        })
    }

    /// The directory of the store.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Walks index and segments and counts what is there. For tests and inspection: costs a read
    /// of the whole store.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the file cannot be read.
    pub fn validate(&self) -> Result<StoreCheck> {
        check::walk(self)
    }

    fn media(&self) -> Media<'_> {
        Media {
            mapping: &self.mapping,
            file: &self.data_file,
            on_disk: self.on_disk,
            records: self.records.as_ref(),
            calls: &self.calls,
        }
    }

    fn segments(&self) -> &[SegmentEntry] {
        self.mapping.slice(SEGMENT_TABLE_AT, self.geometry.segments as usize)
    }

    #[inline]
    fn segment(&self, segment: u32) -> &SegmentEntry {
        self.mapping.at(SEGMENT_TABLE_AT + u64::from(segment) * 64)
    }

    #[inline]
    fn set(&self, set: u64) -> &[AtomicU64; SET_SLOTS] {
        let bytes = (SET_SLOTS * 8) as u64;
        self.mapping.at(self.geometry.index_at() + set * bytes)
    }

    #[inline]
    fn shard(&self, shard: u32) -> &ShardState {
        stamps::shard(&self.mapping, shard)
    }

    #[inline]
    fn shard_epoch(&self, shard: u32) -> u32 {
        self.shard(shard).epoch.load(std::sync::atomic::Ordering::Acquire)
    }

    #[inline]
    fn count(&self, count: Count) {
        self.statistics.add(&self.locks, &self.lock_file, count, 1);
    }

    /// True while records must be left alone.
    #[inline]
    fn is_parked(&self) -> bool {
        self.parked.is_parked(&self.clock) || self.mapping.is_spoiled()
    }

    /// Takes the mutex of a shard and repairs what a dead owner left.
    fn lock_shard(&self, shard: u32, wait: &Wait) -> Result<LockGuard<'_>, Dropped> {
        let guard = self.locks.lock(shard, wait).map_err(|error| self.not_locked(error))?;
        if guard.owner_died() {
            self.count(Count::OwnerDeaths);
            self.recover_owner(shard);
            // Last, so that a successor that dies here too leaves the mutex to be repaired again.
            self.state.raise_shard_stamps(shard);
        }
        Ok(guard)
    }

    fn not_locked(&self, error: NotLocked) -> Dropped {
        match error {
            NotLocked::Busy => Dropped::Busy,
            NotLocked::Lost(code) => {
                self.parked.lock_lost(code);
                Dropped::Parked
            }
        }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Store")
            .field("directory", &self.directory)
            .field("geometry", &self.geometry)
            .field("on_disk", &self.on_disk)
            .finish_non_exhaustive()
    }
}

/// Where the store of this `name` belongs: `$XDG_RUNTIME_DIR/tierce/NAME` if that is a memory file
/// system and the directory this user's own, else `/dev/shm/tierce-UID/NAME`.
///
/// Looks at the environment and the file system; makes nothing.
pub fn default_directory(name: &str) -> PathBuf {
    files::default_directory(name)
}

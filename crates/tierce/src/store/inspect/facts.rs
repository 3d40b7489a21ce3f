//! What an inspection tells: plain numbers, copied out of the file.

use std::{
    fmt,
    time::{Duration, SystemTime},
};

use crate::store::StoreStatistics;

/// What the header page of a store says; it never changes in the life of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHeader {
    /// Version of the format: files of another major version are not understood.
    pub format_major: u32,
    /// Version of the format within the major one.
    pub format_minor: u32,
    /// The version of the library that made the file.
    pub library_version: String,
    /// The number that the application gave to the layout of its values.
    pub schema: u64,
    /// The random name of this store.
    pub uuid: u128,
    /// True where records go by `pread` and `pwrite`, false where they are mapped.
    pub on_disk: bool,
    /// Bytes of a segment, the unit of eviction.
    pub segment_bytes: u32,
    /// Segments of the file.
    pub segments: u32,
    /// Sets of the index.
    pub sets: u64,
    /// Slots of the index.
    pub slots: u64,
    /// Stamps, which count the changes of keys.
    pub stamps: u32,
    /// Shards, each with a mutex of its own.
    pub shards: u32,
    /// Classes of times to live that are kept in segments of their own.
    pub classes: u32,
    /// The bound on entries.
    pub max_entries: u64,
    /// The longest key.
    pub max_key_bytes: u64,
    /// The largest value.
    pub max_value_bytes: u64,
    /// Where the segments begin.
    pub data_at: u64,
    /// Bytes that all segments have together.
    pub data_bytes: u64,
    /// The length of the file.
    pub file_bytes: u64,
}

/// The state of a store at one moment. Approximate where others write.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreLook {
    /// The length of the file now.
    pub file_bytes: u64,
    /// What the file system has allocated for it.
    pub allocated_bytes: u64,
    /// When the file was made, where the file system keeps that.
    pub made: Option<SystemTime>,
    /// False after a reboot: the next process that opens the store starts it empty.
    pub is_of_this_boot: bool,
    /// Counts the clears.
    pub clear_epoch: u32,
    /// Reserved for invalidation by the tier below.
    pub coherence_epoch: u32,
    /// By shard: how often all its records became misses, because a change could not have its
    /// lock.
    pub shard_epochs: Vec<u32>,
    /// Segments taken into use since the store was made.
    pub claims: u32,
    /// Records written since the store was made, extents and manifests included.
    pub writes: u64,
    /// Entries by the store's own count.
    pub entries: u64,
    /// Bytes of records that are wanted, by the store's own count.
    pub live_bytes: u64,
    /// The segment table.
    pub segments: Vec<StoreSegment>,
    /// What is in doubt about the tier below.
    pub doubts: StoreDoubts,
    /// What is wrong with the file at first sight: its length, its segment table.
    pub findings: Vec<StoreFinding>,
}

/// What a segment is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSegmentState {
    /// It holds nothing.
    Free,
    /// It is being filled.
    Active,
    /// It is full, or nobody fills it any more.
    Sealed,
    /// It is being emptied.
    Evicting,
}

impl StoreSegmentState {
    /// All states, in the order in which a segment has them.
    pub const ALL: [Self; 4] = [Self::Free, Self::Active, Self::Sealed, Self::Evicting];

    /// The state in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::Active => "active",
            Self::Sealed => "sealed",
            Self::Evicting => "evicting",
        }
    }
}

/// One entry of the segment table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSegment {
    /// Its number, from 0.
    pub number: u32,
    /// What it is used for.
    pub state: StoreSegmentState,
    /// The shard that fills or filled it; the number of shards for the evictor.
    pub owner: u32,
    /// Its class of times to live, from 0 for the shortest.
    pub class: u32,
    /// Counts how often it was emptied, twice; odd while that is going on.
    pub generation: u64,
    /// Which claim of a segment this one was: the order of their age.
    pub claim: u32,
    /// Bytes filled from its start.
    pub used_bytes: u32,
    /// About how many of them are wanted. Zero if the store was cleared since.
    pub live_bytes: u32,
    /// When all of its records will have expired; zero if they have, `None` for never.
    pub expires_in: Option<Duration>,
}

/// Groups of keys of which the tier below may have an older state than this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreDoubts {
    /// A cache with a tier below uses this store, or did.
    pub is_below_in_use: bool,
    /// Keys were changed before a tier below was in use.
    pub changed_alone: bool,
    /// Groups in doubt.
    pub groups: u32,
    /// Groups that there are.
    pub of_groups: u32,
    /// How long the oldest doubt has lasted.
    pub oldest: Option<Duration>,
}

/// Who uses a store, as the lock file and the kernel know it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StoreUsers {
    /// True while any process has the store open.
    pub is_in_use: bool,
    /// Why there is nothing to tell of users and counters: the lock file is missing, is none, or
    /// is that of another store.
    pub no_counters: Option<String>,
    /// Those that have it open, and those that are gone and left counts.
    pub users: Vec<StoreUser>,
    /// Counts of those that are gone and whose slot was taken over, and of those for which no
    /// slot was free.
    pub folded: StoreStatistics,
    /// All counts together.
    pub total: StoreStatistics,
}

/// One opening of a store, which has its own counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreUser {
    /// The number of its slot in the lock file.
    pub slot: u32,
    /// False once the last process with this opening is gone.
    pub is_alive: bool,
    /// What it counted. A child that was forked counts into its parent's slot.
    pub statistics: StoreStatistics,
}

/// A process that has a store open.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreProcess {
    /// The slot that it counts into; 0 where it could not have one of its own.
    pub slot: u32,
    /// Its number.
    pub process: u32,
    /// Its name.
    pub name: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreSeverity {
    /// What a killed process left unfinished. Nothing leads there; readers never see it.
    Torn,
    /// Something that no process of this library leaves: bytes were changed or are missing.
    Damage,
}

impl StoreSeverity {
    /// The severity in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Torn => "torn",
            Self::Damage => "damage",
        }
    }
}

/// Where something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StorePlace {
    /// The file as a whole.
    File,
    /// An entry of the segment table.
    Segment(u32),
    /// A record.
    Record {
        /// The segment it is in.
        segment: u32,
    },
    /// A slot of the index.
    Slot {
        /// The set.
        set: u64,
        /// The slot within the set.
        slot: u32,
    },
}

impl StorePlace {
    /// What kind of place it is, in lower case.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Segment(_) => "segment",
            Self::Record { .. } => "record",
            Self::Slot { .. } => "slot",
        }
    }
}

impl fmt::Display for StorePlace {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => out.write_str("file"),
            Self::Segment(number) => write!(out, "segment {number}"),
            Self::Record { segment } => write!(out, "record in segment {segment}"),
            Self::Slot { set, slot } => write!(out, "slot {slot} of set {set}"),
        }
    }
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreFinding {
    /// How bad it is.
    pub severity: StoreSeverity,
    /// Where it is.
    pub place: StorePlace,
    /// The byte of the file where that is.
    pub position: u64,
    /// The value that was found and the rule that it breaks.
    pub what: String,
}

impl fmt::Display for StoreFinding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { severity, place, position, what } = self;
        write!(out, "{}: {place}, byte {position}: {what}", severity.as_str())
    }
}

/// Numbers counted by their size.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreHistogram {
    /// The upper bound of each row, itself included; the last is `u64::MAX`.
    pub bounds: &'static [u64],
    /// How many numbers there were in each row.
    pub counts: Vec<u64>,
}

impl StoreHistogram {
    pub(super) fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len()] }
    }

    pub(super) fn count(&mut self, number: u64) {
        let row = self.bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get_mut(row) {
            *count += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// All that was counted.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// The slots of the index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreSlots {
    /// Slots in use.
    pub used: u64,
    /// Those that lead to a record that a reader would return.
    pub live: u64,
    /// Those that lead to a record that has expired or was cleared.
    pub dead: u64,
    /// Those that lead to nothing any more: their segment was emptied, and perhaps filled anew.
    /// A slot that was bent to another place within the data looks the same.
    pub stale: u64,
    /// Those that are wrong; each is a finding.
    pub wrong: u64,
    /// Sets without a free slot.
    pub full_sets: u64,
}

/// What the records and slots of a store are. Exact only while nobody writes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StoreContents {
    /// True where every byte that a checksum covers was checked.
    pub is_verified: bool,
    /// Records found by walking the segments, those that are wrong included.
    pub records: u64,
    /// Records of which nothing is wrong, as far as was looked.
    pub right: u64,
    /// Records that are wrong; each is a finding.
    pub wrong: u64,
    /// Entries that a reader would return.
    pub live_entries: u64,
    /// Bytes of their records, keys and headers and the pieces of large values included.
    pub live_bytes: u64,
    /// Bytes of records that nothing leads to any more: replaced, removed, expired, cleared.
    pub dead_bytes: u64,
    /// Live entries that are cut into pieces.
    pub large_entries: u64,
    /// Large values of which a piece was evicted: a miss.
    pub incomplete_entries: u64,
    /// Records that a killed writer left unfinished behind the end of what is used.
    pub torn: u64,
    /// Segments that were emptied whenever they were looked at.
    pub restless_segments: u32,
    /// The index.
    pub slots: StoreSlots,
    /// Bytes of the values of live entries.
    pub value_bytes: StoreHistogram,
    /// How many records its shard has written since each live entry was. The file keeps no times
    /// of writing.
    pub writes_since: StoreHistogram,
    /// Seconds until the live entries expire; `u64::MAX` for never.
    pub seconds_left: StoreHistogram,
    /// What is not as it should be, up to a thousand of each kind of place.
    pub findings: Vec<StoreFinding>,
    /// How many findings are damage, those not listed included.
    pub damages: u64,
}

impl StoreStatistics {
    /// Each counter with its name, which is that of the field.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        macro_rules! list {
            ($($name:ident),* $(,)?) => {{
                // Names every field: a new one must be added here.
                let Self { $($name),* } = *self;
                [$((stringify!($name), $name)),*]
            }};
        }
        list![
            hits,
            misses,
            puts,
            fills,
            fills_adopted,
            fills_refused,
            deletes,
            clears,
            dropped_busy,
            dropped_no_room,
            dropped_too_large,
            dropped_raced,
            dropped_io,
            dropped_parked,
            owner_deaths,
            corrupt,
            io_errors,
            evicted_size,
            evicted_expired,
            replaced,
            deleted,
            reinserted,
            epochs_raised,
            broken,
        ]
        .into_iter()
    }
}

//! The bytes of a store: regions, header page, slots, records. All sizes and positions are here.
//!
//! A store is a directory (0700) with two files (0600): `l2.data`, which survives its processes,
//! and `l2.lock`, which the first process to open the store writes anew ([`super::lock`]).
//!
//! ```text
//! l2.data                                     position (multiples of 64 KiB)
//! +---------------------------------------+   0
//! | header page, written once, checksummed|
//! +---------------------------------------+   64 KiB
//! | state: boot id, clear epoch,          |
//! |        per shard: epoch, entries;     |
//! |        doubts about the tier below,   |
//! |        what its changes tell us       |
//! +---------------------------------------+   192 KiB
//! | segment table, 64 bytes a segment     |
//! +---------------------------------------+
//! | stamps, u32 each                      |
//! +---------------------------------------+
//! | cells of tags, u64 each: removals,    |
//! |        then expirations               |
//! +---------------------------------------+
//! | cells of values that are on their way |
//! |        to the tier below, u64 each    |
//! +---------------------------------------+
//! | index: sets of 16 slots of 8 bytes,   |
//! |        then ghosts, 16 bytes a set    |
//! +---------------------------------------+   data
//! | segment 0 | segment 1 | ...           |   on a disk: not mapped, pread and pwrite
//! +---------------------------------------+
//!
//! hash of a key (XXH3-64 with the store's seed): the TOP bits choose set, stamp and shard, so a
//! shard owns neighbouring sets and stamps; the LOW 22 bits are the tag.
//!
//! slot    63        42 41 40 39                 0
//!        +------------+-----+--------------------+
//!        | tag 22     |hits2| file position / 16 |   0 = empty (position 0 is the header page)
//!        +------------+-----+--------------------+
//!
//! record, 16-aligned, inside one segment
//!  word 0  magic u16 | kind u8 | format u8 | key bytes u24 | head words u8
//!  word 1  value bytes u32 | stale milliseconds u32: how long before its end it is stale
//!  word 2  hash of the key
//!  word 3  generation of the segment when the record was written, 40 bits | made at, upper 24 bits
//!  word 4  version u32 (counts the writes of the shard) | word of the group of keys u32
//!  word 5  expires at, 44 bits | made at, lower 20 bits
//!  word 6  shard epoch u32 | clear epoch u32
//!  word 7  checksum: XXH3-64 over words 0..6 and the XXH3-64 of head and value; word 2 covers the
//!          key
//!  key, padded with zeros to 8 bytes; head; value; padding to 16
//!
//!  points of time are boot-time milliseconds, of which 44 bits hold 557 years; all ones = never,
//!  or not known
//!
//! kind 1 value      the value itself
//! kind 2 extent     a piece of a large value: no key, no slot; named by a manifest
//! kind 3 manifest   a large value: u64 total bytes, then per piece {position u64, generation u64,
//!                   bytes u64}
//! ```
//!
//! Numbers are in the byte order of the host; the endian probe of the header tells a foreign file.
//! A record of an unknown kind is a miss for this version.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::error::{Error, ErrorKind, Result};

mod record;

pub(super) use record::{
    Kind, MAX_HEAD_BYTES, RECORD_MAGIC, RecordHeader, body_sum, body_sum_of, checksum, record_bytes,
};

/// Smallest store: below, the index and the stamps leave no room for 16 segments.
pub(super) const MIN_FILE_BYTES: u64 = 1 << 20;
/// Largest store: half of what a 40-bit address in units of 16 bytes reaches.
pub(super) const MAX_FILE_BYTES: u64 = 8 << 40;
/// Regions start at multiples of this, so that pages of 4, 16 and 64 KiB map the same file.
pub(super) const REGION_ALIGN: u64 = 64 << 10;
/// Size of the header page.
pub(super) const HEADER_BYTES: usize = 4096;
/// Position of the state region.
pub(super) const STATE_AT: u64 = REGION_ALIGN;
/// Position of the segment table, past the two parts of the state region.
pub(super) const SEGMENT_TABLE_AT: u64 = 3 * REGION_ALIGN;

pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"tierceL2");
/// Files of a higher major version are left untouched; of a lower one, started empty.
pub(super) const MAJOR: u32 = 4;
const MINOR: u32 = 0;
pub(super) const ENDIAN_PROBE: u64 = 0x0102_0304_0506_0708;
/// The only hash of keys and checksum of records so far: XXH3-64.
const XXH3: u32 = 1;

/// Bytes of a set: its slots.
const SET_BYTES: u64 = SET_SLOTS as u64 * 8;
/// Words of ghosts of a set ([`super::ghosts`]).
pub(super) const GHOST_WORDS: usize = 2;
/// Bytes of a set and its ghosts.
const SET_AND_GHOSTS_BYTES: u64 = SET_BYTES + GHOST_WORDS as u64 * 8;
/// Slots in a set: two cache lines, which hardware prefetches as a pair.
pub(super) const SET_SLOTS: usize = 16;
/// Most shards: beyond the processors of usual hosts more locks gain nothing.
pub(super) const MAX_SHARDS: u32 = 64;
/// Most lifetime classes, each with a segment of its own in every shard.
pub(super) const MAX_CLASSES: usize = 4;
/// Most segments by default, so that choosing a victim reads at most 256 KiB of the table.
const MAX_SEGMENTS: u64 = 4096;
/// Fewest segments by default: with fewer, one eviction loses too large a share.
const MIN_SEGMENTS: u64 = 16;
/// Fewest stamps: 256 KiB make chance invalidation of a neighbour rare in small stores.
const MIN_STAMPS: u64 = 64 << 10;
/// Cells of tags: 64 KiB, of which the smallest store has room.
const TAG_CELLS: u32 = 4 << 10;
/// The same of a large store, where more entries would suffer from tags that share a cell: 1 MiB.
const LARGE_TAG_CELLS: u32 = 64 << 10;
/// From this size on a store is a large one.
const LARGE_BYTES: u64 = 64 << 20;
/// Bytes of a cell: a word for removals, one for expirations.
const TAG_CELL_BYTES: u64 = 16;
/// Cells of values on their way to the tier below: 64 KiB, and 32 for each group of keys.
const PENDING_CELLS: u32 = 8 << 10;
/// The same of a large store, where more keys would be kept from that tier with one that waits: 512 KiB.
const LARGE_PENDING_CELLS: u32 = 64 << 10;
/// Most stamps: 16 MiB.
const MAX_STAMPS: u64 = 4 << 20;
/// Entries that justify one more shard; the bound is divided over shards, so few entries must
/// not be spread thin.
const ENTRIES_PER_SHARD: u64 = 1024;

/// Records and slots count positions in these units.
pub(super) const RECORD_ALIGN: u64 = 16;
/// Bytes of a record before its key.
pub(super) const RECORD_HEADER_BYTES: u64 = 64;
/// Longest key where segments allow it: longer keys are a mistake of the caller more often than
/// a wish, and every read of the entry would compare them.
const MAX_KEY_BYTES: u32 = 64 << 10;
/// An extent smaller than this is not worth its header and its read.
pub(super) const MIN_EXTENT_BYTES: u64 = 4096;
/// Bytes of one piece in a manifest.
pub(super) const PIECE_BYTES: usize = 24;

/// The sizes of a store; everything else follows from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) segment_bytes: u32,
    pub(super) segments: u32,
    pub(super) sets: u64,
    pub(super) stamps: u32,
    pub(super) tag_cells: u32,
    pub(super) shards: u32,
    pub(super) classes: u32,
    pub(super) max_entries: u64,
    pub(super) max_value_bytes: u64,
    /// What follows from the others and is asked for with every key.
    places: Places,
}

/// Where regions begin, and how the bits of a hash or a position are shifted to a number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Places {
    tags_at: u64,
    pending_at: u64,
    index_at: u64,
    ghosts_at: u64,
    data_at: u64,
    data_bytes: u64,
    segment_shift: u32,
    set_shift: u32,
    stamp_shift: u32,
    shard_shift: u32,
}

impl Places {
    fn of(geometry: &Geometry) -> Self {
        let stamps_at = geometry.stamps_at();
        let tags_at = stamps_at + align_up(u64::from(geometry.stamps) * 4);
        let pending_at = tags_at + align_up(u64::from(geometry.tag_cells) * TAG_CELL_BYTES);
        let index_at = pending_at + align_up(u64::from(geometry.pending_cells()) * 8);
        Self {
            tags_at,
            pending_at,
            index_at,
            ghosts_at: index_at + geometry.sets * SET_BYTES,
            data_at: index_at + align_up(geometry.sets * SET_AND_GHOSTS_BYTES),
            data_bytes: u64::from(geometry.segments) * u64::from(geometry.segment_bytes),
            segment_shift: geometry.segment_bytes.trailing_zeros(),
            set_shift: 63 - geometry.sets.trailing_zeros(),
            stamp_shift: 63 - geometry.stamps.trailing_zeros(),
            shard_shift: 63 - geometry.shards.trailing_zeros(),
        }
    }
}

/// How many cells of values on their way there are beside so many of tags.
#[inline]
fn pending_cells(tag_cells: u32) -> u32 {
    if tag_cells == TAG_CELLS { PENDING_CELLS } else { LARGE_PENDING_CELLS }
}

impl Geometry {
    /// The sizes for a file of at most `max_bytes`.
    pub(super) fn fit(
        max_bytes: u64,
        max_entries: u64,
        max_value_bytes: u64,
        segment_bytes: Option<u32>,
    ) -> Result<Self> {
        // A record takes at least 80 bytes, so more entries than this never fit, and the index
        // stays below a quarter of the file.
        let max_entries = max_entries.clamp(1, max_bytes / 128);
        let sets = (max_entries * 2).div_ceil(SET_SLOTS as u64).next_power_of_two().max(2);
        let stamps = (sets * 2).next_power_of_two().clamp(MIN_STAMPS, MAX_STAMPS);
        let tag_cells = if max_bytes < LARGE_BYTES { TAG_CELLS } else { LARGE_TAG_CELLS };
        let pending_cells = pending_cells(tag_cells);
        let beside_table = SEGMENT_TABLE_AT
            + align_up(stamps * 4)
            + align_up(u64::from(tag_cells) * TAG_CELL_BYTES)
            + align_up(u64::from(pending_cells) * 8)
            + align_up(sets * SET_AND_GHOSTS_BYTES);
        let room = max_bytes.saturating_sub(beside_table + REGION_ALIGN);
        let segment_bytes = segment_bytes.map_or_else(
            || {
                let most = floor_power_of_two(room / MIN_SEGMENTS);
                let least = (max_bytes / MAX_SEGMENTS).next_power_of_two();
                (1_u64 << 20).min(most).max(least).clamp(16 << 10, 64 << 20)
            },
            u64::from,
        );
        let mut geometry = Self {
            segment_bytes: segment_bytes as u32,
            segments: 0,
            sets,
            stamps: stamps as u32,
            tag_cells,
            shards: 1,
            classes: 1,
            max_entries,
            max_value_bytes,
            places: Places::default(),
        };
        let table = align_up(max_bytes / segment_bytes * 64);
        let segments = max_bytes.saturating_sub(beside_table + table) / segment_bytes;
        if !(8..1 << 24).contains(&segments) {
            return Err(Error::new(
                ErrorKind::Config,
                format!(
                    "shared.segment_bytes = {segment_bytes}: leaves {segments} segments in \
                     {max_bytes} bytes, must leave at least 8"
                ),
            ));
        }
        geometry.segments = segments as u32;
        // At most an eighth of the segments is being filled at a time.
        let active = (segments / 8).max(1);
        geometry.shards = floor_power_of_two((active / 2).max(1))
            .min(u64::from(MAX_SHARDS))
            .min(floor_power_of_two((max_entries / ENTRIES_PER_SHARD).max(1)))
            .min(sets) as u32;
        geometry.classes = match active / u64::from(geometry.shards) {
            0 | 1 => 1,
            2 | 3 => 2,
            _ => MAX_CLASSES as u32,
        };
        geometry.places = Places::of(&geometry);
        geometry.max_value_bytes = max_value_bytes.min(geometry.data_bytes() / 4);
        Ok(geometry)
    }

    pub(super) fn data_bytes(&self) -> u64 {
        self.places.data_bytes
    }

    pub(super) fn stamps_at(&self) -> u64 {
        SEGMENT_TABLE_AT + align_up(u64::from(self.segments) * 64)
    }

    pub(super) fn tags_at(&self) -> u64 {
        self.places.tags_at
    }

    #[inline]
    pub(super) fn pending_at(&self) -> u64 {
        self.places.pending_at
    }

    /// How many cells there are of values on their way to the tier below.
    #[inline]
    pub(super) fn pending_cells(&self) -> u32 {
        pending_cells(self.tag_cells)
    }

    #[inline]
    pub(super) fn index_at(&self) -> u64 {
        self.places.index_at
    }

    #[inline]
    pub(super) fn ghosts_at(&self) -> u64 {
        self.places.ghosts_at
    }

    #[inline]
    pub(super) fn data_at(&self) -> u64 {
        self.places.data_at
    }

    pub(super) fn file_bytes(&self) -> u64 {
        self.data_at() + self.data_bytes()
    }

    /// The segment of a file position and the bytes from there to the segment's end, or `None`
    /// where no record can begin.
    #[inline]
    pub(super) fn locate(&self, position: u64) -> Option<(u32, u64)> {
        // Below the data it wraps, and is above all bytes there are.
        let offset = position.wrapping_sub(self.places.data_at);
        let segment_bytes = u64::from(self.segment_bytes);
        let left = segment_bytes - (offset & (segment_bytes - 1));
        (offset < self.places.data_bytes && left >= RECORD_HEADER_BYTES)
            .then_some(((offset >> self.places.segment_shift) as u32, left))
    }

    /// Position of the first byte of `segment`.
    #[inline]
    pub(super) fn segment_at(&self, segment: u32) -> u64 {
        self.places.data_at + (u64::from(segment) << self.places.segment_shift)
    }

    /// Records above this are stored as extents and a manifest.
    #[inline]
    pub(super) fn largest_record(&self) -> u64 {
        u64::from(self.segment_bytes) / 4
    }

    /// Longest key: it lies in one record with its manifest, so an eighth of a segment bounds it.
    #[inline]
    pub(super) fn max_key_bytes(&self) -> usize {
        (self.segment_bytes / 8).min(MAX_KEY_BYTES) as usize
    }

    /// The set of a hash.
    #[inline]
    pub(super) fn set_of(&self, hash: u64) -> u64 {
        top_bits(hash, self.places.set_shift)
    }

    /// The stamp of a hash.
    #[inline]
    pub(super) fn stamp_of(&self, hash: u64) -> u32 {
        top_bits(hash, self.places.stamp_shift) as u32
    }

    /// The shard of a hash.
    #[inline]
    pub(super) fn shard_of(&self, hash: u64) -> u32 {
        top_bits(hash, self.places.shard_shift) as u32
    }

    /// The lifetime class of a record that has `remaining` milliseconds to live.
    pub(super) fn class_of(&self, remaining: Option<u64>) -> u32 {
        const MINUTE: u64 = 60_000;
        let Some(remaining) = remaining else { return self.classes - 1 };
        match (self.classes, remaining) {
            (1, _) => 0,
            (2, left) => u32::from(left >= 10 * MINUTE),
            (_, left) if left < MINUTE => 0,
            (_, left) if left < 10 * MINUTE => 1,
            (_, left) if left < 60 * MINUTE => 2,
            _ => 3,
        }
    }

    /// True where every size is one that [`Self::fit`] could have made: a header that passes is
    /// safe to compute positions with.
    fn is_sound(&self) -> bool {
        self.segment_bytes.is_power_of_two()
            && (16 << 10..=64 << 20).contains(&self.segment_bytes)
            && (8..1 << 24).contains(&self.segments)
            && u64::from(self.segments) * u64::from(self.segment_bytes) <= MAX_FILE_BYTES
            && self.sets.is_power_of_two()
            && (2..1 << 40).contains(&self.sets)
            && self.stamps.is_power_of_two()
            && (MIN_STAMPS..=MAX_STAMPS).contains(&u64::from(self.stamps))
            && matches!(self.tag_cells, TAG_CELLS | LARGE_TAG_CELLS)
            && self.shards.is_power_of_two()
            && self.shards <= MAX_SHARDS
            && u64::from(self.shards) <= self.sets
            && matches!(self.classes, 1 | 2 | 4)
            && self.max_entries >= 1
            && self.max_value_bytes >= 1
            && self.max_value_bytes <= u64::from(self.segments) * u64::from(self.segment_bytes)
    }
}

/// The top bits of `hash`, `63 - shift` of them.
#[inline]
fn top_bits(hash: u64, shift: u32) -> u64 {
    // Two shifts, because a shift by 64 (for no bits) is not one.
    (hash >> 1) >> shift
}

fn floor_power_of_two(number: u64) -> u64 {
    1 << number.max(1).ilog2()
}

fn align_up(bytes: u64) -> u64 {
    bytes.next_multiple_of(REGION_ALIGN)
}

/// The header page: what never changes in the life of a store file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) geometry: Geometry,
    pub(super) schema: u64,
    pub(super) seed: u64,
    pub(super) uuid: u128,
    /// Data by `pread` and `pwrite`, as the creator of the file decided.
    pub(super) on_disk: bool,
}

/// What the first page of a file is.
#[derive(Debug)]
pub(super) enum HeaderPage {
    Sound(Header),
    /// Written by a later major version.
    Newer(u32),
    /// Written by a machine of the other byte order: it may be of use there.
    Foreign,
    /// Anything else: zeros, garbage, damage, an older version.
    Unusable(&'static str),
}

impl Header {
    pub(super) fn to_page(self) -> [u8; HEADER_BYTES] {
        let mut page = [0_u8; HEADER_BYTES];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        let geometry = &self.geometry;
        put(0, &MAGIC.to_ne_bytes());
        put(8, &MAJOR.to_ne_bytes());
        put(12, &MINOR.to_ne_bytes());
        put(16, &ENDIAN_PROBE.to_ne_bytes());
        put(24, &(HEADER_BYTES as u32).to_ne_bytes());
        put(28, &geometry.segment_bytes.to_ne_bytes());
        put(32, &geometry.segments.to_ne_bytes());
        put(36, &geometry.shards.to_ne_bytes());
        put(40, &geometry.sets.to_ne_bytes());
        put(48, &geometry.stamps.to_ne_bytes());
        put(52, &geometry.classes.to_ne_bytes());
        put(56, &(RECORD_ALIGN as u32).to_ne_bytes());
        put(60, &XXH3.to_ne_bytes());
        put(64, &u128::from(self.seed).to_ne_bytes());
        put(80, &XXH3.to_ne_bytes());
        put(84, &u32::from(self.on_disk).to_ne_bytes());
        put(88, &self.uuid.to_ne_bytes());
        let version = env!("CARGO_PKG_VERSION").as_bytes();
        put(104, &version[..version.len().min(16)]);
        put(120, &self.schema.to_ne_bytes());
        put(128, &geometry.max_entries.to_ne_bytes());
        put(136, &geometry.max_value_bytes.to_ne_bytes());
        put(144, &geometry.tag_cells.to_ne_bytes());
        let sum = xxh3_128(&page[..HEADER_BYTES - 16]);
        page[HEADER_BYTES - 16..].copy_from_slice(&sum.to_ne_bytes());
        page
    }

    pub(super) fn from_page(page: &[u8; HEADER_BYTES]) -> HeaderPage {
        fn take<const N: usize>(page: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
            let mut bytes = [0; N];
            bytes.copy_from_slice(&page[at..at + N]);
            bytes
        }
        let u32_at = |at| u32::from_ne_bytes(take(page, at));
        let u64_at = |at| u64::from_ne_bytes(take(page, at));
        if u64_at(0) == MAGIC && u64_at(16) == ENDIAN_PROBE.swap_bytes() {
            return HeaderPage::Foreign;
        }
        if u64_at(0) != MAGIC || u64_at(16) != ENDIAN_PROBE {
            return HeaderPage::Unusable("no header of this library");
        }
        // Before the checksum: a later version may sum its page in another way.
        if u32_at(8) > MAJOR {
            return HeaderPage::Newer(u32_at(8));
        }
        let sum = u128::from_ne_bytes(take(page, HEADER_BYTES - 16));
        if sum != xxh3_128(&page[..HEADER_BYTES - 16]) {
            return HeaderPage::Unusable("damaged header");
        }
        let mut geometry = Geometry {
            segment_bytes: u32_at(28),
            segments: u32_at(32),
            shards: u32_at(36),
            sets: u64_at(40),
            stamps: u32_at(48),
            tag_cells: u32_at(144),
            classes: u32_at(52),
            max_entries: u64_at(128),
            max_value_bytes: u64_at(136),
            places: Places::default(),
        };
        let known = u32_at(8) == MAJOR
            && u32_at(24) == HEADER_BYTES as u32
            && u32_at(56) == RECORD_ALIGN as u32
            && u32_at(60) == XXH3
            && u32_at(80) == XXH3;
        if !known || !geometry.is_sound() {
            return HeaderPage::Unusable("layout of another version");
        }
        geometry.places = Places::of(&geometry);
        HeaderPage::Sound(Self {
            geometry,
            schema: u64_at(120),
            seed: u64_at(64),
            uuid: u128::from_ne_bytes(take(page, 88)),
            on_disk: u32_at(84) != 0,
        })
    }
}

/// One slot of the index, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(pub(super) u64);

const ADDRESS_BITS: u32 = 40;
const HITS_SHIFT: u32 = ADDRESS_BITS;
pub(super) const TAG_SHIFT: u32 = 42;
/// The hits a slot can count.
pub(super) const MAX_HITS: u64 = 3;

impl Slot {
    pub(super) const EMPTY: Self = Self(0);

    #[inline]
    pub(super) fn new(hash: u64, hits: u64, position: u64) -> Self {
        Self((hash << TAG_SHIFT) | (hits.min(MAX_HITS) << HITS_SHIFT) | (position / RECORD_ALIGN))
    }

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// True where the slot is taken and its tag is that of `hash`.
    #[inline]
    pub(super) fn has_tag_of(self, hash: u64) -> bool {
        self.seems_tagged(hash) && !self.is_empty()
    }

    /// As [`has_tag_of`](Self::has_tag_of), but an empty slot has the tag 0 as well.
    #[inline(always)]
    pub(super) fn seems_tagged(self, hash: u64) -> bool {
        (self.0 ^ hash << TAG_SHIFT) < 1 << TAG_SHIFT
    }

    #[inline]
    pub(super) fn hits(self) -> u64 {
        self.0 >> HITS_SHIFT & MAX_HITS
    }

    #[inline]
    pub(super) fn with_hits(self, hits: u64) -> Self {
        Self(self.0 & !(MAX_HITS << HITS_SHIFT) | hits.min(MAX_HITS) << HITS_SHIFT)
    }

    /// The file position that the slot names; any number may be read from a damaged file.
    #[inline]
    pub(super) fn position(self) -> u64 {
        (self.0 & ((1 << ADDRESS_BITS) - 1)) * RECORD_ALIGN
    }

    /// True where both name the same record: equal but for the hits.
    #[inline]
    pub(super) fn same_record(self, other: Self) -> bool {
        self.with_hits(0) == other.with_hits(0)
    }
}

/// The hash of a key in a store with this seed.
#[inline]
pub(super) fn key_hash(key: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(key, seed)
}

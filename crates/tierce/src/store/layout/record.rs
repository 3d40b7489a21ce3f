//! The header of a record, its checksum, and how much room it takes.

use super::{RECORD_ALIGN, RECORD_HEADER_BYTES};
use crate::store::sum;

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Value = 1,
    Extent = 2,
    Manifest = 3,
}

pub(in crate::store) const RECORD_MAGIC: u16 = 0x7C2E;

/// The header of a record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct RecordHeader {
    pub(in crate::store) kind: Kind,
    pub(in crate::store) format: u8,
    pub(in crate::store) key_bytes: u32,
    pub(in crate::store) value_bytes: u32,
    pub(in crate::store) hash: u64,
    pub(in crate::store) generation: u64,
    pub(in crate::store) version: u32,
    pub(in crate::store) group_word: u32,
    pub(in crate::store) expires_at: u64,
    pub(in crate::store) shard_epoch: u32,
    pub(in crate::store) clear_epoch: u32,
}

impl RecordHeader {
    /// Words 0 to 6, and as word 7 the checksum of them and of a value with this `value_sum`.
    pub(in crate::store) fn to_words(self, value_sum: u64) -> [u64; 8] {
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut words = [
            u64::from(RECORD_MAGIC)
                | (self.kind as u64) << 16
                | u64::from(self.format) << 24
                | u64::from(self.key_bytes) << 32,
            u64::from(self.value_bytes),
            self.hash,
            self.generation,
            pair(self.version, self.group_word),
            self.expires_at,
            pair(self.shard_epoch, self.clear_epoch),
            0,
        ];
        words[7] = checksum(&words, value_sum);
        words
    }

    /// Reads a header, or `None` where it is none that this version knows.
    #[inline]
    pub(in crate::store) fn from_words(words: &[u64; 8]) -> Option<Self> {
        let kind = match (words[0] >> 16) as u8 {
            1 => Kind::Value,
            2 => Kind::Extent,
            3 => Kind::Manifest,
            _ => return None,
        };
        if words[0] as u16 != RECORD_MAGIC || words[1] >> 32 != 0 {
            return None;
        }
        Some(Self {
            kind,
            format: (words[0] >> 24) as u8,
            key_bytes: (words[0] >> 32) as u32,
            value_bytes: words[1] as u32,
            hash: words[2],
            generation: words[3],
            version: words[4] as u32,
            group_word: (words[4] >> 32) as u32,
            expires_at: words[5],
            shard_epoch: words[6] as u32,
            clear_epoch: (words[6] >> 32) as u32,
        })
    }

    /// Bytes of the whole record, padding included.
    #[inline]
    pub(in crate::store) fn record_bytes(&self) -> u64 {
        record_bytes(self.key_bytes as usize, u64::from(self.value_bytes))
    }

    /// Bytes from the start of the record to its value.
    #[inline]
    pub(in crate::store) fn value_offset(&self) -> u64 {
        RECORD_HEADER_BYTES + u64::from(self.key_bytes).next_multiple_of(8)
    }
}

/// Bytes that a record takes.
#[inline]
pub(in crate::store) fn record_bytes(key_bytes: usize, value_bytes: u64) -> u64 {
    (RECORD_HEADER_BYTES + (key_bytes as u64).next_multiple_of(8) + value_bytes)
        .next_multiple_of(RECORD_ALIGN)
}

/// The sum of a value, one half of a record's checksum.
#[inline]
pub(in crate::store) fn value_sum(value: &[u8]) -> u64 {
    sum::xxh3(value)
}

/// The checksum of a record with these words 0 to 6.
#[inline]
pub(in crate::store) fn checksum(words: &[u64; 8], value_sum: u64) -> u64 {
    let mut words = *words;
    words[7] = value_sum;
    sum::xxh3_of_words(&words)
}

//! The header of a record, its checksum, and how much room it takes.

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3Default;

use super::{RECORD_ALIGN, RECORD_HEADER_BYTES};
use crate::{clock::Millis, store::sum};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Kind {
    Value = 1,
    Extent = 2,
    Manifest = 3,
}

pub(in crate::store) const RECORD_MAGIC: u16 = 0x7C2E;

/// Longest head: its words are counted in a byte.
pub(in crate::store) const MAX_HEAD_BYTES: usize = 255 * 8;

/// Bits of a key's length.
const KEY_BITS: u32 = 24;
/// Bits of a generation. A segment would have to be emptied 2^39 times to need more.
const GENERATION_BITS: u32 = 40;
/// Bits of a point of time.
const TIME_BITS: u32 = 44;
/// Bits of the time of making that lie beside the end; the others lie beside the generation.
const MADE_LOW_BITS: u32 = 64 - TIME_BITS;
/// No point of time.
const NO_TIME: u64 = (1 << TIME_BITS) - 1;

/// The header of a record, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct RecordHeader {
    pub(in crate::store) kind: Kind,
    pub(in crate::store) format: u8,
    pub(in crate::store) key_bytes: u32,
    pub(in crate::store) head_words: u8,
    pub(in crate::store) value_bytes: u32,
    /// How long before its end the record is stale.
    pub(in crate::store) stale_millis: u32,
    pub(in crate::store) hash: u64,
    pub(in crate::store) generation: u64,
    pub(in crate::store) version: u32,
    pub(in crate::store) group_word: u32,
    /// `u64::MAX` for never.
    pub(in crate::store) expires_at: u64,
    /// `u64::MAX` where it is not known.
    pub(in crate::store) made_at: u64,
    pub(in crate::store) shard_epoch: u32,
    pub(in crate::store) clear_epoch: u32,
}

impl RecordHeader {
    /// Words 0 to 6, and as word 7 the checksum of them and of a body with this sum.
    pub(in crate::store) fn to_words(self, body_sum: u64) -> [u64; 8] {
        let made_at = if self.made_at < NO_TIME { self.made_at } else { NO_TIME };
        // What ends later than a word can say ends then.
        let expires_at = match self.expires_at {
            u64::MAX => NO_TIME,
            point => point.min(NO_TIME - 1),
        };
        let generation = self.generation & ((1 << GENERATION_BITS) - 1);
        let pair = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let mut words = [
            u64::from(RECORD_MAGIC)
                | (self.kind as u64) << 16
                | u64::from(self.format) << 24
                | u64::from(self.key_bytes) << 32
                | u64::from(self.head_words) << (32 + KEY_BITS),
            pair(self.value_bytes, self.stale_millis),
            self.hash,
            generation | made_at >> MADE_LOW_BITS << GENERATION_BITS,
            pair(self.version, self.group_word),
            expires_at | made_at << TIME_BITS,
            pair(self.shard_epoch, self.clear_epoch),
            0,
        ];
        words[7] = checksum(&words, body_sum);
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
        if words[0] as u16 != RECORD_MAGIC {
            return None;
        }
        let time = |point: u64| if point == NO_TIME { u64::MAX } else { point };
        Some(Self {
            kind,
            format: (words[0] >> 24) as u8,
            key_bytes: (words[0] >> 32) as u32 & ((1 << KEY_BITS) - 1),
            head_words: (words[0] >> (32 + KEY_BITS)) as u8,
            value_bytes: words[1] as u32,
            stale_millis: (words[1] >> 32) as u32,
            hash: words[2],
            generation: Self::generation_of(words),
            version: words[4] as u32,
            group_word: (words[4] >> 32) as u32,
            expires_at: time(words[5] & NO_TIME),
            made_at: time(words[3] >> GENERATION_BITS << MADE_LOW_BITS | words[5] >> TIME_BITS),
            shard_epoch: words[6] as u32,
            clear_epoch: (words[6] >> 32) as u32,
        })
    }

    /// True where it is stale or over at this point of the boot-time line.
    pub(in crate::store) fn is_stale(&self, now: Millis) -> bool {
        let left = Millis(self.expires_at).remaining(now);
        left.is_some_and(|left| left <= Duration::from_millis(self.stale_millis.into()))
    }

    /// The generation in the words of a header.
    #[inline]
    pub(in crate::store) fn generation_of(words: &[u64; 8]) -> u64 {
        words[3] & ((1 << GENERATION_BITS) - 1)
    }

    /// Bytes of the whole record, padding included.
    #[inline]
    pub(in crate::store) fn record_bytes(&self) -> u64 {
        record_bytes(self.key_bytes as usize, self.head_bytes(), u64::from(self.value_bytes))
    }

    /// Bytes of the head.
    #[inline]
    pub(in crate::store) fn head_bytes(&self) -> usize {
        usize::from(self.head_words) * 8
    }

    /// Bytes of head and value.
    #[inline]
    pub(in crate::store) fn body_bytes(&self) -> usize {
        self.head_bytes() + self.value_bytes as usize
    }

    /// Bytes from the start of the record to its head, with which the body begins.
    #[inline]
    pub(in crate::store) fn head_offset(&self) -> u64 {
        RECORD_HEADER_BYTES + u64::from(self.key_bytes).next_multiple_of(8)
    }

    /// Bytes from the start of the record to its value.
    #[inline]
    pub(in crate::store) fn value_offset(&self) -> u64 {
        self.head_offset() + self.head_bytes() as u64
    }
}

/// Bytes that a record takes; those of its head are a multiple of 8.
#[inline]
pub(in crate::store) fn record_bytes(key_bytes: usize, head_bytes: usize, value_bytes: u64) -> u64 {
    let before = RECORD_HEADER_BYTES + (key_bytes as u64).next_multiple_of(8) + head_bytes as u64;
    (before + value_bytes).next_multiple_of(RECORD_ALIGN)
}

/// The sum of a head and a value that lie together in memory, as in a record.
#[inline]
pub(in crate::store) fn body_sum(body: &[u8]) -> u64 {
    sum::xxh3(body)
}

/// The same of a head and a value that do not.
#[inline]
pub(in crate::store) fn body_sum_of(head: &[u8], value: &[u8]) -> u64 {
    if head.is_empty() { body_sum(value) } else { body_sum_of_two(head, value) }
}

#[cold]
fn body_sum_of_two(head: &[u8], value: &[u8]) -> u64 {
    let mut sum = Xxh3Default::new();
    sum.update(head);
    sum.update(value);
    sum.digest()
}

/// The checksum of a record with these words 0 to 6.
#[inline]
pub(in crate::store) fn checksum(words: &[u64; 8], body_sum: u64) -> u64 {
    let mut words = *words;
    words[7] = body_sum;
    sum::xxh3_of_words(&words)
}

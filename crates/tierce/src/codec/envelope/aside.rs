//! What a record says beside its value: how long it is stale, how long it was to live, its tags and
//! its validator.
//!
//! ```text
//!   0  milliseconds u64 of its time that are stale, the last ones
//!   8  milliseconds u64 that it was to live, from when it was made; 0 where it has no end
//!  --------------------------------------------------------------------------------------
//!  16  number of tags u8                               only of a record with tags or validator
//!  17  numbering u64, number u64, hashes u32 each      only of one with tags
//!      validator                                       the rest
//! ```
//! Numbers are little endian. A record that would say nothing here has none of it.

use bytes::Bytes;

/// The most tags of an entry.
pub(crate) const MAX_TAGS: usize = crate::tag_cells::MOST_TAGS;

/// The longest validator.
pub(crate) const MAX_VALIDATOR_BYTES: usize = 1024;

const SPANS_BYTES: usize = 16;
const NUMBERS_BYTES: usize = 16;
const TAG_BYTES: usize = 4;

/// The longest form.
pub(super) const MOST_BYTES: usize =
    SPANS_BYTES + 1 + NUMBERS_BYTES + MAX_TAGS * TAG_BYTES + MAX_VALIDATOR_BYTES;

/// What a record says beside its value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Aside {
    /// The last part of its time, in which it is stale.
    pub(crate) stale_millis: u64,
    /// How long it was to live, from when it was made; 0 where it has no end.
    pub(crate) life_millis: u64,
    /// Which numbering of changes of tags, and the number up to which it knows them. Nothing where
    /// there are no tags.
    pub(crate) known: [u64; 2],
    /// Hashes of its tags, at most [`MAX_TAGS`].
    pub(crate) tags: Vec<u32>,
    /// At most [`MAX_VALIDATOR_BYTES`].
    pub(crate) validator: Bytes,
}

impl Aside {
    /// Nothing where there is nothing to say. What is above a bound is cut off: nobody is to
    /// make it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if *self == Self::default() {
            return Vec::new();
        }
        let mut bytes = Vec::with_capacity(MOST_BYTES.min(64 + self.validator.len()));
        bytes.extend_from_slice(&self.stale_millis.to_le_bytes());
        bytes.extend_from_slice(&self.life_millis.to_le_bytes());
        if self.tags.is_empty() && self.validator.is_empty() {
            return bytes;
        }
        let tags = &self.tags[..self.tags.len().min(MAX_TAGS)];
        bytes.push(tags.len() as u8);
        if !tags.is_empty() {
            for number in self.known {
                bytes.extend_from_slice(&number.to_le_bytes());
            }
            for tag in tags {
                bytes.extend_from_slice(&tag.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&self.validator[..self.validator.len().min(MAX_VALIDATOR_BYTES)]);
        bytes
    }

    /// `None` where the bytes are of no such form.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let (spans, rest) = bytes.split_first_chunk::<SPANS_BYTES>()?;
        let [stale_millis, life_millis] = two(spans);
        let spans = Self { stale_millis, life_millis, ..Self::default() };
        let Some((count, mut rest)) = rest.split_first() else { return Some(spans) };
        let count = usize::from(*count);
        if count > MAX_TAGS {
            return None;
        }
        let (mut known, mut tags) = ([0; 2], Vec::new());
        if count > 0 {
            let (numbers, after) = rest.split_first_chunk::<NUMBERS_BYTES>()?;
            let (hashes, after) = after.split_at_checked(count * TAG_BYTES)?;
            known = two(numbers);
            tags = hashes.as_chunks().0.iter().map(|tag| u32::from_le_bytes(*tag)).collect();
            rest = after;
        }
        if rest.len() > MAX_VALIDATOR_BYTES {
            return None;
        }
        Some(Self { known, tags, validator: Bytes::copy_from_slice(rest), ..spans })
    }
}

fn two(bytes: &[u8; 16]) -> [u64; 2] {
    let number = u128::from_le_bytes(*bytes);
    [number as u64, (number >> 64) as u64]
}

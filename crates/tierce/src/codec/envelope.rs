//! The form of a value in L3: who it belongs to, how to read it, and proof that it is whole.
//!
//! A stored value is a head that the server wrote and a body that the client wrote:
//!
//! ```text
//!   0   epoch: 16 decimal digits, padded with zeros    the head, written by the script that
//!  16   SHA-1 of these, first 16 hex digits            stores the record (tier/redis/scripts.rs)
//!  ---------------------------------------------------------------------------------------------
//!  32   magic 89 74 4c 33 ("\x89tL3")                  the body
//!  36   version u8 = 1
//!  37   format u8                                      see `Format`
//!  38   flags u16 = 0                                  a reader refuses flags it does not know
//!  40   key length u32
//!  44   value length u32
//!  48   change u64                                     drawn at random by who wrote the record
//!  56   key, value
//!  end-8  XXH3-64 u64 of the body before it            seed `CHECKSUM_SEED`
//! ```
//!
//! Numbers are little endian. The epoch stands outside the checksum because only the server knows
//! it at the moment of the write. It has a check of its own, by the one hash that the server's
//! scripts can compute, because a flipped bit can make an old epoch the current one.
//!
//! [`open`] reads any bytes: it never panics, allocates nothing, compares every length with what
//! is there before using it, and names the first reason for doubt. The whole key is compared, so
//! that another key's value never passes.

use std::{fmt, ops::Range};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    codec::Format,
    error::{Error, ErrorKind, Result},
};

/// Begins every body. The first byte is not ASCII, so that text is never taken for a record.
const MAGIC: [u8; 4] = [0x89, b't', b'L', b'3'];

/// The layout above. A reader takes any other for a miss.
const VERSION: u8 = 1;

/// Decimal digits of an epoch. Sixteen hold every integer that a double of the server's scripts
/// holds exactly.
const EPOCH_DIGITS: usize = 16;

/// Hex digits of the check of the epoch: 64 bits, as the checksum has.
const CHECK_DIGITS: usize = 16;

/// Bytes before the body.
pub(crate) const HEAD_BYTES: usize = EPOCH_DIGITS + CHECK_DIGITS;

/// Bytes of the body before the key.
const FIXED_BYTES: usize = 24;

/// How many bytes from the start of a stored value tell which change made it ([`change_of`]).
pub(crate) const START_BYTES: usize = HEAD_BYTES + FIXED_BYTES;

/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 8;

/// Separates our checksums from plain XXH3 of the same bytes made by somebody else.
const CHECKSUM_SEED: u64 = 0x7469_6572_6365_4c33;

/// Why bytes found in L3 are not a record of the key that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Doubt {
    /// Fewer bytes than the smallest record has.
    Short,
    /// The epoch is no number or its check differs.
    Head,
    /// Not written by tierce.
    Magic,
    /// Written by another version.
    Version,
    /// Has flags that this version does not know.
    Flags,
    /// Has a format that this version does not know.
    Format,
    /// The lengths do not add up to the bytes that are there.
    Length,
    /// The checksum differs.
    Checksum,
    /// Belongs to another key.
    Key,
}

impl Doubt {
    /// The reason in lower case, for messages and metrics labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Head => "head",
            Self::Magic => "magic",
            Self::Version => "version",
            Self::Flags => "flags",
            Self::Format => "format",
            Self::Length => "length",
            Self::Checksum => "checksum",
            Self::Key => "key",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// What a whole record says. The value is a range, so that it can be cut out without a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opened {
    /// The epoch under which the server took the record.
    pub(crate) epoch: u64,
    /// How to read the value.
    pub(crate) format: Format,
    /// Which change made the record.
    pub(crate) change: u64,
    /// Where the value lies in the bytes that were opened.
    pub(crate) value: Range<usize>,
}

/// Makes the body of a record; the server puts the head before it. `change` tells it from every
/// other record of the key.
///
/// # Errors
/// [`ErrorKind::TooLarge`] where the key or the value has 2^32 bytes or more.
pub(crate) fn seal(key: &[u8], value: &[u8], format: Format, change: u64) -> Result<Vec<u8>> {
    let length = |what, bytes: &[u8]| {
        u32::try_from(bytes.len()).map_err(|_| {
            Error::new(
                ErrorKind::TooLarge,
                format!("{what} of {} bytes: must be below 4 GiB", bytes.len()),
            )
        })
    };
    let (key_bytes, value_bytes) = (length("key", key)?, length("value", value)?);
    let mut body = Vec::with_capacity(FIXED_BYTES + key.len() + value.len() + CHECKSUM_BYTES);
    body.extend_from_slice(&MAGIC);
    body.extend_from_slice(&[VERSION, format as u8, 0, 0]);
    body.extend_from_slice(&key_bytes.to_le_bytes());
    body.extend_from_slice(&value_bytes.to_le_bytes());
    body.extend_from_slice(&change.to_le_bytes());
    body.extend_from_slice(key);
    body.extend_from_slice(value);
    let checksum = xxh3_64_with_seed(&body, CHECKSUM_SEED);
    body.extend_from_slice(&checksum.to_le_bytes());
    Ok(body)
}

/// The bytes that a record takes in the server, head included, its name not.
pub(crate) const fn stored_bytes(key_bytes: usize, value_bytes: usize) -> usize {
    HEAD_BYTES + FIXED_BYTES + key_bytes + value_bytes + CHECKSUM_BYTES
}

/// Reads a stored value, head included, that was found under `key`.
///
/// # Errors
/// The first [`Doubt`]; then the bytes are no value of this key.
pub(crate) fn open(stored: &[u8], key: &[u8]) -> Result<Opened, Doubt> {
    if stored.len() < HEAD_BYTES + FIXED_BYTES + CHECKSUM_BYTES {
        return Err(Doubt::Short);
    }
    let (head, body) = stored.split_at(HEAD_BYTES);
    let epoch = read_head(head).ok_or(Doubt::Head)?;
    if body[..4] != MAGIC {
        return Err(Doubt::Magic);
    }
    if body[4] != VERSION {
        return Err(Doubt::Version);
    }
    let format = Format::from_u8(body[5]).ok_or(Doubt::Format)?;
    if body[6..8] != [0, 0] {
        return Err(Doubt::Flags);
    }
    let length = |at: usize| {
        u64::from(u32::from_le_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]))
    };
    let (key_bytes, value_bytes) = (length(8), length(12));
    // In u64 the sum of two u32 and small constants cannot wrap.
    if (FIXED_BYTES + CHECKSUM_BYTES) as u64 + key_bytes + value_bytes != body.len() as u64 {
        return Err(Doubt::Length);
    }
    let (covered, checksum) = body.split_at(body.len() - CHECKSUM_BYTES);
    if xxh3_64_with_seed(covered, CHECKSUM_SEED).to_le_bytes() != checksum {
        return Err(Doubt::Checksum);
    }
    let value_at = FIXED_BYTES + key_bytes as usize;
    if &covered[FIXED_BYTES..value_at] != key {
        return Err(Doubt::Key);
    }
    let change = length(16) | length(20) << 32;
    Ok(Opened {
        epoch,
        format,
        change,
        value: HEAD_BYTES + value_at..stored.len() - CHECKSUM_BYTES,
    })
}

/// Which change made the stored value that begins with these bytes; `None` where they are too few
/// or not the start of a record of this version. Nothing else of it is checked.
pub(crate) fn change_of(start: &[u8]) -> Option<u64> {
    let body = start.get(HEAD_BYTES..START_BYTES)?;
    let change = body[FIXED_BYTES - 8..].try_into().ok()?;
    (body[..4] == MAGIC && body[4] == VERSION).then_some(u64::from_le_bytes(change))
}

/// The epoch of a head, or `None` unless its check is right.
fn read_head(head: &[u8]) -> Option<u64> {
    let (digits, check) = head.split_at(EPOCH_DIGITS);
    let hash = sha1_smol::Sha1::from(digits).digest().bytes();
    let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    let expected = hash.iter().flat_map(|byte| [hex(byte >> 4), hex(byte & 15)]);
    if !expected.take(CHECK_DIGITS).eq(check.iter().copied()) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
mod tests;

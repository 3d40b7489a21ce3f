//! The values of the demo: each says whose it is and in which version, and proves it.
//!
//! ```text
//!   key u64 | version u32 | length u32 | filler, from key and version | xxh3 of all before u64
//! ```
//! Numbers are little endian. A value that was torn, mixed up or made up fails [`check`].

use std::fmt;

use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the filler.
const HEAD_BYTES: usize = 16;
/// Bytes after the filler.
const TAIL_BYTES: usize = 8;
/// The smallest filler; with the spread below, values are from 256 to 2304 bytes: the size of a
/// rendered fragment or a row in JSON.
const MIN_FILLER_BYTES: u64 = 256;
/// Sizes are spread over this many bytes, by key.
const FILLER_SPREAD_BYTES: u64 = 2048;
/// An odd multiplier with well mixed bits (that of SplitMix64).
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Why a value is not what was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrong {
    /// Too short, or of another length than it says.
    Length(usize),
    /// The checksum does not fit.
    Checksum,
    /// Another key's value.
    Key(u64),
    /// Older than a change that had returned before the read began.
    Old {
        /// The version that was read.
        version: u8,
        /// The oldest that may be read.
        floor: u8,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => write!(out, "{bytes} bytes, which is not its length"),
            Self::Checksum => out.write_str("the checksum does not fit"),
            Self::Key(key) => write!(out, "it belongs to item {key}"),
            Self::Old { version, floor } => {
                write!(out, "version {version}, but {floor} was in force before the read began")
            }
        }
    }
}

/// The value of an item in one version.
pub(super) fn make(key: u64, version: u8) -> Vec<u8> {
    let mut state = (key ^ MIX).wrapping_mul(MIX).rotate_left(29);
    let filler_bytes = (MIN_FILLER_BYTES + state % FILLER_SPREAD_BYTES) as usize;
    let bytes = HEAD_BYTES + filler_bytes + TAIL_BYTES;
    let mut value = Vec::with_capacity(bytes);
    value.extend_from_slice(&key.to_le_bytes());
    value.extend_from_slice(&u32::from(version).to_le_bytes());
    value.extend_from_slice(&(bytes as u32).to_le_bytes());
    state ^= u64::from(version).wrapping_mul(MIX);
    while value.len() < HEAD_BYTES + filler_bytes {
        state = state.wrapping_add(MIX);
        let word = (state ^ (state >> 30)).wrapping_mul(MIX).to_le_bytes();
        let room = (HEAD_BYTES + filler_bytes - value.len()).min(word.len());
        value.extend_from_slice(&word[..room]);
    }
    value.extend_from_slice(&xxh3_64(&value).to_le_bytes());
    value
}

/// The version of a value that is sound and belongs to `key`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check(key: u64, value: &[u8]) -> Result<u8, Wrong> {
    let Some((body, tail)) = value.split_last_chunk::<TAIL_BYTES>() else {
        return Err(Wrong::Length(value.len()));
    };
    let Some((head, _)) = body.split_first_chunk::<HEAD_BYTES>() else {
        return Err(Wrong::Length(value.len()));
    };
    let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if word(12) as usize != value.len() {
        return Err(Wrong::Length(value.len()));
    }
    if xxh3_64(body) != u64::from_le_bytes(*tail) {
        return Err(Wrong::Checksum);
    }
    let found = u64::from(word(0)) | u64::from(word(4)) << 32;
    if found != key {
        return Err(Wrong::Key(found));
    }
    u8::try_from(word(8)).map_err(|_| Wrong::Checksum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_proves_its_key_and_version() {
        for key in [0, 7, u64::MAX] {
            for version in [1, 255] {
                assert_eq!(check(key, &make(key, version)), Ok(version));
            }
        }
    }

    #[test]
    fn every_single_changed_byte_is_found() {
        let value = make(42, 3);
        for at in 0..value.len() {
            let mut torn = value.clone();
            torn[at] ^= 0x10;
            assert!(check(42, &torn).is_err(), "byte {at}");
        }
        assert_eq!(check(41, &value), Err(Wrong::Key(42)));
        assert_eq!(check(42, &value[..value.len() - 1]), Err(Wrong::Length(value.len() - 1)));
        assert_eq!(check(42, &[]), Err(Wrong::Length(0)));
    }

    #[test]
    fn a_value_mixed_of_two_versions_is_found() {
        let (old, new) = (make(42, 3), make(42, 4));
        let mixed = [&old[..100], &new[100..]].concat();
        assert_eq!(check(42, &mixed), Err(Wrong::Checksum));
    }
}

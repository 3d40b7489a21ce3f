//! Values that tell by themselves whether they are the right ones.
//!
//! ```text
//!   0        8         12       16
//!   | key    | version | length | pattern: a byte stream seeded by the three |
//! ```
//!
//! A value of another key, of another version of this layout, cut short, or with any byte
//! changed does not verify.

use bytes::Bytes;

/// Key, version and length.
pub(crate) const LEAST_BYTES: usize = 16;
/// The version of this layout, so that an older program's values in a shared tier stand out.
const VERSION: u32 = 1;

/// Makes the value of `key` with `length` bytes, but at least [`LEAST_BYTES`].
pub(crate) fn make(key: u64, length: usize) -> Bytes {
    let length = length.max(LEAST_BYTES);
    let mut value = Vec::with_capacity(length.next_multiple_of(8));
    value.extend_from_slice(&key.to_le_bytes());
    value.extend_from_slice(&VERSION.to_le_bytes());
    value.extend_from_slice(&(length as u32).to_le_bytes());
    let mut state = seed(key, length);
    while value.len() < length {
        value.extend_from_slice(&next(&mut state).to_le_bytes());
    }
    value.truncate(length);
    Bytes::from(value)
}

/// True if `value` is what [`make`] makes for `key`, with its own length.
pub(crate) fn verify(key: u64, value: &[u8]) -> bool {
    let Some((head, pattern)) = value.split_at_checked(LEAST_BYTES) else { return false };
    let wanted = [
        &key.to_le_bytes()[..],
        &VERSION.to_le_bytes()[..],
        &(value.len() as u32).to_le_bytes()[..],
    ]
    .concat();
    let mut state = seed(key, value.len());
    head == wanted
        && pattern.chunks(8).all(|chunk| next(&mut state).to_le_bytes()[..chunk.len()] == *chunk)
}

fn seed(key: u64, length: usize) -> u64 {
    key ^ (u64::from(VERSION) << 32 | length as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): eight bytes a step, no bad seeds.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_verifies_for_its_key_alone() {
        for length in [16, 17, 24, 100, 4096] {
            let value = make(7, length);
            assert_eq!(value.len(), length);
            assert!(verify(7, &value) && !verify(8, &value));
        }
        assert_eq!(make(7, 3).len(), LEAST_BYTES);
    }

    #[test]
    fn any_changed_missing_or_added_byte_is_found() {
        let value = make(7, 45).to_vec();
        for at in 0..value.len() {
            let mut changed = value.clone();
            changed[at] ^= 1;
            assert!(!verify(7, &changed), "byte {at}");
            assert!(!verify(7, &value[..at]), "cut at {at}");
        }
        assert!(!verify(7, &[value.as_slice(), b"x"].concat()));
    }
}

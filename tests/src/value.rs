//! Values that say whose and which they are, so that any reader can tell a wrong one.
//!
//! ```text
//!   key u64 | version u64 | length u32 | pattern of key and version ... | XXH3-64 of all before
//! ```

use tierce::Bytes;
use xxhash_rust::xxh3::xxh3_64;

/// Key, version, length and checksum.
const FRAME: usize = 8 + 8 + 4 + 8;

/// The value of `version` of `key`, with `payload` bytes of pattern.
pub fn make(key: u64, version: u64, payload: usize) -> Bytes {
    let mut bytes = Vec::with_capacity(FRAME + payload);
    bytes.extend_from_slice(&key.to_le_bytes());
    bytes.extend_from_slice(&version.to_le_bytes());
    bytes.extend_from_slice(&(payload as u32).to_le_bytes());
    let mut pattern = fastrand::Rng::with_seed(key ^ version.rotate_left(32));
    bytes.extend(std::iter::repeat_with(|| pattern.u8(..)).take(payload));
    bytes.extend_from_slice(&xxh3_64(&bytes).to_le_bytes());
    bytes.into()
}

/// The version of a value of `key`, or what is wrong with it.
///
/// # Errors
/// A sentence: too short, another key's, or torn.
pub fn check(key: u64, bytes: &[u8]) -> Result<u64, String> {
    let (body, sum) = bytes
        .split_last_chunk::<8>()
        .filter(|(body, _)| body.len() >= FRAME - 8)
        .ok_or_else(|| format!("key {key}: value of {} bytes is too short", bytes.len()))?;
    let word = |at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&body[at..at + 8]);
        u64::from_le_bytes(word)
    };
    if word(0) != key {
        return Err(format!("key {key}: the value of key {}", word(0)));
    }
    if xxh3_64(body) != u64::from_le_bytes(*sum) {
        return Err(format!("key {key}: torn value of version {}", word(8)));
    }
    Ok(word(8))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_tells_its_version_and_a_wrong_one_is_told() {
        let value = make(7, 3, 100);
        assert_eq!(check(7, &value), Ok(3));
        assert!(check(8, &value).is_err() && check(7, &value[1..]).is_err());
        assert!(check(7, &[]).is_err());
        for at in 0..value.len() {
            let mut torn = value.to_vec();
            torn[at] ^= 1;
            assert!(check(7, &torn).is_err(), "byte {at}");
        }
    }
}

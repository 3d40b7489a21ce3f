//! Which keys and values.

/// Keys that are asked for in turn; all are there.
pub(super) const KEYS: usize = 1_000;

pub(super) const VALUE_BYTES: usize = 1_024;

/// The key of a number.
pub(super) fn key(number: usize) -> String {
    format!("user:{number:08}:profile")
}

/// Bytes that no compression shortens (xorshift, seeded).
pub(super) fn value() -> Vec<u8> {
    let mut state = 7_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..VALUE_BYTES).map(|_| next()).collect()
}

//! Which keys and values.

/// Keys that are asked for in turn; all are there.
pub(super) const KEYS: usize = 1_000;

/// Keys of one question for many.
pub(super) const MANY: usize = 100;

pub(super) const VALUE_BYTES: usize = 1_024;

/// The key of a number.
pub(super) fn key(number: usize) -> String {
    format!("user:{number:08}:profile")
}

/// The keys of a question for many that begins with this number.
pub(super) fn many_keys(number: usize) -> Vec<String> {
    (0..MANY).map(|step| key((number + step) % KEYS)).collect()
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

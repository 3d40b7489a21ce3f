//! The names of our keys in the server, and the stripes that group them.
//!
//! Keys fall into [`STRIPES`] stripes. A stripe has a stamp, raised by every change of one of its
//! keys, and an epoch, raised by `clear`; both are plain decimal numbers:
//!
//! ```text
//!   PREFIX:{HH}:k:KEY   a record        HH: the stripe, two hex digits. Braces make it the hash
//!   PREFIX:{HH}:s       its stamp           tag, so that the three lie in one slot of a cluster
//!   PREFIX:{HH}:e       its epoch       KEY: the bytes of the key as they are
//! ```
//!
//! No name under one prefix equals a name under another: a prefix has no brace, so the first
//! brace of a name ends it.

use crate::key;

/// Two changes in one stripe can only cost a miss, `clear` costs one command for each stripe.
pub(super) const STRIPES: usize = key::GROUPS;

/// Longest number that is a counter: below 2^53, so that the server's scripts compute exactly.
const COUNTER_DIGITS: usize = 15;

/// The three names that an operation on one key needs.
pub(super) struct Names {
    pub(super) data: Vec<u8>,
    pub(super) stamp: Vec<u8>,
    pub(super) epoch: Vec<u8>,
}

impl Names {
    pub(super) fn of(prefix: &str, key: &[u8]) -> Self {
        let stripe = key::group(key);
        let mut data = format!("{prefix}:{{{stripe:02x}}}:k:").into_bytes();
        data.extend_from_slice(key);
        Self { data, stamp: counter(prefix, stripe, 's'), epoch: counter(prefix, stripe, 'e') }
    }
}

/// The name of the epoch of a stripe.
pub(super) fn epoch(prefix: &str, stripe: usize) -> Vec<u8> {
    counter(prefix, stripe, 'e')
}

fn counter(prefix: &str, stripe: usize, letter: char) -> Vec<u8> {
    format!("{prefix}:{{{stripe:02x}}}:{letter}").into_bytes()
}

/// The number of a stamp or an epoch, or `None` where the bytes are no counter of ours; the
/// scripts draw the line at the same place (`counter` in scripts.rs).
pub(super) fn parse_counter(bytes: &[u8]) -> Option<u64> {
    if bytes.is_empty() || bytes.len() > COUNTER_DIGITS || bytes[0] == b'0' {
        return None;
    }
    bytes.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_fixed_for_all_hosts_and_versions() {
        let names = Names::of("tierce", b"user:7");
        assert_eq!(names.data, b"tierce:{b4}:k:user:7");
        assert_eq!(names.stamp, b"tierce:{b4}:s");
        assert_eq!(names.epoch, b"tierce:{b4}:e");
        assert_eq!(Names::of("a", b"\0\xff}").data[7..], *b"k:\0\xff}");
    }

    #[test]
    fn counters_are_plain_numbers_of_at_most_fifteen_digits() {
        assert_eq!(parse_counter(b"1"), Some(1));
        assert_eq!(parse_counter(b"999999999999999"), Some(999_999_999_999_999));
        for wrong in [&b""[..], b"0", b"01", b"-1", b"+1", b"1 ", b"1000000000000000", b"1e3"] {
            assert_eq!(parse_counter(wrong), None, "{wrong:?}");
        }
    }
}

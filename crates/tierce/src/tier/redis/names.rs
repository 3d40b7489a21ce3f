//! The names of our keys in the server, and the stripes that group them.
//!
//! Keys fall into [`STRIPES`] stripes. A stripe has a stamp, raised by every change of one of its
//! keys, and an epoch, raised by `clear`; both are plain decimal numbers. Its notice is touched by
//! `clear` alone: an epoch that the server lost begins anew at the next read, and that is no news.
//!
//! ```text
//!   PREFIX:k:{HH}:KEY   a record        HH: the stripe, two hex digits. Braces make it the hash
//!   PREFIX:s:{HH}       its stamp           tag, so that the five lie in one slot of a cluster
//!   PREFIX:e:{HH}       its epoch       KEY: the bytes of the key as they are
//!   PREFIX:n:{HH}       its notice
//!   PREFIX:r:{HH}       its reign, where masters may change (`reign.rs`)
//!   PREFIX:v:{00}       the edition of all epochs, where one server has them all (`epochs.rs`)
//!   PREFIX:t:{00}       changes of tags, of all stripes (`tags.rs`)
//!   PREFIX:l:{HH}:KEY   who loads the key, for as long as somebody does
//!   PREFIX:o:{01}       a rollout of all hosts, with `:log` and `:lead` (`rollout.rs`)
//! ```
//!
//! The channels of pub/sub (`news.rs`) have the names of the stamps, and of the changes of tags.
//!
//! What hosts tell each other by their changes begins with `PREFIX:k:{`, `PREFIX:n:{` or `PREFIX:t:{`,
//! and nothing else does. No name under one prefix equals a name under another: a prefix has no brace,
//! so the first brace of a name ends it and one letter.

use crate::key;

/// Two changes in one stripe can only cost a miss, `clear` costs one command for each stripe.
pub(super) const STRIPES: usize = key::GROUPS;

/// Bytes of a name behind the prefix: `:k:{HH}`.
const END_BYTES: usize = 7;

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
        Self {
            data: data(prefix, stripe, key),
            stamp: stamp(prefix, stripe),
            epoch: epoch(prefix, stripe),
        }
    }
}

/// The names that a clear of a stripe needs: epoch, notice, stamp.
pub(super) fn of_clear(prefix: &str, stripe: usize) -> [Vec<u8>; 3] {
    [epoch(prefix, stripe), name(prefix, b'n', stripe), stamp(prefix, stripe)]
}

/// The name of the record of a key of this stripe.
pub(super) fn data(prefix: &str, stripe: usize, key: &[u8]) -> Vec<u8> {
    let mut data = name_with_room(prefix, b'k', stripe, 1 + key.len());
    data.push(b':');
    data.extend_from_slice(key);
    data
}

/// The name of the lease of a key of this stripe.
pub(super) fn lease(prefix: &str, stripe: usize, key: &[u8]) -> Vec<u8> {
    let mut lease = name_with_room(prefix, b'l', stripe, 1 + key.len());
    lease.push(b':');
    lease.extend_from_slice(key);
    lease
}

/// The name of the epoch of a stripe.
pub(super) fn epoch(prefix: &str, stripe: usize) -> Vec<u8> {
    name(prefix, b'e', stripe)
}

/// The name of the stamp of a stripe.
pub(super) fn stamp(prefix: &str, stripe: usize) -> Vec<u8> {
    name(prefix, b's', stripe)
}

/// The name of the reign of a stripe.
pub(super) fn reign(prefix: &str, stripe: usize) -> Vec<u8> {
    name(prefix, b'r', stripe)
}

/// The name of the hash of changes of tags.
pub(super) fn tags(prefix: &str) -> Vec<u8> {
    name(prefix, b't', super::tags::STRIPE)
}

/// The name of the edition of the epochs.
pub(super) fn edition(prefix: &str) -> Vec<u8> {
    name(prefix, b'v', super::epochs::STRIPE)
}

/// How long a name is without the key of a record.
pub(super) fn length(prefix: &str) -> usize {
    prefix.len() + END_BYTES
}

/// Appends a name; `letter` says which.
pub(super) fn push(bytes: &mut Vec<u8>, prefix: &str, letter: u8, stripe: usize) {
    let digit = |number: usize| b"0123456789abcdef"[number & 15];
    let end: [u8; END_BYTES] = [b':', letter, b':', b'{', digit(stripe >> 4), digit(stripe), b'}'];
    bytes.extend_from_slice(prefix.as_bytes());
    bytes.extend_from_slice(&end);
}

/// The names of a rollout of all hosts, in a stripe: state, log, who leads.
#[cfg_attr(not(feature = "config"), allow(dead_code))]
pub(super) fn rollout(prefix: &str, stripe: usize) -> [Vec<u8>; 3] {
    let state = name(prefix, b'o', stripe);
    let [log, lead] = [&b":log"[..], b":lead"].map(|part| [&state[..], part].concat());
    [state, log, lead]
}

/// The names that the begin of a reign of a stripe needs: reign, stamp, epoch, notice.
pub(super) fn of_reign(prefix: &str, stripe: usize) -> [Vec<u8>; 4] {
    let [epoch, notice, stamp] = of_clear(prefix, stripe);
    [reign(prefix, stripe), stamp, epoch, notice]
}

fn name(prefix: &str, letter: u8, stripe: usize) -> Vec<u8> {
    name_with_room(prefix, letter, stripe, 0)
}

/// A name to which so many bytes will be added.
fn name_with_room(prefix: &str, letter: u8, stripe: usize, room: usize) -> Vec<u8> {
    let mut name = Vec::with_capacity(length(prefix) + room);
    push(&mut name, prefix, letter, stripe);
    name
}

/// What the names of records, of notices and of the hash of tags begin with.
pub(super) fn told(prefix: &str) -> [Vec<u8>; 3] {
    ['k', 'n', 't'].map(|letter| format!("{prefix}:{letter}:{{").into_bytes())
}

/// The channels on which the changes of these stripes are published.
pub(super) fn channels(prefix: &str, stripes: &[usize]) -> Vec<Vec<u8>> {
    let tags = stripes.contains(&super::tags::STRIPE).then(|| tags(prefix));
    stripes.iter().map(|stripe| stamp(prefix, *stripe)).chain(tags).collect()
}

/// What a name that begins as [`told`] says has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told<'a> {
    /// The record of this key.
    Key(&'a [u8]),
    /// All records of this stripe.
    Stripe(usize),
    /// Tags.
    Tags,
}

impl<'a> Told<'a> {
    /// On which channel it is published.
    pub(super) fn channel(self, prefix: &str) -> Vec<u8> {
        match self {
            Self::Key(key) => stamp(prefix, key::group(key)),
            Self::Stripe(stripe) => stamp(prefix, stripe),
            Self::Tags => tags(prefix),
        }
    }

    /// Reads a name, or `None` where it is none of ours.
    pub(super) fn of(prefix: &str, name: &'a [u8]) -> Option<Self> {
        let rest = name.strip_prefix(prefix.as_bytes())?;
        let (letter, rest) = rest.split_at_checked(4)?;
        let (stripe, rest) = rest.split_at_checked(3)?;
        let digits = std::str::from_utf8(stripe.strip_suffix(b"}")?).ok()?;
        let stripe = usize::from_str_radix(digits, 16).ok()?;
        match letter {
            b":n:{" if rest.is_empty() => Some(Self::Stripe(stripe)),
            b":t:{" if rest.is_empty() => Some(Self::Tags),
            b":k:{" => {
                let key = rest.strip_prefix(b":")?;
                (key::group(key) == stripe).then_some(Self::Key(key))
            }
            _ => None,
        }
    }
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
        assert_eq!(names.data, b"tierce:k:{b4}:user:7");
        assert_eq!(names.stamp, b"tierce:s:{b4}");
        assert_eq!(names.epoch, b"tierce:e:{b4}");
        assert_eq!(of_clear("tierce", 0xb4)[1], b"tierce:n:{b4}");
        assert_eq!(edition("tierce"), b"tierce:v:{00}");
        assert_eq!(lease("tierce", 0xb4, b"user:7"), b"tierce:l:{b4}:user:7");
        assert_eq!(Names::of("a", b"\0\xff}").data[9..], *b"\0\xff}");
        let rollout: [&[u8]; 3] = [b"t:o:{01}", b"t:o:{01}:log", b"t:o:{01}:lead"];
        assert_eq!(super::rollout("t", 1), rollout);
        assert!(told("t").iter().all(|start| !rollout[0].starts_with(start)));
    }

    #[test]
    fn a_name_tells_which_key_changed_and_foreign_names_nothing() {
        for key in [&b""[..], b"user:7", b":k:{00}:", b"\0\xff}{"] {
            let names = Names::of("a:k", key);
            assert_eq!(Told::of("a:k", &names.data), Some(Told::Key(key)));
            assert!(told("a:k").iter().any(|start| names.data.starts_with(start)));
            assert_eq!(Told::of("a", &names.data), None, "of another prefix");
            assert_eq!(Told::of("a:k", &names.stamp), None);
        }
        assert_eq!(Told::of("a", &of_clear("a", 255)[1]), Some(Told::Stripe(255)));
        assert_eq!(
            (Told::of("a", &tags("a")), &tags("a")[..]),
            (Some(Told::Tags), &b"a:t:{00}"[..])
        );
        for foreign in [&b""[..], b"a", b"a:k:{", b"a:k:{zz}:x", b"a:k:{00}", b"a:n:{00}x", b"b"] {
            assert_eq!(Told::of("a", foreign), None, "{}", foreign.escape_ascii());
        }
        // A record where no client of ours would have put it is nobody's.
        assert_eq!(Told::of("tierce", b"tierce:k:{b5}:user:7"), None);
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

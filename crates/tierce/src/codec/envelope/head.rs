//! What the server wrote before the body of a record: the epoch, and a check of it.
//!
//! The check is the only hash that the server's scripts have. It takes longer than all else in the
//! reading of a small record, and most records of a stripe have the same head. So heads that were
//! found right are kept, each by 64 bits of a quick hash, which is as much as the check has.

use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{CHECK_DIGITS, EPOCH_DIGITS, HEAD_BYTES};

/// What the check of the epoch covers more in a record that was touched, one that is stale before its
/// time, and one that is both.
const MARKS: [&str; 3] = ["touched", "expired", "touched expired"];

/// How many heads are kept: four for each stripe of keys, so that few stand in each other's way.
const KEPT: usize = 1024;

/// Separates the hashes of heads from those of bodies.
const SEED: u64 = 0x7469_6572_6365_6864;

/// Hashes of heads without a mark that were found right, each in the place that its low bits say;
/// 0 for none. Each says all by itself, so relaxed order suffices.
static RIGHT: [AtomicU64; KEPT] = [const { AtomicU64::new(0) }; KEPT];

/// What a head says.
pub(super) struct Head {
    pub(super) epoch: u64,
    pub(super) is_expired: bool,
    pub(super) is_touched: bool,
}

impl Head {
    /// What a head says; `None` unless its check is right.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
        let (digits, check) = head.split_at(EPOCH_DIGITS);
        let quick = xxh3_64_with_seed(head, SEED);
        let place = &RIGHT[quick as usize % KEPT];
        let mark = if quick != 0 && place.load(Ordering::Relaxed) == quick {
            ""
        } else {
            let mark = mark_of(digits, check)?;
            if mark.is_empty() {
                place.store(quick, Ordering::Relaxed);
            }
            mark
        };
        let epoch = digits.iter().try_fold(0_u64, |number, digit| {
            digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
        });
        let (is_expired, is_touched) = (mark.ends_with("expired"), mark.starts_with("touched"));
        epoch.map(|epoch| Self { epoch, is_expired, is_touched })
    }
}

/// The head of a record of this epoch, without a mark.
pub(crate) fn of(epoch: u64) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    let (digits, check) = head.split_at_mut(EPOCH_DIGITS);
    let mut left = epoch;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        left /= 10;
    }
    let hash = sha1_smol::Sha1::from(digits).digest().bytes();
    check.iter_mut().zip(hex_of(&hash)).for_each(|(place, digit)| *place = digit);
    head
}

fn hex_of(hash: &[u8]) -> impl Iterator<Item = u8> {
    let hex = |nibble: u8| b"0123456789abcdef"[usize::from(nibble)];
    hash.iter().flat_map(move |byte| [hex(byte >> 4), hex(byte & 15)])
}

/// The mark under which this is the check of these digits; `None` where it is none.
fn mark_of(digits: &[u8], check: &[u8]) -> Option<&'static str> {
    let hash = sha1_smol::Sha1::from(digits);
    let is_check = |hash: &sha1_smol::Sha1| {
        hex_of(&hash.digest().bytes()).take(CHECK_DIGITS).eq(check.iter().copied())
    };
    if is_check(&hash) {
        return Some("");
    }
    let is_marked = |mark: &&str| {
        let mut marked = hash.clone();
        marked.update(mark.as_bytes());
        is_check(&marked)
    };
    MARKS.into_iter().find(is_marked)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: &str, mark: &str) -> Vec<u8> {
        let digest = sha1_smol::Sha1::from(format!("{epoch}{mark}")).digest().to_string();
        format!("{epoch}{}", &digest[..CHECK_DIGITS]).into_bytes()
    }

    #[test]
    fn a_head_that_was_read_before_is_read_alike_and_no_other_is() {
        assert_eq!(of(71_234)[..], head("0000000000071234", ""));
        for mark in ["", "touched", "expired", "touched expired"] {
            let right = head("0000000000071234", mark);
            for _ in 0..2 {
                let read = Head::read(&right).unwrap();
                let is = (read.epoch, read.is_touched, read.is_expired);
                assert_eq!(is, (71_234, mark.contains("touched"), mark.contains("expired")));
                for bit in 0..8 * right.len() {
                    let mut wrong = right.clone();
                    wrong[bit / 8] ^= 1 << (bit % 8);
                    assert!(Head::read(&wrong).is_none(), "bit {bit}");
                }
            }
        }
    }
}

//! Who is on the new tiering, where some are and others are not.
//!
//! | by | the same answer for | use |
//! |---|---|---|
//! | key | a key, in every process and after every restart | tiers that processes share: a key has one home |
//! | instance | all that a process does | a deployment that is replaced process by process |
//! | request | nothing | where only the load matters |
//!
//! By key and by instance the split is **monotone**: everything has a place from 0 to 9,999, and is
//! on the new side while its place is below the share. Raising 10 % to 25 % keeps the first 10, and
//! going back sends away those that came last.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
};

/// Parts of which a share is counted: hundredths of a percent.
const WHOLE: u16 = 10_000;

/// A share of all, in hundredths of a percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Share(u16);

impl Share {
    /// Nobody.
    pub const NONE: Self = Self(0);
    /// Everybody.
    pub const ALL: Self = Self(WHOLE);

    /// A share from 0 to 1, to the nearest hundredth of a percent; `None` for other numbers.
    pub fn of(fraction: f64) -> Option<Self> {
        let parts = (fraction * f64::from(WHOLE)).round();
        (0.0..=f64::from(WHOLE)).contains(&parts).then_some(Self(parts as u16))
    }

    /// A share in hundredths of a percent; all, where there are more than that.
    pub(crate) const fn of_parts(parts: u16) -> Self {
        if parts > WHOLE { Self::ALL } else { Self(parts) }
    }

    /// In hundredths of a percent.
    pub(crate) const fn parts(self) -> u16 {
        self.0
    }

    /// 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / f64::from(WHOLE)
    }

    /// 0 to 100.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// True if a place from [`key_position`] is within the share.
    #[inline]
    pub const fn takes(self, position: u16) -> bool {
        position < self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}%", self.percent())
    }
}

/// What is split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitBy {
    /// Keys: each is on one side, in all processes.
    #[default]
    Key,
    /// Processes: each is on one side with all its keys.
    Instance,
    /// Reads and changes: each falls on one side anew.
    Request,
}

impl SplitBy {
    /// `key`, `instance` or `request`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Instance => "instance",
            Self::Request => "request",
        }
    }

    /// The split of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Key, Self::Instance, Self::Request].into_iter().find(|by| by.as_str() == name)
    }
}

/// One of two tierings between which keys, processes or requests are split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// Where all came from.
    Old,
    /// Where a share of them is.
    New,
}

/// What all processes of a host know of a rollout, in one word of the store that they share.
///
/// ```text
///   63        40 39          24 23   16 15            0
///  +------------+--------------+-------+---------------+
///  |   epoch    | of the name  | state |     share     |
///  +------------+--------------+-------+---------------+
/// ```
/// The epoch counts the changes of the word. Once it says that the rollout is taken back, only a
/// start changes it: so a rollback wins, whatever somebody decided who had not heard of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShareWord(pub(crate) u64);

/// How a rollout goes on.
#[cfg_attr(not(feature = "serde"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moves {
    /// It begins, also after a rollback.
    Starts,
    /// Its share is set by who leads it.
    On,
    /// It is taken back.
    Back,
}

const LIVE: u64 = 1 << 16;
const TAKEN_BACK: u64 = 1 << 17;

// What is not built in has no such word.
#[cfg_attr(not(all(feature = "shared", feature = "serde")), allow(dead_code))]
impl ShareWord {
    /// The word of the next change, or `None` where it may not be made.
    pub(crate) fn next(self, name: &str, share: Share, moves: Moves) -> Option<Self> {
        let is_back = self.0 & TAKEN_BACK != 0 && self.is_of(salt_of(name));
        let state = match moves {
            Moves::On if is_back => return None,
            // What falls by steps never rises again.
            Moves::Back if is_back && share >= Share::of_parts(self.0 as u16) => return None,
            Moves::Starts | Moves::On => LIVE,
            Moves::Back => LIVE | TAKEN_BACK,
        };
        let epoch = (self.epoch() + 1) << 40;
        Some(Self(epoch | part_of(salt_of(name)) | state | u64::from(share.parts())))
    }

    /// The share of the rollout of this name, if the word is of that.
    pub(crate) fn share_of(self, name: &str) -> Option<Share> {
        self.share_for(salt_of(name))
    }

    /// The share of the rollout whose name has this salt, if the word is of that.
    #[inline]
    pub(crate) fn share_for(self, salt: u64) -> Option<Share> {
        (self.0 & LIVE != 0 && self.is_of(salt)).then(|| Share::of_parts(self.0 as u16))
    }

    /// True if the rollout of this name is taken back, or is being so.
    pub(crate) fn is_back(self, name: &str) -> bool {
        self.0 & TAKEN_BACK != 0 && self.is_of(salt_of(name))
    }

    /// How often it was changed, up to 16 million times.
    pub(crate) fn epoch(self) -> u64 {
        self.0 >> 40
    }

    fn is_of(self, salt: u64) -> bool {
        self.0 & (0xffff << 24) == part_of(salt)
    }
}

/// What a word has of a salt.
fn part_of(salt: u64) -> u64 {
    (salt >> 48) << 24
}

/// The salt that a name gives to [`key_position`] (FNV-1a).
pub(crate) fn salt_of(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The place of the request of this number from 0 to 9,999: steps of the golden ratio fill the
/// circle evenly (Weyl).
pub(crate) fn request_position(turn: u64) -> u16 {
    let place = turn.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    ((place * u64::from(WHOLE)) >> 32) as u16
}

/// The place of a key from 0 to 9,999, the same in every process, on every host, and in every
/// version of this library.
///
/// `salt` is the name of the rollout, so that it is not always the same keys that go first.
///
/// Eight bytes at a time by multiply and fold; the end is the finalizer of SplitMix64 (Steele, Lea,
/// Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014). Not for keys that an
/// enemy chooses: it says who goes first and nothing more.
#[inline]
pub fn key_position(salt: u64, key: &[u8]) -> u16 {
    const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = salt ^ (key.len() as u64).wrapping_mul(MULTIPLIER);
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(MULTIPLIER);
        hash ^= hash >> 32;
    };
    let (words, rest) = key.as_chunks::<8>();
    words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(word));
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^= hash >> 31;
    // The upper half times the whole: as even as the hash is, without a division.
    (((hash >> 32) * u64::from(WHOLE)) >> 32) as u16
}

/// Says on which side something is.
#[derive(Debug)]
pub struct Splitter {
    by: SplitBy,
    salt: u64,
    instance: u16,
    requests: AtomicU64,
}

impl Splitter {
    /// Splits for the rollout of this name; `instance` names this process among all.
    pub fn new(by: SplitBy, rollout: &str, instance: &str) -> Self {
        let salt = salt_of(rollout);
        let instance = key_position(salt, instance.as_bytes());
        Self { by, salt, instance, requests: AtomicU64::new(0) }
    }

    /// True if this call for `key` is on the new side. Requests are counted, so that the share of
    /// any run of them is exact to one.
    #[inline]
    pub fn is_new(&self, share: Share, key: &[u8]) -> bool {
        match self.by {
            SplitBy::Key => share.takes(key_position(self.salt, key)),
            SplitBy::Instance => share.takes(self.instance),
            SplitBy::Request => {
                share.takes(request_position(self.requests.fetch_add(1, Ordering::Relaxed)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(percent: f64) -> Share {
        Share::of(percent / 100.0).unwrap()
    }

    const KEYS: usize = 100_000;

    #[test]
    fn shares_of_keys_are_exact_whatever_keys_look_like() {
        let forms: [fn(usize) -> String; 4] = [
            |n| n.to_string(),
            |n| format!("user:{n}"),
            |n| format!("{n:08}/profile/with/a/long/tail/{}", n * 7),
            |n| {
                char::from_u32(0x100 + (n % 50_000) as u32)
                    .unwrap()
                    .to_string()
                    .repeat(1 + n / 50_000)
            },
        ];
        for (form, key) in forms.iter().enumerate() {
            for rollout in ["encore-tiered-rollout", "phased-deployment", ""] {
                let splitter = Splitter::new(SplitBy::Key, rollout, "");
                let taken = |percent| {
                    let is_new = |n: &usize| splitter.is_new(share(percent), key(*n).as_bytes());
                    (0..KEYS).filter(is_new).count() as f64 * 100.0 / KEYS as f64
                };
                for (percent, slack) in
                    [(0.0, 0.0), (1.0, 0.1), (10.0, 0.3), (50.0, 0.6), (100.0, 0.0)]
                {
                    let taken = taken(percent);
                    assert!(
                        (taken - percent).abs() <= slack,
                        "form {form}, {rollout:?}: {taken} % of {percent} %"
                    );
                }
            }
        }
    }

    #[test]
    fn raising_a_share_keeps_those_that_it_had() {
        let splitter = Splitter::new(SplitBy::Key, "rollout", "");
        for n in 0..KEYS {
            let key = format!("key-{n}");
            let sides: Vec<bool> = [1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0]
                .map(|percent| splitter.is_new(share(percent), key.as_bytes()))
                .into();
            assert!(sides.is_sorted(), "{key} leaves while the share rises: {sides:?}");
        }
    }

    #[test]
    fn a_key_has_one_place_for_ever() {
        for (key, position) in [("", 6537), ("user:7", 9242), ("a longer key of some words", 7713)]
        {
            assert_eq!(key_position(42, key.as_bytes()), position, "{key:?}");
        }
        // Zeros at the end are part of a key.
        assert_ne!(key_position(1, b"a"), key_position(1, b"a\0"));
    }

    #[test]
    fn other_rollouts_begin_with_other_keys() {
        let [one, two] = ["one", "two"].map(|name| Splitter::new(SplitBy::Key, name, ""));
        let ten = share(10.0);
        let both = (0..KEYS).filter(|n| {
            let key = n.to_le_bytes();
            one.is_new(ten, &key) && two.is_new(ten, &key)
        });
        let both = both.count();
        assert!((800..1200).contains(&both), "{both} of about 1,000 keys are first in both");
    }

    #[test]
    fn instances_are_on_one_side_with_all_their_keys() {
        let on_new = (0..2000).filter(|instance| {
            let splitter = Splitter::new(SplitBy::Instance, "rollout", &format!("pod-{instance}"));
            let sides: Vec<bool> =
                (0..20_u32).map(|key| splitter.is_new(share(10.0), &key.to_le_bytes())).collect();
            assert!(sides.iter().all(|side| *side == sides[0]));
            sides[0]
        });
        let on_new = on_new.count();
        assert!((150..250).contains(&on_new), "{on_new} of about 200");
    }

    #[test]
    fn the_share_of_requests_is_exact_in_every_run_of_them() {
        let splitter = Splitter::new(SplitBy::Request, "rollout", "");
        for percent in [1.0, 10.0, 37.5] {
            let taken = (0..KEYS).filter(|_| splitter.is_new(share(percent), b"one key")).count();
            let wanted = percent / 100.0 * KEYS as f64;
            assert!((taken as f64 - wanted).abs() < 30.0, "{taken} of {wanted}");
        }
    }
}

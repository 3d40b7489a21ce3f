//! What keys are asked for, and how long they are of use: observed while somebody wants to know.
//!
//! Of every eighth read the beginnings of its key are counted (`heavy.rs`): `org:7:` and `org:` of
//! `org:7:user:1`. One key in sixteen, by its hash, is followed all its life in L1, as a sample of
//! keys and not of calls tells whether an entry was ever read (Waldspurger et al.: "Efficient MRC
//! construction with SHARDS", FAST 2015). Both are bounded; what is above the bound is left out.

use std::{
    collections::HashMap,
    hash::BuildHasher as _,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use super::{
    Histogram, Stats,
    heavy::{Heavy, SpaceSaving},
};
use crate::{clock::Millis, sync::Mutex};

/// One read in so many is looked at for its beginnings.
const READS: u64 = 8;
/// One key in so many is followed.
const KEYS: u64 = 16;
/// Counters of each sketch: what has 1 % of all is found for certain.
const COUNTERS: usize = 256;
/// Keys that are followed at most.
const MOST_FOLLOWED: usize = 16_384;
/// Where a beginning of a key ends.
const SEPARATORS: &[u8] = b":/";
/// Longest beginning that is counted.
const LONGEST: usize = 64;
/// Beginnings of each depth that are told.
const TOLD: usize = 10;

/// A beginning that many keys have in common.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PrefixShare {
    /// The beginning, separator included, with bytes that are no text escaped.
    pub prefix: String,
    /// How many separators it has.
    pub depth: usize,
    /// Its share of the reads that were looked at, 0 to 1: at least this much.
    pub share: f64,
}

/// How long entries of L1 were of use, by the keys that were followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TtlUse {
    /// Entries that came.
    pub entries: u64,
    /// Their hits.
    pub hits: u64,
    /// Entries whose time was over.
    pub expired: u64,
    /// Entries whose time was over and that nobody had asked for.
    pub expired_unused: u64,
    /// Entries that were loaded or set anew after their time was over, having been of use.
    pub reloaded: u64,
    /// Age at a hit: half were at most so old.
    #[cfg_attr(feature = "serde", serde(rename = "hit_age_p50_ms", serialize_with = "millis"))]
    pub hit_age_p50: Duration,
    /// Age at a hit: 95 % were at most so old.
    #[cfg_attr(feature = "serde", serde(rename = "hit_age_p95_ms", serialize_with = "millis"))]
    pub hit_age_p95: Duration,
    /// Age of what expired when it left: half were at most so old.
    #[cfg_attr(feature = "serde", serde(rename = "expired_age_p50_ms", serialize_with = "millis"))]
    pub expired_age_p50: Duration,
}

/// What a survey saw.
#[derive(Clone, Debug, Default, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SurveyReport {
    /// For how long it has looked.
    #[cfg_attr(feature = "serde", serde(rename = "observed_ms", serialize_with = "millis"))]
    pub observed: Duration,
    /// Reads whose keys were looked at: every eighth.
    pub reads_sampled: u64,
    /// The heaviest beginnings of keys.
    pub prefixes: Vec<PrefixShare>,
    /// How long entries of L1 were of use.
    pub ttl: TtlUse,
}

#[cfg(feature = "serde")]
fn millis<S: serde::Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// One key that is followed.
#[derive(Debug)]
struct Life {
    began: Millis,
    hits: u64,
    is_over: bool,
}

#[derive(Debug)]
struct Seen {
    /// By depth: one separator, two.
    prefixes: [SpaceSaving; 2],
    lives: HashMap<Box<[u8]>, Life, foldhash::fast::RandomState>,
    ttl: TtlUse,
}

/// An observation under way.
#[derive(Debug)]
pub(crate) struct Survey {
    began: Millis,
    /// The counts when it began.
    before: Stats,
    turn: AtomicU64,
    hasher: foldhash::fast::FixedState,
    seen: Mutex<Seen>,
    /// In milliseconds.
    hit_ages: Histogram,
    expired_ages: Histogram,
}

impl Survey {
    pub(crate) fn new(now: Millis, before: Stats) -> Self {
        let sketch = || SpaceSaving::new(COUNTERS);
        Self {
            began: now,
            before,
            turn: AtomicU64::new(0),
            hasher: foldhash::fast::FixedState::default(),
            seen: Mutex::new(Seen {
                prefixes: [sketch(), sketch()],
                lives: HashMap::default(),
                ttl: TtlUse::default(),
            }),
            hit_ages: Histogram::default(),
            expired_ages: Histogram::default(),
        }
    }

    /// The counts of the cache when it began.
    pub(crate) fn before(&self) -> &Stats {
        &self.before
    }

    fn follows(&self, key: &[u8]) -> bool {
        self.hasher.hash_one(key).is_multiple_of(KEYS)
    }

    /// A read of this key, which a tier answered or none did.
    pub(crate) fn read(&self, key: &[u8], is_hit: bool, now: Millis) {
        let is_sampled = self.turn.fetch_add(1, Ordering::Relaxed).is_multiple_of(READS);
        let is_followed = is_hit && self.follows(key);
        if !is_sampled && !is_followed {
            return;
        }
        let mut seen = self.seen.lock();
        if is_sampled {
            let [one, two] = prefixes(key);
            let [ones, twos] = &mut seen.prefixes;
            // Keys without one count too: shares are those of all reads.
            ones.offer(one.unwrap_or_default());
            twos.offer(two.unwrap_or_default());
        }
        if is_followed {
            let Seen { lives, ttl, .. } = &mut *seen;
            if let Some(life) = lives.get_mut(key).filter(|life| !life.is_over) {
                life.hits += 1;
                ttl.hits += 1;
                self.hit_ages.record(now.0.saturating_sub(life.began.0));
            }
        }
    }

    /// A value was put under this key.
    pub(crate) fn filled(&self, key: &[u8], now: Millis) {
        if !self.follows(key) {
            return;
        }
        let mut seen = self.seen.lock();
        let Seen { lives, ttl, .. } = &mut *seen;
        if let Some(before) = lives.get(key) {
            ttl.reloaded += u64::from(before.is_over && before.hits > 0);
        } else if lives.len() >= MOST_FOLLOWED {
            return;
        }
        ttl.entries += 1;
        lives.insert(key.into(), Life { began: now, hits: 0, is_over: false });
    }

    /// The time of what was under this key is over.
    pub(crate) fn expired(&self, key: &[u8], now: Millis) {
        if !self.follows(key) {
            return;
        }
        let mut seen = self.seen.lock();
        let Seen { lives, ttl, .. } = &mut *seen;
        if let Some(life) = lives.get_mut(key).filter(|life| !life.is_over) {
            life.is_over = true;
            ttl.expired += 1;
            ttl.expired_unused += u64::from(life.hits == 0);
            self.expired_ages.record(now.0.saturating_sub(life.began.0));
        }
    }

    /// What was under this key had to leave, or was removed.
    pub(crate) fn left(&self, key: &[u8]) {
        if self.follows(key) {
            self.seen.lock().lives.remove(key);
        }
    }

    pub(crate) fn report(&self, now: Millis) -> SurveyReport {
        let age = |span: Duration| Duration::from_millis(span.as_nanos() as u64);
        let (hits, expired) =
            (self.hit_ages.snapshot().summary(), self.expired_ages.snapshot().summary());
        let seen = self.seen.lock();
        let reads_sampled = seen.prefixes[0].offers();
        let told = seen.prefixes.iter().enumerate().flat_map(|(number, sketch)| {
            let share = move |heavy: Heavy| PrefixShare {
                prefix: heavy.name.escape_ascii().to_string(),
                depth: number + 1,
                share: heavy.least() as f64 / reads_sampled.max(1) as f64,
            };
            let named =
                sketch.heaviest(TOLD + 1).into_iter().filter(|heavy| !heavy.name.is_empty());
            named.take(TOLD).map(share).collect::<Vec<_>>()
        });
        SurveyReport {
            observed: Duration::from_millis(now.0.saturating_sub(self.began.0)),
            reads_sampled,
            prefixes: told.collect(),
            ttl: TtlUse {
                hit_age_p50: age(hits.p50),
                hit_age_p95: age(hits.p95),
                expired_age_p50: age(expired.p50),
                ..seen.ttl.clone()
            },
        }
    }
}

/// The beginnings of a key up to its first separator, and up to its second.
fn prefixes(key: &[u8]) -> [Option<&[u8]>; 2] {
    let begin = &key[..key.len().min(LONGEST)];
    let mut ends = begin.iter().enumerate().filter(|(_, byte)| SEPARATORS.contains(byte));
    std::array::from_fn(|_| ends.next().map(|(at, _)| &begin[..=at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_begins_as_its_separators_say() {
        let of = |key: &'static str| prefixes(key.as_bytes());
        assert_eq!(of("org:7:user:1"), [Some(&b"org:"[..]), Some(b"org:7:")]);
        assert_eq!(of("a/b"), [Some(&b"a/"[..]), None]);
        assert_eq!(of("plain"), [None, None]);
        assert_eq!(prefixes(&[b'x'; 500]), [None, None]);
    }

    #[test]
    fn a_life_is_counted_once_and_its_ages_are_told() {
        let survey = Survey::new(Millis(1000), Stats::default());
        let keys: Vec<String> = (0..4000).map(|number| format!("k:{number}")).collect();
        for key in &keys {
            survey.filled(key.as_bytes(), Millis(1000));
        }
        for (number, key) in keys.iter().enumerate() {
            if number % 4 == 0 {
                survey.read(key.as_bytes(), true, Millis(3000));
            }
            survey.expired(key.as_bytes(), Millis(61_000));
            survey.expired(key.as_bytes(), Millis(62_000));
        }
        let ttl = survey.report(Millis(61_000)).ttl;
        assert!((150..350).contains(&ttl.entries), "a sixteenth of 4,000: {ttl:?}");
        assert_eq!(ttl.expired, ttl.entries);
        let unused = ttl.expired_unused as f64 / ttl.expired as f64;
        assert!((0.65..0.85).contains(&unused), "{ttl:?}");
        let about = |span: Duration, secs: f64| (span.as_secs_f64() / secs - 1.0).abs() < 0.02;
        assert!(about(ttl.hit_age_p50, 2.0) && about(ttl.expired_age_p50, 60.0), "{ttl:?}");
    }
}

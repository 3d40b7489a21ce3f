//! Latencies: a concurrent histogram from 1 ns to 1 h.
//!
//! Log-linear buckets, as in Tene's HdrHistogram: 64 for each power of two, so a bucket is at most
//! 1/64 of its values wide and its middle is off by less than 0.8 %. Below 128 ns every
//! nanosecond has its own.
//!
//! ```text
//!   octave 0: 0..64 by 1    1: 64..128 by 1    2: 128..256 by 2    ...    36: 2^41..2^42 by 2^35
//! ```
//! An octave is allocated with its first value, so an idle histogram takes 1 KiB. Beside the
//! buckets, [`THRESHOLDS`] are counted exactly, so that a check against one of them carries no
//! error of a bucket.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::snapshot::{LatencyCount, LatencySummary};
use crate::sync;

pub(super) const SUB_BUCKETS: usize = 64;
const SUB_BITS: u32 = SUB_BUCKETS.ilog2();

/// Longer spans count as this long: one hour.
const MAX_NANOSECONDS: u64 = 3_600_000_000_000;

pub(super) const OCTAVES: usize = octave_of(MAX_NANOSECONDS) + 1;

/// Limits at which values are counted exactly, in nanoseconds: powers of two times 250 ns for the
/// memory tier, then every threshold that objectives and alerts name, and those that OpenTelemetry has
/// for calls of a database.
pub(super) const THRESHOLDS: [u64; 25] = [
    250,
    500,
    1_000,
    2_000,
    4_000,
    8_000,
    16_000,
    32_000,
    64_000,
    128_000,
    256_000,
    512_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    150_000_000,
    200_000_000,
    464_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

const fn octave_of(nanoseconds: u64) -> usize {
    match nanoseconds.checked_ilog2() {
        Some(log) if log >= SUB_BITS => (log - SUB_BITS + 1) as usize,
        _ => 0,
    }
}

/// How far values of an octave are shifted to give the bucket.
const fn shift_of(octave: usize) -> u32 {
    octave.saturating_sub(1) as u32
}

/// The middle of a bucket, in nanoseconds.
pub(super) fn middle_of(octave: usize, bucket: usize) -> u64 {
    let first = if octave == 0 { bucket } else { SUB_BUCKETS + bucket } as u64;
    (first << shift_of(octave)) + (1 << shift_of(octave)) / 2
}

type Octave = [AtomicU64; SUB_BUCKETS];

/// A histogram that any number of threads record into. Counts wrap around at 2^64.
#[derive(Debug)]
pub(crate) struct Histogram {
    octaves: [OnceLock<Box<Octave>>; OCTAVES],
    /// How many values were above `THRESHOLDS[i - 1]` and at most `THRESHOLDS[i]`.
    between: [AtomicU64; THRESHOLDS.len() + 1],
    sum: AtomicU64,
    max: AtomicU64,
    /// How many values were recorded, each once.
    timed: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            octaves: [const { OnceLock::new() }; OCTAVES],
            between: [const { AtomicU64::new(0) }; THRESHOLDS.len() + 1],
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
            timed: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Records one value.
    #[inline]
    pub(crate) fn record(&self, nanoseconds: u64) {
        self.record_many(nanoseconds, 1);
    }

    /// Records one value `count` times: a sample that stands for so many.
    pub(crate) fn record_many(&self, nanoseconds: u64, count: u64) {
        self.timed.fetch_add(1, Ordering::Relaxed);
        let value = nanoseconds.min(MAX_NANOSECONDS);
        let octave = octave_of(value);
        let bucket = (value >> shift_of(octave)) as usize % SUB_BUCKETS;
        let buckets = match self.octaves[octave].get() {
            Some(buckets) => buckets,
            None => self.make(octave),
        };
        buckets[bucket].fetch_add(count, Ordering::Relaxed);
        let between = THRESHOLDS.partition_point(|limit| *limit < value);
        self.between[between].fetch_add(count, Ordering::Relaxed);
        self.sum.fetch_add(value.wrapping_mul(count), Ordering::Relaxed);
        if self.max.load(Ordering::Relaxed) < value {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }

    #[cold]
    fn make(&self, octave: usize) -> &Octave {
        // A fork in the midst would leave the child to wait for whoever makes it.
        let _whole = sync::section();
        self.octaves[octave].get_or_init(|| Box::new([const { AtomicU64::new(0) }; SUB_BUCKETS]))
    }

    /// How many values there are of which each was measured, whatever it stands for.
    pub(super) fn timed(&self) -> u64 {
        self.timed.load(Ordering::Relaxed)
    }

    /// The values so far. Values that are recorded meanwhile may be in or not.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let octaves = self
            .octaves
            .iter()
            .map(|octave| octave.get().map(|octave| Box::new(octave.each_ref().map(load))));
        Snapshot {
            octaves: octaves.collect(),
            between: self.between.each_ref().map(load),
            sum: load(&self.sum),
            max: load(&self.max),
        }
    }
}

/// What a histogram held at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(super) octaves: Vec<Option<Box<[u64; SUB_BUCKETS]>>>,
    pub(super) between: [u64; THRESHOLDS.len() + 1],
    pub(super) sum: u64,
    pub(super) max: u64,
}

impl Default for Snapshot {
    /// No values.
    fn default() -> Self {
        Self { octaves: vec![None; OCTAVES], between: [0; THRESHOLDS.len() + 1], sum: 0, max: 0 }
    }
}

impl Snapshot {
    /// How many values there are.
    pub(crate) fn count(&self) -> u64 {
        self.buckets().fold(0, |sum, (_, count)| sum.wrapping_add(count))
    }

    /// The value that a share `q` (0 to 1) of all values does not exceed, in nanoseconds, within
    /// 1 %; 0 if there are no values.
    pub(crate) fn quantile(&self, q: f64) -> u64 {
        let count = self.count();
        // Rounding of a count above 2^53 is far below the error of a bucket.
        let rank = ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = 0_u64;
        for (middle, count) in self.buckets() {
            seen = seen.wrapping_add(count);
            if seen >= rank {
                return middle.min(self.max);
            }
        }
        0
    }

    /// Adds the values of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.octaves.iter_mut().zip(&other.octaves) {
            let Some(theirs) = theirs else { continue };
            let mine = mine.get_or_insert_with(|| Box::new([0; SUB_BUCKETS]));
            add(&mut mine[..], &theirs[..]);
        }
        add(&mut self.between, &other.between);
        self.sum = self.sum.wrapping_add(other.sum);
        self.max = self.max.max(other.max);
    }

    /// What users see of it.
    pub(crate) fn summary(&self) -> LatencySummary {
        let quantile = |q| Duration::from_nanos(self.quantile(q));
        let count = self.count();
        let mut at_most = 0_u64;
        let thresholds = THRESHOLDS.iter().zip(&self.between).map(|(limit, between)| {
            at_most = at_most.wrapping_add(*between);
            LatencyCount { limit: Duration::from_nanos(*limit), count: at_most }
        });
        LatencySummary {
            thresholds: thresholds.collect(),
            count,
            sum: Duration::from_nanos(self.sum),
            p50: quantile(0.50),
            p95: quantile(0.95),
            p99: quantile(0.99),
            max: Duration::from_nanos(self.max),
            mean: Duration::from_nanos(self.sum.checked_div(count).unwrap_or(0)),
        }
    }

    /// Middle and count of all buckets that hold values, smallest first.
    fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        self.octaves.iter().enumerate().flat_map(|(octave, buckets)| {
            let counts = buckets.iter().flat_map(|buckets| buckets.iter()).enumerate();
            counts
                .filter(|(_, count)| **count > 0)
                .map(move |(bucket, count)| (middle_of(octave, bucket), *count))
        })
    }
}

fn add(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = mine.wrapping_add(*theirs);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Values of all magnitudes from 1 ns to 1 h.
    fn values(seed: u64, count: usize) -> Vec<u64> {
        let mut random = fastrand::Rng::with_seed(seed);
        let value = |_| (random.f64() * (MAX_NANOSECONDS as f64).ln()).exp() as u64;
        (0..count).map(value).collect()
    }

    #[test]
    fn quantiles_are_within_one_percent_of_the_exact_ones() {
        for seed in 0..30 {
            let histogram = Histogram::default();
            let mut values = values(seed, 1 + 999 * (seed as usize % 3));
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let snapshot = histogram.snapshot();
            assert_eq!(snapshot.count(), values.len() as u64);
            assert_eq!(snapshot.sum, values.iter().sum::<u64>());
            for percent in 0..=100 {
                let rank = (percent * values.len()).div_ceil(100).max(1);
                let (exact, found) = (values[rank - 1], snapshot.quantile(percent as f64 / 100.0));
                let error = exact.abs_diff(found) as f64 / exact.max(1) as f64;
                assert!(error < 0.01, "seed {seed}, p{percent}: {found} for {exact}");
            }
        }
    }

    #[test]
    fn thresholds_are_counted_exactly() {
        let histogram = Histogram::default();
        for limit in THRESHOLDS {
            (limit - 1..=limit + 1).for_each(|value| histogram.record(value));
        }
        let summary = histogram.snapshot().summary();
        for (index, threshold) in summary.thresholds.iter().enumerate() {
            assert_eq!(threshold.count, 3 * index as u64 + 2, "{:?}", threshold.limit);
        }
    }

    #[test]
    fn the_ends_of_the_range_and_beyond_are_taken() {
        let histogram = Histogram::default();
        assert_eq!(
            histogram.snapshot().summary(),
            LatencySummary {
                thresholds: histogram.snapshot().summary().thresholds,
                ..LatencySummary::default()
            }
        );
        for value in [0, 1, MAX_NANOSECONDS, u64::MAX] {
            histogram.record(value);
        }
        let snapshot = histogram.snapshot();
        assert_eq!((snapshot.quantile(0.0), snapshot.quantile(0.5)), (0, 1));
        assert_eq!(snapshot.quantile(1.0).abs_diff(MAX_NANOSECONDS) * 100 / MAX_NANOSECONDS, 0);
        assert_eq!(snapshot.summary().max, Duration::from_secs(3_600));
        histogram.record_many(7, u64::MAX);
        assert_eq!(histogram.snapshot().count(), 3, "counts wrap around");
    }

    #[test]
    fn merged_snapshots_equal_one_histogram_of_all_values() {
        let [one, two, all] = [(); 3].map(|()| Histogram::default());
        for value in values(1, 500) {
            one.record(value);
            all.record(value);
        }
        for value in values(2, 300) {
            two.record_many(value, 64);
            all.record_many(value, 64);
        }
        let mut merged = one.snapshot();
        merged.merge(&two.snapshot());
        assert_eq!(merged.summary(), all.snapshot().summary());
    }

    #[test]
    fn no_value_of_any_thread_is_lost() {
        let histogram = Histogram::default();
        thread::scope(|scope| {
            for seed in 0..4 {
                let histogram = &histogram;
                scope.spawn(move || {
                    values(seed, 10_000).into_iter().for_each(|value| histogram.record(value));
                });
            }
        });
        assert_eq!(histogram.snapshot().count(), 40_000);
    }
}

//! A histogram of latencies: 32 buckets for each power of two of nanoseconds.
//!
//! A quantile is told by the middle of its bucket, so it is off by at most 1/64 of itself
//! (1.6 %). 2048 counters of 8 bytes hold every `u64`; adding is one shift and one increment.
//!
//! The layout of the HDR histogram (Tene), without its significant-digit setting.

/// Bits below the leading one that choose the bucket.
const SUB_BITS: u32 = 5;
const SUB_BUCKETS: usize = 1 << SUB_BITS;
const BUCKETS: usize = SUB_BUCKETS * 64;

/// Counts of latencies.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    counts: Vec<u64>,
    total: u64,
}

impl Latencies {
    /// No latencies yet.
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], total: 0 }
    }

    /// Counts one latency.
    pub(crate) fn add(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
    }

    /// Adds all that `other` counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
    }

    /// The buckets that counted anything, by number, with their counts: a form to write down.
    pub(crate) fn used_buckets(&self) -> impl Iterator<Item = (usize, u64)> {
        self.counts.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Adds a count that [`used_buckets`](Self::used_buckets) gave; a number that no bucket has
    /// is left out.
    pub(crate) fn add_to_bucket(&mut self, bucket: usize, count: u64) {
        if let Some(counted) = self.counts.get_mut(bucket) {
            *counted += count;
            self.total += count;
        }
    }

    /// The latency in nanoseconds that `share` (0 to 1) of all are not above; `None` of none.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let index = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(middle(index))
    }
}

fn bucket(nanos: u64) -> usize {
    let octave = nanos.checked_ilog2().unwrap_or(0);
    if octave < SUB_BITS {
        return nanos as usize;
    }
    let shift = octave - SUB_BITS;
    let sub = (nanos >> shift) as usize & (SUB_BUCKETS - 1);
    (shift as usize + 1) * SUB_BUCKETS + sub
}

fn middle(index: usize) -> u64 {
    if index < SUB_BUCKETS {
        return index as u64;
    }
    let shift = index / SUB_BUCKETS - 1;
    let low = (SUB_BUCKETS as u64 | (index as u64 & (SUB_BUCKETS as u64 - 1))) << shift;
    low + ((1 << shift) >> 1)
}

/// Writes nanoseconds in the unit that leaves one to three digits before the point.
pub(crate) fn write_nanos(nanos: u64) -> String {
    let (scale, unit) = match nanos {
        0..1000 => return format!("{nanos} ns"),
        1000..1_000_000 => (1e3, "us"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let scaled = nanos as f64 / scale;
    let digits = usize::from(scaled < 100.0);
    format!("{scaled:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_within_a_sixtieth_of_the_exact_one() {
        let exact: Vec<u64> = (0..10_000u64).map(|n| n * n * 7 + 3).collect();
        let mut histogram = Latencies::new();
        exact.iter().for_each(|nanos| histogram.add(*nanos));
        for share in [0.01, 0.5, 0.95, 0.99, 1.0] {
            let rank = (exact.len() as f64 * share).ceil() as usize;
            let (want, got) = (exact[rank - 1] as f64, histogram.quantile(share).unwrap() as f64);
            assert!((got - want).abs() <= want / 60.0 + 1.0, "{share}: {got} for {want}");
        }
    }

    #[test]
    fn every_latency_has_a_bucket_whose_middle_falls_into_it() {
        for shift in 0..64 {
            for nanos in [1u64 << shift, (1u64 << shift) - 1, u64::MAX >> shift] {
                assert_eq!(bucket(middle(bucket(nanos))), bucket(nanos), "{nanos}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
        assert_eq!(Latencies::new().quantile(0.5), None);
    }

    #[test]
    fn latencies_are_written_in_a_readable_unit() {
        let written = [0, 999, 1000, 12_345, 456_000, 7_800_000, 2_000_000_000].map(write_nanos);
        assert_eq!(written, ["0 ns", "999 ns", "1.0 us", "12.3 us", "456 us", "7.8 ms", "2.0 s"]);
    }
}

//! Which keys are asked for, and in which proportion.

use std::path::Path;

use tierce_trace::Trace;

use crate::output::Failure;

/// A table of eight bytes a key.
pub(super) const MOST_KEYS: u64 = 10_000_000;

/// Where keys come from.
pub(super) enum Keys {
    /// The shares of the keys up to each one, rising to 1.
    Zipf(Vec<f64>),
    /// Those of a trace, over and over.
    Trace(Vec<u64>),
}

impl Keys {
    /// `count` keys of which the n-th is asked for in proportion to `1 / n^exponent`.
    pub(super) fn zipf(count: u64, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Self::Zipf(shares)
    }

    /// The keys of a trace.
    pub(super) fn trace(path: &Path) -> Result<Self, Failure> {
        let keys: Vec<u64> =
            Trace::read(path, None)?.requests.iter().map(|request| request.key).collect();
        if keys.is_empty() {
            return Err(format!("trace {}: has no requests", path.display()).into());
        }
        Ok(Self::Trace(keys))
    }

    /// The key of the request of this number.
    pub(super) fn key(&self, number: u64, random: &mut fastrand::Rng) -> u64 {
        match self {
            Self::Zipf(shares) => {
                let drawn = random.f64();
                shares.partition_point(|share| *share <= drawn).min(shares.len() - 1) as u64
            }
            Self::Trace(keys) => keys[(number % keys.len() as u64) as usize],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_asked_for_in_proportion_to_their_rank() {
        let keys = Keys::zipf(1000, 1.0);
        let mut random = fastrand::Rng::with_seed(7);
        let mut counts = vec![0_u32; 1000];
        (0..200_000).for_each(|number| counts[keys.key(number, &mut random) as usize] += 1);
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1_u32, 2, 10] {
            let wanted = 200_000.0 / f64::from(rank) / harmonic;
            let found = f64::from(counts[rank as usize - 1]);
            assert!((found / wanted - 1.0).abs() < 0.1, "{rank}: {found} of {wanted}");
        }
        let even = Keys::zipf(4, 0.0);
        assert!((0..100).all(|number| even.key(number, &mut random) < 4));
    }
}

//! Whether the new side is worse than the old one, or whether that is chance.

/// What a comparison of two shares says.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Comparison {
    /// The share of bad ones on the new side.
    pub canary: f64,
    /// The share of bad ones on the old side.
    pub control: f64,
    /// By how many standard deviations the new one is worse; below 0 it is better.
    pub deviations: f64,
    /// True if it is worse by more than chance makes it, and by enough to matter.
    pub is_worse: bool,
}

/// So many standard deviations are not taken for chance: 1 in 30,000. A gate looks once a second
/// for days, at windows that overlap; at the usual 1 in 20 it would see red every few minutes.
const DEVIATIONS: f64 = 4.0;

/// A difference below a tenth of a percent is nobody's concern, however certain it is.
const LEAST_DIFFERENCE: f64 = 0.001;

/// Below so many operations on either side nothing is said.
const LEAST_OPERATIONS: u64 = 100;

/// Compares `(bad, all)` of the new side with the old side's: a one-sided test of two proportions
/// with the variance of both together. `None` where either side has too few operations.
pub fn compare_shares(canary: (u64, u64), control: (u64, u64)) -> Option<Comparison> {
    if canary.1.min(control.1) < LEAST_OPERATIONS {
        return None;
    }
    let share = |(bad, all): (u64, u64)| bad as f64 / all as f64;
    let (new, old) = (share(canary), share(control));
    let all = (canary.1 + control.1) as f64;
    let together = (canary.0 + control.0) as f64 / all;
    let variance = together * (1.0 - together) * (1.0 / canary.1 as f64 + 1.0 / control.1 as f64);
    let difference = new - old;
    let deviations = if variance > 0.0 { difference / variance.sqrt() } else { 0.0 };
    let is_worse = deviations > DEVIATIONS && difference > LEAST_DIFFERENCE;
    Some(Comparison { canary: new, control: old, deviations, is_worse })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_worse(canary: (u64, u64), control: (u64, u64)) -> Option<bool> {
        compare_shares(canary, control).map(|found| found.is_worse)
    }

    #[test]
    fn equal_rates_pass_and_half_a_point_more_errors_do_not() {
        assert_eq!(is_worse((10, 10_000), (90, 90_000)), Some(false));
        assert_eq!(is_worse((60, 10_000), (90, 90_000)), Some(true));
        assert_eq!(is_worse((0, 10_000), (900, 90_000)), Some(false), "better is not worse");
    }

    #[test]
    fn what_chance_makes_is_not_taken_for_a_difference() {
        assert_eq!(is_worse((2, 200), (5, 1000)), Some(false));
        // Certain, and too small to matter.
        assert_eq!(is_worse((105_000, 10_000_000), (100_000, 10_000_000)), Some(false));
        let seed = 3;
        let mut random = fastrand::Rng::with_seed(seed);
        for round in 0..2000 {
            let mut arm = |all: u64| ((0..all).filter(|_| random.f64() < 0.02).count() as u64, all);
            let (canary, control) = (arm(500), arm(2000));
            assert_eq!(is_worse(canary, control), Some(false), "seed {seed} round {round}");
        }
    }

    #[test]
    fn too_few_operations_say_nothing() {
        assert_eq!(is_worse((99, 99), (0, 10_000)), None);
        assert_eq!(is_worse((0, 0), (0, 0)), None);
        assert_eq!(is_worse((0, 100), (0, 100)), Some(false));
    }
}

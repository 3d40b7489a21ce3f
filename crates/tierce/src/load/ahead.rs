//! Refresh ahead: a hit that comes shortly before its value is stale has it loaded anew, while
//! everybody is still served the fresh one.
//!
//! Two rules say when. `After` is a share of the time to live, the same for every hit. `XFetch`
//! draws lots: each hit refreshes with a chance that rises as the end comes near, and begins to
//! rise the earlier, the longer the last load took. With it, the processes and hosts that share no
//! flight do not all load at the same moment, and values that are cheap to load live longer.
//!
//! Vattani, Chierichetti, Lowenstein: "Optimal probabilistic cache stampede prevention",
//! VLDB 2015: refresh if `age - cost * beta * ln(draw) >= ttl`, with `draw` even between 0 and 1.
//! What differs: where the cost of the last load is not known (the value came from another host,
//! or was set), a hundredth of the time to live stands for it.

use std::{
    cell::Cell,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use crate::error::{Error, ErrorKind, Result};

/// When a hit has its value loaded anew before it is stale.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum RefreshAhead {
    /// From this share of the time to live on, above 0 and below 1; 0.8 suits most.
    After(f64),
    /// By lot, the likelier the nearer the end is, beginning the earlier, the longer loads take.
    XFetch {
        /// Above 1 refreshes earlier, below 1 later; 1 suits most. Above 0, at most 1,000.
        beta: f64,
    },
}

/// The greatest `beta`: with it even a load of a millisecond is done seconds ahead.
const MAX_BETA: f64 = 1000.0;

/// What a load is taken to cost where that is not known, as a share of the time to live.
const UNKNOWN_COST: f64 = 0.01;

impl RefreshAhead {
    /// Refuses what is out of its range.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] only.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Self::After(share) if !(share > 0.0 && share < 1.0) => Err(Error::new(
                ErrorKind::Config,
                format!("refresh_ahead = {share}: must be above 0 and below 1"),
            )),
            Self::XFetch { beta } if !(beta > 0.0 && beta <= MAX_BETA) => Err(Error::new(
                ErrorKind::Config,
                format!("refresh_ahead.beta = {beta}: must be above 0 and at most {MAX_BETA}"),
            )),
            _ => Ok(()),
        }
    }

    /// True if a hit of a value of this age, which is fresh for `ttl` and took `cost` to load,
    /// should have it loaded anew.
    ///
    /// `draw` gives a number above 0 and at most 1, each as likely; it is called at most once, and
    /// not where the age decides alone.
    pub(crate) fn is_due(
        self,
        age: Duration,
        ttl: Duration,
        cost: Option<Duration>,
        draw: impl FnOnce() -> f64,
    ) -> bool {
        let (age, ttl) = (age.as_secs_f64(), ttl.as_secs_f64());
        match self {
            Self::After(share) => age >= share * ttl,
            Self::XFetch { beta } => {
                let cost = cost.map_or(UNKNOWN_COST * ttl, |cost| cost.as_secs_f64());
                let scale = cost * beta;
                // No draw of 53 bits reaches further.
                age + scale * FARTHEST_DRAW >= ttl && age - scale * draw().ln() >= ttl
            }
        }
    }
}

/// Minus the logarithm of the least number drawn, 2^-53, rounded up.
const FARTHEST_DRAW: f64 = 36.8;

/// A number above 0 and at most 1, each as likely; some nanoseconds.
pub(crate) fn draw() -> f64 {
    thread_local! {
        static STATE: Cell<u64> = const { Cell::new(0) };
    }
    STATE.with(|cell| {
        let mut state = cell.get();
        if state == 0 {
            // The keys are the thread's own, so threads differ.
            state = RandomState::new().hash_one(std::process::id()) | 1;
        }
        state = step(state);
        cell.set(state);
        share(state)
    })
}

/// Marsaglia: "Xorshift RNGs", Journal of Statistical Software 8(14), 2003.
fn step(mut state: u64) -> u64 {
    state ^= state << 13;
    state ^= state >> 7;
    state ^ state << 17
}

/// The upper bits as a number above 0 and at most 1. The multiplication mixes what xorshift leaves
/// in order (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
fn share(state: u64) -> f64 {
    let mixed = state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
    (mixed + 1) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x7E1;

    fn draws(count: usize) -> impl Iterator<Item = f64> {
        let mut state = SEED;
        (0..count).map(move |_| {
            state = step(state);
            share(state)
        })
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_share_of_the_time_to_live_decides_alone() {
        let rule = RefreshAhead::After(0.8);
        let is_due =
            |age| rule.is_due(seconds(age), seconds(10.0), None, || panic!("no lot is drawn"));
        assert!(!is_due(7.99));
        assert!(is_due(8.0) && is_due(12.0));
    }

    /// The chance at this distance from the end is `exp(-distance / (cost * beta))`.
    #[test]
    fn lots_fall_as_the_paper_says() {
        for (beta, cost) in [(1.0, 0.5), (0.5, 2.0), (4.0, 0.05), (1.0, 0.01)] {
            for distance in [0.0, 0.1, 0.3, 0.7, 1.0, 2.0] {
                let rule = RefreshAhead::XFetch { beta };
                let (age, ttl) = (seconds(10.0 - distance), seconds(10.0));
                let count = 40_000;
                let due = draws(count)
                    .filter(|&draw| rule.is_due(age, ttl, Some(seconds(cost)), || draw))
                    .count();
                let share = due as f64 / count as f64;
                let chance = (-distance / (cost * beta)).exp();
                // Five standard deviations, and what the rounding of times may do.
                let bound = 5.0 * (chance * (1.0 - chance) / count as f64).sqrt() + 1e-4;
                assert!(
                    (share - chance).abs() <= bound,
                    "{share} is not {chance} (beta {beta}, cost {cost}, {distance} s, seed {SEED})"
                );
            }
        }
    }

    /// How long before its end a value that is hit all the time is loaded anew: of n hits in a
    /// row the first whose lot falls. With hits each `step`, the chance that none falls before a
    /// distance is the product of the chances of each; the mean is compared with it.
    #[test]
    fn a_value_that_is_hit_all_the_time_is_loaded_some_loads_before_its_end() {
        let (rule, ttl, cost, step) =
            (RefreshAhead::XFetch { beta: 1.0 }, 100.0, Duration::from_secs(1), 0.05);
        let mut draws = draws(10_000_000);
        let mut sum = 0.0;
        let lives = 2_000;
        for _ in 0..lives {
            let hits = (0..).map(|hit| ttl - 20.0 + f64::from(hit) * step);
            let mut ends = hits.filter(|&age| {
                rule.is_due(seconds(age), seconds(ttl), Some(cost), || draws.next().unwrap())
            });
            sum += ttl - ends.next().unwrap();
        }
        let mut alive = 1.0;
        let mut expected = 0.0;
        for hit in 0..=400 {
            let distance = 20.0 - f64::from(hit) * step;
            let chance = (-distance).exp().min(1.0);
            expected += alive * chance * distance;
            alive *= 1.0 - chance;
        }
        let mean = sum / f64::from(lives);
        assert!((mean - expected).abs() < 0.15, "{mean}, not {expected}; seed {SEED}");
    }

    #[test]
    fn far_from_the_end_no_lot_is_drawn_and_past_it_each_is_due() {
        let rule = RefreshAhead::XFetch { beta: 1.0 };
        let (ttl, cost) = (seconds(100.0), Some(seconds(1.0)));
        assert!(!rule.is_due(seconds(60.0), ttl, cost, || panic!("no lot is drawn")));
        assert!(draws(1000).all(|draw| rule.is_due(ttl, ttl, cost, || draw)));
        assert!(rule.is_due(seconds(64.0), ttl, cost, || 1.0 / (1_u64 << 53) as f64));
    }

    #[test]
    fn an_unknown_cost_is_a_hundredth_of_the_time_to_live() {
        let rule = RefreshAhead::XFetch { beta: 1.0 };
        let (age, ttl) = (seconds(98.0), seconds(100.0));
        for draw in draws(1000) {
            let known = rule.is_due(age, ttl, Some(seconds(1.0)), || draw);
            assert_eq!(rule.is_due(age, ttl, None, || draw), known);
        }
    }

    #[test]
    fn draws_are_even_and_threads_draw_their_own() {
        let mut buckets = [0_u32; 16];
        for draw in draws(160_000) {
            assert!(draw > 0.0 && draw <= 1.0);
            buckets[(draw * 16.0).min(15.0) as usize] += 1;
        }
        assert!(buckets.iter().all(|count| count.abs_diff(10_000) < 600), "{buckets:?}");
        let theirs = std::thread::spawn(|| [draw(), draw()]).join().unwrap();
        assert_ne!([draw(), draw()], theirs);
    }

    #[test]
    fn what_is_out_of_range_is_refused() {
        for share in [0.0, 1.0, -1.0, f64::NAN] {
            assert_eq!(RefreshAhead::After(share).check().unwrap_err().kind(), ErrorKind::Config);
        }
        for beta in [0.0, -1.0, 1000.1, f64::NAN, f64::INFINITY] {
            assert!(RefreshAhead::XFetch { beta }.check().is_err());
        }
        assert!(RefreshAhead::After(0.8).check().is_ok());
        assert!(RefreshAhead::XFetch { beta: 1.0 }.check().is_ok());
    }
}

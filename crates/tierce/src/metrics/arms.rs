//! What is counted for one side of a cache that is split between two tierings.
//!
//! Counters and histograms of its own, beside those of the cache: a side is judged by what its own
//! calls met. What has no side (memory, processor time, whether tiers answer) is the cache's.

use std::time::Duration;

use super::{
    Counters, Histogram, LatencySummary, WindowStats,
    windows::{Counts, Event, Reading, State, Windows},
};
use crate::{clock::Millis, split::Side, sync::Mutex};

/// A counter of one side.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ArmCounter {
    /// Reads by callers.
    Requests,
    /// Reads that a tier answered by something fresh.
    Hits,
    /// Calls whose caller got an error in place of an answer.
    Failures,
    /// Reads and changes that a tier kept waiting for its whole deadline.
    Late,
    /// Loaders that ran.
    Loads,
}

/// What the calls of one side of a split cache met, since it was first split.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SideStats {
    /// `new` or `old`.
    pub side: &'static str,
    /// Reads by callers.
    pub requests: u64,
    /// Reads that a tier answered by something fresh.
    pub hits: u64,
    /// Calls that gave their caller an error in place of an answer.
    pub failures: u64,
    /// Reads and changes that a tier kept waiting for its whole deadline.
    pub late: u64,
    /// Loaders that ran.
    pub loads: u64,
    /// How long reads took; loaders are not part of it.
    pub latency: LatencySummary,
}

/// How many [`ArmCounter`]s there are.
const ARM_COUNTERS: usize = ArmCounter::Loads as usize + 1;

/// One side.
#[derive(Debug, Default)]
pub(crate) struct Arm {
    counters: Counters<ARM_COUNTERS>,
    /// How long reads took; those of L1 are sampled.
    pub(crate) latency: Histogram,
    /// How long loaders ran.
    pub(crate) load_latency: Histogram,
    windows: Mutex<Windows>,
}

impl Arm {
    /// Adds one to a counter.
    pub(crate) fn count(&self, counter: ArmCounter) {
        self.add(counter, 1);
    }

    /// Adds to a counter.
    pub(crate) fn add(&self, counter: ArmCounter, count: u64) {
        self.counters.add(counter as usize, count);
    }

    /// What came in the `span` before `now`, as far as somebody looked before.
    pub(crate) fn window(&self, now: Millis, state: State, span: Duration) -> WindowStats {
        let mut windows = self.windows.lock();
        if windows.latest() != Some(now) {
            windows.tick(now, self.reading(state));
        }
        WindowStats::of(&windows.window(span))
    }

    /// All that came so far.
    pub(crate) fn snapshot(&self, side: Side) -> SideStats {
        let sum = |counter: ArmCounter| self.counters.sum(counter as usize);
        SideStats {
            side: match side {
                Side::New => "new",
                Side::Old => "old",
            },
            requests: sum(ArmCounter::Requests),
            hits: sum(ArmCounter::Hits),
            failures: sum(ArmCounter::Failures),
            late: sum(ArmCounter::Late),
            loads: sum(ArmCounter::Loads),
            latency: self.latency.snapshot().summary(),
        }
    }

    fn reading(&self, state: State) -> Reading {
        let events = [
            (Event::Requests, ArmCounter::Requests),
            (Event::Hits, ArmCounter::Hits),
            (Event::Failures, ArmCounter::Failures),
            (Event::Late, ArmCounter::Late),
            (Event::Loads, ArmCounter::Loads),
        ];
        let counts = events.iter().fold(Counts::default(), |counts, (event, counter)| {
            counts.with(*event, self.counters.sum(*counter as usize))
        });
        Reading { counts, latency: self.latency.snapshot(), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_has_windows_of_its_own() {
        let arm = Arm::default();
        let second = Duration::from_secs(1);
        let window = |at| arm.window(Millis(at), State::default(), second);
        arm.count(ArmCounter::Requests);
        assert_eq!(window(1_000).requests, 0, "before anybody looked");
        arm.add(ArmCounter::Requests, 10);
        arm.add(ArmCounter::Hits, 7);
        arm.count(ArmCounter::Failures);
        arm.latency.record(5_000_000);
        let seen = window(2_000);
        assert_eq!((seen.requests, seen.hits, seen.failures), (10, 7, 1));
        assert!(seen.latency.p95 >= Duration::from_micros(4_900), "{:?}", seen.latency);
        assert_eq!(window(3_000).requests, 0);
        let all = arm.snapshot(Side::New);
        assert_eq!((all.side, all.requests, all.hits, all.failures), ("new", 11, 7, 1));
    }
}

//! What is counted for one side of a cache that is split between two tierings.
//!
//! Counters and histograms of its own, beside those of the cache: a side is judged by what its own
//! calls met. What has no side (memory, processor time, whether tiers answer) is the cache's.

use std::time::Duration;

use super::{
    Counters, Histogram, WindowStats,
    windows::{Counts, Event, Reading, State, Windows},
};
use crate::{clock::Millis, sync::Mutex};

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
    }
}

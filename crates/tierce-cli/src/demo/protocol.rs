//! What a worker and the demo tell each other: lines of JSON on the worker's standard output,
//! lines of a word or two on its standard input.
//!
//! A worker reports every [`INTERVAL`], so one that is killed takes at most that much with it;
//! the first wrong values and errors it reports at once. Standard input at its end means that the
//! demo is gone, and the worker goes too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::latency::Latencies;

/// How often a worker reports.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Line of the demo: from now on this phase is played. Followed by its number.
pub(super) const PHASE: &str = "phase";
/// Line of the demo: report the rest and end.
pub(super) const STOP: &str = "stop";

/// One line of a worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Line {
    /// The cache is open.
    Ready {
        /// Why L2 does not answer, which the demo cannot go on without.
        shared_trouble: Option<String>,
    },
    /// What was done since the line before.
    Interval(Interval),
    /// A value was wrong, or a call failed.
    Trouble(String),
    /// All was reported.
    Ended,
}

/// What a worker did in an interval.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Interval {
    /// How long ago the worker's cache was opened.
    pub(super) age_milliseconds: u64,
    /// Why L3 does not answer now.
    pub(super) redis_trouble: Option<String>,
    /// By the phase in which the requests began.
    pub(super) parts: Vec<Part>,
}

/// The requests of one phase in one interval.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Part {
    /// The number of the phase.
    pub(super) phase: usize,
    /// What became of them.
    pub(super) tally: Tally,
    /// Their latencies, as buckets in use and their counts.
    pub(super) latencies: Vec<(usize, u64)>,
}

/// Counts of requests by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Requests of the trace.
    pub(super) requests: u64,
    /// Of those: answered by L1.
    pub(super) memory: u64,
    /// Answered by L2.
    pub(super) shared: u64,
    /// Answered by L3.
    pub(super) redis: u64,
    /// Read from the origin by this caller.
    pub(super) loaded: u64,
    /// Read from the origin by another caller of the process meanwhile.
    pub(super) joined: u64,
    /// Further reads, of items that were changed before.
    pub(super) probes: u64,
    /// Items changed by an overwrite in the cache.
    pub(super) sets: u64,
    /// Items changed by a removal from the cache.
    pub(super) deletes: u64,
    /// Calls that failed, whatever they were.
    pub(super) errors: u64,
    /// Values that were not right, whoever read them.
    pub(super) wrong: u64,
}

impl Tally {
    /// Adds what `other` counted.
    pub(super) fn add(&mut self, other: &Self) {
        let Self {
            requests,
            memory,
            shared,
            redis,
            loaded,
            joined,
            probes,
            sets,
            deletes,
            errors,
            wrong,
        } = other;
        self.requests += requests;
        self.memory += memory;
        self.shared += shared;
        self.redis += redis;
        self.loaded += loaded;
        self.joined += joined;
        self.probes += probes;
        self.sets += sets;
        self.deletes += deletes;
        self.errors += errors;
        self.wrong += wrong;
    }

    /// The requests that L1 did not answer.
    pub(super) fn below_memory(&self) -> u64 {
        self.shared + self.redis + self.loaded + self.joined
    }
}

/// The requests of one phase with their latencies, as they are being counted.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) tally: Tally,
    pub(super) latencies: Latencies,
}

impl Counted {
    pub(super) fn new() -> Self {
        Self { tally: Tally::default(), latencies: Latencies::new() }
    }

    /// Adds what `other` counted.
    pub(super) fn add(&mut self, other: &Self) {
        self.tally.add(&other.tally);
        self.latencies.merge(&other.latencies);
    }

    /// Adds what a worker reported.
    pub(super) fn add_part(&mut self, part: &Part) {
        self.tally.add(&part.tally);
        for (bucket, count) in &part.latencies {
            self.latencies.add_to_bucket(*bucket, *count);
        }
    }

    /// As a worker reports it.
    pub(super) fn to_part(&self, phase: usize) -> Part {
        Part { phase, tally: self.tally, latencies: self.latencies.used_buckets().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_worker_counted_arrives_as_it_was() {
        let mut counted = Counted::new();
        counted.tally = Tally { requests: 3, memory: 1, loaded: 2, ..Tally::default() };
        [40, 464_000_000, 465_000_000].iter().for_each(|nanos| counted.latencies.add(*nanos));
        let line = Line::Interval(Interval {
            age_milliseconds: 5,
            redis_trouble: None,
            parts: vec![counted.to_part(2)],
        });
        let text = serde_json::to_string(&line).unwrap();
        assert!(!text.contains('\n'));
        let Line::Interval(read) = serde_json::from_str(&text).unwrap() else { panic!("{text}") };
        let mut sum = Counted::new();
        sum.add_part(&read.parts[0]);
        sum.add_part(&read.parts[0]);
        assert_eq!(sum.tally.requests, 6);
        assert_eq!(sum.tally.below_memory(), 4);
        assert_eq!(sum.latencies.quantile(0.01), counted.latencies.quantile(0.01));
        assert_eq!(sum.latencies.quantile(1.0), counted.latencies.quantile(1.0));
    }
}

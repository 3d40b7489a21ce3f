//! What a cache did in a window of time, as users see it.

use std::{num::NonZeroUsize, thread, time::Duration};

use super::{
    LatencySummary,
    windows::{Event, Window},
};

/// What a cache did in a window of 1 s to 60 min.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct WindowStats {
    /// How long the window was asked to be.
    #[cfg_attr(feature = "serde", serde(rename = "asked_ms", serialize_with = "millis"))]
    pub asked: Duration,
    /// How much of it is known: less where nobody looked at the cache before.
    #[cfg_attr(feature = "serde", serde(rename = "covered_ms", serialize_with = "millis"))]
    pub covered: Duration,
    /// Reads by callers.
    pub requests: u64,
    /// Reads that a tier answered.
    pub hits: u64,
    /// Calls that gave their caller an error in place of an answer.
    pub failures: u64,
    /// Reads that a tier kept waiting for its whole deadline.
    pub late: u64,
    /// Reads that went to a tier below L1.
    pub tier_reads: u64,
    /// Failures of tiers, whether or not a caller noticed.
    pub tier_errors: u64,
    /// Loaders that ran.
    pub loads: u64,
    /// Values brought up into a tier from one below.
    pub backfills: u64,
    /// Entries that had to leave for room.
    pub evictions: u64,
    /// How long reads took; loaders are not part of it.
    pub latency: LatencySummary,
    /// Bytes that the cache accounts for in this process, now.
    pub bytes: u64,
    /// The bound on them, if there is one.
    pub bytes_limit: Option<u64>,
    /// Memory of the process, now; 0 where the system does not tell.
    pub resident_bytes: u64,
    /// True while every tier of the tiering answers.
    pub available: bool,
    /// Processor time of the process.
    #[cfg_attr(feature = "serde", serde(rename = "processor_ms", serialize_with = "millis"))]
    pub processor: Duration,
}

impl WindowStats {
    pub(crate) fn of(window: &Window) -> Self {
        let count = |event| window.counts.of(event);
        Self {
            asked: window.asked,
            covered: window.covered,
            requests: count(Event::Requests),
            hits: count(Event::Hits),
            failures: count(Event::Failures),
            late: count(Event::Late),
            tier_reads: count(Event::TierReads),
            tier_errors: count(Event::TierErrors),
            loads: count(Event::Loads),
            backfills: count(Event::Backfills),
            evictions: count(Event::Evictions),
            latency: window.latencies(),
            bytes: window.state.bytes,
            bytes_limit: (window.state.bytes_limit > 0).then_some(window.state.bytes_limit),
            resident_bytes: window.state.resident,
            available: window.state.available,
            processor: Duration::from_millis(count(Event::Processor)),
        }
    }

    /// Operations whose outcome is known: reads, and calls that failed without being counted as one.
    pub fn operations(&self) -> u64 {
        self.requests.max(self.failures)
    }

    /// Requests per second; `None` where nothing is known of the window.
    pub fn throughput(&self) -> Option<f64> {
        let seconds = self.covered.as_secs_f64();
        (seconds > 0.0).then(|| self.requests as f64 / seconds)
    }

    /// Share of all processors of the machine that the process used, 0 to 1.
    pub fn processor_share(&self) -> Option<f64> {
        let processors = thread::available_parallelism().map_or(1, NonZeroUsize::get) as f64;
        let seconds = self.covered.as_secs_f64();
        (seconds > 0.0).then(|| self.processor.as_secs_f64() / seconds / processors)
    }
}

#[cfg(feature = "serde")]
fn millis<S: serde::Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

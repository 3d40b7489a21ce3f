//! Counters and latency histograms that every part above `metrics` writes to, and the plain
//! snapshots of them that users see.
//!
//! | file | holds |
//! |---|---|
//! | `arms` | the same for each side of a cache that is split |
//! | `counter` | counters striped over threads: the hot ones |
//! | `families` | what takes all of this as metrics, whatever becomes of them |
//! | `heavy`, `survey` | the heaviest beginnings of keys, and how long entries are of use, while somebody wants to know |
//! | `histogram` | latencies, with quantiles below 1 % of error and exact counts at thresholds |
//! | `keyspaces` | counters by label of a keyspace |
//! | `notice` | what a hit of L1 has to do beside being counted |
//! | `sampler` | which hits of L1 are timed |
//! | `snapshot` | [`Stats`] and its parts |
//! | `prometheus` | which metrics there are; `text` is their format, `openmetrics` the newer one |
//! | `windows` | what was counted in the last second to hour, with `delta` of histograms |
//! | `window_stats` | [`WindowStats`]: a window as users see it |
//! | `process` | processor time, memory, threads and files of the process |
//!
//! Nothing here locks or allocates on the way, apart from the first value of an octave in a
//! histogram. All accesses are relaxed: each number is right, two numbers read together may be
//! some operations apart.

mod arms;
mod counter;
mod delta;
mod families;
mod heavy;
mod histogram;
mod keyspaces;
mod notice;
mod openmetrics;
mod process;
mod prometheus;
mod sampler;
mod snapshot;
mod survey;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod text;
mod window_stats;
pub(crate) mod windows;

pub use arms::SideStats;
pub(crate) use arms::{Arm, ArmCounter};
pub(crate) use counter::Counters;
pub(crate) use families::Families;
pub(crate) use histogram::Histogram;
pub use keyspaces::KeyspaceStats;
pub(crate) use keyspaces::{KeyspaceCounter, KeyspaceMetrics, Keyspaces};
use notice::Notice;
pub use openmetrics::to_openmetrics;
pub(crate) use process::Process;
pub use process::process_to_prometheus;
pub use prometheus::to_prometheus;
pub(crate) use sampler::{Countdown, SAMPLE_RATE, Sampler};
pub use snapshot::{
    BehindStats, BreakerStats, EvictionStats, LatencyCount, LatencySummary, Stats, TierStats,
};
pub(crate) use survey::Survey;
pub use survey::{PrefixShare, SurveyReport, TtlUse};
pub use window_stats::WindowStats;
use windows::{Counts, Event, Reading, State, Windows};
#[cfg(feature = "otel")]
pub(crate) use {families::Label, process::write_process, prometheus::write_stats};

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use crate::{
    clock::{Clock, Millis},
    error::ErrorKind,
    split::Side,
    sync::{
        Mutex, MutexGuard,
        tally::{self, Own, Seat},
    },
    tiering::TierKind,
};

/// All kinds of errors, each at the index of its number.
const ERROR_KINDS: [ErrorKind; 18] = [
    ErrorKind::Config,
    ErrorKind::Io,
    ErrorKind::Corrupt,
    ErrorKind::Timeout,
    ErrorKind::Network,
    ErrorKind::Auth,
    ErrorKind::TooLarge,
    ErrorKind::Full,
    ErrorKind::Loader,
    ErrorKind::LoaderPanicked,
    ErrorKind::Reentrant,
    ErrorKind::Closed,
    ErrorKind::Busy,
    ErrorKind::Unsupported,
    ErrorKind::Version,
    ErrorKind::Denied,
    ErrorKind::Codec,
    ErrorKind::Absent,
];

/// A counter of one tier.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TierCounter {
    Hits,
    Misses,
    Stale,
    Backfills,
    BytesIn,
    BytesOut,
}

/// How many [`TierCounter`]s there are.
const TIER_COUNTERS: usize = TierCounter::BytesOut as usize + 1;

/// What one tier does.
#[derive(Debug, Default)]
pub(crate) struct TierMetrics {
    counters: Counters<TIER_COUNTERS>,
    /// Where each thread counts plain hits of L1 by itself.
    seat: Option<Seat>,
    errors: [AtomicU64; ERROR_KINDS.len()],
    /// How long reads took. Those of L1 are sampled; see [`Countdown`] and [`Sampler`].
    pub(crate) latency: Histogram,
}

impl TierMetrics {
    /// Adds one to a counter.
    #[inline]
    pub(crate) fn count(&self, counter: TierCounter) {
        self.add(counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub(crate) fn add(&self, counter: TierCounter, count: u64) {
        self.counters.add(counter as usize, count);
    }

    fn sum(&self, counter: TierCounter) -> u64 {
        let own = match (counter, &self.seat) {
            (TierCounter::Hits, Some(seat)) => seat.sum(),
            _ => 0,
        };
        self.counters.sum(counter as usize).wrapping_add(own)
    }

    /// Counts an error by its kind.
    pub(crate) fn error(&self, kind: ErrorKind) {
        if let Some(counter) = self.errors.get(kind as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The numbers now. Evictions, usage and trouble are the tier's own to tell, and left empty.
    pub(crate) fn snapshot(&self, kind: TierKind) -> TierStats {
        let sum = |counter: TierCounter| self.sum(counter);
        let errors = ERROR_KINDS.iter().zip(&self.errors);
        TierStats {
            hits: sum(TierCounter::Hits),
            misses: sum(TierCounter::Misses),
            stale: sum(TierCounter::Stale),
            backfills: sum(TierCounter::Backfills),
            bytes_in: sum(TierCounter::BytesIn),
            bytes_out: sum(TierCounter::BytesOut),
            errors: errors
                .map(|(kind, count)| (kind.as_str(), count.load(Ordering::Relaxed)))
                .filter(|(_, count)| *count > 0)
                .collect(),
            timed: self.latency.timed(),
            latency: self.latency.snapshot().summary(),
            ..TierStats::new(kind)
        }
    }
}

/// A counter of the whole cache.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CacheCounter {
    /// Reads that no tier answered.
    Misses,
    /// Loaders that were run.
    Loads,
    /// Loaders that failed or panicked.
    LoadFailures,
    /// Callers that waited for another's load instead of loading.
    LoadWaits,
    /// Loaded values that were not stored because the key had changed meanwhile.
    LoadsNotStored,
    /// Hits of word that there is no value.
    NegativeHits,
    /// Calls whose load failed and that got no stale value either.
    FailedReads,
    /// Values that callers set.
    Sets,
    /// Keys that callers deleted.
    Deletes,
    /// Reads that a replica of L3 answered.
    ReplicaReads,
    /// Reads that none answered which might have.
    ReplicaTurnedBack,
    /// Values that were set behind L3.
    BehindQueued,
    /// Those of them that took the place of one that waited.
    BehindCoalesced,
    /// Those that L3 was given.
    BehindSent,
    /// Those whose key was changed before L3 had them.
    BehindOvertaken,
    /// Values that were to be set behind L3 and went there at once.
    BehindThrough,
    /// Values of which nobody knows whether L3 has them: it is not asked for them until it was cleared of
    /// their group.
    BehindInDoubt,
}

/// How many [`CacheCounter`]s there are.
const CACHE_COUNTERS: usize = CacheCounter::BehindInDoubt as usize + 1;

/// What one cache does.
#[derive(Debug)]
pub(crate) struct Metrics {
    tiers: [TierMetrics; 3],
    counters: Counters<CACHE_COUNTERS>,
    pub(crate) notice: Notice,
    pub(crate) keyspaces: Keyspaces,
    /// How long loaders ran.
    pub(crate) load_latency: Histogram,
    /// How long reads that went below L1 took, from the call to its return.
    pub(crate) operation_latency: Histogram,
    /// When counting began.
    begun: SystemTime,
    /// What came when; nothing until somebody asks for it.
    windows: OnceLock<Box<Mutex<Windows>>>,
    /// The two sides, from the first split on.
    arms: OnceLock<Box<[Arm; 2]>>,
    clock: Clock,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Clock::system())
    }
}

impl Metrics {
    /// No counts yet; windows go by this clock.
    pub(crate) fn new(clock: Clock) -> Self {
        Self::seated(clock, Seat::take())
    }

    fn seated(clock: Clock, seat: Option<Seat>) -> Self {
        let notice = Notice::new(seat.as_ref());
        let memory = TierMetrics { seat, ..TierMetrics::default() };
        Self {
            tiers: [memory, TierMetrics::default(), TierMetrics::default()],
            counters: Counters::default(),
            notice,
            keyspaces: Keyspaces::default(),
            load_latency: Histogram::default(),
            operation_latency: Histogram::default(),
            begun: SystemTime::now(),
            windows: OnceLock::new(),
            arms: OnceLock::new(),
            clock,
        }
    }

    /// The time by which windows go.
    pub(crate) fn now(&self) -> Millis {
        self.clock.coarse()
    }

    /// When counting began, by the clock on the wall.
    #[cfg_attr(not(feature = "otel"), allow(dead_code))]
    pub(crate) fn begun(&self) -> SystemTime {
        self.begun
    }

    /// The clock that windows go by.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The windows, after a reading: the first call begins them.
    pub(crate) fn windows(&self, state: State, evictions: u64) -> MutexGuard<'_, Windows> {
        let windows = {
            // A fork in the midst would leave the child to wait for whoever makes them.
            let _whole = crate::sync::section();
            self.windows.get_or_init(Box::default)
        };
        let now = self.now();
        let mut windows = windows.lock();
        if windows.latest() != Some(now) {
            windows.tick(now, self.reading(state, evictions));
        }
        windows
    }

    /// All that windows count, since the cache was made.
    fn reading(&self, state: State, evictions: u64) -> Reading {
        let sum = |counter: CacheCounter| self.counters.sum(counter as usize);
        let tiers = |counter: TierCounter| {
            let sums = self.tiers.iter().map(|tier| tier.sum(counter));
            sums.fold(0, u64::saturating_add)
        };
        let errors = |tier: &TierMetrics, kind: Option<ErrorKind>| {
            let kinds = tier.errors.iter().enumerate();
            kinds
                .filter(|(number, _)| kind.is_none_or(|kind| kind as usize == *number))
                .map(|(_, count)| count.load(Ordering::Relaxed))
                .fold(0, u64::saturating_add)
        };
        let all_errors = |kind| self.tiers.iter().map(|tier| errors(tier, kind)).sum::<u64>();
        let hits = tiers(TierCounter::Hits);
        let requests = hits
            .saturating_add(tiers(TierCounter::Stale))
            .saturating_add(sum(CacheCounter::Misses));
        let below = &self.tiers[TierKind::Shared.index()..];
        let asked = [TierCounter::Hits, TierCounter::Misses];
        let asked = asked.iter().flat_map(|counter| below.iter().map(|tier| tier.sum(*counter)));
        let process = Process::now();
        let mut latency = self.tier(TierKind::Memory).latency.snapshot();
        latency.merge(&self.operation_latency.snapshot());
        Reading {
            counts: Counts::default()
                .with(Event::Requests, requests)
                .with(Event::Hits, hits)
                .with(Event::Failures, sum(CacheCounter::FailedReads))
                .with(Event::Late, all_errors(Some(ErrorKind::Timeout)))
                .with(Event::TierReads, asked.sum())
                .with(Event::TierErrors, all_errors(None))
                .with(Event::Loads, sum(CacheCounter::Loads))
                .with(Event::Backfills, tiers(TierCounter::Backfills))
                .with(Event::Evictions, evictions)
                .with(Event::Processor, process.processor_millis),
            latency,
            state: State { resident: process.resident, ..state },
        }
    }

    /// Begins to count both sides apart.
    pub(crate) fn count_sides(&self) {
        let _whole = crate::sync::section();
        self.arms.get_or_init(Box::default);
    }

    /// What is counted for this side; `None` for a call that fell on none.
    #[inline]
    pub(crate) fn arm(&self, side: Option<Side>) -> Option<&Arm> {
        let side = side?;
        self.arms.get().map(|arms| &arms[side as usize])
    }

    /// What the calls of each side met, where there are sides.
    fn sides(&self) -> Vec<SideStats> {
        let of = |side| Some(self.arm(Some(side))?.snapshot(side));
        [Side::Old, Side::New].into_iter().filter_map(of).collect()
    }

    /// The metrics of one tier.
    #[inline]
    pub(crate) fn tier(&self, kind: TierKind) -> &TierMetrics {
        &self.tiers[kind.index()]
    }

    /// Adds one to a counter.
    #[inline]
    pub(crate) fn count(&self, counter: CacheCounter) {
        self.add(counter, 1);
    }

    /// Adds to a counter.
    #[inline]
    pub(crate) fn add(&self, counter: CacheCounter, count: u64) {
        self.counters.add(counter as usize, count);
    }

    /// Counts a request that this tier answered: one counter. Hits and requests of the cache are
    /// sums made by [`snapshot`](Self::snapshot).
    #[inline]
    pub(crate) fn hit(&self, kind: TierKind) {
        self.hits(kind, 1);
    }

    /// As [`hit`](Self::hit), for so many requests at once.
    #[inline]
    pub(crate) fn hits(&self, kind: TierKind, count: u64) {
        if !cfg!(tierce_uncounted) {
            self.tier(kind).add(TierCounter::Hits, count);
        }
        self.notice.hit(kind);
    }

    /// Counts a plain hit of L1 in the tally of the thread; false where that is not all there is to do,
    /// and [`plain_hit_noticed`](Self::plain_hit_noticed) does all of it.
    #[inline(always)]
    pub(crate) fn plain_hit(&self, own: Own) -> bool {
        let seat = self.notice.seat();
        if cfg!(tierce_uncounted) { (seat as usize) < tally::SEATS } else { own.count(seat) }
    }

    /// Counts a plain hit of L1 together with all threads.
    pub(crate) fn plain_hit_noticed(&self) {
        self.hit(TierKind::Memory);
        if let Some(own) = tally::own() {
            own.pass();
        }
    }

    /// Counts a request that no tier answered.
    pub(crate) fn miss(&self) {
        self.counters.add(CacheCounter::Misses as usize, 1);
    }

    /// The numbers now, of the cache and of these tiers.
    pub(crate) fn snapshot(&self, tiers: impl IntoIterator<Item = TierKind>) -> Stats {
        let sum = |counter: CacheCounter| self.counters.sum(counter as usize);
        // Over all tiers, also those that left the tiering: requests do not become fewer.
        let hits = self.tiers.iter().map(|tier| tier.sum(TierCounter::Hits)).sum::<u64>();
        let stale_served = self.tiers.iter().map(|tier| tier.sum(TierCounter::Stale)).sum::<u64>();
        let misses = sum(CacheCounter::Misses);
        let below = self.operation_latency.snapshot();
        let mut all = self.tier(TierKind::Memory).latency.snapshot();
        all.merge(&below);
        Stats {
            requests: hits.saturating_add(stale_served).saturating_add(misses),
            hits,
            misses,
            loads: sum(CacheCounter::Loads),
            load_failures: sum(CacheCounter::LoadFailures),
            load_waits: sum(CacheCounter::LoadWaits),
            loads_not_stored: sum(CacheCounter::LoadsNotStored),
            negative_hits: sum(CacheCounter::NegativeHits),
            failed_reads: sum(CacheCounter::FailedReads),
            sets: sum(CacheCounter::Sets),
            deletes: sum(CacheCounter::Deletes),
            replica_reads: sum(CacheCounter::ReplicaReads),
            replica_turned_back: sum(CacheCounter::ReplicaTurnedBack),
            behind: BehindStats {
                queued: sum(CacheCounter::BehindQueued),
                coalesced: sum(CacheCounter::BehindCoalesced),
                sent: sum(CacheCounter::BehindSent),
                overtaken: sum(CacheCounter::BehindOvertaken),
                through: sum(CacheCounter::BehindThrough),
                in_doubt: sum(CacheCounter::BehindInDoubt),
                waiting: 0,
                waiting_bytes: 0,
            },
            stale_served,
            last_hit_tier: self.notice.latest(),
            keyspaces: self.keyspaces.snapshot(),
            sides: self.sides(),
            tiers: tiers.into_iter().map(|kind| self.tier(kind).snapshot(kind)).collect(),
            load_latency: self.load_latency.snapshot().summary(),
            operation_latency: below.summary(),
            latency: all.summary(),
        }
    }
}

/// Nanoseconds of a span, for [`Histogram::record`].
#[inline]
pub(crate) fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_the_counter_of_its_number() {
        let metrics = TierMetrics::default();
        for (number, kind) in ERROR_KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            for _ in 0..=number {
                metrics.error(kind);
            }
        }
        let errors = metrics.snapshot(TierKind::Shared).errors;
        assert_eq!(errors.len(), ERROR_KINDS.len());
        assert_eq!(errors[ErrorKind::Timeout.as_str()], ErrorKind::Timeout as u64 + 1);
    }

    #[test]
    fn a_snapshot_tells_what_was_counted() {
        let metrics = Metrics::default();
        assert_eq!(metrics.notice.latest(), None);
        metrics.hit(TierKind::Memory);
        metrics.hit(TierKind::Redis);
        metrics.miss();
        metrics.count(CacheCounter::Loads);
        metrics.tier(TierKind::Memory).count(TierCounter::Backfills);
        metrics.tier(TierKind::Redis).add(TierCounter::BytesIn, 100);
        metrics.tier(TierKind::Redis).latency.record(5_000);
        let stats = metrics.snapshot([TierKind::Memory, TierKind::Redis]);
        assert_eq!((stats.requests, stats.hits, stats.misses, stats.loads), (3, 2, 1, 1));
        assert_eq!(stats.last_hit_tier, Some(TierKind::Redis));
        let [memory, redis] = &stats.tiers[..] else { panic!("two tiers were asked for") };
        assert_eq!((memory.hits, memory.backfills, memory.latency.count), (1, 1, 0));
        assert_eq!((redis.hits, redis.bytes_in, redis.latency.count), (1, 100, 1));
        assert!(stats.tier(TierKind::Shared).is_none());
    }
}

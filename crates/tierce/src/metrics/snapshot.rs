//! The numbers of a cache as users see them: plain data, no more connected with the cache.

use std::{collections::BTreeMap, time::Duration};

use super::{KeyspaceStats, SideStats};
use crate::{memory::MemoryStatistics, tiering::TierKind};

/// How long something took.
///
/// Quantiles and `max` are since the cache was made. Quantiles are within 1 % of the exact ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LatencySummary {
    /// How many there were. Hits of L1 are sampled, one in 512 of a thread that has many and all of one
    /// that has few, and each sample counts as the hits of its thread since the one before.
    pub count: u64,
    /// Half took at most this long.
    #[cfg_attr(feature = "serde", serde(rename = "p50_ns", serialize_with = "nanos"))]
    pub p50: Duration,
    /// 95 % took at most this long.
    #[cfg_attr(feature = "serde", serde(rename = "p95_ns", serialize_with = "nanos"))]
    pub p95: Duration,
    /// 99 % took at most this long.
    #[cfg_attr(feature = "serde", serde(rename = "p99_ns", serialize_with = "nanos"))]
    pub p99: Duration,
    /// The longest; spans above one hour count as one hour.
    #[cfg_attr(feature = "serde", serde(rename = "max_ns", serialize_with = "nanos"))]
    pub max: Duration,
    /// The average.
    #[cfg_attr(feature = "serde", serde(rename = "mean_ns", serialize_with = "nanos"))]
    pub mean: Duration,
    /// The sum of all.
    #[cfg_attr(feature = "serde", serde(rename = "sum_ns", serialize_with = "nanos"))]
    pub sum: Duration,
    /// How many took at most so long, exactly; limits in rising order.
    pub thresholds: Vec<LatencyCount>,
}

/// How many spans were at most so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LatencyCount {
    /// The limit.
    #[cfg_attr(feature = "serde", serde(rename = "limit_ns", serialize_with = "nanos"))]
    pub limit: Duration,
    /// How many were not longer.
    pub count: u64,
}

/// Why entries left a tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EvictionStats {
    /// To keep the bound on entries.
    pub size: u64,
    /// To keep the bound on bytes.
    pub bytes: u64,
    /// Because their time to live had passed.
    pub expired: u64,
    /// Replaced by a newer value of their key.
    pub replaced: u64,
    /// Removed by key, or with everything else.
    pub removed: u64,
    /// Did not leave but was never let in: too large, or no room.
    pub refused: u64,
}

impl EvictionStats {
    /// What L1 counted.
    pub(crate) fn of_memory(counted: &MemoryStatistics) -> Self {
        Self {
            size: counted.size,
            bytes: counted.bytes,
            expired: counted.expired,
            replaced: counted.replaced,
            removed: counted.removed,
            refused: counted.refused,
        }
    }
}

/// What the circuit breaker of a tier did.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BreakerStats {
    /// `closed`, `open` or `half_open`.
    pub state: &'static str,
    /// How often it opened.
    pub opened: u64,
    /// Calls that were not made because it was not closed.
    pub rejected: u64,
}

impl BreakerStats {
    /// These numbers.
    pub(crate) fn new(state: &'static str, opened: u64, rejected: u64) -> Self {
        Self { state, opened, rejected }
    }
}

/// What became of values that are set behind L3 ([`WritePolicy::Behind`](crate::WritePolicy::Behind)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BehindStats {
    /// Values that were let wait.
    pub queued: u64,
    /// Values that a newer one of their key took the place of while they waited.
    pub coalesced: u64,
    /// Values that L3 was given.
    pub sent: u64,
    /// Values whose key was changed before L3 had them, so that they went nowhere.
    pub overtaken: u64,
    /// Values that went to L3 at once, as the queue was full, another process had the cell of their key, they
    /// bore tags, or changes of other hosts were not told.
    pub through: u64,
    /// Values that did not get to L3, or of which that is not known: nobody of the host asks L3 for keys of
    /// their groups until those were cleared there.
    pub in_doubt: u64,
    /// Values that wait now.
    pub waiting: u64,
    /// Their bytes, and those of their keys.
    pub waiting_bytes: u64,
}

impl BehindStats {
    /// True where nothing was ever set behind L3.
    pub(super) fn is_unused(&self) -> bool {
        *self == Self::default()
    }
}

/// What one tier did since the cache was made, and how full it is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct TierStats {
    /// Which tier.
    #[cfg_attr(feature = "serde", serde(serialize_with = "short_name"))]
    pub kind: TierKind,
    /// Requests that it answered.
    pub hits: u64,
    /// Requests that it was asked and did not answer.
    pub misses: u64,
    /// Stale values of it that were served because callers allowed it.
    pub stale: u64,
    /// Its failures by kind, as [`ErrorKind::as_str`](crate::ErrorKind::as_str) spells it; kinds
    /// that never came are left out.
    pub errors: BTreeMap<&'static str, u64>,
    /// Values that were brought up into it from a tier below.
    pub backfills: u64,
    /// Why entries left it.
    pub evictions: EvictionStats,
    /// Bytes of values that were read from it. 0 for L1, which hands out values as they are.
    pub bytes_out: u64,
    /// Bytes of values that were written to it. 0 for L1.
    pub bytes_in: u64,
    /// Entries in it; approximate in L2, 0 where it cannot tell.
    pub entries: u64,
    /// The bound on entries, if there is one.
    pub max_entries: Option<u64>,
    /// Bytes that it holds, overhead included; 0 where it cannot tell.
    pub bytes: u64,
    /// The bound on bytes, if there is one.
    pub max_bytes: Option<u64>,
    /// Why it does not answer now, if so.
    pub trouble: Option<String>,
    /// Its circuit breaker; L1 has none.
    pub breaker: Option<BreakerStats>,
    /// Keys that it is not asked for, since changes of them did not reach it; "all" counts as one.
    pub distrusted_keys: u64,
    /// How many of its reads were timed. All but those of L1, where a hit that was timed stands for
    /// others in `latency`.
    pub timed: u64,
    /// How long its reads took.
    pub latency: LatencySummary,
}

impl TierStats {
    pub(super) fn new(kind: TierKind) -> Self {
        Self {
            kind,
            hits: 0,
            misses: 0,
            stale: 0,
            errors: BTreeMap::new(),
            backfills: 0,
            evictions: EvictionStats::default(),
            bytes_out: 0,
            bytes_in: 0,
            entries: 0,
            max_entries: None,
            bytes: 0,
            max_bytes: None,
            trouble: None,
            breaker: None,
            distrusted_keys: 0,
            timed: 0,
            latency: LatencySummary::default(),
        }
    }

    /// The failures of all kinds together.
    pub fn errors_total(&self) -> u64 {
        self.errors.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// What a cache did since it was made.
///
/// The numbers are read one after the other while the cache goes on, so they may be some
/// operations apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Stats {
    /// Reads by callers.
    pub requests: u64,
    /// Reads that a tier answered.
    pub hits: u64,
    /// Reads that no tier answered.
    pub misses: u64,
    /// Loaders that were run.
    pub loads: u64,
    /// Loaders that failed or panicked.
    pub load_failures: u64,
    /// Callers that waited for another caller's load of the same key.
    pub load_waits: u64,
    /// Loaded values that went to their callers only, since the key had changed meanwhile.
    pub loads_not_stored: u64,
    /// Those of `hits` that found word that the key has no value.
    pub negative_hits: u64,
    /// Reads whose callers got an error, as the load failed and there was no stale value either.
    pub failed_reads: u64,
    /// Values that callers set.
    pub sets: u64,
    /// Keys that callers deleted.
    pub deletes: u64,
    /// Reads of L3 that a replica answered.
    pub replica_reads: u64,
    /// Reads of L3 that might have been, and that its master was asked for: no replica was there, as
    /// new as it must be, or had a fresh value.
    pub replica_turned_back: u64,
    /// What was set behind L3.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BehindStats::is_unused"))]
    pub behind: BehindStats,
    /// Reads that were answered with a stale value, because their callers allowed it: neither hits
    /// nor misses.
    pub stale_served: u64,
    /// The tier of the latest hit.
    #[cfg_attr(feature = "serde", serde(serialize_with = "maybe_short_name"))]
    pub last_hit_tier: Option<TierKind>,
    /// What was done by way of keyspaces, by label.
    pub keyspaces: Vec<KeyspaceStats>,
    /// The sides of a cache that is or was split between two tierings, the old one first; else
    /// empty.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Vec::is_empty"))]
    pub sides: Vec<SideStats>,
    /// The tiers in use, fastest first.
    pub tiers: Vec<TierStats>,
    /// How long loaders ran.
    pub load_latency: LatencySummary,
    /// How long reads took, those that L1 answered included.
    pub latency: LatencySummary,
    /// How long reads that went below L1 took, from the call to its return.
    pub operation_latency: LatencySummary,
}

impl Stats {
    /// The numbers of one tier, if it is in use.
    pub fn tier(&self, kind: TierKind) -> Option<&TierStats> {
        self.tiers.iter().find(|tier| tier.kind == kind)
    }

    /// Hits per request, 0 to 1; `None` before the first request.
    pub fn hit_ratio(&self) -> Option<f64> {
        (self.requests > 0).then(|| self.hits as f64 / self.requests as f64)
    }

    /// The numbers as JSON; spans are whole nanoseconds, with `_ns` behind their names.
    #[cfg(feature = "serde")]
    pub fn to_json(&self) -> String {
        // Numbers, names and lists of our own: nothing here that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The numbers as Prometheus text, for a process with one cache; see
    /// [`to_prometheus`](crate::to_prometheus) for several.
    pub fn to_prometheus(&self, cache: &str) -> String {
        super::to_prometheus([(cache, self)])
    }
}

#[cfg(feature = "serde")]
fn nanos<S: serde::Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_u64(super::nanoseconds(*span))
}

#[cfg(feature = "serde")]
fn short_name<S: serde::Serializer>(kind: &TierKind, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(kind.short())
}

#[cfg(feature = "serde")]
fn maybe_short_name<S: serde::Serializer>(
    kind: &Option<TierKind>,
    out: S,
) -> Result<S::Ok, S::Error> {
    match kind {
        Some(kind) => short_name(kind, out),
        None => out.serialize_none(),
    }
}

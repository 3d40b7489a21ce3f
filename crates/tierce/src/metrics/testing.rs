//! What tests share.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use super::{
    ArmCounter, BreakerStats, CacheCounter, KeyspaceCounter, Metrics, SAMPLE_RATE, Stats,
    TierCounter,
};
use crate::{error::ErrorKind, split::Side, tiering::TierKind};

/// Statistics with something of everything.
pub(crate) fn full_stats() -> Stats {
    let metrics = Metrics::default();
    metrics.hit(TierKind::Memory);
    metrics.miss();
    metrics.count(CacheCounter::LoadFailures);
    metrics.tier(TierKind::Memory).latency.record_many(300, SAMPLE_RATE);
    metrics.tier(TierKind::Redis).error(ErrorKind::Timeout);
    metrics.tier(TierKind::Redis).add(TierCounter::BytesOut, 12);
    metrics.count(CacheCounter::FailedReads);
    metrics.add(CacheCounter::Sets, 5);
    metrics.add(CacheCounter::Deletes, 2);
    let users = metrics.keyspaces.label("user/:id", 1).unwrap();
    users.add(KeyspaceCounter::Hits, 3);
    metrics.count_sides();
    let new = metrics.arm(Some(Side::New)).unwrap();
    new.add(ArmCounter::Requests, 5);
    new.latency.record(1_000_000);
    let mut stats = metrics.snapshot(TierKind::ALL);
    stats.tiers[0].max_entries = Some(10_000);
    stats.tiers[2].trouble = Some("no route".into());
    stats.tiers[2].breaker = Some(BreakerStats::new("open", 1, 7));
    stats.tiers[2].distrusted_keys = 3;
    stats
}

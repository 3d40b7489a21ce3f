//! What a cache says of itself.

use super::{Cache, Inner};
use crate::{
    clock::Millis,
    metrics::{
        EvictionStats, Keyspaces, Stats,
        windows::{State, Windows},
    },
    sync::MutexGuard,
    tier::{Tier, Usage},
    tiering::TierKind,
};

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn stats(&self) -> Stats {
        let mut stats = self.metrics.snapshot(self.plan.load().tiering().tiers());
        (stats.behind.waiting, stats.behind.waiting_bytes) = self.behind.len();
        for tier in &mut stats.tiers {
            let (usage, evictions) = match tier.kind {
                TierKind::Memory => self.memory_usage(),
                TierKind::Shared => {
                    let shared = self.lowers.shared.opened();
                    shared.map(|shared| (shared.usage(), shared.evictions())).unwrap_or_default()
                }
                TierKind::Redis => {
                    let usage = self.lowers.redis.opened().map(|redis| redis.usage());
                    (usage.unwrap_or_default(), EvictionStats::default())
                }
            };
            tier.entries = usage.entries;
            tier.max_entries = usage.max_entries;
            tier.bytes = usage.bytes;
            tier.max_bytes = usage.max_bytes;
            tier.evictions = evictions;
            tier.trouble = self.trouble(tier.kind);
            (tier.breaker, tier.distrusted_keys) = match tier.kind {
                TierKind::Memory => (None, 0),
                TierKind::Shared => {
                    let shared = &self.lowers.shared;
                    (Some(shared.breaker_stats()), shared.distrusted_keys())
                }
                TierKind::Redis => {
                    let redis = &self.lowers.redis;
                    (Some(redis.breaker_stats()), redis.distrusted_keys())
                }
            };
        }
        stats
    }

    fn memory_usage(&self) -> (Usage, EvictionStats) {
        let counted = self.memory.statistics();
        let usage = Usage {
            entries: self.memory.len() as u64,
            max_entries: self.memory.max_entries(),
            bytes: self.memory.weight(),
            max_bytes: self.memory.max_bytes(),
        };
        (usage, EvictionStats::of_memory(&counted))
    }

    fn trouble(&self, tier: TierKind) -> Option<String> {
        match tier {
            TierKind::Memory => None,
            TierKind::Shared => self.lowers.shared.trouble(),
            TierKind::Redis => self.lowers.redis.trouble().or_else(|| self.deafness()),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// What came when, as of now.
    pub(crate) fn windows(&self) -> MutexGuard<'_, Windows> {
        let inner = &self.inner;
        let (_, left) = inner.memory_usage();
        let shared = inner.lowers.shared.opened().map(|shared| shared.evictions());
        let forced = |left: EvictionStats| left.size.saturating_add(left.bytes);
        inner.metrics.windows(self.state(), forced(left).saturating_add(shared.map_or(0, forced)))
    }

    /// What has a value at each moment.
    pub(super) fn state(&self) -> State {
        let (usage, _) = self.inner.memory_usage();
        State {
            bytes: usage.bytes,
            bytes_limit: usage.max_bytes.unwrap_or(0),
            resident: 0,
            available: self.tiering().tiers().all(|tier| self.inner.trouble(tier).is_none()),
        }
    }

    /// The time by which windows go.
    pub(crate) fn now(&self) -> Millis {
        self.inner.metrics.now()
    }

    /// The clock, where it is one that only a test moves.
    #[cfg(feature = "serde")]
    pub(crate) fn manual_clock(&self) -> Option<crate::clock::Clock> {
        Some(self.inner.metrics.clock().clone()).filter(crate::clock::Clock::is_manual)
    }

    /// When it began to count.
    #[cfg(feature = "otel")]
    pub(crate) fn begun(&self) -> std::time::SystemTime {
        self.inner.metrics.begun()
    }

    /// The name given to the builder.
    pub(crate) fn service(&self) -> &str {
        &self.inner.service
    }

    /// The labels of its keyspaces.
    pub(crate) fn keyspaces(&self) -> &Keyspaces {
        &self.inner.metrics.keyspaces
    }

    pub(crate) fn is_closed(&self) -> bool {
        !self.inner.plan.load().is_open()
    }

    /// Why a tier does not answer, or `None` while it does.
    pub(crate) fn trouble(&self, tier: TierKind) -> Option<String> {
        self.inner.trouble(tier)
    }
}

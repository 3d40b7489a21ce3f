//! Two hosts with a Redis between them, all in this process.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{path::Path, time::Duration};

use tempfile::TempDir;
use tierce::{
    Builder, Cache, Freshness, MemoryOptions, RedisOptions, StoreOptions, TierKind, Tiering,
    WritePolicy,
};

use crate::{redis::Redis, store_folder};

const RELAXED: Duration = Duration::from_secs(10);
/// By so much the clocks of two tiers may differ, and more.
pub const CLOCK_TICK: Duration = Duration::from_millis(20);
/// How long values are fresh, and then stale, where a test says nothing else.
pub const HOUR: Duration = Duration::from_secs(3600);

/// Two hosts with a Redis between them.
#[derive(Debug)]
pub struct World {
    redis: Redis,
    /// Whether hosts are told of each other's changes: then copies from before the first word of the
    /// server may be void at any moment.
    is_told: bool,
    /// Which values reach the Redis.
    writes: WritePolicy,
    here: TempDir,
    elsewhere: TempDir,
}

impl World {
    /// Hosts that are not told of each other's changes.
    ///
    /// # Panics
    /// If the server cannot be started.
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        Self { is_told: false, ..Self::of_hosts() }
    }

    /// Hosts that are.
    ///
    /// # Panics
    /// If the server cannot be started.
    pub fn of_hosts() -> Self {
        let (here, elsewhere) = (store_folder(), store_folder());
        let writes = WritePolicy::Through;
        Self { redis: Redis::start(), is_told: true, writes, here, elsewhere }
    }

    /// The same hosts, which set around the Redis.
    pub fn around(self) -> Self {
        Self { writes: WritePolicy::Around, ..self }
    }

    /// What a process of this host is made from.
    pub fn builder(&self, tiering: Tiering) -> Builder {
        self.builder_in(self.here.path(), tiering)
    }

    fn builder_in(&self, folder: &Path, tiering: Tiering) -> Builder {
        let options = RedisOptions::new()
            .unix_path(self.redis.socket())
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED)
            .coherence(self.is_told)
            .write(self.writes);
        Cache::builder()
            .prefix_delimiter(b'/')
            .tiering(tiering)
            .freshness(Freshness::new().ttl(HOUR).stale_if_error(HOUR))
            .memory(MemoryOptions::new().max_entries(1_000))
            .shared(StoreOptions::new(folder.join("store")).max_bytes(16 << 20))
            .redis(options)
    }

    /// A process of this host.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn process(&self, tiering: Tiering) -> Cache {
        self.builder(tiering).build().unwrap()
    }

    /// A process of another host.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn other_host(&self, tiering: Tiering) -> Cache {
        self.builder_in(self.elsewhere.path(), tiering).build().unwrap()
    }

    /// Those who look into one tier of this cache alone.
    pub fn tiers_alone(&self, tiering: Tiering) -> Vec<(TierKind, Cache)> {
        [(TierKind::Shared, Tiering::L2), (TierKind::Redis, Tiering::L3)]
            .into_iter()
            .filter(|(tier, _)| tiering.has(*tier))
            .map(|(tier, alone)| (tier, self.process(alone)))
            .collect()
    }
}

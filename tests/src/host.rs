//! A host with caches of its own store and a redis-server that it shares with others.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tempfile::TempDir;
use tierce::{BreakerOptions, Builder, Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering};

use crate::{redis::Redis, store_folder, waiting::wait_until};

/// How often the stream of changes is asked for a sign of life.
pub const HEARTBEAT: Duration = Duration::from_millis(200);
/// How long copies may be older than what another host has changed.
pub const BOUND: Duration = Duration::from_millis(1000);

/// A host, and a process of it.
#[derive(Debug)]
pub struct Host {
    /// Where its store is.
    pub folder: TempDir,
    /// The process.
    pub cache: Cache,
}

impl Host {
    /// One whose process is told of the changes of others.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn new(redis: &Redis, tiering: Tiering) -> Self {
        Self::with(redis, tiering, |options| options)
    }

    /// The same with other options of L3.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn with(
        redis: &Redis,
        tiering: Tiering,
        more: impl FnOnce(RedisOptions) -> RedisOptions,
    ) -> Self {
        Self::built(redis, tiering, more, |builder| builder)
    }

    /// The same by another way to the server, which these options name.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn through(tiering: Tiering, more: impl FnOnce(RedisOptions) -> RedisOptions) -> Self {
        let folder = store_folder();
        let cache = begun(builder_of(&folder, tiering, more(options())));
        wait_until("a subscription", || subscriptions(&cache) >= 1);
        Self { folder, cache }
    }

    /// The same with other options of the cache.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn built(
        redis: &Redis,
        tiering: Tiering,
        more: impl FnOnce(RedisOptions) -> RedisOptions,
        built: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let folder = store_folder();
        let cache = begun(built(builder(&folder, redis, tiering, more)));
        if tiering != Tiering::L3 {
            wait_until("a subscription", || subscriptions(&cache) >= 1);
        }
        Self { folder, cache }
    }

    /// Another process of the host, as far as the store can tell.
    ///
    /// # Panics
    /// If it cannot be made.
    pub fn another(&self, redis: &Redis, tiering: Tiering) -> Cache {
        process(&self.folder, redis, tiering, |options| options)
    }
}

/// A process of the host whose store is here.
///
/// # Panics
/// If it cannot be made.
pub fn process(
    folder: &TempDir,
    redis: &Redis,
    tiering: Tiering,
    more: impl FnOnce(RedisOptions) -> RedisOptions,
) -> Cache {
    begun(builder(folder, redis, tiering, more))
}

fn builder(
    folder: &TempDir,
    redis: &Redis,
    tiering: Tiering,
    more: impl FnOnce(RedisOptions) -> RedisOptions,
) -> Builder {
    builder_of(folder, tiering, more(options().unix_path(redis.socket())))
}

fn options() -> RedisOptions {
    RedisOptions::new()
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2))
        .heartbeat(HEARTBEAT)
        .staleness_bound(BOUND)
}

fn builder_of(folder: &TempDir, tiering: Tiering, options: RedisOptions) -> Builder {
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)))
}

fn begun(builder: Builder) -> Cache {
    let cache = builder.build().unwrap();
    // The thread that listens begins with the first call.
    cache.get("nothing");
    cache
}

/// How often a process has subscribed to the stream of changes.
pub fn subscriptions(cache: &Cache) -> u64 {
    cache.redis_statistics().map_or(0, |counted| counted.subscriptions)
}

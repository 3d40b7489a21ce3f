//! Which clients keep copies near, and how each is set up: all with room for every key.

use std::{num::NonZeroUsize, time::Duration};

use redis::{
    AsyncCommands, AsyncConnectionConfig, Client as RedisClient, aio::MultiplexedConnection,
    caching::CacheConfig,
};
use tierce::{Bytes, Cache, MemoryOptions, RedisOptions, Tiering, WritePolicy};
use tokio::runtime::{Builder, Runtime};

use super::{BOUND, KEYS};
use crate::l3::rivals::OURS;

pub(crate) const TIERCE_BEHIND: &str = "tierce-behind";
pub(crate) const CACHE_AIO: &str = "redis-rs-cache-aio";
pub(crate) const CACHE_AIO_WORKERS: &str = "redis-rs-cache-aio-workers";
pub(crate) const TIERCE_PYTHON: &str = "tierce-python";
pub(crate) const REDIS_PY: &str = "redis-py-client-cache";

/// Those of this program, ours first.
pub(super) const RUST: [&str; 4] = [OURS, CACHE_AIO, CACHE_AIO_WORKERS, TIERCE_BEHIND];
/// Those of `benches/python/near.py`, ours first.
pub(super) const PYTHON: [&str; 2] = [TIERCE_PYTHON, REDIS_PY];

/// A deadline that a busy machine keeps: a run with errors would say nothing.
const RELAXED: Duration = Duration::from_secs(10);

type Fault = Box<dyn std::error::Error>;

/// A client of one host. What it does not do by itself goes on while one of its calls waits.
pub(super) trait Client {
    /// The version that a key's value bears, or 0 where there is no value.
    async fn get(&mut self, key: &str) -> u32;

    /// Returns once the server has the value, unless it is sent later.
    async fn set(&mut self, key: &str, value: Vec<u8>);
}

/// The version that is in the first bytes of a value.
fn version(value: &[u8]) -> u32 {
    let first = value.first_chunk().expect("each value begins with its version");
    u32::from_le_bytes(*first)
}

/// For how long a value waits that is sent later: as the other host is to see it soon.
const DELAY: Duration = Duration::from_millis(10);

/// tierce: L1 above L3, with all else as it is where nobody says anything, but that values may be sent later.
pub(super) struct Ours(Cache<Bytes>);

impl Ours {
    pub(super) fn open(name: &str, url: &str) -> Result<Self, Fault> {
        let policy = match name {
            TIERCE_BEHIND => WritePolicy::Behind,
            _ => WritePolicy::Through,
        };
        let redis = RedisOptions::new()
            .url(url)
            .write(policy)
            .write_delay(DELAY)
            .connect_timeout(RELAXED)
            .read_timeout(RELAXED)
            .write_timeout(RELAXED);
        let memory = MemoryOptions::new().max_entries(2 * u64::from(KEYS));
        let cache = Cache::<Bytes>::builder().tiering(Tiering::L1L3).memory(memory).redis(redis);
        Ok(Self(cache.build()?))
    }
}

impl Client for Ours {
    async fn get(&mut self, key: &str) -> u32 {
        self.0.get(key).map_or(0, |value| version(&value))
    }

    async fn set(&mut self, key: &str, value: Vec<u8>) {
        self.0.set(key, Bytes::from(value)).expect("the value is small enough");
    }
}

/// A multiplexed connection of redis-rs with its cache.
pub(super) struct CacheAio(MultiplexedConnection);

impl CacheAio {
    pub(super) async fn open(url: &str) -> Result<Self, Fault> {
        let room = NonZeroUsize::new(2 * KEYS as usize).ok_or("no room")?;
        // It may file an answer that came before the word of a change, after that word: nothing but
        // their time to live ends such copies. So that is the bound which ours keeps.
        let cache = CacheConfig::new().set_size(room).set_default_client_ttl(BOUND);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(Some(RELAXED))
            .set_cache_config(cache);
        let client = RedisClient::open(format!("{url}?protocol=resp3"))?;
        Ok(Self(client.get_multiplexed_async_connection_with_config(&config).await?))
    }
}

impl Client for CacheAio {
    async fn get(&mut self, key: &str) -> u32 {
        let found: Option<Vec<u8>> = self.0.get(key).await.expect("the server answers");
        found.map_or(0, |value| version(&value))
    }

    async fn set(&mut self, key: &str, value: Vec<u8>) {
        let () = self.0.set(key, value).await.expect("the server takes it");
    }
}

/// What runs the calls of a client of this name: the thread that calls alone, which does the work of the
/// connection while a call waits; or workers that do it beside that thread.
pub(super) fn runtime(name: &str) -> std::io::Result<Runtime> {
    if name == CACHE_AIO_WORKERS {
        Builder::new_multi_thread().worker_threads(1).enable_all().build()
    } else {
        Builder::new_current_thread().enable_all().build()
    }
}

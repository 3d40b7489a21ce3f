//! tierce: an embedded tiered cache.
#![deny(unsafe_code)]

mod clock;
mod codec;
#[cfg(feature = "config")]
pub mod config;
mod error;
mod memory;
mod metrics;
mod policy;
mod resilience;
#[cfg(feature = "shared")]
#[cfg_attr(not(target_os = "linux"), path = "store/elsewhere.rs")]
mod store;
mod sync;
mod tier;
mod tiering;

pub use clock::{Clock, ManualClock, Millis};
pub use codec::{BytesCodec, Codec, Format};
#[cfg(feature = "config")]
pub use config::Config;
pub use error::{Error, ErrorKind, Result};
pub use memory::{Inserted, MemoryCache, MemoryOptions, MemoryStatistics, Ttl};
pub use metrics::{EvictionStats, LatencyCount, LatencySummary, Stats, TierStats, to_prometheus};
pub use policy::PolicyKind;
pub use resilience::BreakerOptions;
#[cfg(feature = "shared")]
pub use store::{
    Dropped, KeyHash, Medium, NewRecord, Put, Store, StoreCheck, StoreFill, StoreOptions,
    StoreRecord, StoreStatistics, StoreToken, StoreUsage, default_directory,
};
pub use tier::{Fill, Found, Record, Token, Usage};
pub use tiering::{TierKind, Tiering};
#[cfg(feature = "redis")]
pub use tier::{RedisOptions, RedisRefusal, RedisStatistics};

//! tierce: an embedded tiered cache.
//!
//! | tier | where | reach |
//! |---|---|---|
//! | L1 | memory of this process | one process |
//! | L2 | a store file, mapped by every process (feature `shared`, on by default) | all processes of a host |
//! | L3 | Redis or Valkey (feature `redis`) | all hosts |
//!
//! [`Cache`] is the three as one: a read asks the fastest first and copies what it finds upwards,
//! a change reaches all, and nothing that a change ended comes back. [`MemoryCache`] is L1 alone,
//! generic over keys and values; [`Store`] is L2 alone.
//!
//! ```
//! use std::time::Duration;
//! use tierce::{Bytes, Cache, MemoryOptions};
//!
//! let cache = Cache::builder()
//!     .memory(MemoryOptions::new().max_bytes(64 << 20))
//!     .default_ttl(Duration::from_secs(600))
//!     .build()?;
//!
//! // One load for all threads that ask for the key at the same time.
//! let user = cache.get_or_load("user:7", |_key| std::io::Result::Ok(Bytes::from("Ada")))?;
//! assert_eq!(user, "Ada");
//! cache.delete("user:7")?;
//! # Ok::<(), tierce::Error>(())
//! ```
//!
//! Values other than [`Bytes`] need a [`Codec`] for the tiers below L1, given to
//! [`Builder::build_with`].
#![deny(unsafe_code)]
#![cfg_attr(not(feature = "shared"), allow(rustdoc::broken_intra_doc_links))]

/// The examples of the README, so that they stay true.
#[cfg(all(doctest, feature = "shared"))]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod cache;
mod clock;
mod codec;
#[cfg(feature = "config")]
pub mod config;
mod diagnosis;
mod error;
mod event;
mod group_word;
pub mod guard;
mod hidden_tags;
mod invalidation;
#[cfg(any(feature = "shared", feature = "redis"))]
mod key;
mod keyspace;
mod load;
mod memory;
mod metrics;
mod pages;
mod policy;
mod prefetch;
mod random;
mod resilience;
mod shared_stamp;
#[cfg(feature = "sim")]
pub mod sim;
#[cfg_attr(not(feature = "sim"), path = "simulated/absent.rs")]
mod simulated;
mod split;
#[cfg(feature = "shared")]
#[cfg_attr(not(target_os = "linux"), path = "store/elsewhere.rs")]
mod store;
mod sync;
// Names of what only the tiers below use.
#[cfg_attr(not(feature = "shared"), allow(dead_code))]
mod tag_cells;
// Where a tier is not built in, nothing can be made of what stands for it.
#[cfg_attr(not(all(feature = "shared", feature = "redis")), allow(dead_code))]
mod tier;
mod tiering;
// Named as `config::units` where that is built in.
#[doc(hidden)]
#[cfg_attr(not(feature = "config"), allow(dead_code))]
pub mod units;

pub use bytes::Bytes;

pub use cache::{
    Advice, Answer, Builder, Cache, Countable, Event, Freshness, GateState, LoadOptions, Loaded,
    Loader, Loading, MAX_KEY_BYTES, Origin, ReadOptions, SetOptions, Shedding, Split, Version,
};
pub use clock::{Clock, ManualClock, Millis};
#[cfg(feature = "serde")]
pub use codec::JsonCodec;
#[cfg(feature = "msgpack")]
pub use codec::MessagePackCodec;
pub use codec::{BytesCodec, Codec, Compression, Format};
#[cfg(feature = "config")]
pub use config::Config;
pub use diagnosis::{Diagnosis, Fitness};
pub use error::{Error, ErrorKind, Result};
pub use guard::{Dependency, DependencyStats, Health, HealthStatus, TierMetrics};
pub use keyspace::{KeyPart, KeyParts, KeyPattern, Keyspace, KeyspaceCounters};
pub use load::{CancelToken, LoadContext, LoadReason, RefreshAhead};
pub use memory::{
    Computed, Inserted, Iter, KeyHasher, MemoryBuilder, MemoryCache, MemoryOptions,
    MemoryStatistics, RandomState, RemovalCause, Ttl,
};
pub use metrics::{
    BehindStats, BreakerStats, EvictionStats, KeyspaceStats, LatencyCount, LatencySummary,
    PrefixShare, SideStats, Stats, SurveyReport, TierStats, TtlUse, WindowStats,
    process_to_prometheus, to_openmetrics, to_prometheus,
};
pub use policy::{PolicyKind, PolicyView};
pub use resilience::{BreakerOptions, BreakerState};
#[cfg(feature = "shared")]
pub use store::{
    Dropped, KeyHash, Medium, NewRecord, Put, Store, StoreCheck, StoreFill, StoreOptions,
    StoreRecord, StoreStatistics, StoreToken, StoreUsage, default_directory,
};
#[cfg(all(feature = "shared", target_os = "linux"))]
pub use store::{
    StoreContents, StoreDoubts, StoreFinding, StoreHeader, StoreHistogram, StoreInspection,
    StoreLook, StorePlace, StoreProcess, StoreSegment, StoreSegmentState, StoreSeverity,
    StoreSlots, StoreUser, StoreUsers,
};
pub use tier::{Invalidation, OnLoss, WritePolicy};
#[cfg(feature = "redis")]
pub use tier::{RedisOptions, RedisRefusal, RedisStatistics};
pub use tiering::{TierKind, Tiering};

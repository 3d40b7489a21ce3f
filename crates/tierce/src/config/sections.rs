//! The parts of the model: plain data with the defaults of each key.
//!
//! `None` means that nobody said anything; what holds then is told at the field, and where the
//! part that is configured chooses by itself, it stays `None`.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    codec::Compression,
    config::secret::Secret,
    policy::PolicyKind,
    tier::{Invalidation, OnLoss, WritePolicy},
};

/// The bound of L1 where none is given: enough for a service's hot set, small beside its heap.
pub const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;

/// Where a cache runs: it picks the column of the SLO table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Environment {
    /// A developer's machine or a test: no SLO, no metrics unless asked for.
    #[default]
    Development,
    /// Staging.
    Staging,
    /// Production.
    Production,
}

impl Environment {
    /// `development`, `staging` or `production`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// Reads a name in any case. `NODE_ENV` is also set for others, so their usual words count:
    /// `dev` and `test` are development, `stage` is staging, `prod` is production.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "development" | "dev" | "test" => Some(Self::Development),
            "staging" | "stage" => Some(Self::Staging),
            "production" | "prod" => Some(Self::Production),
            _ => None,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// Bounds of L1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemorySection {
    /// `memory.max_entries`: most entries.
    pub max_entries: Option<u64>,
    /// `memory.max_bytes`: most bytes; see [`bound_bytes`](Self::bound_bytes) for the default.
    pub max_bytes: Option<u64>,
    /// `memory.shards`: a power of two; by the count of cores when `None`.
    pub shards: Option<u64>,
    /// `memory.policy`: which entry makes room.
    pub policy: PolicyKind,
}

impl MemorySection {
    /// The bound in bytes that holds: the one given, or 64 MiB when neither bound is given.
    pub fn bound_bytes(&self) -> Option<u64> {
        match (self.max_entries, self.max_bytes) {
            (None, None) => Some(DEFAULT_MEMORY_BYTES),
            (_, bytes) => bytes,
        }
    }
}

/// The store of L2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSection {
    /// `shared.directory`: the folder of the store, absolute; by user and `name` when `None`.
    pub directory: Option<PathBuf>,
    /// `shared.name`: processes that name the same store share it; only without `directory`.
    pub name: String,
    /// `shared.max_entries`: most entries.
    pub max_entries: u64,
    /// `shared.max_bytes`: size of the store file.
    pub max_bytes: u64,
    /// `shared.max_value_bytes`: largest value; chosen by the store when `None`.
    pub max_value_bytes: Option<u64>,
    /// `shared.lock_wait`: longest wait of one call for locks; zero never waits.
    pub lock_wait: Duration,
    /// `shared.load_lease`: longest wait for another process that loads the key; zero is off.
    pub load_lease: Duration,
    /// `shared.schema`: version of the caller's value layout.
    pub schema: u64,
    /// `shared.resize`: replaces a store of another size, and keeps its records.
    pub resize: bool,
    /// `shared.survive_truncation`: outlives a truncated store file by a handler of SIGBUS.
    pub survive_truncation: bool,
    /// `shared.mapped_reads`: reads a store on a disk by mapping, with a handler of SIGBUS.
    pub mapped_reads: bool,
}

impl Default for SharedSection {
    fn default() -> Self {
        Self {
            directory: None,
            name: "default".to_owned(),
            max_entries: 100_000,
            max_bytes: 256 << 20,
            max_value_bytes: None,
            lock_wait: Duration::from_millis(5),
            load_lease: Duration::from_secs(10),
            schema: 0,
            resize: false,
            survive_truncation: false,
            mapped_reads: false,
        }
    }
}

/// The server of L3. Either `url`, or `unix`, or `sentinels`, or `nodes`, or `host` and
/// `port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSection {
    /// `redis.url`: may hold a password, so it is kept as a secret.
    pub url: Option<Secret>,
    /// `redis.host`.
    pub host: String,
    /// `redis.port`.
    pub port: u16,
    /// `redis.unix`: path of a socket.
    pub unix: Option<PathBuf>,
    /// `redis.sentinels`: who names the server, in place of `host` and `port`.
    pub sentinels: Option<String>,
    /// `redis.sentinel_master`: the name that they know it by.
    pub sentinel_master: Option<String>,
    /// `redis.sentinel_username`.
    pub sentinel_username: Option<String>,
    /// `redis.sentinel_password`.
    pub sentinel_password: Option<Secret>,
    /// `redis.cluster`: whether the server is a node of a cluster.
    pub cluster: bool,
    /// `redis.nodes`: nodes of that cluster, in place of `host` and `port`.
    pub nodes: Option<String>,
    /// `redis.replica_reads`: whether replicas answer reads of what is as new as is known.
    pub replica_reads: bool,
    /// `redis.replicas`: those of the one server; sentinels and a cluster name theirs.
    pub replicas: Option<String>,
    /// `redis.tls`.
    pub tls: bool,
    /// `redis.tls_ca_file`: PEM file of the only certificates that are trusted.
    pub tls_ca_file: Option<PathBuf>,
    /// `redis.tls_certificate`: PEM file of the certificate that the server is shown.
    pub tls_certificate: Option<PathBuf>,
    /// `redis.tls_key`: PEM file of its private key.
    pub tls_key: Option<PathBuf>,
    /// `redis.username`.
    pub username: Option<String>,
    /// `redis.password`.
    pub password: Option<Secret>,
    /// `redis.database`.
    pub database: u32,
    /// `redis.prefix`: what our keys begin with.
    pub prefix: String,
    /// `redis.connect_timeout`.
    pub connect_timeout: Duration,
    /// `redis.read_timeout`.
    pub read_timeout: Duration,
    /// `redis.write_timeout`.
    pub write_timeout: Duration,
    /// `redis.coherence`: whether copies follow the changes of other hosts.
    pub coherence: bool,
    /// `redis.heartbeat`.
    pub heartbeat: Duration,
    /// `redis.staleness_bound`.
    pub staleness_bound: Duration,
    /// `redis.on_loss`: what becomes of copies when the stream of changes is lost.
    pub on_loss: OnLoss,
    /// `redis.invalidation`: how changes of other hosts are told.
    pub invalidation: Invalidation,
    /// `redis.write`: which values reach L3.
    pub write: WritePolicy,
    /// `redis.write_delay`: how long a value waits at most that is set behind L3.
    pub write_delay: Duration,
    /// `redis.flush_timeout`: how long who closes the cache waits for those.
    pub flush_timeout: Duration,
    /// `redis.load_lease`: longest wait for another host that loads the key and is gone; zero is off.
    pub load_lease: Duration,
    /// `redis.compression`: how values are made smaller.
    pub compression: Compression,
    /// `redis.compress_above`: from how many bytes on.
    pub compress_above: u64,
    /// `redis.seal_key`: the key under which values are sealed.
    pub seal_key: Option<Secret>,
    /// `redis.older_seal_keys`: keys that sealed before and still open.
    pub older_seal_keys: Option<Secret>,
}

impl Default for RedisSection {
    fn default() -> Self {
        Self {
            url: None,
            host: "127.0.0.1".to_owned(),
            port: 6379,
            unix: None,
            sentinels: None,
            sentinel_master: None,
            sentinel_username: None,
            sentinel_password: None,
            cluster: false,
            nodes: None,
            replica_reads: false,
            replicas: None,
            tls: false,
            tls_ca_file: None,
            tls_certificate: None,
            tls_key: None,
            username: None,
            password: None,
            database: 0,
            prefix: "tierce".to_owned(),
            connect_timeout: Duration::from_millis(500),
            read_timeout: Duration::from_millis(50),
            write_timeout: Duration::from_millis(100),
            coherence: true,
            heartbeat: Duration::from_secs(2),
            staleness_bound: Duration::from_secs(5),
            on_loss: OnLoss::Miss,
            invalidation: Invalidation::Auto,
            write: WritePolicy::Through,
            write_delay: Duration::from_millis(100),
            flush_timeout: Duration::from_secs(5),
            load_lease: Duration::ZERO,
            compression: Compression::None,
            compress_above: 1 << 10,
            seal_key: None,
            older_seal_keys: None,
        }
    }
}

/// What can be removed at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InvalidationSection {
    /// `invalidation.prefix_delimiter`: what prefixes of keys end in
    /// ([`Builder::prefix_delimiter`](crate::Builder::prefix_delimiter)): one character of ASCII.
    pub prefix_delimiter: Option<String>,
}

/// How long entries are fresh, and when stale ones are served; `default_ttl` belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreshnessSection {
    /// `freshness.ttl_jitter_percent`: share of its time to live by which each entry ends earlier.
    pub ttl_jitter_percent: Option<u64>,
    /// `freshness.stale_if_error`: how long an entry is served after its time where loading fails.
    pub stale_if_error: Option<Duration>,
    /// `freshness.stale_while_revalidate`: how long, while it is loaded.
    pub stale_while_revalidate: Option<Duration>,
    /// `freshness.negative_ttl`: how long it is remembered that there is no value.
    pub negative_ttl: Option<Duration>,
    /// `freshness.refresh_ahead_percent`: share of its time after which a hit has it loaded anew.
    pub refresh_ahead_percent: Option<u64>,
    /// `freshness.soft_timeout`: how long a caller waits before it takes a stale value.
    pub soft_timeout: Option<Duration>,
    /// `freshness.hard_timeout`: how long a load may take.
    pub hard_timeout: Option<Duration>,
    /// `freshness.failure_backoff`: the first pause after a failed load.
    pub failure_backoff: Option<Duration>,
    /// `freshness.failure_backoff_most`: the longest.
    pub failure_backoff_most: Option<Duration>,
}

impl FreshnessSection {
    /// The longest pause after a failed load where the first one is this.
    pub(super) fn longest_backoff(&self, first: Duration) -> Duration {
        self.failure_backoff_most.unwrap_or(first.saturating_mul(30))
    }
}

/// Loading on a miss.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadSection {
    /// `load.wait`: longest wait for a load that another caller has begun.
    pub wait: Duration,
    /// `load.threads`: threads that load in the background at most.
    pub threads: u64,
}

impl Default for LoadSection {
    fn default() -> Self {
        Self { wait: Duration::from_secs(30), threads: 4 }
    }
}

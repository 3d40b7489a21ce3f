//! The table of all keys of the configuration.
//!
//! One row says all there is to say of a key: name, names in the environment, kind, range,
//! default, meaning, and how it is read from and written to [`Config`]. Parsing, validation,
//! suggestions, `config show` and the reference table all walk this table, so none of them can
//! know a key that another does not.

use std::{fmt::Write as _, time::Duration};

use crate::{
    config::{
        Config,
        names::{nearest, unknown},
        value::{Kind, Value},
        watching::LISTS,
    },
    error::{Error, ErrorKind},
};

/// One key.
pub(super) struct Field {
    /// Dotted path, as files nest it.
    pub(super) key: &'static str,
    /// The names that the source documents use; `CACHE_` and the path in capitals is one more.
    pub(super) names: &'static [&'static str],
    /// True where the first name that is set wins; else names that disagree are an error.
    pub(super) first_name_wins: bool,
    pub(super) kind: Kind,
    /// The default as documents say it; readable text where it is a plain value.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// The value in `config`; `None` where it holds none.
    pub(super) read: fn(&Config) -> Option<Value>,
    pub(super) write: fn(&mut Config, Value),
    /// What holds while `read` gives `None`.
    pub(super) unset: fn(&Config) -> String,
}

/// Ten years of 365 days: longer spans are mistakes of a unit.
const MOST_TTL: Duration = Duration::from_secs(3650 * 86_400);
/// A caller that waits an hour for a load has gone away.
const MOST_WAIT: Duration = Duration::from_secs(3600);
/// A network call that takes more than ten minutes is lost, not slow.
const MOST_NETWORK: Duration = Duration::from_secs(600);
/// A read that waits longer than this for a lock of L2 had better go without L2.
const MOST_LOCK_WAIT: Duration = Duration::from_secs(1);
/// Longer than any caller waits for a load.
const MOST_LEASE: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);
/// An alert that goes on for a week and is told once is forgotten.
const MOST_REPEAT: Duration = Duration::from_secs(7 * 86_400);
/// As the options of OTLP have them.
const SHORTEST_PERIOD: Duration = Duration::from_millis(100);
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);
const LONGEST_POST: Duration = Duration::from_secs(300);
/// As the options of L3 have them.
const SHORTEST_HEARTBEAT: Duration = Duration::from_millis(10);
const LONGEST_HEARTBEAT: Duration = Duration::from_secs(60);
const MILLISECOND: Duration = Duration::from_millis(1);
/// Slots are numbered by u32 with one number kept for "none".
const MOST_ENTRIES: u64 = u32::MAX as u64 - 1;
/// More than any host of today has; far below where sums of sizes overflow.
const MOST_BYTES: u64 = 16 << 40;
/// The largest file that the store lays out.
const MOST_STORE_BYTES: u64 = 8 << 40;
/// A file or value name fits in one component of a path with room for an ending.
const MOST_NAME_BYTES: usize = 64;

/// The largest value that the options of L3 allow.
const MOST_REDIS_VALUE: u64 = 511 << 20;
/// A few dozen addresses.
const MOST_LIST: usize = 4096;
/// Keys are changed one after the other: more are forgotten ones.
const MOST_SEAL_KEYS: usize = 8;

const COUNT_OF_ENTRIES: Kind = Kind::Count { least: 1, most: MOST_ENTRIES };
const NETWORK_SPAN: Kind = Kind::Span { least: MILLISECOND, most: MOST_NETWORK };

/// Takes a value out of the one variant that the field's kind produces. Another variant cannot
/// come: [`Config::assign`] hands over only what the field's own kind has let pass.
macro_rules! put {
    ($variant:ident, $($place:ident).+) => {
        |config, value| if let Value::$variant(inner) = value { config.$($place).+ = inner }
    };
    (some $variant:ident, $($place:ident).+) => {
        |config, value| if let Value::$variant(inner) = value { config.$($place).+ = Some(inner) }
    };
}
macro_rules! take {
    ($variant:ident, $($place:ident).+) => {
        |config| Some(Value::$variant(config.$($place).+.clone()))
    };
    (some $variant:ident, $($place:ident).+) => {
        |config| config.$($place).+.clone().map(Value::$variant)
    };
}

/// All keys, in the order of `config show`.
pub(super) static FIELDS: &[Field] = &[
    Field {
        key: "service",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 128 },
        default: "CacheService",
        meaning: "name in the health document and in the `cache` label of metrics",
        read: take!(Text, service),
        write: put!(Text, service),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "environment",
        names: &["TIERCE_ENV", "CACHE_ENVIRONMENT", "NODE_ENV"],
        first_name_wins: true,
        kind: Kind::Environment,
        default: "development",
        meaning: "picks the column of the SLO table; dev and test, stage, prod are understood",
        read: take!(Environment, environment),
        write: put!(Environment, environment),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "tiering",
        names: &["CACHE_TIERING"],
        first_name_wins: false,
        kind: Kind::Tiering,
        default: "L1",
        meaning: "which tiers the cache has",
        read: take!(Tiering, tiering),
        write: put!(Tiering, tiering),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "default_ttl",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_TTL },
        default: "none",
        meaning: "how long an entry is fresh when the call names no time; none: until evicted",
        read: take!(some Span, default_ttl),
        write: put!(some Span, default_ttl),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "metrics_enabled",
        names: &["CACHE_METRICS_ENABLED"],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "true outside development",
        meaning: "whether metrics are shown (the page, the text); they are counted all the same",
        read: take!(some Flag, metrics_enabled),
        write: put!(some Flag, metrics_enabled),
        unset: |config| config.exposes_metrics().to_string(),
    },
    Field {
        key: "memory.max_entries",
        names: &["CACHE_MEMORY_MAX_ENTRIES"],
        first_name_wins: false,
        kind: COUNT_OF_ENTRIES,
        default: "none",
        meaning: "most entries that L1 holds",
        read: take!(some Count, memory.max_entries),
        write: put!(some Count, memory.max_entries),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "memory.max_bytes",
        names: &[],
        first_name_wins: false,
        kind: Kind::Size { least: 1 << 10, most: MOST_BYTES },
        default: "64MiB unless memory.max_entries is given",
        meaning: "most bytes that L1 holds, keys, values and overhead counted",
        read: take!(some Size, memory.max_bytes),
        write: put!(some Size, memory.max_bytes),
        unset: |config| {
            config.memory.bound_bytes().map_or("none".to_owned(), |b| Value::Size(b).to_string())
        },
    },
    Field {
        key: "memory.shards",
        names: &[],
        first_name_wins: false,
        kind: Kind::PowerOfTwo { most: 65_536 },
        default: "automatic",
        meaning: "locks that L1 is split by; automatic: by the count of cores",
        read: take!(some Count, memory.shards),
        write: put!(some Count, memory.shards),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "memory.policy",
        names: &[],
        first_name_wins: false,
        kind: Kind::Policy,
        default: "adaptive",
        meaning: "which entry of L1 makes room: adaptive, or exact LRU, whose hits take a lock",
        read: take!(Policy, memory.policy),
        write: put!(Policy, memory.policy),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.directory",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "automatic",
        meaning: "folder of the store of L2; automatic: one in memory of this user and shared.name",
        read: take!(some Path, shared.directory),
        write: put!(some Path, shared.directory),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "shared.name",
        names: &[],
        first_name_wins: false,
        kind: Kind::Name { most_bytes: MOST_NAME_BYTES },
        default: "default",
        meaning: "name of the store of L2 where no directory is given; who names the same one shares it",
        read: take!(Text, shared.name),
        write: put!(Text, shared.name),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.max_entries",
        names: &["CACHE_ENCORE_MAX_ENTRIES"],
        first_name_wins: false,
        kind: COUNT_OF_ENTRIES,
        default: "100000",
        meaning: "most entries that L2 holds",
        read: take!(Count, shared.max_entries),
        write: put!(Count, shared.max_entries),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.max_bytes",
        names: &[],
        first_name_wins: false,
        kind: Kind::Size { least: 1 << 20, most: MOST_STORE_BYTES },
        default: "256MiB",
        meaning: "size of the store file of L2",
        read: take!(Size, shared.max_bytes),
        write: put!(Size, shared.max_bytes),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.max_value_bytes",
        names: &[],
        first_name_wins: false,
        kind: Kind::Size { least: 1, most: 1 << 30 },
        default: "automatic",
        meaning: "largest value that L2 takes; automatic: 16MiB, or less in a small store",
        read: take!(some Size, shared.max_value_bytes),
        write: put!(some Size, shared.max_value_bytes),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "shared.lock_wait",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: Duration::ZERO, most: MOST_LOCK_WAIT },
        default: "5ms",
        meaning: "longest wait for a lock of L2 before the call goes on without L2",
        read: take!(Span, shared.lock_wait),
        write: put!(Span, shared.lock_wait),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.load_lease",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: Duration::ZERO, most: MOST_LEASE },
        default: "10s",
        meaning: "longest wait for another process of the host that loads the key; 0: none",
        read: take!(Span, shared.load_lease),
        write: put!(Span, shared.load_lease),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.schema",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 0, most: u64::MAX },
        default: "0",
        meaning: "version of the caller's value layout; another one starts with a cold store",
        read: take!(Count, shared.schema),
        write: put!(Count, shared.schema),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.resize",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "replace a store of another size, also one in use, and keep its records",
        read: take!(Flag, shared.resize),
        write: put!(Flag, shared.resize),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.survive_truncation",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "handle SIGBUS where somebody truncated the file of L2, instead of ending",
        read: take!(Flag, shared.survive_truncation),
        write: put!(Flag, shared.survive_truncation),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "shared.mapped_reads",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "read a store of L2 that is on a disk by mapping, and handle SIGBUS",
        read: take!(Flag, shared.mapped_reads),
        write: put!(Flag, shared.mapped_reads),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.url",
        names: &["REDIS_URL"],
        first_name_wins: false,
        kind: Kind::Url,
        default: "none",
        meaning: "where L3 is, in place of host, port, unix, tls and database",
        read: take!(some Url, redis.url),
        write: put!(some Url, redis.url),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.host",
        names: &["REDIS_HOST"],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 255 },
        default: "127.0.0.1",
        meaning: "name or address of the server of L3",
        read: take!(Text, redis.host),
        write: put!(Text, redis.host),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.port",
        names: &["REDIS_PORT"],
        first_name_wins: false,
        kind: Kind::Count { least: 1, most: u16::MAX as u64 },
        default: "6379",
        meaning: "port of the server of L3",
        read: |config| Some(Value::Count(u64::from(config.redis.port))),
        write: |config, value| {
            if let Value::Count(port) = value {
                config.redis.port = u16::try_from(port).unwrap_or(0);
            }
        },
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.unix",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "socket of the server of L3, in place of host and port",
        read: take!(some Path, redis.unix),
        write: put!(some Path, redis.unix),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.sentinels",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: MOST_LIST },
        default: "none",
        meaning: "sentinels that name the server of L3, host:port apart by commas, in place of host and port",
        read: take!(some Text, redis.sentinels),
        write: put!(some Text, redis.sentinels),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.sentinel_master",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 255 },
        default: "none",
        meaning: "name that the sentinels know the master by",
        read: take!(some Text, redis.sentinel_master),
        write: put!(some Text, redis.sentinel_master),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.sentinel_username",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 255 },
        default: "none",
        meaning: "user at the sentinels where they have access lists",
        read: take!(some Text, redis.sentinel_username),
        write: put!(some Text, redis.sentinel_username),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.sentinel_password",
        names: &[],
        first_name_wins: false,
        kind: Kind::Secret,
        default: "none",
        meaning: "password at the sentinels; that of L3 is not sent to them",
        read: take!(some Secret, redis.sentinel_password),
        write: put!(some Secret, redis.sentinel_password),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.cluster",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "whether the server of L3 is a node of a cluster",
        read: take!(Flag, redis.cluster),
        write: put!(Flag, redis.cluster),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.nodes",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: MOST_LIST },
        default: "none",
        meaning: "nodes of the cluster, host:port apart by commas, in place of host and port",
        read: take!(some Text, redis.nodes),
        write: put!(some Text, redis.nodes),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.tls",
        names: &["REDIS_USE_TLS"],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "whether L3 is reached by TLS, its certificate checked",
        read: take!(Flag, redis.tls),
        write: put!(Flag, redis.tls),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.tls_ca_file",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "PEM file of the only certificates that L3 may be signed by; none: Mozilla's roots",
        read: take!(some Path, redis.tls_ca_file),
        write: put!(some Path, redis.tls_ca_file),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.tls_certificate",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "PEM file of the certificate that L3 is shown, and those up to its authority",
        read: take!(some Path, redis.tls_certificate),
        write: put!(some Path, redis.tls_certificate),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.tls_key",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "PEM file of the private key of that certificate",
        read: take!(some Path, redis.tls_key),
        write: put!(some Path, redis.tls_key),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.username",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 255 },
        default: "none",
        meaning: "user of L3 where the server has access lists",
        read: take!(some Text, redis.username),
        write: put!(some Text, redis.username),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.password",
        names: &["REDIS_PASSWORD"],
        first_name_wins: false,
        kind: Kind::Secret,
        default: "none",
        meaning: "password of L3",
        read: take!(some Secret, redis.password),
        write: put!(some Secret, redis.password),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.database",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 0, most: 65_535 },
        default: "0",
        meaning: "number of the database of L3",
        read: |config| Some(Value::Count(u64::from(config.redis.database))),
        write: |config, value| {
            if let Value::Count(number) = value {
                config.redis.database = u32::try_from(number).unwrap_or(u32::MAX);
            }
        },
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.prefix",
        names: &[],
        first_name_wins: false,
        kind: Kind::Prefix { most_bytes: MOST_NAME_BYTES },
        default: "tierce",
        meaning: "what the names of all our keys in L3 begin with",
        read: take!(Text, redis.prefix),
        write: put!(Text, redis.prefix),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.connect_timeout",
        names: &[],
        first_name_wins: false,
        kind: NETWORK_SPAN,
        default: "500ms",
        meaning: "longest wait for a connection to L3",
        read: take!(Span, redis.connect_timeout),
        write: put!(Span, redis.connect_timeout),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.read_timeout",
        names: &[],
        first_name_wins: false,
        kind: NETWORK_SPAN,
        default: "50ms",
        meaning: "longest wait for an answer of L3 to a read",
        read: take!(Span, redis.read_timeout),
        write: put!(Span, redis.read_timeout),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.write_timeout",
        names: &[],
        first_name_wins: false,
        kind: NETWORK_SPAN,
        default: "100ms",
        meaning: "longest wait for an answer of L3 to a change",
        read: take!(Span, redis.write_timeout),
        write: put!(Span, redis.write_timeout),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.coherence",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "true",
        meaning: "whether copies in L1 and L2 follow the changes of other hosts",
        read: take!(Flag, redis.coherence),
        write: put!(Flag, redis.coherence),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.heartbeat",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: SHORTEST_HEARTBEAT, most: LONGEST_HEARTBEAT },
        default: "2s",
        meaning: "how often the stream of changes is asked for a sign of life",
        read: take!(Span, redis.heartbeat),
        write: put!(Span, redis.heartbeat),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.staleness_bound",
        names: &[],
        first_name_wins: false,
        kind: NETWORK_SPAN,
        default: "5s",
        meaning: "how long after the loss of the stream of changes stale copies may be served; two \
                  heartbeats at least",
        read: take!(Span, redis.staleness_bound),
        write: put!(Span, redis.staleness_bound),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.on_loss",
        names: &[],
        first_name_wins: false,
        kind: Kind::OnLoss,
        default: "miss",
        meaning: "what copies are once the stream of changes is lost: a miss, or served until \
                  their time to live ends",
        read: take!(OnLoss, redis.on_loss),
        write: put!(OnLoss, redis.on_loss),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.write",
        names: &[],
        first_name_wins: false,
        kind: Kind::Write,
        default: "through",
        meaning: "which values reach L3: what is set and what is loaded, or what is loaded alone",
        read: take!(Write, redis.write),
        write: put!(Write, redis.write),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.load_lease",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: Duration::ZERO, most: MOST_LEASE },
        default: "0ms",
        meaning: "longest wait for another host that loads the key and is gone; 0: hosts do not wait",
        read: take!(Span, redis.load_lease),
        write: put!(Span, redis.load_lease),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.compression",
        names: &[],
        first_name_wins: false,
        kind: Kind::Compression,
        default: "none",
        meaning: "how values in L3 are made smaller; processes without it find misses",
        read: take!(Compression, redis.compression),
        write: put!(Compression, redis.compression),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.compress_above",
        names: &[],
        first_name_wins: false,
        kind: Kind::Size { least: 0, most: MOST_REDIS_VALUE },
        default: "1KiB",
        meaning: "from how many bytes on values in L3 are made smaller, where that saves an eighth",
        read: take!(Size, redis.compress_above),
        write: put!(Size, redis.compress_above),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.seal_key",
        names: &[],
        first_name_wins: false,
        kind: Kind::Keys { most: 1 },
        default: "none",
        meaning: "key that encrypts values in L3; records not sealed by it are misses",
        read: take!(some Secret, redis.seal_key),
        write: put!(some Secret, redis.seal_key),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "redis.older_seal_keys",
        names: &[],
        first_name_wins: false,
        kind: Kind::Keys { most: MOST_SEAL_KEYS },
        default: "none",
        meaning: "keys whose records are read too, for a change of redis.seal_key",
        read: take!(some Secret, redis.older_seal_keys),
        write: put!(some Secret, redis.older_seal_keys),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.ttl_jitter_percent",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 0, most: 100 },
        default: "none",
        meaning: "share of its time to live by which each entry ends earlier at most; none: 0",
        read: take!(some Count, freshness.ttl_jitter_percent),
        write: put!(some Count, freshness.ttl_jitter_percent),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.stale_if_error",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_TTL },
        default: "none",
        meaning: "how long after its time to live an entry is served where loading it fails; none: never",
        read: take!(some Span, freshness.stale_if_error),
        write: put!(some Span, freshness.stale_if_error),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.stale_while_revalidate",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_TTL },
        default: "none",
        meaning: "how long after its time to live an entry is served while it is loaded; none: never",
        read: take!(some Span, freshness.stale_while_revalidate),
        write: put!(some Span, freshness.stale_while_revalidate),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.negative_ttl",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_TTL },
        default: "none",
        meaning: "how long it is remembered that a loader found no value; none: not at all",
        read: take!(some Span, freshness.negative_ttl),
        write: put!(some Span, freshness.negative_ttl),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.refresh_ahead_percent",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 1, most: 99 },
        default: "none",
        meaning: "share of its time to live after which a hit has its entry loaded anew; none: never",
        read: take!(some Count, freshness.refresh_ahead_percent),
        write: put!(some Count, freshness.refresh_ahead_percent),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.soft_timeout",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_WAIT },
        default: "none",
        meaning: "how long a caller waits for a load before it takes a stale value; none: until it ends",
        read: take!(some Span, freshness.soft_timeout),
        write: put!(some Span, freshness.soft_timeout),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.hard_timeout",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_WAIT },
        default: "none",
        meaning: "how long a load may take before it is told to stop; none: as callers wait",
        read: take!(some Span, freshness.hard_timeout),
        write: put!(some Span, freshness.hard_timeout),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.failure_backoff",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_WAIT },
        default: "none",
        meaning: "how long a key is not loaded after its loader failed, at first; none: not remembered",
        read: take!(some Span, freshness.failure_backoff),
        write: put!(some Span, freshness.failure_backoff),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "freshness.failure_backoff_most",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_WAIT },
        default: "none",
        meaning: "longest such pause: it doubles with each failure; none: 30 times the first",
        read: take!(some Span, freshness.failure_backoff_most),
        write: put!(some Span, freshness.failure_backoff_most),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "invalidation.prefix_delimiter",
        names: &[],
        first_name_wins: false,
        kind: Kind::Text { most_bytes: 1 },
        default: "none",
        meaning: "what prefixes of keys end in that can be removed at once; none: nothing is kept for it",
        read: take!(some Text, invalidation.prefix_delimiter),
        write: put!(some Text, invalidation.prefix_delimiter),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "load.wait",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: MOST_WAIT },
        default: "30s",
        meaning: "longest wait for a load that another caller has begun",
        read: take!(Span, load.wait),
        write: put!(Span, load.wait),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "load.threads",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 0, most: 1024 },
        default: "4",
        meaning: "threads that load in the background at most",
        read: take!(Count, load.threads),
        write: put!(Count, load.threads),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "actions_journal",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "a file to which each action of an operator (`tierce act`) is written",
        read: take!(some Path, actions_journal),
        write: put!(some Path, actions_journal),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "alerts_file",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "a YAML file with more alerts, in the form of `alerts`",
        read: take!(some Path, alerts.file),
        write: put!(some Path, alerts.file),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "notify.repeat",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MINUTE, most: MOST_REPEAT },
        default: "4h",
        meaning: "after how long an alert that goes on is told again",
        read: take!(Span, notify.repeat),
        write: put!(Span, notify.repeat),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "notify.per_minute",
        names: &[],
        first_name_wins: false,
        kind: Kind::Count { least: 1, most: 1000 },
        default: "20",
        meaning: "most notices that a sink gets a minute",
        read: take!(Count, notify.per_minute),
        write: put!(Count, notify.per_minute),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "serve.address",
        names: &[],
        first_name_wins: false,
        kind: Kind::Address,
        default: "none",
        meaning: "where health, metrics and the guard are served over HTTP; none: nowhere",
        read: take!(some Text, serve.address),
        write: put!(some Text, serve.address),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "serve.token",
        names: &[],
        first_name_wins: false,
        kind: Kind::Secret,
        default: "none",
        meaning: "what requests over HTTP that change state must bear; none: they are refused",
        read: take!(some Secret, serve.token),
        write: put!(some Secret, serve.token),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "monitoring.otlp.enabled",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "whether there is an endpoint",
        meaning: "send metrics to a receiver of OpenTelemetry",
        read: take!(some Flag, otlp.enabled),
        write: put!(some Flag, otlp.enabled),
        unset: |config| config.otlp.is_on().to_string(),
    },
    Field {
        key: "monitoring.otlp.endpoint",
        names: &[],
        first_name_wins: false,
        kind: Kind::Endpoint,
        default: "`OTEL_EXPORTER_OTLP_ENDPOINT`, else http://localhost:4318",
        meaning: "where it takes OTLP over HTTP; `/v1/metrics` is put behind it",
        read: take!(some Text, otlp.endpoint),
        write: put!(some Text, otlp.endpoint),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "monitoring.otlp.headers",
        names: &[],
        first_name_wins: false,
        kind: Kind::Pairs,
        default: "`OTEL_EXPORTER_OTLP_HEADERS`",
        meaning: "what goes along with each message, such as a token",
        read: take!(some Secret, otlp.headers),
        write: put!(some Secret, otlp.headers),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "monitoring.otlp.period",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: SHORTEST_PERIOD, most: LONGEST_PERIOD },
        default: "`OTEL_METRIC_EXPORT_INTERVAL`, else 1m",
        meaning: "from one message to the next",
        read: take!(some Span, otlp.period),
        write: put!(some Span, otlp.period),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "monitoring.otlp.timeout",
        names: &[],
        first_name_wins: false,
        kind: Kind::Span { least: MILLISECOND, most: LONGEST_POST },
        default: "`OTEL_EXPORTER_OTLP_TIMEOUT`, else 10s",
        meaning: "how long a message may take in all",
        read: take!(some Span, otlp.timeout),
        write: put!(some Span, otlp.timeout),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "monitoring.otlp.ca_file",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "`OTEL_EXPORTER_OTLP_CERTIFICATE`, else Mozilla's roots",
        meaning: "PEM file of the only certificates that are trusted",
        read: take!(some Path, otlp.ca_file),
        write: put!(some Path, otlp.ca_file),
        unset: |_| "automatic".to_owned(),
    },
    Field {
        key: "slo.objectives",
        names: &[],
        first_name_wins: false,
        kind: Kind::Objectives,
        default: "by environment",
        meaning: "the table of objectives; of staging and production where they are the environment",
        read: take!(some Text, slo),
        write: put!(some Text, slo),
        unset: |config| config.objectives_name().to_owned(),
    },
    Field {
        key: "rollout.plan",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "file of the plan of a rollout to take part in",
        read: take!(some Path, rollout.plan),
        write: put!(some Path, rollout.plan),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "rollout.journal",
        names: &[],
        first_name_wins: false,
        kind: Kind::Path,
        default: "none",
        meaning: "file of its journal, which all processes of the host share",
        read: take!(some Path, rollout.journal),
        write: put!(some Path, rollout.journal),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "rollout.instance",
        names: &[],
        first_name_wins: false,
        kind: Kind::Name { most_bytes: MOST_NAME_BYTES },
        default: "none",
        meaning: "name of this process among them",
        read: take!(some Text, rollout.instance),
        write: put!(some Text, rollout.instance),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "rollout.of_store",
        names: &[],
        first_name_wins: false,
        kind: Kind::Flag,
        default: "false",
        meaning: "take part in whichever rollout an operator starts in the store",
        read: take!(Flag, rollout.of_store),
        write: put!(Flag, rollout.of_store),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "traffic_split.new_system",
        names: &[],
        first_name_wins: false,
        kind: Kind::Share,
        default: "none",
        meaning: "share of keys that is on `tiering`; none: there is no split",
        read: take!(some Share, traffic_split.new_system),
        write: put!(some Share, traffic_split.new_system),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "traffic_split.old_system",
        names: &[],
        first_name_wins: false,
        kind: Kind::Share,
        default: "none",
        meaning: "share of the others: both are 100%",
        read: take!(some Share, traffic_split.old_system),
        write: put!(some Share, traffic_split.old_system),
        unset: |_| "none".to_owned(),
    },
    Field {
        key: "traffic_split.old_tiering",
        names: &[],
        first_name_wins: false,
        kind: Kind::Tiering,
        default: "L1",
        meaning: "the tiering of the others",
        read: take!(Tiering, traffic_split.old_tiering),
        write: put!(Tiering, traffic_split.old_tiering),
        unset: |_| "none".to_owned(),
    },
];

impl Field {
    /// The row of `key`, or an error that names the nearest key.
    pub(super) fn named(key: &str) -> Result<&'static Self, Error> {
        FIELDS.iter().find(|field| field.key == key).ok_or_else(|| {
            unknown("key", key, "", nearest(key, FIELDS.iter().map(|field| field.key)))
        })
    }

    /// Every variable that sets this key, in the order in which they win.
    pub(super) fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let general = format!("CACHE_{}", self.key.replace('.', "_").to_ascii_uppercase());
        if !names.contains(&general) {
            names.push(general);
        }
        names
    }

    /// The error for `text` as a value of this key; `place` says where the text stood.
    pub(super) fn refuse(&self, text: &str, place: &str, rule: &str) -> Error {
        let text = if self.kind.is_secret() {
            "***".to_owned()
        } else {
            // A whole file pasted into a variable need not be repeated in full.
            const MOST_SHOWN: usize = 80;
            let cut: String = text.chars().take(MOST_SHOWN).collect();
            let more = if cut.len() < text.len() { "..." } else { "" };
            format!("{cut:?}{more}")
        };
        Error::new(ErrorKind::Config, format!("{} = {text} ({place}): {rule}", self.key))
    }
}

/// The reference of all keys as a Markdown table: key, variables, default, rule, meaning.
pub fn reference() -> String {
    let mut table =
        String::from("| key | environment | default | value | meaning |\n|---|---|---|---|---|\n");
    for field in FIELDS {
        let mut names = field.variables();
        if field.kind.is_secret() {
            names.extend(field.variables().iter().map(|name| format!("{name}_FILE")));
        }
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            field.key,
            names.join(", "),
            field.default,
            field.kind.rule(),
            field.meaning
        );
    }
    for (key, value, meaning) in LISTS {
        let _ = writeln!(table, "| `{key}` | files only | none | {value} | {meaning} |");
    }
    table
}

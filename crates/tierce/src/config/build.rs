//! From a configuration to a cache that is being set up.

use std::time::Duration;

use super::{Config, Source};
use crate::{
    cache::{Builder, Cache, Freshness},
    error::Result,
    load::RefreshAhead,
    memory::MemoryOptions,
    tiering::TierKind,
};

impl Config {
    /// The builder of a cache as this configuration describes it.
    ///
    /// Options of L2 and L3 are handed over where the tiering has the tier or a key of its section
    /// was set; else the builder's own defaults hold, should the tier be asked for later.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`ErrorKind::Unsupported`](crate::ErrorKind::Unsupported)
    /// for a setting of a tier that this build lacks.
    pub fn builder(&self) -> Result<Builder> {
        self.check()?;
        let builder = Cache::builder()
            .service(&self.service)
            .tiering(self.tiering)
            .metrics_enabled(self.exposes_metrics())
            .load_wait(self.load.wait)
            .load_threads(usize::try_from(self.load.threads).unwrap_or(usize::MAX))
            .freshness(self.freshness_options())
            .memory(self.memory_options());
        let delimiter = self.invalidation.prefix_delimiter.as_deref();
        let builder = match delimiter.map(str::as_bytes) {
            Some([delimiter]) => builder.prefix_delimiter(*delimiter),
            _ => builder,
        };
        let builder = self.with_shared(builder)?;
        self.with_redis(builder)
    }

    fn memory_options(&self) -> MemoryOptions {
        let mut options = MemoryOptions::new().policy(self.memory.policy);
        if let Some(entries) = self.memory.max_entries {
            options = options.max_entries(entries);
        }
        if let Some(bytes) = self.memory.bound_bytes() {
            options = options.max_bytes(bytes);
        }
        if let Some(shards) = self.memory.shards {
            options = options.shards(usize::try_from(shards).unwrap_or(usize::MAX));
        }
        options
    }

    /// How long values are fresh where nothing else says it, as [`builder`](Self::builder) hands
    /// it over: what callers lay their own options over.
    ///
    /// What is out of its range is found by [`check`](Self::check).
    pub fn freshness_options(&self) -> Freshness {
        type Setter = fn(Freshness, Duration) -> Freshness;
        let section = &self.freshness;
        let setters: [(Option<Duration>, Setter); 6] = [
            (self.default_ttl, Freshness::ttl),
            (section.stale_if_error, Freshness::stale_if_error),
            (section.stale_while_revalidate, Freshness::stale_while_revalidate),
            (section.negative_ttl, Freshness::negative_ttl),
            (section.soft_timeout, Freshness::soft_timeout),
            (section.hard_timeout, Freshness::hard_timeout),
        ];
        let mut freshness = Freshness::new();
        for (span, set) in setters {
            if let Some(span) = span {
                freshness = set(freshness, span);
            }
        }
        if let Some(percent) = section.ttl_jitter_percent {
            freshness = freshness.ttl_jitter(percent as f64 / 100.0);
        }
        if let Some(percent) = section.refresh_ahead_percent {
            freshness = freshness.refresh_ahead(RefreshAhead::After(percent as f64 / 100.0));
        }
        if let Some(first) = section.failure_backoff {
            freshness = freshness.failure_backoff(first, section.longest_backoff(first));
        }
        freshness
    }

    /// True if the tiering has the tier or somebody set a key of its section.
    fn asks_for(&self, tier: TierKind) -> bool {
        let section = format!("{}.", tier.type_name());
        self.tiering.has(tier)
            || self
                .show()
                .iter()
                .any(|shown| shown.source != Source::Default && shown.key.starts_with(&section))
    }

    #[cfg(feature = "shared")]
    fn with_shared(&self, builder: Builder) -> Result<Builder> {
        if !self.asks_for(TierKind::Shared) {
            return Ok(builder);
        }
        let section = &self.shared;
        let directory = section
            .directory
            .clone()
            .unwrap_or_else(|| crate::store::default_directory(&section.name));
        let mut options = crate::store::StoreOptions::new(directory)
            .max_bytes(section.max_bytes)
            .max_entries(section.max_entries)
            .lock_wait(section.lock_wait)
            .schema(section.schema)
            .resize(section.resize)
            .load_lease(section.load_lease)
            .survive_truncation(section.survive_truncation)
            .mapped_reads(section.mapped_reads);
        if let Some(bytes) = section.max_value_bytes {
            options = options.max_value_bytes(bytes);
        }
        Ok(builder.shared(options))
    }

    #[cfg(not(feature = "shared"))]
    fn with_shared(&self, builder: Builder) -> Result<Builder> {
        self.refuse_unless_built(TierKind::Shared).map(|()| builder)
    }

    #[cfg(feature = "redis")]
    fn with_redis(&self, builder: Builder) -> Result<Builder> {
        if !self.asks_for(TierKind::Redis) {
            return Ok(builder);
        }
        let section = &self.redis;
        let mut options = crate::tier::RedisOptions::new()
            .prefix(&section.prefix)
            .connect_timeout(section.connect_timeout)
            .read_timeout(section.read_timeout)
            .write_timeout(section.write_timeout)
            .coherence(section.coherence)
            .heartbeat(section.heartbeat)
            .staleness_bound(section.staleness_bound)
            .on_loss(section.on_loss)
            .invalidation(section.invalidation)
            .write(section.write)
            .write_delay(section.write_delay)
            .flush_timeout(section.flush_timeout)
            .load_lease(section.load_lease)
            .compression(section.compression)
            .compress_above(usize::try_from(section.compress_above).unwrap_or(usize::MAX));
        options = match (&section.url, &section.unix, &section.sentinels) {
            (Some(url), ..) => options.url(url.expose()),
            (None, Some(path), _) => options.unix_path(path).database(section.database.into()),
            (None, None, Some(sentinels)) => {
                options.sentinels(sentinels).database(section.database.into()).tls(section.tls)
            }
            (None, None, None) if section.nodes.is_some() => {
                options.database(section.database.into()).tls(section.tls)
            }
            (None, None, None) => options
                .host(&section.host)
                .port(section.port)
                .database(section.database.into())
                .tls(section.tls),
        };
        options = options.cluster(section.cluster);
        if let Some(nodes) = &section.nodes {
            options = options.nodes(nodes);
        }
        options = options.replica_reads(section.replica_reads);
        if let Some(replicas) = &section.replicas {
            options = options.replicas(replicas);
        }
        if let Some(name) = &section.sentinel_master {
            options = options.sentinel_master(name);
        }
        if let Some(name) = &section.sentinel_username {
            options = options.sentinel_username(name);
        }
        if let Some(password) = &section.sentinel_password {
            options = options.sentinel_password(password.expose());
        }
        if let Some(name) = &section.username {
            options = options.username(name);
        }
        if let Some(password) = &section.password {
            options = options.password(password.expose());
        }
        if let Some(path) = &section.tls_ca_file {
            options = options.tls_ca_file(path);
        }
        if let Some(path) = &section.tls_certificate {
            options = options.tls_certificate(path);
        }
        if let Some(path) = &section.tls_key {
            options = options.tls_key(path);
        }
        if let Some(key) = &section.seal_key {
            options = options.seal_key(key.expose());
        }
        if let Some(keys) = &section.older_seal_keys {
            options = options.older_seal_keys(keys.expose());
        }
        Ok(builder.redis(options))
    }

    #[cfg(not(feature = "redis"))]
    fn with_redis(&self, builder: Builder) -> Result<Builder> {
        self.refuse_unless_built(TierKind::Redis).map(|()| builder)
    }

    #[cfg(not(all(feature = "shared", feature = "redis")))]
    fn refuse_unless_built(&self, tier: TierKind) -> Result<()> {
        if !self.asks_for(tier) {
            return Ok(());
        }
        Err(crate::error::Error::new(
            crate::error::ErrorKind::Unsupported,
            format!(
                "the configuration asks for {}, which this build lacks: enable the feature {:?}",
                tier.short(),
                tier.type_name()
            ),
        ))
    }
}

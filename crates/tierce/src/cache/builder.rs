//! How a cache is set up.

use std::{
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Cache, Freshness, Inner, Key,
    asynchronous::Tasks,
    behind::Behind,
    coherence::Coherence,
    events::Events,
    fleet::Fleet,
    freshness::{Jitter, Rules},
    gate::Gate,
    lower::{LEDGER_KEYS, Lower, Lowers, Opener, REST},
    near::Near,
    plan::PlanWord,
    split::Sides,
};
use crate::{
    clock::Clock,
    codec::{BytesCodec, Codec},
    error::{Error, ErrorKind, Result},
    invalidation::{OwnTags, StampTable},
    load::{Crew, DEFAULT_THREADS, Failures, Flights},
    memory::{MemoryCache, MemoryOptions},
    metrics::Metrics,
    resilience::BreakerOptions,
    sync::SharedLock,
    tier::{self, RemoteTier, SharedTier, WritePolicy},
    tiering::{TierKind, Tiering},
};

/// How long a caller waits for another thread's load, if nothing else is said: longer than any
/// load that a caller of its own would wait for.
const DEFAULT_LOAD_WAIT: Duration = Duration::from_secs(30);

/// The bytes of L1, if no bound is given.
pub(super) const DEFAULT_MEMORY_BYTES: u64 = 64 << 20;

/// The options of a cache that is being set up.
///
/// Setters only store; [`build`](Self::build) checks everything.
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    service: String,
    pub(super) tiering: Tiering,
    pub(super) memory: Option<MemoryOptions>,
    shared: Option<tier::SharedOptions>,
    redis: Option<tier::RedisOptions>,
    breaker: BreakerOptions,
    freshness: Freshness,
    jitter_seed: Option<u64>,
    prefix_delimiter: Option<u8>,
    pub(super) load_wait: Duration,
    pub(super) load_threads: usize,
    metrics_enabled: bool,
    clock: Clock,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            service: "CacheService".to_owned(),
            tiering: Tiering::L1,
            memory: None,
            shared: None,
            redis: None,
            breaker: BreakerOptions::default(),
            freshness: Freshness::new(),
            jitter_seed: None,
            prefix_delimiter: None,
            load_wait: DEFAULT_LOAD_WAIT,
            load_threads: DEFAULT_THREADS,
            metrics_enabled: true,
            clock: Clock::system(),
        }
    }

    /// Sets the tiers in force at start. Default: `L1`.
    pub fn tiering(mut self, tiering: Tiering) -> Self {
        self.tiering = tiering;
        self
    }

    /// Sets the name that health and metrics report. Default: `CacheService`.
    pub fn service(mut self, name: impl Into<String>) -> Self {
        self.service = name.into();
        self
    }

    /// Sets the options of L1. Default: 64 MiB, no bound on entries.
    pub fn memory(mut self, options: MemoryOptions) -> Self {
        self.memory = Some(options);
        self
    }

    /// Sets the options of L2. Default: the store `default` of this user on this host.
    #[cfg(feature = "shared")]
    pub fn shared(mut self, options: crate::store::StoreOptions) -> Self {
        self.shared = Some(options);
        self
    }

    /// Sets the options of L3. Default: `127.0.0.1:6379`.
    #[cfg(feature = "redis")]
    pub fn redis(mut self, options: crate::tier::RedisOptions) -> Self {
        self.redis = Some(options);
        self
    }

    /// Sets when a tier below L1 that fails is left alone, and for how long.
    pub fn breaker(mut self, options: BreakerOptions) -> Self {
        self.breaker = options;
        self
    }

    /// Sets the time to live of values for which none is named. Default: none, values live until
    /// they are evicted. Zero is refused: nothing would ever be kept.
    ///
    /// Short for the [`ttl`](Freshness::ttl) of [`freshness`](Self::freshness).
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.freshness = self.freshness.ttl(ttl);
        self
    }

    /// Sets how long values are fresh and when stale ones may be served, where a call does not say
    /// otherwise. Replaces what was set so far. Default: fresh for ever, never stale.
    ///
    /// A stale window without a time to live is refused.
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Sets where the draws of [`Freshness::ttl_jitter`] begin: for tests. Default: drawn.
    pub fn jitter_seed(mut self, seed: u64) -> Self {
        self.jitter_seed = Some(seed);
        self
    }

    /// Has entries bear tags of the prefixes of their keys, for
    /// [`remove_prefix`](Cache::remove_prefix): a prefix ends in this byte, and the first eight of a key
    /// can be named. Default: none, and no cost.
    ///
    /// That costs what tags cost: some 60 bytes for each entry whose key has the delimiter, a comparison
    /// for each prefix with every hit, and with L3 a round trip more for each read and change there.
    ///
    /// All processes that share a store have the delimiter of the first one that names it, also those
    /// built without; that one clears the store, as what is there bears no such tags. One that names
    /// another is refused the store. Hosts that share an L3 must be built alike: from there a
    /// cache with a delimiter takes nothing that was put there without.
    pub fn prefix_delimiter(mut self, delimiter: u8) -> Self {
        self.prefix_delimiter = Some(delimiter);
        self
    }

    /// Sets how long `get_or_load` waits for another thread's load. Default: 30 s.
    pub fn load_wait(mut self, wait: Duration) -> Self {
        self.load_wait = wait;
        self
    }

    /// Sets how many threads load in the background at most ([`Cache::loading`]). They start when
    /// there is work for them and end some seconds after. Default: 4; zero loads all on the
    /// callers' threads.
    pub fn load_threads(mut self, threads: usize) -> Self {
        self.load_threads = threads;
        self
    }

    /// Sets whether [`Cache::metrics_text`] answers. Default: true. Counting goes on either way.
    pub fn metrics_enabled(mut self, enabled: bool) -> Self {
        self.metrics_enabled = enabled;
        self
    }

    /// Sets where the cache reads the time: for tests.
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// What holds for calls without options.
    pub(super) fn rules(&self) -> Rules {
        self.freshness.over(&Rules::default())
    }

    /// How L1 and L2 follow L3, if there can be one.
    pub(super) fn coherence(&self) -> Option<tier::Coherence> {
        self.redis_options().map(|options| options.how_coherent())
    }

    /// The options of L2, given or not; `None` where this build lacks it.
    pub(super) fn shared_options(&self) -> Option<tier::SharedOptions> {
        self.shared.clone().or_else(tier::default_shared_options)
    }

    /// The options of L3, given or not; `None` where this build lacks it.
    pub(super) fn redis_options(&self) -> Option<tier::RedisOptions> {
        self.redis.clone().or_else(tier::default_redis_options)
    }

    /// How long a process of the host waits for another one's load, if there can be an L2.
    pub(super) fn load_lease(&self) -> Option<Duration> {
        self.shared_options().map(|options| options.lease())
    }

    /// Builds a cache of [`Bytes`].
    ///
    /// A tier that cannot be opened now (no space, no server) is no error: the cache serves from
    /// the others and reports it in its health document.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for an option out of its range, [`ErrorKind::Unsupported`] for a tier
    /// that this build lacks. The list is complete.
    pub fn build(self) -> Result<Cache<Bytes>> {
        self.build_with(BytesCodec)
    }

    /// Builds a cache of values that `codec` turns into bytes for L2 and L3.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with<V: Clone + Send + Sync + 'static>(
        self,
        codec: impl Codec<V>,
    ) -> Result<Cache<V>> {
        self.freshness.check_alone()?;
        self.tell_unbidden();
        let (rules, coherence) = (self.rules(), self.coherence());
        let writes = self.redis.as_ref().map_or(WritePolicy::Through, |it| it.how_written());
        let behind = self.redis.as_ref().map(|options| options.how_behind());
        let rest = self.redis.as_ref().map_or(REST, |options| options.rest());
        let fleet_lease = self.redis.as_ref().map_or(Duration::ZERO, |options| options.lease());
        let codec: Arc<dyn Codec<V>> = Arc::new(codec);
        let weigh = |key: &Key, near: &Near<V>| key.len().saturating_add(near.weight);
        let memory =
            self.memory.unwrap_or_else(|| MemoryOptions::new().max_bytes(DEFAULT_MEMORY_BYTES));
        if memory.has_ttl() {
            return Err(Error::new(
                ErrorKind::Config,
                "memory.ttl: is for a MemoryCache alone; a cache of tiers has default_ttl",
            ));
        }
        let events = Events::new();
        let memory = MemoryCache::builder(memory)
            .weigher(weigh)
            .listener_while(Arc::clone(events.is_heard_near()), events.on_leaving())
            .clock(self.clock.clone())
            .build()?;
        let coherence = Coherence::new(coherence, &self.clock);
        let lowers = Lowers {
            shared: Lower::new(
                TierKind::Shared,
                shared_opener(self.shared.clone(), &self.clock, self.prefix_delimiter),
                self.shared.is_some(),
                LEDGER_KEYS,
                REST,
                self.breaker.clone(),
                &self.clock,
            )?
            .told_by(events.teller()),
            redis: Lower::new(
                TierKind::Redis,
                redis_opener(self.redis.clone()),
                self.redis.is_some(),
                self.redis.as_ref().map_or(LEDGER_KEYS, |options| options.ledger_bound()),
                self.redis.as_ref().map_or(REST, |options| options.rest()),
                self.breaker,
                &self.clock,
            )?
            .told_by(events.teller()),
        };
        let inner = Arc::new_cyclic(|me| Inner {
            behind: Behind::new(behind, rest, &self.clock),
            handles: AtomicUsize::new(1),
            on_last: Inner::end_behind,
            service: self.service,
            metrics_enabled: self.metrics_enabled,
            rules,
            jitter: Jitter::new(self.jitter_seed),
            load_wait: self.load_wait,
            codec,
            memory,
            lowers,
            plan: PlanWord::new(self.tiering),
            sides: Sides::default(),
            gate: Gate::default(),
            changes: SharedLock::new(()),
            stamps: StampTable::new(),
            tags: OwnTags::default(),
            delimiter: self.prefix_delimiter,
            writes,
            coherence,
            flights: Flights::new(),
            failures: Failures::new(&self.clock),
            fleet: Fleet::new(fleet_lease),
            crew: Crew::new(self.load_threads),
            tasks: Tasks::new(),
            events,
            metrics: Metrics::new(self.clock.clone()),
            clock: self.clock,
            me: me.clone(),
        });
        inner.open_lowers(self.tiering)?;
        Ok(Cache { inner })
    }
}

fn shared_opener(
    options: Option<tier::SharedOptions>,
    clock: &Clock,
    delimiter: Option<u8>,
) -> Option<Opener<SharedTier>> {
    let options = options.or_else(tier::default_shared_options)?;
    let clock = clock.clone();
    Some(Box::new(move || {
        let tier = tier::open_shared(&options, clock.clone())?;
        delimiter.map_or(Ok(()), |delimiter| tier.name_delimiter(delimiter))?;
        Ok(tier)
    }))
}

fn redis_opener(options: Option<tier::RedisOptions>) -> Option<Opener<dyn RemoteTier>> {
    let options = options.or_else(tier::default_redis_options)?;
    Some(Box::new(move || tier::open_redis(options.clone())))
}

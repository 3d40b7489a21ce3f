//! redis-server stopped, killed and restarted under load: no error from `get`, the rest stays
//! quick once the breaker is open, and the cache comes back by itself with nothing old in it.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tierce::{
    BreakerOptions, Cache, Loaded, MemoryOptions, ReadOptions, RedisOptions, SetOptions,
    StoreOptions, TierKind, Tiering,
};
use tierce_tests::{redis::Redis, store_folder, value};

const KEYS: u64 = 500;

/// How long anything that must come back by itself may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

struct Service {
    folder: tempfile::TempDir,
    redis: Redis,
    cache: Cache,
    versions: Vec<AtomicU64>,
}

impl Service {
    fn new(tiering: Tiering) -> Self {
        let (folder, redis) = (store_folder(), Redis::start());
        let cache = Cache::builder()
            .tiering(tiering)
            .memory(MemoryOptions::new().max_entries(100))
            .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
            .redis(RedisOptions::new().unix_path(redis.socket()))
            .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)))
            .build()
            .unwrap();
        let versions = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Self { folder, redis, cache, versions }
    }

    fn store(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    /// Reads until `done` says so; fails after [`PATIENCE`].
    fn work_without_changes(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            self.cache.get("missing");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn change(&self, key: u64) {
        let version = self.versions[key as usize].load(Ordering::Acquire) + 1;
        self.cache.set(key.to_le_bytes(), value::make(key, version, 200)).unwrap();
        self.versions[key as usize].store(version, Ordering::Release);
    }

    fn read(&self, key: u64) -> bool {
        let floor = self.versions[key as usize].load(Ordering::Acquire);
        let found = self.cache.get(key.to_le_bytes());
        if let Some(found) = &found {
            let version = value::check(key, found).unwrap();
            assert!(version >= floor, "key {key}: version {version}, though {floor} had returned");
        }
        found.is_some()
    }

    /// Reads, loads and changes until `done` says so; fails after [`PATIENCE`].
    fn work_until(&self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let begin = Instant::now();
        let mut random = fastrand::Rng::new();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
            for _ in 0..20 {
                self.read(random.u64(..KEYS));
            }
            self.change(random.u64(..KEYS));
            let missing = random.u64(..).to_le_bytes();
            let loaded = self.cache.get_or_load_with(
                missing,
                &tierce::LoadOptions::new().ttl(Duration::from_millis(1)),
                |_| io::Result::Ok(tierce::Bytes::from_static(b"loaded")),
            );
            assert_eq!(loaded.unwrap().value, "loaded", "no error may reach a caller");
        }
    }

    fn remote(&self) -> tierce::TierStats {
        self.cache.stats().tier(TierKind::Redis).unwrap().clone()
    }

    fn is_troubled(&self) -> bool {
        self.cache
            .health()
            .dependencies
            .iter()
            .any(|it| it.name == "L3-Redis" && it.reason.is_some())
    }
}

#[test]
fn a_cache_built_while_the_server_is_down_serves_and_takes_it_up_later() {
    let mut service = Service::new(Tiering::L1L2L3);
    service.redis.kill();
    service.work_until("trouble is noticed", Service::is_troubled);
    assert_eq!(service.cache.health().status.as_str(), "degraded");
    service.redis.restart();
    service.work_until("the tier is back", |service| !service.is_troubled());
    let before = service.remote();
    service.work_until("misses reach it again", |service| {
        let now = service.remote();
        now.hits + now.misses > before.hits + before.misses + 20
    });
    assert_eq!(service.cache.health().status.as_str(), "healthy");
}

#[test]
fn a_stopped_server_costs_a_few_deadlines_and_then_nothing() {
    let service = Service::new(Tiering::L1L2L3);
    (0..KEYS).for_each(|key| service.change(key));
    service.redis.signal(libc::SIGSTOP);
    service.work_until("the breaker opens", Service::is_troubled);
    // Open: a read of a key that nobody has does not wait for the server. Half-open probes do,
    // one at a time, so the median tells.
    let mut spans: Vec<_> = (0..200u64)
        .map(|key| {
            let begin = Instant::now();
            assert!(service.cache.get((key + KEYS).to_le_bytes()).is_none());
            begin.elapsed()
        })
        .collect();
    spans.sort();
    assert!(spans[100] < Duration::from_millis(10), "median {:?}", spans[100]);
    service.redis.signal(libc::SIGCONT);
    service.work_until("the tier is back", |service| !service.is_troubled());
}

#[test]
fn what_changed_during_an_outage_never_comes_back_old_with_a_store() {
    outage(Tiering::L1L2L3);
}

#[test]
fn what_changed_during_an_outage_never_comes_back_old_without_a_store() {
    outage(Tiering::L1L3);
}

#[test]
fn what_was_refreshed_during_an_outage_never_comes_back_old() {
    for (tiering, brings) in [Tiering::L1L2L3, Tiering::L1L3]
        .into_iter()
        .flat_map(|tiering| [(tiering, Loaded::new("new".into())), (tiering, Loaded::absent())])
    {
        let (folder, redis) = (store_folder(), Redis::start());
        let short = Duration::from_millis(300);
        let options = RedisOptions::new().unix_path(redis.socket());
        let cache = Cache::builder()
            .tiering(tiering)
            .memory(MemoryOptions::new().max_entries(100))
            .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
            .redis(options.read_timeout(short).write_timeout(short))
            .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)))
            .build()
            .unwrap();
        for key in ["refreshed", "other"] {
            cache.set(key, "old".into()).unwrap();
        }
        redis.signal(libc::SIGSTOP);
        let found = cache.refresh("refreshed", |_| io::Result::Ok(brings)).ok();
        redis.signal(libc::SIGCONT);
        // The answers of before may still be on their way, and have it go.
        assert_eq!(cache.get("refreshed").filter(|value| Some(value) != found.as_ref()), None);
        let in_l3 = ReadOptions::new().tiers(Tiering::L3);
        let below = |key| cache.get_with(key, &in_l3).map(|answer| answer.value);
        let begin = Instant::now();
        while below("other").is_none() {
            assert!(begin.elapsed() < PATIENCE, "{tiering}: L3 is back");
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(below("refreshed").filter(|value| value == "old"), None, "{tiering}");
    }
}

fn outage(tiering: Tiering) {
    let service = Service::new(tiering);
    (0..KEYS).for_each(|key| service.change(key));
    service.redis.signal(libc::SIGSTOP);
    let stopped = Instant::now();
    for key in 0..KEYS {
        if key % 2 == 0 {
            service.change(key);
        } else {
            service.cache.delete(key.to_le_bytes()).unwrap();
        }
    }
    assert!(stopped.elapsed() < PATIENCE, "changes waited for a dead server");
    service.redis.signal(libc::SIGCONT);
    // L3 alone: what it still holds from before the outage would show here.
    service.cache.retier(Tiering::L3).unwrap();
    let reads = AtomicBool::new(false);
    let begin = Instant::now();
    while service.is_troubled() || !reads.load(Ordering::Relaxed) {
        assert!(begin.elapsed() < PATIENCE, "L3 does not come back");
        for key in 0..KEYS {
            if key % 2 == 0 {
                service.read(key);
            } else {
                assert!(service.cache.get(key.to_le_bytes()).is_none(), "deleted key {key}");
            }
        }
        // One change, so that the ledger has an occasion to empty.
        service.change(0);
        reads.store(service.read(0), Ordering::Relaxed);
    }
}

#[test]
fn many_threads_share_a_server_that_dies_and_returns() {
    let mut service = Service::new(Tiering::L3);
    (0..KEYS).for_each(|key| service.change(key));
    let (stop, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    for round in 0..3 {
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut random = fastrand::Rng::new();
                    while !stop.load(Ordering::Relaxed) {
                        if service.read(random.u64(..KEYS)) {
                            hits.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(150));
            stop.store(true, Ordering::Relaxed);
        });
        stop.store(false, Ordering::Relaxed);
        assert!(hits.swap(0, Ordering::Relaxed) > 0, "round {round}: no hit");
        service.redis.kill();
        service.work_until("trouble is noticed", Service::is_troubled);
        service.redis.restart();
        // An empty server: what it lost are misses, what is set now are hits.
        service.work_until("the tier is back", |service| {
            (0..KEYS).for_each(|key| service.change(key));
            !service.is_troubled() && service.read(1)
        });
    }
}

#[test]
fn a_time_to_live_is_kept_in_redis_too() {
    let service = Service::new(Tiering::L3);
    let short = SetOptions::new().ttl(Duration::from_millis(300));
    service.cache.set_with("short", "1".into(), &short).unwrap();
    service.cache.set("long", "2".into()).unwrap();
    let begin = Instant::now();
    while service.cache.get("short").is_some() {
        assert!(begin.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(begin.elapsed() >= Duration::from_millis(250));
    assert!(service.cache.get("long").is_some());
}

#[test]
fn what_a_process_changed_alone_is_not_brought_up_from_redis_by_another() {
    let service = Service::new(Tiering::L1);
    let other = Cache::builder()
        .tiering(Tiering::L1L2L3)
        .shared(StoreOptions::new(service.store()).max_bytes(16 << 20))
        .redis(RedisOptions::new().unix_path(service.redis.socket()))
        .build()
        .unwrap();
    other.set("a", "old".into()).unwrap();
    other.set("b", "old".into()).unwrap();
    service.cache.set("a", "new".into()).unwrap();
    service.cache.delete("b").unwrap();
    service.cache.retier(Tiering::L1L2L3).unwrap();
    for cache in [&other, &service.cache] {
        for key in ["a", "b"] {
            assert_ne!(cache.get(key), Some("old".into()), "{key}");
        }
    }
}

#[test]
fn a_value_that_redis_does_not_keep_does_not_leave_the_old_one_there() {
    let redis = Redis::start();
    let cache = Cache::builder()
        .tiering(Tiering::L3)
        .redis(RedisOptions::new().unix_path(redis.socket()).max_value_bytes(1000))
        .build()
        .unwrap();
    cache.set("a", "old".into()).unwrap();
    cache.set("b", "kept".into()).unwrap();
    cache.set("a", vec![0; 2000].into()).unwrap();
    assert_eq!(cache.get("a"), None);
    assert_eq!(cache.get("b"), Some("kept".into()), "one refused value costs no other key");
    assert_eq!(cache.stats().tier(TierKind::Redis).unwrap().errors["too_large"], 1);
}

#[test]
fn who_only_reads_gets_redis_back_too() {
    let service = Service::new(Tiering::L1);
    service.cache.set("a", "1".into()).unwrap();
    service.cache.clear().unwrap();
    service.cache.retier(Tiering::L1L3).unwrap();
    service.work_without_changes("L3 is asked again", |service| {
        let remote = service.remote();
        remote.hits + remote.misses > 0 && remote.distrusted_keys == 0
    });
}

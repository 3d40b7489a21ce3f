//! The calls of tasks under tokio, through all tiers: nobody blocks the executor's thread, whoever
//! is dropped leaves nothing behind, and a cold key is loaded once.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, ErrorKind, Freshness, LoadContext, LoadOptions, LoadReason, MemoryOptions,
    Origin, RedisOptions, SetOptions, StoreOptions, TierKind, Tiering,
};
use tierce_tests::{
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::wait_until,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinSet,
    time::sleep,
};

type Load = io::Result<Bytes>;

fn runtimes() -> [(&'static str, Runtime); 2] {
    [
        ("current_thread", Builder::new_current_thread().enable_time().build().unwrap()),
        (
            "multi_thread",
            Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
        ),
    ]
}

fn cache(folder: &Path, options: RedisOptions, tiering: Tiering) -> Cache {
    let relaxed = Duration::from_secs(10);
    let options = options
        .connect_timeout(relaxed)
        .read_timeout(relaxed)
        .write_timeout(relaxed)
        .coherence(false);
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap()
}

fn local(folder: &Path, redis: &Redis, tiering: Tiering) -> Cache {
    cache(folder, RedisOptions::new().unix_path(redis.socket()), tiering)
}

async fn load(cache: &Cache, key: &str, loads: &AtomicUsize) -> tierce::Result<Bytes> {
    let options = LoadOptions::new();
    let load = |_| async {
        loads.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_millis(20)).await;
        Load::Ok("loaded".into())
    };
    cache.get_or_load_async(key, &options, load).await.map(|answer| answer.value)
}

#[test]
fn each_call_works_in_each_runtime_and_tiering() {
    let redis = Redis::start();
    for (name, runtime) in runtimes() {
        for tiering in [Tiering::L1, Tiering::L1L2, Tiering::L3, Tiering::L1L3, Tiering::L1L2L3] {
            let folder = store_folder();
            let cache = local(folder.path(), &redis, tiering);
            let elsewhere = local(store_folder().path(), &redis, Tiering::L3);
            let key = format!("{name}/{tiering}");
            runtime.block_on(async {
                assert_eq!(cache.get_async(&key).await, None);
                let loads = AtomicUsize::new(0);
                assert_eq!(load(&cache, &key, &loads).await.unwrap(), "loaded");
                assert_eq!(load(&cache, &key, &loads).await.unwrap(), "loaded");
                assert_eq!(loads.into_inner(), 1, "{key}");
                assert_eq!(cache.get_async(&key).await.unwrap(), "loaded");
                cache.set_async(&key, "set".into()).await.unwrap();
                assert_eq!(cache.get_async(&key).await.unwrap(), "set");
                if tiering.has(TierKind::Redis) {
                    assert_eq!(elsewhere.get_async(&key).await.unwrap(), "set", "{key}");
                }
                cache.delete_async(&key).await.unwrap();
                assert_eq!(cache.get_async(&key).await, None, "{key}");
            });
            assert_eq!(elsewhere.get(&key), None);
        }
    }
}

#[test]
fn a_slow_server_holds_up_its_own_tasks_and_no_others() {
    let (redis, folder) = (Redis::start(), store_folder());
    let proxy = Proxy::to(redis.socket());
    let options = RedisOptions::new().host("127.0.0.1").port(proxy.port());
    let cache = cache(folder.path(), options, Tiering::L1L2L3);
    cache.set("near", "1".into()).unwrap();
    proxy.set(Line::Calls, Way::Down, Fault::Delay(Duration::from_millis(300)));
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let ticks = Arc::new(AtomicU64::new(0));
        let (theirs, near) = (Arc::clone(&ticks), cache.clone());
        let ticker = tokio::spawn(async move {
            loop {
                // The thread is free, and so is L1.
                assert!(near.get_async("near").await.is_some());
                theirs.fetch_add(1, Ordering::Relaxed);
                sleep(Duration::from_millis(1)).await;
            }
        });
        let begin = Instant::now();
        assert_eq!(cache.get_async("far").await, None);
        let (read, seen) = (begin.elapsed(), ticks.swap(0, Ordering::Relaxed));
        assert!(read >= Duration::from_millis(300), "{read:?}");
        assert!(seen >= 30, "{seen} ticks in {read:?}");
        cache.set_async("far", "2".into()).await.unwrap();
        let written = ticks.swap(0, Ordering::Relaxed);
        assert!(written >= 30, "{written} ticks");
        cache.delete_async("far").await.unwrap();
        assert!(ticks.swap(0, Ordering::Relaxed) >= 30);
        let loads = AtomicUsize::new(0);
        assert_eq!(load(&cache, "far", &loads).await.unwrap(), "loaded");
        assert!(ticks.swap(0, Ordering::Relaxed) >= 30);
        ticker.abort();
        assert!(ticker.await.unwrap_err().is_cancelled());
    });
}

#[test]
fn ten_thousand_tasks_of_four_caches_on_one_store_load_a_cold_key_once() {
    for (name, runtime) in runtimes() {
        let folder = store_folder();
        let caches: Vec<_> =
            (0..4).map(|_| cache(folder.path(), RedisOptions::new(), Tiering::L1L2)).collect();
        for round in 0..5 {
            let loads = Arc::new(AtomicUsize::new(0));
            let begin = Instant::now();
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for task in 0..10_000 {
                    let (cache, loads) = (caches[task % 4].clone(), Arc::clone(&loads));
                    let key = format!("cold/{round}");
                    tasks.spawn(async move { load(&cache, &key, &loads).await });
                }
                while let Some(loaded) = tasks.join_next().await {
                    assert_eq!(loaded.unwrap().unwrap(), "loaded");
                }
            });
            assert_eq!(loads.load(Ordering::Relaxed), 1, "{name}, round {round}");
            assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
        }
    }
}

#[test]
fn a_server_that_is_away_costs_a_task_its_deadline_and_the_loader_answers() {
    let (mut redis, folder) = (Redis::start(), store_folder());
    let cache = local(folder.path(), &redis, Tiering::L1L3);
    cache.set("a", "1".into()).unwrap();
    redis.kill();
    for (_, runtime) in runtimes() {
        runtime.block_on(async {
            let loads = AtomicUsize::new(0);
            assert_eq!(load(&cache, "b", &loads).await.unwrap(), "loaded");
            assert_eq!(cache.get_async("a").await.unwrap(), "1");
        });
    }
}

#[test]
fn a_closed_cache_ends_its_threads_and_refuses_its_tasks() {
    let (redis, folder) = (Redis::start(), store_folder());
    let cache = local(folder.path(), &redis, Tiering::L1L2L3);
    for (_, runtime) in runtimes() {
        runtime.block_on(async { assert_eq!(cache.get_async("a").await, None) });
    }
    assert!(threads() > 0);
    cache.close();
    wait_until("threads of tasks", || threads() == 0);
    for (_, runtime) in runtimes() {
        runtime.block_on(async {
            let loads = AtomicUsize::new(0);
            let refused = load(&cache, "a", &loads).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Closed);
            assert_eq!(
                cache.set_async("a", "1".into()).await.unwrap_err().kind(),
                ErrorKind::Closed
            );
        });
    }
}

/// Threads of this process that do for tasks what would block them.
fn threads() -> usize {
    let names = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let names = names.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok());
    names.filter(|name| name.starts_with("tierce-task") || name.starts_with("tierce-turn")).count()
}

#[test]
fn a_task_whose_load_fails_is_given_what_l3_has_stale() {
    let (redis, folder) = (Redis::start(), store_folder());
    let window = Duration::from_secs(60);
    let freshness = Freshness::new().ttl(Duration::from_millis(30)).stale_if_error(window);
    for tiering in [Tiering::L3, Tiering::L1L3, Tiering::L1L2L3] {
        let cache = local(folder.path(), &redis, tiering);
        let options = SetOptions::new().freshness(freshness.clone());
        cache.set_with("a", "stale".into(), &options).unwrap();
        let (name, runtime) = runtimes().into_iter().next().unwrap();
        runtime.block_on(async {
            sleep(Duration::from_millis(50)).await;
            let options = LoadOptions::new().freshness(freshness.clone());
            let fails = |context: LoadContext<'static, Bytes>| async move {
                assert_eq!(context.stale().unwrap(), "stale");
                assert_eq!(context.reason(), LoadReason::Stale);
                Load::Err(io::Error::other("down"))
            };
            let answer = cache.get_or_load_async("a", &options, fails).await.unwrap();
            assert_eq!((answer.value, answer.is_stale), ("stale".into(), true), "{name} {tiering}");
        });
    }
}

#[test]
fn where_a_task_found_it_is_told() {
    let (redis, folder) = (Redis::start(), store_folder());
    let cache = local(folder.path(), &redis, Tiering::L1L2L3);
    let elsewhere = local(store_folder().path(), &redis, Tiering::L3);
    elsewhere.set("a", "1".into()).unwrap();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let options = tierce::ReadOptions::new();
        let origin = |answer: Option<tierce::Answer<Bytes>>| answer.unwrap().origin;
        let first = origin(cache.get_entry_async("a", &options).await);
        assert_eq!(first, Origin::Tier(TierKind::Redis));
        let second = origin(cache.get_entry_async("a", &options).await);
        assert_eq!(second, Origin::Tier(TierKind::Memory));
        assert_eq!((cache.stats().misses, cache.stats().hits), (0, 2));
    });
}

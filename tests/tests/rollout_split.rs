//! A cache whose keys or requests move between two tierings, up and down and up again, over a real
//! store and a real redis-server: nobody is served what is older than the last change of its key.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, MemoryOptions, RedisOptions, Split, StoreOptions, Tiering,
    guard::rollout::{Share, SplitBy},
};
use tierce_tests::{history::History, redis::Redis, seed, store_folder};

const THREADS: usize = 4;
const KEYS: usize = 64;
const SPAN: Duration = Duration::from_secs(4);

fn process(folder: &tempfile::TempDir, redis: &Redis, tiering: Tiering) -> Cache {
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2));
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap()
}

fn version(found: &Bytes) -> Result<u64, String> {
    let text = std::str::from_utf8(found).map_err(|error| error.to_string())?;
    text.parse().map_err(|_| format!("{text:?} is no version"))
}

/// Whether the split ends in between, so that the tiers of the new side leave and come back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    Stays,
    Ends,
}

/// Works while the share goes up and down in all of `caches`, each a process of one host, and looks
/// at what every read finds.
fn storm(caches: &[Cache], split: &Split, baseline: Tiering, between: Between, seed: u64) {
    let history = History::new(KEYS, Duration::from_secs(1));
    let is_over = AtomicBool::new(false);
    let name = |key: usize| format!("key:{key}");
    let mut moves = 0;
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (history, is_over) = (&history, &is_over);
            let mut random = fastrand::Rng::with_seed(seed + thread as u64);
            scope.spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let key = random.usize(..KEYS);
                    let cache = &caches[random.usize(..caches.len())];
                    let mine = key % THREADS == thread;
                    match random.u8(..10) {
                        0..2 if mine => {
                            let version = history.next(key);
                            cache.set(name(key), version.to_string().into()).unwrap();
                            history.returned(key, version);
                        }
                        2 if mine => {
                            let version = history.next(key);
                            cache.delete(name(key)).unwrap();
                            history.returned(key, version);
                        }
                        3..5 => {
                            let floor = history.floor(key, true);
                            let source = |_: &[u8]| {
                                std::io::Result::Ok(Bytes::from(history.source(key).to_string()))
                            };
                            let found = cache.get_or_load(name(key), source).unwrap();
                            history.judge(key, floor, version(&found), "loaded");
                        }
                        5 => {
                            let keys: Vec<usize> = (0..4).map(|_| random.usize(..KEYS)).collect();
                            let floors: Vec<u64> =
                                keys.iter().map(|key| history.floor(*key, true)).collect();
                            let names: Vec<String> = keys.iter().map(|key| name(*key)).collect();
                            let found = cache.get_many(&names);
                            for ((key, floor), found) in keys.iter().zip(floors).zip(found) {
                                if let Some(found) = found {
                                    history.judge(*key, floor, version(&found), "of many");
                                }
                            }
                        }
                        _ => {
                            let floor = history.floor(key, true);
                            if let Some(found) = cache.get(name(key)) {
                                history.judge(key, floor, version(&found), "found");
                            }
                        }
                    }
                }
            });
        }
        let mut random = fastrand::Rng::with_seed(seed ^ 77);
        let end = Instant::now() + SPAN;
        while Instant::now() < end {
            for share in [0.1, 0.5, 1.0, 0.3, 0.0] {
                let split = split.clone().share(Share::of(share).unwrap());
                caches.iter().for_each(|cache| cache.split(&split).unwrap());
                moves += 1;
                thread::sleep(Duration::from_millis(random.u64(1..15)));
            }
            if between == Between::Ends {
                caches.iter().for_each(|cache| cache.retier(baseline).unwrap());
                thread::sleep(Duration::from_millis(random.u64(1..15)));
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let (checked, wrong) = history.checked_and_wrong();
    println!("{split:?}: {checked} reads over {moves} shares, {wrong} wrong");
    assert!(checked > 1_000, "{checked} reads are too few");
    assert_eq!(wrong, 0);
}

#[test]
fn a_share_of_keys_that_rises_and_falls_serves_nothing_old() {
    let seed = seed();
    for (old, new) in
        [(Tiering::L1, Tiering::L1L2L3), (Tiering::L1, Tiering::L2), (Tiering::L1L3, Tiering::L2L3)]
    {
        let (folder, redis) = (store_folder(), Redis::start());
        let cache = process(&folder, &redis, old);
        let split = Split::new(old, new).name("storm");
        storm(&[cache], &split, old, Between::Ends, seed);
    }
}

#[test]
fn a_share_of_requests_that_rises_and_falls_serves_nothing_old() {
    let seed = seed();
    let redis = Redis::start();
    let folder = store_folder();
    let cache = process(&folder, &redis, Tiering::L1);
    let split = Split::new(Tiering::L1, Tiering::L1L2L3).by(SplitBy::Request);
    storm(&[cache], &split, Tiering::L1, Between::Ends, seed);
}

#[test]
fn two_processes_with_a_store_between_them_serve_each_other_nothing_old() {
    let seed = seed();
    let (old, new) = (Tiering::L1L2, Tiering::L1L2L3);
    for (by, between) in [
        (SplitBy::Key, Between::Stays),
        (SplitBy::Request, Between::Stays),
        (SplitBy::Key, Between::Ends),
    ] {
        let (folder, redis) = (store_folder(), Redis::start());
        let caches = [process(&folder, &redis, old), process(&folder, &redis, old)];
        storm(&caches, &Split::new(old, new).name("storm").by(by), old, between, seed);
    }
}

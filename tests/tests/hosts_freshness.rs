//! Two hosts that share a redis-server: what one ends the freshness of, the other serves as stale at
//! most, until somebody loads it anew; ages go from host to host.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{io, time::Duration};

use tierce::{
    Bytes, Cache, Freshness, LoadOptions, MemoryOptions, Origin, ReadOptions, RedisOptions,
    SetOptions, StoreOptions, TierKind, Tiering,
};
use tierce_tests::{redis::Redis, store_folder, waiting::wait_until};

const HOUR: Duration = Duration::from_secs(3600);

fn host(redis: &Redis, tiering: Tiering) -> (tempfile::TempDir, Cache) {
    let folder = store_folder();
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(5))
        .write_timeout(Duration::from_secs(5));
    let cache = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(1000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    // The thread that listens begins with the first call.
    cache.get("nothing");
    wait_until("a subscription", || cache.redis_statistics().unwrap().subscriptions > 0);
    (folder, cache)
}

/// Fresh for an hour, then stale for one where loads fail.
fn lasting() -> Freshness {
    Freshness::new().ttl(HOUR).stale_if_error(HOUR)
}

/// What a caller gets who takes stale values, and whether it is one.
fn any(cache: &Cache, key: &str) -> Option<(Bytes, bool)> {
    let answer = cache.get_with(key, &ReadOptions::new().allow_stale(true));
    answer.map(|answer| (answer.value, answer.is_stale))
}

#[test]
fn what_one_host_ends_the_freshness_of_is_stale_on_the_other() {
    for tiering in [Tiering::L1L2L3, Tiering::L1L3, Tiering::L2L3] {
        let redis = Redis::start();
        let ((_one, one), (_other, other)) = (host(&redis, tiering), host(&redis, tiering));
        let options = SetOptions::new().freshness(lasting());
        one.set_with("key", "old".into(), &options).unwrap();
        one.set_with("bare", "old".into(), &SetOptions::new().ttl(HOUR)).unwrap();
        for key in ["key", "bare"] {
            assert_eq!(other.get(key).as_deref(), Some(&b"old"[..]), "{tiering:?}");
            one.expire(key).unwrap();
            assert_eq!(one.get(key), None, "{tiering:?}, {key}");
            wait_until("the end", || other.get(key).is_none());
        }
        let stale = Some((Bytes::from("old"), true));
        for cache in [&one, &other] {
            assert_eq!(any(cache, "key"), stale, "{tiering:?}");
            assert_eq!(any(cache, "bare"), None, "{tiering:?}: it may never be stale");
            // Without a load the value is a stale one, and the next load is asked all the same.
            let failing = |_: &[u8]| Err::<Bytes, _>(io::Error::other("out of order"));
            let options = LoadOptions::new().freshness(lasting());
            let served = cache.get_or_load_with("key", &options, failing).unwrap();
            assert_eq!((served.value, served.is_stale), (Bytes::from("old"), true));
        }
        let options = LoadOptions::new().freshness(lasting());
        let load = |_: &[u8]| io::Result::Ok(Bytes::from("new"));
        let loaded = other.get_or_load_with("key", &options, load).unwrap();
        assert_eq!((&loaded.value[..], loaded.origin), (&b"new"[..], Origin::Loaded));
        wait_until("the new value", || one.get("key").as_deref() == Some(b"new"));
        one.delete("key").unwrap();
        assert_eq!(any(&one, "key"), None);
        wait_until("the removal", || any(&other, "key").is_none());
    }
}

#[test]
fn an_answer_of_another_hosts_value_tells_its_age() {
    for tiering in [Tiering::L1L2L3, Tiering::L2L3] {
        let redis = Redis::start();
        let ((_one, one), (_other, other)) = (host(&redis, tiering), host(&redis, tiering));
        one.set_with("key", "value".into(), &SetOptions::new().ttl(HOUR)).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        let answer = other.get_entry("key").unwrap();
        assert_eq!(answer.origin, Origin::Tier(TierKind::Redis));
        let age = answer.age.unwrap();
        assert!((Duration::from_millis(50)..HOUR).contains(&age), "{age:?}");
        let again = other.get_entry("key").unwrap();
        assert!(again.age.unwrap() >= age && again.origin != answer.origin, "{again:?}");
    }
}

#[test]
fn what_is_no_older_than_was_asked_for_was_the_truth_then_however_late_changes_are_told() {
    for tiering in [Tiering::L1L2L3, Tiering::L1L3, Tiering::L2L3] {
        let redis = Redis::start();
        let deaf = || {
            let folder = store_folder();
            // Never told of the changes of others: as with a stream that is cut for ever.
            let options = RedisOptions::new().unix_path(redis.socket()).coherence(false);
            let options = options.read_timeout(Duration::from_secs(5));
            let cache = Cache::builder()
                .tiering(tiering)
                .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
                .redis(options)
                .build()
                .unwrap();
            (folder, cache)
        };
        let ((_one, one), (_other, other)) = (deaf(), deaf());
        for round in 0..5 {
            let (old, new) = (format!("old {round}"), format!("new {round}"));
            let key = format!("key {round}");
            one.set_with(&key, old.into(), &SetOptions::new().ttl(HOUR)).unwrap();
            assert!(other.get(&key).is_some());
            std::thread::sleep(Duration::from_millis(20));
            one.set_with(&key, new.clone().into(), &SetOptions::new().ttl(HOUR)).unwrap();
            let changed = std::time::Instant::now();
            assert_ne!(
                other.get(&key),
                Some(Bytes::from(new.clone())),
                "{tiering}: it is not told"
            );
            std::thread::sleep(Duration::from_millis(20));
            // No longer ago than the change: by the clock of neither host.
            let options = ReadOptions::new().max_age(changed.elapsed());
            let load = LoadOptions::new().max_age(changed.elapsed());
            if let Some(answer) = other.get_with(&key, &options) {
                assert_eq!(answer.value, new, "{tiering}: {answer:?}");
            }
            let loaded =
                other.get_or_load_with(&key, &load, |_| io::Result::Ok(Bytes::from("source")));
            let loaded = loaded.unwrap();
            assert!(loaded.value == new || loaded.value == "source", "{tiering}: {loaded:?}");
        }
    }
}

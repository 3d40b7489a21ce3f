//! Changes that depend on what is there, by processes and hosts at once: none is lost, and none is
//! made to something else.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{path::Path, thread, time::Duration};

use tierce::{
    Bytes, Cache, ErrorKind, Freshness, ReadOptions, RedisOptions, SetOptions, StoreOptions,
    Tiering,
};
use tierce_tests::{redis::Redis, store_folder, waiting::wait_until};

/// A cache as one process of a host whose store this is.
fn cache(tiering: Tiering, store: &Path, redis: &Redis) -> Cache {
    Cache::builder()
        .tiering(tiering)
        .shared(StoreOptions::new(store).max_bytes(16 << 20))
        // On a busy machine an answer takes its time.
        .redis(
            RedisOptions::new()
                .unix_path(redis.socket())
                .read_timeout(Duration::from_secs(5))
                .write_timeout(Duration::from_secs(5)),
        )
        .build()
        .unwrap()
}

/// Two caches that share the key under this tiering: as two processes of a host above L2, as two
/// hosts without it, as one process under L1.
fn two(tiering: Tiering, folder: &Path, redis: &Redis) -> [Cache; 2] {
    let one = cache(tiering, &folder.join("one"), redis);
    let other = match tiering {
        Tiering::L1 => one.clone(),
        Tiering::L3 | Tiering::L1L3 => cache(tiering, &folder.join("other"), redis),
        _ => cache(tiering, &folder.join("one"), redis),
    };
    [one, other]
}

#[test]
fn no_increment_is_lost() {
    let redis = Redis::start();
    for tiering in Tiering::ALL {
        let folder = store_folder();
        let caches = two(tiering, folder.path(), &redis);
        let each = 100;
        thread::scope(|scope| {
            for cache in caches.iter().cycle().take(4) {
                scope.spawn(move || (0..each).for_each(|_| _ = cache.increment("n", 1).unwrap()));
            }
        });
        for cache in &caches {
            assert_eq!(cache.increment("n", 0).unwrap(), 4 * each, "{tiering}");
        }
        caches[0].clear().unwrap();
    }
}

#[test]
fn hosts_that_share_a_server_count_together() {
    let redis = Redis::start();
    let folder = store_folder();
    let hosts =
        ["one", "other"].map(|host| cache(Tiering::L1L2L3, &folder.path().join(host), &redis));
    thread::scope(|scope| {
        for host in hosts.iter().cycle().take(4) {
            scope.spawn(|| (0..200).for_each(|_| _ = host.increment("n", 1).unwrap()));
        }
    });
    assert_eq!(hosts[0].increment("n", -800).unwrap(), 0);
    // The other host's copies follow as after any change.
    wait_until("the sum is told", || hosts[1].get("n").as_deref() == Some(b"0"));
}

#[test]
fn of_many_that_set_what_is_absent_one_does() {
    let redis = Redis::start();
    for tiering in Tiering::ALL {
        let folder = store_folder();
        let caches = two(tiering, folder.path(), &redis);
        let options = SetOptions::new();
        for round in 0..20 {
            let key = format!("{round}");
            let won = thread::scope(|scope| {
                let threads: Vec<_> = (0..4)
                    .map(|id| {
                        let (cache, key, options) = (&caches[id % 2], &key, &options);
                        let value = Bytes::from(id.to_string());
                        scope.spawn(move || cache.set_if_absent(key, value, options).unwrap())
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(won.iter().filter(|won| **won).count(), 1, "{tiering}");
            let winner = won.iter().position(|won| *won).unwrap().to_string();
            let (value, _) = caches[0].get_versioned(&key).unwrap();
            assert_eq!(value.as_deref(), Some(winner.as_bytes()), "{tiering}");
        }
        caches[0].clear().unwrap();
    }
}

#[test]
fn a_version_ends_with_any_change() {
    let redis = Redis::start();
    for tiering in Tiering::ALL {
        let folder = store_folder();
        let [cache, other] = two(tiering, folder.path(), &redis);
        let options = SetOptions::new();
        let value = Bytes::from_static(b"mine");
        let changes: [(&str, &dyn Fn()); 4] = [
            ("set", &|| other.set("a", Bytes::from_static(b"2")).unwrap()),
            ("the same set", &|| other.set("a", Bytes::from_static(b"1")).unwrap()),
            ("delete", &|| other.delete("a").unwrap()),
            ("clear", &|| other.clear().unwrap()),
        ];
        for (what, change) in changes {
            cache.set("a", Bytes::from_static(b"1")).unwrap();
            let (seen, version) = cache.get_versioned("a").unwrap();
            assert_eq!(seen.as_deref(), Some(&b"1"[..]), "{tiering}");
            change();
            let is_set = cache.compare_and_set("a", &version, value.clone(), &options).unwrap();
            assert!(!is_set, "{tiering}: {what}");
            let (_, version) = cache.get_versioned("a").unwrap();
            let is_set = cache.compare_and_set("a", &version, value.clone(), &options).unwrap();
            assert!(is_set, "{tiering}: after {what}");
            assert_eq!(cache.get("a"), Some(value.clone()), "{tiering}: after {what}");
        }
        // Of another key it says nothing.
        let (_, version) = cache.get_versioned("a").unwrap();
        cache.set("b", Bytes::from_static(b"1")).unwrap();
        assert!(!cache.compare_and_set("b", &version, value, &options).unwrap(), "{tiering}");
    }
}

#[test]
fn a_number_keeps_its_time_to_live_and_what_is_none_stays() {
    let redis = Redis::start();
    for tiering in [Tiering::L1, Tiering::L1L2, Tiering::L1L2L3] {
        let folder = store_folder();
        let [cache, _] = two(tiering, folder.path(), &redis);
        let hour = Freshness::new().ttl(Duration::from_secs(3600));
        let second = Freshness::new().ttl(Duration::from_millis(700));
        cache
            .set_with("n", Bytes::from_static(b"5"), &SetOptions::new().freshness(second))
            .unwrap();
        assert_eq!(cache.increment("n", 2).unwrap(), 7);
        let update = |options: &SetOptions| cache.update("kept", options, |_| Some("1".into()));
        update(&SetOptions::new().freshness(hour)).unwrap();
        wait_until("the number ends", || cache.get("n").is_none());
        assert!(cache.get("kept").is_some());
        assert_eq!(cache.increment("n", 2).unwrap(), 2);

        cache.set("text", Bytes::from_static(b"five")).unwrap();
        assert_eq!(cache.increment("text", 1).unwrap_err().kind(), ErrorKind::Codec);
        cache.set("large", Bytes::from(i64::MAX.to_string())).unwrap();
        assert_eq!(cache.increment("large", 1).unwrap_err().kind(), ErrorKind::Codec);
        assert_eq!(cache.get("text").as_deref(), Some(&b"five"[..]));
        let unchanged = cache.update("text", &SetOptions::new(), |_| None).unwrap();
        assert_eq!(unchanged, None);
        assert_eq!(cache.get("text").as_deref(), Some(&b"five"[..]));
    }
}

#[test]
fn without_the_tier_that_decides_there_is_an_error_and_no_guess() {
    let mut redis = Redis::start();
    let folder = store_folder();
    let cache = cache(Tiering::L1L2L3, &folder.path().join("store"), &redis);
    assert_eq!(cache.increment("n", 1).unwrap(), 1);
    let (_, version) = cache.get_versioned("n").unwrap();
    redis.kill();
    assert_eq!(cache.increment("n", 1).unwrap_err().kind(), ErrorKind::Network);
    let options = SetOptions::new();
    let error = cache.compare_and_set("n", &version, Bytes::from_static(b"9"), &options);
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Network);
    // It may have been set: nobody is served what was there before.
    assert_eq!(cache.get_with("n", &ReadOptions::new().allow_stale(true)), None);
    redis.restart();
    wait_until("L3 is back", || cache.increment("n", 1).is_ok());
}

#[test]
fn what_was_loaded_since_a_look_is_not_overwritten() {
    let redis = Redis::start();
    let load = |cache: &Cache, value: &'static str| {
        cache.get_or_load("n", |_| std::io::Result::Ok(Bytes::from(value))).unwrap()
    };
    let options = SetOptions::new();
    for tiering in Tiering::ALL {
        let folder = store_folder();
        let [one, other] = two(tiering, folder.path(), &redis);
        let (none, version) = one.get_versioned("n").unwrap();
        assert_eq!(none, None, "{tiering}");
        load(&other, "100");
        let set = one.compare_and_set("n", &version, "1".into(), &options).unwrap();
        assert!(!set, "{tiering}");
        assert_eq!(one.increment("n", 1).unwrap(), 101, "{tiering}");
        one.delete("n").unwrap();
        wait_until("the other is told", || other.get("n").is_none());

        // Between the look and the change of one call.
        let mut is_first = true;
        let sum = one.update("n", &options, |value| {
            if std::mem::take(&mut is_first) {
                load(&other, "100");
            }
            Some(value.map_or("1".into(), |_| Bytes::from("101")))
        });
        assert_eq!(sum.unwrap().as_deref(), Some(&b"101"[..]), "{tiering}");
        one.delete("n").unwrap();
        wait_until("the other is told", || other.get("n").is_none());

        // What was seen has ended, and something else was loaded.
        let short = SetOptions::new().ttl(Duration::from_millis(300));
        one.set_with("n", "1".into(), &short).unwrap();
        let (seen, version) = one.get_versioned("n").unwrap();
        assert!(seen.is_some(), "{tiering}");
        wait_until("it ended", || other.get("n").is_none());
        wait_until("another value is loaded", || load(&other, "100") == "100");
        let set = one.compare_and_set("n", &version, "2".into(), &options).unwrap();
        assert!(!set, "{tiering}: {seen:?} then {:?}", one.get_versioned("n").unwrap().0);
        one.clear().unwrap();
    }
}

#[test]
fn a_value_too_large_for_l3_is_what_the_key_has_and_is_no_outcome_of_a_change() {
    let redis = Redis::start();
    let options = SetOptions::new();
    let large = Bytes::from(vec![b'x'; 101]);
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let folder = store_folder();
        let remote = RedisOptions::new().unix_path(redis.socket()).max_value_bytes(100);
        let cache: Cache = Cache::builder()
            .tiering(tiering)
            .shared(StoreOptions::new(folder.path()).max_bytes(16 << 20))
            .redis(
                remote.read_timeout(Duration::from_secs(5)).write_timeout(Duration::from_secs(5)),
            )
            .build()
            .unwrap();
        wait_until("copies stay", || {
            cache.set("k", large.clone()).unwrap();
            thread::sleep(Duration::from_millis(20));
            cache.get("k").is_some()
        });
        let (value, version) = cache.get_versioned("k").unwrap();
        assert_eq!(value.as_ref(), Some(&large), "{tiering}");
        assert!(!cache.set_if_absent("k", "other".into(), &options).unwrap(), "{tiering}");
        let error = cache.compare_and_set("k", &version, large.clone(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{tiering}: {error}");
        assert_eq!(cache.get("k").as_ref(), Some(&large), "{tiering}: it has what it had");
        assert!(cache.compare_and_set("k", &version, "small".into(), &options).unwrap());
        let error = cache.update("k", &options, |_| Some(large.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{tiering}: {error}");
        assert_eq!(cache.get("k").as_deref(), Some(&b"small"[..]), "{tiering}");
        // A set of what L3 does not take leaves nothing older there.
        cache.set("k", large.clone()).unwrap();
        let below = ReadOptions::new().tiers(Tiering::L3);
        assert!(cache.get_with("k", &below).is_none(), "{tiering}");
        cache.clear().unwrap();
    }
}

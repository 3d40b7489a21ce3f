//! L3 written around: what is set is above it alone, what is loaded is there too, and nobody of any
//! host is served what a set replaced.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{io, thread, time::Duration};

use tempfile::TempDir;
use tierce::{Bytes, Cache, ReadOptions, RedisOptions, SetOptions, TierKind, Tiering, WritePolicy};
use tierce_tests::{
    host::{Host, process},
    redis::Redis,
    store_folder,
    waiting::wait_until,
};

fn around(options: RedisOptions) -> RedisOptions {
    options.write(WritePolicy::Around)
}

/// What is set is above L3 alone, so a stall of a loaded machine that looks like a loss would cost it.
fn steady(options: RedisOptions) -> RedisOptions {
    around(options).heartbeat(Duration::from_secs(5)).staleness_bound(Duration::from_secs(30))
}

/// A host that sets around L3, and is told of what others change from now on.
fn host(redis: &Redis, tiering: Tiering) -> Host {
    let host = Host::with(redis, tiering, steady);
    wait_until("copies stay", || {
        host.cache.set("is it told", "yes".into()).unwrap();
        thread::sleep(Duration::from_millis(20));
        host.cache.get("is it told").is_some()
    });
    host
}

fn beside(folder: &TempDir, redis: &Redis, tiering: Tiering) -> Cache {
    process(folder, redis, tiering, around)
}

/// What one tier has of a key.
fn found(cache: &Cache, key: &str, tier: Tiering) -> Option<Bytes> {
    cache.get_with(key, &ReadOptions::new().tiers(tier)).map(|answer| answer.value)
}

fn load(cache: &Cache, key: &str, value: &'static str) -> Bytes {
    cache.get_or_load(key, |_| io::Result::Ok(Bytes::from(value))).unwrap()
}

#[test]
fn what_is_set_is_above_l3_alone_and_what_is_loaded_is_there_too() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let host = host(&redis, tiering);
        let cache = &host.cache;
        load(cache, "a", "loaded");
        assert_eq!(found(cache, "a", Tiering::L3).as_deref(), Some(&b"loaded"[..]), "{tiering}");
        cache.set("a", "set".into()).unwrap();
        assert_eq!(found(cache, "a", Tiering::L3), None, "{tiering}");
        let is_shared = tiering.has(TierKind::Shared).then(|| Bytes::from("set"));
        assert_eq!(found(cache, "a", Tiering::L2), is_shared, "{tiering}");
        // Also once this host has heard of its own change.
        thread::sleep(Duration::from_millis(50));
        assert_eq!(load(cache, "a", "never"), "set", "{tiering}");
        cache.delete("a").unwrap();
        load(cache, "a", "again");
        assert_eq!(found(cache, "a", Tiering::L3).as_deref(), Some(&b"again"[..]), "{tiering}");
        cache.clear().unwrap();
    }
}

#[test]
fn a_set_ends_what_other_hosts_have_and_they_load_it() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L1L2L3] {
        let (here, there) = (host(&redis, tiering), host(&redis, tiering));
        let source = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
        for pair in source.windows(2) {
            let [old, new] = [pair[0], pair[1]];
            wait_until("both have what is loaded", || {
                load(&here.cache, "a", old) == old && load(&there.cache, "a", old) == old
            });
            // News of the loads may still end what is set meanwhile.
            wait_until("it is set", || {
                here.cache.set("a", new.into()).unwrap();
                here.cache.get("a").as_deref() == Some(new.as_bytes())
            });
            wait_until("the other is told", || {
                there.cache.get("a").as_deref() != Some(old.as_bytes())
            });
            // It loads what the source has by now, and its value takes the place of the word in L3.
            assert_eq!(load(&there.cache, "a", new), new, "{tiering}");
            let remote = found(&there.cache, "a", Tiering::L3);
            assert_eq!(remote.as_deref(), Some(new.as_bytes()), "{tiering}");
            wait_until("this host has it, loaded or set", || {
                here.cache.get("a").as_deref() == Some(new.as_bytes())
            });
            here.cache.delete("a").unwrap();
            wait_until("it is gone", || there.cache.get("a").is_none());
        }
        here.cache.clear().unwrap();
    }
}

#[test]
fn changes_by_what_is_there_see_what_was_set_and_what_was_loaded() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let (here, there) = (host(&redis, tiering), host(&redis, tiering));
        let (cache, elsewhere) = (&here.cache, &there.cache);
        let options = SetOptions::new();
        cache.set("set", "10".into()).unwrap();
        let (value, version) = cache.get_versioned("set").unwrap();
        assert_eq!(value.as_deref(), Some(&b"10"[..]), "{tiering}");
        assert!(!cache.set_if_absent("set", "0".into(), &options).unwrap(), "{tiering}");
        assert!(cache.compare_and_set("set", &version, "11".into(), &options).unwrap());
        assert!(!cache.compare_and_set("set", &version, "12".into(), &options).unwrap());
        assert_eq!(cache.increment("set", 1).unwrap(), 12, "{tiering}");
        assert_eq!(cache.get("set").as_deref(), Some(&b"12"[..]), "{tiering}");
        // Hosts must agree about what was made so: it is in L3.
        assert_eq!(found(cache, "set", Tiering::L3).as_deref(), Some(&b"12"[..]), "{tiering}");
        // Another set is another version.
        let (_, version) = cache.get_versioned("set").unwrap();
        cache.set("set", "12".into()).unwrap();
        assert!(!cache.compare_and_set("set", &version, "0".into(), &options).unwrap());
        let tagged = SetOptions::new().tags(["red"]);
        cache.set_with("tagged", "1".into(), &tagged).unwrap();
        assert_eq!(cache.increment("tagged", 1).unwrap(), 2, "{tiering}");
        cache.set_with("tagged", "1".into(), &tagged).unwrap();
        let (value, version) = cache.get_versioned("tagged").unwrap();
        assert!(value.is_some(), "{tiering}");
        cache.remove_tag("red").unwrap();
        assert!(!cache.compare_and_set("tagged", &version, "0".into(), &options).unwrap());
        assert_eq!(cache.increment("tagged", 1).unwrap(), 1, "{tiering}");

        // What another host loaded, and what it set: it has that alone.
        load(elsewhere, "count", "5");
        assert_eq!(cache.increment("count", 1).unwrap(), 6, "{tiering}");
        elsewhere.set("its own", "5".into()).unwrap();
        assert!(cache.set_if_absent("its own", "1".into(), &options).unwrap(), "{tiering}");
        assert_eq!(elsewhere.increment("its own", 1).unwrap(), 2, "{tiering}");
        cache.clear().unwrap();
    }
}

#[test]
fn hosts_count_together_from_what_one_of_them_set() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let (here, there) = (host(&redis, tiering), host(&redis, tiering));
        let (cache, elsewhere) = (&here.cache, &there.cache);
        let peer = match tiering.has(TierKind::Shared) {
            true => beside(&here.folder, &redis, tiering),
            false => cache.clone(),
        };
        for round in 0..10 {
            let key = format!("{round}");
            cache.set(&key, "1000".into()).unwrap();
            assert_eq!(peer.increment(&key, 1).unwrap(), 1001, "{tiering}, {round}");
            thread::scope(|scope| {
                for cache in [cache, &peer, elsewhere, elsewhere] {
                    let key = &key;
                    scope.spawn(move || {
                        (0..25).for_each(|_| _ = cache.increment(key, 1).unwrap());
                    });
                }
            });
            assert_eq!(cache.increment(&key, 0).unwrap(), 1101, "{tiering}, {round}");
        }
        cache.clear().unwrap();
    }
}

#[test]
fn a_set_that_the_server_did_not_hear_of_leaves_nothing_older_to_be_read_there() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L1L2L3] {
        let folder = store_folder();
        let brief = Duration::from_millis(100);
        let impatient = |options| around(options).read_timeout(brief).write_timeout(brief);
        let cache = process(&folder, &redis, tiering, impatient);
        wait_until("L3 has the old value", || {
            load(&cache, "a", "old");
            found(&cache, "a", Tiering::L3).is_some()
        });
        redis.signal(libc::SIGSTOP);
        cache.set("a", "new".into()).unwrap();
        assert_ne!(cache.get("a").as_deref(), Some(&b"old"[..]), "{tiering}");
        redis.signal(libc::SIGCONT);
        // Also for a process that begins now, where there is a store to know it by.
        let peer = tiering.has(TierKind::Shared).then(|| beside(&folder, &redis, tiering));
        let other = store_folder();
        let elsewhere = beside(&other, &redis, Tiering::L3);
        wait_until("it is removed for other hosts too", || {
            for cache in peer.iter().chain([&cache]) {
                let found = found(cache, "a", Tiering::L3);
                assert_ne!(found.as_deref(), Some(&b"old"[..]), "{tiering}");
            }
            elsewhere.get("a").is_none()
        });
        cache.clear().unwrap();
    }
}

#[test]
fn a_call_that_names_its_tiers_goes_there() {
    let redis = Redis::start();
    let folder = store_folder();
    let cache = beside(&folder, &redis, Tiering::L1L2L3);
    let all = SetOptions::new().tiers(Tiering::L1L2L3);
    cache.set_with("a", "1".into(), &all).unwrap();
    assert_eq!(found(&cache, "a", Tiering::L3).as_deref(), Some(&b"1"[..]));
    let everywhere = cache.keyspace::<1>("user/:id").unwrap().tiers(Tiering::L1L2L3);
    everywhere.set(7, "Ada".into()).unwrap();
    assert_eq!(found(&cache, "user/7", Tiering::L3).as_deref(), Some(&b"Ada"[..]));
    cache.update("n", &all, |_| Some("1".into())).unwrap();
    assert_eq!(found(&cache, "n", Tiering::L3).as_deref(), Some(&b"1"[..]));
}

#[test]
fn where_l3_is_the_only_tier_it_has_what_is_set() {
    let redis = Redis::start();
    let folder = store_folder();
    let cache = beside(&folder, &redis, Tiering::L3);
    cache.set("a", "1".into()).unwrap();
    assert_eq!(cache.get("a").as_deref(), Some(&b"1"[..]));
    assert_eq!(cache.increment("a", 1).unwrap(), 2);
    // From now on there is another place for it.
    cache.retier(Tiering::L1L3).unwrap();
    cache.set("a", "3".into()).unwrap();
    assert_eq!(found(&cache, "a", Tiering::L3), None);
    assert_eq!(cache.get("a").as_deref(), Some(&b"3"[..]));
}

#[test]
fn a_copy_of_an_earlier_set_is_not_what_another_host_set_around_l3() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let (folder, other) = (store_folder(), store_folder());
        // Nobody is told of anything: the copies stay.
        let untold = |options| around(options).coherence(false);
        let [here, there] =
            [&folder, &other].map(|folder| process(folder, &redis, tiering, untold));
        here.set("n", "10".into()).unwrap();
        there.set("n", "20".into()).unwrap();
        assert_eq!(here.get("n").as_deref(), Some(&b"10"[..]), "{tiering}");
        assert_eq!(here.get_versioned("n").unwrap().0, None, "{tiering}");
        assert_eq!(there.increment("n", 1).unwrap(), 21, "{tiering}");
        assert_eq!(here.increment("n", 1).unwrap(), 22, "{tiering}");
        here.clear().unwrap();
    }
}

#[test]
fn a_number_that_was_set_lives_on_though_its_copies_are_bounded() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let folder = store_folder();
        // Where nobody can listen, copies live for the bound.
        let deaf = |options| around(options).username("deaf").password("secret");
        let mut client = redis.client();
        let rights = ["on", ">secret", "~*", "+@all", "-client|tracking"];
        let mut command = ::redis::cmd("ACL");
        command.arg("SETUSER").arg("deaf").arg(&rights);
        command.exec(&mut client).unwrap();
        let cache = process(&folder, &redis, tiering, deaf);
        let life = Duration::from_secs(3600);
        for (key, options) in [("n", SetOptions::new()), ("m", SetOptions::new().ttl(life))] {
            cache.set_with(key, "1".into(), &options).unwrap();
            assert_eq!(cache.increment(key, 1).unwrap(), 2, "{tiering}");
            let names: Vec<String> =
                ::redis::cmd("KEYS").arg(format!("*:{key}")).query(&mut client).unwrap();
            let left: i64 = ::redis::cmd("PTTL").arg(&names[0]).query(&mut client).unwrap();
            let is_kept = if key == "n" { left == -1 } else { left > 3_590_000 };
            assert!(is_kept, "{tiering}: {left} ms of {key}");
        }
        cache.clear().unwrap();
    }
}

#[test]
fn what_a_touch_prolongs_stays_where_l3_has_only_a_word_of_it() {
    let redis = Redis::start();
    let minute = Duration::from_secs(60);
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        let host = host(&redis, tiering);
        let cache = &host.cache;
        let told = || cache.redis_statistics().map_or(0, |counts| counts.changes_told);
        let mut lost = 0;
        for number in 0..20 {
            let key = format!("around {number}");
            cache.set_with(&key, "set".into(), &SetOptions::new().ttl(minute)).unwrap();
            let before = told();
            assert!(cache.touch(&key, 2 * minute).unwrap(), "{tiering}");
            wait_until("the host has heard of it", || told() > before);
            thread::sleep(Duration::from_millis(20));
            lost += u32::from(cache.get(&key).is_none());
        }
        // News of the set itself may end it, which a touch does not.
        assert!(lost <= 2, "{tiering}: {lost} of 20 are lost");
        // Another host's change is seen all the same.
        let key = "around 7";
        let other = Host::with(&redis, tiering, steady);
        other.cache.delete(key).unwrap();
        wait_until("the host is told", || cache.get(key).is_none());
        cache.clear().unwrap();
    }
}

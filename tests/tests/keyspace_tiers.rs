//! Keyspaces with tiers of their own, over a store that two processes share and a real
//! redis-server that two hosts share: each key is where its keyspace has it, and whoever changes it,
//! by the keyspace or by the cache, nobody is served what it had before.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use tierce::{
    Bytes, Cache, Keyspace, LoadOptions, MemoryOptions, Origin, ReadOptions, RedisOptions,
    SetOptions, StoreOptions, TierKind, Tiering,
};
use tierce_tests::{redis::Redis, store_folder, waiting::wait_until};

const ALL: Tiering = Tiering::L1L2L3;

/// One process of a host, as far as the store can tell.
fn process(folder: &tempfile::TempDir, redis: &Redis) -> Cache {
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2))
        .heartbeat(Duration::from_millis(100))
        .staleness_bound(Duration::from_secs(1));
    let cache = Cache::builder()
        .tiering(ALL)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    cache.get("nothing");
    wait_until("a subscription of the host", || {
        cache.set("is it told", "yes".into()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        cache.get_entry("is it told").is_some_and(|answer| answer.origin == near())
    });
    cache
}

fn near() -> Origin {
    Origin::Tier(TierKind::Memory)
}

fn keyspace(cache: &Cache, tiers: Tiering) -> Keyspace<Bytes, 1> {
    cache.keyspace::<1>("item/:id").unwrap().tiers(tiers)
}

/// What one tier has of a key.
fn found(cache: &Cache, key: &str, tier: Tiering) -> Option<Bytes> {
    cache.get_with(key, &ReadOptions::new().tiers(tier)).map(|answer| answer.value)
}

#[test]
fn values_are_where_their_keyspace_has_them_and_nowhere_else() {
    let redis = Redis::start();
    let (one_folder, two_folder) = (store_folder(), store_folder());
    let (here, beside) = (process(&one_folder, &redis), process(&one_folder, &redis));
    let there = process(&two_folder, &redis);
    for (number, tiers) in Tiering::ALL.into_iter().enumerate() {
        let key = format!("item/{number}");
        let items = keyspace(&here, tiers);
        items.set(number, Bytes::from("v")).unwrap();
        for tier in [Tiering::L1, Tiering::L2, Tiering::L3] {
            let has = tier.tiers().all(|tier| tiers.has(tier));
            assert_eq!(found(&here, &key, tier).is_some(), has, "{tiers}: {tier}");
        }
        assert_eq!(items.get(number), Some(Bytes::from("v")), "{tiers}");
        assert_eq!(items.get_many([number]), [Some(Bytes::from("v"))], "{tiers}");
        // It is still there when this host has heard of its own change.
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(items.get(number), Some(Bytes::from("v")), "{tiers}, later");
        let shared = tiers.has(TierKind::Shared) || tiers.has(TierKind::Redis);
        assert_eq!(keyspace(&beside, tiers).get(number).is_some(), shared, "{tiers}, beside");
        let remote = tiers.has(TierKind::Redis);
        assert_eq!(keyspace(&there, tiers).get(number).is_some(), remote, "{tiers}, there");
    }
}

#[test]
fn what_is_loaded_is_kept_where_the_keyspace_is() {
    let redis = Redis::start();
    let folder = store_folder();
    let cache = process(&folder, &redis);
    for (number, tiers) in Tiering::ALL.into_iter().enumerate() {
        let (key, items) = (format!("item/{number}"), keyspace(&cache, tiers));
        let load = || {
            let options = LoadOptions::new();
            let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
            items.get_or_load_with(number, &options, load).unwrap().origin
        };
        assert_eq!(load(), Origin::Loaded, "{tiers}");
        // It is still there when this host has heard of its own change, and of no other of the group before.
        std::thread::sleep(Duration::from_millis(50));
        assert!(matches!(load(), Origin::Tier(_)), "{tiers}");
        for tier in [Tiering::L1, Tiering::L2, Tiering::L3] {
            let has = tier.tiers().all(|tier| tiers.has(tier));
            assert_eq!(found(&cache, &key, tier).is_some(), has, "{tiers}: {tier}");
        }
    }
}

/// Loads again at once where the value may not be of any age.
fn load(items: &Keyspace<Bytes, 1>, number: usize, value: &'static str, anew: bool) -> Bytes {
    let options = match anew {
        true => LoadOptions::new().max_age(Duration::ZERO),
        false => LoadOptions::new(),
    };
    let load = |_: &[u8]| std::io::Result::Ok(Bytes::from(value));
    items.get_or_load_with(number, &options, load).unwrap().value
}

#[test]
fn what_is_loaded_anew_leaves_nothing_older_beside_it_and_stays() {
    let redis = Redis::start();
    let folder = store_folder();
    let (here, beside) = (process(&folder, &redis), process(&folder, &redis));
    let shared = |tiers: &Tiering| tiers.has(TierKind::Shared) || tiers.has(TierKind::Redis);
    for (number, tiers) in Tiering::ALL.into_iter().enumerate().filter(|(_, it)| shared(it)) {
        let key = format!("item/{number}");
        let (mine, theirs) = (keyspace(&here, tiers), keyspace(&beside, tiers));
        assert_eq!(load(&mine, number, "1", false), "1", "{tiers}");
        assert_eq!(load(&theirs, number, "none", false), "1", "{tiers}: the other has it");
        // What is loaded is made in whole milliseconds, of a clock that is a few behind.
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(load(&mine, number, "2", true), "2", "{tiers}");
        assert_eq!(load(&theirs, number, "none", false), "2", "{tiers}: at once");
        // When this host has heard of its own change:
        std::thread::sleep(Duration::from_millis(50));
        for tier in [Tiering::L1, Tiering::L2, Tiering::L3] {
            let has = tier.tiers().all(|tier| tiers.has(tier));
            assert_eq!(found(&here, &key, tier), has.then(|| "2".into()), "{tiers}: {tier}");
        }
    }
}

#[test]
fn the_same_key_on_the_cache_itself_is_never_older_than_its_last_change() {
    let redis = Redis::start();
    let (one_folder, two_folder) = (store_folder(), store_folder());
    let (here, beside) = (process(&one_folder, &redis), process(&one_folder, &redis));
    let there = process(&two_folder, &redis);
    for (number, tiers) in Tiering::ALL.into_iter().enumerate() {
        let key = format!("item/{number}");
        let items = keyspace(&here, tiers);
        // Everywhere, by the cache; then only where the keyspace is.
        here.set(&key, Bytes::from("1")).unwrap();
        assert_eq!(beside.get(&key), Some(Bytes::from("1")));
        assert_eq!(there.get(&key), Some(Bytes::from("1")));
        items.set(number, Bytes::from("2")).unwrap();
        for tier in Tiering::ALL {
            for (who, cache) in [("here", &here), ("beside", &beside)] {
                let found = found(cache, &key, tier);
                assert_ne!(found, Some(Bytes::from("1")), "{tiers}, {who}, {tier}");
            }
        }
        wait_until("the other host to hear of it", || there.get(&key) != Some(Bytes::from("1")));
        // The other way round: a set without bounds puts it everywhere.
        beside.set(&key, Bytes::from("3")).unwrap();
        let is_theirs_too = tiers != Tiering::L1;
        assert_eq!(items.get(number), is_theirs_too.then(|| Bytes::from("3")), "{tiers}");
        wait_until("the other host to hear of the last", || {
            there.get(&key) == Some(Bytes::from("3"))
        });
        // And what removes it removes it from all.
        items.set_with(number, Bytes::from("4"), &SetOptions::new()).unwrap();
        items.delete(number).unwrap();
        for tier in Tiering::ALL {
            assert_eq!(found(&here, &key, tier), None, "{tiers}: {tier}");
            assert_eq!(found(&beside, &key, tier), None, "{tiers}: {tier}");
        }
    }
}

#[test]
fn a_change_by_another_host_ends_copies_of_what_l3_never_had() {
    let redis = Redis::start();
    let (one_folder, two_folder) = (store_folder(), store_folder());
    let (here, there) = (process(&one_folder, &redis), process(&two_folder, &redis));
    let (mine, theirs) = (keyspace(&here, Tiering::L1L2), keyspace(&there, Tiering::L1L2));
    for round in 0..20 {
        let value = Bytes::from(format!("{round}"));
        mine.set(7, value.clone()).unwrap();
        wait_until("the other host to hear of it", || {
            theirs.get(7).is_none_or(|theirs| theirs != format!("{}", round - 1))
        });
        let loaded = theirs.get_or_load(7, |_| std::io::Result::Ok(value.clone())).unwrap();
        assert_eq!(loaded, value);
    }
    theirs.set(7, Bytes::from("theirs")).unwrap();
    wait_until("this host to hear of it", || mine.get(7).is_none());
}

#[test]
fn a_keyspace_that_is_cleared_is_gone_in_all_processes_and_on_all_hosts() {
    let redis = Redis::start();
    let (one_folder, two_folder) = (store_folder(), store_folder());
    let (here, beside) = (process(&one_folder, &redis), process(&one_folder, &redis));
    let there = process(&two_folder, &redis);
    let items = |cache: &Cache| cache.keyspace::<1>("item/:id").unwrap().clearable();
    let parts = |cache: &Cache| cache.keyspace::<2>("item/:id/part/:part").unwrap().clearable();
    for round in 0..20 {
        items(&here).set(round, "of here".into()).unwrap();
        parts(&beside).set((round, 1), "of beside".into()).unwrap();
        here.set("other", "stays".into()).unwrap();
        wait_until("all have it", || {
            [&here, &beside, &there].iter().all(|cache| {
                items(cache).get(round).is_some() && parts(cache).get((round, 1)).is_some()
            })
        });
        items(&there).clear().unwrap();
        assert!(items(&there).get(round).is_none() && parts(&there).get((round, 1)).is_none());
        wait_until("the others are told", || {
            [&here, &beside].iter().all(|cache| {
                items(cache).get(round).is_none() && parts(cache).get((round, 1)).is_none()
            })
        });
        wait_until("nothing else is gone", || there.get("other").is_some());
    }
}

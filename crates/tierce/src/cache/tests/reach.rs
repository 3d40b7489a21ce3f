//! Calls that are kept to some of the tiers in force.

use super::{Host, bytes};
use crate::{
    Bytes, LoadContext, Loaded,
    cache::{Cache, LoadOptions, Origin, ReadOptions, SetOptions, Split},
    split::{Share, SplitBy, Splitter},
    tiering::{TierKind, Tiering},
};

const LOCAL: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

fn only(tiers: Tiering) -> ReadOptions {
    ReadOptions::new().tiers(tiers)
}

fn origin(cache: &Cache, key: &str, tiers: Tiering) -> Option<Origin> {
    cache.get_with(key, &only(tiers)).map(|answer| answer.origin)
}

fn share(percent: f64) -> Share {
    Share::of(percent / 100.0).unwrap()
}

#[test]
fn a_set_within_some_tiers_removes_the_key_from_the_others() {
    for tiers in LOCAL {
        let host = Host::new();
        let (cache, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
        cache.set("a", bytes("old")).unwrap();
        assert_eq!(other.get("a"), Some(bytes("old")));
        cache.set_with("a", bytes("new"), &SetOptions::new().tiers(tiers)).unwrap();
        for looked in LOCAL {
            let found = cache.get_with("a", &only(looked)).map(|answer| answer.value);
            assert!(found.is_none() || found == Some(bytes("new")), "{tiers}, {looked}: {found:?}");
        }
        assert_eq!(cache.get_with("a", &only(tiers)).unwrap().value, "new");
        // Another process has it if it went where both look.
        let expected = tiers.has(TierKind::Shared).then(|| bytes("new"));
        assert_eq!(other.get("a"), expected, "{tiers}");
    }
}

#[test]
fn an_entry_kept_above_l2_alone_is_judged_by_the_stamps_of_all_processes() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    cache.set_with("a", bytes("1"), &SetOptions::new().tiers(Tiering::L1)).unwrap();
    assert_eq!(origin(&cache, "a", Tiering::L1), Some(Origin::Tier(TierKind::Memory)));
    other.set("a", bytes("2")).unwrap();
    assert_eq!(origin(&cache, "a", Tiering::L1), None);
    assert_eq!(cache.get("a"), Some(bytes("2")));
}

#[test]
fn what_is_loaded_or_brought_up_stays_within_reach() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let load = |tiers, key: &str| {
        let options = LoadOptions::new().tiers(tiers);
        cache.get_or_load_with(key, &options, |_| std::io::Result::Ok(bytes("v"))).unwrap()
    };
    assert_eq!(load(Tiering::L1, "a").origin, Origin::Loaded);
    assert_eq!(origin(&cache, "a", Tiering::L2), None);
    assert_eq!(load(Tiering::L1, "a").origin, Origin::Tier(TierKind::Memory));
    assert_eq!(load(Tiering::L2, "a").origin, Origin::Loaded, "L2 has nothing of it");
    load(Tiering::L2, "b");
    assert_eq!(origin(&cache, "b", Tiering::L2), Some(Origin::Tier(TierKind::Shared)));
    assert_eq!(origin(&cache, "b", Tiering::L1), None, "nor was it brought up");
    let many = cache.get_many_entries(&["a", "b"]);
    let origins: Vec<_> = many.into_iter().map(|answer| answer.unwrap().origin).collect();
    assert_eq!(origins, [Origin::Tier(TierKind::Memory), Origin::Tier(TierKind::Shared)]);
}

#[test]
fn what_removes_a_key_removes_it_from_all_tiers() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let changes: [fn(&Cache); 3] = [
        |cache| cache.delete("a").unwrap(),
        |cache| cache.expire("a").unwrap(),
        |cache| cache.clear().unwrap(),
    ];
    for change in changes {
        for tiers in LOCAL {
            cache.set_with("a", bytes("1"), &SetOptions::new().tiers(tiers)).unwrap();
            change(&cache);
            for looked in LOCAL {
                assert_eq!(origin(&cache, "a", looked), None, "{tiers}, {looked}");
            }
        }
    }
}

#[test]
fn no_tier_in_force_is_a_miss_and_keeps_nothing() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    cache.set("a", bytes("1")).unwrap();
    assert_eq!(origin(&cache, "a", Tiering::L2L3), None);
    cache.set_with("a", bytes("2"), &SetOptions::new().tiers(Tiering::L2L3)).unwrap();
    assert_eq!(cache.get("a"), None, "what it had is removed");
    let options = LoadOptions::new().tiers(Tiering::L3);
    for _ in 0..2 {
        let loaded =
            cache.get_or_load_with("a", &options, |_| std::io::Result::Ok(bytes("3"))).unwrap();
        assert_eq!(loaded.origin, Origin::Loaded);
    }
}

#[test]
fn a_count_above_l2_alone_is_exact_over_processes_that_reach_other_tiers() {
    let host = Host::new();
    let caches = [host.cache(Tiering::L1L2), host.cache(Tiering::L1L2)];
    let none = |_| None::<Bytes>;
    let near = SetOptions::new().tiers(Tiering::L1);
    let all = SetOptions::new();
    caches[0].update("n", &near, |before| before.is_none().then(|| bytes("1"))).unwrap();
    assert_eq!(caches[0].get("n"), Some(bytes("1")));
    // What one keeps in its own memory the other does not find; but it ends it.
    assert_eq!(caches[1].update("n", &all, none).unwrap(), None);
    assert!(caches[1].set_if_absent("n", bytes("2"), &all).unwrap());
    assert_eq!(caches[0].get_with("n", &only(Tiering::L1)), None);
    let (value, version) = caches[0].get_versioned("n").unwrap();
    assert_eq!(value, Some(bytes("2")));
    caches[1].set_with("n", bytes("3"), &near).unwrap();
    assert!(!caches[0].compare_and_set("n", &version, bytes("4"), &all).unwrap());
    let error = caches[0].compare_and_set("n", &version, bytes("4"), &near).unwrap_err();
    assert!(error.to_string().contains("tiers"), "its tiers are those of its version: {error}");
}

#[test]
fn a_loader_that_stays_keeps_what_it_loads_within_reach() {
    for (tiers, others) in [(Tiering::L1, Tiering::L2), (Tiering::L2, Tiering::L1)] {
        let host = Host::new();
        let cache = host.cache(Tiering::L1L2);
        let load = |_: &LoadContext<'_, Bytes>| std::io::Result::Ok(Loaded::new(bytes("1")));
        let loading = cache.loading(load, LoadOptions::new().tiers(tiers)).unwrap();
        assert_eq!(loading.get("a").unwrap(), "1");
        assert!(origin(&cache, "a", tiers).is_some(), "{tiers}");
        assert_eq!(origin(&cache, "a", others), None, "{tiers}");
    }
}

#[test]
fn a_split_cache_has_each_key_on_one_side() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let split = Split::new(Tiering::L1, Tiering::L2).name("r").share(share(25.0));
    cache.split(&split).unwrap();
    assert_eq!(cache.tiering(), Tiering::L1L2);
    let splitter = Splitter::new(SplitBy::Key, "r", "");
    for n in 0..200 {
        let key = format!("k{n}");
        cache.set(&key, bytes("1")).unwrap();
        let expected = match splitter.is_new(share(25.0), key.as_bytes()) {
            true => TierKind::Shared,
            false => TierKind::Memory,
        };
        assert_eq!(cache.get_entry(&key).unwrap().origin, Origin::Tier(expected));
        let loaded = cache.get_or_load(&key, |_| std::io::Result::Ok(bytes("2"))).unwrap();
        assert_eq!(loaded, "1");
    }
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    let found = cache.get_many(&keys);
    assert!(found.iter().flatten().all(|value| value == "1"));
    // Two keys may share a stamp: then a change of one ends what L1 alone has of the other.
    let count = found.iter().flatten().count();
    assert!(count >= 180, "{count} of 200 are left");
    // Both go back to one tiering.
    cache.retier(Tiering::L1).unwrap();
    cache.set("k1", bytes("3")).unwrap();
    assert_eq!(cache.get_entry("k1").unwrap().origin, Origin::Tier(TierKind::Memory));
}

#[test]
fn a_key_that_comes_over_finds_nothing_older_than_its_last_change() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let split = Split::new(Tiering::L1, Tiering::L2).name("r");
    let on = |percent| cache.split(&split.clone().share(share(percent))).unwrap();
    on(100.0);
    cache.set("a", bytes("old")).unwrap();
    cache.set("b", bytes("old")).unwrap();
    cache.set("c", bytes("kept")).unwrap();
    on(0.0);
    assert_eq!(cache.get("a"), None);
    cache.set("a", bytes("new")).unwrap();
    cache.delete("b").unwrap();
    on(100.0);
    assert_ne!(cache.get("a"), Some(bytes("old")));
    assert_eq!(cache.get("b"), None);
    assert_eq!(cache.get("c"), Some(bytes("kept")), "what did not change is there yet");
}

#[test]
fn requests_are_split_to_the_share_and_a_hit_of_l1_is_one_request() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let split = Split::new(Tiering::L1, Tiering::L1L2).by(SplitBy::Request);
    cache.split(&split.share(share(30.0))).unwrap();
    let second = std::time::Duration::from_secs(1);
    cache.side_windows(second).unwrap();
    cache.set("a", bytes("1")).unwrap();
    for n in 0..1000 {
        assert_eq!(cache.get_near("a").or_else(|| cache.get("a")), Some(bytes("1")), "{n}");
    }
    host.time.advance(second);
    let (new, old) = cache.side_windows(second).unwrap();
    assert!((298..=302).contains(&new.requests), "{} of 300", new.requests);
    assert_eq!(new.requests + old.requests, 1000);
    assert_eq!(new.hits + old.hits, 1000);
}

#[test]
fn both_sides_are_measured_apart() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let split = Split::new(Tiering::L1, Tiering::L1L2).name("r").share(share(50.0));
    cache.split(&split).unwrap();
    let second = std::time::Duration::from_secs(1);
    cache.side_windows(second).unwrap();
    let splitter = Splitter::new(SplitBy::Key, "r", "");
    let keys = (0..400).map(|n| format!("k{n}"));
    let (new, old): (Vec<String>, Vec<String>) =
        keys.partition(|key| splitter.is_new(share(50.0), key.as_bytes()));
    for key in &new {
        let failed = cache.get_or_load(key, |_| Err::<Bytes, _>(std::io::Error::other("no")));
        assert!(failed.is_err());
    }
    for key in &old {
        cache.get_or_load(key, |_| std::io::Result::Ok(bytes("1"))).unwrap();
        assert!(cache.get(key).is_some());
    }
    host.time.advance(second);
    let (on_new, on_old) = cache.side_windows(second).unwrap();
    let count = |keys: &Vec<String>| keys.len() as u64;
    assert_eq!((on_new.requests, on_new.hits), (count(&new), 0));
    assert_eq!((on_new.failures, on_new.loads), (count(&new), count(&new)));
    assert_eq!((on_old.requests, on_old.hits), (2 * count(&old), count(&old)));
    assert_eq!((on_old.failures, on_old.loads), (0, count(&old)));
}

#[test]
fn the_share_of_keys_of_a_cache_is_exact() {
    const KEYS: u32 = 100_000;
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let second = std::time::Duration::from_secs(1);
    let split = Split::new(Tiering::L1, Tiering::L1L2).name("encore-tiered-rollout");
    cache.split(&split).unwrap();
    for (percent, slack) in [(1.0, 0.1), (10.0, 0.3), (25.0, 0.4)] {
        cache.split(&split.clone().share(share(percent))).unwrap();
        host.time.advance(60 * second);
        cache.side_windows(second).unwrap();
        for n in 0..KEYS {
            cache.get(format!("user:{n}"));
        }
        host.time.advance(second);
        let (new, old) = cache.side_windows(second).unwrap();
        assert_eq!(new.requests + old.requests, u64::from(KEYS));
        let taken = new.requests as f64 * 100.0 / f64::from(KEYS);
        println!("{percent} % of 100,000 keys: {taken} %");
        assert!((taken - percent).abs() <= slack, "{taken} % of {percent} %");
    }
}

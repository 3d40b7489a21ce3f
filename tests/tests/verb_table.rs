//! What each verb means in each tier: here, in each tier alone, in another process of the host, on
//! another host, and for a load that is under way.
//!
//! | verb | what is left, everywhere | a load from before |
//! |---|---|---|
//! | set | the new value | its value goes to its callers alone |
//! | delete, delete_many, clear | nothing, not even stale | the same |
//! | expire | the old value, stale | the same |
//! | remove_tag | as delete, of all that bears the tag | the same |
//! | expire_tag | as expire, of all that bears the tag | the same; on another host it may be kept, stale |
//! | remove_prefix, expire_prefix | as remove_tag and expire_tag, of all whose keys begin so | the same |
//! | touch | the value that is there if it is fresh, with another end | the same |
//! | the end of the time to live | the old value, stale until its window is over | is kept |

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io, thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, Freshness, LoadOptions, MemoryOptions, ReadOptions, SetOptions, TierKind, Tiering,
};
use tierce_tests::{
    waiting::{wait_until, wait_within},
    world::{CLOCK_TICK, HOUR, World},
};

/// What a look at a key that allows stale values finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Fresh(&'static str),
    Stale(&'static str),
    Gone,
}

use Seen::{Fresh, Gone, Stale};

/// The key that a verb changes. Only those of prefixes have to do with tags of prefixes.
fn key_of(verb: &str) -> &'static str {
    if verb.ends_with("_prefix") { "p/q/a" } else { "a" }
}

fn seen(cache: &Cache, key: &str) -> Seen {
    let Some(answer) = cache.get_with(key, &ReadOptions::new().allow_stale(true)) else {
        assert_eq!(cache.get(key), None);
        return Gone;
    };
    let value = match &answer.value[..] {
        b"old" => "old",
        b"new" => "new",
        b"loaded" => "loaded",
        other => panic!("{other:?} was never set"),
    };
    if answer.is_stale { Stale(value) } else { Fresh(value) }
}

type Verb = (&'static str, fn(&Cache), Seen);

const VERBS: [Verb; 10] = [
    ("set", |cache| cache.set("a", Bytes::from_static(b"new")).unwrap(), Fresh("new")),
    ("delete", |cache| cache.delete("a").unwrap(), Gone),
    ("delete_many", |cache| cache.delete_many(&["b", "a"]).unwrap(), Gone),
    ("clear", |cache| cache.clear().unwrap(), Gone),
    ("expire", |cache| cache.expire("a").unwrap(), Stale("old")),
    ("remove_tag", |cache| cache.remove_tag("red").unwrap(), Gone),
    ("expire_tag", |cache| cache.expire_tag("red").unwrap(), Stale("old")),
    ("remove_prefix", |cache| cache.remove_prefix("p/q/").unwrap(), Gone),
    ("expire_prefix", |cache| cache.expire_prefix("p/").unwrap(), Stale("old")),
    ("touch", |cache| _ = cache.touch("a", 2 * HOUR).unwrap(), Fresh("old")),
];

fn set_old(cache: &Cache, key: &str) {
    let tags = SetOptions::new().tags(["red"]);
    cache.set_with(key, Bytes::from_static(b"old"), &tags).unwrap();
}

#[test]
fn each_verb_means_the_same_here_and_in_each_tier_alone() {
    for tiering in Tiering::ALL {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::new();
            let cache = world.process(tiering);
            set_old(&cache, key);
            assert_eq!(seen(&cache, key), Fresh("old"), "{tiering}");
            act(&cache);
            for (tier, alone) in world.tiers_alone(tiering) {
                assert_eq!(seen(&alone, key), left, "{verb} in {tiering}, {tier:?}");
            }
            assert_eq!(seen(&cache, key), left, "{verb} in {tiering}");
        }
    }
}

#[test]
fn each_verb_reaches_the_other_processes_of_the_host_before_it_returns() {
    for tiering in Tiering::ALL.into_iter().filter(|tiering| tiering.has(TierKind::Shared)) {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::new();
            let (cache, peer) = (world.process(tiering), world.process(tiering));
            set_old(&cache, key);
            assert_eq!(seen(&peer, key), Fresh("old"), "{tiering}");
            act(&cache);
            assert_eq!(seen(&peer, key), left, "{verb} in {tiering}");
            assert_eq!(seen(&cache, key), left, "{verb} in {tiering}");
        }
    }
}

#[test]
fn each_verb_means_the_same_where_sets_go_around_l3_which_has_nothing_older() {
    for tiering in Tiering::ALL {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::new().around();
            let (cache, peer) = (world.process(tiering), world.process(tiering));
            // What is loaded goes there.
            let options = LoadOptions::new().tags(["red"]);
            let load = |_: &[u8]| io::Result::Ok(Bytes::from_static(b"old"));
            cache.get_or_load_with(key, &options, load).unwrap();
            for (tier, alone) in world.tiers_alone(tiering) {
                assert_eq!(seen(&alone, key), Fresh("old"), "{verb} in {tiering}, {tier:?}");
            }
            act(&cache);
            assert_eq!(seen(&cache, key), left, "{verb} in {tiering}");
            if tiering.has(TierKind::Shared) {
                assert_eq!(seen(&peer, key), left, "{verb} in {tiering}, beside");
            }
            for (tier, alone) in world.tiers_alone(tiering) {
                let goes_around = verb == "set" && tier == TierKind::Redis;
                let left = if goes_around && tiering != Tiering::L3 { Gone } else { left };
                assert_eq!(seen(&alone, key), left, "{verb} in {tiering}, {tier:?}");
            }
        }
    }
}

#[test]
fn each_verb_reaches_the_other_hosts() {
    for tiering in Tiering::ALL.into_iter().filter(|tiering| tiering.has(TierKind::Redis)) {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::of_hosts();
            let (cache, other) = (world.process(tiering), world.other_host(tiering));
            set_old(&cache, key);
            wait_until("it is copied", || seen(&other, key) == Fresh("old"));
            act(&cache);
            wait_until("it is told", || seen(&other, key) == left);
            assert_eq!(seen(&cache, key), left, "{verb} in {tiering}");
        }
    }
}

#[test]
fn a_load_from_before_a_verb_is_for_its_callers_alone() {
    for tiering in Tiering::ALL {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::new();
            let cache = world.process(tiering);
            set_old(&cache, key);
            // The source, whatever is there.
            let options = LoadOptions::new().max_age(Duration::ZERO).tags(["red"]);
            let loaded = cache.get_or_load_with(key, &options, |_| {
                act(&cache);
                io::Result::Ok(Bytes::from_static(b"loaded"))
            });
            assert_eq!(loaded.unwrap().value, "loaded", "{verb} in {tiering}");
            for (tier, alone) in world.tiers_alone(tiering) {
                assert_eq!(seen(&alone, key), left, "{verb} in {tiering}, {tier:?}");
            }
            assert_eq!(seen(&cache, key), left, "{verb} in {tiering}");
        }
    }
}

#[test]
fn a_load_from_before_a_verb_of_another_process_is_for_its_callers_alone() {
    for tiering in Tiering::ALL.into_iter().filter(|tiering| *tiering != Tiering::L1) {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::of_hosts();
            let cache = world.process(tiering);
            // Without L2 each process is a host of its own.
            let peer = world.process(tiering);
            set_old(&cache, key);
            let options = LoadOptions::new().max_age(Duration::ZERO).tags(["red"]);
            let loaded = cache.get_or_load_with(key, &options, |_| {
                act(&peer);
                io::Result::Ok(Bytes::from_static(b"loaded"))
            });
            assert_eq!(loaded.unwrap().value, "loaded", "{verb} in {tiering}");
            // What was loaded from before it is as stale as what it was to replace.
            let is_left = |cache: &Cache| match seen(cache, key) {
                Stale("loaded") => verb.starts_with("expire_"),
                seen => seen == left,
            };
            wait_until("it is told", || is_left(&cache));
            assert!(is_left(&peer), "{verb} in {tiering}");
        }
    }
}

#[test]
fn what_is_deleted_during_a_load_that_fails_is_served_to_nobody() {
    for tiering in Tiering::ALL {
        for (verb, act, left) in VERBS {
            let key = key_of(verb);
            let world = World::new();
            let cache = world.process(tiering);
            set_old(&cache, key);
            cache.expire(key).unwrap();
            let answer = cache.get_or_load_with(key, &LoadOptions::new(), |_| {
                act(&cache);
                io::Result::<Bytes>::Err(io::Error::other("origin is down"))
            });
            let given = match answer {
                Ok(answer) if answer.value == "new" => Fresh("new"),
                Ok(answer) if answer.is_stale && answer.value == "old" => Stale("old"),
                Ok(answer) => panic!("{answer:?}"),
                Err(_) => Gone,
            };
            // What is stale is not touched, so nothing has changed.
            let left = if verb == "touch" { Stale("old") } else { left };
            // L3 alone is not asked again: what was set meanwhile is not seen, and nothing older.
            // But a change of tags is known here.
            let is_unseen = tiering == Tiering::L3
                && left != Gone
                && !verb.starts_with("expire_")
                && verb != "touch";
            assert_eq!(given, if is_unseen { Gone } else { left }, "{verb} in {tiering}");
        }
    }
}

#[test]
fn a_load_takes_the_place_of_what_was_too_old_in_every_tier() {
    for tiering in Tiering::ALL {
        let world = World::new();
        let cache = world.process(tiering);
        set_old(&cache, "a");
        let options = LoadOptions::new().max_age(Duration::ZERO);
        let load = |_: &[u8]| io::Result::Ok(Bytes::from_static(b"loaded"));
        cache.get_or_load_with("a", &options, load).unwrap();
        for (tier, alone) in world.tiers_alone(tiering) {
            assert_eq!(seen(&alone, "a"), Fresh("loaded"), "{tiering}, {tier:?}");
        }
        assert_eq!(seen(&cache, "a"), Fresh("loaded"), "{tiering}");
    }
}

#[test]
fn what_is_expired_is_loaded_anew_in_every_tier_and_kept_where_that_fails() {
    for tiering in Tiering::ALL {
        let world = World::new();
        let cache = world.process(tiering);
        set_old(&cache, "a");
        cache.expire("a").unwrap();
        let fail = |_: &[u8]| io::Result::<Bytes>::Err(io::Error::other("origin is down"));
        let answer = cache.get_or_load_with("a", &LoadOptions::new(), fail).unwrap();
        assert!(answer.is_stale && answer.value == "old", "{tiering}");
        let load = |_: &[u8]| io::Result::Ok(Bytes::from_static(b"loaded"));
        cache.get_or_load("a", load).unwrap();
        for (tier, alone) in world.tiers_alone(tiering) {
            assert_eq!(seen(&alone, "a"), Fresh("loaded"), "{tiering}, {tier:?}");
        }
        assert_eq!(seen(&cache, "a"), Fresh("loaded"), "{tiering}");
    }
}

#[test]
fn the_end_of_the_time_to_live_is_stale_in_every_tier_until_the_window_is_over() {
    thread::scope(|scope| {
        for tiering in Tiering::ALL {
            scope.spawn(move || watch_the_end(tiering));
        }
    });
}

fn watch_the_end(tiering: Tiering) {
    let (ttl, window) = (Duration::from_millis(500), Duration::from_secs(5));
    let world = World::new();
    let life = Freshness::new().ttl(ttl).stale_if_error(window);
    let cache = world.builder(tiering).freshness(life).build().unwrap();
    let mut caches: Vec<Cache> =
        world.tiers_alone(tiering).into_iter().map(|(_, alone)| alone).collect();
    // Connected before.
    caches.iter().for_each(|cache| assert_eq!(seen(cache, "a"), Gone));
    let begin = Instant::now();
    set_old(&cache, "a");
    caches.push(cache);
    let states: Vec<Seen> = caches.iter().map(|cache| seen(cache, "a")).collect();
    if begin.elapsed() < ttl {
        assert_eq!(states, vec![Fresh("old"); caches.len()], "{tiering}");
    }
    for cache in &caches {
        wait_within(ttl + window / 2, "it is stale", || seen(cache, "a") == Stale("old"));
    }
    assert!(begin.elapsed() > ttl - CLOCK_TICK, "{tiering}");
    for cache in &caches {
        wait_until("it is gone", || seen(cache, "a") == Gone);
    }
    assert!(begin.elapsed() > ttl + window - CLOCK_TICK, "{tiering}");
}

#[test]
fn eviction_from_l1_leaves_the_tiers_below_as_they_are() {
    for tiering in [Tiering::L1L2, Tiering::L1L3, Tiering::L1L2L3] {
        let world = World::new();
        let cache = world
            .builder(tiering)
            .memory(MemoryOptions::new().max_entries(1).shards(1))
            .build()
            .unwrap();
        set_old(&cache, "a");
        cache.set("b", Bytes::from_static(b"new")).unwrap();
        cache.set("c", Bytes::from_static(b"new")).unwrap();
        assert!(cache.len() <= 1);
        assert_eq!(seen(&cache, "a"), Fresh("old"), "{tiering}");
    }
}

#[test]
fn what_is_touched_ends_in_every_tier_and_on_every_host_when_it_was_told_to() {
    thread::scope(|scope| {
        for tiering in Tiering::ALL {
            scope.spawn(move || {
                let world = World::of_hosts();
                let cache = world.process(tiering);
                let options = SetOptions::new().ttl(HOUR);
                let has_peer = tiering != Tiering::L1;
                let peer = if has_peer { world.process(tiering) } else { cache.clone() };
                let other = if tiering.has(TierKind::Redis) {
                    world.other_host(tiering)
                } else {
                    peer.clone()
                };
                let all = [&cache, &peer, &other];
                let is_fresh = |cache: &Cache, key: &str| cache.get(key).is_some();
                for key in ["shorter", "longer"] {
                    let begin =
                        Duration::from_millis(if key == "longer" { 2_000 } else { 3_600_000 });
                    cache
                        .set_with(key, Bytes::from_static(b"old"), &options.clone().ttl(begin))
                        .unwrap();
                }
                for key in ["shorter", "longer"] {
                    for cache in all {
                        wait_until("it is copied", || is_fresh(cache, key));
                    }
                }
                assert!(cache.touch("longer", HOUR).unwrap(), "{tiering}");
                assert!(cache.touch("shorter", Duration::from_millis(500)).unwrap(), "{tiering}");
                assert!(!cache.touch("nothing", HOUR).unwrap(), "{tiering}");
                let begin = Instant::now();
                for (number, cache) in all.into_iter().enumerate() {
                    let what = format!("its end in {tiering}, {number}");
                    wait_until(&what, || !is_fresh(cache, "shorter"));
                }
                thread::sleep(Duration::from_millis(2_500).saturating_sub(begin.elapsed()));
                for (number, cache) in all.into_iter().enumerate() {
                    assert!(is_fresh(cache, "longer"), "{tiering}, {number}");
                }
                for (tier, alone) in world.tiers_alone(tiering) {
                    assert!(is_fresh(&alone, "longer"), "{tiering}, {tier:?}");
                    assert!(!is_fresh(&alone, "shorter"), "{tiering}, {tier:?}");
                }
            });
        }
    });
}

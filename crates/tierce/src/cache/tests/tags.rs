//! What tags do: all that bears one goes together, in every tier, whatever was under way.

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use bytes::Bytes;

use super::{Host, bytes, down, secs};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, Origin, ReadOptions, SetOptions},
    error::ErrorKind,
    load::LoadContext,
    tiering::Tiering,
};

/// The tierings that need no server.
const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

type Change = (&'static str, fn(&Cache));

fn changes() -> [Change; 2] {
    [
        ("remove_tag", |cache| cache.remove_tag("red").unwrap()),
        ("expire_tag", |cache| cache.expire_tag("red").unwrap()),
    ]
}

fn red() -> SetOptions {
    SetOptions::new().tags(["red", "round"])
}

fn loaded(value: &str) -> io::Result<Loaded<Bytes>> {
    Ok(Loaded::new(bytes(value)).tags(["red"]))
}

/// Fresh for 10 s, then stale for 20 s.
fn windowed(host: &Host, tiering: Tiering) -> Cache {
    let rules = Freshness::new().ttl(secs(10)).stale_if_error(secs(20));
    host.builder(tiering).freshness(rules).build().unwrap()
}

fn stale(cache: &Cache) -> Option<Bytes> {
    let answer = cache.get_with("a", &ReadOptions::new().allow_stale(true))?;
    assert!(answer.is_stale);
    Some(answer.value)
}

#[test]
fn all_that_bears_a_tag_goes_and_nothing_else() {
    for tiering in TIERINGS {
        for (verb, change) in changes() {
            let host = Host::new();
            let cache = host.cache(tiering);
            cache.set_with("a", bytes("1"), &red()).unwrap();
            cache.set_with("b", bytes("2"), &SetOptions::new().tags(["round"])).unwrap();
            cache.set("c", bytes("3")).unwrap();
            let options = LoadOptions::new().tags(["red"]);
            cache.get_or_load_with("d", &options, |_| io::Result::Ok(bytes("4"))).unwrap();
            cache.get_or_load("e", |_| loaded("5")).unwrap();
            let keys = ["a", "b", "c", "d", "e"];
            assert!(cache.get_many(&keys).iter().all(Option::is_some), "{verb} {tiering}");
            change(&cache);
            let after = [None, Some(bytes("2")), Some(bytes("3")), None, None];
            assert_eq!(cache.get_many(&keys), after, "{verb} {tiering}");
            assert_eq!(cache.get_near("a"), None, "{verb} {tiering}");
            assert_eq!(keys.map(|key| cache.get(key)), after, "{verb} {tiering}");
            cache.remove_tags(["blue", "round"]).unwrap();
            assert_eq!(cache.get("b"), None, "{verb} {tiering}");
            // What comes later bears the tag and stays.
            cache.set_with("a", bytes("6"), &red()).unwrap();
            assert_eq!(cache.get("a"), Some(bytes("6")), "{verb} {tiering}");
        }
    }
}

#[test]
fn what_another_process_changes_by_tag_is_gone_here() {
    for tiering in [Tiering::L2, Tiering::L1L2] {
        for (verb, change) in changes() {
            let host = Host::new();
            let (cache, other) = (host.cache(tiering), host.cache(tiering));
            cache.set_with("a", bytes("1"), &red()).unwrap();
            assert_eq!(other.get("a"), Some(bytes("1")), "{verb} {tiering}");
            change(&other);
            assert_eq!((cache.get("a"), other.get("a")), (None, None), "{verb} {tiering}");
        }
    }
}

#[test]
fn a_load_that_raced_with_its_tag_is_answered_and_not_kept() {
    for tiering in TIERINGS {
        for (verb, change) in changes() {
            let host = Host::new();
            let (cache, other) = (windowed(&host, tiering), windowed(&host, tiering));
            // With a store, the change may come from another process.
            let changers = if tiering == Tiering::L1 { vec![&cache] } else { vec![&cache, &other] };
            for changer in changers {
                let answer = cache.get_or_load("a", |_| {
                    change(changer);
                    // Only now it is known that the value bears the tag.
                    loaded("old")
                });
                assert_eq!(answer.unwrap(), bytes("old"), "{verb} {tiering}");
                assert_eq!((cache.get("a"), stale(&cache)), (None, None), "{verb} {tiering}");
            }
        }
    }
}

#[test]
fn who_comes_after_a_change_by_tag_does_not_join_a_load_from_before_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let (cache, other) = (host.cache(tiering), host.cache(tiering));
        let changer = if tiering == Tiering::L1 { &cache } else { &other };
        let load = |value: &'static str| {
            // Another process's load is waited for, and then looked at.
            let options = LoadOptions::new().wait(Duration::from_millis(10));
            cache.get_or_load_with("a", &options, |_| loaded(value))
        };
        let old = cache.get_or_load("a", |_| {
            changer.remove_tag("red").unwrap();
            let late = thread::scope(|scope| scope.spawn(|| load("new")).join().unwrap().unwrap());
            assert_eq!((late.value, late.origin), (bytes("new"), Origin::Loaded), "{tiering}");
            loaded("old")
        });
        assert!(matches!(&old.unwrap()[..], b"old" | b"new"));
        assert_eq!(cache.get("a"), Some(bytes("new")), "{tiering}");
    }
}

#[test]
fn a_copy_in_l1_knows_of_as_many_changes_as_the_record_that_it_is_of() {
    let host = Host::new();
    let (cache, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    cache.remove_tag("blue").unwrap();
    cache.set_with("a", bytes("1"), &red()).unwrap();
    cache.remove_tag("blue").unwrap();
    assert_eq!(other.get("a"), Some(bytes("1")));
    let known = |near: &crate::cache::Near<Bytes>| near.tags().unwrap().known.raises;
    assert_eq!(other.inner.memory.get_with(&b"a"[..], known), Some(1));
}

#[test]
fn what_was_loaded_replaces_what_a_removed_tag_left_in_l2() {
    for tiering in [Tiering::L2, Tiering::L1L2] {
        for (verb, change) in changes() {
            let host = Host::new();
            let (cache, other) = (host.cache(tiering), host.cache(tiering));
            cache.set_with("a", bytes("old"), &red()).unwrap();
            host.time.advance(secs(1));
            change(&cache);
            let answer = cache.get_or_load("a", |_| loaded("new")).unwrap();
            assert_eq!(answer, bytes("new"), "{verb} {tiering}");
            assert_eq!(other.get("a"), Some(bytes("new")), "{verb} {tiering}");
            assert_eq!(cache.get("a"), Some(bytes("new")), "{verb} {tiering}");
        }
    }
}

#[test]
fn what_is_expired_by_tag_is_stale_from_the_first_look_at_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = windowed(&host, tiering);
        let failing = || cache.get_or_load("a", down).ok();
        cache.set_with("a", bytes("1"), &red()).unwrap();
        cache.expire_tag("red").unwrap();
        assert_eq!((cache.get("a"), cache.get_near("a")), (None, None), "{tiering}");
        assert_eq!(stale(&cache), Some(bytes("1")), "{tiering}");
        host.time.advance(secs(20) - Duration::from_millis(1));
        assert_eq!(failing(), Some(bytes("1")), "{tiering}");
        host.time.advance(Duration::from_millis(1));
        assert_eq!(failing(), None, "{tiering}: its window is over");

        // What is removed is not served as stale either.
        cache.set_with("a", bytes("2"), &red()).unwrap();
        cache.expire_tag("red").unwrap();
        assert_eq!(failing(), Some(bytes("2")), "{tiering}");
        cache.remove_tag("red").unwrap();
        assert_eq!((failing(), stale(&cache)), (None, None), "{tiering}");

        // A load takes its place.
        cache.set_with("a", bytes("3"), &red()).unwrap();
        cache.expire_tag("red").unwrap();
        assert_eq!(cache.get_or_load("a", |_| loaded("4")).unwrap(), bytes("4"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("4")), "{tiering}");
    }
}

#[test]
fn what_is_expired_by_tag_is_not_fresh_to_a_look_that_began_before_it_is_judged() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = windowed(&host, tiering);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // A tick of the clock between any two steps of a look.
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    host.time.advance(Duration::from_millis(1));
                }
            });
            let allow_stale = ReadOptions::new().allow_stale(true);
            let mut fresh = 0;
            for round in 0..1_000 {
                cache.set_with("a", bytes("1"), &red()).unwrap();
                cache.expire_tag("red").unwrap();
                let answer = match round % 2 {
                    0 => cache.get_with("a", &allow_stale),
                    _ => cache.get_many_entries(&["a"]).pop().flatten(),
                };
                fresh += u32::from(answer.is_some_and(|answer| !answer.is_stale));
            }
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(fresh, 0, "{tiering}");
        });
    }
}

#[test]
fn what_is_expired_by_tag_is_not_made_fresh_by_a_touch() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = windowed(&host, tiering);
        cache.set_with("a", bytes("1"), &red()).unwrap();
        cache.expire_tag("red").unwrap();
        assert!(!cache.touch("a", secs(60)).unwrap(), "{tiering}");
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(stale(&cache), Some(bytes("1")), "{tiering}");
    }
}

#[test]
fn a_store_that_is_opened_late_is_told_of_changes_by_tag() {
    for (verb, change) in changes() {
        let host = Host::new();
        let (cache, other) = (host.cache(Tiering::L1), host.cache(Tiering::L2));
        other.set_with("a", bytes("1"), &red()).unwrap();
        other.set_with("b", bytes("2"), &SetOptions::new().tags(["blue"])).unwrap();
        change(&cache);
        assert_eq!(other.get("a"), Some(bytes("1")), "{verb}: not told yet");
        cache.retier(Tiering::L1L2).unwrap();
        assert_eq!((cache.get("a"), other.get("a")), (None, None), "{verb}");
        assert_eq!(other.get("b"), Some(bytes("2")), "{verb}");
    }
}

#[test]
fn what_depends_on_a_value_that_a_tag_removed_is_not_done() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set_with("a", bytes("1"), &red()).unwrap();
        let (_, version) = cache.get_versioned("a").unwrap();
        cache.remove_tag("red").unwrap();
        let is_set = cache.compare_and_set("a", &version, bytes("2"), &SetOptions::new());
        assert!(!is_set.unwrap(), "{tiering}");
        assert_eq!(cache.get_versioned("a").unwrap().0, None, "{tiering}");
        assert!(cache.set_if_absent("a", bytes("3"), &red()).unwrap(), "{tiering}");

        // A value that is changed keeps its tags.
        cache.increment("a", 4).unwrap();
        assert_eq!(cache.get("a"), Some(bytes("7")), "{tiering}");
        cache.remove_tag("round").unwrap();
        assert_eq!(cache.get("a"), None, "{tiering}");
    }
}

#[test]
fn a_value_that_is_not_modified_keeps_its_tags() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = windowed(&host, tiering);
        cache.set_with("a", bytes("1"), &red()).unwrap();
        host.time.advance(secs(11));
        let load = |_: &LoadContext<'_, Bytes>| io::Result::Ok(Loaded::not_modified());
        assert_eq!(cache.refresh("a", load).unwrap(), bytes("1"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("1")), "{tiering}");
        cache.remove_tag("round").unwrap();
        assert_eq!((cache.get("a"), stale(&cache)), (None, None), "{tiering}");
    }
}

#[test]
fn word_that_there_is_no_value_goes_with_its_tag() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let options = LoadOptions::new().freshness(Freshness::new().negative_ttl(secs(60)));
        let calls = AtomicU64::new(0);
        let find = || {
            let load = |_: &[u8]| {
                calls.fetch_add(1, Ordering::Relaxed);
                io::Result::Ok(Loaded::absent().tags(["red"]))
            };
            cache.get_or_load_optional("a", &options, load).unwrap().value
        };
        assert_eq!((find(), find(), calls.load(Ordering::Relaxed)), (None, None, 1), "{tiering}");
        cache.remove_tag("red").unwrap();
        assert_eq!((find(), find(), calls.load(Ordering::Relaxed)), (None, None, 2), "{tiering}");
    }
}

#[test]
fn an_entry_has_128_tags_at_most() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let tags = |count: u32| (0..count).map(|tag| tag.to_string());
    let set = |count| cache.set_with("a", bytes("1"), &SetOptions::new().tags(tags(count)));
    set(128).unwrap();
    assert_eq!(set(129).unwrap_err().kind(), ErrorKind::Config);
    let load = |_: &[u8]| io::Result::Ok(Loaded::new(bytes("2")).tags(tags(129)));
    assert_eq!(cache.get_or_load("b", load).unwrap_err().kind(), ErrorKind::Config);
    cache.remove_tag("127").unwrap();
    assert_eq!(cache.get("a"), None);
}

#[test]
fn nobody_is_served_after_a_removal_what_was_loaded_before_it() {
    const ROUNDS: u64 = 300;
    for tiering in TIERINGS {
        let host = Host::new();
        let one = host.cache(tiering);
        // With a store: another process.
        let two = if tiering == Tiering::L1 { one.clone() } else { host.cache(tiering) };
        let (origin, removed) = (AtomicU64::new(1), AtomicU64::new(1));
        let read = |cache: &Cache| {
            let load = |_: &[u8]| {
                let value = origin.load(Ordering::SeqCst);
                thread::yield_now();
                loaded(&value.to_string())
            };
            let value = cache.get_or_load("a", load).unwrap();
            std::str::from_utf8(&value).unwrap().parse::<u64>().unwrap()
        };
        thread::scope(|scope| {
            for cache in [&one, &two, &one, &two] {
                scope.spawn(|| {
                    while removed.load(Ordering::SeqCst) < ROUNDS {
                        let least = removed.load(Ordering::SeqCst);
                        let value = read(cache);
                        assert!(value >= least, "{tiering}: {value} after {least} was removed");
                    }
                });
            }
            for round in 2..=ROUNDS {
                origin.store(round, Ordering::SeqCst);
                if round % 2 == 0 { &one } else { &two }.remove_tag("red").unwrap();
                removed.store(round, Ordering::SeqCst);
                thread::yield_now();
            }
        });
    }
}

#[cfg(feature = "redis")]
#[test]
fn tags_are_as_good_above_an_l3_that_does_not_answer() {
    for (tiering, with) in [(Tiering::L1L2, Tiering::L1L2L3), (Tiering::L1, Tiering::L1L3)] {
        let host = Host::new();
        let away = crate::tier::RedisOptions::new().unix_path("/nowhere/redis.sock");
        let cache = host.builder(tiering).redis(away).build().unwrap();
        cache.set_with("a", bytes("1"), &red()).unwrap();
        cache.retier(with).unwrap();
        // Copies of before the process began to listen may be void.
        let is_kept = || {
            cache.set_with("b", bytes("2"), &red()).unwrap();
            cache.get("b") == Some(bytes("2"))
        };
        assert!((0..1000).any(|_| is_kept()), "{tiering}");
        let old = cache.get_or_load("c", |_| {
            cache.remove_tag("red").unwrap();
            loaded("3")
        });
        assert_eq!(old.unwrap(), bytes("3"), "{tiering}");
        for key in ["a", "b", "c"] {
            assert_eq!(cache.get(key), None, "{tiering} {key}");
        }
    }
}

//! Fresh, stale, gone: what is served when, and to whom.

use std::{
    io,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use bytes::Bytes;

use super::{Host, bytes, down, secs};
use crate::{
    cache::{Answer, Cache, Freshness, LoadOptions, Loaded, Origin, ReadOptions, SetOptions},
    error::{Error, ErrorKind},
    load::LoadReason,
    tiering::{TierKind, Tiering},
};

/// The tierings that need no server.
const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

/// Fresh for 10 s; then stale for 5 s where somebody else loads, and for 20 s where loads fail.
fn rules() -> Freshness {
    Freshness::new().ttl(secs(10)).stale_while_revalidate(secs(5)).stale_if_error(secs(20))
}

fn cache(host: &Host, tiering: Tiering) -> Cache {
    host.builder(tiering).freshness(rules()).build().unwrap()
}

/// What a load that fails leaves the caller with.
fn failing(cache: &Cache) -> crate::Result<Answer<Bytes>> {
    cache.get_or_load_with("a", &LoadOptions::new(), down)
}

fn stale() -> ReadOptions {
    ReadOptions::new().allow_stale(true)
}

#[test]
fn get_returns_what_is_fresh_and_stale_values_only_to_who_allows_them() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(9));
        let answer = cache.get_entry("a").unwrap();
        assert_eq!((answer.is_stale, answer.age), (false, Some(secs(9))), "{tiering}");
        host.time.advance(secs(1));
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(cache.get_near("a"), None, "{tiering}");
        assert_eq!(cache.get_entry("a"), None, "{tiering}");
        assert_eq!(cache.get_many(&["a"]), [None], "{tiering}");
        let answer = cache.get_with("a", &stale()).unwrap();
        assert_eq!((answer.value, answer.is_stale, answer.age), (bytes("1"), true, Some(secs(10))));
        host.time.advance(Duration::from_millis(19_999));
        assert!(cache.get_with("a", &stale()).is_some(), "{tiering}");
        host.time.advance(Duration::from_millis(1));
        assert_eq!(cache.get_with("a", &stale()), None, "{tiering}");
    }
}

#[test]
fn stale_entry_is_served_while_the_loader_fails_and_no_longer_than_its_window() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(29));
        let answer = failing(&cache).unwrap();
        assert_eq!((answer.value, answer.is_stale, answer.age), (bytes("1"), true, Some(secs(29))));
        assert_eq!(
            answer.origin,
            Origin::Tier(*tiering.tiers().collect::<Vec<_>>().last().unwrap())
        );
        host.time.advance(secs(1));
        assert_eq!(failing(&cache).unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
        let stats = cache.stats();
        assert_eq!((stats.stale_served, stats.misses, stats.requests), (1, 1, 2), "{tiering}");
        assert_eq!((stats.loads, stats.load_failures), (2, 2), "{tiering}");
    }
}

#[test]
fn each_call_has_its_own_windows() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1);
    cache.set("a", bytes("1")).unwrap();
    host.time.advance(secs(12));
    let strict = LoadOptions::new().freshness(Freshness::new().stale_if_error(Duration::ZERO));
    assert!(cache.get_or_load_with("a", &strict, down).is_err());
    let brief = LoadOptions::new().freshness(Freshness::new().stale_if_error(secs(2)));
    assert!(cache.get_or_load_with("a", &brief, down).is_err(), "stale for 2 s already");
    let long = LoadOptions::new().freshness(Freshness::new().stale_if_error(secs(3)));
    assert!(cache.get_or_load_with("a", &long, down).unwrap().is_stale);
}

#[test]
fn a_load_replaces_the_stale_value_and_makes_it_fresh() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(10));
        let answer = cache
            .get_or_load_with("a", &LoadOptions::new(), |_| io::Result::Ok(bytes("2")))
            .unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("2"), false), "{tiering}");
        assert_eq!(answer.origin, Origin::Loaded);
        host.time.advance(secs(9));
        assert_eq!(cache.get("a"), Some(bytes("2")), "{tiering}");
    }
}

/// Runs `others` while a load of "a", led by another thread, is under way; then lets it return.
fn while_loading(cache: &Cache, outcome: io::Result<Bytes>, others: impl FnOnce()) {
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let led = cache.get_or_load("a", move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                outcome
            });
            drop(led);
        });
        is_in.recv().unwrap();
        others();
        release.send(()).unwrap();
    });
}

#[test]
fn while_one_caller_refreshes_all_others_get_the_stale_value_at_once() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(14));
        while_loading(&cache, Ok(bytes("2")), || {
            for _ in 0..3 {
                let answer = failing(&cache).unwrap();
                assert_eq!((answer.value, answer.is_stale), (bytes("1"), true), "{tiering}");
            }
            let stats = cache.stats();
            assert_eq!((stats.loads, stats.load_waits, stats.stale_served), (1, 0, 3));
        });
        assert_eq!(cache.get("a"), Some(bytes("2")), "{tiering}");
    }
}

#[test]
fn after_the_window_for_refreshes_others_wait_and_share_what_comes() {
    for fails in [false, true] {
        let host = Host::new();
        let cache = cache(&host, Tiering::L1);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(15));
        let waited = AtomicUsize::new(0);
        thread::scope(|scope| {
            let outcome = if fails { down(b"a") } else { Ok(bytes("2")) };
            while_loading(&cache, outcome, || {
                for _ in 0..3 {
                    scope.spawn(|| {
                        let answer = failing(&cache).unwrap();
                        let expected = if fails { bytes("1") } else { bytes("2") };
                        assert_eq!((answer.value, answer.is_stale), (expected, fails));
                        waited.fetch_add(1, Ordering::Relaxed);
                    });
                }
                while cache.stats().load_waits < 3 {
                    thread::yield_now();
                }
            });
        });
        assert_eq!((waited.into_inner(), cache.stats().loads), (3, 1));
    }
}

#[test]
fn a_value_deleted_during_a_load_that_fails_is_served_to_nobody() {
    type Change = fn(&Cache);
    let changes: [(&str, Change); 2] =
        [("delete", |cache| cache.delete("a").unwrap()), ("clear", |cache| cache.clear().unwrap())];
    for tiering in TIERINGS {
        for (verb, change) in changes {
            let host = Host::new();
            let cache = cache(&host, tiering);
            cache.set("a", bytes("1")).unwrap();
            host.time.advance(secs(11));
            let answer = cache.get_or_load("a", |_| {
                change(&cache);
                down(b"a")
            });
            assert_eq!(answer.unwrap_err().kind(), ErrorKind::Loader, "{verb} in {tiering}");
            assert_eq!(cache.get_with("a", &stale()), None, "{verb} in {tiering}");
        }
    }
}

#[test]
fn a_value_set_during_a_load_that_fails_is_the_answer() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(11));
        let answer = cache.get_or_load_with("a", &LoadOptions::new(), |_| {
            cache.set("a", bytes("2")).unwrap();
            down(b"a")
        });
        let answer = answer.unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("2"), false), "{tiering}");
    }
}

#[test]
fn a_refresh_that_raced_with_a_change_does_not_undo_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        for (key, after) in [("deleted", None), ("set", Some(bytes("new")))] {
            cache.set(key, bytes("1")).unwrap();
            host.time.advance(secs(11));
            let loaded = cache.get_or_load(key, |_| {
                match &after {
                    None => cache.delete(key).unwrap(),
                    Some(value) => cache.set(key, value.clone()).unwrap(),
                }
                io::Result::Ok(bytes("old"))
            });
            assert_eq!(loaded.unwrap(), bytes("old"), "its own caller");
            assert_eq!(cache.get(key), after, "{key} in {tiering}");
        }
    }
}

#[test]
fn stale_values_are_served_where_the_load_of_another_takes_too_long() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1);
    cache.set("a", bytes("1")).unwrap();
    host.time.advance(secs(16));
    while_loading(&cache, Ok(bytes("2")), || {
        let impatient = LoadOptions::new().wait(Duration::from_millis(5));
        let answer = cache.get_or_load_with("a", &impatient, down).unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("1"), true));
    });
}

#[test]
fn stale_values_are_served_where_the_loader_panics_elsewhere() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1);
    cache.set("a", bytes("1")).unwrap();
    host.time.advance(secs(16));
    let (entered, is_in) = mpsc::channel();
    thread::scope(|scope| {
        let cache = &cache;
        let leader = scope.spawn(move || {
            cache.get_or_load("a", move |_| -> io::Result<Bytes> {
                entered.send(()).unwrap();
                while cache.stats().load_waits == 0 {
                    thread::yield_now();
                }
                panic!("the loader's own")
            })
        });
        is_in.recv().unwrap();
        let answer = failing(cache).unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("1"), true));
        assert!(leader.join().is_err());
    });
}

#[test]
fn absence_is_remembered_for_its_time_and_ends_with_a_set() {
    for tiering in TIERINGS {
        let host = Host::new();
        let freshness = rules().negative_ttl(secs(5));
        let cache = host.builder(tiering).freshness(freshness).build().unwrap();
        let find = |loaded: fn() -> Loaded<Bytes>| {
            cache.get_or_load_optional("a", &LoadOptions::new(), |_| io::Result::Ok(loaded()))
        };
        assert_eq!(find(Loaded::absent).unwrap().value, None);
        // Remembered: the loader is not asked.
        let again = find(|| unreachable!("it is known")).unwrap();
        let fastest = tiering.tiers().next().unwrap();
        assert_eq!((again.value, again.origin), (None, Origin::Tier(fastest)), "{tiering}");
        assert_eq!(cache.get("a"), None);
        assert_eq!(cache.get_many(&["a"]), [None]);
        assert_eq!(failing(&cache).unwrap_err().kind(), ErrorKind::Absent, "{tiering}");
        let stats = cache.stats();
        assert_eq!((stats.hits, stats.negative_hits, stats.misses), (4, 4, 1), "{tiering}");
        host.time.advance(secs(5));
        assert_eq!(failing(&cache).unwrap_err().kind(), ErrorKind::Loader, "never stale");
        assert_eq!(find(Loaded::absent).unwrap().value, None);
        cache.set("a", bytes("1")).unwrap();
        assert_eq!(cache.get("a"), Some(bytes("1")), "{tiering}");
    }
}

#[test]
fn absence_is_not_remembered_unless_that_was_asked_for_but_ends_a_stale_value() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        let absent = || {
            cache
                .get_or_load("a", |_| io::Result::Ok(Loaded::<Bytes>::absent()))
                .unwrap_err()
                .kind()
        };
        assert_eq!(absent(), ErrorKind::Absent);
        assert_eq!(cache.stats().negative_hits, 0, "{tiering}");
        assert_eq!(failing(&cache).unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(11));
        assert_eq!(absent(), ErrorKind::Absent, "{tiering}");
        host.time.advance(secs(1));
        assert_eq!(failing(&cache).unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
        assert_eq!(cache.get_with("a", &stale()), None, "{tiering}");
    }
}

#[test]
fn an_absence_from_before_a_set_does_not_end_what_was_set() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.builder(tiering).freshness(rules().negative_ttl(secs(5))).build().unwrap();
        let answer = cache.get_or_load_optional("a", &LoadOptions::new(), |_| {
            cache.set("a", bytes("1")).unwrap();
            io::Result::Ok(Loaded::<Bytes>::absent())
        });
        assert_eq!(answer.unwrap().value, None, "its own caller");
        assert_eq!(cache.get("a"), Some(bytes("1")), "{tiering}");
    }
}

#[test]
fn a_read_may_say_how_old_its_answer_may_be() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(3));
        let within = |age| ReadOptions::new().max_age(age);
        assert!(cache.get_with("a", &within(secs(3))).is_some(), "{tiering}");
        assert!(cache.get_with("a", &within(Duration::from_millis(2_999))).is_none(), "{tiering}");
        cache.set("b", bytes("1")).unwrap();
        assert!(cache.get_with("b", &within(Duration::ZERO)).is_none(), "{tiering}");
        assert!(cache.get_with("b", &within(Duration::from_millis(1))).is_some(), "{tiering}");
        // Stale and young enough.
        host.time.advance(secs(8));
        assert!(cache.get_with("a", &within(secs(11)).allow_stale(true)).is_some(), "{tiering}");
        assert!(cache.get_with("a", &within(secs(10)).allow_stale(true)).is_none(), "{tiering}");
    }
}

#[test]
fn what_is_too_old_for_a_call_is_loaded_anew_for_all() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(3));
        let within = |age, value: &'static str| {
            let options = LoadOptions::new().max_age(age);
            cache.get_or_load_with("a", &options, |_| io::Result::Ok(bytes(value))).unwrap()
        };
        assert_eq!(within(secs(3), "2").value, bytes("1"), "{tiering}");
        assert_eq!(within(secs(2), "3").value, bytes("3"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("3")), "{tiering}");
        assert_eq!(within(Duration::ZERO, "4").value, bytes("4"), "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("4")), "{tiering}");
    }
}

#[test]
fn who_wants_nothing_from_before_its_call_joins_no_load_from_before() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1);
    let (loads, start) = (AtomicUsize::new(0), Barrier::new(9));
    thread::scope(|scope| {
        while_loading(&cache, Ok(bytes("before")), || {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let options = LoadOptions::new().max_age(Duration::ZERO);
                    let answer = cache.get_or_load_with("a", &options, |_| {
                        loads.fetch_add(1, Ordering::Relaxed);
                        io::Result::Ok(bytes("after"))
                    });
                    assert_eq!(answer.unwrap().value, bytes("after"));
                });
            }
            start.wait();
            while cache.stats().load_waits < 8 {
                thread::yield_now();
            }
        });
    });
    // All waited for the load from before; the first of them to load does so for some others.
    assert!((1..=8).contains(&loads.into_inner()));
}

#[test]
fn a_loader_is_told_why_it_is_called_and_what_is_there() {
    let host = Host::new();
    let cache = cache(&host, Tiering::L1);
    let reason = |options: &LoadOptions| {
        let mut told = None;
        let load = |context: &crate::LoadContext<'_, Bytes>| {
            told = Some((context.reason(), context.stale().cloned()));
            Err::<Loaded<Bytes>, _>(Error::new(ErrorKind::Loader, "down"))
        };
        _ = cache.inner.get_or_load(b"a", options, load);
        told.unwrap()
    };
    assert_eq!(reason(&LoadOptions::new()), (LoadReason::Miss, None));
    cache.set("a", bytes("1")).unwrap();
    let source = LoadOptions::new().max_age(Duration::ZERO);
    assert_eq!(reason(&source), (LoadReason::MaxAge, Some(bytes("1"))));
    host.time.advance(secs(11));
    assert_eq!(reason(&LoadOptions::new()), (LoadReason::Stale, Some(bytes("1"))));
}

#[test]
fn a_stale_window_needs_a_time_to_live() {
    let windows = [
        Freshness::new().stale_if_error(secs(1)),
        Freshness::new().stale_while_revalidate(secs(1)),
    ];
    for window in windows {
        let error = Cache::builder().freshness(window.clone()).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let cache = Cache::builder().build().unwrap();
        let endless = window.no_ttl();
        let options = SetOptions::new().freshness(endless.clone());
        let error = cache.set_with("a", bytes("1"), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let options = LoadOptions::new().freshness(endless);
        let error = cache.get_or_load_with("a", &options, down).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}

#[test]
fn what_was_set_together_does_not_end_together_where_jitter_is_asked_for() {
    let ends = |seed| {
        let host = Host::new();
        let freshness = Freshness::new().ttl(secs(100)).ttl_jitter(0.2);
        let cache = host.builder(Tiering::L1).freshness(freshness).jitter_seed(seed);
        let cache = cache.build().unwrap();
        let keys: Vec<String> = (0..50).map(|key| key.to_string()).collect();
        for key in &keys {
            cache.set(key, bytes("1")).unwrap();
        }
        let mut left = Vec::new();
        host.time.advance(secs(79));
        for _ in 0..=21 {
            left.push(keys.iter().filter(|key| cache.get(key).is_some()).count());
            host.time.advance(secs(1));
        }
        left
    };
    let left = ends(3);
    assert_eq!((left[0], left[21]), (50, 0), "{left:?}");
    assert!(left.windows(2).all(|pair| pair[0] - pair[1] < 15), "{left:?}");
    assert_eq!(left, ends(3));
}

#[test]
fn a_read_of_many_tells_stale_absent_and_fresh_apart() {
    let host = Host::new();
    let freshness = rules().negative_ttl(secs(60));
    let cache = host.builder(Tiering::L1).freshness(freshness).build().unwrap();
    cache.set("stale", bytes("1")).unwrap();
    cache.get_or_load("absent", |_| io::Result::Ok(Loaded::<Bytes>::absent())).unwrap_err();
    host.time.advance(secs(12));
    cache.set("fresh", bytes("2")).unwrap();
    assert_eq!(cache.get_many(&["stale", "absent", "fresh"]), [None, None, Some(bytes("2"))]);
    let stats = cache.stats();
    // The load of the absent key was a miss too.
    assert_eq!((stats.hits, stats.negative_hits, stats.misses), (2, 1, 2));
    assert_eq!(stats.tier(TierKind::Memory).unwrap().hits, 2);
}

#[test]
fn what_is_expired_is_stale_at_once_and_stays_so_for_all_its_time() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(1));
        cache.expire("a").unwrap();
        assert_eq!(cache.get("a"), None, "{tiering}");
        let answer = cache.get_with("a", &stale()).unwrap();
        assert_eq!((answer.value, answer.is_stale, answer.age), (bytes("1"), true, Some(secs(1))));
        assert!(failing(&cache).unwrap().is_stale, "{tiering}");
        host.time.advance(secs(19));
        assert!(failing(&cache).unwrap().is_stale, "{tiering}");
        host.time.advance(secs(1));
        assert!(failing(&cache).is_err(), "stale for 20 s: {tiering}");
        assert!(cache.get_with("a", &stale()).is_some(), "until its end: {tiering}");
        host.time.advance(secs(9));
        assert_eq!(cache.get_with("a", &stale()), None, "{tiering}");
    }
}

#[test]
fn what_has_no_stale_window_is_gone_when_it_is_expired() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set("a", bytes("1")).unwrap();
        cache.expire("a").unwrap();
        cache.expire("never there").unwrap();
        assert_eq!(cache.get_with("a", &stale()), None, "{tiering}");
    }
}

#[test]
fn a_load_from_before_an_expiry_does_not_make_its_key_fresh() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(11));
        let loaded = cache.get_or_load("a", |_| {
            cache.expire("a").unwrap();
            io::Result::Ok(bytes("2"))
        });
        assert_eq!(loaded.unwrap(), bytes("2"), "its own caller");
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(cache.get_with("a", &stale()).unwrap().value, bytes("1"), "{tiering}");
    }
}

#[test]
fn who_comes_after_an_expiry_does_not_join_a_load_from_before_it() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = cache(&host, tiering);
        cache.set("a", bytes("1")).unwrap();
        host.time.advance(secs(11));
        while_loading(&cache, Ok(bytes("2")), || {
            cache.expire("a").unwrap();
            let none = LoadOptions::new()
                .freshness(Freshness::new().stale_while_revalidate(Duration::ZERO));
            let load = |_: &[u8]| io::Result::Ok(bytes("3"));
            let answer = cache.get_or_load_with("a", &none, load).unwrap();
            assert_eq!((answer.value, answer.origin), (bytes("3"), Origin::Loaded), "{tiering}");
        });
        assert_eq!(cache.get("a"), Some(bytes("3")), "{tiering}");
    }
}

#[test]
fn an_expiry_by_another_process_is_seen_at_once() {
    for tiering in [Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let (one, other) = (cache(&host, tiering), cache(&host, tiering));
        one.set("a", bytes("1")).unwrap();
        assert_eq!(other.get("a"), Some(bytes("1")));
        one.expire("a").unwrap();
        assert_eq!(other.get("a"), None, "{tiering}");
        assert!(failing(&other).unwrap().is_stale, "{tiering}");
    }
}

#[test]
fn what_another_process_refreshed_is_found_before_the_loader_is_asked() {
    let host = Host::new();
    let (one, other) = (cache(&host, Tiering::L1L2), cache(&host, Tiering::L1L2));
    one.set("a", bytes("1")).unwrap();
    assert_eq!(other.get("a"), Some(bytes("1")));
    host.time.advance(secs(11));
    one.get_or_load("a", |_| io::Result::Ok(bytes("2"))).unwrap();
    let answer = failing(&other).unwrap();
    assert_eq!((answer.value, answer.is_stale), (bytes("2"), false));
    assert_eq!(answer.origin, Origin::Tier(TierKind::Shared));
    // And it took the place of the stale copy.
    assert_eq!(other.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Memory));
}

#[test]
fn while_another_process_refreshes_the_stale_value_serves() {
    let host = Host::new();
    let (one, other) = (cache(&host, Tiering::L1L2), cache(&host, Tiering::L1L2));
    one.set("a", bytes("1")).unwrap();
    host.time.advance(secs(11));
    while_loading(&one, Ok(bytes("2")), || {
        let answer = failing(&other).unwrap();
        assert_eq!((answer.value, answer.is_stale), (bytes("1"), true));
        assert_eq!((other.stats().loads, other.stats().stale_served), (0, 1));
    });
    assert_eq!(other.get("a"), Some(bytes("2")));
}

#[test]
fn the_age_of_a_value_counts_from_where_it_was_made() {
    let host = Host::new();
    let (one, other) = (cache(&host, Tiering::L1L2), cache(&host, Tiering::L1L2));
    one.get_or_load("a", |_| {
        host.time.advance(secs(2));
        io::Result::Ok(bytes("1"))
    })
    .unwrap();
    host.time.advance(secs(3));
    for origin in [TierKind::Shared, TierKind::Memory] {
        let answer = other.get_entry("a").unwrap();
        assert_eq!((answer.origin, answer.age), (Origin::Tier(origin), Some(secs(5))));
    }
}

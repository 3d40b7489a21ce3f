//! `get_or_load_many`: one load for all keys that are missing, and none for those under way.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
};

use bytes::Bytes;

use super::{Host, bytes, secs, until};
use crate::{
    cache::{Cache, Freshness, LoadOptions, Loaded, Origin},
    error::ErrorKind,
    tiering::Tiering,
};

const TIERINGS: [Tiering; 3] = [Tiering::L1, Tiering::L2, Tiering::L1L2];

/// Answers each key with itself.
fn echo(keys: &[&[u8]]) -> io::Result<Vec<Bytes>> {
    Ok(keys.iter().map(|key| Bytes::copy_from_slice(key)).collect())
}

fn refused(_: &[&[u8]]) -> io::Result<Vec<Bytes>> {
    Err(io::Error::other("origin is down"))
}

#[test]
fn what_is_missing_is_loaded_at_once_in_order_and_kept() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        cache.set("b", bytes("set")).unwrap();
        let mut asked = Vec::new();
        let found = cache.get_or_load_many(&["a", "b", "c", "a"], |keys| {
            asked.extend(keys.iter().map(|key| key.to_vec()));
            echo(keys)
        });
        let values = ["a", "set", "c", "a"].map(|text| Some(bytes(text)));
        assert_eq!(found.unwrap(), values, "{tiering}");
        assert_eq!(asked, [b"a", b"c"], "{tiering}");
        assert_eq!(cache.get("c"), Some(bytes("c")), "{tiering}");
        assert_eq!(cache.stats().loads, 1);
        assert_eq!(cache.inner.flights.len(), 0);
    }
}

#[test]
fn absent_keys_are_remembered_one_by_one() {
    let host = Host::new();
    let freshness = Freshness::new().ttl(secs(10)).negative_ttl(secs(5));
    let cache = host.builder(Tiering::L1L2).freshness(freshness).build().unwrap();
    let find = |loads: &AtomicUsize| {
        cache
            .get_or_load_many(&["a", "none"], |keys| {
                loads.fetch_add(1, Ordering::Relaxed);
                io::Result::Ok(keys.iter().map(|key| (*key == b"a").then(|| bytes("1"))).collect())
            })
            .unwrap()
    };
    let loads = AtomicUsize::new(0);
    for _ in 0..2 {
        assert_eq!(find(&loads), [Some(bytes("1")), None]);
    }
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    host.time.advance(secs(5));
    find(&loads);
    assert_eq!(loads.load(Ordering::Relaxed), 2);
}

#[test]
fn a_change_of_one_key_during_the_load_does_not_cost_the_others_theirs() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let found = cache.get_or_load_many(&["a", "b", "c"], |keys| {
            cache.delete("a").unwrap();
            cache.set("b", bytes("new")).unwrap();
            echo(keys)
        });
        assert_eq!(found.unwrap(), ["a", "b", "c"].map(|text| Some(bytes(text))));
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(cache.get("b"), Some(bytes("new")), "{tiering}");
        assert_eq!(cache.get("c"), Some(bytes("c")), "{tiering}");
    }
}

#[test]
fn where_the_load_fails_each_key_has_its_own_answer() {
    for tiering in TIERINGS {
        let host = Host::new();
        let freshness = Freshness::new().ttl(secs(10)).stale_if_error(secs(60));
        let cache = host.builder(tiering).freshness(freshness).build().unwrap();
        cache.set("stale", bytes("1")).unwrap();
        host.time.advance(secs(11));
        cache.set("fresh", bytes("2")).unwrap();
        let keys = ["stale", "fresh", "none"];
        let answers = cache.get_or_load_many_entries(&keys, &LoadOptions::new(), refused);
        let [stale, fresh, none] = answers.try_into().unwrap();
        assert!(stale.unwrap().is_stale, "{tiering}");
        assert!(!fresh.unwrap().is_stale, "{tiering}");
        assert_eq!(none.unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
    }
}

#[test]
fn an_answer_too_few_fails_them_all() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let error = cache.get_or_load_many(&["a", "b"], |_| io::Result::Ok(vec![bytes("1")]));
    let error = error.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert!(error.to_string().contains("1 answers for 2 keys"), "{error}");
    assert!(cache.is_empty());
}

#[test]
fn keys_that_others_load_are_waited_for_and_not_asked_for() {
    for tiering in TIERINGS {
        let host = Host::new();
        let cache = host.cache(tiering);
        let (entered, is_in) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        let asked = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let cache = &cache;
            scope.spawn(move || {
                cache.get_or_load("b", move |_| {
                    entered.send(()).unwrap();
                    held.recv().unwrap();
                    io::Result::Ok(bytes("other"))
                })
            });
            is_in.recv().unwrap();
            let many = scope.spawn(|| {
                let keys = ["a", "b"];
                cache.get_or_load_many_entries(&keys, &LoadOptions::new(), |keys| {
                    asked.lock().unwrap().extend(keys.iter().map(|key| key.to_vec()));
                    echo(keys)
                })
            });
            until("it waits", || cache.stats().load_waits == 1);
            assert_eq!(cache.get("a"), Some(bytes("a")), "its own keys come first: {tiering}");
            release.send(()).unwrap();
            let [own, other] = many.join().unwrap().try_into().unwrap();
            assert_eq!(own.unwrap().origin, Origin::Loaded);
            let other = other.unwrap();
            assert_eq!((other.value, other.origin), (Some(bytes("other")), Origin::Joined));
        });
        assert_eq!(asked.into_inner().unwrap(), [b"a"], "{tiering}");
    }
}

#[test]
fn calls_that_want_each_others_keys_do_not_wait_in_a_circle() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let loads = AtomicUsize::new(0);
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, loads) = (&cache, &loads);
            scope.spawn(move || {
                for round in 0..50 {
                    let mut keys: Vec<String> =
                        (0..8).map(|key| format!("{round}:{key}")).collect();
                    keys.rotate_left(thread * 2);
                    let found = cache.get_or_load_many(&keys, |keys| {
                        loads.fetch_add(keys.len(), Ordering::Relaxed);
                        echo(keys)
                    });
                    let values: Vec<Option<Bytes>> =
                        keys.iter().map(|key| Some(bytes(key))).collect();
                    assert_eq!(found.unwrap(), values);
                }
            });
        }
    });
    assert_eq!(loads.into_inner(), 400, "each key once");
}

#[test]
fn a_loader_that_asks_for_one_of_its_keys_is_told_so() {
    let host = Host::new();
    let cache: Cache = host.cache(Tiering::L1);
    let found = cache.get_or_load_many(&["a", "b"], |keys| {
        let own = cache.get_or_load("b", |_| io::Result::Ok(bytes("never"))).unwrap_err();
        assert_eq!(own.kind(), ErrorKind::Reentrant);
        echo(keys)
    });
    assert_eq!(found.unwrap(), ["a", "b"].map(|text| Some(bytes(text))));
}

#[test]
fn a_failure_of_many_is_remembered_for_each() {
    let host = Host::new();
    let freshness = Freshness::new().ttl(secs(10)).failure_backoff(secs(10), secs(10));
    let cache = host.builder(Tiering::L1).freshness(freshness).build().unwrap();
    cache.get_or_load_many(&["a", "b"], refused).unwrap_err();
    let keys = ["a", "c"];
    let answers = cache.get_or_load_many_entries(&keys, &LoadOptions::new(), |keys| {
        assert_eq!(keys, [b"c"], "the other is left alone");
        io::Result::Ok(vec![Loaded::new(bytes("c"))])
    });
    let [remembered, loaded] = answers.try_into().unwrap();
    assert!(remembered.unwrap_err().to_string().contains("not called again"));
    assert_eq!(loaded.unwrap().value, Some(bytes("c")));
}

#[test]
fn what_another_process_is_loading_is_left_to_it() {
    for is_well in [true, false] {
        let host = Host::new();
        let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
        let (begun, begins) = mpsc::channel();
        let (end, ends) = mpsc::channel::<()>();
        let asked = Mutex::new(Vec::new());
        thread::scope(|scope| {
            let one = &one;
            let first = scope.spawn(move || {
                one.get_or_load_many(&["a", "b", "c"], |keys| {
                    begun.send(()).unwrap();
                    ends.recv().unwrap();
                    if is_well { echo(keys) } else { refused(keys) }
                })
            });
            begins.recv().unwrap();
            let second = scope.spawn(|| {
                other.get_or_load_many(&["b", "c", "d"], |keys| {
                    let names = keys.iter().map(|key| String::from_utf8_lossy(key).into_owned());
                    asked.lock().unwrap().push(names.collect::<Vec<_>>());
                    echo(keys)
                })
            });
            // Its own it loads at once, and others see them before it has the rest.
            until("it has loaded its own", || one.get("d").is_some());
            end.send(()).unwrap();
            assert_eq!(first.join().unwrap().is_ok(), is_well);
            let values = ["b", "c", "d"].map(|text| Some(bytes(text)));
            assert_eq!(second.join().unwrap().unwrap(), values);
        });
        let asked = asked.into_inner().unwrap();
        let expected: &[&[&str]] = if is_well { &[&["d"]] } else { &[&["d"], &["b", "c"]] };
        assert_eq!(asked, expected);
    }
}

#[test]
fn two_processes_that_wait_for_each_other_s_keys_both_end() {
    let host = Host::new();
    let caches = [host.cache(Tiering::L1L2), host.cache(Tiering::L1L2)];
    let barrier = std::sync::Barrier::new(2);
    let loads = AtomicUsize::new(0);
    let keys: Vec<String> = (0..200).map(|number| format!("k{number}")).collect();
    thread::scope(|scope| {
        for (number, cache) in caches.iter().enumerate() {
            let (keys, barrier, loads) = (&keys, &barrier, &loads);
            scope.spawn(move || {
                let mut keys = keys.clone();
                if number == 1 {
                    keys.reverse();
                }
                barrier.wait();
                let found = cache.get_or_load_many(&keys, |missing| {
                    loads.fetch_add(missing.len(), Ordering::Relaxed);
                    echo(missing)
                });
                assert!(
                    found
                        .unwrap()
                        .iter()
                        .zip(&keys)
                        .all(|(found, key)| { found.as_deref() == Some(key.as_bytes()) })
                );
            });
        }
    });
    // A set of four leases may be taken: then a key is loaded without.
    let loads = loads.into_inner();
    assert!((200..400).contains(&loads), "{loads}");
}

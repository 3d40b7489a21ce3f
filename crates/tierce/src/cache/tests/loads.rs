//! `get_or_load`: one load per key, and what its failures do.

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

use super::{Host, bytes};
use crate::{
    cache::{LoadOptions, Loaded, Origin},
    error::ErrorKind,
    tiering::{TierKind, Tiering},
};

type Loader = io::Result<Bytes>;

#[test]
fn sixteen_callers_of_one_key_load_once() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
        let (loads, start) = (AtomicUsize::new(0), Barrier::new(16));
        let (release, held) = mpsc::channel::<()>();
        let held = std::sync::Mutex::new(held);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    start.wait();
                    let value = cache.get_or_load("a", |key| {
                        loads.fetch_add(1, Ordering::Relaxed);
                        held.lock().unwrap().recv().unwrap();
                        Loader::Ok(Bytes::copy_from_slice(key))
                    });
                    assert_eq!(value.unwrap(), bytes("a"));
                });
            }
            // Let the load end only when every other caller waits for it or will find it done.
            release.send(()).unwrap();
        });
        assert_eq!(loads.into_inner(), 1, "{tiering}");
        assert_eq!(cache.get("a"), Some(bytes("a")));
        assert_eq!(cache.inner.flights.len(), 0);
    }
}

#[test]
fn a_failing_load_is_shared_and_not_kept() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let fail = || cache.get_or_load("a", |_| Loader::Err(io::Error::other("origin is down")));
    let error = fail().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Loader);
    assert_eq!(error.cause::<io::Error>().unwrap().to_string(), "origin is down");
    assert_eq!(cache.get_or_load("a", |_| Loader::Ok(bytes("1"))).unwrap(), bytes("1"));
    assert_eq!(fail().unwrap(), bytes("1"));
}

#[test]
fn a_panic_reaches_its_own_thread_and_an_error_those_who_wait() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1);
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let leader = scope.spawn(|| {
            let entered = entered;
            cache.get_or_load("a", move |_| -> Loader {
                entered.send(()).unwrap();
                held.recv().unwrap();
                panic!("the loader's own")
            })
        });
        is_in.recv().unwrap();
        let waiter = scope.spawn(|| cache.get_or_load("a", |_| Loader::Ok(bytes("waiter"))));
        while cache.stats().load_waits == 0 {
            thread::yield_now();
        }
        release.send(()).unwrap();
        assert!(leader.join().is_err());
        assert_eq!(waiter.join().unwrap().unwrap_err().kind(), ErrorKind::LoaderPanicked);
    });
    assert_eq!(cache.get_or_load("a", |_| Loader::Ok(bytes("1"))).unwrap(), bytes("1"));
}

#[test]
fn a_loader_that_asks_for_its_own_key_gets_an_error_and_for_another_a_value() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let value = cache.get_or_load("a", |_| {
        let own = cache.get_or_load("a", |_| Loader::Ok(bytes("never"))).unwrap_err();
        assert_eq!(own.kind(), ErrorKind::Reentrant);
        cache.get_or_load("b", |_| Loader::Ok(bytes("b")))
    });
    assert_eq!(value.unwrap(), bytes("b"));
}

#[test]
fn who_waits_too_long_gets_a_timeout_and_the_next_caller_loads() {
    let host = Host::new();
    let patience = Duration::from_millis(20);
    let cache = host.builder(Tiering::L1).load_wait(patience).build().unwrap();
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let hung = scope.spawn(|| {
            let entered = entered;
            cache.get_or_load("a", move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                Loader::Ok(bytes("hung"))
            })
        });
        is_in.recv().unwrap();
        let impatient = LoadOptions::new().wait(Duration::from_millis(20));
        let waited =
            cache.get_or_load_with("a", &impatient, |_| Loader::Ok(bytes("not asked for")));
        assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout);
        let next = cache.get_or_load_with("a", &impatient, |_| Loader::Ok(bytes("next"))).unwrap();
        assert_eq!((next.value, next.origin), (bytes("next"), Origin::Loaded));
        release.send(()).unwrap();
        assert_eq!(hung.join().unwrap().unwrap(), bytes("hung"));
    });
    assert_eq!(cache.get("a"), Some(bytes("next")));
}

#[test]
fn the_loader_may_name_the_time_to_live() {
    let host = Host::new();
    let cache = host.cache(Tiering::L1L2);
    let load = |ttl| {
        cache.get_or_load("a", |_| {
            io::Result::Ok(Loaded::new(bytes("1")).ttl(Duration::from_secs(ttl)))
        })
    };
    load(0).unwrap();
    assert_eq!(cache.get("a"), None);
    load(5).unwrap();
    host.time.advance(Duration::from_secs(4));
    assert!(cache.get("a").is_some());
    host.time.advance(Duration::from_secs(1));
    assert_eq!(cache.get("a"), None);
}

#[test]
fn the_loads_of_two_processes_end_with_one_value() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    let answer = one
        .get_or_load_with("a", &LoadOptions::new(), |_| {
            other.get_or_load("a", |_| Loader::Ok(bytes("other"))).unwrap();
            Loader::Ok(bytes("one"))
        })
        .unwrap();
    assert_eq!((answer.value, answer.origin), (bytes("other"), Origin::Loaded));
    assert_eq!(one.get_entry("a").unwrap().value, bytes("other"));
    assert_eq!(one.get_entry("a").unwrap().origin, Origin::Tier(TierKind::Memory));
}

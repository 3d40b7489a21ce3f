//! Loads that hang: their callers leave, somebody else loads, and what comes late is not kept.

use std::{io, sync::mpsc, thread, time::Duration};

use bytes::Bytes;

use super::{Host, bytes};
use crate::{
    cache::{LoadOptions, Origin},
    error::ErrorKind,
    tiering::Tiering,
};

/// How long loads may take.
const SHORT: Duration = Duration::from_millis(20);

#[test]
fn what_a_hung_loader_returns_after_it_was_overtaken_is_kept_nowhere() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.builder(tiering).load_wait(SHORT).build().unwrap();
        let (entered, is_in) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let hung = scope.spawn(|| {
                let entered = entered;
                cache.get_or_load("a", move |_| {
                    entered.send(()).unwrap();
                    held.recv().unwrap();
                    io::Result::Ok(bytes("hung"))
                })
            });
            is_in.recv().unwrap();
            let impatient = LoadOptions::new().wait(Duration::from_millis(20));
            let waited = cache.get_or_load_with("a", &impatient, |_| io::Result::Ok(Bytes::new()));
            assert_eq!(waited.unwrap_err().kind(), ErrorKind::Timeout);
            release.send(()).unwrap();
            assert_eq!(hung.join().unwrap().unwrap(), bytes("hung"), "its own caller's");
        });
        assert_eq!(cache.get("a"), None, "{tiering}");
        assert_eq!(cache.stats().loads_not_stored, 1);
        let next = cache.get_or_load("a", |_| io::Result::Ok(bytes("next"))).unwrap();
        assert_eq!(next, bytes("next"));
    }
}

#[test]
fn a_patient_caller_loads_when_another_has_given_up_on_the_leader() {
    let host = Host::new();
    let cache = host.builder(Tiering::L1).load_wait(SHORT).build().unwrap();
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let hung = scope.spawn(|| {
            let entered = entered;
            cache.get_or_load("a", move |_| {
                entered.send(()).unwrap();
                held.recv().unwrap();
                io::Result::Ok(bytes("hung"))
            })
        });
        is_in.recv().unwrap();
        let wait = |span| LoadOptions::new().wait(span);
        let cache = &cache;
        let patient = scope.spawn(move || {
            let patient = wait(Duration::from_secs(20));
            cache.get_or_load_with("a", &patient, |_| io::Result::Ok(bytes("patient")))
        });
        while cache.stats().load_waits == 0 {
            thread::yield_now();
        }
        let impatient = wait(Duration::from_millis(20));
        let gave_up = cache.get_or_load_with("a", &impatient, |_| io::Result::Ok(Bytes::new()));
        assert_eq!(gave_up.unwrap_err().kind(), ErrorKind::Timeout);
        let answer = patient.join().unwrap().unwrap();
        assert_eq!((answer.value, answer.origin), (bytes("patient"), Origin::Loaded));
        release.send(()).unwrap();
        assert_eq!(hung.join().unwrap().unwrap(), bytes("hung"));
    });
    assert_eq!(cache.get("a"), Some(bytes("patient")));
}

/// Whoever asks with little patience leaves: neither the loader is told to stop, nor is its value lost.
#[test]
fn a_waiter_of_little_patience_leaves_and_the_load_goes_on() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
        let (entered, is_in) = mpsc::channel();
        let (release, held) = mpsc::channel::<()>();
        thread::scope(|scope| {
            // Dropped where this fails, so that nobody waits for it.
            let (cache, held, release) = (&cache, std::sync::Mutex::new(held), release);
            let slow = scope.spawn(move || {
                cache.refresh("a", |context| {
                    entered.send(()).unwrap();
                    held.lock().unwrap().recv().unwrap();
                    assert!(!context.is_cancelled());
                    io::Result::Ok(bytes("slow"))
                })
            });
            is_in.recv().unwrap();
            let patient =
                scope.spawn(|| cache.get_or_load("a", |_| io::Result::Ok(bytes("second"))));
            for _ in 0..3 {
                let impatient = LoadOptions::new().wait(Duration::from_millis(5));
                let load = |_: &[u8]| io::Result::Ok(bytes("third"));
                let error = cache.get_or_load_with("a", &impatient, load).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Timeout);
            }
            release.send(()).unwrap();
            assert_eq!(slow.join().unwrap().unwrap(), bytes("slow"), "{tiering}");
            assert_eq!(patient.join().unwrap().unwrap(), bytes("slow"), "{tiering}");
        });
        assert_eq!(cache.get("a"), Some(bytes("slow")), "{tiering}");
        assert_eq!((cache.stats().loads, cache.stats().loads_not_stored), (1, 0));
    }
}

#[test]
fn who_comes_when_the_time_of_a_load_is_over_loads() {
    let host = Host::new();
    let cache = host.builder(Tiering::L1).load_wait(SHORT).build().unwrap();
    let (entered, is_in) = mpsc::channel();
    let (release, held) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let (cache, release) = (&cache, release);
        let hung = scope.spawn(move || {
            cache.get_or_load("a", move |_| {
                entered.send(()).unwrap();
                _ = held.recv();
                io::Result::Ok(bytes("hung"))
            })
        });
        is_in.recv().unwrap();
        thread::sleep(2 * SHORT);
        // Nobody waited for it.
        let next = cache.get_or_load("a", |_| io::Result::Ok(bytes("next"))).unwrap();
        assert_eq!(next, bytes("next"));
        release.send(()).unwrap();
        assert_eq!(hung.join().unwrap().unwrap(), bytes("hung"));
    });
    assert_eq!(cache.get("a"), Some(bytes("next")));
}

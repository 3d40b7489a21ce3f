//! Loads that hang: their callers leave, somebody else loads, and what comes late is not kept.

use std::{io, sync::mpsc, thread, time::Duration};

use bytes::Bytes;

use super::{Host, bytes};
use crate::{
    cache::{LoadOptions, Origin},
    error::ErrorKind,
    tiering::Tiering,
};

#[test]
fn what_a_hung_loader_returns_after_it_was_overtaken_is_kept_nowhere() {
    for tiering in [Tiering::L1, Tiering::L2, Tiering::L1L2] {
        let host = Host::new();
        let cache = host.cache(tiering);
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
    let cache = host.cache(Tiering::L1);
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

//! The age of an answer counts from where its value was set, or its load began: whoever loaded it.

use std::{io, sync::mpsc, thread, time::Duration};

use super::{Host, bytes, secs};
use crate::{
    cache::{LoadOptions, Origin},
    tiering::Tiering,
};

/// A load that began and ends while another one of the same key, which began five seconds earlier by
/// another process, puts its value into the store first.
fn overtaken_by_older(options: LoadOptions) -> (bytes::Bytes, Duration) {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    let (begun, begins) = mpsc::channel();
    let (go, wait) = mpsc::channel();
    thread::scope(|scope| {
        let older = scope.spawn(move || {
            one.get_or_load("a", |_| {
                begun.send(()).unwrap();
                wait.recv().unwrap();
                io::Result::Ok(bytes("older"))
            })
        });
        begins.recv().unwrap();
        host.time.advance(secs(5));
        // It does not wait for the other process.
        let options = options.wait(Duration::from_millis(1));
        let answer = other.get_or_load_with("a", &options, |_| {
            go.send(()).unwrap();
            assert_eq!(older.join().unwrap().unwrap(), bytes("older"));
            io::Result::Ok(bytes("mine"))
        });
        let answer = answer.unwrap();
        assert_eq!(answer.origin, Origin::Loaded);
        (answer.value, answer.age.unwrap())
    })
}

#[test]
fn a_value_that_another_load_put_there_first_is_as_old_as_that_load() {
    let (value, age) = overtaken_by_older(LoadOptions::new());
    assert_eq!(value, bytes("older"));
    assert!(age >= secs(5), "{age:?}");
}

#[test]
fn who_wants_nothing_older_gets_what_its_own_load_brought() {
    for max_age in [Duration::ZERO, secs(1)] {
        let (value, age) = overtaken_by_older(LoadOptions::new().max_age(max_age));
        assert_eq!(value, bytes("mine"), "{max_age:?}");
        assert!(age < secs(5), "{age:?}");
    }
    let (value, _) = overtaken_by_older(LoadOptions::new().max_age(secs(60)));
    assert!(value == "older" || value == "mine");
}

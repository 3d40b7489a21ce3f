//! Processes of other namespaces: what would be misunderstood between them and the others is told
//! when the store is opened, and L2 is off there.
//!
//! Each test runs in forked children. It needs root, and is left out where that is not had.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code)]

mod store_support;

use std::fs;

use store_support::*;
use tierce::{Cache, Clock, ErrorKind, Medium, Store, StoreOptions, Tiering};

/// Runs `work` in a child that `prepare` has put into namespaces of its own, as their first
/// process; false where that is not allowed.
fn in_namespace(flags: libc::c_int, prepare: impl FnOnce(), work: impl FnOnce()) -> bool {
    const NOT_ALLOWED: i32 = 77;
    let status = traced::in_child(|| {
        // SAFETY: a bare system call on this process alone.
        if unsafe { libc::unshare(flags) } != 0 {
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(NOT_ALLOWED) };
        }
        prepare();
        // The namespaces are those of the children to come.
        let status = traced::in_child(|| {
            work();
            true
        });
        assert_eq!(status, 0, "the process in the namespace ended with status {status:#x}");
        true
    });
    if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == NOT_ALLOWED {
        println!("left out: no namespace may be made");
        return false;
    }
    assert_eq!(status, 0, "the child ended with status {status:#x}");
    true
}

fn is_refused(options: &StoreOptions, kind: ErrorKind, words: &str) {
    let error = Store::open(options, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

/// L2 is off for a reason with these words, and the cache works without it.
fn is_without(options: &StoreOptions, words: &str) {
    let cache = Cache::builder().tiering(Tiering::L1L2).shared(options.clone()).build().unwrap();
    cache.set("a", "1".into()).unwrap();
    assert_eq!(cache.get("a").as_deref(), Some(&b"1"[..]));
    let reason = cache.health().dependencies.into_iter().find_map(|it| it.reason);
    assert!(reason.as_ref().is_some_and(|reason| reason.contains(words)), "{reason:?}");
}

#[test]
fn a_process_of_another_pid_namespace_is_refused_while_the_store_is_in_use() {
    let _alone = traced::alone();
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        put(&store, b"k", b"ours");
        let other = || {
            // SAFETY: always succeeds and touches no memory.
            assert_eq!(unsafe { libc::getpid() }, 1, "in a namespace of its own");
            is_refused(&options, ErrorKind::Busy, "PID namespace");
            is_without(&options, "PID namespace");
        };
        if !in_namespace(libc::CLONE_NEWPID, || (), other) {
            return;
        }
        assert_eq!(get(&store, b"k").unwrap(), b"ours");
        put(&store, b"k", b"ours still");
        drop(store);
        // The files are theirs as soon as nobody else has them open.
        in_namespace(
            libc::CLONE_NEWPID,
            || (),
            || {
                let store = open(&options);
                assert_eq!(get(&store, b"k").unwrap(), b"ours still");
                put(&store, b"k", b"theirs");
            },
        );
        assert_eq!(get(&open(&options), b"k").unwrap(), b"theirs", "{medium:?}");
    }
}

#[test]
fn a_process_whose_boot_clock_is_shifted_is_refused() {
    let _alone = traced::alone();
    let (_folder, options) = small_store(Medium::Mapped);
    put(&open(&options), b"k", b"warm");
    let set = |offset: &'static str| {
        let options = &options;
        let shift = move || fs::write("/proc/self/timens_offsets", offset).unwrap();
        move |work: fn(&StoreOptions)| in_namespace(libc::CLONE_NEWTIME, shift, || work(options))
    };
    if !set("boottime 3600 0")(|options| is_refused(options, ErrorKind::Unsupported, "boot time")) {
        return;
    }
    set("boottime 0 500000000")(|options| is_refused(options, ErrorKind::Unsupported, "boot time"));
    // What no deadline of a store is counted on may be shifted.
    set("monotonic 3600 0")(|options| assert_eq!(get(&open(options), b"k").unwrap(), b"warm"));
}

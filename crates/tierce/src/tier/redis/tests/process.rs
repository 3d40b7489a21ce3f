//! Forks, threads and descriptors. Each test runs in a process of its own, where nothing else
//! makes threads or opens files: the test starts its own binary again for itself alone.
#![allow(unsafe_code)]

use std::{env, fs, process::Command, thread, time::Duration};

use bytes::Bytes;

use super::{
    record,
    server::{Server, wait_until},
    value,
};
use crate::tier::{RemoteTier, Tier};

/// Set in the process that a test started for itself.
const ALONE: &str = "TIERCE_TEST_ALONE";

/// Runs `test` in a process of its own; `name` is the function's.
fn alone(name: &str, test: fn()) {
    if env::var_os(ALONE).is_some() {
        return test();
    }
    let path = format!("{}::{name}", module_path!().split_once("::").unwrap().1);
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", &path, "--nocapture", "--test-threads", "1"])
        .env(ALONE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn count(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

fn threads() -> usize {
    count("/proc/self/task")
}

/// Waits until there are so many: the system lists a thread for a moment after it was waited for.
fn wait_for_threads(expected: usize, what: &str) {
    wait_until(what, || threads() == expected);
}

fn descriptors() -> usize {
    count("/proc/self/fd")
}

fn clients(server: &Server) -> usize {
    let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.raw()).unwrap();
    // Without the connection that asks.
    list.lines().count() - 1
}

#[test]
fn nothing_is_left_after_fifty_caches() {
    alone("nothing_is_left_after_fifty_caches", || {
        let mut server = Server::with(&[]);
        server.tier().write(b"k", &record("v")).unwrap();
        let (threads_before, descriptors_before) = (threads(), descriptors());
        for round in 0..50 {
            let tier = server.tier();
            wait_for_threads(threads_before, "no thread before it is needed");
            assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
            assert_eq!(threads(), threads_before + 1, "one thread for each cache");
            if round % 2 == 0 {
                tier.close();
                wait_for_threads(threads_before, "close ends it");
                assert_eq!(descriptors(), descriptors_before);
            }
        }
        // The same while the server is away.
        server.kill();
        for _ in 0..10 {
            server.tier().read(b"k").unwrap_err();
        }
        wait_for_threads(threads_before, "no thread is left");
        assert_eq!(descriptors(), descriptors_before);
    });
}

#[test]
fn forked_child_has_a_connection_of_its_own() {
    alone("forked_child_has_a_connection_of_its_own", || {
        let server = Server::with(&[]);
        let tier = server.tier();
        tier.write(b"k", &record("v")).unwrap();
        let done = server.folder().join("done");
        // A second thread is in the middle of calls while the process forks.
        let ends = std::sync::atomic::AtomicBool::new(false);
        let run = |name: u8, rounds: u32| {
            for round in 0..rounds {
                let key = [name, round as u8];
                let mine = vec![name; 100 + round as usize % 900];
                tier.write(&key, &record(mine.clone())).unwrap();
                assert_eq!(value(&tier, &key), Some(Bytes::from(mine)), "of {name}");
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                while !ends.load(std::sync::atomic::Ordering::Relaxed) {
                    run(b'p', 10);
                }
            });
            for round in 0..10 {
                // SAFETY: the child calls only what this test is about (the tier, files) and
                // ends by `_exit`; the allocator of the C library is safe to use after fork.
                let child = unsafe { libc::fork() };
                if child == 0 {
                    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
                        run(b'c', 50);
                        assert_eq!(tier.statistics().connects, 2);
                        assert_eq!(threads(), 2);
                        if round % 2 == 0 {
                            tier.close();
                            assert_eq!(threads(), 1);
                        }
                        fs::write(&done, "child").unwrap();
                    }));
                    // SAFETY: ends the child without running what belongs to the parent.
                    unsafe { libc::_exit(i32::from(outcome.is_err())) };
                }
                assert!(child > 0);
                let mut status = -1;
                // SAFETY: `child` is ours and `status` is valid for writes.
                assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
                assert_eq!(status, 0, "the child of round {round} failed");
                assert_eq!(fs::read(&done).unwrap(), b"child");
            }
            ends.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        run(b'p', 50);
        assert_eq!(tier.statistics().connects, 1, "the parent kept its own");
    });
}

#[test]
fn connection_ends_though_a_child_holds_a_copy() {
    alone("connection_ends_though_a_child_holds_a_copy", || {
        let server = Server::with(&[]);
        let tier = server.tier();
        tier.write(b"k", &record("v")).unwrap();
        assert_eq!(clients(&server), 1);
        // SAFETY: the child only sleeps and ends by `_exit`.
        let child = unsafe { libc::fork() };
        if child == 0 {
            thread::sleep(Duration::from_secs(60));
            // SAFETY: ends the child without running what belongs to the parent.
            unsafe { libc::_exit(0) };
        }
        assert!(child > 0);
        tier.close();
        wait_until("the server's end of it", || clients(&server) == 0);
        // SAFETY: `child` is ours; a null status is allowed.
        unsafe {
            libc::kill(child, libc::SIGKILL);
            libc::waitpid(child, std::ptr::null_mut(), 0);
        }
    });
}

#[test]
fn dropping_a_tier_in_a_child_leaves_the_parents_alone() {
    alone("dropping_a_tier_in_a_child_leaves_the_parents_alone", || {
        let server = Server::with(&[]);
        let mut tier = Some(server.tier());
        tier.as_ref().unwrap().write(b"k", &record("v")).unwrap();
        for uses in [false, true] {
            // SAFETY: as above: only the tier is used and the child ends by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let tier = tier.take().unwrap();
                if uses {
                    tier.read(b"k").unwrap();
                }
                drop(tier);
                // SAFETY: ends the child without running what belongs to the parent.
                unsafe { libc::_exit(0) };
            }
            let mut status = -1;
            // SAFETY: `child` is ours and `status` is valid for writes.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0);
        }
        let tier = tier.unwrap();
        assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
        assert_eq!(tier.statistics().connects, 1);
    });
}

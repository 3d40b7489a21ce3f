//! A process forks while its other threads are in the midst of calls: the cache works in every
//! child, and goes on working in the parent.
#![cfg(target_os = "linux")]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, MemoryOptions};

const CHILDREN: usize = 100;

/// A child is done after some milliseconds, or hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// Few, so that threads meet on every lock.
const KEYS: u64 = 64;

fn key(number: u64) -> String {
    format!("key:{}", number % KEYS)
}

/// Every kind of call, of keys that other threads use too.
fn calls(cache: &Cache, count: u64, random: &mut fastrand::Rng) -> bool {
    (0..count).all(|_| {
        let key = key(random.u64(..));
        let value = Bytes::from(vec![7_u8; random.usize(..200)]);
        let is_well = match random.u32(..4) {
            0 => cache.set(&key, value).is_ok(),
            1 => cache.delete(&key).is_ok(),
            2 => cache.get_or_load(&key, |_| io::Result::Ok(value)).is_ok(),
            _ => true,
        };
        let found = cache.get(&key);
        is_well && found.is_none_or(|value| value.iter().all(|byte| *byte == 7))
    })
}

/// What a child does, first alone, then with threads that wait for each other's locks.
fn in_child(cache: &Cache, seed: u64) -> bool {
    let mut random = fastrand::Rng::with_seed(seed);
    let alone = (0..KEYS).all(|number| {
        let key = key(number);
        let set = cache.set(&key, Bytes::from_static(&[7; 10])).is_ok();
        let got = cache.get(&key).is_some_and(|value| value.len() == 10);
        let deleted = cache.delete(&key).is_ok() && cache.get(&key).is_none();
        let load = |_: &[u8]| io::Result::Ok(Bytes::from_static(&[7; 20]));
        let loaded = cache.get_or_load(&key, load).is_ok_and(|value| value.len() == 20);
        set && got && deleted && loaded
    });
    let mut seeds = [random.u64(..), random.u64(..), random.u64(..)].into_iter();
    let together = thread::scope(|scope| {
        let call =
            |seed| scope.spawn(move || calls(cache, 300, &mut fastrand::Rng::with_seed(seed)));
        let threads: Vec<_> = seeds.by_ref().map(call).collect();
        threads.into_iter().all(|thread| thread.join().unwrap_or(false))
    });
    alone && together
}

/// Forks, and waits for the child to say that it is well.
fn fork_one(cache: &Cache, seed: u64) -> Result<(), String> {
    // SAFETY: the child uses the cache and the C library's allocator, which a fork leaves usable,
    // and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_well = in_child(cache, seed);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_well { 0 } else { 1 }) };
    }
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut status = 0;
        // SAFETY: waits for the child just made, with memory for its status.
        let ended = unsafe { libc::waitpid(child, &raw mut status, libc::WNOHANG) };
        match (ended == child, status) {
            (true, 0) => return Ok(()),
            (true, status) => return Err(format!("ended with status {status:#x}")),
            _ => {}
        }
        if Instant::now() > deadline {
            // SAFETY: ends the child just made, and waits for it.
            unsafe {
                libc::kill(child, libc::SIGKILL);
                libc::waitpid(child, &raw mut status, 0);
            }
            return Err("hung".to_owned());
        }
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn children_forked_amid_calls_of_other_threads_work() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let options = MemoryOptions::new().max_bytes(1 << 20);
    let cache = Cache::builder().memory(options).build().unwrap();
    let stop = AtomicBool::new(false);
    let rounds = AtomicU64::new(0);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut failed = Vec::new();
    thread::scope(|scope| {
        for thread in 0..3 {
            let (cache, stop, rounds) = (&cache, &stop, &rounds);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ (thread + 1));
                while !stop.load(Ordering::Relaxed) {
                    assert!(calls(cache, 10, &mut random));
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for child in 0..CHILDREN {
            if let Err(why) = fork_one(&cache, random.u64(..)) {
                failed.push(format!("child {child} {why}"));
            }
            // The parent goes on: every thread, not only this one.
            let before = rounds.load(Ordering::Relaxed);
            let deadline = Instant::now() + PATIENCE;
            while rounds.load(Ordering::Relaxed) < before + 3 {
                assert!(Instant::now() < deadline, "the parent hangs after child {child}");
                thread::yield_now();
            }
            if failed.len() > 3 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(failed.is_empty(), "{failed:?}");
}

//! A process forks while its other threads are in the midst of calls: the cache works in every
//! child, and goes on working in the parent.
#![cfg(target_os = "linux")]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, Computed, MemoryCache, MemoryOptions, PolicyKind, Ttl};

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
fn fork_one(in_child: impl FnOnce() -> bool) -> Result<(), String> {
    // SAFETY: the child uses the cache and the C library's allocator, which a fork leaves usable,
    // and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_well = in_child();
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

/// Forks again and again while three threads are in the midst of calls, each child in turn to say that it
/// is well.
fn storm(call: impl Fn(&mut fastrand::Rng) + Sync, in_child: impl Fn(u64) -> bool) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut failed = Vec::new();
    thread::scope(|scope| {
        for thread in 0..3 {
            let (call, stop, rounds) = (&call, &stop, &rounds);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ (thread + 1));
                while !stop.load(Ordering::Relaxed) {
                    call(&mut random);
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for child in 0..CHILDREN {
            let seed = random.u64(..);
            if let Err(why) = fork_one(|| in_child(seed)) {
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

#[test]
fn children_forked_amid_calls_of_other_threads_work() {
    let options = MemoryOptions::new().max_bytes(1 << 20);
    let cache = Cache::builder().memory(options).build().unwrap();
    storm(|random| assert!(calls(&cache, 10, random)), |seed| in_child(&cache, seed));
}

/// Every call that takes a lock of a memory cache or looks at what others may free.
fn memory_call(cache: &MemoryCache<u64, String>, random: &mut fastrand::Rng) -> bool {
    let key = random.u64(..KEYS);
    let value = || format!("{key} and more than fits without the heap");
    let mut found = Vec::new();
    match random.u32(..16) {
        0 => _ = cache.insert(key, value()),
        1 => _ = cache.insert_with_ttl(key, value(), Ttl::For(Duration::from_millis(2))),
        2 => found.extend(cache.remove(&key)),
        3 => _ = cache.invalidate(&key),
        4 => _ = cache.compute(key, |_| Computed::Store(value(), Ttl::Default)),
        5 => _ = cache.compute(key, |_| Computed::Remove),
        6 => cache.retain(|key, _| key % 7 != 3),
        7 => found.extend(cache.iter().filter(|(other, _)| *other == key).map(|(_, value)| value)),
        8 => cache.clear(),
        9 => {
            let entries = [100, 20, 1_000][random.usize(..3)];
            cache.set_capacity(Some(entries), None).unwrap();
        }
        10 => _ = cache.expire(5),
        11 => _ = cache.reclaim(),
        12 => found.extend(cache.get_many(&[&key]).into_iter().flatten()),
        13 => found.push(cache.get_or_insert_with(key, value)),
        14 => _ = (cache.len(), cache.weight(), cache.statistics(), cache.policy()),
        _ => found.extend(cache.get_with(&key, String::clone)),
    }
    found.iter().all(|found| *found == value())
}

#[test]
fn children_forked_amid_any_call_of_a_memory_cache_work() {
    for policy in [PolicyKind::Adaptive, PolicyKind::Lru] {
        let options = MemoryOptions::new().max_entries(100).shards(2).policy(policy);
        let cache = MemoryCache::<u64, String>::new(options).unwrap();
        let in_child = |seed| {
            let mut random = fastrand::Rng::with_seed(seed);
            let is_well = (0..1_000).all(|_| memory_call(&cache, &mut random));
            cache.validate();
            is_well
        };
        storm(|random| assert!(memory_call(&cache, random)), in_child);
        cache.validate();
    }
}

//! A process that works on a cache while a rollout moves it.
//!
//! ```text
//! mover STORE BOARD ID PROCESSES RATE [URL]      RATE: operations a second; URL: of L3
//! ```
//! Each process changes keys of its own, and reads them: they must be as new as its last change of
//! them, whichever tiers are in force. It also reads keys of others, which must be of that key, and
//! loads those that nobody has.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering, guard::Guard};
use tierce_tests::{
    loads::now,
    moves::{Moves, Place},
};

/// Keys of one process.
const KEYS: usize = 256;

/// Operations between two looks at the clock.
const BATCH: u64 = 64;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    let (id, processes, rate) = (number(2), number(3), number(4));
    let moves = Moves::open(Path::new(&arguments[1]), processes as usize);
    let mut builder = Cache::builder()
        .tiering(Tiering::L1)
        .memory(MemoryOptions::new().max_entries(100_000))
        .shared(StoreOptions::new(&arguments[0]).max_bytes(64 << 20));
    if let Some(url) = arguments.get(5) {
        builder = builder.redis(RedisOptions::new().url(url));
    }
    let cache = builder.build().unwrap();
    let _guard = guard(&cache, &format!("mover {id}"));
    let place = |place| moves.at(id as usize, place);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while moves.is_going_on() {
                let is_on_new = cache.is_split() || cache.tiering() != Tiering::L1;
                let state = if is_on_new { 1 } else { 2 };
                if place(Place::State).swap(state, Ordering::SeqCst) != state {
                    place(Place::ChangedAt).store(now(), Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        work(&cache, &moves, id, processes, rate);
    });
}

/// On a machine that is short of time the store may take more than one try.
fn guard(cache: &Cache, name: &str) -> Guard<Bytes> {
    let start = || Guard::of(cache).rollout_of_store(name).start();
    (0..10).find_map(|_| start().ok()).unwrap_or_else(|| start().unwrap())
}

fn work(cache: &Cache, moves: &Moves, id: u64, processes: u64, rate: u64) {
    let count = |place: Place| moves.at(id as usize, place).fetch_add(1, Ordering::Relaxed);
    let mut random = fastrand::Rng::with_seed(id);
    let versions: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let name = |id: u64, key: usize| format!("process {id} key {key}");
    // What a process of this number that was killed has left.
    for key in 0..KEYS {
        if cache.delete(name(id, key)).is_err() {
            count(Place::Failed);
        }
    }
    let begin = Instant::now();
    let mut done = 0;
    while moves.is_going_on() {
        for _ in 0..BATCH {
            let key = random.usize(..KEYS);
            let mine = name(id, key);
            let version = versions[key].load(Ordering::Relaxed);
            match random.u8(..100) {
                0..5 => {
                    versions[key].store(version + 1, Ordering::Relaxed);
                    let text = format!("{mine} version {}", version + 1);
                    if cache.set(&mine, text.into()).is_err() {
                        count(Place::Failed);
                    }
                }
                5..30 => {
                    let other = name(random.u64(..processes), key);
                    if cache.get(&other).is_some_and(|found| !found.starts_with(other.as_bytes())) {
                        count(Place::Stale);
                    }
                }
                30..65 => {
                    let load = |_: &[u8]| {
                        std::io::Result::Ok(Bytes::from(format!("{mine} version {version}")))
                    };
                    match cache.get_or_load(&mine, load) {
                        Ok(found) => judge(&found, &mine, version, count),
                        Err(_) => _ = count(Place::Failed),
                    }
                }
                _ => {
                    if let Some(found) = cache.get(&mine) {
                        judge(&found, &mine, version, count);
                    }
                }
            }
        }
        done += BATCH;
        moves.at(id as usize, Place::Operations).store(done, Ordering::Relaxed);
        let due = begin + Duration::from_secs_f64(done as f64 / rate as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// What this process finds of its own keys is its last change of them.
fn judge(found: &Bytes, name: &str, version: u64, count: impl Fn(Place) -> u64) {
    if *found != format!("{name} version {version}") {
        count(Place::Stale);
    }
}

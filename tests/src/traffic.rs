//! Reads, loads and changes of several hosts in one process, every read judged by a [`History`].

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tierce::{BreakerOptions, Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering};

use crate::{
    history::History,
    server::PATIENCE,
    value,
    waiting::{is_near, wait_within},
};

/// How often hosts of these tests look whether they are told of changes.
pub const HEARTBEAT: Duration = Duration::from_millis(200);

/// How long after the last word they trust their copies.
pub const BOUND: Duration = Duration::from_millis(1000);

/// How long the breaker lets nobody ask after several failures; 5 s by default.
const OPEN: Duration = Duration::from_millis(500);

/// How long after a change other hosts may see what it replaced, where L3 did not take it as a master
/// was lost: longer than the bound, since nobody can tell of it before. The next master comes within
/// some 3 s, the change rests for two write deadlines and 2 s (3 s), the breaker and a heartbeat take
/// 0.7 s, and the bound of those who were not told is 1 s.
pub const SETTLED: Duration = Duration::from_secs(8);

/// Keys of each thread that it changes all the time; the others it changes seldom.
const BUSY: usize = 16;

/// A host of one process, with a store in this folder if one is given.
///
/// # Panics
/// If the options are wrong.
pub fn host(options: RedisOptions, tiering: Tiering, folder: Option<&TempDir>) -> Cache {
    host_with_room(options, tiering, folder, 10_000)
}

/// The same with an L1 of so many entries.
///
/// # Panics
/// As [`host`].
pub fn host_with_room(
    options: RedisOptions,
    tiering: Tiering,
    folder: Option<&TempDir>,
    entries: u64,
) -> Cache {
    let mut builder = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(entries))
        .redis(options)
        .breaker(BreakerOptions::new().open_for(OPEN));
    if let Some(folder) = folder {
        let store = StoreOptions::new(folder.path().join("store"));
        builder = builder.shared(store.max_bytes(16 << 20));
    }
    let cache = builder.build().expect("these settings fit");
    // The thread that listens begins with the first call.
    cache.get("nothing");
    cache
}

/// Waits until a copy of a key that nobody changes lives for longer than the staleness bound.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub fn wait_for_stream(cache: &Cache) {
    wait_within(PATIENCE, "the stream of changes", || {
        cache.set("is told", "yes".into()).expect("a change is never refused");
        thread::sleep(BOUND + HEARTBEAT);
        is_near(cache, "is told")
    });
}

/// Some hosts that use some keys, until they are told to stop.
#[derive(Debug)]
pub struct Traffic<'a> {
    hosts: &'a [Cache],
    /// Threads of each host.
    threads: usize,
    /// Keys that each thread changes.
    keys: usize,
    history: History,
    stop: AtomicBool,
    errors: AtomicU64,
    seed: u64,
}

impl<'a> Traffic<'a> {
    /// Of these hosts with so many threads each, each of which changes so many keys; others see
    /// changes within `bound`.
    pub fn new(
        hosts: &'a [Cache],
        threads: usize,
        keys: usize,
        bound: Duration,
        seed: u64,
    ) -> Self {
        let history = History::new(hosts.len() * threads * keys, bound);
        let (stop, errors) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { hosts, threads, keys, history, stop, errors, seed }
    }

    /// Has all threads run while `meanwhile` does; then all have stopped. How many reads found
    /// something, how many of them something wrong, and how many calls failed.
    pub fn during(&self, meanwhile: impl FnOnce()) -> [u64; 3] {
        std::thread::scope(|scope| {
            for host in 0..self.hosts.len() {
                for thread in 0..self.threads {
                    scope.spawn(move || self.run(host, host * self.threads + thread));
                }
            }
            let _stop = Stop(&self.stop);
            meanwhile();
        });
        let (checked, wrong) = self.history.checked_and_wrong();
        [checked, wrong, self.errors.load(Ordering::Relaxed)]
    }

    fn run(&self, host: usize, writer: usize) {
        let mut random = fastrand::Rng::with_seed(self.seed.wrapping_add(writer as u64));
        let all = self.hosts.len() * self.threads * self.keys;
        for key in writer * self.keys..(writer + 1) * self.keys {
            self.change(host, key, false);
        }
        while !self.stop.load(Ordering::Relaxed) {
            match random.u16(..1000) {
                0..850 => self.read(host, random.usize(..all)),
                850..870 => {
                    let first = random.usize(..all);
                    let keys: Vec<_> = (0..20).map(|step| (first + 7 * step) % all).collect();
                    self.read_many(host, &keys);
                }
                870..950 => self.load(host, random.usize(..all)),
                dice @ 950..999 => {
                    let key = writer * self.keys + random.usize(..BUSY);
                    self.change(host, key, dice >= 985);
                }
                _ => self.change(host, writer * self.keys + random.usize(..self.keys), false),
            }
            // The servers share the cores with us.
            if random.u8(..8) == 0 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn name(key: usize) -> [u8; 8] {
        (key as u64).to_le_bytes()
    }

    fn floor(&self, host: usize, key: usize) -> u64 {
        self.history.floor(key, key / self.keys / self.threads == host)
    }

    fn judge(&self, host: usize, key: usize, floor: u64, bytes: &[u8], tale: &str) {
        let tale = format!("{tale} of host {host}");
        self.history.judge(key, floor, value::check(key as u64, bytes), &tale);
    }

    fn read(&self, host: usize, key: usize) {
        let floor = self.floor(host, key);
        if let Some(found) = self.hosts[host].get(Self::name(key)) {
            self.judge(host, key, floor, &found, "get");
        }
    }

    fn read_many(&self, host: usize, keys: &[usize]) {
        let floors: Vec<_> = keys.iter().map(|key| self.floor(host, *key)).collect();
        let names: Vec<_> = keys.iter().map(|key| Self::name(*key)).collect();
        let found = self.hosts[host].get_many(&names);
        for ((key, floor), found) in keys.iter().zip(floors).zip(found) {
            if let Some(found) = found {
                self.judge(host, *key, floor, &found, "get_many");
            }
        }
    }

    fn load(&self, host: usize, key: usize) {
        let floor = self.floor(host, key);
        let loaded = self.hosts[host].get_or_load(Self::name(key), |_| {
            std::io::Result::Ok(value::make(key as u64, self.history.source(key), 100))
        });
        match loaded {
            Ok(found) => self.judge(host, key, floor, &found, "get_or_load"),
            Err(error) => self.failed(&error),
        }
    }

    fn change(&self, host: usize, key: usize, delete: bool) {
        let version = self.history.next(key);
        let cache = &self.hosts[host];
        let changed = match delete {
            true => cache.delete(Self::name(key)),
            false => cache.set(Self::name(key), value::make(key as u64, version, 100)),
        };
        match changed {
            Ok(()) => self.history.returned(key, version),
            Err(error) => self.failed(&error),
        }
    }

    #[allow(clippy::print_stderr)]
    fn failed(&self, error: &tierce::Error) {
        if self.errors.fetch_add(1, Ordering::Relaxed) < 10 {
            eprintln!("a caller saw: {error}");
        }
    }
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Waits until L3 takes and gives values of so many keys in turn, by a cache of L3 alone; how long
/// after `begin` that was.
///
/// # Panics
/// If that does not come to be.
pub fn wait_for_l3(cache: &Cache, keys: u32, begin: Instant) -> Duration {
    let mut in_turn = 0;
    for attempt in 0_u64.. {
        // A key whose change was not taken rests for a while.
        let key = format!("probe {attempt}");
        let is_set = cache.set(&key, "taken".into()).is_ok();
        let is_given = is_set && cache.get(&key).as_deref() == Some(b"taken");
        in_turn = if is_given { in_turn + 1 } else { 0 };
        if in_turn == keys {
            break;
        }
        assert!(begin.elapsed() < PATIENCE, "L3 does not come back");
        std::thread::sleep(Duration::from_millis(5));
    }
    begin.elapsed()
}

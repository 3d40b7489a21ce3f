//! Hosts that ask for one cold key at the same moment, with a redis-server between them: one process
//! of one host loads it, all others wait for it, and for nobody who is dead, hangs or failed.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, Freshness, LoadOptions, MemoryOptions, RedisOptions, StoreOptions, Tiering,
};
use tierce_tests::{
    loads::{Loads, Note, now},
    process::Worker,
    redis::Redis,
    store_folder,
    waiting::wait_until,
};

const HOSTS: u64 = 2;
const PROCESSES: u64 = 2;
const THREADS: u64 = 2;
const ALL: u64 = HOSTS * PROCESSES * THREADS;
/// Long enough that no test ends in time by a lease that is over.
const LONG_LEASE: u64 = 60_000;

/// Processes of two hosts: those of each share a store.
struct Hosts {
    workers: Vec<Worker>,
    loads: Loads,
    redis: Redis,
    _folders: Vec<tempfile::TempDir>,
}

impl Hosts {
    fn start(rounds: usize, lease_ms: u64, first: &str, first_ms: u64, has_store: bool) -> Self {
        let redis = Redis::start();
        let folders: Vec<_> = (0..=HOSTS).map(|_| store_folder()).collect();
        let notes = folders[0].path().join("notes");
        let loads = Loads::open(&notes, rounds);
        let mut workers = Vec::new();
        for folder in &folders[1..] {
            let store = folder.path().join("store");
            for _ in 0..PROCESSES {
                workers.push(Worker::start(
                    env!("CARGO_BIN_EXE_loader"),
                    &[
                        if has_store { store.to_str().unwrap() } else { "-" },
                        notes.to_str().unwrap(),
                        &rounds.to_string(),
                        &THREADS.to_string(),
                        &LONG_LEASE.to_string(),
                        first,
                        &first_ms.to_string(),
                        "50",
                        redis.socket().to_str().unwrap(),
                        &lease_ms.to_string(),
                    ],
                ));
            }
        }
        Self { workers, loads, redis, _folders: folders }
    }

    fn go(&self, round: u64) {
        self.loads.wait(round, Note::Ready, ALL);
        self.loads.at(round, Note::Go).store(1, Ordering::SeqCst);
    }

    /// Waits until so many calls of a round have ended, and returns how many loads there were.
    fn end(&self, round: u64, answered: u64, failed: u64) -> u64 {
        self.loads.wait(round, Note::Failed, failed);
        self.loads.wait(round, Note::Answered, answered);
        assert_eq!(self.loads.of(round, Note::Answered), answered, "calls that got a value");
        assert_eq!(self.loads.of(round, Note::Failed), failed, "calls that failed");
        assert_eq!(self.loads.of(round, Note::Wrong), 0, "wrong values");
        self.loads.of(round, Note::Begun)
    }

    /// The process of the first load, once all others had the time to begin to wait.
    fn leader(&mut self, round: u64) -> &mut Worker {
        self.loads.wait(round, Note::Leader, 1);
        thread::sleep(Duration::from_millis(200));
        let leader = self.loads.of(round, Note::Leader);
        self.workers.iter_mut().find(|worker| u64::from(worker.id()) == leader).unwrap()
    }
}

#[allow(clippy::print_stderr)]
fn tell(what: &str, micros: u64) -> u64 {
    eprintln!("{what}: {:.1} ms", micros as f64 / 1000.0);
    micros
}

#[test]
fn all_processes_of_two_hosts_load_a_cold_key_once() {
    const ROUNDS: usize = 20;
    for has_store in [true, false] {
        let hosts = Hosts::start(ROUNDS, LONG_LEASE, "succeeds", 50, has_store);
        for round in 0..ROUNDS as u64 {
            hosts.go(round);
            assert_eq!(hosts.end(round, ALL, 0), 1, "loads in round {round}, {has_store}");
        }
    }
}

#[test]
fn an_owner_that_is_killed_costs_the_other_hosts_its_lease_at_most() {
    const LEASE: u64 = 1_000;
    let mut hosts = Hosts::start(1, LEASE, "succeeds", 60_000, false);
    hosts.go(0);
    hosts.leader(0).kill();
    let killed = now();
    assert_eq!(hosts.end(0, ALL - THREADS, 0), 2, "loads");
    let after = tell("from kill to the next load", hosts.loads.of(0, Note::SecondAt) - killed);
    assert!(after < (LEASE + 500) * 1000, "{after} us");
}

#[test]
fn a_lease_is_renewed_for_as_long_as_its_load_takes() {
    let hosts = Hosts::start(1, 300, "succeeds", 1_500, true);
    hosts.go(0);
    assert_eq!(hosts.end(0, ALL, 0), 1, "loads");
}

#[test]
fn an_owner_that_hangs_past_its_lease_is_waited_for_no_longer() {
    const LEASE: u64 = 500;
    let mut hosts = Hosts::start(1, LEASE, "succeeds", 3_000, false);
    hosts.go(0);
    hosts.leader(0).signal(libc::SIGSTOP);
    let stopped = now();
    assert_eq!(hosts.end(0, ALL - THREADS, 0), 2, "loads");
    let after = tell("from stop to the next load", hosts.loads.of(0, Note::SecondAt) - stopped);
    assert!(after < (LEASE + 500) * 1000, "{after} us");
    hosts.leader(0).signal(libc::SIGCONT);
    assert_eq!(hosts.end(0, ALL, 0), 2, "loads");
}

#[test]
fn an_owner_whose_load_fails_gives_its_lease_back_at_once() {
    let hosts = Hosts::start(1, LONG_LEASE, "fails", 1_000, true);
    hosts.go(0);
    let ended = |note| hosts.loads.of(0, note);
    wait_until("all end", || ended(Note::Answered) + ended(Note::Failed) == ALL);
    // Threads of its process that came before it followed the server load for themselves.
    assert!((1..=THREADS).contains(&ended(Note::Failed)), "{} failed", ended(Note::Failed));
    let loads = ended(Note::Begun);
    assert!((2..=HOSTS * PROCESSES).contains(&loads), "{loads} loads");
    let failed = hosts.loads.of(0, Note::FailedAt);
    let after = tell("from failure to the next load", hosts.loads.of(0, Note::SecondAt) - failed);
    assert!(after < 500_000, "{after} us");
}

#[test]
fn nobody_waits_for_a_server_that_is_gone() {
    let mut hosts = Hosts::start(1, LONG_LEASE, "succeeds", 2_000, false);
    hosts.go(0);
    _ = hosts.leader(0);
    // Before it: the others notice while we wait for its end.
    let killed = now();
    hosts.redis.kill();
    // Each process for itself: nobody can tell them of another.
    let loads = hosts.end(0, ALL, 0);
    assert!((HOSTS * PROCESSES..=ALL).contains(&loads), "{loads} loads");
    let after = tell("from the end to the next load", hosts.loads.of(0, Note::SecondAt) - killed);
    assert!(after < 1_000_000, "{after} us");
}

fn host(redis: &Redis, lease: Duration) -> (tempfile::TempDir, Cache) {
    let folder = store_folder();
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(5))
        .write_timeout(Duration::from_secs(5))
        .load_lease(lease);
    let cache = Cache::builder()
        .tiering(Tiering::L1L2L3)
        .memory(MemoryOptions::new().max_entries(1000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    cache.get("nothing");
    wait_until("a subscription", || cache.redis_statistics().unwrap().subscriptions > 0);
    (folder, cache)
}

/// A thread that runs a loader waits for nobody.
fn on_another_thread<R: Send>(act: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| scope.spawn(act).join().unwrap())
}

#[test]
fn who_has_a_stale_value_takes_it_while_another_host_loads() {
    let redis = Redis::start();
    let (one, other) =
        (host(&redis, Duration::from_secs(60)), host(&redis, Duration::from_secs(60)));
    let (one, other) = (&one.1, &other.1);
    let life = Freshness::new()
        .ttl(Duration::from_secs(3600))
        .stale_while_revalidate(Duration::from_secs(3600));
    let options = LoadOptions::new().freshness(life);
    let load =
        |value: &'static str| move |_: &[u8]| io::Result::Ok(Bytes::from_static(value.as_bytes()));
    one.get_or_load_with("a", &options, load("old")).unwrap();
    wait_until("it is copied", || other.get("a").is_some());
    one.expire("a").unwrap();
    wait_until("it is told", || other.get("a").is_none());
    let loads = AtomicUsize::new(0);
    one.get_or_load_with("a", &options, |key| {
        loads.fetch_add(1, Ordering::SeqCst);
        let begin = Instant::now();
        let answer = on_another_thread(|| {
            other.get_or_load_with("a", &options, |_| {
                loads.fetch_add(1, Ordering::SeqCst);
                io::Result::Ok(Bytes::from_static(b"second"))
            })
        });
        let answer = answer.unwrap();
        assert!(answer.is_stale && answer.value == "old", "{answer:?}");
        assert!(begin.elapsed() < Duration::from_secs(2));
        load("new")(key)
    })
    .unwrap();
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    wait_until("it is told", || other.get("a").as_deref() == Some(b"new"));
}

#[test]
fn loaders_that_ask_for_each_others_keys_on_two_hosts_wait_for_nobody() {
    let redis = Redis::start();
    let hosts = [host(&redis, Duration::from_secs(60)), host(&redis, Duration::from_secs(60))];
    let meet = std::sync::Barrier::new(2);
    let begin = Instant::now();
    thread::scope(|scope| {
        for (number, (_, cache)) in hosts.iter().enumerate() {
            let meet = &meet;
            scope.spawn(move || {
                let keys = if number == 0 { ["a", "b"] } else { ["b", "a"] };
                let inner = |_: &[u8]| io::Result::Ok(Bytes::from_static(b"inner"));
                cache
                    .get_or_load(keys[0], |_| {
                        meet.wait();
                        cache.get_or_load(keys[1], inner)
                    })
                    .unwrap();
            });
        }
    });
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[test]
fn a_waiter_leaves_when_its_patience_ends() {
    let redis = Redis::start();
    let (one, other) =
        (host(&redis, Duration::from_secs(60)), host(&redis, Duration::from_secs(60)));
    one.1
        .get_or_load("a", |_| {
            let begin = Instant::now();
            let options = LoadOptions::new().wait(Duration::from_millis(300));
            let load = |_: &[u8]| io::Result::Ok(Bytes::from_static(b"own"));
            let answer = on_another_thread(|| other.1.get_or_load_with("a", &options, load));
            assert_eq!(answer.unwrap().value, "own");
            let waited = begin.elapsed();
            assert!(waited > Duration::from_millis(290) && waited < Duration::from_secs(5));
            io::Result::Ok(Bytes::from_static(b"first"))
        })
        .unwrap();
}

//! Processes that ask for one cold key at the same moment: one of them loads it, the others wait
//! for it, and for nobody who is dead, hangs or failed.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{path::PathBuf, sync::atomic::Ordering, time::Duration};

use tierce::{Cache, StoreOptions, Tiering};
use tierce_tests::{
    loads::{Loads, Note, now},
    process::Worker,
    store_folder, value,
};

const PROCESSES: u64 = 4;
/// Of each process, where a test does not say otherwise.
const THREADS: u64 = 4;
const ALL: u64 = PROCESSES * THREADS;
/// Long enough that no test ends in time by a lease that is over.
const LONG_LEASE: u64 = 10_000;

/// What the first load of a round does, and how long that and the others take, in milliseconds.
struct Load {
    first: &'static str,
    first_ms: u64,
    others_ms: u64,
}

struct Host {
    workers: Vec<Worker>,
    loads: Loads,
    /// Of all processes.
    threads: u64,
    store: PathBuf,
    _folder: tempfile::TempDir,
}

impl Host {
    fn start(tiering: Tiering, rounds: usize, lease_ms: u64, load: &Load) -> Self {
        Self::start_with(THREADS, tiering, rounds, lease_ms, load)
    }

    fn start_with(
        threads: u64,
        tiering: Tiering,
        rounds: usize,
        lease_ms: u64,
        load: &Load,
    ) -> Self {
        let folder = store_folder();
        let (store, notes) = (folder.path().join("store"), folder.path().join("notes"));
        let loads = Loads::open(&notes, rounds);
        let shown = if tiering == Tiering::L1 { "-" } else { store.to_str().unwrap() };
        let start = || {
            Worker::start(
                env!("CARGO_BIN_EXE_loader"),
                &[
                    shown,
                    notes.to_str().unwrap(),
                    &rounds.to_string(),
                    &threads.to_string(),
                    &lease_ms.to_string(),
                    load.first,
                    &load.first_ms.to_string(),
                    &load.others_ms.to_string(),
                ],
            )
        };
        let workers = (0..PROCESSES).map(|_| start()).collect();
        Self { workers, loads, threads: PROCESSES * threads, store, _folder: folder }
    }

    /// Lets all threads ask for the key of a round.
    fn go(&self, round: u64) {
        self.loads.wait(round, Note::Ready, self.threads);
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
        std::thread::sleep(Duration::from_millis(100));
        let leader = self.loads.of(round, Note::Leader);
        self.workers.iter_mut().find(|worker| u64::from(worker.id()) == leader).unwrap()
    }

    fn cache(&self) -> Cache {
        let options = StoreOptions::new(&self.store).max_bytes(8 << 20);
        Cache::builder().tiering(Tiering::L2).shared(options).build().unwrap()
    }
}

#[allow(clippy::print_stderr)]
fn tell(what: &str, micros: u64) -> u64 {
    eprintln!("{what}: {:.1} ms", micros as f64 / 1000.0);
    micros
}

#[test]
fn sixteen_threads_in_four_processes_load_a_cold_key_once() {
    const ROUNDS: usize = 20;
    let load = Load { first: "succeeds", first_ms: 50, others_ms: 50 };
    let host = Host::start(Tiering::L1L2, ROUNDS, LONG_LEASE, &load);
    for round in 0..ROUNDS as u64 {
        host.go(round);
        assert_eq!(host.end(round, ALL, 0), 1, "loads in round {round}");
    }
}

#[test]
fn a_thousand_threads_in_four_processes_load_a_cold_key_once() {
    const ROUNDS: usize = 3;
    let load = Load { first: "succeeds", first_ms: 500, others_ms: 50 };
    let host = Host::start_with(250, Tiering::L1L2, ROUNDS, LONG_LEASE, &load);
    for round in 0..ROUNDS as u64 {
        host.go(round);
        assert_eq!(host.end(round, 1000, 0), 1, "loads in round {round}");
    }
}

#[test]
fn a_loader_that_is_killed_is_waited_for_no_longer() {
    let load = Load { first: "succeeds", first_ms: 60_000, others_ms: 50 };
    let mut host = Host::start(Tiering::L1L2, 1, LONG_LEASE, &load);
    host.go(0);
    host.leader(0).kill();
    let killed = now();
    assert_eq!(host.end(0, ALL - THREADS, 0), 2, "loads");
    let after = tell("from kill to the next load", host.loads.of(0, Note::SecondAt) - killed);
    assert!(after < 200_000, "{after} us");
}

#[test]
fn a_loader_that_hangs_is_overtaken_when_its_lease_is_over() {
    let load = Load { first: "succeeds", first_ms: 1500, others_ms: 50 };
    let mut host = Host::start(Tiering::L1L2, 1, 300, &load);
    host.go(0);
    host.leader(0).signal(libc::SIGSTOP);
    assert_eq!(host.end(0, ALL - THREADS, 0), 2, "loads");
    let first = host.loads.of(0, Note::FirstAt);
    let after = tell("from load to load", host.loads.of(0, Note::SecondAt) - first);
    assert!((295_000..600_000).contains(&after), "{after} us");
    host.leader(0).signal(libc::SIGCONT);
    assert_eq!(host.end(0, ALL, 0), 2, "loads");
}

#[test]
fn a_loader_that_fails_is_waited_for_no_longer() {
    let load = Load { first: "fails", first_ms: 100, others_ms: 50 };
    let host = Host::start(Tiering::L1L2, 1, LONG_LEASE, &load);
    host.go(0);
    // Its own threads share the failure; the other processes load, and do not queue for it.
    let loads = host.end(0, ALL - THREADS, THREADS);
    assert!((2..=PROCESSES).contains(&loads), "{loads} loads");
    let failed = host.loads.of(0, Note::FailedAt);
    let after = tell("from failure to the next load", host.loads.of(0, Note::SecondAt) - failed);
    assert!(after < 50_000, "{after} us");
}

#[test]
fn a_change_during_a_load_is_not_lost_and_ends_the_wait_for_it() {
    let load = Load { first: "succeeds", first_ms: 1000, others_ms: 50 };
    let mut host = Host::start(Tiering::L1L2, 1, LONG_LEASE, &load);
    host.go(0);
    host.leader(0);
    let cache = host.cache();
    host.loads.at(0, Note::Database).store(1, Ordering::SeqCst);
    cache.delete(0_u64.to_le_bytes()).unwrap();
    let deleted = now();
    assert_eq!(host.end(0, ALL - THREADS, 0), 2, "loads");
    let after = tell("from delete to the next load", host.loads.of(0, Note::SecondAt) - deleted);
    assert!(after < 200_000, "{after} us");
    let version = || value::check(0, &cache.get(0_u64.to_le_bytes()).unwrap());
    assert_eq!(version(), Ok(1));
    // The first load ends, and leaves the second one's value where it is.
    assert_eq!(host.end(0, ALL, 0), 2, "loads");
    assert_eq!(version(), Ok(1));
}

#[test]
fn what_was_loaded_before_a_delete_is_stored_by_nobody() {
    let load = Load { first: "succeeds", first_ms: 400, others_ms: 60_000 };
    let mut host = Host::start(Tiering::L1L2, 1, LONG_LEASE, &load);
    host.go(0);
    let leader = host.leader(0).id();
    let cache = host.cache();
    host.loads.at(0, Note::Database).store(1, Ordering::SeqCst);
    cache.delete(0_u64.to_le_bytes()).unwrap();
    host.workers.retain(|worker| worker.id() == leader);
    assert!((1..=2).contains(&host.end(0, THREADS, 0)), "loads");
    assert_eq!(cache.get(0_u64.to_le_bytes()), None);
}

#[test]
fn without_leases_or_without_l2_each_process_loads() {
    for (tiering, lease_ms) in [(Tiering::L1L2, 0), (Tiering::L1, LONG_LEASE)] {
        let load = Load { first: "succeeds", first_ms: 300, others_ms: 300 };
        let host = Host::start(tiering, 1, lease_ms, &load);
        host.go(0);
        assert_eq!(host.end(0, ALL, 0), PROCESSES, "loads with {tiering} and lease {lease_ms}");
    }
}

#[test]
fn calls_end_well_when_the_store_is_removed_under_a_load() {
    let load = Load { first: "succeeds", first_ms: 300, others_ms: 50 };
    let mut host = Host::start(Tiering::L1L2, 2, LONG_LEASE, &load);
    host.go(0);
    host.leader(0);
    std::fs::remove_dir_all(&host.store).unwrap();
    assert!((1..=PROCESSES).contains(&host.end(0, ALL, 0)), "loads");
    host.go(1);
    assert!((1..=PROCESSES).contains(&host.end(1, ALL, 0)), "loads");
}

//! Eight processes on one store, under load, that an operator moves to other tiers and takes back:
//! all are back at once, no operation fails, and no process is served what is older than its own last
//! change.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use tierce::guard::rollout::{Action, Command, StoreRollout};
use tierce_tests::{
    loads::now,
    moves::{Moves, Place},
    process::Worker,
    store_folder,
    waiting::wait_until,
};

const MOVER: &str = env!("CARGO_BIN_EXE_mover");
const PROCESSES: usize = 8;

/// Operations that the processes are asked for in a second, together.
const RATE: u64 = 50_000;

/// How often the rollout goes up and is taken back.
const ROUNDS: usize = 5;

/// How long it may take until all processes are on their old tiers alone.
const BAR: Duration = Duration::from_millis(100);

/// A machine that others use may let a process wait for longer now and then.
const PATIENCE: Duration = Duration::from_secs(2);

const PLAN: &str = "
plan: eight-processes
baseline: L1
phases:
  - name: canary
    target: L1L2
    split: key
    steps: [{share: 25%, wait: 1h}, {share: 75%, wait: 1h}]
";

struct Fleet {
    moves: Moves,
    folder: tempfile::TempDir,
    _workers: Vec<Worker>,
}

impl Fleet {
    fn start() -> Self {
        let folder = store_folder();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (store, board) = (path("store"), path("moves"));
        let moves = Moves::open(board.as_ref(), PROCESSES);
        let start = |id: usize| {
            let (processes, rate) = (PROCESSES.to_string(), (RATE / PROCESSES as u64).to_string());
            Worker::start(MOVER, &[&store, &board, &id.to_string(), &processes, &rate])
        };
        let workers = (0..PROCESSES).map(start).collect();
        let fleet = Self { moves, folder, _workers: workers };
        wait_until("all processes to work", || {
            (0..PROCESSES).all(|id| fleet.of(id, Place::Operations) > 0)
        });
        fleet
    }

    fn of(&self, id: usize, place: Place) -> u64 {
        self.moves.at(id, place).load(Ordering::SeqCst)
    }

    fn are_all(&self, state: u64) -> bool {
        (0..PROCESSES).all(|id| self.of(id, Place::State) == state)
    }

    /// Operations a second over so long.
    fn rate(&self, span: Duration) -> f64 {
        let (begin, before) = (Instant::now(), self.moves.sum(Place::Operations));
        thread::sleep(span);
        let done = self.moves.sum(Place::Operations) - before;
        done as f64 / begin.elapsed().as_secs_f64()
    }
}

#[test]
fn a_rollback_under_load_is_in_force_in_eight_processes_at_once() {
    let fleet = Fleet::start();
    let mut rollout = StoreRollout::open(fleet.folder.path().join("store")).unwrap();
    let mut spans = Vec::new();
    for round in 0..ROUNDS {
        rollout.start("ada", PLAN).unwrap();
        wait_until("all processes to be split", || fleet.are_all(1));
        let low = fleet.rate(Duration::from_millis(500));
        rollout.ask("ada", Command::Force).unwrap();
        let high = fleet.rate(Duration::from_millis(500));
        let begin = now();
        rollout.ask("ada", Command::Rollback(Action::Immediate)).unwrap();
        let told = now() - begin;
        let end = Instant::now() + PATIENCE;
        while !fleet.are_all(2) {
            assert!(Instant::now() < end, "round {round}: not all are back");
            thread::sleep(Duration::from_micros(200));
        }
        let changed = (0..PROCESSES).map(|id| fleet.of(id, Place::ChangedAt)).max().unwrap();
        let took = Duration::from_micros(changed.saturating_sub(begin));
        spans.push(took);
        println!(
            "round {round}: {low:.0} and {high:.0} operations/s; told in {told} us, \
             all of {PROCESSES} on L1 after {took:?}"
        );
        thread::sleep(Duration::from_millis(200));
    }
    fleet.moves.end();
    let (failed, stale) = (fleet.moves.sum(Place::Failed), fleet.moves.sum(Place::Stale));
    let all = fleet.moves.sum(Place::Operations);
    spans.sort();
    println!("{all} operations, {failed} failed, {stale} stale; rollbacks took {spans:?}");
    assert_eq!((failed, stale), (0, 0));
    assert!(spans[ROUNDS / 2] <= BAR, "{spans:?}");
}

//! Two processes, one L2: what one sets the other reads, and what one ended is never again read
//! from the other's L1.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    process::Command,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tierce_tests::{
    board::{Board, Counter},
    process::Worker,
    seed, store_folder,
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");

/// Few enough that most reads are L1 hits on keys that other processes change.
const KEYS: usize = 256;

fn run(reads: u64, redis: Option<&str>) {
    let folder = store_folder();
    let (store, board_path) = (folder.path().join("store"), folder.path().join("board"));
    let board = Board::open(&board_path, KEYS);
    let seed = seed().to_string();
    let mut workers: Vec<_> = ["0", "1"]
        .iter()
        .map(|id| {
            let keys = KEYS.to_string();
            let (store, board) = (store.to_str().unwrap(), board_path.to_str().unwrap());
            let mut arguments = vec!["mix", store, board, &keys, id, "2", "2", &seed];
            arguments.extend(redis);
            Worker::start(WORKER, &arguments)
        })
        .collect();
    let begin = Instant::now();
    while board.counter(Counter::Checked).load(Ordering::Relaxed) < reads {
        assert!(begin.elapsed() < Duration::from_secs(300), "too few reads in 300 s");
        std::thread::sleep(Duration::from_millis(20));
    }
    board.counter(Counter::Stop).store(1, Ordering::Relaxed);
    for worker in &mut workers {
        assert!(worker.wait(Duration::from_secs(20)).is_some_and(|status| status.success()));
    }
    assert_eq!(board.counter(Counter::Wrong).load(Ordering::Relaxed), 0, "wrong values: see above");
    assert_eq!(board.counter(Counter::Errors).load(Ordering::Relaxed), 0, "errors: see above");
    assert!(board.counter(Counter::Changes).load(Ordering::Relaxed) > reads / 100);
}

#[test]
fn a_million_reads_in_two_processes_find_nothing_older_than_a_change_that_returned() {
    run(1_000_000, None);
}

#[test]
fn the_same_holds_above_redis() {
    let redis = tierce_tests::redis::Redis::start();
    run(50_000, Some(redis.socket().to_str().unwrap()));
}

#[test]
fn what_one_process_sets_another_reads() {
    let folder = store_folder();
    let store = folder.path().join("store");
    let worker = |arguments: &[&str]| {
        let mut command = Command::new(WORKER);
        command.arg(arguments[0]).arg(&store).args(&arguments[1..]).output().unwrap()
    };
    assert_eq!(worker(&["get", "user:7"]).status.code(), Some(3));
    assert!(worker(&["set", "user:7", "Ada"]).status.success());
    assert_eq!(worker(&["get", "user:7"]).stdout, b"Ada");
}

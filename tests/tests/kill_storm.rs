//! `kill -9` of workers in the middle of writes: nobody hangs, no value is wrong, the store stays
//! warm. `TIERCE_TORTURE_SECONDS` makes it as long as one likes.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use tierce::{Cache, StoreOptions, Tiering};
use tierce_tests::{
    board::{Board, Counter},
    process::Worker,
    seed, store_folder, value,
};

const KEYS: usize = 3000;
const WORKERS: usize = 3;
const KILLS: usize = 100;

#[test]
fn a_hundred_kills_leave_a_warm_store_and_no_wrong_value() {
    let folder = store_folder();
    let (store, board_path) = (folder.path().join("store"), folder.path().join("board"));
    let board = Board::open(&board_path, KEYS);
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let start = |id: usize, salt: u64| {
        Worker::start(
            env!("CARGO_BIN_EXE_worker"),
            &[
                "mix",
                store.to_str().unwrap(),
                board_path.to_str().unwrap(),
                &KEYS.to_string(),
                &id.to_string(),
                &WORKERS.to_string(),
                "1",
                &salt.to_string(),
            ],
        )
    };
    let mut workers: Vec<_> = (0..WORKERS).map(|id| start(id, seed)).collect();
    let torture = std::env::var("TIERCE_TORTURE_SECONDS")
        .map(|seconds| Duration::from_secs(seconds.parse().expect("TIERCE_TORTURE_SECONDS")));
    let begin = Instant::now();
    let mut kills = 0;
    while match &torture {
        Ok(length) => begin.elapsed() < *length,
        Err(_) => kills < KILLS,
    } {
        let before = board.counter(Counter::Changes).load(Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(random.u64(2..40)));
        // Somebody must be at work, or a kill in the middle of writes would be none.
        let waiting = Instant::now();
        while board.counter(Counter::Changes).load(Ordering::Relaxed) < before + 20 {
            assert!(waiting.elapsed() < Duration::from_secs(20), "the workers hang");
            std::thread::sleep(Duration::from_millis(1));
        }
        let id = random.usize(..WORKERS);
        workers[id].kill();
        workers[id] = start(id, seed.wrapping_add(kills as u64 + 1));
        kills += 1;
    }
    board.counter(Counter::Stop).store(1, Ordering::Relaxed);
    for worker in &mut workers {
        let status = worker.wait(Duration::from_secs(20)).expect("a worker hangs");
        assert!(status.success(), "{status}");
    }
    assert_eq!(board.counter(Counter::Wrong).load(Ordering::Relaxed), 0, "wrong values: see above");
    assert_eq!(board.counter(Counter::Errors).load(Ordering::Relaxed), 0, "errors: see above");
    let checked = board.counter(Counter::Checked).load(Ordering::Relaxed);
    assert!(checked > 10_000, "only {checked} reads were checked");

    let cache = Cache::builder()
        .tiering(Tiering::L2)
        .shared(StoreOptions::new(&store).max_bytes(32 << 20).max_entries(20_000))
        .build()
        .unwrap();
    let warm = (0..KEYS as u64)
        .filter(|key| {
            let found = cache.get(key.to_le_bytes());
            if let Some(found) = &found {
                let floor = board.returned(*key).load(Ordering::Relaxed);
                assert!(value::check(*key, found).expect("a right value") >= floor);
            }
            found.is_some()
        })
        .count();
    // On a loaded machine they do not come to set all of them.
    let was_set = |key: &u64| board.returned(*key).load(Ordering::Relaxed) > 0;
    let set = (0..KEYS as u64).filter(was_set).count();
    assert!(set > 100 && warm > set / 4, "only {warm} of {set} keys survived {kills} kills");
}

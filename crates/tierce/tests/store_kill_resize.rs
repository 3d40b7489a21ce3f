//! A process is killed at one system call after another while it puts a store of another size in
//! the place of one that is there: the next opener gets the old store, or the new one, which has
//! every record that was copied so far; a cache that had the old one open gets to the new one.
//!
//! Between the removal of the old names and the end of the copying, records are lost by a kill, as
//! they are by any eviction; no value is wrong. `TIERCE_SEED` repeats a run. With
//! `TIERCE_TORTURE_SECONDS` the process is killed at all system calls, and at random instructions
//! for as long.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod store_support;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use store_support::{
    traced::{self, End, Step},
    *,
};
use tierce::{Cache, Clock, ManualClock, Medium, Store, StoreOptions, Tiering};

const KEYS: u64 = 60;
const VERSION: u64 = 5;
/// A call that takes longer than this hangs.
const AT_ONCE: Duration = Duration::from_secs(1);

/// One in so many system call stops, from a random first.
fn kill_points(gap: u64) -> impl Iterator<Item = u64> {
    let gap = if std::env::var_os("TIERCE_TORTURE_SECONDS").is_some() { 1 } else { gap };
    let first = fastrand::Rng::with_seed(seed()).u64(1..=gap);
    (first..).step_by(gap as usize)
}

/// A store of 1 MiB with all keys that nobody has open, and options for one of 2 MiB in its place.
fn old_store(medium: Medium) -> (tempfile::TempDir, StoreOptions, StoreOptions) {
    let (folder, options) = small_store(medium);
    let old = options.max_bytes(1 << 20).segment_bytes(16 << 10).max_entries(1000);
    let old = old.lock_wait(Duration::from_millis(500));
    let store = open(&old);
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, VERSION, 300));
    }
    let new = old.clone().max_bytes(2 << 20).resize(true);
    (folder, old, new)
}

/// How many keys are found; a wrong value panics.
fn found(tale: &str, get: impl Fn(&[u8]) -> Option<Vec<u8>>) -> u64 {
    let is_found = |number: &u64| {
        let value = get(&key_of(*number));
        let version = value.as_ref().map(|value| described_version(*number, value));
        assert!(matches!(version, None | Some(Some(VERSION))), "{tale}: key {number}: {version:?}");
        version.is_some()
    };
    (0..KEYS).filter(is_found).count() as u64
}

fn is_sound(store: &Store, tale: &str) {
    let check = store.validate().unwrap();
    let wrong = (check.corrupt, check.doubled, check.broken_segments);
    assert_eq!(wrong, (0, 0, 0), "{tale}: {check:?}");
    assert_eq!((store.statistics().corrupt, store.trouble()), (0, None), "{tale}");
}

/// Only the files of one store are in the folder.
fn is_tidy(folder: &Path, tale: &str) {
    let entries = fs::read_dir(folder.join("store")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["l2.data", "l2.lock"], "{tale}");
}

/// Kills a process that resizes, and opens the store as the next one does. Returns how many keys
/// were found.
fn kill_and_open(medium: Medium, step: Step, kill_at: u64) -> (End, u64) {
    let tale = format!("killed after {kill_at} of {step:?}, {medium:?}");
    let (folder, old, new) = old_store(medium);
    let end = traced::run(step, kill_at, || drop(open(&new)));
    // Every other one has no wish for another size: it takes what is there.
    let next = if kill_at.is_multiple_of(2) { &new } else { &old.clone().existing_only(true) };
    let begin = Instant::now();
    // An error: a name is gone, or the new file is not finished.
    let store = Store::open(next, Clock::system()).unwrap_or_else(|_| open(&old));
    assert!(begin.elapsed() < AT_ONCE, "{tale}: opening took {:?}", begin.elapsed());
    let count = found(&tale, |key| get(&store, key));
    is_sound(&store, &tale);
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, VERSION, 200));
    }
    drop(store);
    // Where the old one was left, it is now replaced to the end.
    let store = open(&new);
    assert_eq!(found(&tale, |key| get(&store, key)), KEYS, "{tale}");
    assert!(store.usage().max_bytes > 1 << 20, "{tale}");
    is_sound(&store, &tale);
    is_tidy(folder.path(), &tale);
    (end, count)
}

#[test]
fn a_process_killed_at_any_system_call_of_a_resize_leaves_the_old_store_or_the_new_one() {
    let _alone = traced::alone();
    for medium in MEDIA {
        let (mut whole, mut part, mut none) = (0, 0, 0);
        for kill_at in kill_points(if medium == Medium::Disk { 15 } else { 5 }) {
            let (end, count) = kill_and_open(medium, Step::SystemCall, kill_at);
            match count {
                KEYS => whole += 1,
                0 => none += 1,
                _ => part += 1,
            }
            if let End::Done(calls) = end {
                assert_eq!(count, KEYS, "{medium:?}: not killed, but records are lost");
                println!("{medium:?}: {calls} stops; all, some, no keys: {whole}, {part}, {none}");
                assert!(whole > 3 && none > 3 && calls > 60, "{medium:?}");
                break;
            }
        }
    }
}

#[test]
fn a_process_killed_at_any_instruction_of_a_resize_leaves_the_old_store_or_the_new_one() {
    let Ok(torture) = std::env::var("TIERCE_TORTURE_SECONDS") else {
        println!("left out: TIERCE_TORTURE_SECONDS is not set");
        return;
    };
    let _alone = traced::alone();
    let torture = Duration::from_secs(torture.parse().expect("seconds"));
    let mut random = fastrand::Rng::with_seed(seed());
    let (End::Done(length), _) = kill_and_open(Medium::Mapped, Step::Instruction, u64::MAX) else {
        unreachable!("there is no end of steps");
    };
    println!("{length} steps");
    let begin = Instant::now();
    while begin.elapsed() < torture {
        kill_and_open(Medium::Mapped, Step::Instruction, random.u64(0..length));
    }
}

fn cache(options: &StoreOptions) -> (Cache, ManualClock) {
    let (clock, time) = Clock::manual();
    let builder = Cache::builder().tiering(Tiering::L2).shared(options.clone()).clock(clock);
    (builder.build().unwrap(), time)
}

#[test]
fn a_cache_gets_to_the_store_of_now_wherever_a_process_that_resized_it_was_killed() {
    let _alone = traced::alone();
    for kill_at in kill_points(5) {
        let tale = format!("killed at system call stop {kill_at}");
        let (folder, old, new) = old_store(Medium::Mapped);
        let (ours, our_time) = cache(&old);
        let get = |key: &[u8]| ours.get(key).map(|value| value.to_vec());
        assert_eq!(found(&tale, get), KEYS);
        let end = traced::run(Step::SystemCall, kill_at, || drop(open(&new)));
        found(&tale, get);
        let (theirs, their_time) = cache(&old);
        let agree = (0..400).any(|round| {
            // Once a second the system is asked.
            our_time.advance(Duration::from_millis(100));
            their_time.advance(Duration::from_millis(100));
            let value = format!("value {round}");
            ours.set("k", value.clone().into()).unwrap();
            if theirs.get("k").as_deref() == Some(value.as_bytes()) {
                return true;
            }
            // The next store is made by a thread.
            std::thread::sleep(Duration::from_millis(2));
            false
        });
        assert!(agree, "{tale}: {:?}, {:?}", ours.health(), theirs.health());
        found(&tale, get);
        theirs.delete("k").unwrap();
        assert_eq!(ours.get("k"), None, "{tale}");
        drop((ours, theirs));
        is_tidy(folder.path(), &tale);
        is_sound(&open(&new), &tale);
        if matches!(end, End::Done(_)) {
            break;
        }
    }
}

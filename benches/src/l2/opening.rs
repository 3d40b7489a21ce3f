//! How long the next process takes to open a store whose user was killed, and whether it is warm.

use std::{path::Path, time::Instant};

use fastrand::Rng;
use tierce::{Clock, Millis, NewRecord, Store, StoreOptions};
use tierce_benches::{
    arguments::Arguments,
    process::say_ready,
    results::{Cell, Row},
};

use super::{
    children,
    data::{Request, SEED, Value},
    folder::Ground,
    rivals::OURS,
};

/// The size of the store in a full run.
const STORE_BYTES: usize = 1 << 30;

const VALUE_BYTES: usize = 1 << 10;

/// Entries that its user puts before it may be killed: more than fit.
fn entries(store_bytes: usize) -> u32 {
    (store_bytes / VALUE_BYTES) as u32
}

/// Entries of the later half that are looked up: at least so many fit.
const LOOKUPS: u32 = 10_000;

fn options(folder: &Path, bytes: usize) -> StoreOptions {
    StoreOptions::new(folder).max_bytes(bytes as u64).max_entries(entries(bytes).into())
}

/// What the user does: fills the store, says so, and puts until it is killed.
///
/// # Errors
/// If there is no store.
pub(super) fn use_until_killed(folder: &Path, bytes: usize) -> Result<(), String> {
    let store = Store::open(&options(folder, bytes), Clock::system());
    let store = store.map_err(|error| error.to_string())?;
    let mut values = Value::up_to(VALUE_BYTES);
    let mut put = |number| {
        let request = Request::new(number);
        let value = values.of(number, VALUE_BYTES);
        let record = NewRecord::new(value, 0, Millis::NEVER);
        store.put(store.hash(&request.key), &request.key, record, None);
    };
    (0..entries(bytes)).for_each(&mut put);
    say_ready();
    children::end_with_parent();
    loop {
        // Only the newest numbers, so that those which the parent looks up stay.
        for number in entries(bytes)..entries(bytes) + 100 {
            put(number);
        }
    }
}

/// Milliseconds of the first open after a kill.
///
/// # Errors
/// If the store cannot be opened, or is cold.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let bytes = if arguments.quick { STORE_BYTES / 8 } else { STORE_BYTES };
    let name = format!("open-after-kill/{}MiB", bytes >> 20);
    if !arguments.wants(&name) {
        return Ok(vec![]);
    }
    eprintln!("{name}");
    let (mut times, mut warm) = (vec![], vec![]);
    for _ in 0..arguments.rounds {
        let folder = Ground::Memory.folder()?;
        let user = children::start(&["use", &folder.path().to_string_lossy(), &bytes.to_string()])?;
        user.kill();
        let begin = Instant::now();
        let store = Store::open(&options(folder.path(), bytes), Clock::system());
        let store = store.map_err(|error| format!("open after a kill: {error}"))?;
        times.push(begin.elapsed().as_secs_f64() * 1_000.0);
        warm.push(warmth(&store, entries(bytes)));
    }
    let mut row = Row::of(OURS, times);
    let warm = warm.into_iter().fold(f64::INFINITY, f64::min);
    row.aside = Some(warm);
    row.note = format!("{:.1} % of the later half there", 100.0 * warm);
    Ok(vec![Cell { name, rows: vec![row] }])
}

/// The share of the later half of the entries that is there.
fn warmth(store: &Store, entries: u32) -> f64 {
    let mut random = Rng::with_seed(SEED);
    let is_there = |_: &u32| {
        let request = Request::new(random.u32(entries / 2..entries));
        store.get(store.hash(&request.key), &request.key).is_ok_and(|found| found.is_some())
    };
    f64::from((0..LOOKUPS).filter(is_there).count() as u32) / f64::from(LOOKUPS)
}

//! What the check of a stamp adds to a hit in L1: the same cache with and without L2 below.

use std::time::Duration;

use tempfile::TempDir;
use tierce::{Bytes, Cache, MemoryOptions, StoreOptions, Tiering};
use tierce_benches::{
    arguments::Arguments,
    load::{Skew, draws, shuffled},
    results::{Cell, Row},
    rounds::turns,
};

use super::{
    cells::count_name,
    data::{Numbers, Request, SEED, Value},
    folder::Ground,
    timing::Pace,
};

/// A cache of both tiers, all of whose hits are in L1.
pub(super) const CHECKED: &str = "L1 over L2";
/// A cache of L1 alone.
pub(super) const ALONE: &str = "L1 alone";

const VALUE_BYTES: usize = 100;

/// Operations of a batch: hits take some ten nanoseconds, the clock takes two of them.
const BATCH: usize = 512;

/// Nanoseconds of a hit, for entries that the processor's caches hold and for those they do not.
///
/// # Errors
/// If a cache cannot be set up.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    for entries in [10_000, 500_000] {
        let entries = if arguments.quick { entries / 10 } else { entries };
        let names = [Skew::Uniform, Skew::Zipf]
            .map(|skew| (skew, format!("near-hit/{}/{}", count_name(entries), skew.name())));
        if !names.iter().any(|(_, name)| arguments.wants(name)) {
            continue;
        }
        let folder = Ground::Memory.folder()?;
        let caches = [
            (CHECKED, cache(Tiering::L1L2, entries, &folder)?),
            (ALONE, cache(Tiering::L1, entries, &folder)?),
        ];
        for (skew, name) in names.into_iter().filter(|(_, name)| arguments.wants(name)) {
            eprintln!("{name}");
            cells.push(Cell { name, rows: compete(arguments, &caches, entries, skew) });
        }
    }
    Ok(cells)
}

fn cache(tiering: Tiering, entries: usize, folder: &TempDir) -> Result<Cache<Bytes>, String> {
    // Twice the entries, as shards get theirs by chance.
    let bound = 2 * entries as u64;
    let store = StoreOptions::new(folder.path()).max_bytes((bound * 512).max(64 << 20));
    let cache = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(bound))
        .shared(store.max_entries(bound))
        .build()
        .map_err(|error| error.to_string())?;
    let mut values = Value::up_to(VALUE_BYTES);
    for number in shuffled(entries, SEED) {
        let value = Bytes::copy_from_slice(values.of(number, VALUE_BYTES));
        cache.set(Request::new(number).key, value).map_err(|error| error.to_string())?;
    }
    Ok(cache)
}

fn compete(
    arguments: &Arguments,
    caches: &[(&'static str, Cache<Bytes>)],
    entries: usize,
    skew: Skew,
) -> Vec<Row> {
    let limit = Duration::from_millis(if arguments.quick { 10 } else { 100 });
    let pace = Pace { batch: BATCH, limit };
    let mut numbers = Numbers::Row { numbers: draws(skew, entries, 1 << 20, SEED), next: 0 };
    let mut runs = vec![vec![]; caches.len()];
    // Keys may share a stamp, so that the put of one has made the other stale: L2 has it.
    for (_, cache) in caches {
        (0..entries as u32).for_each(|number| drop(cache.get(Request::new(number).key)));
    }
    let below = |cache: &Cache<Bytes>| cache.store_statistics().map(|statistics| statistics.hits);
    let before: Vec<_> = caches.iter().map(|(_, cache)| below(cache)).collect();
    for round in 0..=arguments.rounds {
        for (_, index) in turns(caches.len(), 1) {
            let hit = |cache: &mut &Cache<Bytes>, request: &Request| {
                cache.get(request.key).is_some_and(|value| value.len() == VALUE_BYTES)
            };
            let run = pace.run(&mut numbers, &mut &caches[index].1, hit, |_| {});
            assert!(run.hits == 1.0, "all keys are resident: {run:?}");
            // The first round warms up.
            if round > 0 {
                runs[index].push(run.median);
            }
        }
    }
    let after: Vec<_> = caches.iter().map(|(_, cache)| below(cache)).collect();
    assert_eq!(before, after, "L1 has answered all");
    caches.iter().zip(runs).map(|((name, _), runs)| Row::of(name, runs)).collect()
}

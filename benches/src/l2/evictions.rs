//! The hit ratio of our store's eviction on real traces, beside policies of their papers that hold
//! as many entries as the store has room for.
//!
//! All entries have one size, chosen so that the store has some sixty segments: a spare one, those
//! being filled, and what is dead in the others count against it.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tierce::{Clock, Millis, NewRecord, Store, StoreOptions};
use tierce_benches::{
    arguments::Arguments,
    hitratio::{
        simulated::{Fifo, Lru, S3Fifo, hits},
        workload::{Share, Workload, traces},
    },
    results::{Cell, Row},
};

use super::{folder::Ground, rivals::OURS};

/// The rows beside ours.
pub(super) const S3_FIFO: [&str; 2] = ["S3-FIFO, 1 hit", "S3-FIFO, 2 hits"];
pub(super) const LRU: &str = "LRU";
const FIFO: &str = "FIFO";

/// The cell of the means over all.
pub(super) const MEAN: &str = "hits/mean";

/// A store of fewer entries is not what a store is for: its segments hold a handful each.
const FEWEST_ENTRIES: usize = 2_000;

/// Bytes for records.
const DATA_BYTES: usize = 64 << 20;

/// Bytes of a record beside its value: header and key.
const RECORD_BYTES: usize = 64 + 8;

/// Percent of hits of each trace at each capacity, and their means.
///
/// # Errors
/// If a trace cannot be read, or a store not be opened.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut workloads = vec![];
    if arguments.wants("hits/")
        || arguments.only.as_ref().is_some_and(|only| only.starts_with("hits"))
    {
        for path in traces(!arguments.quick)? {
            workloads.push(Workload::read(&path)?);
        }
    }
    let mut plays = vec![];
    for workload in &workloads {
        for share in Share::ALL {
            let name = format!("hits/{}/{} %", workload.name, share.percent());
            if workload.capacity(share) >= FEWEST_ENTRIES && arguments.wants(&name) {
                plays.push((name, workload, share));
            }
        }
    }
    if plays.is_empty() {
        return Ok(vec![]);
    }
    eprintln!("hits");
    let mut cells = on_all_cores(&plays)?;
    let mean = |place: usize| {
        let sum: f64 = cells.iter().filter_map(|cell| cell.rows[place].median()).sum();
        Row::of(cells[0].rows[place].rival, vec![sum / cells.len() as f64])
    };
    let rows = (0..cells[0].rows.len()).map(mean).collect();
    cells.push(Cell { name: MEAN.into(), rows });
    Ok(cells)
}

/// Each play is the work of one thread, so the threads change nothing in the result.
fn on_all_cores(plays: &[(String, &Workload, Share)]) -> Result<Vec<Cell>, String> {
    let next = AtomicUsize::new(0);
    let played = Mutex::new(vec![]);
    let work = || {
        while let Some((name, workload, share)) = plays.get(next.fetch_add(1, Ordering::Relaxed)) {
            let rows = play(workload, workload.capacity(*share));
            let cell = rows.map(|rows| Cell { name: name.clone(), rows });
            played.lock().unwrap_or_else(PoisonError::into_inner).push(cell);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let played = played.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut cells = played.into_iter().collect::<Result<Vec<Cell>, String>>()?;
    let place = |cell: &Cell| plays.iter().position(|(name, ..)| *name == cell.name);
    cells.sort_by_key(place);
    Ok(cells)
}

fn play(workload: &Workload, capacity: usize) -> Result<Vec<Row>, String> {
    let value_bytes = (DATA_BYTES / capacity).saturating_sub(RECORD_BYTES).max(24) & !15;
    // The record begins at a multiple of 16 and is header, key and value.
    let record_bytes = (RECORD_BYTES + value_bytes).next_multiple_of(16);
    let folder = Ground::Memory.folder()?;
    let options = StoreOptions::new(folder.path())
        .max_bytes((capacity * record_bytes + (4 << 20) + 32 * capacity) as u64)
        .max_entries(2 * capacity as u64);
    let store = Store::open(&options, Clock::system()).map_err(|error| error.to_string())?;
    // What the sizes of segments made of it.
    let capacity = store.usage().max_bytes as usize / record_bytes;
    let value = vec![1; value_bytes];
    let request = |key: &u64| {
        let key = key.to_le_bytes();
        let hash = store.hash(&key);
        let hit = store.get(hash, &key).is_ok_and(|found| found.is_some());
        if !hit {
            let record = NewRecord::new(&value, 0, Millis::NEVER);
            store.put(hash, &key, record, None);
        }
        u64::from(hit)
    };
    let ours = workload.keys.iter().map(request).sum();
    let (unique, numbers) = (workload.unique, &workload.numbers);
    let all = [
        (OURS, ours),
        (S3_FIFO[0], hits(S3Fifo::new(unique, capacity, 1), numbers)),
        (S3_FIFO[1], hits(S3Fifo::new(unique, capacity, 2), numbers)),
        (LRU, hits(Lru::new(unique, capacity), numbers)),
        (FIFO, hits(Fifo::new(unique, capacity), numbers)),
    ];
    let percent = |hits: u64| 100.0 * hits as f64 / numbers.len() as f64;
    let mut rows: Vec<Row> = all.map(|(name, hits)| Row::of(name, vec![percent(hits)])).into();
    let held = store.usage().entries as f64 / capacity as f64;
    rows[0].aside = Some(held);
    rows[0].note = format!("{:.0} % live", 100.0 * held);
    Ok(rows)
}

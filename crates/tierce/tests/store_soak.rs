//! Values of 100 bytes to 10 MiB, mixed, at a store that is full all the time: its bounds hold,
//! nothing is wrong, no size is starved, and it hits as often as it should.
//!
//! The measure is a queue of the same bytes, first in first out, that sees the same calls.
//! `TIERCE_SOAK_SECONDS` sets the duration (2 on each medium), `TIERCE_SEED` repeats a run.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod store_support;

use std::{
    collections::{HashMap, VecDeque},
    fs,
    os::unix::fs::MetadataExt,
    time::{Duration, Instant},
};

use store_support::*;
use tierce::{Medium, Store};

const SMALLEST: f64 = 100.0;
const LARGEST: f64 = (10 << 20) as f64;
const MAX_BYTES: u64 = 64 << 20;
const MAX_ENTRIES: u64 = 2_000;
const KEYS: u64 = 6_000;
/// Calls at least, however busy the machine is: enough to fill the store twice.
const LEAST_CALLS: u64 = 400;
/// Fewer calls than this say little of how often a store hits.
const CALLS_THAT_TELL: u64 = 2_000;

/// Keys by how often they are asked for, and the bytes of their values.
struct Load {
    /// Where values are cut from: the same bytes, so that they are quick to compare.
    pool: Vec<u8>,
    bytes: Vec<usize>,
    random: fastrand::Rng,
}

impl Load {
    fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pool = vec![0; LARGEST as usize + (1 << 20)];
        random.fill(&mut pool);
        let size = |_| (SMALLEST * (LARGEST / SMALLEST).powf(random.f64())) as usize;
        let bytes = (0..KEYS).map(size).collect();
        Self { pool, bytes, random }
    }

    fn value(&self, key: u64, version: u64) -> &[u8] {
        let at = (key * 7919 + version * 104_729) as usize % (1 << 20);
        &self.pool[at..at + self.bytes[key as usize]]
    }

    /// The popularity of keys falls with their number, about as 1/n.
    fn key(&mut self) -> u64 {
        ((KEYS as f64).powf(self.random.f64()) as u64).min(KEYS - 1)
    }
}

/// First in first out, bounded by bytes and entries.
struct Queue {
    order: VecDeque<(u64, u64)>,
    entries: HashMap<u64, u64>,
    turn: u64,
    bytes: u64,
    max_bytes: u64,
}

impl Queue {
    fn put(&mut self, key: u64, load: &Load) {
        self.remove(key, load);
        self.turn += 1;
        self.order.push_back((key, self.turn));
        self.entries.insert(key, self.turn);
        self.bytes += load.bytes[key as usize] as u64;
        while self.bytes > self.max_bytes || self.entries.len() as u64 > MAX_ENTRIES {
            let (key, turn) = self.order.pop_front().unwrap();
            if self.entries.get(&key) == Some(&turn) {
                self.remove(key, load);
            }
        }
    }

    fn remove(&mut self, key: u64, load: &Load) {
        if self.entries.remove(&key).is_some() {
            self.bytes -= load.bytes[key as usize] as u64;
        }
    }
}

/// The range of sizes: a factor of ten each.
fn class_of(bytes: usize) -> usize {
    (bytes as f64 / SMALLEST).log10() as usize
}

fn keeps_its_bounds(store: &Store, path: &std::path::Path, tale: &str) {
    let usage = store.usage();
    assert!(usage.bytes <= usage.max_bytes && usage.max_bytes <= MAX_BYTES, "{tale}: {usage:?}");
    assert!(usage.entries <= usage.max_entries, "{tale}: {usage:?}");
    let about = fs::metadata(path).unwrap();
    assert!(about.len() <= MAX_BYTES, "{tale}: {} bytes", about.len());
    assert!(about.blocks() * 512 <= MAX_BYTES + (1 << 20), "{tale}: {} blocks", about.blocks());
}

fn soak(medium: Medium, duration: Duration, seed: u64) {
    let tale = format!("seed {seed}, {medium:?}");
    let (folder, options) = small_store(medium);
    let store = open(&options.max_bytes(MAX_BYTES).max_entries(MAX_ENTRIES));
    let path = folder.path().join("store/l2.data");
    let mut load = Load::new(seed);
    let mut queue = Queue {
        order: VecDeque::new(),
        entries: HashMap::new(),
        turn: 0,
        bytes: 0,
        max_bytes: store.usage().max_bytes,
    };
    let mut versions = HashMap::new();
    let (mut calls, mut hits, mut model_hits) = (0, 0, 0);
    let mut kept = [0_u64; 6];
    let mut stored = [0_u64; 6];
    let begin = Instant::now();
    while begin.elapsed() < duration || calls < LEAST_CALLS {
        let number = load.key();
        let (hash, key) = hash_of(&store, number);
        let version = *versions.entry(number).or_insert(0_u64);
        calls += 1;
        let what = load.random.u32(0..100);
        if what < 3 {
            store.delete(hash, &key);
            queue.remove(number, &load);
            assert_eq!(get(&store, &key), None, "{tale}: key {number} was deleted");
            continue;
        }
        let found = store.get(hash, &key).unwrap();
        let is_changed = what < 10;
        if let Some(found) = &found {
            let is_right = found.value[..] == *load.value(number, version);
            assert!(is_right, "{tale}: key {number} has not the value of version {version}");
        }
        hits += u64::from(found.is_some());
        model_hits += u64::from(queue.entries.contains_key(&number));
        if found.is_none() || is_changed {
            let version = version + 1;
            versions.insert(number, version);
            let value = load.value(number, version);
            put(&store, &key, value);
            let class = class_of(value.len()).min(5);
            stored[class] += 1;
            // Readable at once, however large: a full store makes room for all of it.
            let found = store.get(hash, &key).unwrap();
            kept[class] += u64::from(found.is_some_and(|found| found.value[..] == *value));
        }
        if is_changed || !queue.entries.contains_key(&number) {
            queue.put(number, &load);
        }
        if calls % 200 == 0 {
            keeps_its_bounds(&store, &path, &tale);
        }
    }
    keeps_its_bounds(&store, &path, &tale);
    let numbers = store.statistics();
    let check = store.validate().unwrap();
    assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0), "{tale}");
    let dropped = (numbers.dropped_no_room, numbers.dropped_busy, numbers.dropped_too_large);
    assert_eq!((numbers.corrupt, dropped), (0, (0, 0, 0)), "{tale}: {numbers:?}");
    assert_eq!(kept, stored, "{tale}: by size, of what was put how much could be read");
    let ratio = |hits: u64| 100.0 * hits as f64 / calls as f64;
    println!(
        "{tale}: {calls} calls, {:.1} % hits, the queue {:.1} %, put by size {stored:?}",
        ratio(hits),
        ratio(model_hits)
    );
    assert!(stored[..5].iter().all(|count| *count > 10), "{tale}: {stored:?}");
    let is_less = ratio(hits) < ratio(model_hits) - 2.0;
    assert!(!is_less || calls < CALLS_THAT_TELL, "{tale}: {numbers:?}");
}

#[test]
fn a_full_store_of_all_sizes_keeps_its_bounds_and_starves_none() {
    let seconds = std::env::var("TIERCE_SOAK_SECONDS")
        .map_or(2, |text| text.parse().expect("TIERCE_SOAK_SECONDS is a number"));
    let seed = seed();
    for medium in MEDIA {
        soak(medium, Duration::from_secs(seconds), seed);
    }
}

//! Random operations on a small store beside a plain map: a read is what the map says, or a miss.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

mod store_support;

use std::{collections::HashMap, time::Duration};

use store_support::*;
use tierce::{Clock, Medium, Millis, NewRecord, Put, Store, StoreFill, StoreToken};

const KEYS: u64 = 400;

/// What the plain map knows of a key: the bytes and when they end.
type Model = HashMap<u64, (Vec<u8>, Millis)>;

fn run((medium, mapped_reads): (Medium, bool), seed: u64, operations: u32) {
    let (_folder, options) = small_store(medium);
    let options = options.mapped_reads(mapped_reads);
    let options = options.max_bytes(2 << 20).segment_bytes(16 << 10).max_entries(300);
    let (clock, time) = Clock::manual();
    let mut store = Store::open(&options, clock.clone()).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::new();
    let mut tokens: Vec<(u64, StoreToken, u64)> = Vec::new();
    // Counts the changes of each key, as stamps do, to know which fills must be refused.
    let mut changes: HashMap<u64, u64> = HashMap::new();
    let mut clears = 0;
    let mut hits = 0;
    let mut must_refuse = 0;
    for operation in 0..operations {
        let number = random.u64(0..KEYS);
        let (hash, key) = hash_of(&store, number);
        let context = || format!("seed {seed}, operation {operation}, key {number}, {medium:?}");
        let now = clock.boot();
        match random.u32(0..1000) {
            0..350 => {
                let found = store.get(hash, &key).unwrap();
                if let Some(found) = found {
                    let (value, expires_at) = model.get(&number).unwrap_or_else(|| {
                        panic!("{}: found what was deleted", context());
                    });
                    assert!(found.value == *value, "{}: wrong value", context());
                    assert_eq!(found.expires_at, *expires_at, "{}", context());
                    assert!(*expires_at > now, "{}: expired", context());
                    hits += 1;
                }
            }
            350..700 => {
                let bytes = match random.u32(0..100) {
                    0..90 => random.usize(0..1500),
                    90..98 => random.usize(1500..8000),
                    _ => random.usize(8000..60_000),
                };
                let value = describing_value(number, operation.into(), bytes);
                let expires_at = if random.u32(0..4) == 0 {
                    now.after(Duration::from_millis(random.u64(1..5000)))
                } else {
                    Millis::NEVER
                };
                let record = NewRecord::new(&value, 0, expires_at);
                let expect = random.bool().then(|| store.token(hash));
                let before = store.token(hash);
                let put = store.put(hash, &key, record, expect);
                *changes.entry(number).or_default() += 1;
                match put {
                    Put::Stored { stamp } => {
                        assert_ne!(stamp, before.stamp, "{}", context());
                        model.insert(number, (value, expires_at));
                    }
                    Put::Removed { why, .. } => panic!("{}: {why:?}", context()),
                }
            }
            700..800 => {
                store.delete(hash, &key);
                *changes.entry(number).or_default() += 1;
                model.remove(&number);
                assert_eq!(store.get(hash, &key).unwrap(), None, "{}", context());
            }
            800..850 => {
                let change = changes.get(&number).copied().unwrap_or(0) + clears;
                tokens.push((number, store.token(hash), change));
            }
            850..960 if !tokens.is_empty() => {
                let at = random.usize(0..tokens.len());
                let (number, token, change) = tokens.swap_remove(at);
                let (hash, key) = hash_of(&store, number);
                let value = describing_value(number, operation.into(), random.usize(0..3000));
                let record = NewRecord::new(&value, 0, Millis::NEVER);
                let is_stale = changes.get(&number).copied().unwrap_or(0) + clears != change;
                match store.fill(hash, &key, record, token) {
                    StoreFill::Stored | StoreFill::Replaced(_) => {
                        assert!(!is_stale, "{}: a stale fill", context());
                        model.insert(number, (value, Millis::NEVER));
                    }
                    StoreFill::Adopted(found) => {
                        assert!(!is_stale, "{}: a stale adoption", context());
                        assert!(found.value == model[&number].0, "{}", context());
                    }
                    // Also where a neighbour under the same stamp changed.
                    StoreFill::Refused => must_refuse += u32::from(is_stale),
                    StoreFill::Dropped(why) => panic!("{}: {why:?}", context()),
                }
            }
            960..990 => time.advance(Duration::from_millis(random.u64(1..1000))),
            990..993 => {
                store.clear();
                clears += 1;
                model.clear();
            }
            993..996 => {
                drop(store);
                store = Store::open(&options, clock.clone()).unwrap();
            }
            996..998 => {
                let check = store.validate().unwrap();
                let wrong = (check.corrupt, check.doubled, check.broken_segments);
                assert_eq!(wrong, (0, 0, 0), "{}: {check:?}", context());
            }
            _ => {}
        }
        assert!(store.usage().entries <= 300, "{}: {:?}", context(), store.usage());
    }
    let numbers = store.statistics();
    assert_eq!(numbers.corrupt, 0, "seed {seed}: {numbers:?}");
    assert!(hits > operations / 20, "seed {seed}: the store kept too little, {hits} hits");
    assert!(must_refuse > 0, "seed {seed}: no stale fill was tried");
}

#[test]
fn a_mapped_store_says_what_a_map_says_or_nothing() {
    for seed in 0..3 {
        run((Medium::Mapped, false), seed, 12_000);
    }
}

#[test]
fn a_store_on_disk_says_what_a_map_says_or_nothing() {
    for seed in 10..12 {
        run((Medium::Disk, false), seed, 12_000);
    }
}

#[test]
fn a_store_on_disk_that_is_read_by_mapping_says_what_a_map_says_or_nothing() {
    for seed in 20..22 {
        run((Medium::Disk, true), seed, 12_000);
    }
}

#[test]
fn what_is_reopened_is_what_was_closed() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        for number in 0..1000 {
            put(&store, &key_of(number), &describing_value(number, 1, 900));
        }
        store.delete(store.hash(&key_of(0)), &key_of(0));
        let stamps: Vec<_> =
            (0..1000).map(|number| store.token(store.hash(&key_of(number)))).collect();
        drop(store);
        let store = open(&options);
        assert_eq!(get(&store, &key_of(0)), None);
        for number in 1..1000 {
            let value = get(&store, &key_of(number)).expect("a warm store");
            assert_eq!(described_version(number, &value), Some(1));
        }
        for (number, stamp) in stamps.into_iter().enumerate() {
            let (hash, _) = hash_of(&store, number as u64);
            assert_eq!(store.token(hash), stamp, "stamps outlive their processes");
        }
        assert_eq!(store.usage().entries, 999);
    }
}

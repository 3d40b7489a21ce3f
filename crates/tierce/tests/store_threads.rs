//! Threads that read and write the same few keys in tiny segments, so that segments are emptied
//! and filled again under the readers all the time: every value must name its own key, and a
//! version that was not deleted or overwritten before the read began.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

mod store_support;

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use store_support::*;
use tierce::{Medium, Put, StoreFill};

const KEYS: u64 = 64;

/// With `mapped_reads`, one of two stores on the file reads by mapping, the other by calls.
fn run(
    (medium, mapped_reads): (Medium, bool),
    seed: u64,
    operations: u32,
    sizes: std::ops::Range<usize>,
) -> u64 {
    let (_folder, options) = small_store(medium);
    let options = options.max_bytes(1 << 20).segment_bytes(16 << 10);
    let stores = [open(&options), open(&options.clone().mapped_reads(mapped_reads))];
    // Per key: the lock of its writers, and the version that the last returned change left: a
    // read that begins afterwards must not see an older one.
    let writers: Vec<Mutex<u64>> = (0..KEYS).map(|_| Mutex::new(0)).collect();
    let floors: Vec<AtomicU64> = (0..KEYS).map(|_| AtomicU64::new(0)).collect();
    let hits = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (stores, writers, floors, hits) = (&stores, &writers, &floors, &hits);
            let sizes = sizes.clone();
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed * 100 + thread);
                for _ in 0..operations {
                    let store = &stores[random.usize(0..2)];
                    let number = random.u64(0..KEYS);
                    let (hash, key) = hash_of(store, number);
                    if random.u32(0..10) < 6 {
                        let floor = floors[number as usize].load(Ordering::SeqCst);
                        let Some(found) = store.get(hash, &key).unwrap() else { continue };
                        let version = described_version(number, &found.value)
                            .unwrap_or_else(|| panic!("seed {seed}: torn value of {number}"));
                        assert!(
                            version >= floor,
                            "seed {seed}: version {version} of {number} came back after {floor}"
                        );
                        hits.fetch_add(1, Ordering::Relaxed);
                        continue;
                    }
                    let mut version = writers[number as usize].lock().unwrap();
                    let token = store.token(hash);
                    let next = *version + 1;
                    let value = describing_value(number, next, random.usize(sizes.clone()));
                    match random.u32(0..10) {
                        0..6 => {
                            let expect = random.bool().then_some(token);
                            match store.put(hash, &key, record(&value), expect) {
                                Put::Stored { stamp } => assert_ne!(stamp, token.stamp),
                                Put::Removed { .. } => {}
                            }
                            *version = next;
                        }
                        6..8 => {
                            store.delete(hash, &key);
                            *version = next;
                        }
                        // An old value, fetched before a change: it must not come back. The last
                        // version is allowed, so it is named as one.
                        _ => {
                            let stale = describing_value(number, *version, value.len());
                            store.delete(hash, &key);
                            *version = next;
                            let filled = store.fill(hash, &key, record(&stale), token);
                            assert!(
                                matches!(filled, StoreFill::Refused),
                                "seed {seed}: {filled:?}"
                            );
                        }
                    }
                    floors[number as usize].store(*version, Ordering::SeqCst);
                }
            });
        }
    });
    let check = stores[0].validate().unwrap();
    assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0), "{check:?}");
    assert_eq!(stores[0].statistics().corrupt, 0);
    hits.into_inner()
}

#[test]
fn mapped_values_are_never_torn_wrong_or_old() {
    let hits = run((Medium::Mapped, false), 1, 25_000, 24..2000);
    assert!(hits > 4_000, "only {hits} hits");
}

#[test]
fn large_values_are_never_torn_wrong_or_old() {
    let hits = run((Medium::Mapped, false), 2, 1_200, 3000..40_000);
    assert!(hits > 150, "only {hits} hits");
}

#[test]
fn values_on_disk_are_never_torn_wrong_or_old() {
    let hits = run((Medium::Disk, false), 3, 10_000, 24..2000);
    assert!(hits > 1_000, "only {hits} hits");
}

#[test]
fn values_on_disk_that_are_read_by_mapping_are_never_torn_wrong_or_old() {
    let hits = run((Medium::Disk, true), 4, 10_000, 24..2000);
    assert!(hits > 1_000, "only {hits} hits");
}

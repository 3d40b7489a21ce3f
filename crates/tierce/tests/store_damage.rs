//! Bytes that change under a running store: a read is right or a miss, and nothing crashes.
//!
//! The lock file is left out: its mutexes hold pointers of the C library, and who can write there
//! is the same user.

#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

mod store_support;

use std::{fs, os::unix::fs::FileExt};

use store_support::*;
use tierce::{Clock, Medium, Put, Store};

const KEYS: u64 = 500;

/// Flips bits of a store in use and goes on using it. Values name their key; which version is
/// read is not judged, as a flipped epoch may bring an older one back.
fn flip(medium: Medium, seed: u64, rounds: u32, from: u64, to: u64) -> u64 {
    let (folder, options) = small_store(medium);
    let options = options.max_bytes(1 << 20).segment_bytes(16 << 10);
    let mut store = open(&options);
    let path = folder.path().join("store/l2.data");
    let mut file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = 0;
    for round in 0..rounds {
        let end = to.min(file.metadata().unwrap().len());
        for _ in 0..4 {
            let at = random.u64(from..end);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << random.u32(0..8))], at).unwrap();
        }
        for _ in 0..20 {
            let number = random.u64(0..KEYS);
            let (hash, key) = hash_of(&store, number);
            match random.u32(0..10) {
                0..6 => {
                    if let Some(found) = store.get(hash, &key).unwrap() {
                        let version = described_version(number, &found.value);
                        assert!(version.is_some(), "seed {seed}, round {round}: key {number}");
                        hits += 1;
                    }
                }
                6..9 => {
                    let bytes = match random.u32(0..10) {
                        0 => random.usize(4_000..20_000),
                        _ => random.usize(24..2_000),
                    };
                    let value = describing_value(number, round.into(), bytes);
                    let put = store.put(hash, &key, record(&value), None);
                    if matches!(put, Put::Stored { .. }) && random.bool() {
                        store.delete(hash, &key);
                        assert_eq!(store.get(hash, &key).unwrap(), None, "seed {seed}");
                    }
                }
                _ => {
                    let token = store.token(hash);
                    let value = describing_value(number, round.into(), 100);
                    store.fill(hash, &key, record(&value), token);
                }
            }
        }
        if round % 64 == 0 {
            store.validate().unwrap();
            store.usage();
        }
        if round % 256 == 255 {
            drop(store);
            store = Store::open(&options, Clock::system()).unwrap();
            file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        }
    }
    hits
}

/// `TIERCE_FLIPS` bits are flipped in each of the three runs (3200), four in a round.
#[test]
fn flipped_bits_anywhere_are_a_right_value_or_a_miss() {
    let flips = std::env::var("TIERCE_FLIPS")
        .map_or(3200, |text| text.parse::<u32>().expect("TIERCE_FLIPS is a number"));
    for (medium, seed) in [(MEDIA[0], 1), (MEDIA[0], 2), (MEDIA[1], 3)] {
        let hits = flip(medium, seed, flips / 4, 0, u64::MAX);
        assert!(hits > 300, "{medium:?}: only {hits} hits");
    }
}

#[test]
fn flipped_bits_of_state_and_segment_table_are_a_right_value_or_a_miss() {
    // The state region's shard lines, and the table, by themselves: dense damage.
    flip(Medium::Mapped, 4, 300, 64 << 10, (192 << 10) + 32 * 64);
    flip(Medium::Mapped, 5, 300, 192 << 10, (192 << 10) + 32 * 64);
}

#[test]
fn flipped_bits_of_records_are_found_by_the_checksum() {
    for medium in MEDIA {
        let (folder, options) = small_store(medium);
        let store = open(&options);
        for number in 0..200 {
            put(&store, &key_of(number), &describing_value(number, 0, 1000));
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.path().join("store/l2.data"))
            .unwrap();
        // Every value has its second half spoiled, which nothing but the checksum looks at.
        let length = file.metadata().unwrap().len();
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, 0).unwrap();
        for number in 0..200 {
            let value = describing_value(number, 0, 1000);
            let at = bytes.windows(24).position(|window| *window == value[..24]).unwrap();
            file.write_all_at(&[!value[700]], at as u64 + 700).unwrap();
        }
        for number in 0..200 {
            assert_eq!(get(&store, &key_of(number)), None, "{medium:?}");
        }
        assert_eq!(store.statistics().corrupt, 200);
        assert_eq!(store.usage().entries, 0);
    }
}

#[test]
fn a_truncated_file_on_disk_is_an_error_or_a_miss_and_parks() {
    truncate_on_disk(false);
}

#[test]
fn a_truncated_file_that_is_read_by_mapping_is_an_error_or_a_miss_and_parks() {
    truncate_on_disk(true);
}

#[test]
fn after_a_page_that_is_gone_what_is_mapped_is_read_by_calls() {
    let (folder, options) = small_store(Medium::Disk);
    let store = open(&options.mapped_reads(true));
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, 0, 5000));
    }
    let path = folder.path().join("store/l2.data");
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut whole = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut whole, 0).unwrap();
    // A page in the midst of a value, whose header stays.
    let (hash, key) = hash_of(&store, 0);
    let value = describing_value(0, 0, 5000);
    let at = whole.windows(64).position(|bytes| *bytes == value[4900..4964]).unwrap();
    file.set_len(at as u64 / 4096 * 4096).unwrap();
    assert_eq!(store.get(hash, &key).unwrap_err().kind(), tierce::ErrorKind::Io);
    file.set_len(whole.len() as u64).unwrap();
    file.write_all_at(&whole[at / 4096 * 4096..], at as u64 / 4096 * 4096).unwrap();
    for number in 0..KEYS {
        let found = get(&store, &key_of(number)).expect("nothing was lost");
        assert_eq!(described_version(number, &found), Some(0));
    }
    let numbers = store.statistics();
    assert_eq!((numbers.corrupt, numbers.io_errors), (0, 1), "{numbers:?}");
}

fn truncate_on_disk(mapped_reads: bool) {
    let (folder, options) = small_store(Medium::Disk);
    let store = open(&options.mapped_reads(mapped_reads));
    for number in 0..500 {
        put(&store, &key_of(number), &describing_value(number, 0, 5000));
    }
    let path = folder.path().join("store/l2.data");
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    // Behind index and stamps: those stay mapped.
    file.set_len(file.metadata().unwrap().len() - (3 << 20)).unwrap();
    let mut errors = 0;
    for number in 0..500 {
        let (hash, key) = hash_of(&store, number);
        match store.get(hash, &key) {
            Ok(found) => {
                assert!(found.is_none_or(|found| described_version(number, &found.value).is_some()))
            }
            Err(error) => {
                assert_eq!(error.kind(), tierce::ErrorKind::Io);
                errors += 1;
            }
        }
    }
    assert!((1..100).contains(&errors), "after {errors} errors the device is left alone");
    assert!(store.trouble().is_some());
    let before = store.token(store.hash(b"k"));
    store.delete(store.hash(b"k"), b"k");
    assert_ne!(store.token(store.hash(b"k")), before, "invalidation needs no device");
}

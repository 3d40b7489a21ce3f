//! The power goes while pages are on their way to the disk: each page of the file that is left is
//! one that was there at some time, and no two need be of the same time.
//!
//! The pages of a store at work are recorded, and files are made of random ones of them: the
//! latest up to a moment, but for some that are older, or were never written. After a boot such a
//! file is an empty store. And should it be taken for one of this boot, as the copy of a store in
//! use would be, then it holds values that were once written, and nothing else.
//!
//! `TIERCE_SEED` repeats a run; `TIERCE_POWER_CUTS` sets the number of files (40).
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod store_support;

use std::{
    fs,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use store_support::*;
use tierce::{Medium, Store, StoreOptions};

const PAGE: usize = 4096;
const KEYS: u64 = 150;
/// Moments at which the pages are recorded.
const MOMENTS: u64 = 60;
/// Where the boot id lies: at the begin of the state region.
const BOOT_ID_AT: u64 = 64 << 10;

fn small(options: StoreOptions) -> StoreOptions {
    options.max_bytes(1 << 20).segment_bytes(16 << 10).max_entries(1000)
}

/// All that each page of a file was, in order.
struct Recording {
    pages: Vec<Vec<(u64, Vec<u8>)>>,
}

impl Recording {
    /// Adds the pages that are others than at the moment before.
    fn add(&mut self, moment: u64, path: &Path) {
        let bytes = fs::read(path).unwrap();
        self.pages.resize(bytes.len() / PAGE, Vec::new());
        for (page, history) in bytes.chunks(PAGE).zip(&mut self.pages) {
            if history.last().is_none_or(|(_, last)| last != page) {
                history.push((moment, page.to_vec()));
            }
        }
    }

    /// A file as the disk may have it when the power goes at `moment`: of `old` pages in a
    /// thousand, an older one, or none.
    fn cut(&self, moment: u64, old: u32, random: &mut fastrand::Rng) -> Vec<u8> {
        let page = |history: &Vec<(u64, Vec<u8>)>| {
            let until = history.partition_point(|(at, _)| *at <= moment);
            let is_old = random.u32(0..1000) < old;
            match if is_old { random.usize(0..=until) } else { until } {
                0 => vec![0; PAGE],
                count => history[count - 1].1.clone(),
            }
        };
        self.pages.iter().flat_map(page).collect()
    }
}

/// A store at work, with all kinds of changes and enough of them to empty segments.
fn record_work(medium: Medium, random: &mut fastrand::Rng) -> Recording {
    let (folder, options) = small_store(medium);
    let store = open(&small(options));
    let path = folder.path().join("store/l2.data");
    let mut recording = Recording { pages: Vec::new() };
    let mut version = 0;
    for moment in 0..MOMENTS {
        for _ in 0..40 {
            version += 1;
            work(&store, version, random);
        }
        recording.add(moment, &path);
    }
    assert!(store.statistics().reinserted > 100, "segments were emptied");
    let changed = recording.pages.iter().filter(|history| history.len() > 2).count();
    assert!(changed > 100, "only {changed} pages changed more than once");
    recording
}

fn work(store: &Store, version: u64, random: &mut fastrand::Rng) {
    let (hash, key) = hash_of(store, random.u64(0..KEYS));
    let number = key_number(&key);
    match random.u32(0..20) {
        0..2 => {
            store.delete(hash, &key);
        }
        2..6 => {
            get(store, &key);
        }
        6 => {
            put(store, &key, &describing_value(number, version, random.usize(5_000..20_000)));
        }
        _ => {
            put(store, &key, &describing_value(number, version, random.usize(24..2_000)));
        }
    }
}

fn key_number(key: &[u8]) -> u64 {
    std::str::from_utf8(&key[4..9]).unwrap().parse().unwrap()
}

/// Opens a file as a store; how many of its keys have a value. One that is wrong panics.
fn open_cut(file: &[u8], medium: Medium, tale: &str) -> u64 {
    let (folder, options) = small_store(medium);
    let options = small(options);
    drop(open(&options));
    let path = folder.path().join("store/l2.data");
    fs::remove_file(&path).unwrap();
    let mut create = fs::OpenOptions::new();
    let copy = create.write(true).create_new(true).mode(0o600).open(path).unwrap();
    copy.write_all_at(file, 0).unwrap();
    let store = open(&options);
    let has_value = |number: &u64| {
        let value = get(&store, &key_of(*number));
        let version = value.as_ref().map(|value| described_version(*number, value));
        assert_ne!(version, Some(None), "{tale}: a wrong value of key {number}");
        version.is_some()
    };
    let found = (0..KEYS).filter(has_value).count() as u64;
    // And it works: with room for what comes, found when it has come.
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, u64::MAX, 1000));
        let value = get(&store, &key_of(number)).expect("it was just put");
        assert_eq!(described_version(number, &value), Some(u64::MAX), "{tale}");
    }
    found
}

#[test]
fn what_a_power_cut_leaves_is_an_empty_store_and_never_a_wrong_value() {
    let seed = seed();
    let mut random = fastrand::Rng::with_seed(seed);
    let cuts = std::env::var("TIERCE_POWER_CUTS")
        .map_or(40, |text| text.parse::<u64>().expect("TIERCE_POWER_CUTS is a number"));
    for medium in MEDIA {
        let recording = record_work(medium, &mut random);
        let mut found_in_all = 0;
        for cut in 0..cuts {
            let (moment, old) = (random.u64(10..MOMENTS), [0, 20, 200, 600][cut as usize % 4]);
            let tale = format!("seed {seed}, {medium:?}, cut {cut} at {moment}, {old} old");
            let mut file = recording.cut(moment, old, &mut random);
            let found = open_cut(&file, medium, &tale);
            assert!(old > 0 || found > 40, "{tale}: whole pages of one moment, {found} values");
            found_in_all += found;
            let boot_id = BOOT_ID_AT as usize..BOOT_ID_AT as usize + 16;
            file[boot_id].fill(7);
            assert_eq!(open_cut(&file, medium, &tale), 0, "{tale}: of an earlier boot");
        }
        println!("{medium:?}: {found_in_all} values in {cuts} files");
        assert!(found_in_all > cuts * 10, "{medium:?}: {found_in_all} values");
    }
}

//! Store files that are cut off, at open and in use.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod store_support;

use std::{fs, os::unix::fs::FileExt};

use store_support::*;
use tierce::{Medium, StoreOptions};

const KEYS: u64 = 500;

/// A closed store of 1 MiB with `KEYS` entries, and its data file.
fn closed_store(medium: Medium) -> (tempfile::TempDir, StoreOptions, fs::File) {
    let (folder, options) = small_store(medium);
    let options = options.max_bytes(1 << 20).segment_bytes(16 << 10).max_entries(1000);
    let store = open(&options);
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, 0, 1000));
    }
    let path = folder.path().join("store/l2.data");
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    (folder, options, file)
}

#[test]
fn a_file_truncated_at_any_page_is_replaced_by_an_empty_store() {
    let _alone = traced::alone();
    for medium in MEDIA {
        let (folder, options, file) = closed_store(medium);
        let mut whole = vec![0; file.metadata().unwrap().len() as usize];
        file.read_exact_at(&mut whole, 0).unwrap();
        for length in (0..whole.len()).step_by(4096) {
            let path = folder.path().join("store/l2.data");
            fs::write(&path, &whole[..length]).unwrap();
            let store = open(&options);
            for number in [0, KEYS - 1] {
                assert_eq!(get(&store, &key_of(number)), None, "{medium:?}, {length} bytes");
                put(&store, &key_of(number), b"again");
                assert_eq!(get(&store, &key_of(number)).unwrap(), b"again", "{length} bytes");
            }
        }
    }
}

/// A page that is gone under a mapping is a SIGBUS: whoever truncates the file is the same user.
/// All else is right values, misses and errors; the next first opener starts afresh.
#[test]
fn a_file_truncated_in_use_is_right_values_misses_or_errors_and_at_worst_a_bus_error() {
    let _alone = traced::alone();
    for (medium, mapped_reads) in FORMS {
        let mut ends = [0, 0];
        for kept in (0..256_u64).step_by(15) {
            let (_folder, options, file) = closed_store(medium);
            let store = open(&options.clone().mapped_reads(mapped_reads));
            file.set_len(kept * 4096).unwrap();
            let status = traced::in_child(|| {
                (0..KEYS).all(|number| {
                    let (hash, key) = hash_of(&store, number);
                    let is_right = match store.get(hash, &key) {
                        Ok(Some(found)) => described_version(number, &found.value) == Some(0),
                        Ok(None) | Err(_) => true,
                    };
                    store.put(hash, &key, record(&describing_value(number, 0, 1000)), None);
                    store.delete(hash, &key);
                    is_right
                })
            });
            match status {
                0 => ends[0] += 1,
                status if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS => {
                    ends[1] += 1;
                }
                status => panic!("{medium:?}, {kept} pages kept: status {status:#x}"),
            }
            drop(store);
            assert_eq!(get(&open(&options), &key_of(1)), None, "{medium:?}, {kept} pages kept");
        }
        println!("{medium:?}, {mapped_reads}: {} went on, {} ended by SIGBUS", ends[0], ends[1]);
        if medium == Medium::Disk {
            // Only index, stamps and cells are mapped there, four fifths of so small a file, or the
            // rest is behind the guard.
            assert!(ends[0] >= 7, "{ends:?}");
        }
    }
}

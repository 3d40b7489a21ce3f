//! What `open` accepts, replaces and refuses.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

mod store_support;

use std::{
    ffi::CString,
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::Path,
};

use store_support::*;
use tierce::{Clock, ErrorKind, Medium, Store, StoreOptions};

fn refused(options: &StoreOptions, kind: ErrorKind, text: &str) {
    let error = Store::open(options, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(text), "{error}");
}

/// A folder with a closed store that has one entry.
fn closed_store(medium: Medium) -> (tempfile::TempDir, StoreOptions) {
    let (folder, options) = small_store(medium);
    put(&open(&options), b"k", b"warm");
    (folder, options)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn files_are_the_users_alone_and_allocated() {
    let (folder, options) = closed_store(Medium::Mapped);
    let store = folder.path().join("store");
    assert_eq!(fs::metadata(&store).unwrap().mode() & 0o777, 0o700);
    assert_eq!(names(&store), ["l2.data", "l2.lock"]);
    for name in names(&store) {
        let about = fs::metadata(store.join(name)).unwrap();
        assert_eq!(about.mode() & 0o777, 0o600);
        assert!(about.blocks() * 512 >= about.len());
    }
    assert!(fs::metadata(store.join("l2.data")).unwrap().len() <= 4 << 20);
    assert_eq!(open(&options).path(), store);
}

#[test]
fn links_pipes_and_files_of_others_are_refused() {
    for name in ["l2.data", "l2.lock"] {
        let (folder, options) = closed_store(Medium::Mapped);
        let path = folder.path().join("store").join(name);
        let aside = folder.path().join("aside");

        fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        refused(&options, ErrorKind::Denied, "symbolic link");
        fs::remove_file(&path).unwrap();

        let text = CString::new(path.as_os_str().as_bytes()).unwrap();
        make_pipe(&text);
        refused(&options, ErrorKind::Denied, "regular file");
        fs::remove_file(&path).unwrap();

        fs::create_dir(&path).unwrap();
        refused(&options, ErrorKind::Denied, "regular file");
        fs::remove_dir(&path).unwrap();

        fs::hard_link(&aside, &path).unwrap();
        refused(&options, ErrorKind::Denied, "second name");
        fs::remove_file(&path).unwrap();

        fs::rename(&aside, &path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).unwrap();
        refused(&options, ErrorKind::Denied, "group or others");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(get(&open(&options), b"k").unwrap(), b"warm");
    }
}

#[allow(unsafe_code)]
fn make_pipe(path: &std::ffi::CStr) {
    // SAFETY: a null-terminated path.
    assert_eq!(unsafe { libc::mkfifo(path.as_ptr(), 0o600) }, 0);
}

#[test]
fn directories_that_others_may_change_are_refused() {
    let (folder, options) = closed_store(Medium::Mapped);
    let store = folder.path().join("store");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o770)).unwrap();
    refused(&options, ErrorKind::Denied, "must not be writable");
    fs::set_permissions(&store, fs::Permissions::from_mode(0o700)).unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    refused(&options, ErrorKind::Denied, "sticky");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&store, &link).unwrap();
    refused(&StoreOptions::new(&link).max_bytes(4 << 20), ErrorKind::Denied, "symbolic link");
    fs::write(folder.path().join("file"), "").unwrap();
    let options = StoreOptions::new(folder.path().join("file")).max_bytes(4 << 20);
    refused(&options, ErrorKind::Denied, "directory");
}

#[test]
fn unusable_files_are_replaced_by_an_empty_store() {
    type Damage = fn(&fs::File);
    let damages: [(&str, Damage); 7] = [
        ("empty", |file| file.set_len(0).unwrap()),
        ("truncated in the header", |file| file.set_len(100).unwrap()),
        ("truncated in the data", |file| file.set_len(1 << 20).unwrap()),
        ("longer", |file| file.set_len(5 << 20).unwrap()),
        ("zeros", |file| {
            let length = file.metadata().unwrap().len();
            file.set_len(0).unwrap();
            file.set_len(length).unwrap();
        }),
        ("garbage", |file| {
            let mut garbage = vec![0; file.metadata().unwrap().len() as usize];
            fastrand::Rng::with_seed(3).fill(&mut garbage);
            file.write_all_at(&garbage, 0).unwrap();
        }),
        ("one header bit", |file| {
            let mut byte = [0];
            file.read_exact_at(&mut byte, 33).unwrap();
            file.write_all_at(&[byte[0] ^ 4], 33).unwrap();
        }),
    ];
    for medium in MEDIA {
        for (what, damage) in damages {
            let (folder, options) = closed_store(medium);
            let path = folder.path().join("store/l2.data");
            let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
            damage(&file);
            refused(&options.clone().existing_only(true), ErrorKind::Corrupt, "cannot be used");
            let store = open(&options);
            assert_eq!(get(&store, b"k"), None, "{what}");
            put(&store, b"k", b"again");
            assert_eq!(get(&store, b"k").unwrap(), b"again", "{what}");
        }
    }
}

#[test]
fn a_garbage_lock_file_is_written_anew() {
    let (folder, options) = closed_store(Medium::Mapped);
    let path = folder.path().join("store/l2.lock");
    let mut garbage = vec![0; 64 << 10];
    fastrand::Rng::with_seed(5).fill(&mut garbage);
    for bytes in [&[][..], &garbage[..100], &garbage] {
        fs::OpenOptions::new()
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .unwrap()
            .write_all_at(bytes, 0)
            .unwrap();
        let store = open(&options);
        assert_eq!(get(&store, b"k").unwrap(), b"warm");
        put(&store, b"k", b"warm");
    }
}

#[test]
fn a_file_of_a_later_version_is_left_as_it_is() {
    let (folder, options) = closed_store(Medium::Mapped);
    let path = folder.path().join("store/l2.data");
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.write_all_at(&5_u32.to_ne_bytes(), 8).unwrap();
    let before = fs::read(&path).unwrap();
    refused(&options, ErrorKind::Version, "format version 5");
    assert!(fs::read(&path).unwrap() == before);
    file.write_all_at(&1_u32.to_ne_bytes(), 8).unwrap();
    assert_eq!(get(&open(&options), b"k"), None, "an earlier one is started empty");
}

#[test]
fn a_file_of_the_other_byte_order_is_left_as_it_is() {
    for medium in MEDIA {
        let (folder, options) = closed_store(medium);
        let path = folder.path().join("store/l2.data");
        let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
        // As such a machine writes its header: the name of the format as it is, numbers reversed.
        let mut head = [0; 24];
        file.read_exact_at(&mut head, 0).unwrap();
        let reversed: Vec<u8> = head
            .iter()
            .take(8)
            .chain(head[8..12].iter().rev())
            .chain(head[12..16].iter().rev())
            .chain(head[16..].iter().rev())
            .copied()
            .collect();
        file.write_all_at(&reversed, 0).unwrap();
        let before = fs::read(&path).unwrap();
        for options in [options.clone(), options.clone().existing_only(true)] {
            refused(&options, ErrorKind::Version, "other byte order");
        }
        assert!(fs::read(&path).unwrap() == before, "{medium:?}");
        file.write_all_at(&head, 0).unwrap();
        assert_eq!(get(&open(&options), b"k").unwrap(), b"warm");
    }
}

#[test]
fn another_schema_starts_empty_but_is_refused_while_in_use() {
    let (_folder, options) = closed_store(Medium::Mapped);
    let other = options.clone().schema(9);
    let store = open(&options);
    refused(&other, ErrorKind::Version, "schema 0");
    assert_eq!(get(&store, b"k").unwrap(), b"warm");
    drop(store);
    assert_eq!(get(&open(&other), b"k"), None);
}

#[test]
fn other_sizes_start_empty_but_join_what_is_in_use() {
    let (_folder, options) = closed_store(Medium::Mapped);
    let other = options.clone().max_bytes(8 << 20);
    let store = open(&options);
    let joined = open(&other);
    assert_eq!(get(&joined, b"k").unwrap(), b"warm");
    assert_eq!(joined.usage().max_bytes, store.usage().max_bytes);
    drop((store, joined));
    let looked_at = open(&other.clone().existing_only(true));
    assert_eq!(get(&looked_at, b"k").unwrap(), b"warm", "for inspection, sizes are the file's");
    drop(looked_at);
    let store = open(&other);
    assert_eq!(get(&store, b"k"), None);
    assert!(store.usage().max_bytes > 4 << 20);
}

#[test]
fn a_size_that_does_not_fit_does_not_cost_the_store_that_is_there() {
    let (_folder, options) = closed_store(Medium::Mapped);
    refused(&options.clone().max_bytes(8 << 40), ErrorKind::Full, "bytes left");
    assert_eq!(get(&open(&options), b"k").unwrap(), b"warm");
}

#[test]
fn a_copy_with_holes_is_allocated_before_it_is_used() {
    for medium in MEDIA {
        let (folder, options) = closed_store(medium);
        let path = folder.path().join("store/l2.data");
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.unwrap();
        file.set_len(bytes.len() as u64).unwrap();
        for (number, page) in bytes.chunks(4096).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, number as u64 * 4096).unwrap();
            }
        }
        assert!(file.metadata().unwrap().blocks() * 512 < bytes.len() as u64, "it has holes");
        assert_eq!(get(&open(&options), b"k").unwrap(), b"warm");
        assert!(file.metadata().unwrap().blocks() * 512 >= bytes.len() as u64);
    }
}

#[test]
fn another_boot_starts_empty() {
    for medium in MEDIA {
        let (folder, options) = closed_store(medium);
        let path = folder.path().join("store/l2.data");
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[7; 16], 64 << 10).unwrap();
        assert_eq!(get(&open(&options), b"k"), None);
    }
}

#[test]
fn a_removed_lock_file_does_not_let_a_second_group_in() {
    let (folder, options) = closed_store(Medium::Mapped);
    let store = open(&options);
    fs::remove_file(folder.path().join("store/l2.lock")).unwrap();
    refused(&options, ErrorKind::Busy, "l2.lock was removed");
    assert_eq!(get(&store, b"k").unwrap(), b"warm");
    drop(store);
    assert_eq!(get(&open(&options), b"k").unwrap(), b"warm");
}

#[test]
fn a_removed_store_is_told() {
    let (folder, options) = closed_store(Medium::Mapped);
    let store = open(&options);
    assert_eq!(store.trouble(), None);
    fs::remove_dir_all(folder.path().join("store")).unwrap();
    assert!(store.trouble().unwrap().contains("l2.data was removed"));
    assert_eq!(get(&store, b"k").unwrap(), b"warm", "those who have it open go on");
    assert_eq!(get(&open(&options), b"k"), None);
}

#[test]
fn a_missing_directory_is_made_and_a_failed_open_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = StoreOptions::new(folder.path().join("store")).medium(Medium::Disk);
    refused(&options.clone().existing_only(true), ErrorKind::Io, "store");
    // More than any disk has; the file would be sparse if only its length were set.
    refused(&options.clone().max_bytes(8 << 40), ErrorKind::Full, "bytes left");
    assert!(names(folder.path()).is_empty());
    let deep = StoreOptions::new(folder.path().join("a/b/store")).max_bytes(1 << 20);
    open(&deep);
    assert_eq!(fs::metadata(folder.path().join("a")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn many_open_the_same_new_store_at_once() {
    for round in 0..5 {
        let (_folder, options) = small_store(MEDIA[round % 2]);
        let stores: Vec<Store> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| open(&options))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (number, store) in stores.iter().enumerate() {
            put(store, &key_of(number as u64), b"x");
        }
        for store in &stores {
            assert!((0..8).all(|number| get(store, &key_of(number)).is_some()));
        }
        assert_eq!(stores[3].statistics().puts, 8);
    }
}

#[test]
fn counters_of_closed_stores_stay_while_others_have_it_open() {
    let (_folder, options) = small_store(Medium::Mapped);
    let first = open(&options);
    for _ in 0..200 {
        put(&open(&options), b"k", b"v");
    }
    assert_eq!(first.statistics().puts, 200);
}

#[test]
fn the_default_directory_is_this_users_own() {
    let path = tierce::default_directory("name");
    assert!(path.is_absolute() && path.ends_with("name"), "{path:?}");
    let parent = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
    let user = fs::metadata("/proc/self").unwrap().uid();
    assert!(parent == "tierce" || parent == format!("tierce-{user}"), "{path:?}");
}

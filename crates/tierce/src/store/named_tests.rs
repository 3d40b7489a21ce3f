//! Stores that lose their name. Several [`NamedStore`]s stand for several processes.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;
use crate::{
    clock::{ManualClock, Millis},
    group_word::GroupWord,
    store::{Medium, NewRecord, Put, StoreFill},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Host {
    folder: tempfile::TempDir,
    clock: Clock,
    time: ManualClock,
}

impl Host {
    fn new() -> Self {
        let (clock, time) = Clock::manual();
        Self { folder: tempfile::tempdir().unwrap(), clock, time }
    }

    fn options(&self) -> StoreOptions {
        StoreOptions::new(self.folder.path().join("store"))
            .max_bytes(8 << 20)
            .max_entries(5_000)
            .medium(Medium::Mapped)
    }

    fn open(&self, options: &StoreOptions) -> NamedStore {
        NamedStore::open(options, self.clock.clone()).unwrap()
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    /// Asks for the store again and again, each time a minute later, until `is_done`.
    fn wait_for(&self, store: &NamedStore, what: &str, is_done: impl Fn(&View) -> bool) {
        let begin = Instant::now();
        while !is_done(&store.current()) {
            let (number, trouble) = (store.view().number(), store.trouble());
            assert!(begin.elapsed() < PATIENCE, "{what}: store {number}, {trouble:?}");
            self.time.advance(LONGEST_PAUSE);
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn put(store: &NamedStore, key: &str, value: &str) {
    let record = NewRecord::new(value.as_bytes(), 0, Millis::NEVER);
    let put = store.change(|view| {
        view.store().put(view.store().hash(key.as_bytes()), key.as_bytes(), record, None)
    });
    assert!(matches!(put, Put::Stored { .. }), "{put:?}");
}

fn get(store: &NamedStore, key: &str) -> Option<String> {
    let view = store.current();
    let found = view.store().get(view.store().hash(key.as_bytes()), key.as_bytes()).unwrap();
    found.map(|record| String::from_utf8(record.value.to_vec()).unwrap())
}

/// What an entry of L1 for `key` would be judged by, and whether it is void from the start.
fn mark(store: &NamedStore, key: &str) -> (SharedStamp, bool) {
    store.mark(|view| {
        let token = view.store().token(view.store().hash(key.as_bytes()));
        SharedStamp {
            index: token.stamp_index,
            stamp: token.stamp,
            clear_epoch: view.shifted(token.clear_epoch),
            word: GroupWord::NONE,
        }
    })
}

fn is_current(store: &NamedStore, filed: SharedStamp) -> bool {
    store.view().is_current(filed)
}

fn files_of(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn all_move_to_the_store_that_is_made_where_one_was_removed() {
    for removed in ["", "l2.data", "l2.lock"] {
        let host = Host::new();
        let (one, other) = (host.open(&host.options()), host.open(&host.options()));
        one.view().store().join_below();
        one.view().store().doubt(b"doubted");
        put(&one, "k", "1");
        let filed = mark(&other, "k");
        assert!(is_current(&other, filed.0) && !filed.1);
        // Its stamps are those of every key of a store that is new.
        let untouched = mark(&other, "untouched").0;
        match removed {
            "" => fs::remove_dir_all(host.path()).unwrap(),
            name => fs::remove_file(host.path().join(name)).unwrap(),
        }
        assert!(one.trouble().unwrap().contains("was removed"));
        host.wait_for(&one, "a new store", |view| view.number() == 1);
        assert_eq!(one.trouble(), None);
        assert!(!is_current(&other, filed.0), "{removed}: without a look of its own");
        put(&one, "k", "2");
        // Its next look finds the mark, without a question to the system.
        assert_eq!(get(&other, "k").as_deref(), Some("2"), "{removed}");
        assert_eq!((other.view().number(), other.trouble()), (1, None));
        assert!(!is_current(&other, filed.0) && !is_current(&other, untouched));
        assert!(other.view().store().is_doubted(b"doubted"), "what is known of L3 moves along");
        assert_eq!(files_of(&host.path()), ["l2.data", "l2.lock"]);
        // And who comes now is one of them.
        put(&host.open(&host.options()), "k", "3");
        assert_eq!(get(&one, "k").as_deref(), Some("3"));
        while one.0.view.sweep() {}
    }
}

#[test]
fn a_change_that_overlaps_a_succession_is_made_in_the_next_store_too() {
    let host = Host::new();
    let (one, other) = (host.open(&host.options()), host.open(&host.options()));
    put(&one, "k", "old");
    // Another process resizes the store while `other` is in the midst of a delete.
    let larger = host.options().max_bytes(16 << 20).resize(true);
    let resized = std::cell::OnceCell::new();
    other.change(|view| {
        view.store().delete(view.store().hash(b"k"), b"k");
        if resized.get().is_none() {
            let third = host.open(&larger);
            // A copy of the old value, as a load that began before the delete would make it.
            put(&third, "k", "old");
            assert!(resized.set(third).is_ok());
        }
    });
    assert_eq!(get(resized.get().unwrap(), "k"), None);
    assert_eq!(get(&one, "k"), None);
}

#[test]
fn a_store_is_resized_with_its_records_while_others_use_it() {
    for medium in [Medium::Mapped, Medium::Disk] {
        let host = Host::new();
        let options = host.options().medium(medium);
        let one = host.open(&options);
        for number in 0..2_000 {
            put(&one, &format!("key-{number}"), &number.to_string().repeat(100));
        }
        put(&one, "large", &"x".repeat(300_000));
        put(&one, "gone", "1");
        one.change(|view| view.store().delete(view.store().hash(b"gone"), b"gone"));
        let live = (0..2_000).filter(|number| get(&one, &format!("key-{number}")).is_some());
        let live = live.count();
        let filed = mark(&one, "key-1").0;

        let larger = options.clone().max_bytes(32 << 20).resize(true);
        let two = host.open(&larger);
        assert!(two.view().store().usage().max_bytes > 16 << 20);
        assert!(!is_current(&one, filed), "{medium:?}");
        for store in [&two, &one] {
            let kept = (0..2_000).filter(|number| {
                let value = get(store, &format!("key-{number}"));
                value.is_some_and(|value| value == number.to_string().repeat(100))
            });
            assert_eq!(kept.count(), live, "{medium:?}");
            assert_eq!(get(store, "large").map(|value| value.len()), Some(300_000), "{medium:?}");
            assert_eq!(get(store, "gone"), None);
        }
        let check = one.view().store().validate().unwrap();
        assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0));
        // Alone too, and smaller; by the same way, or it would be started empty.
        drop((one, two));
        let three = host.open(&options.resize(true));
        assert!(three.view().store().usage().max_bytes < 8 << 20);
        assert!(get(&three, "key-7").is_some(), "{medium:?}");
        // A process that wants no other size than the first makes no turn of it.
        let four = host.open(&larger.resize(false));
        assert!(four.view().store().is_same(three.view().store()));
    }
}

#[test]
fn where_the_next_store_cannot_be_opened_nothing_is_current_until_it_can() {
    let host = Host::new();
    let (one, other) = (host.open(&host.options()), host.open(&host.options()));
    put(&one, "k", "1");
    let _third = host.open(&host.options().max_bytes(16 << 20).resize(true));
    // What a process without the right to it sees.
    let lock = host.path().join("l2.lock");
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o666)).unwrap();
    let (filed, is_void) = mark(&one, "k");
    assert!(is_void);
    let trouble = one.trouble().unwrap();
    assert!(trouble.contains("l2.lock") && trouble.contains("group or others"), "{trouble}");
    assert_eq!(other.view().number(), 0);
    let (filed_again, is_void) = mark(&one, "k");
    assert!(is_void);
    fs::set_permissions(&lock, fs::Permissions::from_mode(0o600)).unwrap();
    host.time.advance(LOOK_PAUSE);
    assert_eq!(get(&one, "k").as_deref(), Some("1"));
    assert_eq!((one.view().number(), one.trouble()), (1, None));
    assert!(!is_current(&one, filed) && !is_current(&one, filed_again));
}

#[test]
fn a_fill_in_a_store_that_was_superseded_is_seen_by_nobody() {
    let host = Host::new();
    let one = host.open(&host.options());
    let (token, old) = {
        let view = one.view();
        let hash = view.store().hash(b"k");
        (view.store().token(hash), Arc::clone(&view.store))
    };
    let two = host.open(&host.options().max_bytes(16 << 20).resize(true));
    let record = NewRecord::new(b"late", 0, Millis::NEVER);
    assert_eq!(old.fill(old.hash(b"k"), b"k", record, token), StoreFill::Refused);
    assert_eq!((get(&one, "k"), get(&two, "k")), (None, None));
}

#[test]
fn a_truncated_lock_file_is_outlived_and_replaced_where_the_guard_was_asked_for() {
    for length in [0, 4096, 8 << 10, 16 << 10, 28 << 10, 96 << 10, 164 << 10] {
        let host = Host::new();
        let options = host.options().survive_truncation(true);
        let (one, other) = (host.open(&options), host.open(&options));
        put(&one, "k", "1");
        let locks = fs::File::options().write(true).open(host.path().join("l2.lock")).unwrap();
        locks.set_len(length).unwrap();
        for number in 0..200 {
            let key = format!("key-{number}");
            for named in [&one, &other] {
                let hash = |view: &View| view.store().hash(key.as_bytes());
                // Stored or dropped, in this store or the next, at once and by no signal.
                named.change(|view| {
                    let record = NewRecord::new(b"v", 0, Millis::NEVER);
                    view.store().put(hash(view), key.as_bytes(), record, None);
                });
                let value = get(named, &key);
                assert!(value.is_none_or(|value| value == "v"), "{length}: {key}");
            }
        }
        host.wait_for(&one, "a new store", |view| view.number() > 0);
        host.wait_for(&other, "the same", |view| view.number() > 0);
        put(&one, "k", "2");
        assert_eq!(get(&other, "k").as_deref(), Some("2"), "{length}");
        assert_eq!((one.trouble(), other.trouble()), (None, None), "{length}");
    }
}

#[test]
fn a_truncated_store_is_a_miss_and_is_replaced_where_the_guard_was_asked_for() {
    let lengths = [0, 4096, (64 << 10) + 4096, 200 << 10, 600 << 10, 3 << 20];
    for length in lengths {
        let host = Host::new();
        let options = host.options().survive_truncation(true);
        let (one, other) = (host.open(&options), host.open(&options));
        let keys: Vec<_> = (0..2_000).map(|number| format!("key-{number}")).collect();
        for key in &keys {
            put(&one, key, &key.repeat(100));
        }
        let filed: Vec<_> = keys.iter().map(|key| mark(&other, key).0).collect();
        let data = fs::File::options().write(true).open(host.path().join("l2.data")).unwrap();
        data.set_len(length).unwrap();
        for key in &keys {
            let value = get(&one, key);
            assert!(value.is_none_or(|value| value == key.repeat(100)), "{length}: {key}");
        }
        for (key, filed) in keys.iter().zip(&filed) {
            // Judged by stamps that may be gone; asks nobody, so at first nothing else happens.
            let _ = is_current(&other, *filed);
            let value = get(&other, key);
            assert!(value.is_none_or(|value| value == key.repeat(100)), "{length}: {key}");
        }
        host.wait_for(&one, "a new store", |view| view.number() > 0);
        host.wait_for(&other, "the same", |view| view.number() > 0);
        put(&one, "k", "1");
        assert_eq!(get(&other, "k").as_deref(), Some("1"), "{length}");
        assert_eq!((one.trouble(), other.trouble()), (None, None), "{length}");
        assert!(filed.iter().all(|filed| !is_current(&other, *filed)), "{length}");
    }
}

//! Tests of the store that need its insides: owners that die or stop at a chosen step.
//!
//! An owner that dies is a thread that ends with the mutex held, which the kernel reports as it
//! reports a killed process; where the process matters, this binary runs itself as a child.
#![allow(unsafe_code)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    layout::{Geometry, Kind, Slot, body_sum},
    lock::Wait,
    write::Draft,
    *,
};
use crate::clock::Millis;

const CHILD_FOLDER: &str = "TIERCE_STORE_TEST_FOLDER";
const CHILD_ROLE: &str = "TIERCE_STORE_TEST_ROLE";

fn options(folder: &Path) -> StoreOptions {
    StoreOptions::new(folder.join("store"))
        .max_bytes(16 << 20)
        .segment_bytes(64 << 10)
        .medium(Medium::Mapped)
}

fn open(folder: &Path) -> Store {
    Store::open(&options(folder), Clock::system()).unwrap()
}

fn record(value: &[u8]) -> NewRecord<'_> {
    NewRecord::new(value, 0, Millis::NEVER)
}

fn put(store: &Store, key: &str, value: &str) -> Put {
    store.put(store.hash(key.as_bytes()), key.as_bytes(), record(value.as_bytes()), None)
}

fn get(store: &Store, key: &str) -> Option<Bytes> {
    let found = store.get(store.hash(key.as_bytes()), key.as_bytes()).unwrap();
    found.map(|record| record.value)
}

fn token(store: &Store, key: &str) -> StoreToken {
    store.token(store.hash(key.as_bytes()))
}

fn shard_of(store: &Store, key: &str) -> u32 {
    store.geometry.shard_of(store.hash(key.as_bytes()).0)
}

/// A key of the same shard as `key`, or of another one.
fn other_key(store: &Store, key: &str, same_shard: bool) -> String {
    (0..)
        .map(|number| format!("other-{number}"))
        .find(|other| (shard_of(store, other) == shard_of(store, key)) == same_shard)
        .unwrap()
}

/// Runs `step` in a thread that ends while it holds the mutex of `index`.
fn die_with_lock(store: &Store, index: u32, step: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let guard = store.locks.lock(index, &Wait::new(Duration::from_secs(1))).unwrap();
                assert!(!guard.owner_died());
                step();
                std::mem::forget(guard);
            })
            .join()
            .unwrap();
    });
}

/// Writes and publishes a record as `put` does, but does not raise the stamp.
fn publish_without_stamp(store: &Store, key: &str, value: &str, shard_epoch: u32) {
    let hash = store.hash(key.as_bytes()).0;
    let shard = store.geometry.shard_of(hash);
    let draft = Draft {
        kind: Kind::Value,
        format: 0,
        hash,
        key: key.as_bytes(),
        value: value.as_bytes(),
        head: &[],
        body_sum: body_sum(value.as_bytes()),
        expires_at: u64::MAX,
        stale_millis: 0,
        made_at: u64::MAX,
        shard_epoch,
        group_word: 0,
        clear_epoch: store.clear_epoch(),
    };
    let (segment, _) = store.active_segment(shard, store.geometry.classes - 1, 1024).unwrap();
    let position = store.append(shard, segment, &draft).unwrap();
    store.publish(shard, hash, Slot::new(hash, 0, position), draft.clear_epoch);
}

/// A child that does not outlive its test, and its output, which it must be able to write to the
/// end.
struct Guarded {
    child: Child,
    _output: Box<dyn Iterator<Item = String>>,
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // Fails where it has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn_child(folder: &Path, role: &str) -> Guarded {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["store::tests::child_process", "--exact", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .env(CHILD_ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("child is ready")), "the child ended early");
    Guarded { child, _output: Box::new(lines) }
}

fn signal(child: &Child, signal: libc::c_int) {
    // SAFETY: a signal to a child that was not waited for yet.
    assert_eq!(unsafe { libc::kill(child.id() as libc::pid_t, signal) }, 0);
}

fn state_of(child: &Child) -> char {
    let text = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    text[text.rfind(')').unwrap() + 2..].chars().next().unwrap()
}

/// What a child does; nothing when the tests are run as such.
#[test]
fn child_process() {
    let (Some(folder), Ok(role)) = (std::env::var_os(CHILD_FOLDER), std::env::var(CHILD_ROLE))
    else {
        return;
    };
    let folder = Path::new(&folder);
    match role.as_str() {
        "hold" => {
            let store = open(folder);
            let shard = shard_of(&store, "k");
            let _guard = store.locks.lock(shard, &Wait::new(Duration::from_secs(1))).unwrap();
            println!("child is ready");
            std::thread::sleep(Duration::from_secs(60));
        }
        // Stopped in the middle of a put, and goes on when it is woken.
        "stop" => {
            let store = open(folder);
            let shard = shard_of(&store, "k");
            let _guard = store.locks.lock(shard, &Wait::new(Duration::from_secs(1))).unwrap();
            let shard_epoch = store.shard_epoch(shard);
            println!("child is ready");
            // SAFETY: stops this process; nothing else.
            unsafe { libc::raise(libc::SIGSTOP) };
            publish_without_stamp(&store, "k", "late", shard_epoch);
        }
        "limited" => {
            let limit = libc::rlimit { rlim_cur: 512 << 10, rlim_max: 512 << 10 };
            // SAFETY: a valid limit for this process alone.
            assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
            let error = Store::open(&options(folder), Clock::system()).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::Full, "{error}");
            assert!(error.to_string().contains("RLIMIT_FSIZE"), "{error}");
            assert!(!folder.join("store").exists(), "nothing half made is left");
            // And where the limit is met all the same, it is an error and no signal.
            let file = std::fs::File::create(folder.join("file")).unwrap();
            let error = files::allocate(&file, 1 << 20).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::EFBIG));
            println!("child is ready");
        }
        // A store opened before a fork is used on both sides of it.
        "fork" => {
            let store = open(folder);
            const GETS: u64 = 50_000;
            // The child makes the shard of "k" a miss.
            let mut names = (0..).map(|number| format!("before-{number}"));
            let before = names.find(|name| shard_of(&store, name) != shard_of(&store, "k"));
            let before = before.unwrap();
            put(&store, &before, "1");
            let mut status = 0;
            std::thread::scope(|scope| {
                let shard = shard_of(&store, "k");
                let other = other_key(&store, "k", false);
                let (tell, told) = std::sync::mpsc::channel();
                let (_release, released) = std::sync::mpsc::channel::<()>();
                let (store, other, before) = (&store, other.as_str(), before.as_str());
                // Held by a thread that the child does not have.
                scope.spawn(move || {
                    let wait = Wait::new(Duration::from_secs(1));
                    let _guard = store.locks.lock(shard, &wait).unwrap();
                    tell.send(()).unwrap();
                    let _until_the_child_has_ended = released.recv();
                });
                told.recv().unwrap();
                // SAFETY: the child calls the store and ends by `_exit`; nothing of the test
                // harness runs in it.
                let process = unsafe { libc::fork() };
                if process == 0 {
                    let is_well = matches!(put(store, other, "2"), Put::Stored { .. })
                        && matches!(put(store, "k", "2"), Put::Removed { why: Dropped::Busy, .. })
                        && (0..GETS).all(|_| get(store, before).is_some());
                    // SAFETY: ends the child at once.
                    unsafe { libc::_exit(if is_well { 0 } else { 1 }) };
                }
                assert!((0..GETS).all(|_| get(store, before).is_some()));
                // SAFETY: waits for the child just made, with memory for its status.
                assert_eq!(unsafe { libc::waitpid(process, &raw mut status, 0) }, process);
            });
            assert_eq!(status, 0, "the forked process failed");
            assert_eq!(store.statistics().hits, 2 * GETS, "no count of either is lost");
            let other = other_key(&store, "k", false);
            assert_eq!(get(&store, &other).unwrap(), "2");
            assert!(matches!(put(&store, "k", "3"), Put::Stored { .. }));
            assert_eq!(store.statistics().owner_deaths, 0);
            println!("child is ready");
        }
        role => panic!("{role}"),
    }
}

#[test]
fn a_file_size_limit_is_an_error_and_no_signal() {
    let folder = tempfile::tempdir().unwrap();
    spawn_child(folder.path(), "limited");
}

#[test]
fn a_store_opened_before_a_fork_works_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    spawn_child(folder.path(), "fork");
}

#[test]
fn lock_of_a_killed_process_is_taken_over_and_its_shard_restamped() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "k", "1");
    let neighbour = other_key(&store, "k", true);
    let stranger = other_key(&store, "k", false);
    let before = [token(&store, &neighbour), token(&store, &stranger)];
    drop(spawn_child(folder.path(), "hold"));
    assert!(matches!(put(&store, "k", "2"), Put::Stored { .. }));
    assert_eq!(get(&store, "k").unwrap(), "2");
    assert!(matches!(put(&store, "k", "3"), Put::Stored { .. }), "the lock is whole again");
    assert_eq!((store.statistics().owner_deaths, store.trouble()), (1, None));
    assert_ne!(token(&store, &neighbour).stamp, before[0].stamp);
    assert_eq!(token(&store, &stranger).stamp, before[1].stamp);
    assert_eq!(token(&store, &neighbour).shard_epoch, before[0].shard_epoch, "records stay");
}

#[test]
fn a_stopped_owner_drops_puts_in_bounded_time_and_deletes_still_hold() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let neighbour = other_key(&store, "k", true);
    let stranger = other_key(&store, "k", false);
    for key in ["k", neighbour.as_str(), stranger.as_str()] {
        put(&store, key, "1");
    }
    let mut guarded = spawn_child(folder.path(), "stop");
    let child = &mut guarded.child;
    let start = Instant::now();
    while state_of(child) != 'T' {
        assert!(start.elapsed() < Duration::from_secs(10), "the child did not stop");
        std::thread::sleep(Duration::from_millis(1));
    }
    let old = token(&store, "k");
    let start = Instant::now();
    let stamp = store.delete(store.hash(b"k"), b"k");
    let waited = start.elapsed();
    assert!(waited >= Duration::from_millis(5), "waited for the lock only {waited:?}");
    assert!(waited < Duration::from_millis(500), "waited for {waited:?}");
    assert_ne!(stamp, old.stamp);
    assert_eq!(get(&store, "k"), None, "deleted without the lock");
    assert_eq!(get(&store, &neighbour), None, "at the price of the shard");
    assert_eq!(get(&store, &stranger).unwrap(), "1", "but not of others");
    let fill = store.fill(store.hash(b"k"), b"k", record(b"old"), old);
    assert_eq!(fill, StoreFill::Refused);
    match put(&store, "k", "2") {
        Put::Removed { why: Dropped::Busy, stamp } => assert_eq!(stamp, token(&store, "k").stamp),
        other => panic!("{other:?}"),
    }
    assert!(matches!(put(&store, &stranger, "2"), Put::Stored { .. }));
    let trouble = store.trouble().expect("who holds the lock is told");
    assert!(trouble.contains(&format!("of process {} holds", child.id())), "{trouble}");

    // What the stopped owner publishes when it wakes belongs to an epoch that is over.
    signal(child, libc::SIGCONT);
    assert!(child.wait().unwrap().success());
    assert_eq!(get(&store, "k"), None, "a late publication does not undo a delete");
    assert!(matches!(put(&store, "k", "3"), Put::Stored { .. }));
    assert_eq!(get(&store, "k").unwrap(), "3");
    assert_eq!((store.statistics().epochs_raised, store.trouble()), (2, None));
}

#[test]
fn what_a_dead_owner_published_gets_its_stamp_from_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "k", "1");
    let (before, shard) = (token(&store, "k"), shard_of(&store, "k"));
    die_with_lock(&store, shard, || publish_without_stamp(&store, "k", "2", before.shard_epoch));
    assert_eq!(token(&store, "k"), before, "the owner died before it raised the stamp");
    let neighbour = other_key(&store, "k", true);
    store.delete(store.hash(neighbour.as_bytes()), neighbour.as_bytes());
    assert_ne!(token(&store, "k").stamp, before.stamp, "copies of \"1\" are not current any more");
    assert_eq!(get(&store, "k").unwrap(), "2");
    let check = store.validate().unwrap();
    assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0));
}

#[test]
fn a_segment_that_a_dead_owner_left_unsound_is_not_filled_any_more() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "k", "1");
    let shard = shard_of(&store, "k");
    let class = store.geometry.classes as usize - 1;
    let active = &store.locks.active(shard).segments[class];
    let segment = active.load(Ordering::Relaxed) - 1;
    die_with_lock(&store, shard, || {
        store.segment(segment).used.store(13, Ordering::Relaxed);
    });
    assert!(matches!(put(&store, "k", "2"), Put::Stored { .. }));
    assert_ne!(active.load(Ordering::Relaxed) - 1, segment);
    assert_eq!(store.segment(segment).status().state, segment::State::Sealed);
    assert_eq!(get(&store, "k").unwrap(), "2");
}

#[test]
fn a_segment_that_damage_calls_free_is_not_filled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    for (number, entry) in store.segments().iter().enumerate() {
        match number % 3 {
            0 => entry.used.store(13, Ordering::Relaxed),
            1 => entry.generation.store(7, Ordering::Relaxed),
            _ => {}
        }
    }
    for number in 0..5000 {
        let key = format!("key-{number}");
        assert!(matches!(put(&store, &key, &"v".repeat(4000)), Put::Stored { .. }), "{key}");
        assert_eq!(get(&store, &key).unwrap(), "v".repeat(4000), "{key}");
    }
    let check = store.validate().unwrap();
    assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0));
}

#[test]
fn a_segment_that_a_dead_evictor_left_half_emptied_is_finished() {
    for reopen in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path());
        let fill = |store: &Store, from: u32, to: u32| {
            for number in from..to {
                let put = put(store, &format!("key-{number}"), &"v".repeat(4000));
                assert!(matches!(put, Put::Stored { .. }), "{number}: {put:?}");
            }
        };
        fill(&store, 0, 3000);
        let sealed = |entry: &&SegmentEntry| entry.status().state == segment::State::Sealed;
        let victims: Vec<_> = store.segments().iter().filter(sealed).take(2).collect();
        die_with_lock(&store, store.locks.evictor(), || {
            for entry in &victims {
                let status = entry.status();
                let evicting = segment::Status { state: segment::State::Evicting, ..status };
                assert!(entry.change(status, evicting));
            }
            victims[0].generation.fetch_add(1, Ordering::Relaxed);
        });
        let store = if reopen {
            drop(store);
            // A child that another test is about to start has a copy of the descriptors for a
            // moment: then this one is not alone, and repairs nothing.
            let is_repaired = |store: &Store| {
                let entries = store.segments().iter();
                entries.clone().all(|entry| entry.generation.load(Ordering::Relaxed) % 2 == 0)
            };
            let mut tries = (0..1000).map(|_| {
                std::thread::sleep(Duration::from_millis(1));
                open(folder.path())
            });
            tries.find(is_repaired).expect("one that is alone repairs")
        } else {
            fill(&store, 3000, 4000);
            assert_eq!(store.statistics().owner_deaths, 1);
            store
        };
        for entry in store.segments() {
            assert_eq!(entry.generation.load(Ordering::Relaxed) % 2, 0);
            assert_ne!(entry.status().state, segment::State::Evicting);
        }
        let check = store.validate().unwrap();
        assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0));
    }
}

#[test]
fn a_lost_lock_parks_the_process_but_its_deletes_still_invalidate() {
    let folder = tempfile::tempdir().unwrap();
    let (store, other) = (open(folder.path()), open(folder.path()));
    put(&store, "k", "1");
    let shard = shard_of(&store, "k");
    die_with_lock(&store, shard, || {});
    store.locks.spoil(shard);
    assert_eq!(store.trouble(), None);
    let before = token(&other, "k");
    assert!(matches!(put(&store, "k", "2"), Put::Removed { why: Dropped::Parked, .. }));
    assert!(store.trouble().unwrap().contains("lock"), "{:?}", store.trouble());
    assert_eq!(get(&other, "k"), None, "the other process reads nothing old");
    assert_ne!(token(&other, "k").stamp, before.stamp);
    assert_eq!(get(&store, "k"), None);
    drop((store, other));
    let store = open(folder.path());
    assert!(matches!(put(&store, "k", "3"), Put::Stored { .. }), "the next first opener repairs");
}

#[test]
fn a_copy_of_a_store_whose_lock_was_held_does_not_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    put(&store, "k", "1");
    let wait = Wait::new(Duration::ZERO);
    let shards = 0..store.geometry.shards;
    let _held: Vec<_> = shards.map(|shard| store.locks.lock(shard, &wait).unwrap()).collect();
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("store")).unwrap();
    for name in ["store/l2.data", "store/l2.lock"] {
        std::fs::copy(folder.path().join(name), copy.path().join(name)).unwrap();
    }
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(copy.path().join("store"), permissions).unwrap();
    let copied = open(copy.path());
    assert_eq!(get(&copied, "k").unwrap(), "1");
    assert!(matches!(put(&copied, "k", "2"), Put::Stored { .. }));
}

#[test]
fn a_fill_that_waited_for_the_lock_looks_at_its_token_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path()).lock_wait(Duration::from_secs(1));
    let store = Store::open(&options, Clock::system()).unwrap();
    let (hash, shard) = (store.hash(b"k"), shard_of(&store, "k"));
    let token = store.token(hash);
    std::thread::scope(|scope| {
        let guard = store.locks.lock(shard, &Wait::new(Duration::ZERO)).unwrap();
        let filler = scope.spawn(|| store.fill(hash, b"k", record(b"old"), token));
        // Until it waits; a filler that comes later is refused at its first look.
        std::thread::sleep(Duration::from_millis(100));
        store.state.raise_stamp(token.stamp_index);
        drop(guard);
        assert_eq!(filler.join().unwrap(), StoreFill::Refused);
    });
    assert_eq!(get(&store, "k"), None);
}

#[test]
fn a_stopped_evictor_drops_only_what_needs_a_new_segment() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let _held = store.locks.lock(store.locks.evictor(), &Wait::new(Duration::ZERO)).unwrap();
    let value = "v".repeat(8000);
    let mut dropped = 0;
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for number in 0..3000 {
                match put(&store, &format!("key-{number}"), &value) {
                    Put::Stored { .. } => {}
                    Put::Removed { why: Dropped::Busy, .. } => dropped += 1,
                    other => panic!("{other:?}"),
                }
                if dropped > 20 {
                    break;
                }
            }
        });
        worker.join().unwrap();
    });
    assert!(dropped > 0, "the store was filled");
    let found = (0..1000).filter(|number| get(&store, &format!("key-{number}")).is_some()).count();
    assert!(found > 900, "reads go on: {found}");
    assert_eq!(store.statistics().epochs_raised, 0, "no shard was lost for it");
}

#[test]
fn geometry_keeps_within_its_bounds_for_every_size() {
    let sizes = (20..38).flat_map(|shift| [1_u64 << shift, (1 << shift) + 12_345_678]);
    for max_bytes in sizes {
        for max_entries in [1, 10, 1000, 100_000, 10_000_000, u64::MAX] {
            let geometry = Geometry::fit(max_bytes, max_entries, 16 << 20, None).unwrap();
            assert!(geometry.file_bytes() <= max_bytes, "{geometry:?}");
            assert!(geometry.file_bytes() > max_bytes / 2, "{max_bytes} {geometry:?}");
            // Where pages of 64 KiB begin, those of 4 and 16 KiB do: each maps the same file.
            for at in [
                geometry.stamps_at(),
                geometry.tags_at(),
                geometry.pending_at(),
                geometry.index_at(),
                geometry.data_at(),
            ] {
                assert_eq!(at % (64 << 10), 0, "{max_bytes} {geometry:?}");
            }
            assert!((8..=4096).contains(&geometry.segments), "{max_bytes} {geometry:?}");
            assert!(geometry.shards * geometry.classes <= geometry.segments / 8 + 1);
            for hash in [0, u64::MAX, 1 << 63, (1 << 63) - 1] {
                assert!(geometry.set_of(hash) < geometry.sets);
                assert!(geometry.stamp_of(hash) < geometry.stamps);
                assert!(geometry.shard_of(hash) < geometry.shards);
                let per_shard = geometry.sets / u64::from(geometry.shards);
                let shard = u64::from(geometry.shard_of(hash));
                assert_eq!(geometry.set_of(hash) / per_shard, shard);
            }
            let header =
                super::layout::Header { geometry, schema: 5, seed: 6, uuid: 7, on_disk: true };
            match super::layout::Header::from_page(&header.to_page()) {
                super::layout::HeaderPage::Sound(read) => assert_eq!(read, header),
                other => panic!("{geometry:?}: {other:?}"),
            }
        }
    }
}

#[test]
fn slots_and_headers_come_apart_as_they_were_put_together() {
    let slot = Slot::new(0xdead_beef_dead_beef, 2, 0x1234_5670);
    assert_eq!((slot.hits(), slot.position()), (2, 0x1234_5670));
    assert!(slot.has_tag_of(0xdead_beef_dead_beef) && !slot.has_tag_of(0xdead_beef_dead_beee));
    assert!(slot.same_record(slot.with_hits(3)) && slot.with_hits(9).hits() == 3);
    let header = super::layout::RecordHeader {
        kind: Kind::Manifest,
        format: 9,
        key_bytes: 77,
        head_words: 255,
        value_bytes: u32::MAX,
        stale_millis: u32::MAX,
        hash: 1,
        generation: 2,
        group_word: 9,
        version: 3,
        expires_at: 4,
        made_at: 0xabc_dead_beef,
        shard_epoch: 5,
        clear_epoch: 6,
    };
    let words = header.to_words(42);
    assert_eq!(super::layout::RecordHeader::from_words(&words), Some(header));
    assert_eq!(super::layout::checksum(&words, 42), words[7]);
    for (expires_at, made_at) in [(u64::MAX, u64::MAX), (u64::MAX, 7), (7, u64::MAX)] {
        let header = super::layout::RecordHeader { expires_at, made_at, ..header };
        let words = header.to_words(42);
        assert_eq!(super::layout::RecordHeader::from_words(&words), Some(header));
    }
    for bit in 0..64 * 7 {
        let mut flipped = words;
        flipped[bit / 64] ^= 1 << (bit % 64);
        assert_ne!(super::layout::checksum(&flipped, 42), words[7], "bit {bit}");
    }
}

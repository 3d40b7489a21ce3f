//! What a record says beside its value (when it was made, how long it is stale, its head), wherever
//! it goes, and what `fill` and `expire` make of it.

use std::{os::unix::fs::FileExt, path::Path, time::Duration};

use super::*;
use crate::clock::{ManualClock, Millis};

const MINUTE: Duration = Duration::from_secs(60);
const HEAD: &[u8] = b"a head of 3 words.......";

fn open(folder: &Path, medium: Medium) -> (Store, Clock, ManualClock) {
    let (clock, time) = Clock::manual();
    time.advance(MINUTE);
    let options = StoreOptions::new(folder.join("store")).max_bytes(2 << 20).medium(medium);
    let options = options.segment_bytes(16 << 10);
    (Store::open(&options, clock.clone()).unwrap(), clock, time)
}

/// A record of now that is fresh for a minute, and stale for one more.
fn lasting<'a>(clock: &Clock, value: &'a [u8]) -> NewRecord<'a> {
    let now = clock.boot();
    NewRecord {
        stale: MINUTE,
        made_at: now,
        head: HEAD,
        ..NewRecord::new(value, 3, now.after(2 * MINUTE))
    }
}

fn get(store: &Store, key: &[u8]) -> Option<StoreRecord> {
    store.get(store.hash(key), key).unwrap()
}

fn assert_is(found: &StoreRecord, value: &[u8], made_at: Millis) {
    assert_eq!((&found.value[..], found.head(), found.format), (value, HEAD, 3));
    assert_eq!((found.made_at, found.stale()), (made_at, MINUTE));
    assert_eq!(found.expires_at, made_at.after(2 * MINUTE));
}

#[test]
fn a_record_says_when_it_was_made_how_long_it_is_stale_and_its_head() {
    for medium in [Medium::Mapped, Medium::Disk] {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, time) = open(folder.path(), medium);
        // Small, longer than one read of a disk, cut into pieces.
        for bytes in [0, 5, 300, 3000, 60_000] {
            let (key, value) = (bytes.to_string().into_bytes(), vec![7; bytes]);
            let made_at = clock.boot();
            let put = store.put(store.hash(&key), &key, lasting(&clock, &value), None);
            assert!(matches!(put, Put::Stored { .. }), "{put:?}");
            time.advance(Duration::from_secs(1));
            assert_is(&get(&store, &key).unwrap(), &value, made_at);
            assert!(!get(&store, &key).unwrap().is_stale(clock.boot()));
        }
        let check = store.validate().unwrap();
        assert_eq!((check.corrupt, check.broken_segments, check.live), (0, 0, 5), "{check:?}");
        time.advance(MINUTE);
        assert!(get(&store, b"5").unwrap().is_stale(clock.boot()));
        time.advance(MINUTE);
        assert_eq!(get(&store, b"5"), None);
    }
}

#[test]
fn a_head_that_is_too_long_or_no_whole_words_is_not_stored() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, _) = open(folder.path(), Medium::Mapped);
    let longest = vec![1; 2040];
    for (head, is_stored) in [(&longest[..], true), (&[1; 2048], false), (&[1; 7], false)] {
        let record = NewRecord { head, ..lasting(&clock, b"value") };
        let put = store.put(store.hash(b"key"), b"key", record, None);
        assert_eq!(matches!(put, Put::Stored { .. }), is_stored, "{put:?}");
        let found = get(&store, b"key");
        assert_eq!(found.as_ref().map(|found| found.head() == head), is_stored.then_some(true));
    }
}

#[test]
fn a_stale_span_that_a_record_cannot_say_ends_the_record_earlier() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, time) = open(folder.path(), Medium::Mapped);
    let year = Duration::from_secs(365 * 24 * 3600);
    let end = clock.boot().after(MINUTE).after(year);
    let record = NewRecord { stale: year, ..NewRecord::new(b"value", 0, end) };
    store.put(store.hash(b"key"), b"key", record, None);
    time.advance(MINUTE - Duration::from_millis(1));
    assert!(!get(&store, b"key").unwrap().is_stale(clock.boot()));
    time.advance(Duration::from_millis(1));
    let found = get(&store, b"key").unwrap();
    assert!(found.is_stale(clock.boot()) && found.expires_at < end);
}

#[test]
fn a_flipped_bit_of_a_head_makes_the_record_a_miss() {
    for medium in [Medium::Mapped, Medium::Disk] {
        let folder = tempfile::tempdir().unwrap();
        let (store, clock, _) = open(folder.path(), medium);
        store.put(store.hash(b"key"), b"key", lasting(&clock, b"value"), None);
        let path = folder.path().join("store/l2.data");
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(HEAD.len()).position(|bytes| bytes == HEAD).unwrap() as u64;
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"A", at).unwrap();
        assert_eq!(get(&store, b"key"), None);
        assert_eq!(store.statistics().corrupt, 1);
    }
}

#[test]
fn what_is_carried_over_or_copied_to_another_store_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, time) = open(folder.path(), Medium::Mapped);
    let made_at = clock.boot();
    store.put(store.hash(b"key"), b"key", lasting(&clock, b"value"), None);
    time.advance(Duration::from_secs(1));
    let before = store.statistics().reinserted;
    for number in 0..2000_u32 {
        let key = number.to_ne_bytes();
        let record = NewRecord::new(&[1; 2000], 0, clock.boot().after(MINUTE));
        store.put(store.hash(&key), &key, record, None);
        assert!(get(&store, b"key").is_some(), "asked for all the time");
    }
    assert!(store.statistics().reinserted > before);
    assert_is(&get(&store, b"key").unwrap(), b"value", made_at);
    let options = StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20);
    let store = store.resize(&options).unwrap();
    assert_is(&get(&store, b"key").unwrap(), b"value", made_at);
}

#[test]
fn a_fill_takes_the_place_of_a_stale_record_and_adopts_a_fresh_one() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, time) = open(folder.path(), Medium::Mapped);
    let hash = store.hash(b"key");
    store.put(hash, b"key", lasting(&clock, b"old"), None);
    let old = get(&store, b"key").unwrap();
    let fill = |record| store.fill(hash, b"key", record, store.token(hash));
    assert_eq!(fill(lasting(&clock, b"new")), StoreFill::Adopted(old.clone()));
    time.advance(MINUTE);
    // One stale record is as good as another.
    let stale = NewRecord { stale: 2 * MINUTE, ..lasting(&clock, b"stale") };
    assert_eq!(fill(stale), StoreFill::Adopted(old));
    let token = store.token(hash);
    // Copies of the old one must give way: its readers and those of the new one share the store.
    let raised = token.stamp.wrapping_add(1);
    assert_eq!(fill(lasting(&clock, b"new")), StoreFill::Replaced(raised));
    assert_eq!(store.token(hash).stamp, raised);
    assert_is(&get(&store, b"key").unwrap(), b"new", clock.boot());
    store.put(hash, b"key", lasting(&clock, b"newer"), None);
    time.advance(MINUTE);
    assert_eq!(store.fill(hash, b"key", lasting(&clock, b"late"), token), StoreFill::Refused);
}

#[test]
fn a_fill_of_what_was_not_there_raises_no_stamp() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, _) = open(folder.path(), Medium::Mapped);
    let hash = store.hash(b"key");
    let token = store.token(hash);
    assert_eq!(store.fill(hash, b"key", lasting(&clock, b"new"), token), StoreFill::Stored);
    assert_eq!(store.token(hash), token);
}

#[test]
fn a_fill_that_says_so_raises_the_stamp_where_there_was_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, _) = open(folder.path(), Medium::Mapped);
    let hash = store.hash(b"key");
    let token = store.token(hash);
    let new = NewRecord { raises: true, ..lasting(&clock, b"new") };
    let raised = token.stamp.wrapping_add(1);
    assert_eq!(store.fill(hash, b"key", new, token), StoreFill::Replaced(raised));
    assert_eq!(store.token(hash).stamp, raised);
    assert_eq!(store.fill(hash, b"key", new, token), StoreFill::Refused, "begun before");
}

#[test]
fn expire_leaves_what_may_be_stale_and_removes_what_may_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, clock, time) = open(folder.path(), Medium::Mapped);
    for bytes in [5, 60_000] {
        let (key, value) = (bytes.to_string().into_bytes(), vec![7; bytes]);
        let hash = store.hash(&key);
        let end = clock.boot().after(2 * MINUTE);
        store.put(hash, &key, lasting(&clock, &value), None);
        let made_at = clock.boot();
        let token = store.token(hash);
        time.advance(Duration::from_secs(1));
        let stamp = store.expire(hash, &key);
        assert_eq!(stamp, token.stamp.wrapping_add(1));
        let found = get(&store, &key).unwrap();
        assert!(found.is_stale(clock.boot()) && found.expires_at == end);
        assert_eq!((&found.value[..], found.head(), found.made_at), (&value[..], HEAD, made_at));
        let late = store.fill(hash, &key, lasting(&clock, b"late"), token);
        assert_eq!(late, StoreFill::Refused, "begun before");
        let fresh = store.fill(hash, &key, lasting(&clock, b"new"), store.token(hash));
        let raised = stamp.wrapping_add(1);
        assert_eq!(fresh, StoreFill::Replaced(raised), "begun after");
    }
    for record in [NewRecord::new(b"1", 0, Millis::NEVER), NewRecord::new(b"1", 0, Millis(1 << 40))]
    {
        let hash = store.hash(b"key");
        store.put(hash, b"key", record, None);
        let token = store.token(hash);
        assert_ne!(store.expire(hash, b"key"), token.stamp);
        assert_eq!(get(&store, b"key"), None);
        // Absent: loads under way are dropped all the same.
        let token = store.token(hash);
        store.expire(hash, b"key");
        let late = store.fill(hash, b"key", lasting(&clock, b"late"), token);
        assert_eq!(late, StoreFill::Refused);
    }
}

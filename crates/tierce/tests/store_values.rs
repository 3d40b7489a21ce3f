//! The verbs of the store: what put, get, fill, delete and clear promise, one by one.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

mod store_support;

use std::time::Duration;

use store_support::*;
use tierce::{Clock, Dropped, Millis, NewRecord, Put, Store, StoreFill, StoreOptions};

#[test]
fn what_was_put_is_found_until_it_is_deleted() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        assert_eq!(get(&store, b"a"), None);
        put(&store, b"a", b"one");
        put(&store, b"b", b"");
        put(&store, b"", b"the empty key");
        let found = get_record(&store, b"a").unwrap();
        assert_eq!(
            (&found.value[..], found.format, found.expires_at),
            (&b"one"[..], 1, Millis::NEVER)
        );
        assert_eq!(get(&store, b"b").unwrap(), b"");
        assert_eq!(get(&store, b"").unwrap(), b"the empty key");
        put(&store, b"a", b"two, and longer");
        assert_eq!(get(&store, b"a").unwrap(), b"two, and longer");
        assert_eq!(store.usage().entries, 3);
        store.delete(store.hash(b"a"), b"a");
        assert_eq!(get(&store, b"a"), None);
        assert_eq!(store.usage().entries, 2);
        let numbers = store.statistics();
        assert_eq!(
            (numbers.puts, numbers.replaced, numbers.deleted, numbers.deletes),
            (4, 1, 1, 1)
        );
        assert_eq!((numbers.hits, numbers.misses), (4, 2));
    }
}

#[test]
fn values_of_every_size_come_back_and_too_large_ones_remove() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options.max_bytes(64 << 20).max_value_bytes(10 << 20));
        let sizes = (24..80).chain([4000, 4096, 5000, 100_000, 262_000, 262_144, 262_145, 1 << 20]);
        for (number, bytes) in sizes.chain([3 << 20, 10 << 20]).enumerate() {
            let key = key_of(number as u64);
            put(&store, &key, &describing_value(number as u64, 7, bytes));
            let value = get(&store, &key).unwrap_or_else(|| panic!("{bytes} bytes, {medium:?}"));
            assert_eq!(value.len(), bytes);
            assert_eq!(described_version(number as u64, &value), Some(7), "{bytes} bytes");
        }
        put(&store, b"k", b"small");
        let before = store.token(store.hash(b"k"));
        let large = vec![1; (10 << 20) + 1];
        match store.put(store.hash(b"k"), b"k", record(&large), None) {
            Put::Removed { stamp, why: Dropped::TooLarge } => assert_ne!(stamp, before.stamp),
            other => panic!("{other:?}"),
        }
        assert_eq!(get(&store, b"k"), None, "a put that cannot store removes what was there");
        let check = store.validate().unwrap();
        assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0), "{check:?}");
    }
}

#[test]
fn ten_mebibytes_fit_among_small_segments_and_leave_room_when_replaced() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store =
        open(&options.max_bytes(64 << 20).segment_bytes(64 << 10).max_value_bytes(12 << 20));
    for version in 0..3 {
        put(&store, b"big", &describing_value(1, version, 10 << 20));
        let value = get(&store, b"big").expect("just put");
        assert_eq!(described_version(1, &value), Some(version));
    }
    store.delete(store.hash(b"big"), b"big");
    assert_eq!(store.usage().bytes, 0, "pieces of replaced and deleted values are not live");
}

#[test]
fn every_change_raises_the_stamp_of_its_key() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store = open(&options);
    let hash = store.hash(b"k");
    let token = store.token(hash);
    let first = put(&store, b"k", b"1");
    assert_ne!(first, token.stamp);
    assert_eq!(store.stamp_at(token.stamp_index), first);
    let second = store.delete(hash, b"k");
    assert_ne!(second, first);
    let third = store.delete(hash, b"k");
    assert_ne!(third, second, "also when there is nothing to delete");
    assert_eq!(store.stamp_at(token.stamp_index), third);
    let fourth = put(&store, b"k", b"2");
    assert_eq!(store.token(hash).stamp, fourth);
    get(&store, b"k");
    assert_eq!(store.token(hash).stamp, fourth, "reading changes nothing");
}

#[test]
fn a_fill_is_refused_after_any_change_and_adopts_what_is_there() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        let hash = store.hash(b"k");
        let fill = |value: &[u8], token| store.fill(hash, b"k", record(value), token);

        let token = store.token(hash);
        assert_eq!(fill(b"loaded", token), StoreFill::Stored);
        assert_eq!(get(&store, b"k").unwrap(), b"loaded");
        assert_eq!(store.token(hash), token, "a fill does not raise the stamp");
        match fill(b"loaded twice", token) {
            StoreFill::Adopted(found) => assert_eq!(&found.value[..], b"loaded"),
            other => panic!("{other:?}"),
        }

        store.delete(hash, b"k");
        assert_eq!(fill(b"old", token), StoreFill::Refused, "deleted after the token");
        let token = store.token(hash);
        put(&store, b"k", b"set");
        assert_eq!(fill(b"old", token), StoreFill::Refused, "set after the token");
        let token = store.token(hash);
        store.clear();
        assert_eq!(fill(b"old", token), StoreFill::Refused, "cleared after the token");
        assert_eq!(get(&store, b"k"), None);
        assert_eq!(fill(b"new", store.token(hash)), StoreFill::Stored);
        assert_eq!(get(&store, b"k").unwrap(), b"new");
    }
}

#[test]
fn a_put_whose_token_is_no_longer_current_removes() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store = open(&options);
    let hash = store.hash(b"k");
    let token = store.token(hash);
    match store.put(hash, b"k", record(b"first"), Some(token)) {
        Put::Stored { stamp } => assert_eq!(stamp, store.stamp_at(token.stamp_index)),
        other => panic!("{other:?}"),
    }
    match store.put(hash, b"k", record(b"second"), Some(token)) {
        Put::Removed { stamp, why: Dropped::Raced } => {
            assert_eq!(stamp, store.stamp_at(token.stamp_index));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(get(&store, b"k"), None, "two changes raced, so neither is believed");
}

#[test]
fn time_ends_records_and_frees_their_segments_first() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let (clock, time) = Clock::manual();
        let store = Store::open(&options, clock.clone()).unwrap();
        let until = |span| clock.boot().after(Duration::from_millis(span));
        let put_until = |number, expires_at| {
            let (hash, key) = hash_of(&store, number);
            let value = describing_value(number, 0, 500);
            store.put(hash, &key, NewRecord::new(&value, 0, expires_at), None)
        };
        put_until(1, until(1000));
        put_until(2, Millis::NEVER);
        time.advance(Duration::from_millis(999));
        assert_eq!(get_record(&store, &key_of(1)).unwrap().expires_at, until(1));
        time.advance(Duration::from_millis(1));
        assert_eq!(get(&store, &key_of(1)), None);
        assert!(get(&store, &key_of(2)).is_some());
        let token = store.token(store.hash(&key_of(1)));
        let filled = store.fill(store.hash(&key_of(1)), &key_of(1), record(b"x"), token);
        assert_eq!(filled, StoreFill::Stored, "an expired record is not adopted");

        // Three quarters of the store with a short life, then as much for ever: what has expired
        // is freed, though the one without an end is older.
        let short = store.usage().max_bytes * 3 / 4 / 600;
        for number in 10..10 + short {
            put_until(number, until(1000));
        }
        time.advance(Duration::from_secs(2));
        for number in 0..short * 3 / 4 {
            put_until(100_000 + number, Millis::NEVER);
        }
        assert!(get(&store, &key_of(2)).is_some(), "{medium:?}");
        assert!(store.statistics().evicted_expired > 0);
        assert_eq!(store.statistics().evicted_size, 0, "{:?}", store.statistics());
    }
}

#[test]
fn clear_makes_everything_a_miss_at_once_and_gives_the_room_back() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store = open(&options);
    for number in 0..1000 {
        put(&store, &key_of(number), &describing_value(number, 0, 1000));
    }
    let epoch = store.clear_epoch();
    store.clear();
    assert_ne!(store.clear_epoch(), epoch);
    assert_eq!((store.usage().entries, store.usage().bytes), (0, 0));
    for number in 0..1000 {
        assert_eq!(get(&store, &key_of(number)), None);
    }
    for number in 0..1000 {
        put(&store, &key_of(number), &describing_value(number, 1, 1000));
    }
    let found = (0..1000).filter(|number| get(&store, &key_of(*number)).is_some()).count();
    assert_eq!(found, 1000, "cleared records are evicted before new ones");
    assert_eq!(store.usage().entries, 1000);
}

#[test]
fn entries_never_exceed_their_bound() {
    for (medium, bound) in [(MEDIA[0], 10), (MEDIA[0], 1000), (MEDIA[1], 1000), (MEDIA[0], 7000)] {
        let (_folder, options) = small_store(medium);
        let store = open(&options.max_bytes(8 << 20).max_entries(bound));
        for number in 0..bound * 5 {
            put(&store, &key_of(number), &describing_value(number, 0, 40));
            assert_eq!(get(&store, &key_of(number)).map(|value| value.len()), Some(40));
            assert!(store.usage().entries <= bound, "{:?} at {number}", store.usage());
        }
        let check = store.validate().unwrap();
        assert!(check.live <= bound, "{check:?}");
        assert!(check.live >= bound * 9 / 10, "the bound is used: {check:?}");
        assert_eq!(store.usage().entries, check.live);
    }
}

#[test]
fn a_hit_entry_outlives_those_that_nobody_reads() {
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        for number in 0..15_000 {
            put(&store, &key_of(number), &describing_value(number, 0, 1000));
            if number >= 50 && number % 20 == 0 {
                let hot = number / 20 % 50;
                assert!(get(&store, &key_of(hot)).is_some(), "hot {hot} lost at {number}");
            }
        }
        assert!(store.statistics().reinserted > 0);
    }
}

#[test]
fn overwriting_the_same_keys_loses_none_of_them() {
    // The live keys take under half of the store; plain age would lose one in seven.
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store = open(&options.max_bytes(16 << 20));
    let keys = 6000;
    let mut random = fastrand::Rng::with_seed(7);
    for number in 0..keys {
        put(&store, &key_of(number), &describing_value(number, 0, 1000));
    }
    for version in 1..30_000 {
        let number = random.u64(0..keys);
        put(&store, &key_of(number), &describing_value(number, version, 1000));
    }
    let lost = (0..keys).filter(|number| get(&store, &key_of(*number)).is_none()).count();
    assert!(lost * 100 <= keys as usize, "{lost} of {keys} lost: {:?}", store.statistics());
}

#[test]
fn two_handles_of_one_process_see_each_others_changes() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let (first, second) = (open(&options), open(&options));
    let stamp = put(&first, b"k", b"1");
    assert_eq!(get(&second, b"k").unwrap(), b"1");
    assert_eq!(second.token(second.hash(b"k")).stamp, stamp);
    second.clear();
    assert_eq!(get(&first, b"k"), None);
    assert_eq!(first.statistics(), second.statistics(), "counters are those of the host");
}

#[test]
fn keys_above_their_bound_are_refused_as_too_large() {
    let (_folder, options) = small_store(tierce::Medium::Mapped);
    let store = open(&options);
    let key = vec![b'k'; 100 << 10];
    let token = store.token(store.hash(&key));
    let put = store.put(store.hash(&key), &key, record(b"v"), None);
    assert!(matches!(put, Put::Removed { why: Dropped::TooLarge, .. }), "{put:?}");
    assert_ne!(store.token(store.hash(&key)).stamp, token.stamp);
    assert_eq!(get(&store, &key), None);
    let long = vec![b'k'; 16 << 10];
    for medium in MEDIA {
        let (_folder, options) = small_store(medium);
        let store = open(&options);
        store_support::put(&store, &long, b"v");
        assert_eq!(get(&store, &long).unwrap(), b"v");
        let mut other = long.clone();
        other[16_000] = b'x';
        assert_eq!(get(&store, &other), None);
    }
}

#[test]
fn options_out_of_range_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let wrong: [(StoreOptions, &str); 5] = [
        (options_in(folder.path()).max_bytes(1000), "shared.max_bytes = 1000"),
        (options_in(folder.path()).max_entries(0), "shared.max_entries = 0"),
        (options_in(folder.path()).segment_bytes(5000), "shared.segment_bytes = 5000"),
        (options_in(folder.path()).segment_bytes(1 << 20), "at least 8"),
        (options_in(folder.path()).lock_wait(Duration::from_secs(2)), "shared.lock_wait = 2s"),
    ];
    for (options, message) in wrong {
        let error = Store::open(&options, Clock::system()).unwrap_err();
        assert_eq!(error.kind(), tierce::ErrorKind::Config);
        assert!(error.to_string().contains(message), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

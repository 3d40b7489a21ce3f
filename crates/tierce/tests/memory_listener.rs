//! Listeners that panic or block. In a process of their own: while one runs, nothing that leaves any cache of the
//! process is freed.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tierce::{Inserted, MemoryCache, MemoryOptions, RemovalCause};

/// Of capacity 100, with who is told.
fn told(listener: impl Fn(&u64, &u64, RemovalCause) + Send + Sync + 'static) -> Listened {
    let options = MemoryOptions::new().max_entries(100).shards(1);
    MemoryCache::builder(options).listener(listener).build().unwrap()
}

type Listened = MemoryCache<u64, u64>;

#[test]
fn a_listener_that_panics_is_counted_and_the_others_are_told() {
    let calls = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&calls);
    let cache = told(move |key, value, cause| {
        assert_eq!(key, value);
        count.fetch_add(1, Ordering::Relaxed);
        assert!(!(key % 3 == 0 && cause == RemovalCause::Size), "as this test wants it");
    });
    (0..400).for_each(|key| _ = cache.insert(key, key));
    cache.validate();
    let (told, panics) = (calls.load(Ordering::Relaxed), cache.statistics().drop_panics);
    assert_eq!((cache.len(), told), (100, 300));
    assert!((80..=120).contains(&panics), "{panics} of some 100");
    assert!(cache.invalidate(&cache.iter().next().unwrap().0));
    assert_eq!(calls.load(Ordering::Relaxed), 301);
}

#[test]
fn a_listener_that_blocks_holds_up_no_read_and_inserts_only_once_much_waits_for_it() {
    let (enter, entered) = mpsc::channel();
    let (leave, leaves) = mpsc::channel::<()>();
    let leaves = std::sync::Mutex::new(leaves);
    let has_blocked = AtomicBool::new(false);
    let cache = Arc::new(told(move |key, _, _| {
        if *key == 7 && !has_blocked.swap(true, Ordering::Relaxed) {
            enter.send(()).unwrap();
            _ = leaves.lock().unwrap().recv();
        }
    }));
    (0..50).for_each(|key| _ = cache.insert(key, key));
    let blocked = Arc::clone(&cache);
    let blocked = thread::spawn(move || blocked.invalidate(&7));
    entered.recv().unwrap();
    // No lock is held meanwhile: all calls return, and the latest values are there.
    for round in 0..1_000 {
        assert_eq!(cache.insert(1, round), Inserted::Stored, "{round}");
        assert_eq!(cache.get(&1), Some(round));
    }
    assert_eq!((cache.get(&7), cache.get(&8)), (None, Some(8)));
    // What leaves is kept for who looks at it. Inserts are refused before that is without bound.
    let refused = (0..100_000).position(|key| cache.insert(key, key) == Inserted::Refused);
    let kept = cache.retired();
    assert!(refused.is_some() && kept < 10_000, "{refused:?}: {kept} entries are kept");
    leave.send(()).unwrap();
    assert!(blocked.join().unwrap());
    let stored = |key| {
        thread::sleep(Duration::from_millis(1));
        cache.insert(key, key) == Inserted::Stored
    };
    assert!((0..10_000).any(stored), "it recovers");
    cache.validate();
}

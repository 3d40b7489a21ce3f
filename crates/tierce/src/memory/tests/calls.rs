//! What single calls promise.

use std::{
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use super::*;

#[test]
fn insert_if_shows_the_live_value_and_obeys() {
    let (cache, _) = entries(10);
    let seen = Cell::new(Some(0));
    let insert = |value, answer| {
        cache.insert_if(1, value, Ttl::Default, |now| {
            seen.set(now.copied());
            answer
        })
    };
    assert_eq!((insert(5, false), seen.get(), cache.get(&1)), (Inserted::Declined, None, None));
    assert_eq!((insert(6, true), seen.get(), cache.get(&1)), (Inserted::Stored, None, Some(6)));
    assert_eq!((insert(7, false), seen.get()), (Inserted::Declined, Some(6)));
    assert_eq!((insert(8, true), seen.get(), cache.get(&1)), (Inserted::Stored, Some(6), Some(8)));
}

#[test]
fn insert_if_asks_even_when_the_entry_will_be_refused() {
    let (cache, _) = weighed(MemoryOptions::new().max_bytes(64_000));
    cache.insert(1, 1);
    let asked = Cell::new(0);
    for ttl in [Ttl::Never, Ttl::For(Duration::ZERO)] {
        cache.insert_if(1, 60_000, ttl, |_| {
            asked.set(asked.get() + 1);
            false
        });
        assert_eq!(cache.get(&1), Some(1), "declined: nothing changes");
    }
    let refused = cache.insert_if(1, 60_000, Ttl::Never, |_| {
        asked.set(asked.get() + 1);
        true
    });
    assert_eq!((refused, asked.get(), cache.get(&1)), (Inserted::Refused, 3, None));
}

#[test]
fn remove_after_runs_its_closure_whether_or_not_the_key_is_there() {
    let (cache, _) = entries(10);
    let runs = Cell::new(0);
    let count = || runs.set(runs.get() + 1);
    cache.insert(1, 5);
    assert_eq!((cache.remove_after(&1, count), cache.remove_after(&1, count)), (true, false));
    assert_eq!(runs.get(), 2);
}

/// Each fill checks a stamp under the shard's lock and each removal raises it there, as the
/// cache above does; a fill that began before a removal must never be seen after it.
#[test]
fn no_fill_that_began_before_a_removal_survives_it() {
    let cache = Numbers::new(MemoryOptions::new().max_entries(4_096).shards(4)).unwrap();
    let stamps: Vec<_> = (0..8).map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..2 {
            let (cache, stamps, stop) = (&cache, &stamps, &stop);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    let key = random.u64(0..8);
                    let stamp = stamps[key as usize].load(Ordering::SeqCst);
                    cache.insert_if(key, stamp, Ttl::Default, |_| {
                        stamps[key as usize].load(Ordering::SeqCst) == stamp
                    });
                }
            });
        }
        let mut random = fastrand::Rng::with_seed(9);
        for _ in 0..50_000 {
            let key = random.u64(0..8);
            let mut now = 0;
            cache.remove_after(&key, || {
                now = stamps[key as usize].fetch_add(1, Ordering::SeqCst) + 1;
            });
            let value = cache.get(&key);
            if value.is_some_and(|value| value < now) {
                stop.store(true, Ordering::Relaxed);
                panic!("key {key}: {value:?} was filled before change {now}");
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    cache.validate();
}

/// Gives the other thread every chance to come in between; it has none while the lock is held.
fn linger_until(flag: &AtomicBool) {
    for _ in 0..200 {
        if flag.load(Ordering::SeqCst) {
            return;
        }
        thread::yield_now();
    }
}

#[test]
fn a_removal_does_not_come_between_a_decision_and_its_insert() {
    for _ in 0..5 {
        let (cache, _) = entries(10);
        let [deciding, removed] = [(); 2].map(|()| AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !deciding.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                cache.remove(&1);
                removed.store(true, Ordering::SeqCst);
            });
            cache.insert_if(1, 1, Ttl::Default, |_| {
                deciding.store(true, Ordering::SeqCst);
                linger_until(&removed);
                true
            });
        });
        assert!(!cache.contains(&1), "the removal began after the decision and must win");
    }
}

#[test]
fn an_insert_does_not_come_between_the_closure_of_a_removal_and_the_removal() {
    for _ in 0..5 {
        let (cache, _) = entries(10);
        let [running, inserted] = [(); 2].map(|()| AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                while !running.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                cache.insert(1, 1);
                inserted.store(true, Ordering::SeqCst);
            });
            cache.remove_after(&1, || {
                running.store(true, Ordering::SeqCst);
                linger_until(&inserted);
            });
        });
        assert!(cache.contains(&1), "the insert began after the closure and must survive");
    }
}

#[test]
fn get_hashed_finds_by_the_callers_equality() {
    let cache = MemoryCache::<String, u64>::new(MemoryOptions::new().max_entries(9)).unwrap();
    cache.insert("seven".into(), 7);
    let hash = cache.hash("seven");
    assert_eq!(cache.get_hashed(hash, |key| key.ends_with("ven"), |value| *value), Some(7));
    assert_eq!(cache.get_hashed(hash, |_| false, |value| *value), None);
    assert_eq!(cache.get_hashed(hash ^ 1, |_| true, |value| *value), None);
}

#[test]
fn every_cache_hashes_with_a_seed_of_its_own() {
    let (one, other) = (entries(1).0, entries(1).0);
    assert!((0..10).any(|key| one.hash(&key) != other.hash(&key)));
}

#[test]
fn clear_forgets_everything_and_the_cache_goes_on() {
    let (cache, hand) = entries(100);
    for key in 0..100 {
        cache.insert_with_ttl(key, key, Ttl::For(millis(9)));
    }
    cache.clear();
    assert_eq!((cache.len(), cache.weight(), cache.statistics().removed), (0, 0, 100));
    hand.advance(millis(9));
    assert_eq!(cache.expire(usize::MAX), 0);
    cache.insert(1, 1);
    assert_eq!(cache.get(&1), Some(1));
    cache.validate();
}

#[test]
fn statistics_saturate() {
    let (cache, _) = entries(1);
    cache.preset_statistics(u64::MAX - 1);
    for key in 0..10 {
        cache.insert(key, 0);
        cache.insert(key, 0);
        cache.remove(&key);
    }
    let statistics = cache.statistics();
    assert_eq!((statistics.replaced, statistics.removed), (u64::MAX, u64::MAX));
    cache.validate();
}

#[test]
fn a_thousand_caches_come_and_go() {
    let living = Arc::new(());
    for _ in 0..1_000 {
        let options = MemoryOptions::new().max_entries(100_000);
        let cache = MemoryCache::<u64, Arc<()>>::new(options).unwrap();
        for key in 0..20 {
            cache.insert_with_ttl(key, Arc::clone(&living), Ttl::For(millis(1)));
        }
    }
    assert_eq!(Arc::strong_count(&living), 1);
}

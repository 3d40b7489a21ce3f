//! What single calls promise.

use std::{
    cell::Cell,
    hash::{BuildHasher, Hasher},
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

/// Few hashes, so that most entries find no room where they belong.
#[derive(Clone, Default)]
struct Crowded;

impl BuildHasher for Crowded {
    type Hasher = CrowdedHasher;

    fn build_hasher(&self) -> CrowdedHasher {
        CrowdedHasher(0)
    }
}

struct CrowdedHasher(u64);

impl Hasher for CrowdedHasher {
    fn finish(&self) -> u64 {
        self.0 % 8
    }
    fn write(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |sum, byte| sum.wrapping_mul(31) + u64::from(*byte));
    }
}

#[test]
fn get_many_finds_what_gets_find_wherever_it_lies() {
    for policy in [PolicyKind::Adaptive, PolicyKind::Lru] {
        let options = MemoryOptions::new().max_entries(300).policy(policy).ttl(millis(60_000));
        let cache: MemoryCache<u64, u64, Crowded> =
            MemoryCache::builder(options).hasher(Crowded).build().unwrap();
        (0..200).for_each(|key| assert_eq!(cache.insert(key, key + 1), Inserted::Stored));
        let keys: Vec<u64> = (0..300).rev().collect();
        for count in [0, 1, 31, 32, 33, 64, 300] {
            let asked: Vec<&u64> = keys[300 - count..].iter().collect();
            let expected: Vec<Option<u64>> = asked.iter().map(|key| cache.get(*key)).collect();
            assert_eq!(cache.get_many(&asked), expected, "{policy} {count}");
        }
        let held = keys.iter().filter(|key| cache.contains(*key)).count();
        assert!(held > 100, "{held} of 200 are too few to lie past where they belong");
        let mut shown = vec![0; keys.len()];
        let asked: Vec<&u64> = keys.iter().collect();
        cache.get_many_with(&asked, |index, value| {
            assert_eq!(*value, keys[index] + 1);
            shown[index] += 1;
        });
        assert!(shown.iter().all(|times| *times <= 1), "each once");
        assert_eq!(shown.iter().sum::<usize>(), held);
    }
}

#[test]
fn get_many_shows_nothing_whose_time_is_over() {
    for manual in [true, false] {
        let (clock, hand) =
            if manual { Clock::manual() } else { (Clock::system(), Clock::manual().1) };
        let options = MemoryOptions::new().max_entries(1_000).ttl(millis(3_600_000));
        let cache = MemoryCache::builder(options).clock(clock).build().unwrap();
        let keys: Vec<u64> = (0..100).collect();
        for key in &keys {
            let ttl = if key % 3 == 0 { Ttl::For(millis(1)) } else { Ttl::Default };
            assert_eq!(cache.insert_with_ttl(*key, *key, ttl), Inserted::Stored);
        }
        hand.advance(millis(1));
        let deadline = Instant::now() + Duration::from_secs(30);
        let asked: Vec<&u64> = keys.iter().collect();
        let expected: Vec<_> = keys.iter().map(|key| (key % 3 != 0).then_some(*key)).collect();
        // The system's clock goes on by itself.
        while cache.get_many(&asked) != expected {
            assert!(!manual && Instant::now() < deadline);
        }
    }
}

#[test]
fn get_many_counts_as_reads_of_what_it_shows() {
    let (cache, _) = entries(3);
    (1..=3).for_each(|key| assert_eq!(cache.insert(key, key), Inserted::Stored));
    assert_eq!(cache.get_many(&[&1, &9]), [Some(1), None]);
    cache.insert(4, 4);
    assert_eq!((cache.contains(&1), cache.contains(&2)), (true, false));
}

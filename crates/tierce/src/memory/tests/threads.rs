//! Many threads on one cache.

use std::{
    sync::{
        Arc, Barrier,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
};

use super::*;

/// Says whose value it is; counts the living.
struct Tracked {
    key: u64,
    living: Arc<AtomicI64>,
}

impl Tracked {
    fn new(key: u64, living: &Arc<AtomicI64>) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Self { key, living: Arc::clone(living) }
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Self::new(self.key, &self.living)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn threads_see_only_their_keys_values_within_bounds_and_nothing_leaks() {
    const KEYS: u64 = 4_000;
    let living = Arc::new(AtomicI64::new(0));
    let (clock, hand) = Clock::manual();
    let per_entry = MemoryCache::<u64, Tracked>::ENTRY_OVERHEAD as u64 + 50;
    let options = MemoryOptions::new().max_entries(1_500).max_bytes(1_200 * per_entry).shards(8);
    let hasher = crate::RandomState::default();
    let weigher = |key: &u64, _: &Tracked| (*key % 100) as usize;
    let cache =
        MemoryCache::builder(options).weigher(weigher).hasher(hasher).clock(clock).build().unwrap();
    let done = AtomicBool::new(false);
    let start = Barrier::new(5);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|seed| {
                let (cache, living, start, hand) = (&cache, &living, &start, &hand);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    start.wait();
                    for _ in 0..40_000 {
                        let key = random.u64(0..KEYS);
                        let check = |value: &Tracked| assert_eq!(value.key, key);
                        match random.u8(0..32) {
                            0..10 => drop(cache.get_with(&key, check)),
                            10..14 => drop(cache.get(&key).as_ref().map(check)),
                            14..24 => drop(cache.insert(key, Tracked::new(key, living))),
                            24..27 => {
                                let ttl = Ttl::For(millis(random.u64(0..50)));
                                cache.insert_with_ttl(key, Tracked::new(key, living), ttl);
                            }
                            27 => drop(cache.remove(&key).as_ref().map(check)),
                            28 => drop(cache.insert_if(
                                key,
                                Tracked::new(key, living),
                                Ttl::Never,
                                |now| now.is_none(),
                            )),
                            29 => drop(cache.expire(3)),
                            30 => hand.advance(millis(1)),
                            _ if random.u16(..) == 0 => cache.clear(),
                            _ => drop(cache.peek(&key).as_ref().map(check)),
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            start.wait();
            let mut random = fastrand::Rng::with_seed(99);
            while !done.load(Ordering::Relaxed) {
                assert!(cache.len() <= 1_500 && cache.weight() <= 1_200 * per_entry);
                cache.validate();
                let entries = random.u64(800..=1_500);
                cache.set_capacity(Some(entries), Some(1_200 * per_entry)).unwrap();
                assert!(cache.weight() <= 1_200 * per_entry);
            }
        });
        let results: Vec<_> = workers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    cache.validate();
    settle(&cache);
    assert_eq!(living.load(Ordering::Relaxed), cache.len() as i64);
    assert_eq!(cache.statistics().drop_panics, 0);
    drop(cache);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

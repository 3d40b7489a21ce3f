//! Faults that a cache in memory must survive: keys whose hash changes, options at all edges, code
//! of the caller that calls back, clears among writers, caches that come and go.

#![allow(clippy::unwrap_used)]

use std::{
    fs,
    hash::{Hash, Hasher},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use tierce::{Computed, MemoryCache, MemoryOptions, PolicyKind, Ttl};

#[test]
fn a_hash_that_disagrees_with_itself_costs_misses_and_duplicates_but_no_more() {
    struct Fickle(u64);
    impl PartialEq for Fickle {
        fn eq(&self, other: &Self) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Fickle {}
    impl Hash for Fickle {
        fn hash<H: Hasher>(&self, state: &mut H) {
            static TURN: AtomicU64 = AtomicU64::new(0);
            (self.0 + TURN.fetch_add(1, Ordering::Relaxed) % 3).hash(state);
        }
    }
    for policy in [PolicyKind::Adaptive, PolicyKind::Lru] {
        let options = MemoryOptions::new().max_entries(50).policy(policy);
        let cache = MemoryCache::new(options).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let key = random.u64(0..30);
            match random.u8(0..4) {
                0 => assert!(cache.get(&Fickle(key)).is_none_or(|value| value == key)),
                1 => _ = cache.invalidate(&Fickle(key)),
                _ => _ = cache.insert(Fickle(key), key),
            }
        }
        cache.validate();
        assert!(cache.len() <= 50);
        cache.retain(|_, _| false);
        assert!(cache.is_empty());
    }
}

/// Takes the lock of every shard, as a reader does not.
fn call_back<V>(cache: &Weak<MemoryCache<u64, V>>) {
    if let Some(cache) = cache.upgrade() {
        cache.invalidate(&1_000);
        assert!(cache.len() <= 4);
    }
}

struct Caller(Weak<MemoryCache<u64, Self>>);

impl Drop for Caller {
    fn drop(&mut self) {
        call_back(&self.0);
    }
}

#[test]
fn drops_and_listeners_may_write_to_the_cache() {
    let (done, waits) = mpsc::channel();
    thread::spawn(move || {
        for listens in [false, true] {
            let cache = Arc::new_cyclic(|itself: &Weak<MemoryCache<u64, Caller>>| {
                let options = MemoryOptions::new().max_entries(4).shards(1);
                let builder = MemoryCache::builder(options);
                let itself = Weak::clone(itself);
                let builder = if listens {
                    builder.listener(move |_, _, _| call_back(&itself))
                } else {
                    builder
                };
                builder.build().unwrap()
            });
            let new = || Caller(Arc::downgrade(&cache));
            for key in 0..100 {
                cache.insert(key % 7, new());
                cache.insert_with_ttl(key % 7, new(), Ttl::For(Duration::ZERO));
                cache.insert(key % 5, new());
                cache.insert_if(key % 5, new(), Ttl::Never, |_| false);
                cache.invalidate(&(key % 3));
                cache.compute(key % 5, |_| Computed::Store(new(), Ttl::Never));
            }
            cache.retain(|key, _| *key == 1);
            cache.set_capacity(Some(1), None).unwrap();
            cache.clear();
            cache.reclaim();
            assert_eq!(cache.statistics().drop_panics, 0);
        }
        done.send(()).unwrap();
    });
    let answer = waits.recv_timeout(Duration::from_secs(60));
    answer.expect("a call waits for itself: the caller's code ran under a lock");
}

/// A number of `/proc/self/status`.
#[cfg(target_os = "linux")]
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn every_combination_of_bounds_shards_and_shares_works_or_is_an_error() {
    let edges = [None, Some(0), Some(1), Some(7), Some(1_000), Some(u64::MAX)];
    let mut built = 0;
    for entries in edges {
        for bytes in edges {
            for shards in [None, Some(0), Some(1), Some(3), Some(8), Some(usize::MAX)] {
                for share in [0, 1, 64, u64::MAX] {
                    let mut options = MemoryOptions::new().largest_share(share);
                    options = entries.map_or(options.clone(), |count| options.max_entries(count));
                    options = bytes.map_or(options.clone(), |count| options.max_bytes(count));
                    options = shards.map_or(options.clone(), |count| options.shards(count));
                    let Ok(cache) = MemoryCache::<u64, u64>::new(options) else { continue };
                    built += 1;
                    for key in 0..40 {
                        cache.insert(key, key);
                        assert!(cache.get(&key).is_none_or(|value| value == key));
                    }
                    cache.validate();
                    assert!(cache.len() as u64 <= entries.unwrap_or(u64::MAX));
                    assert!(cache.weight() <= bytes.unwrap_or(u64::MAX));
                }
            }
        }
    }
    assert!(built > 200, "{built}");
}

/// Values are drawn from a counter, so what is older than a clear is below what it stood at.
#[test]
fn nothing_older_than_a_clear_is_seen_after_it_by_sixteen_writers() {
    let cache =
        MemoryCache::<u64, u64>::new(MemoryOptions::new().max_entries(4_096).shards(4)).unwrap();
    let (turn, floor, done) = (AtomicU64::new(1), AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for seed in 0..16 {
            let (cache, turn, floor, done) = (&cache, &turn, &floor, &done);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !done.load(Ordering::Relaxed) {
                    let key = random.u64(0..500);
                    // Drawn under the lock, so that no value is older than its insert.
                    cache.compute(key, |_| {
                        let value = turn.fetch_add(1, Ordering::SeqCst);
                        Computed::Store(value, Ttl::Never)
                    });
                    let key = random.u64(0..500);
                    let cleared = floor.load(Ordering::SeqCst);
                    let found = cache.get(&key);
                    let old = found.is_some_and(|value| value < cleared);
                    assert!(!old, "key {key}: {found:?} is older than the clear at {cleared}");
                }
            });
        }
        for _ in 0..200 {
            let now = turn.load(Ordering::SeqCst);
            cache.clear();
            floor.store(now, Ordering::SeqCst);
            thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
    });
    cache.validate();
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_caches_leave_neither_memory_nor_descriptors() {
    let fill = || {
        let options = MemoryOptions::new().max_entries(20_000);
        let cache = MemoryCache::<u64, String>::new(options).unwrap();
        for key in 0..400 {
            cache.insert(key, format!("the value of key {key}, which is on the heap"));
            cache.get_with(&key, String::len).unwrap();
        }
        cache.clear();
        (0..100).for_each(|key| _ = cache.insert(key, String::new()));
    };
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    // What the process needs once: other tests run meanwhile, so it is given some slack below.
    (0..50).for_each(|_| fill());
    let before = (status("VmRSS"), descriptors());
    (0..1_000).for_each(|_| fill());
    let after = (status("VmRSS"), descriptors());
    let grown = after.0.saturating_sub(before.0);
    // A thousand such caches would take some 60 MB.
    assert!(grown < 20_000, "{grown} KiB more than before");
    assert!(after.1 <= before.1 + 8, "descriptors: {before:?}, {after:?}");
}

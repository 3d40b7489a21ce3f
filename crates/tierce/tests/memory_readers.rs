//! Readers without a lock against writers that change everything: the load that the sanitizers
//! watch (`make sanitize`). In a process of its own, as slow readers hold up what others free.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
    thread,
    time::Duration,
};

use tierce::{Computed, MemoryCache, MemoryOptions, PolicyKind, Ttl};

const KEYS: u64 = 600;

/// Text on the heap that says whose it is, and counts the living. Not in an `Arc`, whose fences the
/// thread sanitizer does not know.
#[derive(Debug)]
struct Text {
    text: String,
    living: &'static AtomicI64,
}

impl Clone for Text {
    fn clone(&self) -> Self {
        self.living.fetch_add(1, Ordering::Relaxed);
        Self { text: self.text.clone(), living: self.living }
    }
}

impl Text {
    fn new(key: u64, round: u64, living: &'static AtomicI64) -> Self {
        living.fetch_add(1, Ordering::Relaxed);
        Self { text: format!("{key}:{round}"), living }
    }

    /// The round in which it was written; panics if it is another key's or spoilt.
    fn round(&self, key: u64) -> u64 {
        let (owner, round) = self.text.split_once(':').unwrap();
        assert_eq!(owner.parse::<u64>().unwrap(), key, "another key's value");
        round.parse().unwrap()
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
        self.text.clear();
    }
}

type Texts = MemoryCache<String, Text>;

fn read(cache: &Texts, random: &mut fastrand::Rng) {
    let key = random.u64(0..KEYS);
    let name = key.to_string();
    match random.u8(0..8) {
        0..3 => {
            // Looks again after a while, as slow readers do.
            cache.get_with(&name, |text| {
                let round = text.round(key);
                if random.u8(0..16) == 0 {
                    thread::yield_now();
                }
                assert_eq!(text.round(key), round, "changed under a reader");
            });
        }
        3 | 4 => _ = cache.get(&name).map(|text| text.round(key)),
        5 => _ = cache.peek(&name).map(|text| text.round(key)),
        6 => {
            let keys: Vec<u64> = (0..20).map(|_| random.u64(0..KEYS)).collect();
            let names: Vec<String> = keys.iter().map(u64::to_string).collect();
            let found = cache.get_many(&names.iter().collect::<Vec<_>>());
            for (key, text) in keys.iter().zip(found) {
                _ = text.map(|text| text.round(*key));
            }
        }
        _ if random.u8(0..8) == 0 => {
            for (name, text) in cache.iter() {
                text.round(name.parse().unwrap());
            }
        }
        _ => _ = cache.contains(&name),
    }
}

fn write(cache: &Texts, round: u64, random: &mut fastrand::Rng, living: &'static AtomicI64) {
    let key = random.u64(0..KEYS);
    let name = key.to_string();
    let new = || Text::new(key, round, living);
    match random.u16(0..200) {
        0..120 => _ = cache.insert(name, new()),
        120..140 => _ = cache.insert_with_ttl(name, new(), Ttl::For(Duration::from_millis(1))),
        140..170 => _ = cache.remove(&name).map(|text| text.round(key)),
        170..180 => {
            _ = cache.compute(name, |text| match text {
                Some(text) if text.round(key).is_multiple_of(2) => Computed::Remove,
                _ => Computed::Store(new(), Ttl::Never),
            })
        }
        180..184 => cache.retain(|name, text| !text.round(name.parse().unwrap()).is_multiple_of(5)),
        184..186 => cache.clear(),
        186..190 => {
            // Down to where the entries move together, and up again.
            cache.set_capacity(Some(random.u64(8..60)), None).unwrap();
            cache.set_capacity(Some(random.u64(200..500)), None).unwrap();
        }
        190..193 => _ = cache.expire(50),
        193 => _ = cache.reclaim(),
        _ => _ = cache.invalidate(&name),
    }
}

fn readers_and_writers(policy: PolicyKind, listens: bool, seed: u64, living: &'static AtomicI64) {
    println!("{policy:?}, seed {seed}");
    let new = || {
        let options = MemoryOptions::new().max_entries(400).shards(2).policy(policy);
        let builder = MemoryCache::builder(options);
        let check = |key: &String, text: &Text, _| _ = text.round(key.parse().unwrap());
        if listens { builder.listener(check) } else { builder }.build().unwrap()
    };
    let caches: Vec<Texts> = (0..2).map(|_| new()).collect();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for reader in 0..2 {
            let (caches, done) = (&caches, &done);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + reader);
                while !done.load(Ordering::Relaxed) {
                    read(random.choice(caches).unwrap(), &mut random);
                }
            });
        }
        let writers: Vec<_> = (2..4)
            .map(|writer| {
                let caches = &caches;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed + writer);
                    for round in 0..4_000 {
                        write(random.choice(caches).unwrap(), round, &mut random, living);
                    }
                })
            })
            .collect();
        let ends: Vec<_> = writers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        ends.into_iter().for_each(Result::unwrap);
    });
    let mut len = 0;
    for cache in &caches {
        cache.validate();
        assert_eq!(cache.statistics().drop_panics, 0);
        // Readers of other tests may hold something up.
        while cache.reclaim() > 0 {
            thread::yield_now();
        }
        len += cache.len() as i64;
    }
    assert_eq!(living.load(Ordering::Relaxed), len);
    drop(caches);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

#[test]
fn readers_see_whole_values_while_writers_change_everything() {
    static LIVING: AtomicI64 = AtomicI64::new(0);
    readers_and_writers(PolicyKind::Adaptive, false, 11, &LIVING);
}

#[test]
fn so_they_do_where_every_read_is_told_and_a_listener_looks_at_what_leaves() {
    static LIVING: AtomicI64 = AtomicI64::new(0);
    readers_and_writers(PolicyKind::Lru, true, 21, &LIVING);
}

/// Moving a shard's entries together takes them out of readers' sight for a while; none is missed.
#[test]
fn a_key_that_stays_is_found_while_others_come_and_go_and_entries_move() {
    const STAYING: u64 = 40;
    let cache =
        MemoryCache::<u64, u64>::new(MemoryOptions::new().max_entries(100_000).shards(1)).unwrap();
    for key in 0..STAYING {
        cache.insert(key, key);
    }
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (cache, done) = (&cache, &done);
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(31);
            for round in 0..30 {
                for key in 0..1_500 {
                    cache.insert(1_000 + key, key);
                    let stays = random.u64(0..STAYING);
                    cache.insert(stays, stays);
                    // Who is refused has lost the earlier value: not too much at a time.
                    while key % 100 == 0 && cache.retired() > 1_000 {
                        cache.reclaim();
                        thread::yield_now();
                    }
                }
                match round % 3 {
                    0 => cache.retain(|key, _| *key < STAYING),
                    1 => (0..1_500).for_each(|key| _ = cache.invalidate(&(1_000 + key))),
                    // Nothing is evicted, and memory given back.
                    _ => cache.set_capacity(Some(100_000), None).unwrap(),
                }
                if round % 3 < 2 {
                    cache.set_capacity(Some(100_000), None).unwrap();
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        scope.spawn(move || {
            let mut random = fastrand::Rng::with_seed(32);
            let all: Vec<u64> = (0..STAYING).collect();
            let keys: Vec<&u64> = all.iter().collect();
            while !done.load(Ordering::Relaxed) {
                let key = random.u64(0..STAYING);
                assert_eq!(cache.get(&key), Some(key), "missed");
                assert!(cache.contains(&key), "missed");
                if random.u8(0..16) == 0 {
                    assert!(cache.get_many(&keys).iter().all(Option::is_some), "missed by many");
                    let mut seen: Vec<u64> =
                        cache.iter().map(|(key, _)| key).filter(|key| *key < STAYING).collect();
                    seen.sort_unstable();
                    assert_eq!(seen, all, "each is seen once");
                }
            }
        });
    });
    cache.validate();
    assert_eq!(cache.statistics().refused, 0);
}

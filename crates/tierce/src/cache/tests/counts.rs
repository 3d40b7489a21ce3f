//! What statistics count of hits of L1, which each thread counts by itself.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use super::*;
use crate::tiering::TierKind;

/// More than there are seats, so that some caches count where all threads do.
const CACHES: u64 = 40;

fn full() -> Cache {
    let cache = Cache::builder().build().unwrap();
    cache.set("a", bytes("1")).unwrap();
    cache
}

#[test]
fn every_hit_is_counted_whatever_the_number_of_caches_and_threads() {
    let caches: Vec<Cache> = (0..CACHES).map(|_| full()).collect();
    for round in 1..=2 {
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for (number, cache) in caches.iter().enumerate() {
                        for _ in 0..100 + number {
                            assert!(cache.get("a").is_some());
                            assert!(cache.get_near("a").is_some());
                            assert_eq!(cache.get("b"), None);
                        }
                    }
                });
            }
        });
        for (number, cache) in caches.iter().enumerate() {
            let (stats, reads) = (cache.stats(), round * 3 * (100 + number as u64));
            assert_eq!((stats.hits, stats.misses), (2 * reads, reads), "cache {number}");
            assert_eq!(stats.last_hit_tier, Some(TierKind::Memory));
        }
    }
}

#[test]
fn a_cache_counts_nothing_of_those_before_it() {
    for round in 0..100 {
        let cache = full();
        thread::scope(|scope| {
            scope.spawn(|| assert!((0..round).all(|_| cache.get("a").is_some())));
        });
        assert!(cache.get("a").is_some());
        assert_eq!(cache.stats().hits, round + 1);
    }
}

#[test]
fn statistics_never_show_fewer_hits_than_before() {
    let cache = full();
    let is_done = AtomicBool::new(false);
    let reads = thread::scope(|scope| {
        let readers: Vec<_> = (0..20)
            .map(|_| {
                scope.spawn(|| {
                    for _ in 0..5_000 {
                        assert!(cache.get("a").is_some());
                    }
                    5_000
                })
            })
            .collect();
        scope.spawn(|| {
            let mut last = 0;
            while !is_done.load(Ordering::Relaxed) {
                let hits = cache.stats().hits;
                assert!(hits >= last, "{hits} after {last}");
                last = hits;
            }
        });
        let reads = readers.into_iter().map(|reader| reader.join().unwrap()).sum::<u64>();
        is_done.store(true, Ordering::Relaxed);
        reads
    });
    assert_eq!(cache.stats().hits, reads);
}

#[test]
fn hits_are_timed_by_whichever_call() {
    for near in [false, true] {
        let cache = full();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    assert!(if near { cache.get_near("a") } else { cache.get("a") }.is_some());
                }
            });
        });
        let stats = cache.stats();
        let memory = stats.tier(TierKind::Memory).unwrap();
        assert_eq!(memory.hits, 5_000);
        // Each stands for those before it; less than a longest distance came after the last.
        assert!((5..=5_000).contains(&memory.timed), "{}", memory.timed);
        assert!(memory.latency.count >= 5_000 - 2 * 512, "{}", memory.latency.count);
        assert!(memory.latency.max > Duration::ZERO);
    }
}

#[test]
fn a_hit_of_l1_is_the_latest_again_after_one_of_l2() {
    let host = Host::new();
    let (one, other) = (host.cache(Tiering::L1L2), host.cache(Tiering::L1L2));
    for round in 1..=3 {
        one.set("a", bytes("1")).unwrap();
        other.get("a").unwrap();
        assert_eq!(other.stats().last_hit_tier, Some(TierKind::Shared));
        thread::scope(|scope| {
            scope.spawn(|| other.get("a").unwrap());
        });
        let stats = other.stats();
        assert_eq!((stats.last_hit_tier, stats.hits), (Some(TierKind::Memory), 2 * round));
    }
}

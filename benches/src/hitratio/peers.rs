//! Real caches under one thread: a request is a get, and on a miss an insert of the key as its
//! own value. All hash by foldhash with a fixed seed, so that a run can be repeated. What ours
//! evicts depends a little on other threads that read a cache of ours: so it also needs that there
//! are none.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use foldhash::fast::FixedState;
use foyer_memory::{Cache as Foyer, CacheBuilder, CacheProperties, EvictionConfig};
use quick_cache::{OptionsBuilder, UnitWeighter};
use tierce::{MemoryCache, MemoryOptions};

/// Any seed will do; it must only stay.
const SEED: u64 = 7;

fn hasher() -> FixedState {
    FixedState::with_seed(SEED)
}

fn play(keys: &[u64], mut get_or_insert: impl FnMut(u64) -> bool) -> u64 {
    keys.iter().map(|key| u64::from(get_or_insert(*key))).sum()
}

/// Ours, with what else the options say: default shards unless they say otherwise.
///
/// # Panics
/// If the options are wrong.
pub fn tierce(options: MemoryOptions, keys: &[u64], capacity: usize) -> u64 {
    let options = options.max_entries(capacity as u64);
    let cache = MemoryCache::builder(options)
        .hasher(hasher())
        .build()
        .expect("an entry bound alone is legal");
    play(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, key);
        }
        hit
    })
}

/// Ours with default options, while another thread does nothing but read a cache of its own. Where
/// that is kept from going on amid a read, what this one evicts stays in memory until it does.
///
/// # Panics
/// If the options are wrong.
pub fn beside_a_reader(keys: &[u64], capacity: usize) -> u64 {
    let (began, stop) = (Barrier::new(2), AtomicBool::new(false));
    let read = || {
        let cache = MemoryCache::builder(MemoryOptions::new().max_entries(1))
            .hasher(hasher())
            .build()
            .expect("an entry bound alone is legal");
        cache.insert(0_u64, 0_u64);
        cache.get(&0);
        began.wait();
        while !stop.load(Ordering::Relaxed) {
            std::hint::black_box(cache.get(&0));
        }
    };
    thread::scope(|scope| {
        let reader = scope.spawn(read);
        began.wait();
        let hits = tierce(MemoryOptions::new(), keys, capacity);
        stop.store(true, Ordering::Relaxed);
        // A scope does not wait for what its threads do when they end; this does, so that the
        // reader is one no more when the next play begins.
        reader.join().expect("a read does not panic");
        hits
    })
}

/// quick_cache's concurrent cache with its default shards, which round the capacity up.
///
/// # Panics
/// If its options are incomplete.
pub fn quick_cache(keys: &[u64], capacity: usize) -> u64 {
    let options = quick_options(capacity);
    let lifecycle = quick_cache::sync::DefaultLifecycle::default();
    let cache: quick_cache::sync::Cache<u64, u64, _, _> =
        quick_cache::sync::Cache::with_options(options, UnitWeighter, hasher(), lifecycle);
    play(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, key);
        }
        hit
    })
}

/// quick_cache's cache for one thread: one shard of exactly the capacity.
///
/// # Panics
/// If its options are incomplete.
pub fn quick_cache_unsync(keys: &[u64], capacity: usize) -> u64 {
    let options = quick_options(capacity);
    let lifecycle = quick_cache::unsync::DefaultLifecycle::default();
    let mut cache: quick_cache::unsync::Cache<u64, u64, _, _> =
        quick_cache::unsync::Cache::with_options(options, UnitWeighter, hasher(), lifecycle);
    play(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, key);
        }
        hit
    })
}

fn quick_options(capacity: usize) -> quick_cache::Options {
    OptionsBuilder::new()
        .estimated_items_capacity(capacity)
        .weight_capacity(capacity as u64)
        .build()
        .expect("both capacities are set")
}

/// moka's sync cache with its default policy. With `settle` its pending work is done after each
/// insert; without, when it thinks fit, and until then it holds up to some hundred entries more
/// than its capacity.
pub fn moka(keys: &[u64], capacity: usize, settle: bool) -> u64 {
    let cache: moka::sync::Cache<u64, u64, _> =
        moka::sync::Cache::builder().max_capacity(capacity as u64).build_with_hasher(hasher());
    play(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, key);
            if settle {
                cache.run_pending_tasks();
            }
        }
        hit
    })
}

/// foyer's memory cache in one shard: its shards divide the capacity, which a warning of its own
/// advises against where it is small.
pub fn foyer(eviction: impl Into<EvictionConfig>, keys: &[u64], capacity: usize) -> u64 {
    let cache: Foyer<u64, u64, FixedState, CacheProperties> = CacheBuilder::new(capacity)
        .with_shards(1)
        .with_hash_builder(hasher())
        .with_eviction_config(eviction)
        .build();
    play(keys, |key| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, key);
        }
        hit
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cache_hits_all_that_fits() {
        let keys: Vec<u64> = (0..1_000).map(|at| at % 100).collect();
        let options = MemoryOptions::new;
        assert_eq!(tierce(options(), &keys, 4_000), 900);
        assert_eq!(quick_cache(&keys, 4_000), 900);
        assert_eq!(quick_cache_unsync(&keys, 4_000), 900);
        assert_eq!(moka(&keys, 4_000, true), 900);
        assert_eq!(moka(&keys, 4_000, false), 900);
        assert_eq!(foyer(foyer_memory::LfuConfig::default(), &keys, 4_000), 900);
    }

    #[test]
    fn exact_lru_of_ours_is_that_of_the_paper_in_one_shard() {
        let mut random = fastrand::Rng::with_seed(SEED);
        let keys: Vec<u64> = (0..20_000).map(|_| random.u64(..500) * random.u64(..4)).collect();
        let workload = super::super::workload::Workload::new("a", keys.clone());
        for capacity in [1, 10, 300] {
            let exact = super::super::simulated::Lru::new(workload.unique, capacity);
            let hits = super::super::simulated::hits(exact, &workload.numbers);
            let options = MemoryOptions::new().policy(tierce::PolicyKind::Lru);
            assert_eq!(tierce(options, &keys, capacity), hits);
        }
    }
}

//! L1 used alone, through public names only: `cargo add tierce --no-default-features`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are not tests to the lint")]

use std::{collections::HashSet, hash::BuildHasher, sync::Arc, thread, time::Duration};

use tierce::{Clock, ErrorKind, Inserted, MemoryCache, MemoryOptions, PolicyKind, Ttl};

/// Weighs text by its bytes.
fn text_cache(max_bytes: u64) -> MemoryCache<String, Vec<u8>> {
    let options = MemoryOptions::new().max_bytes(max_bytes);
    MemoryCache::with_weigher(options, |key: &String, value: &Vec<u8>| {
        key.capacity() + value.capacity()
    })
    .unwrap()
}

#[test]
fn empty_keys_and_values_are_kept_and_values_above_the_bound_refused() {
    let cache = text_cache(64 << 20);
    assert_eq!(cache.insert(String::new(), Vec::new()), Inserted::Stored);
    assert_eq!(cache.get(""), Some(Vec::new()));
    assert_eq!(cache.insert("1 MiB".into(), vec![1; 1 << 20]), Inserted::Refused);
    assert_eq!(cache.insert("1 MiB less".into(), vec![1; 1_048_000]), Inserted::Stored);
    assert_eq!(cache.insert("65 MiB".into(), vec![1; 65 << 20]), Inserted::Refused);
    assert_eq!((cache.len(), cache.statistics().refused, cache.statistics().bytes), (2, 2, 0));
    cache.validate();
}

#[test]
fn the_memory_of_entries_is_bounded_by_their_weights() {
    let cache = text_cache(1 << 20);
    for number in 0..10_000 {
        cache.insert(format!("key {number}"), vec![0; number % 2_000]);
        assert!(cache.weight() <= 1 << 20);
    }
    cache.validate();
    assert!(cache.weight() > 900_000, "the bound is used: {}", cache.weight());
    cache.set_capacity(None, Some(100_000)).unwrap();
    assert!(cache.weight() <= 100_000);
}

#[test]
fn a_cache_is_shared_by_threads_and_outlives_its_maker() {
    let (clock, hand) = Clock::manual();
    let cache = thread::spawn(move || {
        let options = MemoryOptions::new().max_entries(10).ttl(Duration::from_secs(1));
        let hasher = std::collections::hash_map::RandomState::new();
        MemoryCache::<u64, Arc<str>>::builder(options).hasher(hasher).clock(clock).build().unwrap()
    })
    .join()
    .unwrap();
    let cache = Arc::new(cache);
    let writers: Vec<_> = (0..4)
        .map(|key| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || cache.insert(key, "value".into()))
        })
        .collect();
    for writer in writers {
        assert_eq!(writer.join().unwrap(), Inserted::Stored);
    }
    cache.insert_with_ttl(9, "stays".into(), Ttl::Never);
    assert_eq!(cache.len(), 5);
    hand.advance(Duration::from_secs(1));
    assert_eq!((cache.get(&0), cache.get(&9).as_deref()), (None, Some("stays")));
}

/// Who knows the seed of one cache has nothing against another.
#[test]
fn keys_that_collide_under_a_known_seed_spread_under_the_caches_own() {
    const LOW_BITS: u64 = (1 << 10) - 1;
    let known = foldhash::fast::RandomState::default();
    let colliding: Vec<u64> =
        (0..).filter(|key: &u64| known.hash_one(key) & LOW_BITS == 0).take(1_000).collect();
    let options = MemoryOptions::new().max_entries(2_000);
    let cache = MemoryCache::<u64, u64>::new(options).unwrap();
    let places: HashSet<_> = colliding.iter().map(|key| cache.hash(key) & LOW_BITS).collect();
    // Under the known seed they share one place. Chance alone would give some 640; foldhash's fast
    // variant, which is no defence against an attacker who watches times, gives 270 to 645.
    assert!(places.len() > 100, "{} places", places.len());
}

#[test]
fn a_cache_without_a_bound_is_a_configuration_error() {
    let error = MemoryCache::<u64, u64>::new(MemoryOptions::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("at least one bound"), "{error}");
}

#[test]
fn a_policy_says_what_it_holds() {
    for kind in [PolicyKind::Adaptive, PolicyKind::Lru] {
        let options = MemoryOptions::new().max_entries(8_000).shards(2).policy(kind);
        let cache = MemoryCache::<u64, u64>::new(options).unwrap();
        (0..20_000).for_each(|key| _ = cache.insert(key, key));
        let views = cache.policy();
        assert_eq!(views.len(), 2, "one for each shard");
        assert!(views.iter().all(|view| view.kind == kind));
        assert_eq!(views.iter().map(|view| view.entries).sum::<usize>(), cache.len());
        for view in views {
            let is_adaptive = kind == PolicyKind::Adaptive;
            assert!((0.0..=1.0).contains(&view.window_share), "{view:?}");
            assert!(view.window_entries <= view.entries, "{view:?}");
            assert_eq!(view.ghosts > 0, is_adaptive, "{view:?}");
        }
    }
}

/// What may be shared, may; and threads that share a cache share its values.
const _: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<MemoryCache<String, Arc<str>>>();
    is_shared::<MemoryCache<u64, Vec<u8>>>();
};

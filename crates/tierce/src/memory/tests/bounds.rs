//! Bounds: their edges, their changes, and that they hold at every moment.

use super::*;

#[test]
fn capacities_of_nothing_one_and_everything_work() {
    let (none, _) = entries(0);
    assert_eq!(none.insert(1, 1), Inserted::Refused);
    assert_eq!((none.len(), none.get(&1), none.statistics().refused), (0, None, 1));
    let (one, _) = entries(1);
    for key in 0..10 {
        assert_eq!(one.insert(key, key), Inserted::Stored);
        assert_eq!((one.len(), one.get(&key)), (1, Some(key)));
    }
    assert_eq!(one.statistics().size, 9);
    let options = MemoryOptions::new().max_entries(u64::MAX).max_bytes(u64::MAX);
    let all = Numbers::new(options).unwrap();
    for key in 0..10_000 {
        all.insert(key, key);
    }
    all.validate();
    assert_eq!((all.len(), all.weight()), (10_000, 10_000 * OVERHEAD));
    assert_eq!((all.max_entries(), all.max_bytes()), (Some(u64::MAX), Some(u64::MAX)));
    let empty = Numbers::new(MemoryOptions::new().max_bytes(0)).unwrap();
    assert_eq!(empty.insert(1, 1), Inserted::Refused);
}

#[test]
fn an_entry_is_kept_at_the_largest_weight_and_refused_above_it() {
    let (cache, _) = weighed(MemoryOptions::new().max_bytes(64_000));
    cache.insert(1, 5);
    assert_eq!(cache.insert(2, 1_000 - OVERHEAD), Inserted::Stored);
    assert_eq!(cache.insert(3, 1_001 - OVERHEAD), Inserted::Refused);
    assert_eq!(cache.insert(4, u64::MAX - 1), Inserted::Refused);
    assert_eq!((cache.len(), cache.statistics().bytes), (2, 0), "nothing was evicted for it");
    assert_eq!(cache.insert(1, u64::MAX), Inserted::Refused);
    assert_eq!(cache.get(&1), None, "the value that the caller replaced must not be served");
    assert_eq!((cache.statistics().refused, cache.statistics().removed), (3, 1));

    let (whole, _) = weighed(MemoryOptions::new().max_bytes(1_000).largest_share(1));
    assert_eq!(whole.insert(1, 1_000 - OVERHEAD), Inserted::Stored);
    assert_eq!(whole.insert(2, 1_001 - OVERHEAD), Inserted::Refused);
    assert_eq!(whole.insert(3, 0), Inserted::Stored);
    assert_eq!((whole.get(&1), whole.statistics().bytes), (None, 1));
    whole.validate();
}

#[test]
fn weights_near_the_largest_number_neither_overflow_nor_panic() {
    let (cache, _) = weighed(MemoryOptions::new().max_entries(8));
    assert_eq!(cache.insert(0, u64::MAX), Inserted::Refused, "usize::MAX means: do not keep");
    for key in 0..20 {
        assert_eq!(cache.insert(key, u64::MAX - 1), Inserted::Stored);
        cache.validate();
    }
    assert_eq!(cache.weight(), u64::MAX);
    cache.clear();
    assert_eq!(cache.weight(), 0);
}

#[test]
fn an_entry_without_weight_counts_as_its_overhead() {
    let (cache, _) = weighed(MemoryOptions::new().max_bytes(10 * OVERHEAD).largest_share(1));
    for key in 0..100 {
        assert_eq!(cache.insert(key, 0), Inserted::Stored);
    }
    assert_eq!((cache.len(), cache.weight()), (10, 10 * OVERHEAD));
}

#[test]
fn set_capacity_shrinks_before_it_returns_and_keeps_the_order() {
    let (cache, _) = entries(100);
    for key in 0..100 {
        cache.insert_with_ttl(key, key, Ttl::For(millis(key + 1)));
    }
    cache.get(&3);
    cache.set_capacity(Some(10), None).unwrap();
    cache.validate();
    assert_eq!((cache.len(), cache.statistics().size, cache.statistics().removed), (10, 90, 0));
    cache.insert(200, 200);
    assert!(cache.contains(&3) && cache.contains(&99) && !cache.contains(&91));
    cache.set_capacity(Some(50), Some(5 * OVERHEAD)).unwrap();
    cache.validate();
    assert_eq!((cache.len(), cache.max_bytes()), (5, Some(5 * OVERHEAD)));
    cache.set_capacity(Some(0), None).unwrap();
    assert!(cache.is_empty());
    assert!(cache.set_capacity(None, None).is_err());
    assert_eq!(cache.max_entries(), Some(0));
}

#[test]
fn bounds_hold_at_every_moment_in_every_shard() {
    let options = MemoryOptions::new().max_entries(1_001).max_bytes(40_000).shards(8);
    let (cache, _) = weighed(options);
    let mut random = fastrand::Rng::with_seed(8);
    for _ in 0..30_000 {
        cache.insert(random.u64(..), random.u64(0..400));
        assert!(cache.weight() <= 40_000 && cache.len() <= 1_001);
    }
    cache.validate();
    assert!(cache.len() > 50);
}

//! What `iter` and `retain` promise: what is there from beginning to end is seen once.

use super::*;

/// Grown by insert after insert, so that at most sizes a part of the index has moved on.
#[test]
fn a_walk_sees_every_entry_once_at_every_size_of_a_growing_index() {
    let cache = Numbers::new(MemoryOptions::new().max_entries(10_000).shards(1)).unwrap();
    for count in 1..800 {
        cache.insert(count, count);
        let mut seen: Vec<u64> = cache.iter().map(|(key, _)| key).collect();
        seen.sort_unstable();
        assert_eq!(seen, (1..=count).collect::<Vec<_>>());
    }
}

#[test]
fn retain_sifts_entries_that_move_on_while_it_looks() {
    let mut random = fastrand::Rng::with_seed(1);
    for _ in 0..50 {
        let cache = Numbers::new(MemoryOptions::new().max_entries(10_000).shards(1)).unwrap();
        let count = random.u64(50..400);
        for key in 0..count {
            cache.insert(key, 0);
        }
        let mut next = count;
        cache.retain(|_, value| {
            if *value == 0 {
                (next..next + 8).for_each(|key| _ = cache.insert(key, 1));
                next += 8;
            }
            *value == 1
        });
        assert!((0..count).all(|key| !cache.contains(&key)), "kept against the closure's word");
        cache.validate();
    }
}

#[test]
fn retain_leaves_what_came_after_a_clear_in_the_midst_of_it() {
    let (cache, _) = entries(10);
    cache.insert(1, 1);
    let mut judged = 0;
    cache.retain(|_, value| {
        judged += 1;
        if *value == 1 {
            // The same key, and most likely the same number of slot.
            cache.clear();
            cache.insert(1, 2);
        }
        *value == 2
    });
    assert_eq!((judged, cache.get(&1)), (1, Some(2)), "a value that nobody judged was removed");
}

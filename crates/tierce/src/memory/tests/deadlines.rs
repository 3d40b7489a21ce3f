//! Times to live: what is returned, and what is freed when.

use std::cell::Cell;

use super::*;

#[test]
fn no_expired_entry_is_returned_by_any_call() {
    let calls: [fn(&Numbers) -> bool; 7] = [
        |cache| cache.get(&1).is_some(),
        |cache| cache.peek(&1).is_some(),
        |cache| cache.contains(&1),
        |cache| cache.remove(&1).is_some(),
        |cache| cache.remove_if(&1, |_| true).is_some(),
        |cache| cache.get_hashed(cache.hash(&1), |key| *key == 1, |_| ()).is_some(),
        |cache| {
            let seen = Cell::new(false);
            cache.insert_if(1, 0, Ttl::Never, |value| {
                seen.set(value.is_some());
                false
            });
            seen.get()
        },
    ];
    for (number, call) in calls.into_iter().enumerate() {
        let (cache, hand) = entries(10);
        cache.insert_with_ttl(1, 7, Ttl::For(millis(50)));
        hand.advance(millis(49));
        assert!(cache.contains(&1), "call {number}");
        hand.advance(millis(1));
        assert!(!call(&cache), "call {number}");
        cache.validate();
    }
}

#[test]
fn a_time_to_live_of_zero_removes_and_one_past_the_end_of_time_never_ends() {
    let (cache, hand) = entries(10);
    cache.insert(1, 1);
    assert_eq!(cache.insert_with_ttl(1, 2, Ttl::For(Duration::ZERO)), Inserted::Expired);
    assert!(cache.is_empty());
    cache.insert_with_ttl(2, 2, Ttl::For(Duration::MAX));
    cache.insert_with_ttl(3, 3, Ttl::For(Duration::from_secs(60 * 60 * 24 * 365 * 130)));
    cache.insert_with_ttl(4, 4, Ttl::For(Duration::from_nanos(1)));
    assert_eq!(cache.get(&4), Some(4), "less than a millisecond is rounded up");
    hand.advance(Duration::from_secs(60 * 60 * 24 * 365 * 120));
    assert_eq!((cache.get(&2), cache.get(&3), cache.get(&4)), (Some(2), Some(3), None));
    hand.advance(Duration::from_secs(60 * 60 * 24 * 365 * 11));
    assert_eq!((cache.get(&2), cache.get(&3)), (Some(2), None));
    cache.validate();
}

#[test]
fn the_default_time_to_live_holds_unless_an_insert_names_another() {
    let (clock, hand) = Clock::manual();
    let options = MemoryOptions::new().max_entries(9).ttl(millis(10));
    let hasher = crate::RandomState::default();
    let cache = MemoryCache::builder(options)
        .weigher(|_, _| 0)
        .hasher(hasher)
        .clock(clock)
        .build()
        .unwrap();
    cache.insert(1, 1);
    cache.insert_with_ttl(2, 2, Ttl::Never);
    cache.insert_with_ttl(3, 3, Ttl::For(millis(20)));
    cache.insert_with_ttl(4, 4, Ttl::Never);
    cache.insert(4, 4);
    hand.advance(millis(10));
    assert_eq!(
        (1..5).map(|key| cache.get(&key)).collect::<Vec<_>>(),
        [None, Some(2), Some(3), None]
    );
    cache.insert_with_ttl(3, 3, Ttl::Never);
    hand.advance(millis(100));
    assert_eq!(cache.get(&3), Some(3), "a replaced entry takes the new time to live");
    cache.validate();
}

#[test]
fn a_clock_that_stands_still_expires_nothing_and_inserts_go_on() {
    let (cache, _) = entries(10);
    for key in 0..100 {
        cache.insert_with_ttl(key, key, Ttl::For(millis(1)));
        assert_eq!(cache.get(&key), Some(key));
    }
    assert_eq!((cache.expire(usize::MAX), cache.len()), (0, 10));
}

#[test]
fn expired_entries_are_freed_by_inserts_without_being_touched_again() {
    let (cache, hand) = entries(100_000);
    let mut random = fastrand::Rng::with_seed(5);
    for key in 0..10_000 {
        cache.insert_with_ttl(key, key, Ttl::For(millis(1 + random.u64(0..100_000))));
    }
    hand.advance(millis(100_001));
    // Each frees up to four, and moves some down the wheel.
    for key in 20_000..26_000 {
        cache.insert(key, key);
    }
    assert_eq!((cache.len(), cache.statistics().expired), (6_000, 10_000));
    assert_eq!(cache.statistics().size, 0);
    cache.validate();
}

#[test]
fn expire_frees_no_more_than_it_is_told_and_misses_none() {
    let (cache, hand) = entries(2_000);
    for key in 0..1_000 {
        cache.insert_with_ttl(key, key, Ttl::For(millis(100 + key % 7)));
    }
    cache.insert(5_000, 0);
    hand.advance(millis(10_000));
    assert_eq!((cache.expire(0), cache.expire(10), cache.len()), (0, 10, 991));
    assert_eq!((cache.expire(usize::MAX), cache.len()), (990, 1));
    cache.validate();
}

#[test]
fn the_expired_make_room_before_the_living_are_evicted() {
    let (cache, hand) = entries(10);
    for key in 0..9 {
        cache.insert(key, key);
    }
    cache.insert_with_ttl(9, 9, Ttl::For(millis(5)));
    hand.advance(millis(5));
    cache.insert(10, 10);
    assert!((0..9).all(|key| cache.contains(&key)));
    assert_eq!((cache.statistics().expired, cache.statistics().size), (1, 0));
}

/// A cache of a thousand entries on a manual clock, with these options beside.
fn timed(options: MemoryOptions) -> (Numbers, ManualClock) {
    let (clock, hand) = Clock::manual();
    let builder = MemoryCache::builder(options.max_entries(2_000));
    let cache = builder.hasher(crate::RandomState::default()).clock(clock).build().unwrap();
    (0..1_000).for_each(|key| _ = cache.insert(key, key));
    (cache, hand)
}

fn left(cache: &Numbers) -> usize {
    (0..1_000).filter(|key| cache.contains(key)).count()
}

#[test]
fn jitter_spreads_the_ends_of_a_time_to_live_over_its_share_before_it() {
    let (cache, hand) = timed(MemoryOptions::new().ttl(millis(100_000)).ttl_jitter(0.2));
    hand.advance(millis(80_000));
    assert_eq!(left(&cache), 1_000, "no deadline is before the share");
    for (at, of) in [(85_000, 750), (90_000, 500), (95_000, 250)] {
        hand.advance(millis(5_000));
        let left = left(&cache);
        assert!(left.abs_diff(of) < 100, "after {at} ms {left} are left, not some {of}");
    }
    hand.advance(millis(5_000));
    assert_eq!(left(&cache), 0);
    cache.validate();
}

#[test]
fn without_jitter_all_that_came_at_once_end_at_once() {
    let (cache, hand) = timed(MemoryOptions::new().ttl(millis(100_000)));
    hand.advance(millis(99_999));
    assert_eq!(left(&cache), 1_000);
    hand.advance(millis(1));
    assert_eq!(left(&cache), 0);
}

#[test]
fn what_nobody_reads_ends_after_the_idle_time_and_each_read_begins_it_anew() {
    let (cache, hand) = timed(MemoryOptions::new().time_to_idle(millis(10_000)));
    for _ in 0..5 {
        hand.advance(millis(9_000));
        assert_eq!(cache.get(&1), Some(1));
        assert_eq!(cache.get_many(&[&2, &3]), [Some(2), Some(3)]);
        assert!(cache.get_with(&4, |_| ()).is_some());
    }
    // A look that is no read begins nothing anew.
    hand.advance(millis(9_999));
    assert!((1..5).all(|key| cache.peek(&key) == Some(key) && cache.contains(&key)));
    assert_eq!(left(&cache), 4);
    hand.advance(millis(1));
    assert_eq!(left(&cache), 0);
    assert_eq!((cache.len(), cache.statistics().size), (0, 0), "a look frees what is over");
    cache.validate();
}

#[test]
fn an_idle_time_does_not_prolong_a_time_to_live() {
    let options = MemoryOptions::new().ttl(millis(15_000)).time_to_idle(millis(10_000));
    let (cache, hand) = timed(options);
    hand.advance(millis(9_000));
    assert_eq!(cache.get(&1), Some(1));
    hand.advance(millis(5_999));
    assert_eq!(cache.get(&1), Some(1));
    hand.advance(millis(1));
    assert_eq!(left(&cache), 0);
}

#[test]
fn a_point_in_time_is_as_far_away_as_it_is_and_one_that_has_passed_is_over() {
    let (cache, hand) = entries(10);
    let now = Instant::now();
    let far = Duration::from_secs(1_000);
    assert_eq!(cache.insert_with_ttl(1, 1, Ttl::Until(now + far)), Inserted::Stored);
    assert_eq!(cache.insert_with_ttl(2, 2, Ttl::Until(now)), Inserted::Expired);
    // The test may be held up between the two looks at the time.
    hand.advance(far - Duration::from_secs(100));
    assert_eq!(cache.get(&1), Some(1));
    hand.advance(Duration::from_secs(100));
    assert_eq!((cache.get(&1), cache.get(&2)), (None, None));
}

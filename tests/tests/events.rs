//! What listeners are told of L2 and L3: real stores, real servers, two hosts.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tierce::{
    BreakerOptions, BreakerState, Bytes, Cache, Event, MemoryOptions, RedisOptions, StoreOptions,
    TierKind, Tiering,
};
use tierce_tests::{redis::Redis, store_folder, waiting::wait_until};

type Told = Arc<Mutex<Vec<Event>>>;

fn heard(cache: &Cache) -> Told {
    let told = Told::default();
    let list = Arc::clone(&told);
    cache.on_event(move |event| list.lock().unwrap().push(event.clone()));
    told
}

fn any(told: &Told, is_it: impl Fn(&Event) -> bool) -> bool {
    told.lock().unwrap().iter().any(is_it)
}

fn host(redis: &Redis, tiering: Tiering) -> (tempfile::TempDir, Cache) {
    let folder = store_folder();
    let cache = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(1000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20))
        .redis(RedisOptions::new().unix_path(redis.socket()))
        .breaker(
            BreakerOptions::new()
                .consecutive_failures(2)
                .open_for(Duration::from_millis(50))
                .probes(2),
        )
        .build()
        .unwrap();
    cache.get("nothing");
    wait_until("a subscription", || cache.redis_statistics().unwrap().subscriptions > 0);
    (folder, cache)
}

#[test]
fn a_breaker_that_opens_probes_and_closes_is_told_in_this_order() {
    let mut redis = Redis::start();
    let (_folder, cache) = host(&redis, Tiering::L1L3);
    let told = heard(&cache);
    let states = || -> Vec<BreakerState> {
        let told = told.lock().unwrap();
        let state = |event: &Event| match event {
            Event::Breaker { tier, state, .. } => {
                assert_eq!(*tier, TierKind::Redis);
                Some(*state)
            }
            _ => None,
        };
        told.iter().filter_map(state).collect()
    };
    redis.kill();
    wait_until("it is open", || {
        cache.get("a");
        states().contains(&BreakerState::Open)
    });
    redis.restart();
    wait_until("it is closed", || {
        cache.get("a");
        states().last() == Some(&BreakerState::Closed)
    });
    let states = states();
    assert_eq!(states[0], BreakerState::Open);
    assert_eq!(states[states.len() - 2], BreakerState::HalfOpen, "{states:?}");
    assert!(states.windows(2).all(|two| two[0] != two[1]), "{states:?}");
}

#[test]
fn what_other_hosts_change_is_told_and_what_this_one_changes_is_not() {
    let redis = Redis::start();
    let ((_one, one), (_other, other)) =
        (host(&redis, Tiering::L1L2L3), host(&redis, Tiering::L1L2L3));
    let told = heard(&one);
    let is_told = |name: &str| {
        any(
            &told,
            |event| matches!(event, Event::Invalidate { key, .. } if **key == *name.as_bytes()),
        )
    };
    one.set("own", Bytes::from_static(b"1")).unwrap();
    other.set("theirs", Bytes::from_static(b"1")).unwrap();
    wait_until("it is told", || is_told("theirs"));
    assert!(!is_told("own"));
    other.clear().unwrap();
    let is_many = |event: &Event| matches!(event, Event::InvalidateMany { is_all: false, .. });
    wait_until("it is told", || any(&told, is_many));
}

#[test]
fn what_leaves_l2_for_room_is_told_as_a_number() {
    let folder = store_folder();
    let cache = Cache::builder()
        .tiering(Tiering::L2)
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(4 << 20))
        .build()
        .unwrap();
    let told = heard(&cache);
    let count = || -> u64 {
        let told = told.lock().unwrap();
        let count = |event: &Event| match event {
            Event::EvictShared { for_room, .. } => *for_room,
            _ => 0,
        };
        told.iter().map(count).sum()
    };
    let value = Bytes::from(vec![7; 10_000]);
    let mut number = 0_u32;
    wait_until("it is told", || {
        for _ in 0..500 {
            number += 1;
            cache.set(number.to_string(), value.clone()).unwrap();
        }
        count() > 0
    });
    let left = (1..=number).filter(|number| cache.get(number.to_string()).is_some()).count();
    assert!(count() <= u64::from(number) - left as u64, "{} of {number}, {left} left", count());
}

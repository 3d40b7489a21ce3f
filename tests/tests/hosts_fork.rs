//! A process that follows the changes of other hosts forks: what a child does with its copy of the
//! cache leaves the parent's part in the host as it is.
#![cfg(target_os = "linux")]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{thread, time::Duration};

use tierce::{Cache, RedisOptions, Tiering};
use tierce_tests::{
    redis::Redis,
    store_folder,
    traffic::{BOUND, HEARTBEAT, host},
    waiting::{is_near, wait_until},
};

fn process(folder: &tempfile::TempDir, redis: &Redis) -> Cache {
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2))
        .heartbeat(HEARTBEAT)
        .staleness_bound(BOUND);
    host(options, Tiering::L1L2L3, Some(folder))
}

fn subscriptions(cache: &Cache) -> u64 {
    cache.redis_statistics().unwrap().subscriptions
}

/// Forks, has the child close the cache, and waits for its end.
fn close_in_a_child(cache: &Cache) {
    // SAFETY: the child uses the cache and the C library's allocator, which a fork leaves usable,
    // and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        cache.close();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(0) };
    }
    assert!(child > 0);
    let mut status = -1;
    // SAFETY: waits for the child just made, with memory for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(status, 0);
}

#[test]
fn a_child_that_closes_its_copy_of_a_cache_leaves_the_parent_listening() {
    let (redis, folder) = (Redis::start(), store_folder());
    let cache = process(&folder, &redis);
    wait_until("a subscription", || subscriptions(&cache) == 1);
    // It is told with the next heartbeat at the latest that the term has begun.
    thread::sleep(2 * HEARTBEAT);
    let idle = process(&folder, &redis);
    let keys: Vec<_> = (0..5).map(|number| format!("key {number}")).collect();
    for key in &keys {
        close_in_a_child(&cache);
        cache.set(key, "kept".into()).unwrap();
    }
    thread::sleep(BOUND + 2 * HEARTBEAT);
    assert_eq!((subscriptions(&cache), subscriptions(&idle)), (1, 0), "one listens for all");
    for key in &keys {
        assert!(is_near(&cache, key), "{key}: kept for no longer than the bound");
    }
}

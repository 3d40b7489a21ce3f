//! Two hosts that take heartbeat and staleness bound as they are (2 s, 5 s), and lose their link:
//! what somebody replaced is served no longer than 5 s after that.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    thread,
    time::{Duration, Instant},
};

use tierce::{Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering};
use tierce_tests::{
    host::subscriptions,
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::{is_near, wait_until},
};

/// What is promised.
const BOUND: Duration = Duration::from_secs(5);

/// So long after a loss a copy must be there still, as the bound is not shorter than promised:
/// short of a heartbeat, at which the last word may have come before the loss.
const KEPT: Duration = Duration::from_secs(2);

/// How late a thread of a loaded machine may be.
const SLACK: Duration = Duration::from_millis(500);

fn host(tiering: Tiering, options: RedisOptions) -> (Cache, tempfile::TempDir) {
    let folder = store_folder();
    let cache = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(1000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    cache.get("nothing");
    wait_until("a subscription", || subscriptions(&cache) >= 1);
    (cache, folder)
}

/// Loses the link of one host, has the other change a key, and reads it there.
fn lose(tiering: Tiering, lose: impl Fn(&Redis, &Proxy), mend: impl Fn(&Redis, &Proxy)) {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let (near, _one) = host(tiering, RedisOptions::new().unix_path(redis.socket()));
    let (far, _other) = host(tiering, RedisOptions::new().host("127.0.0.1").port(proxy.port()));
    near.set("key", "old".into()).unwrap();
    let warm = || far.get("key").is_some_and(|found| found == "old") && is_near(&far, "key");
    wait_until("a copy", warm);
    // News of it that is late would take the copy along.
    thread::sleep(Duration::from_millis(300));
    wait_until("a copy", warm);
    let lost = Instant::now();
    lose(&redis, &proxy);
    // Where nobody answers, this host alone has it.
    _ = near.set("key", "new".into());
    let mut served = Duration::ZERO;
    while lost.elapsed() < BOUND + 2 * SLACK {
        let asked = lost.elapsed();
        if far.get("key").is_some_and(|found| found == "old") {
            served = asked;
        }
        thread::sleep(Duration::from_millis(5));
    }
    println!("{tiering}: served until {served:?} after the loss");
    assert!(served < BOUND + SLACK, "{tiering}: {served:?} after the loss");
    assert!(served > KEPT, "{tiering}: {served:?} after the loss");
    mend(&redis, &proxy);
    wait_until("the newer value", || far.get("key").is_none_or(|found| found == "new"));
    wait_until("values as before", || {
        near.set("later", "told".into()).unwrap();
        thread::sleep(Duration::from_millis(300));
        _ = far.get("later");
        is_near(&far, "later")
    });
}

fn in_both_tierings(test: impl Fn(Tiering) + Sync) {
    thread::scope(|scope| {
        for tiering in [Tiering::L1L3, Tiering::L1L2L3] {
            let test = &test;
            scope.spawn(move || test(tiering));
        }
    });
}

#[test]
fn a_stopped_server_leaves_nothing_stale_beyond_five_seconds() {
    in_both_tierings(|tiering| {
        let (stop, go_on) = (libc::SIGSTOP, libc::SIGCONT);
        lose(tiering, |redis, _| redis.signal(stop), |redis, _| redis.signal(go_on));
    });
}

#[test]
fn a_link_that_swallows_leaves_nothing_stale_beyond_five_seconds() {
    let all = |proxy: &Proxy, fault| {
        for line in [Line::Calls, Line::Changes] {
            [Way::Up, Way::Down].into_iter().for_each(|way| proxy.set(line, way, fault));
        }
    };
    in_both_tierings(|tiering| {
        lose(tiering, |_, proxy| all(proxy, Fault::Hold), |_, proxy| all(proxy, Fault::None));
    });
}

#[test]
fn a_stream_that_falls_silent_leaves_nothing_stale_beyond_five_seconds() {
    let stream = |proxy: &Proxy, fault| {
        [Way::Up, Way::Down].into_iter().for_each(|way| proxy.set(Line::Changes, way, fault));
    };
    in_both_tierings(|tiering| {
        let lost = |_: &Redis, proxy: &Proxy| stream(proxy, Fault::Hold);
        lose(tiering, lost, |_, proxy| stream(proxy, Fault::None));
    });
}

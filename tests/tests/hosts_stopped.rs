//! A process that is stopped for longer than the staleness bound, as by a debugger or a machine that is
//! moved, and goes on with the connection it had.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{path::Path, thread};

use tierce::{Cache, RedisOptions, StoreOptions, Tiering};
use tierce_tests::{
    host::{BOUND, HEARTBEAT, process, subscriptions},
    process::Worker,
    redis::Redis,
    store_folder,
    waiting::{is_near, wait_until},
};

/// The process that is stopped is told by these where its host is, and what it is.
const FOLDER: &str = "TIERCE_STOPPED_FOLDER";
const SOCKET: &str = "TIERCE_STOPPED_SOCKET";
const TIERING: &str = "TIERCE_STOPPED_TIERING";

fn says(folder: &Path, what: &str) {
    std::fs::write(folder.join(what), b"").unwrap();
}

fn wait_for(folder: &Path, what: &str) {
    wait_until(what, || folder.join(what).exists());
}

fn has_copy(cache: &Cache, key: &str) -> bool {
    cache.get(key).is_some() && is_near(cache, key)
}

/// Not a test: what the process does.
#[test]
fn a_process_that_is_stopped() {
    let (Ok(place), Ok(socket)) = (std::env::var(FOLDER), std::env::var(SOCKET)) else { return };
    let tiering: Tiering = std::env::var(TIERING).unwrap().parse().unwrap();
    let (place, store) = (Path::new(&place), store_folder());
    let options = RedisOptions::new().unix_path(socket).heartbeat(HEARTBEAT).staleness_bound(BOUND);
    let cache = Cache::builder()
        .tiering(tiering)
        .shared(StoreOptions::new(store.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    cache.get("nothing");
    wait_until("a subscription", || subscriptions(&cache) >= 1);
    cache.set("before", "1".into()).unwrap();
    // With a heartbeat it is known up to where all changes are known.
    thread::sleep(3 * HEARTBEAT);
    wait_until("a copy", || has_copy(&cache, "before"));
    says(place, "ready");
    wait_for(place, "it went on");
    wait_until("the copy is back", || has_copy(&cache, "before"));
    wait_until("another copy", || has_copy(&cache, "other"));
    let told = subscriptions(&cache);
    says(place, &format!("all is well after {told} subscriptions"));
    wait_for(place, "the server is silent");
    wait_until("copies are suspended", || {
        cache.get("before").is_none() && cache.get("other").is_none()
    });
    says(place, "they are suspended");
}

#[test]
fn the_copies_of_a_process_that_was_stopped_come_back_and_are_suspended_again() {
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let redis = Redis::start();
        let (folder, store) = (store_folder(), store_folder());
        let elsewhere = process(&store, &redis, Tiering::L3, |options| options);
        elsewhere.set("other", "1".into()).unwrap();
        let place = folder.path();
        let program = std::env::current_exe().unwrap();
        let mut worker = Worker::start(
            "env",
            &[
                &format!("{FOLDER}={}", place.display()),
                &format!("{SOCKET}={}", redis.socket().display()),
                &format!("{TIERING}={tiering}"),
                program.to_str().unwrap(),
                "--exact",
                "a_process_that_is_stopped",
            ],
        );
        wait_for(place, "ready");
        worker.signal(libc::SIGSTOP);
        thread::sleep(2 * BOUND);
        worker.signal(libc::SIGCONT);
        says(place, "it went on");
        wait_for(place, "all is well after 1 subscriptions");
        redis.signal(libc::SIGSTOP);
        says(place, "the server is silent");
        wait_for(place, "they are suspended");
        redis.signal(libc::SIGCONT);
        assert!(worker.wait(BOUND * 10).unwrap().success(), "{tiering}");
    }
}

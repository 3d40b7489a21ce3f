//! L3 written behind, and a change by another process of the host that comes while a value is on its way,
//! or is itself on its way while a value is sent: the order in which they reach the server is not the order
//! in which they were made, and nothing older is left to be found.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{thread, time::Duration};

use tierce::{Cache, ReadOptions, RedisOptions, SetOptions, Tiering, WritePolicy};
use tierce_tests::{
    host::{process, subscriptions},
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::wait_until,
};

/// Longer than any test: what waits is sent by nobody who is not asked to.
const LONG: Duration = Duration::from_secs(60);

/// What changes a key that has a value on its way.
#[derive(Clone, Copy, Debug)]
enum Change {
    Delete,
    Set,
    Clear,
}

impl Change {
    const ALL: [Self; 3] = [Self::Delete, Self::Set, Self::Clear];

    fn make(self, cache: &Cache, key: &str) {
        match self {
            Self::Delete => cache.delete(key),
            Self::Set => {
                let named = SetOptions::new().tiers(Tiering::L1L2L3);
                cache.set_with(key, "new".into(), &named)
            }
            Self::Clear => cache.clear(),
        }
        .unwrap();
    }
}

fn patient(options: RedisOptions) -> RedisOptions {
    let long = Duration::from_secs(20);
    options.read_timeout(long).write_timeout(long).heartbeat(long).staleness_bound(3 * long)
}

/// A process of a host that reaches the server by a proxy, one that does not, and another host.
struct World {
    proxy: Proxy,
    far: Cache,
    near: Cache,
    elsewhere: Cache,
    _redis: Redis,
    _folders: [tempfile::TempDir; 2],
}

impl World {
    fn new() -> Self {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.socket());
        let folders = [store_folder(), store_folder()];
        let tiering = Tiering::L1L2L3;
        let behind =
            |options: RedisOptions| patient(options).write(WritePolicy::Behind).write_delay(LONG);
        let elsewhere = process(&folders[1], &redis, Tiering::L3, |options| options);
        let options = behind(RedisOptions::new().host("127.0.0.1").port(proxy.port()));
        let far = Cache::builder()
            .tiering(tiering)
            .shared(tierce::StoreOptions::new(folders[0].path().join("store")).max_bytes(16 << 20))
            .redis(options)
            .build()
            .unwrap();
        // It listens for the host, as it is the first.
        far.get("nothing");
        wait_until("it is told", || subscriptions(&far) > 0);
        let near = process(&folders[0], &redis, tiering, behind);
        let world = Self { proxy, far, near, elsewhere, _redis: redis, _folders: folders };
        for cache in [&world.near, &world.far] {
            wait_until("sets wait", || {
                thread::sleep(Duration::from_millis(5));
                cache.set("does it wait", "yes".into()).unwrap();
                cache.stats().behind.waiting > 0
            });
            assert!(cache.flush().unwrap());
        }
        world
    }

    /// Another host sets the key, of which this one has heard then.
    fn begin(&self, key: &str) {
        for (key, value) in [(key, "old"), ("news", key), ("news", "over")] {
            self.elsewhere.set(key, value.to_owned().into()).unwrap();
            wait_until("news", || self.near.get(key).as_deref() == Some(value.as_bytes()));
        }
    }

    fn check(&self, key: &str, change: Change, is_done: bool) {
        let only = ReadOptions::new().tiers(Tiering::L3);
        let in_l3 = self.near.get_with(key, &only).map(|answer| answer.value);
        for found in [in_l3, self.near.get(key)].into_iter().flatten() {
            assert_ne!(found, "waits", "{change:?}");
            assert_ne!(found, "old", "{change:?}");
        }
        if is_done {
            let found = self.elsewhere.get(key);
            assert_ne!(found.as_deref(), Some(&b"waits"[..]), "{change:?}");
            assert_ne!(found.as_deref(), Some(&b"old"[..]), "{change:?}");
        }
    }
}

#[test]
fn a_change_that_returns_while_a_value_is_on_its_way_is_the_last() {
    let world = World::new();
    for change in Change::ALL {
        for round in 0..3 {
            let key = format!("{change:?} {round}");
            world.begin(&key);
            world.far.set(&key, "waits".into()).unwrap();
            world.proxy.set(Line::Calls, Way::Up, Fault::Hold);
            thread::scope(|scope| {
                let sending = scope.spawn(|| world.far.flush().unwrap());
                wait_until("it is on its way", || world.far.stats().behind.waiting == 0);
                thread::sleep(Duration::from_millis(30));
                change.make(&world.near, &key);
                world.check(&key, change, false);
                world.proxy.set(Line::Calls, Way::Up, Fault::None);
                while !sending.is_finished() {
                    world.check(&key, change, false);
                }
            });
            world.check(&key, change, true);
        }
    }
}

#[test]
fn a_value_that_is_sent_while_a_change_is_on_its_way_is_not_left_behind_it() {
    let world = World::new();
    for change in Change::ALL {
        for round in 0..3 {
            let key = format!("{change:?} {round}");
            world.begin(&key);
            world.near.set(&key, "waits".into()).unwrap();
            // The server has the change; who makes it does not know it, and nobody of the host is told.
            world.proxy.set(Line::Changes, Way::Down, Fault::Hold);
            world.proxy.set(Line::Calls, Way::Down, Fault::Hold);
            thread::scope(|scope| {
                let changing = scope.spawn(|| change.make(&world.far, &key));
                wait_until("the server has the change", || {
                    world.elsewhere.get(&key).as_deref() != Some(b"old")
                });
                world.near.flush().unwrap();
                world.proxy.set(Line::Calls, Way::Down, Fault::None);
                changing.join().unwrap();
            });
            world.check(&key, change, true);
            world.proxy.set(Line::Changes, Way::Down, Fault::None);
        }
    }
}

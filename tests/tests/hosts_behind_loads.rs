//! L3 written behind, and loads that replace what waits: all hosts agree on what was loaded, whatever is sent
//! when. And what a load brings to be kept for no time leaves nothing older in L3.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{io, thread, time::Duration};

use tierce::{
    Bytes, Cache, LoadOptions, Loaded, ReadOptions, RedisOptions, SetOptions, TierKind, Tiering,
    WritePolicy,
};
use tierce_tests::{
    host::{HEARTBEAT, Host, process},
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    waiting::wait_until,
};

/// Longer than any test: what waits is sent by nobody who is not asked to.
const LONG: Duration = Duration::from_secs(60);

const TIERINGS: [Tiering; 3] = [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3];

fn behind(options: RedisOptions) -> RedisOptions {
    options.write(WritePolicy::Behind).write_delay(LONG)
}

/// Waits until changes of other hosts are told.
fn wait_until_behind(cache: &Cache) {
    wait_until("sets wait", || {
        thread::sleep(Duration::from_millis(5));
        cache.set("does it wait", "yes".into()).unwrap();
        cache.stats().behind.waiting > 0
    });
    assert!(cache.flush().unwrap());
}

/// Two processes of a host that set behind L3, one where there is no store, and one of another host.
struct World {
    here: Vec<Cache>,
    there: Cache,
    tiering: Tiering,
    _hosts: [Host; 2],
    redis: Redis,
}

impl World {
    fn new(tiering: Tiering) -> Self {
        let redis = Redis::start();
        let hosts = [Host::with(&redis, tiering, behind), Host::new(&redis, tiering)];
        let mut here = vec![hosts[0].cache.clone()];
        if tiering.has(TierKind::Shared) {
            here.push(process(&hosts[0].folder, &redis, tiering, behind));
        }
        here.iter().for_each(wait_until_behind);
        Self { here, there: hosts[1].cache.clone(), tiering, _hosts: hosts, redis }
    }

    fn sets(&self, key: &str, options: &SetOptions) {
        self.here[0].set_with(key, "set".into(), options).unwrap();
        assert!(self.here[0].stats().behind.waiting > 0, "{}: it waits", self.tiering);
    }

    /// All processes have this of the key, and so does L3.
    fn agree(&self, key: &str, value: Option<&str>) {
        let tiering = self.tiering;
        for round in ["before it is sent", "after"] {
            for cache in self.here.iter().chain([&self.there]) {
                assert_eq!(text(cache.get(key)).as_deref(), value, "{tiering}, {key}: {round}");
                let in_l3 = ReadOptions::new().tiers(Tiering::L3);
                let in_l3 = cache.get_with(key, &in_l3).map(|answer| answer.value);
                assert_eq!(text(in_l3).as_deref(), value, "{tiering}, {key}: {round}, L3");
                let decided = cache.get_versioned(key).unwrap().0;
                assert_eq!(text(decided).as_deref(), value, "{tiering}, {key}: {round}, decided");
            }
            self.here.iter().for_each(|cache| assert!(cache.flush().unwrap()));
        }
    }
}

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// Loads whatever there is.
fn anew(cache: &Cache, key: &str, loaded: Loaded<Bytes>) -> Option<String> {
    let options = LoadOptions::new().max_age(Duration::ZERO);
    let load = |_: &[u8]| io::Result::Ok(loaded);
    text(cache.get_or_load_optional(key, &options, load).unwrap().value)
}

#[test]
fn what_is_loaded_over_what_waits_is_what_all_hosts_have() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        for (number, loader) in world.here.iter().enumerate() {
            for round in 0..3 {
                let key = format!("{number} {round}");
                world.sets(&key, &SetOptions::new());
                let loaded = anew(loader, &key, Loaded::new("loaded".into()));
                assert_eq!(loaded.as_deref(), Some("loaded"), "{tiering}");
                world.agree(&key, Some("loaded"));
            }
        }
    }
}

#[test]
fn what_is_loaded_while_nothing_can_be_sent_is_nowhere_followed_by_what_waits() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        for (what, loaded) in [("value", Loaded::new("loaded".into())), ("none", Loaded::absent())]
        {
            world.sets(what, &SetOptions::new());
            // With a heartbeat it is known up to where all changes are known.
            thread::sleep(3 * HEARTBEAT);
            world.redis.signal(libc::SIGSTOP);
            wait_until("copies are suspended", || world.here[0].get(what).is_none());
            _ = anew(&world.here[0], what, loaded);
            assert_eq!(world.here[0].stats().behind.waiting, 1, "{tiering}: it still waits");
            world.redis.signal(libc::SIGCONT);
            wait_until("all is sent", || world.here[0].flush().unwrap());
            let in_l3 = text(world.there.get(what));
            wait_until("all have what L3 has", || text(world.here[0].get(what)) == in_l3);
            world.agree(what, in_l3.as_deref());
        }
    }
}

#[test]
fn what_is_loaded_while_a_set_is_on_its_way_is_not_kept_above_it() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let long = Duration::from_secs(20);
    // Another read of L3 would wait as long as the set does.
    let far = Host::through(Tiering::L1L3, |options| {
        behind(options.host("127.0.0.1").port(proxy.port()))
            .read_timeout(long)
            .write_timeout(long)
            .heartbeat(long)
            .staleness_bound(3 * long)
    });
    let there = Host::new(&redis, Tiering::L1L3);
    wait_until_behind(&far.cache);
    for (what, loaded) in [("value", Loaded::new("loaded".into())), ("none", Loaded::absent())] {
        far.cache.set(what, "set".into()).unwrap();
        proxy.set(Line::Calls, Way::Up, Fault::Hold);
        thread::scope(|scope| {
            let sending = scope.spawn(|| far.cache.flush().unwrap());
            wait_until("it is on its way", || far.cache.stats().behind.waiting == 0);
            _ = anew(&far.cache, what, loaded);
            proxy.set(Line::Calls, Way::Up, Fault::None);
            sending.join().unwrap();
        });
        assert!(far.cache.flush().unwrap());
        assert_eq!(far.cache.get(what), there.cache.get(what), "{what}");
    }
}

#[test]
fn what_is_loaded_while_others_of_its_cell_wait_is_not_kept_above_what_l3_has() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let long = Duration::from_secs(20);
    let far = Host::through(Tiering::L1L2L3, |options| {
        behind(options.host("127.0.0.1").port(proxy.port()))
            .read_timeout(long)
            .write_timeout(long)
            .heartbeat(long)
            .staleness_bound(3 * long)
    });
    let near = process(&far.folder, &redis, Tiering::L1L2L3, |options| options);
    wait_until_behind(&far.cache);
    let names: Vec<String> = (0..8).map(|number| format!("name {number}")).collect();
    names.iter().for_each(|name| near.set(name, "old".into()).unwrap());
    // So many that they have claimed most cells of a small store.
    (0..14_000).for_each(|number| far.cache.set(format!("{number}"), "waits".into()).unwrap());
    proxy.set(Line::Calls, Way::Up, Fault::Hold);
    let in_l3 = |name: &String| {
        let options = ReadOptions::new().tiers(Tiering::L3);
        text(near.get_with(name, &options).map(|answer| answer.value))
    };
    thread::scope(|scope| {
        for name in &names {
            scope.spawn(|| anew(&near, name, Loaded::new("loaded".into())));
        }
    });
    let refused = near.stats().loads_not_stored;
    proxy.set(Line::Calls, Way::Up, Fault::None);
    wait_until("all is sent", || far.cache.flush().unwrap());
    for name in &names {
        assert_eq!(text(near.get(name)), in_l3(name), "{name}");
        assert_eq!(text(far.cache.get(name)), in_l3(name), "{name}");
    }
    assert!(refused > 0, "no name shared a cell with what waits");
}

#[test]
fn what_is_loaded_at_once_for_many_keys_is_so_too() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        let options = LoadOptions::new().max_age(Duration::ZERO);
        let load = |keys: &[&[u8]]| io::Result::Ok(vec![Bytes::from("loaded"); keys.len()]);
        for (number, loader) in world.here.iter().enumerate() {
            let key = format!("{number}");
            world.sets(&key, &SetOptions::new());
            loader.get_or_load_many_entries(&[&key], &options, load).pop().unwrap().unwrap();
            world.agree(&key, Some("loaded"));
        }
    }
}

#[test]
fn where_a_load_leaves_nothing_nobody_has_what_waited() {
    let nothing = [
        ("absent", Loaded::absent()),
        ("no time", Loaded::new(Bytes::from("loaded")).ttl(Duration::ZERO)),
    ];
    for tiering in TIERINGS {
        let world = World::new(tiering);
        for (number, loader) in world.here.iter().enumerate() {
            for (what, loaded) in &nothing {
                let key = format!("{what} {number}");
                world.sets(&key, &SetOptions::new());
                _ = anew(loader, &key, loaded.clone());
                world.agree(&key, None);
                // It has been there for long.
                world.sets(&key, &SetOptions::new());
                world.here[0].flush().unwrap();
                assert_eq!(text(world.there.get(&key)).as_deref(), Some("set"), "{tiering}");
                _ = anew(loader, &key, loaded.clone());
                wait_until("it is told", || world.there.get(&key).is_none());
                world.agree(&key, None);
            }
        }
    }
}

#[test]
fn what_waits_until_its_time_is_over_is_not_sent_over_what_is_loaded_then() {
    let short = SetOptions::new().ttl(Duration::from_millis(100));
    for tiering in TIERINGS {
        let world = World::new(tiering);
        let cache = &world.here[0];
        world.sets("a", &short);
        wait_until("its time is over", || cache.get("a").is_none());
        cache.get_or_load("a", |_| io::Result::Ok(Bytes::from("loaded"))).unwrap();
        world.agree("a", Some("loaded"));
    }
}

#[test]
fn what_is_set_during_a_load_that_replaces_what_waits_stays() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        for (number, loader) in world.here.iter().enumerate() {
            let brought =
                [("value", Loaded::new(Bytes::from("loaded"))), ("none", Loaded::absent())];
            for (what, loaded) in brought {
                let key = format!("{what} {number}");
                world.sets(&key, &SetOptions::new());
                let options = LoadOptions::new().max_age(Duration::ZERO);
                let load = |_: &[u8]| {
                    world.here[0].set(&key, "later".into()).unwrap();
                    io::Result::Ok(loaded)
                };
                _ = loader.get_or_load_optional(&key, &options, load).unwrap();
                let stays = text(loader.get(&key));
                if number == 0 || what == "value" {
                    assert_eq!(stays.as_deref(), Some("later"), "{tiering}, {key}");
                } else {
                    // What the load removed from L3 may be told before another process has sent its value.
                    assert!(matches!(stays.as_deref(), Some("later") | None), "{tiering}, {key}");
                }
                assert!(world.here[0].flush().unwrap());
                world.agree(&key, text(loader.get(&key)).as_deref());
            }
        }
    }
}

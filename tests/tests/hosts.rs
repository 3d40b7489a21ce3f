//! Two hosts, each with a store of its own, that share a redis-server: what one changes, the other
//! does not serve for longer than it says, whatever becomes of the stream of changes.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, MemoryOptions, OnLoss, Origin, RedisOptions, StoreOptions, TierKind, Tiering,
};
use tierce_tests::{
    redis::Redis,
    seed, store_folder, value,
    waiting::{is_near, wait_for_news, wait_until},
};

const HEARTBEAT: Duration = Duration::from_millis(200);
const BOUND: Duration = Duration::from_millis(1000);

struct Host {
    folder: tempfile::TempDir,
    cache: Cache,
}

impl Host {
    fn new(redis: &Redis, tiering: Tiering) -> Self {
        Self::with(redis, tiering, |options| options)
    }

    fn with(
        redis: &Redis,
        tiering: Tiering,
        more: impl FnOnce(RedisOptions) -> RedisOptions,
    ) -> Self {
        let folder = store_folder();
        let cache = process(&folder, redis, tiering, more);
        Self { folder, cache }
    }

    /// Another process of the host, as far as the store can tell.
    fn another(&self, redis: &Redis, tiering: Tiering) -> Cache {
        process(&self.folder, redis, tiering, |options| options)
    }
}

fn process(
    folder: &tempfile::TempDir,
    redis: &Redis,
    tiering: Tiering,
    more: impl FnOnce(RedisOptions) -> RedisOptions,
) -> Cache {
    let cache = silent_process(folder, redis, tiering, more);
    // The thread that listens begins with the first call.
    cache.get("nothing");
    cache
}

/// A process that was not asked for anything yet.
fn silent_process(
    folder: &tempfile::TempDir,
    redis: &Redis,
    tiering: Tiering,
    more: impl FnOnce(RedisOptions) -> RedisOptions,
) -> Cache {
    let options = RedisOptions::new()
        .unix_path(redis.socket())
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2))
        .heartbeat(HEARTBEAT)
        .staleness_bound(BOUND);
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(more(options))
        .build()
        .unwrap()
}

fn subscriptions(cache: &Cache) -> u64 {
    cache.redis_statistics().map_or(0, |counted| counted.subscriptions)
}

fn wait_for_subscription(cache: &Cache, least: u64) {
    wait_until("a subscription", || subscriptions(cache) >= least);
    // It begins when all that was told before it is forgotten.
    let key = "is L1 in use again";
    wait_until("a hit", || {
        cache.set(key, "yes".into()).unwrap();
        thread::sleep(Duration::from_millis(20));
        is_near(cache, key)
    });
}

fn warm(cache: &Cache, key: &str, value: &'static str) {
    wait_until("a copy in L1", || {
        assert_eq!(cache.get(key).as_deref(), Some(value.as_bytes()));
        is_near(cache, key)
    });
}

fn changes_are_seen(tiering: Tiering) {
    let redis = Redis::start();
    let (one, other) = (Host::new(&redis, tiering), Host::new(&redis, tiering));
    wait_for_subscription(&one.cache, 1);
    wait_for_subscription(&other.cache, 1);
    for (round, change) in ["set", "delete", "clear", "load"].into_iter().enumerate() {
        let key = format!("key {round}");
        one.cache.set(&key, "old".into()).unwrap();
        warm(&other.cache, &key, "old");
        warm(&one.cache, &key, "old");
        let expected = match change {
            "set" => {
                one.cache.set(&key, "new".into()).unwrap();
                Some("new")
            }
            "delete" => {
                one.cache.delete(&key).unwrap();
                None
            }
            "clear" => {
                one.cache.clear().unwrap();
                None
            }
            _ => {
                one.cache.delete(&key).unwrap();
                one.cache.get_or_load(&key, |_| std::io::Result::Ok(Bytes::from("new"))).unwrap();
                Some("new")
            }
        };
        let took =
            wait_until(change, || other.cache.get(&key).as_deref() == expected.map(str::as_bytes));
        println!("{change}: {took:?}");
        assert_eq!(one.cache.get(&key).as_deref(), expected.map(str::as_bytes));
    }
}

#[test]
fn changes_are_seen_by_the_other_host_with_a_store() {
    changes_are_seen(Tiering::L1L2L3);
}

#[test]
fn changes_are_seen_by_the_other_host_without_a_store() {
    changes_are_seen(Tiering::L1L3);
}

#[test]
fn changes_are_seen_by_the_other_host_without_l1() {
    let redis = Redis::start();
    let (one, other) = (Host::new(&redis, Tiering::L2L3), Host::new(&redis, Tiering::L2L3));
    wait_until("subscriptions", || subscriptions(&one.cache) + subscriptions(&other.cache) == 2);
    one.cache.set("key", "old".into()).unwrap();
    assert_eq!(other.cache.get("key").as_deref(), Some(&b"old"[..]));
    one.cache.set("key", "new".into()).unwrap();
    wait_until("a change", || other.cache.get("key").as_deref() == Some(b"new"));
}

#[test]
fn a_host_keeps_its_copies_of_what_it_changed_itself() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let host = Host::new(&redis, tiering);
        wait_for_subscription(&host.cache, 1);
        // A stream that is lost meanwhile, on a busy machine, tells of none.
        wait_until("echoes of changes whose copies are left", || {
            let told = || host.cache.redis_statistics().unwrap().changes_told;
            let before = told();
            let keys: Vec<_> = (0..100).map(|key| format!("{tiering} {before} {key}")).collect();
            for key in &keys {
                host.cache.set(key, "mine".into()).unwrap();
            }
            // The last ones are being looked at.
            thread::sleep(Duration::from_millis(150));
            let near = keys.iter().filter(|key| is_near(&host.cache, key)).count();
            told() >= before + 100 && near >= 95
        });
    }
}

#[test]
fn a_change_of_what_the_server_never_took_is_seen_by_who_has_it() {
    let redis = Redis::start();
    let large = |text: &str| Bytes::from(text.repeat(2_000));
    for tiering in [Tiering::L1L3, Tiering::L1L2L3, Tiering::L2L3] {
        let small = |options: RedisOptions| options.max_value_bytes(1_000);
        let one = Host::with(&redis, tiering, small);
        let other = Host::with(&redis, tiering, small);
        if tiering.has(TierKind::Memory) {
            wait_for_subscription(&one.cache, 1);
        } else {
            wait_until("a subscription", || subscriptions(&one.cache) >= 1);
        }
        for what in ["delete", "expire", "set"] {
            for how in ["set", "load"] {
                let key = format!("{what} after {how}");
                if how == "load" {
                    let load = |_: &[u8]| std::io::Result::Ok(large("a"));
                    one.cache.get_or_load(&key, load).unwrap();
                } else {
                    one.cache.set(&key, large("a")).unwrap();
                }
                assert_eq!(one.cache.get(&key), Some(large("a")), "{tiering}: above L3 it fits");
                match what {
                    "delete" => other.cache.delete(&key).unwrap(),
                    "expire" => other.cache.expire(&key).unwrap(),
                    _ => other.cache.set(&key, large("b")).unwrap(),
                }
                wait_until(&key, || one.cache.get(&key).is_none());
            }
        }
    }
}

#[test]
fn changes_by_foreign_clients_are_seen() {
    let redis = Redis::start();
    let host = Host::new(&redis, Tiering::L1L2L3);
    wait_for_subscription(&host.cache, 1);
    let client = redis::Client::open(format!("unix://{}", redis.socket().display())).unwrap();
    let mut client = client.get_connection().unwrap();
    for command in ["UNLINK", "SET", "FLUSHALL"] {
        host.cache.set("key", "value".into()).unwrap();
        warm(&host.cache, "key", "value");
        let names: Vec<String> =
            redis::cmd("KEYS").arg("tierce:k:*:key").query(&mut client).unwrap();
        let () = match command {
            "UNLINK" => redis::cmd("UNLINK").arg(&names).query(&mut client).unwrap(),
            "SET" => redis::cmd("SET").arg(&names).arg("garbage").query(&mut client).unwrap(),
            _ => redis::cmd("FLUSHALL").query(&mut client).unwrap(),
        };
        wait_until(command, || host.cache.get("key").is_none());
    }
}

#[test]
fn what_changed_while_the_stream_was_cut_is_not_served_afterwards() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let (one, other) = (Host::new(&redis, tiering), Host::new(&redis, tiering));
        wait_for_subscription(&one.cache, 1);
        wait_for_subscription(&other.cache, 1);
        for round in 0..5 {
            let key = format!("{tiering} {round}");
            one.cache.set(&key, "old".into()).unwrap();
            warm(&other.cache, &key, "old");
            let before = [&one, &other].map(|host| subscriptions(&host.cache));
            assert!(redis.cut_streams() >= 2);
            one.cache.set(&key, "new".into()).unwrap();
            wait_until("a change", || other.cache.get(&key).as_deref() == Some(b"new"));
            wait_for_subscription(&one.cache, before[0] + 1);
            wait_for_subscription(&other.cache, before[1] + 1);
        }
    }
}

#[test]
fn a_cut_stream_costs_no_copy_of_which_nothing_was_changed() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let (one, other) = (Host::new(&redis, tiering), Host::new(&redis, tiering));
        wait_for_subscription(&one.cache, 1);
        wait_for_subscription(&other.cache, 1);
        let keys: Vec<_> = (0..200).map(|key| format!("{tiering} {key}")).collect();
        for key in &keys {
            one.cache.set(key, "kept".into()).unwrap();
        }
        thread::sleep(HEARTBEAT);
        for key in &keys {
            warm(&other.cache, key, "kept");
        }
        // What was told so far is known from the next heartbeat on.
        thread::sleep(3 * HEARTBEAT);
        let before = subscriptions(&other.cache);
        redis.cut_streams();
        one.cache.set(&keys[0], "new".into()).unwrap();
        wait_until("a change", || other.cache.get(&keys[0]).as_deref() == Some(b"new"));
        wait_until("a subscription", || subscriptions(&other.cache) > before);
        let near = keys.iter().filter(|key| is_near(&other.cache, key)).count();
        assert!(near >= 190, "{tiering}: {near} of 200 are left");
    }
}

#[test]
fn a_store_stays_warm_while_no_process_has_it_open() {
    let redis = Redis::start();
    let (one, other) = (Host::new(&redis, Tiering::L1L2L3), Host::new(&redis, Tiering::L1L2L3));
    wait_for_subscription(&one.cache, 1);
    wait_for_subscription(&other.cache, 1);
    let keys: Vec<_> = (0..200).map(|key| format!("key {key}")).collect();
    for key in &keys {
        other.cache.set(key, "kept".into()).unwrap();
    }
    thread::sleep(3 * HEARTBEAT);
    let Host { folder, cache } = other;
    cache.close();
    drop(cache);
    for key in &keys[..5] {
        one.cache.set(key, "new".into()).unwrap();
    }
    let cache = process(&folder, &redis, Tiering::L1L2L3, |options| options);
    wait_until("a subscription", || subscriptions(&cache) == 1);
    let mut warm = 0;
    for (number, key) in keys.iter().enumerate() {
        let found = cache.get_entry(key).unwrap();
        assert_eq!(found.value, if number < 5 { "new" } else { "kept" }, "{key}");
        warm += usize::from(found.origin == Origin::Tier(TierKind::Shared));
    }
    assert!(warm >= 180, "{warm} of 200 are left");

    thread::sleep(3 * HEARTBEAT);
    cache.close();
    drop(cache);
    one.cache.clear().unwrap();
    let cache = process(&folder, &redis, Tiering::L1L2L3, |options| options);
    wait_until("a subscription", || subscriptions(&cache) == 1);
    assert_eq!(keys.iter().filter(|key| cache.get(key).is_some()).count(), 0, "after a clear");
}

#[test]
fn the_first_read_of_a_process_finds_nothing_of_a_time_when_nobody_was_told() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L2L3] {
        let one = Host::new(&redis, tiering);
        let other = Host::new(&redis, tiering);
        wait_until("a subscription", || subscriptions(&other.cache) >= 1);
        let keys: Vec<_> = (0..200).map(|key| format!("{tiering} {key}")).collect();
        for key in &keys {
            other.cache.set(key, "old".into()).unwrap();
        }
        let Host { folder, cache } = other;
        cache.close();
        drop(cache);
        for key in &keys {
            one.cache.set(key, "new".into()).unwrap();
        }
        thread::sleep(BOUND + HEARTBEAT);
        let cache = silent_process(&folder, &redis, tiering, |options| options);
        let found: Vec<_> = keys.iter().map(|key| cache.get(key).unwrap()).collect();
        assert_eq!(found.iter().filter(|value| *value == "old").count(), 0, "{tiering}");
    }
}

#[test]
fn nothing_stale_is_served_past_the_bound_when_the_server_falls_silent() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let host = Host::new(&redis, tiering);
        wait_for_subscription(&host.cache, 1);
        host.cache.set("key", "value".into()).unwrap();
        warm(&host.cache, "key", "value");
        redis.signal(libc::SIGSTOP);
        let took = wait_until("a loss is noticed", || host.cache.get("key").is_none());
        println!("{tiering}: noticed after {took:?}");
        // What is loaded meanwhile lives for the bound at most.
        let loads = AtomicU64::new(0);
        let begin = Instant::now();
        while begin.elapsed() < 3 * BOUND {
            let load = |_: &[u8]| {
                loads.fetch_add(1, Ordering::Relaxed);
                std::io::Result::Ok(Bytes::from("loaded"))
            };
            assert_eq!(host.cache.get_or_load("cold", load).unwrap(), "loaded");
            thread::sleep(Duration::from_millis(5));
        }
        let loads = loads.into_inner();
        assert!((3..=20).contains(&loads), "{tiering}: {loads} loads in three bounds");
        let before = subscriptions(&host.cache);
        redis.signal(libc::SIGCONT);
        wait_until("a subscription", || subscriptions(&host.cache) > before);
        // Nobody changed it: it was out of use, not lost.
        wait_until("the copy", || is_near(&host.cache, "key"));
        wait_for_subscription(&host.cache, before + 1);
    }
}

#[test]
fn a_change_that_the_server_did_not_take_is_told_once_it_is_back() {
    let redis = Redis::start();
    let hasty = |options: RedisOptions| {
        let soon = Duration::from_millis(100);
        options.read_timeout(soon).write_timeout(soon).staleness_bound(Duration::from_secs(60))
    };
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let (one, other) = (Host::with(&redis, tiering, hasty), Host::with(&redis, tiering, hasty));
        wait_for_subscription(&one.cache, 1);
        wait_for_subscription(&other.cache, 1);
        let key = format!("{tiering}");
        one.cache.set(&key, "old".into()).unwrap();
        warm(&other.cache, &key, "old");
        // News of the first change would take the copy of the second along.
        wait_for_news(&one.cache, &other.cache);
        warm(&one.cache, &key, "old");
        redis.signal(libc::SIGSTOP);
        one.cache.set(&key, "new".into()).unwrap();
        assert_eq!(one.cache.get(&key).as_deref(), Some(&b"new"[..]));
        redis.signal(libc::SIGCONT);
        // As the change is settled the copy may go.
        assert_ne!(one.cache.get(&key).as_deref(), Some(&b"old"[..]));
        // The one that made the change does nothing more.
        wait_until("a change", || other.cache.get(&key).as_deref() != Some(b"old"));
    }
}

#[test]
fn copies_are_served_through_a_loss_where_that_is_asked_for() {
    let redis = Redis::start();
    let serve = |options: RedisOptions| options.on_loss(OnLoss::Serve);
    let host = Host::with(&redis, Tiering::L1L2L3, serve);
    wait_for_subscription(&host.cache, 1);
    host.cache.set("key", "value".into()).unwrap();
    warm(&host.cache, "key", "value");
    redis.signal(libc::SIGSTOP);
    let lost = || host.cache.redis_statistics().unwrap().subscriptions_lost;
    wait_until("a loss", || lost() >= 2);
    assert_eq!(host.cache.get("key").as_deref(), Some(&b"value"[..]));
    redis.signal(libc::SIGCONT);
}

#[test]
fn hosts_without_coherence_serve_what_they_have() {
    let redis = Redis::start();
    let off = |options: RedisOptions| options.coherence(false);
    let one = Host::with(&redis, Tiering::L1L2L3, off);
    let other = Host::with(&redis, Tiering::L1L2L3, off);
    one.cache.set("key", "old".into()).unwrap();
    warm(&other.cache, "key", "old");
    one.cache.set("key", "new".into()).unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!(other.cache.get("key").as_deref(), Some(&b"old"[..]), "nobody listens");
    assert_eq!(subscriptions(&other.cache), 0);
}

#[test]
fn one_process_of_a_host_listens_and_another_takes_over() {
    let redis = Redis::start();
    let tiering = Tiering::L1L2L3;
    let (one, other) = (Host::new(&redis, tiering), Host::new(&redis, tiering));
    wait_for_subscription(&one.cache, 1);
    wait_for_subscription(&other.cache, 1);
    let second = other.another(&redis, tiering);
    let third = other.another(&redis, tiering);
    let check = |cache: &Cache, key: &str| {
        one.cache.set(key, "old".into()).unwrap();
        warm(cache, key, "old");
        one.cache.set(key, "new".into()).unwrap();
        wait_until("a change", || cache.get(key).as_deref() == Some(b"new"));
    };
    check(&second, "a");
    thread::sleep(3 * HEARTBEAT);
    assert_eq!((subscriptions(&second), subscriptions(&third)), (0, 0), "one listens for all");
    // Says that it leaves.
    other.cache.close();
    wait_until("the next one", || subscriptions(&second) + subscriptions(&third) == 1);
    let (listens, idle) =
        if subscriptions(&second) == 1 { (second, third) } else { (third, second) };
    wait_for_subscription(&idle, 0);
    check(&idle, "b");
    // Says nothing, as one that is killed.
    drop(listens);
    wait_until("the last one", || subscriptions(&idle) == 1);
    wait_for_subscription(&idle, 1);
    check(&idle, "c");
}

#[test]
fn hosts_that_change_a_key_at_the_same_time_end_with_one_value() {
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let hosts = [Host::new(&redis, tiering), Host::new(&redis, tiering)];
        hosts.iter().for_each(|host| wait_for_subscription(&host.cache, 1));
        for round in 0..50 {
            let key = format!("{tiering} {round}");
            thread::scope(|scope| {
                for (name, host) in hosts.iter().enumerate() {
                    let key = &key;
                    scope.spawn(move || {
                        for number in 0..10 {
                            host.cache.set(key, format!("{name} {number}").into()).unwrap();
                        }
                    });
                }
            });
            let [one, other] = [&hosts[0].cache, &hosts[1].cache];
            wait_until("one value", || one.get(&key) == other.get(&key));
            // And it stays so: nothing that was under way settles on another one.
            thread::sleep(Duration::from_millis(5));
            assert_eq!(one.get(&key), other.get(&key), "{key}");
        }
    }
}

/// Readers and writers on two hosts, while the stream is cut again and again. Each key has one
/// host that writes it. What has returned a bound ago is what the other host must have.
#[test]
fn no_host_serves_what_was_replaced_longer_ago_than_the_bound() {
    const KEYS: u64 = 200;
    /// A loaded machine may let a thread wait for so long.
    const SLACK: Duration = Duration::from_millis(1500);
    let seconds = std::env::var("TIERCE_HOSTS_SECONDS").map_or(6, |text| text.parse().unwrap());
    let seed = seed();
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let hosts = [Host::new(&redis, tiering), Host::new(&redis, tiering)];
        hosts.iter().for_each(|host| wait_for_subscription(&host.cache, 1));
        let zeros = || (0..KEYS).map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
        let (returned, floor) = (zeros(), zeros());
        let (done, reads, late) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
        let (returned, floor, done, reads, late) = (&returned, &floor, &done, &reads, &late);
        thread::scope(|scope| {
            for (number, host) in hosts.iter().enumerate() {
                let host = &host.cache;
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed + number as u64);
                    while !done.load(Ordering::Relaxed) {
                        let key = random.u64(..KEYS / 2) * 2 + number as u64;
                        let version = returned[key as usize].load(Ordering::Acquire) + 1;
                        host.set(key.to_le_bytes(), value::make(key, version, 100)).unwrap();
                        returned[key as usize].store(version, Ordering::Release);
                        thread::sleep(Duration::from_micros(random.u64(..2000)));
                    }
                });
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(!seed + number as u64);
                    while !done.load(Ordering::Relaxed) {
                        let key = random.u64(..KEYS);
                        let at_least = floor[key as usize].load(Ordering::Acquire);
                        let own = key % 2 == number as u64;
                        let own_floor = returned[key as usize].load(Ordering::Acquire);
                        if let Some(found) = host.get(key.to_le_bytes()) {
                            let version = value::check(key, &found).unwrap();
                            let least = if own { own_floor } else { at_least };
                            if version < least {
                                println!("host {number}, key {key}: {version}, not {least}");
                                late.fetch_add(1, Ordering::Relaxed);
                            }
                        }
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            // The floor follows what has returned, a bound later.
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    let seen: Vec<_> =
                        returned.iter().map(|it| it.load(Ordering::Acquire)).collect();
                    thread::sleep(BOUND + SLACK);
                    for (floor, seen) in floor.iter().zip(seen) {
                        floor.fetch_max(seen, Ordering::Release);
                    }
                }
            });
            let begin = Instant::now();
            let mut cuts = 0;
            while begin.elapsed() < Duration::from_secs(seconds) {
                thread::sleep(Duration::from_millis(300));
                cuts += redis.cut_streams();
            }
            done.store(true, Ordering::Relaxed);
            println!("{tiering}: seed {seed}, {cuts} cuts");
        });
        let reads = reads.load(Ordering::Relaxed);
        println!("{tiering}: {reads} reads");
        assert_eq!(late.load(Ordering::Relaxed), 0, "{tiering}: seed {seed}");
        assert!(reads > 1000);
    }
}

//! Two hosts of two processes each that follow each other by pub/sub, one of them over a way that loses
//! messages, while subscriptions are killed: no process of a host finds anything older than the last
//! change by any process of it, the other host nothing that was replaced longer ago than the bound.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, Invalidation, RedisOptions, SetOptions, Tiering};
use tierce_tests::{
    history::History,
    host::{BOUND, Host, process},
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    seed,
};

/// Keys of each host, of which any process of it changes each.
const KEYS: usize = 64;
/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_millis(1500);
/// Reads that are judged at least.
const READS: u64 = 100_000;

struct World {
    hosts: [Vec<Cache>; 2],
    history: History,
    locks: Vec<Mutex<()>>,
    tiering: Tiering,
    stop: AtomicBool,
}

impl World {
    fn name(&self, key: usize) -> String {
        format!("{} {key}", self.tiering)
    }

    fn change(&self, host: usize, key: usize, random: &mut fastrand::Rng) {
        let caches = &self.hosts[host];
        let cache = &caches[random.usize(..caches.len())];
        // One after the other, so that it is known which is the latest.
        let _one_at_a_time = self.locks[key].lock().unwrap();
        let (name, version) = (self.name(key), self.history.next(key));
        let value = Bytes::from(version.to_string());
        match random.u8(..32) {
            0..4 => cache.delete(&name).unwrap(),
            4..6 => cache.expire(&name).unwrap(),
            6 => {
                let tagged = SetOptions::new().tags([format!("tag {key}")]);
                cache.set_with(&name, value, &tagged).unwrap();
            }
            7 => {
                cache.remove_tag(format!("tag {key}")).unwrap();
                cache.delete(&name).unwrap();
            }
            _ => cache.set(&name, value).unwrap(),
        }
        self.history.returned(key, version);
    }

    fn read(&self, host: usize, random: &mut fastrand::Rng) {
        let caches = &self.hosts[host];
        let cache = &caches[random.usize(..caches.len())];
        let key = random.usize(..2 * KEYS);
        let name = self.name(key);
        let floor = self.history.floor(key, key / KEYS == host);
        let (found, tale) = match random.u8(..8) {
            0 | 1 => {
                let load =
                    |_: &[u8]| io::Result::Ok(Bytes::from(self.history.source(key).to_string()));
                (cache.get_or_load(&name, load).ok(), "load")
            }
            2 => (cache.get_many(&[&name]).pop().flatten(), "get_many"),
            _ => (cache.get(&name), "get"),
        };
        if let Some(found) = found {
            let version = std::str::from_utf8(&found).unwrap().parse::<u64>();
            let version = version.map_err(|error| error.to_string());
            self.history.judge(key, floor, version, &format!("{tale} of host {host}"));
        }
    }

    fn run(&self, host: usize, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        while !self.stop.load(Ordering::Relaxed) {
            if random.u8(..8) == 0 {
                self.change(host, host * KEYS + random.usize(..KEYS), &mut random);
            } else {
                self.read(host, &mut random);
            }
        }
    }
}

fn options(options: RedisOptions) -> RedisOptions {
    options.invalidation(Invalidation::Pubsub)
}

#[test]
fn nothing_older_than_the_bound_is_found_while_messages_are_lost_and_subscriptions_killed() {
    let seed = seed();
    println!("seed {seed}");
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let redis = Redis::with(&["--rename-command", "HELLO", ""]);
        let proxy = Proxy::to(redis.socket());
        let near = Host::with(&redis, tiering, options);
        let port = proxy.port();
        let far = Host::through(tiering, |it| options(it.host("127.0.0.1").port(port)));
        let mut hosts = [vec![near.cache.clone()], vec![far.cache.clone()]];
        if tiering == Tiering::L1L2L3 {
            // Without a store each process would be a host of its own.
            hosts[0].push(process(&near.folder, &redis, tiering, options));
        }
        let history = History::new(2 * KEYS, BOUND + SLACK);
        let locks = (0..2 * KEYS).map(|_| Mutex::new(())).collect();
        let world = World { hosts, history, locks, tiering, stop: AtomicBool::new(false) };
        let begin = Instant::now();
        let mut killed = 0_u64;
        thread::scope(|scope| {
            for thread in 0..4 {
                let world = &world;
                scope.spawn(move || world.run(thread % 2, seed.wrapping_add(thread as u64)));
            }
            let (mut random, mut client) = (fastrand::Rng::with_seed(seed), redis.client());
            while world.history.checked_and_wrong().0 < READS
                || begin.elapsed() < Duration::from_secs(10)
            {
                assert!(begin.elapsed() < Duration::from_secs(120), "too few reads");
                thread::sleep(Duration::from_millis(random.u64(5..60)));
                match random.u8(..16) {
                    0 => {
                        let mut kill = redis::cmd("CLIENT");
                        killed += kill
                            .arg(&["KILL", "TYPE", "pubsub"])
                            .query::<u64>(&mut client)
                            .unwrap();
                    }
                    1..8 => {
                        proxy.set(Line::Changes, Way::Down, Fault::Lose);
                        thread::sleep(Duration::from_millis(random.u64(..6)));
                        proxy.set(Line::Changes, Way::Down, Fault::None);
                    }
                    _ => {}
                }
            }
            world.stop.store(true, Ordering::Relaxed);
        });
        let (checked, wrong) = world.history.checked_and_wrong();
        let counted = far.cache.redis_statistics().unwrap();
        println!(
            "{tiering}: {checked} reads, {wrong} wrong; {} changes told, {} missed, {killed} killed, \
             {} subscriptions",
            counted.changes_told, counted.news_missed, counted.subscriptions
        );
        assert_eq!(wrong, 0, "{tiering}, seed {seed}");
        assert!(counted.changes_told > 1000 && counted.news_missed > 10 && killed > 2);
    }
}

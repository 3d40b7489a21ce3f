//! Two hosts of two processes each that set behind L3, at random and as fast as they can: no process of a
//! host finds anything older than the last change by any process of it, the other host nothing that was
//! replaced longer ago than the delay and the staleness bound.

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

use tierce::{
    Bytes, Cache, LoadOptions, ReadOptions, RedisOptions, SetOptions, Tiering, WritePolicy,
};
use tierce_tests::{
    history::History,
    host::{BOUND, Host, process},
    redis::Redis,
    seed,
};

/// Keys of each host, of which any process of it changes each.
const KEYS: usize = 64;
const DELAY: Duration = Duration::from_millis(15);
/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_millis(1500);
/// Reads that are judged at least.
const READS: u64 = 100_000;

fn behind(options: RedisOptions) -> RedisOptions {
    options.write(WritePolicy::Behind).write_delay(DELAY)
}

struct World {
    hosts: [[Cache; 2]; 2],
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
        let cache = &self.hosts[host][random.usize(..2)];
        // One after the other, so that it is known which is the latest.
        let _one_at_a_time = self.locks[key].lock().unwrap();
        let (name, version) = (self.name(key), self.history.next(key));
        let value = Bytes::from(version.to_string());
        match random.u8(..16) {
            0 => cache.delete(&name).unwrap(),
            1 => {
                let through = SetOptions::new().tiers(Tiering::L1L2L3);
                cache.set_with(&name, value, &through).unwrap();
            }
            2 => cache.expire(&name).unwrap(),
            4 | 5 => {
                let anew = LoadOptions::new().max_age(Duration::ZERO);
                let load = |_: &[u8]| io::Result::Ok(value.clone());
                _ = cache.get_or_load_with(&name, &anew, load).unwrap();
                let in_l3 = ReadOptions::new().tiers(Tiering::L3);
                let below = cache.get_with(&name, &in_l3).map(|answer| answer.value);
                let above = self.hosts[host].iter().map(|process| process.get(&name));
                if above.chain([below]).any(|found| found.as_ref() != Some(&value)) {
                    // Changes of other keys came in between, for which a tier refused it, or L3 was too
                    // slow: what is loaded is no change.
                    return;
                }
            }
            3 => {
                // What decides may not answer in time; nothing older is there all the same.
                _ = cache.update(&name, &SetOptions::new(), |_| Some(value.clone()));
                cache.set(&name, value.clone()).unwrap();
            }
            _ => cache.set(&name, value).unwrap(),
        }
        self.history.returned(key, version);
    }

    fn read(&self, host: usize, random: &mut fastrand::Rng) {
        let cache = &self.hosts[host][random.usize(..2)];
        let key = random.usize(..2 * KEYS);
        let name = self.name(key);
        let floor = self.history.floor(key, key / KEYS == host);
        let (found, tale) = match random.u8(..8) {
            0 => {
                let load =
                    |_: &[u8]| io::Result::Ok(Bytes::from(self.history.source(key).to_string()));
                (cache.get_or_load(&name, load).ok(), "load")
            }
            1 => (cache.get_many(&[&name]).pop().flatten(), "get_many"),
            2 => {
                let options = ReadOptions::new().tiers(Tiering::L3);
                (cache.get_with(&name, &options).map(|answer| answer.value), "L3")
            }
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

#[test]
fn nothing_older_is_found_by_any_process_while_all_set_behind() {
    let seed = seed();
    println!("seed {seed}");
    for tiering in [Tiering::L1L2L3, Tiering::L2L3] {
        let redis = Redis::start();
        let made = [(); 2].map(|()| Host::with(&redis, tiering, behind));
        let hosts = made
            .each_ref()
            .map(|host| [host.cache.clone(), process(&host.folder, &redis, tiering, behind)]);
        let history = History::new(2 * KEYS, DELAY + BOUND + SLACK);
        let locks = (0..2 * KEYS).map(|_| Mutex::new(())).collect();
        let world = World { hosts, history, locks, tiering, stop: AtomicBool::new(false) };
        let begin = Instant::now();
        thread::scope(|scope| {
            for thread in 0..6 {
                let world = &world;
                scope.spawn(move || world.run(thread % 2, seed.wrapping_add(thread as u64)));
            }
            while world.history.checked_and_wrong().0 < READS
                || begin.elapsed() < Duration::from_secs(10)
            {
                assert!(begin.elapsed() < Duration::from_secs(120), "too few reads");
                thread::sleep(Duration::from_millis(50));
            }
            world.stop.store(true, Ordering::Relaxed);
        });
        let (checked, wrong) = world.history.checked_and_wrong();
        let behind = world.hosts.each_ref().map(|host| host.each_ref().map(|it| it.stats().behind));
        println!("{tiering}: {checked} reads, {wrong} wrong; {behind:?}");
        assert_eq!(wrong, 0, "{tiering}, seed {seed}");
        let sent: u64 = behind.iter().flatten().map(|it| it.sent).sum();
        assert!(sent > 1000, "{tiering}: {sent} values were sent");
    }
}

//! Two hosts at random, of which each removes what its own keys have by tags, or by prefixes, while
//! the stream is cut, the server stands still and its numbering of tags is lost.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, LoadOptions, Loaded, RedisOptions, SetOptions, Tiering};
use tierce_tests::{
    history::History,
    host::{BOUND, Host},
    redis::Redis,
    seed,
};

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

/// By what a host removes what its keys have.
#[derive(Clone, Copy, Debug)]
enum By {
    Tags,
    Prefixes,
}

impl By {
    fn set(self, cache: &Cache, names: &Names, value: Bytes) {
        let options = match self {
            Self::Tags => SetOptions::new().tags([&names.tag]),
            Self::Prefixes => SetOptions::new(),
        };
        cache.set_with(&names.key, value, &options).unwrap();
    }

    fn expire(self, cache: &Cache, names: &Names) {
        match self {
            Self::Tags => cache.expire_tag(&names.tag),
            Self::Prefixes => cache.expire_prefix(&names.prefix),
        }
        .unwrap();
    }

    fn remove(self, cache: &Cache, names: &Names) {
        match self {
            Self::Tags => cache.remove_tags([&names.tag[..], "common"]),
            Self::Prefixes => cache.remove_prefixes([&names.prefix[..], "common/"]),
        }
        .unwrap();
    }

    fn loaded(self, names: &Names, value: Bytes) -> Loaded<Bytes> {
        match self {
            Self::Tags => Loaded::new(value).tags([&names.tag[..], "all"]),
            Self::Prefixes => Loaded::new(value),
        }
    }
}

/// What has to do with a key.
struct Names {
    key: String,
    tag: String,
    prefix: String,
}

impl Names {
    fn of(tiering: Tiering, key: usize) -> Self {
        let prefix = format!("all/{tiering}/{key}/");
        Self { key: format!("{prefix}value"), tag: format!("tag {key}"), prefix }
    }
}

#[test]
fn histories_of_tags_over_two_hosts_are_as_promised() {
    run(By::Tags);
}

#[test]
fn histories_of_prefixes_over_two_hosts_are_as_promised() {
    run(By::Prefixes);
}

fn run(by: By) {
    const KEYS: usize = 24;
    const LENGTH: Duration = Duration::from_secs(15);
    let seed = seed();
    println!("seed {seed}");
    let redis = Redis::start();
    for tiering in [Tiering::L1L2L3, Tiering::L1L3] {
        let hasty = |options: RedisOptions| {
            options
                .read_timeout(Duration::from_millis(100))
                .write_timeout(Duration::from_millis(100))
        };
        let host = || {
            Host::built(&redis, tiering, hasty, |builder| match by {
                By::Tags => builder,
                By::Prefixes => builder.prefix_delimiter(b'/'),
            })
        };
        let hosts = [host(), host()];
        // What L3 did not take is told when it can be: the next stream may be two seconds away.
        let history = History::new(KEYS, BOUND + Duration::from_secs(4));
        let (over, reads) = (AtomicBool::new(false), AtomicU64::new(0));
        thread::scope(|scope| {
            for (number, host) in hosts.iter().enumerate() {
                let (history, over, reads) = (&history, &over, &reads);
                // Each key is changed by one thread of one host.
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed ^ (number as u64) << 32);
                    while !over.load(Ordering::Relaxed) {
                        let key = random.usize(..KEYS / 2) * 2 + number;
                        let version = history.next(key);
                        let names = Names::of(tiering, key);
                        match random.u32(..4) {
                            0 => by.set(&host.cache, &names, version.to_string().into()),
                            1 => by.expire(&host.cache, &names),
                            _ => by.remove(&host.cache, &names),
                        }
                        history.returned(key, version);
                        thread::sleep(Duration::from_millis(random.u64(1..20)));
                    }
                });
                for reader in 0..2 {
                    scope.spawn(move || {
                        let stream = seed ^ (number as u64 * 2 + reader + 7);
                        let mut random = fastrand::Rng::with_seed(stream);
                        while !over.load(Ordering::Relaxed) {
                            let key = random.usize(..KEYS);
                            let names = Names::of(tiering, key);
                            let floor = history.floor(key, key % 2 == number);
                            let load = |_: &[u8]| {
                                let version = history.source(key);
                                if random.u32(..8) == 0 {
                                    thread::sleep(Duration::from_millis(random.u64(1..30)));
                                }
                                let value = Bytes::from(version.to_string());
                                io::Result::Ok(by.loaded(&names, value))
                            };
                            let options = LoadOptions::new();
                            let found =
                                host.cache.get_or_load_with(&names.key, &options, load).unwrap();
                            let version = text(Some(found.value)).unwrap().parse();
                            let version = version.map_err(|_| "no number".to_owned());
                            let tale = format!("{tiering}, host {number}, {:?}", found.origin);
                            history.judge(key, floor, version, &tale);
                            reads.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
            }
            let mut random = fastrand::Rng::with_seed(seed ^ 0xbad);
            let end = Instant::now() + LENGTH;
            while Instant::now() < end {
                thread::sleep(Duration::from_millis(random.u64(100..1500)));
                match random.u32(..4) {
                    0 => _ = redis.cut_streams(),
                    1 => {
                        redis.signal(libc::SIGSTOP);
                        thread::sleep(Duration::from_millis(random.u64(50..600)));
                        redis.signal(libc::SIGCONT);
                    }
                    2 => {
                        let name = "tierce:t:{00}";
                        let _: u64 =
                            redis::cmd("DEL").arg(name).query(&mut redis.client()).unwrap();
                    }
                    _ => {}
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        let (checked, wrong) = history.checked_and_wrong();
        println!("{tiering}: {checked} reads, {wrong} wrong");
        assert!(
            checked > 1_000 && wrong == 0,
            "{tiering}: {wrong} of {checked} wrong, seed {seed}"
        );
    }
}

//! A connection that ends while it is greeted: after each byte of what the client says (HELLO, AUTH,
//! SELECT, CLIENT TRACKING, its scripts) and of what the server answers. No caller waits past its
//! deadline or is given anything wrong, and once the network is whole, so is L3. The same where the server's
//! answers are lost.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{BreakerOptions, Cache, MemoryOptions, RedisOptions, TierKind, Tiering};
use tierce_tests::{
    host::subscriptions,
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    waiting::{is_near, wait_until},
};

const ALLOWED: Duration = Duration::from_millis(500);

/// What a call may take beyond its deadline on a loaded machine.
const SLACK: Duration = Duration::from_millis(1500);

/// Cut one after another, each with a server's connection of its own.
const THREADS: usize = 16;

/// Every byte of a greeting up to here, which is where the scripts of callers begin; of those every
/// 97th: they are replies and questions like any other.
const EACH: u64 = 400;

fn options(password: &str) -> RedisOptions {
    RedisOptions::new()
        .password(password)
        .database(3)
        .connect_timeout(Duration::from_secs(10))
        .read_timeout(ALLOWED)
        .write_timeout(ALLOWED)
        .heartbeat(Duration::from_millis(100))
        // What is kept before there is a stream lives for so long.
        .staleness_bound(Duration::from_millis(300))
}

fn cache(options: RedisOptions, tiering: Tiering) -> Cache {
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(1000))
        .redis(options)
        // The connection is what is looked at: the breaker hardly spares it.
        .breaker(BreakerOptions::new().open_for(Duration::from_millis(20)))
        .build()
        .unwrap()
}

struct World {
    redis: Redis,
    direct: Cache,
}

impl World {
    fn new() -> Self {
        let redis = Redis::with(&["--requirepass", "secret"]);
        let own = options("secret").unix_path(redis.socket());
        let direct = cache(own.read_timeout(10 * ALLOWED), Tiering::L3);
        Self { redis, direct }
    }

    fn far(&self, proxy: &Proxy, line: Line) -> Cache {
        let tiering = if line == Line::Calls { Tiering::L3 } else { Tiering::L1L3 };
        cache(options("secret").host("127.0.0.1").port(proxy.port()), tiering)
    }

    /// How long a greeting is, each way.
    fn lengths(&self, line: Line) -> [u64; 2] {
        let proxy = Proxy::to(self.redis.socket());
        let far = self.far(&proxy, line);
        wait_until("a connection", || {
            _ = far.get("nothing");
            match line {
                Line::Calls => far.redis_statistics().unwrap().connects == 1,
                Line::Changes => subscriptions(&far) == 1,
            }
        });
        [Way::Up, Way::Down].map(|way| proxy.passed(line, way))
    }

    /// One connection that ends after so many bytes, and so do those that follow, for a while.
    fn cut(&self, line: Line, way: Way, after: u64) -> u64 {
        let proxy = Proxy::to(self.redis.socket());
        proxy.set(line, way, Fault::Cut { after, reset: after % 2 == 1 });
        let tale = format!("{line:?} {way:?}, cut after {after}");
        let key = &tale;
        self.direct.set(key, "old".into()).unwrap();
        let far = self.far(&proxy, line);
        let get = || {
            let begin = Instant::now();
            let found = far.get(key);
            assert!(begin.elapsed() < ALLOWED + SLACK, "{tale}: {:?}", begin.elapsed());
            found
        };
        let lost = || {
            let counted = far.redis_statistics().unwrap();
            counted.connect_failures + counted.reconnects + counted.subscriptions_lost
        };
        // Some last bytes are of calls, which may be answered.
        let begin = Instant::now();
        while lost() == 0 && begin.elapsed() < ALLOWED {
            let found = get();
            assert!(found.is_none_or(|found| found == "old"), "{tale}");
            thread::sleep(Duration::from_millis(2));
        }
        let was_lost = u64::from(lost() > 0);
        self.direct.set(key, "new".into()).unwrap();
        proxy.set(line, way, Fault::None);
        wait_until("L3", || get().is_some_and(|found| found == "new"));
        let counted = far.redis_statistics().unwrap();
        assert_eq!(counted.corrupt, 0, "{tale}: {counted:?}");
        if line == Line::Changes {
            wait_until("a stream", || subscriptions(&far) >= 1);
            wait_until("a copy", || {
                get().is_some_and(|found| found == "new") && is_near(&far, key)
            });
            let told = far.redis_statistics().unwrap().changes_told;
            self.direct.set(key, "newer".into()).unwrap();
            wait_until("the news", || far.redis_statistics().unwrap().changes_told > told);
            wait_until("the value", || get().is_some_and(|found| found == "newer"));
        }
        was_lost
    }

    fn cut_everywhere(&self, line: Line) {
        let [up, down] = self.lengths(line);
        let ways = [(Way::Up, up), (Way::Down, down)];
        let places = |(way, length)| {
            let cuts = (0..length).filter(|after| *after < EACH || after % 97 == 0);
            cuts.map(move |after| (way, after))
        };
        let all: Vec<_> = ways.into_iter().flat_map(places).collect();
        let (count, lost) = (all.len() as u64, AtomicU64::new(0));
        let left = Mutex::new(all);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    loop {
                        let next = left.lock().unwrap().pop();
                        let Some((way, after)) = next else { return };
                        lost.fetch_add(self.cut(line, way, after), Ordering::Relaxed);
                    }
                });
            }
        });
        let lost = lost.into_inner();
        println!("{line:?}: greetings of {up} and {down}, {count} cuts, {lost} noticed");
        assert!(count > 200 && lost * 10 >= count * 9, "{lost} of {count}");
        assert!(self.direct.stats().tier(TierKind::Redis).unwrap().errors.is_empty());
    }
}

#[test]
fn a_connection_of_callers_that_ends_while_it_is_greeted_is_made_anew() {
    World::new().cut_everywhere(Line::Calls);
}

#[test]
fn a_stream_of_changes_that_ends_while_it_is_greeted_is_made_anew() {
    World::new().cut_everywhere(Line::Changes);
}

/// The answers to greetings are lost while the connection stays, and then there are no faults.
fn swallow(line: Line) {
    let world = World::new();
    world.direct.set("key", "value".into()).unwrap();
    let proxy = Proxy::to(world.redis.socket());
    proxy.set(line, Way::Down, Fault::Lose);
    let tiering = if line == Line::Calls { Tiering::L3 } else { Tiering::L1L3 };
    let options = options("secret").host("127.0.0.1").port(proxy.port()).connect_timeout(ALLOWED);
    let far = cache(options, tiering);
    wait_until("a lost answer", || {
        let begin = Instant::now();
        far.get("key");
        assert!(begin.elapsed() < ALLOWED + SLACK, "{:?}", begin.elapsed());
        proxy.passed(line, Way::Down) > 0
    });
    proxy.set(line, Way::Down, Fault::None);
    wait_until("L3", || far.get("key").is_some_and(|found| found == "value"));
    if line == Line::Changes {
        wait_until("a stream", || subscriptions(&far) >= 1);
    }
}

#[test]
fn a_connection_of_callers_that_is_never_greeted_back_is_made_anew() {
    swallow(Line::Calls);
}

#[test]
fn a_stream_of_changes_that_is_never_greeted_back_is_made_anew() {
    swallow(Line::Changes);
}

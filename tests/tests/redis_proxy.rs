//! What networks do to the connection that callers share: slow, cut, reset, garbage, a herd that
//! comes back. No caller gets an answer to another's question, none waits past its deadline.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{
    BreakerOptions, Cache, MemoryOptions, Origin, ReadOptions, RedisOptions, TierKind, Tiering,
};
use tierce_tests::{
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    seed, value,
    waiting::{PATIENCE, wait_until},
};

/// What a call may take beyond its deadline there.
const GENEROUS: Duration = Duration::from_millis(1500);

const SHORT: Duration = Duration::from_millis(100);

fn options(proxy: &Proxy, allowed: Duration) -> RedisOptions {
    RedisOptions::new()
        .host("127.0.0.1")
        .port(proxy.port())
        .connect_timeout(PATIENCE)
        .read_timeout(allowed)
        .write_timeout(allowed)
}

fn cache(options: RedisOptions) -> Cache {
    Cache::builder()
        .tiering(Tiering::L3)
        .redis(options)
        // The connection is what is looked at: no breaker spares it.
        .breaker(BreakerOptions::new().consecutive_failures(1_000_000).failure_share(1.0))
        .build()
        .unwrap()
}

/// A cache that asks the server itself.
fn direct(redis: &Redis) -> Cache {
    cache(
        RedisOptions::new()
            .unix_path(redis.socket())
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .write_timeout(PATIENCE),
    )
}

fn put(cache: &Cache, key: u64, version: u64) {
    cache.set(key.to_le_bytes(), value::make(key, version, 60)).unwrap();
}

/// The version that is found; a value of another key fails.
fn get(cache: &Cache, key: u64) -> Option<u64> {
    cache.get(key.to_le_bytes()).map(|found| value::check(key, &found).unwrap())
}

fn errors(cache: &Cache) -> u64 {
    cache.stats().tier(TierKind::Redis).unwrap().errors.values().sum()
}

/// Four callers, of which two read what is there and two replace it, on a connection that ends
/// after every possible number of bytes.
fn cut_at_every_byte(way: Way, reset: bool) {
    const KEYS: u64 = 4;
    let redis = Redis::start();
    let direct = direct(&redis);
    let proxy = Proxy::to(redis.socket());
    let sizes = |work: &dyn Fn(&Cache)| {
        let cache = cache(options(&proxy, PATIENCE));
        work(&cache);
        let counted = cache.redis_statistics().unwrap();
        match way {
            Way::Up => counted.bytes_sent,
            Way::Down => counted.bytes_received,
        }
    };
    (0..KEYS).for_each(|key| put(&direct, key, 1));
    let one_read = sizes(&|cache| _ = get(cache, 0));
    let two_reads = sizes(&|cache| _ = (get(cache, 0), get(cache, 0)));
    let greeting = 2 * one_read - two_reads;
    let exchange = sizes(&|cache| {
        (0..KEYS / 2).for_each(|key| _ = get(cache, key));
        (KEYS / 2..KEYS).for_each(|key| put(cache, key, 1));
    }) - greeting;
    let (mut found, mut failed, mut version) = (0, 0, 1);
    for cut in 0..exchange {
        version += 1;
        proxy.set(Line::Calls, way, Fault::Cut { after: greeting + cut, reset });
        let cache = cache(options(&proxy, PATIENCE));
        let start = Barrier::new(KEYS as usize);
        thread::scope(|scope| {
            let (cache, start) = (&cache, &start);
            let read = |key| {
                start.wait();
                get(cache, key)
            };
            let readers: Vec<_> = (0..KEYS / 2).map(|key| scope.spawn(move || read(key))).collect();
            for key in KEYS / 2..KEYS {
                scope.spawn(move || {
                    start.wait();
                    put(cache, key, version);
                });
            }
            for reader in readers {
                match reader.join().unwrap() {
                    Some(1) => found += 1,
                    Some(other) => panic!("cut after {cut}: version {other}"),
                    None => {}
                }
            }
        });
        failed += errors(&cache);
        // A record says whose it is: what came to another caller would be found out and counted.
        assert_eq!(cache.redis_statistics().unwrap().corrupt, 0, "cut after {cut}");
        // What this cache replaced, it never has again as it was, whatever the server took.
        proxy.set(Line::Calls, way, Fault::None);
        for key in KEYS / 2..KEYS {
            let mut own = None;
            wait_until("an answer", || {
                let before = errors(&cache);
                own = get(&cache, key);
                errors(&cache) == before
            });
            assert!(own.is_none_or(|own| own == version), "cut after {cut}: {own:?} of {version}");
            let stored = get(&direct, key);
            assert!(stored.is_none_or(|it| it <= version), "cut after {cut}: {stored:?}");
            put(&direct, key, version);
        }
        (0..KEYS / 2).for_each(|key| assert_eq!(get(&direct, key), Some(1)));
    }
    println!("{way:?}: {exchange} cuts after {greeting}, {found} found, {failed} failed");
    assert!(found > 0 && failed >= exchange, "{found} found, {failed} failed of {exchange}");
}

#[test]
fn a_connection_that_ends_after_any_byte_to_the_server_shifts_no_answer() {
    cut_at_every_byte(Way::Up, false);
}

#[test]
fn a_connection_that_ends_after_any_byte_to_the_caller_shifts_no_answer() {
    cut_at_every_byte(Way::Down, false);
}

#[test]
fn a_connection_that_is_reset_after_any_byte_to_the_server_shifts_no_answer() {
    cut_at_every_byte(Way::Up, true);
}

#[test]
fn a_connection_that_is_reset_after_any_byte_to_the_caller_shifts_no_answer() {
    cut_at_every_byte(Way::Down, true);
}

/// Callers on a connection that is slow again and again, so that answers come when their callers
/// are gone.
fn late_answers_reach_nobody(way: Way, slow: Fault) {
    const KEYS: u64 = 64;
    let seed = seed();
    let redis = Redis::start();
    let direct = direct(&redis);
    (0..KEYS).for_each(|key| put(&direct, key, 1));
    let proxy = Proxy::to(redis.socket());
    let cache = cache(options(&proxy, SHORT));
    wait_until("a connection", || get(&cache, 0).is_some());
    let (ends, hits, slowest) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..6 {
            let (cache, ends, hits, slowest) = (&cache, &ends, &hits, &slowest);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed + number);
                while !ends.load(Ordering::Relaxed) {
                    let begin = Instant::now();
                    if get(cache, random.u64(..KEYS)).is_some() {
                        hits.fetch_add(1, Ordering::Relaxed);
                    }
                    let took = begin.elapsed().as_millis() as u64;
                    slowest.fetch_max(took, Ordering::Relaxed);
                    thread::sleep(Duration::from_micros(random.u64(..2000)));
                }
            });
        }
        for round in 0..4 {
            let before = errors(&cache);
            proxy.set(Line::Calls, way, slow);
            wait_until("a caller that gives up", || errors(&cache) > before);
            thread::sleep(SHORT);
            proxy.set(Line::Calls, way, Fault::None);
            let before = hits.load(Ordering::Relaxed);
            wait_until("answers", || hits.load(Ordering::Relaxed) > before + 50);
            println!("round {round}: {} errors", errors(&cache));
        }
        ends.store(true, Ordering::Relaxed);
    });
    let slowest = Duration::from_millis(slowest.into_inner());
    assert!(slowest < SHORT + GENEROUS, "a caller waited for {slowest:?}");
    let counted = cache.redis_statistics().unwrap();
    assert!(counted.reconnects >= 4 && counted.timeouts >= 4, "{counted:?}");
    // A record says whose it is: what came to another caller would be found out and counted.
    assert_eq!(counted.corrupt, 0, "{counted:?}");
}

#[test]
fn answers_that_come_seconds_late_reach_nobody() {
    late_answers_reach_nobody(Way::Down, Fault::Delay(Duration::from_secs(2)));
}

#[test]
fn answers_that_were_held_back_reach_nobody() {
    late_answers_reach_nobody(Way::Down, Fault::Hold);
}

#[test]
fn answers_that_come_byte_by_byte_reach_nobody_late() {
    late_answers_reach_nobody(Way::Down, Fault::Drip(Duration::from_millis(100)));
}

#[test]
fn questions_that_go_byte_by_byte_cost_their_deadline() {
    late_answers_reach_nobody(Way::Up, Fault::Drip(Duration::from_millis(100)));
}

#[test]
fn what_the_server_did_not_say_ends_the_connection_and_is_no_answer() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let direct = direct(&redis);
    (0..4).for_each(|key| put(&direct, key, 1));
    let cache = cache(options(&proxy, Duration::from_secs(5)));
    let said: [&[u8]; 9] = [
        b":1\r\n",
        b"$-1\r\n",
        b"+OK\r\n",
        b"-ERR no\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"$536870912\r\nxx",
        b"*2147483647\r\n",
        &b"*1\r\n".repeat(90),
        b">2\r\n+invalidate\r\n*-1\r\n",
    ];
    // The first reply of a read is of two counters, so nothing here passes for one.
    for (number, bytes) in said.into_iter().enumerate() {
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(12)]).into_owned();
        wait_until("a connection", || get(&cache, 0) == Some(1));
        let before = cache.redis_statistics().unwrap().connects;
        if number % 2 == 0 {
            // While nobody asks.
            assert_eq!(proxy.say(Line::Calls, bytes), 1, "{shown}");
            // Whoever asks next may find it before the keeper does.
            for key in [0, 1, 2, 3, 0, 1, 2, 3] {
                assert!(get(&cache, key).is_none_or(|version| version == 1), "{shown}");
            }
        } else {
            // While four callers wait for their answers.
            proxy.set(Line::Calls, Way::Down, Fault::Hold);
            thread::scope(|scope| {
                let ask = |key| get(&cache, key);
                let callers: Vec<_> = (0..4).map(|key| scope.spawn(move || ask(key))).collect();
                thread::sleep(Duration::from_millis(50));
                assert_eq!(proxy.say(Line::Calls, bytes), 1, "{shown}");
                proxy.set(Line::Calls, Way::Down, Fault::None);
                for caller in callers {
                    assert!(caller.join().unwrap().is_none_or(|version| version == 1), "{shown}");
                }
            });
        }
        wait_until("another connection", || {
            _ = get(&cache, 0);
            cache.redis_statistics().unwrap().connects > before
        });
    }
}

#[test]
fn a_herd_comes_back_spread_out_and_not_in_haste() {
    const CLIENTS: usize = 200;
    const OUTAGE: Duration = Duration::from_secs(9);
    const WINDOW: Duration = Duration::from_millis(100);
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let caches: Vec<_> =
        (0..CLIENTS).map(|_| cache(options(&proxy, Duration::from_secs(5)))).collect();
    for cache in &caches {
        wait_until("a connection", || {
            _ = get(cache, 0);
            cache.redis_statistics().unwrap().connects == 1
        });
    }
    // Past the life at which a loss is taken for a rejection.
    thread::sleep(Duration::from_millis(1100));
    proxy.refuse(true);
    let lost = Instant::now();
    assert_eq!(proxy.cut(Line::Calls, true), CLIENTS);
    thread::sleep(OUTAGE);
    proxy.refuse(false);
    let back = Instant::now();
    for cache in &caches {
        wait_until("a connection", || cache.redis_statistics().unwrap().connects >= 2);
    }
    let took = back.elapsed();
    let since_loss = |at: &Instant| at.checked_duration_since(lost);
    let attempts: Vec<_> = proxy.accepted().iter().filter_map(since_loss).collect();
    // Waits of 50 ms that double to 2 s, each shortened by up to a half.
    let most = CLIENTS * (7 + 9 + 1);
    println!("{} attempts, {most} at most; all back after {took:?}", attempts.len());
    assert!(attempts.len() >= 5 * CLIENTS && attempts.len() <= most);
    // They were lost in one moment; some rounds later they are everywhere.
    let mut windows = vec![0_usize; (OUTAGE.as_millis() / WINDOW.as_millis()) as usize];
    let settled = windows.len() / 3;
    for attempt in attempts {
        if let Some(window) = windows.get_mut((attempt.as_millis() / WINDOW.as_millis()) as usize) {
            *window += 1;
        }
    }
    println!("attempts each {WINDOW:?}: {windows:?}");
    let fullest = windows[settled..].iter().max().unwrap();
    assert!(*fullest < CLIENTS / 3, "{fullest} of {CLIENTS} came within {WINDOW:?}");
}

#[test]
fn a_loaded_value_is_as_old_in_l1_as_the_server_took_to_keep_it() {
    const SLOW: Duration = Duration::from_millis(300);
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let cache = Cache::builder()
        .tiering(Tiering::L1L3)
        .memory(MemoryOptions::new().max_entries(100))
        // News of this very load would cost its copy where the record cannot be looked at in time.
        .redis(options(&proxy, PATIENCE).coherence(false))
        .build()
        .unwrap();
    let load = |_: &[u8]| {
        // What is asked of the server from now on is to keep what is loaded.
        proxy.set(Line::Calls, Way::Down, Fault::Delay(SLOW));
        Ok::<_, std::convert::Infallible>(tierce::Bytes::from("loaded"))
    };
    cache.get_or_load("key", load).unwrap();
    let found = cache.get_entry("key").unwrap();
    assert_eq!(found.origin, Origin::Tier(TierKind::Memory));
    let age = found.age.unwrap();
    assert!(age >= SLOW, "{age:?}");
    let too_old = ReadOptions::new().max_age(SLOW / 2);
    proxy.set(Line::Calls, Way::Down, Fault::None);
    assert!(cache.get_with("key", &too_old).is_none());
}

//! Servers that are not there, die, stop answering, or do not let us in.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    record,
    server::{Server, free_port, wait_until},
    value,
};
use crate::{
    error::ErrorKind,
    tier::{
        RemoteTier, Tier,
        redis::{RedisOptions, RedisTier},
    },
};

const SHORT: Duration = Duration::from_millis(50);

/// What a call may take beyond its deadline on a machine that does five other things.
const GENEROUS: Duration = Duration::from_millis(1500);

/// Calls the tier `calls` times and returns how long all took.
fn timed(calls: u32, call: impl Fn()) -> Duration {
    let start = Instant::now();
    (0..calls).for_each(|_| call());
    start.elapsed()
}

#[test]
fn server_that_starts_after_the_cache_is_found() {
    let mut server = Server::stopped(&[]);
    let tier = RedisTier::new(server.options().read_timeout(SHORT)).unwrap();
    assert_eq!(tier.statistics().connect_failures, 0, "nothing is tried before the first call");
    assert_eq!(tier.trouble(), None);
    let error = tier.read(b"k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Network, "{error}");
    // Nobody waits for what is known to be away: a hundred waits would take five seconds.
    let took = timed(100, || _ = tier.read(b"k").unwrap_err());
    assert!(took < GENEROUS, "{took:?}");
    assert!(tier.trouble().unwrap().contains("no connection to "), "{:?}", tier.trouble());
    assert!(tier.statistics().disconnected >= 100);

    server.start();
    wait_until("connection", || tier.read(b"k").is_ok());
    wait_until("recovery", || tier.write(b"k", &record("v")).is_ok());
    assert!(tier.statistics().connect_failures >= 1);
}

#[test]
fn server_that_dies_and_comes_back_under_load_is_found_again() {
    let mut server = Server::with(&[]);
    let tier =
        RedisTier::new(server.options().read_timeout(SHORT * 4).write_timeout(SHORT * 4)).unwrap();
    wait_until("connection", || tier.write(b"start", &record("up")).is_ok());
    let (ends, answered, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for number in 0..8_u32 {
            let (tier, ends, answered, failed) = (&tier, &ends, &answered, &failed);
            scope.spawn(move || {
                let mut round = 0_u32;
                while !ends.load(Ordering::Relaxed) {
                    round += 1;
                    let key = [number.to_le_bytes(), (round % 50).to_le_bytes()].concat();
                    let start = Instant::now();
                    let outcome = if round.is_multiple_of(2) {
                        tier.write(&key, &record(key.clone())).map(|_| ())
                    } else {
                        tier.read(&key).map(|found| {
                            if let Some(found) = found.record {
                                assert_eq!(found.value, key, "another key's value");
                            }
                        })
                    };
                    assert!(start.elapsed() < GENEROUS, "{:?}", start.elapsed());
                    match outcome {
                        Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(_) => {
                            // Callers that fail at once would only heat the machine.
                            thread::sleep(Duration::from_millis(1));
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                    };
                }
            });
        }
        let more = |counter: &AtomicU64, what: &str| {
            let now = counter.load(Ordering::Relaxed);
            wait_until(what, || counter.load(Ordering::Relaxed) > now + 20);
        };
        // So that the loss of the connection is not taken for a server that throws us out.
        for _ in 0..3 {
            more(&answered, "answers");
            server.kill();
            more(&failed, "failures");
            server.start();
            more(&answered, "answers again");
        }
        ends.store(true, Ordering::Relaxed);
    });
    let statistics = tier.statistics();
    assert!(statistics.reconnects >= 3, "{statistics:?}");
    assert_eq!(statistics.corrupt, 0);
}

#[test]
fn server_that_stops_answering_costs_one_deadline_and_then_nothing() {
    let server = Server::with(&[]);
    let options =
        server.options().read_timeout(SHORT).write_timeout(SHORT).connect_timeout(SHORT * 4);
    let tier = RedisTier::new(options).unwrap();
    wait_until("connection", || tier.write(b"k", &record("v")).is_ok());
    server.signal("STOP");
    let start = Instant::now();
    let error = tier.read(b"k").unwrap_err();
    let took = start.elapsed();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert!(took >= SHORT && took < SHORT + GENEROUS, "{took:?}");

    wait_until("doubt", || tier.trouble().is_some());
    let took = timed(100, || _ = tier.read(b"k").unwrap_err());
    assert!(took < GENEROUS, "a hundred deadlines would be 5 s: {took:?}");
    assert!(tier.statistics().timeouts >= 1);

    server.signal("CONT");
    wait_until("recovery", || {
        tier.read(b"k").is_ok_and(|found| found.record.is_some_and(|it| it.value == "v"))
    });
    // The connection that did not answer in time was never used again.
    assert!(tier.statistics().reconnects >= 1);
}

#[test]
fn callers_beyond_the_bound_fail_at_once() {
    let server = Server::with(&[]);
    let tier =
        RedisTier::new(server.options().queue(4).read_timeout(Duration::from_secs(2))).unwrap();
    tier.write(b"k", &record("v")).unwrap();
    server.signal("STOP");
    let (busy, late) = (AtomicU64::new(0), AtomicU64::new(0));
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| match tier.read(b"k").unwrap_err().kind() {
                ErrorKind::Busy => _ = busy.fetch_add(1, Ordering::Relaxed),
                _ => _ = late.fetch_add(1, Ordering::Relaxed),
            });
        }
    });
    assert_eq!(busy.load(Ordering::Relaxed) + late.load(Ordering::Relaxed), 12);
    assert!(late.load(Ordering::Relaxed) >= 4);
    assert!(busy.load(Ordering::Relaxed) >= 1);
    assert_eq!(tier.statistics().busy, busy.load(Ordering::Relaxed));
    server.signal("CONT");
    wait_until("free places", || tier.read(b"k").is_ok());
}

#[test]
fn idle_connection_that_the_server_closed_is_replaced_unnoticed() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    // Past the life at which a loss is taken for a rejection.
    thread::sleep(Duration::from_millis(1050));
    () = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query(&mut server.raw())
        .unwrap();
    wait_until("a new connection", || tier.statistics().reconnects == 1);
    assert_eq!(value(&tier, b"k"), Some(Bytes::from_static(b"v")));
}

#[test]
fn credentials_are_sent_and_wrong_ones_are_named_but_not_shown() {
    let server = Server::with(&["--requirepass", "right-secret"]);
    let right = RedisTier::new(server.options().password("right-secret")).unwrap();
    right.write(b"k", &record("v")).unwrap();
    for options in [server.options(), server.options().password("wrong-secret")] {
        let tier = RedisTier::new(options).unwrap();
        for _ in 0..3 {
            let error = tier.read(b"k").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Auth, "{error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error}");
        }
        assert!(!tier.trouble().unwrap().contains("secret"));
    }
    let mut raw =
        redis::Client::open(format!("unix://{}?pass=right-secret", server.socket().display()))
            .unwrap()
            .get_connection()
            .unwrap();
    () = redis::cmd("ACL")
        .arg(&["SETUSER", "ann", "on", ">anns", "~tierce:*", "+@all"])
        .query(&mut raw)
        .unwrap();
    let ann = RedisTier::new(server.options().username("ann").password("anns")).unwrap();
    assert_eq!(value(&ann, b"k"), Some(Bytes::from_static(b"v")));
    let mut change = |rule: &str| {
        () = redis::cmd("ACL").arg(&["SETUSER", "ann", rule]).query(&mut raw).unwrap();
    };
    change("-set");
    let error = ann.write(b"k", &record("w")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    change("-getrange");
    let error = ann.read(b"k").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
}

#[test]
fn tcp_by_name_and_by_address_reach_the_server() {
    let port = free_port();
    let _server = Server::with(&["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    let relaxed = Duration::from_secs(10);
    let options = || {
        RedisOptions::new().connect_timeout(relaxed).read_timeout(relaxed).write_timeout(relaxed)
    };
    for (number, options) in [
        options().port(port),
        options().host("localhost").port(port),
        options().url(format!("redis://127.0.0.1:{port}/0")),
    ]
    .into_iter()
    .enumerate()
    {
        let tier = RedisTier::new(options).unwrap();
        let key = number.to_le_bytes();
        tier.write(&key, &record("v")).unwrap();
        assert_eq!(value(&tier, &key), Some(Bytes::from_static(b"v")));
    }
}

#[test]
fn sixty_four_threads_get_each_their_own_answers() {
    let server = Server::with(&[]);
    let tier = server.tier();
    thread::scope(|scope| {
        for number in 0..64_u32 {
            let tier = &tier;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(number.into());
                for round in 0..60_u32 {
                    let key = number.to_le_bytes();
                    let mut mine = [number.to_le_bytes(), round.to_le_bytes()].concat();
                    mine.resize(random.usize(8..3000), number as u8);
                    tier.write(&key, &record(mine.clone())).unwrap();
                    // A key that all write, each with a value that names its writer.
                    tier.write(b"shared", &record(mine.clone())).unwrap();
                    assert_eq!(value(tier, &key), Some(Bytes::from(mine)), "thread {number}");
                    if let Some(shared) = value(tier, b"shared") {
                        let writer = shared[0];
                        assert!(shared[8..].iter().all(|byte| *byte == writer), "torn value");
                    }
                    assert_eq!(value(tier, &[key, [9; 4]].concat()), None);
                }
            });
        }
    });
    let statistics = tier.statistics();
    assert_eq!((statistics.connects, statistics.timeouts, statistics.busy), (1, 0, 0));
}

#[test]
fn closed_tier_fails_and_lets_waiting_callers_go() {
    let server = Server::with(&[]);
    let tier = server.tier();
    tier.write(b"k", &record("v")).unwrap();
    server.signal("STOP");
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let start = Instant::now();
            (tier.read(b"k").unwrap_err(), start.elapsed())
        });
        thread::sleep(Duration::from_millis(50));
        tier.close();
        let (error, took) = waiting.join().unwrap();
        assert!(matches!(error.kind(), ErrorKind::Network | ErrorKind::Closed), "{error}");
        assert!(took < Duration::from_secs(8), "its deadline was 10 s: {took:?}");
    });
    assert_eq!(tier.read(b"k").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(tier.write(b"k", &record("w")).unwrap_err().kind(), ErrorKind::Closed);
    assert!(tier.trouble().is_some());
    tier.close();
    server.signal("CONT");
}

//! A cluster whose nodes name addresses at which nobody can reach them: callers have misses and their
//! loaders, within their deadlines.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use tierce::{Bytes, Cache, RedisOptions, Tiering};
use tierce_tests::{
    namespace::Namespace,
    server::{Server, free_port},
    traffic::{host, wait_for_l3},
};

const ALLOWED: Duration = Duration::from_millis(300);

/// What a call may take beyond its deadline on a loaded machine.
const SLACK: Duration = Duration::from_millis(1000);

const KEYS: usize = 60;

/// A node that has all slots.
fn node() -> Server {
    let node = Server::start(&["--cluster-enabled", "yes"]);
    node.ask(&["cluster", "addslotsrange", "0", "16383"]);
    node.wait_for(&["cluster", "info"], "cluster_state:ok");
    node
}

/// Has the node say that it is there.
fn announce(node: &Server, address: &str, port: u16) {
    node.ask(&["config", "set", "cluster-announce-ip", address]);
    node.ask(&["config", "set", "cluster-announce-port", &port.to_string()]);
    node.wait_for(&["cluster", "slots"], &port.to_string());
}

fn cache(node: &Server, tiering: Tiering) -> Cache {
    let options = RedisOptions::new()
        .cluster(true)
        .nodes(node.address())
        // Far longer than a call may take: nobody waits for a connection.
        .connect_timeout(10 * ALLOWED)
        .read_timeout(ALLOWED)
        .write_timeout(ALLOWED);
    host(options, tiering, None)
}

/// No call fails or is late, nothing is found that only L3 could have; and it is found as soon as
/// the node says where it really is.
fn misses_until_it_can_be_reached(node: &Server, address: &str, port: u16) {
    let probe = cache(node, Tiering::L3);
    wait_for_l3(&probe, 3, Instant::now());
    for key in 0..KEYS {
        probe.set(format!("there {key}"), "1".into()).unwrap();
    }
    announce(node, address, port);
    for tiering in [Tiering::L3, Tiering::L1L3] {
        let cache = cache(node, tiering);
        let mut slowest = Duration::ZERO;
        for key in 0..KEYS {
            let mut begin = Instant::now();
            let mut lap = || {
                let took = std::mem::replace(&mut begin, Instant::now()).elapsed();
                slowest = slowest.max(took);
            };
            assert_eq!(cache.get(format!("there {key}")), None);
            lap();
            let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
            let loaded = cache.get_or_load(format!("loaded {key}"), load);
            assert_eq!(loaded.unwrap(), "loaded");
            lap();
            assert!(cache.get_many(&["a", "b", "c", "d"]).iter().all(Option::is_none));
            lap();
        }
        println!("{address}:{port}, {tiering}: {slowest:?} at most");
        // A load asks L3, and then gives it the value.
        assert!(slowest < 2 * ALLOWED + SLACK, "{tiering}: {slowest:?}");
        let health = cache.health();
        let redis = health.dependencies.into_iter().find(|it| it.name == "L3-Redis").unwrap();
        println!("{:?}", redis.reason);
        assert!(redis.reason.is_some());
    }
    let waiting = cache(node, Tiering::L3);
    assert_eq!(waiting.get("there 0"), None);
    announce(node, "127.0.0.1", node.port());
    println!("back after {:?}", wait_for_l3(&waiting, 3, Instant::now()));
    assert_eq!(waiting.get("there 0").as_deref(), Some(&b"1"[..]));
}

#[test]
fn a_cluster_at_addresses_that_refuse_is_missed_within_the_deadline() {
    misses_until_it_can_be_reached(&node(), "127.0.0.1", free_port());
}

#[test]
fn a_cluster_at_addresses_that_swallow_is_missed_within_the_deadline() {
    // An address of the cable's net that nobody has: what is sent there is never answered.
    let namespace = match Namespace::new(40) {
        Ok(namespace) => namespace,
        Err(error) => return println!("left out, no network namespaces: {error}"),
    };
    let nobody = namespace.address().replace(".40.1", ".40.77");
    assert_ne!(nobody, namespace.address());
    misses_until_it_can_be_reached(&node(), &nobody, 6379);
}

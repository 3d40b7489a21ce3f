//! A cluster whose nodes name addresses at which nobody can reach them, or of whose named nodes few can
//! be reached: callers have misses and their loaders, within their deadlines.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, RedisOptions, Tiering};
use tierce_tests::{
    namespace::Namespace,
    proxy::{Fault, Line, Proxy, Way},
    server::{PATIENCE, Server, free_port},
    store_folder,
    stub::Stub,
    traffic::{host, wait_for_l3},
    waiting::wait_within,
};

const ALLOWED: Duration = Duration::from_millis(300);

/// What a call may take beyond its deadline on a loaded machine.
const SLACK: Duration = Duration::from_millis(1000);

const KEYS: usize = 60;

/// A node that has all slots.
fn node() -> Server {
    node_with(&[])
}

/// The same with further options, which knows of five changes of the cluster.
fn node_with(options: &[&str]) -> Server {
    let node = Server::start(&[&["--cluster-enabled", "yes"], options].concat());
    node.ask(&["cluster", "set-config-epoch", "5"]);
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
        // It asks for a key at once: later calls may find that the node is known to be away.
        let begin = Instant::now();
        let cache = cache(node, tiering);
        let mut slowest = begin.elapsed();
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

/// A node, and a way to it on which it is asked who serves what; what it serves is asked of itself.
fn node_behind_a_way() -> (Server, Proxy, tempfile::TempDir) {
    let folder = store_folder();
    let socket = folder.path().join("s");
    let node = node_with(&["--unixsocket", &socket.display().to_string()]);
    (node, Proxy::to(socket), folder)
}

#[test]
fn a_cluster_whose_node_leaves_questions_unanswered_is_found_once_it_answers() {
    let (_node, way, _folder) = node_behind_a_way();
    way.set(Line::Calls, Way::Down, Fault::Lose);
    let options = RedisOptions::new()
        .cluster(true)
        .nodes(format!("127.0.0.1:{}", way.port()))
        // Far longer than a call may take: nobody waits for the first answer.
        .connect_timeout(20 * ALLOWED)
        .read_timeout(ALLOWED)
        .write_timeout(ALLOWED);
    let begin = Instant::now();
    let cache = host(options, Tiering::L3, None);
    assert!(begin.elapsed() < ALLOWED + SLACK, "{:?}", begin.elapsed());
    wait_within(PATIENCE, "a lost answer", || {
        let begin = Instant::now();
        assert_eq!(cache.get("key"), None);
        assert!(begin.elapsed() < ALLOWED + SLACK, "{:?}", begin.elapsed());
        way.passed(Line::Calls, Way::Down) > 0
    });
    // Its connection is there still, and nothing will ever come on it.
    way.set(Line::Calls, Way::Down, Fault::None);
    println!("back after {:?}", wait_for_l3(&cache, 3, Instant::now()));
}

#[test]
fn one_node_that_answers_is_enough_whatever_the_others_do() {
    let node = node();
    // Connections are made, and nothing is ever said on them.
    let silent = [(); 7].map(|()| TcpListener::bind(("127.0.0.1", 0)).unwrap());
    let silent = silent.each_ref().map(|it| it.local_addr().unwrap().to_string());
    let options = RedisOptions::new()
        .cluster(true)
        .nodes(format!("{},{}", silent.join(","), node.address()))
        // Longer than anybody waits here.
        .connect_timeout(10 * PATIENCE)
        .read_timeout(ALLOWED)
        .write_timeout(ALLOWED);
    let cache = host(options, Tiering::L3, None);
    println!("found after {:?}", wait_for_l3(&cache, 3, Instant::now()));
}

#[test]
fn the_node_that_knows_of_more_changes_is_believed() {
    // It was cut off, answers first, and still takes itself for the master of all slots.
    let cut_off = Stub::start("-CLUSTERDOWN The cluster is down");
    let (node, way, _folder) = node_behind_a_way();
    let direct = cache(&node, Tiering::L3);
    wait_within(PATIENCE, "a value", || {
        direct.set("key", "value".into()).unwrap();
        direct.get("key").as_deref() == Some(b"value")
    });
    way.set(Line::Calls, Way::Down, Fault::Delay(Duration::from_millis(10)));
    let finds = |_: &i32| {
        let options = RedisOptions::new()
            .cluster(true)
            .nodes(format!("{},127.0.0.1:{}", cut_off.address(), way.port()))
            .read_timeout(Duration::from_secs(5))
            .coherence(false);
        let builder = Cache::builder().tiering(Tiering::L3).redis(options);
        builder.build().unwrap().get("key").as_deref() == Some(b"value")
    };
    // On a loaded machine its answer may come too late to be compared.
    let found = (0..20).filter(finds).count();
    assert!(found > 10, "{found} of 20 asked the right one, {} the other", cut_off.asked());
}

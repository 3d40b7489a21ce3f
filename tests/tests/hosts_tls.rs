//! Hosts that reach their servers by TLS alone: they are told of each other's changes by one server,
//! by a cluster, and by the master that sentinels name, also after another took over.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use tierce::{Cache, Invalidation, RedisOptions, Tiering};
use tierce_tests::{
    host::subscriptions,
    redis::Redis,
    secure::Authority,
    server::{PATIENCE, Server, command_line, free_port},
    traffic::{HEARTBEAT, host, wait_for_l3},
    waiting::{is_near, wait_within},
};

/// Longer than a test waits for a change: what is seen was told.
const BOUND: Duration = Duration::from_secs(300);

/// Keys of several groups, and of each node of a cluster.
const KEYS: usize = 30;

fn options(authority: &Authority) -> RedisOptions {
    RedisOptions::new()
        .tls_ca_file(authority.file())
        .connect_timeout(Duration::from_secs(5))
        .read_timeout(Duration::from_secs(5))
        .write_timeout(Duration::from_secs(5))
        .heartbeat(HEARTBEAT)
        .staleness_bound(BOUND)
}

fn hosts(options: impl Fn() -> RedisOptions) -> [Cache; 2] {
    let hosts = [options(), options()].map(|options| host(options, Tiering::L1L3, None));
    for host in &hosts {
        wait_within(PATIENCE, "a subscription", || subscriptions(host) >= 1);
    }
    hosts
}

/// What one host changes, the other sees in place of its copy.
fn follow_each_other(hosts: &[Cache; 2], round: &str) {
    let (old, new) = (format!("old {round}"), format!("new {round}"));
    for number in 0..KEYS {
        let key = format!("key {number}");
        let (by, of) = (&hosts[number % 2], &hosts[1 - number % 2]);
        let sees = |value: &str| {
            wait_within(PATIENCE, "a value", || {
                of.get(&key).as_deref() == Some(value.as_bytes()) && is_near(of, &key)
            })
        };
        by.set(&key, old.clone().into()).unwrap();
        sees(&old);
        by.set(&key, new.clone().into()).unwrap();
        sees(&new);
    }
}

fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn hosts_are_told_of_changes_by_tls() {
    let (authority, port) = (Authority::new(), free_port());
    let _redis = Redis::with(&words(&authority.options(port)));
    let hosts = hosts(|| options(&authority).url(format!("rediss://localhost:{port}")));
    follow_each_other(&hosts, "1");
}

#[test]
fn hosts_are_told_of_changes_by_pubsub_over_tls() {
    let (authority, port) = (Authority::new(), free_port());
    let _redis = Redis::with(&words(&authority.options(port)));
    let options = || {
        let options = options(&authority).url(format!("rediss://localhost:{port}"));
        // Only a message can tell in time.
        let heartbeat = Duration::from_secs(60);
        options.invalidation(Invalidation::Pubsub).heartbeat(heartbeat)
    };
    let hosts = hosts(options);
    follow_each_other(&hosts, "1");
}

#[test]
fn hosts_of_a_cluster_are_told_of_changes_by_tls() {
    let authority = Authority::new();
    let mut addresses = vec![];
    let nodes: Vec<Server> = (0..3)
        .map(|_| {
            let port = free_port();
            addresses.push(format!("127.0.0.1:{port}"));
            let mut options = authority.options(port);
            let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "5000"];
            options.extend(cluster.map(str::to_owned));
            Server::start(&words(&options))
        })
        .collect();
    let client = authority.client_words();
    let mut create = words(&client);
    create.extend(["--cluster", "create"]);
    create.extend(addresses.iter().map(String::as_str));
    create.extend(["--cluster-replicas", "0", "--cluster-yes"]);
    let said = command_line(&create);
    assert!(said.contains("All 16384 slots covered"), "{said}");
    for node in &nodes {
        node.wait_for(&["cluster", "info"], "cluster_state:ok");
        node.wait_for(&["cluster", "info"], "cluster_known_nodes:3");
    }
    // One is named; where the others are, and that they speak TLS, it says.
    let hosts = hosts(|| options(&authority).cluster(true).nodes(&*addresses[1]).tls(true));
    follow_each_other(&hosts, "1");
    for node in &nodes {
        let keys = node.ask(&["dbsize"]);
        assert!(!keys.trim().is_empty() && keys.trim() != "0", "{keys}");
    }
}

#[test]
fn hosts_find_the_master_by_tls_and_the_next_one_too() {
    let authority = Authority::new();
    let ports = [free_port(), free_port()];
    let mut servers = vec![Server::start(&words(&authority.options(ports[0])))];
    let master = format!("127.0.0.1 {}", ports[0]);
    let mut replica = authority.options(ports[1]);
    replica.extend(["--replicaof".to_owned(), master]);
    servers.push(Server::start(&words(&replica)));
    servers[1].wait_for(&["info", "replication"], "master_link_status:up");
    let mut addresses = vec![];
    let sentinels: Vec<Server> = (0..3)
        .map(|_| {
            let port = free_port();
            addresses.push(format!("127.0.0.1:{port}"));
            let (options, soon) = (authority.options(port), Duration::from_millis(1000));
            Server::sentinel_with("shop", ports[0], 2, soon, &words(&options))
        })
        .collect();
    for sentinel in &sentinels {
        let master = ["sentinel", "master", "shop"];
        sentinel.wait_for(&master, "num-other-sentinels\n2");
        sentinel.wait_for(&master, "num-slaves\n1");
    }
    let options = || {
        let sentinels = options(&authority).sentinels(addresses.join(","));
        sentinels.sentinel_master("shop").tls(true)
    };
    let hosts = hosts(options);
    let probe = host(options(), Tiering::L3, None);
    follow_each_other(&hosts, "1");
    servers[0].kill();
    println!("back after {:?}", wait_for_l3(&probe, 3, Instant::now()));
    follow_each_other(&hosts, "2");
}

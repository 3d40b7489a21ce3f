//! Two hosts whose L3 is a cluster: what becomes of callers and of values when slots move, and when a
//! master is lost.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tierce::{Bytes, Cache, Invalidation, RedisOptions, SetOptions, TierKind, TierStats, Tiering};
use tierce_tests::{
    seed,
    server::{PATIENCE, Server, command_line},
    store_folder,
    stub::Stub,
    traffic::{
        BOUND, HEARTBEAT, SETTLED, Traffic, host, host_with_room, wait_for_l3, wait_for_stream,
    },
    waiting::{is_near, wait_within},
};

/// Keys in most stripes.
const KEYS: usize = 1000;

/// And how hosts are told of changes.
struct Nodes(Vec<Server>, Invalidation);

impl Nodes {
    fn start(replicas: usize) -> Self {
        Self::by(Invalidation::Tracking, replicas)
    }

    fn by(way: Invalidation, replicas: usize) -> Self {
        let options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"];
        let count = 3 * (1 + replicas);
        let nodes: Vec<Server> = (0..count).map(|_| Server::start(&options)).collect();
        let addresses: Vec<String> = nodes.iter().map(Server::address).collect();
        let replicas = replicas.to_string();
        let mut words = vec!["--cluster", "create"];
        words.extend(addresses.iter().map(String::as_str));
        words.extend(["--cluster-replicas", &replicas, "--cluster-yes"]);
        let said = command_line(&words);
        assert!(said.contains("All 16384 slots covered"), "{said}");
        for node in &nodes {
            node.wait_for(&["cluster", "info"], "cluster_state:ok");
            node.wait_for(&["cluster", "info"], &format!("cluster_known_nodes:{count}"));
        }
        Self(nodes, way)
    }

    fn options(&self) -> RedisOptions {
        RedisOptions::new()
            .cluster(true)
            .nodes(format!("{},{}", self.0[1].address(), self.0[2].address()))
            .read_timeout(Duration::from_millis(500))
            .write_timeout(Duration::from_millis(500))
            .heartbeat(HEARTBEAT)
            .staleness_bound(BOUND)
            .invalidation(self.1)
    }

    fn host(&self, tiering: Tiering) -> Cache {
        host(self.options(), tiering, None)
    }

    /// A host whose processes share a store in this folder.
    fn host_with_store(&self, folder: &TempDir) -> Cache {
        host(self.options(), Tiering::L1L2L3, Some(folder))
    }

    fn id(&self, node: usize) -> String {
        self.0[node].ask(&["cluster", "myid"]).trim().to_owned()
    }

    /// Moves slots by hand of redis-cli, keys and all.
    fn reshard(&self, from: usize, to: usize, slots: u32) {
        let (first, last) = (self.id(from), self.id(to));
        let said = command_line(&[
            "--cluster",
            "reshard",
            &self.0[0].address(),
            "--cluster-from",
            &first,
            "--cluster-to",
            &last,
            "--cluster-slots",
            &slots.to_string(),
            "--cluster-yes",
        ]);
        assert!(said.contains("Moving slot") && !said.contains("[ERR]"), "{said}");
    }
}

fn names() -> Vec<String> {
    (0..KEYS).map(|key| format!("key {key}")).collect()
}

#[test]
fn hosts_read_change_and_clear_all_keys_of_a_cluster_and_follow_each_other() {
    follow_each_other(&Nodes::start(0));
}

#[test]
fn hosts_of_a_cluster_follow_each_other_by_pubsub() {
    follow_each_other(&Nodes::by(Invalidation::Pubsub, 0));
}

fn follow_each_other(nodes: &Nodes) {
    let hosts = [Tiering::L1L3, Tiering::L1L3, Tiering::L3].map(|tiering| nodes.host(tiering));
    hosts[..2].iter().for_each(wait_for_stream);
    let names = names();
    for (round, name) in names.iter().enumerate() {
        hosts[round % 3].set(name, format!("one of {name}").into()).unwrap();
    }
    let held: Vec<u64> =
        nodes.0.iter().map(|node| node.ask(&["dbsize"]).trim().parse().unwrap()).collect();
    println!("keys of the nodes: {held:?}");
    assert!(held.iter().all(|held| *held > 200));
    for host in &hosts {
        for name in &names {
            assert_eq!(host.get(name), Some(format!("one of {name}").into()), "{name}");
        }
    }
    let reader = nodes.host(Tiering::L3);
    for many in [&hosts[0], &reader] {
        let found = many.get_many(&names);
        let expected: Vec<_> =
            names.iter().map(|name| Some(Bytes::from(format!("one of {name}")))).collect();
        assert_eq!(found, expected);
    }
    // What one changes the other sees.
    for name in &names[..100] {
        assert!(is_near(&hosts[1], name), "{name}");
        hosts[0].set(name, "two".into()).unwrap();
        wait_within(PATIENCE, "a change", || hosts[1].get(name).as_deref() == Some(b"two"));
        hosts[1].delete(name).unwrap();
        wait_within(PATIENCE, "a removal", || hosts[0].get(name).is_none());
        hosts[2].set(name, "three".into()).unwrap();
        wait_within(PATIENCE, "a change", || hosts[0].get(name).as_deref() == Some(b"three"));
    }
    let loaded =
        hosts[0].get_or_load("new", |_| std::io::Result::Ok(Bytes::from("loaded"))).unwrap();
    assert_eq!(
        (loaded.as_ref(), hosts[2].get("new").as_deref()),
        (&b"loaded"[..], Some(&b"loaded"[..]))
    );
    hosts[1].clear().unwrap();
    for host in [&hosts[1], &hosts[2], &reader] {
        assert_eq!(host.get_many(&names).iter().flatten().count(), 0);
    }
    wait_within(PATIENCE, "a clear", || hosts[0].get_many(&names).iter().flatten().count() == 0);
    assert!(
        hosts.iter().all(|host| host.health().dependencies.iter().all(|it| it.reason.is_none()))
    );
}

#[test]
fn callers_see_no_error_and_no_wrong_value_while_slots_move_under_load() {
    work_while_slots_move(&Nodes::start(0));
}

#[test]
fn callers_see_no_error_and_no_wrong_value_while_slots_move_by_pubsub() {
    work_while_slots_move(&Nodes::by(Invalidation::Pubsub, 0));
}

fn work_while_slots_move(nodes: &Nodes) {
    let folder = store_folder();
    let hosts = [nodes.host_with_store(&folder), nodes.host(Tiering::L1L3)];
    hosts.iter().for_each(wait_for_stream);
    let traffic = Traffic::new(&hosts, 2, 200, SETTLED, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        thread::sleep(Duration::from_secs(1));
        let begin = Instant::now();
        nodes.reshard(0, 1, 1500);
        nodes.reshard(1, 2, 1500);
        println!("3000 slots moved in {:?}", begin.elapsed());
        thread::sleep(SETTLED + Duration::from_secs(1));
    });
    println!("{checked} reads judged, {wrong} wrong, {errors} errors");
    assert_eq!((wrong, errors), (0, 0));
    assert!(checked > 10_000);
    hosts.iter().for_each(wait_for_stream);
    assert!(
        hosts.iter().all(|host| host.health().dependencies.iter().all(|it| it.reason.is_none()))
    );
}

#[test]
fn a_slot_that_came_to_a_master_nobody_listens_to_has_no_stale_copies() {
    let nodes = Nodes::start(0);
    let hosts = [Tiering::L1L3, Tiering::L1L3].map(|tiering| nodes.host(tiering));
    hosts.iter().for_each(wait_for_stream);
    // A fourth node, which gets most slots of the first.
    let fourth = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
    let said = command_line(&["--cluster", "add-node", &fourth.address(), &nodes.0[0].address()]);
    assert!(said.contains("added correctly"), "{said}");
    let mut nodes = nodes;
    nodes.0.push(fourth);
    for node in &nodes.0 {
        node.wait_for(&["cluster", "info"], "cluster_known_nodes:4");
        node.wait_for(&["cluster", "info"], "cluster_state:ok");
    }
    let names = names();
    for name in &names {
        hosts[0].set(name, "old".into()).unwrap();
        assert_eq!(hosts[1].get(name).as_deref(), Some(&b"old"[..]));
    }
    thread::sleep(Duration::from_secs(2));
    nodes.reshard(0, 3, 4000);
    // What is moved is void there, and loaded anew; then it is changed.
    let mut loads = 0;
    for name in &names {
        let loaded = hosts[1].get_or_load(name, |_| {
            loads += 1;
            std::io::Result::Ok(Bytes::from("old"))
        });
        loaded.unwrap();
    }
    println!("{loads} loads");
    assert!(loads > 100);
    for name in &names {
        hosts[0].set(name, "new".into()).unwrap();
    }
    thread::sleep(BOUND + HEARTBEAT);
    for name in &names {
        let found = hosts[1].get(name);
        assert_ne!(found.as_deref(), Some(&b"old"[..]), "{name}");
    }
}

#[test]
fn no_wrong_value_is_seen_while_a_master_is_lost_under_load() {
    work_while_a_master_is_lost(Nodes::start(1));
}

#[test]
fn no_wrong_value_is_seen_while_a_master_is_lost_by_pubsub() {
    work_while_a_master_is_lost(Nodes::by(Invalidation::Pubsub, 1));
}

fn work_while_a_master_is_lost(mut nodes: Nodes) {
    let folder = store_folder();
    let hosts = [nodes.host_with_store(&folder), nodes.host(Tiering::L1L3)];
    let probe = nodes.host(Tiering::L3);
    hosts.iter().for_each(wait_for_stream);
    let traffic = Traffic::new(&hosts, 2, 200, SETTLED, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        thread::sleep(Duration::from_secs(2));
        nodes.0[0].kill();
        let begin = Instant::now();
        nodes.0[1].wait_for(&["cluster", "nodes"], "master,fail");
        nodes.0[1].wait_for(&["cluster", "info"], "cluster_slots_fail:0");
        println!("the cluster was whole after {:?}", begin.elapsed());
        println!("back after {:?}", wait_for_l3(&probe, 100, begin));
        thread::sleep(SETTLED + Duration::from_secs(2));
    });
    println!("{checked} reads judged, {wrong} wrong, {errors} errors");
    assert_eq!((wrong, errors), (0, 0));
    assert!(checked > 10_000);
    hosts.iter().for_each(wait_for_stream);
}

#[test]
fn replicas_are_read_while_slots_move_and_a_master_is_lost_and_no_value_is_wrong() {
    let mut nodes = Nodes::start(1);
    let folder = store_folder();
    let options = nodes.options().replica_reads(true);
    let hosts = [
        host_with_room(options.clone(), Tiering::L1L2L3, Some(&folder), 100),
        host_with_room(options, Tiering::L1L3, None, 100),
    ];
    let probe = nodes.host(Tiering::L3);
    let answered = || hosts.each_ref().map(|it| it.redis_statistics().unwrap().replica_hits);
    let more = |what: &str| {
        let before = answered();
        wait_within(PATIENCE, what, || {
            answered().iter().zip(before).all(|(now, before)| *now > before + 100)
        });
    };
    let traffic = Traffic::new(&hosts, 2, 200, SETTLED, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        more("answers of replicas");
        nodes.reshard(0, 1, 1500);
        more("answers of replicas after slots moved");
        nodes.0[0].kill();
        let begin = Instant::now();
        nodes.0[1].wait_for(&["cluster", "nodes"], "master,fail");
        nodes.0[1].wait_for(&["cluster", "info"], "cluster_slots_fail:0");
        println!("back after {:?}", wait_for_l3(&probe, 100, begin));
        more("answers of replicas after a master was lost");
        thread::sleep(SETTLED);
    });
    println!(
        "{checked} reads judged, {wrong} wrong, {errors} errors, {:?} by replicas",
        answered()
    );
    assert_eq!((wrong, errors), (0, 0));
}

#[test]
fn a_change_that_the_next_master_lacks_brings_no_old_value_back() {
    let mut nodes = Nodes::start(1);
    let hosts = [Tiering::L1L3, Tiering::L1L3, Tiering::L3].map(|tiering| nodes.host(tiering));
    hosts[..2].iter().for_each(wait_for_stream);
    let names = names();
    for name in &names {
        hosts[0].set(name, "old".into()).unwrap();
        assert_eq!(hosts[1].get(name).as_deref(), Some(&b"old"[..]));
    }
    nodes.0[0].wait_for(&["wait", "1", "1000"], "1");
    // Its replica is thrown out, and nobody comes in any more.
    nodes.0[0].ask(&["config", "set", "requirepass", "changed"]);
    nodes.0[0].ask(&["-a", "changed", "client", "kill", "type", "replica"]);
    nodes.0[0].wait_for(&["-a", "changed", "info", "replication"], "connected_slaves:0");
    let is_new = |name: &String| hosts[2].get(name).as_deref() == Some(b"new");
    for name in &names {
        // A loaded machine loses sets to its time-outs.
        let set = |_: &i32| {
            hosts[0].set(name, "new".into()).unwrap();
            is_new(name)
        };
        _ = (0..20).find(set);
    }
    nodes.0[0].kill();
    println!("back after {:?}", wait_for_l3(&hosts[2], 100, Instant::now()));
    let begin = Instant::now();
    while begin.elapsed() < BOUND * 4 {
        for name in &names {
            for (number, host) in hosts.iter().enumerate() {
                let found = host.get(name);
                let may_be_old = number == 1 && begin.elapsed() < BOUND + HEARTBEAT;
                let is_old = found.as_deref() == Some(b"old");
                assert!(!is_old || may_be_old, "{name}, host {number}, {:?}", begin.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    // Two thirds of the names are theirs.
    wait_within(PATIENCE, "the other masters lost nothing", || {
        names.iter().filter(|name| is_new(name)).count() * 2 > KEYS
    });
}

fn tagged() -> SetOptions {
    SetOptions::new().tags(["red"])
}

#[test]
fn what_bears_a_tag_is_removed_from_all_masters_of_a_cluster_and_all_hosts() {
    let nodes = Nodes::start(0);
    let hosts = [Tiering::L1L3, Tiering::L1L3, Tiering::L3].map(|tiering| nodes.host(tiering));
    hosts[..2].iter().for_each(wait_for_stream);
    let names = names();
    for (round, remover) in [0, 1, 2, 0].into_iter().enumerate() {
        for name in &names {
            hosts[round % 3].set_with(name, "one".into(), &tagged()).unwrap();
        }
        hosts[0].set_with("another", "two".into(), &SetOptions::new().tags(["blue"])).unwrap();
        for host in &hosts {
            wait_within(PATIENCE, "copies", || {
                host.get_many(&names).iter().flatten().count() == KEYS
            });
        }
        hosts[remover].remove_tag("red").unwrap();
        for host in [&hosts[2], &hosts[remover]] {
            assert_eq!(host.get_many(&names).iter().flatten().count(), 0, "{round}");
        }
        for host in &hosts {
            wait_within(PATIENCE, "a removal", || {
                names.iter().all(|name| host.get(name).is_none())
            });
            assert_eq!(host.get("another").as_deref(), Some(&b"two"[..]));
        }
    }
}

#[test]
fn a_removal_of_a_tag_that_the_next_master_lacks_brings_no_old_value_back() {
    let mut nodes = Nodes::start(1);
    let hosts = [Tiering::L1L3, Tiering::L1L3, Tiering::L3].map(|tiering| nodes.host(tiering));
    hosts[..2].iter().for_each(wait_for_stream);
    let names = names();
    for name in &names {
        hosts[0].set_with(name, "old".into(), &tagged()).unwrap();
        assert_eq!(hosts[1].get(name).as_deref(), Some(&b"old"[..]));
    }
    let has_hash = |node: &Server| node.ask(&["exists", "tierce:t:{00}"]).trim() == "1";
    let node = nodes.0.iter().position(has_hash).unwrap();
    nodes.0[node].wait_for(&["wait", "1", "1000"], "1");
    // Its replica is thrown out, and nobody comes in any more.
    nodes.0[node].ask(&["config", "set", "requirepass", "changed"]);
    nodes.0[node].ask(&["-a", "changed", "client", "kill", "type", "replica"]);
    nodes.0[node].wait_for(&["-a", "changed", "info", "replication"], "connected_slaves:0");
    hosts[0].remove_tag("red").unwrap();
    assert_eq!(hosts[2].get_many(&names).iter().flatten().count(), 0);
    nodes.0[node].kill();
    println!("back after {:?}", wait_for_l3(&hosts[2], 100, Instant::now()));
    let begin = Instant::now();
    while begin.elapsed() < BOUND * 4 {
        for (number, host) in hosts.iter().enumerate() {
            let old = host.get_many(&names).iter().flatten().count();
            let may_be_old = number == 1 && begin.elapsed() < BOUND + HEARTBEAT;
            assert!(old == 0 || may_be_old, "{old}, host {number}, {:?}", begin.elapsed());
        }
        thread::sleep(Duration::from_millis(5));
    }
    // Tags are of use again.
    wait_within(PATIENCE, "a copy", || {
        // Again where L3 did not answer in time.
        hosts[0].set_with("key 0", "new".into(), &tagged()).unwrap();
        hosts[1].get("key 0").as_deref() == Some(b"new")
    });
    hosts[1].remove_tag("red").unwrap();
    wait_within(PATIENCE, "a removal", || hosts[0].get("key 0").is_none());
}

#[test]
fn nodes_that_name_each_other_for_ever_are_asked_a_few_times_and_no_longer_than_the_deadline() {
    for reply in ["-MOVED 1 {}", "-ASK 1 {}", "-TRYAGAIN later", "-CLUSTERDOWN for ever"] {
        let stub = Stub::start(reply);
        let options = RedisOptions::new()
            .cluster(true)
            .nodes(stub.address())
            .read_timeout(Duration::from_millis(300))
            .coherence(false);
        let builder = Cache::builder().tiering(Tiering::L3).redis(options);
        let cache = builder.build().unwrap();
        let begin = Instant::now();
        assert_eq!(cache.get("key"), None);
        let took = begin.elapsed();
        println!("{reply}: asked {} times in {took:?}", stub.asked());
        // With ASK each attempt asks once more at the node that is named.
        assert!((1..=14).contains(&stub.asked()), "{reply}: {}", stub.asked());
        assert!(took < Duration::from_millis(1000), "{reply}: {took:?}");
        let errors = cache.stats().tiers.iter().map(TierStats::errors_total).sum::<u64>();
        assert_eq!(errors, 1, "{reply}");
    }
}

#[test]
fn a_node_that_takes_the_cluster_for_down_is_left_for_the_one_that_serves_its_slots() {
    // It goes on to claim all slots, as a master does that was cut off from the others.
    let cut_off = Stub::start("-CLUSTERDOWN The cluster is down");
    let next = Server::start(&["--cluster-enabled", "yes"]);
    next.ask(&["cluster", "set-config-epoch", "5"]);
    let options = RedisOptions::new()
        .cluster(true)
        .nodes(format!("{},{}", cut_off.address(), next.address()))
        .read_timeout(Duration::from_secs(2))
        .write_timeout(Duration::from_secs(2))
        .coherence(false);
    let cache = host(options, Tiering::L3, None);
    wait_within(PATIENCE, "a refusal", || {
        assert_eq!(cache.get("key"), None);
        cut_off.asked() > 0 && format!("{:?}", cache.health()).contains("CLUSTERDOWN")
    });
    next.ask(&["cluster", "addslotsrange", "0", "16383"]);
    next.wait_for(&["cluster", "info"], "cluster_state:ok");
    println!("left after {:?}", wait_for_l3(&cache, 3, Instant::now()));
    let asked = cut_off.asked();
    assert!((0..100).all(|_| cache.get("key").is_none()));
    assert_eq!(cut_off.asked(), asked);
}

#[test]
fn a_node_of_a_cluster_that_is_taken_for_one_server_is_not_followed() {
    let stub = Stub::start("-MOVED 1 {}");
    let port = stub.address().rsplit(':').next().unwrap().parse().unwrap();
    let options = RedisOptions::new().host("127.0.0.1").port(port).coherence(false);
    let cache = Cache::builder().tiering(Tiering::L3).redis(options).build().unwrap();
    assert_eq!(cache.get("key"), None);
    assert_eq!(stub.asked(), 1, "redirections are not followed");
    let errors = cache.stats().tier(TierKind::Redis).unwrap().errors.clone();
    assert_eq!(errors.keys().copied().collect::<Vec<_>>(), ["unsupported"]);
}

#[test]
fn a_server_that_is_no_node_of_a_cluster_is_told_so() {
    let alone = Server::start(&[]);
    let options = RedisOptions::new().cluster(true).nodes(alone.address());
    let cache = Cache::builder().tiering(Tiering::L3).redis(options).build().unwrap();
    wait_within(PATIENCE, "a reason", || {
        cache.set("key", "value".into()).unwrap();
        assert_eq!(cache.get("key"), None);
        format!("{:?}", cache.stats()).len() > 1
            && format!("{:?}", cache.health()).contains("cluster support disabled")
    });
}

//! Two hosts whose L3 is the master that sentinels name: what becomes of callers and of values when
//! another server takes over.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tierce::{Cache, ReadOptions, RedisOptions, Tiering};
use tierce_tests::{
    seed,
    server::{PATIENCE, Server},
    store_folder,
    traffic::{
        BOUND, HEARTBEAT, SETTLED, Traffic, host, host_with_room, wait_for_l3, wait_for_stream,
    },
    waiting::wait_within,
};

/// A master, its replicas, and three sentinels that soon take it for dead.
struct Watched {
    servers: Vec<Server>,
    sentinels: Vec<Server>,
}

impl Watched {
    fn start(replicas: usize) -> Self {
        let mut servers = vec![Server::start(&[])];
        let master = servers[0].port();
        for _ in 0..replicas {
            servers.push(Server::start(&["--replicaof", &format!("127.0.0.1 {master}")]));
        }
        for replica in &servers[1..] {
            replica.wait_for(&["info", "replication"], "master_link_status:up");
        }
        let down_after = Duration::from_millis(500);
        let sentinel = |_| Server::sentinel("shop", master, 2, down_after);
        let sentinels: Vec<Server> = (0..3).map(sentinel).collect();
        for sentinel in &sentinels {
            let master = ["sentinel", "master", "shop"];
            sentinel.wait_for(&master, "num-other-sentinels\n2");
            sentinel.wait_for(&master, &format!("num-slaves\n{replicas}"));
        }
        Self { servers, sentinels }
    }

    fn options(&self) -> RedisOptions {
        let addresses: Vec<_> = self.sentinels.iter().map(Server::address).collect();
        RedisOptions::new()
            .sentinels(addresses.join(","))
            .sentinel_master("shop")
            .read_timeout(Duration::from_millis(300))
            .write_timeout(Duration::from_millis(300))
            .heartbeat(HEARTBEAT)
            .staleness_bound(BOUND)
    }

    fn host(&self, tiering: Tiering) -> Cache {
        host(self.options(), tiering, None)
    }

    /// A host whose processes share a store in this folder.
    fn host_with_store(&self, folder: &TempDir) -> Cache {
        host(self.options(), Tiering::L1L2L3, Some(folder))
    }

    /// Which server the sentinels name.
    fn master(&self) -> usize {
        let answer = self.sentinels[0].ask(&["sentinel", "get-master-addr-by-name", "shop"]);
        let port = answer.lines().nth(1).and_then(|port| port.trim().parse::<u16>().ok());
        self.servers.iter().position(|server| Some(server.port()) == port).unwrap()
    }
}

#[test]
fn a_change_that_the_next_master_lacks_brings_no_old_value_back() {
    let mut watched = Watched::start(1);
    let hosts = [Tiering::L1L3, Tiering::L1L3, Tiering::L3].map(|tiering| watched.host(tiering));
    hosts[..2].iter().for_each(wait_for_stream);
    let keys: Vec<_> = (0..300).map(|key| format!("key {key}")).collect();
    for key in &keys {
        hosts[0].set(key, "old".into()).unwrap();
        assert_eq!(hosts[1].get(key).as_deref(), Some(&b"old"[..]));
    }
    watched.servers[0].wait_for(&["wait", "1", "1000"], "1");
    // The replica is thrown out, and nobody comes in any more.
    watched.servers[0].ask(&["config", "set", "requirepass", "changed"]);
    watched.servers[0].ask(&["-a", "changed", "client", "kill", "type", "replica"]);
    let replicas = ["-a", "changed", "info", "replication"];
    watched.servers[0].wait_for(&replicas, "connected_slaves:0");
    for key in &keys {
        hosts[0].set(key, "new".into()).unwrap();
    }
    let confirmed = watched.servers[0].ask(&["-a", "changed", "get", "tierce:s:{00}"]);
    let known = watched.servers[1].ask(&["--no-raw", "get", "tierce:s:{00}"]);
    watched.servers[0].kill();
    println!("back after {:?}", wait_for_l3(&hosts[2], 3, Instant::now()));
    assert_eq!(watched.master(), 1);
    let begin = Instant::now();
    let after = watched.servers[1].ask(&["--no-raw", "get", "tierce:s:{00}"]);
    println!("a stamp: {confirmed} confirmed, {known} at the next master, {after} there now");
    // Whoever asks has the new value, or none, and once the bound has passed all have.
    let (mut reads, mut lost) = (0, 0);
    while begin.elapsed() < BOUND * 6 {
        for key in &keys {
            for (number, host) in hosts.iter().enumerate() {
                let found = host.get(key);
                reads += 1;
                lost += u64::from(found.is_none());
                let is_old = found.as_deref() == Some(b"old");
                // The second host was told of the changes before the master was gone, or was not.
                let may_be_old = number == 1 && begin.elapsed() < BOUND + HEARTBEAT;
                assert!(!is_old || may_be_old, "{key}, host {number}, {:?}", begin.elapsed());
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
    println!("{reads} reads, {lost} misses");
    // And the hosts follow each other again.
    hosts[..2].iter().for_each(wait_for_stream);
    hosts[0].set("key 0", "newest".into()).unwrap();
    wait_within(PATIENCE, "a change", || hosts[1].get("key 0").as_deref() == Some(b"newest"));
}

#[test]
fn what_is_set_at_a_new_master_is_there_though_nobody_read_it_before() {
    let mut watched = Watched::start(1);
    let options = watched.options().coherence(false);
    let build = |options| Cache::builder().tiering(Tiering::L3).redis(options).build().unwrap();
    let (cache, probe) = (build(options.clone()), build(options.prefix("probe")));
    for key in 0..300 {
        cache.set(format!("{key}"), "first".into()).unwrap();
    }
    for key in 0..300 {
        assert_eq!(cache.get(format!("{key}")).as_deref(), Some(&b"first"[..]), "{key}");
    }
    watched.servers[0].kill();
    wait_for_l3(&probe, 3, Instant::now());
    drop(cache);
    let cache = build(watched.options().coherence(false));
    for key in 0..300 {
        cache.set(format!("{key}"), "second".into()).unwrap();
    }
    let names: Vec<_> = (0..300).map(|key| format!("{key}")).collect();
    assert!(cache.get_many(&names).iter().all(|found| found.as_deref() == Some(b"second")));
}

fn a_master_is_replaced_under_load(mut lose: impl FnMut(&mut Server), find: impl Fn(&Server)) {
    let mut watched = Watched::start(2);
    let folder = store_folder();
    let hosts = [watched.host_with_store(&folder), watched.host(Tiering::L1L3)];
    let probe = watched.host(Tiering::L3);
    hosts.iter().for_each(wait_for_stream);
    let traffic = Traffic::new(&hosts, 2, 200, SETTLED, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        thread::sleep(Duration::from_secs(2));
        let master = watched.master();
        lose(&mut watched.servers[master]);
        let begin = Instant::now();
        wait_within(PATIENCE, "another master", || watched.master() != master);
        println!("named after {:?}", begin.elapsed());
        println!("back after {:?}", wait_for_l3(&probe, 3, begin));
        assert_ne!(watched.master(), master);
        find(&watched.servers[master]);
        thread::sleep(SETTLED + Duration::from_secs(2));
    });
    println!("{checked} reads judged, {wrong} wrong, {errors} errors");
    assert_eq!((wrong, errors), (0, 0));
    assert!(checked > 10_000);
}

#[test]
fn callers_see_no_error_and_no_old_value_while_a_master_is_killed_under_load() {
    a_master_is_replaced_under_load(Server::kill, |_| ());
}

#[test]
fn callers_see_no_error_and_no_old_value_while_a_master_stands_still_and_comes_back() {
    let stop = |master: &mut Server| master.signal(libc::SIGSTOP);
    a_master_is_replaced_under_load(stop, |master| master.signal(libc::SIGCONT));
}

#[test]
fn replicas_that_are_read_follow_the_next_master_and_no_caller_sees_an_old_value() {
    let mut watched = Watched::start(2);
    let folder = store_folder();
    let options = watched.options().replica_reads(true);
    let hosts = [
        host_with_room(options.clone(), Tiering::L1L2L3, Some(&folder), 100),
        host_with_room(options, Tiering::L1L3, None, 100),
    ];
    let probe = watched.host(Tiering::L3);
    let answered = || hosts.each_ref().map(|it| it.redis_statistics().unwrap().replica_hits);
    let traffic = Traffic::new(&hosts, 2, 200, SETTLED, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        wait_within(PATIENCE, "answers of replicas", || answered().iter().all(|all| *all > 100));
        let master = watched.master();
        watched.servers[master].kill();
        let begin = Instant::now();
        wait_within(PATIENCE, "another master", || watched.master() != master);
        println!("back after {:?}", wait_for_l3(&probe, 3, begin));
        let before = answered();
        wait_within(PATIENCE, "answers of the replica that is left", || {
            answered().iter().zip(before).all(|(now, before)| *now > before + 100)
        });
        thread::sleep(SETTLED);
    });
    println!(
        "{checked} reads judged, {wrong} wrong, {errors} errors, {:?} by replicas",
        answered()
    );
    assert_eq!((wrong, errors), (0, 0));
}

#[test]
fn a_replica_that_has_what_another_master_made_is_not_read() {
    let watched = Watched::start(1);
    let host = host(watched.options().replica_reads(true), Tiering::L1L3, None);
    let answered = || host.redis_statistics().unwrap().replica_hits;
    let below = || {
        let found = host.get_with("key", &ReadOptions::new().tiers(Tiering::L3));
        assert_eq!(found.unwrap().value, "value");
    };
    host.set("key", "value".into()).unwrap();
    wait_within(PATIENCE, "an answer of the replica", || {
        below();
        answered() > 0
    });
    // As if it had taken part in the begin of another reign alone.
    watched.servers[1].ask(&["config", "set", "replica-read-only", "no"]);
    let names = watched.servers[1].ask(&["--raw", "keys", "tierce:r:*"]);
    for name in names.split_whitespace() {
        watched.servers[1].ask(&["set", name, "of another"]);
    }
    let before = answered();
    let begin = Instant::now();
    while begin.elapsed() < BOUND {
        below();
    }
    assert_eq!(answered(), before);
}

#[test]
fn a_master_that_is_cut_off_from_its_sentinels_is_left_for_the_next_one() {
    let watched = Watched::start(1);
    let hosts = [Tiering::L1L3, Tiering::L3].map(|tiering| watched.host(tiering));
    wait_for_stream(&hosts[0]);
    hosts[0].set("key", "old".into()).unwrap();
    // The sentinels make the other one the master by name alone: the old one goes on as it was.
    watched.servers[1].ask(&["replicaof", "no", "one"]);
    for sentinel in &watched.sentinels {
        sentinel.ask(&["sentinel", "remove", "shop"]);
        let port = watched.servers[1].port().to_string();
        sentinel.ask(&["sentinel", "monitor", "shop", "127.0.0.1", &port, "2"]);
    }
    assert_eq!(watched.master(), 1);
    assert!(watched.servers[0].ask(&["role"]).starts_with("master"));
    let took = wait_within(PATIENCE, "a change of the server", || {
        hosts[1].set("where", "here".into()).unwrap();
        watched.servers[1].ask(&["--raw", "keys", "tierce:k:*:where"]).contains("where")
    });
    println!("left after {took:?}");
    // What the old one holds is not asked for any more, by either host.
    thread::sleep(BOUND * 2);
    assert_eq!(hosts[1].get("key"), None);
    assert_eq!(hosts[0].get("key"), None);
    hosts[0].set("key", "new".into()).unwrap();
    assert_eq!(hosts[1].get("key").as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_replica_that_is_named_is_not_written_and_health_says_why() {
    let replica = Server::start(&["--replicaof", "127.0.0.1 1"]);
    let down_after = Duration::from_secs(60);
    // It says that the master is where the replica is.
    let liar = Server::sentinel("shop", replica.port(), 1, down_after);
    let cache = Cache::builder()
        .tiering(Tiering::L3)
        .redis(RedisOptions::new().sentinels(liar.address()).sentinel_master("shop"))
        .build()
        .unwrap();
    let mut seen = String::new();
    wait_within(PATIENCE, "a reason", || {
        cache.set("key", "value".into()).unwrap();
        assert_eq!(cache.get("key"), None);
        seen = format!("{:?}", cache.health());
        seen.contains("no master but a slave")
    });
    let unknown = Cache::builder()
        .tiering(Tiering::L3)
        .redis(RedisOptions::new().sentinels(liar.address()).sentinel_master("other"))
        .build()
        .unwrap();
    wait_within(PATIENCE, "a reason", || {
        unknown.get("key");
        format!("{:?}", unknown.health()).contains("knows no master of the name other")
    });
}

#[test]
fn a_sentinel_that_names_another_server_is_outvoted() {
    let [master, other] = [Server::start(&[]), Server::start(&[])];
    let of = |server: &Server| Server::sentinel("shop", server.port(), 1, Duration::from_secs(60));
    let sentinels = [of(&other), of(&master), of(&master)];
    let addresses = sentinels.each_ref().map(Server::address).join(",");
    let patience = Duration::from_secs(10);
    let options = RedisOptions::new()
        .sentinels(addresses)
        .sentinel_master("shop")
        .connect_timeout(2 * patience)
        .read_timeout(patience)
        .write_timeout(patience)
        .coherence(false);
    // Each asks the sentinels anew, of which any may be the first to answer.
    for number in 0..30 {
        let key = format!("key {number}");
        let builder = Cache::builder().tiering(Tiering::L3).redis(options.clone());
        let cache = builder.build().unwrap();
        cache.set(&key, "value".into()).unwrap();
        assert_eq!(cache.get(&key).as_deref(), Some(&b"value"[..]));
    }
    assert_eq!(other.ask(&["dbsize"]).trim(), "0", "it is a master too, and not the one");
}

#[test]
fn sentinels_with_a_password_are_asked_with_theirs() {
    let master = Server::start(&["--requirepass", "of the server"]);
    let sentinel = Server::sentinel("shop", master.port(), 1, Duration::from_secs(60));
    sentinel.ask(&["sentinel", "set", "shop", "auth-pass", "of the server"]);
    sentinel.ask(&["config", "set", "requirepass", "x"]);
    sentinel.ask(&["sentinel", "config", "set", "sentinel-user", ""]);
    sentinel.ask(&["acl", "setuser", "default", ">of the sentinels"]);
    sentinel.ask(&["acl", "setuser", "default", "resetpass", ">of the sentinels"]);
    let options = RedisOptions::new()
        .sentinels(sentinel.address())
        .sentinel_master("shop")
        .password("of the server");
    let with = |options| Cache::builder().tiering(Tiering::L3).redis(options).build().unwrap();
    let good = with(options.clone().sentinel_password("of the sentinels"));
    wait_for_l3(&good, 1, Instant::now());
    let bad = with(options.sentinel_password("of nobody"));
    wait_within(PATIENCE, "a reason", || {
        bad.get("key");
        format!("{:?}", bad.health()).contains("a sentinel refused our credentials")
    });
    assert!(!format!("{:?}", bad.health()).contains("of nobody"));
}

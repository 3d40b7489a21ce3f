//! Hosts that read replicas of their L3: whatever becomes of those, no host reads anything older than
//! what it knows, and no caller sees an error.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tierce::{
    BreakerOptions, Bytes, Cache, LoadOptions, MemoryOptions, ReadOptions, RedisOptions,
    RedisStatistics, StoreOptions, Tiering,
};
use tierce_tests::{
    host::{BOUND, HEARTBEAT},
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    seed,
    server::Server,
    store_folder,
    traffic::Traffic,
    waiting::wait_until,
};

/// A master, and replicas that reach it by a proxy.
struct Replicated {
    master: Redis,
    way: Proxy,
    replicas: Vec<Server>,
}

impl Replicated {
    fn start(replicas: usize) -> Self {
        let master = Redis::with(&["--repl-diskless-sync-delay", "0"]);
        let way = Proxy::to(master.socket());
        let master_at = format!("127.0.0.1 {}", way.port());
        let replicas: Vec<Server> =
            (0..replicas).map(|_| Server::start(&["--replicaof", &master_at])).collect();
        for replica in &replicas {
            replica.wait_for(&["info", "replication"], "master_link_status:up");
        }
        Self { master, way, replicas }
    }

    fn options(&self) -> RedisOptions {
        let addresses: Vec<_> = self.replicas.iter().map(Server::address).collect();
        RedisOptions::new()
            .unix_path(self.master.socket())
            .read_timeout(Duration::from_secs(1))
            .write_timeout(Duration::from_secs(1))
            .heartbeat(HEARTBEAT)
            .staleness_bound(BOUND)
            .replica_reads(true)
            .replicas(addresses.join(","))
    }

    fn host(&self) -> Cache {
        host(self.options(), None)
    }

    /// What the master does reaches no replica from now on, or does again.
    fn hold(&self, is_held: bool) {
        let fault = if is_held { Fault::Hold } else { Fault::None };
        self.way.set(Line::Calls, Way::Down, fault);
    }
}

/// A host whose L1 has room for few, with a store in this folder if one is given.
fn host(options: RedisOptions, folder: Option<&TempDir>) -> Cache {
    let tiering = if folder.is_some() { Tiering::L1L2L3 } else { Tiering::L1L3 };
    let mut builder = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(64))
        .redis(options)
        .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)));
    if let Some(folder) = folder {
        let store = StoreOptions::new(folder.path().join("store"));
        builder = builder.shared(store.max_bytes(16 << 20));
    }
    let cache = builder.build().unwrap();
    // The thread that listens begins with the first call.
    cache.get("nothing");
    cache
}

fn counted(cache: &Cache) -> RedisStatistics {
    cache.redis_statistics().unwrap()
}

/// What L3 has of a key, by whichever server answers.
fn below(cache: &Cache, key: &str) -> Option<Bytes> {
    let options = ReadOptions::new().tiers(Tiering::L3);
    cache.get_with(key, &options).map(|answer| answer.value)
}

/// Reads below L1 until a replica has answered.
fn wait_for_replica(cache: &Cache, key: &str) {
    let before = counted(cache).replica_hits;
    wait_until("an answer of a replica", || {
        below(cache, key);
        thread::sleep(Duration::from_millis(1));
        counted(cache).replica_hits > before
    });
}

#[test]
fn replicas_answer_in_the_place_of_their_master() {
    let servers = Replicated::start(2);
    let (one, other) = (servers.host(), servers.host());
    let keys: Vec<_> = (0..200).map(|key| format!("key {key}")).collect();
    for key in &keys {
        one.set(key, format!("value of {key}").into()).unwrap();
    }
    wait_for_replica(&other, &keys[0]);
    // What was heard of is from before a look at the master now.
    thread::sleep(HEARTBEAT);
    let master = || {
        let mut client = servers.master.client();
        let stats: String = redis::cmd("INFO").arg("commandstats").query(&mut client).unwrap();
        let line = stats.lines().find(|line| line.starts_with("cmdstat_getrange"));
        line.map_or(0, |line| {
            let calls = line.split_once("calls=").unwrap().1;
            calls.split(',').next().unwrap().parse::<u64>().unwrap()
        })
    };
    // A look at the master may be late on a busy machine: then all of them are asked of it.
    wait_until("a round that replicas answer", || {
        let before = (counted(&other).replica_hits, master());
        for key in &keys {
            assert_eq!(below(&other, key).unwrap(), format!("value of {key}"));
        }
        let answered = counted(&other).replica_hits - before.0;
        let asked = master() - before.1;
        println!("{answered} of {} answered by replicas, master: {asked}", keys.len());
        answered >= 190 && asked <= 10
    });
    for replica in &servers.replicas {
        let stats = replica.ask(&["info", "commandstats"]);
        assert!(stats.contains("cmdstat_getrange"), "each has its turn: {stats}");
    }
}

#[test]
fn what_a_host_has_set_is_never_read_older_by_any_of_its_processes() {
    let servers = Replicated::start(1);
    let folder = store_folder();
    let one = host(servers.options(), Some(&folder));
    let other = host(servers.options(), Some(&folder));
    for round in 0..10 {
        let keys: Vec<_> = (0..20).map(|key| format!("{round} {key}")).collect();
        for key in &keys {
            one.set(key, "old".into()).unwrap();
        }
        for cache in [&one, &other] {
            wait_for_replica(cache, &keys[0]);
        }
        servers.hold(true);
        for key in &keys {
            for cache in [&one, &other] {
                assert_eq!(below(cache, key).as_deref(), Some(&b"old"[..]), "{key}");
            }
            one.set(key, "new".into()).unwrap();
            for cache in [&one, &other] {
                assert_eq!(below(cache, key).as_deref(), Some(&b"new"[..]), "{key}");
            }
        }
        // Also once the look at the master is later than the changes.
        let begin = Instant::now();
        while begin.elapsed() < HEARTBEAT {
            for key in &keys {
                for cache in [&one, &other] {
                    assert_eq!(below(cache, key).as_deref(), Some(&b"new"[..]), "{key}");
                }
            }
        }
        servers.hold(false);
    }
    assert!(counted(&one).replica_turned_back > 0);
}

#[test]
fn what_a_host_has_set_while_another_changes_keys_of_its_group_is_not_read_older() {
    let servers = Replicated::start(1);
    let (one, other) = (servers.host(), servers.host());
    let keys: Vec<_> = (0..20).map(|key| format!("key {key}")).collect();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = OnDrop(|| is_over.store(true, Ordering::Relaxed));
        scope.spawn(|| {
            for number in 0_u64.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                other.set(format!("other {}", number % 300), "x".into()).unwrap();
            }
        });
        for _ in 0..30 {
            for key in &keys {
                one.set(key, "old".into()).unwrap();
            }
            wait_for_replica(&one, &keys[0]);
            // The stamps that this one makes are not next to those that it knows.
            servers.hold(true);
            for key in &keys {
                one.set(key, "new".into()).unwrap();
                assert_eq!(below(&one, key).as_deref(), Some(&b"new"[..]), "{key}");
            }
            servers.hold(false);
        }
    });
}

/// Does something at its end, also where a test has failed.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn what_was_loaded_anew_over_a_fresh_value_is_not_read_older() {
    let servers = Replicated::start(1);
    let host = servers.host();
    let load = |value: &'static str| move |_: &[u8]| std::io::Result::Ok(Bytes::from(value));
    host.get_or_load("key", load("old")).unwrap();
    wait_for_replica(&host, "key");
    servers.hold(true);
    // It raises no stamp.
    let anew = LoadOptions::new().max_age(Duration::ZERO);
    let loaded = host.get_or_load_with("key", &anew, load("new")).unwrap();
    assert_eq!(loaded.value, "new");
    let begin = Instant::now();
    while begin.elapsed() < HEARTBEAT * 3 {
        assert_eq!(below(&host, "key").as_deref(), Some(&b"new"[..]), "{:?}", begin.elapsed());
    }
    servers.hold(false);
    wait_for_replica(&host, "key");
    assert_eq!(below(&host, "key").as_deref(), Some(&b"new"[..]));
}

#[test]
fn what_another_host_changed_is_not_read_older_once_it_was_told() {
    let servers = Replicated::start(1);
    let (one, other) = (servers.host(), servers.host());
    for change in ["set", "delete", "clear", "expire"] {
        one.set(change, "old".into()).unwrap();
        wait_for_replica(&other, change);
        wait_until("a copy", || other.get(change).as_deref() == Some(b"old"));
        servers.hold(true);
        match change {
            "set" => one.set(change, "new".into()).unwrap(),
            "delete" => one.delete(change).unwrap(),
            "clear" => one.clear().unwrap(),
            _ => one.expire(change).unwrap(),
        }
        let expected = (change == "set").then_some(&b"new"[..]);
        wait_until(change, || other.get(change).as_deref() == expected);
        let begin = Instant::now();
        while begin.elapsed() < HEARTBEAT * 2 {
            assert_eq!(below(&other, change).as_deref(), expected, "{change}");
            assert_eq!(other.get(change).as_deref(), expected, "{change}");
        }
        servers.hold(false);
    }
}

#[test]
fn a_replica_of_another_master_is_not_believed() {
    let servers = Replicated::start(0);
    let options = |replica: &Server| servers.options().replicas(replica.address());
    // It has what the master had, and has done more since than that one ever did.
    let clone = Server::start(&["--replicaof", &format!("127.0.0.1 {}", servers.way.port())]);
    clone.wait_for(&["info", "replication"], "master_link_status:up");
    let replica = Server::start(&["--replicaof", &format!("127.0.0.1 {}", clone.port())]);
    replica.wait_for(&["info", "replication"], "master_link_status:up");
    let host = host(options(&replica), None);
    host.set("key", "old".into()).unwrap();
    wait_for_replica(&host, "key");
    clone.ask(&["replicaof", "no", "one"]);
    replica.wait_for(&["info", "replication"], "master_link_status:up");
    for _ in 0..20 {
        clone.ask(&["set", "more", &"x".repeat(10_000)]);
    }
    replica.wait_for(&["strlen", "more"], "10000");
    host.set("key", "new".into()).unwrap();
    let turned_back = counted(&host).replica_turned_back;
    let begin = Instant::now();
    while begin.elapsed() < HEARTBEAT * 3 {
        assert_eq!(below(&host, "key").as_deref(), Some(&b"new"[..]), "{:?}", begin.elapsed());
    }
    assert!(counted(&host).replica_turned_back > turned_back);
}

#[test]
fn callers_see_no_error_and_no_old_value_whatever_becomes_of_replicas() {
    let mut servers = Replicated::start(2);
    let folder = store_folder();
    let hosts = [host(servers.options(), Some(&folder)), servers.host()];
    let traffic = Traffic::new(&hosts, 2, 200, BOUND, seed());
    let [checked, wrong, errors] = traffic.during(|| {
        for fault in ["none", "lag", "held", "stopped", "loading anew", "killed", "none"] {
            match fault {
                "lag" => {
                    let lag = Fault::Delay(Duration::from_millis(30));
                    servers.way.set(Line::Calls, Way::Down, lag);
                }
                "held" => servers.hold(true),
                "stopped" => {
                    servers.hold(false);
                    servers.replicas[0].signal(libc::SIGSTOP);
                }
                "loading anew" => {
                    servers.replicas[0].signal(libc::SIGCONT);
                    servers.way.cut(Line::Calls, true);
                }
                "killed" => servers.replicas.iter_mut().for_each(Server::kill),
                _ => servers.replicas.iter_mut().for_each(|it| {
                    it.kill();
                    it.restart();
                }),
            }
            thread::sleep(Duration::from_millis(1500));
            let of = |host: &Cache| {
                let all = counted(host);
                [all.replica_hits, all.replica_misses, all.replica_turned_back]
            };
            println!("{fault}: {:?}, {:?}", of(&hosts[0]), of(&hosts[1]));
        }
    });
    println!("{checked} reads judged, {wrong} wrong, {errors} errors");
    assert_eq!((wrong, errors), (0, 0));
    assert!(checked > 5_000);
    let all = hosts.each_ref().map(counted);
    assert!(all.iter().all(|all| all.replica_hits > 100 && all.replica_turned_back > 0));
}

#[test]
fn a_replica_that_stands_still_holds_callers_for_a_moment_only() {
    let servers = Replicated::start(1);
    let allowed = Duration::from_secs(4);
    let host = host(servers.options().read_timeout(allowed), None);
    host.set("key", "value".into()).unwrap();
    wait_for_replica(&host, "key");
    servers.replicas[0].signal(libc::SIGSTOP);
    let timed = || {
        let begin = Instant::now();
        assert_eq!(below(&host, "key").as_deref(), Some(&b"value"[..]));
        begin.elapsed()
    };
    // Half of the time to read, and never again until it answers to a new connection.
    let first = timed();
    assert!(first >= allowed / 2 && first < allowed - Duration::from_millis(500), "{first:?}");
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(1) {
        let took = timed();
        assert!(took < allowed / 2, "{took:?}, {:?} after the first", begin.elapsed());
    }
    servers.replicas[0].signal(libc::SIGCONT);
    wait_for_replica(&host, "key");
}

#[test]
fn loads_are_filled_in_by_the_licence_of_the_master() {
    let servers = Replicated::start(1);
    let (one, other) = (servers.host(), servers.host());
    one.set("key", "value".into()).unwrap();
    wait_for_replica(&other, "key");
    let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
    // A replica has it: nothing is loaded.
    assert_eq!(other.get_or_load_with("key", &LoadOptions::new(), load).unwrap().value, "value");
    // Nobody has it: L3 takes what is loaded.
    assert_eq!(other.get_or_load("other", load).unwrap(), "loaded");
    assert_eq!(below(&one, "other").as_deref(), Some(&b"loaded"[..]));
}

#[test]
fn a_user_without_the_right_to_role_is_answered_by_the_master() {
    let servers = Replicated::start(1);
    for line in ["reset", "on", ">secret", "~*", "&*", "+@all", "-role"].map(str::to_owned) {
        servers.replicas[0].ask(&["acl", "setuser", "plain", &line]);
    }
    let mut client = servers.master.client();
    let () = redis::cmd("ACL")
        .arg(&["SETUSER", "plain", "reset", "on", ">secret", "~*", "&*", "+@all", "-role"])
        .query(&mut client)
        .unwrap();
    let host = host(servers.options().username("plain").password("secret"), None);
    host.set("key", "value".into()).unwrap();
    thread::sleep(BOUND);
    assert_eq!(below(&host, "key").as_deref(), Some(&b"value"[..]));
    assert_eq!(counted(&host).replica_hits, 0);
}

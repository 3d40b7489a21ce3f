//! A server that refuses: it loads, was demoted, changed its users, has another time, is not where
//! its name says. The caller has a miss, health has the reason, and nothing old comes back.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tierce::{
    BreakerOptions, Bytes, Cache, LoadOptions, RedisOptions, SetOptions, TierKind, Tiering,
};
use tierce_tests::{process::Worker, redis::Redis, waiting::wait_within};

/// How long anything that must come by itself may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a call may take beyond its deadline there.
const GENEROUS: Duration = Duration::from_millis(1500);

fn cache(tiering: Tiering, options: RedisOptions) -> Cache {
    Cache::builder()
        .tiering(tiering)
        .redis(
            options
                .connect_timeout(Duration::from_secs(2))
                .read_timeout(Duration::from_secs(2))
                .write_timeout(Duration::from_secs(2)),
        )
        .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)))
        .build()
        .unwrap()
}

fn at(redis: &Redis) -> RedisOptions {
    RedisOptions::new().unix_path(redis.socket())
}

fn client(redis: &Redis) -> redis::Connection {
    let client = redis::Client::open(format!("unix://{}", redis.socket().display()));
    client.unwrap().get_connection().unwrap()
}

fn say(client: &mut redis::Connection, words: &[&str]) {
    let () = redis::cmd(words[0]).arg(&words[1..]).query(client).unwrap();
}

/// Why L3 is not healthy.
fn reason(cache: &Cache) -> Option<String> {
    let health = cache.health();
    health.dependencies.into_iter().find(|it| it.name == "L3-Redis").unwrap().reason
}

fn wait_for_reason(cache: &Cache, part: &str) {
    wait_within(PATIENCE, part, || {
        let begin = Instant::now();
        cache.get("nobody has this");
        assert!(begin.elapsed() < Duration::from_secs(2) + GENEROUS, "{:?}", begin.elapsed());
        reason(cache).is_some_and(|why| why.contains(part))
    });
}

fn has(cache: &Cache, key: &str, value: &str) -> bool {
    cache.get(key).as_deref() == Some(value.as_bytes())
}

#[test]
fn a_server_that_loads_its_data_is_a_miss_and_then_has_them() {
    let mut redis = Redis::with(&["--enable-debug-command", "yes"]);
    let cache = cache(Tiering::L3, at(&redis));
    wait_within(PATIENCE, "a connection", || {
        cache.set("key", "value".into()).unwrap();
        has(&cache, "key", "value")
    });
    let mut client = client(&redis);
    // It answers while it loads only once in 2 MiB.
    say(&mut client, &["DEBUG", "POPULATE", "4000", "filler", "4000"]);
    say(&mut client, &["SAVE"]);
    redis.kill();
    redis.set_options(&[
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ]);
    redis.restart();
    wait_for_reason(&cache, "LOADING");
    let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
    assert_eq!(cache.get_or_load("cold", load).unwrap(), "loaded", "no error may reach a caller");
    wait_within(PATIENCE, "the value", || has(&cache, "key", "value") && reason(&cache).is_none());
}

#[test]
fn a_server_that_was_demoted_and_promoted_has_nothing_old() {
    for tiering in [Tiering::L3, Tiering::L1L3] {
        let redis = Redis::start();
        let cache = cache(tiering, at(&redis));
        for key in ["set", "deleted", "kept"] {
            wait_within(PATIENCE, "a connection", || {
                cache.set(key, "old".into()).unwrap();
                has(&cache, key, "old")
            });
        }
        let mut client = client(&redis);
        // A master that nobody reaches: the data stay.
        say(&mut client, &["REPLICAOF", "127.0.0.1", "1"]);
        cache.set("set", "new".into()).unwrap();
        cache.delete("deleted").unwrap();
        for _ in 0..20 {
            assert!(!has(&cache, "set", "old"), "{tiering}");
            assert!(cache.get("deleted").is_none(), "{tiering}");
        }
        say(&mut client, &["REPLICAOF", "NO", "ONE"]);
        for _ in 0..200 {
            assert!(!has(&cache, "set", "old"), "{tiering}");
            assert!(cache.get("deleted").is_none(), "{tiering}");
            thread::sleep(Duration::from_millis(5));
        }
        wait_within(PATIENCE, "what was not changed", || {
            cache.set("probe", "x".into()).unwrap();
            has(&cache, "kept", "old")
        });
        wait_within(PATIENCE, "new values", || {
            cache.set("set", "newer".into()).unwrap();
            has(&cache, "set", "newer")
        });
        let errors = cache.stats().tier(TierKind::Redis).unwrap().errors.clone();
        assert!(errors["denied"] >= 1, "{tiering}: {errors:?}");
    }
}

#[test]
fn a_replica_without_its_master_is_a_miss_with_the_reason() {
    let redis = Redis::start();
    let cache = cache(Tiering::L3, at(&redis));
    wait_within(PATIENCE, "a connection", || {
        cache.set("key", "value".into()).unwrap();
        has(&cache, "key", "value")
    });
    let mut client = client(&redis);
    say(&mut client, &["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    say(&mut client, &["REPLICAOF", "127.0.0.1", "1"]);
    assert_eq!(cache.get("key"), None);
    wait_for_reason(&cache, "MASTERDOWN");
    say(&mut client, &["REPLICAOF", "NO", "ONE"]);
    wait_within(PATIENCE, "the value", || has(&cache, "key", "value"));
}

#[test]
fn a_password_that_changed_parks_the_tier_until_it_is_right_again() {
    let redis = Redis::with(&["--user", "ann", "on", ">first-secret", "~*", "+@all"]);
    let cache = cache(Tiering::L1L3, at(&redis).username("ann").password("first-secret"));
    wait_within(PATIENCE, "a connection", || {
        cache.set("key", "value".into()).unwrap();
        has(&cache, "key", "value")
    });
    let mut client = client(&redis);
    say(&mut client, &["ACL", "SETUSER", "ann", "resetpass", ">other-secret"]);
    say(&mut client, &["CLIENT", "KILL", "USER", "ann"]);
    wait_for_reason(&cache, "credentials");
    let shown = format!("{:?} {:?}", cache.health(), cache);
    assert!(!shown.contains("secret"), "{shown}");
    // Attempts are few: they fill the server's log and may lock the account.
    // Waits double from 50 ms: after these seconds only the bound on them tells.
    let attempts = || {
        let counted = cache.redis_statistics().unwrap();
        [counted.connect_failures, counted.subscriptions_lost]
    };
    let settled = Duration::from_secs(6);
    thread::sleep(settled);
    let before = attempts();
    thread::sleep(settled);
    for (before, after) in before.into_iter().zip(attempts()) {
        assert!(after <= before + 2, "{before} and then {after} attempts in {settled:?}");
    }
    say(&mut client, &["ACL", "SETUSER", "ann", "resetpass", ">first-secret"]);
    wait_within(PATIENCE, "the tier is back", || {
        cache.get("nobody has this");
        cache.set("probe", "x".into()).unwrap();
        reason(&cache).is_none()
    });
}

#[test]
fn rights_that_are_missing_are_named_and_cost_no_wrong_value() {
    let redis = Redis::start();
    let mut client = client(&redis);
    let owner = cache(Tiering::L3, at(&redis));
    for (number, (rules, reads, writes)) in [
        // TIME tells nothing: no write can say its deadline.
        ("-time", true, false),
        ("-ping", true, true),
        ("-script|load", true, true),
        ("-evalsha -eval", true, false),
        ("-@write +eval +evalsha", true, false),
        ("-mget", false, true),
        ("-getrange", false, true),
        ("-@all", false, false),
        ("resetkeys ~other:*", false, false),
        ("resetkeys %R~tierce:*", true, false),
    ]
    .into_iter()
    .enumerate()
    {
        let user = format!("user{number}");
        let mut words = vec!["ACL", "SETUSER", &user, "on", ">secret", "~*", "+@all"];
        words.extend(rules.split(' '));
        say(&mut client, &words);
        let cache = cache(Tiering::L3, at(&redis).username(&user).password("secret"));
        let key = format!("key {number}");
        wait_within(PATIENCE, "the owner", || {
            owner.set(&key, "old".into()).unwrap();
            has(&owner, &key, "old")
        });
        // Who may not load scripts finds none that others have loaded.
        say(&mut client, &["SCRIPT", "FLUSH"]);
        // The first call may find no connection yet.
        let mut found = false;
        for _ in 0..20 {
            match cache.get(&key) {
                Some(value) => {
                    assert_eq!(value, "old");
                    found = true;
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        }
        assert_eq!(found, reads, "{rules}");
        // What was refused so far may have opened the breaker.
        let arrives = || {
            cache.set(&key, "new".into()).unwrap();
            has(&owner, &key, "new")
        };
        if writes {
            wait_within(PATIENCE, rules, arrives);
        } else {
            for _ in 0..50 {
                assert!(!arrives(), "{rules}");
                thread::sleep(Duration::from_millis(10));
            }
        }
        // Also once the breaker lets reads through again.
        for _ in 0..if reads && !writes { 100 } else { 1 } {
            assert!(!has(&cache, &key, "old"), "{rules}");
            thread::sleep(Duration::from_millis(5));
        }
        if !(reads && writes) {
            let errors = cache.stats().tier(TierKind::Redis).unwrap().errors.clone();
            assert!(errors.values().sum::<u64>() >= 1, "{rules}: {errors:?}");
        }
        let shown = format!("{:?}", cache.health());
        assert!(!shown.contains("secret"), "{shown}");
    }
}

#[test]
fn a_name_that_nobody_knows_costs_no_caller_more_than_its_deadline() {
    let cache = Cache::builder()
        .tiering(Tiering::L1L3)
        .redis(RedisOptions::new().host("no-such-host.invalid"))
        .build()
        .unwrap();
    for round in 0..50 {
        let begin = Instant::now();
        let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded"));
        assert_eq!(cache.get_or_load(format!("key {round}"), load).unwrap(), "loaded");
        assert!(begin.elapsed() < GENEROUS, "{:?}", begin.elapsed());
    }
    wait_for_reason(&cache, "no-such-host.invalid");
}

const DAY: i64 = 24 * 3600;

/// Shifts the clock of a program by what a file says.
const SHIFTED_CLOCK: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long shift(void) {
    static int file = -1;
    if (file < 0) file = open(getenv("SHIFT_FILE"), O_RDONLY | O_CLOEXEC);
    char text[32] = {0};
    return pread(file, text, sizeof text - 1, 0) > 0 ? atol(text) : 0;
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += shift();
    return failed;
}
int gettimeofday(struct timeval *now, void *zone) {
    struct timespec precise;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *now) {
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (now) *now = precise.tv_sec;
    return precise.tv_sec;
}
"#;

/// A server with a clock that can be set; or the reason why there is none.
struct Shifted {
    folder: tempfile::TempDir,
    redis: Redis,
}

impl Shifted {
    fn by(seconds: i64) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        std::fs::write(path("clock.c"), SHIFTED_CLOCK).unwrap();
        std::fs::write(path("shift"), seconds.to_string()).unwrap();
        run(&format!("cc -shared -fPIC -O1 -o {} {}", path("clock.so"), path("clock.c")))?;
        let redis = Redis::through(
            "env",
            &[
                &format!("LD_PRELOAD={}", path("clock.so")),
                &format!("SHIFT_FILE={}", path("shift")),
                "redis-server",
            ],
        );
        let shifted = Self { folder, redis };
        let off = shifted.seconds_off();
        assert!((off - seconds).abs() < 60, "the server is {off} s off");
        Ok(shifted)
    }

    fn set(&self, seconds: i64) {
        let path = self.folder.path().join("shift");
        // In one step: the server reads it all the time.
        std::fs::write(path.with_extension("new"), seconds.to_string()).unwrap();
        let text = std::fs::read(path.with_extension("new")).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn seconds_off(&self) -> i64 {
        let time: Vec<String> = redis::cmd("TIME").query(&mut client(&self.redis)).unwrap();
        time[0].parse::<i64>().unwrap() - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64
    }
}

#[test]
fn a_server_whose_clock_is_far_off_keeps_times_to_live_and_takes_writes() {
    for shift in [400 * DAY, -400 * DAY] {
        let server = match Shifted::by(shift) {
            Ok(server) => server,
            Err(reason) => {
                println!("left out: no C compiler: {reason}");
                return;
            }
        };
        let redis = &server.redis;
        let cache = cache(Tiering::L3, at(redis));
        wait_within(PATIENCE, "a connection", || {
            cache.set("long", "1".into()).unwrap();
            has(&cache, "long", "1")
        });
        let short = Duration::from_millis(600);
        let begin = Instant::now();
        cache.set_with("short", "2".into(), &SetOptions::new().ttl(short)).unwrap();
        let options = LoadOptions::new().ttl(Duration::from_secs(3600));
        let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("3"));
        assert_eq!(cache.get_or_load_with("filled", &options, load).unwrap().value, "3");
        wait_within(PATIENCE, "the end of a time to live", || cache.get("short").is_none());
        assert!(begin.elapsed() >= short - Duration::from_millis(50), "{shift}");
        assert!(begin.elapsed() < short + GENEROUS, "{shift}");
        assert!(has(&cache, "long", "1") && has(&cache, "filled", "3"), "{shift}");
        assert_eq!(cache.redis_statistics().unwrap().late_writes, 0, "{shift}");
        // It is set while it is in use: no write is taken for a late one for long.
        for seconds in [shift + DAY, shift - DAY, shift] {
            server.set(seconds);
            wait_within(PATIENCE, "another time", || (server.seconds_off() - seconds).abs() < 60);
            let value = seconds.to_string();
            wait_within(PATIENCE, "writes", || {
                cache.set("set", value.clone().into()).unwrap();
                has(&cache, "set", &value)
            });
        }
        assert!(has(&cache, "long", "1"), "{shift}");
    }
}

/// A network of its own with a server in it, or the reason why there is none.
struct Network {
    name: String,
    server: Option<Worker>,
}

impl Network {
    fn new() -> Result<Self, String> {
        let name = format!("tierce{}", std::process::id());
        let network = Self { name: name.clone(), server: None };
        let inner = format!("{name}b");
        run(&format!("ip netns add {name}"))?;
        run(&format!("ip link add {name}a type veth peer name {inner}"))?;
        run(&format!("ip link set {inner} netns {name}"))?;
        run(&format!("ip addr add 10.213.77.1/30 dev {name}a"))?;
        run(&format!("ip link set {name}a up"))?;
        network.inside(&format!("ip addr add 10.213.77.2/30 dev {inner}"))?;
        network.inside(&format!("ip link set {inner} up"))?;
        network.inside("iptables -L INPUT")?;
        Ok(network)
    }

    fn inside(&self, command: &str) -> Result<(), String> {
        run(&format!("ip netns exec {} {command}", self.name))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.server = None;
        _ = run(&format!("ip link del {}a", self.name));
        _ = run(&format!("ip netns del {}", self.name));
    }
}

fn run(command: &str) -> Result<(), String> {
    let mut words = command.split(' ');
    let output = Command::new(words.next().unwrap()).args(words).output();
    let output = output.map_err(|error| format!("{command}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

#[test]
fn a_network_that_swallows_rejects_or_is_gone_costs_deadlines_and_comes_back() {
    let mut network = match Network::new() {
        Ok(network) => network,
        Err(reason) => {
            println!("left out: {}", reason.trim());
            return;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().display().to_string();
    network.server = Some(Worker::start(
        "ip",
        &[
            "netns",
            "exec",
            &network.name,
            "redis-server",
            "--port",
            "6399",
            "--bind",
            "10.213.77.2",
            "--protected-mode",
            "no",
            "--save",
            "",
            "--dir",
            &dir,
            "--logfile",
            "log",
        ],
    ));
    let allowed = Duration::from_millis(200);
    let cache = Cache::builder()
        .tiering(Tiering::L3)
        .redis(
            RedisOptions::new()
                .host("10.213.77.2")
                .port(6399)
                .connect_timeout(Duration::from_millis(500))
                .read_timeout(allowed)
                .write_timeout(allowed),
        )
        .breaker(BreakerOptions::new().open_for(Duration::from_millis(200)))
        .build()
        .unwrap();
    let works = || {
        cache.set("key", "value".into()).unwrap();
        has(&cache, "key", "value")
    };
    wait_within(PATIENCE, "a connection", works);
    let link = format!("{}a", network.name);
    for (what, breaks, mends) in [
        ("DROP", "iptables -A INPUT -p tcp -j DROP", "iptables -F"),
        ("lost replies", "iptables -A OUTPUT -p tcp -j DROP", "iptables -F"),
        ("REJECT", "iptables -A INPUT -p tcp -j REJECT --reject-with tcp-reset", "iptables -F"),
        (
            "every other packet",
            "iptables -A INPUT -p tcp -m statistic --mode random --probability 0.5 -j DROP",
            "iptables -F",
        ),
        ("down", "", ""),
    ] {
        match breaks {
            "" => run(&format!("ip link set {link} down")).unwrap(),
            command => network.inside(command).unwrap(),
        }
        let (begin, mut slowest) = (Instant::now(), Duration::ZERO);
        while begin.elapsed() < Duration::from_secs(2) {
            let call = Instant::now();
            let found = cache.get("key");
            assert!(found.is_none_or(|value| value == "value"), "{what}");
            slowest = slowest.max(call.elapsed());
            thread::sleep(Duration::from_millis(1));
        }
        assert!(slowest < allowed + GENEROUS, "{what}: {slowest:?}");
        match mends {
            "" => run(&format!("ip link set {link} up")).unwrap(),
            command => network.inside(command).unwrap(),
        }
        let took = wait_within(PATIENCE, what, works);
        println!("{what}: slowest call {slowest:?}, back after {took:?}");
    }
}

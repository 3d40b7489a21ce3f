//! Two hosts that are told of each other's changes by pub/sub: where client tracking is refused, and
//! where it is asked for. What becomes of messages that are lost, repeated, late, foreign or garbage.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, Invalidation, RedisOptions, SetOptions, Tiering};
use tierce_tests::{
    host::{BOUND, HEARTBEAT, Host},
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    waiting::{is_near, wait_until, wait_within},
};

const TIERINGS: [Tiering; 2] = [Tiering::L1L2L3, Tiering::L1L3];

/// So long that only a message can have told of a change that is seen sooner.
const LONG_HEARTBEAT: Duration = Duration::from_secs(20);
const LONG_BOUND: Duration = Duration::from_secs(60);
/// Far sooner than that, and late for a loaded machine.
const SOON: Duration = Duration::from_secs(8);
/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_millis(1500);

fn long(options: RedisOptions) -> RedisOptions {
    options.heartbeat(LONG_HEARTBEAT).staleness_bound(LONG_BOUND)
}

fn by_pubsub(options: RedisOptions) -> RedisOptions {
    options.invalidation(Invalidation::Pubsub)
}

fn ann(options: RedisOptions) -> RedisOptions {
    options.username("ann").password("secret")
}

fn counted(cache: &Cache) -> tierce::RedisStatistics {
    cache.redis_statistics().unwrap()
}

/// Two keys of one group; of the first of them there is a copy.
fn two_of_a_group(redis: &Redis, by: &Cache, name: &str) -> [String; 2] {
    let first = format!("{name} first");
    by.set(&first, "old".into()).unwrap();
    let mut client = redis.client();
    let group = |client: &mut redis::Connection, key: &str| {
        let found: Vec<String> =
            redis::cmd("KEYS").arg(format!("tierce:k:*:{key}")).query(client).unwrap();
        found[0]["tierce:k:{".len()..][..2].to_owned()
    };
    let of_first = group(&mut client, &first);
    for number in 0.. {
        let other = format!("{name} {number}");
        by.set(&other, "old".into()).unwrap();
        if group(&mut client, &other) == of_first {
            return [first, other];
        }
    }
    unreachable!("there are 256 groups")
}

/// Has all stamps begun, as one that begins is news of its whole group, and waits for that.
fn settle(of: &Cache, by: &Cache) {
    by.clear().unwrap();
    let before = counted(of).changes_told;
    by.set("news", "of after that".into()).unwrap();
    wait_until("news", || counted(of).changes_told > before);
}

fn stamp_of(redis: &Redis, key: &str) -> String {
    let mut client = redis.client();
    let found: Vec<String> =
        redis::cmd("KEYS").arg(format!("tierce:k:*:{key}")).query(&mut client).unwrap();
    found[0].replacen(":k:", ":s:", 1)[.."tierce:s:{00}".len()].to_owned()
}

fn warm(cache: &Cache, key: &str, value: &str) {
    wait_until("a copy in L1", || {
        cache.get(key).as_deref() == Some(value.as_bytes()) && is_near(cache, key)
    });
}

/// Calls of a command, by scripts too.
fn calls(redis: &Redis, command: &str) -> u64 {
    let all: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.client()).unwrap();
    let line = all.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn tagged() -> SetOptions {
    SetOptions::new().tags(["red"])
}

/// Each change by one host is seen by the other one, by a message.
fn follow_each_other(one: &Cache, other: &Cache, tale: &str) {
    let changes = ["set", "delete", "expire", "touch", "clear", "load", "remove_tag", "expire_tag"];
    for change in changes {
        let key = format!("{tale} {change}");
        one.set_with(&key, "old".into(), &tagged()).unwrap();
        warm(other, &key, "old");
        let before = counted(other).changes_told;
        let begin = Instant::now();
        let expected: Option<&[u8]> = match change {
            "set" => {
                one.set(&key, "new".into()).unwrap();
                Some(b"new")
            }
            "delete" => {
                one.delete(&key).unwrap();
                None
            }
            "expire" => {
                one.expire(&key).unwrap();
                None
            }
            "touch" => {
                assert!(one.touch(&key, Duration::from_millis(1)).unwrap());
                None
            }
            "clear" => {
                one.clear().unwrap();
                None
            }
            "load" => {
                one.delete(&key).unwrap();
                one.get_or_load(&key, |_| std::io::Result::Ok(Bytes::from("new"))).unwrap();
                Some(b"new")
            }
            "remove_tag" => {
                one.remove_tag("red").unwrap();
                None
            }
            _ => {
                one.expire_tag("red").unwrap();
                None
            }
        };
        wait_within(SOON, &key, || other.get(&key).as_deref() == expected);
        println!("{key}: {:?}", begin.elapsed());
        if change == "set" {
            assert!(counted(other).changes_told > before, "{key}");
        }
        // A value that ends by its time does so at a tick of the clock.
        wait_within(SOON, &key, || one.get(&key).as_deref() == expected);
    }
}

#[test]
fn hosts_follow_each_other_where_the_server_knows_no_hello() {
    let redis = Redis::with(&["--rename-command", "HELLO", ""]);
    for tiering in TIERINGS {
        let hosts = [(); 2].map(|()| Host::with(&redis, tiering, long));
        follow_each_other(&hosts[0].cache, &hosts[1].cache, &tiering.to_string());
    }
}

#[test]
fn hosts_follow_each_other_where_the_user_may_not_track() {
    let redis =
        Redis::with(&["--user", "ann", "on", ">secret", "~*", "&*", "+@all", "-client|tracking"]);
    for tiering in TIERINGS {
        let hosts = [(); 2].map(|()| Host::with(&redis, tiering, |it| ann(long(it))));
        follow_each_other(&hosts[0].cache, &hosts[1].cache, &tiering.to_string());
    }
}

#[test]
fn a_host_by_pubsub_follows_one_by_tracking_and_the_other_way_round() {
    let redis = Redis::start();
    let quiet = calls(&redis, "publish");
    let tracks = Host::with(&redis, Tiering::L1L3, long);
    for round in 0..20 {
        tracks.cache.set(format!("alone {round}"), "value".into()).unwrap();
    }
    assert_eq!(calls(&redis, "publish"), quiet, "nobody is subscribed");
    let other = Host::with(&redis, Tiering::L1L2L3, |it| by_pubsub(long(it)));
    follow_each_other(&tracks.cache, &other.cache, "by tracking");
    follow_each_other(&other.cache, &tracks.cache, "by pubsub");
    assert!(calls(&redis, "publish") > 16);
}

#[test]
fn a_change_is_published_in_the_step_that_makes_it() {
    let redis = Redis::start();
    let host = Host::with(&redis, Tiering::L1L3, |it| by_pubsub(long(it)));
    host.cache.set("key", "value".into()).unwrap();
    let (scripts, published) = (calls(&redis, "evalsha"), calls(&redis, "publish"));
    let trips = counted(&host.cache).round_trips;
    for _ in 0..10 {
        host.cache.set("key", "value".into()).unwrap();
    }
    assert_eq!(counted(&host.cache).round_trips - trips, 10);
    assert_eq!(calls(&redis, "evalsha") - scripts, 10);
    assert_eq!(calls(&redis, "publish") - published, 10);
}

#[test]
fn a_host_keeps_its_copies_of_what_it_changed_itself() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let host = Host::with(&redis, tiering, |it| by_pubsub(long(it)));
        settle(&host.cache, &host.cache);
        wait_until("echoes of changes whose copies are left", || {
            let told = || counted(&host.cache).changes_told;
            let before = told();
            let keys: Vec<_> = (0..100).map(|key| format!("{tiering} {before} {key}")).collect();
            for key in &keys {
                host.cache.set(key, "mine".into()).unwrap();
            }
            // The last ones are being looked at.
            thread::sleep(Duration::from_millis(150));
            let near = keys.iter().filter(|key| is_near(&host.cache, key)).count();
            told() >= before + 100 && near >= 95
        });
    }
}

/// One host with a way to the server of its own, and one behind a proxy.
struct World {
    redis: Redis,
    proxy: Proxy,
    near: Host,
    far: Host,
}

impl World {
    fn new(tiering: Tiering, more: impl Fn(RedisOptions) -> RedisOptions) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.socket());
        let near = Host::with(&redis, tiering, |it| by_pubsub(more(it)));
        let port = proxy.port();
        let far = Host::through(tiering, |it| by_pubsub(more(it.host("127.0.0.1").port(port))));
        settle(&far.cache, &near.cache);
        Self { redis, proxy, near, far }
    }

    /// Has this change lose its message.
    fn lose(&self, change: impl FnOnce()) {
        let passed = || self.proxy.passed(Line::Changes, Way::Down);
        let before = passed();
        self.proxy.set(Line::Changes, Way::Down, Fault::Lose);
        change();
        wait_until("a message that is lost", || passed() > before);
        self.proxy.set(Line::Changes, Way::Down, Fault::None);
    }

    fn warm(&self, key: &str, value: &'static str) {
        let told = || counted(&self.far.cache).changes_told;
        let before = told();
        self.near.cache.set(key, value.into()).unwrap();
        // Else it may be told of when there is a copy of it already.
        wait_until("the news of it", || told() > before);
        warm(&self.far.cache, key, value);
    }
}

#[test]
fn a_message_that_is_lost_is_missed_by_the_next_one_of_its_group() {
    for tiering in TIERINGS {
        let world = World::new(tiering, long);
        let [first, second] = two_of_a_group(&world.redis, &world.near.cache, "key");
        world.warm(&first, "old");
        world.lose(|| world.near.cache.set(&first, "new".into()).unwrap());
        assert_eq!(world.far.cache.get(&first).as_deref(), Some(&b"old"[..]), "nothing was told");
        let missed = counted(&world.far.cache).news_missed;
        world.near.cache.set(&second, "new".into()).unwrap();
        wait_within(SOON, "the lost change", || {
            world.far.cache.get(&first).as_deref() == Some(b"new")
        });
        assert_eq!(counted(&world.far.cache).news_missed, missed + 1);
        assert_eq!(counted(&world.far.cache).subscriptions, 1, "the stream goes on");
    }
}

#[test]
fn a_last_message_that_is_lost_is_missed_with_the_heartbeat() {
    let heartbeat = Duration::from_secs(2);
    for tiering in TIERINGS {
        let world = World::new(tiering, |it| it.heartbeat(heartbeat).staleness_bound(LONG_BOUND));
        for what in ["set", "delete", "remove_tag"] {
            let key = format!("{tiering} {what}");
            world.near.cache.set_with(&key, "old".into(), &tagged()).unwrap();
            warm(&world.far.cache, &key, "old");
            let begin = Instant::now();
            world.lose(|| match what {
                "set" => world.near.cache.set(&key, "new".into()).unwrap(),
                "delete" => world.near.cache.delete(&key).unwrap(),
                _ => world.near.cache.remove_tag("red").unwrap(),
            });
            let expected = (what == "set").then_some(&b"new"[..]);
            wait_within(SOON + heartbeat, what, || {
                world.far.cache.get(&key).as_deref() == expected
            });
            println!("{key}: {:?}", begin.elapsed());
        }
    }
}

#[test]
fn a_change_that_is_made_while_a_host_subscribes_is_not_missed() {
    for tiering in TIERINGS {
        // So long it may take to subscribe. By a heartbeat, which is not what sees the change, the
        // host knows all stamps, so that a subscription voids nothing without cause.
        let heartbeat = Duration::from_secs(3);
        let world = World::new(tiering, |it| {
            it.connect_timeout(SOON).heartbeat(heartbeat).staleness_bound(LONG_BOUND)
        });
        world.warm("key", "old");
        let asked = || world.proxy.passed(Line::Changes, Way::Up);
        let before = asked();
        wait_until("a heartbeat", || asked() > before);
        thread::sleep(Duration::from_millis(300));
        assert!(is_near(&world.far.cache, "key"));

        world.proxy.set(Line::Changes, Way::Up, Fault::Hold);
        let accepted = world.proxy.accepted().len();
        assert_eq!(world.proxy.cut(Line::Changes, false), 1);
        // One that is asked, and one that subscribes: that is on its way to the server.
        wait_until("two connections", || world.proxy.accepted().len() >= accepted + 2);
        thread::sleep(Duration::from_millis(200));
        world.near.cache.set("key", "new".into()).unwrap();
        world.proxy.set(Line::Changes, Way::Up, Fault::None);
        wait_until("a subscription", || counted(&world.far.cache).subscriptions == 2);
        assert_eq!(world.far.cache.get("key").as_deref(), Some(&b"new"[..]));
    }
}

#[test]
fn messages_that_are_repeated_garbage_or_of_another_version_hide_no_change() {
    for tiering in TIERINGS {
        let world = World::new(tiering, |it| {
            it.heartbeat(Duration::from_secs(2)).staleness_bound(LONG_BOUND)
        });
        let [key, other] = two_of_a_group(&world.redis, &world.near.cache, "key");
        world.warm(&key, "old");
        let mut client = world.redis.client();
        let channel = stamp_of(&world.redis, &key);
        let name = format!("{}:{key}", channel.replacen(":s:", ":k:", 1));
        let stamp =
            || -> u64 { redis::cmd("GET").arg(&channel).query(&mut world.redis.client()).unwrap() };
        let mut publish = |message: &[u8]| {
            let heard: u64 =
                redis::cmd("PUBLISH").arg(&channel).arg(message).query(&mut client).unwrap();
            assert_eq!(heard, 2);
        };
        let ignored = counted(&world.far.cache).news_ignored;
        let garbage: [&[u8]; 6] =
            [b"", b"1", b"\xff\x00\r\n", b"2 7 tierce:k:{00}:x", b"1 x y", &[b'1'; 70_000]];
        garbage.iter().for_each(|message| publish(message));
        wait_until("what is ignored", || {
            counted(&world.far.cache).news_ignored == ignored + garbage.len() as u64
        });
        assert!(is_near(&world.far.cache, &key), "{tiering}: garbage costs nothing");
        assert_eq!(counted(&world.far.cache).subscriptions, 1);

        let told = counted(&world.far.cache).changes_told;
        for _ in 0..5 {
            publish(format!("1 {} {name}", stamp()).as_bytes());
        }
        wait_until("what is repeated", || counted(&world.far.cache).changes_told == told + 5);
        world.near.cache.set(&key, "new".into()).unwrap();
        wait_within(SOON, "a change", || world.far.cache.get(&key).as_deref() == Some(b"new"));

        // One that takes the number of the next change, and one that is far ahead, after which the
        // message of the next change is lost.
        for ahead in [1, 1000] {
            let old = format!("old {ahead}");
            world.near.cache.set(&key, old.clone().into()).unwrap();
            warm(&world.far.cache, &key, &old);
            let before = counted(&world.far.cache).changes_told;
            publish(format!("1 {} {name}", stamp() + ahead).as_bytes());
            wait_until("a forged one", || counted(&world.far.cache).changes_told > before);
            warm(&world.far.cache, &key, &old);
            let change = || world.near.cache.set(&key, "newer".into()).unwrap();
            if ahead == 1 {
                change()
            } else {
                world.lose(change)
            }
            wait_within(SOON, "a change", || {
                world.far.cache.get(&key).as_deref() == Some(b"newer")
            });
        }
        warm(&world.far.cache, &other, "old");
    }
}

#[test]
fn changes_while_the_subscription_is_killed_are_seen() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let make = || Host::with(&redis, tiering, |it| by_pubsub(it.staleness_bound(LONG_BOUND)));
        let (one, other) = (make(), make());
        for round in 0..5 {
            let key = format!("{tiering} {round}");
            one.cache.set(&key, "old".into()).unwrap();
            warm(&other.cache, &key, "old");
            wait_until("a subscription that is killed", || {
                let mut kill = redis::cmd("CLIENT");
                kill.arg(&["KILL", "TYPE", "pubsub"]).query::<u64>(&mut redis.client()).unwrap() > 0
            });
            one.cache.set(&key, "new".into()).unwrap();
            wait_within(SOON, &key, || other.cache.get(&key).as_deref() == Some(b"new"));
        }
        wait_until("a new one", || counted(&other.cache).subscriptions > 1);
    }
}

#[test]
fn a_flush_is_seen_with_the_heartbeat() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let host = Host::with(&redis, tiering, |it| by_pubsub(it.staleness_bound(LONG_BOUND)));
        host.cache.set("key", "value".into()).unwrap();
        warm(&host.cache, "key", "value");
        let () = redis::cmd("FLUSHALL").query(&mut redis.client()).unwrap();
        wait_within(SOON, "FLUSHALL", || host.cache.get("key").is_none());
    }
}

/// Whether a copy outlives the bound when a client that is no tierce removes the record.
fn outlives_foreign_change(redis: &Redis, host: &Cache, key: &str) -> bool {
    keep(host, key);
    outlives_removal(redis, host, key)
}

/// Has a copy of which all news was dealt with.
fn keep(host: &Cache, key: &str) {
    settle(host, host);
    let told = counted(host).changes_told;
    host.set(key, "value".into()).unwrap();
    // Whether it was the host's own is seen by the record.
    wait_until("the news of it", || counted(host).changes_told > told);
    thread::sleep(Duration::from_millis(150));
    warm(host, key, "value");
}

fn outlives_removal(redis: &Redis, host: &Cache, key: &str) -> bool {
    let found: Vec<String> =
        redis::cmd("KEYS").arg(format!("tierce:k:*:{key}")).query(&mut redis.client()).unwrap();
    let () = redis::cmd("UNLINK").arg(&found).query(&mut redis.client()).unwrap();
    let begin = Instant::now();
    while begin.elapsed() < BOUND + SLACK {
        if host.get(key).is_none() {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

#[test]
fn foreign_changes_are_seen_within_the_bound_unless_pubsub_was_asked_for() {
    let redis = Redis::with(&["--rename-command", "HELLO", ""]);
    for tiering in TIERINGS {
        let auto = Host::with(&redis, tiering, |it| it);
        assert!(!outlives_foreign_change(&redis, &auto.cache, "auto"), "{tiering}");
        let asked = Host::with(&redis, tiering, by_pubsub);
        // A stall of a loaded machine, taken for a loss, may cost a copy.
        let mut tries = 0..5;
        let outlives = tries.any(|_| outlives_foreign_change(&redis, &asked.cache, "asked"));
        assert!(outlives, "{tiering}");
    }
}

#[test]
fn what_was_kept_while_all_was_told_ends_when_that_is_refused() {
    let options = ["--user", "ann", "on", ">secret", "~*", "&*", "+@all"];
    for tiering in TIERINGS {
        let redis = Redis::with(&options);
        let host = Host::with(&redis, tiering, ann);
        // As above, a stall may cost the copy.
        wait_until("a copy that stays", || {
            keep(&host.cache, "key");
            // The host knows all stamps then, so that a subscription voids nothing for these.
            thread::sleep(3 * HEARTBEAT);
            is_near(&host.cache, "key")
        });
        let mut client = redis.client();
        let () = redis::cmd("ACL")
            .arg(&["SETUSER", "ann", "-client|tracking"])
            .query(&mut client)
            .unwrap();
        assert_eq!(redis.cut_streams(), 1);
        wait_until("a subscription", || counted(&host.cache).subscriptions == 2);
        assert!(!outlives_removal(&redis, &host.cache, "key"), "{tiering}");
        assert!(!outlives_foreign_change(&redis, &host.cache, "another"), "{tiering}");
    }
}

#[test]
fn the_changes_of_a_user_who_may_not_publish_are_seen_with_the_heartbeat() {
    let rights = [["-publish", "+pubsub"], ["+publish", "-pubsub"]];
    for missing in rights {
        let mut options = vec!["--user", "ann", "on", ">secret", "~*", "&*", "+@all"];
        options.extend(missing);
        let redis = Redis::with(&options);
        let long_bound = |it: RedisOptions| by_pubsub(it.staleness_bound(LONG_BOUND));
        let one = Host::with(&redis, Tiering::L1L3, |it| ann(long_bound(it)));
        let other = Host::with(&redis, Tiering::L1L3, long_bound);
        one.cache.set("key", "old".into()).unwrap();
        warm(&other.cache, "key", "old");
        one.cache.set("key", "new".into()).unwrap();
        wait_within(SOON, "a change", || other.cache.get("key").as_deref() == Some(b"new"));
        assert_eq!(calls(&redis, "publish"), 0, "{missing:?}");
    }
}

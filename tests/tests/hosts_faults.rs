//! Two hosts and a bad way between one of them and the server: the stream of changes is cut, held
//! back, refused, garbled or overtaken. Whatever becomes of it, nothing is served for longer than
//! the bound that somebody replaced, and the copies come back afterwards.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    thread,
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, Invalidation, MemoryOptions, RedisOptions, StoreOptions, Tiering};
use tierce_tests::{
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::{is_near, wait_until},
};

const HEARTBEAT: Duration = Duration::from_millis(200);
const BOUND: Duration = Duration::from_millis(1000);

/// Of a stream that is whole: no stall of a loaded machine should look like a loss.
const PATIENT_HEARTBEAT: Duration = Duration::from_secs(5);

/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_millis(1000);

const TIERINGS: [Tiering; 2] = [Tiering::L1L2L3, Tiering::L1L3];

/// One host that reaches the server as it should, and one behind a proxy.
struct World {
    redis: Redis,
    proxy: Proxy,
    near: Cache,
    far: Cache,
    _folders: [tempfile::TempDir; 2],
}

fn host(folder: &tempfile::TempDir, tiering: Tiering, options: RedisOptions) -> Cache {
    let options = options
        // Longer than the bound: who waits for a connection must not forget it.
        .connect_timeout(4 * BOUND)
        .read_timeout(Duration::from_secs(10))
        .write_timeout(Duration::from_secs(10))
        .heartbeat(HEARTBEAT)
        .staleness_bound(BOUND);
    host_with(folder, tiering, options)
}

fn host_with(folder: &tempfile::TempDir, tiering: Tiering, options: RedisOptions) -> Cache {
    let cache = Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(100_000))
        .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    // The thread that listens begins with the first call.
    cache.get("nothing");
    cache
}

impl World {
    fn new(tiering: Tiering) -> Self {
        let redis = Redis::start();
        let world = Self::before_listening(redis, tiering);
        wait_for_stream(&world.near);
        wait_for_stream(&world.far);
        world
    }

    /// A world in which the stream is only lost where something ends it.
    fn patient(tiering: Tiering) -> Self {
        let patience = |options: RedisOptions| {
            options.heartbeat(PATIENT_HEARTBEAT).staleness_bound(4 * PATIENT_HEARTBEAT)
        };
        let redis = Redis::start();
        let proxy = Proxy::to(redis.socket());
        let folders = [store_folder(), store_folder()];
        let near = patience(RedisOptions::new().unix_path(redis.socket()));
        let far = patience(RedisOptions::new().host("127.0.0.1").port(proxy.port()));
        let near = host_with(&folders[0], tiering, near);
        let far = host_with(&folders[1], tiering, far);
        wait_for_stream(&near);
        wait_for_stream(&far);
        Self { redis, proxy, near, far, _folders: folders }
    }

    fn before_listening(redis: Redis, tiering: Tiering) -> Self {
        let proxy = Proxy::to(redis.socket());
        let folders = [store_folder(), store_folder()];
        let near = host(&folders[0], tiering, RedisOptions::new().unix_path(redis.socket()));
        let to_proxy = RedisOptions::new().host("127.0.0.1").port(proxy.port());
        let far = host(&folders[1], tiering, to_proxy);
        Self { redis, proxy, near, far, _folders: folders }
    }

    fn client(&self) -> redis::Connection {
        let client = redis::Client::open(format!("unix://{}", self.redis.socket().display()));
        client.unwrap().get_connection().unwrap()
    }

    /// A value that both have near.
    fn share(&self, key: &str, value: &'static str) {
        self.near.set(key, value.into()).unwrap();
        warm(&self.far, key, value);
    }

    /// The far host has the value that the near one set, whether it was told or asked.
    fn follows(&self, key: &str, value: &'static str) -> Duration {
        wait_until("a change", || self.far.get(key).as_deref() == Some(value.as_bytes()))
    }

    /// Both ways of the stream of changes.
    fn changes(&self, fault: Fault) {
        for way in [Way::Up, Way::Down] {
            self.proxy.set(Line::Changes, way, fault);
        }
    }
}

fn counted(cache: &Cache) -> tierce::RedisStatistics {
    cache.redis_statistics().unwrap()
}

fn wait_for_stream(cache: &Cache) {
    wait_until("a subscription", || counted(cache).subscriptions >= 1);
    wait_until("health", || deafness(cache).is_none());
    wait_until("a copy", || {
        cache.set("is L1 in use", "yes".into()).unwrap();
        thread::sleep(Duration::from_millis(20));
        is_near(cache, "is L1 in use")
    });
}

fn warm(cache: &Cache, key: &str, value: &'static str) {
    wait_until("a copy in L1", || {
        // Whoever had another value before has it for a moment more.
        cache.get(key).as_deref() == Some(value.as_bytes()) && is_near(cache, key)
    });
}

/// Why L3 is not healthy.
fn deafness(cache: &Cache) -> Option<String> {
    let health = cache.health();
    let redis = health.dependencies.into_iter().find(|it| it.name == "L3-Redis").unwrap();
    redis.reason
}

#[test]
fn a_stream_that_falls_silent_alone_is_noticed_and_taken_up_again() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        world.share("changed", "old");
        world.share("kept", "kept");
        thread::sleep(3 * HEARTBEAT);
        let before = counted(&world.far).subscriptions;
        // Calls are as quick as ever: only the stream is a black hole.
        let silent = Instant::now();
        world.changes(Fault::Hold);
        world.near.set("changed", "new".into()).unwrap();
        let took = world.follows("changed", "new");
        println!("{tiering}: served for {took:?} after the change");
        assert!(silent.elapsed() < BOUND + SLACK, "{tiering}: {:?}", silent.elapsed());
        wait_until("a reason", || {
            deafness(&world.far).is_some_and(|why| why.contains("changes of other hosts"))
        });
        // No copies while nobody is told, as far as they are older than the loss.
        assert!(!is_near(&world.far, "kept") || silent.elapsed() < BOUND);
        assert_eq!(world.far.get("kept").as_deref(), Some(&b"kept"[..]), "L3 itself is asked");
        world.changes(Fault::None);
        wait_until("a subscription", || counted(&world.far).subscriptions > before);
        wait_until("health", || deafness(&world.far).is_none());
        wait_until("copies", || is_near(&world.far, "kept"));
        world.share("later", "old");
        world.near.set("later", "new".into()).unwrap();
        world.follows("later", "new");
    }
}

#[test]
fn a_stream_that_is_reset_and_refused_is_noticed_and_taken_up_again() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        world.share("changed", "old");
        let before = counted(&world.far);
        // What is connected stays: calls go on.
        world.proxy.refuse(true);
        let lost = Instant::now();
        assert_eq!(world.proxy.cut(Line::Changes, true), 1);
        world.near.set("changed", "new".into()).unwrap();
        world.follows("changed", "new");
        assert!(lost.elapsed() < BOUND + SLACK, "{tiering}: {:?}", lost.elapsed());
        wait_until("further attempts", || {
            counted(&world.far).subscriptions_lost >= before.subscriptions_lost + 3
        });
        assert!(deafness(&world.far).unwrap().contains("changes of other hosts"));
        assert_eq!(counted(&world.far).reconnects, before.reconnects, "calls lost nothing");
        // What is kept now lives for the bound at most.
        warm(&world.far, "changed", "new");
        let kept = Instant::now();
        world.near.set("changed", "newer".into()).unwrap();
        world.follows("changed", "newer");
        assert!(kept.elapsed() < BOUND + SLACK, "{tiering}: {:?}", kept.elapsed());
        world.proxy.refuse(false);
        wait_until("health", || deafness(&world.far).is_none());
        world.share("later", "old");
        world.near.set("later", "new".into()).unwrap();
        world.follows("later", "new");
    }
}

#[test]
fn a_lost_connection_of_the_callers_leaves_the_stream_and_the_copies() {
    for tiering in TIERINGS {
        let world = World::patient(tiering);
        let told = counted(&world.far).changes_told;
        world.share("kept", "kept");
        world.share("changed", "old");
        // The news of these may come after the values, and takes the copies along.
        wait_until("the news", || counted(&world.far).changes_told >= told + 2);
        thread::sleep(Duration::from_millis(30));
        warm(&world.far, "kept", "kept");
        warm(&world.far, "changed", "old");
        let before = counted(&world.far).subscriptions;
        world.proxy.refuse(true);
        world.proxy.cut(Line::Calls, true);
        assert!(is_near(&world.far, "kept"), "{tiering}, {:?}", deafness(&world.far));
        world.near.set("changed", "new".into()).unwrap();
        wait_until("a change", || world.far.get("changed").is_none());
        assert!(is_near(&world.far, "kept"), "{tiering}, {:?}", deafness(&world.far));
        world.proxy.refuse(false);
        world.follows("changed", "new");
        assert_eq!(counted(&world.far).subscriptions, before, "{tiering}: the stream was whole");
    }
}

#[test]
fn a_reply_that_the_news_of_a_change_overtook_is_not_kept() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        for (round, loads) in [false, true, false, true].into_iter().enumerate() {
            let key = format!("{tiering} {round}");
            if !loads {
                world.near.set(&key, "old".into()).unwrap();
                // The news of this one is not the one that is waited for.
                let told = |cache: &Cache| counted(cache).changes_told;
                let before = told(&world.far);
                world.near.set("mark", "x".into()).unwrap();
                wait_until("the mark", || told(&world.far) > before);
                thread::sleep(Duration::from_millis(30));
            }
            let (asked, told) =
                (world.proxy.passed(Line::Calls, Way::Up), counted(&world.far).changes_told);
            world.proxy.set(Line::Calls, Way::Down, Fault::Hold);
            let found = thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    if loads {
                        let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("old"));
                        Some(world.far.get_or_load(&key, load).unwrap())
                    } else {
                        world.far.get(&key)
                    }
                });
                wait_until("a question", || {
                    world.proxy.passed(Line::Calls, Way::Up) >= asked + 100
                });
                // The server has answered by now; the answer is on its way.
                thread::sleep(Duration::from_millis(30));
                world.near.set(&key, "new".into()).unwrap();
                wait_until("the news", || counted(&world.far).changes_told > told);
                thread::sleep(Duration::from_millis(30));
                world.proxy.set(Line::Calls, Way::Down, Fault::None);
                reader.join().unwrap()
            });
            println!("{tiering} {round}: {found:?}");
            for _ in 0..10 {
                let found = world.far.get(&key);
                assert_eq!(found.as_deref(), Some(&b"new"[..]), "{tiering}, loads: {loads}");
            }
        }
    }
}

#[test]
fn a_flush_of_any_kind_takes_all_copies() {
    for tiering in TIERINGS {
        let world = World::new(tiering);
        let mut client = world.client();
        for flush in [&["FLUSHALL"][..], &["FLUSHDB"], &["FLUSHDB", "ASYNC"], &["FLUSHALL", "SYNC"]]
        {
            for key in ["a", "b", "c"] {
                world.share(key, "value");
            }
            let before = counted(&world.far).all_changes_told;
            let () = redis::cmd(flush[0]).arg(&flush[1..]).query(&mut client).unwrap();
            for key in ["a", "b", "c"] {
                for cache in [&world.near, &world.far] {
                    wait_until("a miss", || cache.get(key).is_none());
                }
            }
            assert!(counted(&world.far).all_changes_told > before, "{flush:?}");
        }
    }
}

#[test]
fn many_changes_in_one_message_are_all_seen() {
    const KEYS: usize = 5000;
    let world = World::new(Tiering::L1L3);
    let mut client = world.client();
    let keys: Vec<_> = (0..KEYS).map(|number| format!("key {number}")).collect();
    for key in &keys {
        world.far.set(key, "value".into()).unwrap();
    }
    let mut names: Vec<Vec<u8>> = redis::cmd("KEYS").arg("tierce:k:*").query(&mut client).unwrap();
    names.retain(|name| name.windows(4).any(|part| part == b"key "));
    assert_eq!(names.len(), KEYS);
    for some in names.chunks(KEYS / 2) {
        let () = redis::cmd("UNLINK").arg(some).query(&mut client).unwrap();
    }
    // Each is told, or all count as changed.
    for key in &keys {
        wait_until("a miss", || world.far.get(key).is_none());
    }
}

#[test]
fn news_that_is_repeated_or_of_an_unknown_kind_does_no_harm() {
    let foreign_names = b">2\r\n$10\r\ninvalidate\r\n*2\r\n$3\r\n\xff\0\n\r\n$0\r\n\r\n";
    let of_no_names = b">2\r\n$10\r\ninvalidate\r\n:7\r\n";
    let unknown = b">3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nb\r\n";
    let world = World::patient(Tiering::L1L2L3);
    for said in [&foreign_names[..], of_no_names, unknown] {
        for _ in 0..20 {
            assert_eq!(world.proxy.say(Line::Changes, said), 1);
        }
        world.share("key", "old");
        world.near.set("key", "new".into()).unwrap();
        world.follows("key", "new");
    }
    assert_eq!(counted(&world.far).subscriptions, 1, "nothing of this ends the stream");
}

/// The server says again, and once more, that a key was changed of which the host has a copy.
#[test]
fn news_of_a_key_that_is_held_may_be_repeated() {
    for tiering in TIERINGS {
        let world = World::patient(tiering);
        for key in ["held", "other"] {
            world.share(key, "old");
        }
        // What the server told of these is told; it would take the copies along.
        thread::sleep(Duration::from_millis(200));
        warm(&world.far, "held", "old");
        warm(&world.far, "other", "old");
        let mut names: Vec<Vec<u8>> =
            redis::cmd("KEYS").arg("tierce:k:*held*").query(&mut world.client()).unwrap();
        let (name, others) = names.split_first_mut().unwrap();
        assert_eq!(others.len(), 0, "{others:?}");
        let mut said = format!(">2\r\n$10\r\ninvalidate\r\n*1\r\n${}\r\n", name.len()).into_bytes();
        said.append(name);
        said.extend_from_slice(b"\r\n");
        for value in ["old", "new", "newer"] {
            if value != "old" {
                world.near.set("held", value.into()).unwrap();
                world.follows("held", value);
            }
            for _ in 0..20 {
                let told = counted(&world.far).changes_told;
                assert_eq!(world.proxy.say(Line::Changes, &said), 1);
                wait_until("the news", || counted(&world.far).changes_told > told);
                // It is heard: what was a copy is asked for anew, and is what it was.
                assert_eq!(world.far.get("held").as_deref(), Some(value.as_bytes()), "{tiering}");
                assert!(is_near(&world.far, "other"), "{tiering}: another key's copy");
            }
            warm(&world.far, "held", value);
        }
        assert_eq!(counted(&world.far).subscriptions, 1, "nothing of this ends the stream");
        assert_eq!(counted(&world.far).corrupt, 0);
    }
}

/// None of it can be told from a stream that lost something: it is another one afterwards, or
/// tells all that there is to tell.
#[test]
fn news_that_is_garbled_ends_the_stream_at_most() {
    let world = World::new(Tiering::L1L2L3);
    let announced = [&b"$100\r\n"[..], b"$3\r\n", b"*5\r\n", b">50\r\n", b"$5000\r\n"];
    let garbage = [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"\0\0\0", b"$-7\r\n", b"+OK\r\n"];
    for said in garbage.into_iter().chain(announced) {
        let shown = String::from_utf8_lossy(said).into_owned();
        world.share("key", "old");
        let garbled = Instant::now();
        let before = counted(&world.far).subscriptions;
        assert_eq!(world.proxy.say(Line::Changes, said), 1);
        world.near.set("key", "new".into()).unwrap();
        world.follows("key", "new");
        let now = counted(&world.far).subscriptions;
        println!("{shown:?}: served for {:?}, {} new", garbled.elapsed(), now - before);
        assert!(garbled.elapsed() < BOUND + SLACK, "{shown}: {:?}", garbled.elapsed());
        thread::sleep(2 * BOUND);
        wait_until("health", || deafness(&world.far).is_none());
    }
}

/// A server that does not tell of changes: copies live for the bound, health says why.
fn serves_with_the_bound(redis: Redis, options: impl Fn(RedisOptions) -> RedisOptions, why: &str) {
    for tiering in TIERINGS {
        let folders = [store_folder(), store_folder()];
        let make =
            |folder| host(folder, tiering, options(RedisOptions::new().unix_path(redis.socket())));
        let (one, other) = (make(&folders[0]), make(&folders[1]));
        wait_until("a reason", || deafness(&other).is_some());
        let reason = deafness(&other).unwrap();
        assert!(reason.contains("changes of other hosts"), "{reason}");
        assert!(reason.contains(why), "{reason}");
        assert!(!reason.contains("secret"), "{reason}");
        for round in 0..3 {
            let key = format!("{tiering} {round}");
            one.set(&key, "old".into()).unwrap();
            warm(&other, &key, "old");
            let changed = Instant::now();
            one.set(&key, "new".into()).unwrap();
            wait_until("the end of a copy", || other.get(&key).as_deref() == Some(b"new"));
            println!("{tiering}: served for {:?}", changed.elapsed());
            assert!(changed.elapsed() < BOUND + SLACK, "{:?}", changed.elapsed());
        }
        assert_eq!(counted(&other).subscriptions, 0);
    }
}

#[test]
fn copies_live_for_the_bound_where_the_server_knows_no_hello() {
    let redis = Redis::with(&["--rename-command", "HELLO", ""]);
    serves_with_the_bound(redis, |it| it.invalidation(Invalidation::Tracking), "HELLO");
}

#[test]
fn copies_live_for_the_bound_where_the_user_may_neither_track_nor_subscribe() {
    // Nor use any channel.
    let redis = Redis::with(&["--user", "ann", "on", ">secret", "~*", "+@all", "-client|tracking"]);
    serves_with_the_bound(redis, |options| options.username("ann").password("secret"), "NOPERM");
}

#[test]
fn what_a_lost_delete_left_in_l3_is_not_there_to_be_touched() {
    for tiering in TIERINGS {
        let world = World::patient(tiering);
        world.share("key", "value");
        world.proxy.set(Line::Calls, Way::Up, Fault::Cut { after: 0, reset: true });
        world.far.delete("key").unwrap();
        world.proxy.set(Line::Calls, Way::Up, Fault::None);
        let arrives = || {
            world.far.set("other", "value".into()).unwrap();
            world.near.get("other").is_some()
        };
        wait_until("a way to the server", arrives);
        assert!(!world.far.touch("key", Duration::from_secs(60)).unwrap(), "{tiering}");
    }
}

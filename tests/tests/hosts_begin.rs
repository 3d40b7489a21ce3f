//! A host that begins to follow the changes of others, or begins anew in another tiering: what it
//! kept or asked for before is served for no longer than the bound once somebody has replaced it.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, MemoryOptions, OnLoss, Origin, RedisOptions, SetOptions, StoreOptions, TierKind,
    Tiering,
};
use tierce_tests::{
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::{PATIENCE, is_near, wait_until},
};

const HEARTBEAT: Duration = Duration::from_millis(200);
const BOUND: Duration = Duration::from_millis(1000);

/// Longer than a copy may be served that nobody tells of.
const MINUTE: Duration = Duration::from_secs(60);

/// How late a loaded machine may be.
const SLACK: Duration = Duration::from_millis(1000);

/// One host that reaches the server as it should, and one whose stream of changes is held back until
/// it is let go.
struct World {
    proxy: Proxy,
    near: Cache,
    far: Cache,
    _redis: Redis,
    folders: [tempfile::TempDir; 2],
}

fn host(folder: &tempfile::TempDir, tiering: Tiering, bound: Duration, to: RedisOptions) -> Cache {
    host_with(folder, tiering, bound, to, |store| store)
}

fn host_with(
    folder: &tempfile::TempDir,
    tiering: Tiering,
    bound: Duration,
    to: RedisOptions,
    more: impl FnOnce(StoreOptions) -> StoreOptions,
) -> Cache {
    let options = to
        // The stream waits to be let go.
        .connect_timeout(PATIENCE)
        .read_timeout(Duration::from_secs(10))
        .write_timeout(Duration::from_secs(10))
        .heartbeat(HEARTBEAT)
        .staleness_bound(bound);
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(100_000))
        .shared(more(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20)))
        .redis(options)
        .build()
        .unwrap()
}

impl World {
    fn new(far: Tiering, bound: Duration) -> Self {
        Self::with(far, bound, OnLoss::Miss)
    }

    fn with(far: Tiering, bound: Duration, on_loss: OnLoss) -> Self {
        let redis = Redis::start();
        let proxy = Proxy::to(redis.socket());
        let folders = [store_folder(), store_folder()];
        let directly = RedisOptions::new().unix_path(redis.socket());
        let near = host(&folders[0], Tiering::L3, bound, directly);
        let to_proxy = RedisOptions::new().host("127.0.0.1").port(proxy.port()).on_loss(on_loss);
        let far = host(&folders[1], far, bound, to_proxy);
        let world = Self { proxy, near, far, _redis: redis, folders };
        world.hold_stream(true);
        world
    }

    fn hold_stream(&self, holds: bool) {
        for way in [Way::Up, Way::Down] {
            self.proxy.set(Line::Changes, way, if holds { Fault::Hold } else { Fault::None });
        }
    }

    fn subscriptions(&self) -> u64 {
        self.far.redis_statistics().map_or(0, |counted| counted.subscriptions)
    }

    /// Lets the first stream go, and waits until it has begun.
    fn let_stream_go(&self) {
        self.hold_stream(false);
        wait_until("a subscription", || self.subscriptions() == 1);
        thread::sleep(2 * HEARTBEAT);
    }

    /// The far host does not serve what the near one changed for longer than the bound.
    fn ends(&self, key: &str, value: &str, changed: Instant) {
        wait_until("an end", || self.far.get(key).as_deref() != Some(value.as_bytes()));
        assert!(changed.elapsed() < BOUND + SLACK, "{key}: served for {:?}", changed.elapsed());
    }

    /// The far host serves what the near one set, within the bound after the change.
    fn follows(&self, key: &str, value: &'static str, changed: Instant) {
        wait_until("a change", || self.far.get(key).as_deref() == Some(value.as_bytes()));
        assert!(changed.elapsed() < BOUND + SLACK, "{key}: served for {:?}", changed.elapsed());
    }
}

#[test]
fn copies_that_a_process_made_before_its_first_stream_stay_when_it_begins() {
    // So long that none of them ends meanwhile.
    let world = World::new(Tiering::L1L3, PATIENCE);
    for key in ["read", "many"] {
        world.near.set(key, "value".into()).unwrap();
    }
    world.far.set("set", "value".into()).unwrap();
    world.far.get("read").unwrap();
    world.far.get_many(&["many"]);
    world.far.get_or_load("loaded", |_| std::io::Result::Ok(Bytes::from("value"))).unwrap();
    world.let_stream_go();
    for key in ["set", "read", "many", "loaded"] {
        assert!(is_near(&world.far, key), "{key}");
    }
    // And they are followed.
    world.near.set("set", "new".into()).unwrap();
    wait_until("a change", || world.far.get("set").as_deref() == Some(b"new"));
}

#[test]
fn what_was_asked_for_before_the_first_stream_is_not_kept_past_the_bound() {
    for asks in ["get", "get_many", "set", "get_or_load"] {
        let world = World::new(Tiering::L1L3, BOUND);
        if asks.starts_with("get") {
            world.near.set("key", "old".into()).unwrap();
        }
        // The thread that listens begins, as does the connection.
        world.far.get("nothing");
        let asked = world.proxy.passed(Line::Calls, Way::Up);
        world.proxy.set(Line::Calls, Way::Down, Fault::Hold);
        let changed = thread::scope(|scope| {
            let call = scope.spawn(|| match asks {
                "get" => assert_eq!(world.far.get("key").unwrap(), "old"),
                "get_many" => assert_eq!(world.far.get_many(&["key"]), [Some("old".into())]),
                "set" => world.far.set("key", "old".into()).unwrap(),
                _ => {
                    let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("old"));
                    assert_eq!(world.far.get_or_load("key", load).unwrap(), "old");
                }
            });
            wait_until("a question", || world.proxy.passed(Line::Calls, Way::Up) >= asked + 40);
            // The server has answered by now; the answer is on its way.
            thread::sleep(Duration::from_millis(50));
            world.near.set("key", "new".into()).unwrap();
            world.let_stream_go();
            world.proxy.set(Line::Calls, Way::Down, Fault::None);
            call.join().unwrap();
            Instant::now()
        });
        world.follows("key", "new", changed);
    }
}

#[test]
fn what_is_touched_before_anybody_is_told_of_changes_ends_with_the_bound() {
    for tiering in [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3] {
        for (begins, removes) in [(false, false), (false, true), (true, false), (true, true)] {
            let world = World::new(tiering, BOUND);
            world.far.set_with("key", "old".into(), &SetOptions::new().ttl(MINUTE)).unwrap();
            assert!(begins || world.far.touch("key", MINUTE).unwrap(), "{tiering}");
            if removes {
                world.near.delete("key").unwrap();
            } else {
                world.near.set("key", "new".into()).unwrap();
            }
            let changed = Instant::now();
            if begins {
                // What was missed is not made up for by who is told of changes by now.
                world.let_stream_go();
                world.far.touch("key", MINUTE).unwrap();
            }
            world.ends("key", "old", changed);
            assert!(removes || world.far.get("key").unwrap() == "new", "{tiering}");
        }
    }
}

#[test]
fn who_asks_once_the_first_stream_has_begun_is_not_given_a_load_of_before_it() {
    let world = World::new(Tiering::L1L3, BOUND);
    let (loading, begun) = (Barrier::new(2), Barrier::new(2));
    let slow = |_: &[u8]| {
        loading.wait();
        begun.wait();
        std::io::Result::Ok(Bytes::from("old"))
    };
    thread::scope(|scope| {
        scope.spawn(|| world.far.get_or_load("key", slow));
        loading.wait();
        world.near.set("key", "new".into()).unwrap();
        world.let_stream_go();
        let (sender, found) = std::sync::mpsc::channel();
        let far = &world.far;
        scope.spawn(move || {
            let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("loaded again"));
            sender.send(far.get_or_load("key", load).unwrap()).unwrap();
        });
        let found = found.recv_timeout(5 * BOUND);
        begun.wait();
        assert_eq!(found.unwrap(), "new");
    });
}

#[test]
fn copies_of_before_the_first_stream_go_where_they_are_to_outlive_a_loss() {
    let world = World::with(Tiering::L1L3, BOUND, OnLoss::Serve);
    world.near.set("key", "old".into()).unwrap();
    assert_eq!(world.far.get("key").unwrap(), "old");
    thread::sleep(2 * BOUND);
    world.near.set("key", "new".into()).unwrap();
    assert_eq!(world.far.get("key").unwrap(), "old", "as was asked for");
    world.let_stream_go();
    assert_eq!(world.far.get("key").unwrap(), "new");
}

/// A copy that the far host made in a tiering without L3 is not served for longer than the bound
/// after L3 has come in, where another host changes the key then.
fn gains_l3(before: Tiering, after: Tiering, told: bool) {
    let world = World::new(before, BOUND);
    world.far.set("key", "old".into()).unwrap();
    assert!(is_near(&world.far, "key"));
    world.hold_stream(!told);
    world.far.retier(after).unwrap();
    world.near.set("key", "new".into()).unwrap();
    let changed = Instant::now();
    // The thread that listens begins with the first call.
    world.far.get("nothing");
    // What this host set alone is removed from L3, so nobody has a value in the end.
    wait_until("the end of a copy", || world.far.get("key").as_deref() != Some(b"old"));
    assert!(changed.elapsed() < BOUND + SLACK, "served for {:?}", changed.elapsed());
    thread::sleep(HEARTBEAT);
    assert_ne!(world.far.get("key").as_deref(), Some(&b"old"[..]));
    assert!(told || world.subscriptions() == 0);
}

#[test]
fn what_was_private_is_not_served_past_the_bound_once_other_hosts_have_a_say() {
    for told in [true, false] {
        gains_l3(Tiering::L1, Tiering::L1L3, told);
    }
}

#[test]
fn what_was_shared_is_not_served_past_the_bound_where_l3_takes_the_place_of_l2() {
    for told in [true, false] {
        gains_l3(Tiering::L1L2, Tiering::L1L3, told);
    }
}

#[test]
fn what_a_store_kept_is_not_served_past_the_bound_once_l3_is_below_it() {
    for told in [true, false] {
        gains_l3(Tiering::L1L2, Tiering::L1L2L3, told);
    }
}

#[test]
fn what_changes_between_the_stream_of_a_store_and_that_of_a_process_is_seen() {
    let world = World::new(Tiering::L1L2L3, BOUND);
    world.far.get("nothing");
    world.let_stream_go();
    world.near.set("key", "old".into()).unwrap();
    // Its news may come after it, and takes the copy along.
    wait_until("a copy that stays", || {
        assert_eq!(world.far.get("key").unwrap(), "old");
        thread::sleep(HEARTBEAT);
        is_near(&world.far, "key")
    });
    world.far.retier(Tiering::L1L3).unwrap();
    world.hold_stream(true);
    // The thread that listens looks several times in a heartbeat, and gives the first one up.
    thread::sleep(2 * HEARTBEAT);
    world.near.set("key", "new".into()).unwrap();
    let changed = Instant::now();
    world.hold_stream(false);
    world.follows("key", "new", changed);
}

#[test]
fn what_was_followed_in_a_store_is_not_served_past_the_bound_in_one_of_another_size() {
    let world = World::new(Tiering::L2L3, BOUND);
    world.far.get("nothing");
    world.let_stream_go();
    world.near.set("key", "old".into()).unwrap();
    let is_shared = |cache: &Cache| {
        let found = cache.get_entry("key").unwrap();
        assert_eq!(found.value, "old");
        found.origin == Origin::Tier(TierKind::Shared)
    };
    // Its news may come after it, and takes the copy along.
    wait_until("a copy that stays", || {
        world.far.get("key");
        thread::sleep(HEARTBEAT);
        is_shared(&world.far)
    });
    thread::sleep(2 * HEARTBEAT);
    world.hold_stream(true);
    world.far.close();
    let to_proxy = RedisOptions::new().host("127.0.0.1").port(world.proxy.port());
    let larger = |store: StoreOptions| store.max_bytes(32 << 20).resize(true);
    let resized = host_with(&world.folders[1], Tiering::L2L3, BOUND, to_proxy, larger);
    assert!(is_shared(&resized), "records are taken along");
    world.near.set("key", "new".into()).unwrap();
    let changed = Instant::now();
    wait_until("the end of a copy", || resized.get("key").unwrap() == "new");
    assert!(changed.elapsed() < BOUND + SLACK, "served for {:?}", changed.elapsed());
}

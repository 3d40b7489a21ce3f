//! L3 written behind: what is set is in L2 and L1 at once and in L3 a while after, and until then nobody of
//! the host is served what L3 has of it, whatever becomes of the process that is to send it.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{path::Path, thread, time::Duration};

use tempfile::TempDir;
use tierce::{Bytes, Cache, ReadOptions, RedisOptions, SetOptions, TierKind, Tiering, WritePolicy};
use tierce_tests::{
    host::{HEARTBEAT, Host, process},
    process::Worker,
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    store_folder,
    waiting::wait_until,
};

/// Longer than any test: what waits is sent by nobody who is not asked to.
const LONG: Duration = Duration::from_secs(60);
/// What waits is sent by itself.
const SHORT: Duration = Duration::from_millis(20);
/// A process of its own is told by these where its host is.
const FOLDER: &str = "TIERCE_BEHIND_FOLDER";
const SOCKET: &str = "TIERCE_BEHIND_SOCKET";

const TIERINGS: [Tiering; 3] = [Tiering::L1L3, Tiering::L2L3, Tiering::L1L2L3];

fn behind(delay: Duration) -> impl Fn(RedisOptions) -> RedisOptions {
    move |options| options.write(WritePolicy::Behind).write_delay(delay)
}

/// A host that sets behind L3 from now on.
fn host(redis: &Redis, tiering: Tiering, delay: Duration) -> Host {
    let host = Host::with(redis, tiering, behind(delay));
    wait_until_behind(&host.cache);
    host
}

/// Another process of it.
fn beside(folder: &TempDir, redis: &Redis, tiering: Tiering, delay: Duration) -> Cache {
    let cache = process(folder, redis, tiering, behind(delay));
    wait_until_behind(&cache);
    cache
}

/// Waits until changes of other hosts are told.
fn wait_until_behind(cache: &Cache) {
    wait_until("sets wait", || {
        thread::sleep(Duration::from_millis(5));
        let key = format!("does it wait {}", std::process::id());
        cache.set(&key, "yes".into()).unwrap();
        cache.stats().behind.waiting > 0 || cache.stats().behind.sent > 0
    });
    wait_until("it is sent", || cache.flush().unwrap());
}

/// What a host without L1 and L2 finds.
struct Elsewhere(Cache, #[allow(dead_code)] TempDir);

impl Elsewhere {
    fn of(redis: &Redis) -> Self {
        let folder = store_folder();
        Self(process(&folder, redis, Tiering::L3, |options| options), folder)
    }

    /// Sets a value of which this host has heard when it returns: news may end what is set just after.
    fn sets(&self, key: &str, value: &'static str, host: &Cache) {
        self.0.set(key, value.into()).unwrap();
        wait_until("it is told", || text(host.get(key)) == some(value));
        // News come in order: that of the second change after all that came with the first.
        for round in ["first", "second", "third"] {
            self.0.set("news", round.into()).unwrap();
            wait_until("news", || text(host.get("news")) == some(round));
        }
    }

    fn finds(&self, key: &str) -> Option<String> {
        text(self.0.get(key))
    }
}

/// What a process finds in L3.
fn in_l3(cache: &Cache, key: &str) -> Option<String> {
    text(cache.get_with(key, &ReadOptions::new().tiers(Tiering::L3)).map(|answer| answer.value))
}

fn text(value: Option<Bytes>) -> Option<String> {
    value.map(|value| String::from_utf8_lossy(&value).into_owned())
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

#[test]
fn a_set_is_there_at_once_and_the_newest_value_of_each_key_is_in_l3_a_while_after() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        let cache = &host.cache;
        let before = cache.stats().behind;
        for number in 0..10 {
            cache.set("a", number.to_string().into()).unwrap();
            assert_eq!(text(cache.get("a")), some(&number.to_string()), "{tiering}");
        }
        assert_eq!(elsewhere.finds("a"), None, "{tiering}");
        assert!(cache.flush().unwrap(), "{tiering}");
        assert_eq!(elsewhere.finds("a"), some("9"), "{tiering}");
        let after = cache.stats().behind;
        let counted = [
            after.queued - before.queued,
            after.coalesced - before.coalesced,
            after.sent - before.sent,
            after.through - before.through,
            after.waiting,
        ];
        assert_eq!(counted, [10, 9, 1, 0, 0], "{tiering}");
        let metrics = cache.metrics_text().unwrap();
        assert!(metrics.contains("tierce_written_behind_total"), "{metrics}");
        cache.clear().unwrap();
    }
}

#[test]
fn what_waits_is_sent_by_itself_and_other_hosts_are_told() {
    let redis = Redis::start();
    for tiering in TIERINGS {
        let here = host(&redis, tiering, SHORT);
        let there = Host::new(&redis, tiering);
        for number in 0..20 {
            let value = number.to_string();
            here.cache.set("a", value.clone().into()).unwrap();
            wait_until("the other host has it", || text(there.cache.get("a")) == some(&value));
            assert_eq!(text(here.cache.get("a")), some(&value), "{tiering}");
        }
        here.cache.clear().unwrap();
    }
}

#[test]
fn who_closes_a_cache_or_drops_the_last_handle_of_it_sends_what_waits() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        host.cache.set("closed", "1".into()).unwrap();
        host.cache.close();
        assert_eq!(elsewhere.finds("closed"), some("1"), "{tiering}");
        assert!(host.cache.flush().is_err(), "{tiering}");

        let cache = beside(&host.folder, &redis, tiering, LONG);
        let handle = cache.clone();
        handle.set("dropped", "1".into()).unwrap();
        drop(cache);
        assert_eq!(elsewhere.finds("dropped"), None, "{tiering}");
        drop(handle);
        assert_eq!(elsewhere.finds("dropped"), some("1"), "{tiering}");

        let cache = beside(&host.folder, &redis, tiering, LONG);
        cache.set("moved", "1".into()).unwrap();
        cache.retier(Tiering::L1).unwrap();
        assert_eq!(elsewhere.finds("moved"), some("1"), "{tiering}");
        elsewhere.0.clear().unwrap();
    }
}

#[test]
fn any_change_that_comes_meanwhile_wins_whichever_process_makes_it() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        let cache = &host.cache;
        let is_shared = tiering.has(TierKind::Shared);
        let peer = is_shared.then(|| beside(&host.folder, &redis, tiering, LONG));
        for changer in peer.iter().chain([cache]) {
            let named = SetOptions::new().tiers(Tiering::L1L2L3);
            for key in ["delete", "set", "clear"] {
                elsewhere.sets(key, "old", cache);
            }
            for key in ["delete", "set", "clear"] {
                cache.set(key, "waits".into()).unwrap();
            }
            changer.delete("delete").unwrap();
            changer.set_with("set", "new".into(), &named).unwrap();
            assert_eq!(text(changer.get("set")), some("new"), "{tiering}");
            cache.flush().unwrap();
            assert_eq!(elsewhere.finds("delete"), None, "{tiering}");
            assert_eq!(in_l3(cache, "delete"), None, "{tiering}");
            assert_eq!(elsewhere.finds("set"), some("new"), "{tiering}");
            cache.set("clear", "waits".into()).unwrap();
            changer.clear().unwrap();
            cache.flush().unwrap();
            assert_eq!(elsewhere.finds("clear"), None, "{tiering}");
            assert_eq!(elsewhere.finds("set"), None, "{tiering}");
        }
        // Of another host as well, once it is told.
        cache.set("there", "waits".into()).unwrap();
        elsewhere.0.set("there", "new".into()).unwrap();
        wait_until("it is told", || cache.get("there").is_none());
        cache.flush().unwrap();
        assert_ne!(elsewhere.finds("there"), some("waits"), "{tiering}");
        elsewhere.0.clear().unwrap();
    }
}

#[test]
fn changes_by_what_is_there_see_what_waits() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        let cache = &host.cache;
        let is_shared = tiering.has(TierKind::Shared);
        let peer = is_shared.then(|| beside(&host.folder, &redis, tiering, LONG));
        for changer in peer.iter().chain([cache]) {
            elsewhere.sets("n", "5", changer);
            cache.set("n", "10".into()).unwrap();
            assert_eq!(changer.increment("n", 1).unwrap(), 11, "{tiering}");
            assert_eq!(text(cache.get("n")), some("11"), "{tiering}");
            cache.set("n", "20".into()).unwrap();
            let (value, version) = changer.get_versioned("n").unwrap();
            assert_eq!(text(value), some("20"), "{tiering}");
            let options = SetOptions::new();
            assert!(!changer.set_if_absent("n", "0".into(), &options).unwrap(), "{tiering}");
            cache.set("n", "30".into()).unwrap();
            let is_set = changer.compare_and_set("n", &version, "0".into(), &options).unwrap();
            assert!(!is_set, "{tiering}: it was set since");
            cache.set("n", "40".into()).unwrap();
            assert!(changer.touch("n", LONG).unwrap(), "{tiering}");
            assert_eq!(elsewhere.finds("n"), some("40"), "{tiering}");
            cache.flush().unwrap();
            elsewhere.0.clear().unwrap();
            wait_until("they are told", || cache.get("n").is_none());
        }
    }
}

#[test]
fn another_process_of_the_host_never_finds_what_a_set_replaced() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let host = host(&redis, Tiering::L1L2L3, LONG);
    let peer = beside(&host.folder, &redis, Tiering::L1L2L3, LONG);
    for round in 0..50 {
        let key = format!("{round}");
        elsewhere.sets(&key, "old", &host.cache);
        host.cache.set(&key, "new".into()).unwrap();
        assert_eq!(text(peer.get(&key)), some("new"));
        // As if L1 and L2 had lost it.
        assert_eq!(in_l3(&peer, &key), None);
        assert_eq!(in_l3(&host.cache, &key), some("new"), "who has it says so");
    }
    wait_until("all is sent", || host.cache.flush().unwrap());
    for round in 0..50 {
        assert_eq!(in_l3(&peer, &round.to_string()), some("new"));
    }
}

/// Not a test: what a process of the host does that is killed then.
#[test]
fn a_process_that_is_killed() {
    let (Ok(folder), Ok(socket)) = (std::env::var(FOLDER), std::env::var(SOCKET)) else { return };
    let options = RedisOptions::new()
        .unix_path(socket)
        .write(WritePolicy::Behind)
        .write_delay(Duration::from_millis(500));
    let cache = Cache::builder()
        .tiering(Tiering::L1L2L3)
        .shared(tierce::StoreOptions::new(Path::new(&folder).join("store")).max_bytes(16 << 20))
        .redis(options)
        .build()
        .unwrap();
    wait_until_behind(&cache);
    cache.set("a", "new".into()).unwrap();
    std::fs::write(Path::new(&folder).join("is set"), b"").unwrap();
    thread::sleep(LONG);
}

#[test]
fn a_killed_process_leaves_nothing_older_to_be_read_by_its_host() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let folder = store_folder();
    let peer = process(&folder, &redis, Tiering::L1L2L3, |options| {
        options.write_timeout(Duration::from_millis(100))
    });
    elsewhere.0.set("a", "old".into()).unwrap();
    wait_until("the peer has it", || text(peer.get("a")) == some("old"));
    let program = std::env::current_exe().unwrap();
    let mut worker = Worker::start(
        "env",
        &[
            &format!("{FOLDER}={}", folder.path().display()),
            &format!("{SOCKET}={}", redis.socket().display()),
            program.to_str().unwrap(),
            "--exact",
            "a_process_that_is_killed",
        ],
    );
    wait_until("it is set", || folder.path().join("is set").exists());
    worker.kill();
    assert_eq!(text(peer.get("a")), some("new"), "L2 has it");
    // L3 has the old one, which nobody of the host is given, until somebody removed it there.
    assert_eq!(elsewhere.finds("a"), some("old"));
    wait_until("it is removed", || {
        assert_eq!(in_l3(&peer, "a"), None);
        assert_ne!(text(peer.get("a")), some("old"));
        elsewhere.finds("a").is_none()
    });
    // The key is one as any other then.
    wait_until("L3 takes it again", || {
        peer.set("a", "newest".into()).unwrap();
        in_l3(&peer, "a") == some("newest")
    });
}

#[test]
fn a_server_that_is_away_has_nothing_older_to_give_when_it_is_back() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in [Tiering::L1L3, Tiering::L1L2L3] {
        let folder = store_folder();
        let brief = Duration::from_millis(100);
        let impatient = |options| {
            behind(LONG)(options)
                .read_timeout(brief)
                .write_timeout(brief)
                .flush_timeout(Duration::from_secs(1))
        };
        let cache = process(&folder, &redis, tiering, impatient);
        wait_until_behind(&cache);
        elsewhere.sets("a", "old", &cache);
        cache.set("a", "new".into()).unwrap();
        redis.signal(libc::SIGSTOP);
        _ = cache.flush().unwrap();
        assert_eq!(cache.stats().behind.in_doubt, 1, "{tiering}");
        assert_eq!(text(cache.get("a")), some("new"), "{tiering}");
        redis.signal(libc::SIGCONT);
        let peer = tiering
            .has(TierKind::Shared)
            .then(|| process(&folder, &redis, tiering, |options| options));
        wait_until("it is removed", || {
            for cache in peer.iter().chain([&cache]) {
                assert_ne!(in_l3(cache, "a"), some("old"), "{tiering}");
                assert_ne!(text(cache.get("a")), some("old"), "{tiering}");
            }
            elsewhere.finds("a") != some("old")
        });
        elsewhere.0.clear().unwrap();
    }
}

#[test]
fn what_waits_outlasts_a_silence_unless_another_host_changed_it() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        for key in ["same", "changed"] {
            elsewhere.sets(key, "old", &host.cache);
            host.cache.set(key, "new".into()).unwrap();
        }
        let before = host.cache.stats().behind;
        // With a heartbeat it is known up to where all changes are known.
        thread::sleep(3 * HEARTBEAT);
        redis.signal(libc::SIGSTOP);
        wait_until("copies are suspended", || host.cache.get("same").is_none());
        assert!(host.cache.stats().behind.waiting == 2, "{tiering}");
        redis.signal(libc::SIGCONT);
        elsewhere.0.set("changed", "newer".into()).unwrap();
        wait_until("all is sent", || host.cache.flush().unwrap());
        let after = host.cache.stats().behind;
        assert_eq!(after.in_doubt, before.in_doubt, "{tiering}");
        assert_eq!(elsewhere.finds("same"), some("new"), "{tiering}: {after:?}");
        assert_ne!(elsewhere.finds("changed"), some("new"), "{tiering}: {after:?}");
        elsewhere.0.clear().unwrap();
    }
}

#[test]
fn keys_that_share_a_stamp_do_not_cost_each_other_what_waits() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    for tiering in TIERINGS {
        let host = host(&redis, tiering, LONG);
        // Of 2^16 stamps, or 2^14 without a store, dozens or hundreds are raised twice.
        for number in 0..3_000 {
            host.cache.set(number.to_string(), "1".into()).unwrap();
        }
        let queued = host.cache.stats().behind.waiting;
        wait_until("all is sent", || host.cache.flush().unwrap());
        let counted = host.cache.stats().behind;
        let there =
            (0..3_000).filter(|number| elsewhere.finds(&number.to_string()).is_some()).count();
        // News of what was sent may come when nobody knows any more whose it was.
        assert!(there > 2_980, "{tiering}: {there}, {queued} waited: {counted:?}");
        elsewhere.0.clear().unwrap();
    }
}

#[test]
fn what_a_full_queue_does_not_take_goes_there_at_once() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let host = host(&redis, Tiering::L1L2L3, LONG);
    let before = host.cache.stats().behind;
    let value = Bytes::from(vec![b'x'; 1 << 20]);
    for number in 0..70 {
        host.cache.set(number.to_string(), value.clone()).unwrap();
    }
    let after = host.cache.stats().behind;
    assert!(after.waiting_bytes <= 64 << 20, "{after:?}");
    let through = after.through - before.through;
    assert!((6..20).contains(&through), "{after:?}");
    assert_eq!(after.waiting + through, 70, "{after:?}");
    assert!(elsewhere.0.get("69").is_some() && elsewhere.0.get("0").is_none());
    wait_until("all is sent", || host.cache.flush().unwrap());
    assert!((0..70).all(|number| elsewhere.0.get(number.to_string()).is_some()));
}

#[test]
fn what_bears_tags_or_names_its_tiers_or_finds_nobody_told_goes_there_at_once() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let host = host(&redis, Tiering::L1L2L3, LONG);
    let tagged = SetOptions::new().tags(["red"]);
    host.cache.set_with("tagged", "1".into(), &tagged).unwrap();
    let named = SetOptions::new().tiers(Tiering::L1L2L3);
    host.cache.set_with("named", "1".into(), &named).unwrap();
    assert_eq!(elsewhere.finds("tagged"), some("1"));
    assert_eq!(elsewhere.finds("named"), some("1"));
    host.cache.remove_tag("red").unwrap();
    assert_eq!(elsewhere.finds("tagged"), None);

    let folder = store_folder();
    let alone = process(&folder, &redis, Tiering::L3, behind(LONG));
    alone.set("alone", "1".into()).unwrap();
    assert_eq!(elsewhere.finds("alone"), some("1"));
}

#[test]
fn a_value_ends_when_it_would_have_though_it_is_sent_late() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let host = host(&redis, Tiering::L1L2L3, LONG);
    let brief = SetOptions::new().ttl(Duration::from_millis(300));
    elsewhere.sets("a", "old", &host.cache);
    host.cache.set_with("a", "new".into(), &brief).unwrap();
    host.cache.set_with("b", "new".into(), &SetOptions::new().ttl(LONG)).unwrap();
    thread::sleep(Duration::from_millis(400));
    wait_until("all is sent", || host.cache.flush().unwrap());
    assert_eq!(elsewhere.finds("a"), None);
    let mut client = redis.client();
    let names: Vec<String> = ::redis::cmd("KEYS").arg("*:b").query(&mut client).unwrap();
    let left: u64 = ::redis::cmd("PTTL").arg(&names[0]).query(&mut client).unwrap();
    assert!(left <= 59_700, "{left} ms");
}

#[test]
fn what_is_not_sent_in_time_leaves_nothing_older_to_be_read() {
    let redis = Redis::start();
    let elsewhere = Elsewhere::of(&redis);
    let (folder, tiering) = (store_folder(), Tiering::L1L2L3);
    let hasty = |options| {
        behind(LONG)(options)
            .write_timeout(Duration::from_millis(100))
            .flush_timeout(Duration::ZERO)
    };
    let peer = process(&folder, &redis, tiering, hasty);
    let cache = process(&folder, &redis, tiering, hasty);
    let is_waiting = || cache.stats().behind.waiting > 0;
    wait_until("sets wait", || {
        cache.set("does it wait", "yes".into()).unwrap();
        is_waiting()
    });
    elsewhere.sets("a", "old", &peer);
    cache.set("a", "new".into()).unwrap();
    assert!(!cache.flush().unwrap(), "no time for anything");
    cache.close();
    assert_eq!(elsewhere.finds("a"), some("old"));
    assert_eq!(text(peer.get("a")), some("new"));
    wait_until("it is removed", || {
        assert_eq!(in_l3(&peer, "a"), None);
        elsewhere.finds("a").is_none()
    });
}

#[test]
fn a_flush_says_no_where_nobody_knows_whether_a_value_is_there() {
    let redis = Redis::start();
    let proxy = Proxy::to(redis.socket());
    let host = Host::through(Tiering::L1L2L3, |options| {
        behind(LONG)(options.host("127.0.0.1").port(proxy.port()))
            .write_timeout(Duration::from_millis(300))
            .heartbeat(Duration::from_secs(20))
            .staleness_bound(Duration::from_secs(60))
    });
    wait_until_behind(&host.cache);
    host.cache.set("a", "new".into()).unwrap();
    assert_eq!(host.cache.stats().behind.waiting, 1);
    proxy.set(Line::Calls, Way::Up, Fault::Hold);
    assert!(!host.cache.flush().unwrap(), "it got no answer");
    assert_eq!(host.cache.stats().behind.in_doubt, 1);
    proxy.set(Line::Calls, Way::Up, Fault::None);
    assert_eq!(text(host.cache.get("a")), some("new"));
    assert!(host.cache.flush().unwrap(), "nothing waits any more");
}

#[test]
fn what_is_touched_while_it_cannot_be_sent_leaves_nothing_older() {
    for tiering in TIERINGS {
        let redis = Redis::start();
        let host = host(&redis, tiering, LONG);
        let (cache, minute) = (&host.cache, Duration::from_secs(60));
        cache.set("a", "old".into()).unwrap();
        assert!(cache.flush().unwrap());
        cache.set("a", "new".into()).unwrap();
        // With a heartbeat it is known up to where all changes are known.
        thread::sleep(3 * HEARTBEAT);
        redis.signal(libc::SIGSTOP);
        wait_until("copies are suspended", || cache.get("a").is_none());
        _ = cache.touch("a", minute).unwrap();
        redis.signal(libc::SIGCONT);
        cache.set_with("b", "b".into(), &SetOptions::new().tiers(tiering)).unwrap();
        let mut other = None;
        wait_until("L3 is back", || {
            for found in [cache.get("a"), in_l3(cache, "a").map(Into::into)] {
                assert_ne!(found.as_deref(), Some(&b"old"[..]), "{tiering}");
            }
            other = other.take().or_else(|| in_l3(cache, "b"));
            other.is_some()
        });
    }
}

//! What each option of loading and reading does, in every tiering, with a real store and a real
//! server.
//!
//! | option | row |
//! |---|---|
//! | `ttl`, `no_ttl`, `ttl_jitter` | a value ends with its time, the call's before the cache's, and never later |
//! | `stale_if_error` | serves while the loader fails, no longer than its window, and not after a delete |
//! | `stale_while_revalidate` | serves at once while one load runs, whose value is kept |
//! | `soft_timeout`, `hard_timeout` | stale meanwhile, and the load goes on; or given up and cancelled |
//! | `refresh_ahead` | loads anew before the end, while hits are served |
//! | `negative_ttl`, `failure_backoff` | what there is not, and what fails, is not asked for again and again |
//! | `max_age`, `allow_stale` | what a call accepts |
//! | validator, weight | what a loader says of its value |

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Bytes, Cache, ErrorKind, Freshness, LoadContext, LoadOptions, Loaded, Loading, MemoryOptions,
    ReadOptions, RefreshAhead, TierKind, Tiering,
};
use tierce_tests::{
    waiting::{wait_until, wait_within},
    world::{CLOCK_TICK, HOUR, World},
};

const SHORT: Duration = Duration::from_millis(300);

type Row = (&'static str, fn(&World, Tiering));

const ROWS: [Row; 15] = [
    ("ttl", ttl),
    ("no_ttl", no_ttl),
    ("ttl_jitter", ttl_jitter),
    ("stale_if_error", stale_if_error),
    ("the end of stale_if_error", end_of_stale_if_error),
    ("stale_while_revalidate", stale_while_revalidate),
    ("soft_timeout", soft_timeout),
    ("hard_timeout", hard_timeout),
    ("refresh_ahead", refresh_ahead),
    ("negative_ttl", negative_ttl),
    ("failure_backoff", failure_backoff),
    ("max_age", max_age),
    ("allow_stale", allow_stale),
    ("validator", validator),
    ("weight", weight),
];

#[test]
fn each_option_does_in_every_tiering_what_the_table_says() {
    thread::scope(|scope| {
        for tiering in Tiering::ALL {
            scope.spawn(move || {
                let world = World::new();
                for (option, show) in ROWS {
                    println!("{option} in {tiering}");
                    show(&world, tiering);
                }
            });
        }
    });
}

fn cache(world: &World, tiering: Tiering, freshness: Freshness) -> Cache {
    world.builder(tiering).freshness(freshness).build().unwrap()
}

/// Loads in the background what this returns, which is told how often it was called before.
fn loading(
    cache: &Cache,
    load: impl Fn(&LoadContext<'_, Bytes>, u32) -> io::Result<Loaded<Bytes>> + Send + Sync + 'static,
) -> (Loading<Bytes>, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let loader = move |context: &LoadContext<'_, Bytes>| {
        load(context, counted.fetch_add(1, Ordering::SeqCst))
    };
    (cache.loading(loader, LoadOptions::new()).unwrap(), calls)
}

/// A loader that waits until it is let go on.
fn gated(cache: &Cache) -> (Loading<Bytes>, Sender<()>) {
    let (open, gate): (_, Receiver<()>) = channel();
    let gate = Mutex::new(gate);
    let wait = move |_: &LoadContext<'_, Bytes>, _| {
        gate.lock().unwrap().recv().unwrap();
        Ok(Loaded::new(new()))
    };
    (loading(cache, wait).0, open)
}

fn new() -> Bytes {
    Bytes::from_static(b"new")
}

fn set(cache: &Cache, key: &str) {
    cache.set(key, Bytes::from_static(b"old")).unwrap();
}

fn fail(_: &[u8]) -> io::Result<Bytes> {
    Err(io::Error::other("the origin is down"))
}

fn ttl(world: &World, tiering: Tiering) {
    let cache = cache(world, tiering, Freshness::new().ttl(SHORT));
    let begin = Instant::now();
    set(&cache, "ttl");
    let found = cache.get("ttl");
    assert!(found.is_some() || begin.elapsed() >= SHORT - CLOCK_TICK, "{tiering}");
    wait_until("it is gone", || cache.get("ttl").is_none());
    assert!(begin.elapsed() > SHORT - CLOCK_TICK, "{tiering}");
}

fn no_ttl(world: &World, tiering: Tiering) {
    let cache = cache(world, tiering, Freshness::new().ttl(SHORT));
    let options = LoadOptions::new().freshness(Freshness::new().no_ttl());
    cache.get_or_load_with("kept", &options, |_| io::Result::Ok(new())).unwrap();
    set(&cache, "not kept");
    wait_until("the other is gone", || cache.get("not kept").is_none());
    assert_eq!(cache.get("kept"), Some(new()), "{tiering}");
}

fn ttl_jitter(world: &World, tiering: Tiering) {
    const KEYS: usize = 60;
    let longest = Duration::from_secs(1);
    let cache = cache(world, tiering, Freshness::new().ttl(longest).ttl_jitter(0.9));
    let keys: Vec<String> = (0..KEYS).map(|number| format!("jitter {number}")).collect();
    keys.iter().for_each(|key| set(&cache, key));
    let begin = Instant::now();
    let (mut last, mut longest_pause, mut was_between) = (begin, Duration::ZERO, false);
    wait_until("all are gone", || {
        let there = cache.get_many(&keys).iter().flatten().count();
        was_between |= 0 < there && there < KEYS;
        longest_pause = longest_pause.max(last.elapsed());
        last = Instant::now();
        assert!(there == 0 || begin.elapsed() < longest + longest_pause + CLOCK_TICK, "{tiering}");
        there == 0
    });
    // Nine tenths of a second from the first to the last.
    assert!(was_between || longest_pause > longest / 2, "{tiering}: all ended at once");
}

fn stale_if_error(world: &World, tiering: Tiering) {
    let options = LoadOptions::new();
    let with = cache(world, tiering, Freshness::new().ttl(HOUR).stale_if_error(HOUR));
    set(&with, "error");
    with.expire("error").unwrap();
    let answer = with.get_or_load_with("error", &options, fail).unwrap();
    assert!(answer.is_stale && answer.value == "old", "{tiering}: {answer:?}");
    with.delete("error").unwrap();
    assert!(with.get_or_load_with("error", &options, fail).is_err(), "{tiering}");

    let without = cache(world, tiering, Freshness::new().ttl(HOUR));
    set(&without, "error");
    without.expire("error").unwrap();
    assert!(without.get_or_load_with("error", &options, fail).is_err(), "{tiering}");
}

fn end_of_stale_if_error(world: &World, tiering: Tiering) {
    let freshness = Freshness::new().ttl(SHORT / 3).stale_if_error(SHORT);
    let cache = cache(world, tiering, freshness);
    let begin = Instant::now();
    set(&cache, "end");
    wait_until("nothing is served", || {
        cache.get_or_load_with("end", &LoadOptions::new(), fail).is_err()
    });
    assert!(begin.elapsed() > SHORT / 3 + SHORT - CLOCK_TICK, "{tiering}");
}

fn stale_while_revalidate(world: &World, tiering: Tiering) {
    let freshness = Freshness::new().ttl(HOUR).stale_while_revalidate(HOUR);
    let cache = cache(world, tiering, freshness);
    let (loading, open) = gated(&cache);
    set(&cache, "revalidated");
    cache.expire("revalidated").unwrap();
    for _ in 0..3 {
        let answer = loading.get_entry("revalidated").unwrap();
        assert!(answer.is_stale && answer.value == "old", "{tiering}: {answer:?}");
    }
    // Nobody has waited for the load so far. On a slow machine news of this cache's own change may come
    // late and void it: another one begins.
    wait_until("it is loaded", || {
        open.send(()).unwrap();
        loading.get_entry("revalidated").unwrap();
        cache.get("revalidated") == Some(new())
    });
}

fn soft_timeout(world: &World, tiering: Tiering) {
    let soft = Duration::from_millis(20);
    let freshness = Freshness::new().ttl(HOUR).stale_if_error(HOUR).soft_timeout(soft);
    let cache = cache(world, tiering, freshness);
    let (loading, open) = gated(&cache);
    set(&cache, "soft");
    cache.expire("soft").unwrap();
    let begin = Instant::now();
    let answer = loading.get_entry("soft").unwrap();
    assert!(answer.is_stale && answer.value == "old" && begin.elapsed() >= soft, "{tiering}");
    wait_until("the load goes on", || {
        // As above.
        open.send(()).unwrap();
        loading.get_entry("soft").unwrap();
        cache.get("soft") == Some(new())
    });
}

fn hard_timeout(world: &World, tiering: Tiering) {
    let hard = Duration::from_millis(50);
    let freshness = Freshness::new().ttl(HOUR).stale_if_error(HOUR).hard_timeout(hard);
    let cache = cache(world, tiering, freshness);
    let is_cancelled = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_cancelled);
    let (loading, _) = loading(&cache, move |context, _| {
        wait_within(20 * SHORT, "it is cancelled", || context.is_cancelled());
        seen.store(true, Ordering::SeqCst);
        // One that takes its time to stop.
        thread::sleep(SHORT);
        Ok(Loaded::new(new()))
    });
    let begin = Instant::now();
    assert_eq!(loading.get("hard").unwrap_err().kind(), ErrorKind::Timeout, "{tiering}");
    assert!(begin.elapsed() >= hard, "{tiering}");
    wait_until("the loader is told", || is_cancelled.load(Ordering::SeqCst));
    assert_eq!(cache.get("hard"), None, "{tiering}: what came too late is kept");
    set(&cache, "hard");
    cache.expire("hard").unwrap();
    let answer = loading.get_entry("hard").unwrap();
    assert!(answer.is_stale && answer.value == "old", "{tiering}: {answer:?}");
}

fn refresh_ahead(world: &World, tiering: Tiering) {
    let life = Duration::from_secs(2);
    let rule = RefreshAhead::After(0.2);
    let cache = cache(world, tiering, Freshness::new().ttl(life).refresh_ahead(rule));
    let (loading, _) = loading(&cache, |_, calls| Ok(Loaded::new(format!("{calls}").into())));
    let begin = Instant::now();
    assert_eq!(loading.get("ahead").unwrap(), "0", "{tiering}");
    wait_until("it is loaded anew", || {
        let answer = loading.get_entry("ahead").unwrap();
        assert!(!answer.is_stale, "{tiering}");
        answer.value != "0"
    });
    let after = begin.elapsed();
    assert!(after > life / 5 - CLOCK_TICK, "{tiering}: after {after:?}");
    // Unless the machine stood still.
    assert!(after < life * 3 / 4, "{tiering}: after {after:?}");
}

fn negative_ttl(world: &World, tiering: Tiering) {
    let life = 2 * SHORT;
    let cache = cache(world, tiering, Freshness::new().ttl(HOUR).negative_ttl(life));
    let (loading, calls) = loading(&cache, |_, _| Ok(Loaded::absent()));
    let begin = Instant::now();
    assert_eq!(loading.get_optional("absent").unwrap().value, None, "{tiering}");
    let again = loading.get_optional("absent").unwrap();
    let loads = calls.load(Ordering::SeqCst);
    assert!(again.value.is_none(), "{tiering}");
    assert!(loads == 1 || begin.elapsed() > life - CLOCK_TICK, "{tiering}: {loads} loads");
    assert_eq!(loading.get("absent").unwrap_err().kind(), ErrorKind::Absent, "{tiering}");
    wait_until("it is asked for again", || {
        loading.get_optional("absent").unwrap();
        calls.load(Ordering::SeqCst) > 1
    });
    assert!(begin.elapsed() > life - CLOCK_TICK, "{tiering}");
    // A value that is set is there at once.
    set(&cache, "absent");
    assert_eq!(loading.get("absent").unwrap(), "old", "{tiering}");
}

fn failure_backoff(world: &World, tiering: Tiering) {
    let freshness = Freshness::new().ttl(HOUR).failure_backoff(HOUR, HOUR);
    let cache = cache(world, tiering, freshness);
    let (loading, calls) = loading(&cache, |_, _| Err(io::Error::other("the origin is down")));
    for _ in 0..5 {
        assert_eq!(loading.get("fails").unwrap_err().kind(), ErrorKind::Loader, "{tiering}");
    }
    assert_eq!(calls.load(Ordering::SeqCst), 1, "{tiering}");
    // A change ends it.
    cache.delete("fails").unwrap();
    assert!(loading.get("fails").is_err(), "{tiering}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "{tiering}");
}

fn max_age(world: &World, tiering: Tiering) {
    let cache = cache(world, tiering, Freshness::new().ttl(HOUR));
    let begin = Instant::now();
    set(&cache, "age");
    let at_most = |age| cache.get_with("age", &ReadOptions::new().max_age(age));
    assert!(at_most(HOUR).is_some(), "{tiering}");
    wait_until("it is too old", || at_most(SHORT).is_none());
    assert!(begin.elapsed() > SHORT - CLOCK_TICK, "{tiering}");
    assert!(at_most(HOUR).is_some() && at_most(Duration::ZERO).is_none(), "{tiering}");
    let anew = LoadOptions::new().max_age(Duration::ZERO);
    let load = |_: &[u8]| io::Result::Ok(new());
    assert_eq!(cache.get_or_load_with("age", &anew, load).unwrap().value, "new", "{tiering}");
    assert!(at_most(HOUR).is_some_and(|answer| answer.value == "new"), "{tiering}");
}

fn allow_stale(world: &World, tiering: Tiering) {
    let cache = cache(world, tiering, Freshness::new().ttl(HOUR).stale_if_error(HOUR));
    set(&cache, "allowed");
    cache.expire("allowed").unwrap();
    assert_eq!(cache.get("allowed"), None, "{tiering}");
    let answer = cache.get_with("allowed", &ReadOptions::new().allow_stale(true)).unwrap();
    assert!(answer.is_stale && answer.value == "old", "{tiering}: {answer:?}");
}

fn validator(world: &World, tiering: Tiering) {
    let cache = cache(world, tiering, Freshness::new().ttl(HOUR).stale_if_error(HOUR));
    let (loading, calls) = loading(&cache, |context, calls| {
        if calls == 0 {
            return Ok(Loaded::new(new()).validator(Bytes::from_static(b"v1")));
        }
        assert_eq!((context.stale(), context.validator()), (Some(&new()), &b"v1"[..]));
        Ok(Loaded::not_modified())
    });
    loading.get("validated").unwrap();
    cache.expire("validated").unwrap();
    assert_eq!(cache.get("validated"), None, "{tiering}");
    let answer = loading.get_entry("validated").unwrap();
    assert!(!answer.is_stale && answer.value == new(), "{tiering}");
    assert_eq!(calls.load(Ordering::SeqCst), 2, "{tiering}");
    assert_eq!(cache.get("validated"), Some(new()), "{tiering}");
}

fn weight(world: &World, tiering: Tiering) {
    if !tiering.has(TierKind::Memory) {
        return;
    }
    let memory = MemoryOptions::new().max_bytes(1 << 20);
    let cache = world.builder(tiering).memory(memory).build().unwrap();
    let (loading, _) = loading(&cache, |context, _| {
        let weight = if context.key() == b"heavy" { 1 << 30 } else { 10 };
        Ok(Loaded::new(new()).weight(weight))
    });
    loading.get("light").unwrap();
    assert_eq!(cache.len(), 1, "{tiering}");
    assert_eq!(loading.get("heavy").unwrap(), new(), "{tiering}");
    assert_eq!(cache.len(), 1, "{tiering}: heavier than all of L1, and kept there");
}

//! What sends by OTLP holds up nobody, ends with its guard or handle, and is no matter of a forked child.
//!
//! In a file of its own: it counts the threads of its process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tierce::{Bytes, Cache, Config, guard::Guard};
use tierce_tests::{
    otlp::{NOTHING, Receiver, metrics, number, operations, point, texts},
    waiting::{PATIENCE, wait_until},
};
use tracing_subscriber::layer::SubscriberExt as _;

/// One test at a time: threads are counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Threads of this process that send.
fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.trim() == "tierce-otlp").count()
}

fn load(cache: &Cache, key: &str) {
    cache.get_or_load(key, |_| std::io::Result::Ok(Bytes::from("1"))).unwrap();
}

#[test]
fn a_slow_receiver_holds_up_nobody_and_the_last_counts_arrive_after_the_guard() {
    let _alone = alone();
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tierce.yaml");
    let otlp = format!("{{endpoint: '{}', period: 100ms, timeout: 2s}}", receiver.place());
    fs::write(
        &path,
        format!("service: slow\nmetrics_enabled: true\nmonitoring: {{otlp: {otlp}}}\n"),
    )
    .unwrap();
    let config = Config::load_with(Some(&path), NOTHING).unwrap();
    let cache: Cache = config.builder().unwrap().build().unwrap();
    receiver.behave("delay=5");
    let watching = Guard::from_config(&cache, &config).unwrap();
    let guard = watching.guard();
    // While each message hangs until it is given up.
    let mut failed = 0;
    while failed == 0 {
        let begun = Instant::now();
        for _ in 0..100 {
            cache.get("a");
        }
        assert!(!guard.metrics_text().unwrap().is_empty());
        failed = guard.otlp().unwrap().failed;
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    assert_eq!(threads(), 1);
    assert!(guard.otlp().unwrap().last_error.unwrap().contains("timeout"));
    receiver.behave("");
    cache.get("a");
    let count = cache.stats().requests;
    let begun = Instant::now();
    drop(watching);
    assert!(begun.elapsed() < Duration::from_secs(1), "who drops it does not wait");
    wait_until("its last message arrives", || {
        receiver.taken().iter().any(|request| operations(request, "get", "slow") == count)
    });
    wait_until("its thread ends", || threads() == 0);
    let messages = receiver.received().len();
    cache.get("a");
    assert_eq!((receiver.received().len(), threads()), (messages, 0));
}

#[test]
fn one_guard_of_several_tells_of_the_process_and_another_when_it_is_gone() {
    let _alone = alone();
    let receiver = Receiver::start();
    let cache = |name| Cache::builder().service(name).build().unwrap();
    let start = |cache: &Cache| Guard::of(cache).otlp(receiver.options()).start().unwrap();
    let (one, two) = (cache("one"), cache("two"));
    let (first, second) = (start(&one), start(&two));
    assert!(first.flush_otlp(PATIENCE) && second.flush_otlp(PATIENCE));
    drop(first);
    wait_until("its thread ends", || threads() == 1);
    assert!(second.flush_otlp(PATIENCE));
    let told = receiver.taken();
    // Dropping the first sent a last message.
    assert_eq!(told.len(), 4);
    let tells = |request| metrics(request).contains_key("process.cpu.time");
    assert_eq!([0, 1, 3].map(|number: usize| tells(&told[number])), [true, false, true]);
    let all = metrics(&told[0]);
    assert_eq!(all["process.cpu.time"]["unit"], "s");
    let cpu = point(all["process.cpu.time"], &[]);
    let ours = point(all["tierce.load.duration"], &[("tierce.cache", "one")]);
    let start = |point: &serde_json::Value| number(&point["startTimeUnixNano"]);
    assert!(start(cpu) < start(ours), "the process was there before its cache");
    assert!(cpu["asDouble"].as_f64().unwrap() > 0.0);
    assert!(number(&point(all["process.memory.usage"], &[])["asInt"]) > 1 << 20);
    assert!(number(&point(all["process.thread.count"], &[])["asInt"]) >= 3);
    drop(second);
    wait_until("the other thread ends", || threads() == 0);
}

#[test]
fn the_thread_ends_though_nobody_answers() {
    let _alone = alone();
    let receiver = Receiver::start();
    let options = receiver.options();
    drop(receiver);
    let cache = Cache::builder().build().unwrap();
    let guard = Guard::of(&cache).otlp(options.clone()).start().unwrap();
    assert!(!guard.flush_otlp(PATIENCE), "nobody is there");
    let (layer, traces) = options.traces().unwrap();
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || load(&cache, "a"));
    assert!(!traces.flush(Duration::from_millis(100)));
    assert_eq!(threads(), 2);
    drop((guard, traces));
    wait_until("both end", || threads() == 0);
}

#[test]
fn a_forked_child_sends_its_own_spans_and_none_of_its_parent() {
    let _alone = alone();
    let receiver = Receiver::start();
    let cache = Cache::builder().build().unwrap();
    let guard = Guard::of(&cache).otlp(receiver.options()).start().unwrap();
    let (layer, traces) = receiver.options().traces().unwrap();
    let _other = tracing::Dispatch::new(tracing_subscriber::registry());
    let subscriber = tracing_subscriber::registry().with(layer);
    let _here = tracing::subscriber::set_default(subscriber);
    load(&cache, "of the parent");
    // SAFETY: the child uses what is made for it and the C library's allocator, which a fork leaves
    // usable, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        load(&cache, "of the child");
        let is_sent = traces.flush(PATIENCE);
        let is_guarded = guard.flush_otlp(PATIENCE);
        drop(guard);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_sent && !is_guarded { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made, with memory for its status.
    let ended = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((ended, status), (child, 0));
    assert!(traces.flush(PATIENCE) && guard.flush_otlp(PATIENCE));
    let mut spans: BTreeMap<String, usize> = BTreeMap::new();
    for request in receiver.taken().iter().filter(|request| request["path"] == "/v1/traces") {
        let all = &request["message"]["resourceSpans"][0];
        let resource = texts(&all["resource"]["attributes"]);
        let count = all["scopeSpans"][0]["spans"].as_array().unwrap().len();
        *spans.entry(resource["service.instance.id"].to_owned()).or_default() += count;
    }
    // Each process has a name of its own, a call and its load.
    assert_eq!(spans.values().collect::<Vec<_>>(), [&2, &2], "{spans:?}");
    drop((guard, traces));
    wait_until("both threads end", || threads() == 0);
}

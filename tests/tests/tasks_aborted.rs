//! Tasks that are aborted anywhere, through all tiers: whoever is dropped leaves nothing behind,
//! and what the server says to one that is gone reaches no other.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{
    BreakerOptions, Bytes, Cache, LoadOptions, MemoryOptions, RedisOptions, StoreOptions, Tiering,
};
use tierce_tests::{
    proxy::{Fault, Line, Proxy, Way},
    redis::Redis,
    seed, store_folder, value,
    waiting::wait_until,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::{sleep, timeout},
};

type Load = io::Result<Bytes>;

/// As many as share a moment, so that answers could be mistaken for those of others.
const KEYS: u64 = 64;

/// Bytes of a value beside what describes it: a few sizes, so that replies differ in length too.
const PAYLOADS: [usize; 3] = [0, 60, 5000];

/// How long a task that nobody aborts may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn runtimes() -> [Runtime; 2] {
    [
        Builder::new_current_thread().enable_time().build().unwrap(),
        Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap(),
    ]
}

fn cache(folder: &Path, options: RedisOptions, tiering: Tiering, allowed: Duration) -> Cache {
    let options = options
        .connect_timeout(PATIENCE)
        .read_timeout(allowed)
        .write_timeout(allowed)
        .coherence(false);
    Cache::builder()
        .tiering(tiering)
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(folder.join("store")).max_bytes(16 << 20))
        .redis(options)
        // The connection is what is looked at: no breaker spares it.
        .breaker(BreakerOptions::new().consecutive_failures(1_000_000).failure_share(1.0))
        .build()
        .unwrap()
}

/// A value of the key, which says so.
fn made(key: u64, version: u64) -> Bytes {
    value::make(key, version, PAYLOADS[version as usize % PAYLOADS.len()])
}

/// Fails on the value of another key.
fn check(key: u64, found: &[u8], seed: u64) {
    value::check(key, found).unwrap_or_else(|wrong| panic!("{wrong}; seed {seed}"));
}

/// Nothing came to who had not asked for it: a record says whose it is, so what L3 read for another
/// key is counted.
fn check_cache(cache: &Cache, seed: u64) {
    let counted = cache.redis_statistics().unwrap();
    assert_eq!(counted.corrupt, 0, "{counted:?}; seed {seed}");
}

/// Asks of one key what a task may ask; how often it was answered with a value is counted.
async fn ask(cache: Cache, key: u64, version: u64, seed: u64, answered: Arc<AtomicUsize>) {
    let name = key.to_le_bytes();
    let found = match version % 8 {
        // A server that is late is an error here; what counts is that it is no other's answer.
        0 => cache.set_async(name, made(key, version)).await.err().and(None),
        1 => cache.delete_async(name).await.err().and(None),
        2 | 3 => {
            let load = |_| async {
                sleep(Duration::from_millis(1)).await;
                Load::Ok(made(key, version))
            };
            let options = LoadOptions::new();
            Some(cache.get_or_load_async(name, &options, load).await.unwrap().value)
        }
        _ => cache.get_async(name).await,
    };
    if let Some(found) = found {
        check(key, &found, seed);
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits for those that nobody aborted: none waits for one that is gone, and none was wrong.
async fn all_end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        timeout(PATIENCE, task).await.expect("it hangs").expect("it was answered rightly");
    }
}

/// Starts 24 tasks, aborts 16 of them at random moments, and waits for the others.
async fn round(
    cache: &Cache,
    random: &mut fastrand::Rng,
    within: Duration,
    seed: u64,
    answered: &Arc<AtomicUsize>,
) {
    let mut start = |_| {
        let (key, version) = (random.u64(..KEYS), random.u64(..1 << 32));
        tokio::spawn(ask(cache.clone(), key, version, seed, Arc::clone(answered)))
    };
    let mut tasks: Vec<_> = (0..24).map(&mut start).collect();
    random.shuffle(&mut tasks);
    for task in tasks.drain(..16) {
        sleep(within.mul_f64(random.f64() / 8.0)).await;
        task.abort();
        if let Err(ended) = task.await {
            assert!(ended.is_cancelled(), "{ended}");
        }
    }
    all_end(tasks).await;
}

#[test]
fn tasks_that_are_aborted_anywhere_leave_the_cache_as_good_as_new() {
    let (redis, folder, seed) = (Redis::start(), store_folder(), seed());
    for tiering in [Tiering::L3, Tiering::L1L2L3] {
        for runtime in runtimes() {
            let options = RedisOptions::new().unix_path(redis.socket());
            let cache = cache(folder.path(), options, tiering, PATIENCE);
            let mut random = fastrand::Rng::with_seed(seed);
            let answered = Arc::new(AtomicUsize::new(0));
            for number in 0..60 {
                let within = Duration::from_millis(6);
                runtime.block_on(round(&cache, &mut random, within, seed, &answered));
                // Nothing is held: the keys can be changed and loaded at once. A set whose task is
                // gone may still be under way.
                let key = random.u64(..KEYS);
                cache.delete(key.to_le_bytes()).unwrap();
                let begin = Instant::now();
                let load = |_: &[u8]| Load::Ok(made(key, number));
                let again = cache.get_or_load(key.to_le_bytes(), load).unwrap();
                check(key, &again, seed);
                assert!(begin.elapsed() < Duration::from_secs(5), "seed {seed}, round {number}");
            }
            check_cache(&cache, seed);
            assert!(answered.load(Ordering::Relaxed) > 100, "{answered:?}");
        }
    }
}

/// Tasks that follow each other, each aborted at a random moment unless it has ended by then.
async fn stream(
    cache: &Cache,
    random: &mut fastrand::Rng,
    span: Duration,
    seed: u64,
    answered: &Arc<AtomicUsize>,
) {
    let start =
        |key, version| tokio::spawn(ask(cache.clone(), key, version, seed, Arc::clone(answered)));
    let mut tasks: Vec<_> = (0..16).map(|task| start(task, 4)).collect();
    let begin = Instant::now();
    while begin.elapsed() < span {
        sleep(Duration::from_micros(random.u64(..1000))).await;
        let next = start(random.u64(..KEYS), random.u64(..1 << 32));
        let task = std::mem::replace(random.choice(&mut tasks).unwrap(), next);
        task.abort();
        if let Err(ended) = task.await {
            assert!(ended.is_cancelled(), "{ended}");
        }
    }
    all_end(tasks).await;
}

/// The server answers some milliseconds late, and again and again later than who asked may wait:
/// tasks are aborted, and callers give up, while their answers are on the way.
#[test]
fn an_answer_to_a_task_that_is_gone_reaches_no_other() {
    const ALLOWED: Duration = Duration::from_millis(50);
    let (redis, folder, seed) = (Redis::start(), store_folder(), seed());
    let late = Fault::Delay(Duration::from_millis(2));
    let own = RedisOptions::new().unix_path(redis.socket());
    let direct = cache(store_folder().path(), own, Tiering::L3, PATIENCE);
    for runtime in runtimes() {
        (0..KEYS).for_each(|key| direct.set(key.to_le_bytes(), made(key, 0)).unwrap());
        let proxy = Proxy::to(redis.socket());
        let options = RedisOptions::new().host("127.0.0.1").port(proxy.port());
        let cache = cache(folder.path(), options, Tiering::L3, ALLOWED);
        wait_until("a connection", || cache.get(0_u64.to_le_bytes()).is_some());
        proxy.set(Line::Calls, Way::Down, late);
        let mut random = fastrand::Rng::with_seed(seed);
        let (answered, ends) = (Arc::new(AtomicUsize::new(0)), AtomicBool::new(false));
        thread::scope(|scope| {
            let mut moments = random.fork();
            let (proxy, ends) = (&proxy, &ends);
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    thread::sleep(ALLOWED);
                    proxy.set(Line::Calls, Way::Down, Fault::Hold);
                    // Until some have given up, and others wait still.
                    thread::sleep(ALLOWED + ALLOWED.mul_f64(moments.f64() / 2.0));
                    proxy.set(Line::Calls, Way::Down, late);
                }
            });
            let span = Duration::from_secs(4);
            runtime.block_on(stream(&cache, &mut random, span, seed, &answered));
            ends.store(true, Ordering::Relaxed);
        });
        check_cache(&cache, seed);
        let counted = cache.redis_statistics().unwrap();
        println!("{answered:?} answered, {} late", counted.timeouts);
        assert!(answered.load(Ordering::Relaxed) > 100 && counted.timeouts > 5, "{counted:?}");
    }
    // Nor was anything written under the name of another.
    (0..KEYS).for_each(|key| {
        _ = direct.get(key.to_le_bytes()).inspect(|found| check(key, found, seed));
    });
    check_cache(&direct, seed);
}

//! How long does a hit of L1 take, beside moka and quick_cache?
//!
//! Load: only resident keys (80 % of the capacity), inserted in random order, asked for uniformly
//! or by Zipf's law; keys lie in memory in the order in which they are asked for, so that what is
//! measured is the cache. All rivals hash by foldhash. With two threads the figure is the time of
//! an operation as each of them sees it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::{
    hash::Hash,
    hint::black_box,
    process::ExitCode,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tierce_benches::{
    Effort,
    load::{Skew, draws, shuffled, text_key},
    report::{Case, Report},
    rounds::{Contestant, compete, median},
};

const SEED: u64 = 7;
const QUESTION: &str = "Nanoseconds per hit of L1. tierce: exact LRU, default shards; \
    moka: sync, default policy; quick_cache: sync, default options; all with foldhash; the value \
    is cloned out, except in `tierce get_with`, which reads it in place. A run's figure is the \
    median of its batches of 1,024 gets, so that time slices of other processes do not count; \
    on a busy machine two threads meet less often than on a quiet one, and their columns are \
    too low.";

/// Operations between two looks at the clock: short beside a time slice of the scheduler, long
/// beside the look.
const BATCH: usize = 1_024;

/// A cache under test.
trait Rival<K, V>: Sync {
    fn put(&self, key: K, value: V);
    /// True on a hit; the value is cloned.
    fn hit(&self, key: &K) -> bool;
}

struct InPlace<'a, K, V>(&'a tierce::MemoryCache<K, V>);

impl<K: Hash + Eq + Send, V: Clone + Send> Rival<K, V> for tierce::MemoryCache<K, V> {
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
    #[inline]
    fn hit(&self, key: &K) -> bool {
        black_box(self.get(key)).is_some()
    }
}

impl<K: Hash + Eq + Send, V: Send> Rival<K, V> for InPlace<'_, K, V> {
    fn put(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
    #[inline]
    fn hit(&self, key: &K) -> bool {
        self.0.get_with(key, |value| black_box(std::ptr::from_ref(value))).is_some()
    }
}

type Moka<K, V> = moka::sync::Cache<K, V, RandomState>;

impl<K, V> Rival<K, V> for Moka<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
    #[inline]
    fn hit(&self, key: &K) -> bool {
        black_box(self.get(key)).is_some()
    }
}

type Quick<K, V> = quick_cache::sync::Cache<K, V, quick_cache::UnitWeighter, RandomState>;

impl<K: Hash + Eq + Clone + Send + Sync, V: Clone + Send + Sync> Rival<K, V> for Quick<K, V> {
    fn put(&self, key: K, value: V) {
        self.insert(key, value);
    }
    #[inline]
    fn hit(&self, key: &K) -> bool {
        black_box(self.get(key)).is_some()
    }
}

/// Nanoseconds per operation in the middle batch of the slower thread; misses are added to `misses`.
fn run<K: Sync, V>(rival: &impl Rival<K, V>, streams: &[Vec<K>], misses: &AtomicU64) -> f64 {
    let start = Barrier::new(streams.len());
    let worker = |stream: &[K]| {
        start.wait();
        let mut batches = Vec::with_capacity(stream.len() / BATCH + 1);
        for batch in stream.chunks(BATCH) {
            let begin = Instant::now();
            let hits = batch.iter().filter(|key| rival.hit(key)).count();
            batches.push(begin.elapsed().as_nanos() as f64 / batch.len() as f64);
            misses.fetch_add((batch.len() - hits) as u64, Ordering::Relaxed);
        }
        median(&mut batches)
    };
    thread::scope(|scope| {
        let worker = &worker;
        let others: Vec<_> =
            streams[1..].iter().map(|stream| scope.spawn(move || worker(stream))).collect();
        let mut slowest = worker(&streams[0]);
        for other in others {
            slowest = slowest.max(other.join().expect("a worker does not panic"));
        }
        slowest
    })
}

fn cases<K, V>(
    what: &str,
    capacity: usize,
    effort: Effort,
    key: impl Fn(u32) -> K,
    value: impl Fn(u32) -> V,
) -> Vec<Case>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let resident = capacity * 8 / 10;
    let options = tierce::MemoryOptions::new().max_entries(capacity as u64);
    let ours = tierce::MemoryCache::<K, V>::new(options).expect("the options are right");
    let moka: Moka<K, V> = moka::sync::Cache::builder()
        .max_capacity(capacity as u64)
        .initial_capacity(capacity)
        .build_with_hasher(RandomState::default());
    let quick: Quick<K, V> = quick_cache::sync::Cache::with(
        capacity,
        capacity as u64,
        quick_cache::UnitWeighter,
        RandomState::default(),
        quick_cache::sync::DefaultLifecycle::default(),
    );
    for number in shuffled(resident, SEED) {
        ours.put(key(number), value(number));
        moka.put(key(number), value(number));
        quick.put(key(number), value(number));
    }
    moka.run_pending_tasks();
    let in_place = InPlace(&ours);

    let mut cases = Vec::new();
    for skew in [Skew::Zipf, Skew::Uniform] {
        for threads in [1, 2] {
            let streams: Vec<Vec<K>> = (0..threads)
                .map(|thread| {
                    let seed = SEED + 1 + thread as u64;
                    draws(skew, resident, effort.operations, seed).into_iter().map(&key).collect()
                })
                .collect();
            let misses = AtomicU64::new(0);
            let mut contestants = [
                Contestant::new("tierce", || run(&ours, &streams, &misses)),
                Contestant::new("tierce get_with", || run(&in_place, &streams, &misses)),
                Contestant::new("moka", || run(&moka, &streams, &misses)),
                Contestant::new("quick_cache", || run(&quick, &streams, &misses)),
            ];
            let timings = compete(&mut contestants, effort.rounds);
            drop(contestants);
            let missed = misses.load(Ordering::Relaxed);
            assert_eq!(missed, 0, "all keys are resident, yet {missed} reads missed");
            let name = format!(
                "get/{what}/{}/{}k-entries/{threads}-threads/seed-{SEED}",
                skew.name(),
                capacity / 1_000
            );
            eprintln!("{name}");
            cases.push(Case { name, timings });
        }
    }
    cases
}

fn main() -> ExitCode {
    let effort = match Effort::from_arguments(7, 1 << 18) {
        Ok(effort) => effort,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut report =
        Report { name: "l1-hit", question: QUESTION, unit: "ns per get", cases: vec![] };
    for capacity in if effort.quick { [1_000, 10_000] } else { [10_000, 1_000_000] } {
        let number = |number: u32| u64::from(number);
        report.cases.extend(cases("u64-u64", capacity, effort, number, number));
        let bytes = |number: u32| Bytes::from(vec![number as u8; 256]);
        report.cases.extend(cases("text32-bytes256", capacity, effort, text_key, bytes));
    }
    print!("{}", report.markdown());
    if !effort.quick
        && let Err(error) = report.write()
    {
        eprintln!("results could not be written: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

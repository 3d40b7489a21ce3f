//! A hundred keys at once, in a cache of a million entries, one thread.

use std::{fmt::Write as _, hint::black_box, time::Instant};

use fastrand::Rng;
use serde_json::{Value, json};
use tierce::MemoryCache;
use tierce_benches::{
    arguments::Arguments,
    load::{Lottery, Skew, shuffled},
    results::digits,
    rounds::{median, turns},
};

use super::{
    arguments::many_entries,
    cells::{SEED, resident},
    data::{Data, Numbers, Texts},
    rivals::{Rival, quick, tierce_full},
};

/// Keys of one call.
const KEYS: usize = 100;

/// Calls between two looks at the clock.
const CALLS_PER_BATCH: usize = 5;

/// Calls of one run.
const CALLS: usize = 1_000;

/// The names of the two ways that are compared.
pub(super) const GETS: &str = "tierce, 100 gets";
pub(super) const GET_MANY: &str = "tierce, get_many";

/// A way to read many keys.
trait Many<D: Data> {
    /// Reads all, clones their values and returns the number of hits.
    fn hits(&self, keys: &[&D::Key]) -> usize;
}

/// One get after the other.
struct Gets<'a, R>(&'a R);

impl<D: Data, R: Rival<D>> Many<D> for Gets<'_, R> {
    fn hits(&self, keys: &[&D::Key]) -> usize {
        keys.iter().filter(|key| self.0.hit(key)).count()
    }
}

/// What one way took, in nanoseconds per key.
pub(super) struct Row {
    pub(super) data: &'static str,
    pub(super) skew: &'static str,
    pub(super) way: &'static str,
    pub(super) median: f64,
    min: f64,
    max: f64,
}

pub(super) fn measure(arguments: &Arguments) -> Vec<Row> {
    let mut rows = measure_of::<Numbers>(arguments);
    rows.extend(measure_of::<Texts>(arguments));
    rows
}

struct Batched<'a, K, V>(&'a MemoryCache<K, V>);

impl<D: Data> Many<D> for Batched<'_, D::Key, D::Value> {
    fn hits(&self, keys: &[&D::Key]) -> usize {
        black_box(self.0.get_many(keys)).iter().flatten().count()
    }
}

struct BatchedInPlace<'a, K, V>(&'a MemoryCache<K, V>);

impl<D: Data> Many<D> for BatchedInPlace<'_, D::Key, D::Value> {
    fn hits(&self, keys: &[&D::Key]) -> usize {
        let mut hits = 0;
        self.0.get_many_with(keys, |_, value| {
            black_box(value);
            hits += 1;
        });
        hits
    }
}

fn measure_of<D: Data>(arguments: &Arguments) -> Vec<Row> {
    if !arguments.wants(&format!("get-many/{}/1M/1t", D::NAME)) {
        return vec![];
    }
    eprintln!("get-many/{}", D::NAME);
    let entries = many_entries(arguments);
    let ours: MemoryCache<D::Key, D::Value> = tierce_full::<D>(entries);
    let quick = quick::<D, _>(entries, 1, quick_cache::UnitWeighter);
    for number in shuffled(resident(entries), SEED) {
        let key = D::key(number);
        let value = D::value(&key);
        ours.insert(key.clone(), value.clone());
        quick.insert(key, value);
    }
    let ways: [(&'static str, &dyn Many<D>); _] = [
        (GETS, &Gets(&ours)),
        (GET_MANY, &Batched(&ours)),
        ("tierce, get_many_with", &BatchedInPlace(&ours)),
        ("quick_cache, 100 gets", &Gets(&quick)),
    ];

    let mut rows = vec![];
    for skew in [Skew::Uniform, Skew::Zipf] {
        let lottery = Lottery::new(skew, resident(entries));
        let mut random = Rng::with_seed(SEED);
        let mut values = vec![vec![]; ways.len()];
        for round in 0..=arguments.rounds {
            // Other keys in each round and for each way, so that none finds them in the
            // processor's caches.
            for (_, way) in turns(ways.len(), 1) {
                let keys: Vec<D::Key> =
                    (0..CALLS * KEYS).map(|_| D::key(lottery.draw(&mut random))).collect();
                let borrowed: Vec<&D::Key> = keys.iter().collect();
                let nanoseconds = nanoseconds_per_key(ways[way].1, &borrowed);
                if round > 0 {
                    values[way].push(nanoseconds);
                }
            }
        }
        for ((way, _), mut values) in ways.iter().zip(values) {
            let median = median(&mut values);
            let (min, max) = (values[0], values[values.len() - 1]);
            rows.push(Row { data: D::NAME, skew: skew.name(), way, median, min, max });
        }
    }
    rows
}

fn nanoseconds_per_key<D: Data>(way: &dyn Many<D>, keys: &[&D::Key]) -> f64 {
    let mut batches = vec![];
    for batch in keys.chunks(KEYS * CALLS_PER_BATCH) {
        let begin = Instant::now();
        let hits: usize = batch.chunks(KEYS).map(|keys| black_box(way.hits(keys))).sum();
        batches.push(begin.elapsed().as_nanos() as f64 / batch.len() as f64);
        assert_eq!(hits, batch.len(), "all keys are resident");
    }
    median(&mut batches)
}

pub(super) fn markdown(rows: &[Row], size: &str) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n## {KEYS} keys at once, {size} entries, one thread\n\n\
         ns per key (min..max; times 100 gets of ours)\n\n| | | time |\n|---|---|---|"
    );
    for group in rows.chunk_by(|a, b| (a.data, a.skew) == (b.data, b.skew)) {
        for row in group {
            let Row { data, skew, way, median, min, max } = row;
            let ratio = median / group[0].median;
            let [median, min, max] = [*median, *min, *max].map(digits);
            let _ =
                writeln!(text, "| {data}, {skew} | {way} | {median} ({min}..{max}; {ratio:.2}) |");
        }
    }
    text
}

pub(super) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let Row { data, skew, way, median, min, max } = row;
        json!({ "data": data, "skew": skew, "way": way, "median": median, "min": min, "max": max })
    };
    rows.iter().map(row).collect()
}

//! Keys that are chosen to collide. What they cost is counted in the buckets and slots that calls
//! look at, and compared with what random keys cost.

use std::{
    env,
    hash::{BuildHasher, Hash, Hasher},
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::{
    RandomState,
    memory::{
        hasher::tests::{hash_of, pair},
        work::looks_of,
    },
};

/// How many keys are put in: `make flood` has a million.
fn keys() -> u64 {
    env::var("TIERCE_FLOOD_KEYS").map_or(5_000, |count| count.parse().unwrap())
}

/// What random keys do not come to: the chance of a run of buckets falls by e^0.87 with each. An
/// insert may move four homes, each with all that lies in its run. A flood comes to 89,000.
const MOST_BY_INSERT: u64 = 2_000;

/// The same for reads. A flood comes to 850.
const MOST_BY_READ: u64 = 64;

/// Looks of inserts and of reads: how many each makes on average, and the most that one makes.
#[derive(Debug)]
struct Work {
    insert: f64,
    most_by_insert: u64,
    read: f64,
    most_by_read: u64,
}

impl Work {
    /// What a cache does that has room for all of them.
    fn of<K: Hash + Eq>(hasher: RandomState, count: u64, key: impl Fn(u64) -> K) -> Self {
        let options = MemoryOptions::new().max_entries(4 * count);
        let cache = MemoryCache::builder(options).hasher(hasher).build().unwrap();
        let sum = |call: &dyn Fn(u64)| {
            (0..count).fold((0, 0), |(sum, most), number| {
                let ((), looks) = looks_of(|| call(number));
                (sum + looks, looks.max(most))
            })
        };
        let inserts = sum(&|number| _ = cache.insert(key(number), number));
        let reads = sum(&|number| {
            let found = cache.get(&key(number));
            assert!(found.is_none_or(|found| found == number), "{found:?} for {number}");
        });
        cache.validate();
        assert_eq!(cache.len() as u64 + cache.statistics().size, count);
        let mean = |sum: u64| sum as f64 / count as f64;
        Self {
            insert: mean(inserts.0),
            most_by_insert: inserts.1,
            read: mean(reads.0),
            most_by_read: reads.1,
        }
    }

    fn of_random(count: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(0x000F_100D);
        let numbers: Vec<u64> = (0..count).map(|_| random.u64(..)).collect();
        Self::of(RandomState::default(), count, |number| numbers[number as usize])
    }

    /// Asserts that keys cost what random ones cost.
    fn assert_like(&self, pattern: &str, random: &Self) {
        println!("{pattern}: {self:?}");
        // Which tables have just grown is chance: with few keys that is some percent.
        let is_like = self.insert < 1.25 * random.insert && self.read < 1.1 * random.read;
        let is_short = self.most_by_insert < MOST_BY_INSERT && self.most_by_read < MOST_BY_READ;
        assert!(is_like && is_short, "{pattern}: {self:?}, of random {random:?}");
    }
}

/// Asserts that keys, made to collide where the seed is known, cost more there, and that in a
/// cache with a seed of its own they cost what random ones cost.
fn assert_stemmed<K: Hash + Eq>(
    flood: &str,
    known: &RandomState,
    key: impl Fn(u64) -> K,
    (count, times): (u64, f64),
) {
    let random = Work::of_random(count);
    let aimed = Work::of(known.clone(), count, &key);
    assert!(
        aimed.read > times * random.read,
        "{flood}: {aimed:?}, of random {random:?}: so these keys are no flood"
    );
    Work::of(RandomState::default(), count, &key).assert_like(flood, &random);
}

#[test]
fn keys_that_a_hash_without_seed_would_have_collide_cost_what_random_ones_cost() {
    /// A string of which one byte is its own.
    #[derive(PartialEq, Eq)]
    struct OneByte {
        len: usize,
        at: usize,
        byte: u8,
    }
    impl Hash for OneByte {
        fn hash<H: Hasher>(&self, state: &mut H) {
            let mut text = vec![b'a'; self.len];
            text[self.at] = self.byte;
            text.hash(state);
        }
    }

    let count = keys();
    let random = Work::of_random(count);
    println!("random: {random:?}");
    let of_numbers = |pattern: &str, number: &dyn Fn(u64) -> u64| {
        Work::of(RandomState::default(), count, number).assert_like(pattern, &random);
    };
    of_numbers("sequential", &|number| number);
    of_numbers("pointers", &|number| 0x7f3a_1c00_0010 + number * 16);
    for power in [8, 16, 32, 44] {
        of_numbers(&format!("multiples of 2^{power}"), &|number| number << power);
    }
    let len = count.div_ceil(255) as usize;
    let one_byte = |number: u64| {
        let (at, byte) = ((number / 255) as usize, (number % 255) as u8);
        OneByte { len, at, byte: byte + u8::from(byte >= b'a') }
    };
    let of_strings = Work::of(RandomState::default(), count, one_byte);
    of_strings.assert_like("strings that differ in one byte", &random);
}

#[test]
fn keys_that_collide_under_another_seed_cost_what_random_ones_cost() {
    let (count, known) = (keys(), RandomState::default());
    // All have one hash. Where the seed is known the cache keeps what finds room within reach.
    assert_stemmed("pairs", &known, |number| pair(&known, number), (count, 20.0));
    let found_by_trying = |is_aimed: &dyn Fn(u64) -> bool, count: u64| -> Vec<u64> {
        (0..).filter(|number| is_aimed(hash_of(&known, *number))).take(count as usize).collect()
    };
    let of_one_part = found_by_trying(&|hash| hash as u32 >> 26 == 33, count);
    let key = |number: u64| of_one_part[number as usize];
    assert_stemmed("of one 64th of the buckets", &known, key, (count, 5.0));
    let of_one_tag = found_by_trying(&|hash| hash as u8 == 7, count / 4);
    let key = |number: u64| of_one_tag[number as usize];
    assert_stemmed("of one tag", &known, key, (count / 4, 2.0));
}

/// Gives one hash to all keys.
#[derive(Clone, Copy)]
struct Constant(u64);

impl BuildHasher for Constant {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Constant {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
}

/// What one hash can name: its home bucket and the 64 after it, of twelve slots each.
const RUN: u64 = 65 * 12;

/// The same where that is the last home of a small table: four more buckets follow.
const LEAST_RUN: u64 = 5 * 12;

#[test]
fn keys_of_one_hash_cost_a_run_of_buckets_each_and_none_is_lost_unheard() {
    const KEYS: u64 = 10_000;
    for policy in [PolicyKind::Adaptive, PolicyKind::Lru] {
        for hash in [0, u64::MAX / 5] {
            let told = std::sync::Arc::new(AtomicU64::new(0));
            let theirs = std::sync::Arc::clone(&told);
            let options = MemoryOptions::new().max_entries(4 * KEYS).shards(1).policy(policy);
            let cache = MemoryCache::<u64, u64>::builder(options)
                .hasher(Constant(hash))
                .listener(move |_, _, _| _ = theirs.fetch_add(1, Ordering::Relaxed))
                .build()
                .unwrap();
            let (mut sum, mut most) = (0, 0);
            for key in 0..KEYS {
                let (inserted, looks) = looks_of(|| cache.insert(key, key + 1));
                assert_eq!(inserted, Inserted::Stored);
                assert_eq!(cache.get(&key), Some(key + 1), "it was put in just now");
                (sum, most) = (sum + looks, most.max(looks));
            }
            let kept = cache.len() as u64;
            println!("{policy}, {hash}: {kept} kept, {sum} looks, {most} by one insert");
            assert!((LEAST_RUN..=RUN).contains(&kept), "{kept}");
            assert!(sum / KEYS < 4 * RUN, "{} looks by an insert", sum / KEYS);
            // One that moves all to another table looks for room for each of them.
            assert!(most < RUN * 200, "{most}");
            assert_eq!(kept + told.load(Ordering::Relaxed), KEYS);
            let mut found = 0;
            for key in 0..KEYS {
                let (value, looks) = looks_of(|| cache.get(&key));
                assert!(value.is_none_or(|value| value == key + 1), "{key}: {value:?}");
                // Two tables, while one grows.
                assert!(looks < 3 * RUN, "{looks} by a read");
                found += u64::from(value.is_some());
            }
            assert_eq!(found, kept);
            cache.validate();
            for key in 0..KEYS {
                let (_, looks) = looks_of(|| cache.invalidate(&key));
                assert!(looks < 4 * RUN, "{looks} by a removal");
            }
            assert!(cache.is_empty());
            cache.validate();
        }
    }
}

//! The quality of [`RandomState`], judged by what the index does with a hash. All seeds are fixed.

use std::hash::Hash;

use super::*;

/// 64 shards of 32 buckets that hold eight entries each on average.
const SHARD_BITS: u32 = 6;
const BUCKETS: u64 = 32;
const CELLS: usize = (BUCKETS << SHARD_BITS) as usize;
const KEYS: u64 = 8 * CELLS as u64;

/// Many enough to meet secrets that are bad for a single multiplication: about every tenth is bad
/// for some of the patterns below.
const SEEDS: u64 = 32;

/// A state whose seed and secrets are known.
fn seeded(seed: u64) -> RandomState {
    let mut random = fastrand::Rng::with_seed(seed);
    let secrets = Box::leak(Box::new(SharedSeed::from_u64(random.u64(..))));
    RandomState { seed: random.u64(..), secrets }
}

/// A pair that has one and the same hash as every other, for who knows the seed: the first factor of
/// the product becomes zero.
pub(in super::super) fn pair(known: &RandomState, number: u64) -> (u64, u64) {
    (known.seed, number)
}

/// The hash as the cache uses it.
pub(in super::super) fn hash_of(state: &RandomState, key: impl Hash) -> u64 {
    fold(state.hash_one(key))
}

fn cell(hash: u64) -> usize {
    let (shard, bucket) = (hash >> (64 - SHARD_BITS), ((hash & 0xffff_ffff) * BUCKETS) >> 32);
    (shard * BUCKETS + bucket) as usize
}

/// How far chi-square lies above what a random function gives, in standard deviations.
fn excess(counts: &[u32]) -> f64 {
    let cells = counts.len() as f64;
    let mean = counts.iter().map(|count| f64::from(*count)).sum::<f64>() / cells;
    let square = |count: &u32| (f64::from(*count) - mean).powi(2) / mean;
    (counts.iter().map(square).sum::<f64>() - (cells - 1.0)) / (2.0 * (cells - 1.0)).sqrt()
}

/// Asserts that these keys fall into shards, buckets and tags as evenly as random ones would.
fn assert_spread(pattern: &str, seed: u64, hashes: impl Iterator<Item = u64>) {
    let (mut shards, mut cells) = ([0; 1 << SHARD_BITS], [0; CELLS]);
    let mut tagged = vec![0_u16; CELLS * 256];
    let (mut keys, mut same) = (0_u32, 0_u32);
    for hash in hashes {
        shards[(hash >> (64 - SHARD_BITS)) as usize] += 1;
        cells[cell(hash)] += 1;
        let alike = &mut tagged[cell(hash) * 256 + usize::from(hash as u8)];
        same += u32::from(*alike);
        *alike += 1;
        keys += 1;
    }
    // Chance goes past 5 once in some 100,000 trials at these sizes; one multiplication past 50.
    assert!(excess(&shards) < 7.0, "{pattern}, seed {seed}: shards {:.1}", excess(&shards));
    assert!(excess(&cells) < 7.0, "{pattern}, seed {seed}: buckets {:.1}", excess(&cells));
    let expected = f64::from(keys).powi(2) / 2.0 / (CELLS * 256) as f64;
    let ratio = f64::from(same) / expected;
    assert!(ratio < 1.4, "{pattern}, seed {seed}: {ratio:.2} times the equal tags of chance");
}

fn assert_all_spread<K: Hash>(pattern: &str, key: impl Fn(u64) -> K) {
    let keys: Vec<K> = (0..KEYS).map(key).collect();
    for seed in 0..SEEDS {
        let state = seeded(seed);
        assert_spread(pattern, seed, keys.iter().map(|key| hash_of(&state, key)));
    }
}

#[test]
fn regular_numbers_fill_shards_buckets_and_tags_like_random_ones() {
    assert_all_spread("sequential", |i| i);
    for shift in [4, 12, 24, 44] {
        assert_all_spread(&format!("i << {shift}"), |i| i << shift);
    }
    for size in [16, 64, 4_096] {
        assert_all_spread(&format!("pointers, {size} apart"), |i| 0x7f3a_1c00_0010 + i * size);
    }
    assert_all_spread("floats", |i| (i as f64).to_bits());
    assert_all_spread("two small halves", |i| (i >> 7) << 32 | (i & 0x7f));
    assert_all_spread("a grid", |i| (i >> 7, i & 0x7f));
}

#[test]
fn regular_strings_fill_shards_buckets_and_tags_like_random_ones() {
    assert_all_spread("user:i", |i| format!("user:{i}"));
    assert_all_spread("32 digits", |i| format!("{i:032}"));
    assert_all_spread("8 bytes", |i| Box::<[u8]>::from(i.to_be_bytes()));
    assert_all_spread("2 of 40 bytes", |i| {
        let mut bytes = [0; 40];
        (bytes[5], bytes[29]) = ((i >> 7) as u8, (i & 0x7f) as u8);
        bytes
    });
}

#[test]
fn keys_with_few_bits_fill_shards_buckets_and_tags_like_random_ones() {
    let bits = |mut i: u64| {
        let mut key = 0_u64;
        while i > 0 {
            key |= 1 << (i % 64);
            i /= 64;
        }
        key
    };
    let mut keys: Vec<u64> = (0..64 * 64 * 64).map(bits).collect();
    keys.sort_unstable();
    keys.dedup();
    for seed in 0..SEEDS / 4 {
        let state = seeded(seed);
        assert_spread("up to 3 bits", seed, keys.iter().map(|key| hash_of(&state, key)));
        assert_spread("all but 3 bits", seed, keys.iter().map(|key| hash_of(&state, !key)));
    }
}

#[test]
fn each_bit_of_a_key_changes_each_bit_of_its_hash_every_second_time() {
    const TRIALS: u32 = 2_048;
    for seed in 0..4 {
        let state = seeded(seed);
        for input in 0..64 {
            let mut changes = [0_u32; 64];
            for key in 0..u64::from(TRIALS) {
                let difference = hash_of(&state, key) ^ hash_of(&state, key ^ 1 << input);
                for (output, changes) in changes.iter_mut().enumerate() {
                    *changes += (difference >> output & 1) as u32;
                }
            }
            for (output, changes) in changes.iter().enumerate() {
                let share = f64::from(*changes) / f64::from(TRIALS);
                // Six standard deviations are 0.066.
                let bits = format!("seed {seed}: bit {input} of the key changes bit {output}");
                assert!((share - 0.5).abs() < 0.075, "{bits} with probability {share:.3}");
            }
        }
    }
}

/// What keys cost a cache that holds them all: entries met in the bucket of a key, on average
/// over the keys, as a multiple of what random keys would meet.
fn crowding<K: Hash>(state: &RandomState, keys: &[K]) -> f64 {
    let mut cells = [0_u32; CELLS];
    keys.iter().for_each(|key| cells[cell(hash_of(state, key))] += 1);
    let met = cells.iter().map(|count| f64::from(*count).powi(2)).sum::<f64>() / keys.len() as f64;
    met / (1.0 + keys.len() as f64 / CELLS as f64)
}

/// Asserts that `keys`, made to crowd a cache with the seed 0, crowd no other.
fn assert_flood_is_stemmed<K: Hash>(flood: &str, keys: &[K], at_least: f64) {
    let known = seeded(0);
    let crowded = crowding(&known, keys);
    assert!(crowded >= at_least, "{flood}: {crowded:.1}, so these keys are no flood");
    for seed in 1..SEEDS {
        // Also for a cache of the same process, which has the same secrets.
        for secrets in [known.secrets, seeded(seed).secrets] {
            let state = RandomState { seed: seeded(seed).seed, secrets };
            let crowded = crowding(&state, keys);
            assert!(crowded < 1.1, "{flood}: {crowded:.2} times random keys with seed {seed}");
        }
    }
}

#[test]
fn keys_made_to_collide_under_one_seed_are_spread_by_every_other() {
    let pairs: Vec<_> = (0..KEYS).map(|i| pair(&seeded(0), i)).collect();
    assert_flood_is_stemmed("pairs", &pairs, 1_000.0);
    let half = seeded(0).seed.rotate_right(16).to_ne_bytes();
    let strings: Vec<_> = (0..KEYS).map(|i| [half, i.to_ne_bytes()].concat()).collect();
    assert_flood_is_stemmed("strings", &strings, 1_000.0);
    // Found by trying.
    let known = seeded(0);
    let aimed = |key: &u64| cell(hash_of(&known, key)) / 4 == 77;
    let numbers: Vec<_> = (0..).filter(aimed).take(4_096).collect();
    assert_flood_is_stemmed("numbers", &numbers, 100.0);
}

#[test]
fn each_state_has_a_seed_of_its_own_and_a_clone_the_same() {
    let (one, two) = (RandomState::default(), RandomState::default());
    assert_eq!(one.clone().hash_one("key"), one.hash_one("key"));
    assert_ne!(one.hash_one("key"), two.hash_one("key"));
    let elsewhere = std::thread::spawn(RandomState::default).join().unwrap();
    assert!(std::ptr::eq(elsewhere.secrets, one.secrets));
    assert_ne!(elsewhere.seed, one.seed);
    assert_eq!(format!("{one:?} {:?}", one.build_hasher()), "RandomState { .. } KeyHasher { .. }");
}

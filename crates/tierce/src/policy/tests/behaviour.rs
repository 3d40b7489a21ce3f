//! What the policies are good at, in small.

use std::collections::VecDeque;

use super::{PolicyKind, Shard};

const SEED: u64 = 0x5EED_0003;

/// Hits in percent of all accesses.
fn hit_ratio(shard: &mut Shard, keys: impl IntoIterator<Item = u64>) -> f64 {
    let (mut hits, mut all) = (0_u32, 0_u32);
    for key in keys {
        hits += u32::from(shard.access(key));
        all += 1;
    }
    100.0 * f64::from(hits) / f64::from(all)
}

fn adaptive(entries: usize) -> Shard {
    Shard::new(PolicyKind::Adaptive, entries, u64::MAX)
}

/// Keys with a few frequent ones: the product of two uniform numbers.
fn skewed(seed: u64, keys: u64, count: usize) -> impl Iterator<Item = u64> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(move |_| (keys as f64 * random.f64().powi(4)) as u64)
}

#[test]
fn lru_is_exact() {
    let mut shard = Shard::new(PolicyKind::Lru, 20, u64::MAX);
    let mut order = VecDeque::new();
    let mut random = fastrand::Rng::with_seed(SEED);
    for _ in 0..3000 {
        let key = random.u64(0..40);
        let hit = shard.access(key);
        assert_eq!(hit, order.contains(&key), "seed {SEED}");
        order.retain(|other| *other != key);
        order.push_back(key);
        if order.len() > 20 {
            order.pop_front();
        }
    }
}

#[test]
fn a_part_of_a_loop_larger_than_the_cache_is_kept() {
    for (entries, length) in [(50, 1000), (100, 1000), (500, 1000), (900, 1000)] {
        let mut shard = adaptive(entries);
        hit_ratio(&mut shard, (0..5).flat_map(|_| 0..length));
        let ratio = hit_ratio(&mut shard, (0..20).flat_map(|_| 0..length));
        let best = 100.0 * entries as f64 / length as f64;
        assert!(ratio > 0.85 * best - 0.1, "{entries} of {length}: {ratio} of {best}");
    }
}

#[test]
fn a_scan_passes_through_without_harm() {
    let mut shard = adaptive(500);
    hit_ratio(&mut shard, skewed(SEED, 5000, 50_000));
    let before = hit_ratio(&mut shard, skewed(SEED + 1, 5000, 5000));
    hit_ratio(&mut shard, 10_000..20_000);
    let after = hit_ratio(&mut shard, skewed(SEED + 2, 5000, 1000));
    assert!(after > before - 5.0, "{before} before the scan, {after} after it");
}

#[test]
fn new_favourites_replace_the_old_ones() {
    let mut shard = adaptive(500);
    let old = hit_ratio(&mut shard, skewed(SEED, 5000, 50_000));
    hit_ratio(&mut shard, skewed(SEED, 5000, 10_000).map(|key| key + 1_000_000));
    let new = hit_ratio(&mut shard, skewed(SEED, 5000, 20_000).map(|key| key + 1_000_000));
    assert!(new > old - 1.0, "{old} with the old keys, {new} with the new ones");
}

#[test]
fn frequent_keys_are_kept_better_than_by_lru() {
    let mut shard = adaptive(250);
    let ratio = hit_ratio(&mut shard, skewed(SEED, 5000, 100_000));
    let mut lru = Shard::new(PolicyKind::Lru, 250, u64::MAX);
    let of_lru = hit_ratio(&mut lru, skewed(SEED, 5000, 100_000));
    assert!(ratio > of_lru + 3.0, "{ratio} against {of_lru} of LRU");
}

#[test]
fn where_popularity_stays_keys_are_kept_by_how_often_they_are_read() {
    let mut shard = adaptive(500);
    hit_ratio(&mut shard, skewed(SEED, 20_000, 50_000));
    let ratio = hit_ratio(&mut shard, skewed(SEED + 1, 20_000, 50_000));
    // The most popular ones, always.
    let best = 100.0 * (500.0_f64 / 20_000.0).powf(0.25);
    assert!(ratio > best - 2.5, "{ratio} of {best}");
}

#[test]
fn the_window_grows_where_keys_are_read_again_soon_and_never_later() {
    // Each key is read again once, after so many others.
    for others in [24, 40] {
        let keys = |n: u64| if n.is_multiple_of(2) { n / 2 + others + 1 } else { n / 2 };
        let mut shard = adaptive(400);
        hit_ratio(&mut shard, (0..50_000).map(keys));
        let ratio = hit_ratio(&mut shard, (50_000..60_000).map(keys));
        assert!(ratio > 49.0, "after {others} others: {ratio} of 50");
        assert!(shard.policy_share() > 0.06, "{}", shard.policy_share());
    }
}

#[test]
fn a_key_that_is_read_twice_in_the_window_stays() {
    let mut shard = adaptive(200);
    hit_ratio(&mut shard, 0..1000);
    for key in [5000, 5001] {
        shard.access(key);
    }
    for _ in 0..2 {
        shard.get(5000);
    }
    hit_ratio(&mut shard, 10_000..11_000);
    assert!(shard.get(5000), "read twice in the window");
    assert!(!shard.get(5001), "never read");
}

#[test]
fn the_memory_of_the_policy_stays_below_six_bytes_an_entry() {
    let mut shard = adaptive(10_000);
    shard.set(0, 1);
    assert!(super::Policy::reserve(&mut shard.policy, 10_000, 10_000));
    let bytes = super::Policy::view(&shard.policy).bytes;
    assert!(bytes <= 6 * 10_000, "{bytes} bytes for 10000 slots");
}

impl Shard {
    fn policy_share(&self) -> f64 {
        super::Policy::view(&self.policy).window_share
    }
}

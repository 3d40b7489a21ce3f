//! Random calls on one shard against models that are plainly right.

use std::num::NonZeroUsize;

use super::*;

/// The `lru` crate decides which keys must be there after every step.
#[test]
pub(super) fn one_shard_evicts_exactly_as_the_lru_crate_does() {
    for seed in 0..20_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let capacity = random.u64(1..40);
        let (cache, _) = entries(capacity);
        let mut oracle = lru::LruCache::new(NonZeroUsize::new(capacity as usize).unwrap());
        for step in 0..4_000 {
            let key = random.u64(0..60);
            let context = || format!("seed {seed}, step {step}, key {key}");
            match random.u8(0..20) {
                0..8 => assert_eq!(cache.get(&key), oracle.get(&key).copied(), "{}", context()),
                8..15 => {
                    assert_eq!(cache.insert(key, step), Inserted::Stored);
                    oracle.put(key, step);
                }
                15 => assert_eq!(cache.peek(&key), oracle.peek(&key).copied()),
                16 => assert_eq!(cache.contains(&key), oracle.contains(&key)),
                17 => assert_eq!(cache.remove(&key), oracle.pop(&key), "{}", context()),
                18 => {
                    let even = |value: &u64| value.is_multiple_of(2);
                    let expected = oracle.peek(&key).copied().filter(even);
                    assert_eq!(cache.remove_if(&key, even), expected, "{}", context());
                    if expected.is_some() {
                        oracle.pop(&key);
                    }
                }
                _ if step % 97 == 0 => {
                    cache.clear();
                    oracle.clear();
                }
                _ => {
                    let wider = random.u64(1..40);
                    cache.set_capacity(Some(wider), None).unwrap();
                    oracle.resize(NonZeroUsize::new(wider as usize).unwrap());
                }
            }
            cache.validate();
            assert_eq!(cache.len(), oracle.len(), "{}", context());
            for (key, value) in &oracle {
                assert_eq!(cache.peek(key), Some(*value), "seed {seed}, step {step}");
            }
        }
    }
}

/// A list in order of use, walked end to end: slow and plainly right.
#[derive(Default)]
struct Model {
    /// Key, value (which is the weight as well) and deadline; newest use last.
    list: Vec<(u64, u64, u64)>,
}

impl Model {
    fn weight(&self) -> u64 {
        self.list.iter().map(|entry| entry.1 + OVERHEAD).sum()
    }
}

#[test]
pub(super) fn bytes_deadlines_and_order_follow_a_plain_model() {
    for seed in 0..20_u64 {
        let mut random = fastrand::Rng::with_seed(seed);
        let bound = random.u64(2_000..20_000);
        let options = MemoryOptions::new().max_bytes(bound).largest_share(4).max_entries(30);
        let (cache, hand) = weighed(options);
        let mut model = Model::default();
        let mut now = 0_u64;
        for step in 0..4_000_u64 {
            let context = format!("seed {seed}, step {step}");
            let key = random.u64(0..80);
            let at = model.list.iter().position(|entry| entry.0 == key);
            match random.u8(0..10) {
                0..4 => {
                    let expected = at.map(|at| {
                        let entry = model.list.remove(at);
                        model.list.push(entry);
                        entry.1
                    });
                    assert_eq!(cache.get(&key), expected, "{context}");
                }
                4..8 => {
                    let value = random.u64(0..bound / 3);
                    let (ttl, deadline) = match random.u64(0..200) {
                        span @ 1..100 => (Ttl::For(millis(span)), now + span),
                        0 => (Ttl::For(Duration::ZERO), 0),
                        _ => (Ttl::Default, u64::MAX),
                    };
                    let expected = if deadline == 0 {
                        Inserted::Expired
                    } else if value + OVERHEAD > bound / 4 {
                        Inserted::Refused
                    } else {
                        Inserted::Stored
                    };
                    assert_eq!(cache.insert_with_ttl(key, value, ttl), expected, "{context}");
                    if let Some(at) = at {
                        model.list.remove(at);
                    }
                    if expected == Inserted::Stored {
                        while model.list.len() >= 30 || model.weight() + value + OVERHEAD > bound {
                            model.list.remove(0);
                        }
                        model.list.push((key, value, deadline));
                    }
                }
                8 => {
                    assert_eq!(cache.remove(&key), at.map(|at| model.list.remove(at).1));
                }
                _ => {
                    let step = random.u64(0..30);
                    now += step;
                    hand.advance(millis(step));
                    let before = model.list.len();
                    model.list.retain(|entry| entry.2 > now);
                    if random.bool() {
                        // What is left to the inserts would change who is evicted.
                        let freed = cache.expire(usize::MAX);
                        assert_eq!(freed, before - model.list.len(), "{context}");
                    } else {
                        for key in 0..80 {
                            cache.contains(&key);
                        }
                    }
                }
            }
            cache.validate();
            assert_eq!(cache.weight(), model.weight(), "{context}");
            for (key, value, _) in &model.list {
                assert_eq!(cache.peek(key), Some(*value), "{context}");
            }
            assert_eq!(cache.len(), model.list.len(), "{context}");
        }
    }
}

//! Keys, values and closures that panic, lie or call back.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
};

use super::*;

fn panics<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

#[test]
fn a_panic_in_any_of_the_callers_code_leaves_the_cache_as_it_was() {
    /// A key whose `Eq` panics while the switch is on.
    #[derive(Clone)]
    struct Key(u64, Arc<AtomicBool>);
    impl PartialEq for Key {
        fn eq(&self, other: &Self) -> bool {
            assert!(!self.1.load(Ordering::Relaxed), "planned panic in Eq");
            self.0 == other.0
        }
    }
    impl Eq for Key {}
    impl Hash for Key {
        fn hash<H: Hasher>(&self, state: &mut H) {
            assert!(self.0 < 1_000, "planned panic in Hash");
            self.0.hash(state);
        }
    }
    /// A value whose `Clone` panics.
    struct Value(u64);
    impl Clone for Value {
        fn clone(&self) -> Self {
            panic!("planned panic in Clone")
        }
    }

    let switch = Arc::new(AtomicBool::new(false));
    let key = |number| Key(number, Arc::clone(&switch));
    let weigher = |_: &Key, value: &Value| {
        assert!(value.0 < 1_000, "planned panic in the weigher");
        0
    };
    let cache = MemoryCache::with_weigher(MemoryOptions::new().max_entries(3), weigher).unwrap();
    for number in 0..3 {
        cache.insert(key(number), Value(number));
    }
    let whole = |what: &str| {
        cache.validate();
        let values: Vec<_> =
            (0..3).map(|number| cache.get_with(&key(number), |value| value.0)).collect();
        assert_eq!(values, [Some(0), Some(1), Some(2)], "after a panic in {what}");
    };
    assert!(panics(|| cache.get(&key(1))));
    whole("Clone");
    assert!(panics(|| cache.get_with(&key(1), |_| panic!("planned"))));
    whole("get_with");
    assert!(panics(|| cache.remove_if(&key(1), |_| panic!("planned"))));
    whole("remove_if");
    assert!(panics(|| cache.remove_after(&key(1), || panic!("planned"))));
    whole("remove_after");
    for number in [1, 7] {
        let decide = |_: Option<&Value>| panic!("planned");
        assert!(panics(|| cache.insert_if(key(number), Value(9), Ttl::Never, decide)));
        whole("insert_if");
    }
    assert!(panics(|| cache.insert(key(1), Value(1_000))));
    whole("the weigher");
    assert!(panics(|| cache.insert(key(1_000), Value(1))));
    whole("Hash");
    switch.store(true, Ordering::Relaxed);
    assert!(panics(|| cache.insert(key(1), Value(9))));
    assert!(panics(|| cache.remove(&key(1))));
    assert!(panics(|| cache.contains(&key(1))));
    switch.store(false, Ordering::Relaxed);
    whole("Eq");
}

/// A key or value that counts the living and panics when dropped while the switch is on.
struct Bomb {
    number: u64,
    armed: Arc<AtomicBool>,
    living: Arc<AtomicI64>,
}

impl PartialEq for Bomb {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}
impl Eq for Bomb {}
impl Hash for Bomb {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.number.hash(state);
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        self.living.fetch_sub(1, Ordering::Relaxed);
        assert!(!self.armed.load(Ordering::Relaxed), "planned panic in Drop");
    }
}

#[test]
fn a_drop_that_panics_is_contained_and_counted_and_the_others_still_run() {
    let (armed, living) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicI64::new(0)));
    let bomb = |number| {
        living.fetch_add(1, Ordering::Relaxed);
        Bomb { number, armed: Arc::clone(&armed), living: Arc::clone(&living) }
    };
    let (clock, hand) = Clock::manual();
    let options = MemoryOptions::new().max_entries(10).policy(PolicyKind::Lru);
    let hasher = crate::RandomState::default();
    let cache = MemoryCache::builder(options)
        .weigher(|_, _| 0)
        .hasher(hasher)
        .clock(clock)
        .build()
        .unwrap();
    let panics = || {
        settle(&cache);
        cache.statistics().drop_panics
    };
    for number in 0..15 {
        cache.insert_with_ttl(bomb(number), bomb(0), Ttl::For(millis(10)));
    }
    assert_eq!(panics(), 10, "five evicted, key and value");
    cache.insert_with_ttl(bomb(14), bomb(0), Ttl::For(millis(10)));
    assert_eq!(panics(), 12, "one replaced");
    cache.insert_if(bomb(14), bomb(0), Ttl::Never, |_| false);
    assert_eq!(panics(), 14, "one declined");
    cache.insert_with_ttl(bomb(13), bomb(0), Ttl::For(Duration::ZERO));
    assert_eq!(panics(), 18, "one not stored and one removed by it");
    hand.advance(millis(10));
    armed.store(false, Ordering::Relaxed);
    let (asked, value) = (bomb(12), bomb(0));
    armed.store(true, Ordering::Relaxed);
    assert!(cache.get_with(&asked, |_| ()).is_none());
    assert_eq!(panics(), 20, "one found expired");
    assert_eq!((cache.expire(usize::MAX), panics()), (8, 36));
    assert!(cache.is_empty());
    cache.insert_with_ttl(asked, value, Ttl::Never);
    cache.set_capacity(Some(0), None).unwrap();
    assert_eq!(panics(), 38, "one evicted by a smaller bound");
    cache.set_capacity(Some(10), None).unwrap();
    for number in 0..10 {
        cache.insert(bomb(number), bomb(0));
    }
    cache.validate();
    drop(cache);
    assert_eq!(living.load(Ordering::Relaxed), 0);
}

/// A value whose `Drop` asks the cache for its own key.
struct Nosy(Weak<MemoryCache<u64, Nosy>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(cache) = self.0.upgrade() {
            for key in 0..4 {
                cache.contains(&key);
            }
        }
    }
}

#[test]
fn a_drop_may_call_the_cache() {
    let cache = Arc::new(MemoryCache::new(MemoryOptions::new().max_entries(2)).unwrap());
    let nosy = || Nosy(Arc::downgrade(&cache));
    for key in 0..6 {
        cache.insert(key % 4, nosy());
        cache.insert(key % 4, nosy());
    }
    cache.insert_if(1, nosy(), Ttl::Default, |_| false);
    cache.insert_with_ttl(1, nosy(), Ttl::For(Duration::ZERO));
    cache.invalidate(&0);
    cache.set_capacity(Some(1), None).unwrap();
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn an_eq_that_lies_costs_misses_and_duplicates_but_no_more() {
    struct Liar(u64, u64);
    impl PartialEq for Liar {
        fn eq(&self, other: &Self) -> bool {
            (self.1 ^ other.1).is_multiple_of(3)
        }
    }
    impl Eq for Liar {}
    impl Hash for Liar {
        fn hash<H: Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    let mut random = fastrand::Rng::with_seed(7);
    let cache = MemoryCache::new(MemoryOptions::new().max_entries(50)).unwrap();
    for _ in 0..20_000 {
        let key = Liar(random.u64(0..20), random.u64(..));
        match random.u8(0..3) {
            0 => drop(cache.get(&key)),
            1 => drop(cache.remove(&key)),
            _ => drop(cache.insert(key, 1)),
        }
    }
    cache.validate();
}

#[test]
fn entries_are_found_under_a_hasher_that_gives_one_hash_to_all() {
    struct Constant;
    impl BuildHasher for Constant {
        type Hasher = ConstantHasher;
        fn build_hasher(&self) -> ConstantHasher {
            ConstantHasher
        }
    }
    struct ConstantHasher;
    impl Hasher for ConstantHasher {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let options = MemoryOptions::new().max_entries(400).shards(4).policy(PolicyKind::Lru);
    let cache = MemoryCache::builder(options).hasher(Constant).build().unwrap();
    for key in 0..300_u64 {
        cache.insert(key, key);
    }
    // All in one shard of a quarter of the bound.
    assert_eq!(cache.len(), 100);
    assert!((200..300).all(|key| cache.get(&key) == Some(key)));
    cache.validate();
}

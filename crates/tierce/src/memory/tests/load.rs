//! Reading through: loaders that are slow, hang, panic, fail or call back, and keys that change
//! while they are loaded.

use std::{
    hash::{BuildHasher, Hash, Hasher},
    io,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Barrier, LazyLock, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Instant,
};

use super::*;
use crate::{
    Computed, RemovalCause,
    error::{ErrorKind, Result},
};

type Loaded = io::Result<(u64, Ttl)>;

/// Longer than any wait here that is to end otherwise.
const PATIENCE: Duration = Duration::from_secs(20);

fn cache() -> Numbers {
    MemoryCache::new(MemoryOptions::new().max_entries(100)).unwrap()
}

/// Waits for other threads.
fn until(is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "the others do not get there");
        thread::yield_now();
    }
}

/// Runs a test whose threads wait for each other: one that is not woken fails it.
fn in_time(test: impl FnOnce() + Send + 'static) {
    let (ends, ended) = mpsc::channel::<()>();
    let test = thread::spawn(move || {
        let _ends = ends;
        test();
    });
    let hangs = ended.recv_timeout(2 * PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout);
    assert!(!hangs, "a thread that waits was not woken");
    if let Err(panic) = test.join() {
        resume_unwind(panic);
    }
}

fn within(cache: &Numbers, key: u64, wait: Duration, value: u64) -> Result<u64> {
    cache.try_get_or_insert_within(key, wait, || Loaded::Ok((value, Ttl::Default)))
}

fn panics<R>(call: impl FnOnce() -> R) -> bool {
    catch_unwind(AssertUnwindSafe(call)).is_err()
}

/// Nothing is under way and the key can be loaded.
fn is_free(cache: &Numbers, key: u64) {
    assert_eq!(cache.loads(), (0, 0));
    cache.invalidate(&key);
    assert_eq!(within(cache, key, Duration::ZERO, 77).unwrap(), 77);
    assert_eq!(cache.get(&key), Some(77));
    cache.validate();
}

#[test]
fn sixteen_threads_that_miss_a_key_load_it_once() {
    in_time(|| {
        let cache = cache();
        let loads = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let value = cache.get_or_insert_with(1, || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        until(|| cache.loads() == (1, 15));
                        7
                    });
                    assert_eq!(value, 7);
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1);
        assert_eq!(cache.get_or_insert_with(1, || panic!("it is there")), 7);
        is_free(&cache, 1);
    });
}

/// A key whose copy, which is made between a miss and the second look, does something before.
struct Meddler(u64, fn());

impl PartialEq for Meddler {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Meddler {}

impl Hash for Meddler {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Clone for Meddler {
    fn clone(&self) -> Self {
        (self.1)();
        Self(self.0, self.1)
    }
}

#[test]
fn a_key_that_is_there_at_the_second_look_is_not_loaded() {
    static CACHE: LazyLock<MemoryCache<Meddler, u64>> =
        LazyLock::new(|| MemoryCache::new(MemoryOptions::new().max_entries(9)).unwrap());
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    fn nothing() {}
    fn meddle() {
        COPIES.fetch_add(1, Ordering::Relaxed);
        CACHE.insert(Meddler(1, meddle), 7);
    }
    for _ in 0..3 {
        let value = CACHE.get_or_insert_with_by_ref(&Meddler(1, meddle), || panic!("it is there"));
        assert_eq!(value, 7);
    }
    assert_eq!(COPIES.load(Ordering::Relaxed), 1, "a hit needs no key of its own");
    let other = CACHE.get_or_insert_with_by_ref(&Meddler(2, nothing), || 8);
    assert_eq!((other, CACHE.loads()), (8, (0, 0)));
}

#[test]
fn a_key_that_has_expired_by_the_second_look_is_taken_out_and_loaded() {
    static HAND: LazyLock<(Clock, ManualClock)> = LazyLock::new(Clock::manual);
    static EXPIRED: Mutex<Vec<u64>> = Mutex::new(Vec::new());
    static CACHE: LazyLock<MemoryCache<Meddler, u64>> = LazyLock::new(|| {
        let options = MemoryOptions::new().max_entries(100).shards(1);
        let listener = |key: &Meddler, _: &u64, cause| {
            assert_eq!(cause, RemovalCause::Expired);
            EXPIRED.lock().unwrap().push(key.0);
        };
        let builder = MemoryCache::builder(options).listener(listener);
        builder.clock(HAND.0.clone()).build().unwrap()
    });
    fn meddle() {
        // More that have expired before it than an insert frees.
        for key in 10..30 {
            CACHE.insert_with_ttl(Meddler(key, meddle), 0, Ttl::For(millis(1)));
        }
        CACHE.insert_with_ttl(Meddler(1, meddle), 0, Ttl::For(millis(2)));
        HAND.1.advance(millis(2));
    }
    assert_eq!(CACHE.get_or_insert_with_by_ref(&Meddler(1, meddle), || 7), 7);
    assert!(EXPIRED.lock().unwrap().contains(&1));
    assert_eq!(CACHE.get(&Meddler(1, meddle)), Some(7));
    CACHE.validate();
}

#[test]
fn when_a_loader_panics_its_caller_sees_it_and_one_who_waits_loads_instead() {
    in_time(|| {
        let cache = cache();
        let (loads, seen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    let load = || {
                        let nth = loads.fetch_add(1, Ordering::Relaxed);
                        until(|| cache.loads() == (1, 15 - nth));
                        assert!(nth == 3, "planned panic in a loader");
                        7
                    };
                    match catch_unwind(AssertUnwindSafe(|| cache.get_or_insert_with(1, load))) {
                        Ok(value) => assert_eq!(value, 7),
                        Err(_) => _ = seen.fetch_add(1, Ordering::Relaxed),
                    }
                });
            }
        });
        assert_eq!((loads.load(Ordering::Relaxed), seen.load(Ordering::Relaxed)), (4, 3));
        assert_eq!(cache.get(&1), Some(7));
        is_free(&cache, 1);
    });
}

#[test]
fn when_a_loader_fails_its_caller_gets_the_error_and_one_who_waits_loads_instead() {
    let cache = cache();
    let began = Barrier::new(2);
    thread::scope(|scope| {
        let (cache, began) = (&cache, &began);
        let leader = scope.spawn(|| {
            cache.try_get_or_insert_with(1, || {
                began.wait();
                until(|| cache.loads() == (1, 1));
                Err(io::Error::other("origin is down"))
            })
        });
        began.wait();
        assert_eq!(within(cache, 1, PATIENCE, 7).unwrap(), 7);
        let error = leader.join().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Loader);
        assert_eq!(error.cause::<io::Error>().unwrap().to_string(), "origin is down");
    });
    is_free(&cache, 1);
}

#[test]
fn who_waits_in_vain_gives_up_and_lets_the_next_caller_load() {
    for next_loads in [true, false] {
        let cache = cache();
        let began = Barrier::new(2);
        thread::scope(|scope| {
            let (cache, began) = (&cache, &began);
            let (end, ended) = mpsc::channel();
            let hung = scope.spawn(move || {
                cache.get_or_insert_with(1, || {
                    began.wait();
                    ended.recv().unwrap();
                    1
                })
            });
            began.wait();
            let error = within(cache, 1, millis(5), 2).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Timeout);
            // No lock is held: not even its own shard notices.
            for key in 2..50 {
                assert_eq!(cache.get_or_insert_with(key, || key), key);
            }
            assert_eq!((cache.get(&1), cache.len()), (None, 48));
            if next_loads {
                assert_eq!(within(cache, 1, Duration::ZERO, 3).unwrap(), 3);
            }
            end.send(()).unwrap();
            assert_eq!(hung.join().unwrap(), 1);
            // It was slow, not wrong: kept unless another load was faster.
            assert_eq!(cache.get(&1), Some(if next_loads { 3 } else { 1 }));
        });
        is_free(&cache, 1);
    }
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_so() {
    let cache = cache();
    let value = cache.try_get_or_insert_with(1, || {
        let inner = within(&cache, 1, PATIENCE, 9).unwrap_err();
        assert_eq!(inner.kind(), ErrorKind::Reentrant);
        // Other keys it may load.
        io::Result::Ok(cache.get_or_insert_with(2, || 20) + 1)
    });
    assert_eq!((value.unwrap(), cache.get(&2)), (21, Some(20)));
    assert!(panics(|| cache.get_or_insert_with(3, || cache.get_or_insert_with(3, || 9))));
    assert_eq!(cache.get(&3), None);
    is_free(&cache, 3);
}

#[test]
fn loaders_that_wait_for_each_others_keys_end_with_their_deadlines() {
    let cache = cache();
    let meet = Barrier::new(2);
    let needs = |own, other| {
        cache.try_get_or_insert_within(own, PATIENCE, || {
            meet.wait();
            within(&cache, other, millis(20), 9).map(|value| (value, Ttl::Default))
        })
    };
    let (a, b) = thread::scope(|scope| {
        let a = scope.spawn(|| needs(1, 2));
        (needs(2, 1), a.join().unwrap())
    });
    assert!(a.is_err() || b.is_err());
    is_free(&cache, 1);
    is_free(&cache, 2);
}

/// Does something while the key 1 is loaded.
fn meanwhile(cache: &Numbers, what: &str) {
    let zero = Ttl::For(Duration::ZERO);
    match what {
        "nothing" => {}
        "remove" => _ = cache.remove(&1),
        "remove if" => _ = cache.remove_if(&1, |_| true),
        "remove after" => _ = cache.remove_after(&1, || ()),
        "invalidate" => _ = cache.invalidate(&1),
        "clear" => cache.clear(),
        "retain" => cache.retain(|_, _| true),
        "compute nothing" => _ = cache.compute(1, |_| Computed::Remove),
        "compute" => _ = cache.compute(1, |_| Computed::Store(2, Ttl::Never)),
        "insert" => _ = cache.insert(1, 2),
        "insert too much" => _ = cache.insert(1, u64::MAX),
        "insert for no time" => _ = cache.insert_with_ttl(1, 2, zero),
        "insert and remove" => _ = (cache.insert(1, 2), cache.remove(&1)),
        "insert and evict" => {
            cache.insert(1, 2);
            cache.set_capacity(Some(0), None).unwrap();
            cache.set_capacity(Some(100), None).unwrap();
        }
        "insert and load" => _ = (cache.insert(1, 2), cache.get_or_insert_with(1, || 3)),
        "get" => _ = cache.get(&1),
        "decline" => _ = cache.insert_if(1, 2, Ttl::Never, |_| false),
        "compute to keep" => _ = cache.compute(1, |_| Computed::Keep),
        "expire" => _ = cache.expire(100),
        "insert another" => _ = cache.insert(2, 2),
        "remove another" => _ = cache.remove(&2),
        "load another" => _ = cache.get_or_insert_with(2, || 3),
        _ => unreachable!("{what}"),
    }
}

/// Loads 7 for the key 1 and returns what the key has then.
fn left_after(what: &str) -> Option<u64> {
    let (cache, _) = weighed(MemoryOptions::new().max_entries(100));
    let value = cache.get_or_insert_with(1, || {
        meanwhile(&cache, what);
        7
    });
    assert_eq!(value, 7, "its caller gets it");
    let left = cache.get(&1);
    is_free(&cache, 1);
    left
}

#[test]
fn what_was_loaded_is_not_stored_over_a_change_of_its_key() {
    let removals = [
        "remove",
        "remove if",
        "remove after",
        "invalidate",
        "clear",
        "retain",
        "compute nothing",
        "insert too much",
        "insert for no time",
        "insert and remove",
        "insert and evict",
    ];
    for what in removals {
        assert_eq!(left_after(what), None, "{what}");
    }
    for what in ["insert", "compute", "insert and load"] {
        assert_eq!(left_after(what), Some(2), "{what}");
    }
}

#[test]
fn what_was_loaded_is_stored_if_its_key_did_not_change() {
    let others = ["insert another", "remove another", "load another"];
    for what in ["nothing", "get", "decline", "compute to keep", "expire"].into_iter().chain(others)
    {
        assert_eq!(left_after(what), Some(7), "{what}");
    }
}

#[test]
fn who_comes_after_a_change_does_not_join_the_load_that_began_before_it() {
    let cache = cache();
    let began = Barrier::new(2);
    thread::scope(|scope| {
        let (cache, began) = (&cache, &began);
        let (end, ended) = mpsc::channel();
        let old = scope.spawn(move || {
            cache.get_or_insert_with(1, || {
                began.wait();
                ended.recv().unwrap();
                1
            })
        });
        began.wait();
        let joined = scope.spawn(|| cache.get_or_insert_with(1, || 2));
        until(|| cache.loads() == (1, 1));
        cache.invalidate(&1);
        assert_eq!(cache.get_or_insert_with(1, || 3), 3);
        end.send(()).unwrap();
        assert_eq!((old.join().unwrap(), joined.join().unwrap()), (1, 1));
        assert_eq!(cache.get(&1), Some(3));
    });
    is_free(&cache, 1);
}

#[test]
fn nothing_older_than_a_change_that_returned_is_ever_read() {
    const KEYS: u64 = 4;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    // Smaller than the keys, so that entries leave for other reasons as well.
    let cache = Numbers::new(MemoryOptions::new().max_entries(3).shards(1)).unwrap();
    let origin: [AtomicU64; KEYS as usize] = Default::default();
    let settled: [AtomicU64; KEYS as usize] = Default::default();
    let turn: [Mutex<()>; KEYS as usize] = Default::default();
    thread::scope(|scope| {
        for thread in 0..4 {
            let (cache, origin, settled, turn) = (&cache, &origin, &settled, &turn);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ thread);
                for _ in 0..20_000 {
                    let key = random.u64(0..KEYS);
                    let at = key as usize;
                    if random.u8(0..8) == 0 {
                        let _turn = turn[at].lock().unwrap();
                        let version = origin[at].fetch_add(1, Ordering::SeqCst) + 1;
                        match random.u8(0..5) {
                            0 => _ = cache.invalidate(&key),
                            1 => _ = cache.remove(&key),
                            2 => _ = cache.insert(key, version),
                            3 => cache.clear(),
                            _ => cache.retain(|other, _| *other != key),
                        }
                        settled[at].store(version, Ordering::SeqCst);
                        continue;
                    }
                    let least = settled[at].load(Ordering::SeqCst);
                    let load = || {
                        let version = origin[at].load(Ordering::SeqCst);
                        thread::yield_now();
                        version
                    };
                    let read = cache.get_or_insert_with(key, load);
                    assert!(read >= least, "key {key}: {read} after {least}");
                }
            });
        }
    });
    assert_eq!(cache.loads(), (0, 0));
    cache.validate();
}

#[test]
fn what_cannot_be_kept_is_returned_to_all_who_wait() {
    let never = |cache: &Numbers| {
        cache.try_get_or_insert_within(1, PATIENCE, || {
            until(|| cache.loads() == (1, 1));
            Loaded::Ok((5, Ttl::For(Duration::ZERO)))
        })
    };
    let heavy = |cache: &Numbers| {
        cache.try_get_or_insert_with(1, || {
            until(|| cache.loads() == (1, 1));
            io::Result::Ok(u64::MAX)
        })
    };
    type Load<'a> = &'a (dyn Fn(&Numbers) -> Result<u64> + Sync);
    let ways: [(Load<'_>, u64, u64); 2] = [(&never, 5, 0), (&heavy, u64::MAX, 1)];
    for (load, value, refused) in ways {
        let (cache, _) = weighed(MemoryOptions::new().max_entries(100));
        let both = thread::scope(|scope| {
            let other = scope.spawn(|| load(&cache));
            [load(&cache).unwrap(), other.join().unwrap().unwrap()]
        });
        assert_eq!((both, cache.get(&1)), ([value; 2], None));
        assert_eq!(cache.statistics().refused, refused);
        is_free(&cache, 1);
    }
}

#[test]
fn an_expired_value_is_loaded_anew_and_lives_as_long_as_its_loader_says() {
    let (cache, hand) = entries(100);
    let load = |value, ttl| {
        let load = || Loaded::Ok((value, Ttl::For(millis(ttl))));
        cache.try_get_or_insert_within(1, PATIENCE, load).unwrap()
    };
    assert_eq!(load(7, 10), 7);
    hand.advance(millis(9));
    assert_eq!(load(8, 10), 7);
    hand.advance(millis(1));
    assert_eq!(load(8, 1), 8);
    hand.advance(millis(1));
    assert_eq!(cache.get_or_insert_with(1, || 9), 9);
    hand.advance(millis(1_000));
    assert_eq!((cache.get(&1), cache.statistics().expired), (Some(9), 2));
    cache.validate();
}

#[test]
fn a_panic_of_weigher_or_clone_ends_the_load_and_one_who_waits_loads_instead() {
    /// Its clone panics while the switch is on.
    struct Value(u64, Arc<AtomicBool>);
    impl Clone for Value {
        fn clone(&self) -> Self {
            assert!(!self.1.load(Ordering::Relaxed), "planned panic in Clone");
            Self(self.0, Arc::clone(&self.1))
        }
    }

    let switch = Arc::new(AtomicBool::new(false));
    let weigher = |_: &u64, value: &Value| {
        assert!(value.0 != 13, "planned panic in the weigher");
        0
    };
    for (first, in_clone) in [(13, false), (1, true)] {
        let cache =
            MemoryCache::with_weigher(MemoryOptions::new().max_entries(9), weigher).unwrap();
        let began = Barrier::new(2);
        thread::scope(|scope| {
            let (cache, began, switch) = (&cache, &began, &switch);
            let leader = scope.spawn(move || {
                panics(|| {
                    cache.get_or_insert_with(1, || {
                        began.wait();
                        until(|| cache.loads() == (1, 1));
                        switch.store(in_clone, Ordering::Relaxed);
                        Value(first, Arc::clone(switch))
                    })
                })
            });
            began.wait();
            let value = cache.get_or_insert_with(1, || {
                switch.store(false, Ordering::Relaxed);
                Value(2, Arc::clone(switch))
            });
            assert_eq!(value.0, 2);
            assert!(leader.join().unwrap());
        });
        assert_eq!((cache.get(&1).unwrap().0, cache.loads()), (2, (0, 0)));
    }
}

/// A value whose `Drop` reads its cache through.
#[derive(Clone)]
struct Nosy(Weak<MemoryCache<u64, Nosy>>);

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(cache) = self.0.upgrade() {
            cache.get_or_insert_with(9, || Self(Weak::new()));
        }
    }
}

#[test]
fn a_drop_and_a_loader_may_call_the_cache() {
    let cache = Arc::new(MemoryCache::new(MemoryOptions::new().max_entries(2)).unwrap());
    for round in 0..3 {
        for key in 0..4 {
            cache.get_or_insert_with(key, || {
                cache.insert(key, Nosy(Arc::downgrade(&cache)));
                cache.invalidate(&(key + round));
                Nosy(Arc::downgrade(&cache))
            });
        }
    }
    cache.clear();
    assert_eq!(cache.loads(), (0, 0));
}

#[test]
fn keys_that_share_a_hash_do_not_share_a_load() {
    struct Constant;
    impl BuildHasher for Constant {
        type Hasher = Constant;
        fn build_hasher(&self) -> Self {
            Self
        }
    }
    impl Hasher for Constant {
        fn finish(&self) -> u64 {
            0
        }
        fn write(&mut self, _: &[u8]) {}
    }
    let options = MemoryOptions::new().max_entries(100);
    let cache = MemoryCache::<u64, u64, _>::builder(options).hasher(Constant).build().unwrap();
    let both = cache.get_or_insert_with(1, || 10 + cache.get_or_insert_with(2, || 2));
    assert_eq!((both, cache.get(&2)), (12, Some(2)));
    // Changes are told apart by their hash alone: one load more.
    assert_eq!((cache.get_or_insert_with(1, || 3), cache.get(&1)), (3, Some(3)));
    cache.validate();
}

#[test]
#[cfg(unix)]
fn a_forked_child_waits_for_no_load_of_a_thread_it_does_not_have() {
    use crate::sync::testing::fork;

    let (cache, gate) = (cache(), Barrier::new(2));
    thread::scope(|scope| {
        let (cache, gate) = (&cache, &gate);
        let leader = scope.spawn(move || {
            cache.get_or_insert_with(1, || {
                gate.wait();
                gate.wait();
                1
            })
        });
        gate.wait();
        let child = fork(|| within(cache, 1, PATIENCE, 2).unwrap() == 2 && cache.loads().0 == 0);
        // And one that forks while it leads itself.
        let both = cache.get_or_insert_with(2, || u64::from(fork(|| cache.loads().0 == 2)));
        gate.wait();
        assert!(child && both == 1);
        assert_eq!(leader.join().unwrap(), 1);
    });
    assert_eq!(cache.get(&1), Some(1));
}

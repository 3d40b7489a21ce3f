//! A thread that is the only one: values are replaced where they lie. Each test runs in a process
//! of its own, as the threads of others would be there too.

use std::{
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
};

use super::{model, *};
use crate::sync::{
    Mutex,
    testing::{apart, is_refused},
};

fn place_of(cache: &Numbers, key: u64) -> usize {
    cache.get_with(&key, |value| ptr::from_ref(value).addr()).unwrap()
}

#[test]
fn a_value_is_replaced_where_it_lies_while_no_other_thread_is_there() {
    apart(
        module_path!(),
        "a_value_is_replaced_where_it_lies_while_no_other_thread_is_there",
        || {
            let (cache, _) = entries(10);
            cache.insert(1, 1);
            let place = place_of(&cache, 1);
            let mut replace = |value| {
                let is_here = place_of(&cache, 1) == place;
                cache.insert(1, value);
                cache.validate();
                assert_eq!((cache.get(&1), cache.len()), (Some(value), 1));
                is_here && place_of(&cache, 1) == place
            };
            // Without the kernel's fence nobody is known to be alone.
            assert_eq!([2, 3, 4].map(&mut replace), [!is_refused(); 3]);
            assert_eq!(cache.statistics().replaced, 3);

            let writes = || drop(Mutex::new(0).lock());
            beside_another(writes, || {
                cache.insert(1, 6);
                let other_place = place_of(&cache, 1);
                cache.insert(1, 7);
                assert_ne!(place_of(&cache, 1), other_place, "another thread could read");
            });
            cache.insert(1, 7);
            let place = place_of(&cache, 1);
            cache.insert(1, 7);
            assert_eq!(place_of(&cache, 1) == place, !is_refused(), "it is the only one again");

            cache.get_with(&1, |value| {
                cache.insert(1, 8);
                assert_eq!((*value, cache.get(&1)), (7, Some(8)), "this thread is reading");
            });
        },
    );
}

/// Runs `with` while another thread, which did `first`, lives on.
fn beside_another(first: impl FnOnce() + Send, with: impl FnOnce()) {
    let (tell, told) = mpsc::channel::<()>();
    let (say, said) = mpsc::channel();
    thread::scope(|scope| {
        let other = scope.spawn(move || {
            first();
            say.send(()).unwrap();
            told.recv().unwrap_err();
        });
        said.recv().unwrap();
        with();
        drop(tell);
        // The scope would not wait for the end of the thread, but for that of its closure.
        other.join().unwrap();
    });
}

#[test]
fn an_insert_frees_one_value_for_the_one_that_it_brings() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    apart(module_path!(), "an_insert_frees_one_value_for_the_one_that_it_brings", || {
        // 17 may wait in so small a cache; of those after them more is freed at a time.
        for others in [0, 64, 64 + 17] {
            let cache = MemoryCache::new(MemoryOptions::new().max_entries(64).shards(1)).unwrap();
            let drops = Arc::new(AtomicUsize::new(0));
            let insert = |key: u64| {
                let before = drops.load(Ordering::Relaxed);
                cache.insert(key, Counted(drops.clone()));
                drops.load(Ordering::Relaxed) - before
            };
            // Whoever reads holds up what others take out.
            assert!(!cache.contains(&0));
            let theirs = || (0..others).for_each(|key| assert_eq!(insert(key), 0));
            beside_another(theirs, || {
                let most = (others..10_000).map(insert).max();
                assert_eq!(most, Some(1), "after {others} of another thread");
            });
            assert!(drops.load(Ordering::Relaxed) >= 10_000 - 64 - 17, "they pile up");
            (0..17).for_each(|key| _ = insert(10_000 + key));
            if !is_refused() {
                // The only one again, so what the other had left is freed as well.
                assert_eq!(drops.load(Ordering::Relaxed), 10_017 - 64);
            }
        }
    });
}

#[test]
fn the_models_hold_where_values_are_replaced_where_they_lie() {
    apart(module_path!(), "the_models_hold_where_values_are_replaced_where_they_lie", || {
        if is_refused() {
            // As beside other threads, where they run as well.
            return;
        }
        model::one_shard_evicts_exactly_as_the_lru_crate_does();
        model::bytes_deadlines_and_order_follow_a_plain_model();
    });
}

#[test]
fn an_entry_whose_time_is_cut_short_where_it_lies_is_freed_in_time() {
    apart(
        module_path!(),
        "an_entry_whose_time_is_cut_short_where_it_lies_is_freed_in_time",
        || {
            let (clock, hand) = Clock::manual();
            let options = MemoryOptions::new().max_entries(100);
            let cache = MemoryCache::builder(options).clock(clock).build().unwrap();
            for key in 0..50_u64 {
                cache.insert_with_ttl(key, key, Ttl::For(millis(1_000)));
            }
            for key in 0..50 {
                let ttl = if key % 2 == 0 { Ttl::For(millis(10)) } else { Ttl::Never };
                cache.insert_with_ttl(key, key, ttl);
                cache.validate();
            }
            hand.advance(millis(10));
            assert_eq!((cache.expire(usize::MAX), cache.len()), (25, 25));
            hand.advance(millis(10_000));
            assert_eq!((cache.expire(usize::MAX), cache.len()), (0, 25));
        },
    );
}

#[test]
fn threads_that_come_find_whole_values() {
    apart(module_path!(), "threads_that_come_find_whole_values", || {
        let cache = MemoryCache::<u64, [u64; 32]>::new(MemoryOptions::new().max_entries(100));
        let cache = cache.unwrap();
        // In the clock, where values are replaced where they lie.
        for key in 0..64 {
            cache.insert(key, [0; 32]);
        }
        for round in 0..200_u64 {
            thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    for key in (0..64).chain(0..64) {
                        cache.get_with(&key, |value| {
                            assert!(value.iter().all(|word| word == &value[0]), "{value:?}");
                        });
                    }
                });
                let mut turn = round << 32;
                while !reader.is_finished() {
                    for key in 0..64 {
                        turn += 1;
                        cache.insert(key, [turn; 32]);
                    }
                }
            });
        }
        cache.validate();
    });
}

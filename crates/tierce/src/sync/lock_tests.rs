//! The locks, without a fork: `fork_tests.rs` has those.

use std::{
    hint,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::sync::testing::apart;

#[test]
fn a_mutex_lets_in_one_at_a_time() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = if cfg!(miri) { 50 } else { 20_000 };
    let mutex = Mutex::new((0_u64, 0_u64));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let mut pair = mutex.lock();
                    pair.0 += 1;
                    hint::spin_loop();
                    pair.1 += 1;
                    assert_eq!(pair.0, pair.1);
                }
            });
        }
    });
    assert_eq!(*mutex.lock(), (THREADS * ROUNDS, THREADS * ROUNDS));
    assert!(!mutex.is_locked());
}

#[test]
fn a_sleeper_gets_the_mutex_when_it_is_free() {
    let mutex = Mutex::new(());
    let held = mutex.lock();
    assert!(mutex.try_lock().is_none());
    thread::scope(|scope| {
        let waiter = scope.spawn(|| drop(mutex.lock()));
        // Its word says so once it is about to sleep, or sleeps.
        // SAFETY: the mutex lives, and its word is only loaded.
        let word = unsafe { &mutex.raw().0 };
        while !word.is_wanted() {
            thread::yield_now();
        }
        thread::sleep(Duration::from_millis(5));
        drop(held);
        waiter.join().unwrap();
    });
    assert!(mutex.try_lock().is_some());
}

#[test]
fn a_panic_under_a_mutex_frees_it() {
    let mutex = Mutex::new(());
    let unwound = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _held = mutex.lock();
        panic!("under the lock");
    }));
    assert!(unwound.is_err() && mutex.try_lock().is_some());
}

#[test]
fn a_condition_wakes_all_that_wait_and_a_deadline_ends_a_wait() {
    let mutex = Mutex::new(0);
    let changed = Condvar::new();
    let far = Instant::now() + Duration::from_secs(60);
    thread::scope(|scope| {
        let wait = || {
            let mut number = mutex.lock();
            while *number == 0 {
                assert!(!changed.wait_until(&mut number, far).timed_out());
            }
        };
        let waiters = [(); 3].map(|()| scope.spawn(wait));
        *mutex.lock() = 1;
        changed.notify_all();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
    });
    let mut number = mutex.lock();
    let soon = Instant::now() + Duration::from_millis(5);
    while !changed.wait_until(&mut number, soon).timed_out() {}
    assert!(Instant::now() >= soon);
}

#[test]
fn a_shared_lock_is_shared_or_alone() {
    const ROUNDS: usize = if cfg!(miri) { 20 } else { 2_000 };
    let lock = SharedLock::new(());
    let sharing = AtomicU64::new(0);
    let is_alone = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..ROUNDS {
                    let _shared = lock.read();
                    sharing.fetch_add(1, Ordering::Relaxed);
                    assert!(!is_alone.load(Ordering::Relaxed));
                    sharing.fetch_sub(1, Ordering::Relaxed);
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..ROUNDS / 10 {
                let _alone = lock.write();
                is_alone.store(true, Ordering::Relaxed);
                assert_eq!(sharing.load(Ordering::Relaxed), 0);
                thread::yield_now();
                is_alone.store(false, Ordering::Relaxed);
            }
        });
    });
    let both = (lock.read(), lock.read());
    assert!(lock.try_write().is_none());
    drop(both);
    let alone = lock.try_write();
    assert!(alone.is_some() && lock.try_read().is_none() && lock.is_locked_exclusive());
}

#[test]
fn who_waits_to_be_alone_is_not_overtaken_by_those_who_share() {
    let lock = SharedLock::new(());
    let begun = Barrier::new(2);
    let shared = lock.read();
    thread::scope(|scope| {
        let alone = scope.spawn(|| {
            begun.wait();
            drop(lock.write());
        });
        begun.wait();
        while lock.try_read().is_some() {
            thread::yield_now();
        }
        drop(shared);
        alone.join().unwrap();
    });
    drop(lock.read());
}

#[test]
fn a_lock_is_one_threads_where_others_come_and_go() {
    apart(module_path!(), "a_lock_is_one_threads_where_others_come_and_go", || {
        const ROUNDS: u64 = 300;
        const TURNS: u64 = 5;
        let count = Mutex::new(0_u64);
        let raise = || {
            let mut count = count.lock();
            let before = *count;
            hint::spin_loop();
            *count = before + 1;
        };
        let mut raised = 0;
        for _ in 0..ROUNDS {
            thread::scope(|scope| {
                let other = scope.spawn(|| (0..TURNS).for_each(|_| raise()));
                while !other.is_finished() {
                    raise();
                    raised += 1;
                    // The lock is not fair: who takes it at once again keeps the other waiting.
                    (0..50).for_each(|_| hint::spin_loop());
                }
            });
        }
        assert_eq!(*count.lock(), raised + ROUNDS * TURNS);
    });
}

//! Each test runs in a process of its own, as those of `epoch_tests.rs` do.

use std::sync::{Barrier, mpsc};

use super::*;
use crate::sync::{
    Condvar, Mutex, SharedLock,
    testing::{apart, fork, forked},
};

#[test]
fn a_fork_waits_for_a_section_and_holds_up_the_next() {
    apart(module_path!(), "a_fork_waits_for_a_section_and_holds_up_the_next", || {
        static PAIR: Mutex<(u32, u32)> = Mutex::new((0, 0));
        static STOP: AtomicBool = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !STOP.load(Ordering::Relaxed) {
                        let mut pair = PAIR.lock();
                        pair.0 += 1;
                        thread::yield_now();
                        pair.1 += 1;
                    }
                });
            }
            for _ in 0..50 {
                forked(|| {
                    let pair = PAIR.lock();
                    pair.0 == pair.1
                });
                let seen = PAIR.lock().0;
                while PAIR.lock().0 == seen {
                    thread::yield_now();
                }
            }
            STOP.store(true, Ordering::Relaxed);
        });
    });
}

#[test]
fn a_thread_in_a_section_may_fork() {
    apart(module_path!(), "a_thread_in_a_section_may_fork", || {
        let mutex = Mutex::new(0);
        let held = mutex.lock();
        let nested = section();
        let begun = Instant::now();
        forked(|| {
            assert!(mutex.try_lock().is_none(), "it goes on holding what it held");
            drop(held);
            drop(nested);
            mutex.try_lock().is_some() && !threads::record().is_inside()
        });
        assert!(begun.elapsed() < PATIENCE, "it must not wait for itself");
        // And the gate is as it was.
        thread::scope(|scope| scope.spawn(|| drop(section())).join().unwrap());
    });
}

#[test]
fn a_section_that_does_not_end_holds_a_fork_up_for_a_second() {
    apart(module_path!(), "a_section_that_does_not_end_holds_a_fork_up_for_a_second", || {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let _section = section();
                tell.send(()).unwrap();
                ended.recv().unwrap();
            });
            told.recv().unwrap();
            let begun = Instant::now();
            forked(|| begun.elapsed() >= PATIENCE && begun.elapsed() < 5 * PATIENCE);
            end.send(()).unwrap();
        });
    });
}

#[test]
fn threads_that_fork_at_the_same_time_do_not_wait_for_each_other_for_long() {
    apart(
        module_path!(),
        "threads_that_fork_at_the_same_time_do_not_wait_for_each_other_for_long",
        || {
            let begun = Instant::now();
            // A thread that is only just starting may hold a lock of the C library, which a child
            // would find taken when it starts one: no handler of ours can wait for that.
            let all_run = Barrier::new(3);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        all_run.wait();
                        for _ in 0..10 {
                            forked(|| {
                                drop(section());
                                thread::scope(|scope| {
                                    scope.spawn(|| drop(section())).join().is_ok()
                                })
                            });
                        }
                    });
                }
            });
            assert!(begun.elapsed() < 20 * PATIENCE);
        },
    );
}

#[test]
fn what_was_taken_before_a_fork_is_void_in_the_child() {
    apart(module_path!(), "what_was_taken_before_a_fork_is_void_in_the_child", || {
        let turn = Turn::default();
        let shared = SharedLock::new(());
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let (turn, shared) = (&turn, &shared);
            scope.spawn(move || {
                let _begun = turn.begin().unwrap();
                let _shared = shared.read();
                tell.send(()).unwrap();
                ended.recv().unwrap();
            });
            told.recv().unwrap();
            let mine = shared.read();
            let before = generation();
            forked(|| {
                let next = generation() == before + 1;
                let begun = turn.begin();
                let alone = shared.try_write();
                let taken = begun.is_some() && alone.is_some() && turn.begin().is_none();
                // A guard from before the fork undoes nothing of what came after it.
                drop(mine);
                let kept = shared.try_read().is_none();
                drop((alone, begun));
                let free = shared.try_write().is_some() && turn.begin().is_some();
                // And so in its own children.
                forked(|| generation() == before + 2);
                next && taken && kept && free
            });
            assert!(turn.begin().is_none() && shared.try_write().is_none());
            end.send(()).unwrap();
        });
        assert!(turn.begin().is_some() && shared.try_write().is_some());
    });
}

#[test]
fn a_condition_that_dead_threads_wait_for_can_be_used() {
    apart(module_path!(), "a_condition_that_dead_threads_wait_for_can_be_used", || {
        let number = Mutex::new(0);
        let changed = Condvar::new();
        let far = Instant::now() + Duration::from_secs(60);
        let wait = || {
            let mut number = number.lock();
            while *number == 0 {
                changed.wait_until(&mut number, far);
            }
        };
        let waits = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                waits.wait();
                wait();
            });
            waits.wait();
            thread::sleep(Duration::from_millis(5));
            forked(|| {
                thread::scope(|scope| {
                    let waiter = scope.spawn(wait);
                    *number.lock() = 1;
                    changed.notify_all();
                    waiter.join().is_ok()
                })
            });
            *number.lock() = 1;
            changed.notify_all();
        });
    });
}

#[test]
fn a_fork_in_the_end_of_a_thread_leaves_no_record_behind() {
    apart(module_path!(), "a_fork_in_the_end_of_a_thread_leaves_no_record_behind", || {
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                let _section = section();
                assert!(fork(|| threads::record().is_inside()));
            }
        }
        thread_local!(static LATE: Late = const { Late });
        for first in [false, true] {
            thread::spawn(move || {
                if first {
                    drop(section());
                }
                LATE.with(|_| ());
                drop(section());
            })
            .join()
            .unwrap();
        }
        assert!(DOMAIN.records().all(|record| !record.is_inside()));
        assert_eq!(DOMAIN.records().count(), 1, "the threads came one after the other");
    });
}

#[test]
fn who_does_not_get_a_turn_leaves_it_to_who_has_it() {
    let turn = Turn::default();
    let begun = turn.begin().unwrap();
    assert!(turn.begin().is_none());
    assert!(turn.begin().is_none(), "still under way");
    drop(begun);
    assert!(turn.begin().is_some());
}

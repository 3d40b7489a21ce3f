//! The epochs of the whole process, through the door that the tiers use. Each test runs in a
//! process of its own: in one, the pins of other tests would come between.

use std::{
    cell::RefCell,
    hint, panic, ptr,
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering},
        mpsc,
    },
    thread,
};

use super::*;
use crate::sync::{
    barrier,
    testing::{apart, forked, is_refused},
};

fn records() -> usize {
    DOMAIN.records().count()
}

#[test]
fn a_stamp_is_over_three_steps_later_and_no_sooner() {
    apart(module_path!(), "a_stamp_is_over_three_steps_later_and_no_sooner", || {
        let stamp = current();
        for _ in 0..3 {
            assert!(!is_over(stamp));
            assert!(try_advance());
        }
        assert!(is_over(stamp));
        assert!(!is_over(current()));
    });
}

#[test]
fn a_pin_lets_one_step_pass_and_holds_the_next() {
    apart(module_path!(), "a_pin_lets_one_step_pass_and_holds_the_next", || {
        let outer = pin();
        assert!(is_pinned());
        let stamp = current();
        assert!(try_advance());
        assert!(!try_advance());
        let inner = pin();
        drop(outer);
        assert!(!try_advance(), "the inner pin keeps the epoch of the outer one");
        assert!(is_pinned());
        drop(inner);
        assert!(!is_pinned());
        assert!(try_advance() && try_advance());
        assert!(is_over(stamp));
    });
}

#[test]
fn a_pin_of_another_thread_holds_the_epoch_until_it_ends() {
    apart(module_path!(), "a_pin_of_another_thread_holds_the_epoch_until_it_ends", || {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let pin = pin();
                tell.send(()).unwrap();
                ended.recv().unwrap();
                drop(pin);
            });
            told.recv().unwrap();
            assert!(!alone());
            let stamp = current();
            assert!(try_advance());
            assert!(!try_advance() && !try_advance());
            assert!(!is_over(stamp));
            end.send(()).unwrap();
        });
        assert!(try_advance() && try_advance());
    });
}

#[test]
fn only_who_is_alone_is_told_so() {
    apart(module_path!(), "only_who_is_alone_is_told_so", || {
        // The harness has threads, but they never pinned.
        assert!(alone());
        let pin = pin();
        assert!(!alone(), "its own pin may have seen it");
        drop(pin);
        assert!(alone());
        let gate = Barrier::new(2);
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                drop(super::pin());
                gate.wait();
                gate.wait();
            });
            gate.wait();
            assert!(!alone(), "the other thread has a record");
            gate.wait();
            // A scope ends before the thread-locals of its threads do; a join by hand does not.
            other.join().unwrap();
            assert!(alone());
        });
    });
}

#[test]
fn a_panic_ends_the_pins_it_unwinds_through() {
    apart(module_path!(), "a_panic_ends_the_pins_it_unwinds_through", || {
        let outer = pin();
        let unwound = panic::catch_unwind(|| {
            let _pin = pin();
            let _nested = pin();
            panic!("in a pinned section");
        });
        assert!(unwound.is_err() && is_pinned());
        drop(outer);
        assert!(!is_pinned() && try_advance() && try_advance());
    });
}

#[test]
fn a_thousand_threads_leave_as_many_records_as_lived_at_once() {
    apart(module_path!(), "a_thousand_threads_leave_as_many_records_as_lived_at_once", || {
        const AT_ONCE: usize = 8;
        for _ in 0..1_000 / AT_ONCE {
            let gate = Barrier::new(AT_ONCE);
            let wave = |_| {
                || {
                    let _pin = pin();
                    gate.wait();
                }
            };
            thread::scope(|scope| {
                let threads: Vec<_> =
                    (0..AT_ONCE).map(wave).map(|wave| scope.spawn(wave)).collect();
                threads.into_iter().for_each(|thread| thread.join().unwrap());
            });
        }
        assert_eq!(records(), AT_ONCE);
        assert!(alone() && try_advance());
    });
}

#[test]
fn destructors_of_thread_locals_may_pin() {
    apart(module_path!(), "destructors_of_thread_locals_may_pin", || {
        static WITHOUT_A_RECORD: AtomicU64 = AtomicU64::new(0);
        struct Late(RefCell<Option<Pin>>);
        impl Drop for Late {
            fn drop(&mut self) {
                if READER.get().is_null() {
                    WITHOUT_A_RECORD.fetch_add(1, Ordering::Relaxed);
                }
                let kept = self.0.take();
                let outer = pin();
                let inner = pin();
                assert!(is_pinned() && !alone());
                drop((outer, kept));
                assert!(is_pinned(), "the inner pin is left");
                drop(inner);
            }
        }
        // One of the two goes after the record was given back, whatever the order is.
        thread_local! {
            static BEFORE: Late = const { Late(RefCell::new(None)) };
            static AFTER: Late = const { Late(RefCell::new(None)) };
        }
        for keeps in [false, true] {
            thread::spawn(move || {
                BEFORE.with(|late| late.0.replace(None));
                let pin = pin();
                AFTER.with(|late| late.0.replace(keeps.then(super::pin)));
                if keeps {
                    BEFORE.with(|late| late.0.replace(Some(pin)));
                }
            })
            .join()
            .unwrap();
            assert!(alone(), "no record is left taken");
        }
        assert!(WITHOUT_A_RECORD.load(Ordering::Relaxed) >= 1);
        assert!(alone() && try_advance() && try_advance());
    });
}

#[test]
fn a_forked_child_forgets_the_threads_it_does_not_have() {
    apart(module_path!(), "a_forked_child_forgets_the_threads_it_does_not_have", || {
        let (tell, told) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                let _pin = pin();
                tell.send(()).unwrap();
                ended.recv().unwrap();
            });
            told.recv().unwrap();
            assert!(try_advance() && !try_advance());
            forked(|| {
                let were = records();
                let first = alone() && try_advance() && try_advance() && try_advance();
                let reused = thread::spawn(|| drop(pin())).join().is_ok();
                first && reused && records() == were
            });
            assert!(!try_advance(), "the parent forgets nothing");
            // The pin of the thread that forks goes along.
            let pin = pin();
            forked(|| {
                let held = is_pinned() && !alone() && try_advance() && !try_advance();
                drop(pin);
                held && alone() && try_advance()
            });
            end.send(()).unwrap();
        });
    });
}

#[test]
fn a_forked_child_has_the_fence_of_the_kernel_too() {
    apart(module_path!(), "a_forked_child_has_the_fence_of_the_kernel_too", || {
        let is_asymmetric = barrier::is_asymmetric();
        assert_eq!(is_asymmetric, cfg!(target_os = "linux") && !is_refused());
        static STOP: AtomicBool = AtomicBool::new(false);
        forked(move || {
            thread::scope(|scope| {
                // With a second thread running, so that the fence has somebody to reach.
                let stop = &STOP;
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        drop(pin());
                    }
                });
                let is_well = (0..10).all(|_| barrier::heavy());
                stop.store(true, Ordering::Relaxed);
                is_well && barrier::is_asymmetric() == is_asymmetric
            })
        });
    });
}

/// What readers find behind a pointer: whole while they may look, spoilt before it is freed. No
/// atomics: a sanitizer sees who comes too near.
struct Node {
    word: u64,
    twin: u64,
}

const SPOILT: u64 = u64::MAX;

#[test]
fn readers_never_see_what_was_freed() {
    apart(module_path!(), "readers_never_see_what_was_freed", || {
        const SWAPS: u64 = if cfg!(miri) { 200 } else { 20_000 };
        const READERS: usize = 2;
        let node = |word| Box::into_raw(Box::new(Node { word, twin: !word }));
        let shared = AtomicPtr::new(node(0));
        let stop = AtomicBool::new(false);
        let free = |unlinked: *mut Node| {
            // SAFETY: made by `node`, unlinked, and its stamp is over: nobody looks at it.
            let mut unlinked = unsafe { Box::from_raw(unlinked) };
            unlinked.word = SPOILT;
            unlinked.twin = hint::black_box(SPOILT);
        };
        thread::scope(|scope| {
            for _ in 0..READERS {
                scope.spawn(|| {
                    let mut looks = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let _pin = pin();
                        // SAFETY: reachable under a pin, so not freed while that lasts.
                        let node = unsafe { &*shared.load(Ordering::Acquire) };
                        let word = hint::black_box(node).word;
                        for _ in 0..looks % 64 {
                            hint::spin_loop();
                        }
                        assert_eq!(hint::black_box(node).twin, !word, "freed under a reader");
                        assert_ne!(word, SPOILT);
                        looks += 1;
                    }
                });
            }
            let mut limbo = Vec::new();
            for word in 1..=SWAPS {
                let unlinked = shared.swap(node(word), Ordering::AcqRel);
                limbo.push((unlinked, current()));
                if word % 8 == 0 {
                    try_advance();
                }
                limbo.retain(|(unlinked, stamp)| {
                    let is_over = is_over(*stamp);
                    if is_over {
                        free(*unlinked);
                    }
                    !is_over
                });
            }
            stop.store(true, Ordering::Relaxed);
            for (unlinked, stamp) in limbo {
                while !is_over(stamp) {
                    try_advance();
                    thread::yield_now();
                }
                free(unlinked);
            }
        });
        free(shared.swap(ptr::null_mut(), Ordering::Relaxed));
    });
}

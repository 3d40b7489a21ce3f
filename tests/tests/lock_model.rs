//! The words of the locks, `crates/tierce/src/sync/words.rs` itself, in every interleaving of a few threads, by
//! loom. Each defence is also taken out, and the model must then fail.
//!
//! `futex(2)` is modelled by what it promises: who would sleep looks at the word and lies down in one step, as
//! seen by those who wake.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

// Those of loom cannot be let go of where a model has failed.
use std::{cell::Cell, sync::Arc};

use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicU32, AtomicU64},
    thread,
};

use crate::{
    model_run::in_every_interleaving,
    words::{FREE, MutexWord, SharedWords, WakeWords},
};

// Not all of it is in a model.
mod model_run;
#[allow(dead_code)]
#[path = "../../crates/tierce/src/sync/words.rs"]
mod words;

/// What `words.rs` takes from the checker here.
mod shim {
    pub(super) use loom::{
        sync::atomic::{AtomicU32, AtomicU64, Ordering},
        thread,
    };

    pub(super) mod hint {
        /// The checker would have all others go first, so that nobody would ever sleep.
        pub(in super::super) fn spin_loop() {}
    }

    /// Each look is one more place to be interrupted at, and says no more than the first.
    pub(super) const LOOKS: u32 = 1;
    pub(super) const LOOKS_AT_ONCE: u32 = 1;
}

/// Sleeping and waking, of which a model may go without a part.
mod futex {
    use std::{ptr, sync::Arc, time::Duration};

    use loom::sync::{
        Mutex, Notify,
        atomic::{AtomicU32, Ordering},
    };

    use super::{WITHOUT, Without};

    type Sleeper = (usize, Arc<Notify>);

    loom::lazy_static! {
        static ref SLEEPERS: Mutex<Vec<Sleeper>> = Mutex::new(Vec::new());
    }

    fn address(word: &AtomicU32) -> usize {
        ptr::from_ref(word).addr()
    }

    pub(super) fn wait(word: &AtomicU32, value: u32, _: Option<Duration>) {
        let bell = Arc::new(Notify::new());
        let mut sleepers = SLEEPERS.lock().unwrap();
        if WITHOUT.get() != Without::Look && word.load(Ordering::Relaxed) != value {
            return;
        }
        sleepers.push((address(word), Arc::clone(&bell)));
        drop(sleepers);
        bell.wait();
        // It may have woken for no reason: nobody is to wake it a second time in another's stead.
        SLEEPERS.lock().unwrap().retain(|(_, other)| !Arc::ptr_eq(other, &bell));
    }

    pub(super) fn wake_one(word: &AtomicU32) {
        if WITHOUT.get() == Without::WakeOne {
            return;
        }
        let mut sleepers = SLEEPERS.lock().unwrap();
        if let Some(first) = sleepers.iter().position(|(at, _)| *at == address(word)) {
            sleepers.remove(first).1.notify();
        }
    }

    pub(super) fn wake_all(word: &AtomicU32) {
        if WITHOUT.get() == Without::WakeAll {
            return;
        }
        let mut sleepers = SLEEPERS.lock().unwrap();
        sleepers.retain(|(at, bell)| {
            let is_other = *at != address(word);
            if !is_other {
                bell.notify();
            }
            is_other
        });
    }
}

/// The defence that a model goes without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Who sleeps does not look at the word before.
    Look,
    WakeOne,
    WakeAll,
}

thread_local! {
    /// The threads of a model share the one it was begun on.
    static WITHOUT: Cell<Without> = const { Cell::new(Without::Nothing) };
}

/// Runs `body` in every interleaving with at most so many preemptions.
fn model(without: Without, preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    WITHOUT.set(without);
    in_every_interleaving(preemptions, body);
}

/// What only who holds the lock touches: the checker fails where two are at it at once.
struct Guarded {
    mutex: MutexWord,
    wakes: WakeWords,
    value: UnsafeCell<u32>,
}

// SAFETY: `value` is touched under `mutex` alone, which the checker checks.
unsafe impl Sync for Guarded {}
// SAFETY: as above.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            mutex: MutexWord(AtomicU32::new(FREE)),
            wakes: WakeWords { wakes: AtomicU32::new(0), waiters: AtomicU32::new(0) },
            value: UnsafeCell::new(0),
        })
    }

    fn add(&self) {
        self.mutex.lock();
        // SAFETY: the lock is held.
        self.value.with_mut(|value| unsafe { *value += 1 });
        self.mutex.unlock();
    }

    fn value(&self) -> u32 {
        // SAFETY: by who holds the lock, or is alone.
        self.value.with(|value| unsafe { *value })
    }
}

/// A thread and some others, each with the lock once: no change is lost, and none sleeps for ever.
fn mutex(without: Without, others: u32, preemptions: usize) {
    model(without, preemptions, move || {
        let guarded = Guarded::new();
        let threads: Vec<_> = (0..others)
            .map(|_| {
                let guarded = Arc::clone(&guarded);
                thread::spawn(move || guarded.add())
            })
            .collect();
        guarded.add();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(guarded.value(), 1 + others);
        assert!(guarded.mutex.try_lock());
    });
}

/// One waits under the mutex until another has changed the value, and woken all after it let go of the mutex.
fn condition(without: Without) {
    model(without, 3, || {
        let guarded = Guarded::new();
        let other = Arc::clone(&guarded);
        let changer = thread::spawn(move || {
            other.add();
            other.wakes.wake_all();
        });
        guarded.mutex.lock();
        while guarded.value() == 0 {
            guarded.wakes.wait(|sleep| {
                guarded.mutex.unlock();
                sleep(None);
                guarded.mutex.lock();
            });
        }
        guarded.mutex.unlock();
        changer.join().unwrap();
    });
}

/// What many may look at and one may change.
struct Shared {
    words: SharedWords,
    value: UnsafeCell<u32>,
}

// SAFETY: `value` is looked at by who shares the lock and changed by who has it alone, which the checker checks.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// Two share a lock, and a third has it alone: none of them meets another, and none sleeps for ever.
fn shared(without: Without) {
    model(without, 1, || {
        let shared = Arc::new(Shared {
            words: SharedWords { state: AtomicU64::new(0), turns: AtomicU32::new(0) },
            value: UnsafeCell::new(0),
        });
        let look = |shared: &Shared| {
            shared.words.share(7);
            // SAFETY: the lock is shared.
            let value = shared.value.with(|value| unsafe { *value });
            shared.words.leave(7);
            value
        };
        let others: Vec<_> = (0..2)
            .map(|number| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    if number == 0 {
                        return look(&shared);
                    }
                    shared.words.take(7);
                    // SAFETY: this thread has the lock alone.
                    shared.value.with_mut(|value| unsafe { *value += 1 });
                    shared.words.give(7);
                    0
                })
            })
            .collect();
        look(&shared);
        others.into_iter().for_each(|other| _ = other.join().unwrap());
        assert!(shared.words.try_take(7));
        // SAFETY: all others have ended.
        assert_eq!(shared.value.with(|value| unsafe { *value }), 1);
    });
}

#[test]
fn a_mutex_lets_in_one_at_a_time_and_leaves_nobody_asleep() {
    mutex(Without::Nothing, 1, 3);
    mutex(Without::Nothing, 2, 1);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_mutex_that_wakes_nobody_leaves_one_asleep() {
    mutex(Without::WakeOne, 1, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_mutex_whose_word_is_not_looked_at_leaves_one_asleep() {
    mutex(Without::Look, 1, 3);
}

#[test]
fn who_waits_for_a_condition_is_woken_by_its_change() {
    condition(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_is_not_woken_waits_for_ever() {
    condition(Without::WakeAll);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_does_not_look_whether_it_was_woken_waits_for_ever() {
    condition(Without::Look);
}

#[test]
fn who_has_a_shared_lock_alone_meets_nobody_and_none_sleeps_for_ever() {
    shared(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_shared_lock_that_wakes_nobody_leaves_one_asleep() {
    shared(Without::WakeAll);
}

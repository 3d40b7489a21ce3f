//! Reading through L1, with the list of loads and the meeting of who waits for one
//! (`crates/tierce/src/memory/loads.rs` itself), in every interleaving of a few threads, by loom.
//! Each defence is also taken out, and the model must then fail.
//!
//! What stands around them here are the steps of `MemoryCache`: a lock with the list and the value,
//! loads with no lock held, changes that void. Locks and conditions are loom's (`lock_model.rs` is
//! about ours), and no wait ends by itself.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use loom::{cell::UnsafeCell, thread};

use crate::{
    loads::{Entered, Loads, Outcome},
    model_run::{in_every_interleaving, threads},
    shared::Shared,
    sync::{
        WAKES_NOBODY,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

// Not all of it is in a model.
#[allow(dead_code)]
#[path = "../../crates/tierce/src/memory/loads.rs"]
mod loads;
mod model_run;
#[allow(dead_code)]
#[path = "../../crates/tierce/src/memory/shared.rs"]
mod shared;
#[path = "model_sync/mod.rs"]
mod sync;

/// The defence that a model goes without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Who waits is not woken.
    Waking,
    /// A leader whose loader fails ends nothing.
    Ending,
    /// A change voids no load.
    Voiding,
    /// A load is stored though it is void.
    Asking,
    /// Who waited in vain leaves the load to be joined.
    Abandoning,
}

/// Runs `body` in every interleaving with at most so many preemptions.
fn model(without: Without, preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    WAKES_NOBODY.set(without == Without::Waking);
    in_every_interleaving(preemptions, body);
}

const KEY: u32 = 7;
const OLD: u32 = 1;
const NEW: u32 = 2;

/// What a shard's lock guards.
struct Shard {
    loads: Loads<u32, u32>,
    value: Option<u32>,
}

// SAFETY: the keys that its loads name are in frames of threads that end their loads first.
unsafe impl Send for Shard {}

struct World {
    shard: sync::Mutex<Shard>,
    source: AtomicU32,
    /// A change has returned.
    returned: AtomicBool,
    /// Touched by who loads: the checker fails where two are at it at once.
    loading: UnsafeCell<u32>,
    without: Without,
}

// SAFETY: the checker fails where two threads are at `loading` at once.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Got {
    Value(u32),
    Failure,
    Late,
}

impl World {
    fn new(without: Without) -> Arc<Self> {
        Arc::new(Self {
            shard: sync::Mutex::new(Shard { loads: Loads::default(), value: None }),
            source: AtomicU32::new(OLD),
            returned: AtomicBool::new(false),
            loading: UnsafeCell::new(0),
            without,
        })
    }

    /// A load that nobody else does meanwhile.
    fn load_alone(&self) -> Option<u32> {
        // SAFETY: the checker fails if another one loads meanwhile.
        self.loading.with_mut(|loads| unsafe { *loads += 1 });
        Some(self.source.load(Ordering::Acquire))
    }

    /// A load beside which there may be one of after a change.
    fn load(&self) -> Option<u32> {
        Some(self.source.load(Ordering::Acquire))
    }

    /// As `load_missing` in `memory/load.rs`.
    fn get(&self, deadline: Option<Instant>, load: impl FnOnce(&Self) -> Option<u32>) -> Got {
        let key = KEY;
        let ticket = loop {
            let entered = {
                let mut shard = self.shard.lock();
                match shard.value {
                    Some(value) => return Got::Value(value),
                    // SAFETY: the load is ended below, before `key` goes.
                    None => unsafe { shard.loads.enter(KEY, &key) },
                }
            };
            match entered {
                Entered::Lead(ticket) => break ticket,
                Entered::Join(ticket, meeting) => match (meeting.wait(deadline), deadline) {
                    (Outcome::Loaded(value), _) => return Got::Value(*value),
                    (Outcome::Pending, Some(_)) => {
                        if self.without != Without::Abandoning {
                            self.shard.lock().loads.abandon(ticket);
                        }
                        return Got::Late;
                    }
                    _ => {}
                },
                Entered::Found | Entered::Reentrant => panic!("it is neither there nor asked for"),
            }
        };
        let Some(value) = load(self) else {
            let ended = self.shard.lock().loads.end(ticket);
            if self.without != Without::Ending
                && let Some(meeting) = ended.meeting
            {
                meeting.end(Outcome::Failed);
            }
            return Got::Failure;
        };
        let mut shard = self.shard.lock();
        let ended = shard.loads.end(ticket);
        if ended.may_store || self.without == Without::Asking {
            shard.loads.void(KEY);
            shard.value = Some(value);
        }
        drop(shard);
        if let Some(meeting) = ended.meeting {
            meeting.end(Outcome::Loaded(Shared::try_new(value).unwrap()));
        }
        Got::Value(value)
    }

    /// Removes the key after its source has changed.
    fn change(&self) {
        self.source.store(NEW, Ordering::Release);
        let mut shard = self.shard.lock();
        if self.without != Without::Voiding {
            shard.loads.void(KEY);
        }
        shard.value = None;
        drop(shard);
        self.returned.store(true, Ordering::Release);
    }
}

/// Three callers of a key: one loads, at a time and in all, and each gets the value.
fn callers(without: Without) {
    model(without, 4, move || {
        let world = World::new(without);
        let get = |world: &World| world.get(None, World::load_alone);
        let others = threads(&world, 2, get);
        assert_eq!(get(&world), Got::Value(OLD));
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Got::Value(OLD)));
        // SAFETY: all others have ended.
        assert_eq!(world.loading.with(|loads| unsafe { *loads }), 1);
        assert!(world.shard.lock().loads.is_empty());
    });
}

#[test]
fn one_loads_for_all_who_miss() {
    callers(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_meeting_that_wakes_nobody_leaves_one_waiting_for_ever() {
    callers(Without::Waking);
}

/// A leader whose loader fails or panics: one of those who wait loads next.
fn failure(without: Without) {
    model(without, 4, move || {
        let world = World::new(without);
        let others = threads(&world, 2, |world| world.get(None, World::load_alone));
        let mine = world.get(None, |_| None);
        assert!(matches!(mine, Got::Failure | Got::Value(OLD)), "{mine:?}");
        others.into_iter().for_each(|other| assert_eq!(other.join().unwrap(), Got::Value(OLD)));
        assert!(world.shard.lock().loads.is_empty());
    });
}

#[test]
fn one_of_those_who_wait_loads_where_the_leader_failed() {
    failure(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn they_wait_for_ever_where_a_leader_that_fails_ends_nothing() {
    failure(Without::Ending);
}

/// A change while one loads and another comes: after it returned, nothing older is had or kept.
fn change(without: Without) {
    model(without, 4, move || {
        let world = World::new(without);
        let get = |world: &World| {
            let after = world.returned.load(Ordering::Acquire);
            (after, world.get(None, World::load))
        };
        let others = threads(&world, 2, get);
        world.change();
        let mut all: Vec<_> = others.into_iter().map(|other| other.join().unwrap()).collect();
        all.push(get(&world));
        for (after, got) in all {
            assert!(!after || got == Got::Value(NEW), "older than a change that had returned");
        }
        assert!(world.shard.lock().loads.is_empty());
    });
}

#[test]
fn a_load_from_before_a_change_is_neither_joined_after_it_nor_kept() {
    change(Without::Nothing);
}

#[test]
#[should_panic(expected = "older than a change")]
fn it_is_where_the_change_does_not_void_it() {
    change(Without::Voiding);
}

#[test]
#[should_panic(expected = "older than a change")]
fn it_is_where_a_load_does_not_ask_whether_it_is_void() {
    change(Without::Asking);
}

/// A caller that waits for no time, and a loader that only returns once another caller loaded.
fn hung(without: Without) {
    model(without, 4, move || {
        let world = World::new(without);
        let hangs = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                world.get(None, |world| {
                    while !world.returned.load(Ordering::Acquire) {
                        thread::yield_now();
                    }
                    Some(OLD)
                })
            })
        };
        let now = Instant::now().checked_sub(Duration::from_millis(1));
        while world.get(now, |_| Some(NEW)) == Got::Late {}
        world.returned.store(true, Ordering::Release);
        hangs.join().unwrap();
        let kept = world.shard.lock().value;
        assert_eq!(kept, Some(NEW), "a load that was given up came after another one");
        assert!(world.shard.lock().loads.is_empty());
    });
}

#[test]
fn who_comes_after_one_that_waited_in_vain_loads_itself() {
    hung(Without::Nothing);
}

#[test]
#[should_panic(expected = "exceeded maximum")]
fn nobody_ever_does_where_a_load_that_hangs_is_joined_again() {
    hung(Without::Abandoning);
}

//! Single flight, `crates/tierce/src/load/flight` itself, in every interleaving of a few threads
//! and tasks, by loom: who joins waits for somebody who leads, is woken, and gets nothing from
//! before a change that had returned. Each defence is also taken out, and the model must then fail.
//!
//! Locks and conditions are loom's (`lock_model.rs` is about ours), and no wait ends by itself: in
//! the cache a waiter looks up every now and then, which would hide that nobody woke it.
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use loom::{cell::UnsafeCell, sync::Notify, thread};

use crate::{
    error::{Error, ErrorKind},
    flight::{Entered, Flights, Joined, Lead, Waited},
    invalidation::Began,
    model_run::{in_every_interleaving, threads},
    simulated::JOINS_AFTER_CHANGE,
    sync::{
        NO_TOTAL_ORDER, WAKES_NOBODY,
        atomic::{AtomicBool, AtomicU32, Ordering},
        unwind,
    },
};

// Not all of it is in a model.
#[allow(dead_code, unused_imports)]
#[path = "../../crates/tierce/src/load/flight/mod.rs"]
mod flight;
mod model_run;
#[path = "model_sync/mod.rs"]
mod sync;

/// The seeds of a hasher would differ from one interleaving to the next.
extern crate self as foldhash;

mod fast {
    use std::hash::{BuildHasherDefault, DefaultHasher};

    pub(super) type RandomState = BuildHasherDefault<DefaultHasher>;
}

mod context {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    #[derive(Clone)]
    pub(super) struct CancelToken(Arc<AtomicBool>);

    impl CancelToken {
        pub(super) fn new() -> Self {
            Self(Arc::default())
        }

        pub(super) fn cancel(&self) {
            self.0.store(true, Ordering::Relaxed);
        }

        pub(super) fn is_cancelled(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
}

mod error {
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) enum ErrorKind {
        LoaderPanicked,
        Reentrant,
        Timeout,
    }

    #[derive(Clone, Debug)]
    pub(super) struct Error(pub(super) ErrorKind);

    pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

    impl Error {
        pub(super) fn new<T>(kind: ErrorKind, _: T) -> Self {
            Self(kind)
        }
    }
}

mod invalidation {
    /// The stamp of the key.
    #[derive(Clone, Copy)]
    pub(super) struct Began(pub(super) u32);
}

/// Time stands still.
mod simulated {
    use std::{
        cell::Cell,
        time::{Duration, Instant},
    };

    std::thread_local! {
        pub(super) static JOINS_AFTER_CHANGE: Cell<bool> = const { Cell::new(false) };
    }

    #[derive(Clone, Copy)]
    pub(super) enum Fault {
        JoinAfterChange,
    }

    pub(super) fn point() {}

    pub(super) fn is_planted(fault: Fault) -> bool {
        match fault {
            Fault::JoinAfterChange => JOINS_AFTER_CHANGE.get(),
        }
    }

    pub(super) fn now() -> Instant {
        Instant::now()
    }

    pub(super) fn since(_: Instant) -> Duration {
        Duration::ZERO
    }
}

/// The defence that a model goes without.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Without {
    Nothing,
    /// Conditions wake nobody.
    Waking,
    /// A change leaves the flight where it is joined.
    Detaching,
    /// A task that was woken and is dropped does not pass it on.
    PassingOn,
    /// Whether a flight is vacant and whether anybody waits is not looked at in one order.
    TotalOrder,
    /// An overtaken leader does not ask whether it may keep its value.
    Asking,
}

/// Runs `body` in every interleaving with at most so many preemptions.
fn model(without: Without, preemptions: usize, body: impl Fn() + Sync + Send + 'static) {
    WAKES_NOBODY.set(without == Without::Waking);
    JOINS_AFTER_CHANGE.set(without == Without::Detaching);
    NO_TOTAL_ORDER.set(without == Without::TotalOrder);
    in_every_interleaving(preemptions, body);
}

const OLD: u32 = 1;
const NEW: u32 = 2;

/// One key of a cache, and what a load of it goes through.
struct World {
    flights: Flights<u32>,
    source: AtomicU32,
    stamp: AtomicU32,
    /// A change has returned.
    returned: AtomicBool,
    /// What the cache keeps, and the number of loads that filed it.
    kept: sync::Mutex<(u32, u32)>,
    /// Touched by who loads: the checker fails where two are at it at once.
    loading: UnsafeCell<u32>,
}

// SAFETY: the checker fails where two threads are at `loading` at once.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(),
            source: AtomicU32::new(OLD),
            stamp: AtomicU32::new(0),
            returned: AtomicBool::new(false),
            kept: sync::Mutex::new((0, 0)),
            loading: UnsafeCell::new(0),
        })
    }

    fn enter(&self) -> Entered<u32> {
        let began = Began(self.stamp.load(Ordering::Acquire));
        let is_current = |of: Began| of.0 == self.stamp.load(Ordering::Acquire);
        match self.flights.enter(b"key", began, is_current) {
            Ok(entered) => entered,
            Err(error) => panic!("{error:?}"),
        }
    }

    fn lead(&self) -> Lead<u32> {
        match self.enter() {
            Entered::Lead(lead) => lead,
            Entered::Join(_) => panic!("somebody leads"),
        }
    }

    fn join(&self) -> Joined<u32> {
        match self.enter() {
            Entered::Join(joined) => joined,
            Entered::Lead(_) => panic!("nobody leads"),
        }
    }

    /// What a leader does, alone at it.
    fn load_alone(&self, lead: Lead<u32>) -> u32 {
        // SAFETY: the checker fails if another one loads meanwhile.
        self.loading.with_mut(|loads| unsafe { *loads += 1 });
        let value = self.source.load(Ordering::Acquire);
        assert!(lead.begin_filing());
        lead.land(Ok(value));
        value
    }

    fn wait(joined: &Joined<u32>) -> Result<Waited<u32>, Error> {
        joined.wait(Duration::MAX, None)
    }

    /// Reads through, alone where this thread leads.
    fn get(&self) -> Result<u32, Error> {
        match self.enter() {
            Entered::Lead(lead) => Ok(self.load_alone(lead)),
            Entered::Join(joined) => match Self::wait(&joined)? {
                Waited::Landed(value) => Ok(value),
                Waited::Lead(lead) => Ok(self.load_alone(lead)),
                Waited::Overtaken => panic!("nobody overtook"),
            },
        }
    }
}

/// Some callers of a key: one loads at a time, and all get a value.
fn callers(without: Without) {
    model(without, 3, || {
        let world = World::new();
        let others = threads(&world, 2, World::get);
        assert_eq!(world.get().unwrap(), OLD);
        for other in others {
            assert_eq!(other.join().unwrap().unwrap(), OLD);
        }
        assert_eq!(world.flights.len(), 0);
    });
}

#[test]
fn one_loads_at_a_time_and_all_get_a_value() {
    callers(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_landing_that_wakes_nobody_leaves_one_waiting_for_ever() {
    callers(Without::Waking);
}

/// A leader that is gone without a result, and two who joined or come.
fn leader_gone(without: Without) {
    model(without, 2, || {
        let world = World::new();
        let leads = world.lead().travelling();
        let others = threads(&world, 2, World::get);
        drop(leads);
        for other in others {
            assert_eq!(other.join().unwrap().unwrap(), OLD);
        }
        assert_eq!(world.flights.len(), 0);
    });
}

#[test]
fn one_of_those_who_wait_leads_where_the_leader_is_gone() {
    leader_gone(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn who_is_not_told_that_the_leader_is_gone_waits_for_ever() {
    leader_gone(Without::Waking);
}

/// A loader that panics under two who joined or come.
#[test]
fn a_panic_is_told_to_those_who_wait_and_who_comes_later_loads() {
    model(Without::Nothing, 3, || {
        let world = World::new();
        let leads = world.lead();
        let others = threads(&world, 2, World::get);
        unwind(true);
        drop(leads);
        unwind(false);
        for other in others {
            match other.join().unwrap() {
                Ok(value) => assert_eq!(value, OLD),
                Err(Error(kind)) => assert_eq!(kind, ErrorKind::LoaderPanicked),
            }
        }
        assert_eq!(world.get().unwrap(), OLD);
        assert_eq!(world.flights.len(), 0);
    });
}

/// A joiner that leaves while its leader does: nobody is left in the table.
fn both_leave(without: Without) {
    model(without, 3, || {
        let world = World::new();
        let leads = world.lead().travelling();
        let joined = world.join();
        let leaves = thread::spawn(move || drop(joined));
        drop(leads);
        leaves.join().unwrap();
        assert_eq!(world.flights.len(), 0, "a flight that nobody leads or waits for");
    });
}

#[test]
fn a_flight_that_its_leader_and_its_last_joiner_leave_at_once_is_forgotten() {
    both_leave(Without::Nothing);
}

#[test]
#[should_panic(expected = "a flight that nobody leads or waits for")]
fn it_stays_where_they_do_not_look_in_one_order() {
    both_leave(Without::TotalOrder);
}

/// How a change of a key has no earlier load joined.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Change {
    /// By this process.
    Detaches,
    /// By another one, which raises the stamp that they share.
    Raises,
}

/// A change while one loads and another comes: after it returned, nothing older is had.
fn change(change: Change, without: Without) {
    model(without, 3, move || {
        let world = World::new();
        let read = |world: &World| {
            let after = world.returned.load(Ordering::Acquire);
            // Two may load: one from before the change.
            let value = match world.enter() {
                Entered::Lead(lead) => {
                    let value = world.source.load(Ordering::Acquire);
                    lead.land(Ok(value));
                    value
                }
                Entered::Join(joined) => match World::wait(&joined) {
                    Ok(Waited::Landed(value)) => value,
                    _ => panic!("its leader lands"),
                },
            };
            (after, value)
        };
        let others = threads(&world, 2, read);
        world.source.store(NEW, Ordering::Release);
        match change {
            Change::Detaches => world.flights.detach(b"key"),
            Change::Raises => {
                world.stamp.swap(1, Ordering::AcqRel);
            }
        }
        world.returned.store(true, Ordering::Release);
        for other in others {
            let (after, value) = other.join().unwrap();
            assert!(!after || value == NEW, "older than a change that had returned");
        }
        assert_eq!(world.flights.len(), 0);
    });
}

#[test]
fn a_load_from_before_a_change_is_not_joined_after_it() {
    change(Change::Detaches, Without::Nothing);
    change(Change::Raises, Without::Nothing);
}

#[test]
#[should_panic(expected = "older than a change")]
fn it_is_where_the_change_leaves_it_in_the_table() {
    change(Change::Detaches, Without::Detaching);
}

#[test]
#[should_panic(expected = "older than a change")]
fn it_is_where_who_comes_does_not_look_at_its_stamp() {
    change(Change::Raises, Without::Detaching);
}

/// A leader that is overtaken, by one who loads what is new meanwhile: that is what is kept.
fn overtaken(without: Without) {
    model(without, 4, move || {
        let world = World::new();
        let leads = world.lead().travelling();
        let (joined, token) = (world.join(), leads.token().clone());
        let file = move |world: &World, lead: &Lead<u32>, value: u32| {
            if lead.begin_filing() || without == Without::Asking {
                let mut kept = world.kept.lock();
                *kept = (value, kept.1 + 1);
            }
        };
        let impatient = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                joined.overtake();
                match World::wait(&joined) {
                    Ok(Waited::Landed(_)) => return,
                    Ok(Waited::Overtaken) => assert!(token.is_cancelled()),
                    _ => panic!("it has neither failed nor is it vacant"),
                }
                world.source.store(NEW, Ordering::Release);
                let lead = world.lead();
                file(&world, &lead, NEW);
                lead.land(Ok(NEW));
            })
        };
        let value = world.source.load(Ordering::Acquire);
        file(&world, &leads, value);
        leads.land(Ok(value));
        impatient.join().unwrap();
        let kept = *world.kept.lock();
        assert_eq!(kept.0, world.source.load(Ordering::Acquire), "kept by who was overtaken");
        assert_eq!((kept.1, world.flights.len()), (1, 0));
    });
}

#[test]
fn who_is_overtaken_keeps_nothing_and_those_who_waited_begin_anew() {
    overtaken(Without::Nothing);
}

#[test]
#[should_panic(expected = "kept by who was overtaken")]
fn it_does_where_it_does_not_ask() {
    overtaken(Without::Asking);
}

/// Rings where its task waits.
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        if !std::thread::panicking() {
            self.0.notify();
        }
    }
}

/// A task that waits, each time until it is woken, and how it ends.
fn run(world: &World, mut joined: Joined<u32>) -> u32 {
    let bell = Arc::new(Bell(Notify::new()));
    let waker = Waker::from(Arc::clone(&bell));
    loop {
        match joined.poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => bell.0.wait(),
            Poll::Ready(Ok(Waited::Landed(value))) => return value,
            Poll::Ready(Ok(Waited::Lead(lead))) => return world.load_alone(lead),
            Poll::Ready(_) => panic!("neither failed nor overtaken"),
        }
    }
}

/// Two tasks wait; their leader is dropped, and so is one of them, which may be the one that was
/// woken to lead.
fn tasks(without: Without) {
    model(without, 3, move || {
        let world = World::new();
        let leads = world.lead().travelling();
        let (mut first, second) = (world.join(), world.join());
        let silent = Waker::noop();
        assert!(first.poll(&mut Context::from_waker(silent)).is_pending());
        let waits = {
            let world = Arc::clone(&world);
            thread::spawn(move || run(&world, second))
        };
        let leaves = thread::spawn(move || match without {
            Without::PassingOn => mem::forget(first),
            _ => drop(first),
        });
        drop(leads);
        leaves.join().unwrap();
        assert_eq!(waits.join().unwrap(), OLD);
        assert_eq!(world.flights.len(), 0);
    });
}

#[test]
fn a_task_leads_where_the_leader_and_the_one_that_was_woken_are_dropped() {
    tasks(Without::Nothing);
}

#[test]
#[should_panic(expected = "deadlock")]
fn it_sleeps_for_ever_where_the_one_that_was_woken_does_not_pass_it_on() {
    tasks(Without::PassingOn);
}

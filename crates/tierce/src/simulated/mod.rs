//! Where a simulation takes part in the crate (feature `sim`): the points at which it may let
//! another thread go on, the waits that it turns into virtual time, the threads that it runs itself,
//! the numbers that it draws, and the faults that it plants to see whether it would find them.
//!
//! A thread that is no actor of a simulation passes all of this by: one look at a word of its own.
//! Without the feature nothing of it is compiled (`absent.rs`).
//!
//! The simulation itself stands above the cache (`sim`); here is only the way to it.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::atomic::AtomicU32,
    thread,
    time::{Duration, Instant},
};

pub(crate) mod planted;

pub use planted::Fault;

/// What a thread of the cache is to run.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// What became of a job.
pub(crate) enum Spawned {
    /// An actor runs it.
    Taken,
    /// No actor is free for it.
    Refused(Job),
    /// The calling thread is no actor: a thread is to be started for it.
    Elsewhere(Job),
}

/// What an actor asks of its simulation.
pub(crate) trait Simulation {
    /// Another actor may go on here.
    fn point(&self);

    /// The thread would sleep while `word` holds `value`, at most for `longest`.
    fn wait(&self, word: &AtomicU32, value: u32, longest: Option<Duration>);

    /// Has an actor run this; it comes back where none is free.
    fn spawn(&self, job: Job) -> Result<(), Job>;

    /// Virtual time.
    fn now(&self) -> Instant;

    /// The next number of the seed.
    fn random(&self) -> u64;
}

thread_local! {
    static ACTOR: RefCell<Option<Rc<dyn Simulation>>> = const { RefCell::new(None) };
    /// A bit for each fault that is planted.
    static PLANTED: Cell<u32> = const { Cell::new(0) };
}

/// Makes this thread an actor, with these faults, until it is told otherwise.
pub(crate) fn become_actor(simulation: Option<Rc<dyn Simulation>>, planted: u32) {
    PLANTED.set(planted);
    let before = ACTOR.replace(simulation);
    drop(before);
}

fn ask<R>(ask: impl FnOnce(&dyn Simulation) -> R) -> Option<R> {
    // A thread that is ending has no actor any more.
    let actor = ACTOR.try_with(|actor| actor.borrow().clone()).ok().flatten();
    actor.map(|actor| ask(&*actor))
}

/// Another thread may go on here.
#[inline]
pub(crate) fn point() {
    ask(|actor| actor.point());
}

/// Stands for a wait of the operating system: true if it is over, false where the thread is to
/// wait by itself.
#[inline]
pub(crate) fn wait(word: &AtomicU32, value: u32, longest: Option<Duration>) -> bool {
    ask(|actor| actor.wait(word, value, longest)).is_some()
}

/// Sleeps for so long, for who looks again and again: nothing wakes it.
pub(crate) fn sleep(span: Duration) {
    if !wait(&AtomicU32::new(0), 0, Some(span)) {
        thread::sleep(span);
    }
}

/// Has an actor run a job of a background thread, where the calling thread is an actor.
pub(crate) fn spawn(job: Job) -> Spawned {
    let mut job = Some(job);
    let taken = ask(|actor| job.take().map_or(Ok(()), |job| actor.spawn(job)));
    match (taken, job) {
        (Some(Err(job)), _) => Spawned::Refused(job),
        (None, Some(job)) => Spawned::Elsewhere(job),
        _ => Spawned::Taken,
    }
}

/// The time by which waits are measured.
#[inline]
pub(crate) fn now() -> Instant {
    ask(|actor| actor.now()).unwrap_or_else(Instant::now)
}

/// How long ago something was, by that time.
#[inline]
pub(crate) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

/// A number of the simulation, for what is otherwise drawn at random.
#[inline]
pub(crate) fn random() -> Option<u64> {
    ask(|actor| actor.random())
}

/// True where the simulation wants this fault.
#[inline]
pub(crate) fn is_planted(fault: Fault) -> bool {
    PLANTED.get() & fault.bit() != 0
}

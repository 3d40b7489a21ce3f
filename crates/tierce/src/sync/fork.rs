//! Sections that a fork waits for, so that a child never finds anything half done.
//!
//! A forked child has the memory of its parent but only the thread that forked: what another
//! thread was about to change stays half changed, and a lock it held stays locked, for ever. So
//! every lock of this crate is held in a **section** ([`section`]), which its thread announces in
//! its record; `fork(2)` first runs a handler of ours (`pthread_atfork`), which closes a gate for
//! new sections and waits for those under way. The locks themselves need no word about it, nor an
//! order in which to take them: at the moment of the fork none is held and nobody waits for one.
//!
//! A section costs a thread a store at its begin and one at its end. That the handler misses none
//! is a question of one fence, which the handler pays (`barrier.rs`): a thread announces, passes a
//! light fence, looks at the gate; the handler closes the gate, passes a heavy fence, looks at the
//! records. Of the two fences one comes first: the thread finds the gate closed and takes its
//! announcement back, or the handler finds the announcement. A section in a section does not look
//! at the gate, so a thread that holds one lock always gets the next. A thread that is sole
//! (`domain.rs`) looks at no gate; the handler counts as another thread, so that none is.
//!
//! Sections are short, but some run the caller's code, which may do anything. If it forks, the
//! handler does not wait: it would wait for itself. If it blocks for long, the handler gives up
//! after [`PATIENCE`], and the fork is as safe as it would be without it. Calls of other tiers and
//! waits for another thread's load are in no section.
//!
//! What a dead thread had taken beside locks (a load to lead, a probe of a breaker) the child must
//! not wait for either: such things bear the [`generation`] they were taken in.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    barrier,
    domain::Record,
    epoch, futex, kept_back,
    threads::{self, DOMAIN},
};

/// How long a fork waits for sections: far longer than any of ours, and a time that a program
/// whose code hangs in one can bear at each fork.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often the handler yields before it begins to sleep between its looks.
const YIELDS: u32 = 100;
/// How long it sleeps then.
const NAP: Duration = Duration::from_micros(50);

const OPEN: u32 = 0;
const CLOSED: u32 = 1;

/// Closed while a thread forks.
static GATE: AtomicU32 = AtomicU32::new(OPEN);

/// Raised in every child; 0 while forks may go unnoticed.
static GENERATION: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The fork that this thread is in the midst of.
    static FORK: Cell<Fork> = const { Cell::new(Fork { handlers: 0, closed: false }) };
}

#[derive(Clone, Copy)]
struct Fork {
    /// Handlers under way. One, unless two threads registered ours at the same time.
    handlers: u32,
    /// Did this thread close the gate?
    closed: bool,
}

/// While it lives, a fork by another thread waits. Stays on its thread, and nests.
#[must_use]
pub(crate) struct Section(*const Record);

// SAFETY: a reference to a section gives no access to the record.
unsafe impl Sync for Section {}

/// Begins a section; waits for a fork under way unless this thread is in a section already.
#[inline(always)]
pub(crate) fn section() -> Section {
    let record = threads::record();
    if record.enter() {
        barrier::light();
        if GATE.load(Ordering::Relaxed) != OPEN {
            wait_outside(record);
        }
    }
    Section(record)
}

/// Begins a section with a step that no other thread sees half done, where no other has a record
/// and none forks. `None`, and no section, where that is not so, or this thread is in one already,
/// or the step says no. The step must be some loads and stores.
#[inline(always)]
pub(super) fn sole_section(step: impl FnOnce() -> bool) -> Option<Section> {
    let record = threads::record();
    if !record.enter_sole(&DOMAIN) {
        return None;
    }
    let done = step();
    record.end_sole();
    let section = Section(record);
    done.then_some(section)
}

#[cold]
#[inline(never)]
fn wait_outside(record: &Record) {
    loop {
        record.leave_for_now();
        while GATE.load(Ordering::Relaxed) != OPEN {
            futex::wait(&GATE, CLOSED, None);
        }
        record.enter();
        barrier::light();
        if GATE.load(Ordering::Relaxed) == OPEN {
            return;
        }
    }
}

impl Section {
    /// Says in the thread's record which epoch it has come to.
    #[inline(always)]
    pub(super) fn say_epoch(&self) {
        // SAFETY: a record of a domain that is a static: it lives for ever.
        DOMAIN.say(unsafe { &*self.0 });
    }
}

impl Drop for Section {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: a record of a domain that is a static: it lives for ever.
        let record = unsafe { &*self.0 };
        if record.leave() {
            threads::give_back(record);
        }
    }
}

/// Which process this is, in a line of forked ones; not 0. What a thread took in an earlier one is
/// void: that thread may not be here.
#[inline]
pub(crate) fn generation() -> u32 {
    match GENERATION.load(Ordering::Relaxed) {
        0 => first_generation(),
        generation => generation,
    }
}

/// As [`generation`], but 0 before anybody asked for it: one load.
#[inline(always)]
#[cfg(all(feature = "shared", target_os = "linux"))]
pub(crate) fn known_generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

#[cold]
fn first_generation() -> u32 {
    watch();
    match GENERATION.compare_exchange(0, 1, Ordering::Relaxed, Ordering::Relaxed) {
        Ok(_) => 1,
        Err(other) => other,
    }
}

/// Has the handlers run at every fork from now on.
pub(super) fn watch() {
    static DONE: AtomicBool = AtomicBool::new(false);

    // Not a `Once`: a fork in the midst of one would leave it under way in the child for ever.
    // Two threads may both come here, and the handlers run twice.
    if !DONE.load(Ordering::Acquire) {
        #[cfg(unix)]
        // SAFETY: the handlers live as long as the code they are part of. They touch atomics,
        // thread-locals without a destructor and records that are never freed; they neither
        // allocate nor unwind.
        unsafe {
            libc::pthread_atfork(Some(before), Some(after_in_parent), Some(after_in_child));
        }
        DONE.store(true, Ordering::Release);
    }
}

extern "C" fn before() {
    let mut fork = FORK.get();
    fork.handlers += 1;
    if fork.handlers == 1 {
        let mine = threads::record_if_any();
        // In a section of its own it would wait for itself, or others for what it holds.
        fork.closed = !mine.is_some_and(Record::is_inside) && close_gate(mine);
    }
    FORK.set(fork);
}

/// Closes the gate and waits until nobody is inside. False if it was not closed.
fn close_gate(mine: Option<&Record>) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while GATE.compare_exchange(OPEN, CLOSED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
        // Another thread forks.
        if Instant::now() >= deadline {
            return false;
        }
        futex::wait(&GATE, CLOSED, Some(NAP));
    }
    // Who is sole does not look at the gate.
    DOMAIN.disturb();
    barrier::heavy();
    let is_mine = |record: &Record| mine.is_some_and(|mine| std::ptr::eq(record, mine));
    for record in DOMAIN.records().filter(|record| !is_mine(record)) {
        let mut looks = 0;
        while record.is_inside() && Instant::now() < deadline {
            looks += 1;
            if looks < YIELDS { thread::yield_now() } else { thread::sleep(NAP) }
        }
    }
    true
}

extern "C" fn after_in_parent() {
    let mut fork = FORK.get();
    fork.handlers -= 1;
    if fork.handlers == 0 && fork.closed {
        DOMAIN.calm();
        GATE.store(OPEN, Ordering::Relaxed);
        futex::wake_all(&GATE);
    }
    FORK.set(fork);
}

extern "C" fn after_in_child() {
    let mut fork = FORK.get();
    fork.handlers -= 1;
    if fork.handlers == 0 {
        let mine = threads::record_if_any().map_or(std::ptr::null(), std::ptr::from_ref);
        DOMAIN.forget_others(mine);
        kept_back::close_in_child();
        epoch::lengthen();
        GENERATION.fetch_add(1, Ordering::Relaxed);
        // Closed by this thread, or by one that was about to fork and is not here.
        GATE.store(OPEN, Ordering::Relaxed);
    }
    FORK.set(fork);
}

/// Something that one thread does at a time, and that nobody waits for.
#[derive(Debug, Default)]
pub(crate) struct Turn(AtomicU32);

impl Turn {
    /// Begins, unless somebody in this process is at it.
    pub(crate) fn begin(&self) -> Option<Begun<'_>> {
        let mine = generation();
        let last = self.0.load(Ordering::Relaxed);
        let is_free = last != mine
            && self.0.compare_exchange(last, mine, Ordering::Acquire, Ordering::Relaxed).is_ok();
        // Made only then: its drop would end the turn of another.
        is_free.then(|| Begun { turn: self, generation: mine })
    }
}

/// A turn under way; ends with its drop.
pub(crate) struct Begun<'a> {
    turn: &'a Turn,
    generation: u32,
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        // Fails where a fork has come between and another thread of the child is at it.
        let turn = &self.turn.0;
        let _other =
            turn.compare_exchange(self.generation, 0, Ordering::Release, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[path = "fork_tests.rs"]
mod tests;

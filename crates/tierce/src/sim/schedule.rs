//! Who goes on: actors are threads of the system that pass a baton, so that one runs at a time,
//! and the seed says who is next at each point.
//!
//! Threads and not coroutines, because the cache keeps words for each thread (pins of readers,
//! changes and leases that a thread holds), which an actor must have for itself. A baton that
//! passes between threads of one core costs some microseconds, so a world keeps its threads from
//! history to history, on one core.
//!
//! **Time** moves only here. While somebody can go on it moves by a draw now and then, and never
//! past a moment for which a *timely* actor waits (those that listen to L3: a host whose threads
//! stand still for seconds promises nothing); while nobody can, it moves to the next moment for
//! which anybody waits. Where there is none, the history hangs, which is a failure.
#![allow(unsafe_code)]

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    rc::Rc,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::draws::Draws;
use crate::{
    clock::{Clock, ManualClock},
    simulated::{self, Simulation},
};

/// What an actor does in a history.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A job of a background thread of a cache.
#[derive(Clone, Copy, Debug)]
pub(super) struct Errand {
    pub(super) actor: usize,
    pub(super) begin: At,
    /// When it was done.
    pub(super) end: Option<At>,
}

/// Points of one history. One that comes to so many goes round in circles.
const MOST_STEPS: u64 = 200_000;

/// Virtual milliseconds of one history; one that takes longer has a call that does not end.
const LONGEST: u64 = 300_000;

/// How a history is scheduled, by draws of a thousand.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Points at which another actor may go on.
    pub(super) switches: u32,
    /// Choices before which time moves though somebody could go on.
    pub(super) advances: u32,
}

thread_local! {
    static ME: Cell<usize> = const { Cell::new(0) };
    static IS_WORKER: Cell<bool> = const { Cell::new(false) };
}

/// What unwinds the thread of a process that was killed.
pub(super) struct Gone;

/// True where the calling thread is a background thread of a cache.
pub(super) fn is_worker() -> bool {
    IS_WORKER.get()
}

/// Which actor the calling thread is.
pub(super) fn me() -> usize {
    ME.get()
}

/// The actors of a world and their baton. Actor 0 is the judge, who is the thread of the world.
pub(super) struct Schedule {
    baton: Mutex<Baton>,
    seats: Box<[Seat]>,
    /// The first of those that are background threads of caches, and the last ones.
    first_worker: usize,
    base: Instant,
    clock: Clock,
    time: ManualClock,
}

struct Seat {
    go: AtomicBool,
    thread: OnceLock<Thread>,
    job: Mutex<Option<Job>>,
}

struct Baton {
    actors: Vec<Actor>,
    /// Milliseconds since the world began, and when the history did.
    now: u64,
    began: u64,
    step: u64,
    /// When time moved, in this history.
    advances: Vec<At>,
    /// What background threads ran, in this history.
    errands: Vec<Errand>,
    switches: u64,
    pace: Pace,
    draws: Draws,
    failure: Option<String>,
    /// What each actor that hands over has chosen, so that a history can be compared.
    trace: u64,
}

struct Actor {
    state: State,
    is_timely: bool,
}

#[derive(Clone, Copy)]
enum State {
    /// Has no job, or is done with it.
    Off,
    Ready,
    /// Waits for others to be off, all but the timely ones.
    Gate,
    Until(u64),
    Word {
        word: *const AtomicU32,
        value: u32,
        until: Option<u64>,
    },
}

// SAFETY: the address in `State::Word` is looked at only while the actor waits in the call that was
// given the word, which outlives that call (`Actor::wait` borrows it).
unsafe impl Send for State {}

/// A moment of a history.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    /// Counts points: the order of all that happens.
    pub(super) step: u64,
    /// Virtual milliseconds.
    pub(super) millis: u64,
}

impl Schedule {
    /// For a judge, who is the calling thread, so many actors, and so many after them that run what
    /// background threads of caches are to run.
    pub(super) fn new(actors: usize, workers: usize) -> Arc<Self> {
        let (first_worker, actors) = (actors + 1, actors + workers);
        let (clock, time) = Clock::manual();
        let seat =
            || Seat { go: AtomicBool::new(false), thread: OnceLock::new(), job: Mutex::default() };
        let actor = || Actor { state: State::Off, is_timely: false };
        let baton = Baton {
            actors: (0..=actors).map(|_| actor()).collect(),
            now: 0,
            began: 0,
            step: 0,
            advances: Vec::new(),
            errands: Vec::new(),
            switches: 0,
            pace: Pace { switches: 0, advances: 0 },
            draws: Draws::new(0),
            failure: None,
            trace: 0,
        };
        let schedule = Arc::new(Self {
            baton: Mutex::new(baton),
            seats: (0..=actors).map(|_| seat()).collect(),
            first_worker,
            base: Instant::now(),
            clock,
            time,
        });
        _ = schedule.seats[0].thread.set(thread::current());
        for me in 1..=actors {
            let mine = Arc::clone(&schedule);
            let started = thread::Builder::new()
                .name(format!("tierce-sim-{me}"))
                .stack_size(1 << 20)
                .spawn(move || mine.work(me));
            let started = started.expect("a simulation needs a thread for each actor");
            _ = schedule.seats[me].thread.set(started.thread().clone());
        }
        schedule
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Begins a history: the calling thread becomes its judge.
    pub(super) fn begin(self: &Arc<Self>, seed: u64, pace: Pace, planted: u32) {
        let mut baton = self.baton();
        baton.draws = Draws::new(seed);
        baton.pace = pace;
        baton.step = 0;
        baton.trace = 0;
        // A moment of its own, the same in each world.
        let rest = 1024 - baton.now % 1024;
        self.advance(&mut baton, rest + 1024);
        baton.began = baton.now;
        baton.advances.clear();
        baton.errands.clear();
        baton.failure = None;
        baton.actors[0].state = State::Ready;
        drop(baton);
        self.become_actor(0, planted);
    }

    /// Ends it: the calling thread is an actor no longer.
    pub(super) fn end(&self) {
        simulated::become_actor(None, 0);
    }

    /// Gives an actor that is off something to do; it begins when it is chosen.
    pub(super) fn start(self: &Arc<Self>, actor: usize, is_timely: bool, planted: u32, job: Job) {
        let mine = Arc::clone(self);
        let job: Job = Box::new(move || {
            mine.become_actor(actor, planted);
            job();
        });
        *lock(&self.seats[actor].job) = Some(job);
        let mut baton = self.baton();
        baton.actors[actor] = Actor { state: State::Ready, is_timely };
    }

    /// Has an actor that is off run a job of a background thread; it comes back where none is.
    fn run_errand(self: &Arc<Self>, planted: u32, job: Job) -> Result<(), Job> {
        let mut baton = self.baton();
        let is_free = |actor: &usize| matches!(baton.actors[*actor].state, State::Off);
        let Some(actor) = (self.first_worker..baton.actors.len()).find(is_free) else {
            return Err(job);
        };
        let begin = At { step: baton.step, millis: baton.now - baton.began };
        baton.errands.push(Errand { actor, begin, end: None });
        drop(baton);
        self.start(actor, false, planted, job);
        Ok(())
    }

    /// What background threads ran in this history.
    pub(super) fn errands(&self) -> Vec<Errand> {
        self.baton().errands.clone()
    }

    /// Waits until all actors are off but the timely ones: for the judge.
    pub(super) fn wait_for_all(&self) {
        self.leave(0, State::Gate);
    }

    /// Waits until another actor is off.
    pub(super) fn wait_for(&self, actor: usize) {
        let is_off = || matches!(self.baton().actors[actor].state, State::Off);
        while actor != me() && !is_off() && self.failure().is_none() {
            let next = self.baton().now + 1;
            self.leave(me(), State::Until(next));
        }
    }

    /// Why the history cannot go on, if it cannot.
    pub(super) fn failure(&self) -> Option<String> {
        self.baton().failure.clone()
    }

    /// Now, in this history.
    pub(super) fn now(&self) -> At {
        let baton = self.baton();
        At { step: baton.step, millis: baton.now - baton.began }
    }

    /// Now, as a moment that no other has.
    pub(super) fn moment(&self) -> At {
        let mut baton = self.baton();
        baton.step += 1;
        At { step: baton.step, millis: baton.now - baton.began }
    }

    /// When a millisecond that has come began.
    pub(super) fn at(&self, millis: u64) -> At {
        let baton = self.baton();
        let began = baton.advances.iter().find(|at| at.millis >= millis);
        At { step: began.map_or(0, |at| at.step), millis }
    }

    /// How often the baton was passed on, and a number for all that was chosen in this history.
    pub(super) fn counts(&self) -> (u64, u64) {
        let baton = self.baton();
        (baton.switches, baton.trace)
    }

    /// Draws from the seed.
    pub(super) fn draw<R>(&self, draw: impl FnOnce(&mut Draws) -> R) -> R {
        draw(&mut self.baton().draws)
    }

    /// From now on time moves only while nobody can go on.
    pub(super) fn keep_time(&self) {
        self.baton().pace.advances = 0;
    }

    /// Lets an actor that waits until a moment wake earlier.
    pub(super) fn wake_by(&self, actor: usize, millis: u64) {
        let mut baton = self.baton();
        let at = baton.began + millis;
        if let State::Until(until) = &mut baton.actors[actor].state {
            *until = at.min(*until);
        }
    }

    /// Makes the calling actor sleep until then, milliseconds of the history.
    pub(super) fn sleep_until(&self, me: usize, millis: u64) {
        let began = self.baton().began;
        self.leave(me, State::Until(began + millis));
    }

    fn become_actor(self: &Arc<Self>, me: usize, planted: u32) {
        ME.set(me);
        IS_WORKER.set(me >= self.first_worker);
        let actor = Mine { schedule: Arc::clone(self), me, planted };
        simulated::become_actor(Some(Rc::new(actor)), planted);
    }

    /// What the thread of an actor does for as long as the world lasts.
    fn work(&self, me: usize) {
        loop {
            self.wait_for_baton(me);
            let job = lock(&self.seats[me].job).take();
            let Some(job) = job else { return };
            let outcome = panic::catch_unwind(AssertUnwindSafe(job));
            simulated::become_actor(None, 0);
            if let Err(cause) = outcome
                && !cause.is::<Gone>()
            {
                let mut baton = self.baton();
                baton.failure.get_or_insert(format!("an actor panicked: {}", message(&*cause)));
            }
            let next = {
                let mut baton = self.baton();
                baton.actors[me].state = State::Off;
                baton.step += 1;
                let end = At { step: baton.step, millis: baton.now - baton.began };
                let mut errands = baton.errands.iter_mut();
                if let Some(errand) = errands.rfind(|errand| errand.actor == me) {
                    errand.end.get_or_insert(end);
                }
                self.choose(&mut baton)
            };
            self.hand_over(next);
        }
    }

    /// Ends the threads of the actors, who are all off.
    pub(super) fn dismiss(&self) {
        for seat in &self.seats[1..] {
            *lock(&seat.job) = None;
            seat.go.store(true, Ordering::Release);
            if let Some(thread) = seat.thread.get() {
                thread.unpark();
            }
        }
    }

    fn baton(&self) -> std::sync::MutexGuard<'_, Baton> {
        lock(&self.baton)
    }

    fn point(&self, me: usize) {
        let mut baton = self.baton();
        baton.step += 1;
        let switches = baton.pace.switches;
        if baton.failure.is_some() || !baton.draws.chance(switches) {
            if baton.step > MOST_STEPS {
                drop(baton);
                self.leave(me, State::Ready);
            }
            return;
        }
        drop(baton);
        self.leave(me, State::Ready);
    }

    /// Hands the baton on, in this state, and returns when it is back.
    fn leave(&self, me: usize, state: State) {
        let next = {
            let mut baton = self.baton();
            baton.actors[me].state = state;
            let next = self.choose(&mut baton);
            let millis = baton.now - baton.began;
            baton.trace =
                (baton.trace ^ (next as u64 + 1) ^ millis << 8).wrapping_mul(0x100_0000_01B3);
            next
        };
        if next != me {
            self.hand_over(next);
            self.wait_for_baton(me);
        }
        self.baton().actors[me].state = State::Ready;
    }

    fn choose(&self, baton: &mut Baton) -> usize {
        loop {
            if baton.step > MOST_STEPS || baton.now - baton.began > LONGEST {
                baton.failure.get_or_insert("a call does not end".to_owned());
            }
            if baton.failure.is_some() {
                // The judge ends the history. Whoever else waits does so for ever.
                return 0;
            }
            baton.step += 1;
            let mut ready = [0; 32];
            let (mut count, mut is_timely, mut next, mut next_timely) =
                (0, false, u64::MAX, u64::MAX);
            let is_alone = baton.actors[1..]
                .iter()
                .all(|actor| actor.is_timely || matches!(actor.state, State::Off));
            for (number, actor) in baton.actors.iter().enumerate() {
                let (is_ready, until) = match actor.state {
                    State::Off => (false, None),
                    State::Ready => (true, None),
                    State::Gate => (is_alone, None),
                    State::Until(until) => (until <= baton.now, Some(until)),
                    State::Word { word, value, until } => {
                        // SAFETY: `State::Word`: the word lives while its actor waits.
                        let word = unsafe { &*word };
                        let is_other = word.load(Ordering::Acquire) != value;
                        (is_other || until.is_some_and(|until| until <= baton.now), until)
                    }
                };
                if is_ready {
                    ready[count] = number;
                    count += 1;
                    is_timely |= actor.is_timely;
                } else if let Some(until) = until {
                    next = next.min(until);
                    if actor.is_timely {
                        next_timely = next_timely.min(until);
                    }
                }
            }
            if count == 0 {
                if next == u64::MAX {
                    baton.failure = Some("all wait, and for nothing that will come".to_owned());
                    continue;
                }
                let more = next - baton.now;
                self.advance(baton, more);
                continue;
            }
            let advances = baton.pace.advances;
            if !is_timely && baton.draws.chance(advances) {
                let most = if baton.draws.chance(100) { 400 } else { 4 };
                let more = baton.draws.within(1, most).min(next_timely - baton.now);
                self.advance(baton, more);
                continue;
            }
            return ready[baton.draws.below(count)];
        }
    }

    fn advance(&self, baton: &mut Baton, more: u64) {
        baton.now += more;
        let millis = baton.now.saturating_sub(baton.began);
        let step = baton.step;
        baton.advances.push(At { step, millis });
        self.time.advance(Duration::from_millis(more));
    }

    fn hand_over(&self, next: usize) {
        self.baton().switches += 1;
        let seat = &self.seats[next];
        seat.go.store(true, Ordering::Release);
        if let Some(thread) = seat.thread.get() {
            thread.unpark();
        }
    }

    fn wait_for_baton(&self, me: usize) {
        while !self.seats[me].go.swap(false, Ordering::Acquire) {
            thread::park();
        }
    }
}

/// An actor, as the crate below sees it.
struct Mine {
    schedule: Arc<Schedule>,
    me: usize,
    planted: u32,
}

impl Simulation for Mine {
    fn point(&self) {
        if !thread::panicking() {
            self.schedule.point(self.me);
        }
    }

    fn wait(&self, word: &AtomicU32, value: u32, longest: Option<Duration>) {
        let now = self.schedule.baton().now;
        let until = longest.map(|longest| now + (longest.as_micros() as u64).div_ceil(1000));
        self.schedule.leave(self.me, State::Word { word, value, until });
    }

    fn spawn(&self, job: Job) -> Result<(), Job> {
        self.schedule.run_errand(self.planted, job)
    }

    fn now(&self) -> Instant {
        self.schedule.base + Duration::from_millis(self.schedule.baton().now)
    }

    fn random(&self) -> u64 {
        self.schedule.draw(Draws::next)
    }
}

/// The lock, also after a panic: what it guards is changed in one go.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn message(cause: &(dyn Any + Send)) -> String {
    let text = cause.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| cause.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// Keeps the calling thread, and those that it starts, on one core: passing the baton between two
/// costs ten times as much. Where the system refuses, it only takes longer.
#[cfg(target_os = "linux")]
pub(super) fn stay_on_one_core(number: usize) {
    // SAFETY:
    // 1. An all-zero `cpu_set_t` is a valid one: no core.
    // 2. Both calls get the size of the set that they are given, and 0 names the calling thread.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        let size = size_of::<libc::cpu_set_t>();
        if libc::sched_getaffinity(0, size, &raw mut allowed) != 0 {
            return;
        }
        let cores: Vec<usize> = (0..libc::CPU_SETSIZE as usize)
            .filter(|core| libc::CPU_ISSET(*core, &allowed))
            .collect();
        if cores.is_empty() {
            return;
        }
        let mut mine: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cores[number % cores.len()], &mut mine);
        libc::sched_setaffinity(0, size, &raw const mine);
    }
}

/// Elsewhere the system decides.
#[cfg(not(target_os = "linux"))]
pub(super) fn stay_on_one_core(_number: usize) {}

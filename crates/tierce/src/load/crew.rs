//! The threads of a cache that load in the background: refreshes, and loads that may outlive their
//! callers.
//!
//! ```text
//!   spawn ──> queue (bounded) ──> thread (at most `max_threads`) ──idle for `idle`──> ends
//!     └ full, closed or no thread to be had: the job comes back
//! ```
//!
//! A cache at rest has none: a thread starts when a job finds none idle, and ends when it has found
//! no job for a while. The threads hold the crew's queue alone, never the cache: a job names its
//! cache by a `Weak`, or by an `Arc` for as long as it runs. So dropping the cache drops the crew,
//! which drops what is queued and has idle threads end at once.
//!
//! A panic in a job ends that job only, and is counted.
//!
//! A forked child has none of the threads. The first that looks there makes the crew anew; jobs
//! that were queued are the parent's and run there only. They are not dropped in the child: what
//! they hold (wakers, descriptors) may tell the parent's own threads things.
//!
//! One mutex around all of it, held for a few instructions; jobs are run and dropped without it.

use std::{
    any::Any,
    collections::VecDeque,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    simulated::{self, Spawned},
    sync::{self, Condvar, Mutex, MutexGuard},
};

/// Threads of a crew, if nothing else is said: loaders wait for their origins most of the time,
/// and more would be a load that the origin does not have from the callers.
pub(crate) const DEFAULT_THREADS: usize = 4;

/// Jobs that may wait for each thread: those that come later would be of no use any more.
const QUEUED_PER_THREAD: usize = 64;

/// How long a thread without a job stays: a cache whose values are refreshed every few seconds is
/// not to start one each time.
const IDLE: Duration = Duration::from_secs(10);

/// The name of the threads.
const NAME: &str = "tierce-load";

/// What a crew runs.
pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Why a crew does not take a job; it comes back with it.
pub(crate) enum Refused {
    /// As many wait as may.
    Full(Job),
    /// The cache is closed.
    Closed(Job),
    /// The system has no thread for it.
    NoThread(Job),
}

/// The background threads of one cache.
pub(crate) struct Crew {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There may be a job, or an end.
    called: Condvar,
    /// A thread has ended.
    ended: Condvar,
    name: &'static str,
    max_threads: usize,
    max_queued: usize,
    idle: Duration,
    panics: AtomicU64,
}

struct State {
    /// The process ([`sync::generation`]) whose threads these are.
    generation: u32,
    queue: VecDeque<(u64, Job)>,
    next_number: u64,
    /// Threads that run or are about to.
    threads: usize,
    /// How many of them run no job: they wait for one, or have just been started for one.
    idle: usize,
    closed: bool,
}

impl Crew {
    /// A crew of at most so many threads; none runs yet. With zero it takes no job.
    pub(crate) fn new(max_threads: usize) -> Self {
        Self::named(NAME, max_threads, max_threads.saturating_mul(QUEUED_PER_THREAD), IDLE)
    }

    /// A crew whose threads have this name and end when they found nothing to do for `idle`.
    pub(crate) fn named(
        name: &'static str,
        max_threads: usize,
        max_queued: usize,
        idle: Duration,
    ) -> Self {
        let state = State {
            generation: sync::generation(),
            queue: VecDeque::new(),
            next_number: 0,
            threads: 0,
            idle: 0,
            closed: false,
        };
        let shared = Shared {
            state: Mutex::new(state),
            called: Condvar::new(),
            ended: Condvar::new(),
            name,
            max_threads,
            max_queued,
            idle,
            panics: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Has a thread run `job` soon.
    ///
    /// # Errors
    /// The job comes back where it cannot be run.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Refused> {
        self.spawn_boxed(Box::new(job))
    }

    fn spawn_boxed(&self, job: Job) -> Result<(), Refused> {
        let shared = &self.shared;
        let mut state = shared.lock();
        if state.closed {
            drop(state);
            return Err(Refused::Closed(job));
        }
        let job = match simulated::spawn(job) {
            Spawned::Taken => return Ok(()),
            Spawned::Refused(job) => {
                drop(state);
                return Err(Refused::NoThread(job));
            }
            Spawned::Elsewhere(job) => job,
        };
        let queued = state.queue.len();
        let unstarted = shared.max_threads - state.threads;
        if shared.max_threads == 0 || queued >= shared.max_queued + state.idle + unstarted {
            drop(state);
            return Err(Refused::Full(job));
        }
        let starts = state.idle <= queued && unstarted > 0;
        let (number, generation) = (state.next_number, state.generation);
        state.next_number += 1;
        state.queue.push_back((number, job));
        if !starts {
            drop(state);
            shared.called.notify_one();
            return Ok(());
        }
        state.threads += 1;
        state.idle += 1;
        drop(state);
        let theirs = Arc::clone(shared);
        let thread = thread::Builder::new().name(shared.name.into());
        if thread.spawn(move || theirs.work(generation)).is_ok() {
            return Ok(());
        }
        let mut state = shared.lock();
        state.threads -= 1;
        state.idle -= 1;
        if state.threads > 0 {
            // Another one will come to it.
            return Ok(());
        }
        let at = state.queue.iter().position(|(other, _)| *other == number);
        let taken = at.and_then(|at| state.queue.remove(at));
        drop(state);
        match taken {
            Some((_, job)) => Err(Refused::NoThread(job)),
            None => Ok(()),
        }
    }

    /// Takes no more jobs, drops what is queued, and waits for those under way, at most for
    /// `patience`. True if no thread is left. A job that closes its own crew is not waited for.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.shared.close();
        // A time too far to express is waited for by steps of an hour.
        let deadline = Instant::now().checked_add(patience);
        let mine = usize::from(self.shared.is_mine());
        let mut state = self.shared.lock();
        while state.threads > mine {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return false;
            }
            let until = deadline.unwrap_or(now + Duration::from_secs(3600));
            self.shared.ended.wait_until(&mut state, until);
        }
        true
    }

    /// Jobs that panicked.
    #[cfg(test)]
    pub(crate) fn panics(&self) -> u64 {
        self.shared.panics.load(Ordering::Relaxed)
    }

    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        self.shared.lock().threads
    }

    /// Threads that run, and jobs that wait for one.
    #[cfg(test)]
    fn counts(&self) -> (usize, usize) {
        let state = self.shared.lock();
        (state.threads, state.queue.len())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        // It may be a job that dropped the cache: nobody is waited for.
        self.shared.close();
    }
}

thread_local! {
    /// The crew that this thread belongs to, by the address of what it shares.
    static MINE: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Shared {
    /// The state, made anew where it is that of the process that this one was forked from.
    fn lock(&self) -> MutexGuard<'_, State> {
        let generation = sync::generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            state.generation = generation;
            (state.threads, state.idle) = (0, 0);
            mem::forget(mem::take(&mut state.queue));
        }
        state
    }

    fn is_mine(&self) -> bool {
        MINE.get() == std::ptr::from_ref(self).addr()
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let queue = mem::take(&mut state.queue);
        drop(state);
        self.called.notify_all();
        for (_, job) in queue {
            self.contain(|| drop(job));
        }
    }

    /// What a thread does.
    fn work(&self, generation: u32) {
        MINE.set(std::ptr::from_ref(self).addr());
        while let Some(job) = self.next() {
            self.contain(job);
            if sync::generation() != generation {
                // The job forked, and this is the child: the crew there knows nothing of this
                // thread.
                return;
            }
            self.lock().idle += 1;
        }
    }

    /// The next job; `None` where the thread is to end.
    fn next(&self) -> Option<Job> {
        let mut idle_until = None;
        let mut state = self.lock();
        let job = loop {
            if let Some((_, job)) = state.queue.pop_front() {
                break Some(job);
            }
            let until = *idle_until.get_or_insert_with(|| Instant::now() + self.idle);
            if state.closed || Instant::now() >= until {
                break None;
            }
            self.called.wait_until(&mut state, until);
        };
        state.idle -= 1;
        if job.is_none() {
            state.threads -= 1;
            drop(state);
            self.ended.notify_all();
        }
        job
    }

    /// Runs code of the caller, whose panic ends nothing else.
    fn contain(&self, run: impl FnOnce()) {
        if let Err(payload) = catch_unwind(AssertUnwindSafe(run)) {
            self.panics.fetch_add(1, Ordering::Relaxed);
            drop_payload(payload);
        }
    }
}

/// Drops what a panic carried, which may panic in turn.
fn drop_payload(payload: Box<dyn Any + Send>) {
    if let Err(another) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        mem::forget(another);
    }
}

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;

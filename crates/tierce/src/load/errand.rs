//! Work of a task that would block its thread, done by a crew while the task waits.
//!
//! The task owns the work: where it is dropped before a thread has come to it, nothing is done. Work
//! under way is finished, and what comes of it is dropped there.

use std::{
    any::Any,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::crew::{Crew, Refused};
use crate::sync::{Condvar, Mutex};

/// Work that a crew does. As a future it is ready when the work is done: with what came of it, or
/// `None` where the crew was closed before that. A panic of the work goes on in the task.
pub(crate) struct Errand<T> {
    state: Arc<Mutex<State<T>>>,
}

enum State<T> {
    Waits(Option<Waker>),
    Done(Outcome<T>),
    /// Nobody wants it any more.
    Left,
}

enum Outcome<T> {
    Value(T),
    Panicked(Box<dyn Any + Send>),
    /// The crew dropped the work.
    Lost,
}

/// The crew's end of an errand. Dropped without an end it says that there will be none.
pub(crate) struct Report<T> {
    state: Arc<Mutex<State<T>>>,
    is_done: bool,
}

impl Crew {
    /// Has a thread do `work` soon, for a task that waits for it. Where no thread is to be had it is
    /// done here and now.
    pub(crate) fn run_or_here<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Errand<T> {
        self.run_or_here_until_reported(|report| report.run(work))
    }

    /// The same for work that goes on after it has reported.
    pub(crate) fn run_or_here_until_reported<T: Send + 'static>(
        &self,
        work: impl FnOnce(Report<T>) + Send + 'static,
    ) -> Errand<T> {
        let (errand, job) = errand(work);
        match self.spawn(job) {
            Ok(()) => {}
            Err(Refused::Full(job) | Refused::NoThread(job)) => job(),
            Err(Refused::Closed(job)) => drop(job),
        }
        errand
    }

    /// The same, where a crew that cannot take it is to refuse it.
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn). The job is of no use any more.
    pub(crate) fn run_until_reported<T: Send + 'static>(
        &self,
        work: impl FnOnce(Report<T>) + Send + 'static,
    ) -> Result<Errand<T>, Refused> {
        let (errand, job) = errand(work);
        self.spawn(job)?;
        Ok(errand)
    }
}

/// The two ends of an errand; the crew's is a job.
fn errand<T: Send + 'static>(
    work: impl FnOnce(Report<T>) + Send + 'static,
) -> (Errand<T>, impl FnOnce() + Send + 'static) {
    let state = Arc::new(Mutex::new(State::Waits(None)));
    let report = Report { state: Arc::clone(&state), is_done: false };
    let job = move || {
        if report.is_wanted() {
            work(report);
        }
    };
    (Errand { state }, job)
}

impl<T> Report<T> {
    fn is_wanted(&self) -> bool {
        matches!(*self.state.lock(), State::Waits(_))
    }

    fn run(self, work: impl FnOnce() -> T) {
        let outcome = catch_unwind(AssertUnwindSafe(work));
        self.end(outcome.map_or_else(Outcome::Panicked, Outcome::Value));
    }

    /// The work is done. False if nobody waits for it any more.
    pub(crate) fn done(self, value: T) -> bool {
        self.end(Outcome::Value(value))
    }

    fn end(mut self, outcome: Outcome<T>) -> bool {
        self.is_done = true;
        self.tell(outcome)
    }

    fn tell(&self, outcome: Outcome<T>) -> bool {
        let mut state = self.state.lock();
        if matches!(*state, State::Left) {
            drop(state);
            // Dropped here, with no lock held.
            return false;
        }
        let before = std::mem::replace(&mut *state, State::Done(outcome));
        drop(state);
        if let State::Waits(Some(waker)) = before {
            waker.wake();
        }
        true
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        if !self.is_done {
            self.tell(Outcome::Lost);
        }
    }
}

/// Something that a thread holds for a task until the task drops its half, or for so long at most.
pub(crate) struct Hold(Arc<Latch>);

/// The thread's half of a [`Hold`].
pub(crate) struct Held(Arc<Latch>);

#[derive(Default)]
struct Latch {
    is_open: Mutex<bool>,
    opened: Condvar,
}

/// The two halves of something to be held for a task.
pub(crate) fn hold() -> (Hold, Held) {
    let latch = Arc::new(Latch::default());
    (Hold(Arc::clone(&latch)), Held(latch))
}

impl Held {
    /// Waits until the task needs it no longer.
    pub(crate) fn wait(self, patience: Duration) {
        // A time too far to express is waited for by steps of an hour.
        let deadline = Instant::now().checked_add(patience);
        let mut is_open = self.0.is_open.lock();
        while !*is_open {
            let now = Instant::now();
            if deadline.is_some_and(|deadline| now >= deadline) {
                return;
            }
            let until = deadline.unwrap_or(now + Duration::from_secs(3600));
            self.0.opened.wait_until(&mut is_open, until);
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        *self.0.is_open.lock() = true;
        self.0.opened.notify_all();
    }
}

impl<T> Future for Errand<T> {
    type Output = Option<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        // Cloned, and the one before dropped, with no lock held: that is the executor's code.
        let waker = context.waker().clone();
        let mut state = self.state.lock();
        let next = match &*state {
            State::Waits(_) => State::Waits(Some(waker)),
            State::Done(_) | State::Left => State::Left,
        };
        let before = std::mem::replace(&mut *state, next);
        drop(state);
        match before {
            State::Waits(_) => Poll::Pending,
            State::Done(Outcome::Value(value)) => Poll::Ready(Some(value)),
            State::Done(Outcome::Panicked(payload)) => resume_unwind(payload),
            State::Done(Outcome::Lost) | State::Left => Poll::Ready(None),
        }
    }
}

impl<T> Drop for Errand<T> {
    fn drop(&mut self) {
        let before = std::mem::replace(&mut *self.state.lock(), State::Left);
        drop(before);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    };

    use super::*;
    use crate::load::testing::{PATIENCE, block_on, until};

    fn held(crew: &Crew) -> mpsc::Sender<()> {
        let (release, held) = mpsc::channel::<()>();
        assert!(crew.spawn(move || _ = held.recv()).is_ok());
        release
    }

    #[test]
    fn a_task_gets_what_its_work_returned_and_its_panic() {
        let crew = Crew::new(2);
        assert_eq!(block_on(crew.run_or_here(|| 7)), Some(7));
        assert_eq!(block_on(Crew::new(0).run_or_here(|| 7)), Some(7), "here");
        let bad = crew.run_or_here(|| panic!("the work's own"));
        let caught = catch_unwind(AssertUnwindSafe(|| block_on::<Option<()>>(bad)));
        assert_eq!(*caught.unwrap_err().downcast::<&str>().unwrap(), "the work's own");
        assert_eq!(crew.panics(), 0, "it is the task's");
    }

    #[test]
    fn work_whose_task_is_gone_is_not_begun() {
        let (crew, ran) = (Crew::new(1), Arc::new(AtomicU32::new(0)));
        let release = held(&crew);
        let theirs = Arc::clone(&ran);
        drop(crew.run_or_here(move || theirs.fetch_add(1, Ordering::Relaxed)));
        let last = crew.run_or_here(|| ());
        drop(release);
        assert_eq!(block_on(last), Some(()));
        assert_eq!(ran.load(Ordering::Relaxed), 0);
        until(|| Arc::strong_count(&ran) == 1);
    }

    #[test]
    fn what_comes_of_work_that_nobody_waits_for_any_more_is_dropped() {
        let (crew, mark) = (Crew::new(1), Arc::new(()));
        let (release, held) = mpsc::channel::<()>();
        let (begun, has_begun) = mpsc::channel();
        let theirs = Arc::clone(&mark);
        let errand = crew.run_or_here(move || {
            begun.send(()).unwrap();
            _ = held.recv();
            theirs
        });
        has_begun.recv_timeout(PATIENCE).unwrap();
        drop(errand);
        drop(release);
        until(|| Arc::strong_count(&mark) == 1);
    }

    #[test]
    fn a_thread_holds_something_for_a_task_until_that_lets_go() {
        let (crew, mark) = (Crew::new(1), Arc::new(()));
        let theirs = Arc::clone(&mark);
        let work = move |report: Report<Hold>| {
            let (hold, held) = hold();
            if report.done(hold) {
                held.wait(PATIENCE);
            }
            drop(theirs);
        };
        let hold = block_on(crew.run_until_reported(work).ok().unwrap()).unwrap();
        assert_eq!(Arc::strong_count(&mark), 2);
        drop(hold);
        until(|| Arc::strong_count(&mark) == 1);
        // Not for ever, and not for a task that is gone.
        let (_hold, held) = super::hold();
        held.wait(Duration::from_millis(1));
    }

    #[test]
    fn a_task_is_told_when_its_work_will_not_be_done() {
        let crew = Crew::new(1);
        let release = held(&crew);
        let queued = crew.run_or_here(|| 7);
        crew.close(Duration::ZERO);
        assert_eq!(block_on(queued), None);
        drop(release);
        assert_eq!(block_on(crew.run_or_here(|| 7)), None);
    }
}

//! One request on its way: what to send, until when, and the slot in which its caller waits.
//!
//! The caller parks on the slot until the answer or its deadline; whichever comes first wins, and
//! an answer that comes later is dropped with the slot. A request that is dropped unanswered, for
//! whatever reason, tells its caller so at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use redis::{Cmd, Pipeline, Value};

use super::refusal::error;
use crate::{
    error::{Error, ErrorKind, Result},
    sync::{Condvar, Mutex},
};

/// What is sent.
pub(super) enum Work {
    /// A command with one reply.
    One(Cmd),
    /// Commands whose replies become an array, in their order.
    Many(Pipeline),
}

/// Counts requests under way, so that their number stays bounded.
pub(super) struct Gate {
    under_way: AtomicUsize,
    bound: usize,
}

impl Gate {
    pub(super) fn new(bound: usize) -> Arc<Self> {
        Arc::new(Self { under_way: AtomicUsize::new(0), bound })
    }

    /// A place, or `None` while all are taken.
    pub(super) fn enter(self: &Arc<Self>) -> Option<Place> {
        self.under_way
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                (now < self.bound).then_some(now + 1)
            })
            .ok()
            .map(|_| Place(Arc::clone(self)))
    }
}

/// A place among the requests under way, given back when dropped.
pub(super) struct Place(Arc<Gate>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where a caller waits.
#[derive(Default)]
pub(super) struct Slot {
    outcome: Mutex<Option<Result<Value>>>,
    ready: Condvar,
    /// True once nobody waits any more.
    abandoned: AtomicBool,
}

impl Slot {
    /// Waits for the outcome until `deadline`, which is `timeout` after the caller began.
    pub(super) fn wait(&self, deadline: Instant, timeout: Duration) -> Result<Value> {
        let mut outcome = self.outcome.lock();
        loop {
            if let Some(outcome) = outcome.take() {
                return outcome;
            }
            if self.ready.wait_until(&mut outcome, deadline).timed_out() {
                self.abandoned.store(true, Ordering::Relaxed);
                return outcome.take().unwrap_or_else(|| Err(no_answer(timeout)));
            }
        }
    }

    fn answer(&self, outcome: Result<Value>) {
        *self.outcome.lock() = Some(outcome);
        self.ready.notify_one();
    }
}

fn no_answer(within: Duration) -> Error {
    error(ErrorKind::Timeout, format!("no answer within {within:?}"))
}

/// A request between its caller and the server.
pub(super) struct Request {
    work: Work,
    deadline: Instant,
    timeout: Duration,
    slot: Option<Arc<Slot>>,
    _place: Place,
}

impl Request {
    /// A request that must be answered by `deadline`, which is `timeout` after its caller began.
    pub(super) fn new(
        work: Work,
        deadline: Instant,
        timeout: Duration,
        place: Place,
    ) -> (Self, Arc<Slot>) {
        let slot = Arc::new(Slot::default());
        (Self { work, deadline, timeout, slot: Some(Arc::clone(&slot)), _place: place }, slot)
    }

    pub(super) fn work(&self) -> &Work {
        &self.work
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// True if its caller gave up: then it must not be sent any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.deadline <= Instant::now()
            || self.slot.as_ref().is_none_or(|slot| slot.abandoned.load(Ordering::Relaxed))
    }

    /// Tells the caller that its time is over, and returns the error it gets.
    pub(super) fn expire(self) -> Error {
        let error = no_answer(self.timeout);
        self.answer(Err(error.clone()));
        error
    }

    pub(super) fn answer(mut self, outcome: Result<Value>) {
        if let Some(slot) = self.slot.take() {
            slot.answer(outcome);
        }
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            slot.answer(Err(error(ErrorKind::Network, "connection was lost before the answer")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(gate: &Arc<Gate>, deadline: Instant) -> (Request, Arc<Slot>) {
        let place = gate.enter().expect("the gate has a place");
        Request::new(Work::One(redis::cmd("PING")), deadline, Duration::ZERO, place)
    }

    #[test]
    fn no_more_requests_than_the_bound_are_under_way() {
        let gate = Gate::new(2);
        let first = gate.enter();
        let second = gate.enter();
        assert!(first.is_some() && second.is_some() && gate.enter().is_none());
        drop(first);
        assert!(gate.enter().is_some());
    }

    #[test]
    fn a_dropped_request_tells_its_caller_at_once() {
        let gate = Gate::new(1);
        let far = Instant::now() + Duration::from_secs(600);
        let (request, slot) = request(&gate, far);
        drop(request);
        let error = slot.wait(far, Duration::from_secs(600)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Network);
        assert!(gate.enter().is_some(), "its place is free again");
    }

    #[test]
    fn a_request_is_abandoned_once_its_caller_gave_up() {
        let gate = Gate::new(2);
        let now = Instant::now();
        let (late, slot) = request(&gate, now);
        assert_eq!(slot.wait(now, Duration::ZERO).unwrap_err().kind(), ErrorKind::Timeout);
        assert!(late.is_abandoned());
        let (fresh, slot) = request(&gate, now + Duration::from_secs(600));
        assert!(!fresh.is_abandoned());
        fresh.answer(Ok(Value::Int(7)));
        assert_eq!(slot.wait(now, Duration::ZERO).ok(), Some(Value::Int(7)));
    }
}

//! One request on its way: what to send, until when, and the slot in which its caller waits.
//!
//! The slot wakes its caller by a [`Waker`], so that a thread that waits and a future that is
//! polled are the same to whoever has the answer. A caller is woken for two reasons: its answer is
//! there, or the connection needs somebody to serve it (`link.rs`). The caller waits until its own
//! deadline, whatever others do; an answer that comes later is dropped with the slot. A request
//! that is dropped unanswered, for whatever reason, tells its caller so at once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use redis::Cmd;

use super::{refusal::error, replies::Replies, turns};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::Mutex,
};

/// What is sent.
pub(super) enum Work {
    /// A command with one reply.
    One(Cmd),
    /// Commands as bytes, and how many they are.
    Packed(Vec<u8>, usize),
}

impl Work {
    /// The bytes, and how many commands they are.
    pub(super) fn pack(self) -> (Vec<u8>, usize) {
        match self {
            Self::One(command) => (command.get_packed_command(), 1),
            Self::Packed(bytes, commands) => (bytes, commands),
        }
    }
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

/// How often a caller lets others run before it goes to sleep. Among many callers its answer is
/// there when its turn comes again, and to sleep and be woken takes longer than many turns.
const TURNS_BEFORE_SLEEP: u32 = 2;

/// Where a caller waits.
pub(super) struct Slot {
    outcome: Mutex<Option<Result<Replies>>>,
    /// True once there is an outcome, even after it was taken.
    is_answered: AtomicBool,
    /// True if the caller is to look whether the connection needs it.
    is_called: AtomicBool,
    waker: Waker,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woken {
    Answered,
    Called,
    /// The time is over.
    Late,
}

/// Wakes a thread that parks.
struct Parked(Thread);

impl Wake for Parked {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

impl Slot {
    fn new(waker: Waker) -> Arc<Self> {
        Arc::new(Self {
            outcome: Mutex::new(None),
            is_answered: AtomicBool::new(false),
            is_called: AtomicBool::new(false),
            waker,
        })
    }

    pub(super) fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::Acquire)
    }

    /// Takes the outcome, once it is there.
    pub(super) fn take(&self) -> Option<Result<Replies>> {
        self.is_answered().then(|| self.outcome.lock().take()).flatten()
    }

    /// Parks this thread, which made the request, until there is an answer, a call, or `until`.
    pub(super) fn wait(&self, until: Instant) -> Woken {
        let mut given_up = 0;
        loop {
            if self.is_answered() {
                return Woken::Answered;
            }
            if self.is_called.swap(false, Ordering::AcqRel) {
                return Woken::Called;
            }
            if given_up < TURNS_BEFORE_SLEEP && turns::give_up_turn() {
                given_up += 1;
                continue;
            }
            let Some(left) =
                until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return Woken::Late;
            };
            thread::park_timeout(left);
        }
    }

    /// Has the caller look whether the connection needs it.
    pub(super) fn call(&self) {
        self.is_called.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    /// Wakes the caller, to find what was put here.
    pub(super) fn wake(&self) {
        self.waker.wake_by_ref();
    }

    fn put(&self, outcome: Result<Replies>) {
        *self.outcome.lock() = Some(outcome);
        self.is_answered.store(true, Ordering::Release);
    }

    fn answer(&self, outcome: Result<Replies>) {
        self.put(outcome);
        self.wake();
    }
}

/// The error of a caller that waited so long in vain.
pub(super) fn no_answer(within: Duration) -> Error {
    error(ErrorKind::Timeout, format!("no answer within {within:?}"))
}

/// A request between its caller and the server.
pub(super) struct Request {
    /// What goes over the wire, until it was handed out.
    bytes: Vec<u8>,
    /// As they come in, in the room of the bytes.
    replies: Replies,
    commands: usize,
    begun: Instant,
    deadline: Instant,
    timeout: Duration,
    slot: Option<Arc<Slot>>,
    _place: Place,
}

impl Request {
    /// A request of this thread that must be answered by `deadline`, which is `timeout` after its
    /// caller began.
    pub(super) fn new(
        work: Work,
        deadline: Instant,
        timeout: Duration,
        place: Place,
    ) -> (Self, Arc<Slot>) {
        thread_local! {
            static WAKER: Waker = Waker::from(Arc::new(Parked(thread::current())));
        }
        // A thread that is about to end has no such memory any more.
        let waker = WAKER
            .try_with(Waker::clone)
            .unwrap_or_else(|_| Waker::from(Arc::new(Parked(thread::current()))));
        let slot = Slot::new(waker);
        let (bytes, commands) = work.pack();
        let begun = Instant::now();
        let slot_of_request = Some(Arc::clone(&slot));
        let request = Self {
            bytes,
            replies: Replies::expecting(commands),
            commands,
            begun,
            deadline,
            timeout,
            slot: slot_of_request,
            _place: place,
        };
        (request, slot)
    }

    /// How many bytes are to be sent.
    pub(super) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Hands out what is to be sent, without a copy; once.
    pub(super) fn take_bytes(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Hands out a copy of what is to be sent, once; the replies take its place.
    pub(super) fn copy_bytes(&mut self, to: &mut Vec<u8>) {
        to.extend_from_slice(&self.bytes);
        self.replies.come_to(std::mem::take(&mut self.bytes));
    }

    pub(super) fn begun(&self) -> Instant {
        self.begun
    }

    /// True if its caller's time is over: then it must not be sent any more.
    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline <= now
    }

    pub(super) fn is_of(&self, slot: &Arc<Slot>) -> bool {
        self.slot.as_ref().is_some_and(|own| Arc::ptr_eq(own, slot))
    }

    /// Has its caller look whether the connection needs it.
    pub(super) fn caller(&self) -> Option<Arc<Slot>> {
        self.slot.clone()
    }

    /// How many replies it lacks.
    pub(super) fn lacks(&self) -> usize {
        self.commands - self.replies.len()
    }

    /// Makes room for replies of so many bytes.
    pub(super) fn reserve(&mut self, bytes: usize) {
        self.replies.reserve(bytes);
    }

    /// Takes its next reply; true if that was the last one.
    pub(super) fn accept(&mut self, reply: &[u8]) -> bool {
        self.replies.push(reply);
        self.lacks() == 0
    }

    /// Tells the caller that its time is over.
    pub(super) fn expire(self) {
        let error = no_answer(self.timeout);
        self.answer(Err(error));
    }

    /// Puts the replies where the caller looks for them; whoever calls this wakes the caller next.
    pub(super) fn settle(mut self) -> Option<Arc<Slot>> {
        let slot = self.slot.take()?;
        slot.put(Ok(std::mem::take(&mut self.replies)));
        Some(slot)
    }

    pub(super) fn answer(mut self, outcome: Result<Replies>) {
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

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(600)
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
        let (request, slot) = request(&gate, far());
        drop(request);
        assert_eq!(slot.wait(far()), Woken::Answered);
        assert_eq!(slot.take().unwrap().unwrap_err().kind(), ErrorKind::Network);
        assert!(gate.enter().is_some(), "its place is free again");
    }

    #[test]
    fn a_wait_ends_by_an_answer_a_call_or_its_time() {
        let gate = Gate::new(1);
        let now = Instant::now();
        let (request, slot) = request(&gate, now);
        assert!(request.is_late(now));
        assert_eq!((slot.wait(now), slot.take().is_none()), (Woken::Late, true));
        thread::scope(|scope| {
            scope.spawn(|| slot.call());
            assert_eq!(slot.wait(far()), Woken::Called);
        });
        assert_eq!(slot.wait(now), Woken::Late, "a call is heard once");
        thread::scope(|scope| {
            scope.spawn(|| request.answer(Ok([&b":7\r\n"[..]].into_iter().collect())));
            assert_eq!(slot.wait(far()), Woken::Answered);
        });
        assert_eq!(slot.take().unwrap().unwrap().one(), Some(&b":7\r\n"[..]));
    }

    #[test]
    fn an_answer_wakes_a_future_as_it_wakes_a_thread() {
        struct Count(AtomicUsize);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let count = Arc::new(Count(AtomicUsize::new(0)));
        let slot = Slot::new(Waker::from(Arc::clone(&count)));
        assert!(slot.take().is_none());
        slot.answer(Ok(Replies::default()));
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        assert_eq!(slot.take().unwrap().unwrap().len(), 0);
    }

    #[test]
    fn several_commands_have_as_many_replies() {
        let gate = Gate::new(1);
        let place = gate.enter().unwrap();
        let mut pipeline = redis::pipe();
        pipeline.cmd("PING").cmd("PING").cmd("PING");
        let (mut request, slot) = {
            let work = Work::Packed(pipeline.get_packed_pipeline(), 3);
            Request::new(work, far(), Duration::ZERO, place)
        };
        assert_eq!(request.take_bytes(), b"*1\r\n$4\r\nPING\r\n".repeat(3));
        let replies = [&b":1\r\n"[..], b"-WRONGTYPE no\r\n", b":3\r\n"];
        let ends = replies.map(|reply| request.accept(reply));
        assert_eq!(ends, [false, false, true]);
        assert!(request.settle().is_some());
        assert_eq!(slot.take().unwrap().unwrap().all(), Some(replies));
    }
}

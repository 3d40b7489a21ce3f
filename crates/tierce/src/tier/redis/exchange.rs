//! The requests of all callers and the one connection, and who of the callers serves it.
//!
//! See `link.rs` for the picture. Two roles, *writer* and *reader*, each held by one thread at a
//! time. What keeps a role from being forgotten:
//!
//! - Who takes a role gives it back under the lock, or has lost the connection and all roles with
//!   it. Between the two it only reads or writes, until its own deadline.
//! - A reader whose own answer is there looks for work left over: it sends what has gathered, and
//!   calls the first caller whose answer is outstanding, who then reads.
//! - The first of those that gather waits a part of a round trip at most, then sends for all.
//! - A caller whose time is over while its request is with the server gives the connection up. So
//!   a thread that holds a role and does not come back holds nobody longer than the shortest of
//!   the deadlines; when it comes back, its wire is an old one and changes nothing.
//!
//! The lock is held for moments, never while waiting. Slots are answered and called within it or
//! after it, they have no lock beyond their own.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::{
    connect::as_error,
    counters::{Counters, count},
    keeper::Message,
    refusal::error,
    reign::{Present, Reign},
    replies::Replies,
    request::{Request, Slot, Woken, no_answer},
    server_clock::ServerClock,
    turns,
    wire::{Trouble, Wire},
};
use crate::{
    error::{Error, ErrorKind, Result},
    sync::Mutex,
};

/// So many requests may be under way before further ones are gathered: a few callers each get
/// their own write at once, and many share one.
const FEW: usize = 3;

/// How long requests are gathered after a write, unless as many come together as are under way:
/// then the server is about to run out of work.
const GATHER: Duration = Duration::from_micros(250);

/// Larger batches may fill the socket: somebody must be reading before they are written.
const LARGE_BATCH: usize = 64 << 10;

/// Requests up to this size are copied together, so that they leave in one write; larger ones
/// leave by themselves, without a copy. It is done under the lock, so that the memory of a request
/// stays where its replies will come: this much takes a tenth of a microsecond.
const SMALL: usize = 4 << 10;

/// Requests are copied together up to this size, which is what a socket takes at once.
const TOGETHER: usize = 64 << 10;

/// What callers and keeper have in common.
pub(super) struct Exchange {
    state: Mutex<State>,
    /// True while `State::down` is set.
    is_down: AtomicBool,
    clock: ServerClock,
    counters: Arc<Counters>,
    keeper: UnboundedSender<Message>,
}

struct State {
    phase: Phase,
    /// Why callers fail at once.
    down: Option<Error>,
    /// Requests that were not sent yet.
    unsent: VecDeque<Request>,
    /// Tells connections apart: what happens on an old one is not about the new one.
    serial: u64,
}

enum Phase {
    /// Nobody asked yet.
    Idle,
    /// The keeper makes a connection, or waits before it does.
    Waiting,
    Up(Up),
    Closed,
}

struct Up {
    serial: u64,
    wire: Arc<Wire>,
    reign: Option<Reign>,
    since: Instant,
    /// Requests whose bytes were handed to a writer, in that order; replies come in it too.
    sent: VecDeque<Request>,
    has_reader: bool,
    has_writer: bool,
    last_write: Instant,
    /// How many requests it carried.
    last_batch: usize,
    /// Counts what was handed to writers.
    batches: u64,
    /// Room for the next batch.
    spare: Vec<u8>,
}

/// What a caller has to do now.
enum Duty {
    Write(Batch),
    Read(Arc<Wire>, u64),
    Wait(Instant),
}

/// Bytes of requests that were moved to `sent`.
struct Batch {
    wire: Arc<Wire>,
    serial: u64,
    /// Each leaves in a write of its own.
    pieces: Vec<Vec<u8>>,
    since: Instant,
}

impl Batch {
    fn is_large(&self) -> bool {
        self.pieces.iter().map(Vec::len).sum::<usize>() > LARGE_BATCH
    }
}

/// Adds the bytes of a request to the pieces of a batch.
fn add(pieces: &mut Vec<Vec<u8>>, request: &mut Request) {
    if request.size() > SMALL {
        pieces.push(request.take_bytes());
        return;
    }
    match pieces.last_mut() {
        Some(last) if last.len() + request.size() <= TOGETHER => request.copy_bytes(last),
        _ => {
            let mut piece = Vec::with_capacity(TOGETHER);
            request.copy_bytes(&mut piece);
            pieces.push(piece);
        }
    }
}

/// Whether a connection is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Activity {
    pub(super) is_idle: bool,
    pub(super) batches: u64,
}

impl State {
    fn up(&mut self, serial: u64) -> Option<(&mut Up, &mut VecDeque<Request>)> {
        match &mut self.phase {
            Phase::Up(up) if up.serial == serial => Some((up, &mut self.unsent)),
            _ => None,
        }
    }
}

impl Up {
    /// True if what has gathered is to be sent now.
    fn is_enough(&self, unsent: &VecDeque<Request>, now: Instant) -> bool {
        self.sent.len() < FEW || unsent.len() >= self.sent.len() || now >= self.last_write + GATHER
    }

    /// Takes the role of the writer and all that gathered, if there is anything and nobody else
    /// is at it.
    fn batch(&mut self, unsent: &mut VecDeque<Request>, now: Instant) -> Option<Batch> {
        if self.has_writer || unsent.is_empty() {
            return None;
        }
        let mut pieces = vec![std::mem::take(&mut self.spare)];
        let before = self.sent.len();
        for mut request in unsent.drain(..) {
            if request.is_late(now) {
                request.expire();
            } else {
                add(&mut pieces, &mut request);
                self.sent.push_back(request);
            }
        }
        if self.sent.len() == before {
            return None;
        }
        self.has_writer = true;
        self.last_batch = self.sent.len() - before;
        self.last_write = now;
        self.batches += 1;
        Some(Batch { wire: Arc::clone(&self.wire), serial: self.serial, pieces, since: now })
    }
}

impl Exchange {
    pub(super) fn new(counters: Arc<Counters>, keeper: UnboundedSender<Message>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                phase: Phase::Idle,
                down: None,
                unsent: VecDeque::new(),
                serial: 0,
            }),
            is_down: AtomicBool::new(false),
            clock: ServerClock::new(),
            counters,
            keeper,
        })
    }

    /// The estimate of the server's clock.
    pub(super) fn clock(&self) -> &ServerClock {
        &self.clock
    }

    /// Why callers fail at once, or `None`.
    pub(super) fn down(&self) -> Option<Error> {
        if !self.is_down.load(Ordering::Relaxed) {
            return None;
        }
        self.state.lock().down.clone()
    }

    /// How many connections there were, and the reign of the present one.
    pub(super) fn reign(&self) -> Present {
        let state = self.state.lock();
        let reign = match &state.phase {
            Phase::Up(up) => up.reign.clone(),
            _ => None,
        };
        (state.serial, reign)
    }

    /// Has the connection made, though nobody asked yet.
    pub(super) fn begin(&self) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Idle) {
            state.phase = Phase::Waiting;
            _ = self.keeper.send(Message::Connect);
        }
    }

    /// True while there is a connection.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Up(_))
    }

    /// Gives the present connection up.
    pub(super) fn lose_present(&self, why: Error) {
        let serial = match &self.state.lock().phase {
            Phase::Up(up) => up.serial,
            _ => return,
        };
        self.lose(serial, why);
    }

    /// Carries out a request of this thread, until `deadline`, which is `timeout` after the
    /// caller began.
    pub(super) fn carry_out(
        &self,
        request: Request,
        slot: &Arc<Slot>,
        deadline: Instant,
        timeout: Duration,
    ) -> Result<Replies> {
        let mut now = request.begun();
        if self.enqueue(request)? && turns::give_up_turn() {
            // Others who are about to ask come along in the same write.
            now = Instant::now();
        }
        let mut is_due = false;
        loop {
            // Whoever is here has no role.
            if let Some(outcome) = slot.take() {
                return outcome;
            }
            match self.duty(slot, is_due, now, deadline) {
                Duty::Write(batch) => self.write(batch, deadline),
                Duty::Read(wire, serial) => self.read(&wire, serial, slot, now, deadline),
                Duty::Wait(until) => {
                    let woken = slot.wait(until);
                    if woken == Woken::Late && until >= deadline {
                        return self.give_up(slot, timeout);
                    }
                    is_due = woken == Woken::Late;
                }
            }
            now = Instant::now();
        }
    }

    /// Queues a request; true if there were others of late.
    fn enqueue(&self, request: Request) -> Result<bool> {
        let mut state = self.state.lock();
        let mut has_company = false;
        match &state.phase {
            Phase::Closed => return Err(closed()),
            Phase::Idle => {
                state.phase = Phase::Waiting;
                // The keeper is gone only when the cache is closed.
                _ = self.keeper.send(Message::Connect);
            }
            Phase::Waiting => {
                if let Some(down) = &state.down {
                    count(&self.counters.disconnected);
                    return Err(down.clone());
                }
            }
            Phase::Up(up) => has_company = up.last_batch > 1 || up.sent.len() > FEW,
        }
        state.unsent.push_back(request);
        Ok(has_company)
    }

    /// What the caller in `slot` has to do; `is_due` if it has waited for others long enough.
    fn duty(&self, slot: &Arc<Slot>, is_due: bool, now: Instant, deadline: Instant) -> Duty {
        let mut state = self.state.lock();
        let State { phase: Phase::Up(up), unsent, .. } = &mut *state else {
            return Duty::Wait(deadline);
        };
        if now >= deadline {
            return Duty::Wait(deadline);
        }
        if (is_due || up.is_enough(unsent, now))
            && let Some(batch) = up.batch(unsent, now)
        {
            return Duty::Write(batch);
        }
        if !up.has_reader && !up.sent.is_empty() {
            up.has_reader = true;
            return Duty::Read(Arc::clone(&up.wire), up.serial);
        }
        let gathers = unsent.front().is_some_and(|first| first.is_of(slot));
        Duty::Wait(if gathers { deadline.min(now + GATHER) } else { deadline })
    }

    /// Holds the role of the writer: sends a batch, and what came up meanwhile if the server has
    /// little to do.
    fn write(&self, first: Batch, deadline: Instant) {
        let mut next = Some(first);
        while let Some(Batch { wire, serial, mut pieces, since }) = next.take() {
            if let Err(trouble) = wire.send(&pieces, since, deadline) {
                return self.lose(serial, as_error(trouble));
            }
            let mut spare = pieces.swap_remove(0);
            spare.clear();
            let mut state = self.state.lock();
            let Some((up, unsent)) = state.up(serial) else { return };
            up.has_writer = false;
            up.spare = spare;
            if up.sent.len() < FEW && !unsent.is_empty() {
                let now = Instant::now();
                if now < deadline {
                    next = up.batch(unsent, now);
                }
            }
        }
    }

    /// Holds the role of the reader until the answer of `slot` is there, its time is over or the
    /// connection lost: hands out replies and sends what gathers.
    fn read(
        &self,
        wire: &Wire,
        serial: u64,
        slot: &Arc<Slot>,
        mut now: Instant,
        deadline: Instant,
    ) {
        let mut inbound = wire.inbound();
        let (mut replies, mut answered, mut woken) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            replies.clear();
            let outcome = wire.receive(&mut inbound, &mut replies, now, deadline);
            now = Instant::now();
            let mut state = self.state.lock();
            let Some((up, unsent)) = state.up(serial) else { return };
            let (mut next, mut is_unasked) = (0, false);
            while next < replies.len() {
                let Some(request) = up.sent.front_mut() else {
                    is_unasked = true;
                    break;
                };
                let end = next + request.lacks();
                if end <= replies.len() {
                    answered.extend(up.sent.pop_front().map(|request| (request, next..end)));
                } else {
                    let some = replies[next..].iter();
                    some.for_each(|place| _ = request.accept(inbound.at(place.clone())));
                }
                next = end;
            }
            if is_unasked || up.sent.is_empty() && inbound.has_rest() {
                // Nobody can tell which of the replies was too many: none of them counts.
                drop(state);
                return self.lose(serial, as_error(Trouble::Unasked));
            }
            let is_late = matches!(outcome, Err(Trouble::Late));
            let sends = !is_late && up.is_enough(unsent, now);
            let batch = if sends { up.batch(unsent, now) } else { None };
            let nothing_left = up.sent.is_empty() && unsent.is_empty();
            if nothing_left {
                up.has_reader = false;
            }
            drop(state);
            // The answers are where their callers look before anything can take time; the server
            // has its work before they are woken.
            for (mut request, own) in answered.drain(..) {
                count(&self.counters.round_trips);
                let own = &replies[own];
                request.reserve(own.iter().map(ExactSizeIterator::len).sum());
                own.iter().for_each(|place| _ = request.accept(inbound.at(place.clone())));
                woken.extend(request.settle());
            }
            if let Some(batch) = batch {
                self.write(batch, deadline);
            }
            for other in woken.drain(..).filter(|other| !Arc::ptr_eq(other, slot)) {
                other.wake();
            }
            match outcome {
                Err(trouble) if !is_late => return self.lose(serial, as_error(trouble)),
                _ if nothing_left => return,
                _ => {}
            }
            if slot.is_answered() || is_late {
                drop(inbound);
                return self.hand_on(serial, is_late, deadline);
            }
        }
    }

    /// Gives the role of the reader back, sends what has gathered, and calls who reads next.
    fn hand_on(&self, serial: u64, is_late: bool, deadline: Instant) {
        let (batch, next) = {
            let mut state = self.state.lock();
            let Some((up, unsent)) = state.up(serial) else { return };
            up.has_reader = false;
            let now = Instant::now();
            let sends = !is_late && up.is_enough(unsent, now);
            let batch = if sends { up.batch(unsent, now) } else { None };
            (batch, up.sent.front().or(unsent.front()).and_then(Request::caller))
        };
        // Who is called before the bytes are sent has to wait for them all the same.
        let calls_first = batch.as_ref().is_none_or(Batch::is_large);
        if calls_first && let Some(next) = &next {
            next.call();
        }
        if let Some(batch) = batch {
            self.write(batch, deadline);
        }
        if !calls_first && let Some(next) = &next {
            next.call();
        }
    }

    /// The time of the caller in `slot` is over.
    fn give_up(&self, slot: &Arc<Slot>, timeout: Duration) -> Result<Replies> {
        let now = Instant::now();
        let late = || no_answer(timeout);
        let mut state = self.state.lock();
        if let Some(outcome) = slot.take() {
            return outcome;
        }
        let State { phase, unsent, .. } = &mut *state;
        let place = unsent.iter().position(|request| request.is_of(slot));
        let own = place.and_then(|place| unsent.remove(place));
        let mut lost = None;
        if let Phase::Up(up) = phase {
            let in_doubt = match &own {
                // Half of its time was not enough to get it sent: somebody hangs.
                Some(own) => own.begun().max(up.since) + timeout / 2 <= now,
                None => up.sent.iter().any(|request| request.is_of(slot)),
            };
            lost = in_doubt.then_some(up.serial);
        }
        let next = unsent.front().and_then(Request::caller);
        drop(state);
        if let Some(serial) = lost {
            self.lose(serial, late());
        } else if place == Some(0)
            && let Some(next) = next
        {
            // It was for this caller to send what gathers.
            next.call();
        }
        drop(own);
        match slot.take() {
            Some(Ok(reply)) => Ok(reply),
            _ => Err(late()),
        }
    }

    /// Gives the connection up, with all that waits on it. Nothing on an old one.
    pub(super) fn lose(&self, serial: u64, why: Error) {
        let mut state = self.state.lock();
        if state.up(serial).is_none() {
            return;
        }
        let Phase::Up(up) = std::mem::replace(&mut state.phase, Phase::Waiting) else { return };
        up.wire.shutdown();
        let mut unsent = VecDeque::new();
        if why.kind() == ErrorKind::Timeout {
            // A server that does not answer will hardly answer a new connection: nobody waits
            // for it.
            self.set_down(&mut state, Some(why.clone()));
            unsent = std::mem::take(&mut state.unsent);
        }
        drop(state);
        _ = self.keeper.send(Message::Lost { age: up.since.elapsed(), error: why.clone() });
        let now = Instant::now();
        for request in up.sent.into_iter().chain(unsent) {
            if request.is_late(now) {
                request.expire();
            } else if why.kind() == ErrorKind::Timeout {
                // Dropped: another's time was over, not its own.
                drop(request);
            } else {
                request.answer(Err(why.clone()));
            }
        }
    }

    fn set_down(&self, state: &mut State, down: Option<Error>) {
        self.is_down.store(down.is_some(), Ordering::Relaxed);
        state.down = down;
    }

    /// Takes a connection into use; its number, or `None` where the tier was closed meanwhile.
    pub(super) fn connected(&self, wire: &Arc<Wire>, reign: Option<Reign>) -> Option<u64> {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) {
            return None;
        }
        state.serial += 1;
        let (serial, now) = (state.serial, Instant::now());
        state.phase = Phase::Up(Up {
            serial,
            wire: Arc::clone(wire),
            reign,
            since: now,
            sent: VecDeque::new(),
            has_reader: false,
            has_writer: false,
            last_write: now,
            last_batch: 0,
            batches: 0,
            spare: Vec::new(),
        });
        self.set_down(&mut state, None);
        let first = state.unsent.front().and_then(Request::caller);
        drop(state);
        if let Some(first) = first {
            first.call();
        }
        Some(serial)
    }

    /// Fails all callers with `why` until there is a connection.
    pub(super) fn fail(&self, why: &Error) {
        let mut state = self.state.lock();
        if !matches!(state.phase, Phase::Waiting) {
            return;
        }
        self.set_down(&mut state, Some(why.clone()));
        let unsent = std::mem::take(&mut state.unsent);
        drop(state);
        for request in unsent {
            request.answer(Err(why.clone()));
        }
    }

    /// Whether the connection of this number is used, or `None` where it is an old one.
    pub(super) fn activity(&self, serial: u64) -> Option<Activity> {
        let mut state = self.state.lock();
        let (up, unsent) = state.up(serial)?;
        let is_idle = up.sent.is_empty() && unsent.is_empty();
        Some(Activity { is_idle, batches: up.batches })
    }

    /// Ends the connection and lets all callers go; later ones fail.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        let phase = std::mem::replace(&mut state.phase, Phase::Closed);
        let unsent = std::mem::take(&mut state.unsent);
        drop(state);
        let mut sent = VecDeque::new();
        if let Phase::Up(up) = phase {
            up.wire.shutdown();
            sent = up.sent;
        }
        for request in sent.into_iter().chain(unsent) {
            request.answer(Err(closed()));
        }
    }
}

pub(super) fn closed() -> Error {
    error(ErrorKind::Closed, "tier was closed")
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;

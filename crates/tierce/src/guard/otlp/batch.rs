//! Spans that have ended and wait to be sent, and the thread that sends them.
//!
//! - Whoever ends a span puts it into a queue, under a lock that is held for a few instructions.
//! - The thread sends when enough wait, or five seconds after the first. It begins with the first span and
//!   ends when none came for ten seconds, or when the handle is dropped, after a last attempt.
//! - A message that failed is sent again as it is, at doubling distances. Meanwhile spans wait, up to a
//!   bound; those beyond it are dropped and counted.
//! - A forked child sends its own spans, by a thread of its own; what waited is its parent's.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    export::{Exporter, OtlpStats, Outcome},
    points::unix,
    resource::{Resource, write_attribute},
    wire::Message,
};
use crate::{
    guard::retry::Retry,
    sync::{self, Condvar, Mutex},
};

/// Spans that may wait, as the specification of OpenTelemetry has it.
const MOST_WAITING: usize = 2048;
/// Spans of one message, as the specification has it.
const MOST_AT_ONCE: usize = 512;
/// How long spans wait for others, as the specification has it.
const DELAY: Duration = Duration::from_secs(5);
/// How long the thread stays without anything to do.
const IDLE: Duration = Duration::from_secs(10);
/// The name of the thread.
const NAME: &str = "tierce-otlp";

/// Sampled, and known to have no parent in another process: flags of OTLP.
const FLAGS: u32 = 0x101;
/// What a span is, in OTLP.
const INTERNAL: u64 = 1;
const CLIENT: u64 = 3;
/// How a span ended, in OTLP.
const FAILED: u64 = 2;

/// What an attribute of a span holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Held {
    Text(String),
    Whole(i64),
    Fraction(f64),
    Truth(bool),
}

/// A span that has ended.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) is_client: bool,
    pub(super) has_failed: bool,
    pub(super) start: SystemTime,
    pub(super) lasted: Duration,
    pub(super) attributes: Vec<(&'static str, Held)>,
}

impl Span {
    fn write(&self, span: &mut Message) {
        span.bytes(1, self.trace.to_be_bytes());
        span.bytes(2, self.id.to_be_bytes());
        if let Some(parent) = self.parent {
            span.bytes(4, parent.to_be_bytes());
        }
        span.bytes(5, self.name);
        span.number(6, if self.is_client { CLIENT } else { INTERNAL });
        span.set_fixed(7, unix(self.start));
        // By the duration: the clock on the wall may have been set meanwhile.
        span.set_fixed(8, unix(self.start + self.lasted));
        for (key, held) in &self.attributes {
            write_attribute(span, 9, key, |value| match held {
                Held::Text(text) => value.set_bytes(1, text),
                Held::Truth(truth) => value.set_number(2, u64::from(*truth)),
                // As the encoding has negative numbers.
                Held::Whole(number) => value.set_number(3, *number as u64),
                Held::Fraction(number) => value.set_fixed(4, number.to_bits()),
            });
        }
        if self.has_failed {
            span.message(15, |status| status.number(3, FAILED));
        }
        span.fixed32(16, FLAGS);
    }
}

/// An `ExportTraceServiceRequest`.
fn request(resource: &Resource, spans: &[Span]) -> Vec<u8> {
    let mut message = Message::default();
    message.message(1, |all| {
        resource.write(all, 1);
        all.message(2, |scope| {
            Resource::write_scope(scope, 1);
            spans.iter().for_each(|span| scope.message(2, |message| span.write(message)));
        });
    });
    message.finish()
}

/// Spans that wait: told the time, and touches nothing.
#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Span>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Those of a message that failed.
    again: Vec<Span>,
    retry: Retry,
    is_unwanted: bool,
    stats: OtlpStats,
}

impl Queue {
    /// True where the thread should look.
    fn put(&mut self, span: Span, now: Instant) -> bool {
        if self.waiting.len() + self.again.len() >= MOST_WAITING {
            self.stats.dropped += 1;
            return false;
        }
        self.waiting.push(span);
        let is_first = self.since.is_none();
        self.since.get_or_insert(now);
        is_first || self.waiting.len() == MOST_AT_ONCE
    }

    /// When there is something to send; `None`: not before a span is put.
    fn due(&self, is_wanted: bool, now: Instant) -> Option<Instant> {
        if let Some(at) = self.retry.at() {
            return Some(at);
        }
        let since = self.since?;
        let is_due = is_wanted || self.waiting.len() >= MOST_AT_ONCE;
        Some(if is_due { now } else { since + DELAY })
    }

    fn take(&mut self, now: Instant) -> Vec<Span> {
        if !self.again.is_empty() {
            return std::mem::take(&mut self.again);
        }
        let count = self.waiting.len().min(MOST_AT_ONCE);
        let rest = self.waiting.split_off(count);
        self.since = (!rest.is_empty()).then_some(now);
        std::mem::replace(&mut self.waiting, rest)
    }

    fn sent(&mut self, now: Instant, spans: Vec<Span>, outcome: Outcome) {
        self.stats.count(&outcome);
        match outcome {
            Outcome::Failed(_, asked) => {
                self.again = spans;
                self.retry.failed(now, asked);
                self.is_unwanted = asked.is_some();
                return;
            }
            Outcome::Refused(_) => self.stats.dropped += spans.len() as u64,
            Outcome::Taken(..) => {}
        }
        self.retry.settled();
        self.is_unwanted = false;
    }

    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.again.is_empty()
    }
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    exporter: Exporter,
    resource: Resource,
}

struct State {
    queue: Queue,
    /// The process that the queue is of.
    generation: u32,
    has_thread: bool,
    /// The thread sends, and what it took is in no queue.
    is_sending: bool,
    /// How many wait until all is sent.
    wanted: u32,
    is_over: bool,
}

/// Sends spans.
#[derive(Clone)]
pub(super) struct Batch(Arc<Shared>);

impl Batch {
    pub(super) fn new(exporter: Exporter, resource: Resource) -> Self {
        let state = State {
            queue: Queue::default(),
            generation: sync::generation(),
            has_thread: false,
            is_sending: false,
            wanted: 0,
            is_over: false,
        };
        let changed = Condvar::new();
        Self(Arc::new(Shared { state: Mutex::new(state), changed, exporter, resource }))
    }

    /// Takes a span along, at once.
    pub(super) fn put(&self, span: Span) {
        let now = Instant::now();
        let mut state = self.0.state.lock();
        let generation = sync::generation();
        // What waited is the parent's, and dropped when the lock is given back.
        let mut theirs = Queue::default();
        if state.generation != generation {
            theirs = std::mem::take(&mut state.queue);
            state.generation = generation;
            (state.has_thread, state.is_sending, state.wanted) = (false, false, 0);
        }
        if state.is_over {
            state.queue.stats.dropped += 1;
            return;
        }
        let wakes = state.queue.put(span, now);
        let starts = !std::mem::replace(&mut state.has_thread, true);
        drop(state);
        drop(theirs);
        if starts {
            let shared = Arc::clone(&self.0);
            let started = thread::Builder::new().name(NAME.into()).spawn(move || shared.work());
            if started.is_err() {
                // The next span tries again.
                self.0.state.lock().has_thread = false;
            }
        } else if wakes {
            self.0.changed.notify_all();
        }
    }

    pub(super) fn stats(&self) -> OtlpStats {
        self.0.state.lock().queue.stats.clone()
    }

    /// Has all be sent that waits, and waits for that at most so long. False where it was not taken.
    pub(super) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.0.state.lock();
        if state.generation != sync::generation() {
            return false;
        }
        state.wanted += 1;
        self.0.changed.notify_all();
        let dropped = state.queue.stats.dropped;
        while (state.is_sending || !state.queue.is_empty()) && state.has_thread {
            if self.0.changed.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.wanted -= 1;
        !state.is_sending && state.queue.is_empty() && state.queue.stats.dropped == dropped
    }

    /// Sends what waits a last time, and ends. Nobody waits for it.
    pub(super) fn end(&self) {
        self.0.state.lock().is_over = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// What the thread does.
    fn work(&self) {
        let mut idle_until = Instant::now() + IDLE;
        loop {
            let mut state = self.state.lock();
            let (now, is_over) = (Instant::now(), state.is_over);
            let is_empty = state.queue.is_empty();
            if is_over && (is_empty || state.queue.is_unwanted) || is_empty && idle_until <= now {
                state.has_thread = false;
                state.queue.stats.dropped +=
                    (state.queue.waiting.len() + state.queue.again.len()) as u64;
                drop(state);
                self.changed.notify_all();
                return;
            }
            let due = state.queue.due(state.wanted > 0, now);
            if !is_over && due.is_none_or(|due| due > now) {
                self.changed.wait_until(&mut state, due.unwrap_or(idle_until));
                continue;
            }
            let spans = state.queue.take(now);
            state.is_sending = true;
            drop(state);
            let sent = catch_unwind(AssertUnwindSafe(|| {
                self.exporter.send(&request(&self.resource, &spans))
            }));
            let outcome = sent.unwrap_or_else(|_| Outcome::Refused("sending panicked".into()));
            let gives_up = is_over && matches!(outcome, Outcome::Failed(..));
            let now = Instant::now();
            idle_until = now + IDLE;
            let mut state = self.state.lock();
            state.is_sending = false;
            state.queue.sent(now, spans, outcome);
            // Nobody is left to send them later.
            state.queue.is_unwanted |= gives_up;
            drop(state);
            self.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u64) -> Span {
        Span {
            trace: 1,
            id,
            parent: None,
            name: "tierce.l2",
            is_client: false,
            has_failed: false,
            start: SystemTime::UNIX_EPOCH,
            lasted: Duration::ZERO,
            attributes: Vec::new(),
        }
    }

    fn ids(spans: &[Span]) -> Vec<u64> {
        spans.iter().map(|span| span.id).collect()
    }

    #[test]
    fn spans_wait_for_others_but_not_for_long() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        assert_eq!(queue.due(true, now), None);
        assert!(queue.put(span(1), now), "the thread may be asleep");
        assert!(!queue.put(span(2), now + DELAY / 2));
        assert_eq!(queue.due(false, now), Some(now + DELAY));
        assert_eq!(queue.due(true, now), Some(now));
        for id in 3..MOST_AT_ONCE as u64 {
            assert!(!queue.put(span(id), now));
        }
        assert!(queue.put(span(0), now), "a message is full");
        assert_eq!(queue.due(false, now), Some(now));
        queue.put(span(9), now);
        let taken = queue.take(now);
        assert_eq!(taken.len(), MOST_AT_ONCE);
        queue.sent(now, taken, Outcome::Taken(0, None));
        assert_eq!((queue.waiting.len(), queue.due(false, now)), (1, Some(now + DELAY)));
    }

    #[test]
    fn what_failed_is_sent_again_as_it_was_and_what_is_too_much_is_dropped() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.put(span(1), now);
        let taken = queue.take(now);
        let asked = Duration::from_secs(90);
        queue.sent(now, taken, Outcome::Failed("status 503".into(), Some(asked)));
        for id in 2..MOST_WAITING as u64 + 5 {
            queue.put(span(id), now);
        }
        assert_eq!(queue.stats.dropped, 4);
        assert_eq!(queue.due(true, now), Some(now + asked), "however many wait");
        let taken = queue.take(now + asked);
        assert_eq!(ids(&taken), [1]);
        queue.sent(now, taken, Outcome::Taken(0, None));
        let taken = queue.take(now);
        assert_eq!((taken[0].id, taken.len()), (2, MOST_AT_ONCE));
        queue.sent(now, taken, Outcome::Refused("status 400".into()));
        assert_eq!(queue.stats.dropped, 4 + MOST_AT_ONCE as u64);
        assert_eq!(queue.due(false, now), Some(now), "the others need not wait");
    }
}

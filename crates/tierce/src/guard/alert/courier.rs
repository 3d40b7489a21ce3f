//! A thread that carries notices to one place, so that a place which hangs holds up nobody: not the
//! judging, not another sink, not a caller of the cache.
//!
//! ```text
//!   notify ──> waiting (bounded; the latest notice of each alert) ──> thread ──> send
//!                ^                                                      │ failed: later, at doubling
//!                ├──────────────────────────────────────────────────────┘ distances with jitter
//!                └── standing: what fires and must be said again, for places that forget
//! ```
//!
//! - A notice takes the place of an earlier one of its alert that did not get through: the place is
//!   told what is true, not what was.
//! - What is refused is not sent again: it would be refused again. It is counted.
//! - More than [`MOST_WAITING`] alerts that wait are too many: the oldest is dropped and counted.
//! - The thread is there while something waits or stands, and ten seconds longer. Once its courier
//!   is dropped it tries what waits one last time and ends; nobody waits for it.
//! - A forked child has no guard and so no courier: what waits is the parent's.
//!
//! The lock is held for a few instructions; nothing is sent under it.

use std::{
    collections::VecDeque,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{Notice, NoticeStatus, SinkStats};
use crate::{
    guard::retry::Retry,
    sync::{self, Condvar, Mutex},
};

/// Alerts of one cache: more at once are one fact.
pub(super) const MOST_WAITING: usize = 64;
/// How long the thread stays without anything to do.
const IDLE: Duration = Duration::from_secs(10);
/// The name of the thread.
const NAME: &str = "tierce-notify";

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
// Some sinks are not in every build.
#[cfg_attr(not(feature = "webhooks"), allow(dead_code))]
pub(super) enum Outcome {
    /// It was taken.
    Taken,
    /// It was refused, and would be again.
    Refused(String),
    /// It may be taken later; not before so long, if the place says that.
    Failed(String, Option<Duration>),
}

/// Notices that are on their way to one place: told the time, and touches nothing.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Notice>,
    /// What fires there, for places that forget it.
    standing: Vec<Notice>,
    /// After how long it must be said again.
    refresh: Option<Duration>,
    refresh_at: Option<Instant>,
    retry: Retry,
    stats: SinkStats,
}

impl Queue {
    fn put(&mut self, notice: Notice) {
        self.waiting.retain(|earlier| earlier.alert != notice.alert);
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.stats.dropped += 1;
        }
        self.waiting.push_back(notice);
    }

    /// When there is something to send, `now` at the earliest; `None`: not before something is put.
    fn due(&self, now: Instant) -> Option<Instant> {
        let due = if self.waiting.is_empty() { self.refresh_at? } else { now };
        // No earlier than the place can be expected to be back.
        Some(self.retry.at().map_or(due, |retry| retry.max(due)).max(now))
    }

    /// Takes up to so many notices to send.
    fn take(&mut self, now: Instant, most: usize) -> Vec<Notice> {
        if self.refresh_at.is_some_and(|at| at <= now) {
            self.refresh_at = self.refresh.map(|span| now + span);
            for standing in &self.standing {
                if !self.waiting.iter().any(|newer| newer.alert == standing.alert) {
                    self.waiting.push_back(standing.clone());
                }
            }
        }
        let count = most.min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }

    /// Takes note of what became of what was taken.
    fn sent(&mut self, now: Instant, notices: Vec<Notice>, outcome: Outcome) {
        let count = notices.len() as u64;
        match outcome {
            Outcome::Taken => {
                self.stats.taken += count;
                self.stats.last_error = None;
                self.settle(now, notices);
            }
            Outcome::Refused(why) => {
                self.stats.refused += count;
                self.stats.last_error = Some(why);
                self.settle(now, Vec::new());
            }
            Outcome::Failed(why, asked) => {
                self.stats.failed += 1;
                self.stats.last_error = Some(why);
                self.retry.failed(now, asked);
                for notice in notices.into_iter().rev() {
                    // What came in the meantime is newer, and is not dropped for it.
                    let is_old = self.waiting.iter().any(|newer| newer.alert == notice.alert);
                    if is_old {
                        continue;
                    }
                    if self.waiting.len() < MOST_WAITING {
                        self.waiting.push_front(notice);
                    } else {
                        self.stats.dropped += 1;
                    }
                }
            }
        }
    }

    fn settle(&mut self, now: Instant, taken: Vec<Notice>) {
        self.retry.settled();
        let Some(refresh) = self.refresh else { return };
        for notice in taken {
            self.standing.retain(|known| known.alert != notice.alert);
            if notice.status == NoticeStatus::Firing {
                self.standing.push(notice);
            }
        }
        let again = self.refresh_at.unwrap_or(now + refresh);
        self.refresh_at = (!self.standing.is_empty()).then_some(again);
    }
}

/// Sends notices, some at once.
pub(super) type Send = Box<dyn Fn(&[Notice]) -> Outcome + std::marker::Send + Sync>;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    send: Send,
    /// How many go into one message.
    most: usize,
}

struct State {
    queue: Queue,
    /// The process that the queue is of.
    generation: u32,
    has_thread: bool,
    is_over: bool,
}

/// Carries notices to one place.
pub(super) struct Courier {
    shared: Arc<Shared>,
}

impl Courier {
    /// A courier that sends up to `most` notices at once by `send`; what fires is said again after
    /// `refresh`.
    pub(super) fn new(sink: String, most: usize, refresh: Option<Duration>, send: Send) -> Self {
        let stats = SinkStats { sink, ..SinkStats::default() };
        let queue = Queue { refresh, stats, ..Queue::default() };
        let generation = sync::generation();
        let state = State { queue, generation, has_thread: false, is_over: false };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), send, most };
        Self { shared: Arc::new(shared) }
    }

    /// Takes a notice along, at once.
    ///
    /// # Errors
    /// What the system says of another thread; the notice waits for the next one.
    pub(super) fn take(&self, notice: Notice) -> std::io::Result<()> {
        let mut state = self.shared.state.lock();
        if state.generation != sync::generation() {
            return Ok(());
        }
        state.queue.put(notice);
        let starts = !std::mem::replace(&mut state.has_thread, true);
        drop(state);
        if !starts {
            self.shared.changed.notify_all();
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let started = thread::Builder::new().name(NAME.into()).spawn(move || shared.work());
        if let Err(error) = started {
            self.shared.state.lock().has_thread = false;
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn stats(&self) -> SinkStats {
        let state = self.shared.state.lock();
        SinkStats { waiting: state.queue.waiting.len() as u64, ..state.queue.stats.clone() }
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.shared.state.lock().is_over = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// What the thread does.
    fn work(&self) {
        let mut idle_until = Instant::now() + IDLE;
        loop {
            let mut state = self.state.lock();
            let now = Instant::now();
            let due = state.queue.due(now);
            let is_over = state.is_over;
            if is_over && state.queue.waiting.is_empty() {
                return;
            }
            if !is_over && due.is_none_or(|due| due > now) {
                if due.is_none() && idle_until <= now {
                    state.has_thread = false;
                    return;
                }
                let until = due.unwrap_or(idle_until);
                self.changed.wait_until(&mut state, until);
                continue;
            }
            let notices = state.queue.take(now, self.most);
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| (self.send)(&notices)));
            let outcome = outcome.unwrap_or_else(|_| Outcome::Refused("sending panicked".into()));
            let now = Instant::now();
            idle_until = now + IDLE;
            if is_over && matches!(outcome, Outcome::Failed(..)) {
                return;
            }
            self.state.lock().queue.sent(now, notices, outcome);
        }
    }
}

#[cfg(test)]
mod tests;

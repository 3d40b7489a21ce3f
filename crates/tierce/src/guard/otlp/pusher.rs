//! The thread that sends metrics, so that a receiver which hangs holds up nobody.
//!
//! ```text
//!   gather (the cache is asked)  ──>  message  ──>  receiver
//!      ^ each period; or, after a failure, at doubling distances with jitter
//! ```
//!
//! - A message holds all that was ever counted, so nothing waits: what failed is gathered anew, and
//!   nothing is lost that a counter holds. What gauges were in between is.
//! - The thread holds the cache only while it gathers.
//! - When the pusher is dropped, metrics are gathered a last time, by who drops it, and sent by the
//!   thread, which then ends. Nobody waits for it; who wants to calls [`Pusher::flush`] before.
//! - A forked child has no guard and so no pusher.
//!
//! The lock is held for a few instructions; nothing is gathered or sent under it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use super::{
    export::{Exporter, OtlpStats, Outcome},
    points::{self, Gathered, Starts},
    resource::Resource,
};
use crate::{
    error::Result,
    guard::retry::Retry,
    metrics::{Families, write_process},
    sync::{self, Condvar, Mutex},
};

/// Gathers what is to be sent; false where there is nothing (any more).
pub(in crate::guard) type Gather = Box<dyn Fn(&mut dyn Families) -> bool + Send + Sync>;

/// The name of the thread.
const NAME: &str = "tierce-otlp";

/// When metrics are sent: told the time, and touches nothing.
#[derive(Debug)]
struct Schedule {
    period: Duration,
    next: Instant,
    retry: Retry,
    /// Until when the receiver asked not to be asked.
    quiet_until: Option<Instant>,
}

impl Schedule {
    fn new(period: Duration, now: Instant) -> Self {
        Self { period, next: now + period, retry: Retry::default(), quiet_until: None }
    }

    /// When something is to be sent, where somebody waits for it or not.
    fn due(&self, is_wanted: bool, now: Instant) -> Instant {
        match self.retry.at() {
            Some(at) => at,
            None if is_wanted => now,
            None => self.next,
        }
    }

    /// Whether the receiver asked not to be asked now.
    fn is_unwanted(&self, now: Instant) -> bool {
        self.quiet_until.is_some_and(|until| until > now)
    }

    fn sent(&mut self, now: Instant, outcome: &Outcome) {
        self.quiet_until = None;
        if let Outcome::Failed(_, asked) = outcome {
            self.retry.failed(now, *asked);
            self.quiet_until = asked.and(self.retry.at());
        } else {
            self.retry.settled();
            if self.next <= now {
                // One that was missed is not made up for.
                let next = self.next + self.period;
                self.next = if next > now { next } else { now + self.period };
            }
        }
    }
}

/// Sends metrics each period.
pub(in crate::guard) struct Pusher {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    gather: Gather,
    /// Whose metrics they are.
    cache: String,
    process: ProcessTurn,
}

#[derive(Default)]
struct State {
    stats: OtlpStats,
    generation: u32,
    /// How often somebody waited for all to be sent, and of these how many need not any more.
    asked: u64,
    answered: u64,
    /// What was gathered last of all.
    last: Option<Gathered>,
    is_over: bool,
    has_ended: bool,
}

impl Pusher {
    /// Begins the thread, for a cache of this name that began to count at this time.
    pub(super) fn start(
        exporter: Exporter,
        resource: Resource,
        period: Duration,
        (cache, begun, gather): (&str, SystemTime, Gather),
    ) -> Result<Self> {
        let generation = sync::generation();
        let shared = Arc::new(Shared {
            state: Mutex::new(State { generation, ..State::default() }),
            changed: Condvar::new(),
            gather,
            cache: cache.to_owned(),
            process: ProcessTurn::default(),
        });
        let mut work = Work {
            exporter,
            resource,
            starts: Starts::new(begun),
            schedule: Schedule::new(period, Instant::now()),
        };
        let theirs = Arc::clone(&shared);
        thread::Builder::new().name(NAME.into()).spawn(move || {
            work.run(&theirs);
            theirs.process.give_back();
            theirs.state.lock().has_ended = true;
            theirs.changed.notify_all();
        })?;
        Ok(Self { shared })
    }

    /// What became of the messages so far.
    pub(in crate::guard) fn stats(&self) -> OtlpStats {
        self.shared.state.lock().stats.clone()
    }

    /// Sends what there is now, and waits for that at most so long. False where it was not taken.
    pub(in crate::guard) fn flush(&self, patience: Duration) -> bool {
        let until = Instant::now() + patience;
        let mut state = self.shared.state.lock();
        if state.generation != sync::generation() || state.has_ended {
            return false;
        }
        state.asked += 1;
        let (mine, taken) = (state.asked, state.stats.taken);
        self.shared.changed.notify_all();
        while state.answered < mine && !state.has_ended {
            if self.shared.changed.wait_until(&mut state, until).timed_out() {
                return false;
            }
        }
        state.stats.taken > taken
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        if self.shared.state.lock().generation != sync::generation() {
            return;
        }
        let last = self.shared.gathered();
        let mut state = self.shared.state.lock();
        (state.last, state.is_over) = (last, true);
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// What there is to send. `None` where it is nothing, or the gathering panicked.
    fn gathered(&self) -> Option<Gathered> {
        let mut gathered = Gathered::default();
        let is_there = catch_unwind(AssertUnwindSafe(|| (self.gather)(&mut gathered)));
        if !is_there.unwrap_or(false) {
            return None;
        }
        let stats = self.state.lock().stats.clone();
        stats.write(&mut gathered, &self.cache);
        if self.process.is_mine() {
            write_process(&mut gathered);
        }
        Some(gathered)
    }
}

/// What the thread alone has.
struct Work {
    exporter: Exporter,
    resource: Resource,
    starts: Starts,
    schedule: Schedule,
}

impl Work {
    /// What the thread does.
    fn run(&mut self, shared: &Shared) {
        loop {
            let mut state = shared.state.lock();
            let now = Instant::now();
            let (is_over, asked) = (state.is_over, state.asked);
            let due = self.schedule.due(asked > state.answered, now);
            if !is_over && due > now {
                shared.changed.wait_until(&mut state, due);
                continue;
            }
            let last = state.last.take();
            drop(state);
            if is_over && (last.is_none() || self.schedule.is_unwanted(now)) {
                return;
            }
            let gathered = if is_over { last } else { shared.gathered() };
            let outcome = match gathered {
                Some(gathered) => self.send(gathered),
                None => Outcome::Refused("there is nothing to send".into()),
            };
            self.schedule.sent(Instant::now(), &outcome);
            let mut state = shared.state.lock();
            state.stats.count(&outcome);
            state.answered = asked;
            drop(state);
            shared.changed.notify_all();
            if is_over {
                return;
            }
        }
    }

    fn send(&mut self, gathered: Gathered) -> Outcome {
        let sent = catch_unwind(AssertUnwindSafe(|| {
            let now = SystemTime::now();
            self.exporter.send(&points::request(&self.resource, gathered, &mut self.starts, now))
        }));
        sent.unwrap_or_else(|_| Outcome::Refused("sending panicked".into()))
    }
}

/// The first of several pushers of a process tells of the process: told twice it would be two values of
/// one series.
#[derive(Debug, Default)]
struct ProcessTurn {
    /// The process that it was taken in; 0 while it was not.
    taken: AtomicU32,
}

/// The process in which somebody has the turn. A forked child finds its parent's, and takes its own.
static TAKEN: AtomicU32 = AtomicU32::new(0);

impl ProcessTurn {
    fn is_mine(&self) -> bool {
        let process = sync::generation();
        if self.taken.load(Ordering::Relaxed) == process {
            return true;
        }
        let other = TAKEN.load(Ordering::Relaxed);
        let is_free = other != process
            && TAKEN.compare_exchange(other, process, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if is_free {
            self.taken.store(process, Ordering::Relaxed);
        }
        is_free
    }

    fn give_back(&self) {
        if self.taken.swap(0, Ordering::Relaxed) == sync::generation() {
            TAKEN.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::retry::LONGEST_ASKED;

    const MINUTE: Duration = Duration::from_secs(60);

    fn failed(asked: Option<Duration>) -> Outcome {
        Outcome::Failed("status 503".into(), asked)
    }

    #[test]
    fn metrics_are_sent_each_period_and_missed_ones_are_not_made_up_for() {
        let now = Instant::now();
        let mut schedule = Schedule::new(MINUTE, now);
        assert_eq!(schedule.due(false, now), now + MINUTE);
        assert_eq!(schedule.due(true, now), now, "somebody waits for it");
        schedule.sent(now + MINUTE, &Outcome::Taken(0, None));
        assert_eq!(schedule.due(false, now), now + MINUTE * 2);
        schedule.sent(now + MINUTE * 3 / 2, &Outcome::Taken(0, None));
        assert_eq!(schedule.due(false, now), now + MINUTE * 2, "it was sent between two");
        schedule.sent(now + MINUTE * 7, &Outcome::Refused(String::new()));
        assert_eq!(schedule.due(false, now), now + MINUTE * 8);
    }

    #[test]
    fn what_failed_is_tried_again_at_doubling_distances_and_not_before_the_receiver_wants() {
        let now = Instant::now();
        let mut schedule = Schedule::new(MINUTE, now);
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            schedule.sent(now, &failed(None));
            let expected = Duration::from_secs(expected);
            for is_wanted in [false, true] {
                let distance = schedule.due(is_wanted, now) - now;
                assert!((expected / 2..=expected).contains(&distance), "{distance:?}");
            }
            assert!(!schedule.is_unwanted(now));
        }
        schedule.sent(now, &failed(Some(MINUTE * 2)));
        assert_eq!(schedule.due(true, now), now + MINUTE * 2);
        assert!(schedule.is_unwanted(now) && !schedule.is_unwanted(now + MINUTE * 2));
        schedule.sent(now, &failed(Some(MINUTE * 999)));
        assert_eq!(schedule.due(false, now), now + LONGEST_ASKED);
        schedule.sent(now, &Outcome::Taken(0, None));
        assert_eq!(schedule.due(false, now), now + MINUTE);
    }

    #[test]
    fn one_of_several_tells_of_the_process() {
        // The turn is of the whole process: other tests may have it meanwhile, and give it back.
        let (one, two) = (ProcessTurn::default(), ProcessTurn::default());
        while !one.is_mine() {
            thread::yield_now();
        }
        assert!(one.is_mine() && !two.is_mine());
        one.give_back();
        while !two.is_mine() {
            thread::yield_now();
        }
        two.give_back();
    }
}

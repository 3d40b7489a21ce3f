//! Deadlines of tasks: a thread that wakes them, as no executor's timer can be named here.
//!
//! The thread is there while somebody waits, and some seconds longer. Who is dropped deregisters. Closing
//! takes no deadline from those who wait: what they wait for may still come, and a ring would tell them that
//! it took too long. The thread goes with the last of them; who comes later is told that nobody will wake it.

use std::{
    collections::BTreeMap,
    future::Future,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use super::crew::Crew;
use crate::sync::{self, Condvar, Mutex, MutexGuard};

/// The name of the thread.
const NAME: &str = "tierce-timer";

/// How long the thread stays when nobody waits.
const IDLE: Duration = Duration::from_secs(10);

/// Wakes the tasks of one cache.
pub(crate) struct Alarms {
    shared: Arc<Shared>,
    crew: Crew,
}

struct Shared {
    state: Mutex<State>,
    /// There is an earlier deadline, or an end.
    changed: Condvar,
}

struct State {
    /// The process ([`sync::generation`]) whose tasks these are.
    generation: u32,
    waiting: BTreeMap<Key, Option<Waker>>,
    next_number: u64,
    has_thread: bool,
    closed: bool,
}

/// The number tells those of one instant apart.
type Key = (Instant, u64);

/// Ready at its deadline. Without a thread to be had it is ready at once: better early than never.
pub(crate) struct Alarm {
    shared: Arc<Shared>,
    key: Option<Key>,
}

/// Why an alarm rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ring {
    Deadline,
    /// Before that: no thread is there that would wake its task then.
    Early,
}

impl Alarms {
    pub(crate) fn new() -> Self {
        let state = State {
            generation: sync::generation(),
            waiting: BTreeMap::new(),
            next_number: 0,
            has_thread: false,
            closed: false,
        };
        Self {
            shared: Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }),
            crew: Crew::named(NAME, 1, 1, IDLE),
        }
    }

    /// An alarm at that time; `None` never rings.
    pub(crate) fn at(&self, deadline: Option<Instant>) -> Alarm {
        let shared = Arc::clone(&self.shared);
        let Some(deadline) = deadline else { return Alarm { shared, key: None } };
        let mut state = shared.lock();
        let key = (deadline, state.next_number);
        state.next_number += 1;
        if state.has_thread || !state.closed {
            state.waiting.insert(key, None);
        }
        let is_first = state.waiting.first_key_value().is_some_and(|(first, _)| *first == key);
        let starts = !state.has_thread && !state.closed;
        state.has_thread |= starts;
        drop(state);
        if starts {
            let watch = Watch(Some(Arc::clone(&shared)));
            _ = self.crew.spawn(move || watch.keep());
        } else if is_first {
            shared.changed.notify_all();
        }
        Alarm { shared, key: Some(key) }
    }

    #[cfg(test)]
    pub(crate) fn crew(&self) -> &Crew {
        &self.crew
    }

    /// Has the thread end once nobody waits any more.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        self.crew.close(patience)
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.give_up();
    }
}

/// The duty to wake those who wait, until it is over. It is dropped before that where there is no thread for
/// it, or the crew closes before one has begun.
struct Watch(Option<Arc<Shared>>);

impl Watch {
    fn keep(mut self) {
        if let Some(shared) = self.0.take() {
            shared.work();
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(shared) = &self.0 {
            shared.lock().has_thread = false;
            shared.give_up();
        }
    }
}

impl Shared {
    /// The state, made anew where it is that of the process that this one was forked from. What
    /// wakes its tasks is not dropped here: it may tell the parent's threads things.
    fn lock(&self) -> MutexGuard<'_, State> {
        let generation = sync::generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            state.generation = generation;
            state.has_thread = false;
            mem::forget(mem::take(&mut state.waiting));
        }
        state
    }

    /// Nobody wakes those who wait at their time: they are to go on now.
    fn give_up(&self) {
        let waiting = mem::take(&mut self.lock().waiting);
        self.changed.notify_all();
        wake_all(waiting);
    }

    /// What the thread does until nobody has waited for a while.
    fn work(&self) {
        let mut idle_until = Instant::now() + IDLE;
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            if let Some(first) = state.waiting.first_entry() {
                let (deadline, _) = *first.key();
                idle_until = deadline.max(now) + IDLE;
                if deadline > now {
                    self.changed.wait_until(&mut state, deadline);
                    continue;
                }
                let waker = first.remove();
                drop(state);
                waker.into_iter().for_each(wake);
                state = self.lock();
            } else if state.closed || now >= idle_until {
                state.has_thread = false;
                return;
            } else {
                self.changed.wait_until(&mut state, idle_until);
            }
        }
    }
}

fn wake_all(waiting: BTreeMap<Key, Option<Waker>>) {
    waiting.into_values().flatten().for_each(wake);
}

/// Wakes a task, which is code of its executor: the others are to be woken whatever it does.
fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        mem::forget(payload);
    }
}

impl Future for Alarm {
    type Output = Ring;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Ring> {
        let Some(key) = self.key else { return Poll::Pending };
        let waker = context.waker().clone();
        let mut state = self.shared.lock();
        let replaced = match state.waiting.get_mut(&key) {
            Some(place) if key.0 > Instant::now() => place.replace(waker),
            _ if key.0 > Instant::now() => return Poll::Ready(Ring::Early),
            _ => return Poll::Ready(Ring::Deadline),
        };
        drop(state);
        drop(replaced);
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        let Some(key) = self.key else { return };
        let mut state = self.shared.lock();
        let waker = state.waiting.remove(&key);
        let is_last = state.closed && state.waiting.is_empty();
        drop(state);
        drop(waker);
        if is_last {
            self.shared.changed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Wake;

    use super::*;
    use crate::load::testing::{PATIENCE, block_on, until};

    fn soon(millis: u64) -> Option<Instant> {
        Some(Instant::now() + Duration::from_millis(millis))
    }

    #[test]
    fn alarms_ring_at_their_deadlines_in_whatever_order_they_were_set() {
        let alarms = Alarms::new();
        let begin = Instant::now();
        let (late, early) = (alarms.at(soon(60)), alarms.at(soon(20)));
        block_on(early);
        let early = begin.elapsed();
        block_on(late);
        assert!(early >= Duration::from_millis(20), "{early:?}");
        assert!(begin.elapsed() >= Duration::from_millis(60));
        block_on(alarms.at(Some(begin)));
        assert!(alarms.close(PATIENCE));
    }

    #[test]
    fn an_earlier_deadline_is_heard_while_the_thread_waits_for_a_later_one() {
        let alarms = Alarms::new();
        let (begin, late) = (Instant::now(), alarms.at(soon(10_000)));
        // From the second on the thread sleeps when the next is set.
        for _ in 0..20 {
            block_on(alarms.at(soon(2)));
        }
        assert!(begin.elapsed() < Duration::from_secs(8));
        drop(late);
    }

    #[test]
    fn who_leaves_takes_its_waker_along() {
        struct Silent;
        impl Wake for Silent {
            fn wake(self: Arc<Self>) {}
        }
        let alarms = Alarms::new();
        let silent = Arc::new(Silent);
        for _ in 0..100 {
            let mut alarm = alarms.at(soon(100_000));
            let waker = Waker::from(Arc::clone(&silent));
            let mut context = Context::from_waker(&waker);
            assert!(Pin::new(&mut alarm).poll(&mut context).is_pending());
            assert!(Pin::new(&mut alarm).poll(&mut context).is_pending());
        }
        until(|| Arc::strong_count(&silent) == 1);
        assert!(alarms.shared.lock().waiting.is_empty());
    }

    #[test]
    fn closing_leaves_those_who_wait_their_time_and_the_thread_ends_with_the_last_of_them() {
        let alarms = Alarms::new();
        let (begin, early, late) = (Instant::now(), alarms.at(soon(40)), alarms.at(soon(100_000)));
        // Its job may not have begun.
        until(|| alarms.crew().threads() == 1);
        block_on(alarms.at(soon(1)));
        assert!(!alarms.close(Duration::ZERO));
        let later = alarms.at(soon(60));
        assert_eq!(block_on(early), Ring::Deadline);
        assert!(begin.elapsed() >= Duration::from_millis(40));
        assert_eq!(block_on(later), Ring::Deadline);
        drop(late);
        assert!(alarms.close(PATIENCE));
        assert_eq!(block_on(alarms.at(soon(100_000))), Ring::Early);
    }

    #[test]
    fn who_waits_for_a_thread_that_never_begins_is_told_so() {
        let alarms = Alarms::new();
        assert!(alarms.crew().close(PATIENCE));
        assert_eq!(block_on(alarms.at(soon(100_000))), Ring::Early);
        assert!(alarms.shared.lock().waiting.is_empty());
    }

    #[test]
    fn a_dropped_owner_leaves_no_thread() {
        let alarms = Alarms::new();
        let alarm = alarms.at(soon(100_000));
        let shared = Arc::downgrade(&alarms.shared);
        drop(alarms);
        block_on(alarm);
        until(|| shared.strong_count() == 0);
    }

    #[test]
    #[cfg(unix)]
    fn a_forked_child_has_a_thread_of_its_own() {
        sync::testing::apart(module_path!(), "a_forked_child_has_a_thread_of_its_own", || {
            let alarms = Alarms::new();
            let late = alarms.at(soon(50));
            sync::testing::forked(|| {
                block_on(alarms.at(soon(5)));
                alarms.close(PATIENCE)
            });
            block_on(late);
        });
    }
}

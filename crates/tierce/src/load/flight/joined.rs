//! Those who wait for a flight: threads, tasks, and who of them leads when nobody does.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use super::{CHECK_INTERVAL, CancelToken, Flight, Lead, Phase, State, Table, Waited, wake};
use crate::{
    error::{Error, ErrorKind, Result},
    simulated,
    sync::{atomic::Ordering, me},
};

/// A place among those who wait for a flight.
pub(crate) struct Joined<V> {
    table: Arc<Table<V>>,
    flight: Arc<Flight<V>>,
    /// Where the waker is, if this is a task that has left one.
    task: Option<u64>,
}

impl<V> Joined<V> {
    /// Joins a flight: under its group's lock, or while the caller leads it.
    pub(super) fn new(table: &Arc<Table<V>>, flight: &Arc<Flight<V>>) -> Self {
        flight.joined.fetch_add(1, Ordering::SeqCst);
        Self { table: Arc::clone(table), flight: Arc::clone(flight), task: None }
    }

    /// How long its leader has led.
    pub(crate) fn age(&self) -> Duration {
        simulated::since(self.flight.state.lock().led_at)
    }

    /// True if its leader has led for longer than it may.
    pub(super) fn is_overdue(&self) -> bool {
        let state = self.flight.state.lock();
        !state.limit.is_zero() && simulated::since(state.led_at) > state.limit
    }

    /// Has the key loaded anew, by the next caller or one of those who wait, and tells the loader
    /// that nobody waits for it. Does nothing where the loader has returned and its value is being
    /// kept, nor before its leader took as long as it may.
    pub(crate) fn overtake(&self) {
        let mut state = self.flight.state.lock();
        let is_due = simulated::since(state.led_at) >= state.limit;
        if !matches!(state.phase, Phase::Loading) || !is_due {
            return;
        }
        state.phase = Phase::Overtaken;
        state.token.cancel();
        let tasks = mem::take(&mut state.tasks);
        drop(state);
        // Out of the table first: who is woken looks there.
        self.table.forget_if(&self.flight, || true);
        self.flight.changed.notify_all();
        tasks.into_values().for_each(wake);
    }

    /// Leads the flight if it has no leader.
    pub(super) fn take_lead(&self) -> Option<Lead<V>> {
        if !self.flight.is_vacant.load(Ordering::SeqCst) {
            return None;
        }
        let mut state = self.flight.state.lock();
        self.lead_vacant(&mut state)
    }

    /// What there is to wait for no longer.
    fn ended(&self, state: &mut State<V>) -> Option<Ended<V>> {
        match &state.phase {
            Phase::Loading | Phase::Filing => None,
            Phase::Overtaken => Some(Ended::Overtaken),
            Phase::Landed(outcome) => Some(Ended::Landed(Arc::clone(outcome))),
            Phase::Vacant => self.lead_vacant(state).map(Ended::Lead),
        }
    }

    /// [`take_lead`](Self::take_lead) under the lock.
    fn lead_vacant(&self, state: &mut State<V>) -> Option<Lead<V>> {
        if !matches!(state.phase, Phase::Vacant) {
            return None;
        }
        let token = CancelToken::new();
        state.phase = Phase::Loading;
        state.token = token.clone();
        state.led_at = simulated::now();
        self.flight.is_vacant.store(false, Ordering::SeqCst);
        self.flight.worker.store(me(), Ordering::Relaxed);
        Some(Lead::new(&self.table, Arc::clone(&self.flight), token))
    }
}

impl<V: Clone> Joined<V> {
    /// Waits for the leader's result, at most for `patience`, and calls `check` every now and then
    /// with no lock held.
    ///
    /// # Errors
    /// The leader's error, that of `check`, or [`ErrorKind::Timeout`].
    pub(crate) fn wait(
        &self,
        patience: Duration,
        check: Option<&(dyn Fn() -> Result<()> + Send + Sync)>,
    ) -> Result<Waited<V>> {
        // An instant too far to express waits without a bound, which is what was asked for.
        let deadline = simulated::now().checked_add(patience);
        loop {
            let step = simulated::now() + CHECK_INTERVAL;
            let until = deadline.map_or(step, |deadline| deadline.min(step));
            let mut state = self.flight.state.lock();
            if matches!(state.phase, Phase::Loading | Phase::Filing) {
                self.flight.changed.wait_until(&mut state, until);
            }
            let ended = self.ended(&mut state);
            drop(state);
            if let Some(ended) = ended {
                return ended.waited();
            }
            if deadline.is_some_and(|deadline| simulated::now() >= deadline) {
                return Err(took_too_long(patience));
            }
            if let Some(check) = check {
                check()?;
            }
        }
    }

    /// The same for a task, which is woken when there is something to see. It has no deadline of
    /// its own; who drops it leaves.
    ///
    /// # Errors
    /// The leader's error.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Waited<V>>> {
        // Cloned and dropped with no lock held: that is the executor's code.
        let waker = context.waker().clone();
        let mut replaced = None;
        let mut state = self.flight.state.lock();
        let ended = self.ended(&mut state);
        if ended.is_none() {
            let next = state.next_task;
            let task = *self.task.get_or_insert(next);
            state.next_task = next + u64::from(task == next);
            replaced = state.tasks.insert(task, waker);
        } else if let Some(task) = self.task.take() {
            replaced = state.tasks.remove(&task);
        }
        drop(state);
        drop(replaced);
        match ended {
            Some(Ended::Lead(lead)) => Poll::Ready(Ok(Waited::Lead(lead.travelling()))),
            Some(ended) => Poll::Ready(ended.waited()),
            None => Poll::Pending,
        }
    }
}

/// What a wait found, under the lock.
enum Ended<V> {
    Landed(Arc<Result<V>>),
    Overtaken,
    Lead(Lead<V>),
}

impl<V: Clone> Ended<V> {
    /// The same with no lock held: cloning a value is the caller's code.
    fn waited(self) -> Result<Waited<V>> {
        match self {
            Self::Landed(outcome) => Result::clone(&outcome).map(Waited::Landed),
            Self::Overtaken => Ok(Waited::Overtaken),
            Self::Lead(lead) => Ok(Waited::Lead(lead)),
        }
    }
}

/// The error of who waited so long for a load that another began.
pub(crate) fn took_too_long(patience: Duration) -> Error {
    Error::new(
        ErrorKind::Timeout,
        format!("the load that another thread began took longer than {patience:?}"),
    )
}

impl<V> Drop for Joined<V> {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            let mut state = self.flight.state.lock();
            let mine = state.tasks.remove(&task);
            // It may be the one that was woken to lead.
            let is_vacant = matches!(state.phase, Phase::Vacant);
            let next = if is_vacant { state.tasks.pop_first() } else { None };
            drop(state);
            drop(mine);
            if let Some((_, waker)) = next {
                wake(waker);
            }
        }
        if self.flight.joined.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.table.tidy(&self.flight);
        }
    }
}

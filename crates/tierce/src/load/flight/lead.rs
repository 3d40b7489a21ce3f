//! The one that leads a flight: its loader, and how the flight ends.

use std::{sync::Arc, time::Duration};

use super::{CancelToken, Flight, Joined, Phase, Table};
use crate::{
    error::{Error, ErrorKind, Result},
    simulated,
    sync::{
        atomic::{AtomicBool, Ordering},
        is_unwinding, me,
    },
};

/// The duty to land a flight. Dropped without landing it hands the flight over, or, where the
/// loader panicked, lands it with [`ErrorKind::LoaderPanicked`].
pub(crate) struct Lead<V> {
    table: Arc<Table<V>>,
    flight: Arc<Flight<V>>,
    token: CancelToken,
    /// Not bound to the thread that entered: a task, or to be handed to another thread.
    travels: bool,
    panicked: AtomicBool,
    landed: bool,
}

/// While it lives, this thread runs the flight's loader.
pub(crate) struct AtWork<'a, V> {
    lead: &'a Lead<V>,
    before: usize,
    /// It unwound before, and not because of the loader.
    panicking: bool,
}

impl<V> Lead<V> {
    pub(super) fn new(table: &Arc<Table<V>>, flight: Arc<Flight<V>>, token: CancelToken) -> Self {
        Self {
            table: Arc::clone(table),
            flight,
            token,
            travels: false,
            panicked: AtomicBool::new(false),
            landed: false,
        }
    }

    /// For a task, or to be handed to another thread: [`at_work`](Self::at_work) says on which
    /// thread the loader runs, and when.
    #[must_use]
    pub(crate) fn travelling(mut self) -> Self {
        self.travels = true;
        self.flight.worker.store(0, Ordering::Relaxed);
        self
    }

    /// Those who wait may not overtake it before it took so long. They may at once otherwise.
    #[must_use]
    pub(crate) fn limited(self, limit: Duration) -> Self {
        self.flight.state.lock().limit = limit;
        self
    }

    /// The loader runs on this thread until the guard is dropped.
    pub(crate) fn at_work(&self) -> AtWork<'_, V> {
        let before = self.flight.worker.swap(me(), Ordering::Relaxed);
        AtWork { lead: self, before, panicking: is_unwinding() }
    }

    /// By which the loader learns that nobody wants its value any more.
    pub(crate) fn token(&self) -> &CancelToken {
        &self.token
    }

    /// A place among those who wait for this very flight.
    pub(crate) fn join(&self) -> Joined<V> {
        Joined::new(&self.table, &self.flight)
    }

    /// To be called between the load and the first step to keep its value; from then on nobody
    /// overtakes. False if somebody has: the value is for those who wait, and is kept nowhere.
    #[must_use]
    pub(crate) fn begin_filing(&self) -> bool {
        let mut state = self.flight.state.lock();
        let may_file = matches!(state.phase, Phase::Loading | Phase::Filing);
        if may_file {
            state.phase = Phase::Filing;
        }
        may_file
    }

    /// How many wait as tasks, and how many in all.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let tasks = self.flight.state.lock().tasks.len();
        (tasks, self.flight.joined.load(Ordering::Relaxed))
    }

    /// Ends the flight with the loader's result.
    pub(crate) fn land(mut self, outcome: Result<V>) {
        self.landed = true;
        self.end(outcome);
    }

    fn end(&self, outcome: Result<V>) {
        simulated::point();
        // First out of the table, so that nobody joins what has landed.
        self.table.forget_if(&self.flight, || true);
        self.flight.land(outcome);
    }
}

impl<V> Drop for Lead<V> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        let panicked = match self.travels {
            true => self.panicked.load(Ordering::Relaxed),
            false => is_unwinding(),
        };
        if panicked {
            return self.end(Err(loader_panicked()));
        }
        self.flight.vacate();
        self.table.tidy(&self.flight);
    }
}

fn loader_panicked() -> Error {
    Error::new(ErrorKind::LoaderPanicked, "the load of this key panicked in the thread that led it")
}

impl<V> Drop for AtWork<'_, V> {
    fn drop(&mut self) {
        self.lead.flight.worker.store(self.before, Ordering::Relaxed);
        if is_unwinding() && !self.panicking {
            self.lead.panicked.store(true, Ordering::Relaxed);
        }
    }
}

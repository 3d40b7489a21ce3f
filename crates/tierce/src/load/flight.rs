//! Single flight: the table of loads under way.
//!
//! A caller that misses enters the table under its key and either **leads** (it loads, everybody
//! else waits for it) or **joins**. A flight leaves the table when its leader is done, when the
//! key changes ([`Flights::detach`]: who comes after the change must not get what was loaded
//! before it), or when a waiter gave up on it (a hung loader must not hold its key for ever).
//! Those who joined before that still get its result.
//!
//! A child forked while a load is under way does not wait for it: its leader may not be there.
//!
//! Locks: one mutex for each group of keys around its map, one around each flight's state; the
//! second is never taken under the first, and no caller's code runs under either.

use std::{
    collections::HashMap,
    hash::BuildHasher,
    sync::Arc,
    thread::{self, ThreadId},
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

use crate::{
    error::{Error, ErrorKind, Result},
    invalidation::Filed,
    simulated::{self, Fault},
    sync::{self, Condvar, Mutex},
};

/// Groups of keys with a lock each; loads are slow beside this lock, so a few are enough.
const GROUPS: usize = 16;

/// How often a waiter looks up: seldom enough to cost nothing, often enough that a person who
/// presses Ctrl-C does not notice the wait.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

type Hasher = foldhash::fast::RandomState;
type Group<V> = HashMap<Box<[u8]>, Arc<Flight<V>>, Hasher>;

/// The loads under way in this process.
pub(crate) struct Flights<V> {
    groups: Box<[CachePadded<Mutex<Group<V>>>]>,
    hasher: Hasher,
}

/// One load and those who wait for it.
pub(crate) struct Flight<V> {
    leader: ThreadId,
    /// The process ([`sync::generation`]) in which it began. In a child forked meanwhile nobody
    /// would land it.
    generation: u32,
    began: Filed,
    /// Behind an `Arc`, so that a waiter clones the value (the caller's code) with no lock held.
    outcome: Mutex<Option<Arc<Result<V>>>>,
    landed: Condvar,
}

/// What [`Flights::enter`] made of a caller.
pub(crate) enum Entered<'a, V> {
    /// The caller loads.
    Lead(Lead<'a, V>),
    /// Somebody else loads; [`Flight::wait`] for it.
    Join(Arc<Flight<V>>),
}

/// The duty to land a flight. Dropped without landing (the leader's thread unwinds), it lands
/// with [`ErrorKind::LoaderPanicked`].
pub(crate) struct Lead<'a, V> {
    flights: &'a Flights<V>,
    key: &'a [u8],
    flight: Arc<Flight<V>>,
    landed: bool,
}

impl<V: Clone> Flights<V> {
    pub(crate) fn new() -> Self {
        let hasher = Hasher::default();
        let groups = (0..GROUPS)
            .map(|_| CachePadded::new(Mutex::new(Group::with_hasher(hasher.clone()))))
            .collect();
        Self { groups, hasher }
    }

    /// Joins the key's flight, or leads a new one that began under the mark `began`.
    ///
    /// `is_current` judges the mark under which the key's flight began: after a change of the key
    /// by another process nobody may join it any more, and the caller leads a new one. It runs
    /// under the group's lock and must be ours.
    ///
    /// # Errors
    /// [`ErrorKind::Reentrant`] if this very thread leads the key's flight: it would wait for
    /// itself.
    pub(crate) fn enter<'a>(
        &'a self,
        key: &'a [u8],
        began: Filed,
        is_current: impl FnOnce(Filed) -> bool,
    ) -> Result<Entered<'a, V>> {
        simulated::point();
        let me = thread::current().id();
        let generation = sync::generation();
        let mut group = self.group(key).lock();
        if let Some(flight) = group.get(key) {
            if flight.leader == me {
                return Err(Error::new(
                    ErrorKind::Reentrant,
                    "the loader of a key asked for the same key: that would wait for itself",
                ));
            }
            let is_joined = simulated::is_planted(Fault::JoinAfterChange);
            if flight.generation == generation && (is_joined || is_current(flight.began)) {
                return Ok(Entered::Join(Arc::clone(flight)));
            }
        }
        let flight = Arc::new(Flight {
            leader: me,
            generation,
            began,
            outcome: Mutex::new(None),
            landed: Condvar::new(),
        });
        let void = group.insert(key.into(), Arc::clone(&flight));
        drop(group);
        drop(void);
        Ok(Entered::Lead(Lead { flights: self, key, flight, landed: false }))
    }

    /// Takes the key's flight, if there is one, out of the table: callers from now on load anew.
    pub(crate) fn detach(&self, key: &[u8]) {
        simulated::point();
        if simulated::is_planted(Fault::JoinAfterChange) {
            return;
        }
        let detached = self.group(key).lock().remove(key);
        drop(detached);
    }

    /// [`detach`](Self::detach) for all keys.
    pub(crate) fn detach_all(&self) {
        for group in &self.groups {
            let detached = std::mem::take(&mut *group.lock());
            drop(detached);
        }
    }

    /// Takes this flight, and no newer one of the same key, out of the table.
    pub(crate) fn forget(&self, key: &[u8], flight: &Arc<Flight<V>>) {
        let mut group = self.group(key).lock();
        let forgotten = match group.get(key) {
            Some(found) if Arc::ptr_eq(found, flight) => group.remove(key),
            _ => None,
        };
        drop(group);
        drop(forgotten);
    }

    /// How many loads are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(|group| group.lock().len()).sum()
    }

    fn group(&self, key: &[u8]) -> &Mutex<Group<V>> {
        &self.groups[self.hasher.hash_one(key) as usize % GROUPS]
    }
}

impl<V: Clone> Flight<V> {
    /// Waits for the leader's result, at most for `patience`, and calls `check` every now and then
    /// with no lock held.
    ///
    /// # Errors
    /// The leader's error, that of `check`, or [`ErrorKind::Timeout`].
    pub(crate) fn wait(
        &self,
        patience: Duration,
        check: Option<&(dyn Fn() -> Result<()> + Send + Sync)>,
    ) -> Result<V> {
        // An instant too far to express waits without a bound, which is what was asked for.
        let deadline = simulated::now().checked_add(patience);
        loop {
            let step = simulated::now() + CHECK_INTERVAL;
            let until = deadline.map_or(step, |deadline| deadline.min(step));
            let mut outcome = self.outcome.lock();
            if outcome.is_none() {
                self.landed.wait_until(&mut outcome, until);
            }
            let landed = outcome.clone();
            drop(outcome);
            if let Some(landed) = landed {
                return Result::clone(&landed);
            }
            if deadline.is_some_and(|deadline| simulated::now() >= deadline) {
                return Err(Error::new(
                    ErrorKind::Timeout,
                    format!("the load that another thread began took longer than {patience:?}"),
                ));
            }
            if let Some(check) = check {
                check()?;
            }
        }
    }
}

impl<V> Lead<'_, V> {
    /// Ends the flight with the loader's result.
    pub(crate) fn land(mut self, outcome: Result<V>) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Result<V>) {
        simulated::point();
        self.landed = true;
        let mut group =
            self.flights.groups[self.flights.hasher.hash_one(self.key) as usize % GROUPS].lock();
        let gone = match group.get(self.key) {
            Some(found) if Arc::ptr_eq(found, &self.flight) => group.remove(self.key),
            _ => None,
        };
        drop(group);
        *self.flight.outcome.lock() = Some(Arc::new(outcome));
        self.flight.landed.notify_all();
        drop(gone);
    }
}

impl<V> Drop for Lead<'_, V> {
    fn drop(&mut self) {
        if !self.landed {
            self.end(Err(panicked()));
        }
    }
}

fn panicked() -> Error {
    Error::new(ErrorKind::LoaderPanicked, "the load of this key panicked in the thread that led it")
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::group_word::GroupWord;

    const BEGAN: Filed = Filed::Private { era: 0, word: GroupWord::NONE };

    fn lead<'a>(flights: &'a Flights<u32>, key: &'a [u8]) -> Lead<'a, u32> {
        match flights.enter(key, BEGAN, |_| true) {
            Ok(Entered::Lead(lead)) => lead,
            _ => panic!("somebody leads already"),
        }
    }

    /// Joins from another thread: this one may lead the flight.
    fn join(flights: &Flights<u32>, key: &[u8]) -> Arc<Flight<u32>> {
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| match flights.enter(key, BEGAN, |_| true) {
                    Ok(Entered::Join(flight)) => flight,
                    _ => panic!("nobody leads"),
                })
                .join()
        });
        entered.unwrap()
    }

    #[test]
    fn who_joined_gets_what_the_leader_lands_and_the_table_is_empty() {
        let flights = Flights::new();
        let leads = lead(&flights, b"a");
        let joined = join(&flights, b"a");
        leads.land(Ok(7));
        assert_eq!(joined.wait(Duration::ZERO, None).unwrap(), 7);
        assert_eq!(flights.len(), 0);
    }

    #[test]
    fn a_detached_flight_lands_for_its_own_and_leaves_its_successor_alone() {
        let flights = Flights::new();
        let old = lead(&flights, b"a");
        let joined = join(&flights, b"a");
        flights.detach(b"a");
        let new = lead(&flights, b"a");
        old.land(Ok(1));
        assert_eq!(joined.wait(Duration::ZERO, None).unwrap(), 1);
        let joined = join(&flights, b"a");
        new.land(Ok(2));
        assert_eq!(joined.wait(Duration::ZERO, None).unwrap(), 2);
    }

    #[test]
    fn a_flight_from_before_a_change_is_not_joined() {
        let flights = Flights::new();
        let _old = lead(&flights, b"a");
        thread::scope(|scope| {
            scope.spawn(|| {
                assert!(matches!(flights.enter(b"a", BEGAN, |_| false), Ok(Entered::Lead(_))));
            });
        });
    }

    #[test]
    #[cfg(unix)]
    fn a_forked_child_waits_for_no_load_of_a_thread_it_does_not_have() {
        let (flights, gate) = (Flights::new(), Barrier::new(2));
        thread::scope(|scope| {
            let (flights, gate) = (&flights, &gate);
            scope.spawn(move || {
                let leads = lead(flights, b"a");
                gate.wait();
                gate.wait();
                leads.land(Ok(1));
            });
            gate.wait();
            let is_well = sync::testing::fork(|| {
                lead(flights, b"a").land(Ok(2));
                flights.len() == 0
            });
            drop(join(flights, b"a"));
            gate.wait();
            assert!(is_well);
        });
    }

    #[test]
    fn a_check_that_fails_ends_the_wait() {
        let flights = Flights::<u32>::new();
        let _leads = lead(&flights, b"a");
        let joined = join(&flights, b"a");
        let stop = || Err(Error::new(ErrorKind::Closed, "stop"));
        let ended = joined.wait(Duration::MAX, Some(&stop));
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Closed);
    }
}

//! Single flight: the table of loads under way.
//!
//! | file | answers |
//! |---|---|
//! | `mod.rs` | which loads are under way, and what one is |
//! | `lead.rs` | what its leader does |
//! | `joined.rs` | how others wait for it |
//!
//! A caller that misses enters the table under its key and either **leads** (it loads, everybody
//! else waits for it) or **joins**.
//!
//! ```text
//!              begin_filing             land
//!   LOADING ----------------> FILING ----------> LANDED    out of the table; all who joined get it
//!    |  ^ \                     /
//!    |  |  \ lead dropped      / lead dropped
//!    |  |   v                 v
//!    |  +-- VACANT <-----------                  one of those who joined, or who comes, leads
//!    v
//!   OVERTAKEN            out of the table; those who joined begin anew, and nothing may be filed
//! ```
//!
//! A flight leaves the table when its leader is done, when the key changes ([`Flights::detach`]:
//! who comes after the change must not get what was loaded before it; those who joined before that
//! still get its result), or when it is overtaken: a waiter gave up on it after as long as its leader
//! may take ([`Lead::limited`]), as a hung loader must not hold its key for ever. A waiter of less
//! patience leaves, and the load goes on. Then all who joined begin anew with what is left of their patience,
//! and one of them leads. What the overtaken leader loads is its own caller's: the leader asks
//! [`Lead::begin_filing`] first, and either that is before it was overtaken or it is told so.
//!
//! Threads wait on a condition, tasks leave their wakers ([`Joined::poll`]). A leader that is gone
//! without a result (its future was dropped) leaves the flight vacant, and one task and all threads
//! that wait are woken; the first to look is the leader. A woken task that is dropped instead wakes
//! the next one. A vacant flight for which nobody waits leaves the table.
//!
//! Who asks for the key that it loads would wait for itself. That is noticed where it happens on
//! the thread that runs the loader: in a loader that blocks, or while a loader's future is polled
//! ([`Lead::at_work`]). A loader that asks by way of another thread or task is not noticed; it waits
//! as long as anybody waits for a load.
//!
//! A child forked while a load is under way does not wait for it: its leader may not be there.
//!
//! Locks: one mutex for each group of keys around its map, one around each flight's state; neither
//! is ever taken under the other. No caller's code runs under either, that of wakers included.

mod joined;
mod lead;

use std::{
    collections::{BTreeMap, HashMap},
    hash::BuildHasher,
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

pub(crate) use self::{
    joined::{Joined, took_too_long},
    lead::Lead,
};
use super::context::CancelToken;
use crate::{
    error::{Error, ErrorKind, Result},
    invalidation::Began,
    simulated::{self, Fault},
    sync::{
        self, Condvar, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        me,
    },
};

/// Groups of keys with a lock each; loads are slow beside this lock, so a few are enough.
const GROUPS: usize = 16;

/// How often a waiter looks up: seldom enough to cost nothing, often enough that a person who
/// presses Ctrl-C does not notice the wait.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

type Hasher = foldhash::fast::RandomState;
type Group<V> = HashMap<Arc<[u8]>, Arc<Flight<V>>, Hasher>;

/// The loads under way in this process.
pub(crate) struct Flights<V> {
    table: Arc<Table<V>>,
}

struct Table<V> {
    groups: Box<[CachePadded<Mutex<Group<V>>>]>,
    hasher: Hasher,
}

/// One load and those who wait for it.
struct Flight<V> {
    key: Arc<[u8]>,
    /// The process ([`sync::generation`]) in which it began. In a child forked meanwhile nobody
    /// would land it.
    generation: u32,
    began: Began,
    /// The thread that runs its loader, by [`me`]; 0 while none does. Compared by threads with
    /// themselves only.
    worker: AtomicUsize,
    /// How many hold a [`Joined`] of it.
    joined: AtomicUsize,
    /// As the phase says; for a look without its lock.
    is_vacant: AtomicBool,
    state: Mutex<State<V>>,
    /// For threads: the phase has changed.
    changed: Condvar,
}

struct State<V> {
    phase: Phase<V>,
    /// That of the present leader.
    token: CancelToken,
    /// When that one began to lead, and how long it may before it is overtaken.
    led_at: Instant,
    limit: Duration,
    /// The tasks that wait, the longest waiting first.
    tasks: BTreeMap<u64, Waker>,
    next_task: u64,
}

enum Phase<V> {
    Loading,
    Filing,
    Overtaken,
    Vacant,
    /// Behind an `Arc`, so that a waiter clones the value (the caller's code) with no lock held.
    Landed(Arc<Result<V>>),
}

/// What [`Flights::enter`] made of a caller.
pub(crate) enum Entered<V> {
    /// The caller loads.
    Lead(Lead<V>),
    /// Somebody else loads; wait for it.
    Join(Joined<V>),
}

/// How a wait for a flight ended.
pub(crate) enum Waited<V> {
    /// With the leader's value.
    Landed(V),
    /// Somebody gave up on the leader: begin anew.
    Overtaken,
    /// The leader is gone, and the caller leads now.
    Lead(Lead<V>),
}

impl<V: Clone> Flights<V> {
    pub(crate) fn new() -> Self {
        let hasher = Hasher::default();
        let groups = (0..GROUPS)
            .map(|_| CachePadded::new(Mutex::new(Group::with_hasher(hasher.clone()))))
            .collect();
        Self { table: Arc::new(Table { groups, hasher }) }
    }

    /// Joins the key's flight, or leads a new one that began under the mark `began`.
    ///
    /// `is_current` judges the mark under which the key's flight began: after a change of the key
    /// by another process nobody may join it any more, and the caller leads a new one. It runs
    /// under the group's lock and must be ours.
    ///
    /// # Errors
    /// [`ErrorKind::Reentrant`] if this very thread runs the key's loader: it would wait for
    /// itself.
    pub(crate) fn enter(
        &self,
        key: &[u8],
        began: Began,
        is_current: impl FnOnce(Began) -> bool,
    ) -> Result<Entered<V>> {
        simulated::point();
        let generation = sync::generation();
        let mut group = self.table.group(key).lock();
        let is_others = |flight: &&Arc<Flight<V>>| {
            flight.generation == generation && flight.worker.load(Ordering::Relaxed) != me()
        };
        let others = group.get(key).filter(is_others).cloned();
        if let Some(flight) = others {
            let joined = Joined::new(&self.table, &flight);
            drop(group);
            // It may hang, and nobody was there to overtake it when its time was over.
            if joined.is_overdue() {
                joined.overtake();
            }
            drop(joined);
            group = self.table.group(key).lock();
        }
        if let Some(flight) = group.get(key) {
            if flight.worker.load(Ordering::Relaxed) == me() {
                return Err(Error::new(
                    ErrorKind::Reentrant,
                    "the loader of a key asked for the same key: that would wait for itself",
                ));
            }
            let is_joined = simulated::is_planted(Fault::JoinAfterChange);
            if flight.generation == generation && (is_joined || is_current(flight.began)) {
                let joined = Joined::new(&self.table, flight);
                drop(group);
                return Ok(match joined.take_lead() {
                    Some(lead) => Entered::Lead(lead),
                    None => Entered::Join(joined),
                });
            }
        }
        let key: Arc<[u8]> = key.into();
        let token = CancelToken::new();
        let flight = Arc::new(Flight {
            key: Arc::clone(&key),
            generation,
            began,
            worker: AtomicUsize::new(me()),
            joined: AtomicUsize::new(0),
            is_vacant: AtomicBool::new(false),
            state: Mutex::new(State {
                phase: Phase::Loading,
                token: token.clone(),
                led_at: simulated::now(),
                limit: Duration::ZERO,
                tasks: BTreeMap::new(),
                next_task: 0,
            }),
            changed: Condvar::new(),
        });
        let void = group.insert(key, Arc::clone(&flight));
        drop(group);
        drop(void);
        Ok(Entered::Lead(Lead::new(&self.table, flight, token)))
    }

    /// Takes the key's flight, if there is one, out of the table: callers from now on load anew.
    pub(crate) fn detach(&self, key: &[u8]) {
        simulated::point();
        if simulated::is_planted(Fault::JoinAfterChange) {
            return;
        }
        let detached = self.table.group(key).lock().remove(key);
        drop(detached);
    }

    /// [`detach`](Self::detach) for all keys.
    pub(crate) fn detach_all(&self) {
        for group in &self.table.groups {
            let detached = mem::take(&mut *group.lock());
            drop(detached);
        }
    }

    /// Tells all loaders that nobody wants their values any more, and has nobody join them.
    pub(crate) fn cancel_all(&self) {
        for group in &self.table.groups {
            let detached = mem::take(&mut *group.lock());
            for flight in detached.values() {
                flight.state.lock().token.cancel();
            }
        }
    }

    /// How many loads are under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.table.groups.iter().map(|group| group.lock().len()).sum()
    }
}

impl<V> Table<V> {
    fn group(&self, key: &[u8]) -> &Mutex<Group<V>> {
        &self.groups[self.hasher.hash_one(key) as usize % GROUPS]
    }

    /// Takes this flight, and no newer one of the same key, out of the table, if `is_so` then.
    fn forget_if(&self, flight: &Arc<Flight<V>>, is_so: impl FnOnce() -> bool) {
        let mut group = self.group(&flight.key).lock();
        let forgotten = match group.get(&flight.key) {
            Some(found) if Arc::ptr_eq(found, flight) && is_so() => group.remove(&flight.key),
            _ => None,
        };
        drop(group);
        drop(forgotten);
    }

    /// Takes a vacant flight out that nobody waits for. New ones join under the group's lock, so
    /// who is counted here is all there can be.
    fn tidy(&self, flight: &Arc<Flight<V>>) {
        let is_left = || flight.joined.load(Ordering::SeqCst) == 0;
        if is_left() && flight.is_vacant.load(Ordering::SeqCst) {
            self.forget_if(flight, || is_left() && flight.is_vacant.load(Ordering::SeqCst));
        }
    }
}

impl<V> Flight<V> {
    /// Ends it with a result for all who joined.
    fn land(&self, outcome: Result<V>) {
        let phase = Phase::Landed(Arc::new(outcome));
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Overtaken) {
            // Nobody waits for it any more; its value is dropped with no lock held.
            drop(state);
            return;
        }
        state.phase = phase;
        let tasks = mem::take(&mut state.tasks);
        drop(state);
        self.changed.notify_all();
        tasks.into_values().for_each(wake);
    }

    /// Leaves it without a leader, unless nobody waits for it any more.
    fn vacate(&self) {
        self.worker.store(0, Ordering::Relaxed);
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Overtaken) {
            return;
        }
        state.phase = Phase::Vacant;
        self.is_vacant.store(true, Ordering::SeqCst);
        let next = state.tasks.pop_first();
        drop(state);
        self.changed.notify_all();
        if let Some((_, waker)) = next {
            wake(waker);
        }
    }
}

/// Wakes a task, which is code of its executor: the others are to be woken whatever it does.
fn wake(waker: Waker) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
        mem::forget(payload);
    }
}

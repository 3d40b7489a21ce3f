//! One load of a key at a time over all hosts: leases in L3, where the options want them.
//!
//! ```text
//!   the turn on this host ── L3 has nothing ── take the lease ─┬─ mine ──────> load, keep, give back
//!                                                              ├─ another's ─> stale, or wait and look
//!                                                              └─ no answer ─> load
//! ```
//! Who waits looks in L3 again when it is told of a change of the key (by the stream, through the
//! stamps of the host), and after pauses that grow, for where no stream is. With each look it tries
//! to take the lease: it is free when its owner is done, whether it kept something or not, and when
//! its time is over. So an owner that is killed, or hangs as a whole, costs at most a lease.
//!
//! A thread of the cache renews what is held, and gives it back; loaders and their callers do not
//! wait for that. It renews for as long as others would wait for the load (the hard timeout, else
//! [`load_wait`](crate::Builder::load_wait)) and then no more, so a loader that hangs keeps its key
//! no longer. A thread that loads waits for no other host: no circle of owners can form.
//!
//! As on a host, a lease decides who waits, and nothing else: what may be kept is decided by marks.
//! One that is lost costs a load.

use std::{
    cell::Cell,
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use super::{
    Inner,
    lead::{Approached, Led},
    load::Call,
    marks::Marks,
    plan::Plan,
};
use crate::{
    error::Result,
    load::Crew,
    metrics::CacheCounter,
    random,
    sync::{self, Condvar, Mutex, MutexGuard},
    tier::{LeaseStep, Turn},
    tiering::TierKind,
};

/// How long the thread stays that has nothing to renew.
const IDLE: Duration = Duration::from_secs(10);
/// How often a lease is renewed in its time: two renewals may be lost.
const RENEWALS: u32 = 3;
/// How often who waits looks whether it was told of a change of the key: two loads of memory.
const NAP: Duration = Duration::from_millis(2);
/// The first pause before who waits asks L3 again, which doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest: the end of an owner that said nothing is noticed within it.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often the caller's check is called: as in waits for another thread of the process.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

thread_local! {
    /// How many loads under a lease this thread runs.
    static LEADS: Cell<u32> = const { Cell::new(0) };
}

/// The leases that this process holds.
pub(super) struct Fleet {
    /// How long one lasts; zero where there are none.
    span: Duration,
    crew: Crew,
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// There is one more, or one is to be given back.
    called: Condvar,
}

struct State {
    /// The process ([`sync::generation`]) that holds them.
    generation: u32,
    held: Vec<Held>,
    /// A thread sees to them, or is about to.
    is_kept: bool,
}

struct Held {
    key: Arc<[u8]>,
    owner: u64,
    renew_at: Instant,
    /// When it is renewed no more; `None` for never.
    until: Option<Instant>,
    /// It is to be given back.
    is_over: bool,
}

/// What is to be done with a lease: its key, its owner, and what.
type Due = (Arc<[u8]>, u64, LeaseStep);

/// The right to load a key; given back when dropped.
pub(super) struct FleetLease {
    shared: Arc<Shared>,
    owner: u64,
}

/// While it lives, this thread runs a load that others may wait for.
pub(super) struct Leading(());

impl Leading {
    fn begin() -> Self {
        LEADS.set(LEADS.get() + 1);
        Self(())
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        LEADS.set(LEADS.get().saturating_sub(1));
    }
}

impl FleetLease {
    /// To be held by the thread that runs the loader.
    pub(super) fn lead(&self) -> Leading {
        Leading::begin()
    }
}

impl Drop for FleetLease {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // A forked child holds none: those are its parent's.
        if let Some(held) = state.held.iter_mut().find(|held| held.owner == self.owner) {
            held.is_over = true;
        }
        drop(state);
        self.shared.called.notify_all();
    }
}

impl Fleet {
    pub(super) fn new(span: Duration) -> Self {
        let state = State { generation: sync::generation(), held: Vec::new(), is_kept: false };
        Self {
            span,
            crew: Crew::named("tierce-lease", 1, 1, IDLE),
            shared: Arc::new(Shared { state: Mutex::new(state), called: Condvar::new() }),
        }
    }

    /// Renews and gives back nothing more.
    pub(super) fn close(&self) {
        self.crew.close(Duration::ZERO);
    }

    /// True where hosts wait for each other under this plan.
    pub(super) fn is_on(&self, plan: Plan) -> bool {
        !self.span.is_zero() && plan.reaches(TierKind::Redis)
    }
}

impl Shared {
    /// The state, made anew where it is that of the process that this one was forked from.
    fn lock(&self) -> MutexGuard<'_, State> {
        let generation = sync::generation();
        let mut state = self.state.lock();
        if state.generation != generation {
            state.generation = generation;
            state.is_kept = false;
            state.held.clear();
        }
        state
    }

    /// What is to be done now, each with its key and owner; `None` where nothing is held any more.
    fn due(&self, span: Duration) -> Option<Vec<Due>> {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let mut due = Vec::new();
            state.held.retain_mut(|held| {
                if held.is_over {
                    due.push((Arc::clone(&held.key), held.owner, LeaseStep::Release));
                    return false;
                }
                if held.renew_at > now {
                    return true;
                }
                held.renew_at = now + span / RENEWALS;
                let is_wanted = held.until.is_none_or(|until| now < until);
                if is_wanted {
                    due.push((Arc::clone(&held.key), held.owner, LeaseStep::Renew(span)));
                }
                is_wanted
            });
            if !due.is_empty() {
                return Some(due);
            }
            let Some(next) = state.held.iter().map(|held| held.renew_at).min() else {
                state.is_kept = false;
                return None;
            };
            self.called.wait_until(&mut state, next);
        }
    }

    /// Another one has it by now.
    fn lose(&self, owner: u64) {
        self.lock().held.retain(|held| held.owner != owner);
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// The turn of this host to load a key that L3 was found not to have; or what another host
    /// brought meanwhile.
    pub(super) fn await_fleet<'t>(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        mut marks: Marks,
        turn: Turn<'t>,
    ) -> Result<Approached<'t, V>> {
        let keeps_nothing = call.options.keeps_nothing();
        if !self.fleet.is_on(plan) || keeps_nothing || LEADS.get() != 0 {
            return Ok(Approached::Ready(marks, turn, None));
        }
        let patience = call.options.patience().unwrap_or(self.load_wait);
        let until = call.began.checked_add(patience);
        let owner = random::random().max(1);
        let mut pause = FIRST_PAUSE;
        let mut has_waited = false;
        loop {
            let step = LeaseStep::Take(self.fleet.span);
            let Some(leased) = self.ask_remote(plan, key, |tier| tier.lease(key, owner, step))
            else {
                // It may have been taken all the same: given back, or others wait for its end.
                drop(self.hold_lease(key, owner, call));
                return Ok(Approached::Ready(marks, turn, None));
            };
            let lease = leased.is_mine.then(|| self.hold_lease(key, owner, call));
            // Somebody may have kept it since it was looked for.
            if leased.is_there || has_waited && lease.is_some() {
                self.settle_before_load(plan, key, call);
                marks = self.marks(plan, key);
                let found = match self.look_again(plan, key, call, &marks) {
                    None => self.look_in_remote(plan, key, call, &mut marks),
                    found => found,
                };
                if let Some(found) = found {
                    return Ok(Approached::Led(Led::Found(found)));
                }
            }
            if lease.is_some() {
                return Ok(Approached::Ready(marks, turn, lease));
            }
            if let Some(stale) = call.while_revalidated() {
                return Ok(Approached::Led(Led::Stale(stale.clone())));
            }
            if until.is_some_and(|until| Instant::now() >= until) {
                return Ok(Approached::Ready(marks, turn, None));
            }
            if !std::mem::replace(&mut has_waited, true) {
                self.metrics.count(CacheCounter::LoadWaits);
            }
            self.nap_until_told(plan, &marks, until, pause, call)?;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Waits for so long, or until something became of the key.
    fn nap_until_told(
        &self,
        plan: Plan,
        marks: &Marks,
        until: Option<Instant>,
        pause: Duration,
        call: &Call<'_, V>,
    ) -> Result<()> {
        // Hosts that wait for one key are not to ask together.
        let end = Instant::now() + random::jittered(pause);
        let end = until.map_or(end, |until| until.min(end));
        let mut next_check = Instant::now() + CHECK_INTERVAL;
        while Instant::now() < end && self.is_unchanged(plan, marks.judge()) {
            if let Some(check) = call.options.check.as_deref()
                && Instant::now() >= next_check
            {
                check()?;
                next_check = Instant::now() + CHECK_INTERVAL;
            }
            thread::sleep(NAP);
        }
        Ok(())
    }

    /// Sees to a lease that was taken.
    fn hold_lease(&self, key: &[u8], owner: u64, call: &Call<'_, V>) -> FleetLease {
        let fleet = &self.fleet;
        let now = Instant::now();
        let longest = self.longest_load(&call.rules);
        let held = Held {
            key: key.into(),
            owner,
            renew_at: now + fleet.span / RENEWALS,
            until: now.checked_add(longest),
            is_over: false,
        };
        let mut state = fleet.shared.lock();
        state.held.push(held);
        let is_kept = std::mem::replace(&mut state.is_kept, true);
        drop(state);
        if is_kept {
            fleet.shared.called.notify_all();
        } else {
            let (me, shared, span) = (self.me.clone(), Arc::clone(&fleet.shared), fleet.span);
            if fleet.crew.spawn(move || keep_leases(&me, &shared, span)).is_err() {
                // Nobody renews it or gives it back: it ends by itself.
                let mut state = fleet.shared.lock();
                state.is_kept = false;
                state.held.clear();
            }
        }
        FleetLease { shared: Arc::clone(&fleet.shared), owner }
    }
}

/// Renews leases and gives them back until there is none.
fn keep_leases<V: Clone + Send + Sync + 'static>(
    me: &Weak<Inner<V>>,
    shared: &Shared,
    span: Duration,
) {
    while let Some(due) = shared.due(span) {
        let Some(inner) = me.upgrade() else { return };
        let plan = inner.plan.load();
        for (key, owner, step) in due {
            let redis = &inner.lowers.redis;
            let leased = redis.call(plan, &inner.metrics, |tier| tier.lease(&key, owner, step));
            if leased.is_some_and(|leased| !leased.is_mine) {
                shared.lose(owner);
            }
        }
    }
}

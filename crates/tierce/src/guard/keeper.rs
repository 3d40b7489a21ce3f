//! [`Guard`]: what looks at a cache once a second, tells of alerts, and drives a rollout.
//!
//! Locks: a round holds `turn` exclusively, which guards no data and no section, so that sinks, the
//! disk and a change of tiering hold up no fork; the data is taken out of `state` for its length. A
//! sink that asks its own guard for something would wait for itself: it is refused.
//!
//! A forked child has no guard: no thread looks there, and the journal's lock is the parent's.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

#[cfg(feature = "serde")]
use super::rollout::{Drive, Plan, Status};
use super::{
    actions::Actions,
    alert::{AlertRule, AlertSink, Alerts, Notifier, SinkStats},
    hold::HoldState,
    slo::{Objectives, SloReport},
};
#[cfg(feature = "otel")]
use super::{
    exposition::write_guard,
    otlp::{OtlpOptions, OtlpStats, Pusher},
};
#[cfg(feature = "otel")]
use crate::metrics::{Families, write_stats};
use crate::{
    cache::Cache,
    clock::Millis,
    error::{Error, ErrorKind, Result},
    sync::{self, Condvar, Mutex, Nested, SharedLock},
};

/// How often alerts, gates and triggers are judged.
pub(super) const ROUND: Duration = Duration::from_secs(1);

/// How often the journal of a rollout is looked at: all processes of a host follow within two of
/// these. A look is one system call.
pub(super) const FOLLOW: Duration = Duration::from_millis(40);

/// The window of rates and percentiles.
pub(super) const WINDOW: Duration = Duration::from_secs(60);

/// What a guard watches, and whom it tells.
#[must_use = "a builder does nothing until `start` or `build`"]
pub struct GuardBuilder<V> {
    cache: Cache<V>,
    alerts: Alerts,
    notifier: Notifier,
    objectives: Option<Objectives>,
    actions_journal: Option<std::path::PathBuf>,
    #[cfg(feature = "serde")]
    rollout: Option<Source>,
    #[cfg(feature = "otel")]
    otlp: Option<OtlpOptions>,
}

impl<V: Clone + Send + Sync + 'static> GuardBuilder<V> {
    /// Sets the alerts. Default: none.
    pub fn alerts(mut self, alerts: Alerts) -> Self {
        self.alerts = alerts;
        self
    }

    /// Sets who is told of alerts. Default: nobody.
    pub fn notifier(mut self, notifier: Notifier) -> Self {
        self.notifier = notifier;
        self
    }

    /// Adds somebody to be told of alerts, beside those of the notifier.
    pub fn sink(mut self, sink: impl AlertSink + 'static) -> Self {
        self.notifier = self.notifier.sink(sink);
        self
    }

    /// Sets the objectives of reports. Default: those of the environment that `TIERCE_ENV`,
    /// `CACHE_ENVIRONMENT` or `NODE_ENV` names.
    pub fn objectives(mut self, objectives: Objectives) -> Self {
        self.objectives = Some(objectives);
        self
    }

    /// Sets a file to which each action of an operator ([`Guard::act`]) is written as a line of JSON.
    /// Default: none.
    pub fn actions_journal(mut self, path: impl Into<std::path::PathBuf>) -> Self {
        self.actions_journal = Some(path.into());
        self
    }

    /// Sets the rollout to take part in: its plan, the file of its journal, which all processes
    /// of the host share, and a name for this process among them.
    #[cfg(feature = "serde")]
    pub fn rollout(
        mut self,
        plan: Plan,
        journal: impl Into<std::path::PathBuf>,
        instance: impl Into<String>,
    ) -> Self {
        self.rollout = Some(Source::Journal(plan, journal.into(), instance.into()));
        self
    }

    /// Sets that this process takes part in the rollouts of its store, under a name of its own: of
    /// whichever plan an operator starts there, by `tierce rollout` or
    /// [`StoreRollout`](crate::guard::rollout::StoreRollout). The store is opened, and used as far as
    /// the tiering says.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub fn rollout_of_store(mut self, instance: impl Into<String>) -> Self {
        self.rollout = Some(Source::Store(instance.into()));
        self
    }

    /// Sets that the metrics are sent to a receiver of OpenTelemetry while the guard lives, by a thread
    /// of its own, whether or not [`Cache::metrics_text`] answers. Only a guard that is
    /// [started](Self::start) sends.
    #[cfg(feature = "otel")]
    pub fn otlp(mut self, options: OtlpOptions) -> Self {
        self.otlp = Some(options);
        self
    }

    /// Makes the guard and a thread that looks once a second, until the guard is dropped.
    ///
    /// # Errors
    /// As [`build`](Self::build), or what the system says of another thread.
    pub fn start(self) -> Result<Guard<V>> {
        #[cfg(feature = "otel")]
        let otlp = self.otlp.clone();
        #[allow(unused_mut)]
        let mut guard = self.build()?;
        #[cfg(feature = "otel")]
        if let Some(options) = otlp {
            guard.send_by(options)?;
        }
        #[cfg(feature = "serde")]
        guard.core.with_state(|_, state| {
            state.drive.iter_mut().for_each(Drive::use_thread);
            Ok(())
        })?;
        let core = Arc::downgrade(&guard.core);
        let stop = Arc::clone(&guard.stop);
        thread::Builder::new().name("tierce-guard".into()).spawn(move || run(&core, &stop))?;
        Ok(guard)
    }

    /// Makes the guard without a thread: whoever calls [`Guard::round`] makes it look.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a plan that cannot be carried out or is not that of the journal, or
    /// options that break a rule, or what the system says of the journal.
    pub fn build(self) -> Result<Guard<V>> {
        #[cfg(feature = "otel")]
        self.otlp.as_ref().map_or(Ok(()), OtlpOptions::check)?;
        #[cfg(feature = "serde")]
        let drive = self.rollout.map(|source| source.drive(&self.cache)).transpose()?;
        let state = State {
            alerts: self.alerts,
            notifier: self.notifier,
            #[cfg(feature = "serde")]
            drive,
        };
        let core = Core {
            cache: self.cache,
            objectives: self.objectives.or_else(Objectives::of_environment),
            actions: Actions::with_journal(self.actions_journal),
            generation: sync::generation(),
            turn: SharedLock::new(()),
            view: Mutex::new(Shown::of(&state)),
            state: Mutex::new(Some(state)),
        };
        Ok(Guard {
            #[cfg(feature = "otel")]
            otlp: None,
            core: Arc::new(core),
            stop: Arc::new(Stop::default()),
        })
    }
}

/// Where a rollout is written down.
#[cfg(feature = "serde")]
enum Source {
    /// The journal of a plan, and the name of this process.
    Journal(Plan, std::path::PathBuf, String),
    /// The store.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    Store(String),
}

#[cfg(feature = "serde")]
impl Source {
    fn drive<V: Clone + Send + Sync + 'static>(self, cache: &Cache<V>) -> Result<Drive> {
        match self {
            Self::Journal(plan, journal, instance) => Drive::new((plan, journal, instance), cache),
            #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
            Self::Store(instance) => Drive::of_store(instance, cache),
        }
    }
}

/// Watches a cache: see [`Guard::of`].
pub struct Guard<V: Clone + Send + Sync + 'static> {
    /// Before the core, which it asks a last time when it is dropped.
    #[cfg(feature = "otel")]
    otlp: Option<Pusher>,
    pub(super) core: Arc<Core<V>>,
    stop: Arc<Stop>,
}

#[derive(Default)]
struct Stop {
    is_over: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

pub(super) struct Core<V> {
    pub(super) cache: Cache<V>,
    objectives: Option<Objectives>,
    actions: Actions,
    /// The process that it is of.
    generation: u32,
    turn: SharedLock,
    /// Taken out for the length of a round.
    state: Mutex<Option<State>>,
    /// What the latest round left.
    pub(super) view: Mutex<Shown>,
}

pub(super) struct State {
    alerts: Alerts,
    notifier: Notifier,
    #[cfg(feature = "serde")]
    pub(super) drive: Option<Drive>,
}

/// What may be asked between rounds.
#[derive(Clone, Default)]
pub(super) struct Shown {
    alerts: Vec<(AlertRule, HoldState)>,
    sinks: Vec<SinkStats>,
    #[cfg(feature = "serde")]
    pub(super) rollout: Option<Status>,
}

thread_local! {
    /// The guards that this thread is in the midst of a look of, one within a sink of the other.
    static LOOKED_AT: Nested = const { Nested::new() };
}

/// A look of this thread at one guard.
struct Look;

impl Look {
    /// Begins one.
    ///
    /// # Errors
    /// [`ErrorKind::Reentrant`] in the midst of one.
    fn begin(guard: usize) -> Result<Self> {
        let (is_nested, look) = (LOOKED_AT.with(|guards| guards.enter(guard)), Self);
        if is_nested {
            let message = "guard: a sink of alerts asks it in the midst of its look: put it behind a \
                           CallbackSink, or ask from another thread";
            return Err(Error::new(ErrorKind::Reentrant, message));
        }
        Ok(look)
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        LOOKED_AT.with(Nested::leave);
    }
}

impl Shown {
    fn of(state: &State) -> Self {
        Self {
            alerts: state.alerts.states().map(|(rule, state)| (rule.clone(), state)).collect(),
            sinks: state.notifier.sinks(),
            #[cfg(feature = "serde")]
            rollout: state.drive.as_ref().map(Drive::status),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// Begins setting up a guard of this cache.
    pub fn of(cache: &Cache<V>) -> GuardBuilder<V> {
        GuardBuilder {
            notifier: Notifier::new(cache.service()),
            cache: cache.clone(),
            alerts: Alerts::default(),
            objectives: None,
            actions_journal: None,
            #[cfg(feature = "serde")]
            rollout: None,
            #[cfg(feature = "otel")]
            otlp: None,
        }
    }

    /// The cache.
    pub fn cache(&self) -> &Cache<V> {
        &self.core.cache
    }

    pub(super) fn kept_actions(&self) -> &Actions {
        &self.core.actions
    }

    /// Looks at the cache: judges alerts, gates and triggers, tells and decides.
    ///
    /// # Errors
    /// What kept the rollout from being carried out: the journal, or a tier of the target. Alerts
    /// were judged nevertheless, and the next round tries again.
    pub fn round(&self) -> Result<()> {
        self.core.with_state(|core, state| core.round(state))
    }

    /// The alerts and their states, as of the latest round.
    pub fn alerts(&self) -> Vec<(AlertRule, HoldState)> {
        self.core.view.lock().alerts.clone()
    }

    /// What the sinks did that carry their notices by threads, as of the latest round.
    pub fn sinks(&self) -> Vec<SinkStats> {
        self.core.view.lock().sinks.clone()
    }

    /// What became of the messages of metrics to a receiver of OpenTelemetry; `None` where none are sent.
    #[cfg(feature = "otel")]
    pub fn otlp(&self) -> Option<OtlpStats> {
        self.otlp.as_ref().map(Pusher::stats)
    }

    /// Sends the metrics to the receiver of OpenTelemetry now, and waits for that at most so long. False
    /// where they were not taken, or none are sent.
    ///
    /// Dropping the guard sends them a last time too, but nobody waits for that: call it before a
    /// process ends.
    #[cfg(feature = "otel")]
    pub fn flush_otlp(&self, patience: Duration) -> bool {
        self.otlp.as_ref().is_some_and(|pusher| pusher.flush(patience))
    }

    /// Begins to send metrics.
    #[cfg(feature = "otel")]
    fn send_by(&mut self, options: OtlpOptions) -> Result<()> {
        let core = Arc::downgrade(&self.core);
        let gather = move |out: &mut dyn Families| {
            let Some(core) = core.upgrade() else { return false };
            let (cache, shown) = (&core.cache, core.view.lock().clone());
            write_stats(out, &[(cache.service(), &cache.stats())]);
            write_guard(out, cache.service(), shown.alerts, shown.sinks);
            true
        };
        let cache = &self.core.cache;
        self.otlp = options.push(cache.service(), cache.begun(), Box::new(gather))?;
        Ok(())
    }

    /// How the cache meets its objectives; `None` where there are none.
    pub fn slo(&self, window: Duration) -> Option<SloReport> {
        let objectives = self.core.objectives.as_ref()?;
        Some(self.core.cache.slo_of(objectives, window))
    }
}

impl<V: Clone + Send + Sync + 'static> Drop for Guard<V> {
    fn drop(&mut self) {
        self.stop.is_over.store(true, Ordering::Release);
        let _lock = self.stop.lock.lock();
        self.stop.wake.notify_all();
    }
}

/// What the thread does.
fn run<V: Clone + Send + Sync + 'static>(core: &Weak<Core<V>>, stop: &Stop) {
    let mut next_round = Instant::now();
    while !stop.is_over.load(Ordering::Acquire) {
        let Some(core) = core.upgrade() else { return };
        let is_due = next_round <= Instant::now();
        // What went wrong is tried again, and shows in the status until then.
        let follows = core.with_state(|core, state| {
            if is_due { core.round(state) } else { core.follow(state) }.map(|()| state.is_driven())
        });
        drop(core);
        if is_due {
            next_round = (next_round + ROUND).max(Instant::now());
        }
        let pause = if follows.unwrap_or(true) { FOLLOW.min(ROUND) } else { ROUND };
        let until = next_round.min(Instant::now() + pause);
        let mut lock = stop.lock.lock();
        // Under the lock, so that no end is missed; a wake without reason is a look too many.
        if !stop.is_over.load(Ordering::Acquire) {
            stop.wake.wait_until(&mut lock, until);
        }
    }
}

impl State {
    #[cfg(feature = "serde")]
    fn is_driven(&self) -> bool {
        self.drive.is_some()
    }

    #[cfg(not(feature = "serde"))]
    fn is_driven(&self) -> bool {
        false
    }
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    pub(super) fn with_state<T>(
        &self,
        work: impl FnOnce(&Self, &mut State) -> Result<T>,
    ) -> Result<T> {
        if self.generation != sync::generation() {
            let message = "guard: a forked child has none: start one there";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        let _look = Look::begin(std::ptr::from_ref(self).addr())?;
        let _turn = self.turn.write();
        let taken = self.state.lock().take();
        let Some(mut state) = taken else {
            let message = "guard: a sink of alerts panicked within a look: it judges no more";
            return Err(Error::new(ErrorKind::Unsupported, message));
        };
        let done = work(self, &mut state);
        let shown = Shown::of(&state);
        let before = self.state.lock().replace(state);
        let earlier = std::mem::replace(&mut *self.view.lock(), shown);
        drop((before, earlier));
        done
    }

    fn round(&self, state: &mut State) -> Result<()> {
        let view = self.cache.view(WINDOW);
        let now = Millis(self.cache.now().0);
        let changes = state.alerts.evaluate(now, &view);
        state.notifier.tell(now, SystemTime::now(), &changes);
        #[cfg(feature = "serde")]
        if let Some(drive) = &mut state.drive {
            drive.round(&self.cache, view)?;
        }
        Ok(())
    }

    fn follow(&self, state: &mut State) -> Result<()> {
        #[cfg(feature = "serde")]
        if let Some(drive) = &mut state.drive {
            return drive.catch_up(&self.cache);
        }
        let _ = state;
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "config")]
mod tests {
    use super::*;
    use crate::{Bytes, Clock};

    #[test]
    fn a_thread_judges_alerts_and_ends_with_its_guard() {
        let cache = Cache::builder().build().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let text = "alerts: [{name: Slow, condition: throughput > 0/s, severity: info}]";
        let guard = Guard::of(&cache)
            .alerts(Alerts::from_yaml(text).unwrap())
            .notifier(Notifier::new("c").sink(move |notice: &crate::guard::alert::Notice| {
                // The test may be over.
                let _ = sender.lock().send(notice.alert.clone());
            }))
            .start()
            .unwrap();
        let told = loop {
            cache.get("a");
            if let Ok(told) = receiver.recv_timeout(Duration::from_millis(50)) {
                break told;
            }
        };
        assert_eq!(told, "Slow");
        // Told within the round that shows it at its end.
        while !guard.alerts()[0].1.is_firing() {
            cache.get("a");
            thread::sleep(Duration::from_millis(1));
        }
        drop(guard);
        // The sink goes with the thread's last hold on the guard.
        assert!(receiver.recv_timeout(Duration::from_secs(30)).is_err());
    }

    #[test]
    fn the_objectives_of_a_guard_are_judged() {
        let (clock, time) = Clock::manual();
        let cache = Cache::builder().clock(clock).build().unwrap();
        let objectives = Objectives::new("mine", ["hit_rate > 50%"]).unwrap();
        let guard = Guard::of(&cache).objectives(objectives).build().unwrap();
        guard.round().unwrap();
        cache.set("a", Bytes::from("1")).unwrap();
        cache.get("a");
        time.advance(Duration::from_secs(1));
        assert_eq!(guard.slo(Duration::from_secs(60)).unwrap().is_met, Some(true));
        #[cfg(feature = "serde")]
        assert!(guard.rollout().is_none());
    }
}

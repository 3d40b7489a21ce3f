//! Who is told of alerts, how often, and what if they cannot be reached.
//!
//! - Told is that an alert fires and that it is over; pending is nobody's business.
//! - An alert that goes on is told again after [`Notifier::repeat`], not before.
//! - No sink gets more than [`Notifier::per_minute`] notices a minute. What is above is not queued
//!   but counted: a storm of alerts is one fact, and what is over by then needs no telling.
//! - A sink that fails is tried again at doubling distances, with what is true by then: the latest
//!   notice of an alert takes the place of earlier ones that did not get through.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{AlertChange, AlertRule, Severity};
use crate::{clock::Millis, error::Result, guard::hold::HoldState};

/// What a notice says of its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeStatus {
    /// It fires.
    Firing,
    /// It is over.
    Resolved,
}

impl NoticeStatus {
    /// `firing` or `resolved`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// What a sink is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Notice {
    /// The name of the alert.
    pub alert: String,
    /// Whether it fires or is over.
    pub status: NoticeStatus,
    /// How bad it is.
    pub severity: Severity,
    /// What must not be.
    pub condition: String,
    /// What it was, as people read it; `None` without data.
    pub value: Option<String>,
    /// The name of the cache.
    pub cache: String,
    /// When it began, by the wall clock.
    pub started: SystemTime,
    /// When it was over.
    pub ended: Option<SystemTime>,
}

/// What a sink did that carries its notices by a thread.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SinkStats {
    /// Which sink, such as `slack hooks.slack.com`.
    pub sink: String,
    /// Notices that were taken, those that were said again included.
    pub taken: u64,
    /// Notices that were refused for good.
    pub refused: u64,
    /// Attempts that failed, each of which is followed by another.
    pub failed: u64,
    /// Notices that were dropped, since too many waited.
    pub dropped: u64,
    /// Notices that wait now.
    pub waiting: u64,
    /// Why the latest attempt did not succeed; `None` after one that did.
    pub last_error: Option<String>,
}

/// Somebody who is told of alerts.
///
/// Called from the thread that evaluates them, with no lock held, in the midst of a look of the guard:
/// what asks that very guard for something is refused there
/// ([`ErrorKind::Reentrant`](crate::ErrorKind::Reentrant)). Behind a
/// [`CallbackSink`](super::CallbackSink) it is not.
pub trait AlertSink: Send + Sync {
    /// Tells of one alert.
    ///
    /// # Errors
    /// Whatever kept the sink from taking it: it is tried again later.
    fn notify(&self, notice: &Notice) -> Result<()>;

    /// What it did with the notices that it took; `None` where it does all within
    /// [`notify`](Self::notify).
    fn stats(&self) -> Option<SinkStats> {
        None
    }
}

impl<F: Fn(&Notice) + Send + Sync> AlertSink for F {
    fn notify(&self, notice: &Notice) -> Result<()> {
        self(notice);
        Ok(())
    }
}

/// Tells the `tracing` subscriber of the host, where the feature `tracing` is built in.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogSink;

impl AlertSink for LogSink {
    fn notify(&self, notice: &Notice) -> Result<()> {
        #[cfg(feature = "tracing")]
        {
            let (alert, status) = (notice.alert.as_str(), notice.status.as_str());
            let (severity, cache) = (notice.severity.as_str(), notice.cache.as_str());
            let value = notice.value.as_deref().unwrap_or("no data");
            let condition = notice.condition.as_str();
            match notice.severity {
                Severity::Critical if notice.status == NoticeStatus::Firing => tracing::error!(
                    target: "tierce::guard", alert, status, severity, cache, value, "{condition}"
                ),
                _ => tracing::warn!(
                    target: "tierce::guard", alert, status, severity, cache, value, "{condition}"
                ),
            }
        }
        #[cfg(not(feature = "tracing"))]
        let _ = notice;
        Ok(())
    }
}

/// The first distance to another attempt; doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such distance: a sink that is back is noticed within a minute.
const LATEST_RETRY: Duration = Duration::from_secs(60);
/// How long an alert goes on before it is told again, if nothing else is said.
const DEFAULT_REPEAT: Duration = Duration::from_secs(4 * 3600);
/// How many notices a sink gets a minute, if nothing else is said: more can nobody read.
const DEFAULT_PER_MINUTE: usize = 20;

/// One sink and what it has to be told.
struct Outlet {
    least: Severity,
    sink: Arc<dyn AlertSink>,
    /// Latest notice of each alert that did not get through.
    waiting: VecDeque<Notice>,
    failures: u32,
    retry_at: Millis,
    /// When the latest notices were given.
    given: VecDeque<Millis>,
}

/// Tells sinks of alerts.
pub struct Notifier {
    cache: String,
    repeat: Duration,
    per_minute: usize,
    outlets: Vec<Outlet>,
    /// Alerts that fire: when they began, and when that was told last.
    firing: Vec<(AlertRule, Option<String>, SystemTime, Millis)>,
    suppressed: u64,
}

impl Notifier {
    /// Tells of the alerts of the cache of this name.
    pub fn new(cache: impl Into<String>) -> Self {
        Self {
            cache: cache.into(),
            repeat: DEFAULT_REPEAT,
            per_minute: DEFAULT_PER_MINUTE,
            outlets: Vec::new(),
            firing: Vec::new(),
            suppressed: 0,
        }
    }

    /// Adds somebody to be told.
    #[must_use]
    pub fn sink(self, sink: impl AlertSink + 'static) -> Self {
        self.sink_at_least(Severity::Info, sink)
    }

    /// Adds somebody to be told of alerts that are at least so bad.
    #[must_use]
    pub fn sink_at_least(mut self, least: Severity, sink: impl AlertSink + 'static) -> Self {
        self.outlets.push(Outlet {
            least,
            sink: Arc::new(sink),
            waiting: VecDeque::new(),
            failures: 0,
            retry_at: Millis(0),
            given: VecDeque::new(),
        });
        self
    }

    /// Sets after how long an alert that goes on is told again. Default: 4 h.
    #[must_use]
    pub fn repeat(mut self, repeat: Duration) -> Self {
        self.repeat = repeat;
        self
    }

    /// Sets how many notices a sink gets a minute. Default: 20.
    #[must_use]
    pub fn per_minute(mut self, most: usize) -> Self {
        self.per_minute = most;
        self
    }

    /// How many notices were not given since there were too many.
    pub fn suppressed(&self) -> u64 {
        self.suppressed
    }

    /// How many notices wait for a sink that failed.
    pub fn waiting(&self) -> usize {
        self.outlets.iter().map(|outlet| outlet.waiting.len()).sum()
    }

    /// What the sinks did that carry their notices by threads.
    pub fn sinks(&self) -> Vec<SinkStats> {
        self.outlets.iter().filter_map(|outlet| outlet.sink.stats()).collect()
    }

    /// Takes what changed at `now`, tells what is to be told, and tries again what failed.
    pub fn tell(&mut self, now: Millis, wall: SystemTime, changes: &[AlertChange]) {
        for change in changes {
            let value = change.value.map(|value| change.rule.condition.write(value));
            let rule = &change.rule;
            match (change.before, change.now) {
                (_, HoldState::Firing { since }) => {
                    let pending = Duration::from_millis(now.0.saturating_sub(since.0));
                    let started = wall.checked_sub(pending).unwrap_or(wall);
                    self.firing.retain(|(known, ..)| known.name != rule.name);
                    self.firing.push((rule.clone(), value.clone(), started, now));
                    let notice = self.notice(rule, value, started, None);
                    self.give(now, &notice);
                }
                (HoldState::Firing { .. }, _) => {
                    let at = self.firing.iter().position(|(known, ..)| known.name == rule.name);
                    let started = at.map_or(wall, |at| self.firing.remove(at).2);
                    let notice = self.notice(rule, value, started, Some(wall));
                    self.give(now, &notice);
                }
                _ => {}
            }
        }
        self.repeat_firing(now);
        for outlet in &mut self.outlets {
            outlet.retry(now);
        }
    }

    fn repeat_firing(&mut self, now: Millis) {
        let due: Vec<usize> = (0..self.firing.len())
            .filter(|at| self.firing[*at].3.after(self.repeat) <= now)
            .collect();
        for at in due {
            self.firing[at].3 = now;
            let (rule, value, started, _) = self.firing[at].clone();
            let notice = self.notice(&rule, value, started, None);
            self.give(now, &notice);
        }
    }

    fn notice(
        &self,
        rule: &AlertRule,
        value: Option<String>,
        started: SystemTime,
        ended: Option<SystemTime>,
    ) -> Notice {
        Notice {
            alert: rule.name.clone(),
            status: if ended.is_some() { NoticeStatus::Resolved } else { NoticeStatus::Firing },
            severity: rule.severity,
            condition: rule.condition.to_string(),
            value,
            cache: self.cache.clone(),
            started,
            ended,
        }
    }

    fn give(&mut self, now: Millis, notice: &Notice) {
        let concerned = |outlet: &&mut Outlet| notice.severity <= outlet.least;
        for outlet in self.outlets.iter_mut().filter(concerned) {
            while outlet.given.front().is_some_and(|at| at.0 + 60_000 <= now.0) {
                outlet.given.pop_front();
            }
            // The end of an alert that a sink knows of is always told.
            let is_end = notice.status == NoticeStatus::Resolved;
            if outlet.given.len() >= self.per_minute && !is_end {
                self.suppressed += 1;
                continue;
            }
            outlet.given.push_back(now);
            outlet.waiting.retain(|earlier| earlier.alert != notice.alert);
            outlet.waiting.push_back(notice.clone());
        }
    }
}

impl Outlet {
    fn retry(&mut self, now: Millis) {
        if now < self.retry_at {
            return;
        }
        while let Some(notice) = self.waiting.front() {
            if self.sink.notify(notice).is_err() {
                self.failures = self.failures.saturating_add(1);
                let distance = FIRST_RETRY.saturating_mul(1 << (self.failures - 1).min(16));
                self.retry_at = now.after(distance.min(LATEST_RETRY));
                return;
            }
            self.failures = 0;
            self.waiting.pop_front();
        }
    }
}

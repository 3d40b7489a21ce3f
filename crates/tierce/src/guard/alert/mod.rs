//! Alerts: conditions that somebody is told of when they hold for some time.
//!
//! | file | answers |
//! |---|---|
//! | `mod` | what an alert is, and in which state |
//! | `file` | how alerts are read from YAML |
//! | `notify` | who is told, how often, and what if they cannot be reached |
//! | `payload` | what Alertmanager, PagerDuty and Slack are sent |
//! | `courier` | how notices are carried by a thread, and what of those that do not get through |
//! | `callback` | a sink that calls a function by such a thread |
//! | `webhook` | sinks that post them |
//! | `rules` | the same alerts and objectives as rules of Prometheus |
//!
//! Evaluated here, without a server: an embedded cache has none at hand.

mod callback;
mod courier;
#[cfg(feature = "config")]
mod file;
mod notify;
#[cfg(feature = "serde")]
pub mod payload;
pub mod rules;
#[cfg(feature = "webhooks")]
mod webhook;

use std::time::Duration;

pub use callback::CallbackSink;
pub use notify::{AlertSink, LogSink, Notice, NoticeStatus, Notifier, SinkStats};
#[cfg(feature = "webhooks")]
pub use webhook::{WebhookOptions, WebhookSink};

use super::{
    condition::Condition,
    hold::{Hold, HoldState},
    measure::View,
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
};

/// How bad an alert is; the worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Severity {
    /// Somebody has to come at once.
    Critical,
    /// Somebody should look at it.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// `critical`, `warning` or `info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }

    /// The severity of this name.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for another name.
    pub fn parse(name: &str) -> Result<Self> {
        [Self::Critical, Self::Warning, Self::Info]
            .into_iter()
            .find(|severity| severity.as_str() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Config,
                    format!("severity {name:?}: must be critical, warning or info"),
                )
            })
    }
}

/// One alert: what must not be, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertRule {
    /// The name, as it is written in the file.
    pub name: String,
    /// What must not be.
    pub condition: Condition,
    /// For how long it must be before somebody is told. Zero: at once.
    pub duration: Duration,
    /// How bad it is.
    pub severity: Severity,
    /// For how long it must be over before that is told. Default: zero.
    pub keep_firing_for: Duration,
}

/// An alert that changed its state.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertChange {
    /// Which one.
    pub rule: AlertRule,
    /// What it was.
    pub before: HoldState,
    /// What it is.
    pub now: HoldState,
    /// When, on the time line of the evaluation.
    pub at: Millis,
    /// The value that the condition was judged by; `None` without data.
    pub value: Option<f64>,
}

/// Alerts and their states.
#[derive(Clone, Debug, Default)]
pub struct Alerts {
    rules: Vec<(AlertRule, Hold)>,
}

impl Alerts {
    /// These alerts, all inactive.
    pub fn new(rules: impl IntoIterator<Item = AlertRule>) -> Self {
        Self { rules: rules.into_iter().map(|rule| (rule, Hold::default())).collect() }
    }

    /// The alerts with their states, in their order.
    pub fn states(&self) -> impl Iterator<Item = (&AlertRule, HoldState)> {
        self.rules.iter().map(|(rule, hold)| (rule, hold.state()))
    }

    /// Judges all of them at `now`, which must not go back, and says which changed.
    ///
    /// Without data (no traffic) an alert is not true; one that fires then ends.
    pub fn evaluate(&mut self, now: Millis, view: &View) -> Vec<AlertChange> {
        let mut changes = Vec::new();
        for (rule, hold) in &mut self.rules {
            let before = hold.state();
            let holds = rule.condition.holds(view, rule.duration) == Some(true);
            let after = hold.observe(now, holds, rule.duration, rule.keep_firing_for);
            if after.as_str() != before.as_str() {
                changes.push(AlertChange {
                    rule: rule.clone(),
                    before,
                    now: after,
                    at: now,
                    value: rule.condition.value(view, rule.duration),
                });
            }
        }
        changes
    }
}

#[cfg(test)]
mod tests;

//! Objectives of the service level: what is asked of each indicator, how much of what may go wrong
//! has gone wrong, and how fast.
//!
//! Each objective is also a **budget**: the share of operations that may be bad.
//!
//! | objective | bad is | budget |
//! |---|---|---|
//! | `availability > 99.9%` | an operation that failed | 0.1 % |
//! | `error_rate < 0.1%` | one that failed or was late | 0.1 % |
//! | `hit_rate > 80%` | a miss | 20 % |
//! | `latency_p95 < 50ms` | a read of more than 50 ms, counted exactly | 5 % |
//!
//! The **burn rate** is the share of bad operations over the budget: at 1 the budget lasts just as
//! long as the period it is for. Beyer et al., "The Site Reliability Workbook", chapter 5: an alarm
//! needs a long window, so that something was really spent, and a short one, so that it ends when
//! the cause does. The factors are those for a period of 30 days.
//!
//! Windows that reach back further than readings do are judged by what is known of them.

use std::{env, time::Duration};

use super::{
    condition::{Comparison, Condition},
    measure::{Measure, View},
};
use crate::{
    cache::Cache,
    error::{Error, ErrorKind, Result},
    metrics::{
        WindowStats,
        windows::{Event, LongWindow, Windows},
    },
};

/// Objectives by name, as the two source documents have them. A row of an environment is its
/// service level; the other rows are gates of one phase of a rollout.
const TABLES: [(&str, &[&str]); 7] = [
    (
        "staging",
        &[
            "availability > 99.5%",
            "latency_p50 < 10ms",
            "latency_p95 < 100ms",
            "latency_p99 < 200ms",
            "error_rate < 0.5%",
            "hit_rate > 70%",
        ],
    ),
    (
        "production",
        &[
            "availability > 99.9%",
            "latency_p50 < 5ms",
            "latency_p95 < 50ms",
            "latency_p99 < 100ms",
            "error_rate < 0.1%",
            "hit_rate > 80%",
        ],
    ),
    // The page of the staging canary asks for fewer errors than the table does.
    (
        "staging-canary",
        &["availability > 99.5%", "latency_p95 < 100ms", "error_rate < 0.1%", "hit_rate > 70%"],
    ),
    (
        "phase-1",
        &[
            "latency_p95 < 10ms",
            "hit_rate > 70%",
            "error_rate < 0.5%",
            "memory_usage < 100MB",
            "cpu_usage < 20%",
        ],
    ),
    ("phase-2", &["latency_p95 < 5ms", "throughput > 50 RPS", "memory_usage < 200MB"]),
    ("phase-3", &["latency_p95 < 2ms", "throughput > 70 RPS", "hit_rate > 85%"]),
    (
        "phase-4",
        &["latency_p95 < 1ms", "throughput > 90 RPS", "hit_rate > 90%", "availability > 99.99%"],
    ),
];

/// Environment variables that name the environment, the strongest first.
const ENVIRONMENT_VARIABLES: [&str; 3] = ["TIERCE_ENV", "CACHE_ENVIRONMENT", "NODE_ENV"];

/// How bad it is that a budget is spent so fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum BurnSeverity {
    /// Somebody has to come at once.
    Page,
    /// Somebody has to look at it within days.
    Ticket,
}

/// Severity, long window and short window in seconds, and the burn rate above which it is one.
/// Each is the share of the budget of 30 days that the long window may spend: 2 %, 5 %, 10 %, 10 %.
pub(super) const BURNS: [(BurnSeverity, u64, u64, f64); 4] = [
    (BurnSeverity::Page, 3600, 300, 14.4),
    (BurnSeverity::Page, 6 * 3600, 1800, 6.0),
    (BurnSeverity::Ticket, 86_400, 2 * 3600, 3.0),
    (BurnSeverity::Ticket, 3 * 86_400, 6 * 3600, 1.0),
];

/// What is asked of one measure.
#[derive(Clone, Debug, PartialEq)]
pub struct Objective {
    condition: Condition,
}

impl Objective {
    /// The condition that should hold.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// The share of operations that may be bad; `None` where badness is not counted.
    pub fn budget(&self) -> Option<f64> {
        let is_upper =
            matches!(self.condition.comparison(), Comparison::Below | Comparison::AtMost);
        match self.condition.measure() {
            Measure::Availability | Measure::HitRate if !is_upper => {
                Some(1.0 - self.condition.limit())
            }
            Measure::ErrorRate | Measure::MissRate if is_upper => Some(self.condition.limit()),
            measure if is_upper => measure.quantile().map(|quantile| 1.0 - quantile),
            _ => None,
        }
    }

    /// All operations of a window, and the bad ones.
    fn spent(&self, window: &LongWindow) -> Option<(u64, u64)> {
        let count = |event| window.counts.of(event);
        let (requests, failures) = (count(Event::Requests), count(Event::Failures));
        let operations = requests.max(failures);
        let (all, bad) = match self.condition.measure() {
            Measure::Availability => (operations, failures),
            Measure::ErrorRate => (operations, failures.saturating_add(count(Event::Late))),
            Measure::HitRate | Measure::MissRate => {
                (requests, requests.saturating_sub(count(Event::Hits)))
            }
            measure if measure.quantile().is_some() => {
                window.slower_than(Duration::from_secs_f64(self.condition.limit()))
            }
            _ => return None,
        };
        (all > 0).then_some((all, bad.min(all)))
    }

    /// How many times faster than it may the budget is spent.
    fn burn(&self, window: &LongWindow) -> Option<f64> {
        let (all, bad) = self.spent(window)?;
        let budget = self.budget().filter(|budget| *budget > 0.0)?;
        Some(bad as f64 / all as f64 / budget)
    }
}

/// A set of objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct Objectives {
    name: String,
    objectives: Vec<Objective>,
}

impl Objectives {
    /// The names of all sets that are shipped.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TABLES.iter().map(|(name, _)| *name)
    }

    /// A set that is shipped: `staging`, `production`, `staging-canary`, or `phase-1` to `phase-4`;
    /// `stage` and `prod` mean the first two.
    pub fn named(name: &str) -> Option<Self> {
        let name = match name.trim().to_ascii_lowercase().as_str() {
            "stage" => "staging".to_owned(),
            "prod" => "production".to_owned(),
            other => other.to_owned(),
        };
        let (name, conditions) = TABLES.iter().find(|(known, _)| *known == name)?;
        // The tables are ours; a test reads them all.
        Self::new(*name, conditions.iter().copied()).ok()
    }

    /// A set of one's own.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what is no condition.
    pub fn new<'a>(
        name: impl Into<String>,
        conditions: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self> {
        let objectives =
            conditions.into_iter().map(|text| Ok(Objective { condition: text.parse()? }));
        Ok(Self { name: name.into(), objectives: objectives.collect::<Result<_>>()? })
    }

    /// The set of the environment that `TIERCE_ENV`, `CACHE_ENVIRONMENT` or `NODE_ENV` names, the
    /// first that is set; `None` in development and where none is set.
    pub fn of_environment() -> Option<Self> {
        let set = |name: &&str| env::var(name).ok().filter(|value| !value.is_empty());
        Self::named(&ENVIRONMENT_VARIABLES.iter().find_map(set)?)
    }

    /// The name of the set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is asked.
    pub fn objectives(&self) -> &[Objective] {
        &self.objectives
    }

    /// Judges the windows of a cache.
    pub(crate) fn judge(&self, windows: &Windows, span: Duration) -> SloReport {
        let window = windows.window(span);
        let view = View::of(WindowStats::of(&window));
        let lines: Vec<_> =
            self.objectives.iter().map(|one| one.judge(&view, windows, span)).collect();
        SloReport {
            objectives: self.name.clone(),
            window: window.asked,
            covered: window.covered,
            is_met: verdict(lines.iter().map(|line| line.is_met)),
            lines,
        }
    }
}

impl Objective {
    fn judge(&self, view: &View, windows: &Windows, span: Duration) -> SloLine {
        let condition = &self.condition;
        let value = condition.value(view, span);
        let burns = BURNS.iter().map(|(severity, long, short, factor)| {
            let [long, short] = [long, short].map(|seconds| Duration::from_secs(*seconds));
            let [in_long, in_short] =
                [long, short].map(|span| self.burn(&windows.long_window(span)));
            BurnRate {
                severity: *severity,
                long,
                short,
                factor: *factor,
                in_long,
                in_short,
                is_burning: in_long.is_some_and(|rate| rate > *factor)
                    && in_short.is_some_and(|rate| rate > *factor),
            }
        });
        SloLine {
            indicator: condition.measure().to_string(),
            objective: condition.to_string(),
            value,
            written: value.map(|value| condition.write(value)),
            is_met: condition.holds(view, span),
            budget_left: self.burn(&windows.long_window(span)).map(|burn| 1.0 - burn),
            burn_rates: if self.budget().is_some() { burns.collect() } else { Vec::new() },
        }
    }
}

/// All hold, one does not, or nothing is known of some and the others hold.
fn verdict(mut lines: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    if lines.any(|line| {
        known &= line.is_some();
        line == Some(false)
    }) {
        return Some(false);
    }
    known.then_some(true)
}

/// How fast a budget is spent.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct BurnRate {
    /// How bad it is.
    pub severity: BurnSeverity,
    /// The window in which enough must have been spent.
    #[cfg_attr(feature = "serde", serde(rename = "long_s", serialize_with = "seconds"))]
    pub long: Duration,
    /// The window that says whether it goes on.
    #[cfg_attr(feature = "serde", serde(rename = "short_s", serialize_with = "seconds"))]
    pub short: Duration,
    /// The rate above which it is too fast.
    pub factor: f64,
    /// The rate in the long window; `None` without traffic.
    pub in_long: Option<f64>,
    /// The rate in the short window; `None` without traffic.
    pub in_short: Option<f64>,
    /// True if both are above the factor.
    pub is_burning: bool,
}

/// One objective and how it is met.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SloLine {
    /// What is measured.
    pub indicator: String,
    /// What is asked of it.
    pub objective: String,
    /// What it is: ratios 0 to 1, times in seconds, sizes in bytes; `None` without traffic.
    pub value: Option<f64>,
    /// The same, as people read it.
    pub written: Option<String>,
    /// Whether the objective is met; `None` without traffic.
    pub is_met: Option<bool>,
    /// The share of the window's budget that is left: 1 is all of it, below 0 more was spent than
    /// there was. `None` without traffic, and where nothing is counted against a budget.
    pub budget_left: Option<f64>,
    /// How fast the budget is spent, over windows of up to three days.
    pub burn_rates: Vec<BurnRate>,
}

/// How a cache meets its objectives.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SloReport {
    /// The name of the set.
    pub objectives: String,
    /// The window that is judged.
    #[cfg_attr(feature = "serde", serde(rename = "window_s", serialize_with = "seconds"))]
    pub window: Duration,
    /// How much of it is known.
    #[cfg_attr(feature = "serde", serde(rename = "covered_s", serialize_with = "seconds"))]
    pub covered: Duration,
    /// True if all are met, false if one is not; `None` where some are unknown and the others are
    /// met.
    pub is_met: Option<bool>,
    /// One line for each objective.
    pub lines: Vec<SloLine>,
}

impl SloReport {
    /// The report as JSON; spans are seconds, with `_s` behind their names.
    #[cfg(feature = "serde")]
    pub fn to_json(&self) -> String {
        // Numbers, names and lists of our own: nothing here that JSON cannot say.
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(feature = "serde")]
fn seconds<S: serde::Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_f64(span.as_secs_f64())
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// How the cache met the objectives of its environment in the last `window` (a second to an
    /// hour), with budgets and burn rates. What is known of a window is as for
    /// [`window`](Self::window).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where neither `TIERCE_ENV`, `CACHE_ENVIRONMENT` nor `NODE_ENV` names
    /// an environment that has objectives: staging or production.
    pub fn slo(&self, window: Duration) -> Result<SloReport> {
        let objectives = Objectives::of_environment().ok_or_else(|| {
            Error::new(
                ErrorKind::Config,
                "no objectives: TIERCE_ENV, CACHE_ENVIRONMENT or NODE_ENV must be staging or \
                 production",
            )
        })?;
        Ok(self.slo_of(&objectives, window))
    }

    /// As [`slo`](Self::slo), for objectives of the caller's choice.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tierce::guard::Objectives;
    /// let cache = tierce::Cache::builder().build()?;
    /// let objectives = Objectives::named("production").unwrap();
    /// let report = cache.slo_of(&objectives, Duration::from_secs(1800));
    /// assert_eq!(report.is_met, None, "no traffic, no verdict");
    /// # Ok::<(), tierce::Error>(())
    /// ```
    pub fn slo_of(&self, objectives: &Objectives, window: Duration) -> SloReport {
        objectives.judge(&self.windows(), window)
    }
}

#[cfg(test)]
mod tests;

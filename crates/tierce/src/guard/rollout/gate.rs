//! When a step has gone well for long enough.
//!
//! A gate counts **green time**: the time between two looks counts if all criteria are met in the
//! second one. One red look starts the count anew. A look without data counts for nothing, and
//! neither does a gap of more than [`LONGEST_LOOK`] in which nobody looked.

use std::time::Duration;

use super::{
    compare::compare_shares,
    decision::{Decision, DecisionKind, Evidence, Stage},
    machine::{Rollout, between, written},
};
use crate::{
    clock::Millis,
    guard::measure::{Measure, View},
    metrics::WindowStats,
};

/// What came in a longer gap was not seen: the machine looks once a second.
const LONGEST_LOOK: Duration = Duration::from_secs(60);

/// How much green time is written down at once; a restart loses less than this.
const CHECKPOINT: Duration = Duration::from_secs(600);

impl Rollout {
    /// Counts green time, and goes on where there is enough.
    pub(super) fn gate(
        &mut self,
        now: Millis,
        since: Duration,
        evidence: &Evidence,
        decisions: &mut Vec<Decision>,
    ) {
        match self.criteria(evidence) {
            Criteria::Red(rule, value) => {
                self.green = Duration::ZERO;
                self.noted = Duration::ZERO;
                if self.red.as_ref() != Some(&rule) {
                    self.red = Some(rule.clone());
                    decisions.push(self.decision(
                        now,
                        DecisionKind::Red,
                        (Some(rule), value),
                        "rule",
                    ));
                }
                return;
            }
            Criteria::NoData => return,
            Criteria::Green => {}
        }
        if let Some(rule) = self.red.take() {
            decisions.push(self.decision(now, DecisionKind::Green, (Some(rule), None), "rule"));
            return;
        }
        if since <= LONGEST_LOOK {
            self.green += since;
        }
        if self.stage == Stage::Running && self.green >= self.needed() {
            self.pass(now, "rule", decisions);
        } else if self.green >= self.noted + CHECKPOINT {
            self.noted = self.green;
            decisions.push(self.decision(now, DecisionKind::Checkpoint, (None, None), "rule"));
        }
    }

    fn criteria(&self, evidence: &Evidence) -> Criteria {
        let view = &evidence.canary;
        let phase = &self.plan.phases[self.phase];
        let mut is_known = true;
        for condition in &phase.success {
            match condition.holds(view, self.green.max(CHECKPOINT)) {
                Some(true) => {}
                Some(false) => {
                    let value = written(condition, view, self.green.max(CHECKPOINT));
                    return Criteria::Red(condition.to_string(), value);
                }
                None => is_known = false,
            }
        }
        if let Some((canary, control)) = &evidence.both {
            for measure in &phase.compare {
                let Some(found) = compare_shares(bad(measure, canary), bad(measure, control))
                else {
                    continue;
                };
                if found.is_worse {
                    let rule = format!("{measure} worse than on the old side");
                    let value = format!(
                        "{:.3}% of {:.3}%, {:.1} deviations",
                        found.canary * 100.0,
                        found.control * 100.0,
                        found.deviations
                    );
                    return Criteria::Red(rule, Some(value));
                }
            }
        }
        if is_known { Criteria::Green } else { Criteria::NoData }
    }

    /// The green time that the step needs.
    pub(super) fn needed(&self) -> Duration {
        let phase = &self.plan.phases[self.phase];
        let Some(step) = phase.steps.get(self.step) else { return Duration::ZERO };
        let hold = if self.step + 1 == phase.steps.len() { phase.hold } else { Duration::ZERO };
        step.wait + hold
    }

    /// Writes down all values where the plan asks for it.
    pub(super) fn check(&mut self, now: Millis, view: &View, decisions: &mut Vec<Decision>) {
        let due = self.checks_due(now);
        if due <= self.checks {
            return;
        }
        self.checks = due;
        let measures = Measure::INDICATORS.into_iter().chain([Measure::MemoryUsage]);
        let values = measures.filter_map(|measure| {
            let value = view.value(&measure, Duration::ZERO)?;
            Some(format!("{measure} {}", measure.write(value)))
        });
        let values = values.collect::<Vec<_>>().join(", ");
        let rule = Some(format!("check {due}"));
        decisions.push(self.decision(now, DecisionKind::Check, (rule, Some(values)), "rule"));
    }

    /// How many checks of the phase are due by `now`.
    pub(super) fn checks_due(&self, now: Millis) -> u32 {
        let mut since = between(self.phase_began, now);
        let mut due = 0;
        for check in &self.plan.phases[self.phase].checks {
            let within = since.min(check.lasts);
            due += u32::try_from(within.as_nanos() / check.every.as_nanos()).unwrap_or(u32::MAX);
            since = since.saturating_sub(check.lasts);
        }
        due
    }
}

/// What the criteria of a step say.
enum Criteria {
    Green,
    /// The one that is not met, and its value.
    Red(String, Option<String>),
    NoData,
}

/// Bad operations and all, of what can be compared.
pub(super) fn bad(measure: &Measure, window: &WindowStats) -> (u64, u64) {
    match measure {
        Measure::HitRate => (window.requests.saturating_sub(window.hits), window.requests),
        _ => {
            let all = window.operations();
            (window.failures.saturating_add(window.late).min(all), all)
        }
    }
}

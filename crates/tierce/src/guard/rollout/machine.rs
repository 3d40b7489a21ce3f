//! What is decided, and when: the state machine of a rollout.
//!
//! Times are milliseconds of a line that the driver chooses and that goes on over restarts (the
//! wall clock's, kept from going back). Every decision is returned with its rule, its value and the
//! whole state that it led to; the latest of them is all that a restart needs.
//!
//! When a gate opens is said in [`gate`](super::gate).

use std::time::Duration;

use super::{
    compare::compare_shares,
    decision::{
        Command, Compared, Decision, DecisionKind, Evidence, SideStatus, Sides, Stage, Status,
    },
    gate::bad,
    plan::{Action, Phase, Plan, Trigger},
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    guard::{
        condition::Condition,
        hold::Hold,
        measure::{Measure, View},
    },
    metrics::WindowStats,
    split::Share,
    tiering::Tiering,
};

/// A rollout under way.
#[derive(Clone, Debug)]
pub struct Rollout {
    pub(super) plan: Plan,
    pub(super) stage: Stage,
    pub(super) phase: usize,
    pub(super) step: usize,
    share: Share,
    pub(super) green: Duration,
    /// Green time that is written down.
    pub(super) noted: Duration,
    looked_at: Option<Millis>,
    pub(super) phase_began: Millis,
    /// When the step of a gradual rollback began.
    step_began: Millis,
    /// Checks of the phase that were made.
    pub(super) checks: u32,
    quiet_until: Millis,
    pub(super) red: Option<String>,
    /// One for each trigger of the plan, then of the phase.
    holds: Vec<Hold>,
    inputs: Vec<(String, f64)>,
    /// Which start of all hosts it is.
    epoch: Option<u64>,
}

impl Rollout {
    /// A rollout that nobody started yet.
    ///
    /// # Errors
    /// As [`Plan::check`].
    pub fn new(plan: Plan) -> Result<Self> {
        plan.check()?;
        Ok(Self {
            plan,
            stage: Stage::Idle,
            phase: 0,
            step: 0,
            share: Share::NONE,
            green: Duration::ZERO,
            noted: Duration::ZERO,
            looked_at: None,
            phase_began: Millis(0),
            step_began: Millis(0),
            checks: 0,
            quiet_until: Millis(0),
            red: None,
            holds: Vec::new(),
            inputs: Vec::new(),
            epoch: None,
        })
    }

    /// Goes on where the latest decision of a journal left off: same phase, step, share and green
    /// time. Triggers that were pending begin anew, after the plan's grace.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the plan has no such phase or step.
    pub fn resume(plan: Plan, latest: &Decision, now: Millis) -> Result<Self> {
        let mut rollout = Self::new(plan)?;
        let refuse = || {
            Error::new(
                ErrorKind::Config,
                format!(
                    "plan {:?} has no step {} of phase {:?}, where the journal left off",
                    rollout.plan.name, latest.step, latest.phase
                ),
            )
        };
        if let Some(name) = &latest.phase {
            let found = rollout.plan.phases.iter().position(|phase| phase.name == *name);
            rollout.phase = found.ok_or_else(refuse)?;
        }
        let steps = match latest.stage {
            Stage::RollingBack => rollout.gradual_steps().len(),
            _ => rollout.plan.phases[rollout.phase].steps.len(),
        };
        if latest.step >= steps {
            return Err(refuse());
        }
        rollout.step = latest.step;
        rollout.stage = latest.stage;
        rollout.epoch = latest.epoch;
        rollout.share = Share::of(latest.percent / 100.0).ok_or_else(refuse)?;
        rollout.green = Duration::from_millis(latest.green_ms);
        rollout.noted = rollout.green;
        rollout.phase_began = Millis(latest.at_ms.saturating_sub(latest.phase_ms));
        rollout.step_began = Millis(latest.at_ms);
        rollout.checks = rollout.checks_due(now);
        rollout.quiet_until = now.after(rollout.plan.grace);
        rollout.reset_holds();
        Ok(rollout)
    }

    /// [`resume`](Self::resume) for who was there all the time and is told what another decided:
    /// triggers that are pending go on, and inputs stay.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn follow(self, plan: Plan, latest: &Decision, now: Millis) -> Result<Self> {
        let mut next = Self::resume(plan, latest, now)?;
        if self.plan != next.plan || self.epoch != next.epoch {
            return Ok(next);
        }
        next.inputs = self.inputs;
        next.looked_at = self.looked_at;
        if latest.kind == DecisionKind::Started || self.holds.len() != next.holds.len() {
            return Ok(next);
        }
        next.quiet_until = self.quiet_until;
        let is_falling = |stage| stage == Stage::RollingBack;
        if self.phase == next.phase && is_falling(self.stage) == is_falling(next.stage) {
            next.holds = self.holds;
        }
        Ok(next)
    }

    /// The same as a start of all hosts.
    #[cfg_attr(not(all(feature = "config", feature = "shared")), allow(dead_code))]
    pub(crate) fn of_epoch(mut self, epoch: u64) -> Self {
        self.epoch = Some(epoch);
        self
    }

    /// Which start of all hosts it is; `None` for that of one host alone.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The share that should be on the new side now.
    pub fn share(&self) -> Share {
        self.share
    }

    /// The tiering of the new side.
    pub fn target(&self) -> Tiering {
        self.phase_in_force().target
    }

    /// The phase whose share is in force: while the first step of a phase waits for what it requires,
    /// that is the one before.
    pub(super) fn phase_in_force(&self) -> &Phase {
        &self.plan.phases[self.phase - usize::from(self.waits_behind_another())]
    }

    fn waits_behind_another(&self) -> bool {
        let waits = self.stage == Stage::Waiting && self.step == 0 && self.phase > 0;
        waits && self.share != Share::NONE
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        let needed = self.needed();
        Status {
            plan: self.plan.name.clone(),
            stage: self.stage,
            phase: self.phase_name(),
            step: self.step,
            percent: self.share.percent(),
            baseline: self.plan.baseline.to_string(),
            target: self.target().to_string(),
            green_ms: millis(self.green),
            needed_ms: millis(needed),
            red: self.red.clone(),
            sides: None,
            hosts: None,
        }
    }

    /// Both sides, the new one first, as the phase compares them.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn sides(&self, new: &WindowStats, old: &WindowStats) -> Sides {
        let status = |window: &WindowStats| SideStatus {
            requests: window.requests,
            hits: window.hits,
            errors: window.failures.saturating_add(window.late),
            latency_p95_ms: (window.latency.count > 0)
                .then_some(window.latency.p95.as_secs_f64() * 1000.0),
        };
        let compared = self.phase_in_force().compare.iter().filter_map(|measure| {
            let found = compare_shares(bad(measure, new), bad(measure, old))?;
            Some(Compared {
                measure: measure.to_string(),
                old: found.control,
                new: found.canary,
                deviations: found.deviations,
                is_worse: found.is_worse,
            })
        });
        let compared = compared.collect();
        Sides { old: status(old), new: status(new), compared }
    }

    /// Takes a number or a truth (1 or 0) that only the outside knows.
    pub fn push(&mut self, input: &str, value: f64) {
        self.inputs.retain(|(known, _)| known != input);
        self.inputs.push((input.to_owned(), value));
    }

    /// Looks at the cache at `now`, which must not go back, and decides.
    pub fn tick(&mut self, now: Millis, mut evidence: Evidence) -> Vec<Decision> {
        let mut decisions = Vec::new();
        evidence.canary.inputs.extend(self.inputs.iter().cloned());
        let view = &evidence.canary;
        let since = self.looked_at.map_or(Duration::ZERO, |then| between(then, now));
        self.looked_at = Some(now);
        match self.stage {
            Stage::Idle | Stage::RolledBack | Stage::Complete => {}
            Stage::Waiting => {
                // What came before the wait is on the new side meanwhile, and watched.
                if self.share == Share::NONE || !self.trigger(now, view, &mut decisions) {
                    self.wait(now, view, &mut decisions);
                }
            }
            Stage::Running | Stage::Paused => {
                if !self.trigger(now, view, &mut decisions) {
                    self.check(now, view, &mut decisions);
                    self.gate(now, since, &evidence, &mut decisions);
                }
            }
            Stage::RollingBack => {
                if !self.trigger(now, view, &mut decisions) {
                    self.step_back(now, view, &mut decisions);
                }
            }
        }
        decisions
    }

    /// Does what an operator asks for.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the rollout is at a stage in which that cannot be asked, or the
    /// gate of the step is not passed. A rollback is never refused.
    pub fn command(&mut self, now: Millis, by: &str, command: Command) -> Result<Vec<Decision>> {
        let by = format!("operator {by}");
        let mut decisions = Vec::new();
        let refuse = |why: &str| Err(Error::new(ErrorKind::Config, format!("rollout: {why}")));
        match (command, self.stage) {
            (Command::Rollback(action), _) => {
                self.roll_back(now, action, (None, None), &by, &mut decisions);
            }
            (Command::Start, Stage::Idle | Stage::RolledBack | Stage::Complete) => {
                self.looked_at = None;
                self.quiet_until = now.after(self.plan.grace);
                self.enter_phase(now, 0);
                decisions.push(self.decision(now, DecisionKind::Started, (None, None), &by));
            }
            (Command::Start, _) => return refuse("it was started already"),
            (Command::Pause, Stage::Running) => {
                self.stage = Stage::Paused;
                decisions.push(self.decision(now, DecisionKind::Paused, (None, None), &by));
            }
            (Command::Resume, Stage::Paused) => {
                self.stage = Stage::Running;
                decisions.push(self.decision(now, DecisionKind::Resumed, (None, None), &by));
            }
            (Command::Pause, _) => return refuse("only a running one can be paused"),
            (Command::Resume, _) => return refuse("only a paused one can be resumed"),
            (Command::Force, Stage::Waiting) => {
                self.begin_step(now, self.step, &by, &mut decisions);
            }
            (Command::Force, Stage::Running | Stage::Paused) => {
                self.stage = Stage::Running;
                self.pass(now, &by, &mut decisions);
                if self.stage == Stage::Waiting {
                    self.begin_step(now, self.step, &by, &mut decisions);
                }
            }
            (Command::Advance, Stage::Running)
                if self.red.is_none() && self.green >= self.needed() =>
            {
                self.pass(now, &by, &mut decisions);
            }
            (Command::Advance, Stage::Running) => {
                let (green, needed) = (self.green.as_secs(), self.needed().as_secs());
                let red = self.red.as_deref().unwrap_or("its time is not over");
                return refuse(&format!(
                    "the gate is shut: {red} ({green} s of {needed} s are green)"
                ));
            }
            (Command::Advance, Stage::Waiting) => {
                let missing = self.red.clone().unwrap_or_default();
                return refuse(&format!("what the step requires does not hold: {missing}"));
            }
            (Command::Advance | Command::Force, _) => return refuse("there is no step to go to"),
        }
        Ok(decisions)
    }

    /// Looks for triggers alone: what those do who follow another's rollout.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn watch(&mut self, now: Millis, mut evidence: Evidence) -> Vec<Decision> {
        evidence.canary.inputs.extend(self.inputs.iter().cloned());
        // Time in which nobody may decide is no time of a gate.
        self.looked_at = Some(now);
        let mut decisions = Vec::new();
        let is_live = matches!(
            self.stage,
            Stage::Waiting | Stage::Running | Stage::Paused | Stage::RollingBack
        );
        if is_live && self.share != Share::NONE {
            self.trigger(now, &evidence.canary, &mut decisions);
        }
        decisions
    }

    /// Waits for what the phase or step requires.
    fn wait(&mut self, now: Millis, view: &View, decisions: &mut Vec<Decision>) {
        let phase = &self.plan.phases[self.phase];
        let required = if self.step == 0 { &phase.requires } else { &phase.step_requires };
        let missing = required.iter().find(|it| it.holds(view, Duration::ZERO) != Some(true));
        if let Some(missing) = missing {
            let why = missing.to_string();
            if self.red.as_ref() != Some(&why) {
                let value = written(missing, view, Duration::ZERO);
                self.red = Some(why.clone());
                decisions.push(self.decision(
                    now,
                    DecisionKind::Waiting,
                    (Some(why), value),
                    "rule",
                ));
            }
            return;
        }
        let used: Vec<Measure> = required.iter().map(|it| it.measure().clone()).collect();
        self.inputs.retain(|(name, _)| !used.contains(&Measure::Input(name.clone())));
        self.begin_step(now, self.step, "rule", decisions);
    }

    /// Looks at all triggers; true if a rollback began or came to its end.
    fn trigger(&mut self, now: Millis, view: &View, decisions: &mut Vec<Decision>) -> bool {
        if now < self.quiet_until {
            return false;
        }
        let triggers = self.plan.triggers.iter().chain(&self.plan.phases[self.phase].triggers);
        let mut fired: Option<&Trigger> = None;
        for (trigger, hold) in triggers.zip(&mut self.holds) {
            let holds = trigger.condition.holds(view, trigger.duration) == Some(true);
            let state = hold.observe(now, holds, trigger.duration, Duration::ZERO);
            // Of several the one that does more.
            let is_stronger = fired.as_ref().is_none_or(|other| other.action == Action::Gradual);
            if state.is_firing() && is_stronger {
                fired = Some(trigger);
            }
        }
        let Some(trigger) = fired.cloned() else { return false };
        if self.stage == Stage::RollingBack && trigger.action == Action::Gradual {
            return false;
        }
        let value = written(&trigger.condition, view, trigger.duration);
        let rule = Some(format!("{} for {} s", trigger.condition, trigger.duration.as_secs()));
        self.roll_back(now, trigger.action, (rule, value), "rule", decisions);
        true
    }

    fn reset_holds(&mut self) {
        let phase = &self.plan.phases[self.phase];
        self.holds = vec![Hold::default(); self.plan.triggers.len() + phase.triggers.len()];
    }

    /// Goes on behind the gate of the step.
    pub(super) fn pass(&mut self, now: Millis, by: &str, decisions: &mut Vec<Decision>) {
        let phase = &self.plan.phases[self.phase];
        if self.step + 1 < phase.steps.len() {
            let next = self.step + 1;
            if phase.step_requires.is_empty() {
                self.begin_step(now, next, by, decisions);
            } else {
                self.stage = Stage::Waiting;
                self.step = next;
                (self.green, self.noted) = (Duration::ZERO, Duration::ZERO);
                decisions.push(self.decision(now, DecisionKind::Waiting, (None, None), by));
            }
            return;
        }
        decisions.push(self.decision(now, DecisionKind::PhaseDone, (None, None), by));
        if self.phase + 1 < self.plan.phases.len() {
            self.enter_phase(now, self.phase + 1);
        } else {
            self.stage = Stage::Complete;
            decisions.push(self.decision(now, DecisionKind::Completed, (None, None), by));
        }
    }

    /// The share of the phase before stays until the first step of this one begins.
    fn enter_phase(&mut self, now: Millis, phase: usize) {
        self.phase = phase;
        self.step = 0;
        self.stage = Stage::Waiting;
        self.phase_began = now;
        self.checks = 0;
        self.red = None;
        (self.green, self.noted) = (Duration::ZERO, Duration::ZERO);
        self.reset_holds();
    }

    fn begin_step(&mut self, now: Millis, step: usize, by: &str, decisions: &mut Vec<Decision>) {
        if step == 0 {
            self.phase_began = now;
        }
        self.stage = Stage::Running;
        self.step = step;
        self.red = None;
        (self.green, self.noted) = (Duration::ZERO, Duration::ZERO);
        self.share = self.plan.phases[self.phase].steps[step].share;
        decisions.push(self.decision(now, DecisionKind::Step, (None, None), by));
    }

    /// Takes it back, at once or by steps. Never refused, and never undone by a rule.
    fn roll_back(
        &mut self,
        now: Millis,
        action: Action,
        why: (Option<String>, Option<String>),
        by: &str,
        decisions: &mut Vec<Decision>,
    ) {
        self.red = None;
        // What is taken back is what is in force.
        self.phase -= usize::from(self.waits_behind_another());
        let first_below = self.gradual_steps().iter().position(|(share, _)| *share < self.share);
        match (action, first_below) {
            (Action::Gradual, Some(first)) if self.stage != Stage::RollingBack => {
                self.stage = Stage::RollingBack;
                self.reset_holds();
                self.take_back_step(now, first);
                decisions.push(self.decision(now, DecisionKind::RollbackBegan, why, by));
                self.end_rollback(now, by, decisions);
            }
            (Action::Gradual, Some(_)) => {}
            _ => {
                self.share = Share::NONE;
                self.stage = Stage::RolledBack;
                self.step = 0;
                decisions.push(self.decision(now, DecisionKind::RollbackBegan, why, by));
                self.end_rollback(now, by, decisions);
            }
        }
    }

    /// Shares of a rollback by steps: those of the plan, or 0 alone.
    fn gradual_steps(&self) -> Vec<(Share, Duration)> {
        match &self.plan.gradual[..] {
            [] => vec![(Share::NONE, Duration::ZERO)],
            steps => steps.iter().map(|step| (step.share, step.wait)).collect(),
        }
    }

    fn take_back_step(&mut self, now: Millis, step: usize) {
        self.step = step;
        self.step_began = now;
        self.share = self.gradual_steps()[step].0;
    }

    /// The next step of a gradual rollback, where the present one had its time. A new side that is
    /// not well by then gets none: the rest is taken back at once.
    fn step_back(&mut self, now: Millis, view: &View, decisions: &mut Vec<Decision>) {
        let steps = self.gradual_steps();
        let wait = steps.get(self.step).map_or(Duration::ZERO, |(_, wait)| *wait);
        if now < self.step_began.after(wait) {
            return;
        }
        if !view.window.available {
            let why = (Some("backend_available == false".to_owned()), Some("false".to_owned()));
            self.roll_back(now, Action::Immediate, why, "rule", decisions);
            return;
        }
        self.take_back_step(now, (self.step + 1).min(steps.len() - 1));
        decisions.push(self.decision(now, DecisionKind::RollbackStep, (None, None), "rule"));
        self.end_rollback(now, "rule", decisions);
    }

    fn end_rollback(&mut self, now: Millis, by: &str, decisions: &mut Vec<Decision>) {
        if self.share == Share::NONE {
            self.stage = Stage::RolledBack;
            self.step = 0;
            decisions.push(self.decision(now, DecisionKind::RolledBack, (None, None), by));
        }
    }

    fn phase_name(&self) -> Option<String> {
        (self.stage != Stage::Idle).then(|| self.plan.phases[self.phase].name.clone())
    }

    pub(super) fn decision(
        &self,
        now: Millis,
        kind: DecisionKind,
        (rule, value): (Option<String>, Option<String>),
        by: &str,
    ) -> Decision {
        Decision {
            at_ms: now.0,
            kind,
            rule,
            value,
            by: by.to_owned(),
            stage: self.stage,
            phase: self.phase_name(),
            step: self.step,
            percent: self.share.percent(),
            green_ms: millis(self.green),
            phase_ms: millis(between(self.phase_began, now)),
            epoch: self.epoch,
            number: None,
        }
    }
}

pub(super) fn written(condition: &Condition, view: &View, over: Duration) -> Option<String> {
    condition.value(view, over).map(|value| condition.write(value))
}

pub(super) fn between(then: Millis, now: Millis) -> Duration {
    Duration::from_millis(now.0.saturating_sub(then.0))
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The phases of a plan, as the machine names them.
impl Phase {
    /// The highest share of the phase.
    pub fn last_share(&self) -> Share {
        self.steps.last().map_or(Share::NONE, |step| step.share)
    }
}

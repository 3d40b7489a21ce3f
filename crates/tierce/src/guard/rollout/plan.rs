//! A plan: phases of rising shares, what must hold in each, and what sends it back.

use std::time::Duration;

use crate::{
    error::{Error, ErrorKind, Result},
    guard::{condition::Condition, measure::Measure},
    split::{Share, SplitBy},
    tiering::Tiering,
};

/// How a rollout is taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The share is 0 at once.
    Immediate,
    /// The share falls by the steps of the plan.
    Gradual,
}

impl Action {
    /// The name as the source document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Immediate => "immediate_rollback",
            Self::Gradual => "gradual_rollback",
        }
    }

    /// The action of this name.
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Immediate, Self::Gradual].into_iter().find(|action| action.as_str() == name)
    }
}

/// What sends a rollout back: a condition that holds for some time.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// What must not be on the new side.
    pub condition: Condition,
    /// For how long. Zero: at once.
    pub duration: Duration,
    /// What is done then.
    pub action: Action,
}

/// A share, and how long it must have gone well before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The share on the new side.
    pub share: Share,
    /// How long all criteria must have been met. Time without traffic does not count.
    pub wait: Duration,
}

/// When the journal gets a line with all values: every so often, for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// The distance of two.
    pub every: Duration,
    /// For how long.
    pub lasts: Duration,
}

/// One phase of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    /// Its name.
    pub name: String,
    /// In which environment it runs; `None`: in each.
    pub environment: Option<String>,
    /// The tiering of the new side.
    pub target: Tiering,
    /// What is split.
    pub split: SplitBy,
    /// What must hold before it begins. Inputs that it names are used up by that.
    pub requires: Vec<Condition>,
    /// Shares, rising.
    pub steps: Vec<Step>,
    /// What must hold before each step but the first; inputs are used up.
    pub step_requires: Vec<Condition>,
    /// How long it must go well at the last share, after that step's own wait.
    pub hold: Duration,
    /// What must hold on the new side all the time.
    pub success: Vec<Condition>,
    /// What must not be worse on the new side than on the old one.
    pub compare: Vec<Measure>,
    /// What sends the rollout back during this phase.
    pub triggers: Vec<Trigger>,
    /// When all values are written down, one after the other from the begin of the phase on.
    pub checks: Vec<Check>,
    /// Settings that go with the phase, by name: for the host program to apply.
    pub settings: Vec<(String, String)>,
}

/// Phases and what holds for all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its name: also what decides which keys go first.
    pub name: String,
    /// The tiering of the old side.
    pub baseline: Tiering,
    /// In their order.
    pub phases: Vec<Phase>,
    /// What sends the rollout back in every phase.
    pub triggers: Vec<Trigger>,
    /// Shares of a rollback by steps, falling, with the time that each lasts. It ends at 0.
    pub gradual: Vec<Step>,
    /// For so long after the begin, or after a restart, no trigger is looked at.
    pub grace: Duration,
}

impl Plan {
    /// The same plan with the phases of one environment only.
    #[must_use]
    pub fn for_environment(mut self, environment: &str) -> Self {
        self.phases
            .retain(|phase| phase.environment.as_deref().is_none_or(|known| known == environment));
        self
    }

    /// A plan that nobody starts, for who waits for one.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(super) fn none(baseline: Tiering) -> Self {
        let step = Step { share: Share::ALL, wait: Duration::ZERO };
        let phase = Phase {
            name: String::new(),
            environment: None,
            target: baseline,
            split: SplitBy::Key,
            requires: Vec::new(),
            steps: vec![step],
            step_requires: Vec::new(),
            hold: Duration::ZERO,
            success: Vec::new(),
            compare: Vec::new(),
            triggers: Vec::new(),
            checks: Vec::new(),
            settings: Vec::new(),
        };
        let (triggers, gradual, grace) = (Vec::new(), Vec::new(), Duration::ZERO);
        Self { name: String::new(), baseline, phases: vec![phase], triggers, gradual, grace }
    }

    /// Looks whether the plan can be carried out.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the phase and the rule that it breaks.
    pub fn check(&self) -> Result<()> {
        let refuse = |place: &str, rule: &str| {
            Err(Error::new(ErrorKind::Config, format!("plan {:?}{place}: {rule}", self.name)))
        };
        if self.phases.is_empty() {
            return refuse("", "must have a phase");
        }
        if !self.gradual.iter().is_sorted_by(|one, next| one.share > next.share)
            || self.gradual.last().is_some_and(|last| last.share != Share::NONE)
        {
            return refuse(", gradual_rollback", "shares must fall and end at 0%");
        }
        for (at, phase) in self.phases.iter().enumerate() {
            let place = format!(", phase {:?}", phase.name);
            if self.phases[..at].iter().any(|other| other.name == phase.name) {
                return refuse(&place, "stands twice");
            }
            if phase.steps.is_empty() {
                return refuse(&place, "must have a step");
            }
            if phase.steps.iter().any(|step| step.share == Share::NONE)
                || !phase.steps.is_sorted_by(|one, next| one.share < next.share)
            {
                return refuse(&place, "shares of steps must be above 0% and rise");
            }
            let comparable = [Measure::ErrorRate, Measure::HitRate];
            if !phase.compare.iter().all(|measure| comparable.contains(measure)) {
                return refuse(&place, "only error_rate and hit_rate can be compared");
            }
        }
        Ok(())
    }
}

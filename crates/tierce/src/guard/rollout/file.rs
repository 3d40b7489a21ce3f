//! Plans from YAML.
//!
//! The blocks `traffic_split` (in a phase, in place of steps), `automatic_rollback`,
//! `deployment_strategy`, `rollback_capability` and `health_check_grace_period` are those of the
//! phased deployment plan and are taken as they stand.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::plan::{Action, Check, Phase, Plan, Step, Trigger};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::{condition::Condition, measure::Measure, yaml},
    split::{Share, SplitBy},
    units::parse_percent,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    plan: String,
    baseline: String,
    #[serde(default)]
    phases: Vec<PhaseBlock>,
    automatic_rollback: Option<AutomaticRollback>,
    #[serde(default)]
    gradual_rollback: Vec<StepBlock>,
    health_check_grace_period: Option<String>,
    deployment_strategy: Option<String>,
    rollback_capability: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AutomaticRollback {
    triggers: Vec<TriggerBlock>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TriggerBlock {
    condition: String,
    duration: Option<String>,
    action: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StepBlock {
    share: String,
    wait: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrafficSplit {
    new_system: String,
    old_system: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckBlock {
    every: String,
    #[serde(rename = "for")]
    lasts: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PhaseBlock {
    name: String,
    environment: Option<String>,
    target: String,
    split: Option<String>,
    #[serde(default)]
    steps: Vec<StepBlock>,
    traffic_split: Option<TrafficSplit>,
    #[serde(default)]
    requires: Vec<String>,
    #[serde(default)]
    step_requires: Vec<String>,
    hold: Option<String>,
    #[serde(default)]
    success: Vec<String>,
    #[serde(default)]
    compare: Vec<String>,
    #[serde(default)]
    rollback: Vec<TriggerBlock>,
    #[serde(default)]
    checks: Vec<CheckBlock>,
    /// Settings that go with the phase: shown with the plan, and for the host program to apply.
    #[serde(default)]
    settings: BTreeMap<String, String>,
}

impl Plan {
    /// Reads a plan from YAML.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the phase and the rule that it breaks.
    pub fn from_yaml(text: &str) -> Result<Self> {
        let file: File = yaml::parse(text)?;
        let in_plan = |error: Error| refuse(&format!("plan {:?}: {error}", file.plan));
        let choice = |key: &str, given: &Option<String>, legal: &[&str]| match given.as_deref() {
            Some(value) if !legal.contains(&value) => {
                Err(refuse(&format!("{key} = {value:?}: must be {}", legal.join(" or "))))
            }
            _ => Ok(()),
        };
        choice("deployment_strategy", &file.deployment_strategy, &["blue_green"])?;
        choice("rollback_capability", &file.rollback_capability, &["instant"])?;
        let automatic = file.automatic_rollback.as_ref().map_or(&[][..], |block| &block.triggers);
        let plan = Self {
            name: file.plan.clone(),
            baseline: file.baseline.parse().map_err(in_plan)?,
            phases: file.phases.iter().map(PhaseBlock::phase).collect::<Result<_>>()?,
            triggers: triggers(automatic).map_err(in_plan)?,
            gradual: steps(&file.gradual_rollback).map_err(in_plan)?,
            grace: span("health_check_grace_period", &file.health_check_grace_period)?,
        };
        plan.check()?;
        Ok(plan)
    }
}

impl Plan {
    /// The triggers of a block `automatic_rollback` that was read already.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the rule that it breaks.
    pub(crate) fn triggers_of(block: serde_json::Value) -> Result<Vec<Trigger>> {
        let block: AutomaticRollback =
            serde_json::from_value(block).map_err(|error| refuse(&error.to_string()))?;
        triggers(&block.triggers)
    }
}

fn refuse(message: &str) -> Error {
    Error::new(ErrorKind::Config, message.to_owned())
}

fn span(key: &str, text: &Option<String>) -> Result<Duration> {
    text.as_ref().map_or(Ok(Duration::ZERO), |text| yaml::span(key, text))
}

fn share(key: &str, text: &str) -> Result<Share> {
    let fraction =
        parse_percent(text).map_err(|rule| refuse(&format!("{key} = {text:?}: {rule}")))?;
    Share::of(fraction).ok_or_else(|| refuse(&format!("{key} = {text:?}: must be 0% to 100%")))
}

fn steps(blocks: &[StepBlock]) -> Result<Vec<Step>> {
    let step = |block: &StepBlock| {
        Ok(Step { share: share("share", &block.share)?, wait: span("wait", &block.wait)? })
    };
    blocks.iter().map(step).collect()
}

fn conditions(texts: &[String]) -> Result<Vec<Condition>> {
    texts.iter().map(|text| text.parse()).collect()
}

fn triggers(blocks: &[TriggerBlock]) -> Result<Vec<Trigger>> {
    let trigger = |block: &TriggerBlock| {
        let action = block.action.as_deref().unwrap_or(Action::Immediate.as_str());
        Ok(Trigger {
            condition: block.condition.parse()?,
            duration: span("duration", &block.duration)?,
            action: Action::parse(action).ok_or_else(|| {
                refuse(&format!(
                    "action = {action:?}: must be immediate_rollback or gradual_rollback"
                ))
            })?,
        })
    };
    blocks.iter().map(trigger).collect()
}

impl PhaseBlock {
    fn phase(&self) -> Result<Phase> {
        self.read().map_err(|error| refuse(&format!("phase {:?}: {error}", self.name)))
    }

    fn read(&self) -> Result<Phase> {
        let split = self.split.as_deref().unwrap_or(SplitBy::Key.as_str());
        let checks = self.checks.iter().map(|check| {
            let every = yaml::span("every", &check.every)?;
            if every.is_zero() {
                return Err(refuse("every = 0s: must be above zero"));
            }
            Ok(Check { every, lasts: yaml::span("for", &check.lasts)? })
        });
        let compare = self.compare.iter().map(|name| {
            Measure::parse(name).ok_or_else(|| refuse(&format!("compare: {name:?} is no measure")))
        });
        if let Some((key, _)) = self.settings.iter().find(|(key, _)| key.is_empty()) {
            return Err(refuse(&format!("settings: {key:?} is no name")));
        }
        Ok(Phase {
            name: self.name.clone(),
            environment: self.environment.clone(),
            target: self.target.parse()?,
            split: SplitBy::parse(split).ok_or_else(|| {
                refuse(&format!("split = {split:?}: must be key, instance or request"))
            })?,
            requires: conditions(&self.requires)?,
            steps: self.steps()?,
            step_requires: conditions(&self.step_requires)?,
            hold: span("hold", &self.hold)?,
            success: conditions(&self.success)?,
            compare: compare.collect::<Result<_>>()?,
            triggers: triggers(&self.rollback)?,
            checks: checks.collect::<Result<_>>()?,
            settings: self.settings.clone().into_iter().collect(),
        })
    }

    fn steps(&self) -> Result<Vec<Step>> {
        let Some(split) = &self.traffic_split else { return steps(&self.steps) };
        if !self.steps.is_empty() {
            return Err(refuse("must have either steps or traffic_split"));
        }
        let new = share("traffic_split.new_system", &split.new_system)?;
        let old = share("traffic_split.old_system", &split.old_system)?;
        if (new.fraction() + old.fraction() - 1.0).abs() > 1e-9 {
            let both = format!("{} and {}", split.new_system, split.old_system);
            return Err(refuse(&format!("traffic_split = {both}: must add up to 100%")));
        }
        Ok(vec![Step { share: new, wait: Duration::ZERO }])
    }
}

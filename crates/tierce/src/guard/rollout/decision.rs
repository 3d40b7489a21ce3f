//! What a rollout is shown, asked for and decides: plain data.

use super::plan::Action;
use crate::{guard::measure::View, metrics::WindowStats};

/// What the machine is shown.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// The new side, in the window of evaluation.
    pub canary: View,
    /// Both sides, new then old, in a longer window, for comparisons.
    pub both: Option<(WindowStats, WindowStats)>,
}

/// Where a rollout is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Stage {
    /// Nobody started it.
    Idle,
    /// What the next step requires does not hold yet.
    Waiting,
    /// A share is on the new side, and watched.
    Running,
    /// As running, but the share does not rise.
    Paused,
    /// The share falls by steps.
    RollingBack,
    /// All are on the old side again. Only an operator starts it anew.
    RolledBack,
    /// All phases are done.
    Complete,
}

/// What an operator may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Begin with the first phase; also after a rollback.
    Start,
    /// Go on to the next step, if its gate is passed.
    Advance,
    /// Go on to the next step, whatever its gate says.
    Force,
    /// Raise the share no further. Triggers are looked at as before.
    Pause,
    /// Undo a pause.
    Resume,
    /// Take the rollout back. Always obeyed.
    Rollback(Action),
}

impl Command {
    /// The names that [`parse`](Self::parse) knows.
    pub const NAMES: [&str; 7] =
        ["start", "advance", "force", "pause", "resume", "rollback", "gradual_rollback"];

    /// What is asked for by this name: that of the variant, where `rollback` is the immediate one.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "start" => Self::Start,
            "advance" => Self::Advance,
            "force" => Self::Force,
            "pause" => Self::Pause,
            "resume" => Self::Resume,
            "rollback" => Self::Rollback(Action::Immediate),
            "gradual_rollback" => Self::Rollback(Action::Gradual),
            _ => return None,
        })
    }
}

/// What kind of decision it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum DecisionKind {
    /// The rollout began.
    Started,
    /// A phase waits for what it requires.
    Waiting,
    /// The share was set to that of a step.
    Step,
    /// A criterion was not met: the gate's time begins anew.
    Red,
    /// All criteria are met again.
    Green,
    /// Some time of the gate went by well.
    Checkpoint,
    /// A look that the plan asks to be written down.
    Check,
    /// The gate of the last step of a phase was passed.
    PhaseDone,
    /// All phases are done.
    Completed,
    /// An operator stopped the share from rising.
    Paused,
    /// An operator undid that.
    Resumed,
    /// A rollback began.
    RollbackBegan,
    /// A rollback by steps took one.
    RollbackStep,
    /// All are on the old side.
    RolledBack,
}

/// One decision, and the state that it led to.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Decision {
    /// When, in milliseconds of the driver's line: by the wall clock since 1970.
    pub at_ms: u64,
    /// What was decided.
    pub kind: DecisionKind,
    /// The rule that asked for it.
    pub rule: Option<String>,
    /// The value that it was judged by, as people read it.
    pub value: Option<String>,
    /// `rule`, or `operator` and a name.
    pub by: String,
    /// The stage from now on.
    pub stage: Stage,
    /// The name of the phase.
    pub phase: Option<String>,
    /// The number of the step in it, from 0; of the plan's gradual rollback while that goes on.
    pub step: usize,
    /// The share on the new side from now on, in percent.
    pub percent: f64,
    /// Green time of the step so far.
    pub green_ms: u64,
    /// Time since the phase began.
    pub phase_ms: u64,
    /// Which start of all hosts it belongs to; `None` for a rollout of one host alone.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub epoch: Option<u64>,
    /// Its number among those that the hosts agreed on; `None` before they did.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub number: Option<u64>,
}

impl Decision {
    /// True if it belongs to a rollback.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn is_back(&self) -> bool {
        matches!(self.stage, Stage::RollingBack | Stage::RolledBack)
    }

    /// True if it is the same, whether or not hosts agreed on it.
    #[cfg_attr(not(all(feature = "config", feature = "shared")), allow(dead_code))]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        *self == Self { number: self.number, ..other.clone() }
    }

    /// True if it takes the place of `latest`. Within a start nothing follows a rollback but its
    /// own steps down; what is of an earlier start never counts.
    #[cfg_attr(not(feature = "serde"), allow(dead_code))]
    pub(crate) fn follows(&self, latest: &Self) -> bool {
        if self.epoch != latest.epoch {
            return self.epoch > latest.epoch;
        }
        match latest.stage {
            Stage::RolledBack => self.kind == DecisionKind::Started && self.epoch.is_none(),
            Stage::RollingBack => self.is_back() && self.percent <= latest.percent,
            _ => true,
        }
    }
}

/// How far a rollout is.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Status {
    /// The name of the plan.
    pub plan: String,
    /// Where it is.
    pub stage: Stage,
    /// The name of the phase.
    pub phase: Option<String>,
    /// The number of the step, from 0.
    pub step: usize,
    /// The share on the new side, in percent.
    pub percent: f64,
    /// The tiering of the old side.
    pub baseline: String,
    /// The tiering of the new side.
    pub target: String,
    /// Green time of the step, and how much it needs, in milliseconds.
    pub green_ms: u64,
    /// How much green time the step needs.
    pub needed_ms: u64,
    /// Why the gate is shut.
    pub red: Option<String>,
    /// What the calls of both sides met in the last ten minutes; `None` before the cache was split.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub sides: Option<Sides>,
    /// How this host stands with the others; `None` where it rolls out alone.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "Option::is_none"))]
    pub hosts: Option<HostsStatus>,
}

/// Both sides of a split, as they are compared.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Sides {
    /// The side that all came from.
    pub old: SideStatus,
    /// The side that a share is on.
    pub new: SideStatus,
    /// What the phase compares, as far as both sides have enough operations.
    pub compared: Vec<Compared>,
}

/// One side of a split in a window of time.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct SideStatus {
    /// Reads by callers.
    pub requests: u64,
    /// Reads that a tier answered.
    pub hits: u64,
    /// Calls that gave an error, or lost the time of a tier's deadline.
    pub errors: u64,
    /// In milliseconds; `None` without a read that was measured.
    pub latency_p95_ms: Option<f64>,
}

/// One measure of both sides.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Compared {
    /// The name of the measure.
    pub measure: String,
    /// The share of bad ones on the old side, 0 to 1.
    pub old: f64,
    /// The share of bad ones on the new side.
    pub new: f64,
    /// By how many standard deviations the new one is worse.
    pub deviations: f64,
    /// True if that is more than chance, and enough to matter.
    pub is_worse: bool,
}

/// How a host stands with others that roll out together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct HostsStatus {
    /// Which start it is; `None` before the first.
    pub epoch: Option<u64>,
    /// True if this process leads the rollout of all hosts.
    pub leads: bool,
    /// Who leads it, as far as this process was told.
    pub leader: Option<String>,
    /// True if L3 answered lately.
    pub is_reachable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(epoch: Option<u64>, kind: DecisionKind, stage: Stage, percent: f64) -> Decision {
        Decision {
            at_ms: 0,
            kind,
            rule: None,
            value: None,
            by: String::new(),
            stage,
            phase: None,
            step: 0,
            percent,
            green_ms: 0,
            phase_ms: 0,
            epoch,
            number: None,
        }
    }

    #[test]
    fn every_name_of_a_command_is_one() {
        assert!(Command::NAMES.iter().all(|name| Command::parse(name).is_some()));
        assert_eq!(Command::parse("melt"), None);
    }

    #[test]
    fn within_a_start_nothing_follows_a_rollback_and_what_is_of_an_earlier_one_follows_nothing() {
        let started = |epoch| decision(epoch, DecisionKind::Started, Stage::Waiting, 0.0);
        let step = |epoch| decision(epoch, DecisionKind::Step, Stage::Running, 25.0);
        let falls =
            |percent| decision(Some(1), DecisionKind::RollbackStep, Stage::RollingBack, percent);
        let back = |epoch| decision(epoch, DecisionKind::RolledBack, Stage::RolledBack, 0.0);
        for (next, latest, follows) in [
            (step(Some(1)), started(Some(1)), true),
            (back(Some(1)), step(Some(1)), true),
            (falls(10.0), falls(20.0), true),
            (falls(20.0), falls(10.0), false),
            (step(Some(1)), falls(20.0), false),
            // Late news of the same start, and of an earlier one.
            (started(Some(1)), back(Some(1)), false),
            (step(Some(1)), back(Some(1)), false),
            (back(Some(1)), step(Some(2)), false),
            (started(Some(2)), back(Some(1)), true),
            (step(Some(2)), back(Some(1)), true),
            // A host alone, before and after the first start of all.
            (started(None), back(None), true),
            (step(None), back(None), false),
            (started(Some(1)), step(None), true),
            (started(None), back(Some(1)), false),
        ] {
            assert_eq!(next.follows(&latest), follows, "{next:?} after {latest:?}");
        }
    }
}

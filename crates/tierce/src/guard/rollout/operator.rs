//! A rollout of several hosts, for who asks something of it: an operator.
//!
//! What is asked is decided on the state that L3 has, and takes effect if that is still the state: else
//! it is decided anew. A rollback is joined to whatever state there is, so it needs no second try.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    decision::{Command, Decision},
    fleet::{decisions_of, line_of, state_of},
    machine::Rollout,
    plan::Plan,
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    tier::{RemoteTier, RolloutAsk, RolloutNews, RolloutNext},
};

/// How often something is decided anew that others came before.
const TRIES: usize = 10;

/// Asks L3.
#[derive(Clone)]
pub(super) struct Operator {
    remote: Arc<dyn RemoteTier>,
}

/// What L3 has.
pub(super) struct Standing {
    news: RolloutNews,
    pub(super) decisions: Vec<Decision>,
}

impl Standing {
    /// The decision that holds.
    pub(super) fn latest<'a>(&'a self) -> Option<&'a Decision> {
        let later = |latest: Option<&'a Decision>, next: &'a Decision| match latest {
            Some(latest) if !next.follows(latest) => Some(latest),
            _ => Some(next),
        };
        self.decisions.iter().fold(None, later)
    }

    /// The machine as it stands; `None` where nobody started one.
    fn rollout(&self) -> Result<Option<Rollout>> {
        let (Some(plan), Some(latest)) = (&self.news.plan, self.latest()) else { return Ok(None) };
        Rollout::resume(Plan::from_yaml(plan)?, latest, now()).map(Some)
    }
}

impl Operator {
    pub(super) fn new(remote: Arc<dyn RemoteTier>) -> Self {
        Self { remote }
    }

    pub(super) fn look(&self) -> Result<Standing> {
        let news = self.remote.rollout(&RolloutAsk::Look { known: None, lead: None })?;
        let last = news.state.map_or(0, |state| state.mark.number);
        let decisions = decisions_of(&news.lines, last);
        Ok(Standing { news, decisions })
    }

    /// Begins with this plan, in YAML, on all hosts.
    pub(super) fn start(&self, by: &str, text: &str) -> Result<Vec<Decision>> {
        let plan = Plan::from_yaml(text)?;
        plan.check()?;
        for _ in 0..TRIES {
            let standing = self.look()?;
            if let Some(mut rollout) = standing.rollout()? {
                // Refused while one is under way, whatever its plan.
                rollout.command(now(), by, Command::Start)?;
            }
            let expected = standing.news.state.map(|state| state.mark).unwrap_or_default();
            // Higher than that of any host that has an older one and was away.
            let epoch = now().0.max(expected.epoch + 1);
            let mut rollout = Rollout::new(plan.clone())?.of_epoch(epoch);
            let decisions = rollout.command(now(), by, Command::Start)?;
            let next = next(&decisions, Some(text))?;
            let ask = RolloutAsk::Propose { expected, leader: None, next: &next };
            if self.remote.rollout(&ask)?.is_done {
                return Ok(decisions);
            }
        }
        Err(overtaken())
    }

    /// Asks for something else of the rollout that was started.
    pub(super) fn ask(&self, by: &str, command: Command) -> Result<Vec<Decision>> {
        for _ in 0..TRIES {
            let standing = self.look()?;
            let (Some(state), Some(mut rollout)) = (standing.news.state, standing.rollout()?)
            else {
                return Err(Error::new(ErrorKind::Config, "rollout: nobody started one"));
            };
            let decisions = rollout.command(now(), by, command)?;
            if decisions.is_empty() {
                return Ok(decisions);
            }
            let is_back = decisions.last().is_some_and(Decision::is_back);
            let next =
                next(&decisions, is_back.then_some(standing.news.plan.as_deref()).flatten())?;
            let ask = match is_back {
                true => RolloutAsk::Join { next: &next, quiet: Duration::ZERO },
                false => RolloutAsk::Propose { expected: state.mark, leader: None, next: &next },
            };
            if self.remote.rollout(&ask)?.is_done {
                return Ok(decisions);
            }
        }
        Err(overtaken())
    }

    /// The share of all hosts that hear of L3, in percent, and who leads.
    #[cfg(feature = "redis")]
    pub(super) fn present(&self) -> Result<(Option<f64>, Option<String>)> {
        let news = self.remote.rollout(&RolloutAsk::Look { known: None, lead: None })?;
        let share = news.state.map(|state| crate::split::Share::of_parts(state.parts).percent());
        let name = |leader: String| match leader.rsplit_once(' ') {
            Some((name, _)) => name.to_owned(),
            None => leader,
        };
        Ok((share, news.leader.map(name)))
    }
}

fn next(decisions: &[Decision], plan: Option<&str>) -> Result<RolloutNext> {
    let state = decisions.last().and_then(|last| state_of(last, decisions.len() as u64));
    let state = state.ok_or_else(|| {
        Error::new(ErrorKind::Corrupt, "rollout: the decisions of L3 are of no start")
    })?;
    let lines: Result<Vec<String>> = decisions.iter().map(line_of).collect();
    Ok(RolloutNext { state, plan: plan.map(str::to_owned), lines: lines? })
}

fn overtaken() -> Error {
    Error::new(ErrorKind::Busy, format!("rollout: others decided {TRIES} times meanwhile"))
}

pub(super) fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

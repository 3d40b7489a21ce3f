//! What a process does with what it hears of other hosts.

use super::{
    decision::{Command, Decision, HostsStatus},
    drive::Drive,
    fleet::{Fleet, decisions_of, state_of},
    operator::Operator,
    place,
    plan::Plan,
};
use crate::{
    cache::Cache,
    error::{Error, ErrorKind, Result},
    split::{Moves, Share},
    tier::RolloutNews,
};

/// Asks all hosts for what one process does not decide.
pub(crate) struct AskHosts {
    operator: Operator,
    /// The plan that was last in force here.
    plan: Option<String>,
}

impl AskHosts {
    /// Asks for it; L3 has accepted it when this returns.
    pub(crate) fn run(&self, by: &str, command: Command) -> Result<Vec<Decision>> {
        if command != Command::Start {
            return self.operator.ask(by, command);
        }
        self.start(by, self.plan.as_deref().ok_or_else(no_plan)?)
    }

    /// Begins with this plan, in YAML, on all hosts.
    pub(crate) fn start(&self, by: &str, plan: &str) -> Result<Vec<Decision>> {
        self.operator.start(by, plan)
    }
}

/// Where a start with another plan is asked of.
pub(crate) enum Starts {
    /// Of all hosts.
    Hosts(AskHosts),
    /// Of the store in this folder.
    Store(std::path::PathBuf),
}

/// A start of what nobody ever gave a plan.
pub(super) fn no_plan() -> Error {
    let message = "rollout: there was none whose plan could be started anew";
    Error::new(ErrorKind::Config, message)
}

impl Drive {
    /// From now on a thread of its own talks to L3.
    pub(crate) fn use_thread(&mut self) {
        if let Some(fleet) = &mut self.fleet {
            fleet.use_thread();
        }
    }

    /// Who is to be asked for this; `None` where this process decides it.
    pub(crate) fn ask_hosts(&self, command: Command) -> Option<AskHosts> {
        let fleet = self.fleet.as_ref()?;
        let is_theirs = match command {
            Command::Rollback(_) => false,
            Command::Start => true,
            _ => self.rollout.epoch().is_some(),
        };
        let plan = self.folder.as_deref().and_then(place::plan_text);
        is_theirs.then(|| AskHosts { operator: Operator::new(fleet.remote()), plan })
    }

    /// Who is asked to begin with another plan.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where this process was given a plan of its own.
    pub(crate) fn starts(&self) -> Result<Starts> {
        if let Some(hosts) = self.ask_hosts(Command::Start) {
            return Ok(Starts::Hosts(hosts));
        }
        self.folder.clone().map(Starts::Store).ok_or_else(|| {
            let message = "rollout: this guard was given its plan: start it without another one";
            Error::new(ErrorKind::Config, message)
        })
    }

    /// True if it takes part in the rollouts of a store that never had one.
    pub(super) fn waits_for_a_plan(&self) -> Result<bool> {
        let Some(folder) = &self.folder else { return Ok(false) };
        Ok(place::plan_of(folder)?.is_none())
    }

    /// True if decisions of all hosts are in the journal; asks for them now, where not.
    pub(crate) fn has_heard_of<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        decisions: &[Decision],
    ) -> Result<bool> {
        if let Some(fleet) = &self.fleet {
            fleet.call();
        }
        self.catch_up(cache)?;
        let has_seen = |decision| self.fleet.as_ref().is_none_or(|fleet| fleet.has_seen(decision));
        Ok(decisions.last().is_none_or(has_seen))
    }

    pub(super) fn hosts_status(&self) -> Option<HostsStatus> {
        let fleet = self.fleet.as_ref()?;
        Some(HostsStatus {
            epoch: self.rollout.epoch(),
            leads: fleet.leads(),
            leader: fleet.leader(),
            is_reachable: fleet.is_heard(),
        })
    }

    /// Writes down what other hosts decided, and has L3 told of what it does not know.
    pub(super) fn hear_hosts<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
    ) -> Result<()> {
        let Some(fleet) = &mut self.fleet else { return Ok(()) };
        fleet.become_envoy();
        if !fleet.is_envoy() {
            return Ok(());
        }
        fleet.exchange();
        let is_proposing = fleet.is_proposing();
        let written = match fleet.news() {
            Some(news) => self.write_down(cache, &news),
            None => Ok(()),
        };
        if let Some(fleet) = self.fleet.as_mut().filter(|_| !is_proposing) {
            fleet.forget_proposal();
        }
        self.tell_hosts()?;
        written
    }

    /// The same where no thread talks to L3: what was decided now is there when it returns.
    pub(super) fn exchange<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
    ) -> Result<()> {
        self.tell_hosts()?;
        if self.fleet.as_ref().is_some_and(Fleet::is_inline) {
            self.catch_up(cache)
        } else {
            Ok(())
        }
    }

    fn tell_hosts(&mut self) -> Result<()> {
        let Some(fleet) = self.fleet.as_mut().filter(|fleet| fleet.is_envoy()) else {
            return Ok(());
        };
        fleet.join(&self.journal, || self.folder.as_deref().and_then(place::plan_text))
    }

    fn write_down<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        news: &RolloutNews,
    ) -> Result<()> {
        let (Some(state), Some(folder)) = (news.state, &self.folder) else { return Ok(()) };
        let mine = self.journal.latest().and_then(|latest| latest.epoch);
        let theirs = Some(state.mark.epoch);
        let mut name = self.rollout.plan().name.clone();
        if theirs > mine
            && let Some(text) = &news.plan
        {
            name = Plan::from_yaml(text)?.name;
            place::write_plan(folder, text)?;
            // Before the journal: else who dies in between leaves a word that takes this one back.
            cache.tell_share(&name, Share::NONE, Moves::Starts);
        }
        if theirs >= mine && state.is_back {
            cache.tell_share(&name, Share::of_parts(state.parts), Moves::Back);
        }
        let ours = self.journal.latest().and_then(|it| state_of(it, self.journal.number()));
        let is_behind = ours.is_some_and(|ours| !ours.is_back && ours.beats(&state));
        let decisions = match is_behind {
            // L3 lost what this host has: it is about to be put back.
            true => Vec::new(),
            false => decisions_of(&news.lines, state.mark.number),
        };
        let fleet = self.fleet.as_ref();
        let is_new = |one: &&Decision| fleet.is_some_and(|fleet| !fleet.has_seen(one));
        let new: Vec<Decision> = decisions.iter().filter(is_new).cloned().collect();
        self.journal.append(&new)?;
        self.read_news()?;
        let is_back = self.journal.latest().is_some_and(Decision::is_back);
        if theirs >= mine && !state.is_back && !is_back {
            // What L3 has last holds, also where this host had written more before L3 lost it.
            if let Some(last) = decisions.last()
                && self.journal.latest().is_some_and(|latest| !latest.is_same(last))
            {
                self.journal.append(std::slice::from_ref(last))?;
                self.read_news()?;
            }
            cache.tell_share(&name, self.rollout.share(), Moves::On);
        }
        if let Some(fleet) = &self.fleet {
            fleet.wrote_down(news);
        }
        Ok(())
    }
}

//! A rollout in one process: the machine, its journal, and the cache that it moves.
//!
//! All processes that were given the same journal take part in one rollout. The one that leads it
//! writes how it goes on; the others follow what is written. Each looks for triggers in what it does
//! itself, and any of them may write a rollback.
//!
//! | split by | is put in force by | the new side is |
//! |---|---|---|
//! | instance | [`Cache::retier`]: the whole cache is on one side | what the process does, if it is on it; the leader is first, as gates are judged by what it sees |
//! | key, request | [`Cache::split`]: the tiers of both sides are in force, the share is a word | measured apart from the old one, and compared with it |
//!
//! Where there are several hosts, what concerns the others is in `fleet_drive.rs`.
//!
//! A rollback lowers the share first, which takes effect with the next call of any thread; then the
//! tiers of the new side leave, which waits for changes under way.

use std::time::{Duration, SystemTime};

#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
use super::fleet::Fleet;
#[cfg(not(all(feature = "config", feature = "shared", target_os = "linux")))]
use super::fleet_absent::Fleet;
use super::{
    decision::{Command, Decision, DecisionKind, Evidence, Sides, Stage, Status},
    journal::Journal,
    machine::Rollout,
    plan::{Action, Plan},
};
use crate::{
    cache::{Cache, Split},
    clock::{Clock, Millis},
    error::{Error, ErrorKind, Result},
    guard::{keeper::WINDOW, measure::View},
    split::{Moves, Share, SplitBy, Splitter},
    tiering::Tiering,
};

/// The window in which both sides are compared: at a share of 1 % the new one has few operations.
const COMPARED: Duration = Duration::from_secs(600);

/// A rollout and its journal in one process.
pub(crate) struct Drive {
    pub(super) rollout: Rollout,
    pub(super) journal: Journal,
    instance: String,
    /// Of the store that the plan is read from, where it was not given.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(super) folder: Option<std::path::PathBuf>,
    /// The other hosts, where the cache has an L3.
    pub(super) fleet: Option<Fleet>,
    /// What is the time, where a test says that.
    clock: Option<Clock>,
    /// The latest time that was told, which does not go back.
    now: Millis,
    /// This process decides how it goes on, for its host or for all.
    leads: bool,
    is_in_force: bool,
    /// Both sides, as of the latest round.
    sides: Option<Sides>,
}

impl Drive {
    pub(crate) fn new<V: Clone + Send + Sync + 'static>(
        (plan, path, instance): (Plan, std::path::PathBuf, String),
        cache: &Cache<V>,
    ) -> Result<Self> {
        let rollout = Rollout::new(plan)?;
        let (journal, _) = Journal::open(&path)?;
        let mut drive = Self {
            rollout,
            journal,
            instance,
            #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
            folder: None,
            fleet: None,
            clock: cache.manual_clock(),
            now: Millis(0),
            leads: false,
            is_in_force: true,
            sides: None,
        };
        drive.adopt()?;
        drive.put_in_force(cache)?;
        Ok(drive)
    }

    /// Takes part in the rollouts of the cache's store, whichever plan an operator starts.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(crate) fn of_store<V: Clone + Send + Sync + 'static>(
        instance: String,
        cache: &Cache<V>,
    ) -> Result<Self> {
        let folder = cache.open_store()?;
        let plan = super::place::plan_of(&folder)?.unwrap_or_else(|| Plan::none(cache.tiering()));
        let journal = super::place::journal_of(&folder);
        let fleet = cache
            .remote_of_rollouts()?
            .map(|remote| Fleet::new(remote, &instance, &folder))
            .transpose()?;
        let (_, decisions) = Journal::open(&journal)?;
        let mut drive = Self::new((plan, journal, instance), cache)?;
        drive.folder = Some(folder);
        drive.fleet = fleet;
        drive.note(&decisions);
        Ok(drive)
    }

    pub(crate) fn status(&self) -> Status {
        let (hosts, sides) = (self.hosts_status(), self.sides.clone());
        Status { hosts, sides, ..self.rollout.status() }
    }

    /// The file of the journal.
    pub(crate) fn journal_path(&self) -> &std::path::Path {
        self.journal.path()
    }

    /// Takes a number or a truth that only the outside knows.
    pub(crate) fn push(&mut self, input: &str, value: f64) {
        self.rollout.push(input, value);
    }

    /// Does what an operator asks for.
    pub(crate) fn command<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        by: &str,
        command: Command,
    ) -> Result<()> {
        let caught_up = self.catch_up(cache);
        if !matches!(command, Command::Rollback(_)) {
            caught_up?;
            if self.fleet.is_none() && self.rollout.epoch().is_some() {
                return Err(others_take_part());
            }
        }
        #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
        if command == Command::Start && self.waits_for_a_plan()? {
            return Err(super::fleet_drive::no_plan());
        }
        let now = self.now();
        let decisions = self.rollout.command(now, by, command)?;
        self.decide(cache, &decisions)?;
        self.exchange(cache)
    }

    /// Looks at the cache, of which this is a view, and decides.
    pub(crate) fn round<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        view: View,
    ) -> Result<()> {
        self.catch_up(cache)?;
        self.obey_word(cache)?;
        let evidence = self.evidence(cache, view);
        self.sides = evidence.both.as_ref().map(|(new, old)| self.rollout.sides(new, old));
        let decisions = self.look(evidence)?;
        self.decide(cache, &decisions)?;
        self.exchange(cache)
    }

    fn evidence<V: Clone + Send + Sync + 'static>(&self, cache: &Cache<V>, view: View) -> Evidence {
        let sides = |span| cache.is_split().then(|| cache.side_windows(span)).flatten();
        let canary = match sides(WINDOW) {
            Some((new, _)) => view.of_side(&new),
            None => view,
        };
        Evidence { canary, both: sides(COMPARED) }
    }

    /// The wall clock's milliseconds, or those of a test, kept from going back.
    fn now(&mut self) -> Millis {
        let wall = || {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            Millis(u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX))
        };
        let now = self.clock.as_ref().map_or_else(wall, Clock::coarse);
        self.now = self.now.max(now);
        self.now
    }

    /// Goes on where the journal is.
    fn adopt(&mut self) -> Result<()> {
        let now = self.now();
        #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
        if let Some(plan) = self.folder.as_deref().map(super::place::plan_of).transpose()?.flatten()
            && plan != *self.rollout.plan()
        {
            self.rollout = Rollout::new(plan)?;
        }
        if let Some(latest) = self.journal.latest() {
            let accepted = self.fleet.as_mut().and_then(|fleet| fleet.accepted(latest));
            self.rollout = match accepted {
                Some(rollout) => rollout,
                None => self.rollout.clone().follow(self.rollout.plan().clone(), latest, now)?,
            };
        }
        Ok(())
    }

    /// Reads what anybody of the host wrote, and goes on from there.
    pub(super) fn read_news(&mut self) -> Result<()> {
        let news = self.journal.news()?;
        self.note(&news);
        if !news.is_empty() {
            self.adopt()?;
            self.is_in_force = false;
        }
        Ok(())
    }

    fn note(&mut self, decisions: &[Decision]) {
        if let Some(fleet) = &mut self.fleet {
            decisions.iter().for_each(|decision| fleet.note(decision));
        }
    }

    /// Puts in force what others wrote.
    pub(crate) fn catch_up<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
    ) -> Result<()> {
        self.read_news()?;
        let heard = self.hear_hosts(cache);
        let leads = match (self.rollout.epoch(), &self.fleet) {
            (None, _) => self.journal.lead(),
            (Some(_), Some(hosts)) => hosts.leads(),
            // Without an L3 it cannot know what the other hosts do.
            (Some(_), None) => false,
        };
        if std::mem::replace(&mut self.leads, leads) != leads && self.splits_instances() {
            // Who leads is on the new side first.
            self.is_in_force = false;
        }
        if !self.is_in_force {
            self.put_in_force(cache)?;
        }
        heard
    }

    /// The other hosts, where the rollout is one of all.
    fn hosts(&self) -> Option<&Fleet> {
        self.fleet.as_ref().filter(|_| self.rollout.epoch().is_some())
    }

    /// Takes it back where the word of the host says so and the journal does not yet: who wrote the
    /// word may have died before it wrote a line.
    fn obey_word<V: Clone + Send + Sync + 'static>(&mut self, cache: &Cache<V>) -> Result<()> {
        let name = &self.rollout.plan().name;
        let is_back = cache.rollout_word().is_some_and(|word| word.is_back(name));
        let is_live = matches!(
            self.rollout.status().stage,
            Stage::Waiting | Stage::Running | Stage::Paused | Stage::Complete
        );
        let is_envoy = self.fleet.as_ref().is_some_and(Fleet::is_envoy);
        if !(is_back && is_live && (self.leads || is_envoy)) {
            return Ok(());
        }
        let now = self.now();
        let back = Command::Rollback(Action::Immediate);
        let decisions = self.rollout.command(now, "of another process", back)?;
        self.decide(cache, &decisions)
    }

    /// Who leads decides; who follows may only take it back, and only by what it sees of the new
    /// side.
    fn look(&mut self, evidence: Evidence) -> Result<Vec<Decision>> {
        let now = self.now();
        let Some(hosts) = self.hosts() else {
            return Ok(match self.leads {
                true => self.rollout.tick(now, evidence),
                false => self.watch(now, evidence),
            });
        };
        let is_falling = self.rollout.status().stage == Stage::RollingBack;
        if self.leads && !hosts.is_proposing() {
            let mut next = self.rollout.clone();
            let decisions = next.tick(now, evidence);
            if decisions.last().is_none_or(Decision::is_back) {
                self.rollout = next;
                return Ok(decisions);
            }
            // All hosts first, then this one.
            if let Some(hosts) = &mut self.fleet {
                hosts.propose(&decisions, next)?;
            }
            return Ok(Vec::new());
        }
        if hosts.is_envoy() && is_falling && !hosts.is_heard() {
            // Who goes down by steps waits for nobody.
            return Ok(self.rollout.tick(now, evidence));
        }
        Ok(self.watch(now, evidence))
    }

    fn watch(&mut self, now: Millis, evidence: Evidence) -> Vec<Decision> {
        if self.sees_new() { self.rollout.watch(now, evidence) } else { Vec::new() }
    }

    /// Writes decisions down, then puts them in force. What lowers the share is in force whether or
    /// not it can be written.
    fn decide<V: Clone + Send + Sync + 'static>(
        &mut self,
        cache: &Cache<V>,
        decisions: &[Decision],
    ) -> Result<()> {
        if decisions.is_empty() {
            return Ok(());
        }
        let is_back = matches!(self.rollout.status().stage, Stage::RollingBack | Stage::RolledBack);
        let moves = moves(decisions);
        let name = self.rollout.plan().name.clone();
        if is_back {
            cache.tell_share(&name, self.rollout.share(), moves);
            self.put_in_force(cache)?;
        }
        self.journal.append(decisions)?;
        if !is_back {
            // Not where somebody took it back at the same moment; its line is there, or will be.
            cache.tell_share(&name, self.rollout.share(), moves);
        }
        // Our own lines too: together with what others wrote in between.
        let news = self.journal.news()?;
        self.note(&news);
        let latest = self.journal.latest().map(|latest| (latest.at_ms, latest.percent));
        let ours = decisions.last().map(|ours| (ours.at_ms, ours.percent));
        if latest != ours {
            self.adopt()?;
        }
        self.put_in_force(cache)
    }

    fn splits_instances(&self) -> bool {
        self.rollout.phase_in_force().split == SplitBy::Instance
    }

    /// True if something of what this process does is on the new side.
    fn sees_new(&self) -> bool {
        let share = self.rollout.share();
        if self.leads || !self.splits_instances() {
            return share > Share::NONE;
        }
        let plan = self.rollout.plan();
        Splitter::new(SplitBy::Instance, &plan.name, &self.instance).is_new(share, &[])
    }

    fn put_in_force<V: Clone + Send + Sync + 'static>(&mut self, cache: &Cache<V>) -> Result<()> {
        self.is_in_force = false;
        let stage = self.rollout.status().stage;
        let (share, baseline) = (self.rollout.share(), self.rollout.plan().baseline);
        // Before a start the cache is as it was set up.
        if stage == Stage::Idle {
        } else if self.splits_instances() {
            let is_new = self.sees_new();
            self.retier(cache, if is_new { self.rollout.target() } else { baseline })?;
        } else if share == Share::NONE {
            if cache.is_split() {
                cache.split(&self.split())?;
            }
            self.retier(cache, baseline)?;
        } else if share == Share::ALL && stage == Stage::Complete {
            self.retier(cache, self.rollout.target())?;
        } else {
            cache.split(&self.split())?;
            // The first look begins the windows: not a look after the first call.
            _ = cache.side_windows(WINDOW);
        }
        self.is_in_force = true;
        Ok(())
    }

    fn split(&self) -> Split {
        let (plan, phase) = (self.rollout.plan(), self.rollout.phase_in_force());
        let split = Split::new(plan.baseline, phase.target).name(&plan.name).by(phase.split);
        split.share(self.rollout.share())
    }

    fn retier<V: Clone + Send + Sync + 'static>(
        &self,
        cache: &Cache<V>,
        tiering: Tiering,
    ) -> Result<()> {
        if cache.tiering() == tiering && !cache.is_split() {
            return Ok(());
        }
        cache.retier(tiering)
    }
}

/// A share of several hosts rises when L3 has accepted it, and who asks does not know where that is.
pub(super) fn others_take_part() -> Error {
    let why = "other hosts take part in it: ask their Redis; a store takes a rollback alone";
    Error::new(ErrorKind::Config, format!("rollout: {why}"))
}

/// What decisions do to the share.
pub(super) fn moves(decisions: &[Decision]) -> Moves {
    let is_back = |one: &Decision| matches!(one.stage, Stage::RollingBack | Stage::RolledBack);
    if decisions.iter().any(|one| one.kind == DecisionKind::Started) {
        Moves::Starts
    } else if decisions.last().is_some_and(is_back) {
        Moves::Back
    } else {
        Moves::On
    }
}

#[cfg(test)]
#[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
#[path = "drive_tests.rs"]
mod tests;

//! Where the processes of a host have a rollout in common: a journal, and the folder of their store.
//!
//! ```text
//! l2.data         a word: whether a rollout is under way, its share, whether it is taken back
//! rollout.yaml    its plan
//! rollout.jsonl   its journal
//! ```
//! The word is what calls go by: a share that rises or falls does so with the next call of every
//! process of the host. The journal is what decisions go by, and outlives it: a store that is made
//! anew gets its word from there.
//!
//! Where hosts roll out together (`fleet.rs`), the journal has the decisions of all of them, and the
//! plan is that of L3. From outside a host then only takes it back; all else is asked of L3.
//!
//! A rollback goes into the word first. It wins there: after it nothing but a start changes the
//! word, and nothing but a start counts in the journal.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{
    decision::{Command, Decision},
    drive::{moves, others_take_part},
    journal::Journal,
    machine::Rollout,
    operator::now,
    plan::Plan,
};
use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result},
    split::{Moves, Share, ShareWord},
    store::{Store, StoreOptions},
};

/// The plan of the rollout of a store.
const PLAN: &str = "rollout.yaml";
/// Its journal.
const JOURNAL: &str = "rollout.jsonl";

/// The journal in the folder of a store.
pub(crate) fn journal_of(folder: &Path) -> PathBuf {
    folder.join(JOURNAL)
}

/// The plan in the folder of a store; `None` where there was never a start.
pub(crate) fn plan_of(folder: &Path) -> Result<Option<Plan>> {
    match fs::read_to_string(folder.join(PLAN)) {
        Ok(text) => Plan::from_yaml(&text).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The text of the plan, as it was written.
pub(super) fn plan_text(folder: &Path) -> Option<String> {
    fs::read_to_string(folder.join(PLAN)).ok()
}

/// Leaves a plan in the folder of a store.
pub(super) fn write_plan(folder: &Path, text: &str) -> Result<()> {
    let draft = folder.join(format!("{PLAN}.{}", std::process::id()));
    fs::write(&draft, text)?;
    fs::rename(&draft, folder.join(PLAN))?;
    Ok(())
}

/// The rollout of the processes that share a store, for who is none of them: an operator.
///
/// Processes take part whose guard was told so ([`GuardBuilder::rollout_of_store`]).
///
/// [`GuardBuilder::rollout_of_store`]: crate::guard::GuardBuilder::rollout_of_store
#[derive(Debug)]
pub struct StoreRollout {
    store: Store,
    journal: Journal,
    decisions: Vec<Decision>,
}

impl StoreRollout {
    /// Opens the store in `folder`, which must be there.
    ///
    /// # Errors
    /// As [`Store::open`] and [`Journal::open`].
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let options = StoreOptions::new(&folder).existing_only(true);
        let store = Store::open(&options, Clock::system())?;
        let (journal, decisions) = Journal::open(&journal_of(&folder))?;
        Ok(Self { store, journal, decisions })
    }

    /// Begins with this plan, in YAML. All processes of the host take it up.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a plan that cannot be carried out, and while a rollout is under way;
    /// what the system says of the files.
    pub fn start(&mut self, by: &str, plan: &str) -> Result<Vec<Decision>> {
        let parsed = Plan::from_yaml(plan)?;
        parsed.check()?;
        let mut rollout = self.rollout()?.unwrap_or(Rollout::new(parsed.clone())?);
        // Refused while one is under way, whatever its plan.
        rollout.command(now(), by, Command::Start)?;
        self.refuse_if_hosts_share_it()?;
        write_plan(self.store.path(), plan)?;
        let decisions = Rollout::new(parsed.clone())?.command(now(), by, Command::Start)?;
        self.store.change_rollout(|word| word.next(&parsed.name, Share::NONE, Moves::Starts));
        self.journal.append(&decisions)?;
        Ok(decisions)
    }

    /// Asks for something else of the rollout that was started.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where it cannot be done now, or there is no rollout; what the system says
    /// of the files. A rollback is in force nevertheless.
    pub fn ask(&mut self, by: &str, command: Command) -> Result<Vec<Decision>> {
        let Some(mut rollout) = self.rollout()? else {
            return Err(Error::new(ErrorKind::Config, "rollout: nobody started one"));
        };
        if !matches!(command, Command::Rollback(_)) {
            self.refuse_if_hosts_share_it()?;
        }
        let decisions = rollout.command(now(), by, command)?;
        let (name, share) = (rollout.plan().name.clone(), rollout.share());
        let moves = moves(&decisions);
        if moves == Moves::Back {
            self.store.change_rollout(|word| word.next(&name, share, moves));
        }
        self.journal.append(&decisions)?;
        if moves != Moves::Back {
            self.store.change_rollout(|word| word.next(&name, share, moves));
        }
        Ok(decisions)
    }

    /// The decision that holds; `None` where nobody started a rollout.
    ///
    /// # Errors
    /// As [`Journal::news`].
    pub fn latest(&mut self) -> Result<Option<&Decision>> {
        self.read()?;
        Ok(self.journal.latest())
    }

    /// All decisions.
    ///
    /// # Errors
    /// As [`Journal::news`].
    pub fn history(&mut self) -> Result<&[Decision]> {
        self.read()?;
        Ok(&self.decisions)
    }

    /// The share that calls of all processes go by, in percent, where a rollout is under way.
    pub fn percent(&self) -> Result<Option<f64>> {
        let name = plan_of(self.store.path())?.map(|plan| plan.name);
        let word: ShareWord = self.store.rollout();
        Ok(name.and_then(|name| word.share_of(&name)).map(Share::percent))
    }

    fn refuse_if_hosts_share_it(&self) -> Result<()> {
        if self.journal.latest().is_some_and(|latest| latest.epoch.is_some()) {
            return Err(others_take_part());
        }
        Ok(())
    }

    fn read(&mut self) -> Result<()> {
        let news = self.journal.news()?;
        self.decisions.extend(news);
        Ok(())
    }

    /// The rollout as it stands.
    fn rollout(&mut self) -> Result<Option<Rollout>> {
        self.read()?;
        let Some(plan) = plan_of(self.store.path())? else { return Ok(None) };
        Ok(Some(match self.journal.latest() {
            Some(latest) => Rollout::resume(plan, latest, now())?,
            None => Rollout::new(plan)?,
        }))
    }
}

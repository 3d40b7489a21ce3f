//! What is asked of the rollout that a guard takes part in.

use std::{thread, time::Instant};

use super::{
    keeper::{Core, FOLLOW, Guard, ROUND},
    rollout::{Command, Decision, Drive, Journal, Status},
};
use crate::error::{Error, ErrorKind, Result};

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// Where the rollout is, as of the latest round; `None` where there is none.
    pub fn rollout(&self) -> Option<Status> {
        self.core.view.lock().rollout.clone()
    }

    /// Every decision that is written down on this host, the oldest first. Reads the journal, some 2 MB
    /// for a plan of a month.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where there is no rollout; as [`Journal::open`].
    pub fn rollout_history(&self) -> Result<Vec<Decision>> {
        let path = self.core.with_drive(|_, drive| Ok(drive.journal_path().to_owned()))?;
        Ok(Journal::open(&path)?.1)
    }

    /// Begins a rollout with this plan, in YAML, as an operator of this name: in all processes of the
    /// host that take part in the rollouts of the store, or of all hosts that share its L3. For a guard
    /// that was told so ([`GuardBuilder::rollout_of_store`](super::GuardBuilder::rollout_of_store)); one
    /// that was given its plan is started by [`command`](Self::command).
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a plan that cannot be carried out, while a rollout is under way, and
    /// where this guard takes part in none of a store; what the system says of the files, or L3.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub fn start_rollout(&self, by: &str, plan: &str) -> Result<()> {
        use super::rollout::{Starts, StoreRollout};
        match self.core.with_drive(|_, drive| drive.starts())? {
            Starts::Hosts(hosts) => self.core.follow_hosts(&hosts.start(by, plan)?),
            Starts::Store(folder) => {
                StoreRollout::open(folder)?.start(by, plan)?;
                self.core.with_drive(|core, drive| drive.catch_up(&core.cache))
            }
        }
    }

    /// Does with the rollout what an operator of this name asks for. When it returns, the decision
    /// is in the journal and in force in this process.
    ///
    /// # Errors
    /// As [`Rollout::command`](super::rollout::Rollout::command), [`ErrorKind::Config`] where there is no rollout, or what kept it
    /// from being carried out. A rollback is in force in this process even where the journal
    /// cannot be written.
    pub fn command(&self, by: &str, command: Command) -> Result<()> {
        if let Some(hosts) = self.core.with_drive(|_, drive| Ok(drive.ask_hosts(command)))? {
            // Without a lock: a rollback need not wait for L3.
            return self.core.follow_hosts(&hosts.run(by, command)?);
        }
        self.core.with_drive(|core, drive| drive.command(&core.cache, by, command))
    }

    /// Tells the rollout a number or a truth (1 or 0) that only the outside knows.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what is no number, and where there is no rollout.
    pub fn push(&self, input: &str, value: f64) -> Result<()> {
        if value.is_nan() {
            return Err(Error::new(
                ErrorKind::Config,
                format!("input {input:?} = NaN: must be a number"),
            ));
        }
        self.core.with_drive(|_, drive| {
            drive.push(input, value);
            Ok(())
        })
    }
}

impl<V: Clone + Send + Sync + 'static> Core<V> {
    fn with_drive<T>(&self, work: impl FnOnce(&Self, &mut Drive) -> Result<T>) -> Result<T> {
        self.with_state(|core, state| match &mut state.drive {
            Some(drive) => work(core, drive),
            None => Err(Error::new(ErrorKind::Config, "rollout: there is none")),
        })
    }

    /// Waits until this process has heard of what all hosts agreed on.
    fn follow_hosts(&self, decisions: &[Decision]) -> Result<()> {
        let end = Instant::now() + ROUND;
        while !self.with_drive(|core, drive| drive.has_heard_of(&core.cache, decisions))?
            && Instant::now() < end
        {
            thread::sleep(FOLLOW / 4);
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(feature = "config")]
mod tests {
    use std::{
        sync::{Arc, OnceLock, Weak, mpsc},
        time::Duration,
    };

    use super::*;
    use crate::{
        Bytes, Cache, Clock,
        guard::{
            Alerts,
            alert::{CallbackSink, Notice, Notifier},
            rollout::{DecisionKind, Plan, Stage},
        },
    };

    const PLAN: &str = "
plan: steered
baseline: L1
phases:
  - name: all
    target: L1
    steps: [{share: 5%}, {share: 100%, wait: 1h}]
";
    const ALWAYS: &str = "alerts: [{name: Always, condition: throughput >= 0/s, severity: info}]";

    fn journal(folder: &tempfile::TempDir) -> std::path::PathBuf {
        folder.path().join("journal")
    }

    #[test]
    fn the_history_of_a_guard_is_what_its_journal_has() {
        let folder = tempfile::tempdir().unwrap();
        let cache: Cache = Cache::builder().build().unwrap();
        let guard = Guard::of(&cache)
            .rollout(Plan::from_yaml(PLAN).unwrap(), journal(&folder), "a")
            .build()
            .unwrap();
        assert!(guard.rollout_history().unwrap().is_empty());
        guard.command("ada", Command::Start).unwrap();
        guard.command("bob", Command::parse("rollback").unwrap()).unwrap();
        let history = guard.rollout_history().unwrap();
        assert_eq!(history[0].kind, DecisionKind::Started);
        assert!(history[0].by.contains("ada"), "{history:?}");
        assert_eq!(history.last().unwrap().stage, Stage::RolledBack);
        // It has a plan of its own.
        #[cfg(all(feature = "shared", target_os = "linux"))]
        {
            let error = guard.start_rollout("ada", PLAN).unwrap_err().to_string();
            assert!(error.contains("was given its plan"), "{error}");
        }
        let error = guard.push("approval", f64::NAN).unwrap_err().to_string();
        assert_eq!(error, "input \"approval\" = NaN: must be a number");
        guard.push("approval", 1.0).unwrap();
        let alone = Guard::of(&cache).build().unwrap();
        for error in [
            alone.push("approval", 1.0).unwrap_err(),
            alone.command("ada", Command::Start).unwrap_err(),
            alone.rollout_history().unwrap_err(),
        ] {
            assert_eq!(error.to_string(), "rollout: there is none");
        }
    }

    /// A guard of which its own sink asks for a rollback, and what that was answered.
    fn asked_by_its_sink(
        wrap: impl FnOnce(Notifier, Box<dyn Fn(&Notice) + Send + Sync>) -> Notifier,
    ) -> (Arc<Guard<Bytes>>, mpsc::Receiver<Result<()>>, tempfile::TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let (clock, time) = Clock::manual();
        let cache = Cache::builder().clock(clock).build().unwrap();
        let kept: Arc<OnceLock<Weak<Guard<Bytes>>>> = Arc::default();
        let (sender, answers) = mpsc::channel();
        let sender = crate::sync::Mutex::new(sender);
        let found = Arc::clone(&kept);
        let ask = Box::new(move |_: &Notice| {
            let Some(guard) = found.get().and_then(Weak::upgrade) else { return };
            let answer = guard.command("a sink", Command::parse("rollback").unwrap());
            // The test may be over.
            let _ = sender.lock().send(answer);
        });
        let guard = Guard::of(&cache)
            .alerts(Alerts::from_yaml(ALWAYS).unwrap())
            .notifier(wrap(Notifier::new("c"), ask))
            .rollout(Plan::from_yaml(PLAN).unwrap(), journal(&folder), "a")
            .build()
            .unwrap();
        let guard = Arc::new(guard);
        kept.set(Arc::downgrade(&guard)).unwrap();
        guard.command("ada", Command::Start).unwrap();
        // The first look begins the window.
        for _ in 0..3 {
            cache.get("a");
            time.advance(Duration::from_secs(1));
            guard.round().unwrap();
        }
        (guard, answers, folder)
    }

    #[test]
    fn a_sink_within_a_look_is_refused_and_does_not_wait_for_itself() {
        let (guard, answers, _folder) = asked_by_its_sink(|notifier, ask| notifier.sink(ask));
        let error = answers.try_recv().unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Reentrant, "{error}");
        assert_eq!(guard.rollout().unwrap().stage, Stage::Running);
        guard.round().unwrap();
    }

    #[test]
    fn a_callback_may_ask_its_guard_for_a_rollback() {
        let (guard, answers, _folder) =
            asked_by_its_sink(|notifier, ask| notifier.sink(CallbackSink::new(ask)));
        answers.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!(guard.rollout().unwrap().stage, Stage::RolledBack);
        guard.round().unwrap();
        assert_eq!(guard.sinks()[0].sink, "callback");
    }
}

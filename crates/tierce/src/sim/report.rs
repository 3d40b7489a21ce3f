//! What a run came to.

use std::{fmt, time::Duration};

/// What [`run`](super::run) found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SimReport {
    /// Histories that were run.
    pub histories: u64,
    /// Calls of caches in them.
    pub calls: u64,
    /// Points at which another actor could go on, and waits.
    pub steps: u64,
    /// How often another one did.
    pub switches: u64,
    /// How long it took, by the clock on the wall.
    pub elapsed: Duration,
    /// A number for all that happened: the same for the same options.
    pub trace: u64,
    /// What is wrong, if anything is: the history of the lowest seed that fails.
    pub failure: Option<SimFailure>,
}

/// A history that broke a promise.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SimFailure {
    /// The seed of the history.
    pub seed: u64,
    /// How many histories were run until it was found, itself counted.
    pub histories: u64,
    /// What is wrong.
    pub what: String,
    /// All that happened, step by step.
    pub list: String,
    /// The same of a shorter history that fails too, where one was found.
    pub shorter: Option<String>,
}

impl fmt::Display for SimReport {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        write!(
            out,
            "{} histories, {} calls, {} steps, {} switches in {:.1} s ({:.0} histories/s)",
            self.histories,
            self.calls,
            self.steps,
            self.switches,
            seconds,
            self.histories as f64 / seconds
        )?;
        match &self.failure {
            Some(failure) => write!(out, "\n{failure}"),
            None => write!(out, ": all as promised"),
        }
    }
}

impl fmt::Display for SimFailure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "seed {:#x}: {}", self.seed, self.what)?;
        writeln!(out, "again: TIERCE_SIM_SEED={:#x} cargo test", self.seed)?;
        match &self.shorter {
            Some(shorter) => write!(out, "a shorter history:\n{shorter}"),
            None => write!(out, "{}", self.list),
        }
    }
}

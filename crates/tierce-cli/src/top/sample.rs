//! One look at the store.

use std::{path::Path, time::Instant};

use tierce::{StoreHeader, StoreInspection, StoreLook, StoreProcess, StoreUsers};

use crate::output::Failure;

/// Looks after which processes are looked for again though no opening came or went: a fork makes
/// a process without a slot.
const LOOKS_PER_SEARCH: u32 = 10;

/// What one look found.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) look: StoreLook,
    pub(super) users: StoreUsers,
    pub(super) processes: Vec<StoreProcess>,
}

/// Looks again and again.
pub(super) struct Sampler {
    inspection: StoreInspection,
    alive: Vec<u32>,
    processes: Vec<StoreProcess>,
    looks: u32,
}

impl Sampler {
    pub(super) fn new(inspection: StoreInspection) -> Self {
        Self { inspection, alive: Vec::new(), processes: Vec::new(), looks: 0 }
    }

    pub(super) fn path(&self) -> &Path {
        self.inspection.path()
    }

    pub(super) fn header(&self) -> &StoreHeader {
        self.inspection.header()
    }

    /// Looks once.
    ///
    /// # Errors
    /// That the file is gone, or another one is in its place; that it cannot be read.
    pub(super) fn take(&mut self) -> Result<Sample, Failure> {
        let path = self.path();
        if !self.inspection.is_at_its_path()? {
            let what = if path.exists() { "was replaced by another file" } else { "was removed" };
            return Err(format!("{}: {what}", path.display()).into());
        }
        let users = self.inspection.users()?;
        let alive: Vec<u32> =
            users.users.iter().filter(|user| user.is_alive).map(|user| user.slot).collect();
        if alive != self.alive || self.looks.is_multiple_of(LOOKS_PER_SEARCH) {
            self.processes = self.inspection.processes();
            self.alive = alive;
        }
        self.looks += 1;
        let look = self.inspection.look()?;
        Ok(Sample { at: Instant::now(), look, users, processes: self.processes.clone() })
    }
}

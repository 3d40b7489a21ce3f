//! What is to be simulated.

use std::{env, fmt, path::PathBuf};

use super::{Fault, LoaderUnderTest, world::CALLERS};

/// The options of [`run`](super::run).
#[derive(Clone)]
#[must_use = "options do nothing until they are run"]
pub struct SimOptions {
    pub(super) seed: u64,
    pub(super) histories: u64,
    pub(super) callers: usize,
    pub(super) steps: usize,
    pub(super) workers: Option<usize>,
    pub(super) planted: u32,
    pub(super) shortens: bool,
    pub(super) directory: Option<PathBuf>,
    pub(super) loader: Option<LoaderUnderTest>,
}

impl Default for SimOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl SimOptions {
    /// A thousand histories from seed 1, of at most six callers with eight verbs each.
    pub fn new() -> Self {
        Self {
            seed: 1,
            histories: 1000,
            callers: CALLERS,
            steps: 8,
            workers: None,
            planted: 0,
            shortens: true,
            directory: None,
            loader: None,
        }
    }

    /// Takes `TIERCE_SIM_SEED` for the seed of the one history to run, and
    /// `TIERCE_SIM_HISTORIES` for how many there are to be, where the environment has them.
    pub fn from_environment(mut self) -> Self {
        let number = |name: &str| {
            let text = env::var(name).ok()?;
            match text.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => text.parse().ok(),
            }
        };
        if let Some(seed) = number("TIERCE_SIM_SEED") {
            self = self.seed(seed).histories(1);
        }
        if let Some(histories) = number("TIERCE_SIM_HISTORIES") {
            self = self.histories(histories);
        }
        self
    }

    /// Sets the seed of the first history; each further one has the next number. Default: 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets how many histories there are to be; the first that fails is the last. Default: 1,000.
    pub fn histories(mut self, histories: u64) -> Self {
        self.histories = histories;
        self
    }

    /// Sets how many callers a history has at most: 2 to 6. Default: 6.
    pub fn callers(mut self, callers: usize) -> Self {
        self.callers = callers.clamp(2, CALLERS);
        self
    }

    /// Sets how many verbs each caller has at most: at least 2. Default: 8.
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps.max(2);
        self
    }

    /// Sets how many histories run at a time, each on a core. Default: as many as there are cores.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = Some(workers.max(1));
        self
    }

    /// Has the crate make a mistake.
    pub fn plant(mut self, fault: Fault) -> Self {
        self.planted |= fault.bit();
        self
    }

    /// Sets whether a failing history is made shorter, which takes some hundred more. Default:
    /// true.
    pub fn shorten(mut self, shortens: bool) -> Self {
        self.shortens = shortens;
        self
    }

    /// Sets where the stores of the hosts lie, in a folder that is removed in the end. Default:
    /// `/dev/shm`, or the folder for temporary files.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Sets the loader that callers use. Default: one that returns what the source has.
    pub fn loader(mut self, loader: LoaderUnderTest) -> Self {
        self.loader = Some(loader);
        self
    }
}

impl fmt::Debug for SimOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SimOptions")
            .field("seed", &self.seed)
            .field("histories", &self.histories)
            .field("callers", &self.callers)
            .field("steps", &self.steps)
            .finish_non_exhaustive()
    }
}

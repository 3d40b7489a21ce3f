//! When what failed is tried again: at doubling distances with jitter, and no earlier than the place
//! asks for. Told the time, and touches nothing.

use std::time::{Duration, Instant};

use crate::random::jittered;

/// The first distance to another attempt; doubles with each failure, each less up to its half.
const FIRST: Duration = Duration::from_secs(1);
/// The longest such distance: a place that is back is noticed within a minute.
const LATEST: Duration = Duration::from_secs(60);
/// The longest that a place may ask for: more is a mistake of it.
pub(super) const LONGEST_ASKED: Duration = Duration::from_secs(900);

/// How often something failed in a row, and when it may be tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    failures: u32,
    at: Option<Instant>,
}

impl Retry {
    /// It failed once more; the place asks not to be tried for so long.
    pub(super) fn failed(&mut self, now: Instant, asked: Option<Duration>) {
        let distance = FIRST.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let asked = asked.unwrap_or_default().min(LONGEST_ASKED);
        self.at = Some(now + jittered(distance.min(LATEST)).max(asked));
    }

    /// It did not fail: the next failure is the first.
    pub(super) fn settled(&mut self) {
        *self = Self::default();
    }

    /// When it may be tried again; `None` where it did not fail.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at
    }
}

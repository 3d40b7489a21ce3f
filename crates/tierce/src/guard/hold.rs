//! A condition that has to hold for some time: pending, firing, and over.
//!
//! ```text
//!   inactive ──holds──> pending ──held for `duration`──> firing ──not held for `keep`──> inactive
//!                 └── does not hold ──> inactive              └── holds again: stays
//! ```
//! As Prometheus does it (`for` and `keep_firing_for`): judged at moments, by the time between
//! them; no data counts as not held. `keep` is the hysteresis: a value that swings around its limit
//! is one alarm and not many.

use std::time::Duration;

use crate::clock::Millis;

/// How far a condition has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HoldState {
    /// It does not hold.
    #[default]
    Inactive,
    /// It holds, not yet long enough.
    Pending {
        /// Since when.
        since: Millis,
    },
    /// It held long enough, and its end is not yet certain.
    Firing {
        /// When it began to hold.
        since: Millis,
    },
}

impl HoldState {
    /// `inactive`, `pending` or `firing`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "inactive",
            Self::Pending { .. } => "pending",
            Self::Firing { .. } => "firing",
        }
    }

    /// True while it fires.
    pub const fn is_firing(self) -> bool {
        matches!(self, Self::Firing { .. })
    }
}

/// The state of one condition over time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hold {
    state: HoldState,
    /// While it fires: since when it does not hold.
    quiet_since: Option<Millis>,
}

impl Hold {
    /// The state now.
    pub(crate) fn state(&self) -> HoldState {
        self.state
    }

    /// Takes whether the condition holds at `now`, and says the state that follows.
    pub(crate) fn observe(
        &mut self,
        now: Millis,
        holds: bool,
        duration: Duration,
        keep: Duration,
    ) -> HoldState {
        let have_passed = |since: Millis, span: Duration| since.after(span) <= now;
        self.state = match (self.state, holds) {
            (HoldState::Inactive, true) if duration.is_zero() => HoldState::Firing { since: now },
            (HoldState::Inactive, true) => HoldState::Pending { since: now },
            (HoldState::Pending { since }, true) if have_passed(since, duration) => {
                HoldState::Firing { since }
            }
            (HoldState::Firing { since }, false) => {
                let quiet_since = *self.quiet_since.get_or_insert(now);
                if have_passed(quiet_since, keep) {
                    HoldState::Inactive
                } else {
                    HoldState::Firing { since }
                }
            }
            (HoldState::Pending { .. }, false) => HoldState::Inactive,
            (state, _) => state,
        };
        if holds || !self.state.is_firing() {
            self.quiet_since = None;
        }
        self.state
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The state after each second of a script of `+` (holds) and `-`.
    fn states(script: &str, duration: u64, keep: u64) -> String {
        let mut hold = Hold::default();
        let observe = |(second, sign): (usize, char)| {
            let (duration, keep) = (Duration::from_secs(duration), Duration::from_secs(keep));
            match hold.observe(Millis(second as u64 * 1000), sign == '+', duration, keep) {
                HoldState::Inactive => '.',
                HoldState::Pending { .. } => 'p',
                HoldState::Firing { .. } => 'F',
            }
        };
        script.chars().enumerate().map(observe).collect()
    }

    #[test]
    fn it_fires_when_it_held_for_its_duration_and_not_a_tick_before() {
        assert_eq!(states("-+++++-", 3, 0), ".pppFF.");
        assert_eq!(states("+++-+++", 3, 0), "ppp.ppp");
        assert_eq!(states("-+-", 0, 0), ".F.");
    }

    #[test]
    fn it_ends_when_it_was_quiet_for_long_enough() {
        assert_eq!(states("++--+---------", 1, 3), "pFFFFFFF......");
        assert_eq!(states("++-+-+-+", 1, 2), "pFFFFFFF");
        assert_eq!(states("++-+-", 1, 0), "pF.p.");
    }
}

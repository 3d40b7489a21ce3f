//! What hosts agree on in a remote tier while they move their caches together.
//!
//! The tier keeps one **state** of a rollout, a **log** of what led to it, and the name of who
//! **leads**. It knows nothing of plans: a plan is a text to it, a decision a line. What it does know
//! is which of two states holds. They are ordered, and only a later one takes the place of another:
//!
//! ```text
//!   epoch            a start makes a higher one
//!   is it back?      within an epoch a rollback beats everything else
//!   a lower share    of two rollbacks
//!   number           of the last line, where neither is a rollback
//! ```
//! So whoever has a state that the tier lost, or does not know yet, may put it there at any time and
//! as often as he likes ([`RolloutAsk::Join`]): nothing is undone by that. What raises a share goes by
//! [`RolloutAsk::Propose`]: it is accepted if the state is the one that the proposer saw.

use std::time::Duration;

/// A version of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolloutMark {
    /// Which start it came from; 0 before the first.
    pub(crate) epoch: u64,
    /// How many lines the log had by then.
    pub(crate) number: u64,
    /// Drawn at random for each change.
    pub(crate) id: u64,
}

/// What the tier knows of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RolloutState {
    pub(crate) mark: RolloutMark,
    /// It is taken back, or is being so.
    pub(crate) is_back: bool,
    /// The share, in hundredths of a percent.
    pub(crate) parts: u16,
}

impl RolloutState {
    /// True if this one takes the place of the other.
    pub(crate) fn beats(&self, other: &Self) -> bool {
        let (mine, theirs) = (self.mark, other.mark);
        if mine.epoch != theirs.epoch {
            return mine.epoch > theirs.epoch;
        }
        match (self.is_back, other.is_back) {
            (true, true) => self.parts < other.parts,
            (false, false) => mine.number > theirs.number,
            (is_back, _) => is_back,
        }
    }
}

/// What is asked of the tier.
#[derive(Clone, Debug)]
pub(crate) enum RolloutAsk<'a> {
    /// What became of it since this version; and to lead it for so long under this name, if nobody
    /// else does.
    Look { known: Option<RolloutMark>, lead: Option<(&'a str, Duration)> },
    /// To take the place of this version; if `leader` is a name, by who leads alone.
    Propose { expected: RolloutMark, leader: Option<&'a str>, next: &'a RolloutNext },
    /// To take the place of what it beats. Where the tier had nothing of it, nobody leads for so
    /// long: somebody may know more.
    Join { next: &'a RolloutNext, quiet: Duration },
    /// Not to lead any more.
    Resign { leader: &'a str },
}

/// A state to come.
#[derive(Clone, Debug)]
pub(crate) struct RolloutNext {
    pub(crate) state: RolloutState,
    /// The text of the plan, where it is another one or may not be known.
    pub(crate) plan: Option<String>,
    /// What led to it: for a proposal what is new, else all that is remembered.
    pub(crate) lines: Vec<String>,
}

/// What the tier says.
#[derive(Clone, Debug, Default)]
pub(crate) struct RolloutNews {
    /// `None` where it has none.
    pub(crate) state: Option<RolloutState>,
    /// Where it is another one than that of the epoch that was known.
    pub(crate) plan: Option<String>,
    /// The last lines of the log, at most all that it has; those that are new, where that is known.
    pub(crate) lines: Vec<String>,
    /// Who leads, if somebody does.
    pub(crate) leader: Option<String>,
    /// For how long the one who asked leads.
    pub(crate) leads: Option<Duration>,
    /// A proposal was accepted; or what was joined is in force, by whomever.
    pub(crate) is_done: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(epoch: u64, is_back: bool, parts: u16, number: u64) -> RolloutState {
        RolloutState { mark: RolloutMark { epoch, number, id: 0 }, is_back, parts }
    }

    #[test]
    fn a_rollback_beats_all_of_its_start_and_only_a_later_start_beats_it() {
        let rising = [state(1, false, 100, 1), state(1, false, 10_000, 9)];
        let back = [state(1, true, 50, 2), state(1, true, 0, 2)];
        let anew = state(2, false, 0, 1);
        let all = [rising[0], rising[1], back[0], back[1], anew];
        for (at, one) in all.iter().enumerate() {
            for (other_at, other) in all.iter().enumerate() {
                assert_eq!(one.beats(other), at > other_at, "{one:?} {other:?}");
            }
        }
    }
}

//! The stamps that sets of this process raised, so that a value that waits is not given up because a set of
//! another key raised a stamp that both keys share.
//!
//! A stamp stands for many keys, and each step of it is somebody's change. A run of steps of which each was
//! made by a set that was enqueued here says nothing against what waits here: the queue has the newest value
//! of each of its keys. Any step between of somebody else ends the run.

use std::collections::HashMap;

use super::queue::Basis;

/// Runs that are kept while nothing is forgotten: four for each key that may wait.
const MOST_RUNS: usize = 64 << 10;

/// The runs, by the number of their stamp.
#[derive(Default)]
pub(super) struct Raised(HashMap<u32, Run>);

/// Steps of one stamp that followed each other, all of them made here.
struct Run {
    /// The clear epoch of the stamp's table, by which two tables differ as well.
    epoch: u32,
    first: u32,
    last: u32,
}

impl Run {
    fn has(&self, epoch: u32, stamp: u32) -> bool {
        self.epoch == epoch && stamp.wrapping_sub(self.first) <= self.last.wrapping_sub(self.first)
    }
}

impl Raised {
    /// A set raised its stamp by one, to what the basis says.
    pub(super) fn note(&mut self, basis: Basis) {
        let (index, epoch, stamp) = basis.parts();
        let before = stamp.wrapping_sub(1);
        let run = self.0.entry(index).or_insert(Run { epoch, first: before, last: before });
        // Two sets may be noted in the other order.
        if run.has(epoch, stamp) {
            return;
        }
        if run.epoch != epoch || run.last != before {
            *run = Run { epoch, first: before, last: before };
        }
        run.last = stamp;
    }

    /// The basis as it is after all steps of its run.
    pub(super) fn carried(&self, basis: Basis) -> Basis {
        let (index, epoch, stamp) = basis.parts();
        match self.0.get(&index) {
            Some(run) if run.has(epoch, stamp) => basis.with_stamp(run.last),
            _ => basis,
        }
    }

    pub(super) fn is_long(&self) -> bool {
        self.0.len() >= MOST_RUNS
    }

    pub(super) fn forget_all_but(&mut self, bases: impl Iterator<Item = Basis>) {
        let mut kept = HashMap::new();
        for basis in bases {
            let index = basis.parts().0;
            kept.extend(self.0.remove(&index).map(|run| (index, run)));
        }
        self.0 = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{group_word::GroupWord, shared_stamp::SharedStamp};

    fn basis(index: u32, clear_epoch: u32, stamp: u32) -> Basis {
        Basis::Shared(SharedStamp { index, stamp, clear_epoch, word: GroupWord::NONE })
    }

    fn carried(raised: &Raised, of: (u32, u32, u32)) -> u32 {
        raised.carried(basis(of.0, of.1, of.2)).parts().2
    }

    #[test]
    fn what_waits_is_carried_over_steps_that_were_made_here_and_over_no_other() {
        let mut raised = Raised::default();
        let first = u32::MAX - 1;
        for step in 0..4 {
            raised.note(basis(7, 1, first.wrapping_add(step)));
        }
        let last = first.wrapping_add(3);
        for step in 0..4 {
            assert_eq!(carried(&raised, (7, 1, first.wrapping_add(step))), last);
        }
        assert_eq!(carried(&raised, (7, 1, first.wrapping_sub(2))), first.wrapping_sub(2));
        assert_eq!(carried(&raised, (7, 2, first)), first, "of before a clear");
        assert_eq!(carried(&raised, (8, 1, first)), first, "another stamp");
        raised.note(basis(7, 1, last + 2));
        assert_eq!(carried(&raised, (7, 1, last)), last, "somebody else was between");
        assert_eq!(carried(&raised, (7, 1, last + 1)), last + 2);
    }

    #[test]
    fn what_is_forgotten_is_of_keys_that_wait_no_more() {
        let mut raised = Raised::default();
        for index in 0..MOST_RUNS as u32 {
            raised.note(basis(index, 0, 5));
        }
        assert!(raised.is_long());
        raised.forget_all_but([basis(7, 0, 4), basis(7, 0, 4)].into_iter());
        assert!(!raised.is_long());
        assert_eq!(carried(&raised, (7, 0, 4)), 5);
        assert_eq!(carried(&raised, (8, 0, 4)), 4);
    }
}

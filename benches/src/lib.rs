//! What all benchmarks share: loads, interleaved rounds, and reports.
//!
//! | file | answers |
//! |---|---|
//! | `load` | which keys are asked for, in which order |
//! | `rounds` | how rivals take turns, and what is made of the times |
//! | `hitratio/` | traces, rivals and policies of the comparison of hit ratios |
//! | `report` | how a result becomes a file: Markdown to read, JSON to compare |
//!
//! Each program takes `--quick`, which shortens everything and writes no files: it shows that the
//! benchmark works, its figures mean nothing.

pub mod hitratio;
pub mod load;
pub mod report;
pub mod rounds;

/// How much to run.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds of each case.
    pub rounds: usize,
    /// Operations of one thread in one round.
    pub operations: usize,
    /// True if nothing is to be kept.
    pub quick: bool,
}

impl Effort {
    /// `full` rounds and operations, or a hundredth where the program was called with `--quick`.
    ///
    /// # Errors
    /// If there is an argument that is not `--quick`; the text says so.
    pub fn from_arguments(rounds: usize, operations: usize) -> Result<Self, String> {
        let mut effort = Self { rounds, operations, quick: false };
        for argument in std::env::args().skip(1) {
            if argument != "--quick" {
                return Err(format!("unknown argument {argument:?}: only --quick is known"));
            }
            effort = Self { rounds: 2, operations: (operations / 100).max(1), quick: true };
        }
        Ok(effort)
    }
}

//! Ways to break the rules that the demo verifies, for the tests of its verifier.

use std::fmt;

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sabotage {
    /// The origin keeps one item in its old version after a change.
    OriginLies,
    /// Workers change items at the origin and do not tell the cache.
    SkipChange,
}

impl fmt::Display for Sabotage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::OriginLies => "origin-lies",
            Self::SkipChange => "skip-change",
        })
    }
}

//! What every subcommand returns, and how it becomes an exit code and a line on stderr.

use std::{
    error::Error as StdError,
    io::{self, Write as _},
    process::ExitCode,
};

/// Any error that a subcommand can end with.
pub(crate) type Failure = Box<dyn StdError + Send + Sync>;

/// The end of a subcommand: whether all was well, or why it stopped.
pub(crate) type Outcome = Result<Verdict, Failure>;

/// Whether a subcommand that came to its end found all well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Exit code 0.
    Good,
    /// Exit code 1; the output says why.
    Bad,
}

/// Turns an outcome into an exit code; an error goes to stderr as one line.
///
/// A reader that went away (`tierce config show | head -1`) is no error.
pub(crate) fn exit_code(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(Verdict::Good) => ExitCode::SUCCESS,
        Ok(Verdict::Bad) => ExitCode::FAILURE,
        Err(failure) => {
            let pipe = failure.downcast_ref::<io::Error>().map(io::Error::kind);
            if pipe == Some(io::ErrorKind::BrokenPipe) {
                return ExitCode::SUCCESS;
            }
            // Where stderr is closed too, the exit code still tells.
            let _ = writeln!(io::stderr(), "tierce: {failure}");
            ExitCode::FAILURE
        }
    }
}

//! What the program was asked to do.

use super::rivals::NAMES;
use tierce_benches::arguments::{Arguments, number};

/// What to do.
pub(super) enum Task {
    /// Measure, print, keep.
    Measure,
    /// Do the operations of one cell.
    Profile { cell: String, operations: usize },
    /// Print the memory that one rival takes; what children are called with.
    MemoryOf { rival: String, entries: usize },
}

/// Operations of `--profile` if nothing is said.
const PROFILED_OPERATIONS: usize = 10_000_000;

/// Reads the command line.
pub(super) fn from_command_line() -> Result<(Arguments, Task), String> {
    let (mut task, mut operations, mut profiled) = (Task::Measure, PROFILED_OPERATIONS, None);
    let given = std::env::args().skip(1);
    let known = ", --profile CELL, --operations N";
    let arguments = Arguments::parse_with(given, &NAMES, known, |argument, value| {
        match argument {
            "--operations" => operations = number(&value()?)?.max(1),
            "--profile" => profiled = Some(value()?),
            "--memory-of" => {
                let rival = value()?;
                task = Task::MemoryOf { rival, entries: number(&value()?)? };
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if let Some(cell) = profiled {
        task = Task::Profile { cell, operations };
    }
    Ok((arguments, task))
}

/// Entries of the larger caches.
pub(super) fn many_entries(arguments: &Arguments) -> usize {
    arguments.amount(1_000_000)
}

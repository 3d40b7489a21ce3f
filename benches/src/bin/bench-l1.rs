//! L1 beside its rivals: throughput, memory, batched reads and the slowest calls, from one run.
//!
//! `--quick` shortens everything and keeps nothing. For work on one thing: `--only CELL` measures
//! the cells whose names contain this text, `--rivals a,b` these rivals beside ours, `--rounds N`
//! sets the repetitions, and `--profile CELL` does the operations of one cell and nothing else, to
//! be run under a profiler.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::process::ExitCode;

#[path = "../l1/mod.rs"]
mod l1;

#[global_allocator]
static ALLOCATOR: l1::memory::Counting = l1::memory::Counting;

fn main() -> ExitCode {
    match l1::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

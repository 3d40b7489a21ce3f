//! L2 beside its rivals: reads, writes, two processes, space, hit ratios and opening, from one run.
//!
//! `--quick` shortens everything and keeps nothing. For work on one thing: `--only CELL` measures
//! the cells whose names contain this text, `--rivals a,b` these rivals beside ours, and
//! `--rounds N` sets the repetitions.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::process::ExitCode;

#[path = "../l2/mod.rs"]
mod l2;

fn main() -> ExitCode {
    match l2::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

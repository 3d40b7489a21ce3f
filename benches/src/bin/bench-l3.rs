//! L3 beside the client libraries for Redis, all against one real server on this machine.
//!
//! `--quick` shortens everything and keeps nothing. For work on one thing: `--only CELL` measures
//! the cells whose names contain this text, `--rivals a,b` these rivals beside ours, and
//! `--rounds N` sets the repetitions.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::process::ExitCode;

#[path = "../l3/mod.rs"]
mod l3;

fn main() -> ExitCode {
    match l3::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

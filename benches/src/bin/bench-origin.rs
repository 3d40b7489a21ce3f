//! What callers see of an origin that is slow and fails often: with the options of freshness, with
//! a time to live alone, and with moka.
//!
//! `--quick` shortens everything and keeps nothing; `--seconds N` sets the length of each run,
//! `--only` and `--rivals` are as in the other programs.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::process::ExitCode;

#[path = "../origin/mod.rs"]
mod origin;

fn main() -> ExitCode {
    match origin::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

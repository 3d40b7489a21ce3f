//! Seed after seed, as the programs of this crate do it.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, panic, process::exit, time::Instant};

/// Runs seed after seed until so many operations are done, as the arguments say:
/// `program [operations] [first seed]`. Names the seed that failed, and ends the process with 1.
pub fn drive(program: &str, operations: u64, things: &str, run_seed: fn(u64) -> u64) {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u64>());
    let mut number = |default| match numbers.next() {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(error)) => {
            eprintln!("{program} [operations] [first seed]: {error}");
            exit(2);
        }
    };
    let (wanted, first) = (number(operations), number(0));
    let (mut done, mut seed) = (0, first);
    let start = Instant::now();
    while done < wanted {
        match panic::catch_unwind(|| run_seed(seed)) {
            Ok(operations) => done += operations,
            Err(_) => {
                eprintln!("seed {seed} failed after {done} clean operations");
                exit(1);
            }
        }
        seed += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{done} operations on {} {things}, clean, in {seconds:.1} s", seed - first);
}

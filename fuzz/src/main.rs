//! Runs seed after seed until so many operations are done: `fuzz [operations] [first seed]`.
//! Names the seed that failed.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, panic, process::exit, time::Instant};

/// Operations on one cache: enough for it to fill, grow and shrink several times.
const OPERATIONS_PER_SEED: u64 = 2_000;

fn main() {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u64>());
    let mut number = |default| match numbers.next() {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(error)) => {
            eprintln!("fuzz [operations] [first seed]: {error}");
            exit(2);
        }
    };
    let (wanted, first) = (number(10_000_000), number(0));
    let (mut done, mut seed) = (0, first);
    let start = Instant::now();
    while done < wanted {
        let run = || tierce_fuzz::run_seed(seed, OPERATIONS_PER_SEED);
        match panic::catch_unwind(run) {
            Ok(operations) => done += operations,
            Err(_) => {
                eprintln!("seed {seed} failed after {done} clean operations");
                exit(1);
            }
        }
        seed += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{done} operations on {} caches, clean, in {seconds:.1} s", seed - first);
}

//! Runs seed after seed on store files until so many operations are done:
//! `fuzz-store [operations] [first seed]`. Names the seed that failed.

#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::{env, panic, process::exit, time::Instant};

/// Operations on one store: enough for it to be filled and emptied, and not all of it damaged.
const OPERATIONS_PER_SEED: u64 = 3_000;

fn main() {
    let mut numbers = env::args().skip(1).map(|word| word.parse::<u64>());
    let mut number = |default| match numbers.next() {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(error)) => {
            eprintln!("fuzz-store [operations] [first seed]: {error}");
            exit(2);
        }
    };
    let (wanted, first) = (number(2_000_000), number(0));
    let (mut done, mut seed) = (0, first);
    let start = Instant::now();
    while done < wanted {
        match panic::catch_unwind(|| tierce_fuzz::run_store_seed(seed, OPERATIONS_PER_SEED)) {
            Ok(operations) => done += operations,
            Err(_) => {
                eprintln!("seed {seed} failed after {done} clean operations");
                exit(1);
            }
        }
        seed += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{done} operations on {} stores, clean, in {seconds:.1} s", seed - first);
}

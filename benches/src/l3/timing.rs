//! How a run is timed: callers on threads of their own until the time is over, or one caller and
//! the time of each of its calls.

use std::{
    sync::{
        Barrier,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::data::KEYS;

/// What is done over and over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    /// Of [`MANY`](super::data::MANY) keys at once.
    GetMany,
    Put,
}

/// What a thread calls.
pub(super) trait Caller: Send {
    /// Reads the value of a key; its length is checked.
    fn get(&mut self, number: usize);
    /// Reads the values of so many keys from this one on, in one call; their lengths are checked.
    fn get_many(&mut self, number: usize);
    fn put(&mut self, number: usize);

    fn call(&mut self, verb: Verb, number: usize) {
        match verb {
            Verb::Get => self.get(number),
            Verb::GetMany => self.get_many(number),
            Verb::Put => self.put(number),
        }
    }
}

/// What a run gave.
pub(super) struct Run {
    pub(super) operations: u64,
    pub(super) seconds: f64,
}

/// Calls between two looks at the flag that ends a run.
const CALLS_PER_LOOK: usize = 8;

/// As many threads as there are callers, for this long.
pub(super) fn many(callers: Vec<Box<dyn Caller>>, verb: Verb, limit: Duration) -> Run {
    let (ends, operations) = (AtomicBool::new(false), AtomicU64::new(0));
    let start = Barrier::new(callers.len() + 1);
    let seconds = thread::scope(|scope| {
        for (number, mut caller) in callers.into_iter().enumerate() {
            let (ends, operations, start) = (&ends, &operations, &start);
            scope.spawn(move || {
                let mut next = first_key(number);
                start.wait();
                while !ends.load(Ordering::Relaxed) {
                    for _ in 0..CALLS_PER_LOOK {
                        caller.call(verb, next);
                        next = (next + 1) % KEYS;
                    }
                    operations.fetch_add(CALLS_PER_LOOK as u64, Ordering::Relaxed);
                }
            });
        }
        start.wait();
        let begin = Instant::now();
        thread::sleep(limit);
        let (counted, took) = (operations.load(Ordering::Relaxed), begin.elapsed());
        ends.store(true, Ordering::Relaxed);
        // What ends later is not counted, nor is its time.
        operations.store(counted, Ordering::Relaxed);
        (counted, took.as_secs_f64())
    });
    Run { operations: seconds.0, seconds: seconds.1 }
}

/// Where a caller begins, so that they are not all at one key.
pub(super) fn first_key(caller: usize) -> usize {
    caller * 37 % KEYS
}

/// The time of the middle call of one caller, in microseconds.
pub(super) fn one(mut caller: Box<dyn Caller>, verb: Verb, limit: Duration) -> f64 {
    let mut times = Vec::with_capacity(1 << 16);
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < limit {
        caller.call(verb, times.len() % KEYS);
        let now = Instant::now();
        times.push((now - last).as_nanos() as f64 / 1e3);
        last = now;
    }
    tierce_benches::rounds::median(&mut times)
}

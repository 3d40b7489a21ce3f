//! Counters striped over threads.
//!
//! One counter that all cores add to costs a cache line's trip between them, some 10 to 100 ns.
//! So a group of counters exists several times, each copy ("stripe") on cache lines of its own; a
//! thread keeps to one stripe, and a reader sums them up. Adding costs 1 to 2 ns. Threads beyond
//! the number of stripes share them, which is slower but right: adding is atomic.

use std::{
    cell::Cell,
    num::NonZeroUsize,
    sync::atomic::{AtomicU64, AtomicUsize, Ordering},
    thread,
};

use crossbeam_utils::CachePadded;

/// More stripes would only make reading slower and memory larger.
const MAX_STRIPES: usize = 64;

/// Threads seen so far; each takes the next number.
static NEXT_THREAD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static THREAD: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[inline]
fn thread_number() -> usize {
    THREAD.with(|number| {
        if number.get() == usize::MAX {
            number.set(NEXT_THREAD.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

/// `N` counters that wrap around at 2^64.
#[derive(Debug)]
pub(crate) struct Counters<const N: usize> {
    /// A power of two of them.
    stripes: Box<[CachePadded<[AtomicU64; N]>]>,
}

impl<const N: usize> Default for Counters<N> {
    fn default() -> Self {
        let cores = thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let count = cores.min(MAX_STRIPES).next_power_of_two();
        let stripe = || CachePadded::new([const { AtomicU64::new(0) }; N]);
        Self { stripes: (0..count).map(|_| stripe()).collect() }
    }
}

impl<const N: usize> Counters<N> {
    /// Adds to the counter at `index`; does nothing for an index that is not below `N`.
    #[inline]
    pub(crate) fn add(&self, index: usize, count: u64) {
        let stripe = &self.stripes[thread_number() & (self.stripes.len() - 1)];
        if let Some(counter) = stripe.get(index) {
            counter.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The sum over all threads; 0 for an index that is not below `N`.
    pub(crate) fn sum(&self, index: usize) -> u64 {
        let counters = self.stripes.iter().filter_map(|stripe| stripe.get(index));
        counters.fold(0, |sum, counter| sum.wrapping_add(counter.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_count_of_any_thread_is_lost() {
        let counters = Counters::<3>::default();
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..10_000 {
                        counters.add(0, 1);
                        counters.add(2, 5);
                    }
                });
            }
        });
        assert_eq!([0, 1, 2, 3].map(|index| counters.sum(index)), [80_000, 0, 400_000, 0]);
    }

    #[test]
    fn a_counter_wraps_around_without_a_panic() {
        let counters = Counters::<1>::default();
        counters.add(0, u64::MAX);
        counters.add(0, 3);
        assert_eq!(counters.sum(0), 2);
        thread::scope(|scope| drop(scope.spawn(|| counters.add(0, u64::MAX)).join()));
        assert_eq!(counters.sum(0), 1);
    }
}

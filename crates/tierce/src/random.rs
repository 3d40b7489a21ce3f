//! Random numbers for starting points of counters, for names of changes and for jitter.
//!
//! Each number is a keyed hash of what differs between any two calls: the process, the time and a
//! running number. The keys come from the operating system by way of the standard library; the
//! process id keeps parent and child apart after a fork, which inherits those keys.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    process,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use crate::simulated;

/// Distinguishes calls within one process and one tick of the clock.
static CALLS: AtomicU64 = AtomicU64::new(0);

/// 64 random bits.
pub(crate) fn random() -> u64 {
    if let Some(number) = simulated::random() {
        return number;
    }
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    RandomState::new().hash_one((process::id(), SystemTime::now(), call))
}

/// Where a counter starts that a server does not have (any more): 1 to 2^48, so that a new counter
/// never takes up the numbers of the one before.
#[cfg(feature = "redis")]
pub(crate) fn counter_start() -> u64 {
    (random() >> 16).max(1)
}

/// `span` shortened by up to a half, so that clients that lost a server together do not come back
/// together.
pub(crate) fn jittered(span: Duration) -> Duration {
    // 1024 steps are fine enough for waits of milliseconds to seconds.
    span.mul_f64(0.5 + 0.5 * (random() % 1024) as f64 / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "redis")]
    #[test]
    fn starts_differ_and_stay_in_range() {
        let starts: std::collections::HashSet<_> = (0..1000).map(|_| counter_start()).collect();
        assert_eq!(starts.len(), 1000);
        assert!(starts.iter().all(|start| (1..1 << 48).contains(start)));
    }

    #[test]
    fn jitter_shortens_by_at_most_a_half() {
        let span = Duration::from_secs(2);
        assert!((0..1000).all(|_| (span / 2..=span).contains(&jittered(span))));
    }
}

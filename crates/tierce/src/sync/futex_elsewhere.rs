//! What stands for `futex.rs` where there is no such call: short naps in place of sleep.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Duration,
};

/// As long as waking would take: whoever waits for a lock of ours waits about that long.
const NAP: Duration = Duration::from_micros(50);

/// Naps once if `word` holds `value`.
pub(super) fn wait(word: &AtomicU32, value: u32, longest: Option<Duration>) {
    if word.load(Ordering::Relaxed) == value {
        thread::sleep(longest.map_or(NAP, |longest| longest.min(NAP)));
    }
}

/// Nobody sleeps.
pub(super) fn wake_one(_word: &AtomicU32) {}

/// Nobody sleeps.
pub(super) fn wake_all(_word: &AtomicU32) {}

//! What stands for a simulation where the feature `sim` is off: nothing.

use std::{
    sync::atomic::AtomicU32,
    thread,
    time::{Duration, Instant},
};

// Public in builds that have the feature.
#[allow(dead_code, unreachable_pub)]
pub(crate) mod planted;

pub(crate) use planted::Fault;

#[inline(always)]
pub(crate) fn point() {}

#[inline(always)]
pub(crate) fn wait(_word: &AtomicU32, _value: u32, _longest: Option<Duration>) -> bool {
    false
}

#[inline(always)]
pub(crate) fn sleep(span: Duration) {
    thread::sleep(span);
}

/// What became of a job of a background thread.
pub(crate) enum Spawned {
    #[allow(dead_code)]
    Taken,
    #[allow(dead_code)]
    Refused(Box<dyn FnOnce() + Send>),
    /// A thread is to be started for it.
    Elsewhere(Box<dyn FnOnce() + Send>),
}

#[inline(always)]
pub(crate) fn spawn(job: Box<dyn FnOnce() + Send>) -> Spawned {
    Spawned::Elsewhere(job)
}

#[inline(always)]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// How long ago something was, by that time.
#[inline]
pub(crate) fn since(at: Instant) -> Duration {
    now().saturating_duration_since(at)
}

#[inline(always)]
pub(crate) fn random() -> Option<u64> {
    None
}

#[inline(always)]
pub(crate) fn is_planted(_fault: Fault) -> bool {
    false
}

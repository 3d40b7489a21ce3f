//! Letting other threads run, as long as that is quick.
//!
//! Among threads of one cache a turn takes microseconds. Where other work has the cores, the
//! scheduler takes a turn for a waiver, and it can take many milliseconds until the next; then
//! nobody gives up a turn for a while.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

/// A turn that took longer was taken by other work: a slice of the scheduler is some 3 ms, and a
/// hundred callers do what they have to in less than one.
const QUICK: Duration = Duration::from_millis(2);

/// How long nobody gives up a turn after such a one: it costs each thread one slow turn in this
/// time at most.
const PAUSE: Duration = Duration::from_millis(200);

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds after the origin until which no turn is given up. A hint only, so relaxed order
/// suffices.
static NOT_BEFORE: AtomicU64 = AtomicU64::new(0);

/// Lets others run; false if that is too slow at present.
pub(super) fn give_up_turn() -> bool {
    let begin = Instant::now();
    if millis(begin) < NOT_BEFORE.load(Ordering::Relaxed) {
        return false;
    }
    thread::yield_now();
    let end = Instant::now();
    if end - begin > QUICK {
        NOT_BEFORE.store(millis(end + PAUSE), Ordering::Relaxed);
    }
    true
}

fn millis(at: Instant) -> u64 {
    at.saturating_duration_since(*ORIGIN).as_millis() as u64
}

//! Waits for what must come by itself, and where a value was found.

use std::{
    thread,
    time::{Duration, Instant},
};

use tierce::{Cache, Origin, TierKind};

/// How long anything that must come by itself may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until it is done, and says how long that took.
///
/// # Panics
/// If it takes longer than [`PATIENCE`].
pub fn wait_until(what: &str, done: impl FnMut() -> bool) -> Duration {
    wait_within(PATIENCE, what, done)
}

/// Waits until it is done, and says how long that took.
///
/// # Panics
/// If it takes longer than `limit`.
pub fn wait_within(limit: Duration, what: &str, mut done: impl FnMut() -> bool) -> Duration {
    let begin = Instant::now();
    while !done() {
        assert!(begin.elapsed() < limit, "{what}: not within {limit:?}");
        thread::sleep(Duration::from_micros(200));
    }
    begin.elapsed()
}

/// Is a copy of the key in L1?
#[must_use]
pub fn is_near(cache: &Cache, key: &str) -> bool {
    cache.get_entry(key).is_some_and(|answer| answer.origin == Origin::Tier(TierKind::Memory))
}

/// Waits until each has dealt with all that the server told so far.
///
/// # Panics
/// If that takes longer than [`PATIENCE`].
pub fn wait_for_news(of: &Cache, by: &Cache) {
    // News comes in order: that of the second change after all that came with the first.
    for round in ["first", "second", "third"] {
        by.set("news", round.into()).expect("the server takes it");
        wait_until("news", || {
            of.get("news").as_deref() == Some(round.as_bytes()) && is_near(of, "news")
        });
    }
}

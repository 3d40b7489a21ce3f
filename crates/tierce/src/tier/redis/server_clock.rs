//! What time it is at the server, never later than it truly is, for the deadline that a write
//! carries.
//!
//! A time that the server told lies between our sending and our receiving, so the difference to
//! our clock at the moment of receiving is a lower bound of the true one. The greatest bound of
//! the last seconds is the best; older ones are forgotten, because the clocks drift.

use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// Clocks drift apart by less than 5 ms in this time (500 parts in a million, the most that NTP
/// corrects).
const TRUSTED_FOR: Duration = Duration::from_secs(10);

/// An estimate of the server's clock. One short lock, nothing inside it.
pub(super) struct ServerClock {
    /// Where our own milliseconds count from.
    origin: Instant,
    estimate: Mutex<Option<Estimate>>,
}

#[derive(Clone, Copy)]
struct Estimate {
    /// Server's milliseconds minus ours.
    ahead_millis: i64,
    learnt: Instant,
}

impl ServerClock {
    pub(super) fn new() -> Self {
        Self { origin: Instant::now(), estimate: Mutex::new(None) }
    }

    /// Takes note of a time that the server told and that arrived now.
    pub(super) fn heard(&self, server_millis: i64) {
        self.heard_at(server_millis, Instant::now());
    }

    fn heard_at(&self, server_millis: i64, now: Instant) {
        let ahead_millis = server_millis.saturating_sub(self.millis(now));
        let mut estimate = self.estimate.lock();
        let keep = estimate.is_some_and(|old| {
            old.ahead_millis >= ahead_millis && now.duration_since(old.learnt) < TRUSTED_FOR
        });
        if !keep {
            *estimate = Some(Estimate { ahead_millis, learnt: now });
        }
    }

    /// Forgets what was heard: the server, or its clock, is another one.
    pub(super) fn forget(&self) {
        *self.estimate.lock() = None;
    }

    /// The server's time when ours is `at`, or `None` where nothing was heard yet.
    pub(super) fn at(&self, at: Instant) -> Option<i64> {
        let estimate = *self.estimate.lock();
        estimate.map(|estimate| self.millis(at).saturating_add(estimate.ahead_millis))
    }

    fn millis(&self, at: Instant) -> i64 {
        i64::try_from(at.saturating_duration_since(self.origin).as_millis()).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimate_is_never_ahead_of_the_server() {
        let clock = ServerClock::new();
        let at = |millis| clock.origin + Duration::from_millis(millis);
        assert_eq!(clock.at(at(0)), None);
        // The server is 5000 ahead; answers take 30, then 2, then 40 ms.
        clock.heard_at(5100, at(130));
        assert_eq!(clock.at(at(200)), Some(5170));
        clock.heard_at(5200, at(202));
        clock.heard_at(5300, at(340));
        assert_eq!(clock.at(at(400)), Some(5398));
        // Set back by a second: believed once the old estimate is out of trust.
        clock.heard_at(4500, at(500));
        assert_eq!(clock.at(at(500)), Some(5498));
        clock.heard_at(15_000, at(11_000));
        assert_eq!(clock.at(at(11_000)), Some(15_000));
        clock.forget();
        assert_eq!(clock.at(at(0)), None);
    }
}

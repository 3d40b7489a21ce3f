//! Faults told to the host's `tracing` subscriber: never more than one a second from one place.
//!
//! Without the feature `tracing` nothing is told; everything is counted either way. No subscriber
//! is ever installed here.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{clock::Clock, error::Error, tiering::TierKind};

/// A second between two events of one place: a fault that comes with every call must not flood
/// the log of the host.
const QUIET_MILLIS: u64 = 1000;

/// One place that tells of faults.
#[derive(Debug, Default)]
pub(crate) struct FaultEvents {
    /// When the last one was told, in milliseconds of the coarse clock; 0 for never.
    told_at: AtomicU64,
    /// Faults since then.
    untold: AtomicU64,
}

impl FaultEvents {
    /// Tells of a fault, or only counts it if one was told less than a second ago.
    pub(crate) fn tell(&self, clock: &Clock, tier: TierKind, error: &Error) {
        let now = clock.coarse().0.max(1);
        let told_at = self.told_at.load(Ordering::Relaxed);
        let is_due = told_at == 0 || now.saturating_sub(told_at) >= QUIET_MILLIS;
        let is_mine = is_due
            && self
                .told_at
                .compare_exchange(told_at, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_mine {
            emit(tier, error, self.untold.swap(0, Ordering::Relaxed));
        } else {
            self.untold.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "tracing")]
fn emit(tier: TierKind, error: &Error, untold: u64) {
    let kind = error.kind().as_str();
    tracing::warn!(
        target: "tierce::tier", tier = tier.short(), kind, untold, "tier failed: {error}"
    );
}

#[cfg(not(feature = "tracing"))]
fn emit(_tier: TierKind, _error: &Error, _untold: u64) {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_storm_of_faults_is_told_once_a_second() {
        let (clock, time) = Clock::manual();
        let events = FaultEvents::default();
        let error = Error::new(ErrorKind::Timeout, "no answer");
        for _ in 0..100 {
            events.tell(&clock, TierKind::Redis, &error);
        }
        assert_eq!(events.untold.load(Ordering::Relaxed), 99);
        time.advance(Duration::from_secs(1));
        events.tell(&clock, TierKind::Redis, &error);
        assert_eq!(events.untold.load(Ordering::Relaxed), 0);
    }
}

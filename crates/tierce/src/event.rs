//! Faults told to the host's `tracing` subscriber: never more than one a second from one place.
//!
//! `span` has what of a call takes time.
//!
//! Without the feature `tracing` nothing is told; everything is counted either way. No subscriber
//! is ever installed here.

mod span;

pub(crate) use span::Span;

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

/// Tells of an option that is allowed and yet unsafe; once for each cache, as it is built.
#[cfg(feature = "tracing")]
pub(crate) fn tell_advice(code: &'static str, message: &str) {
    tracing::warn!(target: "tierce::options", code, "{message}");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn tell_advice(_code: &'static str, _message: &str) {}

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

    /// Counts events and drops them.
    #[cfg(feature = "tracing")]
    struct Listener(std::sync::Arc<AtomicU64>);

    #[cfg(feature = "tracing")]
    impl tracing::Subscriber for Listener {
        fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
            metadata.target() == "tierce::tier" && *metadata.level() == tracing::Level::WARN
        }
        fn event(&self, _: &tracing::Event<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[cfg(feature = "tracing")]
    #[test]
    fn the_subscriber_of_the_host_is_told() {
        let heard = std::sync::Arc::new(AtomicU64::new(0));
        let listener = Listener(std::sync::Arc::clone(&heard));
        let (clock, _time) = Clock::manual();
        tracing::subscriber::with_default(listener, || {
            let error = Error::new(ErrorKind::Timeout, "no answer");
            FaultEvents::default().tell(&clock, TierKind::Redis, &error);
        });
        assert_eq!(heard.load(Ordering::Relaxed), 1);
    }
}

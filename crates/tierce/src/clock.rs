//! Time as the cache sees it: milliseconds on two monotonic time lines, replaceable in tests.
//!
//! Wall clocks are never used: they jump, and differ between hosts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A point on one of the two time lines, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Millis(pub u64);

impl Millis {
    /// Later than every point that a clock returns.
    pub const NEVER: Self = Self(u64::MAX);

    /// The point `span` later, rounded up to a millisecond; [`Millis::NEVER`] where that
    /// overflows.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let millis = span.as_nanos().div_ceil(1_000_000);
        u64::try_from(millis)
            .ok()
            .and_then(|millis| self.0.checked_add(millis))
            .map_or(Self::NEVER, Self)
    }

    /// The span from `now` to this point: zero if it has passed, `None` for [`Millis::NEVER`].
    pub fn remaining(self, now: Self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_millis(self.0.saturating_sub(now.0)))
    }
}

/// Where a cache reads the time.
///
/// Two time lines, because they cost and promise different things:
///
/// | call | source | cost | use |
/// |---|---|---|---|
/// | [`coarse`](Clock::coarse) | `CLOCK_MONOTONIC_COARSE` | about 6 ns | deadlines in L1; up to 4 ms late, stands still in suspend |
/// | [`boot`](Clock::boot) | `CLOCK_BOOTTIME` | about 30 ns | deadlines in L2: the same for all processes of the host, counts suspend |
///
/// A deadline never moves from one line to the other; what remains of it does.
#[derive(Clone, Debug, Default)]
pub struct Clock(Source);

#[derive(Clone, Debug, Default)]
enum Source {
    #[default]
    System,
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The clocks of the operating system.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that moves only when the returned handle is told to; both time lines are one.
    pub fn manual() -> (Self, ManualClock) {
        // Not zero: a point before the start must be expressible.
        let now = Arc::new(AtomicU64::new(1_000_000));
        (Self(Source::Manual(Arc::clone(&now))), ManualClock(now))
    }

    /// Now, for deadlines in L1.
    #[inline]
    pub fn coarse(&self) -> Millis {
        match &self.0 {
            Source::System => system::coarse(),
            Source::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// Now, for deadlines that other processes read too.
    #[inline]
    pub fn boot(&self) -> Millis {
        match &self.0 {
            Source::System => system::boot(),
            Source::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }
}

/// Moves a [`Clock::manual`] clock.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

impl ManualClock {
    /// Moves the clock forward by whole milliseconds of `span`.
    pub fn advance(&self, span: Duration) {
        self.0.fetch_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod system {
    use super::Millis;

    pub(super) fn coarse() -> Millis {
        read(libc::CLOCK_MONOTONIC_COARSE)
    }

    pub(super) fn boot() -> Millis {
        read(libc::CLOCK_BOOTTIME)
    }

    #[inline]
    fn read(id: libc::clockid_t) -> Millis {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is valid for writes for the duration of the call; both ids exist on
        // every kernel since 2.6.39, and a failing call would leave zero: "just booted".
        unsafe { libc::clock_gettime(id, &raw mut time) };
        Millis(time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::{sync::OnceLock, time::Instant};

    use super::Millis;

    pub(super) fn coarse() -> Millis {
        static START: OnceLock<Instant> = OnceLock::new();
        Millis(START.get_or_init(Instant::now).elapsed().as_millis() as u64)
    }

    pub(super) fn boot() -> Millis {
        coarse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_round_up_and_saturate() {
        let now = Millis(10);
        assert_eq!(now.after(Duration::from_nanos(1)), Millis(11));
        assert_eq!(now.after(Duration::MAX), Millis::NEVER);
        assert_eq!(Millis(9).remaining(now), Some(Duration::ZERO));
        assert_eq!(Millis::NEVER.remaining(now), None);
    }

    #[test]
    fn system_clocks_move_forward() {
        let clock = Clock::system();
        let (coarse, boot) = (clock.coarse(), clock.boot());
        assert!(clock.coarse() >= coarse && clock.boot() >= boot && boot.0 > 0);
    }
}

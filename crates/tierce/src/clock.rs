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
    #[inline]
    pub fn after(self, span: Duration) -> Self {
        let more = u64::from(span.subsec_nanos().div_ceil(1_000_000));
        span.as_secs()
            .checked_mul(1_000)
            .and_then(|millis| millis.checked_add(more))
            .and_then(|millis| self.0.checked_add(millis))
            .map_or(Self::NEVER, Self)
    }

    /// The point `span` earlier, rounded down to a millisecond; the begin of the line where that
    /// is before it.
    #[must_use]
    #[cfg_attr(not(feature = "shared"), allow(dead_code))]
    pub(crate) fn before(self, span: Duration) -> Self {
        let millis = u64::try_from(span.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// The span from `now` to this point: zero if it has passed, `None` for [`Millis::NEVER`].
    pub fn remaining(self, now: Self) -> Option<Duration> {
        (self != Self::NEVER).then(|| Duration::from_millis(self.0.saturating_sub(now.0)))
    }
}

/// 1,024 milliseconds, counted from the begin of the time line: what a deadline is judged by at
/// first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(pub(crate) u32);

impl Span {
    /// The bits of [`Millis`] that a span leaves out.
    pub(crate) const BITS: u32 = 10;

    /// That of [`Millis::NEVER`], and of all points that are more than 139 years off.
    pub(crate) const NEVER: Self = Self(u32::MAX);

    /// Later than all but [`NEVER`](Self::NEVER).
    pub(crate) const LAST: Self = Self(u32::MAX - 1);

    /// The span in which a point lies.
    #[inline]
    pub(crate) fn of(point: Millis) -> Self {
        let span = point.0 >> Self::BITS;
        if span < Self::LAST.0.into() { Self(span as u32) } else { Self::NEVER }
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

    /// True for a clock that only a test moves.
    #[allow(dead_code)]
    pub(crate) fn is_manual(&self) -> bool {
        matches!(self.0, Source::Manual(_))
    }

    /// Now, for deadlines in L1.
    #[inline]
    pub fn coarse(&self) -> Millis {
        match &self.0 {
            Source::System => system::coarse(),
            Source::Manual(now) => Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// True if a deadline in L1 has passed. Exact, and cheaper than [`coarse`](Clock::coarse) while
    /// the deadline is seconds away.
    #[inline]
    pub(crate) fn is_past(&self, deadline: Millis) -> bool {
        match &self.0 {
            Source::System => {
                Span::of(deadline) <= system::near() && deadline <= system::remembered_coarse()
            }
            Source::Manual(now) => deadline <= Millis(now.load(Ordering::Relaxed)),
        }
    }

    /// The cheapest look of all, at the system's clock: deadlines in L1 that lie in later spans are
    /// still to come. Mostly some seconds from now; [`Span::LAST`] where more is not known.
    #[inline]
    pub(crate) fn near_by_system() -> Span {
        system::near()
    }

    /// True if a deadline in L2 has passed. Exact, and cheaper than [`boot`](Clock::boot) while the
    /// deadline is seconds away.
    // L2 is not in every build.
    #[allow(dead_code)]
    #[inline(always)]
    pub(crate) fn is_past_boot(&self, deadline: Millis) -> bool {
        match &self.0 {
            Source::System => {
                Span::of(deadline) <= system::near_boot() && deadline <= system::remembered_boot()
            }
            Source::Manual(now) => deadline <= Millis(now.load(Ordering::Relaxed)),
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
        let more = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let later = |now: u64| Some(now.saturating_add(more));
        // Cannot fail: `later` always has an answer.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, later);
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
mod system {
    use std::{
        ptr,
        sync::atomic::{AtomicU64, Ordering},
    };

    use super::{Millis, Span};

    /// A time when it was remembered last: the last span that was near then (upper half), and the
    /// second of the wall clock in which that was (lower half).
    ///
    /// Reading the wall clock's second is by far the cheapest look at any clock (`time(2)` through
    /// the vDSO: one load). Its value means nothing here; but as long as it is the same second as
    /// when the time was remembered, hardly more than that second has passed since, so a deadline
    /// that is further away has not. Whoever sets the wall clock back within that second stretches
    /// it: up to [`MARGIN`], which would take several such steps in one second.
    struct Remembered(AtomicU64);

    static COARSE: Remembered = Remembered::new();
    static BOOT: Remembered = Remembered::new();

    const MARGIN: u64 = 4_000;

    impl Remembered {
        const fn new() -> Self {
            Self(AtomicU64::new((Span::LAST.0 as u64) << 32))
        }

        #[inline(always)]
        fn near(&self) -> Span {
            let remembered = self.0.load(Ordering::Relaxed);
            let is_same_second = remembered as u32 == wall_second();
            if is_same_second { Span((remembered >> 32) as u32) } else { Span::LAST }
        }

        fn remember(&self, now: impl FnOnce() -> Millis) -> Millis {
            // The second first: it may be over by the time that the other is read, never the
            // other way round. The two are stored as one, so it does not matter which thread is
            // late.
            let second = wall_second();
            let now = now();
            let near = Span::of(Millis(now.0.saturating_add(MARGIN)));
            self.0.store(u64::from(near.0) << 32 | u64::from(second), Ordering::Relaxed);
            now
        }
    }

    /// Deadlines in later spans are still to come.
    #[inline]
    pub(super) fn near() -> Span {
        COARSE.near()
    }

    /// As above, for deadlines of the boot time.
    #[inline]
    pub(super) fn near_boot() -> Span {
        BOOT.near()
    }

    /// The lower half of the wall clock's seconds.
    #[inline]
    fn wall_second() -> u32 {
        // SAFETY: a null pointer asks for the return value alone.
        unsafe { libc::time(ptr::null_mut()) as u32 }
    }

    /// The coarse time, remembered for [`near`].
    #[cold]
    pub(super) fn remembered_coarse() -> Millis {
        COARSE.remember(coarse)
    }

    /// The boot time, remembered for [`near_boot`].
    #[cold]
    pub(super) fn remembered_boot() -> Millis {
        BOOT.remember(boot)
    }

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

    use super::{Millis, Span};

    pub(super) fn coarse() -> Millis {
        static START: OnceLock<Instant> = OnceLock::new();
        Millis(START.get_or_init(Instant::now).elapsed().as_millis() as u64)
    }

    pub(super) fn boot() -> Millis {
        coarse()
    }

    pub(super) fn near() -> Span {
        Span::LAST
    }

    pub(super) fn remembered_coarse() -> Millis {
        coarse()
    }

    pub(super) fn near_boot() -> Span {
        Span::LAST
    }

    pub(super) fn remembered_boot() -> Millis {
        boot()
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
    fn deadlines_in_l2_pass_when_they_are_due_and_not_before() {
        let clock = Clock::system();
        for _ in 0..1_000 {
            let before = clock.boot();
            assert!(clock.is_past_boot(before), "due");
            for millis in [3, 1_000, 10_000, 1_000_000] {
                let deadline = before.after(Duration::from_millis(millis));
                let is_past = clock.is_past_boot(deadline);
                assert!(!is_past || clock.boot() >= deadline, "{millis} ms too early");
            }
        }
        let deadline = clock.boot().after(Duration::from_millis(20));
        std::thread::sleep(Duration::from_millis(30));
        assert!(clock.is_past_boot(deadline));
    }

    #[test]
    fn system_clocks_move_forward() {
        let clock = Clock::system();
        let (coarse, boot) = (clock.coarse(), clock.boot());
        assert!(clock.coarse() >= coarse && clock.boot() >= boot && boot.0 > 0);
    }
}

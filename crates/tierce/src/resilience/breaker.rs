//! A circuit breaker: stops calling a tier that keeps failing, and finds out when it is back.
//!
//! ```text
//!   closed --too many failures--> open --after a while--> half-open --probes succeed--> closed
//!                                  ^                          |
//!                                  +------a probe fails-------+
//! ```
//!
//! The state and a number that rises with each change of it are one word, so that [`allow`] on a
//! closed breaker is one relaxed load, and what becomes of a call that was let through in an
//! earlier state is told apart and ignored. Counts of the sliding window are atomics in ten
//! slices of it; counts that race with the turn of a slice may be lost, which a share of many
//! calls can bear. One short lock guards everything that is not closed.
//!
//! Nygard: "Release It!", 2nd edition, 5.3. We add the share of failures and limit probes to one
//! at a time.
//!
//! [`allow`]: Breaker::allow

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::{Clock, Millis},
    error::{Error, ErrorKind, Result},
    sync::{self, Mutex},
    tiering::TierKind,
};

/// The window slides by a tenth of its length.
const SLICES: usize = 10;

/// When a breaker opens and closes.
#[derive(Clone, Debug, PartialEq)]
pub struct BreakerOptions {
    failure_share: f64,
    min_calls: u32,
    window: Duration,
    consecutive_failures: u32,
    open_for: Duration,
    jitter: f64,
    probes: u32,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            failure_share: 0.5,
            min_calls: 20,
            window: Duration::from_secs(10),
            consecutive_failures: 5,
            open_for: Duration::from_secs(5),
            jitter: 0.1,
            probes: 3,
        }
    }
}

impl BreakerOptions {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the share of failed calls within the window at which the breaker opens. Default: 0.5.
    /// Above 0, at most 1.
    #[must_use]
    pub fn failure_share(mut self, share: f64) -> Self {
        self.failure_share = share;
        self
    }

    /// Sets how many calls the window must have seen before the share counts. Default: 20. At
    /// least 1.
    #[must_use]
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.min_calls = calls;
        self
    }

    /// Sets the length of the sliding window. Default: 10 s. 100 ms to 1 hour; it slides by
    /// tenths.
    #[must_use]
    pub fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets how many failures in a row open the breaker whatever the share. Default: 5. At least
    /// 1.
    #[must_use]
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.consecutive_failures = failures;
        self
    }

    /// Sets how long the breaker stays open before it probes. Default: 5 s. 1 ms to 1 hour.
    #[must_use]
    pub fn open_for(mut self, span: Duration) -> Self {
        self.open_for = span;
        self
    }

    /// Sets by what share that span varies at random in both directions, so that many clients do
    /// not probe together. Default: 0.1. 0 to 1.
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Sets how many probes in a row must succeed for the breaker to close. Default: 3. At least
    /// 1.
    #[must_use]
    pub fn probes(mut self, probes: u32) -> Self {
        self.probes = probes;
        self
    }

    fn check(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("breaker.{what}")));
        let hour = Duration::from_secs(3600);
        if !(self.failure_share > 0.0 && self.failure_share <= 1.0) {
            let share = self.failure_share;
            return wrong(format!("failure_share = {share}: must be above 0 and at most 1"));
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return wrong(format!("jitter = {}: must be 0 to 1", self.jitter));
        }
        for (name, count) in [
            ("min_calls", self.min_calls),
            ("consecutive_failures", self.consecutive_failures),
            ("probes", self.probes),
        ] {
            if count == 0 {
                return wrong(format!("{name} = 0: must be at least 1"));
            }
        }
        if !(Duration::from_millis(100)..=hour).contains(&self.window) {
            return wrong(format!("window = {:?}: must be 100 ms to 1 hour", self.window));
        }
        if !(Duration::from_millis(1)..=hour).contains(&self.open_for) {
            return wrong(format!("open_for = {:?}: must be 1 ms to 1 hour", self.open_for));
        }
        Ok(())
    }
}

/// The state of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// All calls are let through.
    Closed = 0,
    /// No call is let through.
    Open = 1,
    /// One call at a time is let through, to see whether the tier is back.
    HalfOpen = 2,
}

impl BreakerState {
    /// `closed`, `open` or `half_open`, as metrics labels name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// The state and how often it changed, in one word: `changes << 2 | state`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Phase(u64);

impl Phase {
    fn state(self) -> BreakerState {
        match self.0 & 3 {
            0 => BreakerState::Closed,
            1 => BreakerState::Open,
            _ => BreakerState::HalfOpen,
        }
    }

    fn next(self, state: BreakerState) -> Self {
        Self((self.0 >> 2).wrapping_add(1) << 2 | state as u64)
    }
}

/// The breaker of one tier.
pub(crate) struct Breaker {
    tier: TierKind,
    options: BreakerOptions,
    clock: Clock,
    /// A [`Phase`]. Written under the lock.
    phase: AtomicU64,
    /// When an open breaker begins to probe, in milliseconds. Written under the lock.
    probe_at: AtomicU64,
    consecutive: AtomicU32,
    window: Window,
    rejected: AtomicU64,
    trouble: Mutex<Trouble>,
}

/// What is known while the breaker is not closed.
struct Trouble {
    /// When it left the closed state.
    since: Millis,
    reason: String,
    /// The process ([`sync::generation`]) whose probe is out. In a child forked meanwhile nobody
    /// would bring it back.
    probe_of: Option<u32>,
    probes_passed: u32,
    times_opened: u64,
}

impl Breaker {
    /// A closed breaker; time is the clock's coarse one.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] names the option that is wrong.
    pub(crate) fn new(tier: TierKind, options: BreakerOptions, clock: Clock) -> Result<Self> {
        options.check()?;
        Ok(Self {
            tier,
            phase: AtomicU64::new(0),
            probe_at: AtomicU64::new(0),
            consecutive: AtomicU32::new(0),
            window: Window::new(options.window),
            rejected: AtomicU64::new(0),
            trouble: Mutex::new(Trouble {
                since: clock.coarse(),
                reason: String::new(),
                probe_of: None,
                probes_passed: 0,
                times_opened: 0,
            }),
            options,
            clock,
        })
    }

    /// Permission for one call of the tier, or `None`: then the tier is to be skipped.
    ///
    /// One relaxed load while closed.
    #[inline]
    pub(crate) fn allow(&self) -> Option<Permit<'_>> {
        let phase = Phase(self.phase.load(Ordering::Relaxed));
        if phase.state() == BreakerState::Closed {
            return Some(Permit { breaker: self, phase, is_open: true });
        }
        let permit = self.allow_probe(phase);
        if permit.is_none() {
            self.rejected.fetch_add(1, Ordering::Relaxed);
        }
        permit
    }

    #[cold]
    fn allow_probe(&self, seen: Phase) -> Option<Permit<'_>> {
        let now = self.clock.coarse();
        if seen.state() == BreakerState::Open && now.0 < self.probe_at.load(Ordering::Relaxed) {
            return None;
        }
        let mut trouble = self.trouble.lock();
        let mut phase = self.phase();
        if phase.state() == BreakerState::Open && now.0 >= self.probe_at.load(Ordering::Relaxed) {
            phase = self.enter(BreakerState::HalfOpen);
            trouble.probes_passed = 0;
            trouble.probe_of = None;
        }
        let generation = Some(sync::generation());
        match phase.state() {
            BreakerState::Open => return None,
            BreakerState::HalfOpen if trouble.probe_of == generation => return None,
            BreakerState::HalfOpen => trouble.probe_of = generation,
            BreakerState::Closed => {}
        }
        Some(Permit { breaker: self, phase, is_open: true })
    }

    /// The present state. An open breaker becomes half-open only when a call asks.
    pub(crate) fn state(&self) -> BreakerState {
        self.phase().state()
    }

    /// Why calls are not let through, for the health document, or `None` while closed:
    /// `open for 3.2 s: L3-Redis: no answer within 50ms`.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        let seconds = self.clock.coarse().0.saturating_sub(trouble.since.0) as f64 / 1000.0;
        let reason = &trouble.reason;
        match self.phase().state() {
            BreakerState::Closed => None,
            BreakerState::Open => Some(format!("open for {seconds:.1} s: {reason}")),
            BreakerState::HalfOpen => Some(format!(
                "half-open after {seconds:.1} s, {} of {} probes passed: {reason}",
                trouble.probes_passed, self.options.probes
            )),
        }
    }

    /// How often the breaker opened, failed probes included.
    pub(crate) fn times_opened(&self) -> u64 {
        self.trouble.lock().times_opened
    }

    /// How many calls were not let through.
    pub(crate) fn rejected(&self) -> u64 {
        self.rejected.load(Ordering::Relaxed)
    }

    fn phase(&self) -> Phase {
        Phase(self.phase.load(Ordering::Relaxed))
    }

    /// Changes the state; the lock is held.
    fn enter(&self, state: BreakerState) -> Phase {
        let phase = self.phase().next(state);
        self.phase.store(phase.0, Ordering::Relaxed);
        phase
    }

    fn passed(&self, phase: Phase) {
        if phase.state() == BreakerState::Closed {
            if self.consecutive.load(Ordering::Relaxed) != 0 {
                self.consecutive.store(0, Ordering::Relaxed);
            }
            self.window.count(self.clock.coarse(), false);
            return;
        }
        let mut trouble = self.trouble.lock();
        if self.phase() != phase {
            return;
        }
        trouble.probe_of = None;
        trouble.probes_passed += 1;
        if trouble.probes_passed >= self.options.probes {
            self.consecutive.store(0, Ordering::Relaxed);
            self.window.forget();
            trouble.reason.clear();
            self.enter(BreakerState::Closed);
        }
    }

    fn failed(&self, phase: Phase, error: &Error) {
        let now = self.clock.coarse();
        if phase.state() == BreakerState::Closed {
            self.window.count(now, true);
            let consecutive = self.consecutive.fetch_add(1, Ordering::Relaxed).saturating_add(1);
            if consecutive < self.options.consecutive_failures && !self.window_is_bad(now) {
                return;
            }
        }
        // Before the lock: the text of the cause is not our code.
        let reason = match error.tier() {
            Some(_) => error.to_string(),
            None => format!("{}: {error}", self.tier),
        };
        let mut trouble = self.trouble.lock();
        if self.phase() != phase {
            return;
        }
        if phase.state() == BreakerState::Closed {
            trouble.since = now;
        }
        trouble.reason = reason;
        trouble.probe_of = None;
        trouble.times_opened += 1;
        self.probe_at.store(now.after(self.jittered_span()).0, Ordering::Relaxed);
        self.enter(BreakerState::Open);
    }

    /// Gives the place of a probe back that taught us nothing.
    fn returned(&self, phase: Phase) {
        if phase.state() == BreakerState::Closed {
            return;
        }
        let mut trouble = self.trouble.lock();
        if self.phase() == phase {
            trouble.probe_of = None;
        }
    }

    fn window_is_bad(&self, now: Millis) -> bool {
        let (calls, failures) = self.window.sum(now);
        calls >= u64::from(self.options.min_calls)
            && failures as f64 >= self.options.failure_share * calls as f64
    }

    fn jittered_span(&self) -> Duration {
        let random = RandomState::new().hash_one(self.probe_at.load(Ordering::Relaxed));
        // 0 to 1 in steps fine enough for spans of seconds.
        let unit = (random % 10_001) as f64 / 10_000.0;
        self.options.open_for.mul_f64(1.0 + self.options.jitter * (2.0 * unit - 1.0))
    }
}

/// Permission for one call. Dropped unused, or after an error that is no fault of the tier, it
/// counts neither way.
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    phase: Phase,
    /// True until the breaker was told.
    is_open: bool,
}

impl Permit<'_> {
    /// The tier answered.
    #[inline]
    pub(crate) fn success(mut self) {
        self.is_open = false;
        self.breaker.passed(self.phase);
    }

    /// The tier failed. [`ErrorKind::TooLarge`] and [`ErrorKind::Codec`] are the caller's doing
    /// and do not count.
    pub(crate) fn failure(mut self, error: &Error) {
        if matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Codec) {
            return;
        }
        self.is_open = false;
        self.breaker.failed(self.phase, error);
    }

    /// Tells the breaker what became of the call.
    pub(crate) fn finish<T>(self, outcome: &Result<T>) {
        match outcome {
            Ok(_) => self.success(),
            Err(error) => self.failure(error),
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.is_open {
            self.breaker.returned(self.phase);
        }
    }
}

/// Calls and failures of the last while, by slices of time.
struct Window {
    slice_millis: u64,
    slices: [Slice; SLICES],
}

#[derive(Default)]
struct Slice {
    /// Which slice of time these counts are of, plus one; 0 before the first.
    tick: AtomicU64,
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Window {
    fn new(length: Duration) -> Self {
        let slice_millis = u64::try_from(length.as_millis()).unwrap_or(u64::MAX) / SLICES as u64;
        Self { slice_millis: slice_millis.max(1), slices: Default::default() }
    }

    fn tick(&self, now: Millis) -> u64 {
        now.0 / self.slice_millis + 1
    }

    fn count(&self, now: Millis, failed: bool) {
        let tick = self.tick(now);
        let slice = &self.slices[(tick % SLICES as u64) as usize];
        let held = slice.tick.load(Ordering::Relaxed);
        if held > tick {
            // The thread was held up for a whole window: too old to count.
            return;
        }
        if held < tick
            && slice.tick.compare_exchange(held, tick, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            slice.calls.store(0, Ordering::Relaxed);
            slice.failures.store(0, Ordering::Relaxed);
        }
        slice.calls.fetch_add(1, Ordering::Relaxed);
        if failed {
            slice.failures.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Calls and failures of the window that ends now.
    fn sum(&self, now: Millis) -> (u64, u64) {
        let tick = self.tick(now);
        self.slices
            .iter()
            .filter(|slice| slice.tick.load(Ordering::Relaxed) + SLICES as u64 > tick)
            .fold((0, 0), |(calls, failures), slice| {
                (
                    calls + slice.calls.load(Ordering::Relaxed),
                    failures + slice.failures.load(Ordering::Relaxed),
                )
            })
    }

    fn forget(&self) {
        for slice in &self.slices {
            slice.calls.store(0, Ordering::Relaxed);
            slice.failures.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;

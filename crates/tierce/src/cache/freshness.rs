//! How long values are fresh, how long after that they may be served as stale, and by which rules.
//!
//! ```text
//!   made            fresh until                stale until
//!    |---- ttl ---------|---- stale window ---------|
//!         fresh              stale                      gone
//! ```
//! [`Freshness`] is what people say, in part, in several places; [`Rules`] is what holds for one
//! call; [`Life`] is what becomes of it for one value. In all tiers a life is kept as what remains
//! until the value is gone, and how much of the end of that it is stale: the second does not change
//! while time passes, so it can be handed from tier to tier.

use std::{
    collections::hash_map::RandomState,
    hash::BuildHasher,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    load::{Backoff, RefreshAhead},
};

/// How long values are fresh, and when one that is not may be served all the same.
///
/// What is not set here is taken from the next place: a call's options, then those of the cache
/// ([`Builder::freshness`](crate::Builder::freshness)), then the default that each setter names.
///
/// ```
/// use std::time::Duration;
/// use tierce::{Bytes, Cache, Freshness};
///
/// let cache = Cache::builder()
///     .freshness(
///         Freshness::new()
///             .ttl(Duration::from_secs(60))
///             .ttl_jitter(0.05)
///             .stale_if_error(Duration::from_secs(3600)),
///     )
///     .build()?;
/// cache.set("a", Bytes::from("1"))?;
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Freshness {
    ttl: Option<Option<Duration>>,
    ttl_jitter: Option<f64>,
    stale_if_error: Option<Duration>,
    stale_while_revalidate: Option<Duration>,
    negative_ttl: Option<Duration>,
    refresh_ahead: Option<Option<RefreshAhead>>,
    soft_timeout: Option<Duration>,
    hard_timeout: Option<Duration>,
    failure_backoff: Option<(Duration, Duration)>,
}

impl Freshness {
    /// Nothing set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a value is fresh. Default: for ever, until it is evicted. A span too long to
    /// express means for ever.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Some(ttl));
        self
    }

    /// Values are fresh until they are evicted, whatever the cache's default.
    #[must_use]
    pub fn no_ttl(mut self) -> Self {
        self.ttl = Some(None);
        self
    }

    /// Sets by which part of it the time to live is shortened at most, from 0 to 1: each value by
    /// another, so that what was stored together does not end together. Default: 0.
    ///
    /// One value ends at the same moment in all tiers, and never after its time to live.
    #[must_use]
    pub fn ttl_jitter(mut self, part: f64) -> Self {
        self.ttl_jitter = Some(part);
        self
    }

    /// Sets how long after its time to live a value may be served where loading anew fails or takes
    /// too long. Default: zero, never.
    #[must_use]
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
        self
    }

    /// Sets how long after its time to live a value may be served while another caller loads anew.
    /// Default: zero, never.
    #[must_use]
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// Sets how long it is remembered that a loader found no value
    /// ([`Loaded::absent`](crate::Loaded::absent)). Default: zero, not at all.
    #[must_use]
    pub fn negative_ttl(mut self, ttl: Duration) -> Self {
        self.negative_ttl = Some(ttl);
        self
    }

    /// Sets when a hit has its value loaded anew before it is stale, while it is served. Default:
    /// never. Needs a loader that may run in the background ([`Cache::loading`]).
    ///
    /// [`Cache::loading`]: crate::Cache::loading
    #[must_use]
    pub fn refresh_ahead(mut self, rule: RefreshAhead) -> Self {
        self.refresh_ahead = Some(Some(rule));
        self
    }

    /// Values are not loaded before they are stale, whatever the cache's default.
    #[must_use]
    pub fn no_refresh_ahead(mut self) -> Self {
        self.refresh_ahead = Some(None);
        self
    }

    /// Sets how long a caller waits for a load before it takes a stale value, if there is one in
    /// one of its windows; the load goes on and its value is kept. Default: until it ends.
    ///
    /// Who leads a load with a loader of its own call cannot leave it: that needs a loader that may
    /// run in the background ([`Cache::loading`]).
    ///
    /// [`Cache::loading`]: crate::Cache::loading
    #[must_use]
    pub fn soft_timeout(mut self, timeout: Duration) -> Self {
        self.soft_timeout = Some(timeout);
        self
    }

    /// Sets how long a load may take: then it is told to stop
    /// ([`LoadContext::is_cancelled`](crate::LoadContext::is_cancelled)), those who wait for it
    /// leave, with a stale value if they may have it, and the next caller loads anew. Default: for
    /// as long as callers wait ([`Builder::load_wait`](crate::Builder::load_wait)).
    #[must_use]
    pub fn hard_timeout(mut self, timeout: Duration) -> Self {
        self.hard_timeout = Some(timeout);
        self
    }

    /// Sets for how long a key is not loaded after its loader failed: `first`, then twice as long
    /// with each failure, at most `most`; a tenth more or less. Until then callers get a stale value
    /// if they may have it, else the remembered error. Default: zero, failures are not remembered.
    #[must_use]
    pub fn failure_backoff(mut self, first: Duration, most: Duration) -> Self {
        self.failure_backoff = Some((first, most));
        self
    }

    /// What is wrong with these options by themselves.
    pub(crate) fn check(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Config, message));
        if let Some(part) = self.ttl_jitter
            && !(0.0..=1.0).contains(&part)
        {
            return refuse(format!("freshness.ttl_jitter = {part}: must be from 0 to 1"));
        }
        if self.ttl == Some(None)
            && let Some(window) = self.stale_window()
        {
            return refuse(format!(
                "freshness.{window}: needs a time to live, without one no value is ever stale"
            ));
        }
        if let Some(rule) = self.refresh_ahead.flatten() {
            rule.check()?;
        }
        if let (Some(soft), Some(hard)) = (self.soft_timeout, self.hard_timeout)
            && soft >= hard
        {
            return refuse(format!(
                "freshness.soft_timeout = {soft:?}: must be below hard_timeout ({hard:?})"
            ));
        }
        if self.hard_timeout == Some(Duration::ZERO) {
            return refuse("freshness.hard_timeout = 0: must be above zero".to_owned());
        }
        self.backoff().map(drop)
    }

    fn backoff(&self) -> Result<Option<Backoff>> {
        match self.failure_backoff {
            None | Some((Duration::ZERO, _)) => Ok(None),
            Some((first, most)) => Backoff::new(first, most).map(Some),
        }
    }

    /// What is wrong with these options where there are no others to complete them.
    pub(super) fn check_alone(&self) -> Result<()> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Config, message));
        self.check()?;
        if self.ttl == Some(Some(Duration::ZERO)) {
            return refuse(
                "default_ttl = 0: must be above zero, or nothing would ever be kept".to_owned(),
            );
        }
        if self.ttl.is_none()
            && let Some(window) = self.stale_window()
        {
            return refuse(format!(
                "freshness.{window}: needs a time to live, without one no value is ever stale"
            ));
        }
        Ok(())
    }

    /// The name of a stale window above zero.
    fn stale_window(&self) -> Option<&'static str> {
        let is_set = |window: Option<Duration>| window.is_some_and(|window| !window.is_zero());
        if is_set(self.stale_if_error) {
            Some("stale_if_error")
        } else {
            is_set(self.stale_while_revalidate).then_some("stale_while_revalidate")
        }
    }

    /// True where a time to live is set, or none for ever.
    pub(super) fn sets_ttl(&self) -> bool {
        self.ttl.is_some()
    }

    /// True where nothing is to be kept.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.ttl == Some(Some(Duration::ZERO))
    }

    /// These options where nothing lives longer than `most`, over those that hold else.
    pub(super) fn capped(mut self, most: Duration, rules: &Rules) -> Self {
        let ttl = self.ttl.unwrap_or(rules.ttl);
        self.ttl = Some(Some(ttl.map_or(most, |ttl| ttl.min(most))));
        self.negative_ttl = Some(self.negative_ttl.unwrap_or(rules.negative_ttl).min(most));
        self
    }

    /// These options, and `others` for what they do not say.
    pub(super) fn or(self, others: &Self) -> Self {
        let Self {
            ttl,
            ttl_jitter,
            stale_if_error,
            stale_while_revalidate,
            negative_ttl,
            refresh_ahead,
            soft_timeout,
            hard_timeout,
            failure_backoff,
        } = self;
        Self {
            ttl: ttl.or(others.ttl),
            ttl_jitter: ttl_jitter.or(others.ttl_jitter),
            stale_if_error: stale_if_error.or(others.stale_if_error),
            stale_while_revalidate: stale_while_revalidate.or(others.stale_while_revalidate),
            negative_ttl: negative_ttl.or(others.negative_ttl),
            refresh_ahead: refresh_ahead.or(others.refresh_ahead),
            soft_timeout: soft_timeout.or(others.soft_timeout),
            hard_timeout: hard_timeout.or(others.hard_timeout),
            failure_backoff: failure_backoff.or(others.failure_backoff),
        }
    }

    /// When values are loaded ahead, where `rules` hold unless these options say otherwise.
    pub(super) fn refresh_ahead_over(&self, rules: &Rules) -> Option<RefreshAhead> {
        self.refresh_ahead.unwrap_or(rules.refresh_ahead)
    }

    /// What holds, where `rules` do unless these options say otherwise.
    pub(super) fn over(&self, rules: &Rules) -> Rules {
        Rules {
            ttl: self.ttl.unwrap_or(rules.ttl),
            ttl_jitter: self.ttl_jitter.unwrap_or(rules.ttl_jitter),
            stale_if_error: self.stale_if_error.unwrap_or(rules.stale_if_error),
            stale_while_revalidate: self
                .stale_while_revalidate
                .unwrap_or(rules.stale_while_revalidate),
            negative_ttl: self.negative_ttl.unwrap_or(rules.negative_ttl),
            refresh_ahead: self.refresh_ahead.unwrap_or(rules.refresh_ahead),
            soft_timeout: self.soft_timeout.or(rules.soft_timeout),
            hard_timeout: self.hard_timeout.or(rules.hard_timeout),
            failure_backoff: match self.failure_backoff {
                None => rules.failure_backoff,
                // What is out of range was refused.
                Some(_) => self.backoff().ok().flatten(),
            },
        }
    }
}

/// What holds for one call.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rules {
    pub(super) ttl: Option<Duration>,
    pub(super) ttl_jitter: f64,
    pub(super) stale_if_error: Duration,
    pub(super) stale_while_revalidate: Duration,
    pub(super) negative_ttl: Duration,
    pub(super) refresh_ahead: Option<RefreshAhead>,
    pub(super) soft_timeout: Option<Duration>,
    pub(super) hard_timeout: Option<Duration>,
    pub(super) failure_backoff: Option<Backoff>,
}

impl Rules {
    /// How long a value may be stale.
    pub(super) fn stale_window(&self) -> Duration {
        self.stale_if_error.max(self.stale_while_revalidate)
    }

    /// True where a caller with a stale value may be answered before a load has ended.
    pub(super) fn may_leave(&self) -> bool {
        let has_timeout = self.soft_timeout.is_some() || self.hard_timeout.is_some();
        !self.stale_while_revalidate.is_zero() || has_timeout && !self.stale_window().is_zero()
    }

    /// The same for something that lives so long and is never stale.
    pub(super) fn without_windows(&self, ttl: Duration) -> Self {
        let none = Duration::ZERO;
        Self { ttl: Some(ttl), stale_if_error: none, stale_while_revalidate: none, ..*self }
    }

    /// The life of a value that is made now.
    pub(super) fn life(&self, jitter: &Jitter) -> Life {
        let Some(ttl) = self.ttl else { return Life::ENDLESS };
        self.lasting(Some(jitter.shorten(ttl, self.ttl_jitter)))
    }

    /// The life of a value that is fresh for so long from now; `None` for ever.
    pub(super) fn lasting(&self, fresh: Option<Duration>) -> Life {
        fresh.map_or(Life::ENDLESS, |fresh| Life::of(fresh, self.stale_window()))
    }
}

/// What remains of the life of one value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life {
    /// Until it is gone; `None` for never.
    pub(super) ttl: Option<Duration>,
    /// The last part of `ttl` in which it is stale. Above it where it has been stale for a while.
    pub(super) stale: Duration,
}

/// A window that is longer is cut to this: nobody waits for its end, and both parts of a life together
/// stay within what each tier can say.
const LONGEST_WINDOW: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

impl Life {
    pub(super) const ENDLESS: Self = Self { ttl: None, stale: Duration::ZERO };

    /// That of a value that is fresh for so long, then stale for so long. What is fresh beyond all times is
    /// so for ever; a window never makes it that.
    pub(super) fn of(fresh: Duration, stale: Duration) -> Self {
        let stale = stale.min(LONGEST_WINDOW);
        match fresh.checked_add(stale).filter(|end| Millis(0).after(*end) != Millis::NEVER) {
            Some(end) => Self { ttl: Some(end), stale },
            None => Self::ENDLESS,
        }
    }

    /// How long it will still be fresh; `None` for ever.
    pub(super) fn fresh_left(self) -> Option<Duration> {
        self.ttl.map(|ttl| ttl.saturating_sub(self.stale))
    }

    /// How long it has been stale, or `None` while it is fresh.
    pub(super) fn stale_for(self) -> Option<Duration> {
        let ttl = self.ttl?;
        if self.stale.is_zero() { None } else { self.stale.checked_sub(ttl) }
    }

    /// The same, gone after `bound` at the latest.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub(super) fn within(self, bound: Duration) -> Self {
        let Some(ttl) = self.ttl.filter(|ttl| *ttl <= bound) else {
            let cut = match self.ttl {
                None => Duration::ZERO,
                Some(ttl) => ttl - bound,
            };
            // What is cut off is cut off the stale end first.
            return Self { ttl: Some(bound), stale: self.stale.saturating_sub(cut) };
        };
        Self { ttl: Some(ttl), ..self }
    }

    /// Where a value of this life, filed at `now`, ceases to be fresh; [`Millis::NEVER`] where it
    /// is never stale.
    pub(super) fn fresh_until(self, now: Millis) -> Millis {
        match self.ttl {
            Some(ttl) if !self.stale.is_zero() => {
                let stale = Millis(0).after(self.stale).0;
                Millis(now.after(ttl).0.saturating_sub(stale))
            }
            _ => Millis::NEVER,
        }
    }
}

/// Draws by how much times to live are shortened.
#[derive(Debug)]
pub(super) struct Jitter(AtomicU64);

impl Jitter {
    /// The same draws for the same seed; others in each process without one.
    pub(super) fn new(seed: Option<u64>) -> Self {
        Self(AtomicU64::new(seed.unwrap_or_else(|| RandomState::new().hash_one(0))))
    }

    /// `ttl` less up to `part` of it.
    fn shorten(&self, ttl: Duration, part: f64) -> Duration {
        if part <= 0.0 || ttl.is_zero() {
            return ttl;
        }
        // Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA 2014.
        let mut drawn = self.0.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let unit = ((drawn ^ (drawn >> 31)) >> 11) as f64 / (1_u64 << 53) as f64;
        let less = Duration::try_from_secs_f64(ttl.as_secs_f64() * (part * unit));
        // Not to zero, which would keep nothing.
        let least = ttl.min(Duration::from_millis(1));
        less.map_or(ttl, |less| ttl.saturating_sub(less)).max(least)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_calls_word_goes_before_the_caches_and_what_neither_says_is_off() {
        let cache = Freshness::new().ttl(secs(60)).stale_if_error(secs(10)).ttl_jitter(0.5);
        let cache = cache.over(&Rules::default());
        let call = Freshness::new().ttl(secs(5)).stale_if_error(Duration::ZERO).over(&cache);
        assert_eq!(call.ttl, Some(secs(5)));
        assert_eq!((call.stale_if_error, call.ttl_jitter), (Duration::ZERO, 0.5));
        assert_eq!((call.stale_while_revalidate, call.negative_ttl), Default::default());
        assert_eq!(Freshness::new().no_ttl().over(&cache).ttl, None);
        assert_eq!(Freshness::new().over(&cache), cache);
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_name() {
        let alone = |freshness: Freshness| freshness.check_alone().unwrap_err().to_string();
        for part in [-0.1, 1.1, f64::NAN] {
            assert!(alone(Freshness::new().ttl_jitter(part)).contains("freshness.ttl_jitter"));
        }
        assert!(alone(Freshness::new().ttl(Duration::ZERO)).contains("default_ttl = 0"));
        let error = alone(Freshness::new().stale_if_error(secs(1)));
        assert!(error.contains("freshness.stale_if_error: needs a time to live"), "{error}");
        let error = alone(Freshness::new().no_ttl().stale_while_revalidate(secs(1)));
        assert!(error.contains("freshness.stale_while_revalidate: needs"), "{error}");
        // A part of the options may leave the time to live to the others.
        Freshness::new().stale_if_error(secs(1)).check().unwrap();
        Freshness::new().no_ttl().stale_if_error(Duration::ZERO).check_alone().unwrap();
    }

    #[test]
    fn a_life_is_fresh_then_stale_then_over() {
        let rules = Freshness::new().ttl(secs(10)).stale_if_error(secs(3));
        let rules = rules.stale_while_revalidate(secs(5)).over(&Rules::default());
        let life = rules.life(&Jitter::new(Some(1)));
        assert_eq!(life, Life { ttl: Some(secs(15)), stale: secs(5) });
        let after = |passed| Life { ttl: Some(secs(15 - passed)), ..life };
        assert_eq!(after(9).stale_for(), None);
        assert_eq!(after(10).stale_for(), Some(Duration::ZERO));
        assert_eq!(after(14).stale_for(), Some(secs(4)));
        for passed in [0, 9, 12] {
            let until = after(passed).fresh_until(Millis(20_000));
            assert_eq!(until, Millis(20_000 + 10_000 - passed * 1_000), "after {passed} s");
        }
    }

    #[test]
    fn who_is_never_gone_is_never_stale() {
        let endless = Freshness::new().stale_if_error(secs(5)).over(&Rules::default());
        for ttl in [None, Some(Duration::MAX), Some(secs(u64::MAX / 1_000))] {
            let life = Rules { ttl, ..endless }.life(&Jitter::new(Some(1)));
            assert_eq!(life, Life::ENDLESS);
            assert_eq!((life.stale_for(), life.fresh_until(Millis(7))), (None, Millis::NEVER));
        }
    }

    #[test]
    fn no_window_makes_what_is_fresh_for_a_while_fresh_for_ever() {
        for window in [Duration::MAX, secs(u64::MAX), secs(u64::MAX / 1_000), LONGEST_WINDOW] {
            let rules = Freshness::new().ttl(secs(60)).stale_if_error(window);
            let life = rules.over(&Rules::default()).life(&Jitter::new(Some(1)));
            assert_eq!(life.fresh_left(), Some(secs(60)), "{window:?}");
            assert_eq!(life.fresh_until(Millis(5_000)), Millis(65_000), "{window:?}");
            assert_eq!(life.stale, LONGEST_WINDOW, "{window:?}");
        }
    }

    #[test]
    fn a_life_that_is_cut_short_loses_its_stale_end_first() {
        let life = Life { ttl: Some(secs(15)), stale: secs(5) };
        assert_eq!(life.within(secs(20)), life);
        assert_eq!(life.within(secs(12)), Life { ttl: Some(secs(12)), stale: secs(2) });
        assert_eq!(life.within(secs(2)), Life { ttl: Some(secs(2)), stale: secs(0) });
        let stale = Life { ttl: Some(secs(4)), stale: secs(5) };
        let cut = stale.within(secs(2));
        assert_eq!((cut.ttl, cut.stale_for()), (Some(secs(2)), Some(secs(1))));
        assert_eq!(Life::ENDLESS.within(secs(2)), Life { ttl: Some(secs(2)), stale: secs(0) });
    }

    #[test]
    fn jitter_only_shortens_differs_and_comes_again_with_its_seed() {
        let draw = |seed| {
            let jitter = Jitter::new(Some(seed));
            (0..1000).map(|_| jitter.shorten(secs(100), 0.25)).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        assert!(drawn.iter().all(|ttl| (secs(75)..=secs(100)).contains(ttl)));
        let mean = drawn.iter().sum::<Duration>() / 1000;
        assert!((secs(87)..secs(88)).contains(&mean), "{mean:?}");
        assert_eq!(drawn, draw(7));
        assert_ne!(drawn, draw(8));
        let jitter = Jitter::new(Some(7));
        assert!((0..1000).all(|_| !jitter.shorten(Duration::from_millis(1), 1.0).is_zero()));
    }
}

//! Load that is turned away, by the word of an operator: a share of it, or all.
//!
//! | | a fresh value of L1 | a look below L1 | a load | a change |
//! |---|---|---|---|---|
//! | a call that passes | served | made | made | made |
//! | one that is **shed** | served | not made: a miss | refused, or answered by a stale value | made |
//! | while it is **blocked** | not served: a miss | not made | refused | a new value is refused; removals are made |
//!
//! Whether calls are to be looked at is one bit of the plan ([`plan.rs`](super::plan)), which every call
//! loads anyhow and tests together with that of a split: so it costs nothing while nobody is turned
//! away. Which calls pass is said by the number of the call, as requests are split
//! ([`split.rs`](super::split)): of any run of them the share is exact.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use super::{
    Answer, Cache, Event, Inner,
    load::Call,
    plan::{Plan, Reach},
};
use crate::{
    error::{Error, ErrorKind, Result},
    metrics::CacheCounter,
    split::{Share, request_position},
    tiering::{TierKind, Tiering},
};

/// What a call gets that is shed, and that L1 has no fresh value for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Shedding {
    /// A stale value, where L1 has one; else an error.
    #[default]
    Stale,
    /// An error.
    Error,
}

impl Shedding {
    /// `stale` or `error`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Error => "error",
        }
    }
}

/// Whom a cache turns away.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct GateState {
    /// The share of calls that pass, 0 to 1.
    pub passes: f64,
    /// What the others get.
    pub shedding: Shedding,
    /// True while nothing is served.
    pub is_blocked: bool,
    /// Calls that were shed or refused since the cache was made.
    pub turned_away: u64,
}

impl fmt::Display for GateState {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_blocked {
            return out.write_str("blocked");
        }
        let percent = self.passes * 100.0;
        match self.passes < 1.0 {
            true => write!(out, "{percent} % pass, the others get: {}", self.shedding.as_str()),
            false => out.write_str("open"),
        }
    }
}

const STALE: u64 = 1 << 16;
const BLOCKED: u64 = 1 << 17;

/// What a cache keeps of this. The share in parts of 10,000 is in the low half of the word.
#[derive(Debug, Default)]
pub(super) struct Gate {
    word: AtomicU64,
    turns: AtomicU64,
    turned_away: AtomicU64,
}

impl Gate {
    fn word(&self) -> u64 {
        self.word.load(Ordering::Acquire)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.word() & BLOCKED != 0
    }

    /// Where the next call may look.
    fn reach(&self) -> Reach {
        let word = self.word();
        if word & BLOCKED != 0 {
            return Reach::NOTHING;
        }
        let share = Share::of_parts(word as u16);
        if share.takes(request_position(self.turns.fetch_add(1, Ordering::Relaxed))) {
            return Reach::ALL;
        }
        Reach::of(Tiering::L1).shed()
    }

    /// The error of a call that is turned away, counted.
    #[cold]
    pub(super) fn refusal(&self) -> Error {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
        match self.is_blocked() {
            true => Error::new(ErrorKind::Denied, "blocked by an operator"),
            false => Error::new(ErrorKind::Busy, "shed by an operator"),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// The plan of a call while calls are looked at.
    #[cold]
    #[inline(never)]
    pub(super) fn gated(&self, plan: Plan) -> Plan {
        plan.within(self.gate.reach())
    }

    /// The plan of a call that L1 alone may answer: it is no turn, as another call follows where it
    /// does not.
    pub(super) fn gated_near(&self, plan: Plan) -> Plan {
        if self.gate.is_blocked() { plan.within(Reach::NOTHING) } else { plan }
    }

    /// Refuses a new value while all is blocked.
    pub(super) fn may_set(&self) -> Result<()> {
        match self.plan.load().is_gated() && self.gate.is_blocked() {
            true => Err(self.gate.refusal()),
            false => Ok(()),
        }
    }

    /// The error of a read that is turned away.
    #[cold]
    pub(super) fn refused(&self) -> Error {
        self.metrics.count(CacheCounter::FailedReads);
        self.gate.refusal()
    }

    /// The stale value that answers a call that is shed, if it may and there is one.
    pub(super) fn stale_instead(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
    ) -> Option<Answer<Option<V>>> {
        if !plan.is_shed() || self.gate.word() & STALE == 0 {
            return None;
        }
        let found = call.best.as_ref().filter(|found| found.value.is_some())?;
        self.gate.turned_away.fetch_add(1, Ordering::Relaxed);
        self.count_hit(key, found);
        Some(found.clone().into_answer())
    }

    fn set_gate(&self, word: u64) -> Result<()> {
        let exclusive = self.changes.write();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(super::change::closed());
        }
        let is_gated = word != u64::from(Share::ALL.parts());
        // The word first: a call that is looked at goes by it.
        self.gate.word.store(word, Ordering::Release);
        self.plan.store(plan.gated(is_gated));
        drop(exclusive);
        let state = self.gate_state().to_string();
        self.events.tell(|| Event::Gate { state: state.into() });
        Ok(())
    }

    fn gate_state(&self) -> GateState {
        let word = self.gate.word();
        let is_gated = self.plan.load().is_gated();
        GateState {
            passes: if is_gated { Share::of_parts(word as u16).fraction() } else { 1.0 },
            shedding: if word & STALE == 0 { Shedding::Error } else { Shedding::Stale },
            is_blocked: is_gated && word & BLOCKED != 0,
            turned_away: self.gate.turned_away.load(Ordering::Relaxed),
        }
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Lets this share of calls pass, 0 to 1; the others are answered by L1 or not at all: nothing is
    /// asked below it and nothing loaded. Takes effect with the next call of any thread, and ends
    /// with [`lift`](Self::lift) or `shed_to(1.0, ..)`.
    ///
    /// ```
    /// use tierce::{Bytes, Cache, ErrorKind, Shedding};
    ///
    /// let cache = Cache::builder().build()?;
    /// cache.set("a", Bytes::from("1"))?;
    /// cache.shed_to(0.0, Shedding::Error)?;
    /// let load = |_: &[u8]| std::io::Result::Ok(Bytes::from("2"));
    /// assert_eq!(cache.get_or_load("a", load)?, "1");
    /// assert_eq!(cache.get_or_load("b", load).unwrap_err().kind(), ErrorKind::Busy);
    /// cache.lift()?;
    /// assert_eq!(cache.get_or_load("b", load)?, "2");
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a share out of its range, [`ErrorKind::Closed`].
    pub fn shed_to(&self, share: f64, shedding: Shedding) -> Result<()> {
        let Some(parts) = Share::of(share) else {
            return Err(Error::new(ErrorKind::Config, format!("share = {share}: must be 0 to 1")));
        };
        let stale = if shedding == Shedding::Stale && share < 1.0 { STALE } else { 0 };
        self.inner.set_gate(u64::from(parts.parts()) | stale)
    }

    /// Serves nothing and takes no new value until [`lift`](Self::lift): reads find nothing, loads and
    /// sets are refused with [`ErrorKind::Denied`]. Removals are made, so that what must go can go.
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    pub fn block(&self) -> Result<()> {
        self.inner.set_gate(BLOCKED)
    }

    /// Ends [`shed_to`](Self::shed_to) and [`block`](Self::block).
    ///
    /// # Errors
    /// [`ErrorKind::Closed`].
    pub fn lift(&self) -> Result<()> {
        self.inner.set_gate(u64::from(Share::ALL.parts()))
    }

    /// Whom it turns away.
    pub fn gate(&self) -> GateState {
        self.inner.gate_state()
    }

    /// Drops the connections to L3 and has them made anew; calls that are under way on them are misses
    /// there. False where there is none. The stream of changes stays as it is.
    pub fn reset_connections(&self) -> bool {
        let is_reset = self.inner.lowers.redis.opened().is_some_and(|redis| redis.reset());
        if is_reset {
            self.inner.events.tell(|| Event::Reset { tier: TierKind::Redis });
        }
        is_reset
    }

    /// Makes all that L1 of this process has stale, in all tiers, `per_second` keys a second, by calls
    /// of [`expire`](Self::expire) on this thread, until it is done or `goes_on` says no. Returns how
    /// many it was. What has no stale window is gone. Loads that are under way at its begin are not
    /// kept.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for a rate of 0, [`ErrorKind::Closed`].
    pub fn expire_all(&self, per_second: u32, goes_on: impl Fn() -> bool) -> Result<u64> {
        self.for_all(per_second, goes_on, |key| self.expire(key))
    }

    /// As [`expire_all`](Self::expire_all), but loads each key anew by `load`. A load that fails
    /// leaves what there is.
    ///
    /// # Errors
    /// As [`expire_all`](Self::expire_all).
    pub fn reload_all<E: Into<Box<dyn std::error::Error + Send + Sync>>>(
        &self,
        per_second: u32,
        goes_on: impl Fn() -> bool,
        load: impl Fn(&[u8]) -> std::result::Result<V, E>,
    ) -> Result<u64> {
        self.for_all(per_second, goes_on, |key| match self.refresh(key, |_| load(key)) {
            Err(error) if error.kind() == ErrorKind::Closed => Err(error),
            _ => Ok(()),
        })
    }

    fn for_all(
        &self,
        per_second: u32,
        goes_on: impl Fn() -> bool,
        work: impl Fn(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        if per_second == 0 {
            return Err(Error::new(ErrorKind::Config, "per_second = 0: must be above zero"));
        }
        let keys = std::cell::RefCell::new(Vec::new());
        self.inner.memory.retain(|key, _| {
            keys.borrow_mut().push(key.clone());
            true
        });
        let begin = std::time::Instant::now();
        let mut done = 0_u64;
        for key in keys.into_inner() {
            let due = begin + Duration::from_secs_f64(done as f64 / f64::from(per_second));
            thread::sleep(due.saturating_duration_since(std::time::Instant::now()));
            if !goes_on() {
                break;
            }
            work(&key)?;
            done += 1;
        }
        Ok(done)
    }
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;

//! A cache of which a part is on another tiering: by key, or by request.
//!
//! The tiers of both sides are in force, and every change reaches all of them ([`plan.rs`](super::plan));
//! a call looks only in those of its side. Which side that is, is said by one word that every call
//! of a split cache loads: so a share rises and falls at once, under load, and takes no lock. It may
//! be any word at any time: a key that changes sides finds on the new one what was put there since
//! its last change, or nothing.
//!
//! ```text
//!   bits   24           21..19      18..16      15..0
//!        +------------+-----------+-----------+---------------------------+
//!        | by request | old tiers | new tiers | share, in parts of 10,000 |
//!        +------------+-----------+-----------+---------------------------+
//! ```
//! The salt of the keys stands beside it. Who loads one of before and the other of after a change
//! puts one call on either side, which is as good as the other.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    Answer, Cache, Inner,
    plan::{Plan, Reach},
};
use crate::{
    error::{Error, ErrorKind, Result},
    metrics::{Arm, ArmCounter, WindowStats, nanoseconds},
    split::{Share, ShareWord, Side, SplitBy, key_position, request_position, salt_of},
    tier::SharedTier,
    tiering::Tiering,
};

/// How a cache is split between two tierings, for [`Cache::split`].
///
/// ```
/// use tierce::{Cache, Split, Tiering, guard::rollout::{Share, SplitBy}};
///
/// let split = Split::new(Tiering::L1, Tiering::L1).name("new-tiers").by(SplitBy::Key);
/// let cache = Cache::builder().build()?;
/// cache.split(&split.share(Share::of(0.1).unwrap_or_default()))?;
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "it does nothing until it is given to a cache"]
pub struct Split {
    old: Tiering,
    new: Tiering,
    by: SplitBy,
    salt: u64,
    share: Share,
}

impl Split {
    /// Nobody is on `new`, until [`share`](Self::share) says so.
    pub fn new(old: Tiering, new: Tiering) -> Self {
        Self { old, new, by: SplitBy::Key, salt: salt_of(""), share: Share::NONE }
    }

    /// Sets what is split: keys or requests. Default: keys.
    pub fn by(mut self, by: SplitBy) -> Self {
        self.by = by;
        self
    }

    /// Sets a name, which decides which keys go first. Default: none.
    pub fn name(mut self, name: &str) -> Self {
        self.salt = salt_of(name);
        self
    }

    /// Sets the share on the new tiering. Default: nobody.
    pub fn share(mut self, share: Share) -> Self {
        self.share = share;
        self
    }

    /// The tiers of both sides.
    pub fn tiering(&self) -> Tiering {
        self.old.union(self.new)
    }

    fn word(&self) -> u64 {
        let by = if self.by == SplitBy::Request { REQUESTS } else { 0 };
        by | u64::from(self.old.bits()) << OLD_AT
            | u64::from(self.new.bits()) << NEW_AT
            | u64::from(self.share.parts())
    }
}

const OLD_AT: u32 = 19;
const NEW_AT: u32 = 16;
const REQUESTS: u64 = 1 << 24;

/// What a cache keeps of this.
#[derive(Debug, Default)]
pub(super) struct Sides {
    word: AtomicU64,
    salt: AtomicU64,
    /// Counts the requests that were split.
    turns: AtomicU64,
}

impl Sides {
    fn set(&self, split: &Split) {
        self.salt.store(split.salt, Ordering::Relaxed);
        self.word.store(split.word(), Ordering::Release);
    }

    /// Where a call for this key falls. The turn of a request is over if it is `taken`. What all
    /// processes of the host know of the share counts more than what this one was told.
    fn reach(&self, key: &[u8], is_taken: bool, known: Option<ShareWord>) -> Reach {
        let word = self.word.load(Ordering::Acquire);
        let salt = self.salt.load(Ordering::Relaxed);
        let known = known.and_then(|known| known.share_for(salt));
        let share = known.unwrap_or(Share::of_parts(word as u16));
        let place = if word & REQUESTS == 0 {
            key_position(salt, key)
        } else if is_taken {
            request_position(self.turns.fetch_add(1, Ordering::Relaxed))
        } else {
            request_position(self.turns.load(Ordering::Relaxed))
        };
        let (side, at) = match share.takes(place) {
            true => (Side::New, NEW_AT),
            false => (Side::Old, OLD_AT),
        };
        Reach::of_side(Tiering::from_bits((word >> at) as u8), side)
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// Puts a share of all keys, or of all requests, on another tiering, under load. Where the cache
    /// is split between the same tierings already, that takes effect with the next call of any
    /// thread; else as [`retier`](Self::retier) to the tiers of both sides, which also ends a split.
    ///
    /// All changes reach the tiers of both sides, so a key may change sides at any time and as often
    /// as it likes: nobody is served what is older than its last change. While the cache is split,
    /// both sides are counted apart ([`side_windows`](Self::side_windows)).
    ///
    /// # Errors
    /// As [`retier`](Self::retier); [`ErrorKind::Config`] for a split by instance, which is one of
    /// processes.
    pub fn split(&self, split: &Split) -> Result<()> {
        if split.by == SplitBy::Instance {
            return Err(Error::new(
                ErrorKind::Config,
                "split by instance: a cache is split by key or request; retier instances",
            ));
        }
        self.inner.split(split)
    }

    /// Opens the store, in force or not, so that this process knows what the others of the host say of
    /// a rollout. From then on it deletes there what it changes.
    ///
    /// # Errors
    /// As [`retier`](Self::retier), and what keeps the store from being opened.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(crate) fn open_store(&self) -> Result<std::path::PathBuf> {
        self.inner.open_lowers(Tiering::L2)?;
        self.inner.lowers.shared.opened().map(SharedTier::directory).ok_or_else(|| {
            use crate::tiering::TierKind;
            let why = self.trouble(TierKind::Shared).unwrap_or_default();
            Error::new(ErrorKind::Io, why).in_tier(TierKind::Shared)
        })
    }

    /// What the processes of the host know of a rollout, where this one has the store.
    #[cfg(feature = "serde")]
    pub(crate) fn rollout_word(&self) -> Option<ShareWord> {
        self.inner.lowers.shared.opened().map(SharedTier::rollout)
    }

    /// Tells the processes of the host of a share, with effect on their next calls. False where it
    /// was taken back before.
    #[cfg(feature = "serde")]
    pub(crate) fn tell_share(&self, name: &str, share: Share, moves: crate::split::Moves) -> bool {
        let Some(shared) = self.inner.lowers.shared.opened() else { return true };
        shared.change_rollout(|word| word.next(name, share, moves))
    }

    /// True while it is split.
    pub fn is_split(&self) -> bool {
        self.inner.plan.load().is_split()
    }

    /// What the calls of the new side and those of the old one did in the last `span`; `None` where
    /// the cache was never split. Memory, processor time and whether tiers answer are the cache's.
    ///
    /// As with [`window`](Self::window), windows begin with the first call and are fed by each.
    pub fn side_windows(&self, span: Duration) -> Option<(WindowStats, WindowStats)> {
        let state = self.state();
        let now = self.now();
        let window = |side| Some(self.inner.metrics.arm(Some(side))?.window(now, state, span));
        Some((window(Side::New)?, window(Side::Old)?))
    }
}

/// A read on its way, to be counted for the side that it fell on.
pub(super) struct Trip<'a>(Option<&'a Arm>);

impl Trip<'_> {
    /// Ends with an answer of L1, a value that was fetched, or none.
    pub(super) fn ends<T>(self, answer: &Result<Answer<T>>) {
        let Some(arm) = self.0 else { return };
        arm.count(ArmCounter::Requests);
        match answer {
            Ok(answer) if answer.is_hit() => arm.count(ArmCounter::Hits),
            Ok(_) => {}
            Err(error) => {
                if fails_a_read(error) {
                    arm.count(ArmCounter::Failures);
                }
            }
        }
        std::mem::forget(self);
    }

    /// Ends for a read that loads nothing.
    pub(super) fn found<T>(self, answer: Option<&Answer<T>>) {
        let Some(arm) = self.0 else { return };
        arm.count(ArmCounter::Requests);
        if answer.is_some_and(Answer::is_hit) {
            arm.count(ArmCounter::Hits);
        }
        std::mem::forget(self);
    }
}

impl Drop for Trip<'_> {
    /// The loader panicked, or the task was dropped.
    fn drop(&mut self) {
        if let Some(arm) = self.0 {
            arm.count(ArmCounter::Requests);
            if std::thread::panicking() {
                arm.count(ArmCounter::Failures);
            }
        }
    }
}

/// False where the caller asked for what nobody could do.
fn fails_a_read(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Loader | ErrorKind::LoaderPanicked | ErrorKind::Timeout | ErrorKind::Codec
    )
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    fn split(&self, split: &Split) -> Result<()> {
        self.metrics.count_sides();
        let plan = self.plan.load();
        let tiering = split.tiering();
        if plan.is_open() && plan.is_split() && plan.tiering() == tiering {
            self.sides.set(split);
            return Ok(());
        }
        // The tiers first: a side whose tiers are not in force yet has none of them.
        self.open_lowers(tiering)?;
        let word = self.sides.word.load(Ordering::Relaxed);
        self.sides.set(split);
        let done = self.put_in_force(tiering, true);
        if done.is_err() {
            self.sides.word.store(word, Ordering::Release);
        }
        done
    }

    /// The plan of a call for this key, whose options allow this reach.
    #[inline]
    pub(super) fn route(&self, key: &[u8], reach: Reach) -> Plan {
        let plan = self.plan.load().within(reach);
        if !plan.is_special() {
            return plan;
        }
        let plan = if plan.is_split() { plan.within(self.side_of(key, true)) } else { plan };
        if plan.is_gated() { self.gated(plan) } else { plan }
    }

    fn side_of(&self, key: &[u8], is_taken: bool) -> Reach {
        self.sides.reach(key, is_taken, self.lowers.shared.opened().map(SharedTier::rollout))
    }

    /// Where a change of this key goes whose options allow this reach.
    pub(super) fn reach_of(&self, key: &[u8], reach: Reach) -> Reach {
        let plan = self.plan.load().within(reach);
        let plan = if plan.is_split() { plan.within(self.side_of(key, true)) } else { plan };
        plan.reach()
    }

    /// The plan of a call that only L1 may answer, and that is followed by another one where it does
    /// not.
    pub(super) fn route_near(&self, plan: Plan, key: &[u8]) -> Plan {
        if !plan.is_special() {
            return plan;
        }
        let plan = if plan.is_split() { plan.within(self.side_of(key, false)) } else { plan };
        if plan.is_gated() { self.gated_near(plan) } else { plan }
    }

    /// Ends the turn of a request that L1 answered by [`route_near`](Self::route_near).
    pub(super) fn near_ended(&self, plan: Plan) {
        if let Some(arm) = self.metrics.arm(plan.reach().side()) {
            self.sides.turns.fetch_add(1, Ordering::Relaxed);
            arm.count(ArmCounter::Requests);
            arm.count(ArmCounter::Hits);
        }
    }

    /// The keys at these indices, by where calls for them go.
    pub(super) fn by_reach(
        &self,
        keys: &[&[u8]],
        indices: Vec<usize>,
        reach: Reach,
    ) -> Vec<(Reach, Vec<usize>)> {
        if !self.plan.load().is_special() {
            return vec![(reach, indices)];
        }
        let mut sides: HashMap<Reach, Vec<usize>> = HashMap::new();
        for index in indices {
            let reach = self.route(keys[index], reach).reach();
            sides.entry(reach).or_default().push(index);
        }
        sides.into_iter().collect()
    }

    /// Begins to count a read for its side.
    pub(super) fn trip(&self, plan: Plan) -> Trip<'_> {
        Trip(self.metrics.arm(plan.reach().side()))
    }

    /// Counts reads of many keys for their side.
    pub(super) fn count_many(&self, reach: Reach, requests: usize, hits: usize) {
        if let Some(arm) = self.metrics.arm(reach.side()) {
            arm.add(ArmCounter::Requests, requests as u64);
            arm.add(ArmCounter::Hits, hits as u64);
        }
    }

    /// Records how long a read took that L1 did not answer.
    pub(super) fn read_ended(&self, reach: Reach, begin: Instant) {
        let took = nanoseconds(begin.elapsed());
        self.metrics.operation_latency.record(took);
        if let Some(arm) = self.metrics.arm(reach.side()) {
            arm.latency.record(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_says_what_was_split_and_how() {
        let (old, new) = (Tiering::L1L3, Tiering::L2);
        for (by, share) in [(SplitBy::Key, 0.0), (SplitBy::Request, 1.0)] {
            let split = Split::new(old, new).by(by).share(Share::of(share).unwrap());
            assert_eq!(split.tiering(), Tiering::L1L2L3);
            let sides = Sides::default();
            sides.set(&split);
            let (side, tiers) = if share == 0.0 { (Side::Old, old) } else { (Side::New, new) };
            assert_eq!(sides.reach(b"any", true, None), Reach::of_side(tiers, side));
        }
    }

    #[test]
    fn a_turn_that_nobody_took_is_the_next_one_too() {
        let sides = Sides::default();
        let half = Share::of(0.5).unwrap();
        sides.set(&Split::new(Tiering::L1, Tiering::L2).by(SplitBy::Request).share(half));
        for _ in 0..100 {
            let next = sides.reach(b"a", false, None);
            assert_eq!(next, sides.reach(b"b", false, None));
            assert_eq!(next, sides.reach(b"c", true, None));
        }
    }
}

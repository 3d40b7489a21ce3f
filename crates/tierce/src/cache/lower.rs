//! L2 and L3 as a cache holds them: opened or not, behind a breaker, with the ledger of keys
//! that changed while the tier could not be told.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    events::{Event, Teller},
    plan::Plan,
};
use crate::{
    clock::{Clock, Millis},
    error::{Error, ErrorKind, Result},
    event::{FaultEvents, Span},
    metrics::{ArmCounter, BreakerStats, Metrics, nanoseconds},
    resilience::{Breaker, BreakerOptions, BreakerState},
    sync::Mutex,
    tier::{Ledger, RemoteTier, SharedTier, Tier},
    tiering::TierKind,
};

/// How many keys of the ledger one change replays on its way: a few round trips at most are
/// added to a change after an outage, and the ledger still empties faster than it fills.
pub(super) const REPLAYS_PER_CHANGE: usize = 8;

/// How long a note rests before it is settled, if L3's options do not say: a write that failed may
/// still lie in a buffer, and L3 itself refuses it once its deadline has passed.
pub(super) const REST: Duration = Duration::from_secs(2);

/// The pause before a tier that could not be opened is tried again; it doubles with each failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such pause: a cause that is gone is noticed within a minute.
const LATEST_RETRY: Duration = Duration::from_secs(60);

/// How many keys a ledger holds before it distrusts the whole tier: 16 MiB of keys at most, and
/// more than change in the seconds of a usual outage.
pub(super) const LEDGER_KEYS: usize = 1 << 16;

/// The tiers below L1.
pub(super) struct Lowers {
    pub(super) shared: Lower<SharedTier>,
    pub(super) redis: Lower<dyn RemoteTier>,
}

/// Opens a tier from the options that the cache was built with.
pub(super) type Opener<T> = Box<dyn Fn() -> Result<Arc<T>> + Send + Sync>;

/// One tier below L1.
pub(super) struct Lower<T: Tier + ?Sized> {
    kind: TierKind,
    opener: Option<Opener<T>>,
    tier: OnceLock<Arc<T>>,
    /// Held while the tier is opened, which may take long.
    opening: Mutex<()>,
    /// Why the last attempt to open the tier failed.
    refusal: Mutex<Option<Error>>,
    /// How many attempts in a row did.
    failures: AtomicU32,
    /// When to try again, in milliseconds of the coarse clock; 0 for never.
    retry_at: AtomicU64,
    breaker: Breaker,
    ledger: Ledger,
    /// When the latest key was noted, in milliseconds of the coarse clock; 0 for never.
    noted_at: AtomicU64,
    /// How many replays of the ledger are under way.
    replays: AtomicU32,
    /// When the latest ended, boot-time milliseconds; 0 for never.
    replayed_at: AtomicU64,
    /// How long a note, or a doubt in the store, rests before it is settled.
    pub(super) rest: Duration,
    /// True if the builder was given options for the tier: it is expected to be used.
    is_expected: bool,
    events: FaultEvents,
    /// The state of the breaker that listeners know of.
    told: AtomicU32,
    teller: Option<Teller>,
    clock: Clock,
}

impl<T: Tier + ?Sized> Lower<T> {
    /// A tier that is opened when it first enters the tiering; `None` can never be.
    pub(super) fn new(
        kind: TierKind,
        opener: Option<Opener<T>>,
        is_expected: bool,
        ledger_keys: usize,
        rest: Duration,
        breaker: BreakerOptions,
        clock: &Clock,
    ) -> Result<Self> {
        Ok(Self {
            kind,
            opener,
            tier: OnceLock::new(),
            opening: Mutex::new(()),
            refusal: Mutex::new(None),
            failures: AtomicU32::new(0),
            retry_at: AtomicU64::new(0),
            breaker: Breaker::new(kind, breaker, clock.clone())?,
            ledger: Ledger::new(ledger_keys),
            noted_at: AtomicU64::new(0),
            replays: AtomicU32::new(0),
            replayed_at: AtomicU64::new(0),
            rest,
            is_expected,
            events: FaultEvents::default(),
            told: AtomicU32::new(BreakerState::Closed as u32),
            teller: None,
            clock: clock.clone(),
        })
    }

    /// The same, whose breaker is told of by this one.
    pub(super) fn told_by(mut self, teller: Teller) -> Self {
        self.teller = Some(teller);
        self
    }

    /// The tier, if it was ever opened.
    #[inline]
    pub(super) fn opened(&self) -> Option<&T> {
        self.tier.get().map(|tier| &**tier)
    }

    /// The tier to keep, if it was ever opened.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(super) fn to_keep(&self) -> Option<Arc<T>> {
        self.tier.get().cloned()
    }

    /// True if the builder was given options for the tier.
    #[cfg(all(feature = "config", feature = "shared", target_os = "linux"))]
    pub(super) fn is_expected(&self) -> bool {
        self.is_expected
    }

    /// The tier, if it is open and part of the plan.
    #[inline]
    pub(super) fn in_force(&self, plan: Plan) -> Option<&T> {
        if plan.has(self.kind) { self.opened() } else { None }
    }

    /// Opens the tier unless it is open. What the tier itself refuses is counted,
    /// kept for [`trouble`](Self::trouble) and no error.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] and [`ErrorKind::Unsupported`]: no later attempt can succeed.
    pub(super) fn open(&self, metrics: &Metrics) -> Result<()> {
        let _opening = self.opening.lock();
        if self.tier.get().is_some() {
            return Ok(());
        }
        let Some(opener) = &self.opener else {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "tiering asks for {}, which this build lacks: enable the feature {:?}",
                    self.kind.short(),
                    self.kind.type_name()
                ),
            ));
        };
        match opener() {
            Ok(tier) => {
                self.retry_at.store(0, Ordering::Relaxed);
                *self.refusal.lock() = None;
                // Cannot be set already: only this function sets it, under the lock.
                let _ = self.tier.set(tier);
                Ok(())
            }
            Err(error) if matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported) => {
                Err(error)
            }
            Err(error) => {
                metrics.tier(self.kind).error(error.kind());
                self.events.tell(&self.clock, self.kind, &error);
                *self.refusal.lock() = Some(error);
                let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
                let pause = FIRST_RETRY.saturating_mul(1 << failures).min(LATEST_RETRY);
                let retry_at = self.clock.coarse().after(pause);
                self.retry_at.store(retry_at.0, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    /// True where the tier could not be opened and it is time to try again: to one caller of all,
    /// who is to call [`open`](Self::open).
    pub(super) fn is_retry_due(&self) -> bool {
        let retry_at = self.retry_at.load(Ordering::Relaxed);
        retry_at != 0
            && Millis(retry_at) <= self.clock.coarse()
            && self
                .retry_at
                .compare_exchange(retry_at, 0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }

    /// Asks the tier, if it is in force and its breaker allows; `None` where it was not asked or
    /// failed, which is counted here.
    pub(super) fn call<R>(
        &self,
        plan: Plan,
        metrics: &Metrics,
        ask: impl FnOnce(&T) -> Result<R>,
    ) -> Option<R> {
        let tier = self.in_force(plan)?;
        let permit = self.breaker.allow()?;
        self.tell_breaker();
        let span = Span::tier(self.kind);
        let begin = Instant::now();
        let answer = {
            let _in = span.enter();
            ask(tier)
        };
        span.ended(answer.as_ref().err());
        let meter = metrics.tier(self.kind);
        meter.latency.record(nanoseconds(begin.elapsed()));
        permit.finish(&answer);
        self.tell_breaker();
        if let Err(error) = &answer {
            meter.error(error.kind());
            if error.kind() == ErrorKind::Timeout
                && let Some(arm) = metrics.arm(plan.reach().side())
            {
                arm.count(ArmCounter::Late);
            }
            self.events.tell(&self.clock, self.kind, error);
        }
        answer.ok()
    }

    /// Tells listeners of another state of the breaker.
    fn tell_breaker(&self) {
        let state = self.breaker.state();
        if self.told.load(Ordering::Relaxed) != state as u32 {
            let is_news = self.told.swap(state as u32, Ordering::Relaxed) != state as u32;
            if let Some(teller) = self.teller.as_ref().filter(|teller| is_news && teller.is_heard())
            {
                teller.tell(Event::Breaker { tier: self.kind, state });
            }
        }
    }

    /// As [`call`](Self::call) for a read or a fill of `key`, which is not asked for while the tier
    /// may hold something older than a change of it.
    pub(super) fn ask<R>(
        &self,
        plan: Plan,
        metrics: &Metrics,
        key: &[u8],
        ask: impl FnOnce(&T) -> Result<R>,
    ) -> Option<R> {
        if !self.may_ask(plan, metrics, key) {
            return None;
        }
        self.call(plan, metrics, ask)
    }

    /// False while the tier may hold something older than a change of `key`.
    pub(super) fn may_ask(&self, plan: Plan, metrics: &Metrics, key: &[u8]) -> bool {
        if self.ledger.distrusts(key) {
            // Who only reads must get the tier back too.
            self.replay(plan, metrics, REPLAYS_PER_CHANGE);
            return !self.ledger.distrusts(key);
        }
        true
    }

    /// As [`call`](Self::call) for a change of `key`. False where the tier did not take it, or may
    /// not have: the caller must see to it that nobody reads the key there.
    pub(super) fn change(
        &self,
        plan: Plan,
        metrics: &Metrics,
        key: &[u8],
        ask: impl FnOnce(&T) -> Result<()>,
    ) -> bool {
        if self.in_force(plan).is_none() {
            return false;
        }
        let begin = self.ledger.mark();
        let taken = self.call(plan, metrics, ask).is_some();
        if taken && self.is_rested() {
            self.ledger.settle(key, begin);
            self.replay(plan, metrics, REPLAYS_PER_CHANGE);
        }
        taken
    }

    /// Clears the tier; false as for [`change`](Self::change). Calls `cleared` before anybody is let
    /// look there again.
    pub(super) fn clear(&self, plan: Plan, metrics: &Metrics, cleared: impl FnOnce()) -> bool {
        let begin = self.ledger.mark();
        let taken = self.call(plan, metrics, |tier| tier.clear()).is_some();
        cleared();
        if taken && self.is_rested() {
            self.ledger.settle_everything(begin);
        }
        taken
    }

    /// Hands the notes to the store, whose doubts all processes of the host see.
    pub(super) fn hand_notes_to(&self, shared: &SharedTier) {
        if !self.ledger.is_empty() {
            self.ledger.hand_over(|key| shared.doubt_below(key), || shared.doubt_all_below());
        }
    }

    /// Notes that `key` changed and the tier does not know. To be called before the key's stamp
    /// is raised: who reads the tier's old value until then holds a mark that the stamp voids.
    pub(super) fn note(&self, key: &[u8]) {
        if self.is_expected || self.tier.get().is_some() {
            self.noted_at.store(self.clock.coarse().0, Ordering::Relaxed);
            self.ledger.note(key);
        } else {
            // A tier that nobody asked for, yet: not worth a list of keys.
            self.note_everything();
        }
    }

    /// Notes that all keys changed and the tier does not know.
    pub(super) fn note_everything(&self) {
        if self.opener.is_some() {
            self.noted_at.store(self.clock.coarse().0, Ordering::Relaxed);
            self.ledger.note_everything();
        }
    }

    /// True once a change that failed cannot land any more, over one that came after it.
    fn is_rested(&self) -> bool {
        let noted_at = Millis(self.noted_at.load(Ordering::Relaxed));
        noted_at == Millis(0) || noted_at.after(self.rest) <= self.clock.coarse()
    }

    /// Removes from the tier keys that changed while it did not know, once they have rested.
    pub(super) fn replay(&self, plan: Plan, metrics: &Metrics, budget: usize) {
        if !self.ledger.is_empty() && self.is_rested() {
            self.replay_now(plan, metrics, budget);
        }
    }

    /// As [`replay`](Self::replay), for a tier that takes changes at once or never.
    pub(super) fn replay_now(&self, plan: Plan, metrics: &Metrics, budget: usize) {
        if !self.ledger.is_empty() {
            self.replays.fetch_add(1, Ordering::AcqRel);
            self.call(plan, metrics, |tier| self.ledger.replay(tier, budget));
            self.replayed_at.fetch_max(self.clock.boot().0, Ordering::AcqRel);
            self.replays.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// When keys of the ledger were last removed from the tier; `None` while some may be.
    #[cfg(feature = "redis")]
    pub(super) fn replayed_at(&self) -> Option<Millis> {
        let is_under_way = self.replays.load(Ordering::Acquire) != 0;
        (!is_under_way).then(|| Millis(self.replayed_at.load(Ordering::Acquire)))
    }

    /// Why the tier does not answer now, or `None` while it does.
    pub(super) fn trouble(&self) -> Option<String> {
        match self.opened() {
            None => Some(self.refusal.lock().as_ref().map_or_else(
                || format!("{} was never opened", self.kind.label()),
                |error| error.to_string(),
            )),
            Some(tier) => tier.trouble().or_else(|| self.breaker.trouble()),
        }
    }

    /// How many keys the tier is not asked for, since it does not know of their changes.
    pub(super) fn distrusted_keys(&self) -> u64 {
        self.ledger.len() as u64
    }

    /// What the breaker did.
    pub(super) fn breaker_stats(&self) -> BreakerStats {
        let breaker = &self.breaker;
        BreakerStats::new(breaker.state().as_str(), breaker.times_opened(), breaker.rejected())
    }

    pub(super) fn close(&self) {
        if let Some(tier) = self.opened() {
            tier.close();
        }
    }
}

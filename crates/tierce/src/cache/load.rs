//! `get_or_load`: reading, and on a miss loading once for all callers in this process and, above
//! L2, on this host.
//!
//! The marks are taken before the first tier is asked, the fills are judged by them after the
//! loader returned: a load during which the key changed is given to those who wait for it and
//! kept nowhere, L3 included.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Inner, Loaded, Origin,
    change::{check_key, closed, needs_bytes},
    plan::Plan,
    read::Marks,
};
use crate::{
    error::{ErrorKind, Result},
    load::Entered,
    metrics::{CacheCounter, nanoseconds},
    simulated::{self, Fault},
    tier::{Fill, Record, Turn, Turns},
    tiering::TierKind,
};

/// Options of one `get_or_load`. Fields that are not set take the cache's defaults.
#[derive(Clone, Default)]
pub struct LoadOptions {
    ttl: Option<Option<Duration>>,
    wait: Option<Duration>,
    check: Option<Arc<WaitCheck>>,
}

type WaitCheck = dyn Fn() -> Result<()> + Send + Sync;

impl LoadOptions {
    /// The cache's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a loaded value may be kept, unless the loader says otherwise; zero keeps
    /// nothing.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(Some(ttl));
        self
    }

    /// Sets how long to wait for a load that another thread began. One of another process is
    /// waited for no longer either; this call loads itself then.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = Some(wait);
        self
    }

    /// Calls `check` about every 50 ms, with no lock held, while the call waits for a load that
    /// another thread or process began; an error of it ends the wait. For hosts that must look up while they
    /// wait, such as an interpreter for its signals.
    #[must_use]
    pub fn while_waiting(mut self, check: impl Fn() -> Result<()> + Send + Sync + 'static) -> Self {
        self.check = Some(Arc::new(check));
        self
    }
}

impl fmt::Debug for LoadOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LoadOptions")
            .field("ttl", &self.ttl)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn get_or_load(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(&[u8]) -> Result<Loaded<V>>,
    ) -> Result<Answer<V>> {
        check_key(key)?;
        let plan = self.plan.load();
        if !plan.open {
            return Err(closed());
        }
        if let Some(answer) = self.find_near(plan, key) {
            return Ok(answer);
        }
        self.listen(plan);
        let begin = Instant::now();
        let marks = self.marks(plan, key);
        if let Some(answer) = self.find_shared(plan, key, &marks) {
            self.read_ended(begin);
            return Ok(answer);
        }
        let is_current = |began| self.is_current(self.plan.load(), began);
        match self.flights.enter(key, marks.filed(), is_current)? {
            Entered::Lead(lead) => {
                let outcome = self.lead(plan, key, options, begin, load);
                lead.land(
                    outcome.as_ref().map(|answer| answer.value.clone()).map_err(Clone::clone),
                );
                outcome
            }
            Entered::Join(flight) => {
                self.metrics.miss();
                self.metrics.count(CacheCounter::LoadWaits);
                let outcome =
                    flight.wait(options.wait.unwrap_or(self.load_wait), options.check.as_deref());
                if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
                    // A hung loader must not hold its key for ever: the next caller loads.
                    self.flights.forget(key, &flight);
                }
                outcome.map(|value| Answer { value, origin: Origin::Joined })
            }
        }
    }

    /// Waits for its turn on this host, looks once more, then in L3, then loads.
    fn lead(
        &self,
        plan: Plan,
        key: &[u8],
        options: &LoadOptions,
        begin: Instant,
        load: impl FnOnce(&[u8]) -> Result<Loaded<V>>,
    ) -> Result<Answer<V>> {
        // Marks of this flight's own, and a second look under them: the flight before this one
        // may have landed between our miss and our turn.
        // So may the load of another process for which this one waited.
        let turns = self.turns(plan, key, options);
        let (mut marks, _lease) = loop {
            let turn = self.turn(turns.as_ref(), options)?;
            let marks = self.marks(plan, key);
            if let Some(value) = self.look_near(plan, key) {
                self.metrics.hit(TierKind::Memory);
                return Ok(Answer { value, origin: Origin::Tier(TierKind::Memory) });
            }
            if let Some(answer) = self.look_shared(plan, key, &marks) {
                return Ok(answer);
            }
            match turn {
                Turn::Mine(lease) => break (marks, Some(lease)),
                Turn::Alone => break (marks, None),
                Turn::Over => {}
            }
        };
        let found = self.find_remote(plan, key, &mut marks);
        // The loader has a histogram of its own.
        self.read_ended(begin);
        if let Some(answer) = found {
            return Ok(answer);
        }
        self.metrics.miss();
        self.metrics.count(CacheCounter::Loads);
        let begin = Instant::now();
        let failure = OnPanic(|| self.metrics.count(CacheCounter::LoadFailures));
        let loaded = load(key);
        std::mem::forget(failure);
        self.metrics.load_latency.record(nanoseconds(begin.elapsed()));
        if loaded.is_err() {
            self.metrics.count(CacheCounter::LoadFailures);
        }
        if simulated::is_planted(Fault::StampAfterLoad) {
            marks = self.marks(plan, key);
            _ = self.find_remote(plan, key, &mut marks);
        }
        let Loaded { value, ttl } = loaded?;
        let ttl = ttl.map(Some).or(options.ttl).unwrap_or(self.default_ttl);
        let value = if ttl == Some(Duration::ZERO) {
            value
        } else {
            self.keep(plan, key, value, ttl, &marks)?
        };
        Ok(Answer { value, origin: Origin::Loaded })
    }

    /// The way to this call's turn to load, where the processes of the host take turns.
    fn turns(&self, plan: Plan, key: &[u8], options: &LoadOptions) -> Option<Turns> {
        if options.ttl == Some(Some(Duration::ZERO)) {
            // What is not kept is of no use to others.
            return None;
        }
        let patience = options.wait.unwrap_or(self.load_wait);
        self.lowers.shared.in_force(plan)?.turns(key, patience)
    }

    fn turn<'a>(&self, turns: Option<&'a Turns>, options: &LoadOptions) -> Result<Turn<'a>> {
        let Some(turns) = turns else { return Ok(Turn::Alone) };
        let waited = turns.has_waited();
        let turn = turns.ask(|| options.check.as_deref().map_or(Ok(()), |check| check()));
        if !waited && turns.has_waited() {
            self.metrics.count(CacheCounter::LoadWaits);
        }
        turn
    }

    /// Puts a loaded value into the tiers, lowest first, as far as the marks allow. Returns the
    /// value that the tiers agree on: that of another process or host, where it was first.
    fn keep(
        &self,
        plan: Plan,
        key: &[u8],
        value: V,
        ttl: Option<Duration>,
        marks: &Marks,
    ) -> Result<V> {
        if !needs_bytes(plan) {
            if !self.file(plan, key, value.clone(), ttl, marks) {
                self.metrics.count(CacheCounter::LoadsNotStored);
            }
            return Ok(value);
        }
        let (bytes, format) = self.codec.encode(&value)?;
        let change = self.begin_change(plan, key);
        let change_number = change.map_or(0, |change| change.number());
        let record = Record { change: change_number, ..Record::new(bytes, format, ttl) };
        let filled = marks
            .remote()
            .and_then(|token| self.ask_remote(plan, key, |tier| tier.fill(key, &record, token)));
        let (value, record) = match filled {
            Some(Fill::Refused) => {
                self.metrics.count(CacheCounter::LoadsNotStored);
                return Ok(value);
            }
            Some(Fill::Adopted(theirs)) => {
                self.decode(TierKind::Redis, theirs).unwrap_or((value, record))
            }
            Some(Fill::Stored | Fill::Dropped) | None => (value, record),
        };
        let kept = self.keep_above_remote(plan, key, value, record, marks);
        self.end_change(plan, key, change);
        if kept.refused {
            self.metrics.count(CacheCounter::LoadsNotStored);
        }
        Ok(kept.value)
    }
}

/// Runs a closure when it is dropped: while a panic unwinds, since it is forgotten otherwise.
struct OnPanic<F: Fn()>(F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

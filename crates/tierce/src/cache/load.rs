//! `get_or_load`: reading, and on a miss loading once for all callers in this process and, above
//! L2, on this host.
//!
//! The marks are taken before the first tier is asked, the fills are judged by them after the
//! loader returned: a load during which the key changed is given to those who wait for it and
//! kept nowhere, L3 included.
//!
//! A stale value is a miss that may have an answer all the same. Who leads its load asks L3 first,
//! as another host may have refreshed it. Who would wait takes the stale value at once, if the
//! options allow ([`Freshness::stale_while_revalidate`]). Where the load fails, each caller looks
//! once more, so that nobody gets what a change has ended meanwhile, and takes the stale value if
//! its own options allow ([`Freshness::stale_if_error`]).

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Freshness, Inner, Loaded, Origin,
    change::{check_key, closed, needs_bytes},
    freshness::{Life, Rules},
    plan::Plan,
    read::{Draft, Found, Glance, Judge, Marks, is_young},
};
use crate::{
    error::{Error, ErrorKind, Result},
    load::{CancelToken, Entered, LoadContext, LoadReason},
    metrics::{CacheCounter, Sampler, TierCounter, nanoseconds},
    tier::{Fill, Record, Turn, Turns},
    tiering::TierKind,
};

/// How long word that there is no value is kept which is to be kept for no time: just so that it
/// takes the place of a stale value.
const SHORTEST_NEGATIVE: Duration = Duration::from_millis(1);

/// Options of one `get_or_load`. Fields that are not set take the cache's defaults.
#[derive(Clone, Default)]
pub struct LoadOptions {
    freshness: Freshness,
    max_age: Option<Duration>,
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
        self.freshness = self.freshness.ttl(ttl);
        self
    }

    /// Sets how long a loaded value is fresh, and when a stale one may be served. Replaces what was
    /// set so far.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// These options, and `freshness` for what they do not say.
    pub(crate) fn or(mut self, freshness: &Freshness) -> Self {
        self.freshness = self.freshness.or(freshness);
        self
    }

    /// Sets how long ago the value may have been set, or its load begun, at most; what is older, or
    /// of an age that is not known, is loaded anew. Zero always loads: no earlier than this call
    /// began. Default: no bound.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = Some(age);
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
            .field("freshness", &self.freshness)
            .field("max_age", &self.max_age)
            .field("wait", &self.wait)
            .finish_non_exhaustive()
    }
}

/// How a flight of this cache lands, if it does not fail.
#[derive(Clone)]
pub(super) enum Landing<V> {
    /// With what was loaded, or found.
    Done {
        /// `None` where there is no value.
        value: Option<V>,
        /// When it was set, or its load began, if that is known.
        made: Option<Instant>,
    },
    /// With nothing: who led it took a stale value, as another process loads.
    Elsewhere,
}

/// What came of leading a load.
enum Led<V> {
    /// A tier has by now what the call may be given.
    Found(Found<V>),
    /// The loader's answer, and when it began.
    Loaded(Option<V>, Instant),
    /// Another process loads, and until then this serves.
    Stale(Found<V>),
}

/// One call on its way through the tiers to its loader.
struct Call<'a, V> {
    rules: Rules,
    options: &'a LoadOptions,
    began: Instant,
    /// The best of what the tiers have that may not be served just so.
    best: Option<Found<V>>,
    /// Something stale from below L2, and by what to judge it.
    remote: Option<(Found<V>, Judge)>,
}

impl<V: Clone> Call<'_, V> {
    fn is_young(&self, found: &Found<V>) -> bool {
        is_young(found.age, self.options.max_age)
    }

    /// True for what answers the call.
    fn accepts(&self, found: &Found<V>) -> bool {
        found.is_fresh() && self.is_young(found)
    }

    /// True for a stale value that answers the call while it is stale for less than `window`.
    fn tolerates(&self, found: &Found<V>, window: Duration) -> bool {
        let is_within = found.stale_for.is_none_or(|stale| stale < window);
        is_within && found.value.is_some() && self.is_young(found)
    }

    /// The stale value that serves while somebody else loads.
    fn while_revalidated(&self) -> Option<&Found<V>> {
        let window = self.rules.stale_while_revalidate;
        self.best.as_ref().filter(|found| self.tolerates(found, window))
    }

    /// Takes note of what a tier has.
    fn consider(&mut self, found: Found<V>) {
        self.best = Some(found.or_fresher(self.best.take()));
    }

    /// True if a flight that landed with something made at that time answers the call.
    fn accepts_made(&self, made: Option<Instant>) -> bool {
        let Some(max_age) = self.options.max_age else { return true };
        made.and_then(|made| made.checked_add(max_age)).is_some_and(|until| until >= self.began)
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// The value, where that is all that is asked for.
    pub(super) fn get_or_load_value(
        &self,
        key: &[u8],
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Option<V>> {
        let plan = self.plan.load();
        let near = match self.find_near(plan, key) {
            Glance::Value(value) => return Ok(Some(value)),
            Glance::Other => self.look_near(plan, key),
            Glance::Nothing => {
                let answer = self.load_on(plan, key, &LoadOptions::default(), None, load);
                return answer.map(|answer| answer.value);
            }
        };
        let answer = self.load_after(plan, key, &LoadOptions::default(), near, load);
        answer.map(|answer| answer.value)
    }

    pub(super) fn get_or_load(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        let plan = self.plan.load();
        let begin = Sampler::tick().then(Instant::now);
        let near = self.look_near(plan, key);
        let is_hit = near.as_ref().is_some_and(Found::is_fresh);
        let answer = self.load_after(plan, key, options, near, load);
        if is_hit {
            self.timed_near(plan, begin);
        }
        answer
    }

    /// Goes on with what L1 has.
    fn load_after(
        &self,
        plan: Plan,
        key: &[u8],
        options: &LoadOptions,
        near: Option<Found<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        match near {
            Some(found) if found.is_fresh() && is_young(found.age, options.max_age) => {
                self.count_hit(&found);
                Ok(found.into_answer())
            }
            near => {
                if plan.has(TierKind::Memory) {
                    self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
                }
                self.load_on(plan, key, options, near, load)
            }
        }
    }

    /// Asks L2, and where that does not help joins or leads a load. `near` is what L1 has.
    #[inline(never)]
    fn load_on(
        &self,
        plan: Plan,
        key: &[u8],
        options: &LoadOptions,
        near: Option<Found<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        check_key(key)?;
        options.freshness.check()?;
        if !plan.open {
            return Err(closed());
        }
        self.listen(plan);
        let rules = options.freshness.over(&self.rules);
        let began = Instant::now();
        let mut call = Call { rules, options, began, best: near, remote: None };
        let mut load = Some(load);
        loop {
            let marks = self.marks(plan, key);
            if let Some(found) = self.find_shared(plan, key, &marks) {
                if call.accepts(&found) {
                    self.read_ended(began);
                    self.count_hit(&found);
                    return Ok(found.into_answer());
                }
                call.consider(found);
            }
            let is_current = |began| self.is_current(self.plan.load(), began);
            let lead = match self.flights.enter(key, marks.filed(), is_current)? {
                Entered::Lead(lead) => lead,
                Entered::Join(flight) => {
                    if let Some(stale) = call.while_revalidated() {
                        self.count_hit(stale);
                        return Ok(stale.clone().into_answer());
                    }
                    self.metrics.count(CacheCounter::LoadWaits);
                    let patience = options.wait.unwrap_or(self.load_wait);
                    let patience = patience.saturating_sub(began.elapsed());
                    let outcome = flight.wait(patience, options.check.as_deref());
                    if outcome.as_ref().is_err_and(|error| error.kind() == ErrorKind::Timeout) {
                        // A hung loader must not hold its key for ever: the next caller loads.
                        self.flights.forget(key, &flight);
                    }
                    match outcome {
                        Ok(Landing::Done { value, made }) if call.accepts_made(made) => {
                            let age = made.map(|made| made.elapsed());
                            self.metrics.miss();
                            let origin = Origin::Joined;
                            return Ok(Answer { value, origin, is_stale: false, age });
                        }
                        Ok(Landing::Done { .. } | Landing::Elsewhere) => {
                            call.best = None;
                            continue;
                        }
                        Err(error) => return self.fall_back(plan, key, &call, error),
                    }
                }
            };
            // A loop comes here once.
            let Some(load) = load.take() else { return Err(closed()) };
            return match self.lead(plan, key, &mut call, load) {
                Ok(Led::Found(found)) => {
                    let made = found.age.and_then(|age| Instant::now().checked_sub(age));
                    lead.land(Ok(Landing::Done { value: found.value.clone(), made }));
                    self.count_hit(&found);
                    Ok(found.into_answer())
                }
                Ok(Led::Loaded(value, made)) => {
                    lead.land(Ok(Landing::Done { value: value.clone(), made: Some(made) }));
                    self.metrics.miss();
                    let age = Some(made.elapsed());
                    Ok(Answer { value, origin: Origin::Loaded, is_stale: false, age })
                }
                Ok(Led::Stale(found)) => {
                    lead.land(Ok(Landing::Elsewhere));
                    self.count_hit(&found);
                    Ok(found.into_answer())
                }
                Err(error) => {
                    lead.land(Err(error.clone()));
                    self.fall_back(plan, key, &call, error)
                }
            };
        }
    }

    /// What a call is given whose load failed: a stale value if it allows that, else the error.
    fn fall_back(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
        error: Error,
    ) -> Result<Answer<Option<V>>> {
        let window = call.rules.stale_if_error;
        let is_failed_load = matches!(
            error.kind(),
            ErrorKind::Loader | ErrorKind::LoaderPanicked | ErrorKind::Timeout
        );
        if !is_failed_load || window.is_zero() {
            self.metrics.miss();
            return Err(error);
        }
        // What was stale before the load may have been deleted since, or set anew.
        let marks = self.marks(plan, key);
        let near = self.look_near(plan, key);
        let found = match self.look_shared(plan, key, &marks) {
            Some(shared) => Some(shared.or_fresher(near)),
            None => near,
        };
        let remote = || {
            let (found, judge) = call.remote.as_ref()?;
            self.is_unchanged(plan, *judge).then(|| found.clone())
        };
        match found.or_else(remote).filter(|found| call.tolerates(found, window)) {
            Some(found) => {
                self.count_hit(&found);
                Ok(found.into_answer())
            }
            None => {
                self.metrics.miss();
                Err(error)
            }
        }
    }

    /// Waits for its turn on this host, looks once more, then in L3, then loads.
    fn lead(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Led<V>> {
        // Marks of this flight's own, and a second look under them: the flight before this one
        // may have landed between our miss and our turn.
        // So may the load of another process for which this one waited.
        let serves_stale = call.while_revalidated().is_some();
        let turns = self.turns(plan, key, call, serves_stale);
        let (mut marks, _lease) = loop {
            let turn = self.turn(turns.as_ref(), call.options)?;
            let others_load = turns.as_ref().is_some_and(Turns::has_waited);
            if others_load
                && !matches!(turn, Turn::Mine(_))
                && serves_stale
                && let Some(stale) = call.while_revalidated()
            {
                return Ok(Led::Stale(stale.clone()));
            }
            let marks = self.marks(plan, key);
            if let Some(found) = self.look_near(plan, key) {
                if call.accepts(&found) {
                    return Ok(Led::Found(found));
                }
                call.consider(found);
            }
            if let Some(found) = self.look_shared(plan, key, &marks) {
                if call.accepts(&found) {
                    return Ok(Led::Found(found));
                }
                call.consider(found);
            }
            match turn {
                Turn::Mine(lease) => break (marks, Some(lease)),
                Turn::Alone => break (marks, None),
                Turn::Over => {}
            }
        };
        let found = self.find_remote(plan, key, &mut marks);
        // The loader has a histogram of its own.
        self.read_ended(call.began);
        if let Some(found) = found {
            if call.accepts(&found) {
                return Ok(Led::Found(found));
            }
            call.remote = Some((found.clone(), marks.judge()));
            call.consider(found);
        }
        self.metrics.count(CacheCounter::Loads);
        let reason = match &call.best {
            None => LoadReason::Miss,
            Some(found) if found.is_fresh() => LoadReason::MaxAge,
            Some(_) => LoadReason::Stale,
        };
        let mut context = LoadContext::new(key, reason, CancelToken::new());
        if let Some((value, found)) =
            call.best.as_ref().and_then(|it| it.value.as_ref().zip(Some(it)))
        {
            let validator = found.extras.as_ref().map(|extras| extras.validator.clone());
            context = context.with_stale(value, validator.unwrap_or_default());
        }
        let (made, made_at) = (Instant::now(), self.clock.coarse());
        let failure = OnPanic(|| {
            self.metrics.count(CacheCounter::LoadFailures);
            self.metrics.miss();
        });
        let loaded = load(&context);
        std::mem::forget(failure);
        self.metrics.load_latency.record(nanoseconds(made.elapsed()));
        if loaded.is_err() {
            self.metrics.count(CacheCounter::LoadFailures);
        }
        let Loaded { value, ttl } = loaded?;
        let life = self.life_of_loaded(call, value.is_some(), ttl);
        let Some(life) = life else { return Ok(Led::Loaded(value, made)) };
        let age = Duration::from_millis(self.clock.coarse().0.saturating_sub(made_at.0));
        // What the call found too old must not outlive what it loaded in its stead.
        let over = (reason != LoadReason::Miss).then_some(made_at);
        let draft = Draft { value, record: None, life, age: Some(age), over };
        let value = self.keep(plan, key, draft, &marks)?;
        Ok(Led::Loaded(value, made))
    }

    /// How long a loaded value lives; `None` where it is not to be kept.
    fn life_of_loaded(
        &self,
        call: &Call<'_, V>,
        is_present: bool,
        ttl: Option<Duration>,
    ) -> Option<Life> {
        let rules = &call.rules;
        let rules = if is_present {
            Rules { ttl: ttl.map(Some).unwrap_or(rules.ttl), ..*rules }
        } else {
            let mut ttl = ttl.unwrap_or(rules.negative_ttl);
            if call.best.is_some() {
                ttl = ttl.max(SHORTEST_NEGATIVE);
            }
            let no_window = Duration::ZERO;
            Rules {
                ttl: Some(ttl),
                stale_if_error: no_window,
                stale_while_revalidate: no_window,
                ..*rules
            }
        };
        (rules.ttl != Some(Duration::ZERO)).then(|| rules.life(&self.jitter))
    }

    /// The way to this call's turn to load, where the processes of the host take turns. One that has
    /// a stale value to serve only asks whether another process loads.
    fn turns(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
        serves_stale: bool,
    ) -> Option<Turns> {
        let options = call.options;
        if options.freshness.keeps_nothing() {
            // What is not kept is of no use to others.
            return None;
        }
        let patience =
            if serves_stale { Duration::ZERO } else { options.wait.unwrap_or(self.load_wait) };
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
        mut draft: Draft<V>,
        marks: &Marks,
    ) -> Result<Option<V>> {
        if !needs_bytes(plan) {
            let value = draft.value.clone();
            if !self.file(plan, key, draft, marks) {
                self.metrics.count(CacheCounter::LoadsNotStored);
            }
            return Ok(value);
        }
        let (bytes, format) = self.encode(draft.value.as_ref())?;
        let change = self.begin_change(plan, key);
        let change_number = change.map_or(0, |change| change.number());
        let record = Record {
            stale: draft.life.stale,
            age: draft.age,
            change: change_number,
            ..Record::new(bytes, format, draft.life.ttl)
        };
        let filled = marks
            .remote()
            .and_then(|token| self.ask_remote(plan, key, |tier| tier.fill(key, &record, token)));
        draft.record = Some(record);
        match filled {
            Some(Fill::Refused) => {
                self.metrics.count(CacheCounter::LoadsNotStored);
                self.end_change(plan, key, change);
                return Ok(draft.value);
            }
            Some(Fill::Adopted(theirs)) => {
                if let Some(theirs) = self.decode(TierKind::Redis, theirs) {
                    draft = Draft { over: draft.over, ..theirs };
                }
            }
            Some(Fill::Stored | Fill::Dropped) | None => {}
        }
        let kept = self.keep_above_remote(plan, key, draft, marks);
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

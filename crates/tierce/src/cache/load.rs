//! `get_or_load`: reading, and on a miss loading once for all callers in this process and, above
//! L2, on this host.
//!
//! The marks are taken before the first tier is asked, the fills are judged by them after the
//! loader returned: a load during which the key changed is given to those who wait for it and
//! kept nowhere, L3 included.
//!
//! A stale value is a miss that may have an answer all the same. Who leads its load asks L3 first,
//! as another host may have refreshed it. Who would wait takes the stale value at once, if the
//! options allow ([`stale_while_revalidate`](super::Freshness::stale_while_revalidate)). Where the load fails, each caller looks
//! once more, so that nobody gets what a change has ended meanwhile, and takes the stale value if
//! its own options allow ([`stale_if_error`](super::Freshness::stale_if_error)).

use std::time::{Duration, Instant};

use super::{
    Answer, Inner, LoadOptions, Loaded, Origin,
    change::{check_key, closed},
    freshness::Rules,
    marks::Judge,
    plan::{Plan, Reach},
    read::{Found, Glance, is_young},
    tags,
};
use crate::{
    error::{Error, ErrorKind, Result},
    event::Span,
    load::{Entered, Joined, Lead, LoadContext, LoadReason, Waited},
    metrics::{CacheCounter, Sampler, TierCounter},
    simulated::{self, Fault},
    tag_cells::Verdict,
    tiering::TierKind,
};

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

/// One call on its way through the tiers to its loader.
#[derive(Clone)]
pub(super) struct Call<'a, V> {
    /// Where it may look, and put what it loads.
    pub(super) reach: Reach,
    pub(super) rules: Rules,
    pub(super) options: &'a LoadOptions,
    pub(super) began: Instant,
    /// The oldest that answers it.
    pub(super) max_age: Option<Duration>,
    /// Why it loads, if it does though there is a fresh value.
    pub(super) reason: Option<LoadReason>,
    /// The best of what the tiers have that may not be served just so.
    pub(super) best: Option<Found<V>>,
    /// Something stale from below L2, and by what to judge it.
    pub(super) remote: Option<(Found<V>, Judge)>,
    has_waited: bool,
    /// Nothing stale was left at its soft timeout.
    waits_on: bool,
}

/// What came of leading a load, or of waiting for it.
pub(super) enum Step<V> {
    Answer(Answer<Option<V>>),
    /// The leader is gone: lead.
    Lead(Lead<Landing<V>>),
    /// Begin anew.
    Again,
}

/// What a call does that L1 does not answer.
pub(super) enum Way<V> {
    /// L2 has what answers it, and it is counted.
    Found(Found<V>),
    Lead(Lead<Landing<V>>),
    Join(Joined<Landing<V>>),
}

/// How long a call waits for another's load.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    pub(super) span: Duration,
    /// It has a stale value then, and leaves the load be.
    is_soft: bool,
}

/// Who leads loads, on this thread or another.
pub(super) trait Leads<V> {
    /// Leads this flight, and lands it or has it landed.
    fn lead(
        &mut self,
        cache: &Inner<V>,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
    ) -> Result<Step<V>>;

    /// Told of what L2 had that answers a call.
    fn hit(&mut self, _cache: &Inner<V>, _plan: Plan, _key: &[u8], _found: &Found<V>) {}
}

/// A loader that is borrowed for one call, and runs on its thread.
pub(super) struct Borrowed<F>(Option<F>);

impl<V, F> Leads<V> for Borrowed<F>
where
    V: Clone + Send + Sync + 'static,
    F: FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
{
    fn lead(
        &mut self,
        cache: &Inner<V>,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
    ) -> Result<Step<V>> {
        // Who leads here has its answer then: nobody comes twice.
        let Some(load) = self.0.take() else { return Err(closed()) };
        cache.lead_here(key, call, lead, load).map(Step::Answer)
    }
}

impl<'a, V: Clone> Call<'a, V> {
    /// A call with these options where `rules` are those of the cache.
    pub(super) fn new(
        plan: Plan,
        rules: &Rules,
        options: &'a LoadOptions,
        near: Option<Found<V>>,
    ) -> Self {
        Self {
            reach: plan.reach(),
            rules: options.freshness.over(rules),
            options,
            began: simulated::now(),
            max_age: options.max_age,
            reason: None,
            best: near,
            remote: None,
            has_waited: false,
            waits_on: false,
        }
    }

    fn is_young(&self, found: &Found<V>) -> bool {
        is_young(found.age, self.max_age)
    }

    /// True for what answers the call.
    pub(super) fn accepts(&self, found: &Found<V>) -> bool {
        found.is_fresh() && self.is_young(found)
    }

    /// True for a stale value that answers the call while it is stale for less than `window`.
    pub(super) fn tolerates(&self, found: &Found<V>, window: Duration) -> bool {
        let is_within = found.stale_for.is_none_or(|stale| stale < window);
        is_within && found.value.is_some() && self.is_young(found)
    }

    /// The stale value that serves while somebody else loads.
    pub(super) fn while_revalidated(&self) -> Option<&Found<V>> {
        let window = self.rules.stale_while_revalidate;
        self.best.as_ref().filter(|found| self.tolerates(found, window))
    }

    /// True where the caller may be answered before a load ends: if that runs on another thread.
    pub(super) fn may_leave(&self) -> bool {
        let rules = &self.rules;
        rules.hard_timeout.is_some()
            || rules.soft_timeout.is_some() && self.best.is_some()
            || self.while_revalidated().is_some()
    }

    /// The stale value that serves where a load takes too long.
    fn if_slow(&self) -> Option<&Found<V>> {
        self.best.as_ref().filter(|found| self.tolerates(found, self.rules.stale_window()))
    }

    /// Takes note of what a tier has.
    pub(super) fn consider(&mut self, found: Found<V>) {
        self.best = Some(found.or_fresher(self.best.take()));
    }

    /// True if a flight that landed with something made at that time answers the call.
    pub(super) fn accepts_made(&self, made: Option<Instant>) -> bool {
        let Some(max_age) = self.max_age else { return true };
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
        let options = LoadOptions::default();
        if plan.is_special() {
            return self.get_or_load(key, &options, load).map(|answer| answer.value);
        }
        let load = Borrowed(Some(load));
        let answer = match self.find_near(plan, key) {
            Glance::Value(value) => return Ok(Some(value)),
            Glance::Other => self.load_after(plan, key, &options, self.look_near(plan, key), load),
            Glance::Nothing => {
                self.load_on(plan, key, Call::new(plan, &self.rules, &options, None), load)
            }
        };
        answer.map(|answer| answer.value)
    }

    pub(super) fn get_or_load(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        let plan = self.route(key, options.reach());
        let trip = self.trip(plan);
        let begin = Sampler::tick().then(Instant::now);
        let near = self.look_near(plan, key);
        let is_hit = near.as_ref().is_some_and(Found::is_fresh);
        let answer = self.load_after(plan, key, options, near, Borrowed(Some(load)));
        if is_hit {
            self.timed_near(plan, begin);
        }
        trip.ends(&answer);
        answer
    }

    /// Loads, whatever there is.
    pub(super) fn refresh(
        &self,
        key: &[u8],
        options: &LoadOptions,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        self.refresh_by(key, options, Borrowed(Some(load)))
    }

    pub(super) fn refresh_by(
        &self,
        key: &[u8],
        options: &LoadOptions,
        leads: impl Leads<V>,
    ) -> Result<Answer<Option<V>>> {
        let plan = self.route(key, options.reach());
        let trip = self.trip(plan);
        let mut call = Call::new(plan, &self.rules, options, self.look_near(plan, key));
        call.max_age = Some(Duration::ZERO);
        call.reason = Some(LoadReason::Asked);
        let answer = self.load_on(plan, key, call, leads);
        trip.ends(&answer);
        answer
    }

    /// Goes on with what L1 has.
    pub(super) fn load_after(
        &self,
        plan: Plan,
        key: &[u8],
        options: &LoadOptions,
        near: Option<Found<V>>,
        leads: impl Leads<V>,
    ) -> Result<Answer<Option<V>>> {
        match near {
            Some(found) if found.is_fresh() && is_young(found.age, options.max_age) => {
                self.count_hit(key, &found);
                Ok(found.into_answer())
            }
            near => {
                if plan.reaches(TierKind::Memory) {
                    self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
                }
                self.load_on(plan, key, Call::new(plan, &self.rules, options, near), leads)
            }
        }
    }

    /// Asks L2, and where that does not help joins or leads a load.
    #[inline(never)]
    pub(super) fn load_on(
        &self,
        plan: Plan,
        key: &[u8],
        call: Call<'_, V>,
        leads: impl Leads<V>,
    ) -> Result<Answer<Option<V>>> {
        if let Some(answer) = self.stale_instead(plan, key, &call) {
            return Ok(answer);
        }
        self.begin_call(plan, key, &call)?;
        let span = Span::get_or_load();
        let _in = span.enter();
        let answer = self.load_in(plan, key, call, leads);
        span.ended(answer.as_ref().err());
        answer
    }

    /// As [`load_on`](Self::load_on), once it is known that it is to be done.
    fn load_in(
        &self,
        plan: Plan,
        key: &[u8],
        mut call: Call<'_, V>,
        mut leads: impl Leads<V>,
    ) -> Result<Answer<Option<V>>> {
        loop {
            let lead = match self.enter(plan, key, &mut call)? {
                Way::Found(found) => {
                    leads.hit(self, plan, key, &found);
                    return Ok(found.into_answer());
                }
                Way::Lead(lead) => lead,
                Way::Join(joined) => match self.wait(key, &mut call, &joined, Origin::Joined)? {
                    Step::Answer(answer) => return Ok(answer),
                    Step::Lead(lead) => lead,
                    Step::Again => {
                        call.best = None;
                        continue;
                    }
                },
            };
            if let Step::Answer(answer) = leads.lead(self, key, &mut call, lead)? {
                return Ok(answer);
            }
            call.best = None;
        }
    }

    /// Refuses a call that cannot be carried out.
    pub(super) fn begin_call(&self, plan: Plan, key: &[u8], call: &Call<'_, V>) -> Result<()> {
        check_key(key)?;
        call.options.freshness.check()?;
        tags::check(&call.options.tags, call.options.added_tags)?;
        if !plan.is_open() {
            return Err(closed());
        }
        if plan.is_shed() {
            return Err(self.refused());
        }
        if !call.options.tags.is_empty() {
            self.tags.be_used();
        }
        self.listen(plan);
        Ok(())
    }

    /// Asks L2, then joins or leads a load.
    pub(super) fn enter(&self, plan: Plan, key: &[u8], call: &mut Call<'_, V>) -> Result<Way<V>> {
        let marks = self.marks(plan, key);
        if let Some(found) = self.find_shared(plan, key, &marks) {
            if call.accepts(&found) {
                self.read_ended(call.reach, call.began);
                self.count_hit(key, &found);
                return Ok(Way::Found(found));
            }
            call.consider(found);
        }
        Ok(match self.flights.enter(key, marks.began(), |began| self.may_join(began))? {
            Entered::Lead(lead) => Way::Lead(lead.limited(self.longest_load(&call.rules))),
            Entered::Join(joined) => Way::Join(joined),
        })
    }

    /// How long a load may take before those who wait begin anew.
    pub(super) fn longest_load(&self, rules: &Rules) -> Duration {
        rules.hard_timeout.unwrap_or(self.load_wait)
    }

    /// Waits for a load that another thread leads, or takes a stale value where that is allowed.
    pub(super) fn wait(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        joined: &Joined<Landing<V>>,
        origin: Origin,
    ) -> Result<Step<V>> {
        if origin == Origin::Joined
            && let Some(found) = self.look_before_leaving(key, call)
        {
            self.count_hit(key, &found);
            return Ok(Step::Answer(found.into_answer()));
        }
        let patience = match self.begin_wait(key, call, joined, origin) {
            Ok(patience) => patience,
            Err(answer) => return Ok(Step::Answer(answer)),
        };
        let outcome = joined.wait(patience.span, call.options.check.as_deref());
        self.end_wait(key, call, joined, origin, patience, outcome)
    }

    /// Looks in L3 for a value that may serve while another thread loads, where none is known yet.
    /// Returns one that answers the call.
    pub(super) fn look_before_leaving(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
    ) -> Option<Found<V>> {
        let plan = self.plan.load().within(call.reach);
        if call.best.is_some() || !call.rules.may_leave() || !plan.reaches(TierKind::Redis) {
            return None;
        }
        let mut marks = self.marks(plan, key);
        self.look_in_remote(plan, key, call, &mut marks)
    }

    /// How long a call waits for a load that another one leads.
    ///
    /// # Errors
    /// No error: a stale value that answers it.
    pub(super) fn begin_wait(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        joined: &Joined<Landing<V>>,
        origin: Origin,
    ) -> Result<Patience, Answer<Option<V>>> {
        if let Some(stale) = call.while_revalidated() {
            self.count_hit(key, stale);
            return Err(stale.clone().into_answer());
        }
        if origin == Origin::Joined && !std::mem::replace(&mut call.has_waited, true) {
            self.metrics.count(CacheCounter::LoadWaits);
        }
        let waited = simulated::since(call.began);
        let mut span = call.options.wait.unwrap_or(self.load_wait).saturating_sub(waited);
        if let Some(hard) = call.rules.hard_timeout {
            span = span.min(hard.saturating_sub(joined.age()));
        }
        let soft = call.rules.soft_timeout.map(|soft| soft.saturating_sub(waited));
        let may_leave = !call.waits_on && call.if_slow().is_some();
        let is_soft = may_leave && soft.is_some_and(|soft| soft < span);
        if is_soft {
            span = soft.unwrap_or_default();
        }
        Ok(Patience { span, is_soft })
    }

    /// What a call does next whose wait has ended.
    pub(super) fn end_wait(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        joined: &Joined<Landing<V>>,
        origin: Origin,
        patience: Patience,
        outcome: Result<Waited<Landing<V>>>,
    ) -> Result<Step<V>> {
        match outcome {
            Ok(Waited::Landed(Landing::Done { value, made })) if call.accepts_made(made) => {
                self.count_miss(key);
                let age = made.map(simulated::since);
                Ok(Step::Answer(Answer { value, origin, is_stale: false, age }))
            }
            Ok(Waited::Landed(_) | Waited::Overtaken) => Ok(Step::Again),
            Ok(Waited::Lead(lead)) => Ok(Step::Lead(lead)),
            Err(error) => {
                let is_late = error.kind() == ErrorKind::Timeout;
                if is_late && patience.is_soft {
                    // What was stale may be gone by now: then the load is waited for after all.
                    let stale = self.stale_left(key, call, call.rules.stale_window());
                    call.waits_on = stale.is_none();
                    return Ok(stale.map_or(Step::Again, |found| {
                        self.count_hit(key, &found);
                        Step::Answer(found.into_answer())
                    }));
                }
                if is_late {
                    // A hung loader must not hold its key for ever: the next caller loads. One that
                    // is only slower than this caller is patient goes on.
                    joined.overtake();
                }
                self.fall_back(key, call, call.rules.stale_if_error, error).map(Step::Answer)
            }
        }
    }

    /// What a call is given whose load failed: a stale value if it allows that, else the error.
    pub(super) fn fall_back(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        window: Duration,
        error: Error,
    ) -> Result<Answer<Option<V>>> {
        let is_failed_load = matches!(
            error.kind(),
            ErrorKind::Loader | ErrorKind::LoaderPanicked | ErrorKind::Timeout | ErrorKind::Busy
        );
        let fail = |error| {
            self.count_miss(key);
            self.metrics.count(CacheCounter::FailedReads);
            Err(error)
        };
        if !is_failed_load || window.is_zero() {
            return fail(error);
        }
        match self.stale_left(key, call, window) {
            Some(found) => {
                self.count_hit(key, &found);
                Ok(found.into_answer())
            }
            None => fail(error),
        }
    }

    /// The stale value that a call may have in place of a load, or what was set meanwhile.
    fn stale_left(&self, key: &[u8], call: &Call<'_, V>, window: Duration) -> Option<Found<V>> {
        // What was stale before the load may have been deleted since, or set anew.
        let plan = self.plan.load().within(call.reach);
        let marks = self.marks(plan, key);
        let near = self.look_near(plan, key);
        let found = match self.look_shared(plan, key, &marks) {
            Some(shared) => Some(shared.or_fresher(near)),
            None => near,
        };
        let remote = || {
            let (found, judge) = call.remote.as_ref()?;
            let tags = found.extras.as_deref().and_then(|extras| extras.tags.as_ref());
            let is_spared = tags.is_none_or(|tags| self.judge(tags) != Verdict::Removed);
            (is_spared && self.is_unchanged(plan, *judge)).then(|| found.clone())
        };
        let known = simulated::is_planted(Fault::StaleUnlooked).then(|| call.best.clone());
        let found = known.flatten().or(found).or_else(remote);
        found.filter(|found| call.tolerates(found, window))
    }
}

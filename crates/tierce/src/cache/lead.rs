//! Leading a load: the turn on this host, a last look at the tiers, and the loader.

use std::time::{Duration, Instant};

use super::{
    Answer, Event, Inner, Loaded, Origin,
    bulkhead::Bulkhead,
    fleet::FleetLease,
    load::{Call, Landing},
    loaded::Began,
    marks::Marks,
    plan::Plan,
    read::Found,
};
use crate::{
    Bytes,
    error::{Error, ErrorKind, Result},
    event::Span,
    load::{Lead, LoadContext, LoadReason},
    metrics::{ArmCounter, CacheCounter, nanoseconds},
    simulated::{self, Fault},
    tier::{Turn, Turns},
    tiering::TierKind,
};

/// What came of leading a load.
pub(super) enum Led<V> {
    /// A tier has by now what the call may be given.
    Found(Found<V>),
    /// The loader's answer, or what the tiers agree on in its stead, and when it was made, or its load
    /// began, if that is known.
    Loaded(Option<V>, Option<Instant>),
    /// Another process loads, and until then this serves.
    Stale(Found<V>),
}

impl<V> Led<V> {
    fn found(&self) -> Option<&Found<V>> {
        if let Self::Found(found) = self { Some(found) } else { None }
    }
}

/// What came of the look at the tiers before the loader.
pub(super) enum Approached<'t, V> {
    /// An answer after all.
    Led(Led<V>),
    /// The loader is next. What is kept is judged by the marks; others wait while the turn is held,
    /// those of other hosts while the lease is.
    Ready(Marks, Turn<'t>, Option<FleetLease>),
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Leads a load on this thread, and lands it.
    pub(super) fn lead_here(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Answer<Option<V>>> {
        let panicking = OnPanic(|| self.count_miss(key));
        let led = self.lead(self.plan.load().within(call.reach), key, call, &lead, load);
        std::mem::forget(panicking);
        self.land(key, call, lead, led)
    }

    /// Lands a load, and says what its caller is given.
    pub(super) fn land(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        lead: Lead<Landing<V>>,
        led: Result<Led<V>>,
    ) -> Result<Answer<Option<V>>> {
        match led {
            Ok(Led::Found(found)) => {
                let made = found.age.and_then(|age| simulated::now().checked_sub(age));
                lead.land(Ok(Landing::Done { value: found.value.clone(), made }));
                self.count_hit(key, &found);
                Ok(found.into_answer())
            }
            Ok(Led::Loaded(value, made)) => {
                lead.land(Ok(Landing::Done { value: value.clone(), made }));
                self.count_miss(key);
                let age = made.map(simulated::since);
                Ok(Answer { value, origin: Origin::Loaded, is_stale: false, age })
            }
            Ok(Led::Stale(found)) => {
                lead.land(Ok(Landing::Elsewhere));
                self.count_hit(key, &found);
                Ok(found.into_answer())
            }
            Err(error) => {
                lead.land(Err(error.clone()));
                self.fall_back(key, call, call.rules.stale_if_error, error)
            }
        }
    }

    /// Leads a load on a thread of the cache, and lands it: for those who wait, or for nobody.
    pub(super) fn lead_away(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) {
        let plan = self.plan.load().within(call.reach);
        let landing = match self.lead(plan, key, call, &lead, load) {
            Ok(Led::Found(found)) => {
                let made = found.age.and_then(|age| simulated::now().checked_sub(age));
                Ok(Landing::Done { value: found.value, made })
            }
            Ok(Led::Loaded(value, made)) => Ok(Landing::Done { value, made }),
            Ok(Led::Stale(_)) => Ok(Landing::Elsewhere),
            Err(error) => Err(error),
        };
        lead.land(landing);
    }

    /// As [`lead_here`](Self::lead_here), unless L3 has a stale value with which the caller may
    /// leave: then the flight comes back, and nothing was loaded. `hit` is told of what a tier had
    /// after all, once the flight has landed.
    pub(super) fn lead_here_or_leave(
        &self,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: Lead<Landing<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
        hit: impl FnOnce(Plan, &Found<V>),
    ) -> std::result::Result<Result<Answer<Option<V>>>, Lead<Landing<V>>> {
        let plan = self.plan.load().within(call.reach);
        let turns = self.turns(plan, key, call);
        let approached = self.approach(plan, key, call, turns.as_ref());
        if matches!(approached, Ok(Approached::Ready(..))) && call.may_leave() {
            return Err(lead);
        }
        let panicking = OnPanic(|| self.count_miss(key));
        let led = approached.and_then(|to| self.lead_on(plan, key, call, &lead, to, load));
        std::mem::forget(panicking);
        let found = led.as_ref().ok().and_then(Led::found).cloned();
        let answer = self.land(key, call, lead, led);
        if let Some(found) = found {
            hit(plan, &found);
        }
        Ok(answer)
    }

    /// Waits for its turn on this host, looks once more, then in L3, then loads.
    fn lead(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        lead: &Lead<Landing<V>>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Led<V>> {
        let turns = self.turns(plan, key, call);
        let approached = self.approach(plan, key, call, turns.as_ref())?;
        self.lead_on(plan, key, call, lead, approached, load)
    }

    /// Loads, unless that is not needed any more.
    fn lead_on(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
        lead: &Lead<Landing<V>>,
        approached: Approached<'_, V>,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Led<V>> {
        let (marks, _turn, lease) = match approached {
            Approached::Led(led) => return Ok(led),
            Approached::Ready(marks, turn, lease) => (marks, turn, lease),
        };
        let _leading = lease.as_ref().map(FleetLease::lead);
        let _berth = call.options.bulkhead.as_deref().map(Bulkhead::enter).transpose()?;
        let began = self.begins();
        let loaded = self.call_loader(key, call, lead, &marks, load)?;
        let late = simulated::is_planted(Fault::StampAfterLoad).then(|| {
            let mut marks = self.marks(plan, key);
            _ = self.find_remote(plan, key, &mut marks, false);
            marks
        });
        let marks = late.unwrap_or(marks);
        self.keep_loaded(plan, key, call, lead, &marks, began, loaded)
    }

    /// What comes before the loader: the turn on this host, and a last look at the tiers.
    pub(super) fn approach<'t>(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        turns: Option<&'t Turns>,
    ) -> Result<Approached<'t, V>> {
        // Marks of this flight's own, and a second look under them: the flight before this one
        // may have landed between our miss and our turn.
        // So may the load of another process for which this one waited.
        let serves_stale = call.while_revalidated().is_some();
        let (mut marks, turn) = loop {
            let turn = self.turn(turns, call)?;
            let others_load = turns.is_some_and(Turns::has_waited);
            if others_load
                && !matches!(turn, Turn::Mine(_))
                && serves_stale
                && let Some(stale) = call.while_revalidated()
            {
                return Ok(Approached::Led(Led::Stale(stale.clone())));
            }
            self.settle_before_load(plan, key, call);
            let marks = self.marks(plan, key);
            if let Some(found) = self.look_again(plan, key, call, &marks) {
                return Ok(Approached::Led(Led::Found(found)));
            }
            if !matches!(turn, Turn::Over) {
                break (marks, turn);
            }
        };
        if let Some(found) = self.look_in_remote(plan, key, call, &mut marks) {
            return Ok(Approached::Led(Led::Found(found)));
        }
        self.check_failures(key, call)?;
        self.await_fleet(plan, key, call, marks, turn)
    }

    /// A second look in L1 and L2, under marks of the load's own.
    pub(super) fn look_again(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        marks: &Marks,
    ) -> Option<Found<V>> {
        for tier in [TierKind::Memory, TierKind::Shared] {
            let found = match tier {
                TierKind::Memory => self.look_near(plan, key),
                _ => self.look_shared(plan, key, marks),
            };
            let Some(found) = found else { continue };
            if call.accepts(&found) {
                return Some(found);
            }
            call.consider(found);
        }
        None
    }

    /// The look in L3, which also gives the licence to fill it.
    pub(super) fn look_in_remote(
        &self,
        plan: Plan,
        key: &[u8],
        call: &mut Call<'_, V>,
        marks: &mut Marks,
    ) -> Option<Found<V>> {
        let asks_replica = call.max_age.is_none() && call.reason.is_none();
        let found = self.find_remote(plan, key, marks, asks_replica);
        if call.reason != Some(LoadReason::Ahead) {
            // The loader has a histogram of its own.
            self.read_ended(call.reach, call.began);
        }
        if found.as_ref().is_none_or(|found| !call.accepts(found)) {
            self.mark_tags(plan, marks);
        }
        let found = found?;
        if call.accepts(&found) {
            return Some(found);
        }
        call.remote = Some((found.clone(), marks.judge()));
        call.consider(found);
        None
    }

    /// The begin of a load.
    pub(super) fn begins(&self) -> Began {
        Began { at: simulated::now(), coarse: self.clock.coarse() }
    }

    /// The remembered error where the key's loader is to be left alone.
    pub(super) fn check_failures(&self, key: &[u8], call: &Call<'_, V>) -> Result<()> {
        let is_current = |began| self.is_current(self.plan.load(), began);
        if call.reason == Some(LoadReason::Asked) {
            return Ok(());
        }
        self.failures.recall(key, is_current).map_or(Ok(()), |remembered| Err(remembered.error))
    }

    /// Runs the loader, and remembers whether it failed.
    fn call_loader(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        lead: &Lead<Landing<V>>,
        marks: &Marks,
        load: impl FnOnce(&LoadContext<'_, V>) -> Result<Loaded<V>>,
    ) -> Result<Loaded<V>> {
        let context = self.context(key, call, lead);
        self.metrics.count(CacheCounter::Loads);
        let failure = self.on_panic(key, call, marks);
        let begin = Instant::now();
        let at_work = lead.at_work();
        let span = Span::load(call.reason().as_str());
        let loaded = {
            let _in = span.enter();
            load(&context)
        };
        span.ended(loaded.as_ref().err());
        drop(at_work);
        std::mem::forget(failure);
        self.load_ended(key, call, marks, begin, loaded)
    }

    /// What the loader is told.
    pub(super) fn context<'c>(
        &self,
        key: &'c [u8],
        call: &'c Call<'_, V>,
        lead: &Lead<Landing<V>>,
    ) -> LoadContext<'c, V> {
        let token = lead.token().until(call.rules.hard_timeout);
        let context = LoadContext::new(key, call.reason(), token);
        match call.known() {
            Some((value, validator)) => context.with_stale(value, validator),
            None => context,
        }
    }

    /// Has a loader that panics count as failed; to be forgotten when it has returned.
    pub(super) fn on_panic(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        marks: &Marks,
    ) -> OnPanic<impl Fn()> {
        OnPanic(move || {
            let error = Error::new(ErrorKind::LoaderPanicked, "the load of this key panicked");
            self.load_failed(key, call, marks, &error);
        })
    }

    fn tell_load(&self, key: &[u8], call: &Call<'_, V>, took: Duration, error: Option<&Error>) {
        let (reason, error) = (call.reason(), error.cloned());
        self.events.tell(|| Event::Load { key: key.into(), reason, took, error });
    }

    /// Counts a loader that returned, and remembers whether it failed.
    pub(super) fn load_ended(
        &self,
        key: &[u8],
        call: &Call<'_, V>,
        marks: &Marks,
        begin: Instant,
        loaded: Result<Loaded<V>>,
    ) -> Result<Loaded<V>> {
        let took = begin.elapsed();
        self.metrics.load_latency.record(nanoseconds(took));
        if let Some(arm) = self.metrics.arm(call.reach.side()) {
            arm.count(ArmCounter::Loads);
            arm.load_latency.record(nanoseconds(took));
        }
        let error = loaded.as_ref().err();
        self.tell_load(key, call, took, error);
        match &loaded {
            Ok(_) => self.failures.forget(key),
            Err(error) => self.load_failed(key, call, marks, error),
        }
        loaded
    }

    /// Counts and remembers that a loader failed.
    pub(super) fn load_failed(&self, key: &[u8], call: &Call<'_, V>, marks: &Marks, error: &Error) {
        self.metrics.count(CacheCounter::LoadFailures);
        if error.kind() == ErrorKind::LoaderPanicked {
            // The thread that led it unwinds.
            self.metrics.count(CacheCounter::FailedReads);
        }
        if let Some(backoff) = call.rules.failure_backoff {
            self.failures.remember(key, marks.filed(), error, backoff);
        }
    }

    /// The way to this call's turn to load, where the processes of the host take turns. One that has
    /// a stale value to serve only asks whether another process loads.
    pub(super) fn turns(&self, plan: Plan, key: &[u8], call: &Call<'_, V>) -> Option<Turns> {
        let options = call.options;
        let serves_stale = call.while_revalidated().is_some();
        if options.freshness.keeps_nothing() {
            // What is not kept is of no use to others.
            return None;
        }
        if !plan.reaches(TierKind::Shared) {
            // Nor is what they do not see.
            return None;
        }
        let patience =
            if serves_stale { Duration::ZERO } else { options.wait.unwrap_or(self.load_wait) };
        self.lowers.shared.in_force(plan)?.turns(key, patience)
    }

    /// Waits for the turn, or for as long as the caller waits.
    pub(super) fn turn<'a>(
        &self,
        turns: Option<&'a Turns>,
        call: &Call<'_, V>,
    ) -> Result<Turn<'a>> {
        let Some(turns) = turns else { return Ok(Turn::Alone) };
        let waited = turns.has_waited();
        let turn = turns.ask(|| call.options.check.as_deref().map_or(Ok(()), |check| check()));
        if !waited && turns.has_waited() {
            self.metrics.count(CacheCounter::LoadWaits);
        }
        turn
    }
}

impl<V: Clone> Call<'_, V> {
    /// Why it loads.
    pub(super) fn reason(&self) -> LoadReason {
        self.reason.unwrap_or(match &self.best {
            None => LoadReason::Miss,
            Some(found) if found.is_fresh() => LoadReason::MaxAge,
            Some(_) => LoadReason::Stale,
        })
    }

    /// The value that a load is to replace, and by what its loader knows it.
    pub(super) fn known(&self) -> Option<(&V, Bytes)> {
        let best = self.best.as_ref()?;
        let validator = best.extras.as_ref().map(|extras| extras.validator.clone());
        Some((best.value.as_ref()?, validator.unwrap_or_default()))
    }
}

/// Runs a closure when it is dropped: while a panic unwinds, since it is forgotten otherwise.
pub(super) struct OnPanic<F: Fn()>(pub(super) F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

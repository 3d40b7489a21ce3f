//! Leading a load: the turn on this host, a last look at the tiers, the loader, and what it
//! returns into the tiers.

use std::time::{Duration, Instant};

use super::{
    Answer, Event, Inner, Loaded, Origin,
    answer::Content,
    bulkhead::Bulkhead,
    change::needs_bytes,
    fleet::FleetLease,
    freshness::{Life, Rules},
    load::{Call, Landing},
    marks::Marks,
    plan::Plan,
    read::{Draft, Found},
    tags,
};
use crate::{
    Bytes,
    clock::Millis,
    error::{Error, ErrorKind, Result},
    event::Span,
    load::{Lead, LoadContext, LoadReason},
    metrics::{ArmCounter, CacheCounter, nanoseconds},
    simulated::{self, Fault},
    tag_cells::{self, Verdict},
    tier::{Fill, Record, Turn, Turns},
    tiering::TierKind,
};

/// How long word that there is no value is kept which is to be kept for no time: just so that it
/// takes the place of a stale value.
const SHORTEST_NEGATIVE: Duration = Duration::from_millis(1);

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

/// What became of a loaded value.
// One is made for a load, and moved once.
#[allow(clippy::large_enum_variant)]
pub(super) enum Drafted<V> {
    /// It is for those who wait alone.
    Nothing(Option<V>),
    /// It goes into the tiers.
    Draft(Draft<V>),
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
            _ = self.find_remote(plan, key, &mut marks);
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
        let found = self.find_remote(plan, key, marks);
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

    /// Keeps what a loader returned, if its load was not overtaken.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn keep_loaded(
        &self,
        plan: Plan,
        key: &[u8],
        call: &Call<'_, V>,
        lead: &Lead<Landing<V>>,
        marks: &Marks,
        began: Began,
        loaded: Loaded<V>,
    ) -> Result<Led<V>> {
        let made = began.at;
        match self.draft(call, lead, began, loaded)? {
            Drafted::Nothing(value) => Ok(Led::Loaded(value, Some(made))),
            Drafted::Draft(draft) => {
                let own = call.own(&draft);
                Ok(call.agreed(own, self.keep(plan, key, draft, marks, made)?, made))
            }
        }
    }

    /// Makes of what was loaded what goes into the tiers, if it is to be kept.
    pub(super) fn draft(
        &self,
        call: &Call<'_, V>,
        lead: &Lead<Landing<V>>,
        began: Began,
        loaded: Loaded<V>,
    ) -> Result<Drafted<V>> {
        let cost = simulated::since(began.at);
        let Loaded { content, ttl, weight, validator, tags: named } = loaded;
        let has_tags = named.is_some();
        let mut tags = tag_cells::joined(&call.options.tags, &named.unwrap_or_default());
        tags::check(&tags)?;
        if !tags.is_empty() {
            self.tags.be_used();
        }
        let (value, validator) = match content {
            Content::Value(value) => (Some(value), validator.unwrap_or_default()),
            Content::Absent => (None, Bytes::new()),
            Content::NotModified => {
                let Some((value, known)) = call.known() else { return Err(nothing_to_keep()) };
                if !has_tags {
                    tags = tag_cells::joined(&tags, &call.known_tags());
                }
                (Some(value.clone()), validator.unwrap_or(known))
            }
        };
        tags::check_all(&tags)?;
        let life = self.life_of_loaded(call, value.is_some(), ttl);
        let Some(life) = life else { return Ok(Drafted::Nothing(value)) };
        if !lead.begin_filing() {
            self.metrics.count(CacheCounter::LoadsNotStored);
            return Ok(Drafted::Nothing(value));
        }
        let age = Duration::from_millis(self.clock.coarse().0.saturating_sub(began.coarse.0));
        // What the call found too old must not outlive what it loaded in its stead.
        let is_any_too_old = call.reason() != LoadReason::Miss || call.max_age.is_some();
        let over = is_any_too_old.then_some(began.coarse);
        let extras = tags::extras(validator, tags);
        let draft = Draft { weight, cost, extras, over, ..Draft::new(value, life, Some(age)) };
        Ok(Drafted::Draft(draft))
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

    /// How long a loaded value lives; `None` where it is not to be kept.
    fn life_of_loaded(
        &self,
        call: &Call<'_, V>,
        is_present: bool,
        ttl: Option<Duration>,
    ) -> Option<Life> {
        let rules = &call.rules;
        let rules = if is_present {
            Rules { ttl: ttl.or(rules.ttl), ..*rules }
        } else {
            let mut ttl = ttl.unwrap_or(rules.negative_ttl);
            if call.best.is_some() && !simulated::is_planted(Fault::AbsenceUnkept) {
                ttl = ttl.max(SHORTEST_NEGATIVE);
            }
            rules.without_windows(ttl)
        };
        (rules.ttl != Some(Duration::ZERO)).then(|| rules.life(&self.jitter))
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

    /// Puts a loaded value into the tiers, lowest first, as far as the marks allow. Returns the
    /// value that the tiers agree on: that of another process or host, where it was first.
    pub(super) fn keep(
        &self,
        plan: Plan,
        key: &[u8],
        mut draft: Draft<V>,
        marks: &Marks,
        made: Instant,
    ) -> Result<Agreed<V>> {
        draft.bear(key, marks);
        let mut made = Some(made);
        let is_void = |tags| self.judge(tags) != Verdict::Current;
        if draft.tags().is_some_and(is_void) {
            self.metrics.count(CacheCounter::LoadsNotStored);
            return Ok(Agreed { value: draft.value, made });
        }
        if !needs_bytes(plan) {
            let value = draft.value.clone();
            draft.life = self.life_above(plan, draft.life, marks);
            if !self.file(plan, key, draft, marks) {
                self.metrics.count(CacheCounter::LoadsNotStored);
            }
            return Ok(Agreed { value, made });
        }
        let change = self.begin_change(plan, key);
        let record = match self.record(&draft) {
            Ok(record) => Record { change: Self::number_of(change), ..record },
            Err(error) => {
                self.end_change(plan, key, change);
                return Err(error);
            }
        };
        let trusts_tags = self.trusts_tags(plan);
        let filled = marks
            .remote()
            .and_then(|token| self.ask_remote(plan, key, |tier| tier.fill(key, &record, token)));
        draft.record = Some(record);
        match filled {
            Some(Fill::Refused) => {
                self.metrics.count(CacheCounter::LoadsNotStored);
                self.end_change(plan, key, change);
                return Ok(Agreed { value: draft.value, made });
            }
            Some(Fill::Adopted(theirs))
                if self.is_taken(&theirs, trusts_tags) && marks.finds_all_tags(key, &theirs) =>
            {
                if let Some(theirs) = self.decode(TierKind::Redis, theirs) {
                    draft = Draft { over: draft.over, ..theirs };
                    made = made_at(draft.age);
                    draft.bear(key, marks);
                }
            }
            Some(Fill::Adopted(_)) => {}
            Some(Fill::Stored | Fill::Replaced(_) | Fill::Dropped) | None => {}
        }
        let kept = self.keep_above_remote(plan, key, draft, marks);
        // Else the tiers above may have what was there before, or was set meanwhile.
        let is_above = if plan.has(TierKind::Shared) {
            // Where L2 had nothing, the L1 of another process may still have what it once had: then
            // all that other hosts changed until the load began must have been dealt with.
            let is_agreed = || {
                let token = marks.remote();
                kept.replaced || token.is_none_or(|token| self.has_dealt_with(plan, key, token))
            };
            kept.shared && is_agreed()
        } else {
            kept.memory || !plan.has(TierKind::Memory)
        };
        if is_above {
            self.end_change(plan, key, change);
        } else {
            self.abandon_change(plan, key, change);
        }
        if kept.refused {
            self.metrics.count(CacheCounter::LoadsNotStored);
        }
        if let Some(age) = kept.adopted {
            made = made_at(age);
        }
        Ok(Agreed { value: kept.value, made })
    }
}

/// What the tiers agree on once a load was kept: what it loaded, or what another one put there first.
pub(super) struct Agreed<V> {
    value: Option<V>,
    /// When it was made, or its load began, if that is known.
    made: Option<Instant>,
}

/// When something of this age was made.
fn made_at(age: Option<Duration>) -> Option<Instant> {
    simulated::now().checked_sub(age?)
}

impl<V: Clone> Call<'_, V> {
    /// What was loaded, where what the tiers agree on may be too old for the call.
    pub(super) fn own(&self, draft: &Draft<V>) -> Option<Option<V>> {
        self.max_age.map(|_| draft.value.clone())
    }

    /// What a call is given: what the tiers agree on, unless that is too old for it.
    pub(super) fn agreed(
        &self,
        own: Option<Option<V>>,
        agreed: Agreed<V>,
        began: Instant,
    ) -> Led<V> {
        match own {
            Some(own) if !self.accepts_made(agreed.made) => Led::Loaded(own, Some(began)),
            _ => Led::Loaded(agreed.value, agreed.made),
        }
    }

    /// Why it loads.
    pub(super) fn reason(&self) -> LoadReason {
        self.reason.unwrap_or(match &self.best {
            None => LoadReason::Miss,
            Some(found) if found.is_fresh() => LoadReason::MaxAge,
            Some(_) => LoadReason::Stale,
        })
    }

    /// The value that a load is to replace, and by what its loader knows it.
    fn known(&self) -> Option<(&V, Bytes)> {
        let best = self.best.as_ref()?;
        let validator = best.extras.as_ref().map(|extras| extras.validator.clone());
        Some((best.value.as_ref()?, validator.unwrap_or_default()))
    }

    /// The tags of that value.
    fn known_tags(&self) -> Vec<u32> {
        let extras = self.best.as_ref().and_then(|best| best.extras.as_deref());
        let tags = extras.and_then(|extras| extras.tags.as_ref());
        tags.map_or(Vec::new(), |tags| tags.hashes.to_vec())
    }
}

/// When a load began, on two clocks.
#[derive(Clone, Copy)]
pub(super) struct Began {
    pub(super) at: Instant,
    coarse: Millis,
}

/// The error of a loader that keeps a value where there is none.
fn nothing_to_keep() -> Error {
    Error::new(ErrorKind::Loader, "the loader says not modified, and was given no value")
}

/// Runs a closure when it is dropped: while a panic unwinds, since it is forgotten otherwise.
pub(super) struct OnPanic<F: Fn()>(pub(super) F);

impl<F: Fn()> Drop for OnPanic<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

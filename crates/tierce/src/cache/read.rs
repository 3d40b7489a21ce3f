//! How a value is found and brought up.
//!
//! What marks are, and how they judge, is in [`marks`](super::marks).
//!
//! ```text
//!   mark the key ── L1 current? ── L2 ── L3 ── (loader)
//!        │                          │     │       │
//!        └── files under it:   L1 <─┘  L2 <┘  L3 <┘   each fill judged by the mark of its tier
//! ```

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Answer, Event, Inner, MAX_KEY_BYTES, Near, Origin, ReadOptions, change::needs_bytes,
    filing::aged, marks::Marks, plan::Plan,
};
use crate::{
    error::Result,
    metrics::{CacheCounter, Countdown, SAMPLE_RATE, Sampler, TierCounter, nanoseconds},
    simulated,
    sync::tally,
    tier::{Extras, Record},
    tiering::TierKind,
};

/// What L1 says to a look that asks for fresh values alone.
pub(super) enum Glance<V> {
    /// A fresh value.
    Value(V),
    /// An entry that is stale, or says that there is no value.
    Other,
    /// Nothing that is current.
    Nothing,
}

/// What the short way of a look at L1 leaves to be done where it finds no fresh value.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// All of it: it did not lead on, or a hit is to be timed.
    Everything,
    /// To look closer at an entry that is stale, or says that there is no value.
    Other,
    /// To look elsewhere.
    Elsewhere,
}

/// What one tier has of a key.
#[derive(Clone)]
pub(super) struct Found<V> {
    /// `None` where a loader said that there is no value.
    pub(super) value: Option<V>,
    pub(super) tier: TierKind,
    /// How long it has been stale; `None` while it is fresh.
    pub(super) stale_for: Option<Duration>,
    /// How long ago it was made, where that is known.
    pub(super) age: Option<Duration>,
    /// How long it took to load, where that is known.
    pub(super) cost: Option<Duration>,
    /// How long it will still be fresh; `None` for ever.
    pub(super) fresh_left: Option<Duration>,
    /// What its loader said to know it by.
    pub(super) extras: Option<Arc<Extras>>,
}

impl<V> Found<V> {
    /// What a read that allows it answers.
    pub(super) fn into_answer(self) -> Answer<Option<V>> {
        let Self { value, tier, stale_for, age, .. } = self;
        Answer { value, origin: Origin::Tier(tier), is_stale: stale_for.is_some(), age }
    }

    pub(super) fn is_fresh(&self) -> bool {
        self.stale_for.is_none()
    }

    /// The one of two that is the better to have.
    pub(super) fn or_fresher(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.stale_for < self.stale_for => other,
            _ => self,
        }
    }
}

/// True if something of this age may be given to who wants nothing older than `max_age`. What
/// is just made may be too old too: only its source can say.
pub(super) fn is_young(age: Option<Duration>, max_age: Option<Duration>) -> bool {
    match max_age {
        None => true,
        Some(max_age) => !max_age.is_zero() && age.is_some_and(|age| age <= max_age),
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    #[inline]
    pub(super) fn get(&self, key: &[u8]) -> Option<V> {
        let plan = self.plan.load();
        let rest = match self.glance_short(plan, key) {
            Ok(value) => return Some(value),
            Err(rest) => rest,
        };
        self.get_after(plan, key, rest)
    }

    /// Goes on after the short way.
    #[inline(never)]
    fn get_after(&self, plan: Plan, key: &[u8], rest: Rest) -> Option<V> {
        if plan.is_special() {
            return self.get_on_its_side(key);
        }
        match self.find_after(plan, key, rest) {
            Glance::Value(value) => Some(value),
            Glance::Other => self.read_on(plan, key, true, &ReadOptions::default())?.value,
            Glance::Nothing => self.read_on(plan, key, false, &ReadOptions::default())?.value,
        }
    }

    pub(super) fn get_entry(&self, key: &[u8], options: &ReadOptions) -> Option<Answer<V>> {
        self.get_on(self.route(key, options.reach()), key, options)
    }

    /// As [`get`](Self::get), of a cache that is split or turns calls away.
    #[cold]
    #[inline(never)]
    fn get_on_its_side(&self, key: &[u8]) -> Option<V> {
        self.get_entry(key, &ReadOptions::default()).map(|answer| answer.value)
    }

    /// As [`get_entry`](Self::get_entry), under a plan of its own.
    pub(super) fn get_on(
        &self,
        plan: Plan,
        key: &[u8],
        options: &ReadOptions,
    ) -> Option<Answer<V>> {
        let trip = self.trip(plan);
        let answer = self.read_on(plan, key, plan.reaches(TierKind::Memory), options);
        trip.found(answer.as_ref());
        answer?.present()
    }

    /// Reads on after a glance at L1, where something may be that must be looked at closer.
    #[inline(never)]
    fn read_on(
        &self,
        plan: Plan,
        key: &[u8],
        is_there: bool,
        options: &ReadOptions,
    ) -> Option<Answer<Option<V>>> {
        let may_serve = |found: &Found<V>| {
            is_young(found.age, options.max_age) && (found.is_fresh() || options.allow_stale)
        };
        let begin = Sampler::tick().then(Instant::now);
        let near = if is_there { self.look_near(plan, key) } else { None };
        if let Some(found) = near.as_ref().filter(|found| found.is_fresh() && may_serve(found)) {
            self.count_hit(key, found);
            self.timed_near(plan, begin);
            return near.map(Found::into_answer);
        }
        if is_there && plan.reaches(TierKind::Memory) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
        }
        let mut best = near;
        self.listen(plan);
        if key.len() <= MAX_KEY_BYTES && needs_bytes(plan) {
            let begin = Instant::now();
            let mut marks = self.marks(plan, key);
            let asks_replica = options.max_age.is_none();
            best = self.find_below(plan, key, &mut marks, best, &may_serve, asks_replica);
            self.read_ended(plan.reach(), begin);
        }
        let answer = best.filter(may_serve);
        match &answer {
            Some(found) => self.count_hit(key, found),
            None if key.len() <= MAX_KEY_BYTES => self.count_miss(key),
            None => {}
        }
        answer.map(Found::into_answer)
    }

    /// Counts a read that this answered.
    pub(super) fn count_hit(&self, key: &[u8], found: &Found<V>) {
        let tier = found.tier;
        if found.stale_for.is_some() {
            self.events.tell(|| Event::Stale { key: key.into(), tier });
            self.metrics.tier(found.tier).count(TierCounter::Stale);
            return;
        }
        self.events.tell(|| Event::Hit { key: key.into(), tier });
        self.metrics.hit(found.tier);
        if found.value.is_none() {
            self.metrics.count(CacheCounter::NegativeHits);
        }
    }

    /// Counts a read that no tier answered.
    pub(super) fn count_miss(&self, key: &[u8]) {
        self.events.tell(|| Event::Miss { key: key.into() });
        self.metrics.miss();
    }

    /// Asks L1 alone for a fresh value. An entry that is something else is for the caller to look
    /// at and to count.
    #[inline]
    pub(super) fn find_near(&self, plan: Plan, key: &[u8]) -> Glance<V> {
        match self.glance_short(plan, key) {
            Ok(value) => Glance::Value(value),
            Err(rest) => self.find_after(plan, key, rest),
        }
    }

    /// Goes on after the short way.
    fn find_after(&self, plan: Plan, key: &[u8], rest: Rest) -> Glance<V> {
        let glance = self.glance_after(plan, key, rest);
        if matches!(glance, Glance::Nothing) && plan.reaches(TierKind::Memory) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
        }
        glance
    }

    /// Records how long a hit of L1 took that is no plain one, if it is one of those that are timed.
    #[inline]
    pub(super) fn timed_near(&self, plan: Plan, begin: Option<Instant>) {
        if let Some(begin) = begin {
            self.record_near(plan, begin.elapsed(), SAMPLE_RATE);
        }
    }

    /// Records how long a hit of L1 took that stands for `hits`.
    fn record_near(&self, plan: Plan, took: Duration, hits: u64) {
        self.listen(plan);
        let took = nanoseconds(took);
        self.metrics.tier(TierKind::Memory).latency.record_many(took, hits);
        if let Some(arm) = self.metrics.arm(plan.reach().side()) {
            arm.latency.record_many(took, hits);
        }
    }

    pub(super) fn get_near(&self, key: &[u8]) -> Option<V> {
        let plan = self.plan.load();
        let value = match self.glance_short(plan, key) {
            Ok(value) => value,
            Err(rest) => return self.get_near_after(plan, key, rest),
        };
        self.listen(plan);
        Some(value)
    }

    #[inline(never)]
    fn get_near_after(&self, plan: Plan, key: &[u8], rest: Rest) -> Option<V> {
        let plan = self.route_near(plan, key);
        let Glance::Value(value) = self.glance_after(plan, key, rest) else { return None };
        self.listen(plan);
        self.near_ended(plan);
        Some(value)
    }

    /// What L1 has that is unexpired, current and fresh, by a way that is short and mostly leads to
    /// the end. Counts a value, and nothing else.
    #[inline(always)]
    fn glance_short(&self, plan: Plan, key: &[u8]) -> Result<V, Rest> {
        if !plan.is_plain() {
            return Err(Rest::Everything);
        }
        // Counted after the look: what there may be to do beside must not be done with its pin.
        match self.memory.get_counted(key, |near| self.look(plan, near)) {
            Ok(Some((Glance::Value(value), own))) => {
                if !self.metrics.plain_hit(own) {
                    self.noticed_near(key);
                }
                Ok(value)
            }
            Ok(Some((Glance::Other, _))) => Err(Rest::Other),
            Ok(Some((Glance::Nothing, _)) | None) => Err(Rest::Elsewhere),
            Err(_) => Err(Rest::Everything),
        }
    }

    /// What L1 has that is unexpired and current, after the short way. Counts as that does.
    #[inline(never)]
    fn glance_after(&self, plan: Plan, key: &[u8], rest: Rest) -> Glance<V> {
        match rest {
            Rest::Everything if plan.reaches(TierKind::Memory) => {}
            Rest::Everything | Rest::Elsewhere => return Glance::Nothing,
            Rest::Other => return Glance::Other,
        }
        let begin = Countdown::begin();
        let look = |near: &Near<V>| self.look(plan, near);
        let glance = self.memory.get_on(key, look).unwrap_or(Glance::Nothing);
        if matches!(glance, Glance::Value(_)) {
            let timed = begin.map(|begin| (begin, begin.elapsed()));
            if !tally::own().is_some_and(|own| self.metrics.plain_hit(own)) {
                self.noticed_near(key);
            }
            if let Some((begin, took)) = timed {
                self.record_near(plan, took, Countdown::end(begin));
            }
        }
        glance
    }

    /// What an entry of L1 is. Counts nothing.
    #[inline(always)]
    fn look(&self, plan: Plan, near: &Near<V>) -> Glance<V> {
        if !self.is_live(plan, near) {
            return Glance::Nothing;
        }
        match &near.value {
            Some(value) if near.is_fresh(|until| self.clock.is_past(until)) => {
                Glance::Value(value.clone())
            }
            _ => Glance::Other,
        }
    }

    /// Counts a hit that has more to do than that.
    #[cold]
    #[inline(never)]
    fn noticed_near(&self, key: &[u8]) {
        self.metrics.plain_hit_noticed();
        self.events.tell(|| Event::Hit { key: key.into(), tier: TierKind::Memory });
    }

    /// The L1 entry, fresh or stale, if it is current. Counts nothing.
    pub(super) fn look_near(&self, plan: Plan, key: &[u8]) -> Option<Found<V>> {
        if !plan.reaches(TierKind::Memory) {
            return None;
        }
        let now = self.clock.coarse();
        let found = |near: &Near<V>| Some(near.found(self.look_at(plan, near, now)?));
        self.memory.get_with(key, found).flatten()
    }

    /// Asks the tiers below L1 in turn until one has what `may_serve`, and copies it into the tiers
    /// above; else the best of what they have and of `best`, which L1 had. `asks_replica` as for
    /// [`find_remote`](Self::find_remote).
    fn find_below(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &mut Marks,
        mut best: Option<Found<V>>,
        may_serve: &dyn Fn(&Found<V>) -> bool,
        asks_replica: bool,
    ) -> Option<Found<V>> {
        for tier in [TierKind::Shared, TierKind::Redis] {
            let found = match tier {
                TierKind::Shared => self.find_shared(plan, key, marks),
                _ => self.find_remote(plan, key, marks, asks_replica),
            };
            let Some(found) = found else { continue };
            if found.is_fresh() && may_serve(&found) {
                return Some(found);
            }
            best = Some(found.or_fresher(best));
        }
        best
    }

    /// Asks L2 alone, and copies what it has into L1. A miss is counted, a hit is not.
    pub(super) fn find_shared(&self, plan: Plan, key: &[u8], marks: &Marks) -> Option<Found<V>> {
        marks.shared.filter(|_| plan.reaches(TierKind::Shared))?;
        let found = self.look_shared(plan, key, marks);
        if found.as_ref().is_none_or(|found| !found.is_fresh()) {
            self.metrics.tier(TierKind::Shared).count(TierCounter::Misses);
        }
        found
    }

    /// As [`find_shared`](Self::find_shared), for a second look that is no second miss.
    pub(super) fn look_shared(&self, plan: Plan, key: &[u8], marks: &Marks) -> Option<Found<V>> {
        let mark = marks.shared.filter(|_| plan.reaches(TierKind::Shared))?;
        let lower = &self.lowers.shared;
        let record =
            lower.ask(plan, &self.metrics, key, |tier| tier.read_marked(mark, key)).flatten()?;
        let draft = self.decode(TierKind::Shared, record)?;
        let found = draft.found(TierKind::Shared);
        if self.file(plan, key, draft, marks) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Backfills);
        }
        Some(found)
    }

    /// Asks L3 alone, and copies what it has into L2 and L1. A miss is counted, a hit is not.
    ///
    /// With `asks_replica` a replica may answer, but by a fresh value alone: about anything else its
    /// master is asked, of whom alone there is a licence to fill L3 as well.
    pub(super) fn find_remote(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &mut Marks,
        asks_replica: bool,
    ) -> Option<Found<V>> {
        self.lowers.redis.in_force(plan).filter(|_| plan.reaches(TierKind::Redis))?;
        if let Some(record) = self.waiting_record(key) {
            // On its way there from this process, and gone from L2 and L1.
            return self.bring_up(plan, key, Some(record), marks);
        }
        if asks_replica && let Some(found) = self.find_at_replica(plan, key, marks) {
            return Some(found);
        }
        marks.unsettled = self.unsettled(key);
        if marks.unsettled.is_some() {
            return self.bring_up(plan, key, None, marks);
        }
        let begin = simulated::now();
        let found = self.read_settled(plan, key);
        let record = found.and_then(|found| {
            marks.remote = found.token;
            marks.below = found.tags;
            found.record.map(|record| aged(record, begin))
        });
        self.bring_up(plan, key, record, marks)
    }

    /// A fresh value that a replica of L3 has, which knows of all changes that this host knows of.
    fn find_at_replica(&self, plan: Plan, key: &[u8], marks: &Marks) -> Option<Found<V>> {
        // After the marks: who was heard of before them is heard of here.
        let least = self.replica_of(plan, key)?;
        let trusts_tags = self.trusts_tags(plan);
        let begin = simulated::now();
        let record = self.ask_remote(plan, key, |tier| tier.read_replica(key, least)).flatten();
        let record = record.map(|record| aged(record, begin)).filter(|record| {
            self.is_taken(record, trusts_tags) && marks.finds_all_tags(key, record)
        });
        let Some(record) = record else {
            self.metrics.count(CacheCounter::ReplicaTurnedBack);
            return None;
        };
        self.metrics.count(CacheCounter::ReplicaReads);
        self.bring_up(plan, key, Some(record), marks)
    }

    /// Copies what L3 has of a key into L2 and L1, and counts a miss there.
    pub(super) fn bring_up(
        &self,
        plan: Plan,
        key: &[u8],
        record: Option<Record>,
        marks: &Marks,
    ) -> Option<Found<V>> {
        let record = record.filter(|record| marks.finds_all_tags(key, record));
        let mut draft = record.and_then(|record| self.decode(TierKind::Redis, record));
        draft.iter_mut().for_each(|draft| draft.bear(key, marks));
        let found = draft.as_ref().map(|draft| draft.found(TierKind::Redis));
        if found.as_ref().is_none_or(|found| !found.is_fresh()) {
            self.metrics.tier(TierKind::Redis).count(TierCounter::Misses);
        }
        let mut found = found?;
        let kept = self.keep_above_remote(plan, key, draft?, marks);
        for (tier, filled) in [(TierKind::Shared, kept.shared), (TierKind::Memory, kept.memory)] {
            if filled {
                self.metrics.tier(tier).count(TierCounter::Backfills);
            }
        }
        found.value = kept.value;
        found.age = kept.adopted.unwrap_or(found.age);
        Some(found)
    }
}

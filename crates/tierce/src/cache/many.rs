//! How many values are found at once.
//!
//! Each key goes the way of [`read.rs`](super::read), by marks of its own; only the look-ups are
//! made together where that is cheaper: those in L1, whose waits for memory overlap, and those in
//! L3, which share a round trip. All marks are taken before the first look below L1.

use std::time::Instant;

use super::{
    Answer, Event, Inner, MAX_KEY_BYTES, ReadOptions,
    change::needs_bytes,
    filing::aged,
    marks::Marks,
    plan::{Plan, Reach},
    read::{Found, is_young},
};
use crate::{
    metrics::{SAMPLE_RATE, Sampler, TierCounter, nanoseconds},
    simulated,
    tiering::TierKind,
};

/// A key that L1 cannot answer for.
pub(super) struct Sought<V> {
    pub(super) index: usize,
    pub(super) marks: Marks,
    /// What the tiers asked so far have that may not be served.
    pub(super) best: Option<Found<V>>,
}

/// What many keys were found to have: an answer to a key, or it is sought.
pub(super) struct FoundMany<V> {
    pub(super) answers: Vec<Option<Answer<Option<V>>>>,
    pub(super) sought: Vec<Sought<V>>,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn get_many(&self, keys: &[&[u8]], options: &ReadOptions) -> Vec<Option<Answer<V>>> {
        let sides = self.by_reach(keys, (0..keys.len()).collect(), options.reach());
        if let [(reach, _)] = sides[..] {
            return self.get_many_on(reach, keys, options);
        }
        let mut answers = Vec::new();
        answers.resize_with(keys.len(), || None);
        for (reach, indices) in sides {
            let names: Vec<&[u8]> = indices.iter().map(|index| keys[*index]).collect();
            let found = self.get_many_on(reach, &names, options);
            indices.into_iter().zip(found).for_each(|(index, answer)| answers[index] = answer);
        }
        answers
    }

    /// As [`get_many`](Self::get_many), for keys with the same reach.
    fn get_many_on(
        &self,
        reach: Reach,
        keys: &[&[u8]],
        options: &ReadOptions,
    ) -> Vec<Option<Answer<V>>> {
        let plan = self.plan.load().within(reach);
        let may_serve = |found: &Found<V>| found.is_fresh() && is_young(found.age, options.max_age);
        let FoundMany { mut answers, sought } = self.find_many(plan, keys, &may_serve);
        for Sought { index, best, .. } in sought {
            let is_allowed =
                |found: &Found<V>| options.allow_stale && is_young(found.age, options.max_age);
            match best.filter(is_allowed) {
                Some(found) => {
                    self.count_hit(keys[index], &found);
                    answers[index] = Some(found.into_answer());
                }
                // A key that no tier can have is no miss, as in `get`.
                None if keys[index].len() <= MAX_KEY_BYTES => self.count_miss(keys[index]),
                None => {}
            }
        }
        let hits = answers.iter().flatten().filter(|answer| answer.is_hit()).count();
        self.count_many(reach, keys.len(), hits);
        answers.into_iter().map(|answer| answer.and_then(Answer::present)).collect()
    }

    /// Looks for many keys in all tiers. What is answered is counted as a hit.
    pub(super) fn find_many(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        may_serve: &dyn Fn(&Found<V>) -> bool,
    ) -> FoundMany<V> {
        let mut answers = Vec::with_capacity(keys.len());
        answers.resize_with(keys.len(), || None);
        let mut others = Vec::new();
        others.resize_with(keys.len(), || None);
        self.find_many_near(plan, keys, may_serve, &mut answers, &mut others);
        let mut lacking = (0..keys.len()).filter(|index| answers[*index].is_none()).peekable();
        if lacking.peek().is_none() {
            return FoundMany { answers, sought: Vec::new() };
        }
        let begin = Instant::now();
        let goes_below = needs_bytes(plan);
        self.listen(plan);
        let sought = lacking.map(|index| Sought {
            index,
            marks: self.marks(plan, keys[index]),
            best: others[index].take(),
        });
        let mut sought: Vec<Sought<V>> = sought.collect();
        if goes_below {
            sought.retain_mut(|it| {
                if keys[it.index].len() > MAX_KEY_BYTES {
                    return true;
                }
                let found = self.find_shared(plan, keys[it.index], &it.marks);
                !self.settle_sought(keys[it.index], it, found, may_serve, &mut answers)
            });
            self.find_many_remote(plan, keys, &mut sought, may_serve, &mut answers);
            sought.retain(|it| answers[it.index].is_none());
            self.read_ended(plan.reach(), begin);
        }
        FoundMany { answers, sought }
    }

    /// Answers for a key if what was found may be served; true if so.
    fn settle_sought(
        &self,
        key: &[u8],
        sought: &mut Sought<V>,
        found: Option<Found<V>>,
        may_serve: &dyn Fn(&Found<V>) -> bool,
        answers: &mut [Option<Answer<Option<V>>>],
    ) -> bool {
        let Some(found) = found else { return false };
        let is_answer = may_serve(&found);
        if is_answer {
            self.count_hit(key, &found);
            answers[sought.index] = Some(found.into_answer());
        } else {
            sought.best = Some(found.or_fresher(sought.best.take()));
        }
        is_answer
    }

    /// Asks L1 alone.
    fn find_many_near(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        may_serve: &dyn Fn(&Found<V>) -> bool,
        answers: &mut [Option<Answer<Option<V>>>],
        others: &mut [Option<Found<V>>],
    ) {
        if !plan.reaches(TierKind::Memory) {
            return;
        }
        let begin = Sampler::tick().then(Instant::now);
        let now = self.clock.coarse();
        let (mut values, mut hits) = (0, 0);
        self.memory.get_many_with(keys, |index, near| {
            if let Some(now) = self.look_at(plan, near, now) {
                let found = near.found(now);
                if !may_serve(&found) {
                    others[index] = Some(found);
                    return;
                }
                hits += 1;
                if found.value.is_some() {
                    values += 1;
                } else {
                    self.count_hit(keys[index], &found);
                }
                answers[index] = Some(found.into_answer());
            }
        });
        let memory = self.metrics.tier(TierKind::Memory);
        if values > 0 {
            self.metrics.hits(TierKind::Memory, values);
            // Not within the look, whose pin is not to wait for a lock.
            for (key, answer) in keys.iter().zip(&*answers) {
                if answer.as_ref().is_some_and(|answer| answer.value.is_some()) {
                    let tier = TierKind::Memory;
                    self.events.tell(|| Event::Hit { key: (*key).into(), tier });
                }
            }
        }
        memory.add(TierCounter::Misses, keys.len() as u64 - hits);
        if let Some(begin) = begin.filter(|_| hits > 0) {
            self.listen(plan);
            // Each hit took its part of the time.
            let each = nanoseconds(begin.elapsed()) / keys.len() as u64;
            memory.latency.record_many(each, SAMPLE_RATE * hits);
        }
    }

    /// Asks L3 alone for what is sought, and copies what it has into L2 and L1.
    fn find_many_remote(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        sought: &mut [Sought<V>],
        may_serve: &dyn Fn(&Found<V>) -> bool,
        answers: &mut [Option<Answer<Option<V>>>],
    ) {
        if !plan.reaches(TierKind::Redis) || self.lowers.redis.in_force(plan).is_none() {
            return;
        }
        let sought = sought.iter_mut().filter(|it| keys[it.index].len() <= MAX_KEY_BYTES);
        let (asked, untold): (Vec<&mut Sought<V>>, Vec<&mut Sought<V>>) =
            sought.partition(|it| self.may_ask_remote(plan, keys[it.index]));
        for it in untold {
            let key = keys[it.index];
            let found = match self.waiting_record(key) {
                record @ Some(_) => self.bring_up(plan, key, record, &it.marks),
                None => {
                    self.metrics.tier(TierKind::Redis).count(TierCounter::Misses);
                    None
                }
            };
            if found.is_some() {
                self.settle_sought(key, it, found, may_serve, answers);
            }
        }
        if asked.is_empty() {
            return;
        }
        let names: Vec<&[u8]> = asked.iter().map(|it| keys[it.index]).collect();
        let keeps = plan.reaches(TierKind::Memory) || plan.reaches(TierKind::Shared);
        let trusts_tags = self.trusts_tags(plan);
        let begin = simulated::now();
        let found = self
            .lowers
            .redis
            .call(plan, &self.metrics, |tier| tier.read_many(&names, keeps))
            .unwrap_or_default();
        let mut found = found.into_iter();
        for it in asked {
            let record = found.next().flatten();
            let record = record.filter(|record| self.is_taken(record, trusts_tags));
            let record = record.map(|record| aged(record, begin));
            let found = self.bring_up(plan, keys[it.index], record, &it.marks);
            self.settle_sought(keys[it.index], it, found, may_serve, answers);
        }
    }
}

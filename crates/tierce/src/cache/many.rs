//! How many values are found at once.
//!
//! Each key goes the way of [`read.rs`](super::read), by marks of its own; only the look-ups are
//! made together where that is cheaper: those in L1, whose waits for memory overlap, and those in
//! L3, which share a round trip. All marks are taken before the first look below L1.

use std::time::Instant;

use super::{Answer, Inner, MAX_KEY_BYTES, Origin, change::needs_bytes, plan::Plan, read::Marks};
use crate::{
    metrics::{SAMPLE_RATE, Sampler, TierCounter, nanoseconds},
    tiering::TierKind,
};

/// A key that L1 lacks.
struct Sought {
    index: usize,
    marks: Marks,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn get_many(&self, keys: &[&[u8]]) -> Vec<Option<Answer<V>>> {
        let plan = self.plan.load();
        let mut answers = self.find_many_near(plan, keys);
        if !needs_bytes(plan) {
            // A key that no tier can have is no miss, as in `get`.
            for (key, answer) in keys.iter().zip(&answers) {
                if answer.is_none() && key.len() <= MAX_KEY_BYTES {
                    self.metrics.miss();
                }
            }
            return answers;
        }
        let lacking: Vec<usize> = (0..keys.len())
            .filter(|index| answers[*index].is_none() && keys[*index].len() <= MAX_KEY_BYTES)
            .collect();
        if lacking.is_empty() {
            return answers;
        }
        self.listen(plan);
        let begin = Instant::now();
        let sought =
            lacking.into_iter().map(|index| Sought { index, marks: self.marks(plan, keys[index]) });
        let mut sought: Vec<Sought> = sought.collect();
        sought.retain(|Sought { index, marks }| {
            answers[*index] = self.find_shared(plan, keys[*index], marks);
            answers[*index].is_none()
        });
        self.find_many_remote(plan, keys, &sought, &mut answers);
        self.read_ended(begin);
        for Sought { index, .. } in sought {
            if answers[index].is_none() {
                self.metrics.miss();
            }
        }
        answers
    }

    /// Asks L1 alone.
    fn find_many_near(&self, plan: Plan, keys: &[&[u8]]) -> Vec<Option<Answer<V>>> {
        let mut answers = Vec::with_capacity(keys.len());
        answers.resize_with(keys.len(), || None);
        if !plan.has(TierKind::Memory) {
            return answers;
        }
        let begin = Sampler::tick().then(Instant::now);
        let mut hits = 0;
        self.memory.get_many_with(keys, |index, near| {
            if self.is_current(plan, near.filed) {
                let origin = Origin::Tier(TierKind::Memory);
                answers[index] = Some(Answer { value: near.value.clone(), origin });
                hits += 1;
            }
        });
        let memory = self.metrics.tier(TierKind::Memory);
        if hits > 0 {
            self.metrics.hits(TierKind::Memory, hits);
        }
        memory.add(TierCounter::Misses, keys.len() as u64 - hits);
        if let Some(begin) = begin.filter(|_| hits > 0) {
            self.listen(plan);
            // Each hit took its part of the time.
            let each = nanoseconds(begin.elapsed()) / keys.len() as u64;
            memory.latency.record_many(each, SAMPLE_RATE * hits);
        }
        answers
    }

    /// Asks L3 alone for what is sought, and copies what it has into L2 and L1.
    fn find_many_remote(
        &self,
        plan: Plan,
        keys: &[&[u8]],
        sought: &[Sought],
        answers: &mut [Option<Answer<V>>],
    ) {
        if sought.is_empty() || self.lowers.redis.in_force(plan).is_none() {
            return;
        }
        let (asked, untold): (Vec<&Sought>, Vec<&Sought>) =
            sought.iter().partition(|it| self.may_ask_remote(plan, keys[it.index]));
        self.metrics.tier(TierKind::Redis).add(TierCounter::Misses, untold.len() as u64);
        if asked.is_empty() {
            return;
        }
        let names: Vec<&[u8]> = asked.iter().map(|it| keys[it.index]).collect();
        let keeps = plan.has(TierKind::Memory) || plan.has(TierKind::Shared);
        let found = self
            .lowers
            .redis
            .call(plan, &self.metrics, |tier| tier.read_many(&names, keeps))
            .unwrap_or_default();
        let mut found = found.into_iter();
        for Sought { index, marks } in asked {
            answers[*index] = self.bring_up(plan, keys[*index], found.next().flatten(), marks);
        }
    }
}

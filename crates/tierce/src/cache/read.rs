//! How a value is found, brought up and filed.
//!
//! ```text
//!   mark the key ── L1 current? ── L2 ── L3 ── (loader)
//!        │                          │     │       │
//!        └── files under it:   L1 <─┘  L2 <┘  L3 <┘   each fill judged by the mark of its tier
//! ```

use std::time::{Duration, Instant};

use super::{Answer, Inner, MAX_KEY_BYTES, Near, Origin, change::needs_bytes, plan::Plan};
use crate::{
    error::ErrorKind,
    invalidation::{Filed, LocalMark},
    memory::{Inserted, Ttl},
    metrics::{SAMPLE_RATE, Sampler, TierCounter, nanoseconds},
    simulated::{self, Fault},
    tier::{Fill, Record, SharedMark, Token},
    tiering::TierKind,
};

/// What was known of a key's changes before its value was looked for below L1.
pub(super) struct Marks {
    local: LocalMark,
    filed: Filed,
    shared: Option<SharedMark>,
    /// Whether this process was told of the changes of other hosts, where no store judges.
    told: Option<bool>,
    /// L3's word, once it was asked.
    remote: Option<Token>,
}

/// What became of a value that was fetched or loaded.
pub(super) struct Kept<V> {
    /// The value that the tiers agree on.
    pub(super) value: V,
    /// True if L2 took it.
    pub(super) shared: bool,
    /// True if L1 took it.
    pub(super) memory: bool,
    /// True if its key changed meanwhile.
    pub(super) refused: bool,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn get(&self, key: &[u8]) -> Option<Answer<V>> {
        let plan = self.plan.load();
        if let Some(answer) = self.find_near(plan, key) {
            return Some(answer);
        }
        if key.len() > MAX_KEY_BYTES {
            return None;
        }
        if !needs_bytes(plan) {
            // L1 alone: that was all.
            self.metrics.miss();
            return None;
        }
        self.listen(plan);
        let begin = Instant::now();
        let mut marks = self.marks(plan, key);
        let answer = self.find_below(plan, key, &mut marks);
        self.read_ended(begin);
        if answer.is_none() {
            self.metrics.miss();
        }
        answer
    }

    /// Records how long a read took that L1 did not answer.
    pub(super) fn read_ended(&self, begin: Instant) {
        self.metrics.operation_latency.record(nanoseconds(begin.elapsed()));
    }

    /// Asks L1 alone.
    #[inline]
    pub(super) fn find_near(&self, plan: Plan, key: &[u8]) -> Option<Answer<V>> {
        let begin = Sampler::tick().then(Instant::now);
        if let Some(value) = self.look_near(plan, key) {
            let memory = self.metrics.tier(TierKind::Memory);
            self.metrics.hit(TierKind::Memory);
            if let Some(begin) = begin {
                self.listen(plan);
                memory.latency.record_many(nanoseconds(begin.elapsed()), SAMPLE_RATE);
            }
            return Some(Answer { value, origin: Origin::Tier(TierKind::Memory) });
        }
        if plan.has(TierKind::Memory) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Misses);
        }
        None
    }

    pub(super) fn get_near(&self, key: &[u8]) -> Option<V> {
        let plan = self.plan.load();
        let value = self.look_near(plan, key)?;
        self.listen(plan);
        self.metrics.hit(TierKind::Memory);
        Some(value)
    }

    /// The value of an L1 entry that is there, unexpired and current. Counts nothing.
    #[inline]
    pub(super) fn look_near(&self, plan: Plan, key: &[u8]) -> Option<V> {
        if !plan.has(TierKind::Memory) {
            return None;
        }
        self.memory
            .get_with(key, |near| self.is_current(plan, near.filed).then(|| near.value.clone()))
            .flatten()
    }

    /// True while what was filed under this mark may be served.
    #[inline]
    pub(super) fn is_current(&self, plan: Plan, filed: Filed) -> bool {
        let shared = &self.lowers.shared;
        match filed {
            Filed::Private { era, word } => {
                era == plan.era
                    && self.coherence.is_current(word)
                    && shared.in_force(plan).is_none()
            }
            Filed::Shared(stamp) => {
                // Out of the store this process follows other hosts for what is private alone.
                let is_judged = plan.has(TierKind::Shared) || !self.follows(plan.tiering);
                is_judged && shared.opened().is_some_and(|tier| tier.is_current(stamp))
            }
        }
    }

    /// Takes the key's marks: before looking for its value anywhere below L1.
    pub(super) fn marks(&self, plan: Plan, key: &[u8]) -> Marks {
        let local = self.stamps.mark(self.memory.hash(key));
        let shared = self.lowers.shared.in_force(plan).map(|tier| tier.mark(key));
        let (filed, told) = match shared.map(|mark| mark.stamp()) {
            Some(stamp) => (Filed::Shared(stamp), None),
            None => {
                if plan.has(TierKind::Shared) {
                    self.retry_shared();
                }
                let filed = Filed::Private { era: plan.era, word: self.own_word(plan, key) };
                (filed, Some(self.is_told(plan)))
            }
        };
        Marks { local, filed, shared, told, remote: None }
    }

    /// Asks the tiers below L1, and copies what it finds into the tiers above.
    fn find_below(&self, plan: Plan, key: &[u8], marks: &mut Marks) -> Option<Answer<V>> {
        self.find_shared(plan, key, marks).or_else(|| self.find_remote(plan, key, marks))
    }

    /// Asks L2 alone, and copies what it has into L1.
    pub(super) fn find_shared(&self, plan: Plan, key: &[u8], marks: &Marks) -> Option<Answer<V>> {
        marks.shared?;
        let answer = self.look_shared(plan, key, marks);
        if answer.is_none() {
            self.metrics.tier(TierKind::Shared).count(TierCounter::Misses);
        }
        answer
    }

    /// As [`find_shared`](Self::find_shared), for a second look that is no second miss.
    pub(super) fn look_shared(&self, plan: Plan, key: &[u8], marks: &Marks) -> Option<Answer<V>> {
        let mark = marks.shared?;
        let lower = &self.lowers.shared;
        let found =
            lower.ask(plan, &self.metrics, key, |tier| tier.read_marked(mark, key)).flatten()?;
        let (value, record) = self.decode(TierKind::Shared, found)?;
        self.metrics.hit(TierKind::Shared);
        if self.file(plan, key, value.clone(), record.ttl, marks) {
            self.metrics.tier(TierKind::Memory).count(TierCounter::Backfills);
        }
        Some(Answer { value, origin: Origin::Tier(TierKind::Shared) })
    }

    /// Asks L3 alone, and copies what it has into L2 and L1.
    pub(super) fn find_remote(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &mut Marks,
    ) -> Option<Answer<V>> {
        self.lowers.redis.in_force(plan)?;
        let found = self.ask_remote(plan, key, |tier| tier.read(key));
        let record = found.and_then(|found| {
            marks.remote = found.token;
            found.record
        });
        self.bring_up(plan, key, record, marks)
    }

    /// Copies what L3 has of a key into L2 and L1, and counts a hit or a miss there.
    pub(super) fn bring_up(
        &self,
        plan: Plan,
        key: &[u8],
        record: Option<Record>,
        marks: &Marks,
    ) -> Option<Answer<V>> {
        let Some((value, record)) = record.and_then(|it| self.decode(TierKind::Redis, it)) else {
            self.metrics.tier(TierKind::Redis).count(TierCounter::Misses);
            return None;
        };
        self.metrics.hit(TierKind::Redis);
        let kept = self.keep_above_remote(plan, key, value, record, marks);
        for (tier, filled) in [(TierKind::Shared, kept.shared), (TierKind::Memory, kept.memory)] {
            if filled {
                self.metrics.tier(tier).count(TierCounter::Backfills);
            }
        }
        Some(Answer { value: kept.value, origin: Origin::Tier(TierKind::Redis) })
    }

    /// Puts what was fetched from L3 or loaded into L2 and L1, as far as the marks allow.
    pub(super) fn keep_above_remote(
        &self,
        plan: Plan,
        key: &[u8],
        value: V,
        record: Record,
        marks: &Marks,
    ) -> Kept<V> {
        let late = simulated::is_planted(Fault::BackfillWithNewMark).then(|| self.marks(plan, key));
        let marks = late.as_ref().unwrap_or(marks);
        let record = Record { ttl: self.ttl_above(plan, record.ttl, marks), ..record };
        let filled = marks.shared.and_then(|mark| {
            let lower = &self.lowers.shared;
            lower.ask(plan, &self.metrics, key, |tier| tier.fill_marked(mark, key, &record))
        });
        let stored = matches!(filled, Some(Fill::Stored));
        let refused = |value| Kept { value, shared: false, memory: false, refused: true };
        let (value, ttl) = match filled {
            Some(Fill::Refused) => return refused(value),
            // L2's own value is what all processes of the host agree on.
            Some(Fill::Adopted(theirs)) => match self.decode(TierKind::Shared, theirs) {
                Some((theirs, record)) => (theirs, record.ttl),
                // Not for us to read; ours serves at least this process.
                None => (value, record.ttl),
            },
            Some(Fill::Stored | Fill::Dropped) | None => (value, record.ttl),
        };
        let memory = self.file(plan, key, value.clone(), ttl, marks);
        Kept { value, shared: stored, memory, refused: false }
    }

    /// Files a value that was fetched or loaded in L1, unless its key changed since the marks
    /// were taken or L1 has a current entry by now. True if it is there.
    pub(super) fn file(
        &self,
        plan: Plan,
        key: &[u8],
        value: V,
        ttl: Option<Duration>,
        marks: &Marks,
    ) -> bool {
        if !plan.has(TierKind::Memory) {
            return false;
        }
        let ttl = ttl.map_or(Ttl::Never, Ttl::For);
        let weight = self.codec.weight(&value);
        let near = Near { value, filed: marks.filed, weight };
        let inserted = self.memory.insert_if(key.into(), near, ttl, |current| {
            // Under the shard's lock, so that a change in this process, which raises the stamp
            // under the same lock, is either seen here or replaces what is filed here.
            // Its own stamps judge every fill: a change made after L2 left the tiering raises no
            // other.
            let void = !self.stamps.is_current(marks.local)
                || match marks.filed {
                    Filed::Private { word, .. } => !self.coherence.is_current(word),
                    filed @ Filed::Shared(_) => !self.is_current(plan, filed),
                };
            // A load that ends after the cache was closed must not fill what was emptied.
            let open = self.plan.load().open;
            open && !void && current.is_none_or(|near| !self.is_current(plan, near.filed))
        });
        inserted == Inserted::Stored
    }

    /// The value of a record, or `None` and a count where its bytes are no such value.
    pub(super) fn decode(&self, tier: TierKind, record: Record) -> Option<(V, Record)> {
        self.metrics.tier(tier).add(TierCounter::BytesOut, record.value.len() as u64);
        match self.codec.decode(record.value.clone(), record.format) {
            Ok(value) => Some((value, record)),
            Err(_) => {
                self.metrics.tier(tier).error(ErrorKind::Codec);
                None
            }
        }
    }
}

impl Marks {
    pub(super) fn filed(&self) -> Filed {
        self.filed
    }

    pub(super) fn remote(&self) -> Option<Token> {
        self.remote
    }

    pub(super) fn shared(&self) -> Option<SharedMark> {
        self.shared
    }

    pub(super) fn local(&self) -> LocalMark {
        self.local
    }

    pub(super) fn is_told(&self) -> Option<bool> {
        self.told
    }
}

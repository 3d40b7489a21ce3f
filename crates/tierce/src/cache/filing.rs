//! What is on its way into the tiers: how it becomes a record and an entry of L1, and how it is
//! filed there, as far as the marks allow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Inner, Near, freshness::Life, marks::Marks, plan::Plan, read::Found};
use crate::{
    clock::Millis,
    codec::Format,
    error::{ErrorKind, Result},
    hidden_tags,
    invalidation::{Filed, LocalMark},
    memory::{Inserted, Ttl},
    metrics::TierCounter,
    simulated::{self, Fault},
    tag_cells::{self, Tags},
    tier::{Around, Changed, Extras, Fill, Record},
    tiering::TierKind,
};

/// By how much a span on the coarse clock may be longer than it was: two of its steps. What was made
/// by another load within that of the begin of this one is as good as what this one brings.
const COARSENESS: Duration = Duration::from_millis(8);

/// A value on its way into the tiers.
#[derive(Clone)]
pub(super) struct Draft<V> {
    /// `None`: there is no value.
    pub(super) value: Option<V>,
    /// Where the tiering needs bytes.
    pub(super) record: Option<Record>,
    pub(super) life: Life,
    pub(super) age: Option<Duration>,
    /// What it weighs in L1, if the codec is not to say.
    pub(super) weight: Option<usize>,
    /// How long it took to load; zero where that is not known.
    pub(super) cost: Duration,
    pub(super) extras: Option<Arc<Extras>>,
    /// Fresh copies that were made until then are replaced too, not only stale ones.
    pub(super) over: Option<Millis>,
    /// It is to be in the place of whatever there is: what L3 has then is not to be served after it.
    pub(super) is_asked: bool,
    /// Other processes of the host may have copies of what the store no longer has, and are to ask again.
    pub(super) raises: bool,
}

/// What became of a value that was fetched or loaded.
pub(super) struct Kept<V> {
    /// How old the value is, if it is L2's own that was adopted.
    pub(super) adopted: Option<Option<Duration>>,
    /// The value that the tiers agree on.
    pub(super) value: Option<V>,
    /// True if L2 took it, or was made to have nothing of it where it is not to.
    pub(super) shared: bool,
    /// True if L1 took it.
    pub(super) memory: bool,
    /// True if its key changed meanwhile.
    pub(super) refused: bool,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    /// Puts what was fetched from L3 or loaded into L2 and L1, as far as the marks allow.
    pub(super) fn keep_above_remote(
        &self,
        plan: Plan,
        key: &[u8],
        draft: Draft<V>,
        marks: &Marks,
    ) -> Kept<V> {
        let late = simulated::is_planted(Fault::BackfillWithNewMark).then(|| self.marks(plan, key));
        let marks = late.as_ref().unwrap_or(marks);
        let mut filed = marks.filed;
        let (mut draft, mut adopted) = (draft, None);
        draft.life = self.life_above(plan, draft.life, marks);
        let over = draft.over.map(|over| self.since_at_least(over));
        let shared = marks.shared.filter(|_| plan.reaches(TierKind::Shared));
        let filled = shared.zip(draft.record.as_mut()).and_then(|(mark, record)| {
            (record.ttl, record.stale) = (draft.life.ttl, draft.life.stale);
            let lower = &self.lowers.shared;
            let raises = draft.raises;
            lower.ask(plan, &self.metrics, key, |tier| {
                tier.fill_marked(mark, key, record, over, raises)
            })
        });
        let filled = match marks.shared.zip(self.lowers.shared.in_force(plan)) {
            Some((mark, tier)) if draft.raises && !plan.reaches(TierKind::Shared) => {
                let Changed { stamp, keep } = tier.remove_marked(mark, key);
                Some(if keep { Fill::Replaced(stamp) } else { Fill::Refused })
            }
            _ => filled,
        };
        let stored = matches!(filled, Some(Fill::Stored | Fill::Replaced(_)));
        if stored {
            self.tell_evictions();
        }
        match filled {
            Some(Fill::Refused) => {
                let value = draft.value;
                return Kept { adopted: None, value, shared: false, memory: false, refused: true };
            }
            // L2's own value is what all processes of the host agree on.
            Some(Fill::Adopted(theirs)) => {
                if let Some(theirs) = self.decode(TierKind::Shared, theirs) {
                    adopted = Some(theirs.age);
                    let Draft { over, weight, is_asked, .. } = draft;
                    draft = Draft { over, weight, is_asked, ..theirs };
                }
                // What is not for us to read, ours replaces in this process at least.
            }
            Some(Fill::Replaced(stamp)) => filed = filed.raised_to(stamp),
            Some(Fill::Stored | Fill::Dropped) | None => {}
        }
        let value = draft.value.clone();
        let memory = self.file_under(plan, key, draft, marks.local, filed);
        Kept { adopted, value, shared: stored, memory, refused: false }
    }

    /// How much time has passed since a moment of the clock of L1, at least: by which L2, which has a clock of its
    /// own, is told what was made until then.
    pub(super) fn since_at_least(&self, moment: Millis) -> Duration {
        let passed = self.clock.coarse().0.saturating_sub(moment.0);
        Duration::from_millis(passed).saturating_sub(COARSENESS)
    }

    /// Files a value that was fetched or loaded in L1, unless its key changed since the marks
    /// were taken or L1 has a current and fresh entry by now. True if it is there.
    pub(super) fn file(&self, plan: Plan, key: &[u8], draft: Draft<V>, marks: &Marks) -> bool {
        self.file_under(plan, key, draft, marks.local, marks.filed)
    }

    fn file_under(
        &self,
        plan: Plan,
        key: &[u8],
        draft: Draft<V>,
        local: LocalMark,
        filed: Filed,
    ) -> bool {
        if !plan.reaches(TierKind::Memory) {
            return false;
        }
        let now = self.clock.coarse();
        let over = draft.over;
        let (near, ttl) = self.near(draft, filed, now);
        let inserted = self.memory.insert_if(key.into(), near, ttl, |current| {
            // Under the shard's lock, so that a change in this process, which raises the stamp
            // under the same lock, is either seen here or replaces what is filed here.
            // Its own stamps judge every fill: a change made after L2 left the tiering raises no
            // other.
            let void = !self.stamps.is_current(local)
                || match filed {
                    Filed::Private { word, .. } => !self.coherence.is_current(word),
                    filed @ Filed::Shared(_) => !self.is_current(plan, filed),
                };
            // A load that ends after the cache was closed must not fill what was emptied.
            let open = self.plan.load().is_open();
            let gives_way = |near: &Near<V>| {
                self.look_at(plan, near, now).is_none_or(|now| near.gives_way(now, over))
            };
            open && !void && current.is_none_or(gives_way)
        });
        inserted == Inserted::Stored
    }

    /// The L1 entry of a draft, and the time to live that L1 is to give it.
    pub(super) fn near(&self, draft: Draft<V>, filed: Filed, now: Millis) -> (Near<V>, Ttl) {
        let weight = draft
            .weight
            .unwrap_or_else(|| draft.value.as_ref().map_or(0, |value| self.codec.weight(value)));
        Near::new(draft, filed, weight, now)
    }

    /// The value of a record, or `None` and a count where its bytes are no such value.
    pub(super) fn decode(&self, tier: TierKind, record: Record) -> Option<Draft<V>> {
        self.metrics.tier(tier).add(TierCounter::BytesOut, record.value.len() as u64);
        let value = match record.format {
            Format::Absent => None,
            format => match self.codec.decode(record.value.clone(), format) {
                Ok(value) => Some(value),
                Err(_) => {
                    self.metrics.tier(tier).error(ErrorKind::Codec);
                    return None;
                }
            },
        };
        let (life, age) = (Life { ttl: record.ttl, stale: record.stale }, record.age);
        let extras = record.extras.clone();
        Some(Draft { extras, ..Draft { record: Some(record), ..Draft::new(value, life, age) } })
    }

    /// The record of a draft.
    pub(super) fn record(&self, draft: &Draft<V>) -> Result<Record> {
        let (bytes, format) = match &draft.value {
            Some(value) => self.codec.encode(value)?,
            None => (Bytes::new(), Format::Absent),
        };
        Ok(Record {
            stale: draft.life.stale,
            age: draft.age,
            extras: draft.extras.clone(),
            ..Record::new(bytes, format, draft.life.ttl)
        })
    }
}

/// A record of L3 that was asked for at that time: it may be older than it was there by as long as the
/// answer took.
pub(super) fn aged(record: Record, asked: Instant) -> Record {
    // In whole milliseconds, as copies have it: no copy of it is to look younger.
    let whole = |age: Duration| {
        Duration::from_millis(u64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
    };
    let age = record.age.map(|age| whole(age.saturating_add(simulated::since(asked))));
    Record { age, ..record }
}

impl<V> Draft<V> {
    /// A value of this life and age, to be kept where there is no other that is fresh.
    pub(super) fn new(value: Option<V>, life: Life, age: Option<Duration>) -> Self {
        let (record, weight, cost, extras) = (None, None, Duration::ZERO, None);
        Self {
            value,
            record,
            life,
            age,
            weight,
            cost,
            extras,
            over: None,
            is_asked: false,
            raises: false,
        }
    }

    /// Has it bear what was known of changes of tags when its value was looked for, and the tags of
    /// its key's prefixes too, where there are any.
    pub(super) fn bear(&mut self, key: &[u8], marks: &Marks) {
        let is_borne = !simulated::is_planted(Fault::PrefixesUnborne);
        if let Some(delimiter) = marks.delimiter.filter(|_| is_borne) {
            self.add_tags(hidden_tags::of_key(key, delimiter));
        }
        if let Some(extras) = &mut self.extras
            && extras.tags.is_some()
        {
            if let Some(tags) = &mut Arc::make_mut(extras).tags {
                tags.known = marks.known;
                tags.below = tags.below.or(marks.below);
            }
            if let Some(record) = &mut self.record {
                record.extras = Some(Arc::clone(extras));
            }
        }
    }

    /// Has it bear the number of the change of which L3 has a word in its stead.
    pub(super) fn stands_for(&mut self, change: u64) {
        let around = Around { change, stale: self.life.stale };
        Arc::make_mut(self.extras.get_or_insert_default()).around = Some(around);
        if let Some(record) = &mut self.record {
            record.extras.clone_from(&self.extras);
        }
    }

    fn add_tags(&mut self, hashes: Vec<u32>) {
        if !hashes.is_empty() {
            let extras = Arc::make_mut(self.extras.get_or_insert_default());
            let tags = extras.tags.get_or_insert_default();
            tags.hashes = tag_cells::joined(&tags.hashes, &hashes).into();
        }
    }

    /// By which of them it may be removed or made stale.
    pub(super) fn tags(&self) -> Option<&Tags> {
        self.extras.as_deref()?.tags.as_ref()
    }
}

impl<V: Clone> Draft<V> {
    /// What a tier that has this was found to have.
    pub(super) fn found(&self, tier: TierKind) -> Found<V> {
        Found {
            value: self.value.clone(),
            tier,
            stale_for: self.life.stale_for(),
            cost: (!self.cost.is_zero()).then_some(self.cost),
            fresh_left: self.life.ttl.map(|ttl| ttl.saturating_sub(self.life.stale)),
            age: self.age,
            extras: self.extras.clone(),
        }
    }
}

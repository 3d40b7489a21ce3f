//! What a loader returned: what of it is kept, for how long, and what its caller is given.

use std::time::{Duration, Instant};

use super::{
    Inner, Loaded,
    answer::Content,
    change::needs_bytes,
    filing::{Draft, aged},
    freshness::{Life, Rules},
    lead::Led,
    load::{Call, Landing},
    marks::Marks,
    plan::Plan,
    tags,
    unkept::Older,
};
use crate::{
    Bytes,
    clock::Millis,
    error::{Error, ErrorKind, Result},
    load::{Lead, LoadReason},
    metrics::CacheCounter,
    simulated,
    tag_cells::{self, Verdict},
    tier::{Fill, Record},
    tiering::TierKind,
};

/// When a load began, on two clocks.
#[derive(Clone, Copy)]
pub(super) struct Began {
    pub(super) at: Instant,
    pub(super) coarse: Millis,
}

/// What became of a loaded value.
// One is made for a load, and moved once.
#[allow(clippy::large_enum_variant)]
pub(super) enum Drafted<V> {
    /// It is for those who wait alone.
    Nothing(Option<V>),
    /// The same, and what was made until then is not to be served after it.
    Unkept(Option<V>, Older),
    /// It goes into the tiers.
    Draft(Draft<V>),
}

/// What the tiers agree on once a load was kept: what it loaded, or what another one put there first.
pub(super) struct Agreed<V> {
    value: Option<V>,
    /// When it was made, or its load began, if that is known.
    made: Option<Instant>,
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
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
            Drafted::Unkept(value, older) => {
                self.remove_older(plan, key, marks, older);
                Ok(Led::Loaded(value, Some(made)))
            }
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
        tags::check(&tags, call.options.added_tags)?;
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
        let life = self.life_of_loaded(&call.rules, value.is_some(), ttl);
        // What the call found too old must not outlive what it loaded in its stead.
        let is_any_too_old = call.reason() != LoadReason::Miss || call.max_age.is_some();
        let over = is_any_too_old.then_some(began.coarse);
        if life.is_none() && over.is_none() {
            return Ok(Drafted::Nothing(value));
        }
        if !lead.begin_filing() {
            self.metrics.count(CacheCounter::LoadsNotStored);
            return Ok(Drafted::Nothing(value));
        }
        let is_asked = call.reason() == LoadReason::Asked;
        let Some(life) = life else {
            let is_there = call.best.is_some() || is_asked;
            return Ok(Drafted::Unkept(value, Older { over: began.coarse, is_there }));
        };
        let age = Duration::from_millis(self.clock.coarse().0.saturating_sub(began.coarse.0));
        let extras = tags::extras(validator, tags);
        let draft = Draft::new(value, life, Some(age));
        let draft = Draft { weight, cost, extras, over, is_asked, ..draft };
        Ok(Drafted::Draft(draft))
    }

    /// How long a loaded value lives; `None` where it is not to be kept.
    fn life_of_loaded(
        &self,
        rules: &Rules,
        is_present: bool,
        ttl: Option<Duration>,
    ) -> Option<Life> {
        let rules = if is_present {
            Rules { ttl: ttl.or(rules.ttl), ..*rules }
        } else {
            rules.without_windows(ttl.unwrap_or(rules.negative_ttl))
        };
        (rules.ttl != Some(Duration::ZERO)).then(|| rules.life(&self.jitter))
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
        let token = marks.remote();
        let is_overtaken = match token {
            Some(_) => self.is_set_behind_since(plan, key, marks),
            None => self.is_followed(plan, key, marks),
        };
        if is_overtaken {
            self.metrics.count(CacheCounter::LoadsNotStored);
            return Ok(Agreed { value: draft.value, made });
        }
        // Nobody is told of a change that L3 is not asked to make.
        let change = token.and_then(|_| self.begin_change(plan, key));
        let record = match self.record(&draft) {
            Ok(record) => Record { change: Self::number_of(change), ..record },
            Err(error) => {
                self.end_change(plan, key, change);
                return Err(error);
            }
        };
        let trusts_tags = self.trusts_tags(plan);
        let before = draft.over.map(|_| self.marks(plan, key));
        let asked = simulated::now();
        let filled = token
            .and_then(|token| self.ask_settled(plan, key, |tier| tier.fill(key, &record, token)));
        if token.is_some() {
            // Done or not.
            self.hear_of(plan, key);
        }
        if filled.is_none() && self.is_followed(plan, key, marks) {
            self.metrics.count(CacheCounter::LoadsNotStored);
            self.abandon_change(plan, key, change);
            return Ok(Agreed { value: draft.value, made });
        }
        if filled.is_none() && draft.is_asked && plan.reaches(TierKind::Redis) {
            self.doubt_remote(key);
        }
        // Where L2 has nothing, the L1 of another process may still have what it once had, and is to go by the
        // news of what another host changed before, or of this load, which this host takes for its own.
        draft.raises = token.is_some_and(|token| {
            draft.over.is_some()
                || !plan.reaches(TierKind::Shared)
                || !self.has_dealt_with(plan, key, token)
        });
        // L3 may have taken long to answer: nothing above it is to look younger for that.
        let grown = |record| if token.is_some() { aged(record, asked) } else { record };
        let record = grown(record);
        draft.age = record.age;
        draft.record = Some(record);
        let is_filled = matches!(filled, Some(Fill::Stored));
        match filled {
            Some(Fill::Refused) => {
                self.metrics.count(CacheCounter::LoadsNotStored);
                self.end_change(plan, key, change);
                return Ok(Agreed { value: draft.value, made });
            }
            Some(Fill::Adopted(theirs))
                if self.is_taken(&theirs, trusts_tags) && marks.finds_all_tags(key, &theirs) =>
            {
                if let Some(theirs) = self.decode(TierKind::Redis, grown(theirs)) {
                    let Draft { over, is_asked, raises, .. } = draft;
                    draft = Draft { over, is_asked, raises, ..theirs };
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
            kept.shared
        } else {
            kept.memory || !plan.has(TierKind::Memory)
        };
        if is_above {
            self.end_change(plan, key, change);
        } else {
            self.abandon_change(plan, key, change);
            if let Some(before) = before.filter(|_| is_filled) {
                self.remove_replaced(plan, key, &before);
            }
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

    /// The tags of that value.
    fn known_tags(&self) -> Vec<u32> {
        let extras = self.best.as_ref().and_then(|best| best.extras.as_deref());
        let tags = extras.and_then(|extras| extras.tags.as_ref());
        tags.map_or(Vec::new(), |tags| tags.hashes.to_vec())
    }
}

/// When something of this age was made.
fn made_at(age: Option<Duration>) -> Option<Instant> {
    simulated::now().checked_sub(age?)
}

/// The error of a loader that keeps a value where there is none.
fn nothing_to_keep() -> Error {
    Error::new(ErrorKind::Loader, "the loader says not modified, and was given no value")
}

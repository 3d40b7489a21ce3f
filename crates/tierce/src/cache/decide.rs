//! Which tier decides about a key, what it has, and changes that are made only if that is still so.
//!
//! The lowest tier within reach decides about a key, as it is the one that all who use the key share:
//! L3 where there is one, else L2, else L1. What it has is looked at there, past the tiers above,
//! and the change is made there only if that is still so:
//!
//! | decides | what was there is known by | so many changes meet it in vain |
//! |---|---|---|
//! | L3 | the number of the change that made the record, and that it was not made stale since, compared by the script that writes | those that were made to the very key |
//! | L2 | the key's stamp, compared under the lock of its part of the store, and that nothing fresh is there which was made later | those of keys that share the stamp too |
//! | L1 | the key's stamp in this process, and when what is there was made, compared under its shard's lock | the same |
//!
//! What a load files raises no stamp, so the stamps of L2 and L1 alone would not tell of it.
//!
//! What was set around L3 (`WritePolicy::Around`) L3 does not have, and yet it decides: the word that it
//! has instead bears the number of the change, and so does what this host has. Where the two are the
//! same that is what is there; a host that has no such copy finds nothing.
//!
//! Where L1 decides above an L2 that is in force, and only beyond the reach of the call, it is L2's
//! stamp that is compared, under its lock: the entry of L1 is judged by it.
//!
//! Then the change goes on upwards as any other. What the tier that decides does not answer is an
//! error here, not a miss: nobody else could say what the key has.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Event, Inner, Near, SetOptions,
    change::{check_key, closed},
    filing::Draft,
    freshness::Life,
    marks::Marks,
    plan::{Plan, Reach},
    read::Found,
    tags,
};
use crate::{
    clock::Millis,
    error::{Error, ErrorKind, Result},
    invalidation::Filed,
    memory::Inserted,
    shared_stamp::SharedStamp,
    simulated::{self, Fault},
    tag_cells::{Tags, Verdict},
    tier::{Expected, Extras, Written},
    tiering::TierKind,
};

/// How often `update` looks anew before it gives up: more often than all threads of a large machine
/// meet each other.
const TRIES: u32 = 1_000;

/// What a key had when it was looked at, for [`Cache::compare_and_set`](super::Cache::compare_and_set).
///
/// It holds until the key is changed, by whomever; a value that was loaded or brought up anew is a
/// change as well.
#[derive(Clone, Debug)]
pub struct Version {
    /// Of its key, as L1 hashes it.
    hash: u64,
    /// Whether it is gone may also be said by its tags.
    extras: Option<Arc<Extras>>,
    /// Where it was looked for: what is set in its stead goes there.
    reach: Reach,
    basis: Basis,
}

#[derive(Clone, Debug)]
enum Basis {
    /// The record in L3; `None` without one.
    Remote(Option<Expected>),
    /// With when what was there was made; 0 where nothing was. What is made later came there by a load,
    /// of which the marks know nothing.
    Shared(Marks, Millis),
    Near(Marks, Millis),
}

/// What the tier that decides has.
pub(super) struct Sight<V> {
    /// `None` without a value that is fresh.
    pub(super) value: Option<V>,
    /// How long that will be fresh; `None` for ever.
    fresh_left: Option<Duration>,
    pub(super) version: Version,
}

fn silent(kind: TierKind) -> Error {
    let what = if kind == TierKind::Redis { ErrorKind::Network } else { ErrorKind::Io };
    let rule = "decides what the key has, and does not answer";
    Error::new(what, format!("{} {rule}", kind.label())).in_tier(kind)
}

/// The tier that decides about keys under this plan.
fn decider(plan: Plan) -> TierKind {
    let lowest_first = TierKind::ALL.into_iter().rev();
    lowest_first.into_iter().find(|kind| plan.reaches(*kind)).unwrap_or(TierKind::Memory)
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn life(&self, options: &SetOptions) -> Result<Life> {
        options.check()?;
        if options.keeps_nothing() {
            return Err(Error::new(
                ErrorKind::Config,
                "ttl = 0: must be above zero for a change that depends on what is there",
            ));
        }
        Ok(options.over(&self.rules).life(&self.jitter))
    }

    /// Looks at a key where it is decided about.
    pub(super) fn sight(&self, key: &[u8], reach: Reach) -> Result<Sight<V>> {
        check_key(key)?;
        let plan = self.plan.load().within(reach);
        if !plan.is_open() {
            return Err(closed());
        }
        self.listen(plan);
        let kind = decider(plan);
        if kind == TierKind::Redis {
            self.await_settled(key);
        }
        let mut marks = self.marks(plan, key);
        if kind == TierKind::Memory {
            // L1 raises a stamp before the value is there, and is read without its lock. Who takes
            // the mark under the lock finds what was there when the stamp was raised, or later.
            let take = || marks = self.marks(plan, key);
            self.memory.remove_if_after(key, take, |_| false);
        }
        let mut seen = 0;
        let record = match kind {
            TierKind::Memory => {
                let (found, made_at) = self.look_fresh(plan, key).unzip();
                let made_at = made_at.unwrap_or(Millis(0));
                let fresh_left = found.as_ref().and_then(|found| found.fresh_left);
                let extras = found.as_ref().and_then(|found| found.extras.clone());
                let value = found.and_then(|found| found.value);
                return Ok(Sight {
                    value,
                    fresh_left,
                    version: self.version(key, reach, Basis::Near(marks, made_at), extras),
                });
            }
            TierKind::Shared => {
                let tier = self.lowers.shared.in_force(plan);
                let mark = marks.shared();
                let (Some(_), Some(mark)) = (tier, mark) else { return Err(silent(kind)) };
                let lower = &self.lowers.shared;
                lower.ask(plan, &self.metrics, key, |tier| tier.read_marked(mark, key))
            }
            TierKind::Redis => {
                let found = self.read_remote(plan, key);
                // Also of a record that is no value.
                seen = found.as_ref().and_then(|found| found.token).map_or(0, |token| token.seen);
                if let Some(word) = found.as_ref().filter(|found| found.record.is_none())
                    && let Some(found) = self.set_around(plan, key, &marks, seen, word.word_ttl)
                {
                    let basis = Basis::Remote(Some(Expected { change: seen, is_fresh: true }));
                    return Ok(Sight {
                        version: self.version(key, reach, basis, found.extras),
                        value: found.value,
                        fresh_left: found.fresh_left,
                    });
                }
                found.map(|found| found.record)
            }
        };
        let record = record.ok_or_else(|| silent(kind))?;
        let made_at = match (kind, self.lowers.shared.in_force(plan), marks.shared()) {
            (TierKind::Shared, Some(tier), Some(mark)) => match &record {
                Some(record) => tier.made(record),
                None => tier.made_void(mark, key),
            },
            _ => Millis(0),
        };
        let record = record.filter(|record| marks.finds_all_tags(key, record));
        let mut draft = record.and_then(|record| self.decode(kind, record));
        if let (Some(draft), TierKind::Redis) = (&mut draft, kind) {
            draft.bear(key, &marks);
        }
        let draft = draft.filter(|draft| draft.life.stale_for().is_none());
        let expected = Expected { change: seen, is_fresh: draft.is_some() };
        let basis = match kind {
            TierKind::Redis => Basis::Remote((seen != 0).then_some(expected)),
            _ => Basis::Shared(marks, made_at),
        };
        let extras = draft.as_ref().and_then(|draft| draft.extras.clone());
        let version = self.version(key, reach, basis, extras);
        let fresh_left = draft.as_ref().and_then(|draft| draft.life.fresh_left());
        let value = draft.and_then(|draft| draft.value);
        Ok(Sight { value, fresh_left, version })
    }

    /// What L1 has that is fresh, and when that was made.
    fn look_fresh(&self, plan: Plan, key: &[u8]) -> Option<(Found<V>, Millis)> {
        let now = self.clock.coarse();
        let look =
            |near: &Near<V>| Some((near.found(self.look_at(plan, near, now)?), near.made_at()));
        let found = self.memory.get_with(key, look).flatten();
        found.filter(|(found, _)| plan.reaches(TierKind::Memory) && found.is_fresh())
    }

    /// True if L1 has something that is fresh and was not seen, with when what was seen was made.
    fn has_unseen(&self, plan: Plan, near: &Near<V>, seen: Millis) -> bool {
        let now = self.clock.coarse();
        near.made_at() != seen
            && self.look_at(plan, near, now).is_some_and(|now| near.found(now).is_fresh())
    }

    /// What the tiers above L3 have of the value for which the word of this change stands there, which
    /// ends in so long.
    fn set_around(
        &self,
        plan: Plan,
        key: &[u8],
        marks: &Marks,
        change: u64,
        ttl: Option<Duration>,
    ) -> Option<Found<V>> {
        let around = |found: &Found<V>| {
            let around = found.extras.as_deref()?.around?;
            (change != 0 && around.change == change && found.is_fresh()).then_some(around)
        };
        let near = self.look_near(plan, key).filter(|found| around(found).is_some());
        let shared = || self.look_shared(plan, key, marks);
        let mut found = near.or_else(shared)?;
        let around = around(&found)?;
        // A copy may have been given a shorter life than the value has.
        let left = ttl.map(|ttl| ttl.saturating_sub(around.stale));
        found.fresh_left = found.fresh_left.zip(left).map(|(copy, value)| copy.max(value));
        Some(found)
    }

    fn version(
        &self,
        key: &[u8],
        reach: Reach,
        basis: Basis,
        extras: Option<Arc<Extras>>,
    ) -> Version {
        Version { hash: self.memory.hash(key), extras, reach, basis }
    }

    /// Sets the key to what `change` makes of its value and of how long that will be fresh.
    pub(super) fn update(
        &self,
        key: &[u8],
        mut change: impl FnMut(Option<V>, Option<Duration>) -> Result<Option<(V, Life)>>,
        options: &SetOptions,
    ) -> Result<Option<V>> {
        for _ in 0..TRIES {
            let reach = self.reach_of(key, options.reach());
            let Sight { value, fresh_left, version } = self.sight(key, reach)?;
            // What is there keeps its tags unless others are named.
            let kept = || version.extras.as_deref().and_then(|extras| extras.tags.as_ref());
            let extras =
                options.extras().or_else(|| tags::extras(Bytes::new(), kept()?.hashes.to_vec()));
            let Some((value, life)) = change(value, fresh_left)? else { return Ok(None) };
            match self.set_on(key, &version, value.clone(), life, extras) {
                Ok(true) => return Ok(Some(value)),
                Ok(false) => {}
                // The lock of a part of the store was not free in time.
                Err(error) if error.kind() == ErrorKind::Busy => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            format!("others changed the key {TRIES} times while it was to be changed"),
        ))
    }

    /// Sets a key if it is decided about where its version is from, and has there what it had then.
    pub(super) fn set_on(
        &self,
        key: &[u8],
        version: &Version,
        value: V,
        life: Life,
        extras: Option<Arc<Extras>>,
    ) -> Result<bool> {
        check_key(key)?;
        self.may_set()?;
        if version.hash != self.memory.hash(key) {
            return Ok(false);
        }
        let draft = Draft::new(Some(value), life, Some(Duration::ZERO));
        let mut draft = Draft { extras, ..draft };
        let (_straddles_no_retier, plan) = self.changing_to(&mut draft, version.reach)?;
        // Where L3 decides it has to have the value.
        self.check_size_below(plan, &draft)?;
        let tags = version.extras.as_deref().and_then(|extras| extras.tags.as_ref());
        if tags.is_some_and(|tags| self.judge(tags) != Verdict::Current) {
            return Ok(false);
        }
        self.listen(plan);
        let is_set = match (&version.basis, decider(plan)) {
            (Basis::Remote(_), TierKind::Redis) if !self.spares_remote(plan, tags)? => false,
            (Basis::Remote(expected), TierKind::Redis) => {
                self.set_on_remote(plan, key, draft, *expected)?
            }
            (Basis::Shared(marks, seen), TierKind::Shared) => {
                self.set_on_shared(plan, key, draft, marks, *seen)?
            }
            (Basis::Near(marks, seen), TierKind::Memory) => {
                self.set_on_near(plan, key, draft, marks, *seen)?
            }
            // Another tier decides by now.
            _ => false,
        };
        if is_set {
            self.overtake(key);
            self.events.tell(|| Event::Set { key: key.into() });
        }
        Ok(is_set)
    }

    /// False where a change of its tags, by any host, came to what a version is of.
    fn spares_remote(&self, plan: Plan, tags: Option<&Tags>) -> Result<bool> {
        // What was set around L3 is judged by what this host was told.
        let Some(tags) = tags.filter(|tags| tags.below.is_some()) else { return Ok(true) };
        let kind = TierKind::Redis;
        if !self.trusts_tags(plan) {
            return Err(silent(kind));
        }
        let verdict = self.lowers.redis.call(plan, &self.metrics, |tier| tier.judge(tags));
        Ok(verdict.ok_or_else(|| silent(kind))? == Verdict::Current)
    }

    fn set_on_remote(
        &self,
        plan: Plan,
        key: &[u8],
        mut draft: Draft<V>,
        expected: Option<Expected>,
    ) -> Result<bool> {
        self.await_settled(key);
        // As any change: marks first.
        let marks = self.marks(plan, key);
        draft.bear(key, &marks);
        let Some(record) = &mut draft.record else { return Err(silent(TierKind::Redis)) };
        // L3 may hold something older than a change of the key that it does not know of.
        if !self.may_ask_remote(plan, key) {
            return Err(silent(TierKind::Redis));
        }
        let change = self.begin_change(plan, key);
        record.change = Self::number_of(change);
        let redis = &self.lowers.redis;
        let written = redis.call(plan, &self.metrics, |tier| {
            if simulated::is_planted(Fault::VersionIgnored) {
                return tier.write(key, record).map(Written::Done);
            }
            tier.write_if(key, record, expected)
        });
        self.hear_of(plan, key);
        let outcome = match written {
            Some(Written::Done(made)) => {
                self.count_bytes_in(plan, record);
                _ = self.put_above(plan, key, draft, &marks, made);
                Ok(true)
            }
            Some(Written::Otherwise) => {
                self.undo_change(plan, key, change);
                return Ok(false);
            }
            None => {
                // Done or not: nobody may read there until it is known, nor what was above.
                self.doubt_remote(key);
                match self.lowers.shared.opened() {
                    Some(tier) => tier.delete(key),
                    None => self.lowers.shared.note(key),
                }
                self.drop_near(key);
                self.overtake(key);
                Err(silent(TierKind::Redis))
            }
        };
        self.end_change(plan, key, change);
        outcome
    }

    /// Sets the key if L2's stamp is what was marked and it has nothing fresh of later than `seen`, also
    /// where its value is kept above L2 alone.
    fn set_on_shared(
        &self,
        plan: Plan,
        key: &[u8],
        mut draft: Draft<V>,
        marks: &Marks,
        seen: Millis,
    ) -> Result<bool> {
        draft.bear(key, marks);
        let (Some(tier), Some(mark)) = (self.lowers.shared.in_force(plan), marks.shared()) else {
            return Err(silent(TierKind::Shared));
        };
        self.await_settled(key);
        if !self.is_settled_below(key) {
            // What is on its way to L3 might come after the word of this change.
            return Err(silent(TierKind::Redis));
        }
        // Beyond reach or out of the tiering; then it is told when it is back.
        let change = self.begin_change(plan, key);
        let made = self.remove_beyond(plan, key, draft.life, Self::number_of(change));
        let changed = match &draft.record {
            Some(record) if plan.reaches(TierKind::Shared) => {
                tier.change_if(mark, key, record, seen)
            }
            _ => tier.remove_if(mark, key, seen),
        };
        if let Ok(Some(stamp)) = changed {
            if let Some(record) = &draft.record {
                self.count_bytes_in(plan, record);
            }
            let filed = Filed::Shared(SharedStamp { stamp, ..mark.stamp() });
            _ = self.file_changed(plan, key, draft, filed, marks, false);
            self.made(plan, key, made);
        }
        self.end_change(plan, key, change);
        changed.map(|stamp| stamp.is_some())
    }

    fn set_on_near(
        &self,
        plan: Plan,
        key: &[u8],
        mut draft: Draft<V>,
        marks: &Marks,
        seen: Millis,
    ) -> Result<bool> {
        if marks.shared().is_some() {
            // What a load files between this and the raise of the stamp goes as if it was evicted.
            if self.look_fresh(plan, key).is_some_and(|(_, made_at)| made_at != seen) {
                return Ok(false);
            }
            return self.set_on_shared(plan, key, draft, marks, Millis(0));
        }
        draft.bear(key, marks);
        self.await_settled(key);
        // Beyond reach or out of the tiering; then they are told when they are back.
        let change = self.begin_change(plan, key);
        let made = self.remove_beyond(plan, key, draft.life, Self::number_of(change));
        match self.lowers.shared.opened() {
            Some(tier) => tier.delete(key),
            None => self.lowers.shared.note(key),
        }
        let (near, ttl) = self.near(draft, marks.filed_private(plan), self.clock.coarse());
        let mut is_as_it_was = false;
        let inserted = self.memory.insert_if(key.into(), near, ttl, |present| {
            is_as_it_was = self.stamps.is_current(marks.local())
                && self.is_current(plan, marks.filed())
                && !present.is_some_and(|near| self.has_unseen(plan, near, seen));
            if is_as_it_was {
                self.stamps.raise(marks.local());
            }
            is_as_it_was
        });
        if is_as_it_was && inserted != Inserted::Stored {
            // Replaced by what L1 does not take.
            self.drop_near(key);
        }
        if is_as_it_was {
            self.made(plan, key, made);
        }
        self.end_change(plan, key, change);
        Ok(is_as_it_was)
    }
}

//! How `set`, `delete` and `clear` reach every tier.
//!
//! The order is the promise: L3, then L2 and its stamp (together, under the key's shard lock
//! there), then L1, then the loads under way; only then does the call return. A reader that
//! fetched the old value on the way holds a mark from before the stamp was raised, and is refused
//! wherever it files.
//!
//! Two sets of one key that overlap may reach L3 in one order and L2 in the other. Each takes the
//! key's mark before it goes to L3; whoever finds it stale when it comes to L2 (or, without L2, to
//! L1) drops the copies there instead of writing its own. The next read brings up what L3 kept.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::{
    Event, Freshness, Inner, MAX_KEY_BYTES, Near,
    filing::Draft,
    freshness::{Life, Rules},
    lower::REPLAYS_PER_CHANGE,
    marks::Marks,
    plan::{Plan, Reach},
    tags,
};
use crate::{
    codec::Format,
    error::{Error, ErrorKind, Result},
    invalidation::Filed,
    memory::Inserted,
    metrics::{CacheCounter, TierCounter},
    random,
    shared_stamp::SharedStamp,
    simulated::{self, Fault},
    sync::{Nested, SharedGuard},
    tag_cells,
    tier::{Changed, Extras, Record, WritePolicy},
    tiering::{TierKind, Tiering},
};

/// How often a set around L3 is made that others come in between of: news of one change come at once,
/// and who meets more of them is one of many that set the key.
const TRIES_AROUND: u32 = 3;

/// Options of one `set`. Fields that are not set take the cache's defaults.
#[derive(Clone, Debug, Default)]
pub struct SetOptions {
    freshness: Freshness,
    pub(super) tags: Vec<u32>,
    /// How many of them we added.
    added_tags: usize,
    tiers: Option<Tiering>,
}

impl SetOptions {
    /// The cache's defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time to live. Zero keeps nothing: the set acts as a delete. A span too long to
    /// express means for ever.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.freshness = self.freshness.ttl(ttl);
        self
    }

    /// Keeps the value to these tiers, as far as they are in the tiering. From the others the key is
    /// removed, so that whoever looks there finds nothing older. Default: all tiers.
    #[must_use]
    pub fn tiers(mut self, tiers: Tiering) -> Self {
        self.tiers = Some(tiers);
        self
    }

    /// Where the value may go.
    pub(super) fn reach(&self) -> Reach {
        self.tiers.map_or(Reach::ALL, Reach::of)
    }

    pub(super) fn names_tiers(&self) -> bool {
        self.tiers.is_some()
    }

    /// These options, and `tiers` if they name none.
    pub(crate) fn or_tiers(mut self, tiers: Option<Tiering>) -> Self {
        self.tiers = self.tiers.or(tiers);
        self
    }

    /// These options, with other freshness.
    pub(crate) fn map_freshness(mut self, map: impl FnOnce(Freshness) -> Freshness) -> Self {
        self.freshness = map(self.freshness);
        self
    }

    /// These options, and these tags besides their own.
    pub(crate) fn and_tags(mut self, tags: &[u32]) -> Self {
        if !tags.is_empty() {
            let own = self.tags.len();
            self.tags = tag_cells::joined(&self.tags, tags);
            self.added_tags = self.tags.len() - own;
        }
        self
    }

    /// These options, and `freshness` for what they do not say.
    pub(crate) fn or(mut self, freshness: &Freshness) -> Self {
        self.freshness = self.freshness.or(freshness);
        self
    }

    /// The value lives until it is evicted, whatever the default. It is never stale.
    #[must_use]
    pub fn no_ttl(mut self) -> Self {
        self.freshness = self.freshness.no_ttl();
        self
    }

    /// What is wrong with these options.
    pub(super) fn check(&self) -> Result<()> {
        self.freshness.check()?;
        tags::check(&self.tags, self.added_tags)
    }

    /// What few values have.
    pub(super) fn extras(&self) -> Option<Arc<Extras>> {
        tags::extras(Bytes::new(), self.tags.clone())
    }

    /// True where nothing is to be kept.
    pub(super) fn keeps_nothing(&self) -> bool {
        self.freshness.keeps_nothing()
    }

    /// True where they name a time to live, or none for ever.
    pub(super) fn sets_ttl(&self) -> bool {
        self.freshness.sets_ttl()
    }

    /// What holds, where `rules` do unless these options say otherwise.
    pub(super) fn over(&self, rules: &Rules) -> Rules {
        self.freshness.over(rules)
    }

    /// Sets how long the value is fresh, and how long after that it may be served as stale.
    /// Replaces what was set so far.
    #[must_use]
    pub fn freshness(mut self, freshness: Freshness) -> Self {
        self.freshness = freshness;
        self
    }

    /// Sets tags: names by which the value may be removed or made stale together with others
    /// ([`Cache::remove_tag`](crate::Cache::remove_tag),
    /// [`Cache::expire_tag`](crate::Cache::expire_tag)). At most 128. Replaces those set so far. Default: none.
    #[must_use]
    pub fn tags<T: AsRef<[u8]>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.tags = tag_cells::hashes(tags);
        self
    }
}

thread_local! {
    /// The caches that this thread is changing.
    static CHANGES: Nested = const { Nested::new() };
}

/// A change under way. Holds the plan, unless a change around it on the same thread does.
pub(super) struct Changing<'a> {
    _guard: Option<SharedGuard<'a>>,
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        CHANGES.with(Nested::leave);
    }
}

impl<V: Clone + Send + Sync + 'static> Inner<V> {
    pub(super) fn set(&self, key: &[u8], value: V, options: &SetOptions) -> Result<()> {
        check_key(key)?;
        options.check()?;
        if options.freshness.keeps_nothing() {
            return self.delete(key);
        }
        self.may_set()?;
        let reach = self.reach_of(key, options.reach());
        let is_around = self.goes_around(reach, options);
        let is_behind = self.goes_behind(reach, options);
        let reach = if is_around { reach.and(Reach::of(Tiering::L1L2)) } else { reach };
        let life = options.freshness.over(&self.rules).life(&self.jitter);
        let draft = Draft::new(Some(value), life, Some(Duration::ZERO));
        let mut draft = Draft { extras: options.extras(), ..draft };
        let (_straddles_no_retier, mut plan) = self.changing_to(&mut draft, reach)?;
        self.listen(plan);
        let too_large = self.check_size_below(plan, &draft).err();
        if let Some(error) = &too_large {
            // Set around L3: nothing older may stay there, and its word tells who asks that the tiers above
            // have the value.
            self.metrics.tier(TierKind::Redis).error(error.kind());
            plan = plan.within(Reach::of(Tiering::L1L2));
        }
        let is_around = is_around || too_large.is_some();
        if is_around && plan.has(TierKind::Redis) {
            self.put_around(plan, key, &draft);
        } else if !is_behind || !plan.has(TierKind::Redis) || !self.put_behind(plan, key, &draft) {
            let change = self.begin_change(plan, key);
            self.put(plan, key, draft, Self::number_of(change));
            self.end_change(plan, key, change);
        }
        self.overtake(key);
        self.metrics.count(CacheCounter::Sets);
        self.events.tell(|| Event::Set { key: key.into() });
        Ok(())
    }

    pub(super) fn delete(&self, key: &[u8]) -> Result<()> {
        self.delete_many(&[key])
    }

    pub(super) fn delete_many(&self, keys: &[&[u8]]) -> Result<()> {
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        self.listen(plan);
        self.metrics.add(CacheCounter::Deletes, keys.len() as u64);
        for key in keys.iter().filter(|key| key.len() <= MAX_KEY_BYTES) {
            let mut made = None;
            let _withdrawn = self.overrule(key, None);
            if simulated::is_planted(Fault::StampBeforeChange) {
                self.delete_above_remote(key);
                (0..8).for_each(|_| simulated::point());
            }
            self.change_remote(plan, key, |tier| {
                made = tier.delete(key)?;
                Ok(())
            });
            if !simulated::is_planted(Fault::StampBeforeChange) {
                self.delete_above_remote(key);
            }
            self.overtake(key);
            self.made(plan, key, made);
            self.events.tell(|| Event::Delete { key: (*key).into() });
        }
        Ok(())
    }

    fn delete_above_remote(&self, key: &[u8]) {
        match self.lowers.shared.opened() {
            // In force or not: other processes may use it. Past the breaker: a delete from the
            // store needs nothing that can fail.
            Some(tier) => tier.delete(key),
            None => self.lowers.shared.note(key),
        }
        self.drop_near(key);
    }

    /// Ends the time to live of what the key has; what has no stale window is removed.
    pub(super) fn expire(&self, key: &[u8]) -> Result<()> {
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        self.listen(plan);
        if key.len() > MAX_KEY_BYTES {
            return Ok(());
        }
        let mut made = None;
        // What is stale from now on must be there.
        self.await_settled(key);
        let _withdrawn = self.overrule(key, None);
        self.change_remote(plan, key, |tier| {
            made = tier.expire(key)?;
            Ok(())
        });
        match self.lowers.shared.opened() {
            Some(tier) => tier.expire(key),
            None => self.lowers.shared.note(key),
        }
        if self.lowers.shared.in_force(plan).is_some() {
            // The store's stamp has voided the entry: what is stale is there.
            self.drop_near(key);
        } else {
            let now = self.clock.coarse();
            let mark = self.stamps.mark(self.memory.hash(key));
            let is_void = |near: &Near<V>| !self.is_live(plan, near) || !near.expire(now);
            self.memory.remove_if_after(key, || self.stamps.raise(mark), is_void);
        }
        self.overtake(key);
        self.made(plan, key, made);
        self.events.tell(|| Event::Expire { key: key.into() });
        Ok(())
    }

    pub(super) fn clear(&self) -> Result<()> {
        let _straddles_no_retier = self.changing();
        let plan = self.plan.load();
        if !plan.is_open() {
            return Err(closed());
        }
        self.listen(plan);
        let _withdrawn = self.overrule_all();
        self.clear_remote(plan);
        match self.lowers.shared.opened() {
            Some(tier) => tier.clear_all(),
            None => self.lowers.shared.note_everything(),
        }
        self.stamps.raise_all();
        self.memory.clear();
        self.flights.detach_all();
        self.failures.forget_all();
        self.events.tell(|| Event::Clear {});
        Ok(())
    }

    /// Whether L3, where the plan reaches it, takes values of this size.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] with its rule, if not.
    pub(super) fn check_size_below(&self, plan: Plan, draft: &Draft<V>) -> Result<()> {
        let Some(record) = draft.record.as_ref().filter(|_| plan.reaches(TierKind::Redis)) else {
            return Ok(());
        };
        self.lowers.redis.in_force(plan).map_or(Ok(()), |tier| tier.check_size(record))
    }

    /// Whether a set that goes this far and names no tiers, or does, leaves out L3: where that is
    /// written around, and another tier within reach may have the value.
    fn goes_around(&self, reach: Reach, options: &SetOptions) -> bool {
        let plan = self.plan.load().within(reach);
        let is_kept = plan.reaches(TierKind::Memory) || plan.reaches(TierKind::Shared);
        self.writes == WritePolicy::Around && !options.names_tiers() && is_kept
    }

    /// Puts a value into the tiers above L3, which has a word of it. Again where another change came in
    /// between, or news of one, that of a load just before the set say: nobody has the value then.
    fn put_around(&self, plan: Plan, key: &[u8], draft: &Draft<V>) {
        for _ in 0..TRIES_AROUND {
            let change = self.begin_change(plan, key);
            let number = match Self::number_of(change) {
                // L3 would draw one, and nobody here would know it.
                0 => random::random().max(1),
                number => number,
            };
            let mut draft = draft.clone();
            draft.stands_for(number);
            let is_kept = self.put(plan, key, draft, number);
            self.end_change(plan, key, change);
            if is_kept {
                break;
            }
        }
    }

    /// `number` is that of the change, for L3. False where another change of the key came in between,
    /// and what the tiers above L3 had was dropped.
    fn put(&self, plan: Plan, key: &[u8], mut draft: Draft<V>, number: u64) -> bool {
        let mut marks = self.marks(plan, key);
        let _withdrawn = self.overrule(key, Some(&mut marks));
        draft.bear(key, &marks);
        if draft.tags().is_some() {
            self.tags.be_used();
        }
        let mut made = None;
        if let Some(record) = &mut draft.record {
            record.change = number;
            self.count_bytes_in(plan, record);
        }
        if !plan.reaches(TierKind::Redis) {
            made = self.remove_beyond(plan, key, draft.life, number);
        } else if let Some(record) = &draft.record {
            self.change_remote(plan, key, |tier| {
                // What it does not keep must not leave the old value there either.
                made = match tier.write(key, record) {
                    Err(error) if error.kind() == ErrorKind::Full => {
                        self.metrics.tier(TierKind::Redis).error(error.kind());
                        tier.delete(key)
                    }
                    taken => taken,
                }?;
                Ok(())
            });
        }
        self.put_above(plan, key, draft, &marks, made)
    }

    /// Removes from L3 what is set beyond its reach, or notes that it may have something older.
    /// Returns the stamp that L3 gave the change.
    ///
    /// A word of this change lies there instead: other hosts are told, and this one knows by it that
    /// its copies are those of the latest change.
    pub(super) fn remove_beyond(
        &self,
        plan: Plan,
        key: &[u8],
        life: Life,
        number: u64,
    ) -> Option<u64> {
        let mut made = None;
        self.change_remote(plan, key, |tier| {
            let nothing = Record::new(Bytes::new(), Format::Absent, life.ttl);
            let nothing = Record { change: number, ..nothing }.oversized();
            made = match tier.write(key, &nothing) {
                Err(error) if error.kind() == ErrorKind::Full => tier.delete(key),
                taken => taken,
            }?;
            Ok(())
        });
        made
    }

    /// Counts what a change writes into L2 and L3.
    pub(super) fn count_bytes_in(&self, plan: Plan, record: &Record) {
        for tier in [TierKind::Shared, TierKind::Redis] {
            if plan.reaches(tier) {
                let bytes = record.value.len() as u64;
                self.metrics.tier(tier).add(TierCounter::BytesIn, bytes);
            }
        }
    }

    /// Puts into L2 and L1 what L3 was given, or was to be given, after the marks were taken.
    /// `made` is the stamp that L3 gave the change. False as for [`put`](Self::put).
    pub(super) fn put_above(
        &self,
        plan: Plan,
        key: &[u8],
        draft: Draft<V>,
        marks: &Marks,
        made: Option<u64>,
    ) -> bool {
        let over_remote = plan.has(TierKind::Redis);
        let life = self.life_above(plan, draft.life, marks);
        let record = draft.record.as_ref().filter(|_| plan.reaches(TierKind::Shared));
        let near = match (marks.shared(), self.lowers.shared.in_force(plan)) {
            (Some(mark), Some(tier)) => {
                let Changed { stamp, keep } = match record {
                    Some(record) => {
                        let record = Record { ttl: life.ttl, stale: life.stale, ..record.clone() };
                        tier.change(mark, key, &record, over_remote)
                    }
                    None => tier.remove_marked(mark, key),
                };
                self.tell_evictions();
                self.lowers.shared.replay_now(plan, &self.metrics, REPLAYS_PER_CHANGE);
                keep.then_some(Filed::Shared(SharedStamp { stamp, ..mark.stamp() }))
            }
            _ => {
                match self.lowers.shared.opened() {
                    Some(tier) => tier.delete(key),
                    None => self.lowers.shared.note(key),
                }
                Some(marks.filed_private(plan))
            }
        };
        let is_alone = match near {
            Some(filed) => {
                self.file_changed(plan, key, Draft { life, ..draft }, filed, marks, over_remote)
            }
            None => {
                self.drop_near(key);
                false
            }
        };
        self.made(plan, key, made);
        is_alone
    }

    /// Files in L1 what a change gave the tiers below, or removes what L1 has.
    ///
    /// With `alone`, what no store judges is kept only if no other change of the key came since the
    /// marks were taken: false where one did.
    pub(super) fn file_changed(
        &self,
        plan: Plan,
        key: &[u8],
        draft: Draft<V>,
        filed: Filed,
        marks: &Marks,
        alone: bool,
    ) -> bool {
        if !plan.reaches(TierKind::Memory) {
            self.drop_near(key);
            return true;
        }
        let (near, ttl) = self.near(draft, filed, self.clock.coarse());
        let private = matches!(filed, Filed::Private { .. });
        let inserted = self.memory.insert_if(key.into(), near, ttl, |_| {
            let keep = !(private && alone)
                || self.stamps.is_current(marks.local()) && self.is_unvoided(filed);
            if keep {
                self.stamps.raise(marks.local());
            }
            keep
        });
        if inserted != Inserted::Stored {
            self.drop_near(key);
        }
        inserted != Inserted::Declined
    }

    /// Has nobody join a load of the key from before a change of it, nor hear of one that failed.
    pub(super) fn overtake(&self, key: &[u8]) {
        self.flights.detach(key);
        self.failures.forget(key);
    }

    /// Keeps the plan as it is while a change is under way.
    ///
    /// A value that the change drops may change the cache in its `Drop`: the thread must then not
    /// queue behind a `retier` that waits for it.
    pub(super) fn changing(&self) -> Changing<'_> {
        let cache = std::ptr::from_ref(&self.changes) as usize;
        let nested = CHANGES.with(|changes| changes.enter(cache));
        Changing { _guard: (!nested).then(|| self.changes.read()) }
    }

    /// [`changing`](Self::changing) for a change that puts a draft into the tiers, which has the bytes
    /// then that they need; and the plan.
    pub(super) fn changing_to(
        &self,
        draft: &mut Draft<V>,
        reach: Reach,
    ) -> Result<(Changing<'_>, Plan)> {
        loop {
            if draft.record.is_none() && needs_bytes(self.plan.load().within(reach)) {
                draft.record = Some(self.record(draft)?);
            }
            let changing = self.changing();
            let plan = self.plan.load().within(reach);
            if !plan.is_open() {
                return Err(closed());
            }
            // The codec is the caller's code and ran before the lock. A tier that entered
            // meanwhile needs bytes: once more.
            if draft.record.is_some() || !needs_bytes(plan) {
                return Ok((changing, plan));
            }
        }
    }

    /// False where L3 had the copies of the group voided since the mark was taken.
    fn is_unvoided(&self, filed: Filed) -> bool {
        match filed {
            Filed::Private { word, .. } => self.coherence.is_current(word),
            Filed::Shared(_) => true,
        }
    }

    /// Removes the key from L1 and voids, under the same lock, the fills on their way there.
    pub(super) fn drop_near(&self, key: &[u8]) {
        let mark = self.stamps.mark(self.memory.hash(key));
        self.memory.remove_after(key, || self.stamps.raise(mark));
    }
}

/// True if a value must be turned into bytes under this plan.
pub(super) fn needs_bytes(plan: Plan) -> bool {
    plan.reaches_below()
}

pub(super) fn check_key(key: &[u8]) -> Result<()> {
    if key.len() > MAX_KEY_BYTES {
        return Err(Error::new(
            ErrorKind::TooLarge,
            format!("key of {} bytes: at most {MAX_KEY_BYTES} are allowed", key.len()),
        ));
    }
    Ok(())
}

pub(super) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the cache was closed")
}

//! L2 behind the [`Tier`] trait, and what only L2 offers: the stamps that judge L1 entries.

#[cfg(feature = "redis")]
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{Extras, Fill, Record, Tier, TouchSpan, Usage, injected};
use crate::{
    clock::{Clock, Millis},
    codec::Format,
    error::{Error, ErrorKind, Result},
    group_word::GroupWord,
    metrics::EvictionStats,
    shared_stamp::SharedStamp,
    simulated::{self, Fault},
    split::ShareWord,
    store::{
        Dropped, KeyHash, NamedStore, NewRecord, Put, StoreFill, StoreOptions, StoreRecord,
        StoreStatistics, StoreToken, View, default_directory,
    },
    tag_cells::{Known, Verdict},
    tiering::TierKind,
};

mod below;
mod tags;

pub(crate) use crate::store::ClaimWord;
pub(crate) use below::{SharedCell, SharedDoubt};
use tags::{place, verdict, verdict_on};

/// The options of this tier.
pub(crate) type SharedOptions = StoreOptions;

/// The options where none were given: the store `default` of this user.
pub(super) fn default_options() -> Option<SharedOptions> {
    Some(StoreOptions::new(default_directory("default")))
}

/// Whose turn it is to load a key on this host.
pub(crate) use crate::store::{Turn, Turns};

/// The shared store as a tier.
pub(crate) struct SharedTier {
    store: NamedStore,
    clock: Clock,
}

/// A key of this tier with what was known of its changes before it was looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SharedMark {
    hash: KeyHash,
    token: StoreToken,
    /// Which of the stores that had the name one after another; `None` for none.
    number: Option<u32>,
    /// The clear epoch as L1 keeps it.
    clear_epoch: u32,
    tag_raises: u64,
    delimiter: Option<u8>,
}

impl SharedMark {
    /// What judges an L1 entry made of what is found.
    pub(crate) fn stamp(&self) -> SharedStamp {
        let StoreToken { stamp_index: index, stamp, group_word, .. } = self.token;
        SharedStamp { index, stamp, clear_epoch: self.clear_epoch, word: GroupWord(group_word) }
    }

    /// Up to which change of tags is known what is found.
    pub(crate) fn known(&self) -> Known {
        // None is the place of no store.
        Known { place: self.number.map_or(u32::MAX, place), raises: self.tag_raises }
    }

    /// By what the prefixes of keys end, of which what is found is to bear the tags.
    pub(crate) fn delimiter(&self) -> Option<u8> {
        self.delimiter
    }

    /// True where the mark says something of this store.
    fn is_of(&self, view: &View) -> bool {
        self.number == Some(view.number())
    }
}

/// What a change of a key did to this tier.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changed {
    /// The stamp that the change's own increment made: an L1 entry of the new value carries it.
    pub(crate) stamp: u32,
    /// False where another change of the key raced with this one and both copies were dropped:
    /// nobody may then keep the value above L3.
    pub(crate) keep: bool,
}

impl SharedTier {
    /// Opens the store. Fails as [`Store::open`](crate::Store::open).
    pub(crate) fn open(options: &StoreOptions, clock: Clock) -> Result<Self> {
        let store =
            NamedStore::open(options, clock.clone()).map_err(|e| e.in_tier(TierKind::Shared))?;
        Ok(Self { store, clock })
    }

    /// Has all processes of the host have this delimiter of prefixes.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where they have another one.
    pub(crate) fn name_delimiter(&self, delimiter: u8) -> Result<()> {
        let named = self.store.change(|view| view.store().name_delimiter(delimiter));
        named.map_err(|error| error.in_tier(TierKind::Shared))
    }

    /// The delimiter of prefixes that the processes of the host have.
    pub(crate) fn delimiter(&self) -> Option<u8> {
        self.store.current().store().delimiter()
    }

    /// Takes the key's mark; to be done before looking for its value anywhere below L1.
    pub(crate) fn mark(&self, key: &[u8]) -> SharedMark {
        simulated::point();
        let (mark, is_void) = self.store.mark(|view| {
            let hash = view.store().hash(key);
            let token = view.store().judged_token(hash, key);
            let clear_epoch = view.shifted(token.clear_epoch);
            let (number, tag_raises) = (Some(view.number()), view.store().tag_raises());
            // After the token: where a delimiter was named since, that is void.
            let delimiter = view.store().delimiter();
            SharedMark { hash, token, number, clear_epoch, tag_raises, delimiter }
        });
        if is_void {
            // No entry filed under a clear epoch that is over is ever current.
            return SharedMark {
                number: None,
                clear_epoch: mark.clear_epoch.wrapping_sub(1),
                ..mark
            };
        }
        mark
    }

    /// The way to a turn to load the key, for a call that waits at most for `patience`; `None`
    /// where the processes of the host do not wait for each other.
    pub(crate) fn turns(&self, key: &[u8], patience: Duration) -> Option<Turns> {
        let store = self.store.current().store_for_long();
        let hash = store.hash(key);
        Turns::new(store, hash, patience)
    }

    /// True while an L1 entry that bears this is current: a pin and three loads, no lock.
    #[inline]
    pub(crate) fn is_current(&self, filed: SharedStamp) -> bool {
        self.store.view().is_current(filed)
    }

    /// Looks the key up, under a mark taken before.
    pub(crate) fn read_marked(&self, mark: SharedMark, key: &[u8]) -> Result<Option<Record>> {
        simulated::point();
        injected::hold_up_shared();
        let view = self.store.view();
        if !mark.is_of(&view) {
            return Ok(None);
        }
        let found = view.store().get(mark.hash, key).map_err(|e| e.in_tier(TierKind::Shared))?;
        let Some(found) = found else { return Ok(None) };
        let mut record = self.record(&view, found)?;
        match verdict_on(&view, &record) {
            Verdict::Current => Ok(Some(record)),
            Verdict::Removed => Ok(None),
            Verdict::Expired => {
                let Some(ttl) = record.ttl.filter(|_| !record.stale.is_zero()) else {
                    return Ok(None);
                };
                if record.stale < ttl {
                    // It has been stale for no time. For the next reader it will have been: the
                    // windows count from here on. Where this is not taken they count from there.
                    record.stale = ttl;
                    let head = head_of(&record);
                    let new = NewRecord {
                        replaces: self.made(&record),
                        ..self.new_record(&record, &head)
                    };
                    view.store().fill(mark.hash, key, new, mark.token);
                }
                Ok(Some(record))
            }
        }
    }

    /// When a record was made that a change of its tags has removed; 0 where there is none such.
    pub(crate) fn made_void(&self, mark: SharedMark, key: &[u8]) -> Millis {
        let view = self.store.view();
        let found =
            if mark.is_of(&view) { view.store().get(mark.hash, key).ok().flatten() } else { None };
        let Some(record) = found.and_then(|found| self.record(&view, found).ok()) else {
            return Millis(0);
        };
        match verdict_on(&view, &record) {
            Verdict::Current => Millis(0),
            Verdict::Removed | Verdict::Expired => self.made(&record),
        }
    }

    /// When a record was made that was just read; for who replaces it.
    pub(crate) fn made(&self, record: &Record) -> Millis {
        self.made_before(record.age.unwrap_or_default())
    }

    /// When a record was made that is so old, which is never 0.
    pub(crate) fn made_before(&self, age: Duration) -> Millis {
        self.clock.boot().before(age).max(Millis(1))
    }

    /// Keeps a record fetched from below or loaded, unless the key changed since the mark. It takes
    /// the place of what is stale, or at least `over` old. With `raises` the key's stamp is raised where it
    /// takes the place of nothing, too ([`Fill::Replaced`]).
    pub(crate) fn fill_marked(
        &self,
        mark: SharedMark,
        key: &[u8],
        record: &Record,
        over: Option<Duration>,
        raises: bool,
    ) -> Result<Fill> {
        simulated::point();
        let view = self.store.view();
        if !mark.is_of(&view) {
            return Ok(Fill::Dropped);
        }
        let head = head_of(record);
        let replaces = over.map_or(Millis(0), |over| self.clock.boot().before(over));
        let new = NewRecord { replaces, raises, ..self.new_record(record, &head) };
        Ok(match view.store().fill(mark.hash, key, new, mark.token) {
            StoreFill::Stored => Fill::Stored,
            StoreFill::Replaced(stamp) => Fill::Replaced(stamp),
            StoreFill::Adopted(record) => {
                let theirs = self.record(&view, record)?;
                if verdict_on(&view, &theirs) == Verdict::Current {
                    return Ok(Fill::Adopted(theirs));
                }
                // It only takes the place of others.
                let new = NewRecord { replaces: self.made(&theirs), ..new };
                match view.store().fill(mark.hash, key, new, mark.token) {
                    StoreFill::Stored => Fill::Stored,
                    StoreFill::Replaced(stamp) => Fill::Replaced(stamp),
                    StoreFill::Refused => Fill::Refused,
                    StoreFill::Adopted(_) | StoreFill::Dropped(_) => Fill::Dropped,
                }
            }
            StoreFill::Refused => Fill::Refused,
            StoreFill::Dropped(_) => Fill::Dropped,
        })
    }

    /// Replaces the record of the key that was marked and raises its stamp.
    ///
    /// With `alone`, where a tier below was changed after the mark was taken, the record is kept
    /// only if no other change of the key came in between: two changes that overlap may reach the
    /// tiers in different orders, so neither may be kept up here.
    pub(crate) fn change(
        &self,
        mark: SharedMark,
        key: &[u8],
        record: &Record,
        alone: bool,
    ) -> Changed {
        simulated::point();
        let is_kept = simulated::is_planted(Fault::RacedSetKept);
        let expected = (alone && !is_kept).then_some(mark.token);
        let head = head_of(record);
        self.store.change(|view| {
            if !mark.is_of(view) {
                // Nothing is known of what changed in this store since the mark.
                let stamp = view.store().delete(view.store().hash(key), key);
                return Changed { stamp, keep: false };
            }
            let put = view.store().put(mark.hash, key, self.new_record(record, &head), expected);
            let (stamp, raced) = match put {
                Put::Stored { stamp } => (stamp, false),
                Put::Removed { stamp, why } => (stamp, why == Dropped::Raced),
            };
            // Any other change since the mark has raised the stamp too; its order among the tiers
            // may differ from ours, whether or not the store took ours.
            Changed { stamp, keep: is_kept || !raced && stamp == mark.token.stamp.wrapping_add(1) }
        })
    }

    /// Replaces the record of the key that was marked and raises its stamp, unless it changed since, or has
    /// a fresh record made later than `seen` (any, where that is 0): `None` then. Returns the stamp that
    /// its own raise made.
    ///
    /// # Errors
    /// Where the store does not take the record; the key has what it had.
    pub(crate) fn change_if(
        &self,
        mark: SharedMark,
        key: &[u8],
        record: &Record,
        seen: Millis,
    ) -> Result<Option<u32>> {
        let view = self.store.view();
        if !mark.is_of(&view) || mark.hash != view.store().hash(key) {
            return Ok(None);
        }
        let head = head_of(record);
        let new = NewRecord { replaces: seen, ..self.new_record(record, &head) };
        if simulated::is_planted(Fault::VersionIgnored) {
            let token = view.store().judged_token(mark.hash, key);
            return taken(view.store().put_if(mark.hash, key, new, token));
        }
        taken(view.store().put_unseen(mark.hash, key, new, mark.token))
    }

    /// As [`change_if`](Self::change_if), and leaves nothing of the key here.
    ///
    /// # Errors
    /// As [`change_if`](Self::change_if).
    pub(crate) fn remove_if(
        &self,
        mark: SharedMark,
        key: &[u8],
        seen: Millis,
    ) -> Result<Option<u32>> {
        let view = self.store.view();
        if !mark.is_of(&view) || mark.hash != view.store().hash(key) {
            return Ok(None);
        }
        // A record whose time was over when the host began to count.
        let nothing = NewRecord::new(&[], Format::Absent as u8, Millis(0));
        let nothing = NewRecord { replaces: seen, ..nothing };
        taken(view.store().put_unseen(mark.hash, key, nothing, mark.token))
    }

    /// Removes the key that was marked and raises its stamp, for who keeps its new value above this
    /// tier alone. Never fails, bounded by the store's lock wait.
    pub(crate) fn remove_marked(&self, mark: SharedMark, key: &[u8]) -> Changed {
        simulated::point();
        self.store.change(|view| {
            let stamp = view.store().delete(view.store().hash(key), key);
            // As in `change`.
            Changed { stamp, keep: mark.is_of(view) && stamp == mark.token.stamp.wrapping_add(1) }
        })
    }

    /// As [`delete`](Self::delete), for who is to change the key below this tier: the mark of after
    /// it, if `mark` says something of this store.
    pub(crate) fn delete_before(&self, mark: Option<SharedMark>, key: &[u8]) -> Option<SharedMark> {
        simulated::point();
        self.store.change(|view| {
            let stamp = view.store().delete(view.store().hash(key), key);
            let mark = mark.filter(|mark| mark.is_of(view))?;
            Some(SharedMark { token: StoreToken { stamp, ..mark.token }, ..mark })
        })
    }

    /// Removes the key and raises its stamp. Never fails, bounded by the store's lock wait.
    pub(crate) fn delete(&self, key: &[u8]) {
        simulated::point();
        self.store.change(|view| view.store().delete(view.store().hash(key), key));
    }

    /// Makes what the key has stale, or removes it where it may not be served stale, and raises its
    /// stamp. Never fails, bounded as [`delete`](Self::delete).
    pub(crate) fn expire(&self, key: &[u8]) {
        simulated::point();
        self.store.change(|view| view.store().expire(view.store().hash(key), key));
    }

    /// Gives what the key has this span if it is fresh: true then. It raises
    /// the stamp in that case, and where `raises` says that another tier had something. With `doubts`
    /// the tier below is doubted before that. Never fails, bounded as [`delete`](Self::delete).
    pub(crate) fn touch(
        &self,
        mark: Option<SharedMark>,
        key: &[u8],
        span: TouchSpan,
        raises: bool,
        doubts: bool,
    ) -> (bool, Changed) {
        simulated::point();
        self.store.change(|view| {
            let hash = view.store().hash(key);
            let is_value = |found: &StoreRecord| {
                let head = Extras::from_head(found.head(), place(view.number()));
                let is_current = head.is_ok_and(|extras| {
                    let tags = extras.as_ref().and_then(|extras| extras.tags.as_ref());
                    tags.is_none_or(|tags| verdict(view, tags) == Verdict::Current)
                });
                is_current && found.format != Format::Absent as u8
            };
            let before = || {
                if doubts {
                    view.store().doubt(key);
                }
            };
            let touched =
                view.store().touch(hash, key, (span.fresh, span.prolongs), is_value, before);
            let stamp = touched.or_else(|| raises.then(|| view.store().delete(hash, key)));
            let next =
                mark.filter(|mark| mark.is_of(view)).map(|mark| mark.token.stamp.wrapping_add(1));
            let keep = stamp.is_some() && stamp == next;
            (touched.is_some(), Changed { stamp: stamp.unwrap_or_default(), keep })
        })
    }

    /// Removes everything. Never fails.
    pub(crate) fn clear_all(&self) {
        simulated::point();
        self.store.change(|view| view.store().clear());
    }

    /// What the processes of the host know of a rollout.
    #[inline]
    pub(crate) fn rollout(&self) -> ShareWord {
        self.store.view().store().rollout()
    }

    /// Changes that, as one step for all of them; false where `change` does not want to.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    pub(crate) fn change_rollout(&self, change: impl Fn(ShareWord) -> Option<ShareWord>) -> bool {
        self.store.change(|view| view.store().change_rollout(&change))
    }

    /// The folder of the store.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    pub(crate) fn directory(&self) -> PathBuf {
        self.store.view().store().path().to_owned()
    }

    /// The words in which the processes of the host tell each other of L3's stream of changes, and
    /// which of the stores of this name they lie in.
    #[cfg(feature = "redis")]
    pub(crate) fn stream<R>(&self, look: impl FnOnce(u32, &[AtomicU64], &[AtomicU32]) -> R) -> R {
        let view = self.store.current();
        look(view.number(), view.store().stream_words(), view.store().group_words())
    }

    /// Makes the store as it was when it was new, while nobody else uses it.
    #[cfg(feature = "sim")]
    pub(crate) fn forget_all(&self) {
        self.store.view().store().forget_all();
    }

    /// Loses a key's record, as if there were no room for it.
    #[cfg(feature = "sim")]
    pub(crate) fn lose(&self, key: &[u8]) {
        simulated::point();
        let view = self.store.view();
        view.store().lose(view.store().hash(key));
    }

    /// What all processes did with the store.
    pub(crate) fn statistics(&self) -> StoreStatistics {
        self.store.view().store().statistics()
    }

    /// Why entries left the store, by all processes that use it.
    pub(crate) fn evictions(&self) -> EvictionStats {
        let counted = self.statistics();
        EvictionStats {
            size: counted.evicted_size,
            bytes: 0,
            expired: counted.evicted_expired,
            replaced: counted.replaced,
            removed: counted.deleted,
            refused: counted.dropped_too_large + counted.dropped_no_room,
        }
    }

    fn new_record<'a>(&self, record: &'a Record, head: &'a [u8]) -> NewRecord<'a> {
        let now = self.clock.boot();
        let expires_at = record.ttl.map_or(Millis::NEVER, |ttl| now.after(ttl));
        NewRecord {
            stale: record.stale,
            // Made before this host began to count: not known.
            made_at: record
                .age
                .map(|age| now.before(age))
                .filter(|at| at.0 > 0)
                .unwrap_or(Millis::NEVER),
            head,
            ..NewRecord::new(&record.value, record.format as u8, expires_at)
        }
    }

    fn record(&self, view: &View, found: StoreRecord) -> Result<Record> {
        let extras = Extras::from_head(found.head(), place(view.number())).map_err(|_| {
            Error::new(ErrorKind::Codec, "the head of a record says nothing that can be read")
                .in_tier(TierKind::Shared)
        })?;
        let format = Format::from_u8(found.format).ok_or_else(|| {
            Error::new(
                ErrorKind::Codec,
                format!("record of format {}: written by a newer version", found.format),
            )
            .in_tier(TierKind::Shared)
        })?;
        let now = self.clock.boot();
        let is_fresh = simulated::is_planted(Fault::WindowForgotten);
        let is_forgotten = simulated::is_planted(Fault::LifeForgotten);
        let ttl = found.expires_at.remaining(now).filter(|_| !is_forgotten);
        let age = (found.made_at != Millis::NEVER)
            .then(|| Duration::from_millis(now.0.saturating_sub(found.made_at.0)));
        Ok(Record {
            stale: if is_fresh { Duration::ZERO } else { found.stale() },
            age,
            extras: extras.map(Arc::new),
            ..Record::new(found.value, format, ttl)
        })
    }
}

/// What came of a change that was to replace what was marked.
fn taken(put: Result<u32, Dropped>) -> Result<Option<u32>> {
    let why = match put {
        Ok(stamp) => return Ok(Some(stamp)),
        Err(Dropped::Raced) => return Ok(None),
        Err(why) => why,
    };
    let kind = match why {
        Dropped::TooLarge => ErrorKind::TooLarge,
        Dropped::NoRoom => ErrorKind::Full,
        Dropped::Busy => ErrorKind::Busy,
        _ => ErrorKind::Io,
    };
    let message = format!("the store did not take the record: {}", why.as_str());
    Err(Error::new(kind, message).in_tier(TierKind::Shared))
}

fn head_of(record: &Record) -> Vec<u8> {
    record.extras.as_deref().map_or(Vec::new(), Extras::to_head)
}

impl Tier for SharedTier {
    fn remove(&self, key: &[u8]) -> Result<()> {
        self.delete(key);
        Ok(())
    }

    fn clear(&self) -> Result<()> {
        self.clear_all();
        Ok(())
    }

    fn usage(&self) -> Usage {
        let usage = self.store.view().store().usage();
        Usage {
            entries: usage.entries,
            max_entries: Some(usage.max_entries),
            bytes: usage.bytes,
            max_bytes: Some(usage.max_bytes),
        }
    }

    fn trouble(&self) -> Option<String> {
        self.store.trouble()
    }

    fn close(&self) {}
}

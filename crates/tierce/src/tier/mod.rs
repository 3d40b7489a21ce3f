//! What the chain needs of a tier below L1.
//!
//! L1 holds values and is generic, so it stands apart ([`crate::memory`]); L2 and L3 hold bytes
//! and are driven through [`Tier`] and [`RemoteTier`]. They separate three ways of putting a value somewhere,
//! because confusing them is how caches bring back what was deleted:
//!
//! | call | who | may it overwrite | what it needs |
//! |---|---|---|---|
//! | [`write`](RemoteTier::write) | `set` | yes | nothing: the caller's word is newest |
//! | [`fill`](RemoteTier::fill) | backfill, a loader's result | only what is stale, or what the read found: it adopts another | the [`Token`] of a read made before the value was fetched |
//! | [`remove`](Tier::remove) | `delete` | - | nothing |
//!
//! A token stands for "what this tier knew of the key's changes when it was read". Every write
//! and remove makes the tokens of its key stale; so does `clear` with all of them.

mod extras;
#[cfg(feature = "sim")]
pub(crate) mod injected;
#[cfg(not(feature = "sim"))]
#[path = "injected_absent.rs"]
mod injected;
mod ledger;
mod listener;
#[cfg(feature = "redis")]
mod redis;
#[cfg(not(feature = "redis"))]
#[path = "redis_absent.rs"]
mod redis;
#[cfg_attr(not(feature = "config"), allow(dead_code))]
mod rollout;
#[cfg(feature = "shared")]
mod shared;
#[cfg(not(feature = "shared"))]
#[path = "shared_absent.rs"]
mod shared;
mod write_policy;

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;

#[cfg(feature = "redis")]
pub(crate) use self::listener::{Post, TagsTold};
#[cfg(feature = "redis")]
pub use self::redis::{RedisOptions, RedisRefusal, RedisStatistics};
#[cfg(not(feature = "redis"))]
pub(crate) use self::redis::{RedisOptions, RedisStatistics};
#[cfg(any(
    feature = "redis",
    all(feature = "config", feature = "shared", target_os = "linux")
))]
pub(crate) use self::rollout::{RolloutMark, RolloutNext, RolloutState};
pub(crate) use self::{
    extras::{Around, Extras},
    ledger::Ledger,
    listener::{ChangeListener, Coherence},
    rollout::{RolloutAsk, RolloutNews},
    shared::{
        Changed, ClaimWord, SharedCell, SharedDoubt, SharedMark, SharedOptions, SharedTier, Turn,
        Turns,
    },
    write_policy::Behind,
};
pub use self::{
    listener::{Invalidation, OnLoss},
    write_policy::WritePolicy,
};

use crate::{
    clock::Clock,
    codec::Format,
    error::{Error, ErrorKind, Result},
    tag_cells::{CellChange, KnownBelow, Tags, Verdict},
};

/// A value as L2 and L3 hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// The encoded value.
    pub value: Bytes,
    /// How to read it.
    pub format: Format,
    /// What remains until it is gone; `None` lives until it is evicted.
    pub ttl: Option<Duration>,
    /// The last part of `ttl` in which the value is stale: served only to who allows it. Zero
    /// where there is no end.
    pub stale: Duration,
    /// How long ago the value was loaded or set; `None` where that is not known.
    pub age: Option<Duration>,
    /// What few records have.
    pub extras: Option<Arc<Extras>>,
    /// Which change made it, in L3 alone: a number drawn at random, by which a host knows its own
    /// changes again. 0 elsewhere.
    pub change: u64,
    /// False where another change gave it another end since, in L3 alone: its number is that of the one which
    /// made it.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    pub is_as_made: bool,
}

impl Record {
    /// A value made now, which is fresh to its end.
    pub(crate) fn new(value: Bytes, format: Format, ttl: Option<Duration>) -> Self {
        let age = Some(Duration::ZERO);
        let (stale, extras, change, is_as_made) = (Duration::ZERO, None, 0, true);
        Self { value, format, ttl, stale, age, extras, change, is_as_made }
    }

    /// What L3 is given of a change whose value is too large for it.
    pub(crate) fn oversized(&self) -> Self {
        let nothing = Self::new(Bytes::new(), Format::Oversized, self.ttl);
        Self { change: self.change, ..nothing }
    }
}

/// A licence to fill a tier, valid until the key changes there. Opaque outside its tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    /// What the tier's words for changes were.
    pub(crate) words: [u64; 2],
    /// Which change made the record that the read found, 0 for none: a fill may take its place.
    pub(crate) seen: u64,
}

/// What a read of one tier found.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// The live record, or `None` on a miss.
    pub record: Option<Record>,
    /// The licence to fill this tier with what is fetched from below; taken before the record
    /// was looked for. `None` where the tier wants no fill now.
    pub token: Option<Token>,
    /// Up to which change of tags it is, where that was asked.
    pub tags: Option<KnownBelow>,
    /// What remains of a record that is no value; `None` where it has no end, or there is none.
    pub word_ttl: Option<Duration>,
}

/// How far a server that follows another one has come, or must have.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The stamp of a group of keys.
    pub stamp: u64,
    /// How many bytes of what the other one did it has done too: the low
    /// [`OFFSET_BITS`](Self::OFFSET_BITS) of their number.
    pub offset: u64,
}

#[cfg_attr(not(feature = "redis"), allow(dead_code))]
impl Reached {
    /// A terabyte: nobody lags by half of it.
    pub(crate) const OFFSET_BITS: u32 = 40;

    /// Those bits of a number.
    pub(crate) const OFFSET_MASK: u64 = (1 << Self::OFFSET_BITS) - 1;

    /// Stamps that may be ahead of those that are asked for: more changes of a group than happen between
    /// two looks at the master. Stamps begin at random, so those of another server are rarely that close.
    const AHEAD: u64 = 1 << 20;

    /// True if who has come as far as this has come as far as `least`.
    pub(crate) fn is_at(self, least: Self) -> bool {
        let ahead = self.offset.wrapping_sub(least.offset) & Self::OFFSET_MASK;
        ahead < 1 << (Self::OFFSET_BITS - 1) && self.stamp.wrapping_sub(least.stamp) < Self::AHEAD
    }
}

/// What became of a fill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fill {
    /// The record is in the tier now.
    Stored,
    /// The record is in the tier now, in place of another: the key's stamp was raised to this.
    #[cfg_attr(not(feature = "shared"), allow(dead_code))]
    Replaced(u32),
    /// The tier had a live record already; the caller takes this one for its own.
    Adopted(Record),
    /// The key changed since the token was taken: the value is older than a change and must not
    /// be kept anywhere.
    Refused,
    /// The tier had no room or no time for it; nothing is known of the key's changes.
    Dropped,
}

/// What became of a write that was to replace one record only.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// The record is in the tier now, with the stamp that the change gave the group of the key,
    /// where the tier could give it one.
    Done(Option<u64>),
    /// Another record is there, or none; it stays.
    Otherwise,
}

/// The record that a write is to replace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Which change made it.
    pub change: u64,
    /// It was fresh: not made stale before its time by then.
    pub is_fresh: bool,
}

/// What is done with the right to load a key.
#[cfg_attr(not(feature = "redis"), allow(dead_code))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseStep {
    /// Take it for so long, if nobody has it.
    Take(Duration),
    /// Have it for so long from now on, if it is the owner's.
    Renew(Duration),
    /// Give it back, if it is the owner's.
    Release,
}

/// Whose the right to load a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leased {
    /// The owner's who asked.
    pub is_mine: bool,
    /// There is something under the key, whatever it is.
    pub is_there: bool,
}

/// What a touch gives a copy above L3.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TouchSpan {
    /// For how long it is to be fresh; `None` for ever.
    pub fresh: Option<Duration>,
    /// Also where it was to end earlier.
    pub prolongs: bool,
}

/// What a touch of a key found in L3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Touch {
    /// A fresh value, which has another end now; and the stamp that this gave the group of the key,
    /// where the tier could give it one.
    Done(Option<u64>),
    /// The same of word that the value is too large for the tier.
    #[cfg_attr(not(feature = "redis"), allow(dead_code))]
    Oversized(Option<u64>),
    /// None.
    Absent,
}

/// How full a tier is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Live entries; approximate in L2, 0 where the tier cannot tell.
    pub entries: u64,
    /// The bound on entries, if there is one.
    pub max_entries: Option<u64>,
    /// Bytes held, keys and overhead included; 0 where the tier cannot tell.
    pub bytes: u64,
    /// The bound on bytes, if there is one.
    pub max_bytes: Option<u64>,
}

/// A tier below L1.
///
/// Every call is bounded in time by the tier's own deadlines and safe from any thread. An error
/// means that the tier failed; the chain counts it and goes on without the tier. A miss is not an
/// error.
pub(crate) trait Tier: Send + Sync {
    /// Removes the key's record.
    ///
    /// On an error the tier may hold the record or not; the caller must treat the tier as
    /// unreliable for this key until a later change of it succeeds.
    fn remove(&self, key: &[u8]) -> Result<()>;

    /// Removes all records of this cache. Errors as [`remove`](Self::remove), for all keys.
    fn clear(&self) -> Result<()>;

    /// How full the tier is, without waiting.
    fn usage(&self) -> Usage;

    /// Why the tier is not answering now, or `None` while it is.
    fn trouble(&self) -> Option<String>;

    /// Gives back threads and connections; later calls fail.
    fn close(&self);
}

/// A tier that hosts share. Its keys fall into the groups of [`key::group`](crate::key).
pub(crate) trait RemoteTier: Tier {
    /// Drops its connections, to be made anew; false where it has none.
    fn reset(&self) -> bool {
        false
    }

    /// Looks the key up. A record with tags is one that no change of them, by any host, has removed.
    fn read(&self, key: &[u8]) -> Result<Found>;

    /// Whether a value is of a size that it takes, before anything is sent.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) with its rule.
    fn check_size(&self, record: &Record) -> Result<()> {
        _ = record;
        Ok(())
    }

    /// True if there may be replicas to ask.
    fn has_replicas(&self) -> bool {
        false
    }

    /// The fresh value that a replica of this tier has of the key, if that has come as far as `least`;
    /// `None` where there is none. A record with tags is judged as that of a
    /// [`read`](Self::read). No licence to fill this tier comes with it.
    fn read_replica(&self, key: &[u8], least: Reached) -> Result<Option<Record>> {
        _ = (key, least);
        Ok(None)
    }

    /// Looks many keys up, in as few round trips as the size of what is found allows; a record or
    /// `None` for each, in their order. No licence to fill this tier comes with it.
    ///
    /// `keeps` says that what is found is to be kept elsewhere: without it the time to live of a
    /// record may be left out.
    fn read_many(&self, keys: &[&[u8]], keeps: bool) -> Result<Vec<Option<Record>>> {
        _ = keeps;
        keys.iter().map(|key| Ok(self.read(key)?.record)).collect()
    }

    /// Keeps a record that was fetched from below or loaded, unless the key changed since. It
    /// takes the place of the record that the read of the token found.
    fn fill(&self, key: &[u8], record: &Record, token: Token) -> Result<Fill>;

    /// [`remove`](Tier::remove), and as [`write`](Self::write) the stamp that it made.
    fn delete(&self, key: &[u8]) -> Result<Option<u64>>;

    /// Makes the key's record stale, or removes it where it has no stale part. Errors and what is
    /// returned as [`delete`](Self::delete).
    fn expire(&self, key: &[u8]) -> Result<Option<u64>>;

    /// Gives the key's record another end if it is a value that is fresh: it will be for so long, or
    /// for ever. Errors as [`delete`](Self::delete).
    fn touch(&self, key: &[u8], fresh: Option<Duration>) -> Result<Touch>;

    /// Replaces the key's record. Returns the stamp that the change gave the group of the key,
    /// where the tier could give it one.
    ///
    /// On an error the tier may hold the old record, the new one or none; the caller must treat
    /// the tier as unreliable for this key until a later change of it succeeds.
    fn write(&self, key: &[u8], record: &Record) -> Result<Option<u64>>;

    /// As [`write`](Self::write) if the key's record is the one `expected`, `None` for no record; as
    /// one step for all hosts.
    fn write_if(&self, key: &[u8], record: &Record, expected: Option<Expected>) -> Result<Written>;

    /// Takes, renews or gives back the right to load a key while all other hosts wait.
    fn lease(&self, key: &[u8], owner: u64, step: LeaseStep) -> Result<Leased> {
        _ = (key, owner, step);
        Ok(Leased { is_mine: true, is_there: false })
    }

    /// Asks for the state of a rollout over all hosts, or changes it.
    #[cfg_attr(not(feature = "config"), allow(dead_code))]
    fn rollout(&self, ask: &RolloutAsk<'_>) -> Result<RolloutNews> {
        _ = ask;
        Err(Error::new(ErrorKind::Unsupported, "this tier keeps no rollout"))
    }

    /// Removes all records of a group of keys. Errors as [`Tier::clear`].
    fn clear_group(&self, group: usize) -> Result<()>;

    /// Up to which change of tags this tier is by now. Begins the numbering where there is none.
    fn tags_known(&self) -> Result<KnownBelow>;

    /// Changes all that bears a tag of these cells, for all hosts.
    ///
    /// On an error it may be done or not; the caller must take no record with tags from this tier
    /// until a later raise of the cells succeeded.
    fn raise_tags(&self, raised: &[CellChange]) -> Result<TagsRaised>;

    /// What has become of a record with these tags; one that a read returned may be gone since.
    fn judge(&self, tags: &Tags) -> Result<Verdict>;

    /// What the tier counted since it was made.
    fn statistics(&self) -> RedisStatistics;

    /// Tells `listener` of all changes, by whomever, for as long as it lives and is on duty; once
    /// in each process.
    ///
    /// # Errors
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) where there is no thread left; the next call tries
    /// again.
    fn listen(&self, listener: Weak<dyn ChangeListener>) -> Result<()>;
}

/// What a raise of tags did in a remote tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TagsRaised {
    /// The number before it.
    pub(crate) before: KnownBelow,
    /// The number that it made.
    pub(crate) after: u64,
}

/// The options of L2 where none were given; `None` where L2 is not built in.
pub(crate) fn default_shared_options() -> Option<SharedOptions> {
    shared::default_options()
}

/// The options of L3 where none were given; `None` where L3 is not built in.
pub(crate) fn default_redis_options() -> Option<RedisOptions> {
    redis::default_options()
}

/// Makes the tier of these options. Does no I/O.
///
/// # Errors
/// For options out of range.
pub(crate) fn open_redis(options: RedisOptions) -> Result<Arc<dyn RemoteTier>> {
    injected::redis().map_or_else(|| redis::open(options), Ok)
}

/// Opens the store of these options as a tier.
///
/// # Errors
/// As [`SharedTier::open`].
pub(crate) fn open_shared(options: &SharedOptions, clock: Clock) -> Result<Arc<SharedTier>> {
    injected::shared().map_or_else(|| SharedTier::open(options, clock).map(Arc::new), Ok)
}

//! What the store takes and returns.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::Millis;

/// The hash of a key in one store; another store hashes with another seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash(pub(super) u64);

/// A record as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreRecord {
    /// The value.
    pub value: Bytes,
    /// The number it was stored with.
    pub format: u8,
    /// When it ends, on the boot-time line; [`Millis::NEVER`] for none.
    pub expires_at: Millis,
    /// When it was made, on the boot-time line; [`Millis::NEVER`] where that is not known.
    pub made_at: Millis,
    pub(super) head: Option<Box<[u8]>>,
    pub(super) stale_millis: u32,
}

impl StoreRecord {
    /// How long before its end it is stale.
    pub fn stale(&self) -> Duration {
        Duration::from_millis(self.stale_millis.into())
    }

    /// The head it was stored with.
    pub fn head(&self) -> &[u8] {
        self.head.as_deref().unwrap_or_default()
    }

    /// True where it is stale or over at this point of the boot-time line.
    pub fn is_stale(&self, now: Millis) -> bool {
        is_stale(self.expires_at, self.stale(), now)
    }
}

/// How full a store is. Approximate: read without waiting while others write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreUsage {
    /// Live entries, some of which may have expired.
    pub entries: u64,
    /// The bound on them.
    pub max_entries: u64,
    /// Bytes of records that are still wanted, headers and keys included.
    pub bytes: u64,
    /// Bytes that the store has for records.
    pub max_bytes: u64,
}

/// What a store knew of a key's changes when the token was taken: a licence to fill, and the
/// stamp that an entry of L1 is filed under.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreToken {
    /// Which stamp the key has; several keys may share one.
    pub stamp_index: u32,
    /// The stamp: changes with every put and delete of the key.
    pub stamp: u32,
    /// Changes when a change of the shard could not take its lock.
    pub shard_epoch: u32,
    /// Changes with every clear.
    pub clear_epoch: u32,
    /// What a tier below said of the key's group then; 0 where there is none that judges.
    pub group_word: u32,
}

/// What to store.
#[derive(Clone, Copy, Debug)]
pub struct NewRecord<'a> {
    /// The value.
    pub value: &'a [u8],
    /// A number that is stored and returned with it.
    pub format: u8,
    /// When it ends, on the boot-time line; [`Millis::NEVER`] for none.
    pub expires_at: Millis,
    /// How long before its end it is stale. Above 49 days it ends earlier instead, so that it is
    /// stale from the same point on.
    pub stale: Duration,
    /// When it was made, on the boot-time line; [`Millis::NEVER`] where that is not known.
    pub made_at: Millis,
    /// Bytes that are stored and returned with it, beside the value: a multiple of 8, at most
    /// 2,040. What is longer is not stored.
    pub head: &'a [u8],
    /// In a fill: live records give way that were made until then, on the boot-time line, or of
    /// which that is not known, also where they are not stale. Zero for none.
    pub replaces: Millis,
    /// In a fill: raises the stamp of the key also where it takes the place of nothing, as copies may be
    /// left elsewhere of what was here once.
    pub raises: bool,
}

impl<'a> NewRecord<'a> {
    /// A record that is never stale, of unknown age, without a head.
    pub const fn new(value: &'a [u8], format: u8, expires_at: Millis) -> Self {
        let (stale, made_at) = (Duration::ZERO, Millis::NEVER);
        Self {
            value,
            format,
            expires_at,
            stale,
            made_at,
            head: &[],
            replaces: Millis(0),
            raises: false,
        }
    }

    /// End and stale span as a record holds them.
    pub(super) fn span(&self) -> (Millis, u32) {
        if self.expires_at == Millis::NEVER {
            return (Millis::NEVER, 0);
        }
        let stale = u64::try_from(self.stale.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
        let longest = stale.min(u64::from(u32::MAX));
        (Millis(self.expires_at.0.saturating_sub(stale - longest)), longest as u32)
    }

    /// True where it is stale or over at this point of the boot-time line.
    pub(super) fn is_stale(&self, now: Millis) -> bool {
        is_stale(self.expires_at, self.stale, now)
    }
}

/// True where a live record made at `made_at` is to give way to a fill that says `replaces`.
pub(super) fn is_replaced(made_at: Millis, replaces: Millis) -> bool {
    replaces != Millis(0) && (made_at == Millis::NEVER || made_at <= replaces)
}

fn is_stale(expires_at: Millis, stale: Duration, now: Millis) -> bool {
    expires_at.remaining(now).is_some_and(|left| left <= stale)
}

/// What a put did. Either way no older record is left and the key's stamp was raised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The record is there.
    Stored {
        /// The value that the raise of this put made.
        stamp: u32,
    },
    /// The record could not be stored; the key is absent.
    Removed {
        /// The value that the raise of this put made.
        stamp: u32,
        /// Why.
        why: Dropped,
    },
}

/// What a fill did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreFill {
    /// The record is there.
    Stored,
    /// The record is there, in place of one that copies above may have been made of: the key's stamp
    /// was raised to this, so that they give way.
    Replaced(u32),
    /// A live record was there already; it stays.
    Adopted(StoreRecord),
    /// The key changed after the token was taken; nothing was stored.
    Refused,
    /// The record could not be stored.
    Dropped(Dropped),
}

/// Why a record could not be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Dropped {
    /// The lock was not free in time.
    Busy,
    /// No segment could be freed.
    NoRoom,
    /// Key or value is above its bound.
    TooLarge,
    /// The expected token was no longer current.
    Raced,
    /// The device failed.
    Io,
    /// The store is parked in this process.
    Parked,
}

impl Dropped {
    /// The reason in lower case, as it appears in metrics labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::NoRoom => "no_room",
            Self::TooLarge => "too_large",
            Self::Raced => "raced",
            Self::Io => "io",
            Self::Parked => "parked",
        }
    }
}

/// Sums over all processes since the first of them opened the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreStatistics {
    /// Reads that returned a record.
    pub hits: u64,
    /// Reads that returned none.
    pub misses: u64,
    /// Puts that stored.
    pub puts: u64,
    /// Fills that stored.
    pub fills: u64,
    /// Fills that found a live record and returned it.
    pub fills_adopted: u64,
    /// Fills refused because their token was stale.
    pub fills_refused: u64,
    /// Calls of delete.
    pub deletes: u64,
    /// Calls of clear.
    pub clears: u64,
    /// Puts and fills dropped because a lock was not free in time.
    pub dropped_busy: u64,
    /// Puts and fills dropped because no segment could be freed.
    pub dropped_no_room: u64,
    /// Puts and fills of keys or values above their bounds.
    pub dropped_too_large: u64,
    /// Puts whose token was no longer current.
    pub dropped_raced: u64,
    /// Puts and fills dropped because of an error of the device.
    pub dropped_io: u64,
    /// Puts and fills dropped while the store was parked in their process.
    pub dropped_parked: u64,
    /// Locks taken over from owners that died with them.
    pub owner_deaths: u64,
    /// Records whose bytes were not what was written.
    pub corrupt: u64,
    /// Failed reads and writes of the device.
    pub io_errors: u64,
    /// Entries evicted for room or for the entry bound.
    pub evicted_size: u64,
    /// Entries removed because their time had passed.
    pub evicted_expired: u64,
    /// Records replaced by a newer one of the same key.
    pub replaced: u64,
    /// Records removed by delete or by a put that could not store.
    pub deleted: u64,
    /// Records carried over when their segment was freed.
    pub reinserted: u64,
    /// Changes that could not take their shard's lock and made the whole shard a miss.
    pub epochs_raised: u64,
    /// Large values lost because a piece of them was evicted.
    pub broken: u64,
}

/// What [`Store::validate`](crate::Store::validate) found. Exact only while nobody writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCheck {
    /// Segments of the store.
    pub segments: u32,
    /// Segments with nothing in them.
    pub free_segments: u32,
    /// Segments that are being filled.
    pub active_segments: u32,
    /// Slots in use.
    pub slots: u64,
    /// Slots that lead to a whole, current, unexpired record.
    pub live: u64,
    /// Slots that lead to a record that is forgotten or has expired.
    pub dead: u64,
    /// Slots that lead to a record whose key or value is damaged, or outside of the store.
    pub corrupt: u64,
    /// Keys that have more than one live slot; there must be none.
    pub doubled: u64,
    /// Records found by walking the segments, large values' pieces included.
    pub records: u64,
    /// Segments whose walk ended at something that is no record; a process killed at the wrong
    /// moment leaves none, damage does.
    pub broken_segments: u32,
}

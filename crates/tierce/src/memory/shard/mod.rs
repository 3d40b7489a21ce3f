//! What a shard's writers do under its lock: put in, take out, evict, expire, grow, shrink.
//!
//! ```text
//!   readers:  root ──> Table ──> bucket ──> slot ──> place        (index, slab.rs)
//!   writers:  Writer { slab, policy, expiry, limbo, ... }          under one lock
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `mod` | what a shard consists of, and finding in it |
//! | `store` | what comes in, and what has to go for it |
//! | `retire` | what leaves: the limbo, and what is done when readers hold it up |
//! | `due` | which entries are over |
//! | `grow` | an index that becomes larger |
//! | `compact` | memory that is given back: moved together, cleared, dissolved |
//! | `view` | what the policy sees |
//! | `validate` | what must hold |
//!
//! An entry is never changed once readers can see it: a new value of a key is a new place, and
//! the old one goes to the [`limbo`](super::limbo) until nobody looks at it any more. Where this
//! process has no other thread that ever read a cache, it is free at once; where it has none that
//! reads or writes ([`epoch::sole`]), the value is mostly replaced where it lies: readers who come
//! wait until it is whole.
//!
//! Nothing here calls the caller's code, apart from the `eq` that a search is given, and a search
//! comes before every change: whatever `eq` does, the shard stays whole. What is taken out goes
//! into [`Departures`], which are dealt with once the lock is free. Hashes are kept with the
//! entries, so neither growing nor evicting hashes a key again.

use std::{
    mem::offset_of,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{
    expiry::Expiry,
    index::{OwnedTable, Spot, Table},
    limbo::Limbo,
    loads::Loads,
    options::ShardBounds,
    place::{HUGE, Place},
    slab::{Segments, Slab},
    slot::number_of,
    statistics::MemoryStatistics,
};
use crate::{
    clock::Millis,
    policy::{Chosen, Policy, PolicyKind, PolicyView, Slot},
    sync::{MutexGuard, epoch},
};

mod compact;
mod due;
mod grow;
mod retire;
mod store;
mod validate;
mod view;

pub(super) use compact::dissolve;
use view::View;

/// Bytes of a cache line.
pub(super) const LINE: usize = 64;

/// Slots of entries.
pub(super) type Index<K, V> = Table<Segments<K, V>>;

/// Memory that readers may still look at, on its way out.
pub(super) enum Room<K, V> {
    /// A table whose entries moved on to another one.
    Table { _table: OwnedTable<Segments<K, V>> },
    /// A slab with what it still holds.
    Slab(Slab<K, V>),
}

impl<K, V> Room<K, V> {
    /// Moves the entries out that are still in it.
    pub(super) fn drain(&mut self, each: impl FnMut(K, V)) {
        if let Self::Slab(slab) = self {
            slab.drain(each);
        }
    }
}

/// What only those who hold a shard's lock may touch.
///
/// Each line of it that an insert changes has to travel to its processor, so those that all
/// inserts change come first and are few: one with the lock and the sums, two of the limbo, one of
/// the counts, one of the policy. [`MemoryCache::lock`](super::MemoryCache) calls for them at once.
/// The rest is only looked at by most inserts.
#[repr(C)]
pub(super) struct Writer<K, V> {
    len: u64,
    /// At most `bounds.bytes`, but while those become lower: so it fits.
    weight: u64,
    slab: Slab<K, V>,
    /// What the policy adds up: weights, or numbers of entries. Bytes were bounded when the shard
    /// was made; a sum cannot change its unit later.
    by_weight: bool,
    /// The last key that was stored was not here.
    last_was_new: bool,
    limbo: Limbo,
    pub(super) statistics: MemoryStatistics,
    policy_kind: PolicyKind,
    policy: Chosen,
    bounds: ShardBounds,
    /// The policy has room for so many entries.
    policy_room: u64,
    /// How long an entry lives that nobody reads, in milliseconds.
    time_to_idle: Option<u64>,
    expiry: Expiry,
    /// Tables and slabs that readers may still look at, oldest first, with the epoch in which
    /// they were retired.
    rooms: Vec<(epoch::Epoch, Room<K, V>)>,
    pub(super) loads: Loads<K, V>,
    /// The weights that do not fit in a place.
    huge: HashMap<Slot, u64, FixedState>,
}

/// The lines of a shard that all inserts change, if its lock begins the first of them.
pub(super) const HOT_LINES: usize = 5;

/// The lock is before it, and the first line is full.
const _: () = assert!(offset_of!(Writer<u64, u64>, limbo) == LINE - 8);
const _: () = assert!(offset_of!(Writer<u64, u64>, statistics) == 3 * LINE - 8);
const _: () = assert!(offset_of!(Writer<u64, u64>, policy) == 4 * LINE - 8);

/// An entry on its way in.
pub(super) struct NewEntry<K, V> {
    pub(super) hash: u32,
    /// [`Millis::NEVER`] for entries that do not expire.
    pub(super) deadline: Millis,
    pub(super) weight: u64,
    pub(super) key: K,
    pub(super) value: V,
}

/// The table that readers of a shard begin with.
pub(super) type Root<K, V> = AtomicPtr<Index<K, V>>;

/// An entry that was found, and where the index names it until the lock is let go or the table
/// grows.
pub(super) struct Hit<K, V> {
    pub(super) slot: Slot,
    place: NonNull<Place<K, V>>,
    spot: Spot,
}

impl<K, V> Clone for Hit<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for Hit<K, V> {}

/// A shard whose lock is held.
pub(super) struct Locked<'a, K, V> {
    pub(super) root: &'a Root<K, V>,
    pub(super) writer: MutexGuard<'a, Writer<K, V>>,
}

impl<K, V> Writer<K, V> {
    /// What an entry takes in a shard beside what its key and value own elsewhere: its place, 8
    /// bytes in a table that is filled to two thirds, and what policy and deadlines keep.
    pub(super) const ENTRY_OVERHEAD: usize = size_of::<Place<K, V>>() + 8 + 6;

    /// A shard without entries, and its table; `None` if memory is short.
    pub(super) fn new(
        bounds: ShardBounds,
        policy_kind: PolicyKind,
        time_to_idle: Option<u64>,
    ) -> Option<(Self, NonNull<Index<K, V>>)> {
        let slab = Slab::new(time_to_idle.is_some())?;
        let table = Index::new(1, NonNull::from(slab.segments()))?;
        let policy = Chosen::new(policy_kind);
        let writer = Self {
            slab,
            policy,
            policy_kind,
            expiry: Expiry::default(),
            limbo: Limbo::new(),
            rooms: Vec::new(),
            bounds,
            policy_room: 0,
            by_weight: bounds.bytes != u64::MAX,
            last_was_new: true,
            len: 0,
            weight: 0,
            huge: HashMap::default(),
            time_to_idle,
            loads: Loads::default(),
            statistics: MemoryStatistics::default(),
        };
        Some((writer, NonNull::from(Box::leak(table))))
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn weight(&self) -> u128 {
        self.weight.into()
    }

    pub(super) fn view(&self) -> PolicyView {
        self.policy.view()
    }

    #[inline]
    fn weight_of(&self, slot: Slot, place: &Place<K, V>) -> u64 {
        match place.weight() {
            HUGE => self.huge.get(&slot).copied().unwrap_or(HUGE.into()),
            weight => weight.into(),
        }
    }
}

impl<K, V> Locked<'_, K, V> {
    /// The oldest table that is in use.
    #[inline]
    fn table(&self) -> &Index<K, V> {
        // SAFETY: the root names a table that lives until it was retired, which needs the lock.
        unsafe { &*self.root.load(Ordering::Relaxed) }
    }

    /// The policy, and what it sees.
    #[inline(always)]
    fn policy(&mut self) -> (&mut Chosen, View<'_, K, V>) {
        // SAFETY: as in `table`.
        let table = unsafe { &*self.root.load(Ordering::Relaxed) };
        let Writer { policy, slab, by_weight, .. } = &mut *self.writer;
        (policy, View { slab, table, by_weight: *by_weight })
    }

    /// Finds the entry of a key; `eq` is asked only about keys with this `hash`.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut eq: impl FnMut(&K) -> bool) -> Option<Hit<K, V>> {
        let mut place = NonNull::dangling();
        let segments = self.writer.slab.segments();
        let (spot, slot) = self.table().current(hash).find(hash, |slot| {
            // SAFETY: the index names it, so it was handed out and is live, and the lock keeps it
            // so.
            let its = unsafe { segments.place(slot) };
            place = NonNull::from(its);
            if its.hash() != hash {
                return false;
            }
            // SAFETY: as above.
            unsafe { its.prefetch_value_pointees() };
            // SAFETY: as above.
            eq(unsafe { its.key() })
        })?;
        Some(Hit { slot, place, spot })
    }

    /// The value that was found.
    #[inline]
    pub(super) fn value(&self, hit: Hit<K, V>) -> &V {
        // SAFETY: live, as `find` named it and the lock was not let go since.
        unsafe { hit.place.as_ref().value() }
    }

    /// The place of a slot.
    #[inline]
    pub(super) fn place(&self, slot: Slot) -> &Place<K, V> {
        self.writer.slab.place(slot)
    }

    /// Tells a policy that wants to know of a read.
    #[inline]
    pub(super) fn hit(&mut self, slot: Slot) {
        let (policy, view) = self.policy();
        policy.on_hit(slot, &view);
    }

    /// True if the index names this slot.
    pub(super) fn is_named(&self, slot: Slot, hash: u32) -> bool {
        number_of(slot) < self.writer.slab.used()
            && self.place(slot).is_live()
            && self.table().current(hash).spot(hash, slot).is_some()
    }

    /// True if the entry that was found in this place, with a pin that is still held, did not
    /// leave. The number of its slot alone does not say so: after a `clear` it is another place's.
    pub(super) fn is_here(&self, slot: Slot, place: *const Place<K, V>, hash: u32) -> bool {
        self.is_named(slot, hash) && std::ptr::eq(self.place(slot), place)
    }

    /// Has no load of a key with this hash stored that began before now. Every call that changes
    /// a key, or finds nothing of it to remove, comes here.
    #[inline]
    pub(super) fn void_loads(&mut self, hash: u32) {
        if !self.writer.loads.is_empty() {
            self.writer.loads.void(hash);
        }
    }
}

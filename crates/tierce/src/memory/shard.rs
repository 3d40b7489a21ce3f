//! One shard of the memory tier: an index, a slab of entries, a policy and an expiry wheel, all
//! under one lock that the cache holds around every call made here.
//!
//! ```text
//!   table: hash -> slot     slots: [ hash | deadline | weight | key | value ] or [ next free ]
//!                                   ^ policy and wheel name slots by u32, never by pointer
//! ```
//! Nothing here calls the caller's code, apart from the `eq` that a search is given, and a search
//! comes before every change: whatever `eq` does, the shard stays whole. What is taken out goes
//! into a [`Dropped`], which the cache drops once the lock is free. Hashes are kept with the
//! entries, so neither growing nor evicting hashes a key again.

use std::{collections::TryReserveError, mem};

use hashbrown::HashTable;

use super::{cache::Inserted, dropped::Dropped, options::ShardBounds, wheel::Wheel};
use crate::{
    clock::Millis,
    policy::{
        NO_SLOT, PolicyKind, Slot,
        told::{Chosen, Policy},
    },
};

/// Slot numbers plus the heads of the wheel's lists must stay below `NO_SLOT`.
const MAX_SLOTS: u64 = (1 << 32) - 1024;

/// Expired entries that one insert frees: more than the one that it adds, so that the expired
/// never pile up.
const FREED_PER_INSERT: usize = 4;

/// Steps of the wheel in one insert: more than the eleven that an entry needs in its whole life.
const WHEEL_STEPS_PER_INSERT: usize = 16;

/// The slab grows by a fourth, so that at most a fifth of it is unused; never past the bound.
/// Large blocks grow by moving pages, not bytes.
const GROWTH_DIVISOR: usize = 4;

/// A shrunk shard is rebuilt if more than this many times its entries are slots; below that
/// moving the entries is not worth the memory.
const REBUILD_SLOTS_PER_ENTRY: usize = 2;

/// One entry.
pub(super) struct Entry<K, V> {
    pub(super) hash: u64,
    /// [`Millis::NEVER`] for entries that do not expire.
    pub(super) deadline: Millis,
    pub(super) weight: u64,
    pub(super) key: K,
    pub(super) value: V,
}

enum Place<K, V> {
    Free { next: Slot },
    Taken(Entry<K, V>),
}

/// Why an entry left.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    Size,
    Bytes,
    Expired,
    Replaced,
    Removed,
}

/// Why entries left a [`MemoryCache`](crate::MemoryCache), or did not come in. Counted since it
/// was made; the numbers saturate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemoryStatistics {
    /// Evicted to keep `max_entries`.
    pub size: u64,
    /// Evicted to keep `max_bytes`.
    pub bytes: u64,
    /// Freed because their time to live had passed.
    pub expired: u64,
    /// Replaced by a newer value of the same key.
    pub replaced: u64,
    /// Removed by key or by `clear`, or because a newer value was not stored.
    pub removed: u64,
    /// Not stored: too heavy, no room at all, or memory was short.
    pub refused: u64,
    /// Keys and values whose `Drop` panicked after the cache had let go of them.
    pub drop_panics: u64,
}

impl MemoryStatistics {
    pub(super) fn add(&mut self, other: &Self) {
        self.size = self.size.saturating_add(other.size);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.expired = self.expired.saturating_add(other.expired);
        self.replaced = self.replaced.saturating_add(other.replaced);
        self.removed = self.removed.saturating_add(other.removed);
        self.refused = self.refused.saturating_add(other.refused);
        self.drop_panics = self.drop_panics.saturating_add(other.drop_panics);
    }

    fn count(&mut self, cause: Cause) {
        let counter = match cause {
            Cause::Size => &mut self.size,
            Cause::Bytes => &mut self.bytes,
            Cause::Expired => &mut self.expired,
            Cause::Replaced => &mut self.replaced,
            Cause::Removed => &mut self.removed,
        };
        *counter = counter.saturating_add(1);
    }
}

pub(super) struct Shard<K, V> {
    table: HashTable<Slot>,
    slots: Vec<Place<K, V>>,
    first_free: Slot,
    policy: Chosen,
    policy_kind: PolicyKind,
    wheel: Wheel,
    bounds: ShardBounds,
    /// Wider than any sum of entries' weights, so that it is exact.
    weight: u128,
    pub(super) statistics: MemoryStatistics,
}

impl<K, V> Shard<K, V> {
    /// What an entry takes in a shard beside what its key and value own elsewhere: its slot, a
    /// `u32` and a control byte in an index that is filled to 7/16 at least, two links of the
    /// policy and two of the wheel.
    pub(super) const ENTRY_OVERHEAD: usize = size_of::<Place<K, V>>() + 12 + 8 + 8;

    pub(super) fn new(bounds: ShardBounds, policy_kind: PolicyKind) -> Self {
        Self {
            table: HashTable::new(),
            slots: Vec::new(),
            first_free: NO_SLOT,
            policy: Chosen::new(policy_kind),
            policy_kind,
            wheel: Wheel::default(),
            bounds,
            weight: 0,
            statistics: MemoryStatistics::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    pub(super) fn weight(&self) -> u128 {
        self.weight
    }

    /// Finds the slot of a key; `eq` is asked only about keys with this `hash`.
    #[inline]
    pub(super) fn find(&self, hash: u64, mut eq: impl FnMut(&K) -> bool) -> Option<Slot> {
        let same = |slot: &Slot| match &self.slots[*slot as usize] {
            Place::Taken(entry) => entry.hash == hash && eq(&entry.key),
            Place::Free { .. } => false,
        };
        self.table.find(hash, same).copied()
    }

    /// The entry in a slot that [`find`](Self::find), the policy or the wheel named.
    #[inline]
    pub(super) fn entry(&self, slot: Slot) -> &Entry<K, V> {
        match &self.slots[slot as usize] {
            Place::Taken(entry) => entry,
            Place::Free { .. } => unreachable!("index, policy and wheel name only taken slots"),
        }
    }

    /// Tells the policy of a read.
    #[inline]
    pub(super) fn hit(&mut self, slot: Slot) {
        self.policy.on_hit(slot);
    }

    /// Takes an entry out.
    pub(super) fn take(&mut self, slot: Slot, cause: Cause) -> Entry<K, V> {
        let hash = self.entry(slot).hash;
        if let Ok(found) = self.table.find_entry(hash, |other| *other == slot) {
            found.remove();
        }
        self.policy.on_remove(slot);
        self.wheel.remove(slot);
        let free = Place::Free { next: mem::replace(&mut self.first_free, slot) };
        let Place::Taken(entry) = mem::replace(&mut self.slots[slot as usize], free) else {
            unreachable!("`entry` above found the slot taken")
        };
        self.weight -= u128::from(entry.weight);
        self.statistics.count(cause);
        entry
    }

    fn take_into(&mut self, slot: Slot, cause: Cause, dropped: &mut Dropped<'_, K, V>) {
        let entry = self.take(slot, cause);
        dropped.push(entry.key, entry.value);
    }

    /// True if a new entry can be kept at all, whatever else must go for it.
    pub(super) fn admits(&self, weight: u64) -> bool {
        self.bounds.entries > 0 && weight <= self.bounds.largest_bytes
    }

    /// Stores an entry that [`admits`](Self::admits) let in, in place of that in `old` if there is
    /// one, and evicts what no longer fits. Gives the entry back where memory is short; the old
    /// one is gone then as well.
    pub(super) fn store(
        &mut self,
        new: Entry<K, V>,
        old: Option<Slot>,
        now: Millis,
        dropped: &mut Dropped<'_, K, V>,
    ) -> Result<(), Entry<K, V>> {
        if let Some(slot) = old {
            let others = self.weight - u128::from(self.entry(slot).weight);
            if others + u128::from(new.weight) <= u128::from(self.bounds.bytes)
                && (new.deadline == Millis::NEVER || self.reserve_wheel().is_ok())
            {
                self.replace(slot, new, now, dropped);
                return Ok(());
            }
            self.take_into(slot, Cause::Replaced, dropped);
        }
        self.evict(1, new.weight, dropped);
        if self.reserve(new.deadline != Millis::NEVER).is_err() {
            return Err(new);
        }
        let slot = match self.first_free {
            NO_SLOT => {
                // Below MAX_SLOTS: `evict` left fewer entries than that, and none of the slots
                // is free.
                let slot = self.slots.len() as Slot;
                self.slots.push(Place::Free { next: NO_SLOT });
                slot
            }
            slot => {
                if let Place::Free { next } = self.slots[slot as usize] {
                    self.first_free = next;
                }
                slot
            }
        };
        self.weight += u128::from(new.weight);
        if new.deadline != Millis::NEVER {
            self.wheel.insert(slot, new.deadline, now);
        }
        let hash = new.hash;
        self.slots[slot as usize] = Place::Taken(new);
        let slots = &self.slots;
        self.table.insert_unique(hash, slot, |slot| hash_of(slots, *slot));
        self.policy.on_insert(slot);
        Ok(())
    }

    fn replace(
        &mut self,
        slot: Slot,
        new: Entry<K, V>,
        now: Millis,
        dropped: &mut Dropped<'_, K, V>,
    ) {
        self.wheel.remove(slot);
        if new.deadline != Millis::NEVER {
            self.wheel.insert(slot, new.deadline, now);
        }
        self.policy.on_hit(slot);
        self.weight += u128::from(new.weight);
        if let Place::Taken(old) = mem::replace(&mut self.slots[slot as usize], Place::Taken(new)) {
            self.weight -= u128::from(old.weight);
            dropped.push(old.key, old.value);
        }
        self.statistics.count(Cause::Replaced);
    }

    /// Evicts until `entries` more entries of together `weight` fit.
    fn evict(&mut self, entries: u64, weight: u64, dropped: &mut Dropped<'_, K, V>) {
        let most = self.bounds.entries.min(MAX_SLOTS);
        loop {
            let cause = if self.len() as u64 + entries > most {
                Cause::Size
            } else if self.weight + u128::from(weight) > u128::from(self.bounds.bytes) {
                Cause::Bytes
            } else {
                return;
            };
            let Some(victim) = self.policy.victim() else { return };
            self.take_into(victim, cause, dropped);
        }
    }

    /// Makes room for one more entry everywhere, so that nothing can fail once it goes in.
    fn reserve(&mut self, in_wheel: bool) -> Result<(), TryReserveError> {
        if self.first_free == NO_SLOT && self.slots.len() == self.slots.capacity() {
            let most = self.bounds.entries.min(MAX_SLOTS) - self.slots.len() as u64;
            let more = (self.slots.len() / GROWTH_DIVISOR).max(4);
            let more = more.min(usize::try_from(most).unwrap_or(usize::MAX));
            self.slots.try_reserve_exact(more)?;
        }
        self.policy.reserve(self.slots.capacity())?;
        let slots = &self.slots;
        if self.table.try_reserve(1, |slot| hash_of(slots, *slot)).is_err() {
            // hashbrown has an error type of its own; make std's.
            return Vec::<u8>::new().try_reserve(usize::MAX);
        }
        if in_wheel { self.reserve_wheel() } else { Ok(()) }
    }

    fn reserve_wheel(&mut self) -> Result<(), TryReserveError> {
        self.wheel.reserve(self.slots.capacity())
    }

    /// Counts an entry that was not stored, and passes the reason on.
    pub(super) fn turn_away(&mut self, reason: Inserted) -> Inserted {
        if reason == Inserted::Refused {
            self.statistics.refused = self.statistics.refused.saturating_add(1);
        }
        reason
    }

    /// True if a call that puts something in must read the clock first.
    pub(super) fn has_deadlines(&self) -> bool {
        !self.wheel.is_empty()
    }

    /// Frees a few expired entries, as each insert does.
    pub(super) fn free_some(&mut self, now: Millis, dropped: &mut Dropped<'_, K, V>) {
        let mut steps = WHEEL_STEPS_PER_INSERT;
        self.free_expired(now, FREED_PER_INSERT, &mut steps, dropped);
    }

    /// Frees up to `most` expired entries in as many steps as `steps` allows, and says how many.
    pub(super) fn free_expired(
        &mut self,
        now: Millis,
        most: usize,
        steps: &mut usize,
        dropped: &mut Dropped<'_, K, V>,
    ) -> usize {
        for freed in 0..most {
            let slots = &self.slots;
            let due = self.wheel.poll(now, steps, |slot| match &slots[slot as usize] {
                Place::Taken(entry) => entry.deadline,
                Place::Free { .. } => Millis::NEVER,
            });
            let Some(slot) = due else { return freed };
            self.take_into(slot, Cause::Expired, dropped);
        }
        most
    }

    /// Sets other bounds, evicts what does not fit them and gives memory back.
    pub(super) fn resize(&mut self, bounds: ShardBounds, dropped: &mut Dropped<'_, K, V>) {
        self.bounds = bounds;
        self.evict(0, 0, dropped);
        if self.slots.len() > self.len().saturating_mul(REBUILD_SLOTS_PER_ENTRY) {
            self.rebuild();
        }
    }

    /// Moves all entries, first victim first, into fresh memory of the right size. If that cannot
    /// be had, everything stays where it is.
    fn rebuild(&mut self) {
        let count = self.len();
        let mut fresh = Self::new(self.bounds, self.policy_kind);
        let room = fresh.slots.try_reserve_exact(count).is_ok()
            && fresh.table.try_reserve(count, |_| 0).is_ok()
            && fresh.policy.reserve(count).is_ok()
            && (self.wheel.is_empty() || fresh.wheel.reserve(count).is_ok());
        if !room {
            return;
        }
        // Moving is not removing: the counts stay as they are.
        fresh.statistics = self.statistics;
        while let Some(old) = self.policy.victim() {
            let entry = self.take(old, Cause::Removed);
            let slot = fresh.slots.len() as Slot;
            if entry.deadline != Millis::NEVER {
                // From time 0: the wheel moves the entry to its place when it is polled.
                fresh.wheel.insert(slot, entry.deadline, Millis(0));
            }
            let hash = entry.hash;
            fresh.weight += u128::from(entry.weight);
            fresh.slots.push(Place::Taken(entry));
            let slots = &fresh.slots;
            fresh.table.insert_unique(hash, slot, |slot| hash_of(slots, *slot));
            fresh.policy.on_insert(slot);
        }
        *self = fresh;
    }

    /// Takes everything out, memory included, as a shard of its own.
    pub(super) fn clear(&mut self) -> Self {
        let count = self.len() as u64;
        let mut fresh = Self::new(self.bounds, self.policy_kind);
        fresh.statistics = self.statistics;
        fresh.statistics.removed = fresh.statistics.removed.saturating_add(count);
        mem::replace(self, fresh)
    }

    /// All keys and values.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (K, V)> {
        self.slots.into_iter().filter_map(|place| match place {
            Place::Taken(entry) => Some((entry.key, entry.value)),
            Place::Free { .. } => None,
        })
    }

    /// Asserts every invariant.
    pub(super) fn validate(&self) {
        let mut live = vec![false; self.slots.len()];
        let mut deadlines = vec![None; self.slots.len()];
        let mut weight = 0_u128;
        for (slot, place) in self.slots.iter().enumerate() {
            if let Place::Taken(entry) = place {
                live[slot] = true;
                deadlines[slot] = Some(entry.deadline);
                weight += u128::from(entry.weight);
                let found = self.table.find(entry.hash, |other| *other as usize == slot);
                assert!(found.is_some(), "slot {slot} is not in the index");
            }
        }
        assert_eq!(live.iter().filter(|live| **live).count(), self.len(), "index and slots");
        assert_eq!(weight, self.weight, "sum of weights");
        assert!(self.len() as u64 <= self.bounds.entries, "entries above their bound");
        assert!(weight <= u128::from(self.bounds.bytes), "bytes above their bound");
        let (mut free, mut slot) = (0, self.first_free);
        while slot != NO_SLOT {
            let Place::Free { next } = self.slots[slot as usize] else {
                panic!("slot {slot} is taken and in the list of free slots")
            };
            free += 1;
            assert!(free <= self.slots.len(), "the list of free slots is a ring");
            slot = next;
        }
        assert_eq!(free + self.len(), self.slots.len(), "slots that are neither free nor taken");
        self.policy.validate(&live);
        self.wheel.validate(&deadlines);
    }
}

fn hash_of<K, V>(slots: &[Place<K, V>], slot: Slot) -> u64 {
    match &slots[slot as usize] {
        Place::Taken(entry) => entry.hash,
        Place::Free { .. } => unreachable!("the index names only taken slots"),
    }
}

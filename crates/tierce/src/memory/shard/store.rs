//! What comes into a shard, and what has to go for it.

use std::{ptr::NonNull, sync::atomic::Ordering};

use super::{
    super::{
        departures::Departures,
        options::ShardBounds,
        place::{HUGE, Place},
        slot::{MAX_SLOTS, allocated_for, number_of},
        statistics::RemovalCause,
        write::Inserted,
    },
    Hit, Locked, NewEntry, Writer,
};
use crate::{
    clock::Millis,
    policy::{Entries, Policy, Slot},
    sync::epoch::{self, Sole},
};

/// What so many entries lie in, this processor has near if no other changes it, and fetching it
/// ahead costs more than it saves: some hundred kilobytes, less than a second-level cache.
const NEAR: u32 = 4_096;

impl<K, V> Writer<K, V> {
    /// Notes when an entry expires that was put in now.
    #[inline(always)]
    fn note(&mut self, slot: Slot, mut deadline: Millis, now: Millis) {
        if let Some(idle) = self.time_to_idle {
            if let Some(used_at) = self.slab.used_at(slot) {
                used_at.store(now.0, Ordering::Relaxed);
            }
            deadline = deadline.min(Millis(now.0.saturating_add(idle)));
        }
        if deadline != Millis::NEVER {
            self.expiry.note(number_of(slot), deadline);
        }
    }
}

impl<K, V> Locked<'_, K, V> {
    /// True if a new entry can be kept at all, whatever else must go for it.
    #[inline]
    pub(in crate::memory) fn admits(&self, weight: u64) -> bool {
        let bounds = &self.writer.bounds;
        bounds.entries > 0 && weight <= bounds.largest_bytes && !self.is_stalled()
    }

    /// Stores an entry that [`admits`](Self::admits) let in, in place of that in `old` if there is
    /// one, and evicts what no longer fits. Gives the entry back where memory is short; the old
    /// one is gone then as well.
    #[inline(always)]
    pub(in crate::memory) fn store(
        &mut self,
        new: NewEntry<K, V>,
        old: Option<Hit<K, V>>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) -> Result<(), NewEntry<K, V>> {
        if let Some(hit) = old {
            self.writer.last_was_new = false;
            let others = self.writer.weight - self.weight_of(hit);
            let sum = others.checked_add(new.weight).filter(|sum| *sum <= self.writer.bounds.bytes);
            if let Some(sum) = sum {
                if self.may_rewrite(hit, &new, departures)
                    && let Some(sole) = epoch::sole()
                {
                    self.writer.weight = sum;
                    self.rewrite(hit, new, now, departures, sole);
                    return Ok(());
                }
                if self.reserve(&new) {
                    self.writer.weight = sum;
                    self.replace(hit, new, now, departures);
                    return Ok(());
                }
            }
            self.take_hit(hit, new.hash, RemovalCause::Replaced, departures);
        }
        self.store_new(new, now, departures)
    }

    /// A key with this hash is about to be stored, and probably a new one: has all fetched that this
    /// changes, beside the bucket in which the key is looked for and not after it.
    #[inline(always)]
    pub(in crate::memory) fn fetch(&mut self, hash: u32) {
        if self.writer.last_was_new {
            self.fetch_for_new(hash);
        }
    }

    #[inline(always)]
    fn fetch_for_new(&mut self, hash: u32) {
        if self.writer.slab.allocated() > NEAR || !epoch::is_sole() {
            let (policy, view) = self.policy();
            view.table.prefetch(hash);
            policy.prefetch(hash, &view);
        }
    }

    #[inline(never)]
    fn store_new(
        &mut self,
        new: NewEntry<K, V>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) -> Result<(), NewEntry<K, V>> {
        if !self.writer.last_was_new {
            self.fetch_for_new(new.hash);
            self.writer.last_was_new = true;
        }
        self.evict(1, new.weight, departures);
        if !self.reserve(&new) {
            return Err(new);
        }
        self.grow(departures);
        let hash = new.hash;
        self.writer.len += 1;
        self.writer.weight += new.weight;
        let (slot, place) = self.fill(new, now);
        if !self.name(hash, slot, departures) {
            let writer = &mut *self.writer;
            // SAFETY: filled just now, and the slab is not changed meanwhile.
            let weight = writer.weight_of(slot, unsafe { place.as_ref() });
            writer.huge.remove(&slot);
            writer.len -= 1;
            writer.weight -= weight;
            // SAFETY: as above.
            let deadline = unsafe { place.as_ref() }.deadline();
            // SAFETY: filled just now and never named: nobody else knows of it.
            let (key, value) = unsafe { writer.slab.empty(slot) };
            return Err(NewEntry { hash, deadline, weight, key, value });
        }
        let (policy, view) = self.policy();
        // SAFETY: as above.
        policy.on_insert(slot, unsafe { place.as_ref() }, &view);
        Ok(())
    }

    #[inline]
    fn weight_of(&self, hit: Hit<K, V>) -> u64 {
        // SAFETY: live, as `find` named it and the lock was not let go since.
        self.writer.weight_of(hit.slot, unsafe { hit.place.as_ref() })
    }

    /// Puts an entry into a place that [`reserve`](Self::reserve) found. The sums are the caller's.
    #[inline(always)]
    fn fill(&mut self, new: NewEntry<K, V>, now: Millis) -> (Slot, NonNull<Place<K, V>>) {
        let writer = &mut *self.writer;
        let weight = u32::try_from(new.weight).unwrap_or(HUGE);
        let (slot, place) = writer.slab.take();
        let place_found = NonNull::from(place);
        let deadline = new.deadline;
        // SAFETY: just taken, so it is free, and we hold the lock.
        unsafe { place.fill(new.hash, weight, deadline, new.key, new.value) };
        if weight == HUGE {
            writer.huge.insert(slot, new.weight);
        }
        writer.note(slot, deadline, now);
        (slot, place_found)
    }

    /// True if an entry can be put into the very place of another one, if nobody reads: nobody is
    /// to hear of what leaves, the policy lets it stay where it is, and no memory is missing.
    #[inline(always)]
    fn may_rewrite(
        &mut self,
        hit: Hit<K, V>,
        new: &NewEntry<K, V>,
        departures: &mut Departures<'_, K, V>,
    ) -> bool {
        // SAFETY: live, as `find` named it and the lock was not let go since.
        let place = unsafe { hit.place.as_ref() };
        let writer = &mut *self.writer;
        !departures.tells()
            && writer.policy.can_stay(place)
            && place.weight() != HUGE
            && new.weight < HUGE.into()
            && (new.deadline >= place.deadline()
                || writer.expiry.reserve(writer.slab.allocated() as usize).is_ok())
            && departures.has_room()
    }

    /// Puts an entry into another's place, whose weight is in the sum no more.
    #[inline(always)]
    fn rewrite(
        &mut self,
        hit: Hit<K, V>,
        new: NewEntry<K, V>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
        sole: Sole,
    ) {
        let (policy, view) = self.policy();
        // SAFETY: live, as `find` named it and the lock was not let go since.
        let place = unsafe { hit.place.as_ref() };
        let (cost, before) = (view.cost(place), place.deadline());
        // SAFETY: live, as above; nobody reads, says `sole`.
        let (key, value) =
            unsafe { place.refill(new.weight as u32, new.deadline, new.key, new.value) };
        drop(sole);
        policy.on_rewrite((hit.slot, place), cost, &view);
        let writer = &mut *self.writer;
        // A deadline that is put off needs no word.
        if new.deadline < before || writer.time_to_idle.is_some() {
            writer.note(hit.slot, new.deadline, now);
        }
        writer.statistics.count(RemovalCause::Replaced);
        departures.push(key, value);
    }

    /// Puts an entry in another's place, which is in the sums no more.
    #[inline(always)]
    fn replace(
        &mut self,
        hit: Hit<K, V>,
        new: NewEntry<K, V>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) {
        let hash = new.hash;
        let (slot, place) = self.fill(new, now);
        self.table().current(hash).swap(hit.spot, slot);
        let (policy, view) = self.policy();
        // SAFETY: the old place is live, as `find` named it and the lock was not let go since; the
        // new one was filled just now.
        let (old, new) = unsafe { (hit.place.as_ref(), place.as_ref()) };
        policy.on_replace((hit.slot, old), (slot, new), &view);
        let writer = &mut *self.writer;
        let weight = match old.weight() {
            HUGE => writer.huge.remove(&hit.slot).unwrap_or(HUGE.into()),
            weight => weight.into(),
        };
        self.retire_uncounted(hit.slot, old, weight, RemovalCause::Replaced, departures);
    }

    /// Evicts until `entries` more entries of together `weight` fit.
    #[inline]
    fn evict(&mut self, entries: u64, weight: u64, departures: &mut Departures<'_, K, V>) {
        let most = self.writer.bounds.entries.min(MAX_SLOTS.into());
        loop {
            let writer = &*self.writer;
            let cause = if writer.len + entries > most {
                RemovalCause::Size
            } else if writer.weight.checked_add(weight).is_none_or(|sum| sum > writer.bounds.bytes)
            {
                RemovalCause::Bytes
            } else {
                return;
            };
            let (policy, view) = self.policy();
            let Some((slot, place)) = policy.evict(&view) else { return };
            let hash = place.hash();
            let place = NonNull::from(place);
            self.table().current(hash).remove_slot(hash, slot);
            self.retire(slot, place, cause, departures);
        }
    }

    /// Makes room for one more entry everywhere, so that nothing can fail once it goes in.
    #[inline]
    fn reserve(&mut self, new: &NewEntry<K, V>) -> bool {
        let writer = &mut *self.writer;
        let slots = writer.slab.allocated() as usize;
        let expires = new.deadline != Millis::NEVER || writer.time_to_idle.is_some();
        writer.slab.has_room()
            && writer.len < writer.policy_room
            && (!expires || writer.expiry.reserve(slots).is_ok())
            && new.weight < HUGE.into()
            || self.reserve_more(expires, new.weight)
    }

    #[cold]
    fn reserve_more(&mut self, expires: bool, weight: u64) -> bool {
        let writer = &mut *self.writer;
        let Some(slots) = writer.slab.next_allocated() else { return false };
        // Not for all places: a reader that stays where it is has those of a small cache become
        // many times its entries, for good, and so long a memory would take strangers and what was
        // there long ago for keys that come back.
        let room = allocated_for(writer.len + 1).min(slots);
        // The policy first: a place that is there must be one that the policy knows.
        if !writer.policy.reserve(slots as usize, room as usize) {
            return false;
        }
        writer.policy_room = writer.policy_room.max(room.into());
        writer.slab.reserve()
            && (!expires || writer.expiry.reserve(slots as usize).is_ok())
            && (weight < HUGE.into() || writer.huge.try_reserve(1).is_ok())
    }

    /// Counts an entry that was not stored, and passes the reason on.
    pub(in crate::memory) fn turn_away(&mut self, reason: Inserted) -> Inserted {
        if reason == Inserted::Refused {
            let refused = &mut self.writer.statistics.refused;
            *refused = refused.saturating_add(1);
        }
        reason
    }

    /// Sets other bounds and evicts what does not fit them.
    pub(in crate::memory) fn resize(
        &mut self,
        bounds: ShardBounds,
        departures: &mut Departures<'_, K, V>,
    ) {
        self.writer.bounds = bounds;
        self.evict(0, 0, departures);
    }
}

//! What leaves a shard: first the index and the policy, then the limbo, then its place.

use std::ptr::NonNull;

use super::{
    super::{
        departures::Departures,
        limbo::Advance,
        place::{HUGE, Place},
        statistics::RemovalCause,
    },
    Hit, Locked, Room, Writer,
};
use crate::{
    policy::{Policy, Slot},
    sync::epoch,
};

/// Retired entries whose memory one call frees where more are here than should wait: more than the
/// one that it retires, so that they do not pile up, and few, so that no call pays for all. Else one,
/// for the one that it brings: an allocator keeps a few pieces of each size at hand for a thread (glibc
/// seven), and has to go to what all threads share where more or fewer are freed than were taken.
const MOST_PER_CALL: usize = 4;

/// The share of the entries that may wait in the limbo before the epoch is moved on.
const LIMBO_SHARE: u64 = 8;

/// However many entries a shard has, so few in the limbo are worth no more waiting.
const MAX_LIMBO: u64 = 2_048;

/// So many in the limbo, or a fourth of the entries, are less trouble than moving the epoch on,
/// which interrupts all threads of the process. Not more: the clock of the policy goes round all
/// slots, those in the limbo included, and a newcomer should lie where a victim lay.
const MIN_LIMBO: u64 = 32;

/// A reader that stays in one place holds up the limbo. Above this, and above the number of
/// entries, inserts are refused; what removals add is bounded by the entries that there are.
const STALLED_ENTRIES: u64 = 4_096;

/// The same for the sum of weights and the bound on it: 16 MiB.
const STALLED_BYTES: u64 = 16 << 20;

/// How often an insert looks whether readers that hold it up are gone before it is refused.
const HELPING_TRIES: usize = 100;

impl<K, V> Writer<K, V> {
    /// Entries that left and whose memory is not free yet; a whole slab counts as one.
    pub(in crate::memory) fn retired(&self) -> usize {
        self.limbo.len() + self.rooms.len()
    }

    /// Frees the place of an entry that came out of the limbo.
    #[inline]
    pub(super) fn empty(&mut self, slot: Slot, departures: &mut Departures<'_, K, V>) {
        // SAFETY: retired, and its readers are gone, says the limbo; who has the writer has the
        // lock.
        let (key, value) = unsafe { self.slab.empty(slot) };
        departures.push(key, value);
    }

    /// How many retired entries, and how much of their weight, may wait before the epoch moves on.
    fn most_waiting(&self) -> (usize, u64) {
        let least = MIN_LIMBO.min(self.len / 4 + 1);
        let most = (self.len / LIMBO_SHARE).clamp(least, MAX_LIMBO);
        (most as usize, (self.bounds.bytes / LIMBO_SHARE).max(1))
    }
}

impl<K, V> Locked<'_, K, V> {
    /// Frees the memory of some retired entries, so that nothing piles up. Every call that may
    /// retire one begins with it.
    #[inline]
    pub(in crate::memory) fn collect(&mut self, departures: &mut Departures<'_, K, V>) {
        if self.writer.retired() > 0 {
            self.collect_some(departures);
        }
    }

    /// [`collect`](Self::collect), and waits a little for the readers of what is held up, if that
    /// is too much. Before anything is taken out: what the listener has yet to hear of would hold
    /// up the rest.
    #[inline]
    pub(in crate::memory) fn collect_or_wait(&mut self, departures: &mut Departures<'_, K, V>) {
        if self.writer.retired() > 0 {
            self.collect_some(departures);
            if self.is_stalled() {
                self.help();
            }
        }
    }

    #[inline(never)]
    fn collect_some(&mut self, departures: &mut Departures<'_, K, V>) {
        if !self.writer.rooms.is_empty() {
            self.collect_rooms(departures);
        }
        let writer = &mut *self.writer;
        let (entries, weight) = writer.most_waiting();
        let is_left_of_others = epoch::is_sole() && epoch::alone();
        if is_left_of_others {
            writer.limbo.nobody_looks(&writer.slab);
        }
        let too_many = is_left_of_others || writer.limbo.len() > entries;
        let count = if too_many { MOST_PER_CALL } else { 1 };
        for _ in 0..count {
            if !departures.has_room() {
                break;
            }
            let Some(slot) = writer.limbo.pop(&writer.slab) else { break };
            writer.empty(slot, departures);
        }
        departures.advance(writer.limbo.wants(entries, weight));
    }

    /// Frees the memory of all retired entries whose readers are gone, and returns how many, with
    /// those of whole slabs as one each, are left.
    pub(in crate::memory) fn collect_all(
        &mut self,
        departures: &mut Departures<'_, K, V>,
    ) -> usize {
        if epoch::alone() {
            let writer = &mut *self.writer;
            writer.limbo.nobody_looks(&writer.slab);
        }
        loop {
            let writer = &mut *self.writer;
            if !departures.has_room() {
                break;
            }
            let Some(slot) = writer.limbo.pop(&writer.slab) else { break };
            writer.empty(slot, departures);
        }
        self.collect_rooms(departures);
        self.writer.limbo.len() + self.writer.rooms.len()
    }

    #[cold]
    pub(super) fn collect_rooms(&mut self, departures: &mut Departures<'_, K, V>) {
        while let Some((retired, _)) = self.writer.rooms.first() {
            if !epoch::is_over(*retired) && !epoch::alone() {
                departures.advance(Advance::AtAnyPrice);
                return;
            }
            if !departures.has_room_for_room() {
                return;
            }
            departures.push_room(self.writer.rooms.remove(0).1);
        }
    }

    /// Makes sure that so many calls of [`retire_room`](Self::retire_room) need no memory.
    pub(super) fn reserve_rooms(&mut self, count: usize) -> bool {
        self.writer.rooms.try_reserve(count).is_ok()
    }

    pub(super) fn retire_room(&mut self, room: Room<K, V>) {
        self.writer.rooms.push((epoch::current(), room));
    }

    /// Takes an entry out.
    #[inline(never)]
    pub(in crate::memory) fn take(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let hash = self.place(slot).hash();
        self.table().current(hash).remove_slot(hash, slot);
        self.take_unnamed(slot, cause, departures);
    }

    /// Takes an entry out that was found.
    #[inline(never)]
    pub(in crate::memory) fn take_hit(
        &mut self,
        hit: Hit<K, V>,
        hash: u32,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        self.table().current(hash).remove(hash, hit.spot);
        self.take_unnamed(hit.slot, cause, departures);
    }

    /// Takes an entry out that the index no longer names.
    #[inline(always)]
    pub(super) fn take_unnamed(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let (policy, view) = self.policy();
        let place = view.slab.place(slot);
        policy.on_remove(slot, place, &view);
        let place = NonNull::from(place);
        self.retire(slot, place, cause, departures);
    }

    /// Lets go of an entry that neither index nor policy name any more.
    #[inline(always)]
    pub(super) fn retire(
        &mut self,
        slot: Slot,
        place: NonNull<Place<K, V>>,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let writer = &mut *self.writer;
        // SAFETY: live until now; places stay where they are, and the lock is held.
        let place = unsafe { place.as_ref() };
        let weight = match place.weight() {
            HUGE => writer.huge.remove(&slot).unwrap_or(HUGE.into()),
            weight => weight.into(),
        };
        writer.len -= 1;
        writer.weight -= weight;
        self.retire_uncounted(slot, place, weight, cause, departures);
    }

    /// [`retire`](Self::retire) of an entry that is in the sums no more.
    #[inline(always)]
    pub(super) fn retire_uncounted(
        &mut self,
        slot: Slot,
        place: &Place<K, V>,
        weight: u64,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let writer = &mut *self.writer;
        writer.statistics.count(cause);
        if !departures.tells()
            && epoch::alone()
            && (departures.is_empty() || epoch::is_sole() && departures.has_room())
        {
            // Not more than one beside other threads: see `MOST_PER_CALL`.
            // SAFETY: nobody else ever read a cache, and this thread is not about to: `alone`.
            let (key, value) = unsafe { writer.slab.empty_at(slot, place) };
            departures.push(key, value);
            return;
        }
        if departures.tells() {
            departures.tell(place, cause);
        }
        writer.limbo.push(&writer.slab, slot, place, weight);
    }

    /// True if so much is held up by readers that no more should come.
    #[inline]
    pub(super) fn is_stalled(&self) -> bool {
        self.writer.limbo.waiting() > 0 && self.too_much_waits()
    }

    fn too_much_waits(&self) -> bool {
        let Writer { limbo, len, bounds, .. } = &*self.writer;
        limbo.waiting() as u64 > STALLED_ENTRIES.max(*len)
            || limbo.weight() > STALLED_BYTES.max(bounds.bytes)
    }

    #[cold]
    fn help(&mut self) {
        for _ in 0..HELPING_TRIES {
            if !epoch::try_advance() {
                std::thread::yield_now();
            }
            let writer = &mut *self.writer;
            writer.limbo.look(&writer.slab);
            if !self.is_stalled() {
                break;
            }
        }
    }
}

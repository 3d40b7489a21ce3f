//! A shard's memory as a whole: moved together, given up, or dissolved.

use std::{mem, ptr::NonNull, sync::atomic::Ordering};

use super::{
    super::{
        departures::Departures,
        slot::{after, number_of, numbered},
        statistics::RemovalCause,
    },
    Index, Locked, OwnedTable, Room, Root, Writer,
};
use crate::{
    policy::{FIRST_SLOT, Policy, Slot},
    sync::epoch,
};

/// Slabs and tables that wait for their readers; beyond this a shard is cleared entry by entry,
/// into the limbo, which inserts heed.
const MOST_ROOMS: usize = 8;

/// How often a shard that moves its entries looks whether the readers are gone before it gives
/// up: together some milliseconds.
const COMPACT_TRIES: usize = 2_000;

/// Entries move together when fewer than this many eighths of the places are in use after the
/// bounds were lowered.
const COMPACT_EIGHTHS: u64 = 7;

impl<K, V> Locked<'_, K, V> {
    /// Moves entries from the highest places to free low ones, and gives the memory of those and
    /// of the index back.
    ///
    /// Readers must be gone from an entry before it is moved. So the index is replaced by a
    /// stand-in that sends them to the lock ([`Table::in_transit`]); when all that came before
    /// are gone, the entries move. If memory is short, or a reader does not go away, everything
    /// stays where it is.
    pub(in crate::memory) fn compact(&mut self, departures: &mut Departures<'_, K, V>) {
        let (len, used) = (self.writer.len, self.writer.slab.used());
        // A pinned thread would wait for itself.
        if len * 8 >= u64::from(used) * COMPACT_EIGHTHS || epoch::is_pinned() {
            return;
        }
        while self.table().next().is_some() {
            self.grow_step(departures);
        }
        let places = self.table().places();
        if !self.reserve_rooms(1) {
            return;
        }
        let (Some(stand_in), Some(table)) =
            (Index::new(1, places), Index::new(Index::<K, V>::homes_for(len + len / 4), places))
        else {
            return;
        };
        let stand_in = Box::into_raw(stand_in.in_transit());
        let old_table = self.root.swap(stand_in, Ordering::AcqRel);
        let readers_are_gone = wait_for_readers();
        // SAFETY: the stand-in was leaked above and is taken back once, here. It stays where it
        // is until its own readers, on their way to the lock, are gone.
        let stand_in = Room::Table { _table: unsafe { OwnedTable::new(stand_in) } };
        if !readers_are_gone {
            self.root.store(old_table, Ordering::Release);
            self.retire_room(stand_in);
            return;
        }
        let writer = &mut *self.writer;
        writer.limbo.nobody_looks(&writer.slab);
        loop {
            let writer = &mut *self.writer;
            let Some(slot) = writer.limbo.pop(&writer.slab) else { break };
            writer.empty(slot, departures);
        }

        let mut to = FIRST_SLOT;
        for from in ((len as u32)..used).map(numbered) {
            if !self.place(from).is_live() {
                continue;
            }
            while self.place(to).holds() {
                to = after(to);
            }
            self.relocate(from, to);
        }
        self.writer.slab.truncate(len as u32);
        self.writer.expiry.truncate(len as usize);
        let allocated = self.writer.slab.allocated() as usize;
        self.writer.policy.truncate(allocated);
        for slot in (0..len as u32).map(numbered) {
            if !table.insert(self.place(slot).hash(), slot) {
                // Keys whose hashes are all alike; they filled the larger table as well.
                self.take_unnamed(slot, RemovalCause::Size, departures);
            }
        }
        self.root.store(Box::into_raw(table), Ordering::Release);
        self.retire_room(stand_in);
        // SAFETY: leaked from a box when it was made; the root no longer names it, and its
        // readers are gone.
        drop(unsafe { Box::from_raw(old_table) });
    }

    /// Moves an entry that no reader looks at to an empty place.
    fn relocate(&mut self, from: Slot, to: Slot) {
        let (policy, view) = self.policy();
        let (old, new) = (view.slab.place(from), view.slab.place(to));
        let (hash, weight, deadline) = (old.hash(), old.weight(), old.deadline());
        let reads = old.reads.load(Ordering::Relaxed);
        let mark = old.mark.load(Ordering::Relaxed);
        // SAFETY: the readers of `from` are gone, and no index names either of the two; we hold
        // the lock.
        unsafe {
            let (key, value) = old.empty();
            new.fill(hash, weight, deadline, key, value);
        }
        // The policy reads what it noted about the old place.
        old.mark.store(mark, Ordering::Relaxed);
        policy.on_move((from, old), (to, new), &view);
        old.mark.store(0, Ordering::Relaxed);
        new.reads.store(reads, Ordering::Relaxed);
        let writer = &mut *self.writer;
        if let (Some(old), Some(new)) = (writer.slab.used_at(from), writer.slab.used_at(to)) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if let Some(weight) = writer.huge.remove(&from) {
            writer.huge.insert(to, weight);
        }
        let deadline = Writer::deadline_of(&writer.slab, writer.time_to_idle, to);
        writer.expiry.note(number_of(to), deadline);
    }

    /// Takes everything out, memory included unless that is too short for an empty shard.
    pub(in crate::memory) fn clear(&mut self, departures: &mut Departures<'_, K, V>) {
        let Writer { bounds, policy_kind, time_to_idle, .. } = *self.writer;
        // The slab and one table, or two while it grows.
        // While a reader holds up earlier ones they would pile up.
        let has_room = self.writer.rooms.len() < MOST_ROOMS && self.reserve_rooms(3);
        let fresh = has_room.then(|| Writer::new(bounds, policy_kind, time_to_idle)).flatten();
        let Some((mut fresh, table)) = fresh else {
            // One by one.
            self.writer.loads.void_all();
            for slot in (0..self.writer.slab.used()).map(numbered) {
                if self.place(slot).is_live() {
                    self.take(slot, RemovalCause::Removed, departures);
                }
            }
            return;
        };
        if departures.tells() {
            for slot in (0..self.writer.slab.used()).map(numbered) {
                if self.place(slot).is_live() {
                    departures.tell(self.place(slot), RemovalCause::Removed);
                }
            }
        }
        fresh.statistics = self.writer.statistics;
        let removed = &mut fresh.statistics.removed;
        *removed = removed.saturating_add(self.writer.len);
        let mut old = NonNull::new(self.root.swap(table.as_ptr(), Ordering::AcqRel));
        while let Some(table) = old {
            // SAFETY: each was leaked from a box, and is owned again once: the root no longer names
            // the first, and only the one before names the others.
            let table = unsafe { OwnedTable::new(table.as_ptr()) };
            old = table.next();
            self.retire_room(Room::Table { _table: table });
        }
        let mut old = mem::replace(&mut *self.writer, fresh);
        self.writer.rooms = mem::take(&mut old.rooms);
        self.writer.loads = mem::take(&mut old.loads);
        self.writer.loads.void_all();
        old.limbo.forget();
        self.retire_room(Room::Slab(old.slab));
        self.collect_rooms(departures);
    }
}

/// Waits until no pin is left that was taken before the call; says false if it takes too long.
fn wait_for_readers() -> bool {
    let retired = epoch::current();
    if epoch::alone() {
        return true;
    }
    for _ in 0..COMPACT_TRIES {
        if epoch::is_over(retired) {
            return true;
        }
        if !epoch::try_advance() {
            std::thread::yield_now();
        }
    }
    epoch::is_over(retired)
}

/// Frees all of a shard that nobody can reach any more.
///
/// # Safety
/// `root` names the table of `writer`'s shard, and neither is used after this.
pub(in crate::memory) unsafe fn dissolve<K, V>(
    root: &mut Root<K, V>,
    writer: &mut Writer<K, V>,
    mut each: impl FnMut(K, V),
) {
    let mut table = NonNull::new(mem::replace(root.get_mut(), std::ptr::null_mut()));
    while let Some(index) = table {
        // SAFETY: each was leaked from a box and is taken back once, by the caller's word.
        let index = unsafe { Box::from_raw(index.as_ptr()) };
        table = index.next();
    }
    writer.slab.drain(&mut each);
    for (_, mut room) in writer.rooms.drain(..) {
        room.drain(&mut each);
    }
}

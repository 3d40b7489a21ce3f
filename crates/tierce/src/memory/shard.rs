//! What a shard's writers do under its lock: put in, take out, evict, expire, grow, shrink.
//!
//! ```text
//!   readers:  root ──> Table ──> bucket ──> slot ──> place        (index.rs, slab.rs)
//!   writers:  Writer { slab, policy, expiry, limbo, ... }          under one lock
//! ```
//! An entry is never changed once readers can see it: a new value of a key is a new place, and
//! the old one goes to the [`limbo`](super::limbo) until nobody looks at it any more. Where this
//! process has no other thread that ever read a cache, it is free at once.
//!
//! Nothing here calls the caller's code, apart from the `eq` that a search is given, and a search
//! comes before every change: whatever `eq` does, the shard stays whole. What is taken out goes
//! into [`Departures`], which are dealt with once the lock is free. Hashes are kept with the
//! entries, so neither growing nor evicting hashes a key again.

use std::{
    cell::Cell,
    mem,
    ptr::NonNull,
    sync::atomic::{AtomicPtr, Ordering},
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{
    departures::Departures,
    expiry::Expiry,
    index::{OwnedTable, Spot, Table},
    limbo::Limbo,
    load::Loads,
    options::ShardBounds,
    slab::{Address, HUGE, MAX_SLOTS, Place, Segments, Slab},
    statistics::{MemoryStatistics, RemovalCause},
    write::Inserted,
};
use crate::{
    clock::Millis,
    policy::{Chosen, Entries, NO_SLOT, Policy, PolicyKind, PolicyView, Slot},
    sync::{MutexGuard, epoch},
};

/// Expired entries that one insert frees: more than the one that it adds, so that the expired
/// never pile up.
const FREED_PER_INSERT: usize = 4;

/// Steps in the tree of deadlines in one insert.
const EXPIRY_STEPS_PER_INSERT: usize = 4;

/// Retired entries whose memory one call frees: more than the one that it retires, so that they
/// do not pile up, and few, so that no call pays for all.
const EMPTIED_PER_CALL: usize = 4;

/// Home buckets that one insert moves while a table grows: so few that no insert takes long, and
/// so many that a table that was to grow is hardly fuller when all have moved.
const MOVED_PER_INSERT: usize = 4;

/// A table grows by half: the load, and with it the memory per entry, stays within a third.
const fn grown(homes: u32) -> u32 {
    homes.saturating_add(homes / 2).saturating_add(1)
}

/// The share of the entries that may wait in the limbo before the epoch is moved on.
const LIMBO_SHARE: u64 = 16;

/// However many entries a shard has, so few in the limbo are worth no more waiting.
const MAX_LIMBO: u64 = 2_048;

/// So many in the limbo, or a fourth of the entries, are less trouble than moving the epoch on, which interrupts all threads of the process. Not more: the clock of the policy goes round
/// all slots, those in the limbo included, and a newcomer should lie where a victim lay.
const MIN_LIMBO: u64 = 32;

/// A reader that stays in one place holds up the limbo. Above this, and above the number of
/// entries, inserts are refused; what removals add is bounded by the entries that there are.
const STALLED_ENTRIES: u64 = 4_096;

/// The same for the sum of weights and the bound on it: 16 MiB.
const STALLED_BYTES: u64 = 16 << 20;

/// Slabs and tables that wait for their readers; beyond this a shard is cleared entry by entry,
/// into the limbo, which inserts heed.
const MOST_ROOMS: usize = 8;

/// How often an insert looks whether readers that hold it up are gone before it is refused.
const HELPING_TRIES: usize = 100;

/// How often a shard that moves its entries looks whether the readers are gone before it gives
/// up: together some milliseconds.
const COMPACT_TRIES: usize = 2_000;

/// Entries move together when fewer than this many eighths of the places are in use after the
/// bounds were lowered.
const COMPACT_EIGHTHS: u64 = 7;

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
pub(super) struct Writer<K, V> {
    slab: Slab<K, V>,
    policy: Chosen,
    policy_kind: PolicyKind,
    expiry: Expiry,
    limbo: Limbo,
    /// Tables and slabs that readers may still look at, oldest first, with the epoch in which
    /// they were retired.
    rooms: Vec<(epoch::Epoch, Room<K, V>)>,
    bounds: ShardBounds,
    /// What the policy adds up: weights, or numbers of entries. Bytes were bounded when the shard
    /// was made; a sum cannot change its unit later.
    by_weight: bool,
    len: u64,
    /// Wider than any sum of entries' weights, so that it is exact.
    weight: u128,
    /// The weights that do not fit in a place.
    huge: HashMap<Slot, u64, FixedState>,
    /// How long an entry lives that nobody reads, in milliseconds.
    time_to_idle: Option<u64>,
    pub(super) loads: Loads<K, V>,
    pub(super) statistics: MemoryStatistics,
}

/// An entry on its way in.
pub(super) struct NewEntry<K, V> {
    pub(super) hash: u32,
    /// [`Millis::NEVER`] for entries that do not expire.
    pub(super) deadline: Millis,
    pub(super) weight: u64,
    pub(super) key: K,
    pub(super) value: V,
}

/// A slot and its place, once it was asked for.
type Remembered<'a, K, V> = Cell<(Slot, Option<&'a Place<K, V>>)>;

/// What a policy sees of a shard's entries.
struct View<'a, K, V> {
    slab: &'a Slab<K, V>,
    /// Weights count, not numbers.
    by_weight: bool,
    /// The slots that were asked about last: a policy asks several things of one or two.
    last: [Remembered<'a, K, V>; 2],
}

impl<'a, K, V> View<'a, K, V> {
    #[inline]
    fn new(slab: &'a Slab<K, V>, by_weight: bool) -> Self {
        Self { slab, by_weight, last: [const { Cell::new((NO_SLOT, None)) }; 2] }
    }

    #[inline]
    fn place(&self, slot: Slot) -> &'a Place<K, V> {
        let [last, before] = &self.last;
        if let (its, Some(place)) = last.get()
            && its == slot
        {
            return place;
        }
        if let (its, Some(place)) = before.get()
            && its == slot
        {
            last.swap(before);
            return place;
        }
        let place = self.slab.place(slot);
        before.set(last.replace((slot, Some(place))));
        place
    }
}

impl<K, V> Entries for View<'_, K, V> {
    #[inline]
    fn reads(&self, slot: Slot) -> u8 {
        self.place(slot).reads.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_reads(&self, slot: Slot, reads: u8) {
        self.place(slot).reads.store(reads, Ordering::Relaxed);
    }

    #[inline]
    fn mark(&self, slot: Slot) -> u8 {
        // A slab that was made smaller has fewer slots than the policy may remember.
        if slot < self.slab.used() { self.place(slot).mark.load(Ordering::Relaxed) } else { 0 }
    }

    #[inline]
    fn set_mark(&self, slot: Slot, mark: u8) {
        self.place(slot).mark.store(mark, Ordering::Relaxed);
    }

    #[inline]
    fn hash(&self, slot: Slot) -> u32 {
        self.place(slot).hash()
    }

    #[inline]
    fn cost(&self, slot: Slot) -> u64 {
        // What is heavier than 4 GiB counts as that.
        if self.by_weight { u64::from(self.place(slot).weight()) } else { 1 }
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        super::prefetch(self.slab.segments().pointer(Address::of(slot)).cast_const());
    }
}

/// The table that readers of a shard begin with.
pub(super) type Root<K, V> = AtomicPtr<Index<K, V>>;

/// An entry that was found, and where the index names it until the lock is let go or the table
/// grows.
#[derive(Clone, Copy)]
pub(super) struct Hit {
    pub(super) slot: Slot,
    address: Address,
    spot: Spot,
}

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
            by_weight: bounds.bytes != u64::MAX,
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
        self.weight
    }

    pub(super) fn view(&self) -> PolicyView {
        self.policy.view()
    }

    /// Entries that left and whose memory is not free yet; a whole slab counts as one.
    pub(super) fn retired(&self) -> usize {
        self.limbo.len() + self.rooms.len()
    }

    #[inline]
    fn entries(&self) -> View<'_, K, V> {
        View::new(&self.slab, self.by_weight)
    }

    #[inline]
    fn weight_of(&self, slot: Slot) -> u64 {
        match self.slab.place(slot).weight() {
            HUGE => self.huge.get(&slot).copied().unwrap_or(HUGE.into()),
            weight => weight.into(),
        }
    }

    /// Frees the place of an entry that came out of the limbo.
    #[inline]
    fn empty(&mut self, slot: Slot, departures: &mut Departures<'_, K, V>) {
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

    /// When an entry really expires; never where there is none.
    fn deadline_of(slab: &Slab<K, V>, time_to_idle: Option<u64>, slot: Slot) -> Millis {
        if slot >= slab.used() || !slab.place(slot).is_live() {
            return Millis::NEVER;
        }
        let deadline = slab.place(slot).deadline();
        match (time_to_idle, slab.used_at(slot)) {
            (Some(idle), Some(used_at)) => {
                let used_at = used_at.load(Ordering::Relaxed);
                deadline.min(Millis(used_at.saturating_add(idle)))
            }
            _ => deadline,
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

    /// Finds the entry of a key; `eq` is asked only about keys with this `hash`.
    #[inline]
    pub(super) fn find(&self, hash: u32, mut eq: impl FnMut(&K) -> bool) -> Option<Hit> {
        let (spot, address) = self.table().current(hash).find(hash, |address| {
            let place = self.writer.slab.at(address);
            // SAFETY: the index names it, so it is live, and the lock keeps it so.
            place.hash() == hash && eq(unsafe { place.key() })
        })?;
        Some(Hit { slot: address.slot(), address, spot })
    }

    /// The value that was found.
    #[inline]
    pub(super) fn value(&self, hit: Hit) -> &V {
        // SAFETY: live, as `find` named it and the lock was not let go since.
        unsafe { self.writer.slab.at(hit.address).value() }
    }

    /// When the entry that was found expires.
    #[inline]
    pub(super) fn deadline_of(&self, hit: Hit) -> Millis {
        match self.writer.time_to_idle {
            None => self.writer.slab.at(hit.address).deadline(),
            Some(_) => self.deadline(hit.slot),
        }
    }

    /// The place of a slot.
    #[inline]
    pub(super) fn place(&self, slot: Slot) -> &Place<K, V> {
        self.writer.slab.place(slot)
    }

    /// When the entry in a slot expires.
    #[inline]
    pub(super) fn deadline(&self, slot: Slot) -> Millis {
        Writer::deadline_of(&self.writer.slab, self.writer.time_to_idle, slot)
    }

    /// Tells a policy that wants to know of a read.
    #[inline]
    pub(super) fn hit(&mut self, slot: Slot) {
        self.writer.policy.on_hit(slot);
    }

    /// True if the index names this slot.
    pub(super) fn is_named(&self, slot: Slot, hash: u32) -> bool {
        slot < self.writer.slab.used()
            && self.place(slot).is_live()
            && self.table().current(hash).spot(hash, Address::of(slot)).is_some()
    }

    /// True if the entry that was found in this place, with a pin that is still held, did not
    /// leave. The number of its slot alone does not say so: after a `clear` it is another place's.
    pub(super) fn is_here(&self, slot: Slot, place: *const Place<K, V>, hash: u32) -> bool {
        self.is_named(slot, hash) && std::ptr::eq(self.place(slot), place)
    }

    /// Frees the memory of some retired entries, so that nothing piles up. Every call that may
    /// retire one begins with it.
    #[inline]
    pub(super) fn collect(&mut self, departures: &mut Departures<'_, K, V>) {
        let writer = &mut *self.writer;
        if writer.limbo.len() > 0 {
            for _ in 0..EMPTIED_PER_CALL {
                if !departures.has_room() {
                    break;
                }
                let Some(slot) = writer.limbo.pop(&writer.slab) else { break };
                writer.empty(slot, departures);
            }
            let (entries, weight) = writer.most_waiting();
            if writer.limbo.wants_advance(entries, weight) {
                departures.advance();
            }
        }
        if !writer.rooms.is_empty() {
            self.collect_rooms(departures);
        }
    }

    /// Frees the memory of all retired entries whose readers are gone, and returns how many, with
    /// those of whole slabs as one each, are left.
    pub(super) fn collect_all(&mut self, departures: &mut Departures<'_, K, V>) -> usize {
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
    fn collect_rooms(&mut self, departures: &mut Departures<'_, K, V>) {
        while let Some((retired, _)) = self.writer.rooms.first() {
            if !epoch::is_over(*retired) && !epoch::alone() {
                departures.advance();
                return;
            }
            if !departures.has_room_for_room() {
                return;
            }
            departures.push_room(self.writer.rooms.remove(0).1);
        }
    }

    /// Makes sure that so many calls of [`retire_room`](Self::retire_room) need no memory.
    fn reserve_rooms(&mut self, count: usize) -> bool {
        self.writer.rooms.try_reserve(count).is_ok()
    }

    fn retire_room(&mut self, room: Room<K, V>) {
        self.writer.rooms.push((epoch::current(), room));
    }

    /// Takes an entry out.
    pub(super) fn take(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let hash = self.place(slot).hash();
        let table = self.table().current(hash);
        if let Some(spot) = table.spot(hash, Address::of(slot)) {
            table.remove(hash, spot);
        }
        self.take_unnamed(slot, cause, departures);
    }

    /// Takes an entry out that was found.
    pub(super) fn take_hit(
        &mut self,
        hit: Hit,
        hash: u32,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        self.table().current(hash).remove(hash, hit.spot);
        self.take_unnamed(hit.slot, cause, departures);
    }

    /// Takes an entry out that the index no longer names.
    fn take_unnamed(
        &mut self,
        slot: Slot,
        cause: RemovalCause,
        departures: &mut Departures<'_, K, V>,
    ) {
        let writer = &mut *self.writer;
        writer.policy.on_remove(slot, &View::new(&writer.slab, writer.by_weight));
        self.retire(slot, cause, departures);
    }

    /// Lets go of an entry that neither index nor policy name any more.
    fn retire(&mut self, slot: Slot, cause: RemovalCause, departures: &mut Departures<'_, K, V>) {
        let writer = &mut *self.writer;
        let place = writer.slab.place(slot);
        let weight = match place.weight() {
            HUGE => writer.huge.remove(&slot).unwrap_or(HUGE.into()),
            weight => weight.into(),
        };
        writer.len -= 1;
        writer.weight -= u128::from(weight);
        writer.statistics.count(cause);
        if departures.tells() {
            departures.tell(place, cause);
        } else if epoch::alone() && departures.has_room() {
            // SAFETY: nobody else ever read a cache, and this thread is not about to: `alone`.
            let (key, value) = unsafe { writer.slab.empty(slot) };
            departures.push(key, value);
            return;
        }
        writer.limbo.push(&writer.slab, slot, place, weight);
    }

    /// True if a new entry can be kept at all, whatever else must go for it.
    pub(super) fn admits(&self, weight: u64) -> bool {
        let bounds = &self.writer.bounds;
        bounds.entries > 0 && weight <= bounds.largest_bytes && !self.is_stalled()
    }

    /// True if so much is held up by readers that no more should come.
    fn is_stalled(&self) -> bool {
        let Writer { limbo, len, bounds, .. } = &*self.writer;
        limbo.waiting() as u64 > STALLED_ENTRIES.max(*len)
            || limbo.weight() > STALLED_BYTES.max(bounds.bytes)
    }

    /// Waits a little for the readers of what is held up, if that is too much. Before anything is
    /// taken out: what the listener has yet to hear of would hold up the rest.
    #[inline]
    pub(super) fn help_if_stalled(&mut self) {
        if self.is_stalled() {
            self.help();
        }
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

    /// Stores an entry that [`admits`](Self::admits) let in, in place of that in `old` if there is
    /// one, and evicts what no longer fits. Gives the entry back where memory is short; the old
    /// one is gone then as well.
    pub(super) fn store(
        &mut self,
        new: NewEntry<K, V>,
        old: Option<Hit>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) -> Result<(), NewEntry<K, V>> {
        if let Some(hit) = old {
            let others = self.writer.weight - u128::from(self.writer.weight_of(hit.slot));
            let fits = others + u128::from(new.weight) <= u128::from(self.writer.bounds.bytes);
            if !fits || !self.reserve(&new) {
                self.take_hit(hit, new.hash, RemovalCause::Replaced, departures);
            } else {
                self.replace(hit, new, now, departures);
                return Ok(());
            }
        }
        self.evict(1, new.weight, departures);
        if !self.reserve(&new) {
            return Err(new);
        }
        self.grow(departures);
        let hash = new.hash;
        let slot = self.fill(new, now);
        if !self.name(hash, slot, departures) {
            let writer = &mut *self.writer;
            let weight = writer.weight_of(slot);
            writer.huge.remove(&slot);
            writer.len -= 1;
            writer.weight -= u128::from(weight);
            let deadline = writer.slab.place(slot).deadline();
            // SAFETY: filled just now and never named: nobody else knows of it.
            let (key, value) = unsafe { writer.slab.empty(slot) };
            return Err(NewEntry { hash, deadline, weight, key, value });
        }
        let writer = &mut *self.writer;
        let view = View::new(&writer.slab, writer.by_weight);
        writer.policy.on_insert(slot, &view);
        Ok(())
    }

    /// Puts an entry into a place that [`reserve`](Self::reserve) found.
    #[inline]
    fn fill(&mut self, new: NewEntry<K, V>, now: Millis) -> Slot {
        let writer = &mut *self.writer;
        writer.len += 1;
        writer.weight += u128::from(new.weight);
        let weight = u32::try_from(new.weight).unwrap_or(HUGE);
        let (slot, place) = writer.slab.take();
        let mut deadline = new.deadline;
        // SAFETY: just taken, so it is free, and we hold the lock.
        unsafe { place.fill(new.hash, weight, deadline, new.key, new.value) };
        if weight == HUGE {
            writer.huge.insert(slot, new.weight);
        }
        if let Some(idle) = writer.time_to_idle {
            if let Some(used_at) = writer.slab.used_at(slot) {
                used_at.store(now.0, Ordering::Relaxed);
            }
            deadline = deadline.min(Millis(now.0.saturating_add(idle)));
        }
        writer.expiry.note(slot, deadline);
        slot
    }

    /// Has the index name a slot. False if that cannot be.
    fn name(&mut self, hash: u32, slot: Slot, departures: &mut Departures<'_, K, V>) -> bool {
        loop {
            let table = self.table().current(hash);
            if table.insert(hash, Address::of(slot)) {
                return true;
            }
            if self.table().next().is_some() {
                self.grow_step(departures);
            } else if !self.table().is_worth_growing(self.writer.len) || !self.begin_to_grow() {
                // Keys whose hashes are all alike, or no memory for more buckets.
                match self.table().any(hash) {
                    Some(victim) => self.take(victim.slot(), RemovalCause::Size, departures),
                    None => return false,
                }
            }
        }
    }

    fn replace(
        &mut self,
        Hit { slot: old, spot, .. }: Hit,
        new: NewEntry<K, V>,
        now: Millis,
        departures: &mut Departures<'_, K, V>,
    ) {
        let hash = new.hash;
        let slot = self.fill(new, now);
        self.table().current(hash).swap(spot, Address::of(slot));
        let writer = &mut *self.writer;
        let view = View::new(&writer.slab, writer.by_weight);
        writer.policy.on_replace(old, slot, &view);
        self.retire(old, RemovalCause::Replaced, departures);
    }

    /// Evicts until `entries` more entries of together `weight` fit.
    fn evict(&mut self, entries: u64, weight: u64, departures: &mut Departures<'_, K, V>) {
        let most = self.writer.bounds.entries.min(MAX_SLOTS.into());
        loop {
            let writer = &mut *self.writer;
            let cause = if writer.len + entries > most {
                RemovalCause::Size
            } else if writer.weight + u128::from(weight) > u128::from(writer.bounds.bytes) {
                RemovalCause::Bytes
            } else {
                return;
            };
            let view = View::new(&writer.slab, writer.by_weight);
            let Some(victim) = writer.policy.victim(&view) else { return };
            self.take(victim, cause, departures);
        }
    }

    /// Makes room for one more entry everywhere, so that nothing can fail once it goes in.
    #[inline]
    fn reserve(&mut self, new: &NewEntry<K, V>) -> bool {
        let writer = &mut *self.writer;
        let slots = writer.slab.allocated() as usize;
        let expires = new.deadline != Millis::NEVER || writer.time_to_idle.is_some();
        writer.slab.has_room()
            && (!expires || writer.expiry.reserve(slots).is_ok())
            && new.weight < HUGE.into()
            || self.reserve_more(expires, new.weight)
    }

    #[cold]
    fn reserve_more(&mut self, expires: bool, weight: u64) -> bool {
        let writer = &mut *self.writer;
        let Some(slots) = writer.slab.next_allocated() else { return false };
        // The policy first: a place that is there must be one that the policy knows.
        writer.policy.reserve(slots as usize).is_ok()
            && writer.slab.reserve()
            && (!expires || writer.expiry.reserve(slots as usize).is_ok())
            && (weight < HUGE.into() || writer.huge.try_reserve(1).is_ok())
    }

    /// Moves some entries to a larger table, or begins that, if it is time.
    #[inline]
    fn grow(&mut self, departures: &mut Departures<'_, K, V>) {
        if self.table().next().is_some() {
            for _ in 0..MOVED_PER_INSERT {
                self.grow_step(departures);
            }
        } else if self.table().is_full(self.writer.len) {
            self.begin_to_grow();
        }
    }

    /// False if memory is short: the table stays as it is, and fuller than it should be.
    #[cold]
    fn begin_to_grow(&mut self) -> bool {
        if !self.reserve_rooms(1) {
            return false;
        }
        let table = self.table();
        let needed = Index::<K, V>::homes_for(self.writer.bounds.entries.min(MAX_SLOTS.into()));
        let mut homes = grown(table.homes());
        if table.homes() < needed && u64::from(homes) + u64::from(homes / 8) > u64::from(needed) {
            homes = needed;
        }
        let Some(next) = Index::new(homes, table.places()) else { return false };
        table.set_next(NonNull::from(Box::leak(next)));
        true
    }

    #[cold]
    fn grow_step(&mut self, departures: &mut Departures<'_, K, V>) {
        let mut homeless = Vec::new();
        let slab = &self.writer.slab;
        let table = self.table();
        let done = table.move_one(
            |address| slab.place(address.slot()).hash(),
            |address| homeless.push(address.slot()),
        );
        if done && let Some(next) = table.next() {
            let old = self.root.swap(next.as_ptr(), Ordering::AcqRel);
            // SAFETY: leaked from a box when it was made, and owned again once, here.
            let old = unsafe { OwnedTable::new(old) };
            self.retire_room(Room::Table { _table: old });
        }
        for slot in homeless {
            self.take_unnamed(slot, RemovalCause::Size, departures);
        }
    }

    /// Counts an entry that was not stored, and passes the reason on.
    pub(super) fn turn_away(&mut self, reason: Inserted) -> Inserted {
        if reason == Inserted::Refused {
            let refused = &mut self.writer.statistics.refused;
            *refused = refused.saturating_add(1);
        }
        reason
    }

    /// Has no load of a key with this hash stored that began before now. Every call that changes
    /// a key, or finds nothing of it to remove, comes here.
    #[inline]
    pub(super) fn void_loads(&mut self, hash: u32) {
        if !self.writer.loads.is_empty() {
            self.writer.loads.void(hash);
        }
    }

    /// True if a call that puts something in must read the clock first.
    #[inline]
    pub(super) fn has_deadlines(&self) -> bool {
        self.writer.expiry.earliest() != Millis::NEVER || self.writer.time_to_idle.is_some()
    }

    /// Frees a few expired entries, as each insert does.
    #[inline]
    pub(super) fn free_some(&mut self, now: Millis, departures: &mut Departures<'_, K, V>) {
        if self.writer.expiry.earliest() <= now {
            let mut steps = EXPIRY_STEPS_PER_INSERT;
            self.free_expired(now, FREED_PER_INSERT, &mut steps, departures);
        }
    }

    /// Frees up to `most` expired entries in as many steps as `steps` allows, and says how many.
    pub(super) fn free_expired(
        &mut self,
        now: Millis,
        most: usize,
        steps: &mut usize,
        departures: &mut Departures<'_, K, V>,
    ) -> usize {
        for freed in 0..most {
            let writer = &mut *self.writer;
            let (slab, idle) = (&writer.slab, writer.time_to_idle);
            let due = writer.expiry.poll(now, steps, |slot| Writer::deadline_of(slab, idle, slot));
            let Some(slot) = due else { return freed };
            self.take(slot, RemovalCause::Expired, departures);
        }
        most
    }

    /// Sets other bounds and evicts what does not fit them.
    pub(super) fn resize(&mut self, bounds: ShardBounds, departures: &mut Departures<'_, K, V>) {
        self.writer.bounds = bounds;
        self.evict(0, 0, departures);
    }

    /// Moves entries from the highest places to free low ones, and gives the memory of those and
    /// of the index back.
    ///
    /// Readers must be gone from an entry before it is moved. So the index is replaced by a
    /// stand-in that sends them to the lock ([`Table::in_transit`]); when all that came before
    /// are gone, the entries move. If memory is short, or a reader does not go away, everything
    /// stays where it is.
    pub(super) fn compact(&mut self, departures: &mut Departures<'_, K, V>) {
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

        let mut to = 0;
        for from in (len as u32)..used {
            if !self.place(from).is_live() {
                continue;
            }
            while self.place(to).holds() {
                to += 1;
            }
            self.relocate(from, to);
        }
        self.writer.slab.truncate(len as u32);
        self.writer.expiry.truncate(len as usize);
        let allocated = self.writer.slab.allocated() as usize;
        self.writer.policy.truncate(allocated);
        for slot in 0..len as u32 {
            if !table.insert(self.place(slot).hash(), Address::of(slot)) {
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
        let writer = &mut *self.writer;
        let (old, new) = (writer.slab.place(from), writer.slab.place(to));
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
        let view = View::new(&writer.slab, writer.by_weight);
        writer.policy.on_move(from, to, &view);
        old.mark.store(0, Ordering::Relaxed);
        new.reads.store(reads, Ordering::Relaxed);
        if let (Some(old), Some(new)) = (writer.slab.used_at(from), writer.slab.used_at(to)) {
            new.store(old.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        if let Some(weight) = writer.huge.remove(&from) {
            writer.huge.insert(to, weight);
        }
        let deadline = Writer::deadline_of(&writer.slab, writer.time_to_idle, to);
        writer.expiry.note(to, deadline);
    }

    /// Takes everything out, memory included unless that is too short for an empty shard.
    pub(super) fn clear(&mut self, departures: &mut Departures<'_, K, V>) {
        let Writer { bounds, policy_kind, time_to_idle, .. } = *self.writer;
        // The slab and one table, or two while it grows.
        // While a reader holds up earlier ones they would pile up.
        let has_room = self.writer.rooms.len() < MOST_ROOMS && self.reserve_rooms(3);
        let fresh = has_room.then(|| Writer::new(bounds, policy_kind, time_to_idle)).flatten();
        let Some((mut fresh, table)) = fresh else {
            // One by one.
            self.writer.loads.void_all();
            for slot in 0..self.writer.slab.used() {
                if self.place(slot).is_live() {
                    self.take(slot, RemovalCause::Removed, departures);
                }
            }
            return;
        };
        if departures.tells() {
            for slot in 0..self.writer.slab.used() {
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

    /// Asserts every invariant.
    pub(super) fn validate(&self) {
        let writer = &*self.writer;
        let mut live = vec![false; writer.slab.used() as usize];
        let (mut len, mut weight) = (0, 0_u128);
        for slot in 0..writer.slab.used() {
            if writer.slab.place(slot).is_live() {
                live[slot as usize] = true;
                len += 1;
                weight += u128::from(writer.weight_of(slot));
            }
        }
        assert_eq!(len, writer.len, "live entries and their count");
        assert_eq!(weight, writer.weight, "sum of weights");
        assert!(len <= writer.bounds.entries, "entries above their bound");
        assert!(weight <= u128::from(writer.bounds.bytes), "bytes above their bound");

        let mut named = vec![false; live.len()];
        let mut table = Some(self.table());
        while let Some(index) = table {
            index.validate(
                |address| writer.slab.place(address.slot()).hash(),
                |address| {
                    let slot = address.slot();
                    assert!(live[slot as usize], "the index names slot {slot}, which is not live");
                    assert!(!mem::replace(&mut named[slot as usize], true), "slot {slot} twice");
                },
            );
            // SAFETY: a successor lives as long as its table.
            table = index.next().map(|next| unsafe { &*next.as_ptr() });
        }
        assert_eq!(named, live, "the index names the live slots and no others");
        writer.limbo.validate(&writer.slab);
        let others = u64::from(writer.slab.count_free()) + writer.limbo.len() as u64;
        assert_eq!(others + len, u64::from(writer.slab.used()), "slots that are in no list");
        writer.policy.validate(&live, &writer.entries());
        writer.expiry.validate(
            |slot| Writer::deadline_of(&writer.slab, writer.time_to_idle, slot),
            writer.slab.used() as usize,
        );
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
pub(super) unsafe fn dissolve<K, V>(
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

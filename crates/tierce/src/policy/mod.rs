//! Which entry of a shard makes room: replacement policies over slots.
//!
//! A policy never sees keys or values. It is told the name of a slot when an entry is put into
//! it or taken out, and names a victim when asked. It belongs to one shard and runs under that
//! shard's lock, so it needs no synchronisation of its own.
//!
//! A hit takes no lock and calls no policy: it counts itself in a byte of the entry, which the
//! policy finds there later through [`Entries`]. The count saturates and may lose reads that
//! happen at the same time.

mod adaptive;
mod cells;
mod ghosts;
mod lru;
mod recent;
#[cfg(test)]
mod tests;
mod window;
mod worth;

use std::fmt;

use adaptive::Adaptive;
use lru::Lru;

/// The name of a slot; policies keep these instead of pointers. Only [`Entries`] knows how slots
/// are numbered.
pub(crate) type Slot = u32;

/// The first slot of every shard.
pub(crate) const FIRST_SLOT: Slot = 0;

/// "No slot" in links.
pub(crate) const NO_SLOT: Slot = Slot::MAX;

/// Reads that an entry counts; more need not be stored. Two bits tell what is read often from
/// what is read now and then.
pub(crate) const MOST_READS: u8 = 3;

/// How the memory tier chooses the entry that makes room. More kinds may be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// Adapts itself to loops, scans, recency and frequency; hits need no lock.
    #[default]
    Adaptive,
    /// The entry that was not read or written for the longest time goes first; exact within a
    /// shard. Each hit takes the shard's lock.
    Lru,
}

/// What a policy holds at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct PolicyView {
    /// Which policy it is.
    pub kind: PolicyKind,
    /// Entries that it keeps in order.
    pub entries: usize,
    /// Those of them in the window for new keys; 0 without a window.
    pub window_entries: usize,
    /// The share of the capacity that the window may hold, from 0 to 1.
    pub window_share: f64,
    /// Keys that are remembered though their entries are gone.
    pub ghosts: usize,
    /// Memory of the policy beside the entries, in bytes.
    pub bytes: usize,
}

/// What a policy may ask of an entry, and note in it.
pub(crate) trait Entry {
    /// Reads since [`set_reads`](Self::set_reads), at most [`MOST_READS`]; approximate.
    fn reads(&self) -> u8;

    /// Sets the count of reads.
    fn set_reads(&self, reads: u8);

    /// A byte that belongs to the policy; 0 where the slot is free.
    fn mark(&self) -> u8;

    /// Sets that byte.
    fn set_mark(&self, mark: u8);

    /// 32 well mixed bits of the hash of the entry's key.
    fn hash(&self) -> u32;
}

/// The entries of a policy's shard.
pub(crate) trait Entries {
    /// One of them.
    type Entry: Entry;

    /// The entry in a slot that was handed out and is not gone.
    fn entry(&self, slot: Slot) -> &Self::Entry;

    /// What is in any slot that was ever handed out; its mark is 0 where that is no entry. `None`
    /// of a slot that is gone.
    fn place(&self, slot: Slot) -> Option<&Self::Entry>;

    /// What an entry takes of the shard's bound: its weight in bytes where bytes are bounded,
    /// else 1. It does not change while the entry is in its slot, but in `on_rewrite`.
    fn cost(&self, entry: &Self::Entry) -> u64;

    /// Tells that the entry so many slots after this one, if there is one, is about to be asked
    /// for.
    fn prefetch(&self, slot: Slot, ahead: usize);

    /// The lines in memory, if any, that change when the entry in this slot leaves, whose key has
    /// this hash. For a hint: it may be gone.
    fn lines_of(&self, slot: Slot, hash: u32) -> [*const u8; 2];

    /// The slot that follows in the order of numbers, and the first one after the last that was
    /// ever in use.
    fn after(&self, slot: Slot) -> Slot;

    /// The number of a slot: they are numbered without gaps from 0 on.
    fn number(&self, slot: Slot) -> usize;

    /// The slot of a number.
    fn numbered(&self, number: usize) -> Slot;
}

/// A slot and the entry in it.
pub(crate) type Named<'a, E> = (Slot, &'a <E as Entries>::Entry);

/// What a shard asks of its policy.
///
/// The shard keeps three rules: it calls [`reserve`](Self::reserve) before it uses a slot
/// for the first time; it calls `on_insert` (or `on_replace` as the new slot) and `on_remove` (or
/// `on_replace` as the old slot, or `evict`, which returns it) of a slot in turn; and it calls
/// `on_remove` while the entry's hash, cost and mark can still be read.
pub(crate) trait Policy {
    /// Makes room for so many slots, of which no more than so many hold entries, so that no later
    /// call allocates; false if memory is short, and the policy works on as before. The others are
    /// of entries that were taken out and that readers may still look at.
    #[must_use]
    fn reserve(&mut self, slots: usize, entries: usize) -> bool;

    /// A key with this hash is about to come in, perhaps in another's stead.
    fn prefetch(&self, _hash: u32, _entries: &impl Entries) {}

    /// An entry with a new key was put into `slot`; its reads and mark are 0.
    fn on_insert<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E);

    /// The entry in `slot` was read. Called only if its kind
    /// [`wants_hits`](PolicyKind::wants_hits).
    fn on_hit(&mut self, _slot: Slot, _entries: &impl Entries) {}

    /// The key of the entry in `old` has a new value, in `new`, whose reads and mark are 0; the
    /// old entry is about to go. It counts as a read. No other call tells of either slot.
    fn on_replace<E: Entries>(&mut self, old: Named<'_, E>, new: Named<'_, E>, entries: &E);

    /// True if a new value of the key may come into the very slot of this entry.
    fn can_stay(&self, _entry: &impl Entry) -> bool {
        true
    }

    /// The key of an entry that [may stay](Self::can_stay) has a new value, in the same slot; it
    /// cost `cost` before. It counts as a read.
    fn on_rewrite<E: Entries>(&mut self, named: Named<'_, E>, cost: u64, entries: &E);

    /// The entry in `old` was moved to `new`, whose mark is 0; the rest as in
    /// [`on_replace`](Self::on_replace), but it is no read.
    fn on_move<E: Entries>(&mut self, old: Named<'_, E>, new: Named<'_, E>, entries: &E) {
        self.on_replace(old, new, entries);
    }

    /// The slots from this number on are gone, and were empty. Room for them has to be reserved
    /// again.
    fn truncate(&mut self, _slots: usize) {}

    /// The entry in `slot` is about to be taken out, for whatever reason.
    fn on_remove<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E);

    /// Chooses the entry to evict next and takes it out as [`on_remove`](Self::on_remove) does, or
    /// `None` if there is none.
    fn evict<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>>;

    /// What it holds.
    fn view(&self) -> PolicyView;

    /// Asserts every invariant; `live` tells for the slot of each number if an entry is in it.
    ///
    /// # Panics
    /// If one does not hold.
    fn validate(&self, live: &[bool], entries: &impl Entries);
}

/// The policy that a [`PolicyKind`] chose.
#[derive(Debug)]
pub(crate) enum Chosen {
    Adaptive(Adaptive),
    Lru(Lru),
}

impl fmt::Display for PolicyKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl PolicyKind {
    /// `adaptive` or `lru`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Adaptive => "adaptive",
            Self::Lru => "lru",
        }
    }

    /// Reads a [`name`](Self::name) in any case.
    #[cfg(feature = "config")]
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        [Self::Adaptive, Self::Lru].into_iter().find(|kind| text.eq_ignore_ascii_case(kind.name()))
    }

    /// True if each hit must be told, under the lock.
    pub(crate) const fn wants_hits(self) -> bool {
        matches!(self, Self::Lru)
    }
}

impl Chosen {
    pub(crate) fn new(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Adaptive => Self::Adaptive(Adaptive::default()),
            PolicyKind::Lru => Self::Lru(Lru::default()),
        }
    }
}

/// Calls the same method of whichever policy was chosen.
macro_rules! each {
    ($chosen:expr, $policy:ident => $call:expr) => {
        match $chosen {
            Chosen::Adaptive($policy) => $call,
            Chosen::Lru($policy) => $call,
        }
    };
}

impl Policy for Chosen {
    fn reserve(&mut self, slots: usize, entries: usize) -> bool {
        each!(self, policy => policy.reserve(slots, entries))
    }

    #[inline]
    fn prefetch(&self, hash: u32, entries: &impl Entries) {
        each!(self, policy => policy.prefetch(hash, entries));
    }

    #[inline]
    fn on_insert<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E) {
        each!(self, policy => policy.on_insert(slot, entry, entries));
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot, entries: &impl Entries) {
        each!(self, policy => policy.on_hit(slot, entries));
    }

    #[inline(always)]
    fn on_replace<E: Entries>(&mut self, old: Named<'_, E>, new: Named<'_, E>, entries: &E) {
        each!(self, policy => policy.on_replace(old, new, entries));
    }

    #[inline(always)]
    fn can_stay(&self, entry: &impl Entry) -> bool {
        each!(self, policy => policy.can_stay(entry))
    }

    #[inline(always)]
    fn on_rewrite<E: Entries>(&mut self, named: Named<'_, E>, cost: u64, entries: &E) {
        each!(self, policy => policy.on_rewrite(named, cost, entries));
    }

    fn on_move<E: Entries>(&mut self, old: Named<'_, E>, new: Named<'_, E>, entries: &E) {
        each!(self, policy => policy.on_move(old, new, entries));
    }

    fn truncate(&mut self, slots: usize) {
        each!(self, policy => policy.truncate(slots));
    }

    #[inline]
    fn on_remove<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E) {
        each!(self, policy => policy.on_remove(slot, entry, entries));
    }

    #[inline]
    fn evict<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>> {
        each!(self, policy => policy.evict(entries))
    }

    fn view(&self) -> PolicyView {
        each!(self, policy => policy.view())
    }

    fn validate(&self, live: &[bool], entries: &impl Entries) {
        each!(self, policy => policy.validate(live, entries));
    }
}

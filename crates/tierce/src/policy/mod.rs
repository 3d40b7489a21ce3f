//! Which entry of a shard makes room: replacement policies over slot numbers.
//!
//! A policy never sees keys or values. It is told the number of a slot when an entry is put into
//! it, read or taken out, and names a victim when asked. It belongs to one shard and runs under
//! that shard's lock, so it needs no synchronisation of its own.

mod lru;

pub(crate) use lru::Lru;

use std::collections::TryReserveError;

/// The number of a slot; policies keep links between them instead of pointers.
pub(crate) type Slot = u32;

/// "No slot" in links.
pub(crate) const NO_SLOT: Slot = Slot::MAX;

/// How the memory tier chooses the entry that makes room. More kinds may be added.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PolicyKind {
    /// The entry that was not read or written for the longest time goes first; exact within a
    /// shard.
    #[default]
    Lru,
}

/// What a shard asks of its policy.
///
/// The shard keeps two rules: it calls [`reserve`](Self::reserve) before it uses a slot number
/// for the first time, and it calls `on_insert` and `on_remove` of a slot in turn.
pub(crate) trait Policy {
    /// Makes room for the slot numbers below `slots`, so that no later call allocates.
    ///
    /// # Errors
    /// If memory is short; the policy is then as before.
    fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError>;

    /// An entry was put into `slot`.
    fn on_insert(&mut self, slot: Slot);

    /// The entry in `slot` was read, or its value replaced.
    fn on_hit(&mut self, slot: Slot);

    /// The entry in `slot` was taken out, for whatever reason.
    fn on_remove(&mut self, slot: Slot);

    /// The entry to evict next, or `None` if there is none. It stays until
    /// [`on_remove`](Self::on_remove) names it.
    fn victim(&mut self) -> Option<Slot>;

    /// Asserts every invariant; `live` tells for each slot number if an entry is in it.
    ///
    /// # Panics
    /// If one does not hold.
    fn validate(&self, live: &[bool]);
}

/// The policy that a [`PolicyKind`] chose. With one variant the match costs nothing.
#[derive(Debug)]
pub(crate) enum Chosen {
    Lru(Lru),
}

impl Chosen {
    pub(crate) fn new(kind: PolicyKind) -> Self {
        match kind {
            PolicyKind::Lru => Self::Lru(Lru::default()),
        }
    }
}

impl Policy for Chosen {
    fn reserve(&mut self, slots: usize) -> Result<(), TryReserveError> {
        match self {
            Self::Lru(policy) => policy.reserve(slots),
        }
    }

    #[inline]
    fn on_insert(&mut self, slot: Slot) {
        match self {
            Self::Lru(policy) => policy.on_insert(slot),
        }
    }

    #[inline]
    fn on_hit(&mut self, slot: Slot) {
        match self {
            Self::Lru(policy) => policy.on_hit(slot),
        }
    }

    #[inline]
    fn on_remove(&mut self, slot: Slot) {
        match self {
            Self::Lru(policy) => policy.on_remove(slot),
        }
    }

    #[inline]
    fn victim(&mut self) -> Option<Slot> {
        match self {
            Self::Lru(policy) => policy.victim(),
        }
    }

    fn validate(&self, live: &[bool]) {
        match self {
            Self::Lru(policy) => policy.validate(live),
        }
    }
}

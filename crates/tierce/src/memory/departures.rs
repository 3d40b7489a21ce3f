//! What leaves a shard in one call, and what is done about it once the shard's lock is free.
//!
//! A key's or value's `Drop`, and the listener, are the caller's code: they may be slow, call the
//! cache or panic. So a call collects what it takes out here, in a local declared *before* the
//! shard's guard, and Rust drops the two in reverse order: first the guard, then, with no lock
//! held, this. A panic is contained and counted, and the others still run.

use std::{
    mem::{self, ManuallyDrop},
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use super::{limbo::Advance, place::Place, shard::Room, statistics::RemovalCause};
use crate::sync::epoch::{self, Pin};

/// Is told of every entry that leaves, and why.
pub(super) type Listener<K, V> = Box<dyn Fn(&K, &V, RemovalCause) + Send + Sync>;

/// Is there anybody to be told? `None`: always, if there is a listener.
pub(super) type Heard = Option<Arc<AtomicBool>>;

/// What a cache does with what leaves it.
pub(super) struct Exit<K, V> {
    pub(super) listener: Option<Listener<K, V>>,
    pub(super) heard: Heard,
    /// `Drop`s and listeners that panicked.
    pub(super) panics: AtomicU64,
}

impl<K, V> Exit<K, V> {
    #[inline(always)]
    fn tells(&self) -> bool {
        self.listener.is_some()
            && self.heard.as_ref().is_none_or(|heard| heard.load(Ordering::Relaxed))
    }
}

/// What left in one call. One entry, the usual number, needs no allocation.
pub(super) struct Departures<'a, K, V> {
    exit: &'a Exit<K, V>,
    first: Option<(K, V)>,
    tells: bool,
    advance: Advance,
    /// Dropped in [`finish`](Self::finish), so that there is nothing to do where it is empty.
    others: ManuallyDrop<Option<Box<Others<K, V>>>>,
}

/// What seldom leaves.
struct Others<K, V> {
    entries: Vec<(K, V)>,
    /// Retired entries that the listener hears of; `pin` keeps them.
    untold: Vec<(NonNull<Place<K, V>>, RemovalCause)>,
    pin: Option<Pin>,
    rooms: Vec<Room<K, V>>,
}

impl<'a, K, V> Departures<'a, K, V> {
    #[inline(always)]
    pub(super) fn new(exit: &'a Exit<K, V>) -> Self {
        let others = ManuallyDrop::new(None);
        Self { exit, first: None, tells: exit.tells(), advance: Advance::No, others }
    }

    /// Of a call of which the listener does not hear.
    #[inline(always)]
    pub(super) fn untold(exit: &'a Exit<K, V>) -> Self {
        let others = ManuallyDrop::new(None);
        Self { exit, first: None, tells: false, advance: Advance::No, others }
    }

    /// `None` if memory is short.
    #[cold]
    fn others(&mut self) -> Option<&mut Others<K, V>> {
        if self.others.is_none() {
            let others = Others { entries: vec![], untold: vec![], pin: None, rooms: vec![] };
            *self.others = super::try_box(others);
        }
        self.others.as_deref_mut()
    }

    /// True if one more entry can be [pushed](Self::push).
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        !mem::needs_drop::<(K, V)>()
            || self.first.is_none()
            || self.others().is_some_and(|others| others.entries.try_reserve(1).is_ok())
    }

    /// True if there is nothing to drop yet.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// True if a table or slab can be [pushed](Self::push_room).
    pub(super) fn has_room_for_room(&mut self) -> bool {
        self.others().is_some_and(|others| others.rooms.try_reserve(1).is_ok())
    }

    /// True if entries have to stay until the listener heard of them.
    #[inline]
    pub(super) fn tells(&self) -> bool {
        self.tells
    }

    /// The listener will hear of an entry that was unlinked and is about to be retired; from here
    /// on a pin keeps it. Unless memory is too short to remember that.
    pub(super) fn tell(&mut self, place: &Place<K, V>, cause: RemovalCause) {
        let place = NonNull::from(place);
        if let Some(others) = self.others()
            && others.untold.try_reserve(1).is_ok()
        {
            // Not before the lock was taken: who waits for a lock with a pin holds up those who
            // wait for readers under it.
            others.pin.get_or_insert_with(epoch::pin);
            others.untold.push((place, cause));
        }
    }

    /// An entry to drop. Leaks it if there is no [room](Self::has_room): neither may its `Drop` run
    /// under the lock, nor can it stay where it was.
    #[inline]
    pub(super) fn push(&mut self, key: K, value: V) {
        if !mem::needs_drop::<(K, V)>() {
            return;
        }
        if self.first.is_none() {
            self.first = Some((key, value));
        } else if self.has_room()
            && let Some(others) = self.others.as_mut()
        {
            others.entries.push((key, value));
        } else {
            mem::forget((key, value));
        }
    }

    /// A table or slab to free, with the entries that it holds.
    pub(super) fn push_room(&mut self, room: Room<K, V>) {
        if self.has_room_for_room()
            && let Some(others) = self.others.as_mut()
        {
            others.rooms.push(room);
        }
    }

    /// Moves the epoch on when all is done.
    #[inline]
    pub(super) fn advance(&mut self, advance: Advance) {
        self.advance = self.advance.max(advance);
    }

    #[cold]
    #[inline(never)]
    fn finish(&mut self) {
        if let Some(others) = self.others.take() {
            self.finish_others(*others);
        }
        match self.advance {
            Advance::No => {}
            Advance::IfCheap => _ = epoch::try_advance_by_word(),
            Advance::AtAnyPrice => _ = epoch::try_advance(),
        }
    }

    fn finish_others(&self, others: Others<K, V>) {
        let Others { entries, untold, pin, rooms } = others;
        for (place, cause) in untold {
            let Some(listener) = &self.exit.listener else { break };
            // SAFETY: retired after the pin was taken, which still holds; so key and value stay.
            let (key, value) = unsafe { (place.as_ref().key(), place.as_ref().value()) };
            contain(&self.exit.panics, || listener(key, value, cause));
        }
        drop(pin);
        let drop_one = |key, value| {
            drop_contained(key, &self.exit.panics);
            drop_contained(value, &self.exit.panics);
        };
        entries.into_iter().for_each(|(key, value)| drop_one(key, value));
        rooms.into_iter().for_each(|mut room| room.drain(drop_one));
    }
}

impl<K, V> Drop for Departures<'_, K, V> {
    #[inline]
    fn drop(&mut self) {
        if let Some((key, value)) = self.first.take() {
            drop_contained(key, &self.exit.panics);
            drop_contained(value, &self.exit.panics);
        }
        if self.others.is_some() || self.advance != Advance::No {
            self.finish();
        }
    }
}

/// Drops `thing`; a panic of its `Drop` ends here and is counted.
pub(super) fn drop_contained<T>(thing: T, panics: &AtomicU64) {
    if mem::needs_drop::<T>() {
        contain(panics, || drop(thing));
    }
}

fn contain(panics: &AtomicU64, call: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(call)) {
        panics.fetch_add(1, Ordering::Relaxed);
        // The payload's own `Drop` might panic as well, and it is small: leak it.
        mem::forget(payload);
    }
}

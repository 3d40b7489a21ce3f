//! Many look-ups at once: what each of them waits for in memory is fetched for all together.

use std::{
    borrow::Borrow,
    hash::{BuildHasher, Hash},
    mem::needs_drop,
};

use super::{
    cache::{MemoryCache, Spread},
    index::Home,
    place::Place,
    read::{candidate, count_read, is_of},
    shard::LINE,
    slab::Segments,
};
use crate::{clock::Span, policy::Slot, prefetch::prefetch, sync::epoch};

/// Keys that are under way at a time: some times the misses of a processor that can be outstanding
/// (10 to 16 on today's), as it waits for the last of them once in a group, and few enough that what
/// was fetched for the first is still there, and that a pin is over soon.
const GROUP: usize = 32;

impl<K: Hash + Eq, V, S: BuildHasher> MemoryCache<K, V, S> {
    /// Returns a clone of each key's value, in the order of the keys.
    ///
    /// In a cache that is larger than the processor's caches it takes about half the time of as
    /// many calls of [`get`](Self::get), because the memory of 32 keys is fetched at a time.
    pub fn get_many<Q>(&self, keys: &[&Q]) -> Vec<Option<V>>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
        V: Clone,
    {
        let mut values = Vec::with_capacity(keys.len());
        values.resize_with(keys.len(), || None);
        self.get_many_with(keys, |index, value| values[index] = Some(value.clone()));
        values
    }

    /// Shows the values that are there to `f`, with the index of their key. `f` runs with no lock
    /// held, as in [`get_with`](Self::get_with).
    ///
    /// Keys come in groups of 32, one group after the other, and within a group in any order. Of
    /// each group all keys are looked for, and their deadlines judged, before `f` is shown the first
    /// value of it.
    pub fn get_many_with<Q>(&self, keys: &[&Q], mut f: impl FnMut(usize, &V))
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        for (turn, group) in keys.chunks(GROUP).enumerate() {
            let near = self.near();
            let mut spreads = [Spread { shard: 0, hash: 0 }; GROUP];
            let mut places: [Option<&Place<K, V>>; GROUP] = [None; GROUP];
            let mut found: [Look<'_, K, V>; GROUP] = [const { Look::Absent }; GROUP];
            let pin = epoch::pin();
            for (key, spread) in group.iter().zip(&mut spreads) {
                *spread = self.spread(self.hash(*key));
                // SAFETY: as in `read_short`: the pin is held while the table is used.
                unsafe { &*self.root(*spread) }.current(spread.hash).prefetch(spread.hash);
            }
            for (spread, candidate) in spreads[..group.len()].iter().zip(&mut places) {
                // SAFETY: as above.
                let table = unsafe { &*self.root(*spread) };
                table.candidates(spread.hash, |places, slot| {
                    prefetch_place(places, slot);
                    // SAFETY: the index names the slot while the pin is held.
                    *candidate = Some(unsafe { places.place(slot) });
                });
            }
            if const { needs_drop::<K>() || needs_drop::<V>() } {
                places[..group.len()].iter().flatten().for_each(|place| {
                    // SAFETY: as above; the pin is held.
                    unsafe { place.prefetch_pointees() };
                });
            }
            // Apart from what is done with the values: comparing keys may wait for memory as well,
            // and the processor waits for that of several keys at once, unless what is done in
            // between has it wait.
            let seen = spreads.iter().zip(places);
            for ((key, (spread, place)), found) in group.iter().zip(seen).zip(&mut found) {
                let eq = |other: &K| other.borrow() == *key;
                // SAFETY: as above.
                *found = match place.filter(|it| unsafe { is_of(it, *spread, eq) }) {
                    Some(place) => Look::at(place, near),
                    // SAFETY: as above.
                    None => unsafe { self.look(*spread, near, eq) },
                };
            }
            for (index, look) in found[..group.len()].iter().enumerate() {
                if let Look::Found(place) = look {
                    count_read(place, pin.nobody());
                    // SAFETY: found with the pin, which is still held.
                    f(turn * GROUP + index, unsafe { place.value() });
                }
            }
            drop(pin);
            // Near their end, not where they belong, or under way to other memory: rare, and a
            // look-up of its own.
            for (index, look) in found[..group.len()].iter().enumerate() {
                if let Look::Unsure = look {
                    self.get_on(group[index], |value| f(turn * GROUP + index, value));
                }
            }
        }
    }
}

/// Tells the processor to fetch a place.
#[inline]
fn prefetch_place<K, V>(places: &Segments<K, V>, slot: Slot) {
    let place = places.pointer(slot).cast_const();
    prefetch(place);
    if !LINE.is_multiple_of(size_of::<Place<K, V>>()) {
        // It may lie in two lines.
        prefetch(place.wrapping_add(1).cast::<u8>().wrapping_sub(1));
    }
}

/// What the short way says of a key.
enum Look<'a, K, V> {
    Found(&'a Place<K, V>),
    Absent,
    /// To be asked the long way.
    Unsure,
}

impl<'a, K, V> Look<'a, K, V> {
    #[inline]
    fn at(place: &'a Place<K, V>, near: Span) -> Self {
        if place.span() > near { Self::Found(place) } else { Self::Unsure }
    }
}

impl<K, V, S> MemoryCache<K, V, S> {
    /// Looks for a key in its home bucket, which is where nine of ten are.
    ///
    /// # Safety
    /// A pin is held, and for as long as what is returned is used.
    #[inline]
    unsafe fn look(
        &self,
        spread: Spread,
        near: Span,
        eq: impl Fn(&K) -> bool + Copy,
    ) -> Look<'_, K, V> {
        // SAFETY: a root names a table that is freed only when no pin is left that could have
        // seen it.
        let table = unsafe { &*self.root(spread) };
        // SAFETY: as above; the slab's segments go with its tables.
        let places = unsafe { table.places().as_ref() };
        // SAFETY: the index names the slot while the pin is held.
        match table.search_home(spread.hash, |slot| unsafe { candidate(places, slot, spread, eq) })
        {
            Home::Found(place) => Look::at(place, near),
            Home::Absent => Look::Absent,
            Home::Unsure => Look::Unsure,
        }
    }
}

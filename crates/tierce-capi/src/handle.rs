//! Handles: numbers in the clothes of a pointer, so that every one ever given out, and most that
//! never were, can be told apart.
//!
//! ```text
//!   bit  top │ ........ generation ........ │ index: 12 bits │ 1011
//!         1                                                    no pointer to a struct ends so
//! ```
//!
//! A slot counts its caches; a handle is good while the slot holds the cache of its generation.
//! Finding it takes no lock and writes to no cache line that threads share ([`ArcSwapOption::load`]
//! notes the use in a place of the thread's own), and whoever found it keeps it: the last user
//! frees what was closed meanwhile. The top bit keeps the number out of every
//! user's address space: where it is taken for a pointer by a collector or a debugger, nothing is
//! there.
//!
//! Locks: `VACANT` is taken by open and close alone, around slots, with no cache freed under it.

use std::{
    ops::Deref,
    ptr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use tierce::{Bytes, Cache, config::Config, guard};

use crate::{
    failure::Failure,
    open::tierce_t,
    status::{TIERCE_E_CLOSED, TIERCE_E_FULL},
};

/// Odd, and no other kind of handle has it.
const TAG: usize = 0b1011;
const TAG_BITS: u32 = 4;
const INDEX_BITS: u32 = 12;
const TOP: usize = 1 << (usize::BITS - 1);
/// A slot that has used up its generations stays empty: no handle is ever given out twice.
const LAST_GENERATION: usize = (TOP >> (TAG_BITS + INDEX_BITS)) - 1;

/// How many caches can be open at a time: the index tells no more apart.
const SLOTS: usize = 1 << INDEX_BITS;

struct Slot {
    open: ArcSwapOption<Open>,
    /// The generation of the newest cache that was ever here; 0 for none.
    newest: AtomicUsize,
}

/// A cache that C holds a handle of.
pub(crate) struct Open {
    generation: usize,
    pub(crate) cache: Cache<Bytes>,
    /// The settings that it was opened with.
    config: Config,
    /// What judges its alerts. Not a mutex: a fork finds nothing held.
    watch: ArcSwapOption<guard::Guard<Bytes>>,
}

/// A cache that is in use by a call.
pub(crate) struct InUse(Guard<Option<Arc<Open>>>);

struct Vacant {
    /// Slots whose cache was closed.
    again: Vec<u16>,
    /// Slots from here on never held one.
    fresh: u16,
}

static TABLE: [Slot; SLOTS] =
    [const { Slot { open: ArcSwapOption::const_empty(), newest: AtomicUsize::new(0) } }; SLOTS];

static VACANT: Mutex<Vacant> = Mutex::new(Vacant { again: Vec::new(), fresh: 0 });

/// Gives a cache its handle.
pub(crate) fn open(cache: Cache<Bytes>, config: Config) -> Result<*mut tierce_t, Failure> {
    let mut vacant = VACANT.lock();
    let index = match vacant.again.pop() {
        Some(index) => index,
        None if usize::from(vacant.fresh) < SLOTS => {
            vacant.fresh += 1;
            vacant.fresh - 1
        }
        None => {
            return Err(Failure::new(
                TIERCE_E_FULL,
                format!("{SLOTS} caches are open: close one before the next is opened"),
            ));
        }
    };
    let slot = &TABLE[usize::from(index)];
    let generation = slot.newest.load(Ordering::Relaxed) + 1;
    slot.newest.store(generation, Ordering::Release);
    let watch = ArcSwapOption::empty();
    slot.open.store(Some(Arc::new(Open { generation, cache, config, watch })));
    Ok(ptr::without_provenance_mut(number(usize::from(index), generation)))
}

/// Finds the cache of a handle.
#[inline]
pub(crate) fn find(handle: *const tierce_t) -> Result<InUse, Failure> {
    let (index, generation) = parse(handle)?;
    let slot = &TABLE[index];
    let found = slot.open.load();
    match &*found {
        Some(open) if open.generation == generation => Ok(InUse(found)),
        _ => Err(refuse(slot, generation, handle)),
    }
}

/// Takes the cache of a handle out of the table: from now on the handle is that of a closed cache.
/// Calls that found it before go on with it.
pub(crate) fn close(handle: *const tierce_t) -> Result<Arc<Open>, Failure> {
    let (index, generation) = parse(handle)?;
    let slot = &TABLE[index];
    let mut vacant = VACANT.lock();
    match slot.open.load_full() {
        Some(open) if open.generation == generation => {
            slot.open.store(None);
            if generation < LAST_GENERATION {
                // Below 2^12 by the mask in `parse`.
                vacant.again.push(index as u16);
            }
            Ok(open)
        }
        _ => {
            drop(vacant);
            Err(refuse(slot, generation, handle))
        }
    }
}

impl Open {
    /// Lets what judges its alerts go.
    pub(crate) fn stop_watching(&self) {
        self.watch.store(None);
    }
}

impl InUse {
    fn open(&self) -> &Open {
        // `find` makes an `InUse` of `Some` only.
        self.0.as_ref().expect("a cache in use was found")
    }

    /// The settings that it was opened with.
    pub(crate) fn config(&self) -> &Config {
        &self.open().config
    }

    /// Has alerts judged by this from now on, or not at all.
    pub(crate) fn watch(&self, watch: Option<guard::Guard<Bytes>>) {
        self.open().watch.store(watch.map(Arc::new));
    }

    /// What judges its alerts.
    pub(crate) fn watching(&self) -> Option<Arc<guard::Guard<Bytes>>> {
        self.open().watch.load_full()
    }
}

impl Deref for InUse {
    type Target = Cache<Bytes>;

    #[inline]
    fn deref(&self) -> &Cache<Bytes> {
        &self.open().cache
    }
}

fn number(index: usize, generation: usize) -> usize {
    TOP | (generation << (TAG_BITS + INDEX_BITS)) | (index << TAG_BITS) | TAG
}

#[inline]
fn parse(handle: *const tierce_t) -> Result<(usize, usize), Failure> {
    let number = handle.addr();
    if number & (TOP | ((1 << TAG_BITS) - 1)) != TOP | TAG {
        return Err(no_handle(handle));
    }
    let index = (number >> TAG_BITS) & (SLOTS - 1);
    Ok((index, (number & !TOP) >> (TAG_BITS + INDEX_BITS)))
}

#[cold]
fn refuse(slot: &Slot, generation: usize, handle: *const tierce_t) -> Failure {
    if generation == 0 || generation > slot.newest.load(Ordering::Acquire) {
        return no_handle(handle);
    }
    Failure::new(TIERCE_E_CLOSED, "the cache was closed")
}

#[cold]
fn no_handle(handle: *const tierce_t) -> Failure {
    if handle.is_null() {
        Failure::argument("cache is NULL")
    } else {
        Failure::argument(format!("cache is {handle:p}: no handle of a cache"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::TIERCE_E_ARG;

    fn cache() -> Cache<Bytes> {
        Cache::builder().build().unwrap()
    }

    fn refused(handle: *const tierce_t) -> i32 {
        let status = find(handle).err().unwrap().status;
        assert_eq!(close(handle).err().unwrap().status, status);
        status
    }

    #[test]
    fn a_closed_handle_stays_closed_when_its_slot_is_used_again() {
        let first = open(cache(), Config::default()).unwrap();
        find(first).unwrap().set("key", Bytes::from("1")).unwrap();
        drop(close(first).unwrap());
        // Other tests open caches too: until the slot comes up again.
        let same_slot = || {
            let again = open(cache(), Config::default()).unwrap();
            if parse(again).unwrap().0 == parse(first).unwrap().0 {
                return Some(again);
            }
            drop(close(again).unwrap());
            std::thread::yield_now();
            None
        };
        let again = (0..100_000).find_map(|_| same_slot()).expect("the slot is used again");
        assert_ne!(first, again);
        assert_eq!(refused(first), TIERCE_E_CLOSED);
        assert_eq!(find(again).unwrap().get("key"), None);
        drop(close(again).unwrap());
    }

    #[test]
    fn what_was_never_a_handle_is_refused() {
        let handle = open(cache(), Config::default()).unwrap();
        let (index, generation) = parse(handle).unwrap();
        let local = 0_u64;
        let made_up = [
            0,
            1,
            TAG,
            (&raw const local).addr(),
            (&raw const TABLE).addr(),
            handle.addr() ^ 1,
            handle.addr() & !TOP,
            number(index, 0),
            number(index, generation + 1),
            number(SLOTS - 1, 1),
            usize::MAX,
        ];
        for number in made_up {
            let handle = ptr::without_provenance(number);
            assert_eq!(refused(handle), TIERCE_E_ARG, "{number:#x}");
        }
        drop(close(handle).unwrap());
    }

    #[test]
    fn a_cache_closed_during_a_call_lives_until_its_end() {
        let handle = open(cache(), Config::default()).unwrap();
        let in_use = find(handle).unwrap();
        let closed = close(handle).unwrap();
        let weak = Arc::downgrade(&closed);
        drop(closed);
        assert!(weak.upgrade().is_some());
        assert_eq!(in_use.tiering(), tierce::Tiering::L1);
        drop(in_use);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn one_of_many_threads_closes_and_the_others_are_told() {
        for _ in 0..200 {
            let handle = open(cache(), Config::default()).unwrap().addr();
            let closes = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|_| {
                        scope.spawn(move || {
                            let handle = ptr::without_provenance(handle);
                            while let Ok(found) = find(handle) {
                                assert_eq!(found.len(), 0);
                                if let Ok(open) = close(handle) {
                                    drop(open);
                                    return 1;
                                }
                            }
                            0
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum::<i32>()
            });
            assert_eq!(closes, 1);
        }
    }
}

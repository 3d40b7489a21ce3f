//! Handles of what is neither a cache nor a sink: numbers that are given out once.
//!
//! Finding takes no lock: the map is replaced as a whole when something is put in or taken out, so
//! a fork finds nothing held either. Such things are few at a time.

use std::{
    collections::HashMap,
    marker::PhantomData,
    ptr,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::failure::Failure;

/// The top bit as in `handle.rs`.
const TOP: usize = 1 << (usize::BITS - 1);
const TAG_BITS: u32 = 4;

/// Things of one kind, by handles of the type `H`.
pub(crate) struct Registry<H, T> {
    /// What the handle is called in messages.
    name: &'static str,
    /// The last bits of its handles: odd, and no other kind has them.
    tag: usize,
    given: AtomicUsize,
    things: LazyLock<ArcSwap<HashMap<usize, Arc<T>>>>,
    handle: PhantomData<fn() -> H>,
}

impl<H, T> Registry<H, T> {
    pub(crate) const fn new(name: &'static str, tag: usize) -> Self {
        Self {
            name,
            tag,
            given: AtomicUsize::new(1),
            things: LazyLock::new(ArcSwap::default),
            handle: PhantomData,
        }
    }

    /// Gives a thing its handle.
    pub(crate) fn put(&self, thing: T) -> *mut H {
        let number = self.given.fetch_add(1, Ordering::Relaxed);
        let number = TOP | (number << TAG_BITS) | self.tag;
        let thing = Arc::new(thing);
        self.things.rcu(|things| {
            let mut things = HashMap::clone(things);
            things.insert(number, Arc::clone(&thing));
            things
        });
        ptr::without_provenance_mut(number)
    }

    pub(crate) fn find(&self, handle: *const H) -> Result<Arc<T>, Failure> {
        match self.things.load().get(&handle.addr()) {
            Some(thing) => Ok(Arc::clone(thing)),
            None => Err(self.refuse(handle)),
        }
    }

    /// All that there are.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.things.load().values().map(Arc::clone).collect()
    }

    /// Takes a thing out: from now on its handle is none. Calls that found it go on with it.
    pub(crate) fn take(&self, handle: *const H) -> Result<Arc<T>, Failure> {
        let thing = self.find(handle)?;
        let before = self.things.rcu(|things| {
            let mut things = HashMap::clone(things);
            things.remove(&handle.addr());
            things
        });
        // Of two that take it at once, one has it.
        if before.contains_key(&handle.addr()) { Ok(thing) } else { Err(self.refuse(handle)) }
    }

    #[cold]
    fn refuse(&self, handle: *const H) -> Failure {
        let name = self.name;
        if handle.is_null() {
            return Failure::argument(format!("{name} is NULL"));
        }
        Failure::argument(format!("{name} is {handle:p}: no handle, or one that was given back"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::TIERCE_E_ARG;

    #[test]
    fn a_handle_is_found_until_it_is_taken_and_never_given_again() {
        static THINGS: Registry<u8, &str> = Registry::new("thing", 0b0001);
        let (one, other) = (THINGS.put("one"), THINGS.put("other"));
        assert_eq!((*THINGS.find(one).unwrap(), *THINGS.find(other).unwrap()), ("one", "other"));
        assert_eq!(THINGS.all().len(), 2);
        assert_eq!(*THINGS.take(one).unwrap(), "one");
        for handle in [one, ptr::null_mut(), ptr::without_provenance_mut(8)] {
            assert_eq!(THINGS.find(handle).unwrap_err().status, TIERCE_E_ARG);
            assert_eq!(THINGS.take(handle).unwrap_err().status, TIERCE_E_ARG);
        }
        assert_ne!(THINGS.put("one"), one);
        assert_eq!(*THINGS.find(other).unwrap(), "other");
    }

    #[test]
    fn of_threads_that_take_one_handle_one_has_it() {
        static THINGS: Registry<u8, usize> = Registry::new("thing", 0b0001);
        for round in 0..100 {
            let address = THINGS.put(round).addr();
            let take = || THINGS.take(ptr::without_provenance_mut::<u8>(address)).is_ok();
            let taken = std::thread::scope(|scope| {
                let others = [scope.spawn(take), scope.spawn(take)];
                others.map(|other| usize::from(other.join().unwrap())).into_iter().sum::<usize>()
            });
            assert_eq!(taken, 1);
        }
    }
}

//! The store that has a name now: it is another one after the files were removed, or replaced by
//! a process that wanted another size (`supersede`).
//!
//! Who asks for the store now and then looks whether it is still the one: by a load with every
//! call, and by asking the system once a second. Where its files are gone, a thread of its own
//! makes the next store, as that may take long; where another store has the name already, the
//! caller opens it, which takes a millisecond. What cannot be opened is tried again, after a pause
//! that doubles up to a minute.
//!
//! An entry of L1 is judged by the stamps of one store. So that none is taken for current by the
//! stamps of the next, the clear epochs of each store are shifted to a range of their own.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    error::Result,
    shared_stamp::SharedStamp,
    store::{Current, Look, Standing, Store, StoreOptions},
    sync::{Mutex, Turn},
};

/// Between two questions to the system: removed files are noticed within it.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause before a store that could not be opened is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Longest wait of a changer for another thread that opens the next store.
const OPENING_WAIT: Duration = Duration::from_secs(2);
/// More clears than happen between two looks at the store.
const CLEARS_APART: u32 = 1 << 20;

/// A store, as long as it is the one of its name.
pub(crate) struct View {
    store: Arc<Store>,
    /// Counts the stores of this name.
    number: u32,
    /// What is added to the store's clear epochs.
    shift: u32,
    /// True where another store has the name but cannot be opened.
    is_void: bool,
}

impl View {
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// The store, for calls that outlast the view.
    pub(crate) fn store_for_long(&self) -> Arc<Store> {
        Arc::clone(&self.store)
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// A clear epoch of this store as L1 keeps it.
    #[inline]
    pub(crate) fn shifted(&self, clear_epoch: u32) -> u32 {
        clear_epoch.wrapping_add(self.shift)
    }

    /// True while an entry of L1 that bears this is current.
    #[inline]
    pub(crate) fn is_current(&self, filed: SharedStamp) -> bool {
        self.store.is_group_current(filed.word)
            && self.store.stamp_at(filed.index) == filed.stamp
            && self.shifted(self.store.clear_epoch()) == filed.clear_epoch
    }
}

/// The store of a name.
pub(crate) struct NamedStore(Arc<Inside>);

struct Inside {
    view: Current<View>,
    options: StoreOptions,
    clock: Clock,
    /// When the system is asked next.
    next_look: AtomicU64,
    /// Openings that failed in a row.
    failures: AtomicU32,
    /// Why the last one did.
    failure: Mutex<Option<String>>,
    opening: Turn,
}

impl NamedStore {
    /// Opens the store. Fails as [`Store::open`].
    pub(crate) fn open(options: &StoreOptions, clock: Clock) -> Result<Self> {
        let store = Arc::new(Store::open(options, clock.clone())?);
        let next_look = clock.coarse().after(LOOK_PAUSE).0;
        Ok(Self(Arc::new(Inside {
            view: Current::new(View { store, number: 0, shift: 0, is_void: false }),
            // Only who opens it first resizes a store: else two that want two sizes would take
            // turns for ever.
            options: options.clone().resize(false),
            clock,
            next_look: AtomicU64::new(next_look),
            failures: AtomicU32::new(0),
            failure: Mutex::new(None),
            opening: Turn::default(),
        })))
    }

    /// The store as it was found last; for what is only judged.
    #[inline]
    pub(crate) fn view(&self) -> Look<'_, View> {
        self.0.view.look()
    }

    /// The store of now: for reads, and for the marks that go before them.
    #[inline]
    pub(crate) fn current(&self) -> Look<'_, View> {
        let view = self.0.view.look();
        let is_due = self.0.clock.coarse().0 >= self.0.next_look.load(Ordering::Relaxed);
        if !is_due && (view.is_void || !view.store.is_superseded()) {
            return view;
        }
        drop(view);
        self.check();
        self.0.view.look()
    }

    /// Takes a mark in the store of the name: what `take` returns is void, and so says the second
    /// value, where that store was not to be had.
    #[inline]
    pub(crate) fn mark<R>(&self, take: impl Fn(&View) -> R) -> (R, bool) {
        let view = self.current();
        let mark = take(&view);
        // Else the mark may hold the clear epoch of after the store was superseded, and what is
        // filed under it would be current here for ever.
        if !view.store.is_superseded() {
            return (mark, false);
        }
        drop(view);
        self.check();
        let view = self.0.view.look();
        let mark = take(&view);
        (mark, view.store.is_superseded())
    }

    /// Makes a change in the store of the name, whichever it is by the time that it is done.
    pub(crate) fn change<R>(&self, change: impl Fn(&View) -> R) -> R {
        loop {
            let view = self.current();
            let done = change(&view);
            // Else who uses the next store may not have seen the change.
            if view.is_void || !view.store.is_superseded() {
                return done;
            }
            let number = view.number;
            drop(view);
            if !self.0.move_on(number) {
                return done;
            }
        }
    }

    /// Asks the system what became of the name, and sees to it.
    #[cold]
    #[inline(never)]
    fn check(&self) {
        let inside = &self.0;
        inside.next_look.store(inside.clock.coarse().after(LOOK_PAUSE).0, Ordering::Relaxed);
        let (standing, number) = {
            let view = inside.view.look();
            (view.store.standing(), view.number)
        };
        match standing {
            Standing::Sound => {
                inside.failures.store(0, Ordering::Relaxed);
                inside.view.sweep();
            }
            Standing::Superseded => {
                inside.move_on(number);
            }
            Standing::Removed => {
                let inside = Arc::clone(inside);
                let opening = thread::Builder::new().name("tierce-reopen".into());
                // Where there can be no thread, there is another look in a second.
                let _ = opening.spawn(move || inside.replace_removed());
            }
        }
    }

    /// Why the store of the name cannot be used as it should, if so.
    pub(crate) fn trouble(&self) -> Option<String> {
        let trouble = self.current().store.trouble()?;
        let failure = self.0.failure.lock();
        Some(match failure.as_ref() {
            Some(failure) => format!("{trouble}; the next one cannot be opened: {failure}"),
            None => trouble,
        })
    }
}

impl Inside {
    /// Opens the store that took the place of store `number`; true once another one is in use.
    fn move_on(&self, number: u32) -> bool {
        let Some(_turn) = self.opening.begin() else {
            let begin = Instant::now();
            loop {
                let (is_other, is_void) = {
                    let view = self.view.look();
                    (view.number != number, view.is_void)
                };
                if is_other || is_void || begin.elapsed() >= OPENING_WAIT {
                    return is_other;
                }
                thread::sleep(Duration::from_millis(1));
            }
        };
        let (old, was_void) = {
            let view = self.view.look();
            if view.number != number {
                return true;
            }
            (Arc::clone(&view.store), view.is_void)
        };
        if old.standing() == Standing::Removed {
            // It seems superseded because it is spoiled: nobody has made another one yet.
            old.remove_names();
        }
        match self.open_next(&old) {
            Some(next) => {
                self.put_in_use(&old, next);
                true
            }
            None => {
                if !was_void {
                    let shift = self.view.look().shift;
                    self.view.replace(View { store: old, number, shift, is_void: true });
                }
                false
            }
        }
    }

    /// Makes the next store, where the names of this one were removed.
    fn replace_removed(&self) {
        let Some(_turn) = self.opening.begin() else { return };
        let old = Arc::clone(&self.view.look().store);
        if old.standing() != Standing::Removed {
            return;
        }
        old.remove_names();
        if let Some(next) = self.open_next(&old) {
            old.supersede_by(&next);
            self.put_in_use(&old, next);
        }
    }

    fn open_next(&self, old: &Store) -> Option<Store> {
        match Store::open(&self.options, self.clock.clone()) {
            // Its files came back: by a rename to and fro.
            Ok(next) if next.is_same(old) => None,
            Ok(next) => {
                self.failures.store(0, Ordering::Relaxed);
                *self.failure.lock() = None;
                Some(next)
            }
            Err(error) => {
                let failures = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
                // Others use the next store already: nothing here is of use until it can be opened.
                let doublings = if old.is_superseded() { 0 } else { failures };
                let pause = LOOK_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
                self.next_look.store(self.clock.coarse().after(pause).0, Ordering::Relaxed);
                *self.failure.lock() = Some(error.to_string());
                None
            }
        }
    }

    fn put_in_use(&self, old: &Store, next: Store) {
        next.adopt_doubts_of(old);
        next.adopt_tags_of(old);
        next.adopt_delimiter_of(old);
        let (number, last) = {
            let view = self.view.look();
            (view.number.wrapping_add(1), view.shifted(old.clear_epoch()))
        };
        let shift = last.wrapping_add(CLEARS_APART).wrapping_sub(next.clear_epoch());
        self.view.replace(View { store: Arc::new(next), number, shift, is_void: false });
        self.view.sweep();
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
#[path = "named_tests.rs"]
mod tests;

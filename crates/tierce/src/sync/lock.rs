//! The locks of this crate: a mutex, a condition to wait for, and a lock that many share.
//!
//! They are words of their own and nothing else, unlike those of `parking_lot`, whose sleeping
//! threads stand in a table of the process. A forked child inherits that table with entries in
//! the stacks of threads it does not have and, at times, with a lock in it held by one of them:
//! then the first thread of the child that has to wait for any lock hangs or writes into a stack
//! that is another's by now. Other code of the process may bring that about; so this crate keeps
//! out of it.
//!
//! A mutex is held in a section (`fork.rs`), so that no child finds it locked. Its word: Drepper,
//! "Futexes are tricky", 2011, the third mutex. A thread that has the only record takes and frees it
//! by loads and stores (`domain.rs` says why that is as good): an exchange has the processor wait
//! for all stores before it, which is some nanoseconds of a write to a cache.
#![allow(unsafe_code)]

use std::{
    hint,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
    time::Instant,
};

use super::{
    barrier,
    fork::{self, Section},
    futex,
    threads::DOMAIN,
};
use crate::simulated;

/// As [`std::sync::Mutex`], without poison.
pub(crate) type Mutex<T> = lock_api::Mutex<RawMutex, T>;
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep.
const WANTED: u32 = 2;

/// How often a thread looks at a held lock before it goes to sleep: first for some microseconds, as
/// its owner needs some 100 ns for a change and a few microseconds if it is interrupted, then each
/// time after others could run, as its owner may have to. To sleep and wake takes longer than all
/// of that, and on a virtual processor that goes idle many times as long.
const LOOKS: u32 = 24;
/// How many of them are at once.
const LOOKS_AT_ONCE: u32 = 18;
/// The most pauses between two of those, by the power of two.
const LONGEST_PAUSES: u32 = 3;

#[doc(hidden)]
pub(crate) struct RawMutex(AtomicU32);

// SAFETY: `lock` and `try_lock` return only after they changed the word from `FREE` (Acquire), and
// only `unlock` changes it back (Release). The word holds no address: a lock may be moved.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(AtomicU32::new(FREE));

    type Guard = Section;

    #[inline(always)]
    fn lock(&self) -> Section {
        // An exchange waits until all stores before it are done, these need not.
        match fork::sole_section(|| self.take_free()) {
            Some(section) => section,
            None => self.lock_among_others(),
        }
    }

    #[inline]
    fn try_lock(&self) -> Option<Section> {
        let section = fork::section();
        let taken = self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok().then_some(section)
    }

    #[inline(always)]
    unsafe fn unlock(&self, section: Section) {
        if !self.free_solely() && self.0.swap(FREE, Ordering::Release) == WANTED {
            self.wake_one();
        }
        drop(section);
    }

    fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }
}

impl RawMutex {
    /// Takes the lock if it is free, in two steps.
    #[inline(always)]
    fn take_free(&self) -> bool {
        // Acquire: what the last owner did.
        let is_free = self.0.load(Ordering::Acquire) == FREE;
        if is_free {
            self.0.store(HELD, Ordering::Relaxed);
        }
        is_free
    }

    /// Lets go of the lock where the calling thread has the only record; else false.
    ///
    /// A thread that comes meanwhile may find the lock held and say that it waits, and the store
    /// goes over that. Then it was counted, passed a heavy fence and looked at the lock, where it
    /// did not see the store; so its fence came before the light one here, and the count says that
    /// there may be somebody to wake.
    #[inline(always)]
    fn free_solely(&self) -> bool {
        if !DOMAIN.is_sole() {
            return false;
        }
        self.0.store(FREE, Ordering::Release);
        barrier::light_where_lent();
        if !DOMAIN.is_sole() {
            self.wake_one();
        }
        true
    }

    #[inline(never)]
    fn lock_among_others(&self) -> Section {
        let section = fork::section();
        section.say_epoch();
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_held();
        }
        section
    }

    #[cold]
    #[inline(never)]
    fn wake_one(&self) {
        futex::wake_one(&self.0);
    }

    #[cold]
    fn lock_held(&self) {
        if self.is_free_soon()
            && self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return;
        }
        // Who takes it this way does not know whether others sleep, so it says they do.
        while self.0.swap(WANTED, Ordering::Acquire) != FREE {
            futex::wait(&self.0, WANTED, None);
            self.is_free_soon();
        }
    }

    /// Looks for a while; also where others sleep, who will be woken and lose to those who look.
    /// To lie down beside them would make a row of sleepers, each of whom has to wake the next.
    fn is_free_soon(&self) -> bool {
        for look in 0..LOOKS {
            match self.0.load(Ordering::Relaxed) {
                FREE => return true,
                _ if look < LOOKS_AT_ONCE => {
                    (0..1 << look.min(LONGEST_PAUSES)).for_each(|_| hint::spin_loop());
                }
                _ => thread::yield_now(),
            }
        }
        false
    }
}

/// Something to wait for that is decided under a mutex.
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    /// Counts the calls that wake.
    wakes: AtomicU32,
    /// How many wait. Raised under the mutex.
    waiters: AtomicU32,
}

/// Did a wait end because of its deadline?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimedOut(bool);

impl TimedOut {
    pub(crate) fn timed_out(self) -> bool {
        self.0
    }
}

impl Condvar {
    pub(crate) const fn new() -> Self {
        Self { wakes: AtomicU32::new(0), waiters: AtomicU32::new(0) }
    }

    /// Lets go of the mutex until woken or until the deadline; may wake for no reason.
    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> TimedOut {
        // Before the mutex is free: who changes what is waited for sees both.
        let wakes = self.wakes.load(Ordering::Relaxed);
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let timed_out = MutexGuard::unlocked(guard, || {
            let left = deadline.saturating_duration_since(simulated::now());
            futex::wait(&self.wakes, wakes, Some(left));
            simulated::now() >= deadline
        });
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        TimedOut(timed_out)
    }

    /// Wakes one that waits, as [`notify_all`](Self::notify_all) wakes all.
    pub(crate) fn notify_one(&self) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.wakes.fetch_add(1, Ordering::Release);
            futex::wake_one(&self.wakes);
        }
    }

    /// Wakes all that wait. To be called after the change, under the mutex or when it is free.
    pub(crate) fn notify_all(&self) {
        if self.waiters.load(Ordering::Relaxed) > 0 {
            self.wakes.fetch_add(1, Ordering::Release);
            futex::wake_all(&self.wakes);
        }
    }
}

/// A lock that many share or one has alone. It guards no data and is held in no section, since it
/// is held through calls of other tiers; so what a forked child inherits of it is void, except
/// that a guard of the thread that forked may still be dropped.
pub(crate) type SharedLock = lock_api::RwLock<RawSharedLock, ()>;
pub(crate) type SharedGuard<'a> = lock_api::RwLockReadGuard<'a, RawSharedLock, ()>;

#[doc(hidden)]
pub(crate) struct RawSharedLock {
    /// The generation (`fork.rs`) in the upper half; in the lower one [`ALONE`] and a count.
    state: AtomicU64,
    /// Counts what may end somebody's wait.
    turns: AtomicU32,
}

/// One has it alone, or waits for the last that share it: nobody may join them.
const ALONE: u64 = 1 << 31;
const COUNT: u64 = ALONE - 1;

/// The generation in which a lock was taken.
#[doc(hidden)]
pub(crate) struct TakenIn(u32);

// SAFETY: within a generation `lock_exclusive` returns after it set `ALONE` and saw a count of 0,
// `lock_shared` after it raised the count while `ALONE` was not set, both with Acquire; the
// reverse steps are Release. Between generations there is no exclusion, and no data to need it:
// `SharedLock` is the only type made of this one. The words hold no address.
unsafe impl lock_api::RawRwLock for RawSharedLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self { state: AtomicU64::new(0), turns: AtomicU32::new(0) };

    type SharedGuard = TakenIn;
    type ExclusiveGuard = TakenIn;

    #[inline]
    fn lock_shared(&self) -> TakenIn {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            if let Some(taken) = self.try_lock_shared() {
                return taken;
            }
            futex::wait(&self.turns, turns, None);
        }
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<TakenIn> {
        self.change(Ordering::Acquire, |held| (held & ALONE == 0).then_some(held + 1))
    }

    #[inline]
    unsafe fn unlock_shared(&self, taken: TakenIn) {
        self.undo(taken, |held| held - 1);
    }

    fn is_locked(&self) -> bool {
        self.held(self.state.load(Ordering::Relaxed)) != 0
    }

    fn is_locked_exclusive(&self) -> bool {
        self.held(self.state.load(Ordering::Relaxed)) & ALONE != 0
    }

    fn lock_exclusive(&self) -> TakenIn {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            let claimed =
                self.change(Ordering::Acquire, |held| (held & ALONE == 0).then_some(held | ALONE));
            if let Some(taken) = claimed {
                self.wait_for_the_last(&taken);
                return taken;
            }
            futex::wait(&self.turns, turns, None);
        }
    }

    fn try_lock_exclusive(&self) -> Option<TakenIn> {
        self.change(Ordering::Acquire, |held| (held == 0).then_some(ALONE))
    }

    unsafe fn unlock_exclusive(&self, taken: TakenIn) {
        self.undo(taken, |held| held & !ALONE);
    }
}

impl RawSharedLock {
    /// What is held of it in this generation.
    #[inline]
    fn held(&self, state: u64) -> u64 {
        if (state >> 32) as u32 == fork::generation() { state & (ALONE | COUNT) } else { 0 }
    }

    /// Changes the lower half of the state, which is 0 in a new generation, unless `change` says
    /// no.
    #[inline]
    fn change(&self, order: Ordering, change: impl Fn(u64) -> Option<u64>) -> Option<TakenIn> {
        let generation = fork::generation();
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let next = u64::from(generation) << 32 | change(self.held(state))?;
            match self.state.compare_exchange_weak(state, next, order, Ordering::Relaxed) {
                Ok(_) => return Some(TakenIn(generation)),
                Err(other) => state = other,
            }
        }
    }

    /// Takes a change back, unless a fork has voided it, and wakes who may wait for that.
    #[inline]
    fn undo(&self, taken: TakenIn, change: impl Fn(u64) -> u64) {
        let mut state = self.state.load(Ordering::Relaxed);
        while (state >> 32) as u32 == taken.0 {
            let next = change(state);
            match self.state.compare_exchange_weak(
                state,
                next,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    if state & ALONE != 0 {
                        self.turns.fetch_add(1, Ordering::Release);
                        futex::wake_all(&self.turns);
                    }
                    return;
                }
                Err(other) => state = other,
            }
        }
    }

    fn wait_for_the_last(&self, taken: &TakenIn) {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            let state = self.state.load(Ordering::Acquire);
            if (state >> 32) as u32 != taken.0 || state & COUNT == 0 {
                return;
            }
            futex::wait(&self.turns, turns, None);
        }
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;

//! The locks of this crate: a mutex, a condition to wait for, and a lock that many share.
//!
//! They are words of their own (`words.rs`) and nothing else, unlike those of `parking_lot`, whose sleeping
//! threads stand in a table of the process. A forked child inherits that table with entries in
//! the stacks of threads it does not have and, at times, with a lock in it held by one of them:
//! then the first thread of the child that has to wait for any lock hangs or writes into a stack
//! that is another's by now. Other code of the process may bring that about; so this crate keeps
//! out of it.
//!
//! A mutex is held in a section (`fork.rs`), so that no child finds it locked. A thread that has the only
//! record takes and frees it by loads and stores (`domain.rs` says why that is as good): an exchange has the
//! processor wait for all stores before it, which is some nanoseconds of a write to a cache.
#![allow(unsafe_code)]

use std::{
    sync::atomic::{AtomicU32, AtomicU64},
    time::Instant,
};

use super::{
    barrier,
    fork::{self, Section},
    threads::DOMAIN,
    words::{FREE, MutexWord, SharedWords, WakeWords},
};
use crate::simulated;

/// As [`std::sync::Mutex`], without poison.
pub(crate) type Mutex<T> = lock_api::Mutex<RawMutex, T>;
pub(crate) type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

#[doc(hidden)]
pub(crate) struct RawMutex(MutexWord);

// SAFETY: `lock` and `try_lock` return only after they changed the word from `FREE` (Acquire), and
// only `unlock` changes it back (Release). The word holds no address: a lock may be moved.
unsafe impl lock_api::RawMutex for RawMutex {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(MutexWord(AtomicU32::new(FREE)));

    type Guard = Section;

    #[inline(always)]
    fn lock(&self) -> Section {
        match fork::sole_section(|| self.0.take_solely()) {
            Some(section) => section,
            None => self.lock_among_others(),
        }
    }

    #[inline]
    fn try_lock(&self) -> Option<Section> {
        let section = fork::section();
        self.0.try_lock().then_some(section)
    }

    #[inline(always)]
    unsafe fn unlock(&self, section: Section) {
        if !self.free_solely() {
            self.0.unlock();
        }
        drop(section);
    }

    fn is_locked(&self) -> bool {
        self.0.is_locked()
    }
}

impl RawMutex {
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
        self.0.free_solely();
        barrier::light_where_lent();
        if !DOMAIN.is_sole() {
            self.0.wake_one();
        }
        true
    }

    #[inline(never)]
    fn lock_among_others(&self) -> Section {
        let section = fork::section();
        section.say_epoch();
        self.0.lock();
        section
    }
}

/// Something to wait for that is decided under a mutex.
#[derive(Debug, Default)]
pub(crate) struct Condvar(WakeWords);

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
        Self(WakeWords { wakes: AtomicU32::new(0), waiters: AtomicU32::new(0) })
    }

    /// Lets go of the mutex until woken or until the deadline; may wake for no reason.
    pub(crate) fn wait_until<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        deadline: Instant,
    ) -> TimedOut {
        TimedOut(self.0.wait(|sleep| {
            MutexGuard::unlocked(guard, || {
                sleep(Some(deadline.saturating_duration_since(simulated::now())));
                simulated::now() >= deadline
            })
        }))
    }

    /// Wakes one that waits, as [`notify_all`](Self::notify_all) wakes all.
    pub(crate) fn notify_one(&self) {
        self.0.wake_one();
    }

    /// Wakes all that wait. To be called after the change, under the mutex or when it is free.
    pub(crate) fn notify_all(&self) {
        self.0.wake_all();
    }
}

/// A lock that many share or one has alone. It guards no data and is held in no section, since it
/// is held through calls of other tiers; so what a forked child inherits of it is void, except
/// that a guard of the thread that forked may still be dropped.
pub(crate) type SharedLock = lock_api::RwLock<RawSharedLock, ()>;
pub(crate) type SharedGuard<'a> = lock_api::RwLockReadGuard<'a, RawSharedLock, ()>;

#[doc(hidden)]
pub(crate) struct RawSharedLock(SharedWords);

/// The generation in which a lock was taken.
#[doc(hidden)]
pub(crate) struct TakenIn(u32);

// SAFETY: within a generation those who share it and who has it alone exclude each other (see
// `SharedWords`). Between generations there is no exclusion, and no data to need it: `SharedLock` is
// the only type made of this one. The words hold no address.
unsafe impl lock_api::RawRwLock for RawSharedLock {
    #[allow(clippy::declare_interior_mutable_const)]
    const INIT: Self = Self(SharedWords { state: AtomicU64::new(0), turns: AtomicU32::new(0) });

    type SharedGuard = TakenIn;
    type ExclusiveGuard = TakenIn;

    #[inline]
    fn lock_shared(&self) -> TakenIn {
        let generation = fork::generation();
        self.0.share(generation);
        TakenIn(generation)
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<TakenIn> {
        let generation = fork::generation();
        self.0.try_share(generation).then_some(TakenIn(generation))
    }

    #[inline]
    unsafe fn unlock_shared(&self, taken: TakenIn) {
        self.0.leave(taken.0);
    }

    fn is_locked(&self) -> bool {
        self.0.is_held(fork::generation())
    }

    fn is_locked_exclusive(&self) -> bool {
        self.0.is_taken(fork::generation())
    }

    fn lock_exclusive(&self) -> TakenIn {
        let generation = fork::generation();
        self.0.take(generation);
        TakenIn(generation)
    }

    fn try_lock_exclusive(&self) -> Option<TakenIn> {
        let generation = fork::generation();
        self.0.try_take(generation).then_some(TakenIn(generation))
    }

    unsafe fn unlock_exclusive(&self, taken: TakenIn) {
        self.0.give(taken.0);
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;

//! The words that the locks consist of, and how threads take turns by them. Each sleeps on a word until it
//! changes (`futex.rs`), and each step that may end a sleep is followed by a call that wakes.
//!
//! A model (`tests/tests/lock_model.rs`) runs this file in every interleaving of some threads.
//!
//! The mutex: Drepper, "Futexes are tricky", 2011, the third one.

use std::time::Duration;

use super::{
    futex,
    shim::{AtomicU32, AtomicU64, LOOKS, LOOKS_AT_ONCE, Ordering, hint, thread},
};

pub(super) const FREE: u32 = 0;
const HELD: u32 = 1;
/// Held, and somebody may sleep.
const WANTED: u32 = 2;

/// The most pauses between two looks at a held lock, by the power of two.
const LONGEST_PAUSES: u32 = 3;

/// The word of a mutex; [`FREE`] at first. Changed from that with Acquire, back with Release.
pub(super) struct MutexWord(pub(super) AtomicU32);

impl MutexWord {
    #[inline]
    pub(super) fn lock(&self) {
        if self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
            self.lock_held();
        }
    }

    #[inline]
    pub(super) fn try_lock(&self) -> bool {
        self.0.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// By who holds it.
    #[inline]
    pub(super) fn unlock(&self) {
        if self.0.swap(FREE, Ordering::Release) == WANTED {
            self.wake_one();
        }
    }

    pub(super) fn is_locked(&self) -> bool {
        self.0.load(Ordering::Relaxed) != FREE
    }

    /// Takes the lock if it is free, in two steps: while no other thread is there to come between.
    #[inline(always)]
    pub(super) fn take_solely(&self) -> bool {
        // Acquire: what the last owner did.
        let is_free = self.0.load(Ordering::Acquire) == FREE;
        if is_free {
            self.0.store(HELD, Ordering::Relaxed);
        }
        is_free
    }

    /// Lets go of it without a look whether somebody sleeps.
    #[inline(always)]
    pub(super) fn free_solely(&self) {
        self.0.store(FREE, Ordering::Release);
    }

    /// Wakes one that may sleep.
    #[cold]
    #[inline(never)]
    pub(super) fn wake_one(&self) {
        futex::wake_one(&self.0);
    }

    /// Somebody may sleep.
    #[cfg(test)]
    pub(super) fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed) == WANTED
    }

    #[cold]
    fn lock_held(&self) {
        if self.is_free_soon() && self.try_lock() {
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

/// The words of a condition to wait for.
#[derive(Debug, Default)]
pub(super) struct WakeWords {
    /// Counts the calls that wake.
    pub(super) wakes: AtomicU32,
    /// How many wait. Raised under the mutex.
    pub(super) waiters: AtomicU32,
}

impl WakeWords {
    /// To be called with the mutex. `unlocked` lets go of it, sleeps by what it is given, and takes it again.
    pub(super) fn wait<R>(&self, unlocked: impl FnOnce(&dyn Fn(Option<Duration>)) -> R) -> R {
        // Before the mutex is free: who changes what is waited for sees both.
        let wakes = self.wakes.load(Ordering::Relaxed);
        self.waiters.fetch_add(1, Ordering::Relaxed);
        let result = unlocked(&|longest| futex::wait(&self.wakes, wakes, longest));
        self.waiters.fetch_sub(1, Ordering::Relaxed);
        result
    }

    /// Wakes one that waits.
    pub(super) fn wake_one(&self) {
        if self.are_there() {
            futex::wake_one(&self.wakes);
        }
    }

    /// Wakes all that wait.
    pub(super) fn wake_all(&self) {
        if self.are_there() {
            futex::wake_all(&self.wakes);
        }
    }

    fn are_there(&self) -> bool {
        let are_there = self.waiters.load(Ordering::Relaxed) > 0;
        if are_there {
            self.wakes.fetch_add(1, Ordering::Release);
        }
        are_there
    }
}

/// One has it alone, or waits for the last that share it: nobody may join them.
const ALONE: u64 = 1 << 31;
const COUNT: u64 = ALONE - 1;

/// The words of a lock that many share or one has alone, all zero at first. Within a generation who shares it
/// raised the count while [`ALONE`] was not set, and who has it alone set that and saw a count of 0, with Acquire;
/// the reverse steps are Release. What was taken in another generation (`fork.rs`) is void.
pub(super) struct SharedWords {
    /// The generation in the upper half; in the lower one [`ALONE`] and a count.
    pub(super) state: AtomicU64,
    /// Counts what may end somebody's wait.
    pub(super) turns: AtomicU32,
}

impl SharedWords {
    #[inline]
    pub(super) fn share(&self, generation: u32) {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            if self.try_share(generation) {
                return;
            }
            futex::wait(&self.turns, turns, None);
        }
    }

    #[inline]
    pub(super) fn try_share(&self, generation: u32) -> bool {
        self.change(generation, |held| (held & ALONE == 0).then_some(held + 1))
    }

    /// By who shared it in this generation.
    #[inline]
    pub(super) fn leave(&self, generation: u32) {
        self.undo(generation, |held| held - 1);
    }

    pub(super) fn take(&self, generation: u32) {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            if self.change(generation, |held| (held & ALONE == 0).then_some(held | ALONE)) {
                return self.wait_for_the_last(generation);
            }
            futex::wait(&self.turns, turns, None);
        }
    }

    pub(super) fn try_take(&self, generation: u32) -> bool {
        self.change(generation, |held| (held == 0).then_some(ALONE))
    }

    /// By who took it in this generation.
    pub(super) fn give(&self, generation: u32) {
        self.undo(generation, |held| held & !ALONE);
    }

    pub(super) fn is_held(&self, generation: u32) -> bool {
        held(self.state.load(Ordering::Relaxed), generation) != 0
    }

    pub(super) fn is_taken(&self, generation: u32) -> bool {
        held(self.state.load(Ordering::Relaxed), generation) & ALONE != 0
    }

    /// Changes the lower half of the state, which is 0 in a new generation, unless `change` says
    /// no.
    #[inline]
    fn change(&self, generation: u32, change: impl Fn(u64) -> Option<u64>) -> bool {
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let Some(next) = change(held(state, generation)) else { return false };
            let next = u64::from(generation) << 32 | next;
            match self.state.compare_exchange_weak(
                state,
                next,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return true,
                Err(other) => state = other,
            }
        }
    }

    /// Takes a change back, unless a fork has voided it, and wakes who may wait for that.
    #[inline]
    fn undo(&self, generation: u32, change: impl Fn(u64) -> u64) {
        let mut state = self.state.load(Ordering::Relaxed);
        while (state >> 32) as u32 == generation {
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

    fn wait_for_the_last(&self, generation: u32) {
        loop {
            let turns = self.turns.load(Ordering::Acquire);
            let state = self.state.load(Ordering::Acquire);
            if (state >> 32) as u32 != generation || state & COUNT == 0 {
                return;
            }
            futex::wait(&self.turns, turns, None);
        }
    }
}

/// What is held of it in this generation.
#[inline]
fn held(state: u64, generation: u32) -> u64 {
    if (state >> 32) as u32 == generation { state & (ALONE | COUNT) } else { 0 }
}

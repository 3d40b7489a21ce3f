//! One fence in two halves: what happens at each read costs nothing, what happens seldom pays for
//! both.
//!
//! [`heavy`] asks the kernel to run a full memory barrier on every processor that runs a thread of
//! this process (`membarrier(2)`, private expedited), so [`light`] only has to keep the compiler
//! from moving things. Of a heavy and a light fence one comes first, and what stood before it is
//! seen after the other; two light ones promise each other nothing. Desnoyers et al., "User-level
//! implementations of read-copy update", IEEE TPDS 23(2), 2012; `membarrier(2)`; the same two
//! halves for C++: P1202R5, `asymmetric_thread_fence`.
//!
//! Where the kernel refuses (older than 4.14, a seccomp filter, not Linux), both halves are plain
//! sequentially consistent fences. Which of the two it is, is found out once, before the first
//! fence that could matter, and stays.
#![allow(unsafe_code)]

use std::{
    sync::atomic::{AtomicU8, Ordering, compiler_fence, fence},
    thread,
    time::Duration,
};

/// Nobody has asked yet. [`light`] takes it for `FENCES`, which is the stronger of the two.
const UNDECIDED: u8 = 0;
/// [`heavy`] is a membarrier, [`light`] nothing.
const ASYMMETRIC: u8 = 1;
/// Both are fences.
const FENCES: u8 = 2;

static MODE: AtomicU8 = AtomicU8::new(UNDECIDED);

/// Finds out what [`light`] and [`heavy`] are. To be called by a thread before its first pin.
pub(super) fn decide() {
    if MODE.load(Ordering::Relaxed) == UNDECIDED {
        settle(if membarrier::register() { ASYMMETRIC } else { FENCES });
    }
}

/// The first to settle wins, so that no two threads ever use different halves.
fn settle(mode: u8) {
    let _earlier = MODE.compare_exchange(UNDECIDED, mode, Ordering::Relaxed, Ordering::Relaxed);
}

/// The half for the many. After [`decide`].
#[inline(always)]
pub(super) fn light() {
    if MODE.load(Ordering::Relaxed) == ASYMMETRIC {
        compiler_fence(Ordering::SeqCst);
    } else {
        fence(Ordering::SeqCst);
    }
}

/// [`light`] where it is known that the kernel lends the other half.
#[inline(always)]
pub(super) fn light_where_lent() {
    compiler_fence(Ordering::SeqCst);
}

/// The half for the few; false where it could not be had, which is as if it had not been called.
///
/// That happens only where a filter against the system call was installed after [`decide`].
pub(super) fn heavy() -> bool {
    decide();
    // Orders the caller itself, whatever the kernel does about the others.
    fence(Ordering::SeqCst);
    MODE.load(Ordering::Relaxed) != ASYMMETRIC || membarrier::expedite()
}

/// A full fence for the calling thread alone.
pub(super) fn own() {
    fence(Ordering::SeqCst);
}

/// [`heavy`], or the wait that is as good: what another thread stored before now has left its
/// processor's buffer long before this returns.
pub(super) fn heavy_in_any_case() {
    if !heavy() {
        thread::sleep(Duration::from_millis(1));
        fence(Ordering::SeqCst);
    }
}

/// Makes both halves fences, as where the kernel refuses. Panics if it was decided otherwise.
#[cfg(test)]
pub(super) fn refuse() {
    settle(FENCES);
    assert_eq!(MODE.load(Ordering::Relaxed), FENCES, "to be called before the first pin");
}

/// Is it known that the kernel lends [`heavy`]?
#[inline(always)]
pub(super) fn is_lent() -> bool {
    MODE.load(Ordering::Relaxed) == ASYMMETRIC
}

/// Is the fence of readers free?
pub(super) fn is_asymmetric() -> bool {
    decide();
    MODE.load(Ordering::Relaxed) == ASYMMETRIC
}

#[cfg(all(target_os = "linux", not(miri)))]
mod membarrier {
    // From the kernel's `linux/membarrier.h`.
    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    fn call(command: libc::c_int) -> bool {
        // SAFETY: the call takes three numbers and no memory.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }

    /// Tells the kernel that this process will expedite.
    pub(super) fn register() -> bool {
        call(REGISTER_PRIVATE_EXPEDITED) && call(PRIVATE_EXPEDITED)
    }

    /// A full barrier on every processor that runs a thread of this process.
    pub(super) fn expedite() -> bool {
        // A process that is not registered is told so: registered once more, it is.
        call(PRIVATE_EXPEDITED) || register()
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
mod membarrier {
    pub(super) fn register() -> bool {
        false
    }

    pub(super) fn expedite() -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::{
        hint,
        sync::atomic::{AtomicU64, AtomicUsize},
        thread,
    };

    use crossbeam_utils::CachePadded;

    use super::*;
    use crate::sync::testing::apart;

    /// Store buffering, the litmus test of such fences: each of two threads stores to its word,
    /// passes its fence and loads the other's. One of them sees the other's store.
    #[test]
    fn of_a_heavy_and_a_light_fence_one_comes_first() {
        apart(module_path!(), "of_a_heavy_and_a_light_fence_one_comes_first", || {
            const ROUNDS: u64 = 50_000;
            decide();
            let [left, right] = [const { CachePadded::new(AtomicU64::new(0)) }; 2];
            let [saw_left, saw_right] = [const { AtomicU64::new(0) }; 2];
            // Stores to lines that the other has, which ours then wait behind.
            let lines = [const { CachePadded::new(AtomicU64::new(0)) }; 16];
            let delay = |round| lines.iter().for_each(|line| line.store(round, Ordering::Relaxed));
            let arrived = CachePadded::new(AtomicUsize::new(0));
            // Both leave within some nanoseconds of each other; the spins sweep the distance.
            let meet = |round: u64, half: usize, spins: u64| {
                arrived.fetch_add(1, Ordering::AcqRel);
                let all = 2 * (2 * round as usize + half + 1);
                let mut looks = 0_u32;
                while arrived.load(Ordering::Acquire) < all {
                    looks += 1;
                    if looks.is_multiple_of(1024) {
                        thread::yield_now();
                    }
                }
                (0..spins).for_each(|_| hint::spin_loop());
            };
            let mut missed = 0;
            thread::scope(|scope| {
                scope.spawn(|| {
                    for round in 0..ROUNDS {
                        meet(round, 0, round % 16);
                        delay(round);
                        left.store(round + 1, Ordering::Relaxed);
                        light();
                        saw_right.store(right.load(Ordering::Relaxed), Ordering::Relaxed);
                        meet(round, 1, 0);
                    }
                });
                for round in 0..ROUNDS {
                    meet(round, 0, (round / 16) % 16);
                    delay(round);
                    right.store(round + 1, Ordering::Relaxed);
                    assert!(heavy());
                    saw_left.store(left.load(Ordering::Relaxed), Ordering::Relaxed);
                    meet(round, 1, 0);
                    let saw = saw_left.load(Ordering::Relaxed) == round + 1
                        || saw_right.load(Ordering::Relaxed) == round + 1;
                    missed += u64::from(!saw);
                }
            });
            assert_eq!(missed, 0, "of {ROUNDS} rounds");
        });
    }
}

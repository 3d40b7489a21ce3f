//! What single flight takes from `crate::sync`, by loom's means: locks, conditions, atomics, and
//! which thread calls. A model may go without some of it.
//!
//! Where a model has failed, its threads are unwound, and what is dropped then must not ask the
//! checker for anything: nothing here does.
// Each model uses what it needs.
#![allow(dead_code)]

use std::{
    cell::{Cell, UnsafeCell},
    mem,
    ops::{Deref, DerefMut},
    thread::panicking,
    time::Instant,
};

thread_local! {
    /// Conditions wake nobody. The threads of a model share the one it was begun on.
    pub(crate) static WAKES_NOBODY: Cell<bool> = const { Cell::new(false) };
    /// What is sequentially consistent is no more than acquired and released.
    pub(crate) static NO_TOTAL_ORDER: Cell<bool> = const { Cell::new(false) };
}

loom::thread_local! {
    static ME: usize = next_number();
    static UNWINDS: Cell<bool> = Cell::new(false);
}

loom::lazy_static! {
    static ref THREADS: loom::sync::Mutex<usize> = loom::sync::Mutex::new(0);
}

fn next_number() -> usize {
    let mut threads = THREADS.lock().unwrap();
    *threads += 1;
    *threads
}

/// The number of the calling thread in its model: from 1 on.
pub(crate) fn me() -> usize {
    if panicking() { 0 } else { ME.with(|me| *me) }
}

/// What a model says of its thread: a real panic would be that of all of them, as they take turns
/// on one thread of the system.
pub(crate) fn is_unwinding() -> bool {
    !panicking() && UNWINDS.with(Cell::get)
}

pub(crate) fn unwind(is_so: bool) {
    UNWINDS.with(|unwinds| unwinds.set(is_so));
}

/// There is one process.
pub(crate) fn generation() -> u32 {
    0
}

/// A lock that is not let go of where its thread is unwound.
pub(crate) struct Mutex<T> {
    lock: loom::sync::Mutex<()>,
    value: UnsafeCell<T>,
}

pub(crate) struct MutexGuard<'a, T> {
    value: &'a UnsafeCell<T>,
    held: Option<loom::sync::MutexGuard<'a, ()>>,
}

// SAFETY: the value is touched by who holds the lock.
unsafe impl<T: Send> Sync for Mutex<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Mutex<T> {}

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { lock: loom::sync::Mutex::new(()), value: UnsafeCell::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        let held = (!panicking()).then(|| self.lock.lock().unwrap());
        MutexGuard { value: &self.value, held }
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the lock is held, or the model has failed and one thread after another is unwound.
        unsafe { &*self.value.get() }
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above.
        unsafe { &mut *self.value.get() }
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        if panicking() {
            mem::forget(self.held.take());
        }
    }
}

/// A condition that is waited for without a deadline: who is not woken never wakes.
pub(crate) struct Condvar(loom::sync::Condvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: Instant) {
        if let Some(held) = guard.held.take() {
            guard.held = Some(self.0.wait(held).unwrap());
        }
    }

    pub(crate) fn notify_all(&self) {
        if !WAKES_NOBODY.get() && !panicking() {
            self.0.notify_all();
        }
    }
}

pub(crate) mod atomic {
    use std::thread::panicking;

    pub(crate) use loom::sync::atomic::Ordering;
    use loom::sync::atomic::fence;

    use super::NO_TOTAL_ORDER;

    /// What the checker knows of sequential consistency are fences.
    fn totally<R>(order: Ordering, step: impl FnOnce() -> R) -> R {
        let in_total_order = order == Ordering::SeqCst && !NO_TOTAL_ORDER.get();
        if in_total_order {
            fence(Ordering::SeqCst);
        }
        let result = step();
        if in_total_order {
            fence(Ordering::SeqCst);
        }
        result
    }

    fn weakened(order: Ordering, otherwise: Ordering) -> Ordering {
        if order == Ordering::SeqCst { otherwise } else { order }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty) => {
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn new(value: $value) -> Self {
                    Self(loom::sync::atomic::$name::new(value))
                }

                pub(crate) fn load(&self, order: Ordering) -> $value {
                    if panicking() {
                        return <$value>::default();
                    }
                    totally(order, || self.0.load(weakened(order, Ordering::Acquire)))
                }

                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    if !panicking() {
                        totally(order, || self.0.store(value, weakened(order, Ordering::Release)));
                    }
                }

                pub(crate) fn swap(&self, value: $value, order: Ordering) -> $value {
                    if panicking() {
                        return <$value>::default();
                    }
                    totally(order, || self.0.swap(value, weakened(order, Ordering::AcqRel)))
                }
            }
        };
    }

    atomic!(AtomicBool, bool);
    atomic!(AtomicUsize, usize);
    atomic!(AtomicU32, u32);

    impl AtomicUsize {
        pub(crate) fn fetch_add(&self, value: usize, order: Ordering) -> usize {
            if panicking() {
                return 0;
            }
            totally(order, || self.0.fetch_add(value, weakened(order, Ordering::AcqRel)))
        }

        pub(crate) fn fetch_sub(&self, value: usize, order: Ordering) -> usize {
            if panicking() {
                return 0;
            }
            totally(order, || self.0.fetch_sub(value, weakened(order, Ordering::AcqRel)))
        }
    }
}

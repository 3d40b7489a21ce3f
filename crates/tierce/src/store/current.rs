//! A value that many threads use and that is replaced now and then, without a lock for its users.
#![allow(unsafe_code)]

use std::{
    ops::Deref,
    ptr,
    sync::atomic::{AtomicPtr, Ordering},
};

use crate::sync::{
    Mutex,
    epoch::{self, Epoch, Pin},
};

/// The value in use, and those that were and may still be looked at.
pub(crate) struct Current<T> {
    now: AtomicPtr<T>,
    left: Mutex<Vec<(Epoch, Box<T>)>>,
}

// SAFETY: shares out `&T` between threads and drops `T` in any of them.
unsafe impl<T: Send + Sync> Send for Current<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Current<T> {}

/// A look at the value in use; what it was when the look began.
pub(crate) struct Look<'a, T> {
    value: &'a T,
    _pin: Pin,
}

impl<T> Deref for Look<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Current<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { now: AtomicPtr::new(Box::into_raw(Box::new(value))), left: Mutex::new(Vec::new()) }
    }

    #[inline]
    pub(crate) fn look(&self) -> Look<'_, T> {
        let pin = epoch::pin();
        // SAFETY: never null; made by `Box::into_raw`; what is replaced is dropped only when no
        // pin is left that began before it was unlinked, and this one lives as long as the look.
        // Acquire: the value is seen as it was made.
        let value = unsafe { &*self.now.load(Ordering::Acquire) };
        Look { value, _pin: pin }
    }

    /// Puts another value in use. The old one is dropped when nobody looks at it any more, at the
    /// latest with this.
    pub(crate) fn replace(&self, value: T) {
        let new = Box::into_raw(Box::new(value));
        let old = self.now.swap(new, Ordering::AcqRel);
        // SAFETY: made by `Box::into_raw`, and unlinked by this call alone.
        let old = unsafe { Box::from_raw(old) };
        self.left.lock().push((epoch::current(), old));
    }

    /// Drops old values that nobody looks at any more; true while there are others.
    pub(crate) fn sweep(&self) -> bool {
        let mut over = Vec::new();
        let mut left = self.left.lock();
        if left.is_empty() {
            return false;
        }
        // Three steps end all that was unlinked before.
        while left.iter().any(|(stamp, _)| !epoch::is_over(*stamp)) && epoch::try_advance() {}
        let mut number = 0;
        while number < left.len() {
            if epoch::is_over(left[number].0) {
                over.push(left.swap_remove(number));
            } else {
                number += 1;
            }
        }
        let some_left = !left.is_empty();
        drop(left);
        // Dropped here, with no lock held.
        drop(over);
        some_left
    }
}

impl<T> Drop for Current<T> {
    fn drop(&mut self) {
        let now = std::mem::replace(self.now.get_mut(), ptr::null_mut());
        // SAFETY: made by `Box::into_raw`; nobody looks at it, as every look borrows `self`.
        drop(unsafe { Box::from_raw(now) });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize},
    };

    use super::*;

    struct Counted(usize, Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0 = usize::MAX;
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_looked_at_stays_and_what_was_replaced_is_dropped_once() {
        const VALUES: usize = 200;
        let dropped = Arc::new(AtomicUsize::new(0));
        let current = Current::new(Counted(0, Arc::clone(&dropped)));
        let look = current.look();
        current.replace(Counted(1, Arc::clone(&dropped)));
        assert!(current.sweep(), "somebody looks at the old one");
        assert_eq!((look.0, current.look().0, dropped.load(Ordering::Relaxed)), (0, 1, 0));
        drop(look);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let mut last = 0;
                    while !done.load(Ordering::Relaxed) {
                        let look = current.look();
                        assert!(look.0 >= last && look.0 <= VALUES);
                        last = look.0;
                    }
                });
            }
            for value in 2..=VALUES {
                current.replace(Counted(value, Arc::clone(&dropped)));
                current.sweep();
            }
            done.store(true, Ordering::Relaxed);
        });
        while current.sweep() {
            std::thread::yield_now();
        }
        assert_eq!(dropped.load(Ordering::Relaxed), VALUES);
        drop(current);
        assert_eq!(dropped.load(Ordering::Relaxed), VALUES + 1);
    }
}

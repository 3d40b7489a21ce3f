//! What several threads own together: an `Arc` whose making says where memory is short, instead of
//! ending the process.

use std::{
    alloc::{Layout, alloc},
    ops::Deref,
    ptr::NonNull,
    sync::atomic::{AtomicUsize, Ordering, fence},
};

/// Owned by as many as have one; dropped with the last.
pub(super) struct Shared<T>(NonNull<Counted<T>>);

struct Counted<T> {
    owners: AtomicUsize,
    value: T,
}

// SAFETY: owners share the value between threads (`Sync`), and any of them may be the one that drops
// it (`Send`).
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above; by a reference to an owner there can be another owner.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// The first owner, or the value again where memory is short.
    pub(super) fn try_new(value: T) -> Result<Self, T> {
        // Not of size zero: there is the count.
        // SAFETY: as just said.
        let memory = unsafe { alloc(Layout::new::<Counted<T>>()) };
        let Some(counted) = NonNull::new(memory.cast::<Counted<T>>()) else { return Err(value) };
        // SAFETY: valid for writes and aligned, as it was allocated with the layout.
        unsafe { counted.write(Counted { owners: AtomicUsize::new(1), value }) };
        Ok(Self(counted))
    }

    fn counted(&self) -> &Counted<T> {
        // SAFETY: initialised, and not freed while there is an owner, who is here. Only the last one
        // has it as its own, in its drop.
        unsafe { self.0.as_ref() }
    }

    /// How many own it at the moment.
    #[cfg(test)]
    pub(super) fn owners(&self) -> usize {
        self.counted().owners.load(Ordering::Relaxed)
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        // Relaxed: who is here keeps it. It cannot overflow, as each owner takes room in memory and
        // none is forgotten.
        self.counted().owners.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        // Release: what this owner did comes before the drop of the value by the last one ...
        if self.counted().owners.fetch_sub(1, Ordering::Release) == 1 {
            // ... who sees what all did.
            fence(Ordering::Acquire);
            // SAFETY: allocated by the global allocator with the layout of `Counted<T>` and
            // initialised, in `try_new`; nobody else owns it any more, says the count.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, thread};

    use super::*;

    #[test]
    fn the_last_of_several_owners_drops_it_once() {
        let dropped = Arc::new(());
        for owners in 1..8 {
            let Ok(shared) = Shared::try_new((dropped.clone(), 7)) else { panic!("no memory") };
            assert_eq!((shared.owners(), Arc::strong_count(&dropped)), (1, 2));
            thread::scope(|scope| {
                for _ in 0..owners {
                    let own = shared.clone();
                    scope.spawn(move || assert_eq!(own.1, 7));
                }
                drop(shared);
            });
            assert_eq!(Arc::strong_count(&dropped), 1, "{owners} owners");
        }
    }
}

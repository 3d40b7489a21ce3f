//! Entries on their way out of a shard.
//!
//! A key's or value's `Drop` is the caller's code: it may be slow, call the cache or panic. So a
//! call collects what it takes out here, in a local declared *before* the shard's guard, and Rust
//! drops the two in reverse order: first the guard, then, with no lock held, the entries. A panic
//! of one `Drop` is contained and counted, and the others still run.

use std::{
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicU64, Ordering},
};

/// Entries to drop after the lock is free. One entry, the usual number, needs no allocation.
pub(super) struct Dropped<'a, K, V> {
    first: Option<(K, V)>,
    rest: Vec<(K, V)>,
    panics: &'a AtomicU64,
}

impl<'a, K, V> Dropped<'a, K, V> {
    /// `panics` counts the `Drop`s that panicked.
    pub(super) fn new(panics: &'a AtomicU64) -> Self {
        Self { first: None, rest: Vec::new(), panics }
    }

    pub(super) fn push(&mut self, key: K, value: V) {
        if self.first.is_none() {
            self.first = Some((key, value));
        } else {
            self.rest.push((key, value));
        }
    }
}

impl<K, V> Drop for Dropped<'_, K, V> {
    fn drop(&mut self) {
        for (key, value) in self.first.take().into_iter().chain(self.rest.drain(..)) {
            drop_contained(key, self.panics);
            drop_contained(value, self.panics);
        }
    }
}

/// Drops `thing`; a panic of its `Drop` ends here and is counted.
pub(super) fn drop_contained<T>(thing: T, panics: &AtomicU64) {
    if !mem::needs_drop::<T>() {
        return;
    }
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(thing))) {
        panics.fetch_add(1, Ordering::Relaxed);
        // The payload's own `Drop` might panic as well, and it is small: leak it.
        mem::forget(payload);
    }
}

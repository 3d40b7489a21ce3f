//! Which process a thread belongs to.
//!
//! Threads do not survive a fork, and the child must not touch the parent's connection. So each
//! process that uses the tier has its own place in a list that only grows, by one for each fork
//! on the way from the process that made the tier:
//!
//! ```text
//!   Home { pid 100, thread } --next--> Home { pid 107, thread } --next--> (none)
//! ```
//!
//! A child never looks into the places before its own: a lock or a half-made link there is a copy
//! of what the parent was just doing. `next` is set without a lock for the same reason.

use std::{mem, process};

use once_cell::{race::OnceBox, sync::OnceCell};

use crate::error::Result;

/// A thread, by the handle that its process has of it.
pub(super) struct Home<T> {
    pid: u32,
    thread: OnceCell<T>,
    next: OnceBox<Self>,
}

impl<T> Home<T> {
    pub(super) fn new() -> Self {
        Self { pid: process::id(), thread: OnceCell::new(), next: OnceBox::new() }
    }

    /// The thread of this process, started at the first call.
    ///
    /// # Errors
    /// Those of `start`; the next call tries again.
    pub(super) fn get_or_start(&self, start: impl FnOnce() -> Result<T>) -> Result<&T> {
        let pid = process::id();
        let mut home = self;
        while home.pid != pid {
            home = home.next.get_or_init(|| Box::new(Self::new()));
        }
        home.thread.get_or_try_init(start)
    }

    /// The thread of this process, if there is one.
    pub(super) fn existing(&self) -> Option<&T> {
        let pid = process::id();
        let mut home = self;
        while home.pid != pid {
            home = home.next.get()?;
        }
        home.thread.get()
    }
}

impl<T> Drop for Home<T> {
    fn drop(&mut self) {
        if self.pid != process::id()
            && let Some(thread) = self.thread.take()
        {
            // It is another process's: it can neither be told nor waited for from here.
            mem::forget(thread);
        }
    }
}

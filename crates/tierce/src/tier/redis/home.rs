//! Which process an I/O thread belongs to.
//!
//! Threads do not survive a fork, and the child must not touch the parent's connection. So each
//! process that uses the tier has its own place in a list that only grows, by one for each fork
//! on the way from the process that made the tier:
//!
//! ```text
//!   Home { pid 100, link } --next--> Home { pid 107, link } --next--> (none)
//! ```
//!
//! A child never looks into the places before its own: a lock or a half-made link there is a copy
//! of what the parent was just doing. `next` is set without a lock for the same reason.

use std::{mem, process, sync::Arc};

use once_cell::{race::OnceBox, sync::OnceCell};

use super::link::{Common, Link};
use crate::error::Result;

pub(super) struct Home {
    pid: u32,
    link: OnceCell<Link>,
    next: OnceBox<Home>,
}

impl Home {
    pub(super) fn new() -> Self {
        Self { pid: process::id(), link: OnceCell::new(), next: OnceBox::new() }
    }

    /// The link of this process, made at the first call.
    ///
    /// # Errors
    /// Those of [`Link::start`]; the next call tries again.
    pub(super) fn link(&self, common: &Arc<Common>) -> Result<&Link> {
        let pid = process::id();
        let mut home = self;
        while home.pid != pid {
            home = home.next.get_or_init(|| Box::new(Self::new()));
        }
        home.link.get_or_try_init(|| Link::start(common))
    }

    /// The link of this process, if there is one.
    pub(super) fn existing(&self) -> Option<&Link> {
        let pid = process::id();
        let mut home = self;
        while home.pid != pid {
            home = home.next.get()?;
        }
        home.link.get()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.pid != process::id()
            && let Some(link) = self.link.take()
        {
            // The thread is another process's: it can neither be told nor waited for from here.
            mem::forget(link);
        }
    }
}

//! How many loads of one kind run at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, ErrorKind, Result};

/// So many loads at once, of those that share it.
pub(crate) struct Bulkhead {
    most: usize,
    name: Box<str>,
    running: AtomicUsize,
}

/// The right to run one; given back when dropped.
pub(super) struct Berth<'a>(&'a Bulkhead);

impl Bulkhead {
    /// `name` is for errors.
    pub(crate) fn new(most: usize, name: &str) -> Self {
        Self { most, name: name.into(), running: AtomicUsize::new(0) }
    }

    /// The right to run one more load.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] where as many run as may.
    pub(super) fn enter(&self) -> Result<Berth<'_>> {
        let next = |running| (running < self.most).then_some(running + 1);
        match self.running.fetch_update(Ordering::AcqRel, Ordering::Acquire, next) {
            Ok(_) => Ok(Berth(self)),
            Err(running) => Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "keyspace {:?}: {running} loads run: max_loads is {}",
                    self.name, self.most
                ),
            )),
        }
    }
}

impl Drop for Berth<'_> {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, Ordering::AcqRel);
    }
}

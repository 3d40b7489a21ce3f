//! The record of each thread: where it says that it reads (`epoch.rs`) or must not be caught by a
//! fork (`fork.rs`).
//!
//! A thread takes one when it first has something to say and gives it back when it ends, so there
//! are as many as there were threads at a time. What a thread says in the midst of its end, in the
//! destructor of one of its thread-locals, goes to a record that it takes for as long as it says
//! it.
#![allow(unsafe_code)]

use std::{cell::Cell, ptr};

use crossbeam_utils::CachePadded;

use super::{
    barrier,
    domain::{Domain, FIRST, Record},
    epoch, fork,
    shim::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize},
};

/// The threads of this process.
pub(super) static DOMAIN: Domain = Domain {
    epoch: CachePadded::new(AtomicU64::new(FIRST)),
    advancing: CachePadded::new(AtomicBool::new(false)),
    records: AtomicPtr::new(ptr::null_mut()),
    live: AtomicUsize::new(0),
    owners: AtomicUsize::new(0),
};

/// A bit for each seat (`tally.rs`) that is taken.
pub(super) static TAKEN_SEATS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The record of this thread, or null. Without a destructor, so that it can be looked at for
    /// as long as the thread runs.
    static RECORD: Cell<*const Record> = const { Cell::new(ptr::null()) };
    /// Gives the record back when the thread ends.
    static END: End = const { End };
}

struct End;

/// The record of this thread.
#[inline(always)]
pub(super) fn record() -> &'static Record {
    // SAFETY: null, or a record of a domain that is a static: its records live for ever.
    match unsafe { RECORD.get().as_ref() } {
        Some(record) => record,
        None => take(),
    }
}

/// The record of this thread, if it has one.
#[inline(always)]
pub(super) fn record_if_any() -> Option<&'static Record> {
    // SAFETY: as in `record`.
    unsafe { RECORD.get().as_ref() }
}

#[cold]
#[inline(never)]
fn take() -> &'static Record {
    barrier::decide();
    fork::watch();
    let record = DOMAIN.take();
    RECORD.set(record);
    if END.try_with(|_| ()).is_err() {
        // The thread is ending, and nothing of it is called again when it has.
        record.end();
    }
    record
}

/// Gives back the record of this thread.
#[cold]
#[inline(never)]
pub(super) fn give_back(record: &'static Record) {
    RECORD.set(ptr::null());
    epoch::forget();
    DOMAIN.give_back(record);
}

impl Drop for End {
    fn drop(&mut self) {
        let Some(record) = record_if_any() else { return };
        epoch::end_brief();
        if record.is_pinned() || record.is_inside() {
            // By the value of another thread-local, which goes after this one.
            record.end();
        } else {
            give_back(record);
        }
    }
}

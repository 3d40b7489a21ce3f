//! Reading without a lock: a thread pins itself, reads, unpins; what others unlink meanwhile is
//! freed when it is done.
//!
//! ```ignore
//! let pin = epoch::pin();
//! // ... nothing that can be reached now is freed before this drop:
//! drop(pin);
//!
//! // Who unlinks, stamps and keeps; later asks, and sometimes takes a step.
//! limbo.push((unlinked, epoch::current()));
//! epoch::try_advance();
//! limbo.retain(|(_, stamp)| !epoch::is_over(*stamp));
//! ```
//!
//! `domain.rs` has the protocol and why it is right; this file has the one domain of the process
//! and its threads' records. A thread gets its record with its first pin and gives it back when it
//! ends, so there are as many as there were threads at a time. A pin in the midst of the end of a
//! thread, from the destructor of one of its thread-locals, takes a record for as long as it
//! lasts. In a forked child the other threads count as ended, and their pins as gone; the pins of
//! the thread that forked stay.
#![allow(unsafe_code)]
// Under test in a domain of its own; the tiers use what they need.
#![allow(dead_code)]

use std::{
    cell::Cell,
    ptr::{self, NonNull},
};

use crossbeam_utils::CachePadded;

pub(crate) use super::domain::Epoch;

use super::{
    barrier,
    domain::{Domain, FIRST, Record},
    shim::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering},
};

static DOMAIN: Domain = Domain {
    epoch: CachePadded::new(AtomicU64::new(FIRST)),
    advancing: AtomicBool::new(false),
    records: AtomicPtr::new(ptr::null_mut()),
    live: AtomicUsize::new(0),
};

thread_local! {
    /// The record of this thread, or null. Without a destructor, so that it costs no check at
    /// each look and can be looked at for as long as the thread runs.
    static RECORD: Cell<*const Record> = const { Cell::new(ptr::null()) };
    /// Gives the record back when the thread ends.
    static END: End = const { End };
}

struct End;

/// While it lives, nothing that was reachable when it was made is freed.
///
/// Stays on its thread. Further pins of the same thread may begin and end in any order.
#[must_use]
pub(crate) struct Pin(NonNull<Record>);

/// Pins this thread: one load and one store, where the kernel lends its fence.
#[inline]
pub(crate) fn pin() -> Pin {
    // SAFETY: null, or a record of a domain that is a static: its records live for ever.
    match unsafe { RECORD.get().as_ref() } {
        Some(record) => pin_with(record),
        None => pin_first(),
    }
}

#[inline(always)]
fn pin_with(record: &'static Record) -> Pin {
    DOMAIN.pin(record);
    Pin(NonNull::from(record))
}

#[cold]
#[inline(never)]
fn pin_first() -> Pin {
    barrier::decide();
    forget_others_in_children();
    let record = DOMAIN.register();
    RECORD.set(record);
    let is_ending = END.try_with(|_| ()).is_err();
    let pin = pin_with(record);
    if is_ending {
        // Nothing of this thread is called any more when it has gone, so the pin takes the record
        // along.
        record.release_with_last_pin();
    }
    pin
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `pin`.
        if unsafe { self.0.as_ref() }.unpin() {
            give_back(self.0);
        }
    }
}

#[cold]
#[inline(never)]
fn give_back(record: NonNull<Record>) {
    RECORD.set(ptr::null());
    // SAFETY: as in `pin`.
    DOMAIN.release(unsafe { record.as_ref() });
}

impl Drop for End {
    fn drop(&mut self) {
        // SAFETY: null, or as in `pin`.
        let Some(record) = (unsafe { RECORD.get().as_ref() }) else { return };
        if record.is_pinned() {
            // By the value of another thread-local, which goes after this one.
            record.release_with_last_pin();
        } else {
            give_back(NonNull::from(record));
        }
    }
}

/// The stamp for what this thread has just unlinked. Costs a load, or a fence where the kernel
/// lends none.
///
/// Right whether the thread is pinned or not, and at whatever epoch: it looks at the epoch of all,
/// not at that of the pin.
#[inline]
pub(crate) fn current() -> Epoch {
    DOMAIN.current()
}

/// Is no pin left that could have seen what was unlinked before this stamp was taken? Costs a
/// load.
#[inline]
pub(crate) fn is_over(stamp: Epoch) -> bool {
    DOMAIN.is_over(stamp)
}

/// Takes one step towards the end of all stamps; three end those taken by now.
///
/// False, at once, where a pin of an older epoch is in the way or another thread takes a step.
/// Dear: it interrupts all processors that run a thread of this process, so the caller decides
/// how much garbage is worth a step.
pub(crate) fn try_advance() -> bool {
    DOMAIN.try_advance()
}

/// May what this thread unlinked before the call be freed at once, because nobody else reads?
///
/// That is so where no other thread has a record and this one holds no pin. Costs a load where it
/// is not so, a fence where it is.
pub(crate) fn alone() -> bool {
    // SAFETY: null, or as in `pin`.
    match unsafe { RECORD.get().as_ref() } {
        None => DOMAIN.is_alone(0),
        Some(record) => !record.is_pinned() && DOMAIN.is_alone(1),
    }
}

/// Does this thread hold a pin?
#[inline]
pub(crate) fn is_pinned() -> bool {
    // SAFETY: null, or as in `pin`.
    unsafe { RECORD.get().as_ref() }.is_some_and(Record::is_pinned)
}

/// Has every forked child from now on forget the threads that it does not have.
fn forget_others_in_children() {
    static DONE: AtomicBool = AtomicBool::new(false);

    extern "C" fn in_child() {
        DOMAIN.forget_others(RECORD.get());
    }

    // Not a `Once`: a fork in the midst of one would leave it under way in the child for ever.
    // Two threads may both come here; to forget twice is to forget.
    if !DONE.load(Ordering::Acquire) {
        #[cfg(unix)]
        // SAFETY: the handler lives as long as the code it is part of, touches nothing but
        // atomics, a thread-local without a destructor and records that are never freed, and
        // calls nothing that allocates or locks.
        unsafe {
            libc::pthread_atfork(None, None, Some(in_child));
        }
        DONE.store(true, Ordering::Release);
    }
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;

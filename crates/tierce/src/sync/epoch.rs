//! Reading without a lock: a thread pins itself, reads, unpins; what others unlink meanwhile is
//! freed when it is done.
//!
//! ```text
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
//! `domain.rs` has the protocol and why it is right, `threads.rs` the records of threads. In a
//! forked child the other threads count as ended, and their pins as gone; the pins of the thread
//! that forked stay.
#![allow(unsafe_code)]

use std::{cell::Cell, ptr, sync::atomic::AtomicU8};

pub(crate) use super::domain::Epoch;

use super::{
    barrier,
    domain::Record,
    tally::Own,
    threads::{self, DOMAIN},
};

thread_local! {
    /// The record of this thread, or null while it has not pinned. Without a destructor, so that
    /// it costs no check at each look and can be looked at for as long as the thread runs.
    static READER: Cell<*const Record> = const { Cell::new(ptr::null()) };
    /// The same, where [`brief`] may be used.
    static BRIEF: Cell<*const Record> = const { Cell::new(ptr::null()) };
    /// The same, for as long as the countdown of its tally (`tally.rs`) is not over. So who counts
    /// its reads learns that it is by a look that it has to make anyway.
    static COUNTED: Cell<*const Record> = const { Cell::new(ptr::null()) };
}

/// While it lives, nothing that was reachable when it was made is freed.
///
/// Stays on its thread. Further pins of the same thread may begin and end in any order.
#[must_use]
pub(crate) struct Pin(*const Record);

/// Pins this thread: one load and one store, where the kernel lends its fence.
#[inline]
pub(crate) fn pin() -> Pin {
    // SAFETY: null, or a record of a domain that is a static: its records live for ever.
    match unsafe { READER.get().as_ref() } {
        Some(record) => pin_with(record),
        None => pin_first(),
    }
}

#[inline(always)]
fn pin_with(record: &'static Record) -> Pin {
    DOMAIN.pin(record);
    Pin(record)
}

#[cold]
#[inline(never)]
fn pin_first() -> Pin {
    let record = threads::record();
    DOMAIN.enlist(record);
    READER.set(record);
    if barrier::is_asymmetric() && !record.is_ending() {
        BRIEF.set(record);
        shorten(record);
    }
    pin_with(record)
}

/// A [`Pin`] that ends before all that began before it.
#[must_use]
pub(crate) struct Brief(*const Record);

/// Pins this thread in the cheapest way: no calls, and no look at anything but the record. `None`
/// where that is not enough: the thread is pinned already, or never was, or is ending, or the
/// kernel lends no fence. [`pin`] works then.
///
/// Pins that begin while it lives must end before it does.
#[inline(always)]
pub(crate) fn brief() -> Option<Brief> {
    // SAFETY: as in `pin`.
    brief_with(unsafe { BRIEF.get().as_ref() }?)
}

/// [`brief`] for a read that is counted ([`Own::count`]): `None` also where the countdown of this
/// thread is over.
#[inline(always)]
pub(crate) fn counted_brief() -> Option<Brief> {
    // SAFETY: as in `pin`.
    brief_with(unsafe { COUNTED.get().as_ref() }?)
}

#[inline(always)]
fn brief_with(record: &'static Record) -> Option<Brief> {
    if record.is_pinned() {
        return None;
    }
    DOMAIN.pin_only(record);
    Some(Brief(record))
}

impl Brief {
    /// Where to store what is not to be stored: see [`Record::nobody`].
    #[inline(always)]
    pub(crate) fn nobody(&self) -> &AtomicU8 {
        // SAFETY: as in `pin`.
        &unsafe { &*self.0 }.nobody
    }

    /// What this thread counts, also after the pin.
    #[inline(always)]
    pub(crate) fn own(&self) -> Own {
        // SAFETY: as in `pin`.
        Own::new(unsafe { &*self.0 })
    }
}

impl Pin {
    /// As [`Brief::nobody`].
    #[inline(always)]
    pub(crate) fn nobody(&self) -> &AtomicU8 {
        // SAFETY: as in `pin`.
        &unsafe { &*self.0 }.nobody
    }
}

impl Drop for Brief {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: as in `pin`.
        unsafe { &*self.0 }.unpin_only();
    }
}

impl Drop for Pin {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: as in `pin`.
        let record = unsafe { &*self.0 };
        if record.unpin() {
            threads::give_back(record);
        }
    }
}

/// This thread gave its record back.
pub(super) fn forget() {
    end_brief();
    READER.set(ptr::null());
}

/// This thread ends.
pub(super) fn end_brief() {
    BRIEF.set(ptr::null());
    COUNTED.set(ptr::null());
}

/// The countdown of this thread is over: its next read that is counted goes the longer way.
#[cold]
#[inline(never)]
pub(super) fn lengthen() {
    COUNTED.set(ptr::null());
}

/// This thread, whose record it is, has begun a countdown, or pins for the first time.
pub(super) fn shorten(record: &Record) {
    COUNTED.set(if record.tally.is_due() { ptr::null() } else { BRIEF.get() });
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
/// Dear unless all threads have pinned or locked since the last step: it interrupts all processors
/// that run a thread of this process, so the caller decides how much garbage is worth a step.
pub(crate) fn try_advance() -> bool {
    DOMAIN.try_advance()
}

/// [`try_advance`] where it is cheap: a fence, and a look at the record of each thread.
pub(crate) fn try_advance_by_word() -> bool {
    DOMAIN.try_advance_by_word()
}

/// May what this thread unlinked before the call be freed at once, because nobody else reads?
///
/// That is so where no other thread has a record and this one holds no pin. Costs two loads, and
/// where the kernel lends no fence one more fence.
#[inline]
pub(crate) fn alone() -> bool {
    // SAFETY: null, or as in `pin`.
    match unsafe { READER.get().as_ref() } {
        None => DOMAIN.is_alone(0),
        Some(record) => !record.is_pinned() && DOMAIN.is_alone(1),
    }
}

/// Does no other thread have a record at the moment? For a hint.
#[inline(always)]
pub(crate) fn is_sole() -> bool {
    DOMAIN.is_sole()
}

/// While it lives, no other thread reads, nor comes to read. See [`sole`].
#[must_use]
pub(crate) struct Sole(&'static Record);

/// May this thread change what readers see, for it is the only one, and holds no pin itself?
///
/// That is so where no other thread has a record: one that takes its first meanwhile waits until
/// the end. So what is done must be some loads and stores and none of the caller's code. Costs some
/// loads and two stores; `None` where the kernel lends no fence.
#[inline(always)]
pub(crate) fn sole() -> Option<Sole> {
    let record = threads::record_if_any()?;
    (!record.is_pinned() && DOMAIN.begin_sole(record)).then(|| Sole(record))
}

impl Drop for Sole {
    #[inline(always)]
    fn drop(&mut self) {
        self.0.end_sole();
    }
}

/// Does this thread hold a pin?
#[inline]
pub(crate) fn is_pinned() -> bool {
    // SAFETY: null, or as in `pin`.
    unsafe { READER.get().as_ref() }.is_some_and(Record::is_pinned)
}

#[cfg(test)]
#[path = "epoch_tests.rs"]
mod tests;

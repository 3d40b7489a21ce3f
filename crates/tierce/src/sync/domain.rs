//! Epochs: when has everybody who could have seen an unlinked thing stopped looking?
//!
//! A global epoch counts up. A thread that reads stores the epoch it found in its **record** (it
//! is **pinned**) and takes it back when it is done; the epoch advances only while every record is
//! empty or holds the present one. So pins keep it from running away from them, and what was
//! unlinked some epochs ago is out of everybody's sight.
//!
//! Fraser, "Practical lock-freedom", 2004, section 5.2.3, has the epochs; McKenney's read-copy
//! update the idea that readers only say when they are done; Desnoyers et al. the fence that only
//! the one who advances pays for (`barrier.rs`). Unlike `crossbeam-epoch` a pin costs no full
//! fence, there are no queues of deferred work (the structures keep what they unlinked and ask),
//! and a forked child can forget the threads it does not have.
//!
//! # Why nothing is freed under a reader
//!
//! *H* is a heavy fence, *L* a light one, and of an H and an L one comes first: what is before it
//! is seen after the other. A thing is unlinked, then stamped by [`Domain::current`]: fence L_u,
//! then the epoch is read as *s*, and the stamp is s+1. It is freed when the epoch is s+3
//! ([`Epoch::is_over`]). Three steps led there, A1 to A3, one after the other (`advancing` is a
//! lock: its Acquire pairs with the Release that ended the step before). Each step read the
//! epoch, passed its fence (H1 to H3), found every record empty or at the epoch it had read, and
//! stored the next one.
//!
//! 1. *L_u comes before H2.* A2 read s+1 before H2; if H2 came first, the unlinking thread would
//!    have read at least s+1 after L_u, not s. So whoever is past H2 sees the unlinking.
//! 2. *A reader who missed the unlinking was pinned before H3.* Its fence L_r stands between the
//!    store of its pin and its first read of the structure. If H3 came first it would see what
//!    was before H2, by 1 the unlinking. So L_r comes first, and A3 sees the pin, or what the
//!    same thread stored in its record later.
//! 3. *That pin says s+1 or less.* s+2 was stored after H2; who read it before L_r has L_r after
//!    H2, and by 1 sees the unlinking. Nothing here asks the epoch stored to be fresh: a thread
//!    that loaded it, slept for many epochs and then stored it holds the epoch back by an old
//!    number, and sees, by 2, all that was unlinked before the steps that missed its pin.
//! 4. *So A3 waited for it.* A3 wants s+2 or an empty record. It found what the reader stored
//!    after that pin: the store that empties the record and the one that fills it again are
//!    Release, A3's load is Acquire, so the reader's last look happens before A3's store of s+3
//!    (Release), which happens before the load in `is_over` (Acquire), and before the freeing.
//!
//! Where both halves of the fence are sequentially consistent fences this holds all the same.
//! With such fences s+2 would do: L_r and L_u would be in order too, so the pin in 3 could not
//! even say s+1. One step more buys an unlinking thread its freedom from a fence of its own, and
//! an argument that does not need all processors to see stores in one order.
//!
//! # Why a thread that is alone may free at once
//!
//! A thread is counted (`live`), passes a full fence, and only then pins for the first time. The
//! thread that unlinked passes a full fence, then loads the count ([`Domain::is_alone`]). If it
//! does not see the new thread, its fence came first, and the new thread sees the unlinking. If
//! it does not see one that left, that one's decrement (Release) is what it read (Acquire; other
//! changes of the count are read-modify-writes and pass it on), so all its reads are over.
#![allow(unsafe_code)]

use std::{iter, ptr};

use crossbeam_utils::CachePadded;

use super::{
    barrier,
    shim::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Cell, Ordering},
};

/// What an empty record holds. Epochs begin after it.
const UNPINNED: u64 = 0;

/// The first epoch.
pub(super) const FIRST: u64 = 1;

/// Steps from a stamp (which is one above the epoch that was read) to the end of the last pin.
const GRACE: u64 = 2;

/// In [`Record::nested`]: the record goes back with its last pin, for its thread has ended.
const LAST_PINS: u32 = 1 << 31;

/// A point in time, in steps of [`Domain::try_advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

/// The threads that read, and the epoch they move through.
pub(super) struct Domain {
    pub(super) epoch: CachePadded<AtomicU64>,
    /// A step is under way.
    pub(super) advancing: AtomicBool,
    /// The newest record; each links to the one before it. None is ever taken out.
    pub(super) records: AtomicPtr<Record>,
    /// How many records belong to a thread.
    pub(super) live: AtomicUsize,
}

/// What one thread says about itself. Passed on to another when its thread ends.
///
/// A line of its own (two, where processors fetch them in pairs), for it is stored at every pin.
#[repr(align(128))]
pub(super) struct Record {
    /// The epoch its thread is pinned at, or [`UNPINNED`]. Stored by the owner alone.
    pinned: AtomicU64,
    /// Pins of the owner beyond its first, and [`LAST_PINS`]. The owner alone touches this. A
    /// count of all pins would make each pin wait for the one before it to be written.
    nested: Cell<u32>,
    /// Belongs to a thread.
    taken: AtomicBool,
    /// The next older record. Set before the record is published, then left alone.
    next: *mut Record,
}

// SAFETY: all fields but two are atomics.
// 1. `nested` is touched by the thread that took the record, and `taken` passes it on: stored with
//    Release after the last touch, taken with Acquire before the first.
// 2. `next` is only read once the record is published, which happens after it is set.
unsafe impl Sync for Record {}

impl Domain {
    /// A record for the calling thread, counted from now on. The calling thread must
    /// [`release`](Self::release) it, and only the calling thread may use it.
    pub(super) fn register(&self) -> &Record {
        self.live.fetch_add(1, Ordering::Relaxed);
        let record = self.records().find(|record| record.take()).unwrap_or_else(|| self.add());
        // After the count and before the first pin.
        barrier::full();
        record
    }

    fn add(&self) -> &Record {
        let record = Box::into_raw(Box::new(Record {
            pinned: AtomicU64::new(UNPINNED),
            nested: Cell::new(0),
            taken: AtomicBool::new(true),
            next: ptr::null_mut(),
        }));
        let mut newest = self.records.load(Ordering::Relaxed);
        loop {
            // SAFETY: just allocated, and nobody else's before the exchange succeeds.
            unsafe { (*record).next = newest };
            // Release: who finds the record finds it whole.
            match self.records.compare_exchange(
                newest,
                record,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                // SAFETY: allocated above, and no record is freed while the domain lives.
                Ok(_) => return unsafe { &*record },
                Err(newer) => newest = newer,
            }
        }
    }

    /// Gives the record of a thread that is not pinned to whoever comes.
    pub(super) fn release(&self, record: &Record) {
        record.nested.set(0);
        record.taken.store(false, Ordering::Release);
        // Release: the reads of this thread are over for whoever no longer counts it.
        self.live.fetch_sub(1, Ordering::Release);
    }

    /// Pins the calling thread, whose record it is. To be undone by [`Record::unpin`].
    #[inline(always)]
    pub(super) fn pin(&self, record: &Record) {
        // Nobody but this thread stores it.
        if record.pinned.load(Ordering::Relaxed) == UNPINNED {
            let epoch = self.epoch.load(Ordering::Relaxed);
            // Release: see step 4.
            record.pinned.store(epoch, Ordering::Release);
            barrier::light();
        } else {
            record.nested.set(record.nested.get() + 1);
        }
    }

    /// The stamp for what the calling thread has just unlinked.
    pub(super) fn current(&self) -> Epoch {
        barrier::light();
        Epoch(self.epoch.load(Ordering::Relaxed) + 1)
    }

    /// Has everybody who could have seen what bears this stamp stopped looking?
    #[inline]
    pub(super) fn is_over(&self, stamp: Epoch) -> bool {
        self.epoch.load(Ordering::Acquire) >= stamp.0 + GRACE
    }

    /// One step, or false.
    pub(super) fn try_advance(&self) -> bool {
        if self.advancing.swap(true, Ordering::Acquire) {
            return false;
        }
        let now = self.epoch.load(Ordering::Relaxed);
        // Asked twice, for the fence is dear: what is in the way mostly is so before it.
        let is_free = || self.records().all(|record| record.is_at(now));
        let stepped = is_free() && barrier::heavy() && is_free();
        if stepped {
            self.epoch.store(now + 1, Ordering::Release);
        }
        self.advancing.store(false, Ordering::Release);
        stepped
    }

    /// Are there no records but the `mine` of the calling thread, and so no readers but itself?
    pub(super) fn is_alone(&self, mine: usize) -> bool {
        if self.live.load(Ordering::Relaxed) != mine {
            return false;
        }
        barrier::full();
        self.live.load(Ordering::Acquire) == mine
    }

    /// In a forked child: forgets all threads but that of the record `mine`. Nobody else is there.
    pub(super) fn forget_others(&self, mine: *const Record) {
        for record in self.records().filter(|record| !ptr::eq(*record, mine)) {
            record.pinned.store(UNPINNED, Ordering::Relaxed);
            record.nested.set(0);
            record.taken.store(false, Ordering::Relaxed);
        }
        self.live.store(usize::from(!mine.is_null()), Ordering::Relaxed);
        self.advancing.store(false, Ordering::Relaxed);
    }

    /// All records, whether they belong to a thread or not.
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        // SAFETY: null, or a record that `add` published, which the Acquire makes whole; none is
        // freed while the domain lives.
        let newest = unsafe { self.records.load(Ordering::Acquire).as_ref() };
        // SAFETY: as above. A record links to older ones, which were published before it.
        iter::successors(newest, |record| unsafe { record.next.as_ref() })
    }
}

impl Record {
    /// Makes a record that belongs to nobody the caller's.
    fn take(&self) -> bool {
        !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Acquire)
    }

    /// Empty, or pinned at this epoch?
    fn is_at(&self, epoch: u64) -> bool {
        let pinned = self.pinned.load(Ordering::Acquire);
        pinned == UNPINNED || pinned == epoch
    }

    /// Ends one pin of the calling thread. True if the record is to be released now.
    #[inline(always)]
    pub(super) fn unpin(&self) -> bool {
        let is_last = self.nested.get() == 0;
        if is_last {
            // Release: all that was read is read before the record is empty.
            self.pinned.store(UNPINNED, Ordering::Release);
        }
        !is_last && self.unpin_nested()
    }

    #[inline(never)]
    fn unpin_nested(&self) -> bool {
        let nested = self.nested.get();
        let is_last = nested == LAST_PINS;
        if is_last {
            self.pinned.store(UNPINNED, Ordering::Release);
        } else {
            self.nested.set(nested - 1);
        }
        is_last
    }

    /// Is the owner, who asks, pinned?
    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned.load(Ordering::Relaxed) != UNPINNED
    }

    /// Has the record released with the last of the pins it has: the thread ends.
    pub(super) fn release_with_last_pin(&self) {
        self.nested.set(self.nested.get() | LAST_PINS);
    }
}

impl Drop for Domain {
    fn drop(&mut self) {
        let mut record = self.records.load(Ordering::Relaxed);
        while !record.is_null() {
            // SAFETY: came from `Box::into_raw` in `add`; who drops a domain has it alone.
            record = unsafe { Box::from_raw(record) }.next;
        }
    }
}

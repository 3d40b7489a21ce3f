//! What each thread counts by itself: an addition to a word that nobody else stores, in the record
//! that a read of the thread has at hand.
//!
//! ```text
//!   record of a thread:  [ what it says | countdown | seat 0 | seat 1 | ... ]
//!                                                       └ one counter, summed over all records
//! ```
//! Who wants a counter takes a [`Seat`], which is the same place in every record. Counting is a plain
//! load and store, no read-modify-write: it costs an instruction, and no line travels between cores.
//! Three things keep a sum right:
//!
//! 1. A word only grows, and only the owner of its record stores it. A record passes from a thread
//!    that ended to another one, which counts on (`taken` in `domain.rs` orders their stores), and
//!    none is freed: so no count goes with a thread, and no sum is less than an earlier one.
//! 2. A seat passes from one counter to the next as it is. The next notes the sum that it found;
//!    nobody counts for the one before any more, as a seat is given back by who owns the counter.
//! 3. A forked child has the words as they were. The threads that it lacks store no more.
//!
//! Beside the counts lies a **countdown** of all that the thread counts: when it is over, [`count`
//! ](Own::count) bars the short way of reading (`epoch.rs`), so that the thread's next counted read
//! comes by a longer way, where there is time to look at a clock.

use std::{array, marker::PhantomData, time::Instant};

use super::{
    domain::Record,
    epoch,
    shim::{AtomicU64, Cell, Ordering},
    threads::{self, DOMAIN, TAKEN_SEATS},
};

/// Counters that may be in use at a time. More than a process has caches, as a rule, and as many as
/// leave a record at four lines of 64 bytes.
pub(crate) const SEATS: usize = 24;

/// What one thread counts. Touched by the owner of the record; the counts are looked at by all.
#[repr(C)]
pub(super) struct Tally {
    /// Counts until the countdown is over: at 0 and below it is.
    left: Cell<i64>,
    /// What it began with.
    begun_at: Cell<i64>,
    /// When it began, by the one who began it.
    began: Cell<Option<Instant>>,
    counts: [AtomicU64; SEATS],
}

/// A counter that threads count without regard for each other. Given back by its drop.
#[derive(Debug)]
pub(crate) struct Seat {
    number: u32,
    /// What those had counted who sat here before.
    before: u64,
}

/// The tally of the thread that has it. Stays on its thread, and is for use at once: not beyond the
/// end of the thread, when the record passes on.
#[derive(Clone, Copy)]
pub(crate) struct Own(&'static Tally, PhantomData<*const Tally>);

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            left: Cell::new(0),
            begun_at: Cell::new(0),
            began: Cell::new(None),
            counts: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// Is the countdown over? Never where nothing is counted.
    pub(super) fn is_due(&self) -> bool {
        !cfg!(tierce_uncounted) && self.left.get() <= 0
    }

    /// Ends the countdown now. In a forked child: what it waits for may be due there.
    pub(super) fn hurry(&self) {
        let counted = self.begun_at.get().wrapping_sub(self.left.get());
        self.begun_at.set(counted);
        self.left.set(0);
    }
}

/// The sum of all threads' counts at a seat, of all who ever sat there.
fn sum(number: u32) -> u64 {
    let counts = DOMAIN.records().filter_map(|record| record.tally.counts.get(number as usize));
    counts.fold(0, |sum, count| sum.wrapping_add(count.load(Ordering::Relaxed)))
}

impl Seat {
    /// A seat, or nothing where all are taken.
    pub(crate) fn take() -> Option<Self> {
        let mut taken = TAKEN_SEATS.load(Ordering::Relaxed);
        loop {
            let number = taken.trailing_ones();
            if number as usize >= SEATS {
                return None;
            }
            let with_mine = taken | 1 << number;
            // Acquire: what was counted here before is in the sum.
            let (acquire, relaxed) = (Ordering::Acquire, Ordering::Relaxed);
            match TAKEN_SEATS.compare_exchange(taken, with_mine, acquire, relaxed) {
                Ok(_) => return Some(Self { number, before: sum(number) }),
                Err(others) => taken = others,
            }
        }
    }

    /// Where threads are to count: below [`SEATS`].
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// What was counted since the seat was taken. Counts that are under way may be in or not.
    pub(crate) fn sum(&self) -> u64 {
        sum(self.number).wrapping_sub(self.before)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        // Release: who sits here next sees all that was counted.
        TAKEN_SEATS.fetch_and(!(1 << self.number), Ordering::Release);
    }
}

impl Own {
    pub(super) fn new(record: &'static Record) -> Self {
        Self(&record.tally, PhantomData)
    }

    /// Counts one more at a seat; false for a number that is none, which counts nothing.
    #[inline(always)]
    pub(crate) fn count(self, seat: u32) -> bool {
        let Some(count) = self.0.counts.get(seat as usize) else { return false };
        // Nobody else stores here, so nothing comes between the two.
        count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.pass();
        true
    }

    /// Counts down for what is counted elsewhere.
    #[inline(always)]
    pub(crate) fn pass(self) {
        let left = self.0.left.get().wrapping_sub(1);
        self.0.left.set(left);
        if left == 0 {
            epoch::lengthen();
        }
    }
}

/// The tally of this thread, if it has one: every thread that read, until it ends.
pub(crate) fn own() -> Option<Own> {
    threads::record_if_any().map(Own::new)
}

/// Is the countdown of this thread over, or was none begun? To be followed by a pin: a thread that has
/// no record takes one, with the countdown of the thread that had it.
pub(crate) fn is_due() -> bool {
    threads::record().tally.is_due()
}

/// What this thread counted since its countdown began, and when that was.
pub(crate) fn counted() -> (u64, Option<Instant>) {
    let Some(record) = threads::record_if_any() else { return (0, None) };
    let tally = &record.tally;
    let counted = tally.begun_at.get().wrapping_sub(tally.left.get());
    (u64::try_from(counted).unwrap_or(0), tally.began.get())
}

/// Begins a countdown of this thread: it is over when so many were counted, at once for 0.
pub(crate) fn count_down(from: u32, now: Instant) {
    let Some(record) = threads::record_if_any() else { return };
    let tally = &record.tally;
    tally.left.set(from.into());
    tally.begun_at.set(from.into());
    tally.began.set(Some(now));
    epoch::shorten(record);
}

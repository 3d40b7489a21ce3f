//! Epochs: when has everybody who could have seen an unlinked thing stopped looking?
//!
//! A global epoch counts up. A thread that reads stores the epoch it found in its **record** (it
//! is **pinned**) and marks it as past when it is done; the epoch advances only while every record
//! is unpinned or pinned at the present one. So pins keep it from running away from them, and what
//! was unlinked some epochs ago is out of everybody's sight.
//!
//! Fraser, "Practical lock-freedom", 2004, section 5.2.3, has the epochs; McKenney's read-copy
//! update the idea that readers only say when they are done; Desnoyers et al. the fence that only
//! the one who advances pays for (`barrier.rs`). That nobody has to pay for it where all threads
//! have lately said something is the quiescent state of Hart et al., "Performance of memory
//! reclamation for lockless synchronization", 2007. Unlike `crossbeam-epoch` a pin costs no full
//! fence, there are no queues of deferred work (the structures keep what they unlinked and ask),
//! and a forked child can forget the threads it does not have.
//!
//! # Why nothing is freed under a reader
//!
//! What a record **says** is an epoch that its thread found (Acquire), pinned or not; each pin says
//! one, and each lock that is taken ([`Domain::say`]). It is stored with Release, before and after.
//!
//! *H* is a heavy fence, *L* a light one, and of an H and an L one comes first: what is before it
//! is seen after the other. A thing is unlinked, then stamped by [`Domain::current`]: fence L_u,
//! then the epoch is read as *s*, and the stamp is s+1. It is freed when the epoch is s+3
//! ([`Epoch::is_over`]). Three steps led there, A1 to A3, one after the other (`advancing` is a
//! lock: its Acquire pairs with the Release that ended the step before). Each step read the
//! epoch; then either every record that belongs to a thread said that very epoch, or the step
//! passed its fence (H1 to H3); then it found every record unpinned or pinned at the epoch it had
//! read, and stored the next one (Release).
//!
//! 1. *Who finds s+2 sees the unlinking.* With H2: L_u comes before it, as A2 read s+1 before H2,
//!    and if H2 came first, the unlinking thread would have read at least s+1 after L_u, not s. By
//!    word: the record of the unlinking thread says s+1, which that thread found after it had
//!    found s, so after the unlinking; or it belongs to nobody, and was given back after the
//!    unlinking (Release, and A2 looks with Acquire). So who unlinks needs a record. A2 does not
//!    overlook it: A2 passed a fence of its own between reading s+1 and looking, that thread one
//!    after it had taken the record; had A2's come first, the thread would have found s+1.
//! 2. *A3 sees the pin of a reader who missed the unlinking*, or what the same thread stored in
//!    its record later. By word: a record that says s+2 was stored to after its thread found s+2;
//!    by 1 it missed nothing after that, so the pin came before, and A3 sees it. With H3: the
//!    fence L_r stands between the store of the pin and the first read of the structure. If H3
//!    came first the reader would see what A2 saw, by 1 the unlinking. So L_r comes first, and A3
//!    sees the pin. A record that belonged to nobody when A3 looked, or was not there, is that of
//!    a thread that passed a fence after it took the record and before its first pin; A3 passed
//!    one of its own before it looked, which came first, so that thread sees the unlinking.
//! 3. *That pin says s+1 or less.* By 1, as a pin finds its epoch with Acquire. Nothing here asks
//!    the epoch stored to be fresh: a thread that loaded it, slept for many epochs and then stored
//!    it holds the epoch back by an old number, and sees, by 2, all that was unlinked before the
//!    steps that missed its pin.
//! 4. *So A3 waited for it.* A3 wants s+2 or an unpinned record. It found what the reader stored
//!    after that pin: the store that unpins the record and the one that pins it again are
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
//! A thread is counted (`live`), passes a heavy fence, and only then pins for the first time. The
//! thread that unlinked passes a light fence, then loads the count ([`Domain::is_alone`]). If it
//! does not see the new thread, its fence came first, and the new thread sees the unlinking. If
//! it does not see one that left, that one's decrement (Release) is what it read (Acquire; other
//! changes of the count are read-modify-writes and pass it on), so all its reads are over.
//!
//! # Why a thread that has the only record may act solely
//!
//! What has to be done as one step for all other threads can be done in many, by plain stores, while
//! there are none that look ([`Domain::begin_sole`]). The thread says in its record that it acts solely,
//! passes a light fence, and acts if its record is the only one that belongs to a thread (`owners`).
//! A thread that takes a record is counted, passes a heavy fence, and then waits until no other
//! record says so; only after that it pins or locks. If the light fence came first, it sees the
//! word and waits, and what was done happens before its first look (Release, Acquire). If its heavy
//! fence came first, the other sees that it is not the only one, and does not act. Of one that gave
//! its record back, all is over for who no longer counts it, as above.
//!
//! The one that comes waits for some stores of the other, not for any code of a caller: a step
//! calls none.
#![allow(unsafe_code)]

use std::{iter, ptr, sync::atomic::AtomicU8};

use crossbeam_utils::CachePadded;

use super::{
    barrier,
    shim::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Cell, Ordering, yield_now},
    tally::Tally,
};

/// In what a record says: its thread is pinned at the epoch, which is the rest.
const PINNED: u64 = 1;

/// From an epoch to the next one: what is stored leaves room for [`PINNED`].
pub(super) const STEP: u64 = 2;

/// The first epoch. A new record says none.
pub(super) const FIRST: u64 = STEP;

/// Steps from a stamp (which is one above the epoch that was read) to the end of the last pin.
const GRACE: u64 = 2;

/// In the counts of a [`Record`]: its thread has ended, and who empties it gives it back.
const ENDING: u32 = 1 << 31;

/// A point in time, in steps of [`Domain::try_advance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(u64);

impl Epoch {
    /// The remainder by `count`, to choose one of so many lists. A stamp three above another shows
    /// that the other is over.
    #[inline]
    pub(crate) fn modulo(self, count: usize) -> usize {
        (self.0 % count as u64) as usize
    }
}

/// The threads that read, and the epoch they move through.
pub(super) struct Domain {
    pub(super) epoch: CachePadded<AtomicU64>,
    /// A step is under way. On a line of its own: it changes at each step, what follows seldom.
    pub(super) advancing: CachePadded<AtomicBool>,
    /// The newest record; each links to the one before it. None is ever taken out.
    pub(super) records: AtomicPtr<Record>,
    /// How many threads with a record are counted as ones that read.
    pub(super) live: AtomicUsize,
    /// How many records belong to a thread, each by its [`share`], and how many forks are under way.
    pub(super) owners: AtomicUsize,
}

/// What one thread says about itself. Passed on to another when its thread ends.
///
/// Lines of its own (in pairs, as some processors fetch them), for it is stored at every pin. In
/// this order, so that the first counts lie with what a pin touches.
#[repr(C, align(128))]
pub(super) struct Record {
    /// The epoch that its thread found last, and whether it is [`PINNED`] at it. Stored by the
    /// owner alone, as all but `taken` are.
    said: AtomicU64,
    /// Pins beyond the first, and [`ENDING`]. A count of all pins would make each pin wait for
    /// the one before it to be written.
    more_pins: Cell<u32>,
    /// Is its thread in a section that a fork waits for (`fork.rs`)?
    inside: AtomicBool,
    /// Belongs to a thread.
    taken: AtomicBool,
    /// Where its thread stores what is not to be stored, so that no branch need tell. Of a local the
    /// compiler sees that nobody looks at it, and makes a branch.
    pub(super) nobody: AtomicU8,
    /// Does its thread act as the only one?
    solely: AtomicBool,
    /// Sections beyond the first, as with pins.
    more_sections: Cell<u32>,
    /// Is its thread counted in [`Domain::live`]?
    reads: Cell<bool>,
    /// The next older record. Set before the record is published, then left alone.
    next: *mut Record,
    /// What its thread counts (`tally.rs`). Stays as it is when the record passes to another.
    pub(super) tally: Tally,
}

// SAFETY: all fields but these are atomics.
// 1. The cells, those of the tally too, are touched by the thread that took the record, and `taken` passes them on: stored
//    with Release after the last touch, taken with Acquire before the first.
// 2. `next` is only read once the record is published, which happens after it is set.
unsafe impl Sync for Record {}

/// What a thread with a record adds to [`Domain::owners`]: where the kernel lends no fence so much
/// that nobody is ever the only one.
fn share() -> usize {
    if barrier::is_lent() { 1 } else { 2 }
}

impl Domain {
    /// A record for the calling thread, which alone may use it until it gives it back.
    pub(super) fn take(&self) -> &Record {
        let record = self.records().find(|record| record.try_take()).unwrap_or_else(|| self.add());
        self.owners.fetch_add(share(), Ordering::Relaxed);
        // After the count and before the look; and before anything is unlinked: see step 1.
        barrier::heavy_in_any_case();
        for other in self.records() {
            while other.solely.load(Ordering::Acquire) {
                yield_now();
            }
        }
        record
    }

    /// Counts the calling thread as one that reads. Before its first pin.
    pub(super) fn enlist(&self, record: &Record) {
        self.live.fetch_add(1, Ordering::Relaxed);
        record.reads.set(true);
        // After the count and before the first pin.
        barrier::heavy_in_any_case();
    }

    fn add(&self) -> &Record {
        let record = Box::into_raw(Box::new(Record {
            said: AtomicU64::new(0),
            inside: AtomicBool::new(false),
            taken: AtomicBool::new(true),
            nobody: AtomicU8::new(0),
            solely: AtomicBool::new(false),
            reads: Cell::new(false),
            more_pins: Cell::new(0),
            more_sections: Cell::new(0),
            next: ptr::null_mut(),
            tally: Tally::new(),
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

    /// Gives an empty record to whoever comes.
    pub(super) fn give_back(&self, record: &Record) {
        record.more_pins.set(0);
        record.more_sections.set(0);
        if record.reads.replace(false) {
            // Release: the reads of this thread are over for whoever no longer counts it.
            self.live.fetch_sub(1, Ordering::Release);
        }
        // Release: so is all that it did.
        self.owners.fetch_sub(share(), Ordering::Release);
        record.taken.store(false, Ordering::Release);
    }

    /// [`pin`](Self::pin) for a thread that is not pinned, where the kernel lends the fence. To be
    /// undone by [`Record::unpin_only`], after all pins that began later.
    #[inline(always)]
    pub(super) fn pin_only(&self, record: &Record) {
        // Acquire, Release: see steps 3 and 4.
        let epoch = self.epoch.load(Ordering::Acquire);
        record.said.store(epoch | PINNED, Ordering::Release);
        barrier::light_where_lent();
    }

    /// Pins the calling thread, whose record it is and who is enlisted. To be undone by
    /// [`Record::unpin`].
    #[inline(always)]
    pub(super) fn pin(&self, record: &Record) {
        // Nobody but this thread stores it.
        if !record.is_pinned() {
            // Acquire, Release: see steps 3 and 4.
            let epoch = self.epoch.load(Ordering::Acquire);
            record.said.store(epoch | PINNED, Ordering::Release);
            barrier::light();
        } else {
            record.more_pins.set(record.more_pins.get() + 1);
        }
    }

    /// Says in its record that the calling thread has come to the present epoch, so that nobody
    /// need interrupt it to learn that.
    #[inline(always)]
    pub(super) fn say(&self, record: &Record) {
        if !record.is_pinned() {
            let epoch = self.epoch.load(Ordering::Acquire);
            record.said.store(epoch, Ordering::Release);
        }
    }

    /// The stamp for what the calling thread, which has a record, has just unlinked.
    pub(super) fn current(&self) -> Epoch {
        barrier::light();
        // Acquire, as in `is_over`: who finds a stamp three above another need not ask.
        Epoch(self.epoch.load(Ordering::Acquire) / STEP + 1)
    }

    /// Has everybody who could have seen what bears this stamp stopped looking?
    #[inline]
    pub(super) fn is_over(&self, stamp: Epoch) -> bool {
        self.epoch.load(Ordering::Acquire) >= (stamp.0 + GRACE) * STEP
    }

    /// One step, or false.
    pub(super) fn try_advance(&self) -> bool {
        self.step(barrier::heavy)
    }

    /// One step if all threads have come to the present epoch, or false: it interrupts nobody.
    pub(super) fn try_advance_by_word(&self) -> bool {
        self.step(|| false)
    }

    fn step(&self, fence: impl FnOnce() -> bool) -> bool {
        if self.advancing.swap(true, Ordering::Acquire) {
            return false;
        }
        let now = self.epoch.load(Ordering::Relaxed);
        // Asked twice, for the fence is dear: what is in the way mostly is so before it.
        let is_free = || self.records().all(|record| record.is_at(now));
        let stepped = is_free() && (self.all_say(now) || fence()) && is_free();
        if stepped {
            self.epoch.store(now + STEP, Ordering::Release);
        }
        self.advancing.store(false, Ordering::Release);
        stepped
    }

    /// Has every thread that has a record come to this epoch?
    fn all_say(&self, epoch: u64) -> bool {
        barrier::own();
        self.records().all(|record| record.says(epoch))
    }

    /// Are there no records but the `mine` of the calling thread, and so no readers but itself?
    #[inline]
    pub(super) fn is_alone(&self, mine: usize) -> bool {
        if self.live.load(Ordering::Relaxed) != mine {
            return false;
        }
        barrier::light();
        self.live.load(Ordering::Acquire) == mine
    }

    /// Has no other thread than the calling one, which has a record, one, and none forks?
    #[inline(always)]
    pub(super) fn is_sole(&self) -> bool {
        self.owners.load(Ordering::Acquire) == 1
    }

    /// From here to [`calm`](Self::calm) nobody is sole; after a heavy fence all know.
    pub(super) fn disturb(&self) {
        self.owners.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn calm(&self) {
        self.owners.fetch_sub(1, Ordering::Release);
    }

    /// Begins a step that no other thread sees half done, where the calling thread, whose record it
    /// is, has the only record; else false. The step must be some loads and stores, no code of a
    /// caller, and end by [`Record::end_sole`].
    #[inline(always)]
    pub(super) fn begin_sole(&self, record: &Record) -> bool {
        if !self.is_sole() {
            return false;
        }
        record.solely.store(true, Ordering::Relaxed);
        barrier::light_where_lent();
        let is_sole = self.is_sole();
        if !is_sole {
            record.end_sole();
        }
        is_sole
    }

    /// In a forked child: forgets all threads but that of the record `mine`. Nobody else is there.
    pub(super) fn forget_others(&self, mine: *const Record) {
        let (mut live, mut owners) = (0, 0);
        for record in self.records() {
            record.tally.hurry();
            if ptr::eq(record, mine) {
                live += usize::from(record.reads.get());
                owners += share();
                continue;
            }
            record.said.store(0, Ordering::Relaxed);
            record.inside.store(false, Ordering::Relaxed);
            record.solely.store(false, Ordering::Relaxed);
            record.reads.set(false);
            record.more_pins.set(0);
            record.more_sections.set(0);
            record.taken.store(false, Ordering::Relaxed);
        }
        self.live.store(live, Ordering::Relaxed);
        self.owners.store(owners, Ordering::Relaxed);
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
    fn try_take(&self) -> bool {
        !self.taken.load(Ordering::Relaxed) && !self.taken.swap(true, Ordering::Acquire)
    }

    /// Unpinned, or pinned at this epoch?
    fn is_at(&self, epoch: u64) -> bool {
        let said = self.said.load(Ordering::Acquire);
        said & PINNED == 0 || said == epoch | PINNED
    }

    /// Has its thread come to this epoch, or none has it?
    fn says(&self, epoch: u64) -> bool {
        self.said.load(Ordering::Acquire) & !PINNED == epoch || !self.taken.load(Ordering::Acquire)
    }

    /// Ends what [`Domain::begin_sole`] began.
    #[inline(always)]
    pub(super) fn end_sole(&self) {
        // Release: who waits for it sees what was done.
        self.solely.store(false, Ordering::Release);
    }

    /// Ends the pin of [`Domain::pin_only`], or the last of others.
    #[inline(always)]
    pub(super) fn unpin_only(&self) {
        let said = self.said.load(Ordering::Relaxed);
        // Release: all that was read is read before the record is unpinned.
        self.said.store(said & !PINNED, Ordering::Release);
    }

    /// Has the owner's thread begun to end?
    pub(super) fn is_ending(&self) -> bool {
        self.more_pins.get() & ENDING != 0
    }

    /// Ends one pin of the calling thread. True if the record is to be given back now.
    #[inline(always)]
    pub(super) fn unpin(&self) -> bool {
        if self.more_pins.get() == 0 {
            self.unpin_only();
            return false;
        }
        self.unpin_one_of_many()
    }

    #[inline(never)]
    fn unpin_one_of_many(&self) -> bool {
        if self.more_pins.get() != ENDING {
            self.more_pins.set(self.more_pins.get() - 1);
            return false;
        }
        self.unpin_only();
        !self.is_inside()
    }

    /// Is the owner, who asks, pinned?
    #[inline]
    pub(super) fn is_pinned(&self) -> bool {
        self.said.load(Ordering::Relaxed) & PINNED != 0
    }

    /// Begins a section of the calling thread; true if it is in none yet, and then a fork must be
    /// looked for.
    #[inline(always)]
    pub(super) fn enter(&self) -> bool {
        if self.inside.load(Ordering::Relaxed) {
            self.more_sections.set(self.more_sections.get() + 1);
            return false;
        }
        self.inside.store(true, Ordering::Relaxed);
        true
    }

    /// Takes back what [`enter`](Self::enter) said: the thread will enter again.
    pub(super) fn leave_for_now(&self) {
        self.inside.store(false, Ordering::Release);
    }

    /// Ends one section of the calling thread. True if the record is to be given back now.
    #[inline(always)]
    pub(super) fn leave(&self) -> bool {
        if self.more_sections.get() == 0 {
            // Release: what was written in the section is there for who sees that it is over.
            self.inside.store(false, Ordering::Release);
            return false;
        }
        self.leave_one_of_many()
    }

    #[inline(never)]
    fn leave_one_of_many(&self) -> bool {
        if self.more_sections.get() != ENDING {
            self.more_sections.set(self.more_sections.get() - 1);
            return false;
        }
        self.inside.store(false, Ordering::Release);
        !self.is_pinned()
    }

    /// [`enter`](Self::enter) and [`Domain::begin_sole`] at once; false where the thread is in a
    /// section already, or is not the only one.
    #[inline(always)]
    pub(super) fn enter_sole(&self, domain: &Domain) -> bool {
        if self.inside.load(Ordering::Relaxed) || !domain.is_sole() {
            return false;
        }
        self.inside.store(true, Ordering::Relaxed);
        let is_sole = domain.begin_sole(self);
        if !is_sole {
            self.leave_for_now();
        }
        is_sole
    }

    /// Is the owner in a section? Asked by anybody.
    pub(super) fn is_inside(&self) -> bool {
        self.inside.load(Ordering::Acquire)
    }

    /// The owner's thread ends: from now on, whoever empties the record gives it back.
    pub(super) fn end(&self) {
        self.more_pins.set(self.more_pins.get() | ENDING);
        self.more_sections.set(self.more_sections.get() | ENDING);
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

//! How a table grows, a few home buckets at each insert.
//!
//! Buckets are in the order of hashes. A table that is too full gets a successor with more
//! buckets, and from then on every insert moves the entries of some home buckets over, lowest hashes
//! first; `moved` says how far that came. A hash below it is looked up in the successor, any
//! other here. A home bucket that was moved stays as it was, for readers that are still in it.
//! Only where its entries lay in later buckets those are cleared, after `moved` says so: a reader
//! that found nothing looks at `moved` again. So there is no moment at which the whole table is
//! copied, and memory follows the number of entries.
//!
//! Growth in the order of hashes is a form of linear hashing (Litwin, VLDB 1980).

use std::{hint::select_unpredictable, ptr::NonNull, sync::atomic::Ordering};

use super::{super::bucket::WIDTH, LEAST_LOAD_TENTHS, LOAD_TENTHS, Table};
use crate::policy::Slot;

impl<P> Table<P> {
    /// True if the table holds as many entries as it should.
    #[inline]
    pub(in crate::memory) fn is_full(&self, entries: u64) -> bool {
        entries * 10 >= u64::from(self.homes) * LOAD_TENTHS
    }

    /// The table that hashes as this one are looked up in: this one, or a successor.
    #[inline(always)]
    pub(in crate::memory) fn current(&self, hash: u32) -> &Self {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: as in `successor_of`.
        let Some(next) = (unsafe { next.as_ref() }) else { return self };
        if !next.next.load(Ordering::Acquire).is_null() {
            return self.current_of_many(hash);
        }
        // Without a branch: which hashes have moved is what nobody can guess, and a table may stay
        // for long as it is where nothing is put in any more.
        select_unpredictable(self.home(hash) < self.moved.load(Ordering::Acquire), next, self)
    }

    /// [`current`](Self::current) where a successor has one too: seen by who has the first for long.
    #[cold]
    fn current_of_many(&self, hash: u32) -> &Self {
        let mut table = self;
        while let Some(next) = table.successor_of(hash) {
            table = next;
        }
        table
    }

    /// The successor, if the hash was moved there.
    #[inline]
    pub(in crate::memory) fn successor_of(&self, hash: u32) -> Option<&Self> {
        let next = self.next.load(Ordering::Acquire);
        // SAFETY: a successor lives at least as long as its table: both are freed after the pins
        // of those that could see them, the older one first.
        let next = unsafe { next.as_ref() }?;
        (self.home(hash) < self.moved.load(Ordering::Acquire)).then_some(next)
    }

    /// True if more buckets would make room where a run of them is full.
    pub(in crate::memory) fn is_worth_growing(&self, entries: u64) -> bool {
        entries * 10 >= u64::from(self.homes) * LEAST_LOAD_TENTHS
    }

    /// Gives this table a successor. Only under the lock, once.
    pub(in crate::memory) fn set_next(&self, next: NonNull<Self>) {
        self.next.store(next.as_ptr(), Ordering::Release);
    }

    pub(in crate::memory) fn next(&self) -> Option<NonNull<Self>> {
        NonNull::new(self.next.load(Ordering::Acquire))
    }

    /// Moves the entries of one home bucket to the successor; true if that was the last one.
    /// `hash_of` knows the hash of every slot that is named here. Only under the lock.
    ///
    /// Entries that find no room there are given to `homeless`: they are in neither table then.
    pub(in crate::memory) fn move_one(
        &self,
        hash_of: impl Fn(Slot) -> u32,
        mut homeless: impl FnMut(Slot),
    ) -> bool {
        let Some(next) = self.next() else { return true };
        // SAFETY: as in `successor_of`.
        let next = unsafe { next.as_ref() };
        let home = self.moved.load(Ordering::Relaxed);
        if home >= self.homes {
            return true;
        }
        self.each_of(home, home, &hash_of, |slot, hash, _, _| {
            if !next.insert(hash, slot) {
                homeless(slot);
            }
        });
        self.moved.store(home + 1, Ordering::Release);
        // The home bucket stays as it is; its count as well, which is what leads readers that
        // are late to the buckets that are cleared now.
        if self.bucket(home).passed() > 0 {
            self.each_of(home, home + 1, &hash_of, |_, _, number, position| {
                self.bucket(number).set_tag(position, 0);
                for passed in home + 1..number {
                    self.bucket(passed).unpass();
                }
            });
        }
        home + 1 == self.homes
    }

    /// Names the slots that lie in the home buckets that are moved next, so many of them.
    pub(in crate::memory) fn next_to_move(&self, homes: u32, mut each: impl FnMut(Slot)) {
        let moved = self.moved.load(Ordering::Relaxed);
        for number in moved..(moved + homes).min(self.homes) {
            let bucket = self.bucket(number);
            let mut positions = bucket.taken_now();
            while positions != 0 {
                each(bucket.slot(positions.trailing_zeros() as usize, Ordering::Relaxed));
                positions &= positions - 1;
            }
        }
    }

    /// Calls `each` with the slots of a home, their hashes and where they lie, from a bucket on.
    fn each_of(
        &self,
        home: u32,
        from: u32,
        hash_of: impl Fn(Slot) -> u32,
        mut each: impl FnMut(Slot, u32, u32, usize),
    ) {
        for number in from..=self.last_of(home) {
            let bucket = self.bucket(number);
            let passed = bucket.passed();
            for position in 0..WIDTH {
                if bucket.tag(position) == 0 {
                    continue;
                }
                let slot = bucket.slot(position, Ordering::Relaxed);
                let hash = hash_of(slot);
                if self.home(hash) == home {
                    each(slot, hash, number, position);
                }
            }
            if passed == 0 {
                break;
            }
        }
    }
}

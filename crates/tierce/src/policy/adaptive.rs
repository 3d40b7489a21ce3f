//! The default policy: a small window before a clock that only fresher keys can enter.
//!
//! ```text
//!   new key ---> window (ring, first in first out) ---> out, remembered as a ghost
//!                   |  read while in the window
//!                   v
//!                 main (a clock over the slot numbers) <--- new key that is a ghost
//!                   |  the entry that had to go for it
//!                   v
//!                 front of the window
//! ```
//! 1. A new key enters the **window**, a queue of a few percent of the cache, so that keys that
//!    come once pass through without touching the rest.
//! 2. A key that comes back, because it was read twice in the window or missed again while its
//!    ghost was remembered, is let into **main** only if some entry of main was not read for longer than
//!    this key took to come back; that entry moves to the front of the window and leaves next.
//! 3. Main is a **clock** whose hand passes the slots in order of their numbers: a read entry
//!    loses one read and is stamped with the time, an unread one is as old as its stamp.
//! 4. How many entries of main are looked at for such a one follows the worth of letting keys in:
//!    main is more or less **open**. Where popularity stays as it is, an entry that happened not to
//!    be read of late is no worse than the newcomer, and each look takes a read from one that was.
//! 5. The **share** of the window follows its worth, on the same evidence: a missed key that left the
//!    window a short while ago makes it larger by one entry and main more open, one that left main
//!    makes it smaller by one and main less open. One that comes back to the window later, but still
//!    soon after its insert, makes it larger by a little.
//! 6. Time is counted in inserts, so a hit has nothing to do but count itself in its own entry.
//!
//! Rule 2 is the one of LIRS (Jiang, Zhang: "LIRS", SIGMETRICS 2002): compare the last distance
//! between two uses of the newcomer with the time since the last use of the resident. It keeps a
//! part of a loop that is larger than the cache, as the rest never comes back faster than what is
//! kept is read; and it lets new keys in at once where old ones are not read any more. That it is
//! done with a clock and forgotten non-residents is CLOCK-Pro (Jiang, Chen, Zhang, USENIX ATC
//! 2005); the window and the counted reads are those of S3-FIFO (Yang et al., SOSP 2023); the
//! share moves as in Cliffhanger (Cidon et al., NSDI 2016), by hits in two shadow queues of
//! equal length, and so does what LIRS and CLOCK-Pro leave fixed, how hard a place is sought for a
//! key that came back. What differs: ages are coarse ticks in one byte of the entry; main needs no
//! links, as the place of an entry on the clock is its slot; a ghost counts only by its age
//! against that of a resident, not by a length that has to be tuned.
//!
//! Memory is 5.7 bytes an entry: 4 for ghosts (2 bytes each), 1.6 for the ring (4 bytes a place, as
//! many as the window may ever hold), 0.1 for the shadow queues. The work of a call is bounded by
//! [`MOST_STEPS`], whatever the entries hold, and a few looks on the average.

use std::mem::offset_of;

use super::{
    Entries, Entry, FIRST_SLOT, MOST_READS, Named, Policy, PolicyKind, PolicyView, Slot,
    ghosts::{Ghosts, TICKS},
    window::Window,
    worth::{LARGEST_SHARE, Worth, share_of},
};
use crate::prefetch::prefetch_all_to_write;

/// Ghosts for each slot. Fewer forget keys before they come back; more cost 2 bytes each.
const GHOSTS_PER_SLOT: f64 = 2.0;

/// Ghosts for each slot of a small cache, where chance fills the buckets less evenly and memory
/// is no matter.
const GHOSTS_PER_SLOT_OF_SMALL: f64 = 3.0;

/// Ghosts up to which a cache is small.
const GHOSTS_OF_SMALL: usize = 256;

/// Reads in the window that make its entry a candidate for main. One read soon after the insert
/// often belongs to the same use as the insert.
const READS_TO_STAY: u8 = 2;

/// Ticks of the clock while as many entries are inserted as the cache holds.
const TICKS_PER_TURNOVER: u32 = 8;

/// A ghost older than this is forgotten, before its tick wraps (at 32).
const OLDEST_GHOST: u8 = 18;

/// Buckets of ghosts that are cleaned together: a cache line of them. Each alone at four times as
/// many inserts would be a branch that the processor guesses wrong as often.
const CLEANED_AT_ONCE: u8 = 4;

/// Inserts between two cleanings: four for each bucket, so all are cleaned in one turnover, which
/// is less than the ticks from the oldest ghost to the wrap.
const INSERTS_PER_CLEANING: u8 = 4 * CLEANED_AT_ONCE;

/// Entries of main that the hand looks at before it takes one that was read.
const MOST_LOOKS: u32 = 64;

/// Slots that the hand passes in one call, free ones and those of the window included.
const MOST_STEPS: u32 = 512;

/// Window entries that one call may move to main.
const MOST_MOVES: u32 = 2;

/// Slots that the hand prefetches ahead of itself.
const PREFETCH: usize = 4;

/// The mark of an entry in main; the lowest six bits hold its stamp.
const MAIN: u8 = 0x80;

/// The mark of an entry in the window; the lowest five bits hold the tick of its insert.
const WINDOW: u8 = 0x40;

/// The mark of an entry that had to leave main and waits at the front of the window.
const LEAVING: u8 = 0x20;

/// Ticks that the stamp of an entry in main can tell apart.
const STAMPS: u8 = 0x40;

/// An entry of main that is seen this old or older stays this old, lest its stamp wraps.
const OLDEST_STAMP: u8 = 50;

/// Window and clock with admission by age. All that inserts change is in one cache line, the
/// first, up to the ends of the window; the rest changes seldom, so that each processor keeps it.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Adaptive {
    cost: u64,
    window_cost: u64,
    entries: u32,
    window_entries: u32,
    inserts_to_tick: u32,
    hand: Slot,
    /// What will probably be evicted next, and the hash of its key: a hint. So all that an insert
    /// will change can be fetched at once, where each would else lead to the next.
    next: Slot,
    next_hash: u32,
    /// The bucket of ghosts that is cleaned next.
    cleaning: u32,
    tick: u8,
    /// Modulo 256.
    inserts: u8,
    window: Window,
    ghosts: Ghosts,
    worth: Worth,
    /// Room was reserved for so many slots ...
    slots: u32,
    /// ... and for so many entries in them.
    most_entries: u32,
}

/// The ends of the window end the first line.
const _: () = assert!(offset_of!(Adaptive, window) + Window::ENDS == 64);

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            cost: 0,
            window_cost: 0,
            entries: 0,
            window_entries: 0,
            inserts_to_tick: 1,
            hand: FIRST_SLOT,
            next: FIRST_SLOT,
            next_hash: 0,
            cleaning: 0,
            tick: 0,
            inserts: 0,
            window: Window::default(),
            ghosts: Ghosts::default(),
            worth: Worth::default(),
            slots: 0,
            most_entries: 0,
        }
    }
}

fn ghosts_for(slots: usize) -> usize {
    let small = share_of(slots, GHOSTS_PER_SLOT_OF_SMALL).min(GHOSTS_OF_SMALL);
    share_of(slots, GHOSTS_PER_SLOT).max(small)
}

impl Adaptive {
    /// Lets one insert's time pass.
    #[inline]
    fn advance_time(&mut self) {
        self.inserts = self.inserts.wrapping_add(1);
        if self.inserts.is_multiple_of(INSERTS_PER_CLEANING) {
            let now = self.tick & (TICKS - 1);
            for _ in 0..CLEANED_AT_ONCE {
                self.cleaning = self.ghosts.expire_some(self.cleaning, now, OLDEST_GHOST);
            }
        }
        self.inserts_to_tick -= 1;
        if self.inserts_to_tick == 0 {
            self.tick = self.tick.wrapping_add(1);
            self.inserts_to_tick = (self.entries / TICKS_PER_TURNOVER).max(1);
        }
    }

    /// True if the window has no room for one more entry, of what one costs on the average, in its
    /// share, or holds everything.
    #[inline]
    fn window_is_full(&self) -> bool {
        if self.window_entries == 0 || self.window_entries == self.entries {
            return self.window_entries > 0;
        }
        // cost / entries > room, without a division.
        let room = self.worth.most_in_window(self.cost).checked_sub(self.window_cost);
        let costs_of_all = |room| (u128::from(room) + 1) * u128::from(self.entries);
        room.is_none_or(|room| u128::from(self.cost) >= costs_of_all(room))
    }

    #[inline]
    fn window_is_overfull(&self) -> bool {
        self.window_entries > 1 && self.window_cost > self.worth.most_in_window(self.cost)
    }

    fn enter_main(&self, entry: &impl Entry) {
        entry.set_mark(MAIN | self.tick & (STAMPS - 1));
        entry.set_reads(0);
    }

    /// Makes a place in the ring: a full one gives its first entry to main.
    #[inline]
    fn make_place(&mut self, entries: &impl Entries) {
        if self.window.is_full() {
            self.empty_place(entries);
        }
    }

    #[cold]
    fn empty_place(&mut self, entries: &impl Entries) {
        if let Some(slot) = self.window.front() {
            self.window.pop_front();
            if let Some(entry) = entries.place(slot)
                && is_in_window(entry.mark())
            {
                self.leave_window(entry, entries);
                self.enter_main(entry);
            }
        }
    }

    #[inline]
    fn leave_window<E: Entries>(&mut self, entry: &E::Entry, entries: &E) {
        self.window_entries -= 1;
        self.window_cost -= entries.cost(entry);
    }

    /// Puts an entry last in the window.
    #[inline]
    fn enter_window<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E) {
        self.make_place(entries);
        entry.set_mark(WINDOW | self.tick & (TICKS - 1));
        self.window.push_back(slot);
        self.window_entries += 1;
        self.window_cost += entries.cost(entry);
    }

    /// An entry of the window goes, and one with the same key enters it.
    #[inline(never)]
    fn replace_in_window<E: Entries>(
        &mut self,
        old: Named<'_, E>,
        (slot, entry): Named<'_, E>,
        entries: &E,
    ) {
        self.on_remove(old.0, old.1, entries);
        self.entries += 1;
        self.cost += entries.cost(entry);
        self.enter_window(slot, entry, entries);
    }

    /// The first entry of the window, after numbers of entries that are gone.
    #[inline]
    fn first_of_window<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>> {
        while let Some(slot) = self.window.front() {
            if let Some(entry) = entries.place(slot)
                && is_in_window(entry.mark())
            {
                return Some((slot, entry));
            }
            self.window.pop_front();
        }
        None
    }

    /// Forgets an entry that is in main, or is in the ring no more.
    #[inline]
    fn forget<E: Entries>(&mut self, entry: &E::Entry, entries: &E) {
        entry.set_mark(0);
        self.entries -= 1;
        self.cost -= entries.cost(entry);
    }

    /// Moves the hand one slot on and returns the slot it left.
    fn step(&mut self, entries: &impl Entries) -> Slot {
        let slot = self.hand;
        self.hand = entries.after(slot);
        entries.prefetch(slot, PREFETCH);
        slot
    }

    /// An entry of main that was not read for more than `age` ticks, if a few looks find one.
    fn staler_than<'a, E: Entries>(&mut self, age: u8, entries: &'a E) -> Option<Named<'a, E>> {
        let mut looks = self.worth.looks(self.inserts);
        for _ in 0..MOST_STEPS {
            let slot = self.step(entries);
            let entry = entries.entry(slot);
            if let Some(seen) = self.look(entry) {
                if seen > age {
                    return Some((slot, entry));
                }
                looks -= 1;
                if looks == 0 {
                    return None;
                }
            }
        }
        None
    }

    /// Ticks since an entry was last seen read, or `None` if it is not in main. A read entry pays
    /// for it with one read.
    fn look(&self, entry: &impl Entry) -> Option<u8> {
        let mark = entry.mark();
        if mark & MAIN == 0 {
            return None;
        }
        // Without a branch: whether an entry was read is what nobody can guess. The sign of one less
        // says it, where the compiler would make a branch of a comparison.
        let reads = entry.reads();
        let unread = ((reads as i8 - 1) >> 7) as u8;
        let age = self.tick.wrapping_sub(mark) & (STAMPS - 1);
        let age = age & unread;
        let stamp = self.tick.wrapping_sub(age.min(OLDEST_STAMP)) & (STAMPS - 1);
        entry.set_mark(MAIN | stamp);
        entry.set_reads(reads - (!unread & 1));
        Some(age)
    }

    /// The next entry of main that was not read, or any if there are too many that were.
    fn victim_of_main<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>> {
        let (mut looks, mut steps) = (0, 0);
        let mut last = None;
        while looks < MOST_LOOKS && (steps < MOST_STEPS || last.is_none()) && steps < 2 * self.slots
        {
            let slot = self.step(entries);
            steps += 1;
            let entry = entries.entry(slot);
            if entry.mark() & MAIN != 0 {
                if entry.reads() == 0 {
                    return Some((slot, entry));
                }
                self.look(entry);
                last = Some((slot, entry));
                looks += 1;
            }
        }
        last
    }

    /// Remembers what will probably be evicted next.
    #[inline]
    fn expect(&mut self, slot: Slot, entries: &impl Entries) {
        if let Some(entry) = entries.place(slot)
            && entry.mark() != 0
        {
            (self.next, self.next_hash) = (slot, entry.hash());
        }
    }

    /// Takes out the entry that main can spare.
    fn evict_of_main<'a, E: Entries>(
        &mut self,
        (slot, entry): Named<'a, E>,
        entries: &E,
    ) -> Named<'a, E> {
        self.worth.left_main(entry.hash());
        self.forget(entry, entries);
        self.expect(entries.after(slot), entries);
        (slot, entry)
    }

    /// Sends an entry of main to the front of the window.
    fn send_away<E: Entries>(&mut self, (slot, entry): Named<'_, E>, entries: &E) {
        self.make_place(entries);
        self.worth.left_main(entry.hash());
        entry.set_mark(LEAVING);
        self.window.push_front(slot);
        self.window_entries += 1;
        self.window_cost += entries.cost(entry);
    }
}

fn is_in_window(mark: u8) -> bool {
    mark & MAIN == 0 && mark != 0
}

impl Policy for Adaptive {
    fn reserve(&mut self, slots: usize, entries: usize) -> bool {
        if entries > self.most_entries as usize {
            let ghosts = self.ghosts.bytes();
            if !(self.window.reserve(share_of(entries, LARGEST_SHARE) + 2)
                && self.ghosts.reserve(ghosts_for(entries))
                && self.worth.reserve(entries))
            {
                return false;
            }
            if self.ghosts.bytes() > ghosts {
                self.cleaning = 0;
            }
            self.most_entries = entries as u32;
        }
        self.slots = self.slots.max(slots as u32);
        true
    }

    #[inline]
    fn prefetch(&self, hash: u32, entries: &impl Entries) {
        let [place, bucket] = entries.lines_of(self.next, self.next_hash);
        let [left_window, left_main] = self.worth.lines_of(self.next_hash, hash);
        prefetch_all_to_write([
            place,
            bucket,
            self.ghosts.line_of(hash),
            left_main,
            self.ghosts.line_of(self.next_hash),
            left_window,
        ]);
    }

    #[inline]
    fn on_insert<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E) {
        let hash = entry.hash();
        self.advance_time();
        let ghost = self.ghosts.take(hash, self.tick & (TICKS - 1));
        self.worth.follow(hash, ghost, self.entries);
        self.entries += 1;
        self.cost += entries.cost(entry);
        if let Some(age) = ghost
            && let Some(stale) = self.staler_than(age, entries)
        {
            self.send_away(stale, entries);
            self.enter_main(entry);
            return;
        }
        self.enter_window(slot, entry, entries);
        for _ in 0..MOST_MOVES {
            if !self.window_is_overfull() {
                return;
            }
            if let Some((_, first)) = self.first_of_window(entries) {
                self.window.pop_front();
                self.leave_window(first, entries);
                self.enter_main(first);
            }
        }
    }

    #[inline(always)]
    fn on_replace<E: Entries>(&mut self, old: Named<'_, E>, new: Named<'_, E>, entries: &E) {
        let mark = old.1.mark();
        new.1.set_reads((old.1.reads() + 1).min(MOST_READS));
        if mark & MAIN == 0 {
            self.replace_in_window(old, new, entries);
            return;
        }
        self.cost = self.cost - entries.cost(old.1) + entries.cost(new.1);
        old.1.set_mark(0);
        new.1.set_mark(mark);
    }

    /// One of the window goes to its end with a new value, and it has no place there twice.
    #[inline(always)]
    fn can_stay(&self, entry: &impl Entry) -> bool {
        entry.mark() & MAIN != 0
    }

    #[inline(always)]
    fn on_rewrite<E: Entries>(&mut self, (_, entry): Named<'_, E>, cost: u64, entries: &E) {
        entry.set_reads((entry.reads() + 1).min(MOST_READS));
        self.cost = self.cost - cost + entries.cost(entry);
    }

    fn truncate(&mut self, slots: usize) {
        // The ring and the ghosts keep their memory: numbers of gone slots may be in the ring.
        self.slots = self.slots.min(slots as u32);
        self.hand = FIRST_SLOT;
    }

    #[inline]
    fn on_remove<E: Entries>(&mut self, slot: Slot, entry: &E::Entry, entries: &E) {
        if is_in_window(entry.mark()) {
            self.leave_window(entry, entries);
            if self.window.front() == Some(slot) {
                self.window.pop_front();
            }
        }
        self.forget(entry, entries);
    }

    #[inline]
    fn evict<'a, E: Entries>(&mut self, entries: &'a E) -> Option<Named<'a, E>> {
        if !self.window_is_full()
            && let Some(named) = self.victim_of_main(entries)
        {
            return Some(self.evict_of_main(named, entries));
        }
        let (slot, entry) = self.first_of_window(entries)?;
        if let (Some(next), Some(after)) = (self.window.perhaps(1), self.window.perhaps(2)) {
            self.expect(next, entries);
            entries.prefetch(after, 0);
        }
        self.window.pop_front();
        self.leave_window(entry, entries);
        let mark = entry.mark();
        if mark & WINDOW != 0 {
            if entry.reads() >= READS_TO_STAY {
                let age = self.tick.wrapping_sub(mark) & (TICKS - 1);
                if let Some((slot, stale)) = self.staler_than(age, entries) {
                    self.enter_main(entry);
                    self.worth.left_main(stale.hash());
                    self.forget(stale, entries);
                    return Some((slot, stale));
                }
            }
            let hash = entry.hash();
            self.ghosts.add(hash, mark & (TICKS - 1));
            self.worth.left_window(hash);
        }
        self.forget(entry, entries);
        Some((slot, entry))
    }

    fn view(&self) -> PolicyView {
        PolicyView {
            kind: PolicyKind::Adaptive,
            entries: self.entries as usize,
            window_entries: self.window_entries as usize,
            window_share: self.worth.window_share(),
            ghosts: self.ghosts.held(),
            bytes: self.window.bytes() + self.ghosts.bytes() + self.worth.bytes(),
        }
    }

    fn validate(&self, live: &[bool], entries: &impl Entries) {
        self.window.validate();
        self.ghosts.validate();
        self.worth.validate();
        let mut in_ring = vec![false; live.len()];
        for slot in self.window.slots() {
            // The slot may be gone.
            if let Some(in_ring) = in_ring.get_mut(entries.number(slot)) {
                *in_ring = true;
            }
        }
        let (mut count, mut cost, mut window_entries, mut window_cost) = (0, 0, 0, 0);
        for (number, &live) in live.iter().enumerate() {
            let slot = entries.numbered(number);
            let mark = entries.place(slot).map_or(0, Entry::mark);
            if !live {
                assert_eq!(mark, 0, "adaptive: free slot {number} has a mark");
                continue;
            }
            assert_ne!(mark, 0, "adaptive: the entry in slot {number} has no mark");
            let its_cost = entries.cost(entries.entry(slot));
            (count, cost) = (count + 1, cost + its_cost);
            if is_in_window(mark) {
                assert!(in_ring[number], "adaptive: slot {number} is not in the window's ring");
                (window_entries, window_cost) = (window_entries + 1, window_cost + its_cost);
            }
        }
        assert_eq!(count, self.entries, "adaptive: count of entries");
        assert_eq!(cost, self.cost, "adaptive: sum of costs");
        assert_eq!(window_entries, self.window_entries, "adaptive: entries of the window");
        assert_eq!(window_cost, self.window_cost, "adaptive: cost of the window");
    }
}

//! Address space for the large pieces of memory of this process, in pages as large as the system
//! has.
//!
//! A cache of a million entries is some ten thousand pages of 4 KiB, far more than a processor
//! remembers the places of, so that each look-up pays for one or two walks through the page tables;
//! under a hypervisor such a walk takes as long as a miss of all caches. With pages of 2 MiB there
//! are twenty. The pieces of one shard are smaller than that, so the pieces of all caches lie side
//! by side here, in **blocks** whose size and place are multiples of a large page.
//!
//! What is freed goes back to the system at once, and its addresses are used again; a block of
//! which nothing is left goes back whole. First fit, in the order of addresses (Knuth, "The Art of
//! Computer Programming" 1, section 2.5): pieces are few, large and mostly live as long as their
//! cache.
#![allow(unsafe_code)]

use std::ptr::NonNull;

use crate::sync::Mutex;

/// A large page of the system, on all that matter here.
const LARGE_PAGE: usize = 2 << 20;

/// A page.
const PAGE: usize = 4 << 10;

/// The least size of a block, and the least share of all blocks that a new one has: so there are
/// few, and little address space lies idle.
const LEAST_BLOCK: usize = 2 * LARGE_PAGE;
const LEAST_BLOCK_SHARE: usize = 4;

/// All pieces of this process.
static ARENA: Mutex<Arena<System>> = Mutex::new(Arena::new(System));

/// So many zeroed bytes that begin with a page, or nothing where memory is short.
pub(super) fn allocate(size: usize) -> Option<NonNull<u8>> {
    let size = size.checked_next_multiple_of(PAGE)?;
    let piece = ARENA.lock().take(size)?;
    NonNull::new(std::ptr::with_exposed_provenance_mut(piece))
}

/// Gives a piece back.
///
/// # Safety
/// It came from [`allocate`] with this size, and nobody uses it any more.
pub(super) unsafe fn free(piece: NonNull<u8>, size: usize) {
    let size = size.next_multiple_of(PAGE);
    // SAFETY: mapped, and nobody uses it, by the caller's word.
    unsafe { forget(piece, size) };
    ARENA.lock().give_back(piece.as_ptr().expose_provenance(), size);
}

/// Makes zeros of what is here, and gives the pages back to the system.
///
/// # Safety
/// It is mapped, begins with a page, and nobody else uses it.
unsafe fn forget(piece: NonNull<u8>, size: usize) {
    // SAFETY: by the caller's word; the advice is about nothing else.
    if unsafe { libc::madvise(piece.as_ptr().cast(), size, libc::MADV_DONTNEED) } != 0 {
        // Pages that are locked in memory stay.
        // SAFETY: as above.
        unsafe { piece.write_bytes(0, size) };
    }
}

/// Where blocks come from.
trait Source {
    /// Addresses of so many zeroed bytes, a multiple of [`LARGE_PAGE`] as their first is.
    fn map(&mut self, size: usize) -> Option<usize>;
    /// Gives back what [`map`](Self::map) gave.
    fn unmap(&mut self, first: usize, size: usize);
}

/// A run of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    first: usize,
    size: usize,
}

impl Run {
    fn end(self) -> usize {
        self.first + self.size
    }
}

/// Blocks, and what of them is free.
struct Arena<S> {
    source: S,
    blocks: Vec<Run>,
    /// In the order of addresses; no two touch, unless a block ends between them.
    free: Vec<Run>,
    /// How many pieces are in use.
    pieces: usize,
}

impl<S: Source> Arena<S> {
    const fn new(source: S) -> Self {
        Self { source, blocks: Vec::new(), free: Vec::new(), pieces: 0 }
    }

    fn take(&mut self, size: usize) -> Option<usize> {
        // Each piece that is given back makes one run more at most: there will be room for it.
        let runs = self.pieces + 1 + self.blocks.len() + 1;
        self.free.try_reserve(runs.saturating_sub(self.free.len())).ok()?;
        let at = match self.free.iter().position(|run| run.size >= size) {
            Some(at) => at,
            None => self.add_block(size)?,
        };
        let run = &mut self.free[at];
        let first = run.first;
        run.first += size;
        run.size -= size;
        if run.size == 0 {
            self.free.remove(at);
        }
        self.pieces += 1;
        Some(first)
    }

    /// Adds a block that has room for so much; returns the place of its run.
    fn add_block(&mut self, size: usize) -> Option<usize> {
        self.blocks.try_reserve(1).ok()?;
        let all: usize = self.blocks.iter().map(|block| block.size).sum();
        let least = size.checked_next_multiple_of(LARGE_PAGE)?;
        let wanted = (all / LEAST_BLOCK_SHARE).next_multiple_of(LARGE_PAGE).max(LEAST_BLOCK);
        let (first, size) = [wanted.max(least), least]
            .into_iter()
            .find_map(|size| Some((self.source.map(size)?, size)))?;
        let block = Run { first, size };
        self.blocks.push(block);
        let at = self.free.partition_point(|run| run.first < first);
        self.free.insert(at, block);
        Some(at)
    }

    fn give_back(&mut self, first: usize, size: usize) {
        self.pieces -= 1;
        let mut run = Run { first, size };
        let Some(nth) = self
            .blocks
            .iter()
            .position(|block| block.first <= run.first && run.end() <= block.end())
        else {
            debug_assert!(false, "{run:x?} is in no block");
            return;
        };
        let block = self.blocks[nth];
        let mut at = self.free.partition_point(|other| other.first < first);
        if let Some(after) = self.free.get(at)
            && after.first == run.end()
            && after.end() <= block.end()
        {
            run.size += after.size;
            self.free.remove(at);
        }
        if let Some(before) = at.checked_sub(1).map(|before| self.free[before])
            && before.end() == run.first
            && before.first >= block.first
        {
            run = Run { first: before.first, size: before.size + run.size };
            at -= 1;
            self.free.remove(at);
        }
        if run == block {
            self.blocks.swap_remove(nth);
            self.source.unmap(block.first, block.size);
        } else {
            // There is room for it: see `take`.
            self.free.insert(at, run);
        }
    }
}

/// The system.
struct System;

impl Source for System {
    fn map(&mut self, size: usize) -> Option<usize> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let more = size.checked_add(LARGE_PAGE - PAGE)?;
        // SAFETY: a new mapping, wherever the system finds room, touches no memory in use.
        let memory = unsafe { libc::mmap(std::ptr::null_mut(), more, access, kind, -1, 0) };
        if memory == libc::MAP_FAILED {
            return None;
        }
        let mapped = memory.expose_provenance();
        let first = mapped.next_multiple_of(LARGE_PAGE);
        self.unmap(mapped, first - mapped);
        self.unmap(first + size, mapped + more - (first + size));
        let memory = std::ptr::with_exposed_provenance_mut(first);
        // SAFETY: advice about a mapping of our own. Where it is refused, pages are small.
        unsafe { libc::madvise(memory, size, libc::MADV_HUGEPAGE) };
        Some(first)
    }

    fn unmap(&mut self, first: usize, size: usize) {
        if size > 0 {
            let memory = std::ptr::with_exposed_provenance_mut(first);
            // SAFETY: mapped by `map`, and nobody uses it. It fails only where the process has as
            // many mappings as it may; the addresses are lost then.
            unsafe { libc::munmap(memory, size) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Addresses that nothing stands behind.
    #[derive(Default)]
    struct Numbers {
        next: usize,
        mapped: Vec<Run>,
        most: usize,
    }

    impl Source for Numbers {
        fn map(&mut self, size: usize) -> Option<usize> {
            assert_eq!(size % LARGE_PAGE, 0);
            if size > self.most {
                return None;
            }
            self.next += LARGE_PAGE;
            self.mapped.push(Run { first: self.next, size });
            self.next += size;
            Some(self.next - size)
        }

        fn unmap(&mut self, first: usize, size: usize) {
            let block = Run { first, size };
            let nth = self.mapped.iter().position(|other| *other == block);
            self.mapped.remove(nth.expect("given back as it was given"));
        }
    }

    fn arena(most: usize) -> Arena<Numbers> {
        Arena::new(Numbers { next: LARGE_PAGE, mapped: vec![], most })
    }

    #[test]
    fn pieces_lie_side_by_side_and_their_place_is_used_again() {
        let mut arena = arena(usize::MAX);
        let [a, b, c] = [3, 5, 7].map(|pages| arena.take(pages * PAGE).unwrap());
        assert_eq!((a % LARGE_PAGE, b - a, c - b), (0, 3 * PAGE, 5 * PAGE));
        arena.give_back(b, 5 * PAGE);
        assert_eq!(arena.take(4 * PAGE), Some(b));
        assert_eq!(arena.take(PAGE), Some(b + 4 * PAGE));
        assert_eq!(arena.source.mapped.len(), 1);
    }

    #[test]
    fn a_block_goes_back_when_nothing_is_left_of_it() {
        let mut arena = arena(usize::MAX);
        let small = arena.take(PAGE).unwrap();
        let large = arena.take(3 * LEAST_BLOCK).unwrap();
        assert_eq!(arena.source.mapped.len(), 2);
        arena.give_back(large, 3 * LEAST_BLOCK);
        assert_eq!(arena.source.mapped.len(), 1);
        arena.give_back(small, PAGE);
        assert_eq!((arena.source.mapped.len(), arena.free.len(), arena.blocks.len()), (0, 0, 0));
    }

    #[test]
    fn where_a_large_block_is_not_to_be_had_a_small_one_is_asked_for() {
        let mut arena = arena(LARGE_PAGE);
        assert!(arena.take(PAGE).is_some());
        assert_eq!(arena.take(LARGE_PAGE + PAGE), None);
        assert!(arena.take(PAGE).is_some());
    }

    #[test]
    fn pieces_never_overlap_and_all_blocks_go_back_in_the_end() {
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        let mut arena = arena(64 * LARGE_PAGE);
        let mut taken: Vec<Run> = Vec::new();
        for _ in 0..20_000 {
            if taken.len() < 40 && random.bool() {
                let doublings = random.u32(1..12);
                let size = PAGE * random.usize(1..=1 << doublings);
                let first = arena.take(size).unwrap();
                let run = Run { first, size };
                let apart = |other: &Run| other.end() <= first || run.end() <= other.first;
                assert!(taken.iter().all(apart), "{run:x?} among {taken:x?}");
                let within = |block: &Run| block.first <= first && run.end() <= block.end();
                assert!(arena.source.mapped.iter().any(within));
                taken.push(run);
            } else if !taken.is_empty() {
                let run = taken.swap_remove(random.usize(..taken.len()));
                let room = arena.free.capacity();
                arena.give_back(run.first, run.size);
                assert_eq!(arena.free.capacity(), room, "giving back allocates nothing");
            }
            assert!(arena.free.is_sorted_by(|a, b| a.end() <= b.first));
        }
        taken.into_iter().for_each(|run| arena.give_back(run.first, run.size));
        assert!(arena.source.mapped.is_empty() && arena.free.is_empty());
    }
}

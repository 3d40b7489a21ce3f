//! Which parts of the data are in the page tables of this process.
//!
//! A store is allocated when it is made, but a process that writes into a page of it for the first
//! time takes a page fault, half a microsecond and more in a virtual machine, for each 4 KiB: a
//! third of the time of a put. Writers go through a segment from its begin to its end, so they ask
//! for a piece of it at a time, in one call.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::store::map::Mapping;

/// What is asked for at a time: some ten microseconds. Whole pages of all sizes.
const PIECE_BYTES: u32 = 256 << 10;
/// In place of a number of bytes: the kernel knows no such call (before Linux 5.14).
const NEVER: u32 = u32::MAX;

/// For each segment, the bytes from its start that are present. What a forked child or a kernel
/// short of memory lost of them comes back by page faults.
pub(super) struct Present(Box<[AtomicU32]>);

impl Present {
    pub(super) fn new(segments: u32) -> Self {
        Self((0..segments).map(|_| AtomicU32::new(0)).collect())
    }

    /// Sees to it that the segment, which begins at byte `at`, is present up to byte `end` of it.
    #[inline]
    pub(super) fn reach(&self, mapping: &Mapping, segment: u32, at: u64, end: u32, most: u32) {
        let Some(present) = self.0.get(segment as usize) else { return };
        let from = present.load(Ordering::Relaxed);
        if from < end {
            extend(present, mapping, at, from, end, most);
        }
    }
}

#[cold]
#[inline(never)]
fn extend(present: &AtomicU32, mapping: &Mapping, at: u64, from: u32, end: u32, most: u32) {
    let to = end.next_multiple_of(PIECE_BYTES).min(most);
    let done = mapping.populate(at + u64::from(from), u64::from(to - from));
    present.fetch_max(if done { to } else { NEVER }, Ordering::Relaxed);
}

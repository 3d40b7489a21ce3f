//! The records of a store on a disk, seen through a mapping that nothing is written by.
//!
//! Writers go by `pwrite`. On Linux that and a shared mapping are the same pages, so what a writer
//! wrote before it published a slot is what is read here, and what is read while a segment is filled
//! anew is found out as on any medium: by slot and generation afterwards, and by the checksum.
//!
//! A page that cannot be read raises SIGBUS. So there is no such mapping without the guard, which
//! puts a page of ones there and notes it. What was read then means nothing, and neither does what
//! others will read of that page: each look ends with the question whether it was spoiled, and if
//! so, all is read by calls from then on, which name the error or find the value.

use std::{
    fs::File,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use crate::store::{map::Mapping, words};

/// Records by position, for reading.
pub(super) struct Records(Mapping);

impl Records {
    /// Maps the first `bytes` bytes of the file; `None` where that or the guard is not to be had.
    pub(super) fn new(file: &File, bytes: u64) -> Option<Self> {
        let mut mapping = Mapping::for_reading(file, bytes).ok()?;
        mapping.guard().then_some(Self(mapping))
    }

    /// The first eight words at `position`; `None` where they cannot be read here.
    #[inline(always)]
    pub(super) fn words(&self, position: u64) -> Option<[u64; 8]> {
        let shared: &[AtomicU64; 8] = self.0.at(position);
        let words = std::array::from_fn(|number| shared[number].load(Ordering::Relaxed));
        self.is_sound().then_some(words)
    }

    /// True where the bytes at `position` (a multiple of 8) are `bytes`; `None` as for
    /// [`words`](Self::words).
    #[inline(always)]
    pub(super) fn equal(&self, position: u64, bytes: &[u8]) -> Option<bool> {
        let are_equal = words::equal(self.0.slice(position, bytes.len().div_ceil(8)), bytes);
        self.is_sound().then_some(are_equal)
    }

    /// Appends `count` bytes from `position` (a multiple of 8) on to `target`, which has the
    /// capacity, and returns their sum; `None` where they cannot be read here, and then `target` is
    /// as it was.
    #[inline(always)]
    pub(super) fn append(&self, position: u64, count: usize, target: &mut Vec<u8>) -> Option<u64> {
        let before = target.len();
        let sum = words::append_summed(self.0.slice(position, count.div_ceil(8)), count, target);
        let is_sound = self.is_sound();
        if !is_sound {
            target.truncate(before);
        }
        is_sound.then_some(sum)
    }

    /// Has the processor fetch what is at `position`.
    #[inline(always)]
    pub(super) fn prefetch(&self, position: u64, lines: usize) {
        self.0.prefetch(position, lines);
    }

    /// True where all that was read so far was in the file.
    #[inline(always)]
    pub(super) fn is_sound(&self) -> bool {
        // The question comes after the loads that it is about. The guard answers it in the thread
        // of the load that failed.
        fence(Ordering::Acquire);
        !self.0.is_spoiled()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::store::sum;

    const BYTES: u64 = 1 << 20;

    #[test]
    fn what_is_written_by_calls_is_read_here_and_what_is_gone_is_not() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(BYTES).unwrap();
        let records = Records::new(&file, BYTES).unwrap();
        for round in 1..4_u8 {
            file.write_all_at(&[round; 5000], 64).unwrap();
            assert_eq!(records.words(64), Some([u64::from_ne_bytes([round; 8]); 8]));
            assert_eq!(records.equal(4096, &[round; 13]), Some(true));
            assert_eq!(records.equal(4096, &[0; 13]), Some(false));
            let mut value = Vec::with_capacity(5000);
            assert_eq!(records.append(64, 5000, &mut value), Some(sum::xxh3(&[round; 5000])));
            assert_eq!(value, [round; 5000]);
        }
        file.set_len(4096).unwrap();
        let mut value = Vec::with_capacity(100);
        assert!(records.append(8192, 100, &mut value).is_none() && value.is_empty());
        assert_eq!((records.words(64), records.equal(64, &[3; 8])), (None, None));
    }
}

//! Eight 16-bit cells side by side: a bucket of fingerprints that one instruction compares.
//!
//! Cell 0 holds the newest; 0 is an empty cell.
#![allow(unsafe_code)]

use crate::pages::Zero;

/// Cells of a bucket: four buckets are one cache line.
pub(super) const WAYS: usize = 8;

/// One bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(16))]
pub(super) struct Cells([u16; WAYS]);

/// Ones in all cells up to that of the index.
#[cfg(target_arch = "x86_64")]
const UP_TO: [Cells; WAYS] = {
    let mut masks = [Cells([0; WAYS]); WAYS];
    let mut last = 0;
    while last < WAYS {
        let mut way = 0;
        while way <= last {
            masks[last].0[way] = u16::MAX;
            way += 1;
        }
        last += 1;
    }
    masks
};

// SAFETY: numbers.
unsafe impl Zero for Cells {}

impl Cells {
    /// The first cell whose bits below `mask` are these.
    #[inline]
    pub(super) fn find(&self, bits: u16, mask: u16) -> Option<usize> {
        let found = self.equal(bits, mask);
        (found != 0).then(|| found.trailing_zeros() as usize / 2)
    }

    /// Two bits for each cell whose bits below `mask` are these.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn equal(&self, bits: u16, mask: u16) -> u32 {
        use std::arch::x86_64::{
            _mm_and_si128, _mm_cmpeq_epi16, _mm_load_si128, _mm_movemask_epi8, _mm_set1_epi16,
        };
        // SAFETY: the load is of all 16 bytes of `self`, which are aligned to 16; SSE2 belongs to
        // every x86-64.
        unsafe {
            let cells = _mm_load_si128(self.0.as_ptr().cast());
            let masked = _mm_and_si128(cells, _mm_set1_epi16(mask as i16));
            _mm_movemask_epi8(_mm_cmpeq_epi16(masked, _mm_set1_epi16(bits as i16))) as u32
        }
    }

    /// As above, without special instructions.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn equal_anywhere(&self, bits: u16, mask: u16) -> u32 {
        let equal = |way: usize| if self.0[way] & mask == bits { 3 << (2 * way) } else { 0 };
        (0..WAYS).map(equal).sum()
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn equal(&self, bits: u16, mask: u16) -> u32 {
        self.equal_anywhere(bits, mask)
    }

    /// Puts a cell first. All up to the first empty one move by one place; where none of the first
    /// `ways` is empty, the last of those falls out.
    #[inline]
    pub(super) fn push(&mut self, bits: u16, ways: usize) {
        let last = self.find(0, u16::MAX).map_or(ways - 1, |empty| empty.min(ways - 1));
        self.shift_in(bits, last);
    }

    /// Puts a cell first and moves all others by one place; the last of `ways` falls out.
    #[inline]
    pub(super) fn shift(&mut self, bits: u16, ways: usize) {
        self.shift_in(bits, ways - 1);
    }

    /// Moves the cells before `last` by one place, over `last`, and puts one first.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn shift_in(&mut self, bits: u16, last: usize) {
        use std::arch::x86_64::{
            _mm_and_si128, _mm_andnot_si128, _mm_insert_epi16, _mm_load_si128, _mm_or_si128,
            _mm_slli_si128, _mm_store_si128,
        };
        // SAFETY: loads and stores are of all 16 bytes of `self` and of a `Cells` of the table,
        // which are aligned to 16; SSE2 belongs to every x86-64.
        unsafe {
            let cells = _mm_load_si128(self.0.as_ptr().cast());
            let moving = _mm_load_si128(UP_TO[last].0.as_ptr().cast());
            let shifted = _mm_insert_epi16::<0>(_mm_slli_si128::<2>(cells), i32::from(bits));
            let moved = _mm_and_si128(shifted, moving);
            let left = _mm_andnot_si128(moving, cells);
            _mm_store_si128(self.0.as_mut_ptr().cast(), _mm_or_si128(moved, left));
        }
    }

    /// As above, without special instructions.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn shift_in_anywhere(&mut self, bits: u16, last: usize) {
        self.0.copy_within(..last, 1);
        self.0[0] = bits;
    }

    #[cfg(not(target_arch = "x86_64"))]
    #[inline]
    fn shift_in(&mut self, bits: u16, last: usize) {
        self.shift_in_anywhere(bits, last);
    }

    /// The bits of a cell.
    #[inline]
    pub(super) fn get(&self, way: usize) -> u16 {
        self.0[way % WAYS]
    }

    /// Empties a cell.
    #[inline]
    pub(super) fn clear(&mut self, way: usize) {
        self.0[way % WAYS] = 0;
    }

    /// Empties the cells whose bits below `mask` are more than `oldest` before `now`, in numbers
    /// that wrap at `mask` and stay below 2^15.
    #[inline]
    pub(super) fn clear_older(&mut self, now: u16, mask: u16, oldest: u16) {
        // Without a branch, so that eight cells are one operation.
        for cell in &mut self.0 {
            let is_old = now.wrapping_sub(*cell) & mask > oldest;
            *cell &= u16::from(is_old).wrapping_sub(1);
        }
    }

    /// All cells.
    pub(super) fn iter(&self) -> impl Iterator<Item = u16> {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_look_and_to_move_agree() {
        const SEED: u64 = 0xCE11;
        println!("seed {SEED}");
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut cells = Cells::default();
        for _ in 0..20_000 {
            let (bits, mask) = (random.u16(0..4), [u16::MAX, 1, 2][random.usize(0..3)]);
            assert_eq!(cells.equal(bits, mask), cells.equal_anywhere(bits, mask), "{cells:?}");
            let mut other = cells;
            let last = random.usize(0..WAYS);
            cells.shift_in(bits, last);
            other.shift_in_anywhere(bits, last);
            assert_eq!(cells, other, "{bits} up to {last}");
            if random.bool() {
                cells.clear(random.usize(0..WAYS));
            }
        }
    }
}

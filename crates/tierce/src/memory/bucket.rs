//! One cache line of the index: twelve tags, twelve slots, and how many entries passed by.
//!
//! ```text
//!   [ 12 tags of 8 bits | passed by (8 bits) | - - - | 12 slots of 32 bits ]
//!      ^ 0 = empty
//! ```

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::policy::Slot;

/// Entries in a bucket: twelve tags and twelve slots fill a cache line.
pub(super) const WIDTH: usize = 12;

/// A bucket that as many entries passed by loses count, and stays "passed by" for ever.
pub(super) const MOST_PASSED: u64 = 255;

/// The bit of the second tag word where the count of passing entries begins: after four tags.
const PASSED_SHIFT: u32 = 32;

#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: [AtomicU64; 2],
    slots: [AtomicU32; WIDTH],
}

impl Bucket {
    /// The positions whose tag is this, as bits.
    #[inline]
    fn matching(low: u64, high: u64, tag: u8) -> u32 {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{
                _mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi32,
            };
            // SAFETY: SSE2 belongs to every x86-64.
            let equal = unsafe {
                _mm_movemask_epi8(_mm_cmpeq_epi8(
                    _mm_set_epi64x(high as i64, low as i64),
                    _mm_set1_epi32((u32::from(tag) * 0x0101_0101) as i32),
                ))
            };
            equal as u32 & ((1 << WIDTH) - 1)
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            Self::matching_anywhere(low, high, tag)
        }
    }

    /// The positions that have the tag of this hash at the moment, as bits. An Acquire load of both
    /// words.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    #[inline]
    pub(super) fn matching_now(&self, hash: u32) -> u32 {
        use std::arch::{
            asm,
            x86_64::{
                __m128i, _mm_cmpeq_epi8, _mm_max_epu8, _mm_movemask_epi8, _mm_set1_epi8,
                _mm_set1_epi32,
            },
        };
        let tags: __m128i;
        // SAFETY:
        // 1. The load is of the 16 bytes of `tags`, which begin a bucket and so are aligned.
        // 2. Others store to the two words meanwhile, each as a whole. The processor loads each
        //    as a whole, and as any load of this processor it is an Acquire; as the assembler is
        //    not said to leave memory alone, the compiler keeps the order as well.
        unsafe {
            asm!("movdqa {}, xmmword ptr [{}]", out(xmm_reg) tags, in(reg) &raw const self.tags,
                 options(nostack, preserves_flags));
        }
        // `tag_of` of sixteen at once.
        // SAFETY: SSE2 belongs to every x86-64.
        let equal = unsafe {
            let low = _mm_set1_epi32(((hash & 0xFF) * 0x0101_0101) as i32);
            _mm_movemask_epi8(_mm_cmpeq_epi8(tags, _mm_max_epu8(low, _mm_set1_epi8(1))))
        };
        equal as u32 & ((1 << WIDTH) - 1)
    }

    /// The positions that have the tag of this hash at the moment, as bits.
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    #[inline]
    pub(super) fn matching_now(&self, hash: u32) -> u32 {
        let low = self.tags[0].load(Ordering::Acquire);
        let high = self.tags[1].load(Ordering::Acquire);
        Self::matching(low, high, tag_of(hash))
    }

    /// The positions that have a tag at the moment, as bits.
    #[inline]
    pub(super) fn taken_now(&self) -> u32 {
        let low = self.tags[0].load(Ordering::Acquire);
        let high = self.tags[1].load(Ordering::Acquire);
        !Self::matching(low, high, 0) & ((1 << WIDTH) - 1)
    }

    /// The positions that have this tag, as bits, for who holds the shard's lock: nobody else
    /// stores tags, so the compiler may keep what it knows of other memory, which it may not
    /// beside the assembler of [`matching_now`](Self::matching_now).
    #[inline]
    pub(super) fn matching_held(&self, tag: u8) -> u32 {
        let low = self.tags[0].load(Ordering::Relaxed);
        let high = self.tags[1].load(Ordering::Relaxed);
        Self::matching(low, high, tag)
    }

    /// The position of this tag whose slot `is_it` knows. Only under the lock.
    #[inline]
    pub(super) fn position_of(
        &self,
        tag: u8,
        mut is_it: impl FnMut(Slot) -> bool,
    ) -> Option<usize> {
        let mut positions = self.matching_held(tag);
        while positions != 0 {
            let position = positions.trailing_zeros() as usize;
            if is_it(self.slot(position, Ordering::Relaxed)) {
                return Some(position);
            }
            positions &= positions - 1;
        }
        None
    }

    /// [`matching`](Self::matching) without special instructions.
    #[cfg(any(test, not(target_arch = "x86_64")))]
    fn matching_anywhere(low: u64, high: u64, tag: u8) -> u32 {
        /// One bit per byte of `word` that is zero. Exact: no carry runs from byte to byte.
        fn zero_bytes(word: u64) -> u32 {
            const LOW_SEVEN: u64 = 0x7F7F_7F7F_7F7F_7F7F;
            let nonzero = ((word & LOW_SEVEN) + LOW_SEVEN) | word;
            let zero = !nonzero & !LOW_SEVEN;
            // Gathers the eighth bits into the top byte.
            ((zero >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
        }
        let wanted = u64::from(tag) * 0x0101_0101_0101_0101;
        (zero_bytes(low ^ wanted) | zero_bytes(high ^ wanted) << 8) & ((1 << WIDTH) - 1)
    }

    /// True if entries passed by, as readers see it.
    #[inline]
    pub(super) fn is_passed(&self) -> bool {
        self.tags[1].load(Ordering::Acquire) >> PASSED_SHIFT & MOST_PASSED != 0
    }

    #[inline]
    pub(super) fn passed(&self) -> u64 {
        self.tags[1].load(Ordering::Relaxed) >> PASSED_SHIFT & MOST_PASSED
    }

    /// One more entry passes by.
    pub(super) fn pass(&self) {
        if self.passed() < MOST_PASSED {
            let word = self.tags[1].load(Ordering::Relaxed);
            self.tags[1].store(word + (1 << PASSED_SHIFT), Ordering::Release);
        }
    }

    /// One entry less passes by.
    pub(super) fn unpass(&self) {
        let passed = self.passed();
        debug_assert!(passed > 0, "more entries came back than passed by");
        if passed < MOST_PASSED && passed > 0 {
            let word = self.tags[1].load(Ordering::Relaxed);
            self.tags[1].store(word - (1 << PASSED_SHIFT), Ordering::Release);
        }
    }

    /// A position without tag. Only under the lock.
    #[inline]
    pub(super) fn free_position(&self) -> Option<usize> {
        let free = self.matching_held(0);
        (free != 0).then(|| free.trailing_zeros() as usize)
    }

    #[inline]
    pub(super) fn slot(&self, position: usize, order: Ordering) -> Slot {
        #[cfg(test)]
        super::work::look();
        self.slots[position].load(order)
    }

    /// Names a slot at a position; its tag is the caller's to set.
    #[inline]
    pub(super) fn set_slot(&self, position: usize, slot: Slot) {
        self.slots[position].store(slot, Ordering::Release);
    }

    pub(super) fn tag(&self, position: usize) -> u8 {
        (self.tags[position / 8].load(Ordering::Relaxed) >> (position % 8 * 8)) as u8
    }

    #[inline]
    pub(super) fn set_tag(&self, position: usize, tag: u8) {
        let (word, shift) = (&self.tags[position / 8], position % 8 * 8);
        let others = word.load(Ordering::Relaxed) & !(0xFF << shift);
        word.store(others | u64::from(tag) << shift, Ordering::Release);
    }
}

/// The tag of a hash; never 0.
#[inline]
pub(super) fn tag_of(hash: u32) -> u8 {
    let tag = hash as u8;
    tag + u8::from(tag == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_compared_alike_with_and_without_special_instructions() {
        let mut random = fastrand::Rng::with_seed(3);
        assert_eq!((tag_of(0x700), tag_of(0x7FF)), (1, 0xFF));
        for _ in 0..100_000 {
            let (low, high) = (random.u64(..), random.u64(..));
            let (low, high) = (low & random.u64(..), high & random.u64(..));
            for tag in [0, 1, 0x80, 0xFF, random.u8(..), low as u8] {
                let expected = (0..WIDTH)
                    .filter(|position| {
                        let word = if *position < 8 { low } else { high };
                        (word >> (position % 8 * 8)) as u8 == tag
                    })
                    .fold(0, |bits, position| bits | 1 << position);
                assert_eq!(Bucket::matching(low, high, tag), expected);
                assert_eq!(Bucket::matching_anywhere(low, high, tag), expected);
                let bucket = Bucket {
                    tags: [low, high].map(AtomicU64::new),
                    slots: [const { AtomicU32::new(0) }; WIDTH],
                };
                if tag != 0 {
                    assert_eq!(bucket.matching_now(random.u32(..) << 8 | u32::from(tag)), expected);
                } else {
                    assert_eq!(bucket.taken_now(), !expected & ((1 << WIDTH) - 1));
                }
            }
        }
    }
}

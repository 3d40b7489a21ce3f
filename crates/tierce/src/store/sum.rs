//! The checksums of records: XXH3-64, by the widest registers that the processor has.
//!
//! XXH3 mixes 64 bytes at a time in eight independent lanes, so twice as wide registers take half
//! the instructions. The crate that everything else is hashed with chooses the registers when it
//! is compiled, for processors of 2003; here it is done when the program runs. All give the same
//! bits.
//!
//! Collet: "XXH3", `xxhash_spec.md` in github.com/Cyan4973/xxHash; the names of steps are its own.
#![allow(unsafe_code)]

use xxhash_rust::xxh3::xxh3_64;

/// Inputs up to this are hashed in other, short ways.
const MID_SIZE_MAX: usize = 240;
const STRIPE_BYTES: usize = 64;
/// Bytes of the secret.
const SECRET_BYTES: usize = 192;
/// The secret moves on by 8 bytes with each stripe, until its end.
const STRIPES_PER_BLOCK: usize = (SECRET_BYTES - STRIPE_BYTES) / 8;
/// How far ahead of what is copied the processor is told to fetch: on small pages it has to begin with
/// a walk of the page tables, which is more than a page takes to copy half of.
#[cfg(target_arch = "x86_64")]
const BYTES_AHEAD: usize = 2560;
/// Where the secret for the last stripe begins.
const LAST_SECRET_AT: usize = SECRET_BYTES - STRIPE_BYTES - 7;
/// Where the secret for merging the lanes begins.
const MERGE_SECRET_AT: usize = 11;

const PRIME32_1: u64 = 0x9E37_79B1;
const PRIME32_2: u64 = 0x85EB_CA77;
const PRIME32_3: u64 = 0xC2B2_AE3D;
const PRIME64_1: u64 = 0x9E37_79B1_85EB_CA87;
const PRIME64_2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const PRIME64_3: u64 = 0x1656_67B1_9E37_79F9;
const PRIME64_4: u64 = 0x85EB_CA77_C2B2_AE63;
const PRIME64_5: u64 = 0x27D4_EB2F_1656_67C5;

/// The secret that XXH3 has where none is given.
const SECRET: [u8; SECRET_BYTES] = [
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
    0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
    0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
    0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
    0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
    0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
    0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
    0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
    0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
];

/// The secret as words, for inputs of which every word is at a multiple of 8.
const SECRET_WORDS: [u64; 8] = {
    let mut words = [0; 8];
    let mut number = 0;
    while number < 8 {
        words[number] = secret_word(number * 8);
        number += 1;
    }
    words
};

const fn secret_word(at: usize) -> u64 {
    let mut word = 0;
    let mut byte = 8;
    while byte > 0 {
        byte -= 1;
        word = word << 8 | SECRET[at + byte] as u64;
    }
    word
}

/// XXH3-64 of `bytes`.
#[inline]
pub(super) fn xxh3(bytes: &[u8]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if bytes.len() > MID_SIZE_MAX && std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { wide::long(bytes) };
    }
    xxh3_64(bytes)
}

/// Copies `count` bytes and returns XXH3-64 of them; `None`, and nothing is copied, where that is
/// done better in two passes: of a few bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of so many bytes, and they do not overlap. What lies
/// at `from` may be written by others at the same time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
pub(super) unsafe fn copied(from: *const u8, to: *mut u8, count: usize) -> Option<u64> {
    let is_wide = count > MID_SIZE_MAX && std::arch::is_x86_feature_detected!("avx2");
    // SAFETY: the processor has AVX2; the rest is the caller's word.
    is_wide.then(|| unsafe { wide::long_copied(from, to, count) })
}

/// Nothing, on this processor.
#[cfg(not(all(target_arch = "x86_64", not(miri))))]
pub(super) unsafe fn copied(_from: *const u8, _to: *mut u8, _count: usize) -> Option<u64> {
    None
}

/// XXH3-64 of eight words as the bytes that they are in memory.
#[inline(always)]
pub(super) fn xxh3_of_words(words: &[u64; 8]) -> u64 {
    let mix = |number: usize, secret: usize| {
        fold(
            u64::from_le(words[number]) ^ SECRET_WORDS[secret],
            u64::from_le(words[number + 1]) ^ SECRET_WORDS[secret + 1],
        )
    };
    let sum = (64_u64.wrapping_mul(PRIME64_1))
        .wrapping_add(mix(2, 4))
        .wrapping_add(mix(4, 6))
        .wrapping_add(mix(0, 0))
        .wrapping_add(mix(6, 2));
    avalanche(sum)
}

#[inline]
fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    product as u64 ^ (product >> 64) as u64
}

#[inline]
fn avalanche(mut word: u64) -> u64 {
    word ^= word >> 37;
    word = word.wrapping_mul(0x1656_6791_9E37_79F9);
    word ^ (word >> 32)
}

fn merge(lanes: [u64; 8], bytes: usize) -> u64 {
    let mut sum = (bytes as u64).wrapping_mul(PRIME64_1);
    for pair in 0..4 {
        let left = lanes[pair * 2] ^ secret_word(MERGE_SECRET_AT + pair * 16);
        let right = lanes[pair * 2 + 1] ^ secret_word(MERGE_SECRET_AT + pair * 16 + 8);
        sum = sum.wrapping_add(fold(left, right));
    }
    avalanche(sum)
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_loadu_si256, _mm256_mul_epu32, _mm256_set1_epi32,
        _mm256_setr_epi64x, _mm256_shuffle_epi32, _mm256_slli_epi64, _mm256_srli_epi64,
        _mm256_storeu_si256, _mm256_xor_si256,
    };

    use super::{
        BYTES_AHEAD, LAST_SECRET_AT, MID_SIZE_MAX, PRIME32_1, PRIME32_2, PRIME32_3, PRIME64_1,
        PRIME64_2, PRIME64_3, PRIME64_4, PRIME64_5, SECRET, SECRET_BYTES, STRIPE_BYTES,
        STRIPES_PER_BLOCK, merge,
    };

    /// Eight lanes.
    type Lanes = [__m256i; 2];

    /// XXH3-64 of more than [`MID_SIZE_MAX`] bytes.
    #[target_feature(enable = "avx2")]
    pub(super) fn long(bytes: &[u8]) -> u64 {
        sum_of(bytes.len(), |at| {
            let stripe = &bytes[at..at + STRIPE_BYTES];
            [load(stripe, 0), load(stripe, 1)]
        })
    }

    /// Copies more than [`MID_SIZE_MAX`] bytes, and returns XXH3-64 of what was copied: in one pass,
    /// so that the arithmetic is done while the next bytes come from memory.
    ///
    /// # Safety
    /// `from` is valid for reads and `to` for writes of so many bytes, and they do not overlap. What
    /// lies at `from` may be written by others at the same time.
    #[cfg(not(miri))]
    #[target_feature(enable = "avx2")]
    pub(super) unsafe fn long_copied(from: *const u8, to: *mut u8, bytes: usize) -> u64 {
        sum_of(bytes, |at| {
            let (first, second);
            // SAFETY: a whole stripe lies from `at` on, says `sum_of`, at any alignment; the
            // instructions read it and change the registers named. Loads come in order.
            unsafe {
                std::arch::asm!(
                    "prefetcht0 [{from} + {ahead}]",
                    "vmovdqu {first}, [{from}]",
                    "vmovdqu {second}, [{from} + 32]",
                    from = in(reg) from.add(at),
                    ahead = const BYTES_AHEAD,
                    first = out(ymm_reg) first,
                    second = out(ymm_reg) second,
                    options(nostack, preserves_flags, readonly),
                );
                // SAFETY: as above; this memory is ours alone.
                _mm256_storeu_si256(to.add(at).cast(), first);
                _mm256_storeu_si256(to.add(at + 32).cast(), second);
            }
            [first, second]
        })
    }

    /// XXH3-64 of so many bytes, more than [`MID_SIZE_MAX`], of which `stripe` is asked for those
    /// from a place on: one stripe after another, and then the last, so that each byte is asked for.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn sum_of(bytes: usize, mut stripe: impl FnMut(usize) -> Lanes) -> u64 {
        assert!(bytes > MID_SIZE_MAX, "another way for short inputs");
        let mut lanes = [
            _mm256_setr_epi64x(
                PRIME32_3 as i64,
                PRIME64_1 as i64,
                PRIME64_2 as i64,
                PRIME64_3 as i64,
            ),
            _mm256_setr_epi64x(
                PRIME64_4 as i64,
                PRIME32_2 as i64,
                PRIME64_5 as i64,
                PRIME32_1 as i64,
            ),
        ];
        // The last stripe is not among the others, also where it is whole.
        let stripes = (bytes - 1) / STRIPE_BYTES;
        let mut at = 0;
        for _ in 0..stripes / STRIPES_PER_BLOCK {
            for number in 0..STRIPES_PER_BLOCK {
                accumulate(&mut lanes, stripe(at), secret(number * 8));
                at += STRIPE_BYTES;
            }
            scramble(&mut lanes);
        }
        for number in 0..stripes % STRIPES_PER_BLOCK {
            accumulate(&mut lanes, stripe(at), secret(number * 8));
            at += STRIPE_BYTES;
        }
        accumulate(&mut lanes, stripe(bytes - STRIPE_BYTES), secret(LAST_SECRET_AT));
        let mut words = [0_u64; 8];
        // SAFETY: both halves of the array are valid for a write of 32 bytes.
        unsafe {
            _mm256_storeu_si256(words.as_mut_ptr().cast(), lanes[0]);
            _mm256_storeu_si256(words.as_mut_ptr().add(4).cast(), lanes[1]);
        }
        merge(words, bytes)
    }

    #[inline]
    fn secret(at: usize) -> &'static [u8; STRIPE_BYTES] {
        static WHOLE: [u8; SECRET_BYTES] = SECRET;
        WHOLE[at..].first_chunk().expect("a place that leaves a whole stripe")
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn accumulate(lanes: &mut Lanes, stripe: Lanes, secret: &[u8; STRIPE_BYTES]) {
        for (half, lanes) in lanes.iter_mut().enumerate() {
            let (data, key) = (stripe[half], load(secret, half));
            let keyed = _mm256_xor_si256(data, key);
            let high = _mm256_srli_epi64::<32>(keyed);
            let product = _mm256_mul_epu32(keyed, high);
            // Each lane gets its neighbour's data as it is.
            let swapped = _mm256_shuffle_epi32::<0b01_00_11_10>(data);
            *lanes = _mm256_add_epi64(product, _mm256_add_epi64(*lanes, swapped));
        }
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn scramble(lanes: &mut Lanes) {
        let prime = _mm256_set1_epi32(PRIME32_1 as i32);
        for (half, lanes) in lanes.iter_mut().enumerate() {
            let key = load(secret(SECRET_BYTES - STRIPE_BYTES), half);
            let mixed = _mm256_xor_si256(*lanes, _mm256_srli_epi64::<47>(*lanes));
            let keyed = _mm256_xor_si256(mixed, key);
            let low = _mm256_mul_epu32(keyed, prime);
            let high = _mm256_mul_epu32(_mm256_srli_epi64::<32>(keyed), prime);
            *lanes = _mm256_add_epi64(low, _mm256_slli_epi64::<32>(high));
        }
    }

    /// The first or second half of a stripe.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn load(stripe: &[u8], half: usize) -> __m256i {
        let bytes = &stripe[half * 32..half * 32 + 32];
        // SAFETY: 32 bytes, at any alignment.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_the_other_implementation() {
        let mut random = fastrand::Rng::with_seed(3);
        let bytes: Vec<u8> = (0..20_000).map(|_| random.u8(..)).collect();
        let lengths = (0..2_200).chain((2_200..20_000).step_by(61)).chain([8_192, 16_384]);
        for length in lengths {
            let bytes = &bytes[random.usize(..8)..][..length];
            assert_eq!(xxh3(bytes), xxh3_64(bytes), "{length} bytes");
        }
    }

    #[test]
    fn words_sum_up_as_their_bytes() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..1_000 {
            let words: [u64; 8] = std::array::from_fn(|_| random.u64(..));
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            assert_eq!(xxh3_of_words(&words), xxh3_64(&bytes));
        }
    }
}

//! Copying bytes into and out of shared memory.
//!
//! A reader may copy a record while another process reuses its segment; the copy is thrown away
//! afterwards (generation check), but until then it must be no data race in the sense of the
//! language. So bytes are moved as relaxed 8-byte atomic words; on x86-64, where a compiler makes
//! five instructions of each such word, 64 bytes at a time by assembly, of which the language
//! knows only that it reads and writes memory.
//!
//! Shared bytes start at a multiple of 8 and are padded to one, so whole words are moved and only
//! the private end has a tail.
#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc},
    sync::atomic::{AtomicU64, Ordering},
};

use crate::store::sum;

/// Words that are moved at a time.
const BLOCK_WORDS: usize = 8;
const BLOCK_BYTES: usize = BLOCK_WORDS * 8;
/// What is left of blocks is moved by so many bytes.
const PIECE_BYTES: usize = 16;
/// True where blocks are moved by assembly.
const MOVES_BLOCKS: bool = cfg!(all(target_arch = "x86_64", not(miri)));

/// Writes `bytes` and zeros up to the next multiple of 8; `words` has exactly that many.
#[inline]
pub(super) fn write(words: &[AtomicU64], bytes: &[u8]) {
    assert_eq!(words.len(), bytes.len().div_ceil(8), "room");
    let blocks = blocks_of(bytes.len());
    // SAFETY: both have that many blocks: `words` has a word for each 8 bytes of `bytes`. Private
    // memory does not overlap with a mapping. The words are atomics, which may be written by
    // whoever has a reference.
    unsafe {
        move_blocks(bytes.as_ptr(), words.as_ptr().cast::<u8>().cast_mut(), blocks);
    }
    let pieces = if MOVES_BLOCKS { bytes.len() / PIECE_BYTES } else { 0 };
    for piece in blocks * (BLOCK_BYTES / PIECE_BYTES)..pieces {
        let at = piece * PIECE_BYTES;
        // SAFETY: both have a whole piece from there on; as above.
        unsafe {
            move_piece(bytes.as_ptr().add(at), words.as_ptr().cast::<u8>().cast_mut().add(at));
        }
    }
    let words = &words[pieces * (PIECE_BYTES / 8)..];
    let (chunks, tail) = bytes[pieces * PIECE_BYTES..].as_chunks();
    for (word, chunk) in words.iter().zip(chunks) {
        word.store(u64::from_ne_bytes(*chunk), Ordering::Relaxed);
    }
    if let (false, Some(word)) = (tail.is_empty(), words.last()) {
        let padded = match bytes.last_chunk() {
            // The bytes before the tail are shifted out.
            Some(last) => {
                let others = 64 - 8 * tail.len();
                if cfg!(target_endian = "little") {
                    u64::from_ne_bytes(*last) >> others
                } else {
                    u64::from_ne_bytes(*last) << others
                }
            }
            None => padded(tail),
        };
        word.store(padded, Ordering::Relaxed);
    }
}

/// An empty buffer with room for exactly `count` bytes, or `None` where memory is short.
///
/// What `Vec::try_reserve_exact` does, in a third of its instructions: it is the same for a buffer
/// that grows.
#[inline]
pub(super) fn buffer(count: usize) -> Option<Vec<u8>> {
    let layout = Layout::array::<u8>(count).ok()?;
    if count == 0 {
        return Some(Vec::new());
    }
    // SAFETY: the layout is not empty.
    let start = unsafe { alloc(layout) };
    if start.is_null() {
        return None;
    }
    // SAFETY: allocated just now by the global allocator with the layout of `count` bytes, which
    // nobody else knows; no byte of it is taken for initialised.
    Some(unsafe { Vec::from_raw_parts(start, 0, count) })
}

/// Appends `count` bytes that begin at `words` to `target`, which has the capacity for them.
///
/// # Panics
/// Where `words` or the capacity is too short.
#[inline(always)]
pub(super) fn append(words: &[AtomicU64], count: usize, target: &mut Vec<u8>) {
    let start = target.len();
    assert!(words.len() >= count.div_ceil(8) && target.capacity() - start >= count, "room");
    let spare = &mut target.spare_capacity_mut()[..count];
    let blocks = blocks_of(count);
    // SAFETY: both have that many blocks (asserted, and `spare` has `count` bytes). Private memory
    // does not overlap with a mapping.
    unsafe { move_blocks(words.as_ptr().cast(), spare.as_mut_ptr().cast(), blocks) };
    if MOVES_BLOCKS && count >= PIECE_BYTES {
        let mut at = blocks * BLOCK_BYTES;
        while at < count {
            // The last piece ends with the bytes, and so moves some of them twice.
            let from = at.min(count - PIECE_BYTES);
            // SAFETY: both have a whole piece from there on, as `from + PIECE_BYTES <= count`; as
            // above.
            unsafe {
                move_piece(
                    words.as_ptr().cast::<u8>().add(from),
                    spare.as_mut_ptr().cast::<u8>().add(from),
                );
            }
            at += PIECE_BYTES;
        }
        // SAFETY: `start + count` is within the capacity (asserted), and blocks and pieces are
        // every byte of `spare`, which is exactly that range.
        unsafe { target.set_len(start + count) };
        return;
    }
    let words = &words[blocks * BLOCK_WORDS..];
    let (chunks, tail) = spare[blocks * BLOCK_BYTES..].as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        chunk.write_copy_of_slice(&bytes);
    }
    if !tail.is_empty() {
        let bytes = words[chunks.len()].load(Ordering::Relaxed).to_ne_bytes();
        tail.write_copy_of_slice(&bytes[..tail.len()]);
    }
    // SAFETY: `start + count` is within the capacity (asserted), and the blocks, the chunks and
    // the tail are every byte of `spare`, which is exactly that range.
    unsafe { target.set_len(start + count) };
}

/// As [`append`], and returns XXH3-64 of what was appended.
///
/// # Panics
/// As there.
#[inline(always)]
pub(super) fn append_summed(words: &[AtomicU64], count: usize, target: &mut Vec<u8>) -> u64 {
    let start = target.len();
    assert!(words.len() >= count.div_ceil(8) && target.capacity() - start >= count, "room");
    let spare = target.spare_capacity_mut().as_mut_ptr().cast::<u8>();
    // SAFETY: both have that many bytes (asserted). Private memory does not overlap with a mapping.
    if let Some(sum) = unsafe { sum::copied(words.as_ptr().cast(), spare, count) } {
        // SAFETY: within the capacity (asserted), and every byte of it was copied.
        unsafe { target.set_len(start + count) };
        return sum;
    }
    append(words, count, target);
    sum::xxh3(&target[start..])
}

/// True where the bytes at `words` are `bytes`.
#[inline(always)]
pub(super) fn equal(words: &[AtomicU64], bytes: &[u8]) -> bool {
    if words.len() < bytes.len().div_ceil(8) {
        return false;
    }
    let (chunks, tail) = bytes.as_chunks();
    let mut differ = 0;
    for (chunk, word) in chunks.iter().zip(words) {
        differ |= word.load(Ordering::Relaxed) ^ u64::from_ne_bytes(*chunk);
    }
    if !tail.is_empty() {
        // What is behind the bytes is not compared.
        let word = words[chunks.len()].load(Ordering::Relaxed).to_ne_bytes();
        differ |= u64::from(word[..tail.len()] != *tail);
    }
    differ == 0
}

/// Moves blocks of [`BLOCK_BYTES`] bytes.
///
/// # Safety
/// `from` is valid for reads and `to` for writes of that many blocks, and they do not overlap.
/// What lies in a mapping may be written by others at the same time.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
unsafe fn move_blocks(from: *const u8, to: *mut u8, blocks: usize) {
    if blocks == 0 {
        return;
    }
    // SAFETY: touches `blocks * 64` bytes of either, which the caller vouches for, at least one
    // block; the registers named are the only ones it changes. The instructions take any
    // alignment. On this architecture loads come before later loads and stores before later
    // stores, as the fences around the call demand.
    unsafe {
        std::arch::asm!(
            "2:",
            "movups {a}, [{from}]",
            "movups {b}, [{from} + 16]",
            "movups {c}, [{from} + 32]",
            "movups {d}, [{from} + 48]",
            "movups [{to}], {a}",
            "movups [{to} + 16], {b}",
            "movups [{to} + 32], {c}",
            "movups [{to} + 48], {d}",
            "add {from}, 64",
            "add {to}, 64",
            "dec {blocks}",
            "jnz 2b",
            from = inout(reg) from => _,
            to = inout(reg) to => _,
            blocks = inout(reg) blocks => _,
            a = out(xmm_reg) _,
            b = out(xmm_reg) _,
            c = out(xmm_reg) _,
            d = out(xmm_reg) _,
            options(nostack),
        );
    }
}

/// Moves [`PIECE_BYTES`] bytes, at any alignment.
///
/// # Safety
/// As [`move_blocks`], for a piece.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline(always)]
unsafe fn move_piece(from: *const u8, to: *mut u8) {
    // SAFETY: touches 16 bytes of either, which the caller vouches for, and the register named; in
    // order as in `move_blocks`.
    unsafe {
        std::arch::asm!(
            "movups {a}, [{from}]",
            "movups [{to}], {a}",
            from = in(reg) from,
            to = in(reg) to,
            a = out(xmm_reg) _,
            options(nostack, preserves_flags),
        );
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn move_piece(_from: *const u8, _to: *mut u8) {}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
unsafe fn move_blocks(_from: *const u8, _to: *mut u8, _blocks: usize) {}

/// How many of `bytes` bytes are moved in blocks.
#[inline(always)]
fn blocks_of(bytes: usize) -> usize {
    if MOVES_BLOCKS { bytes / BLOCK_BYTES } else { 0 }
}

/// The word of up to 8 bytes, padded with zeros.
#[inline]
fn padded(tail: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..tail.len()].copy_from_slice(tail);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_summed_as_it_is_copied_is_the_sum_of_the_copy() {
        let mut random = fastrand::Rng::with_seed(5);
        for count in (0..2_200_usize).chain((2_200..40_000).step_by(1_237)) {
            let bytes: Vec<u8> = (0..count).map(|_| random.u8(..)).collect();
            let words: Vec<AtomicU64> = (0..count.div_ceil(8)).map(|_| AtomicU64::new(0)).collect();
            write(&words, &bytes);
            let start = random.usize(..9);
            let mut back = Vec::with_capacity(start + count);
            back.resize(start, 0);
            assert_eq!(append_summed(&words, count, &mut back), sum::xxh3(&bytes), "{count} bytes");
            assert_eq!(back[start..], bytes, "{count} bytes");
        }
    }

    #[test]
    fn bytes_of_every_length_come_back() {
        let bytes: Vec<u8> = (1..=250).collect();
        for count in 0..=bytes.len() {
            let words: Vec<AtomicU64> =
                (0..count.div_ceil(8)).map(|_| AtomicU64::new(u64::MAX)).collect();
            write(&words, &bytes[..count]);
            for start in 0..3 {
                let mut back = Vec::with_capacity(start + count);
                back.resize(start, 0);
                append(&words, count, &mut back);
                assert_eq!(back[start..], bytes[..count]);
            }
            assert!(equal(&words, &bytes[..count]));
            for changed in 0..count {
                let mut other = bytes[..count].to_vec();
                other[changed] ^= 1;
                assert!(!equal(&words, &other), "{count}, {changed}");
            }
            if !count.is_multiple_of(8) {
                let last = words[count / 8].load(Ordering::Relaxed).to_ne_bytes();
                assert!(last[count % 8..].iter().all(|byte| *byte == 0), "{count}: padding");
            }
        }
    }
}

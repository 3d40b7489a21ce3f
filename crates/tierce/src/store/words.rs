//! Copying bytes into and out of shared memory as relaxed 8-byte atomic words.
//!
//! A reader may copy a record while another process reuses its segment; the copy is thrown away
//! afterwards (generation check), but until then it must be no data race. Sources and targets
//! start at a multiple of 8 and are padded to one, so whole words are moved and only the private
//! end has a tail.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// Writes `bytes` and zeros up to the next multiple of 8; `words` has exactly that many.
#[inline]
pub(super) fn write(words: &[AtomicU64], bytes: &[u8]) {
    debug_assert_eq!(words.len(), bytes.len().div_ceil(8));
    let mut chunks = bytes.chunks_exact(8);
    for (word, chunk) in words.iter().zip(&mut chunks) {
        word.store(from_chunk(chunk), Ordering::Relaxed);
    }
    let tail = chunks.remainder();
    if let (false, Some(word)) = (tail.is_empty(), words.last()) {
        word.store(from_chunk(tail), Ordering::Relaxed);
    }
}

/// Appends `count` bytes that begin at `words` to `target`, which has the capacity for them.
///
/// # Panics
/// Where `words` or the capacity is too short.
#[inline]
pub(super) fn append(words: &[AtomicU64], count: usize, target: &mut Vec<u8>) {
    let start = target.len();
    assert!(words.len() >= count.div_ceil(8) && target.capacity() - start >= count, "room");
    let spare = &mut target.spare_capacity_mut()[..count];
    let mut chunks = spare.chunks_exact_mut(8);
    for (chunk, word) in (&mut chunks).zip(words) {
        let bytes = word.load(Ordering::Relaxed).to_ne_bytes();
        chunk.write_copy_of_slice(&bytes);
    }
    let tail = chunks.into_remainder();
    if !tail.is_empty() {
        let bytes = words[count / 8].load(Ordering::Relaxed).to_ne_bytes();
        tail.write_copy_of_slice(&bytes[..tail.len()]);
    }
    // SAFETY: `start + count` is within the capacity (asserted), and the loop and the tail wrote
    // every byte of `spare`, which is exactly that range.
    unsafe { target.set_len(start + count) };
}

/// True where the bytes at `words` are `bytes`.
#[inline]
pub(super) fn equal(words: &[AtomicU64], bytes: &[u8]) -> bool {
    if words.len() < bytes.len().div_ceil(8) {
        return false;
    }
    let mut chunks = bytes.chunks_exact(8);
    let mut same = true;
    for (chunk, word) in (&mut chunks).zip(words) {
        same &= word.load(Ordering::Relaxed) == from_chunk(chunk);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        let word = words[bytes.len() / 8].load(Ordering::Relaxed).to_ne_bytes();
        same &= word[..tail.len()] == *tail;
    }
    same
}

/// The word of up to 8 bytes, padded with zeros.
#[inline]
fn from_chunk(chunk: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..chunk.len()].copy_from_slice(chunk);
    u64::from_ne_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_every_length_come_back() {
        let bytes: Vec<u8> = (1..=40).collect();
        for count in 0..=bytes.len() {
            let words: Vec<AtomicU64> =
                (0..count.div_ceil(8)).map(|_| AtomicU64::new(u64::MAX)).collect();
            write(&words, &bytes[..count]);
            let mut back = Vec::with_capacity(count);
            append(&words, count, &mut back);
            assert_eq!(back, bytes[..count]);
            assert!(equal(&words, &bytes[..count]));
            if count > 0 {
                let mut other = bytes[..count].to_vec();
                other[count - 1] ^= 1;
                assert!(!equal(&words, &other), "{count}");
            }
        }
    }
}

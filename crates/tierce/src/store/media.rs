//! Where records are: in the mapping, or in the file behind `pread` and `pwrite`.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::store::{
    layout::{RECORD_HEADER_BYTES, RecordHeader},
    map::Mapping,
    words,
};

/// First read of a record on a disk: a page, which holds most keys and small values whole.
const OPENING_BYTES: usize = 4096;

/// Bytes of a record that the first read of a disk brought; unused on a mapped medium.
pub(super) type Scratch = Option<[u8; OPENING_BYTES]>;

/// The data region of a store.
#[derive(Clone, Copy)]
pub(super) struct Media<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) file: &'a File,
    pub(super) on_disk: bool,
}

/// A record whose header has been read.
pub(super) struct Opened<'a> {
    media: Media<'a>,
    position: u64,
    prefix: Option<&'a [u8]>,
    pub(super) words: [u64; 8],
}

impl<'a> Media<'a> {
    /// Reads the header of the record at `position`, of which at most `left` bytes can be read.
    #[inline(always)]
    pub(super) fn open(
        self,
        position: u64,
        left: u64,
        scratch: &'a mut Scratch,
    ) -> io::Result<Opened<'a>> {
        let mut words = [0; 8];
        let mut prefix = None;
        if self.on_disk {
            let buffer = scratch.insert([0; OPENING_BYTES]);
            let buffer = &mut buffer[..OPENING_BYTES.min(left as usize)];
            self.file.read_exact_at(buffer, position)?;
            for (word, bytes) in words.iter_mut().zip(buffer.chunks_exact(8)) {
                *word = word_of(bytes);
            }
            prefix = Some(&*buffer);
        } else {
            let shared: &[AtomicU64; 8] = self.mapping.at(position);
            // Acquire: the header's first word is written last.
            let first = shared[0].load(Ordering::Acquire);
            words = std::array::from_fn(|number| shared[number].load(Ordering::Relaxed));
            words[0] = first;
        }
        Ok(Opened { media: self, position, prefix, words })
    }

    /// Reads only the header words at `position`.
    pub(super) fn header(self, position: u64) -> io::Result<[u64; 8]> {
        let mut words = [0; 8];
        if self.on_disk {
            let mut bytes = [0; RECORD_HEADER_BYTES as usize];
            self.file.read_exact_at(&mut bytes, position)?;
            for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
                *word = word_of(bytes);
            }
        } else {
            for (word, shared) in words.iter_mut().zip(self.mapping.slice::<AtomicU64>(position, 8))
            {
                *word = shared.load(Ordering::Acquire);
            }
        }
        Ok(words)
    }

    /// Writes a record; its header's first word last.
    pub(super) fn write(
        self,
        position: u64,
        words: &[u64; 8],
        key: &[u8],
        value: &[u8],
    ) -> io::Result<()> {
        let key_bytes = key.len().next_multiple_of(8);
        if self.on_disk {
            let mut small = [0_u8; 512];
            let mut large = Vec::new();
            let bytes = RECORD_HEADER_BYTES as usize + key_bytes;
            // A small value goes along in the same call.
            let whole = bytes + value.len();
            let is_small = whole <= small.len();
            let opening: &mut [u8] = if is_small {
                &mut small[..whole]
            } else if bytes <= small.len() {
                &mut small[..bytes]
            } else {
                large.try_reserve_exact(bytes).map_err(|_| io::ErrorKind::OutOfMemory)?;
                large.resize(bytes, 0);
                &mut large
            };
            for (bytes, word) in opening.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_ne_bytes());
            }
            let key_at = RECORD_HEADER_BYTES as usize;
            opening[key_at..key_at + key.len()].copy_from_slice(key);
            if is_small {
                opening[bytes..].copy_from_slice(value);
            } else {
                self.file.write_all_at(value, position + bytes as u64)?;
            }
            return self.file.write_all_at(opening, position);
        }
        let body = position + RECORD_HEADER_BYTES;
        words::write(self.mapping.slice(body, key_bytes / 8), key);
        let value_at = body + key_bytes as u64;
        words::write(self.mapping.slice(value_at, value.len().div_ceil(8)), value);
        let shared = self.mapping.slice::<AtomicU64>(position, 8);
        for (shared, word) in shared.iter().zip(words).skip(1) {
            shared.store(*word, Ordering::Relaxed);
        }
        shared[0].store(words[0], Ordering::Release);
        Ok(())
    }
}

impl Opened<'_> {
    /// True where the record's key is `key`; the caller has compared the lengths and bounded the
    /// record by its segment.
    #[inline(always)]
    pub(super) fn key_is(&self, key: &[u8]) -> io::Result<bool> {
        let from = RECORD_HEADER_BYTES as usize;
        let Some(prefix) = self.prefix else {
            let at = self.position + RECORD_HEADER_BYTES;
            return Ok(words::equal(self.media.mapping.slice(at, key.len().div_ceil(8)), key));
        };
        let known = &prefix[from..];
        if key.len() <= known.len() {
            return Ok(known[..key.len()] == *key);
        }
        if *known != key[..known.len()] {
            return Ok(false);
        }
        let mut piece = [0; 1024];
        let mut done = known.len();
        while done < key.len() {
            let want = piece.len().min(key.len() - done);
            let at = self.position + (from + done) as u64;
            self.media.file.read_exact_at(&mut piece[..want], at)?;
            if piece[..want] != key[done..done + want] {
                return Ok(false);
            }
            done += want;
        }
        Ok(true)
    }

    /// Appends `count` bytes at `offset` (a multiple of 8) of the record to `target`, which has
    /// the capacity; the caller has bounded them by the segment.
    #[inline(always)]
    pub(super) fn append(&self, offset: u64, count: usize, target: &mut Vec<u8>) -> io::Result<()> {
        let Some(prefix) = self.prefix else {
            let shared = self.media.mapping.slice(self.position + offset, count.div_ceil(8));
            words::append(shared, count, target);
            return Ok(());
        };
        let known = prefix.get(offset as usize..).unwrap_or_default();
        let known = &known[..known.len().min(count)];
        target.extend_from_slice(known);
        if known.len() < count {
            let start = target.len();
            target.resize(start + count - known.len(), 0);
            let at = self.position + offset + known.len() as u64;
            self.media.file.read_exact_at(&mut target[start..], at)?;
        }
        Ok(())
    }

    /// The value of the record in a buffer of exactly its size, or `None` where memory is short.
    #[inline(always)]
    pub(super) fn value(&self, header: &RecordHeader) -> io::Result<Option<Vec<u8>>> {
        let count = header.value_bytes as usize;
        let Some(mut value) = words::buffer(count) else { return Ok(None) };
        self.append(header.value_offset(), count, &mut value)?;
        Ok(Some(value))
    }
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(bytes);
    u64::from_ne_bytes(word)
}

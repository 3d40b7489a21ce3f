//! Where records are: in the mapping, or in the file behind `pread` and `pwrite`, where they may be
//! read through a mapping of their own.

use std::{
    fs::File,
    io,
    mem::MaybeUninit,
    os::unix::fs::FileExt,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::store::{
    files,
    layout::{RECORD_HEADER_BYTES, RecordHeader},
    map::Mapping,
    records::Records,
    sum, words,
};

/// The least and the most that the first read of a record on a disk asks for: most keys, and a
/// page. More than needed costs the copy of it, less costs another call, which is dearer.
const LEAST_OPENING_BYTES: u32 = 256;
const MOST_OPENING_BYTES: u32 = 4096;
/// What the first read asks for comes down by one in so many of what was too much.
const OPENING_DECAY: u32 = 32;

/// Bytes of a record that the first read of a disk brought; unused where it is mapped.
pub(super) type Scratch = Option<[MaybeUninit<u8>; MOST_OPENING_BYTES as usize]>;

/// What earlier calls of this process tell the next one.
pub(super) struct Calls {
    /// Bytes that the first read of a record asks for.
    opening: AtomicU32,
}

impl Default for Calls {
    fn default() -> Self {
        Self { opening: AtomicU32::new(MOST_OPENING_BYTES) }
    }
}

impl Calls {
    /// Learns of a record that was read: the next one may be as large. Up at once, down slowly.
    fn saw(&self, record_bytes: u64) {
        let (least, most) = (LEAST_OPENING_BYTES, MOST_OPENING_BYTES);
        // Of what takes a second call in any case only the header and the key.
        let enough = u32::try_from(record_bytes).ok().filter(|bytes| *bytes <= most);
        let enough = enough.unwrap_or(least).max(least).next_multiple_of(64);
        let asked = self.opening.load(Ordering::Relaxed);
        let next =
            if enough < asked { asked - (asked - enough).div_ceil(OPENING_DECAY) } else { enough };
        if next != asked {
            self.opening.store(next, Ordering::Relaxed);
        }
    }
}

/// The data region of a store.
#[derive(Clone, Copy)]
pub(super) struct Media<'a> {
    pub(super) mapping: &'a Mapping,
    pub(super) file: &'a File,
    pub(super) on_disk: bool,
    pub(super) records: Option<&'a Records>,
    pub(super) calls: &'a Calls,
}

/// A record whose header has been read.
pub(super) struct Opened<'a> {
    media: Media<'a>,
    position: u64,
    /// What the first call brought, where it was one.
    prefix: Option<&'a [u8]>,
    pub(super) words: [u64; 8],
}

impl<'a> Media<'a> {
    /// Has the processor fetch the begin of the record at `position`, where it is mapped.
    #[inline(always)]
    pub(super) fn prefetch(self, position: u64, lines: usize) {
        if !self.on_disk {
            self.mapping.prefetch(position, lines);
        } else if let Some(records) = self.records {
            records.prefetch(position, lines);
        }
    }

    /// Reads the header of the record at `position`, of which at most `left` bytes can be read.
    #[inline(always)]
    pub(super) fn open(
        self,
        position: u64,
        left: u64,
        scratch: &'a mut Scratch,
    ) -> io::Result<Opened<'a>> {
        if self.on_disk {
            if let Some(words) = self.sound_records().and_then(|records| records.words(position)) {
                return Ok(Opened { media: self, position, prefix: None, words });
            }
            return self.open_by_call(position, left, scratch);
        }
        let shared: &[AtomicU64; 8] = self.mapping.at(position);
        // Acquire: the header's first word is written last.
        let first = shared[0].load(Ordering::Acquire);
        let mut words = std::array::from_fn(|number| shared[number].load(Ordering::Relaxed));
        words[0] = first;
        Ok(Opened { media: self, position, prefix: None, words })
    }

    fn open_by_call(
        self,
        position: u64,
        left: u64,
        scratch: &'a mut Scratch,
    ) -> io::Result<Opened<'a>> {
        let buffer = scratch.insert([MaybeUninit::uninit(); MOST_OPENING_BYTES as usize]);
        let count = u64::from(self.calls.opening.load(Ordering::Relaxed)).min(left);
        let prefix = files::read_at(self.file, position, &mut buffer[..count as usize])?;
        Ok(Opened { media: self, position, prefix: Some(prefix), words: words_of(prefix) })
    }

    /// Reads only the header words at `position`.
    pub(super) fn header(self, position: u64) -> io::Result<[u64; 8]> {
        if self.on_disk {
            if let Some(words) = self.sound_records().and_then(|records| records.words(position)) {
                return Ok(words);
            }
            let mut bytes = [0; RECORD_HEADER_BYTES as usize];
            self.file.read_exact_at(&mut bytes, position)?;
            return Ok(words_of(&bytes));
        }
        let mut words = [0; 8];
        for (word, shared) in words.iter_mut().zip(self.mapping.slice::<AtomicU64>(position, 8)) {
            *word = shared.load(Ordering::Acquire);
        }
        Ok(words)
    }

    /// The mapping of a disk's records, while all of it can be read.
    #[inline(always)]
    fn sound_records(self) -> Option<&'a Records> {
        self.records.filter(|records| records.is_sound())
    }

    /// Writes a record; its header's first word last.
    pub(super) fn write(
        self,
        position: u64,
        words: &[u64; 8],
        [key, head, value]: [&[u8]; 3],
    ) -> io::Result<()> {
        let key_bytes = key.len().next_multiple_of(8);
        if self.on_disk {
            let mut small = [0_u8; 512];
            let mut large = Vec::new();
            let head_at = RECORD_HEADER_BYTES as usize + key_bytes;
            let bytes = head_at + head.len();
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
            opening[head_at..bytes].copy_from_slice(head);
            if is_small {
                opening[bytes..].copy_from_slice(value);
            } else {
                self.file.write_all_at(value, position + bytes as u64)?;
            }
            return self.file.write_all_at(opening, position);
        }
        let body = position + RECORD_HEADER_BYTES;
        words::write(self.mapping.slice(body, key_bytes / 8), key);
        let head_at = body + key_bytes as u64;
        if !head.is_empty() {
            words::write(self.mapping.slice(head_at, head.len() / 8), head);
        }
        let value_at = head_at + head.len() as u64;
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
        let at = self.position + RECORD_HEADER_BYTES;
        if !self.media.on_disk {
            return Ok(words::equal(self.media.mapping.slice(at, key.len().div_ceil(8)), key));
        }
        if let (None, Some(records)) = (self.prefix, self.media.sound_records())
            && let Some(is) = records.equal(at, key)
        {
            return Ok(is);
        }
        self.key_is_by_calls(at, key)
    }

    fn key_is_by_calls(&self, at: u64, key: &[u8]) -> io::Result<bool> {
        let known = self.known(RECORD_HEADER_BYTES, key.len());
        let (begin, mut rest) = key.split_at(known.len());
        if known != begin {
            return Ok(false);
        }
        let mut at = at + known.len() as u64;
        let mut piece = [0; 1024];
        while !rest.is_empty() {
            let (next, after) = rest.split_at(piece.len().min(rest.len()));
            let piece = &mut piece[..next.len()];
            self.media.file.read_exact_at(piece, at)?;
            if piece != next {
                return Ok(false);
            }
            at += next.len() as u64;
            rest = after;
        }
        Ok(true)
    }

    /// Appends `count` bytes at `offset` (a multiple of 8) of the record to `target`, which has
    /// the capacity, and returns their sum; the caller has bounded them by the segment.
    #[inline(always)]
    pub(super) fn append(
        &self,
        offset: u64,
        count: usize,
        target: &mut Vec<u8>,
    ) -> io::Result<u64> {
        let at = self.position + offset;
        if !self.media.on_disk {
            let words = self.media.mapping.slice(at, count.div_ceil(8));
            return Ok(words::append_summed(words, count, target));
        }
        if let (None, Some(records)) = (self.prefix, self.media.sound_records())
            && let Some(sum) = records.append(at, count, target)
        {
            return Ok(sum);
        }
        let start = target.len();
        let known = self.known(offset, count);
        target.extend_from_slice(known);
        let rest = count - known.len();
        files::append_at(self.media.file, at + known.len() as u64, rest, target)?;
        Ok(sum::xxh3(&target[start..]))
    }

    /// What the first call brought of the `count` bytes at `offset`.
    fn known(&self, offset: u64, count: usize) -> &[u8] {
        let known = self.prefix.and_then(|prefix| prefix.get(offset as usize..));
        let known = known.unwrap_or_default();
        &known[..known.len().min(count)]
    }

    /// Head and value of the record in a buffer of exactly their size, and their sum, or `None`
    /// where memory is short.
    #[inline(always)]
    pub(super) fn body(&self, header: &RecordHeader) -> io::Result<Option<(Vec<u8>, u64)>> {
        let count = header.body_bytes();
        let Some(mut body) = words::buffer(count) else { return Ok(None) };
        let sum = self.append(header.head_offset(), count, &mut body)?;
        if self.prefix.is_some() {
            self.media.calls.saw(header.record_bytes());
        }
        Ok(Some((body, sum)))
    }

    /// The value of the record alone, as [`body`](Self::body).
    pub(super) fn value(&self, header: &RecordHeader) -> io::Result<Option<Vec<u8>>> {
        let body = self.body(header)?;
        Ok(body.map(|(mut body, _)| {
            body.drain(..header.head_bytes());
            body
        }))
    }
}

/// The words of a header.
fn words_of(bytes: &[u8]) -> [u64; 8] {
    let mut words = [0; 8];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_read_asks_for_what_records_take() {
        let calls = Calls::default();
        let asked = || calls.opening.load(Ordering::Relaxed);
        for _ in 0..1000 {
            calls.saw(200);
        }
        assert_eq!(asked(), LEAST_OPENING_BYTES);
        calls.saw(1200);
        assert_eq!(asked(), 1216, "up at once");
        calls.saw(200);
        assert!((1000..1216).contains(&asked()), "down slowly");
        for _ in 0..1000 {
            calls.saw(1 << 20);
        }
        assert_eq!(asked(), LEAST_OPENING_BYTES, "a second call is made in any case");
        calls.saw(4096);
        assert_eq!(asked(), MOST_OPENING_BYTES);
    }
}

//! A mapped array: who knows where a value lies copies it and computes the XXH3 of it. No store,
//! but what the memory itself allows to one that copies and checks.
//!
//! A miss is the read of one set, two cache lines, in a mapped table of 16 bytes for each entry.

use std::{fs::File, hint::black_box};

use bytes::Bytes;
use memmap2::MmapMut;
use xxhash_rust::xxh3::xxh3_64;

use super::{ABSENT, Fault, Request, Rival, Seen, Setup};

/// Bytes of a set of the table.
const SET_BYTES: usize = 128;

pub(super) struct Array {
    bytes: MmapMut,
    table: MmapMut,
    value_bytes: usize,
    entries: usize,
}

impl Array {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let bytes = mapped(setup, "array", setup.entries * setup.value_bytes)?;
        let table_bytes = (16 * setup.entries).next_power_of_two().max(SET_BYTES);
        let mut table = mapped(setup, "table", table_bytes)?;
        // So that every page is there.
        table.fill(1);
        Ok(Self { bytes, table, value_bytes: setup.value_bytes, entries: setup.entries })
    }

    /// True where the set of the key has the hash of the key.
    fn is_in_table(&self, request: &Request) -> bool {
        let hash = xxh3_64(&request.key);
        let at = hash as usize % self.table.len() / SET_BYTES * SET_BYTES;
        let set = &self.table[at..at + SET_BYTES];
        // All words, without a branch between them, as the sets of stores are read.
        let words = set.as_chunks().0.iter().map(|word| u64::from_ne_bytes(*word) == hash);
        words.fold(false, |found, is_equal| found | is_equal)
    }

    fn place(&self, request: &Request) -> std::ops::Range<usize> {
        let at = request.number as usize % self.entries * self.value_bytes;
        at..at + self.value_bytes
    }
}

/// A file of so many bytes, mapped.
fn mapped(setup: &Setup<'_>, name: &str, bytes: usize) -> Result<MmapMut, Fault> {
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options.open(setup.folder.join(name))?;
    file.set_len(bytes as u64)?;
    // SAFETY: the file lies in a folder of this program; it has its length from the line above and
    // nobody shortens it. Other processes of this program write to it, which may tear a value;
    // bytes have no invariants.
    Ok(unsafe { MmapMut::map_mut(&file)? })
}

impl Rival for Array {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        if request.number >= ABSENT && !self.is_in_table(request) {
            return None;
        }
        let value = Bytes::copy_from_slice(&self.bytes[self.place(request)]);
        black_box(xxh3_64(&value));
        Some(Seen::of(&value))
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        black_box(xxh3_64(value));
        let place = self.place(request);
        self.bytes[place].copy_from_slice(value);
        true
    }
}

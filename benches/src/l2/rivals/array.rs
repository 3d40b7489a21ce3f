//! A mapped array: who knows where a value lies copies it and computes the XXH3 of it. No store,
//! but what the memory itself allows to one that copies and checks.

use std::{fs::File, hint::black_box};

use bytes::Bytes;
use memmap2::MmapMut;
use xxhash_rust::xxh3::xxh3_64;

use super::{Fault, Request, Rival, Seen, Setup};

pub(super) struct Array {
    bytes: MmapMut,
    value_bytes: usize,
    entries: usize,
}

impl Array {
    pub(super) fn open(setup: &Setup<'_>) -> Result<Self, Fault> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(setup.folder.join("array"))?;
        file.set_len((setup.entries * setup.value_bytes) as u64)?;
        // SAFETY: the file lies in a folder of this program; it has its length from the line above
        // and nobody shortens it. Other processes of this program write to it, which may tear a
        // value; bytes have no invariants.
        let bytes = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { bytes, value_bytes: setup.value_bytes, entries: setup.entries })
    }

    fn place(&self, request: &Request) -> std::ops::Range<usize> {
        let at = request.number as usize % self.entries * self.value_bytes;
        at..at + self.value_bytes
    }
}

impl Rival for Array {
    fn get(&mut self, request: &Request) -> Option<Seen> {
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

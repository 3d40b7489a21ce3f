//! tierce's store, default options but for its sizes.

use std::{fs, path::Path};

use tierce::{Clock, Dropped, Millis, NewRecord, Put, Store, StoreOptions};

use super::{Fault, KEY_BYTES, Request, Rival, Seen, Setup};

/// Bytes that a record takes beside its key and its value: its header, and rounding up to 16.
const RECORD_BYTES: usize = 64 + 16;

/// More than a store takes before its first record, whatever its size: 16 MiB of stamps, the
/// segment table, header and state.
const FIXED_BYTES: usize = 18 << 20;

/// Bytes of the index for an entry of the bound, at most: two slots, rounded up to a power of two.
const INDEX_BYTES: usize = 32;

/// The store under test.
pub(in super::super) struct Ours {
    pub(in super::super) store: Store,
}

impl Ours {
    /// A store in which nothing is evicted.
    pub(in super::super) fn roomy(setup: &Setup<'_>) -> Result<Self, Fault> {
        let data = setup.entries * record_bytes(setup);
        Self::of(setup, fixed_bytes(setup) + data + data / 2)
    }

    /// A store that the entries just fill, so that each further one evicts another.
    pub(in super::super) fn tight(setup: &Setup<'_>) -> Result<Self, Fault> {
        let data = setup.entries * record_bytes(setup);
        let probed = fixed_bytes(setup) + data;
        let left_for_records = Self::of(setup, probed)?.store.usage().max_bytes as usize;
        fs::remove_dir_all(setup.folder)?;
        Self::of(setup, probed - left_for_records + data)
    }

    /// A store of a size, for values up to the default bound.
    pub(in super::super) fn sized(
        folder: &Path,
        bytes: usize,
        entries: usize,
    ) -> Result<Self, Fault> {
        let options = StoreOptions::new(folder).max_bytes(bytes as u64);
        let options = options.max_entries(entries as u64);
        Ok(Self { store: Store::open(&options, Clock::system())? })
    }

    fn of(setup: &Setup<'_>, bytes: usize) -> Result<Self, Fault> {
        let options = StoreOptions::new(setup.folder)
            .max_bytes(bytes as u64)
            .max_entries(entries(setup) as u64)
            .medium(setup.medium)
            .mapped_reads(setup.mapped_reads);
        Ok(Self { store: Store::open(&options, Clock::system())? })
    }
}

/// The bound on entries: as many as are to be held, and so much more that a shard has room for
/// those that fall to it by chance (five standard deviations where there are 64 shards).
fn entries(setup: &Setup<'_>) -> usize {
    setup.entries + 5 * (64 * setup.entries).isqrt()
}

fn record_bytes(setup: &Setup<'_>) -> usize {
    RECORD_BYTES + KEY_BYTES + setup.value_bytes
}

fn fixed_bytes(setup: &Setup<'_>) -> usize {
    FIXED_BYTES + entries(setup) * INDEX_BYTES
}

impl Rival for Ours {
    fn get(&mut self, request: &Request) -> Option<Seen> {
        let hash = self.store.hash(&request.key);
        let found = self.store.get(hash, &request.key).expect("the store is sound");
        found.map(|record| Seen::of(&record.value))
    }

    fn put(&mut self, request: &Request, value: &[u8]) -> bool {
        let hash = self.store.hash(&request.key);
        let record = NewRecord::new(value, 0, Millis::NEVER);
        let put = self.store.put(hash, &request.key, record, None);
        match put {
            Put::Stored { .. } => true,
            Put::Removed { why: Dropped::Busy, .. } => false,
            Put::Removed { why, .. } => panic!("the store makes room: {why:?}"),
        }
    }
}

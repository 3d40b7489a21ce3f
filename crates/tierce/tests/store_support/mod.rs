//! What the tests of the store share: a store in a folder of its own, and values that say which
//! key and version they belong to, so that a wrong or torn one is known by itself.
// Each test file uses some of this; to the lint, it is no test.
#![allow(dead_code, clippy::unwrap_used, clippy::print_stdout)]

#[cfg(target_os = "linux")]
pub(crate) mod traced;

use std::path::Path;

use tierce::{Clock, KeyHash, Medium, Millis, NewRecord, Put, Store, StoreOptions, StoreRecord};

/// Both media, for tests that must hold on either.
pub(crate) const MEDIA: [Medium; 2] = [Medium::Mapped, Medium::Disk];

/// The media, and the one way of reading that is not a medium's own.
pub(crate) const FORMS: [(Medium, bool); 3] =
    [(Medium::Mapped, false), (Medium::Disk, false), (Medium::Disk, true)];

/// The seed of this run: `TIERCE_SEED`, or a new one; printed, so that a run can be repeated.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("TIERCE_SEED")
        .map_or_else(|_| fastrand::u64(..), |text| text.parse().expect("TIERCE_SEED is a number"));
    println!("TIERCE_SEED={seed}");
    seed
}

/// A folder that is removed with the value, and options for a store of 4 MiB in it.
pub(crate) fn small_store(medium: Medium) -> (tempfile::TempDir, StoreOptions) {
    let folder = tempfile::tempdir().unwrap();
    let options = options_in(folder.path()).medium(medium);
    (folder, options)
}

/// Options for a store of 4 MiB below `folder`.
pub(crate) fn options_in(folder: &Path) -> StoreOptions {
    StoreOptions::new(folder.join("store")).max_bytes(4 << 20).max_entries(10_000)
}

/// Opens with the system's clock.
pub(crate) fn open(options: &StoreOptions) -> Store {
    Store::open(options, Clock::system()).unwrap()
}

/// A record without an end.
pub(crate) fn record(value: &[u8]) -> NewRecord<'_> {
    NewRecord::new(value, 1, Millis::NEVER)
}

/// Puts, and demands that it was stored.
pub(crate) fn put(store: &Store, key: &[u8], value: &[u8]) -> u32 {
    match store.put(store.hash(key), key, record(value), None) {
        Put::Stored { stamp } => stamp,
        removed => panic!("put of {} bytes: {removed:?}", value.len()),
    }
}

/// Gets the value's bytes.
pub(crate) fn get(store: &Store, key: &[u8]) -> Option<Vec<u8>> {
    get_record(store, key).map(|record| record.value.to_vec())
}

/// Gets the record.
pub(crate) fn get_record(store: &Store, key: &[u8]) -> Option<StoreRecord> {
    store.get(store.hash(key), key).unwrap()
}

/// The key of a number: 9 to 40 bytes.
pub(crate) fn key_of(number: u64) -> Vec<u8> {
    let mut key = format!("key-{number:05}").into_bytes();
    key.extend(std::iter::repeat_n(b'.', (number % 32) as usize));
    key
}

/// The hash of the key of a number.
pub(crate) fn hash_of(store: &Store, number: u64) -> (KeyHash, Vec<u8>) {
    let key = key_of(number);
    (store.hash(&key), key)
}

/// A value of at least 24 bytes that names its key, version and length, and whose every byte
/// depends on them.
pub(crate) fn describing_value(key: u64, version: u64, bytes: usize) -> Vec<u8> {
    let bytes = bytes.max(24);
    let mut value = Vec::with_capacity(bytes);
    value.extend_from_slice(&key.to_le_bytes());
    value.extend_from_slice(&version.to_le_bytes());
    value.extend_from_slice(&(bytes as u64).to_le_bytes());
    let mut random = fastrand::Rng::with_seed(key.wrapping_mul(0x9E37_79B9) ^ version);
    value.resize(bytes, 0);
    random.fill(&mut value[24..]);
    value
}

/// The version that a value of this key names, if it is one from end to end.
pub(crate) fn described_version(key: u64, value: &[u8]) -> Option<u64> {
    let word = |at: usize| Some(u64::from_le_bytes(value.get(at..at + 8)?.try_into().ok()?));
    let version = word(8)?;
    let is_whole = word(0)? == key
        && word(16)? == value.len() as u64
        && describing_value(key, version, value.len()) == value;
    is_whole.then_some(version)
}

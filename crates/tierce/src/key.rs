//! Keys, and the groups into which every tier divides them alike.

use xxhash_rust::xxh3::xxh3_64;

/// How many groups keys fall into. A group is what can be distrusted and cleared apart from the
/// rest of a tier: with 256, a doubt about one key costs 0.4 % of it.
pub(crate) const GROUPS: usize = 256;

/// The hash of a key: the same in every process, on every host and in every version. XXH3-64.
#[cfg(feature = "redis")]
pub(crate) fn hash(key: &[u8]) -> u64 {
    xxh3_64(key)
}

/// The group of a key: the same in every process, on every host and in every version, hence the
/// fixed hash.
pub(crate) fn group(key: &[u8]) -> usize {
    (xxh3_64(key) % GROUPS as u64) as usize
}

//! Keys and values: plain numbers, and heap-held text and bytes.

use std::hash::Hash;

use bytes::Bytes;
use tierce_benches::load::text_key;

/// The types of a cell, and how they are made.
pub(super) trait Data: 'static {
    type Key: Hash + Eq + Clone + Send + Sync + 'static;
    type Value: Clone + Send + Sync + 'static;
    const NAME: &'static str;

    fn key(number: u32) -> Self::Key;
    fn value(key: &Self::Key) -> Self::Value;
    /// Bytes on the heap.
    fn heap_bytes(key: &Self::Key, value: &Self::Value) -> usize;
}

/// u64 -> u64.
pub(super) struct Numbers;

impl Data for Numbers {
    type Key = u64;
    type Value = u64;
    const NAME: &'static str = "u64";

    fn key(number: u32) -> u64 {
        u64::from(number)
    }
    #[inline]
    fn value(key: &u64) -> u64 {
        *key
    }
    #[inline]
    fn heap_bytes(_: &u64, _: &u64) -> usize {
        0
    }
}

/// `String` of 32 bytes -> `Bytes` of 256.
pub(super) struct Texts;

/// Bytes of a value of [`Texts`].
const VALUE_BYTES: usize = 256;

impl Data for Texts {
    type Key = String;
    type Value = Bytes;
    const NAME: &'static str = "text";

    fn key(number: u32) -> String {
        text_key(number)
    }
    #[inline]
    fn value(key: &String) -> Bytes {
        Bytes::from(vec![key.as_bytes()[5]; VALUE_BYTES])
    }
    #[inline]
    fn heap_bytes(key: &String, value: &Bytes) -> usize {
        key.len() + value.len()
    }
}

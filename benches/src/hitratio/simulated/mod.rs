//! Policies as their papers have them, over keys that are the numbers 0, 1, 2...
//!
//! They hold no values and take no locks, and spend memory on every key of a trace, so that each
//! is short and its hits are beyond doubt. What a paper leaves open is said in the policy's file.
//!
//! | file | policy |
//! |---|---|
//! | `fifo`, `lru` | what the names say |
//! | `sieve` | SIEVE |
//! | `s3_fifo` | S3-FIFO |
//! | `tiny_lfu`, `sketch` | W-TinyLFU with a fixed window, and its frequency sketch |
//! | `arc` | ARC |
//! | `lirs` | LIRS |
//! | `opt` | Belady's optimum: what no policy can exceed |

mod arc;
mod fifo;
mod lirs;
mod lru;
mod opt;
mod queue;
mod s3_fifo;
mod sieve;
mod sketch;
#[cfg(test)]
mod tests;
mod tiny_lfu;

pub use arc::Arc;
pub use fifo::Fifo;
pub use lirs::Lirs;
pub use lru::Lru;
pub use opt::{Newcomer, Opt};
pub use s3_fifo::S3Fifo;
pub use sieve::Sieve;
pub use tiny_lfu::TinyLfu;

/// A key: one of the numbers below the count of unique keys, the universe.
pub type Key = u32;

/// A cache of which only the keys are kept.
pub trait Policy {
    /// Asks for a key and inserts it on a miss; true on a hit.
    fn request(&mut self, key: Key) -> bool;

    /// True if the next request for the key is a hit.
    fn is_resident(&self, key: Key) -> bool;
}

/// Plays the requests and returns the number of hits.
pub fn hits(mut policy: impl Policy, requests: &[Key]) -> u64 {
    requests.iter().map(|key| u64::from(policy.request(*key))).sum()
}

//! Random operations on a [`MemoryCache`](tierce::MemoryCache), on the file of a
//! [`Store`](tierce::Store), and on the reader of a server's replies, each beside a plain model of
//! it; and random, damaged and hostile bytes for the reader of records of L3.
//!
//! | file | holds |
//! |---|---|
//! | `source` | the decisions: bytes of a fuzzer, or a seed |
//! | `things` | keys and values that know whether they are alive, and hashers good and bad |
//! | `model` | what the cache should hold |
//! | `guest` | another thread that stays in reads |
//! | `world` | the operations, and what must hold after each |
//! | `store` | the same for L2, with damage to the file |
//! | `reply` | the replies of a server, whole and damaged, in pieces |
//! | `envelope` | records of L3, damaged and made up |
//! | `drive` | seed after seed, for the programs |
//!
//! The same bytes, or the same seed, always do the same. A failure is a panic.

/// The very files of the crate, which does not show what it makes of records.
#[allow(dead_code, unreachable_pub, missing_docs, rustdoc::all)]
#[path = "../../crates/tierce/src/codec/mod.rs"]
mod codec;
mod drive;
mod envelope;
/// Where the included files look for it.
mod error {
    pub(crate) use tierce::{Error, ErrorKind, Result};
}
/// As that of the crate, for the same reason.
mod tag_cells {
    pub(crate) const MOST_TAGS: usize = 136;
}
mod guest;
mod model;
mod reply;
mod source;
mod store;
mod things;
mod world;

use std::sync::{Mutex, PoisonError};

pub use drive::drive;
pub use envelope::MOST_ALLOCATED;
use source::Source;
use things::{Plain, Tracked};
use world::World;

/// One run at a time: readers of one cache keep what leaves the others from being freed.
static RUNS: Mutex<()> = Mutex::new(());

fn run_source(source: &mut Source<'_>) -> u64 {
    let _run = RUNS.lock().unwrap_or_else(PoisonError::into_inner);
    if source.once_in(4) {
        World::<Plain>::new(source).run(source)
    } else {
        World::<Tracked>::new(source).run(source)
    }
}

/// Does what the bytes say, and returns how many operations that were.
pub fn run(bytes: &[u8]) -> u64 {
    run_source(&mut Source::bytes(bytes))
}

/// Does at least so many operations on one cache, and returns how many.
pub fn run_seed(seed: u64, operations: u64) -> u64 {
    run_source(&mut Source::seeded(seed, operations))
}

/// Does what the bytes say on a store file, and returns how many operations that were.
pub fn run_store(bytes: &[u8]) -> u64 {
    store::run(&mut Source::bytes(bytes))
}

/// Does so many operations on one store file, and returns how many.
pub fn run_store_seed(seed: u64, operations: u64) -> u64 {
    store::run(&mut Source::seeded(seed, operations))
}

/// Reads what the bytes say as replies of a server, and returns how many replies there were.
pub fn run_reply(bytes: &[u8]) -> u64 {
    reply::run(&mut Source::bytes(bytes))
}

/// Reads so many replies, and returns how many.
pub fn run_reply_seed(seed: u64, replies: u64) -> u64 {
    reply::run(&mut Source::seeded(seed, replies))
}

/// Reads what the bytes make of records of L3, and returns how many those were.
pub fn run_envelope(bytes: &[u8]) -> u64 {
    envelope::run(&mut Source::bytes(bytes))
}

/// Reads so many records of L3, sound, damaged and made up, and returns how many.
pub fn run_envelope_seed(seed: u64, operations: u64) -> u64 {
    envelope::run(&mut Source::seeded(seed, operations))
}

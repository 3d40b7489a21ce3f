//! What the protocols in `domain.rs`, `tally.rs` and `words.rs` take from the standard library. A model
//! of them takes the same names from its checker.

pub(super) use std::{
    cell::Cell,
    hint,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    thread::{self, yield_now},
};

/// How often a thread looks at a held lock before it goes to sleep: first for some microseconds, as
/// its owner needs some 100 ns for a change and a few microseconds if it is interrupted, then each
/// time after others could run, as its owner may have to. To sleep and wake takes longer than all
/// of that, and on a virtual processor that goes idle many times as long.
pub(super) const LOOKS: u32 = 24;

/// How many of them are at once.
pub(super) const LOOKS_AT_ONCE: u32 = 18;

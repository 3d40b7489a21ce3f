//! What the protocol in `domain.rs` takes from the standard library. A model of it takes the same
//! names from its checker.

pub(super) use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering},
    thread::yield_now,
};

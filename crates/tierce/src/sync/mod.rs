//! The synchronisation primitives of the crate, named in one place so that a model checker can
//! stand in for them.
//!
//! | file | what |
//! |---|---|
//! | `lock.rs` | locks that a forked child never finds held |
//! | `words.rs` | the words that they consist of, and how threads take turns by them |
//! | `fork.rs` | the sections they are held in, which a fork waits for |
//! | `caller.rs` | which thread calls |
//! | `kept_back.rs` | descriptors that a forked child does not have |
//! | `epoch.rs` | reads without a lock: [`epoch::pin`], and when what was unlinked may be freed |
//! | `domain.rs` | the protocol under `epoch.rs`, and why it is right |
//! | `threads.rs` | where each thread says what it is at |
//! | `tally.rs` | what each thread counts by itself |
//! | `barrier.rs` | the two halves of the fence that makes saying it cheap |
//! | `futex.rs` | sleeping |
//! | `shim.rs` | what `domain.rs`, `tally.rs` and `words.rs` take from `std`, and a model from its checker |

// Each tier uses what it needs, and not all are in every build.
#![allow(dead_code)]

mod barrier;
mod caller;
mod domain;
pub(crate) mod epoch;
mod fork;
#[cfg_attr(not(target_os = "linux"), path = "futex_elsewhere.rs")]
mod futex;
mod kept_back;
mod lock;
mod nested;
mod shim;
pub(crate) mod tally;
#[cfg(test)]
mod tally_tests;
#[cfg(test)]
pub(crate) mod testing;
mod threads;
mod words;

pub(crate) use std::sync::atomic;

pub(crate) use caller::{is_unwinding, me};
#[cfg(all(feature = "shared", target_os = "linux"))]
pub(crate) use fork::known_generation;
pub(crate) use fork::{Turn, generation, section};
#[cfg(feature = "serve")]
pub(crate) use kept_back::KeptBack;
pub(crate) use lock::{Condvar, Mutex, MutexGuard, SharedGuard, SharedLock};
#[allow(unused_imports)]
pub(crate) use nested::Nested;

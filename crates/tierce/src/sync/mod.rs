//! The synchronisation primitives of the crate, named in one place so that a model checker can
//! stand in for them.
//!
//! | file | what |
//! |---|---|
//! | `epoch.rs` | reads without a lock: [`epoch::pin`], and when what was unlinked may be freed |
//! | `domain.rs` | the protocol under it, and why it is right |
//! | `barrier.rs` | the two halves of its fence |
//! | `shim.rs` | what those take from `std`, and a model from its checker |

mod barrier;
mod domain;
pub(crate) mod epoch;
mod shim;

pub(crate) use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

//! The synchronisation primitives of the crate, named in one place so that a model checker can
//! stand in for them.

pub(crate) use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

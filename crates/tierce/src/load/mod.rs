//! Loading: one load per key at a time in this process, and what a load is told and remembers.
//!
//! | file | answers |
//! |---|---|
//! | `flight.rs` | who loads a key, and who waits for it |
//! | `context.rs` | what a loader is told, and whether its value is still wanted |

// The cache uses what its build has use for.
#![allow(dead_code, unused_imports)]

mod context;
mod flight;

pub(crate) use flight::{Entered, Flights};

pub use context::{CancelToken, LoadContext, LoadReason};

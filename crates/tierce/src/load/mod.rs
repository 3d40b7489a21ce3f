//! Loading: one load per key at a time in this process, and what a load is told and remembers.
//!
//! | file | answers |
//! |---|---|
//! | `flight` | who loads a key, and who waits for it |
//! | `context.rs` | what a loader is told, and whether its value is still wanted |
//! | `ahead.rs` | when a fresh value is loaded anew before it is stale |
//! | `crew.rs` | which threads load in the background |
//! | `errand.rs` | how a task has them do what would block it |
//! | `alarm.rs` | what wakes a task at its deadline |
//! | `failures.rs` | for how long a loader that failed is left alone |

mod ahead;
mod alarm;
mod context;
mod crew;
mod errand;
mod failures;
mod flight;
#[cfg(test)]
mod flight_tests;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use ahead::draw;
pub(crate) use alarm::{Alarm, Alarms, Ring};
pub(crate) use crew::{Crew, DEFAULT_THREADS, Refused};
pub(crate) use errand::{Errand, Hold, Report, hold};
pub(crate) use failures::{Backoff, Failures};
pub(crate) use flight::{Entered, Flights, Joined, Lead, Waited, took_too_long};

pub use ahead::RefreshAhead;
pub use context::{CancelToken, LoadContext, LoadReason};

//! What keeps a failing tier from costing the callers: the breaker of each tier.
//!
//! A tier does not know its breaker: the cache asks the breaker before it calls the tier and
//! tells it what became of the call.

mod breaker;

pub(crate) use breaker::Breaker;
pub use breaker::{BreakerOptions, BreakerState};

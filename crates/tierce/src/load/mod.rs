//! `get_or_load`: one load per key at a time in this process.

mod flight;

pub(crate) use flight::{Entered, Flights};

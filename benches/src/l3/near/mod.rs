//! Two hosts that keep copies near and change what the other has: what a read costs, and how long
//! a host serves what the other has replaced.
//!
//! | file | answers |
//! |---|---|
//! | `network` | how a host has a network of its own |
//! | `clients` | which clients, and how each is set up |
//! | `host` | what a host does when it is told to: this program as a child |
//! | `log` | what a host has done, call by call, and the file that it tells it by |
//! | `judge` | which reads were too old, and how long changes took to be seen |
//! | `run` | how hosts are told, in which order, and what is made of their logs |
//!
//! `benches/python/near.py` is the host of the Python clients; it does and writes the same.

mod clients;
mod host;
mod judge;
mod log;
mod network;
mod run;

use std::time::Duration;

use tierce_benches::{arguments::Arguments, bars::Bar, results::Section};

pub(super) use clients::{CACHE_AIO, CACHE_AIO_WORKERS, REDIS_PY, TIERCE_BEHIND, TIERCE_PYTHON};
pub(super) use host::{FLAG, main};

/// Keys that both hosts read; each changes one half of them, so that the versions of a key have an
/// order that all know.
const KEYS: u32 = 10_000;

/// Of these the hosts change and watch, where it is measured how long changes take to be seen: few
/// enough for a reader to look at all of them within some microseconds.
const WATCHED: u32 = 128;

/// Of a hundred calls.
const READS: u32 = 95;

/// The bound by which a read is judged: that of tierce where nothing is said.
const BOUND: Duration = Duration::from_secs(5);

/// What was measured of near-caches.
pub(super) struct Near {
    pub(super) sections: Vec<Section>,
    pub(super) bars: Vec<Bar>,
}

/// Measures all that is asked for.
///
/// # Errors
/// If a host cannot be started, or ends.
pub(super) fn measure(arguments: &Arguments) -> Result<Near, String> {
    run::measure(arguments)
}

/// The length of the value of a key: between 100 bytes and 1 KiB.
fn value_bytes(number: u32) -> usize {
    100 + (number as usize * 7_919) % 925
}

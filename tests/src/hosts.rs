//! Hosts that have a network of their own on this machine (`namespace.rs`), and what they are asked for.

use std::time::Duration;

pub use crate::namespace::Namespace;
use crate::redis::Redis;

/// How often the workers of a host ask for a sign of life.
pub const HEARTBEAT: Duration = Duration::from_millis(500);

/// How long after the loss of their link they serve what may be stale.
pub const STALENESS_BOUND: Duration = Duration::from_secs(2);

/// A server that listens at these addresses too, and the port there.
///
/// # Panics
/// Where there is no such address, and as [`Redis::start`].
#[allow(clippy::unwrap_used)]
pub fn redis_at(addresses: &[&str]) -> (Redis, u16) {
    let port = std::net::TcpListener::bind((addresses[0], 0)).unwrap().local_addr().unwrap().port();
    let number = port.to_string();
    let options = [&["--bind"], addresses, &["--port", &number, "--protected-mode", "no"]];
    (Redis::with(&options.concat()), port)
}

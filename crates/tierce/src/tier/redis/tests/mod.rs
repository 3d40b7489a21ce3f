//! Tests against real servers.

mod coherence;
mod envelope;
mod faults;
mod outage;
mod process;
mod rollout;
#[cfg(feature = "tls")]
mod secure;
pub(super) mod server;
mod spans;
mod tags;
mod wire;

use std::time::Duration;

use bytes::Bytes;

use crate::{
    codec::Format,
    tier::{Found, Record, RemoteTier},
};

fn record(value: impl Into<Bytes>) -> Record {
    Record { age: None, ..Record::new(value.into(), Format::Raw, None) }
}

fn lasting(value: &'static str, ttl: Duration) -> Record {
    Record { ttl: Some(ttl), ..record(value) }
}

/// The value that a read finds.
fn value(tier: &dyn RemoteTier, key: &[u8]) -> Option<Bytes> {
    tier.read(key).unwrap().record.map(|record| record.value)
}

/// A miss that allows a fill.
fn miss(tier: &dyn RemoteTier, key: &[u8]) -> crate::tier::Token {
    match tier.read(key).unwrap() {
        Found { record: None, token: Some(token), .. } => token,
        found => panic!("not a miss with a token: {found:?}"),
    }
}

//! What is loaded from: it takes its time, and fails often.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use fastrand::Rng;
use tierce::Bytes;

const VALUE_BYTES: usize = 1024;

/// An origin that counts what it was asked.
pub(super) struct Source {
    latency: Duration,
    failures: f64,
    lot: Mutex<Rng>,
    loads: AtomicU64,
    failed: AtomicU64,
}

impl Source {
    /// Each answer takes so long, also a failure; this part of them are failures.
    pub(super) fn new(latency: Duration, failures: f64) -> Self {
        Self {
            latency,
            failures,
            lot: Mutex::new(Rng::with_seed(464)),
            loads: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// Answers after a while, or fails.
    pub(super) fn load(&self, key: u64) -> io::Result<Bytes> {
        thread::sleep(self.latency);
        self.loads.fetch_add(1, Ordering::Relaxed);
        if self.lot.lock().unwrap_or_else(PoisonError::into_inner).f64() < self.failures {
            self.failed.fetch_add(1, Ordering::Relaxed);
            return Err(io::Error::other("the origin failed"));
        }
        let mut value = vec![0; VALUE_BYTES];
        value[..8].copy_from_slice(&key.to_le_bytes());
        Ok(Bytes::from(value))
    }

    /// How often it was asked, and how often it failed.
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.loads.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
    }
}

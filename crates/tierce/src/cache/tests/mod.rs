//! The promises of the cache inside one process: what each verb means in each tiering, and the
//! races that caches get wrong. Two caches on one store stand for two processes.

#![cfg(feature = "shared")]

mod ages;
mod counts;
mod ending;
mod freshness;
mod load_many;
mod loading;
mod loads;
mod overtaken;
mod prefix;
mod races;
mod reach;
mod retiering;
mod tags;
mod tasks;
mod touch;
mod unkept;
mod verbs;

use std::{io, time::Duration};

use bytes::Bytes;

use super::{Builder, Cache};
use crate::{
    clock::{Clock, ManualClock},
    memory::MemoryOptions,
    store::StoreOptions,
    tiering::Tiering,
};

/// A folder for a store, removed at the end.
struct Host {
    folder: tempfile::TempDir,
    clock: Clock,
    time: ManualClock,
}

impl Host {
    fn new() -> Self {
        let (clock, time) = Clock::manual();
        let parent = if std::path::Path::new("/dev/shm").is_dir() {
            "/dev/shm".into()
        } else {
            std::env::temp_dir()
        };
        Self { folder: tempfile::tempdir_in(parent).unwrap(), clock, time }
    }

    fn builder(&self, tiering: Tiering) -> Builder {
        Cache::builder()
            .tiering(tiering)
            .clock(self.clock.clone())
            .memory(MemoryOptions::new().max_entries(1000))
            .shared(
                StoreOptions::new(self.folder.path().join("store"))
                    .max_bytes(16 << 20)
                    .max_entries(10_000),
            )
    }

    fn cache(&self, tiering: Tiering) -> Cache {
        self.builder(tiering).build().unwrap()
    }
}

/// A loader that fails.
fn down(_: &[u8]) -> io::Result<Bytes> {
    Err(io::Error::other("origin is down"))
}

/// Waits for what another thread is about to do.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = std::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < secs(20), "{what}: not within 20 s");
        std::thread::yield_now();
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

//! What a host has done: a record of 24 bytes for each call, in the order of calls.
//!
//! ```text
//!   key, the highest bit says that it was set: u32 | version: u32 | begin: u64 | end: u64
//! ```
//!
//! All little-endian; times are nanoseconds of the monotonic clock, which all processes of a machine
//! share. A version is the value's own; 0 is that of a read which found nothing.

use std::{fs, path::Path, time::Duration};

const RECORD_BYTES: usize = 24;
const SET: u32 = 1 << 31;

/// One call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Done {
    pub(super) key: u32,
    pub(super) is_set: bool,
    pub(super) version: u32,
    pub(super) begin: u64,
    pub(super) end: u64,
}

impl Done {
    pub(super) fn nanoseconds(&self) -> u64 {
        self.end - self.begin
    }

    fn bytes(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let key = self.key | if self.is_set { SET } else { 0 };
        bytes[..4].copy_from_slice(&key.to_le_bytes());
        bytes[4..8].copy_from_slice(&self.version.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.begin.to_le_bytes());
        bytes[16..].copy_from_slice(&self.end.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let long = |at: usize| Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
        let key = word(0)?;
        let is_set = key & SET != 0;
        Some(Self { key: key & !SET, is_set, version: word(4)?, begin: long(8)?, end: long(16)? })
    }
}

/// Writes a log.
///
/// # Errors
/// If the file cannot be written.
pub(super) fn write(path: &Path, log: &[Done]) -> Result<(), String> {
    let bytes: Vec<u8> = log.iter().flat_map(Done::bytes).collect();
    fs::write(path, bytes).map_err(|error| format!("a log: {error}"))
}

/// Reads one.
///
/// # Errors
/// If there is none, or something else.
pub(super) fn read(path: &Path) -> Result<Vec<Done>, String> {
    let bytes = fs::read(path).map_err(|error| format!("a log: {error}"))?;
    let log: Option<Vec<_>> = bytes.chunks(RECORD_BYTES).map(Done::from_bytes).collect();
    log.ok_or_else(|| "a log that ends within a record".into())
}

/// The monotonic clock, in nanoseconds.
pub(super) fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a value of this type that lives while the call does; this clock is
    // known to all kernels that Rust's own clock needs.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let set = Done { key: 7, is_set: true, version: 1 << 20, begin: 1 << 40, end: u64::MAX };
        let log = [set, Done { is_set: false, key: 9_999, ..set }];
        write(&path, &log).unwrap();
        assert_eq!(read(&path).unwrap(), log);
        fs::write(&path, [0; RECORD_BYTES + 1]).unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn the_clock_rises() {
        let before = now();
        assert!(before > 0 && now() >= before);
    }
}

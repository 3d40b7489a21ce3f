//! Reading a file that may be of any length, change at any time and hold anything.
//!
//! By `pread` and never through a mapping: a file that is truncated under the look gives fewer
//! bytes, not a signal. What the file does not have reads as zeros, which is nothing anywhere in a
//! store; the missing bytes are a finding of their own.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::{
    error::{Error, ErrorKind, Result},
    store::files,
};

/// Reads up to this are made without asking for the length of the file first.
const UNASKED_BYTES: usize = 64 << 10;

/// A file that is open for reading.
pub(super) struct LookedAt {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl LookedAt {
    /// Opens the file without waiting for anything.
    pub(super) fn open(path: &Path) -> Result<Self> {
        // O_NONBLOCK: a FIFO must not make the open wait.
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
            .open(path)
            .map_err(|error| files::failed(path, "cannot be opened", error))?;
        let opened = Self { file, path: path.to_owned() };
        if !opened.about()?.is_file() {
            let text = format!("{}: must be a regular file", path.display());
            return Err(Error::new(ErrorKind::Io, text));
        }
        Ok(opened)
    }

    pub(super) fn about(&self) -> Result<Metadata> {
        self.file.metadata().map_err(|error| self.failed(error))
    }

    pub(super) fn failed(&self, error: io::Error) -> Error {
        files::failed(&self.path, "cannot be read", error)
    }

    /// The `count` bytes at `at`, with zeros in the place of those the file does not have, and
    /// how many it has.
    pub(super) fn read(&self, at: u64, count: usize) -> Result<(Bytes, usize)> {
        let mut count = count;
        if count > UNASKED_BYTES {
            // Beyond its end, `Bytes` makes up the zeros: a header that lies takes no memory.
            let left = self.about()?.len().saturating_sub(at);
            count = count.min(usize::try_from(left).unwrap_or(usize::MAX));
        }
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(count).map_err(|error| {
            let text = format!("{}: no memory for {count} bytes", self.path.display());
            Error::new(ErrorKind::Full, text).caused_by(error)
        })?;
        bytes.resize(count, 0);
        let mut have = 0;
        while have < count {
            match self.file.read_at(&mut bytes[have..], at + have as u64) {
                Ok(0) => break,
                Ok(more) => have += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(error)),
            }
        }
        Ok((Bytes(bytes), have))
    }

    /// As [`read`](Self::read), where missing bytes are as good as zeros.
    pub(super) fn bytes(&self, at: u64, count: usize) -> Result<Bytes> {
        Ok(self.read(at, count)?.0)
    }

    /// True where the path still leads to this file; false where it leads to another or nowhere.
    pub(super) fn is_at_its_path(&self) -> Result<bool> {
        let mine = self.about()?;
        match std::fs::metadata(&self.path) {
            Ok(about) => Ok((about.dev(), about.ino()) == (mine.dev(), mine.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.failed(error)),
        }
    }
}

/// Bytes copied out of a file; zeros beyond.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Bytes {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        if let Some(bytes) = self.0.get(at..at.saturating_add(N)) {
            array.copy_from_slice(bytes);
        }
        array
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        u32::from_ne_bytes(self.array(at))
    }

    pub(super) fn u64(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.array(at))
    }

    pub(super) fn u128(&self, at: usize) -> u128 {
        u128::from(self.u64(at)) | u128::from(self.u64(at + 8)) << 64
    }

    /// Eight words, as a record begins.
    pub(super) fn words(&self, at: usize) -> [u64; 8] {
        std::array::from_fn(|word| self.u64(at + word * 8))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_does_not_have_reads_as_zeros_and_takes_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, [1; 100]).unwrap();
        let file = LookedAt::open(&path).unwrap();
        let (bytes, have) = file.read(90, 1 << 40).unwrap();
        assert_eq!((have, bytes.0.len()), (10, 10));
        let (bytes, have) = file.read(96, 16).unwrap();
        assert_eq!((have, bytes.u32(0), bytes.u32(4)), (4, 0x0101_0101, 0));
        assert_eq!((bytes.u64(1 << 40), bytes.words(usize::MAX - 100)), (0, [0; 8]));
        assert_eq!(file.read(u64::from(u32::MAX), 1).unwrap().1, 0);
    }
}

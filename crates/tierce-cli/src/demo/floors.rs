//! The oldest version of each item that a read may still return, shared by all processes.
//!
//! A file with one byte for each item. Whoever changes an item raises its floor *after* the change
//! returned from the cache; whoever reads takes the floor *before* it asks the cache. So a version
//! below the floor breaks the cache's promise, whatever raced with what.
//!
//! One byte, so that it can never be read torn; a file read and written by `pread` and `pwrite`
//! rather than mapped, because 0.3 us on each read are no matter here and need no `unsafe`.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::atomic::{Ordering, fence},
};

/// The version of every item at the start.
pub(super) const FIRST_VERSION: u8 = 1;

/// The floors of all items, by their number in the [script](super::script).
pub(super) struct Floors {
    file: File,
    items: usize,
}

impl Floors {
    /// Makes the file.
    pub(super) fn create(path: &Path, items: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        file.write_all_at(&vec![FIRST_VERSION; items], 0)?;
        Ok(Self { file, items })
    }

    /// Opens the file that another process made.
    pub(super) fn open(path: &Path, items: usize) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { file, items })
    }

    /// The oldest version that a read which begins now may return.
    pub(super) fn get(&self, item: u32) -> io::Result<u8> {
        let mut byte = [0];
        self.file.read_exact_at(&mut byte, u64::from(item))?;
        fence(Ordering::SeqCst);
        Ok(byte[0])
    }

    /// Declares that a change of the item to this version has returned. Only one process at a
    /// time changes an item, so the floor never falls.
    pub(super) fn raise(&self, item: u32, version: u8) -> io::Result<()> {
        fence(Ordering::SeqCst);
        self.file.write_all_at(&[version], u64::from(item))
    }

    /// The floors of all items.
    pub(super) fn all(&self) -> io::Result<Vec<u8>> {
        let mut floors = vec![0; self.items];
        self.file.read_exact_at(&mut floors, 0)?;
        fence(Ordering::SeqCst);
        Ok(floors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_floor_is_seen_through_another_opening_of_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("floors");
        let ours = Floors::create(&path, 5).unwrap();
        let theirs = Floors::open(&path, 5).unwrap();
        assert_eq!(theirs.all().unwrap(), [FIRST_VERSION; 5]);
        ours.raise(3, 9).unwrap();
        assert_eq!(theirs.get(3).unwrap(), 9);
        assert_eq!(theirs.get(2).unwrap(), FIRST_VERSION);
        assert_eq!(theirs.all().unwrap(), [1, 1, 1, 9, 1]);
        assert!(theirs.get(5).is_err());
    }
}

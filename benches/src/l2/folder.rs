//! Where stores lie, and how many bytes they take there.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use tempfile::TempDir;

/// What a folder stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ground {
    /// `/dev/shm`.
    Memory,
    /// The disk that this source tree's build output lies on.
    Disk,
}

impl Ground {
    /// An empty folder, which goes away with its value.
    ///
    /// # Errors
    /// If it cannot be made; the text says where.
    pub(super) fn folder(self) -> Result<TempDir, String> {
        let disk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        let parent = if self == Self::Memory { Path::new("/dev/shm") } else { &disk };
        tempfile::Builder::new()
            .prefix("tierce-bench-")
            .tempdir_in(parent)
            .map_err(|error| format!("no folder in {}: {error}", parent.display()))
    }
}

/// The bytes that the files of a folder take from their file system, holes left out.
pub(super) fn allocated_bytes(folder: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let about = entry.metadata()?;
        bytes += if about.is_dir() {
            allocated_bytes(&entry.path())?
        } else {
            // In units of 512 bytes, whatever the block size is.
            about.blocks() * 512
        };
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_and_folders_take_nothing_and_bytes_whole_blocks() {
        let folder = Ground::Memory.folder().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        let file = fs::File::create(folder.path().join("inner/file")).unwrap();
        file.set_len(10 << 20).unwrap();
        assert_eq!(allocated_bytes(folder.path()).unwrap(), 0);
        fs::write(folder.path().join("other"), vec![1; 100_000]).unwrap();
        assert_eq!(allocated_bytes(folder.path()).unwrap(), 102_400);
    }
}

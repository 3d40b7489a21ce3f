//! Where stores lie.

use std::path::Path;

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

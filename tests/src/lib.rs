//! What the tests that cross processes share: values that describe themselves, a board of
//! versions that all processes see, worker processes, a real redis-server and a bad way to it.

pub mod board;
pub mod history;
pub mod host;
pub mod hosts;
pub mod loads;
pub mod moves;
pub mod namespace;
pub mod otlp;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod schema;
pub mod secure;
pub mod server;
pub mod stub;
pub mod traffic;
pub mod value;
pub mod waiting;
pub mod web;
pub mod world;

/// A new folder for a store, on tmpfs where there is one; removed when dropped.
///
/// # Panics
/// If it cannot be made.
#[allow(clippy::unwrap_used)]
pub fn store_folder() -> tempfile::TempDir {
    let shm = std::path::Path::new("/dev/shm");
    let builder = tempfile::Builder::new().prefix("tierce-test-").to_owned();
    if shm.is_dir() { builder.tempdir_in(shm).unwrap() } else { builder.tempdir().unwrap() }
}

/// The seed of this run: `TIERCE_SEED`, or a new one, printed so that a failure can be repeated.
pub fn seed() -> u64 {
    let seed = std::env::var("TIERCE_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    #[allow(clippy::print_stderr)]
    {
        eprintln!("TIERCE_SEED={seed}");
    }
    seed
}

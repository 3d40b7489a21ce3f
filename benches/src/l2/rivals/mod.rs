//! Which stores take part, and how each is set up. All keep copies of values in files, and all
//! hand out values that outlive the call.
//!
//! | file | rival |
//! |---|---|
//! | `ours` | tierce's store |
//! | `array` | a mapped array: memcpy and XXH3, the physical limit |
//! | `lmdb` | LMDB through heed, with and without WRITEMAP |
//! | `redb` | redb, commits without durability |
//! | `fjall` | fjall, the LSM tree of the field (RocksDB takes minutes to build) |
//! | `sqlite` | SQLite, WAL |
//! | `foyer` | foyer's disk engine |
//! | `kept` | how a handle and what it borrows live in one value |

mod array;
mod fjall;
mod foyer;
mod kept;
mod lmdb;
mod ours;
mod redb;
mod sqlite;

use std::{error::Error, hint::black_box, path::Path};

use tierce::Medium;

use super::data::{ABSENT, KEY_BYTES, Request, Value};

pub(super) use ours::Ours;

/// What can go wrong while a rival is set up.
pub(super) type Fault = Box<dyn Error + Send + Sync>;

pub(super) const OURS: &str = "tierce";
/// Ours, records of a disk read by mapping.
pub(super) const OURS_MAPPED: &str = "tierce mapped reads";
pub(super) const ARRAY: &str = "array";
pub(super) const LMDB: &str = "LMDB nosync";
pub(super) const LMDB_WRITEMAP: &str = "LMDB writemap";
pub(super) const REDB: &str = "redb";
pub(super) const FJALL: &str = "fjall";
pub(super) const SQLITE: &str = "SQLite";
pub(super) const FOYER: &str = "foyer";

/// All of them, ours first.
pub(super) const NAMES: [&str; 9] =
    [OURS, OURS_MAPPED, ARRAY, LMDB, LMDB_WRITEMAP, REDB, FJALL, SQLITE, FOYER];

/// What was found under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    /// The number that the value begins with.
    number: u32,
    pub(super) bytes: usize,
}

impl Seen {
    /// What an owned value holds.
    fn of(value: &impl AsRef<[u8]>) -> Self {
        let value = black_box(value).as_ref();
        let number = value.first_chunk().map_or(u32::MAX, |first| u32::from_le_bytes(*first));
        Self { number, bytes: value.len() }
    }

    /// True if this is the value of the number.
    pub(super) fn is(self, number: u32, bytes: usize) -> bool {
        self == Self { number, bytes }
    }
}

/// A store under test. A failed call panics: the figures of a run with failures mean nothing.
pub(super) trait Rival {
    /// Copies the value of a key.
    fn get(&mut self, request: &Request) -> Option<Seen>;

    /// Stores a value under a key; false where the store would not wait for another process.
    fn put(&mut self, request: &Request, value: &[u8]) -> bool;

    /// Stores many, in the fastest way that there is.
    fn fill(&mut self, numbers: &mut dyn Iterator<Item = (u32, usize)>, values: &mut Value) {
        for (number, bytes) in numbers {
            self.put(&Request::new(number), values.of(number, bytes));
        }
    }

    /// Waits until puts are done; a part of the time of each batch.
    fn settle(&mut self) {}
}

/// What a store has to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup<'a> {
    /// An empty folder, or that of another process which opened it with the same setup.
    pub(super) folder: &'a Path,
    pub(super) entries: usize,
    /// The usual size of a value.
    pub(super) value_bytes: usize,
    pub(super) medium: Medium,
    pub(super) mapped_reads: bool,
}

impl Setup<'_> {
    /// Keys and values together.
    fn data_bytes(&self) -> usize {
        self.entries * (self.value_bytes + KEY_BYTES)
    }
}

/// Opens a rival by its name.
///
/// # Errors
/// If it cannot be set up, or if there is none of this name.
pub(super) fn open(name: &str, setup: &Setup<'_>) -> Result<Box<dyn Rival>, Fault> {
    Ok(match name {
        OURS => Box::new(Ours::roomy(setup)?),
        OURS_MAPPED => Box::new(Ours::roomy(&Setup { mapped_reads: true, ..*setup })?),
        ARRAY => Box::new(array::Array::open(setup)?),
        LMDB => Box::new(lmdb::Lmdb::open(setup, lmdb::Writes::ByFile)?),
        LMDB_WRITEMAP => Box::new(lmdb::Lmdb::open(setup, lmdb::Writes::ByMap)?),
        REDB => Box::new(redb::Redb::open(setup)?),
        FJALL => Box::new(fjall::Fjall::open(setup)?),
        SQLITE => Box::new(sqlite::Sqlite::open(setup)?),
        FOYER => Box::new(foyer::Foyer::open(setup)?),
        _ => return Err(format!("unknown rival {name:?}").into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rival_returns_what_was_put() {
        let mut values = Value::up_to(20_000);
        for name in NAMES {
            for value_bytes in [100, 20_000] {
                let folder = tempfile::tempdir_in("/dev/shm").unwrap();
                let setup = Setup {
                    folder: folder.path(),
                    entries: 500,
                    value_bytes,
                    medium: if name == OURS_MAPPED { Medium::Disk } else { Medium::Auto },
                    mapped_reads: false,
                };
                let mut rival = open(name, &setup).unwrap();
                rival.fill(&mut (0..400).map(|number| (number, value_bytes)), &mut values);
                rival.put(&Request::new(7), values.of(7, value_bytes));
                rival.put(&Request::new(450), values.of(450, value_bytes));
                rival.settle();
                for number in (0..400).chain([450]) {
                    let seen = rival.get(&Request::new(number));
                    assert!(
                        seen.is_some_and(|seen| seen.is(number, value_bytes)),
                        "{name}, {value_bytes} bytes, {number}: {seen:?}"
                    );
                }
                assert_eq!(rival.get(&Request::new(ABSENT + 1_000)), None, "{name}");
            }
        }
    }
}

//! Looking at a store file from outside: what it is, who uses it, what is in it, what is wrong.
//!
//! An inspection changes nothing and disturbs nobody: it opens the files for reading, takes no
//! lock, claims no slot and wakes nobody up. So it sees a store between two instructions of its
//! users, and what looks wrong in a store in use is looked at again before it is told.
//!
//! It believes nothing. The file may be damaged, cut short, of another version, no store at all, or
//! change while it is read; every number of it is bounded before it is used.
//!
//! | file | answers |
//! |---|---|
//! | `inspect/facts` | what is told |
//! | `inspect/file` | bounded reading |
//! | `inspect/header` | what the file says it is |
//! | `inspect/table` | the state region and the segment table |
//! | `inspect/users` | locks and counters |
//! | `inspect/records` | a segment walked, its records verified |
//! | `inspect/slots` | the index followed |

mod facts;
mod file;
mod header;
mod records;
mod slots;
mod table;
mod users;

use std::{path::Path, time::Duration};

pub use self::facts::{
    StoreContents, StoreDoubts, StoreFinding, StoreHeader, StoreHistogram, StoreLook, StorePlace,
    StoreProcess, StoreSegment, StoreSegmentState, StoreSeverity, StoreSlots, StoreUser,
    StoreUsers,
};
use self::{file::LookedAt, table::Moment};
use crate::{
    clock::{Clock, Millis},
    error::Result,
    store::{files, layout::Geometry},
};

/// Name of the data file in the folder of a store.
const DATA: &str = "l2.data";
/// Findings that are listed for each kind of place: more are counted.
const MOST_FINDINGS: u64 = 1000;
/// Between two looks at what seems wrong in a store in use: a writer is done with a record in a
/// few microseconds, unless it was stopped.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// Bounds of values' bytes: powers of four from what fits a cache line to the largest.
const VALUE_BYTES: &[u64] = &[
    64,
    256,
    1 << 10,
    4 << 10,
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    u64::MAX,
];
/// Bounds of ages, counted in writes.
const WRITES: &[u64] =
    &[9, 99, 999, 9_999, 99_999, 999_999, 9_999_999, 99_999_999, 999_999_999, u64::MAX];
/// Bounds of what is left to live, in seconds: the first three are those of the classes.
const SECONDS: &[u64] = &[59, 599, 3_599, 86_399, 7 * 86_400 - 1, u64::MAX - 1, u64::MAX];

/// A store file that is open for looking only; see [`Store`](crate::Store) for using one.
///
/// Linux only, as stores are.
pub struct StoreInspection {
    data: LookedAt,
    facts: StoreHeader,
    geometry: Geometry,
    seed: u64,
    clock: Clock,
}

impl StoreInspection {
    /// Opens a store by the path of its `l2.data` or of the folder that has it.
    ///
    /// # Errors
    /// Names the file, the value found and the rule. [`Io`](crate::ErrorKind::Io) and
    /// [`Denied`](crate::ErrorKind::Denied) where the file cannot be read;
    /// [`Corrupt`](crate::ErrorKind::Corrupt) for a file without a sound header;
    /// [`Version`](crate::ErrorKind::Version) for one of another format version;
    /// [`Unsupported`](crate::ErrorKind::Unsupported) for one of another byte order.
    pub fn open(path: &Path, clock: Clock) -> Result<Self> {
        let data =
            if path.is_dir() { LookedAt::open(&path.join(DATA)) } else { LookedAt::open(path) }?;
        let (header, facts) = header::read(&data)?;
        Ok(Self { data, facts, geometry: header.geometry, seed: header.seed, clock })
    }

    /// What never changes.
    pub fn header(&self) -> &StoreHeader {
        &self.facts
    }

    /// The path of the data file.
    pub fn path(&self) -> &Path {
        &self.data.path
    }

    /// False once the file was removed, or another was put in its place.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the path cannot be looked at.
    pub fn is_at_its_path(&self) -> Result<bool> {
        self.data.is_at_its_path()
    }

    /// The state of the store now. Reads the state region and the segment table: 64 bytes a
    /// segment.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the file cannot be read.
    pub fn look(&self) -> Result<StoreLook> {
        table::look(self, &self.moment()?)
    }

    /// Walks all segments and the index, and tells what is there. Reads the whole file, a segment
    /// at a time, and for each record the set of its key.
    ///
    /// With `verify`, every byte that a checksum covers is checked. Without, the walk looks at
    /// headers only.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the file cannot be read,
    /// [`Full`](crate::ErrorKind::Full) where there is no memory for a segment.
    pub fn contents(&self, verify: bool) -> Result<StoreContents> {
        let moment = self.moment()?;
        let mut contents = StoreContents {
            is_verified: verify,
            records: 0,
            right: 0,
            wrong: 0,
            live_entries: 0,
            live_bytes: 0,
            dead_bytes: 0,
            large_entries: 0,
            incomplete_entries: 0,
            torn: 0,
            restless_segments: 0,
            slots: StoreSlots::default(),
            value_bytes: StoreHistogram::new(VALUE_BYTES),
            writes_since: StoreHistogram::new(WRITES),
            seconds_left: StoreHistogram::new(SECONDS),
            findings: Vec::new(),
            damages: 0,
        };
        contents.note(table::look(self, &moment)?.findings);
        records::walk(self, &moment, &mut contents)?;
        slots::walk(self, &moment, &mut contents)?;
        Ok(contents)
    }

    /// True where a record or a segment of this deadline is of no use any more. After a reboot
    /// deadlines of before it mean nothing, and neither do the records.
    fn has_expired(&self, moment: &Moment, deadline: u64) -> bool {
        deadline != Millis::NEVER.0 && moment.now >= deadline
    }

    fn moment(&self) -> Result<Moment> {
        let boot_id = files::boot_id().ok();
        Moment::take(self, boot_id, self.clock.boot().0)
    }
}

impl StoreContents {
    /// Counts findings and lists the first of each kind.
    fn note(&mut self, findings: Vec<StoreFinding>) {
        for finding in findings {
            match finding.severity {
                StoreSeverity::Damage => self.damages += 1,
                StoreSeverity::Torn => self.torn += 1,
            }
            let kind = finding.place.kind();
            let listed = self.findings.iter().filter(|listed| listed.place.kind() == kind);
            if (listed.count() as u64) < MOST_FINDINGS {
                self.findings.push(finding);
            }
        }
    }
}

impl std::fmt::Debug for StoreInspection {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StoreInspection")
            .field("path", &self.data.path)
            .field("geometry", &self.geometry)
            .finish_non_exhaustive()
    }
}

//! What was decided, on disk: a file of JSON lines that is only appended to.
//!
//! A line is on the disk (`fsync`) before the share that it tells of is put in force, so that a
//! restart never goes on with a higher share than the journal knows. A crash may leave half a line:
//! whoever writes next ends it first, and readers leave out what is no decision at the place of such
//! a tear.
//!
//! All processes of a host may have the same journal open. One of them **leads**: it holds the lock
//! on the file while it lives, and writes how the rollout goes on. The others follow what is written.
//! Anybody may append a rollback at any time, without a lock; after one no line counts but a new
//! start ([`Journal::latest`]), whoever wrote in between. Of hosts that roll out together each has a
//! journal of its own, with the decisions of all (`fleet.rs`): there a start has a higher epoch, and
//! what is of an earlier one does not count, wherever in the file it stands.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use super::decision::Decision;
use crate::error::{Error, ErrorKind, Result};

/// Larger files are no journal: a plan of a month writes some 2 MB.
const MOST_BYTES: u64 = 256 << 20;

/// The journal of one rollout.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes of whole lines that were read.
    read: u64,
    latest: Option<Decision>,
    number: u64,
    leads: bool,
}

impl Journal {
    /// Opens the journal at `path`, or begins one, and returns what it holds.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] where a line cannot be read, [`ErrorKind::TooLarge`], or what the
    /// system says.
    pub fn open(path: &Path) -> Result<(Self, Vec<Decision>)> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let (path, latest) = (path.to_owned(), None);
        let mut journal = Self { path, file, read: 0, latest, number: 0, leads: false };
        let decisions = journal.news()?;
        Ok((journal, decisions))
    }

    /// True if this process leads, or does from now on as nobody else did.
    pub fn lead(&mut self) -> bool {
        self.leads = self.leads || self.file.try_lock().is_ok();
        self.leads
    }

    /// The decision that holds: the latest, but after a rollback only a start, or the steps of the
    /// rollback itself, follow it.
    pub fn latest(&self) -> Option<&Decision> {
        self.latest.as_ref()
    }

    /// What was written since the last look, by anybody. Costs one system call where that is
    /// nothing.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn news(&mut self) -> Result<Vec<Decision>> {
        let length = self.file.metadata()?.len();
        if length <= self.read {
            return Ok(Vec::new());
        }
        if length > MOST_BYTES {
            let message = format!("journal {}: must be of at most 256 MiB", self.path.display());
            return Err(Error::new(ErrorKind::TooLarge, message));
        }
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read))?;
        self.file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let mut decisions = Vec::new();
        for line in bytes[..whole].split(|byte| *byte == b'\n') {
            // A tear ends in a mark that no line of ours has.
            if line.is_empty() || line.ends_with(TORN) {
                continue;
            }
            let decision: Decision = serde_json::from_slice(line).map_err(|error| {
                let place = format!("journal {}, from byte {}", self.path.display(), self.read);
                Error::new(ErrorKind::Corrupt, format!("{place}: a line is no decision"))
                    .caused_by(error)
            })?;
            self.adopt(&decision);
            decisions.push(decision);
        }
        self.read += whole as u64;
        Ok(decisions)
    }

    fn adopt(&mut self, decision: &Decision) {
        if decision.epoch > self.latest.as_ref().and_then(|latest| latest.epoch) {
            self.number = 0;
        }
        if self.latest.as_ref().is_none_or(|latest| decision.follows(latest)) {
            self.latest = Some(decision.clone());
        }
        if decision.epoch == self.latest.as_ref().and_then(|latest| latest.epoch) {
            self.number = self.number.max(decision.number.unwrap_or(0));
        }
    }

    /// The highest number of a decision of this start that the hosts agreed on.
    #[cfg_attr(not(all(feature = "config", feature = "shared")), allow(dead_code))]
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes decisions down; when it returns they outlive the process and the host.
    ///
    /// # Errors
    /// What the system says. Then a part of them may be in the file.
    pub fn append(&mut self, decisions: &[Decision]) -> Result<()> {
        if decisions.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        if self.is_torn()? {
            lines.extend_from_slice(TORN);
            lines.push(b'\n');
        }
        for decision in decisions {
            // Numbers, names and text of our own: nothing here that JSON cannot say.
            serde_json::to_writer(&mut lines, decision).map_err(std::io::Error::from)?;
            lines.push(b'\n');
        }
        // One call, so that lines of two processes do not mix.
        self.file.write_all(&lines)?;
        self.file.sync_data()?;
        Ok(())
    }

    /// True if the file ends in the midst of a line.
    fn is_torn(&mut self) -> Result<bool> {
        let length = self.file.metadata()?.len();
        if length == 0 {
            return Ok(false);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::Start(length - 1))?;
        self.file.read_exact(&mut last)?;
        Ok(last != [b'\n'])
    }
}

/// Ends a line that a crash cut off. JSON has no such byte.
const TORN: &[u8] = b"\x18";

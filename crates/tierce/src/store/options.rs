//! What a store is opened with: setters that only store, checked once in [`Geometry::of`].

use std::{path::PathBuf, time::Duration};

use crate::{
    error::{Error, ErrorKind, Result},
    store::layout::{self, Geometry},
};

/// Where the data of a store is read and written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Medium {
    /// [`Mapped`](Self::Mapped) on tmpfs and ramfs, [`Disk`](Self::Disk) on local disk file
    /// systems; `open` refuses file systems that can fail a mapped page later (copy-on-write,
    /// network, FUSE).
    #[default]
    Auto,
    /// Data is copied out of and into the mapping. A read error of the device would be a SIGBUS,
    /// so [`Auto`](Self::Auto) chooses this for memory file systems only.
    Mapped,
    /// Data goes by `pread` and `pwrite`; only the index and the stamps are mapped.
    Disk,
}

/// How to open a [`Store`](crate::Store). Setters only store; `Store::open` checks.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub(super) directory: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) max_entries: u64,
    pub(super) max_value_bytes: u64,
    pub(super) segment_bytes: Option<u32>,
    pub(super) lock_wait: Duration,
    pub(super) load_lease: Duration,
    pub(super) schema: u64,
    pub(super) medium: Medium,
    pub(super) existing_only: bool,
    pub(super) resize: bool,
    pub(super) survive_truncation: bool,
    pub(super) mapped_reads: bool,
}

impl StoreOptions {
    /// Options for the store in `directory`, which is made with mode 0700 where it is missing.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            max_bytes: 256 << 20,
            max_entries: 100_000,
            max_value_bytes: 16 << 20,
            segment_bytes: None,
            lock_wait: Duration::from_millis(5),
            load_lease: Duration::from_secs(10),
            schema: 0,
            medium: Medium::Auto,
            existing_only: false,
            resize: false,
            survive_truncation: false,
            mapped_reads: false,
        }
    }

    /// Sets the size of the store file: index, stamps and records together. Default: 256 MiB.
    /// At least 1 MiB, at most 8 TiB; rounded down to whole segments.
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: u64) -> Self {
        self.max_bytes = max_bytes;
        self
    }

    /// Sets how many entries the store may hold. Default: 100 000. At least 1. Lowered to
    /// `max_bytes / 128`, which is more than fit; divided evenly over the shards, so an uneven
    /// spread of keys fills a store of few entries to some per cent less.
    #[must_use]
    pub fn max_entries(mut self, max_entries: u64) -> Self {
        self.max_entries = max_entries;
        self
    }

    /// Sets the largest value. Default: 16 MiB. At least 1; lowered to a quarter of the bytes
    /// that the store has for records.
    #[must_use]
    pub fn max_value_bytes(mut self, max_value_bytes: u64) -> Self {
        self.max_value_bytes = max_value_bytes;
        self
    }

    /// Sets the size of a segment, the unit of eviction. Default: 1 MiB, less where that would
    /// make under 16 segments, more where it would make over 4096. A power of two from 16 KiB to
    /// 64 MiB, and small enough for at least 8 segments.
    #[must_use]
    pub fn segment_bytes(mut self, segment_bytes: u32) -> Self {
        self.segment_bytes = Some(segment_bytes);
        self
    }

    /// Sets the longest wait of one call for locks. Default: 5 ms. Up to 1 s; zero never waits.
    #[must_use]
    pub fn lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    /// Sets for how long the other processes of the host wait for one that loads a key, before
    /// they load it themselves. Default: 10 s. Up to 1 h; zero waits for none. A process that died
    /// is waited for no longer, and a load that takes longer than this is done twice.
    #[must_use]
    pub fn load_lease(mut self, load_lease: Duration) -> Self {
        self.load_lease = load_lease;
        self
    }

    /// What [`load_lease`](Self::load_lease) set.
    pub(crate) fn lease(&self) -> Duration {
        self.load_lease
    }

    /// Sets a number for the layout of the application's values. Default: 0. A store of another
    /// schema is started empty, or refused while other processes have it open.
    #[must_use]
    pub fn schema(mut self, schema: u64) -> Self {
        self.schema = schema;
        self
    }

    /// Sets how data is accessed. Default: [`Medium::Auto`]. An existing store keeps its own
    /// while other processes have it open.
    #[must_use]
    pub fn medium(mut self, medium: Medium) -> Self {
        self.medium = medium;
        self
    }

    /// Opens only a sound store that exists, with its own sizes and schema whatever the other
    /// options say; nothing is made or rebuilt. Default: false. For inspection.
    #[must_use]
    pub fn existing_only(mut self, existing_only: bool) -> Self {
        self.existing_only = existing_only;
        self
    }

    /// Sets whether a store of other sizes is replaced by one of these, with its live records, also
    /// while other processes have it open: they move over when they next use it. Default: false;
    /// then a store in use keeps its sizes, and one that is not in use is started empty.
    ///
    /// Both stores exist until all have moved. Opening takes a second for each million records
    /// or so.
    #[must_use]
    pub fn resize(mut self, resize: bool) -> Self {
        self.resize = resize;
        self
    }

    /// Sets whether the process outlives it when somebody truncates `l2.data` or `l2.lock` under
    /// its mapping, by a handler of SIGBUS for all of the process; the store is then replaced by a new one.
    /// Default: false, because handlers belong to the host program. What is no page of a store
    /// goes to the handler that was there before.
    #[must_use]
    pub fn survive_truncation(mut self, survive: bool) -> Self {
        self.survive_truncation = survive;
        self
    }

    /// Sets whether this process reads the records of a store on a disk ([`Medium::Disk`]) by loads
    /// from a mapping that nothing is written by, in place of a `pread` or two for each. Default:
    /// false. Of no effect on a memory file system; other processes of the store may do it in
    /// another way.
    ///
    /// For files that stay in the system's cache: there it is more than twice as fast up to 16 KiB.
    /// A record that is not there takes up to five times as long as by `pread`, as the system reads
    /// what lies around each page too.
    ///
    /// Where a page cannot be read (the file was truncated, the device failed) a load raises SIGBUS,
    /// so this installs a handler of that signal for all of the process. It guards the records, as
    /// [`survive_truncation`](Self::survive_truncation) guards index and stamps. After the first such
    /// page this process reads by `pread`, as it does where the handler or the mapping is not to be
    /// had. A handler that the host program installs later must hand on what it does not know.
    #[must_use]
    pub fn mapped_reads(mut self, mapped_reads: bool) -> Self {
        self.mapped_reads = mapped_reads;
        self
    }

    /// Checks the options and works out the sizes of every region.
    pub(super) fn geometry(&self) -> Result<Geometry> {
        let wrong = |text: String| Err(Error::new(ErrorKind::Config, text));
        if !(layout::MIN_FILE_BYTES..=layout::MAX_FILE_BYTES).contains(&self.max_bytes) {
            return wrong(format!(
                "shared.max_bytes = {}: must be from 1 MiB to 8 TiB",
                self.max_bytes
            ));
        }
        if self.max_entries == 0 {
            return wrong("shared.max_entries = 0: must be at least 1".into());
        }
        if self.max_value_bytes == 0 {
            return wrong("shared.max_value_bytes = 0: must be at least 1".into());
        }
        if self.lock_wait > Duration::from_secs(1) {
            return wrong(format!(
                "shared.lock_wait = {:?}: must not be above 1 s",
                self.lock_wait
            ));
        }
        if self.load_lease > Duration::from_secs(3600) {
            return wrong(format!(
                "shared.load_lease = {:?}: must not be above 1 h",
                self.load_lease
            ));
        }
        if let Some(bytes) = self.segment_bytes
            && !(bytes.is_power_of_two() && (16 << 10..=64 << 20).contains(&bytes))
        {
            return wrong(format!(
                "shared.segment_bytes = {bytes}: must be a power of two from 16 KiB to 64 MiB"
            ));
        }
        Geometry::fit(self.max_bytes, self.max_entries, self.max_value_bytes, self.segment_bytes)
    }
}

//! Opening a store: alone or joining others; making, checking and repairing.
//!
//! ```text
//! lock byte 0 of l2.lock for writing, without waiting
//!   had:     alone. l2.lock is written anew; l2.data is checked and repaired, or replaced;
//!            ready; the lock becomes one for reading
//!   not had: lock it for reading (others may finish opening: 1 s and more
//!            for large stores), then join what is ready
//! ```
//! The read lock is held for as long as the store is open, and by forked children too, so a
//! process that is alone by this measure is alone. Byte 0 of `l2.data` is locked in the same way,
//! in case someone removed `l2.lock` under running processes.
//!
//! Repair, alone: half-emptied segments are emptied, segments that were being filled are sealed,
//! entry counts are bounded by the slots in use. Stamps and epochs stay. A file of another boot,
//! schema, size or older version, or without a sound header, is removed and made afresh.

use std::{
    ffi::CStr,
    fs::File,
    os::unix::fs::{FileExt, MetadataExt},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crate::{
    clock::Clock,
    error::{Error, ErrorKind, Result},
    simulated,
    store::{
        Store,
        files::{self, ByteLock, Directory, FileSystem, failed, lock_byte},
        huge,
        layout::{Geometry, HEADER_BYTES, Header, HeaderPage},
        limits,
        lock::{Home, LOCK_FILE_BYTES, LockArea, load_u128, store_u128},
        map::Mapping,
        media::Calls,
        options::{Medium, StoreOptions},
        parked::Parked,
        present::Present,
        records::Records,
        segment, stamps,
        stamps::State,
        statistics::Statistics,
    },
};

pub(super) const DATA: &CStr = c"l2.data";
pub(super) const LOCK: &CStr = c"l2.lock";
/// How long others may take to open a small store, and how much longer for each so many bytes:
/// making one writes all of its pages.
const JOIN_WAIT: Duration = Duration::from_secs(1);
const BYTES_PER_SECOND: u64 = 128 << 20;
/// Longest wait, whatever the size: a start-up that takes longer looks broken.
const LONGEST_JOIN_WAIT: Duration = Duration::from_secs(30);
/// Between looks at a store that is not ready.
const JOIN_PAUSE: Duration = Duration::from_millis(1);

struct Opening<'a> {
    options: &'a StoreOptions,
    wanted: Geometry,
    directory: Directory,
    home: Home,
}

/// A data file that may be used, and what its header says.
struct Data {
    file: File,
    header: Header,
    mapping: Mapping,
}

pub(super) fn open(options: &StoreOptions, clock: Clock) -> Result<Store> {
    let opening = Opening::new(options)?;
    let opened = opening.run(clock);
    if opened.is_err() {
        opening.directory.remove_if_new();
    }
    let store = opened?;
    if options.resize && !options.existing_only && store.geometry != opening.wanted {
        return store.resize(options);
    }
    Ok(store)
}

/// Checks that a store of these options may be made beside what there is.
pub(super) fn check_room(options: &StoreOptions) -> Result<()> {
    Opening::new(options)?.check_limits(0).map(|_| ())
}

impl<'a> Opening<'a> {
    fn new(options: &'a StoreOptions) -> Result<Self> {
        let wanted = options.geometry()?;
        if files::has_shifted_time() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "shared store: this process has a boot time of its own (time namespace)",
            ));
        }
        let unknown = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                Error::new(ErrorKind::Unsupported, "no boot id or PID namespace").caused_by(error)
            }
            // As without descriptors: it passes.
            _ => failed(&options.directory, "cannot read boot id and PID namespace for", error),
        };
        let boot_id = files::boot_id().map_err(unknown)?;
        let pid_namespace = files::pid_namespace().map_err(unknown)?;
        let directory = Directory::open(&options.directory, !options.existing_only)?;
        Ok(Self { options, wanted, directory, home: Home { boot_id, pid_namespace } })
    }

    fn run(&self, clock: Clock) -> Result<Store> {
        // Before a page of any file is mapped: one that is there may have been copied.
        self.file_system()?;
        let io = |error| failed(self.directory.path(), "cannot lock l2.lock in", error);
        let for_size = Duration::from_secs(self.wanted.file_bytes() / BYTES_PER_SECOND);
        let wait = (JOIN_WAIT + for_size).min(LONGEST_JOIN_WAIT);
        let deadline = Instant::now() + wait;
        loop {
            let (lock_file, is_new) = self.lock_file()?;
            if lock_byte(&lock_file, 0, ByteLock::Write).map_err(io)? {
                // Removed between opening and locking by one that failed to open.
                if files::is_linked(&lock_file.metadata().map_err(io)?) {
                    let opened = self.open_alone(lock_file, clock);
                    if opened.is_err() && is_new {
                        self.directory.remove_file(LOCK);
                    }
                    return opened;
                }
            } else if lock_byte(&lock_file, 0, ByteLock::Read).map_err(io)?
                && lock_file.metadata().map_err(io)?.len() >= LOCK_FILE_BYTES
            {
                let mapping = Mapping::new(&lock_file, LOCK_FILE_BYTES).map_err(io)?;
                let locks = LockArea::new(mapping, 0);
                if locks.is_ready() {
                    return self.join(locks, lock_file, clock);
                }
            }
            drop(lock_file);
            if Instant::now() >= deadline {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{}: another process did not finish opening the store within {} ms",
                        self.directory.path().display(),
                        wait.as_millis()
                    ),
                ));
            }
            std::thread::sleep(JOIN_PAUSE);
        }
    }

    fn lock_file(&self) -> Result<(File, bool)> {
        // A few rounds, for files that others make or remove at the same moment.
        for _ in 0..16 {
            if let Some(file) = self.directory.open_file(LOCK)? {
                return Ok((file, false));
            }
            if self.options.existing_only {
                return Err(self.absent());
            }
            if let Some(file) = self.directory.make_file(LOCK)? {
                return Ok((file, true));
            }
        }
        Err(Error::new(ErrorKind::Busy, "l2.lock is made and removed again and again"))
    }

    fn absent(&self) -> Error {
        let path = self.directory.path().display();
        Error::new(ErrorKind::Io, format!("{path}: has no store, and none is to be made"))
    }

    /// With the write lock: nobody else has the store open.
    fn open_alone(&self, lock_file: File, clock: Clock) -> Result<Store> {
        let io = |error| failed(self.directory.path(), "cannot set up the store in", error);
        files::allocate(&lock_file, LOCK_FILE_BYTES).map_err(io)?;
        let lock_mapping = Mapping::new(&lock_file, LOCK_FILE_BYTES).map_err(io)?;
        // Not before this is done may another process see mutexes of an earlier life.
        LockArea::new(lock_mapping, 0).initialise(self.home).map_err(io)?;
        let data = match self.sound_data()? {
            Some(data) => data,
            None => self.make_data()?,
        };
        let lock_mapping = Mapping::new(&lock_file, LOCK_FILE_BYTES).map_err(io)?;
        let locks = LockArea::new(lock_mapping, data.header.geometry.shards);
        locks.initialise(self.home).map_err(io)?;
        let uuid = data.header.uuid;
        let store = self.store(data, locks, lock_file, clock);
        store.repair();
        lock_byte(&store.data_file, 0, ByteLock::Read).map_err(io)?;
        store.locks.set_ready(uuid);
        lock_byte(&store.lock_file, 0, ByteLock::Read).map_err(io)?;
        Ok(store)
    }

    /// With the read lock, and others that have made the store ready.
    fn join(&self, locks: LockArea, lock_file: File, clock: Clock) -> Result<Store> {
        let path = self.directory.path();
        let io = |error| failed(path, "cannot join the store in", error);
        let refuse =
            |kind, rule: &str| Err(Error::new(kind, format!("{}: {rule}", path.display())));
        if let Some(rule) = locks.mismatch(self.home).map_err(io)? {
            // It passes, as soon as those who use it have gone.
            return refuse(ErrorKind::Busy, &format!("l2.lock {rule}"));
        }
        let Some(file) = self.directory.open_file(DATA)? else {
            return refuse(ErrorKind::Corrupt, "l2.data was removed while in use");
        };
        let header = match read_header(&file).map_err(io)? {
            HeaderPage::Sound(header) => header,
            HeaderPage::Newer(major) => return Err(self.newer(major)),
            HeaderPage::Foreign => return Err(self.foreign()),
            HeaderPage::Unusable(why) => {
                return refuse(ErrorKind::Corrupt, &format!("l2.data in use has {why}"));
            }
        };
        let about = file.metadata().map_err(io)?;
        if header.uuid != locks.uuid() || about.len() != header.geometry.file_bytes() {
            return refuse(ErrorKind::Corrupt, "l2.data was exchanged while in use");
        }
        if header.schema != self.options.schema && !self.options.existing_only {
            return refuse(
                ErrorKind::Version,
                &format!(
                    "the store in use has schema {}, this process {}",
                    header.schema, self.options.schema
                ),
            );
        }
        if files::file_size_limit().is_some_and(|limit| limit < about.len()) {
            return refuse(ErrorKind::Full, "l2.data is above the file size limit (RLIMIT_FSIZE)");
        }
        if !lock_byte(&file, 0, ByteLock::Read).map_err(io)? {
            return refuse(ErrorKind::Busy, "l2.data is locked by a process without l2.lock");
        }
        let mapping = map_data(&file, &header).map_err(io)?;
        let locks = locks.with_shards(header.geometry.shards);
        Ok(self.store(Data { file, header, mapping }, locks, lock_file, clock))
    }

    /// The data file, if it can be used as it is. Removes one that cannot.
    fn sound_data(&self) -> Result<Option<Data>> {
        let path = self.directory.path();
        let io = |error| failed(path, "cannot read l2.data in", error);
        let Some(file) = self.directory.open_file(DATA)? else {
            return if self.options.existing_only { Err(self.absent()) } else { Ok(None) };
        };
        if !lock_byte(&file, 0, ByteLock::Write).map_err(io)? {
            return Err(Error::new(
                ErrorKind::Busy,
                format!(
                    "{}: l2.data is in use by processes whose l2.lock was removed",
                    path.display()
                ),
            ));
        }
        let why = match read_header(&file).map_err(io)? {
            HeaderPage::Newer(major) => return Err(self.newer(major)),
            HeaderPage::Foreign => return Err(self.foreign()),
            HeaderPage::Unusable(why) => why,
            HeaderPage::Sound(header) => match self.usable(&file, &header).map_err(io)? {
                Ok(mapping) => return Ok(Some(Data { file, header, mapping })),
                Err(why) => why,
            },
        };
        if self.options.existing_only {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!("{}: l2.data cannot be used: {why}", path.display()),
            ));
        }
        // A store that cannot be made anew is not worth losing this one.
        let freed = file.metadata().map_err(io)?.blocks().saturating_mul(512);
        self.check_limits(freed)?;
        self.directory.remove_file(DATA);
        Ok(None)
    }

    /// Checks that the wanted file may be made once `freed` bytes are given back, and returns
    /// what carries it.
    fn check_limits(&self, freed: u64) -> Result<FileSystem> {
        let (system, left) = self.file_system()?;
        let is_memory = system == FileSystem::Memory;
        let bytes = self.wanted.file_bytes();
        limits::check(bytes, left, freed, files::file_size_limit(), is_memory)?;
        Ok(system)
    }

    /// What carries the store and the bytes left there; an error where it may carry none.
    fn file_system(&self) -> Result<(FileSystem, u64)> {
        let path = self.directory.path();
        let io = |error| failed(path, "cannot examine the file system of", error);
        let (system, left) = files::file_system(self.directory.file()).map_err(io)?;
        if let FileSystem::Unfit(name) = system {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("{}: a store cannot lie on {name}", path.display()),
            ));
        }
        Ok((system, left))
    }

    /// Maps a file with a sound header, or says why it cannot be used by these options.
    fn usable(
        &self,
        file: &File,
        header: &Header,
    ) -> std::io::Result<Result<Mapping, &'static str>> {
        if !self.options.existing_only {
            if header.geometry != self.wanted && !self.options.resize {
                return Ok(Err("other sizes"));
            }
            if header.schema != self.options.schema {
                return Ok(Err("another schema"));
            }
            let wants_disk = match self.options.medium {
                Medium::Auto => header.on_disk,
                Medium::Mapped => false,
                Medium::Disk => true,
            };
            if header.on_disk != wants_disk {
                return Ok(Err("another medium"));
            }
        }
        if file.metadata()?.len() != header.geometry.file_bytes() {
            return Ok(Err("another length than its header says"));
        }
        // Allocates what a copy of the file may have left out; else changes nothing. On tmpfs,
        // where that takes long and blocks are counted exactly, only if any are missing.
        let is_memory = matches!(files::file_system(file)?, (FileSystem::Memory, _));
        let is_whole =
            file.metadata()?.blocks().saturating_mul(512) >= header.geometry.file_bytes();
        if !(is_memory && is_whole) {
            files::allocate(file, header.geometry.file_bytes())?;
        }
        let mapping = map_data(file, header)?;
        let boot_id = load_u128(&stamps::head(&mapping).boot_id);
        Ok(if boot_id == self.home.boot_id { Ok(mapping) } else { Err("another boot") })
    }

    fn newer(&self, major: u32) -> Error {
        Error::new(
            ErrorKind::Version,
            format!(
                "{}: l2.data has format version {major}, which this library is too old for",
                self.directory.path().display()
            ),
        )
    }

    fn foreign(&self) -> Error {
        let path = self.directory.path().display();
        let rule = "l2.data was made by a machine of the other byte order: it is left to it";
        Error::new(ErrorKind::Version, format!("{path}: {rule}"))
    }

    /// Makes the data file; on failure nothing of it is left.
    fn make_data(&self) -> Result<Data> {
        let Some(file) = self.directory.make_file(DATA)? else {
            return Err(Error::new(ErrorKind::Busy, "l2.data was made by another process"));
        };
        let made = self.fill_data(file);
        if made.is_err() {
            self.directory.remove_file(DATA);
        }
        made
    }

    fn fill_data(&self, file: File) -> Result<Data> {
        let path = self.directory.path();
        let io = |error| failed(path, "cannot make l2.data in", error);
        let is_memory = self.check_limits(0)? == FileSystem::Memory;
        let bytes = self.wanted.file_bytes();
        lock_byte(&file, 0, ByteLock::Write).map_err(io)?;
        if is_memory {
            huge::ask(&file, bytes).map_err(io)?;
        }
        files::allocate(&file, bytes).map_err(io)?;
        let header = Header {
            geometry: self.wanted,
            schema: self.options.schema,
            seed: match simulated::random() {
                Some(seed) => seed,
                None => files::random().map_err(io)? as u64,
            },
            uuid: files::random().map_err(io)?,
            on_disk: match self.options.medium {
                Medium::Auto => !is_memory,
                Medium::Mapped => false,
                Medium::Disk => true,
            },
        };
        let mapping = map_data(&file, &header).map_err(io)?;
        store_u128(&stamps::head(&mapping).boot_id, self.home.boot_id);
        // Last: a file without a header is one that was not finished.
        file.write_all_at(&header.to_page(), 0).map_err(io)?;
        Ok(Data { file, header, mapping })
    }

    #[allow(unsafe_code)]
    fn store(&self, data: Data, mut locks: LockArea, lock_file: File, clock: Clock) -> Store {
        let Data { file, header, mut mapping } = data;
        if self.options.survive_truncation {
            mapping.guard();
            locks.guard();
        }
        // SAFETY: the mapping moves into the same `Store`, is never taken out of it, and its
        // memory does not move with it; `Store` drops `state`, which has no `Drop`, before it.
        let state = unsafe { State::new(&mapping, &header.geometry) };
        let statistics = Statistics::claim(&locks, &lock_file);
        let is_mapped = header.on_disk && self.options.mapped_reads;
        let records =
            is_mapped.then(|| Records::new(&file, header.geometry.file_bytes())).flatten();
        Store {
            state,
            geometry: header.geometry,
            seed: header.seed,
            on_disk: header.on_disk,
            lock_wait: self.options.lock_wait,
            load_lease: self.options.load_lease,
            clock,
            parked: Parked::default(),
            statistics,
            present: Present::new(header.geometry.segments),
            directory: self.directory.path().to_path_buf(),
            mapping,
            records,
            calls: Calls::default(),
            locks,
            data_file: file,
            lock_file,
        }
    }
}

pub(super) fn read_header(file: &File) -> std::io::Result<HeaderPage> {
    if file.metadata()?.len() < HEADER_BYTES as u64 {
        return Ok(HeaderPage::Unusable("no whole header"));
    }
    let mut page = [0; HEADER_BYTES];
    file.read_exact_at(&mut page, 0)?;
    Ok(Header::from_page(&page))
}

fn map_data(file: &File, header: &Header) -> std::io::Result<Mapping> {
    let geometry = &header.geometry;
    Mapping::new(file, if header.on_disk { geometry.data_at() } else { geometry.file_bytes() })
}

impl Store {
    /// Brings in order what killed processes left. Alone.
    fn repair(&self) {
        self.finish_emptying();
        let mut free = 0;
        for entry in self.segments() {
            let status = entry.status();
            let is_full = entry.used.load(Ordering::Relaxed) > self.geometry.segment_bytes;
            if is_full {
                entry.empty();
            } else if status.state == segment::State::Active {
                entry.seal(u32::from(status.owner));
            }
            free += u32::from(entry.status().state == segment::State::Free);
        }
        self.locks.free_segments().store(free, Ordering::Relaxed);
        for shard in 0..self.geometry.shards {
            self.cap_entries(shard);
        }
    }
}

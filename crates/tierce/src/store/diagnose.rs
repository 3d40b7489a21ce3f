//! What a store would find in its folder, asked without making one.
//!
//! Nothing is left behind: what must be tried is tried on files that never had a name. The rules
//! are those of `open`, called and not written down a second time.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    clock::Clock,
    diagnosis::Diagnosis,
    error::{Error, ErrorKind},
    store::{
        StoreInspection,
        files::{self, Directory, FileSystem},
        layout::{Geometry, HeaderPage},
        limits,
        lock::{Home, LOCK_FILE_BYTES, LockArea, Wait},
        map::Mapping,
        open::{DATA, LOCK, read_header},
        options::StoreOptions,
    },
};

const FOLDER: &str = "store.folder";
const FILE_SYSTEM: &str = "store.file_system";
const ROOM: &str = "store.room";
const FILE: &str = "store.file";
const MUTEXES: &str = "store.mutexes";
const NAMESPACE: &str = "store.namespace";

/// How long a mutex of a thread that is gone may take to be had: the kernel marks it as the thread
/// ends.
const MUTEX_WAIT: Duration = Duration::from_secs(1);

impl StoreOptions {
    /// Whether a store of these options can be opened, and what would be found: rights, file system,
    /// room, limits, namespaces, mutexes, the file that is there. Changes nothing.
    pub fn diagnose(&self) -> Vec<Diagnosis> {
        let wanted = match self.geometry() {
            Ok(wanted) => wanted,
            Err(error) => {
                return vec![Diagnosis::unfit("store.options", error.to_string(), "set it so")];
            }
        };
        let mut all = vec![namespace()];
        let (folder, exists) = match folder(self, &mut all) {
            Some(found) => found,
            None => return all,
        };
        let Some((system, left)) = file_system(&folder, &mut all) else { return all };
        let file = exists.then(|| file(self, &wanted, &folder, &mut all)).flatten();
        room(&wanted, system, left, file, &mut all);
        all.push(mutexes(&folder));
        all
    }

    /// The bytes of memory that a store of these options is still to take: none on a disk, and none
    /// where its file is there.
    pub(crate) fn bytes_of_memory(&self) -> u64 {
        let is_there = |path: &&Path| path.symlink_metadata().is_ok();
        if self.directory.join("l2.data").exists() {
            return 0;
        }
        let nearest = self.directory.ancestors().find(is_there);
        let system = nearest.and_then(|it| files::file_system(&File::open(it).ok()?).ok());
        match (system, self.geometry()) {
            (Some((FileSystem::Memory, _)), Ok(wanted)) => wanted.file_bytes(),
            _ => 0,
        }
    }
}

/// The bytes that a file of a store there has, and whether it will be used as it is.
struct There {
    bytes: u64,
    is_kept: bool,
}

fn namespace() -> Diagnosis {
    if files::has_shifted_time() {
        let found = "this process has a boot time of its own (time namespace): no store opens";
        return Diagnosis::unfit(NAMESPACE, found, "run it in the host's time namespace");
    }
    match files::boot_id().and_then(|_| files::pid_namespace()) {
        Ok(number) => {
            Diagnosis::fit(NAMESPACE, format!("PID namespace {number}, time of the host"))
        }
        Err(error) => Diagnosis::unfit(
            NAMESPACE,
            format!("boot id and PID namespace cannot be read ({error}): no store opens"),
            "mount /proc",
        ),
    }
}

/// The folder of the store or, where there is none yet, the nearest one above; and whether it is
/// the store's.
fn folder(options: &StoreOptions, all: &mut Vec<Diagnosis>) -> Option<(PathBuf, bool)> {
    let path = &options.directory;
    let exists = path.symlink_metadata().is_ok();
    let nearest = if exists {
        if let Err(error) = Directory::open(path, false) {
            all.push(Diagnosis::unfit(FOLDER, error.to_string(), remedy_of(&error, path)));
            return None;
        }
        path.clone()
    } else {
        let above = path.ancestors().skip(1).find(|above| above.is_dir());
        above.unwrap_or(Path::new("/")).to_path_buf()
    };
    if let Err(error) = nameless_file(&nearest) {
        all.push(Diagnosis::unfit(
            FOLDER,
            format!("{}: this user cannot make files there ({error})", nearest.display()),
            format!(
                "chmod u+wx {}, mount it for writing, or set shared.directory",
                nearest.display()
            ),
        ));
        return None;
    }
    let found = match exists {
        true => format!("{}: belongs to this user alone", path.display()),
        false => format!("{}: is not there and can be made", path.display()),
    };
    all.push(Diagnosis::fit(FOLDER, found));
    Some((nearest, exists))
}

/// Opens a file without a name, which is gone when it is closed.
fn nameless_file(folder: &Path) -> io::Result<File> {
    let flags = libc::O_TMPFILE | libc::O_CLOEXEC;
    OpenOptions::new().read(true).write(true).mode(0o600).custom_flags(flags).open(folder)
}

fn file_system(folder: &Path, all: &mut Vec<Diagnosis>) -> Option<(FileSystem, u64)> {
    let asked = File::open(folder).and_then(|file| files::file_system(&file));
    let (system, left) = match asked {
        Ok(found) => found,
        Err(error) => {
            let found = format!("{}: cannot be examined ({error})", folder.display());
            all.push(Diagnosis::unfit(
                FILE_SYSTEM,
                found,
                "set shared.directory to another folder",
            ));
            return None;
        }
    };
    let on = folder.display();
    let free = left >> 20;
    all.push(match system {
        FileSystem::Memory => {
            Diagnosis::fit(FILE_SYSTEM, format!("{on}: memory (tmpfs), {free} MiB free"))
        }
        FileSystem::InPlace => Diagnosis::doubtful(
            FILE_SYSTEM,
            format!("{on}: a disk, {free} MiB free; each record costs a system call or two"),
            "set shared.directory to a folder on tmpfs, such as below /dev/shm",
        ),
        FileSystem::Unfit(name) => Diagnosis::unfit(
            FILE_SYSTEM,
            format!("{on}: a store cannot lie on {name}"),
            "set shared.directory to a folder on tmpfs or a local disk",
        ),
    });
    (!matches!(system, FileSystem::Unfit(_))).then_some((system, left))
}

/// What is to be said of the file that is there, if there is one.
fn file(
    options: &StoreOptions,
    wanted: &Geometry,
    folder: &Path,
    all: &mut Vec<Diagnosis>,
) -> Option<There> {
    let refuse =
        |error: &Error| Diagnosis::unfit(FILE, error.to_string(), remedy_of(error, folder));
    let directory = Directory::open(folder, false).ok()?;
    let data = match directory.open_file(DATA) {
        Ok(data) => data?,
        Err(error) => {
            all.push(refuse(&error));
            return None;
        }
    };
    let io = |error| files::failed(folder, "cannot read l2.data in", error);
    let page = data.metadata().and_then(|about| Ok((about, read_header(&data)?))).map_err(io);
    let (about, page) = match page {
        Ok(page) => page,
        Err(error) => {
            all.push(refuse(&error));
            return None;
        }
    };
    let bytes = about.blocks().saturating_mul(512);
    let (users, stranger) = users(folder, &directory);
    if let Some(rule) = stranger {
        let remedy = "stop those processes, or give each container a folder of its own";
        all.push(Diagnosis::unfit(FILE, format!("l2.lock {rule}"), remedy));
    }
    let used = format!("in use by {users} processes");
    let header = match page {
        HeaderPage::Sound(header) => header,
        HeaderPage::Newer(major) => {
            let found = format!("l2.data has format version {major}: this build is too old for it");
            all.push(Diagnosis::unfit(
                FILE,
                found,
                "set another shared.name, or use a newer build",
            ));
            return Some(There { bytes, is_kept: true });
        }
        HeaderPage::Foreign => {
            let found = "l2.data was made by a machine of the other byte order: it is left to it";
            all.push(Diagnosis::unfit(FILE, found, "set another shared.name"));
            return Some(There { bytes, is_kept: true });
        }
        HeaderPage::Unusable(why) => {
            let found = format!("l2.data cannot be used ({why}): it is made anew, empty");
            all.push(Diagnosis::doubtful(FILE, found, "nothing, unless its content was wanted"));
            return Some(There { bytes, is_kept: false });
        }
    };
    let is_same = header.geometry == *wanted;
    let schema = (header.schema != options.schema)
        .then(|| format!("schema {}, and {} is set", header.schema, options.schema));
    let of_size = (!is_same && !options.resize).then(|| {
        let (is, set) = (header.geometry.file_bytes() >> 20, wanted.file_bytes() >> 20);
        format!("sizes of its own ({is} MiB, and {set} MiB are set)")
    });
    let differs: Vec<String> = schema.iter().chain(&of_size).cloned().collect();
    all.push(match (differs.is_empty(), users) {
        (true, _) => {
            Diagnosis::fit(FILE, format!("l2.data is sound, schema {}, {used}", header.schema))
        }
        (false, 0) => Diagnosis::doubtful(
            FILE,
            format!("l2.data has {}: it is made anew, empty", differs.join(" and ")),
            "set shared.resize to keep what it holds, where only sizes differ",
        ),
        // Sizes are those of the store in use; another schema is refused.
        (false, _) if schema.is_none() => Diagnosis::doubtful(
            FILE,
            format!("l2.data has {}, {used}: its own sizes hold", differs.join(" and ")),
            "give all processes the same sizes, or set shared.resize",
        ),
        (false, _) => Diagnosis::unfit(
            FILE,
            format!("l2.data has {}, {used}: it cannot be joined", differs.join(" and ")),
            "give this version another shared.name, or stop those processes",
        ),
    });
    Some(There { bytes, is_kept: differs.is_empty() || users > 0 })
}

/// How many processes have the store open, and why this one cannot join them, if so.
fn users(folder: &Path, directory: &Directory) -> (usize, Option<&'static str>) {
    let Ok(Some(lock_file)) = directory.open_file(LOCK) else { return (0, None) };
    if !files::byte_is_locked(&lock_file, 0).unwrap_or(false) {
        return (0, None);
    }
    let counted = StoreInspection::open(folder, Clock::system()).and_then(|it| it.users());
    let users = counted.map_or(1, |users| users.users.iter().filter(|user| user.is_alive).count());
    let is_whole = lock_file.metadata().is_ok_and(|about| about.len() >= LOCK_FILE_BYTES);
    let home = files::boot_id().and_then(|boot_id| {
        files::pid_namespace().map(|pid_namespace| Home { boot_id, pid_namespace })
    });
    let (true, Ok(home)) = (is_whole, home) else { return (users.max(1), None) };
    let mapped = Mapping::new(&lock_file, LOCK_FILE_BYTES).map(|mapping| LockArea::new(mapping, 0));
    let mismatch =
        mapped.ok().filter(LockArea::is_ready).and_then(|locks| locks.mismatch(home).ok());
    (users.max(1), mismatch.flatten())
}

fn room(
    wanted: &Geometry,
    system: FileSystem,
    left: u64,
    file: Option<There>,
    all: &mut Vec<Diagnosis>,
) {
    let bytes = wanted.file_bytes();
    let limit = files::file_size_limit();
    let checked = match &file {
        // It is there: what may keep this process from it is its own limit alone.
        Some(there) if there.is_kept => limits::check(there.bytes, u64::MAX, 0, limit, false),
        other => {
            let freed = other.as_ref().map_or(0, |there| there.bytes);
            limits::check(bytes, left, freed, limit, system == FileSystem::Memory)
        }
    };
    all.push(match checked {
        Ok(()) if file.is_some_and(|there| there.is_kept) => {
            Diagnosis::fit(ROOM, "the file has all of its room already")
        }
        Ok(()) => Diagnosis::fit(ROOM, format!("{} MiB can be had", bytes >> 20)),
        Err(error) => Diagnosis::unfit(
            ROOM,
            error.to_string(),
            "lower shared.max_bytes, or raise what is too small (in a container: --shm-size, \
             the memory limit, ulimit -f)",
        ),
    });
}

/// Whether the kernel gives a mutex back whose owner is gone: what keeps a killed process from
/// stopping all others.
fn mutexes(folder: &Path) -> Diagnosis {
    match is_given_back(folder) {
        Ok(true) => Diagnosis::fit(MUTEXES, "a mutex of a thread that is gone is given back"),
        Ok(false) => Diagnosis::unfit(
            MUTEXES,
            "a mutex of a thread that is gone is not given back: a process that is killed would \
             stop all others",
            "run it on a kernel with robust futexes, not on an emulated one",
        ),
        Err(error) => Diagnosis::unfit(
            MUTEXES,
            format!("shared mutexes cannot be made ({error})"),
            "run it on a kernel with robust futexes, not on an emulated one",
        ),
    }
}

fn is_given_back(folder: &Path) -> io::Result<bool> {
    let file = nameless_file(folder)?;
    files::allocate(&file, LOCK_FILE_BYTES)?;
    let locks = LockArea::new(Mapping::new(&file, LOCK_FILE_BYTES)?, 1);
    let home = Home { boot_id: files::boot_id()?, pid_namespace: files::pid_namespace()? };
    locks.initialise(home)?;
    std::thread::scope(|scope| {
        let owner = std::thread::Builder::new()
            .spawn_scoped(scope, || locks.try_lock(0).map(std::mem::forget).is_ok())?;
        // It ends without letting go.
        Ok::<_, io::Error>(owner.join().unwrap_or(false))
    })?;
    Ok(locks.lock(0, &Wait::new(MUTEX_WAIT)).is_ok_and(|guard| guard.owner_died()))
}

fn remedy_of(error: &Error, path: &Path) -> String {
    match error.kind() {
        ErrorKind::Denied => format!(
            "have {} belong to the user of the service, mode 0700, or set shared.directory",
            path.display()
        ),
        _ => "set shared.directory to another folder".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::{diagnosis::Fitness, store::Store};

    fn options(folder: &Path) -> StoreOptions {
        StoreOptions::new(folder.join("store")).max_bytes(4 << 20).max_entries(1000)
    }

    fn verdicts(options: &StoreOptions) -> Vec<(String, Fitness)> {
        let all = options.diagnose().into_iter();
        all.map(|one| (one.check.into_owned(), one.verdict)).collect()
    }

    fn verdict(options: &StoreOptions, check: &str) -> Option<Fitness> {
        verdicts(options).into_iter().find(|(name, _)| name == check).map(|(_, verdict)| verdict)
    }

    #[test]
    fn a_folder_that_is_fit_is_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        assert!(verdicts(&options).iter().all(|(_, verdict)| *verdict < Fitness::Unfit));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let store = Store::open(&options, Clock::system()).unwrap();
        let before = fs::metadata(folder.path().join("store/l2.data")).unwrap().mtime_nsec();
        assert_eq!(verdict(&options, FILE), Some(Fitness::Fit), "{:?}", options.diagnose());
        assert_eq!(verdict(&options, MUTEXES), Some(Fitness::Fit));
        let after = fs::metadata(folder.path().join("store/l2.data")).unwrap().mtime_nsec();
        assert_eq!(
            (before, fs::read_dir(folder.path().join("store")).unwrap().count()),
            (after, 2)
        );
        drop(store);
    }

    #[test]
    fn a_store_of_another_schema_is_told_by_who_uses_it() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let store = Store::open(&options, Clock::system()).unwrap();
        let other = options.clone().schema(7);
        assert_eq!(verdict(&other, FILE), Some(Fitness::Unfit), "in use: it cannot be joined");
        drop(store);
        assert_eq!(verdict(&other, FILE), Some(Fitness::Doubtful), "it is made anew");
        let larger = options.clone().max_bytes(8 << 20);
        assert_eq!(verdict(&larger, FILE), Some(Fitness::Doubtful));
        assert_eq!(verdict(&larger.resize(true), FILE), Some(Fitness::Fit));
    }

    #[test]
    fn what_open_refuses_is_unfit_by_the_same_words() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        fs::create_dir(folder.path().join("store")).unwrap();
        let mode = fs::Permissions::from_mode(0o777);
        fs::set_permissions(folder.path().join("store"), mode).unwrap();
        let refused = Store::open(&options, Clock::system()).err().unwrap().to_string();
        let told = options.diagnose();
        let told = told.iter().find(|one| one.check == FOLDER).unwrap();
        assert_eq!((told.verdict, &told.found), (Fitness::Unfit, &refused));
        let huge = StoreOptions::new(folder.path().join("other")).max_bytes(1 << 42);
        assert_eq!(verdict(&huge, ROOM), Some(Fitness::Unfit));
        assert!(!folder.path().join("other").exists());
    }
}

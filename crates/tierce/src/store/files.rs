//! Opening and checking files of a directory that only this user may touch.
//!
//! Everything is opened relative to the directory's descriptor and never through a symbolic link;
//! what was opened is then checked by its descriptor, so nothing can be exchanged in between.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    fs::{DirBuilder, File, Metadata, OpenOptions},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, FromRawFd},
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use crate::error::{Error, ErrorKind, Result};

/// Bits of a mode that let group or others in.
const NOT_OWNER: u32 = 0o077;
/// Bits of a mode that let group or others write.
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// How a byte of a file is locked, for the open file description: released when its last
/// descriptor closes, in whatever process, and not by closing another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ByteLock {
    Read,
    Write,
}

/// Locks one byte without waiting; false where another lock is in the way.
pub(super) fn lock_byte(file: &File, byte: u64, lock: ByteLock) -> io::Result<bool> {
    // SAFETY: `flock` is plain integers, for which zero is a value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = match lock {
        ByteLock::Read => libc::F_RDLCK,
        ByteLock::Write => libc::F_WRLCK,
    } as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = byte as libc::off_t;
    request.l_len = 1;
    // SAFETY: an open descriptor and a valid request with a zero pid, as OFD locks demand.
    let code = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const request) };
    if code == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EACCES) => Ok(false),
        _ => Err(error),
    }
}

/// True where another open file description has a lock on the byte. Takes none itself, and asks
/// no more of `file` than to be open for reading.
pub(super) fn byte_is_locked(file: &File, byte: u64) -> io::Result<bool> {
    // SAFETY: `flock` is plain integers, for which zero is a value.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = libc::F_WRLCK as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request.l_start = byte as libc::off_t;
    request.l_len = 1;
    // SAFETY: an open descriptor and memory for the answer, with a zero pid as OFD locks demand.
    let code = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) };
    if code == 0 {
        return Ok(i32::from(request.l_type) != libc::F_UNLCK);
    }
    Err(io::Error::last_os_error())
}

/// A directory that is this user's alone.
pub(super) struct Directory {
    file: File,
    path: PathBuf,
    /// True where this call made it.
    pub(super) is_new: bool,
}

fn denied(path: &Path, rule: &str) -> Error {
    Error::new(ErrorKind::Denied, format!("{}: {rule}", path.display()))
}

pub(super) fn failed(path: &Path, what: &str, error: io::Error) -> Error {
    let kind = match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ELOOP) => ErrorKind::Denied,
        Some(libc::ENOSPC | libc::EDQUOT | libc::EFBIG | libc::ENOMEM) => ErrorKind::Full,
        _ => ErrorKind::Io,
    };
    Error::new(kind, format!("{}: {what}", path.display())).caused_by(error)
}

fn effective_user() -> u32 {
    // SAFETY: always succeeds and touches no memory.
    unsafe { libc::geteuid() }
}

impl Directory {
    /// Opens the directory, making it and its parents with mode 0700 if `make`.
    pub(super) fn open(path: &Path, make: bool) -> Result<Self> {
        let is_new = make && !path.exists();
        if is_new {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(path)
                .map_err(|error| failed(path, "cannot make the store's directory", error))?;
        }
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)
            .map_err(|error| match error.raw_os_error() {
                Some(libc::ENOTDIR | libc::ELOOP) => {
                    denied(path, "must be a directory, and not a symbolic link to one")
                }
                _ => failed(path, "cannot open the store's directory", error),
            })?;
        let directory = Self { file, path: path.to_path_buf(), is_new };
        directory.check()?;
        Ok(directory)
    }

    fn check(&self) -> Result<()> {
        let read = |error| failed(&self.path, "cannot read the attributes of", error);
        let own = self.file.metadata().map_err(read)?;
        if own.uid() != effective_user() {
            return Err(denied(&self.path, "must belong to the user of this process"));
        }
        if own.mode() & OTHERS_WRITE != 0 {
            return Err(denied(&self.path, "must not be writable by group or others"));
        }
        // Whoever may rename the directory may put another in its place.
        let parent = self.path.canonicalize().ok();
        let parent = parent.as_deref().and_then(Path::parent);
        if let Some(parent) = parent {
            let above = parent.metadata().map_err(read)?;
            let is_ours = above.uid() == effective_user() || above.uid() == 0;
            let is_shut = above.mode() & OTHERS_WRITE == 0 || above.mode() & STICKY != 0;
            if !(is_ours && is_shut) {
                return Err(denied(
                    parent,
                    "must belong to this user or root, and be writable by others only if sticky",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Opens a file for reading and writing, never through a link; `None` where it is missing.
    pub(super) fn open_file(&self, name: &CStr) -> Result<Option<File>> {
        match self.open_at(name, 0) {
            Ok(file) => self.checked(name, file).map(Some),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            Err(error) => Err(self.refused(name, error)),
        }
    }

    /// Makes a file with mode 0600; `None` where there is one already.
    pub(super) fn make_file(&self, name: &CStr) -> Result<Option<File>> {
        match self.open_at(name, libc::O_CREAT | libc::O_EXCL) {
            Ok(file) => self.checked(name, file).map(Some),
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(None),
            Err(error) => Err(self.refused(name, error)),
        }
    }

    /// Removes a file; one that is missing is fine.
    pub(super) fn remove_file(&self, name: &CStr) {
        // SAFETY: an open directory and a null-terminated name.
        unsafe { libc::unlinkat(self.file.as_raw_fd(), name.as_ptr(), 0) };
    }

    /// Removes the directory if this call made it and it is empty.
    pub(super) fn remove_if_new(&self) {
        if self.is_new {
            // A failure leaves an empty directory, which is as good.
            let _ = std::fs::remove_dir(&self.path);
        }
    }

    fn open_at(&self, name: &CStr, flags: libc::c_int) -> io::Result<File> {
        // O_NONBLOCK: a FIFO in the file's place must not make the open wait.
        let flags = flags | libc::O_RDWR | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
        // SAFETY: an open directory, a null-terminated name, and a mode as O_CREAT demands.
        let descriptor =
            unsafe { libc::openat(self.file.as_raw_fd(), name.as_ptr(), flags, 0o600) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a descriptor just opened, which nothing else owns.
        Ok(unsafe { File::from_raw_fd(descriptor) })
    }

    fn file_path(&self, name: &CStr) -> PathBuf {
        self.path.join(name.to_string_lossy().as_ref())
    }

    fn refused(&self, name: &CStr, error: io::Error) -> Error {
        let path = self.file_path(name);
        match error.raw_os_error() {
            Some(libc::ELOOP) => denied(&path, "must not be a symbolic link"),
            Some(libc::EISDIR | libc::ENXIO) => denied(&path, "must be a regular file"),
            _ => failed(&path, "cannot open", error),
        }
    }

    fn checked(&self, name: &CStr, file: File) -> Result<File> {
        let path = self.file_path(name);
        let about = file.metadata().map_err(|error| failed(&path, "cannot stat", error))?;
        let rule = if !about.is_file() {
            "must be a regular file"
        } else if about.uid() != effective_user() {
            "must belong to the user of this process"
        } else if about.mode() & NOT_OWNER != 0 {
            "must not be accessible by group or others"
        } else if about.nlink() > 1 {
            "must not have a second name"
        } else {
            return Ok(file);
        };
        Err(denied(&path, rule))
    }
}

/// Opens an open file once more, with locks of its own.
pub(super) fn reopen(file: &File) -> io::Result<File> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_CLOEXEC).open(path)
}

/// True where the open file still has its name.
pub(super) fn is_linked(about: &Metadata) -> bool {
    about.nlink() > 0
}

/// What carries a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileSystem {
    /// tmpfs, ramfs.
    Memory,
    /// Allocated blocks are written in place.
    InPlace,
    /// A mapped page can fail for reasons other than the device: copy-on-write without space, a
    /// network, a daemon. The name says which.
    Unfit(&'static str),
}

/// File systems by their `statfs` type.
const KNOWN: [(i64, FileSystem); 12] = [
    (0x0102_1994, FileSystem::Memory),
    (0x8584_58f6, FileSystem::Memory),
    (0x9123_683e, FileSystem::Unfit("btrfs")),
    (0x2fc1_2fc1, FileSystem::Unfit("zfs")),
    (0xca45_1a4e, FileSystem::Unfit("bcachefs")),
    (0xf2f5_2010, FileSystem::Unfit("f2fs")),
    (0x6969, FileSystem::Unfit("nfs")),
    (0xff53_4d42, FileSystem::Unfit("cifs")),
    (0xfe53_4d42, FileSystem::Unfit("smb")),
    (0x6573_5546, FileSystem::Unfit("fuse")),
    (0x0102_1997, FileSystem::Unfit("9p")),
    (0x00c3_6400, FileSystem::Unfit("ceph")),
];

/// The file system of an open file and the bytes left on it for this user.
pub(super) fn file_system(file: &File) -> io::Result<(FileSystem, u64)> {
    // SAFETY: `statfs` is plain integers, for which zero is a value.
    let mut about: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: an open descriptor and memory for the answer.
    if unsafe { libc::fstatfs(file.as_raw_fd(), &raw mut about) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // The type is a signed or unsigned word of 4 or 8 bytes, by platform.
    let kind = i64::from(about.f_type as u32);
    let system =
        KNOWN.iter().find(|(magic, _)| *magic == kind).map_or(FileSystem::InPlace, |(_, is)| *is);
    let left = (about.f_bavail as u64).saturating_mul(about.f_bsize as u64);
    Ok((system, left))
}

/// The largest file this process may write, if that is limited.
pub(super) fn file_size_limit() -> Option<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: memory for the answer, and a resource that every Linux knows.
    let code = unsafe { libc::getrlimit(libc::RLIMIT_FSIZE, &raw mut limit) };
    (code == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
}

/// Allocates the first `bytes` bytes of a file. What was allocated stays as it is.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let signal = BlockedFileSizeSignal::new();
    let code = loop {
        // SAFETY: an open descriptor; the call touches no memory of ours.
        match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) } {
            libc::EINTR => {}
            code => break code,
        }
    };
    drop(signal);
    if code != 0 {
        return Err(io::Error::from_raw_os_error(code));
    }
    // A file system that accepts the call without allocating would fail later, by a signal.
    let about = file.metadata()?;
    if about.len() < bytes || about.blocks().saturating_mul(512) < bytes {
        return Err(io::Error::other("the file system did not allocate the file"));
    }
    Ok(())
}

/// Reads all of `buffer` from `position` on, and returns it as what it holds then.
pub(super) fn read_at<'b>(
    file: &File,
    position: u64,
    buffer: &'b mut [MaybeUninit<u8>],
) -> io::Result<&'b [u8]> {
    let mut done = 0;
    while done < buffer.len() {
        let left = &mut buffer[done..];
        let at = position + done as u64;
        // SAFETY: an open descriptor, and writable memory of the length that is passed.
        let count = unsafe {
            let at = at as libc::off64_t;
            libc::pread64(file.as_raw_fd(), left.as_mut_ptr().cast(), left.len(), at)
        };
        match usize::try_from(count) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => done += count,
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    // SAFETY: the calls wrote `done` bytes from the start on without a gap, which is all of them.
    Ok(unsafe { buffer.assume_init_ref() })
}

/// Appends `count` bytes of a file from `position` on to `target`, which has the capacity.
///
/// # Panics
/// Where it has not.
pub(super) fn append_at(
    file: &File,
    position: u64,
    count: usize,
    target: &mut Vec<u8>,
) -> io::Result<()> {
    let length = target.len() + count;
    read_at(file, position, &mut target.spare_capacity_mut()[..count])?;
    // SAFETY: `count` bytes of what was spare are there and were read.
    unsafe { target.set_len(length) };
    Ok(())
}

/// Keeps SIGXFSZ, which a file size limit raises, from this thread.
struct BlockedFileSizeSignal {
    blocked: Option<libc::sigset_t>,
}

impl BlockedFileSizeSignal {
    fn new() -> Self {
        // SAFETY: sets are initialised by `sigemptyset` before use; `pthread_sigmask` and
        // `sigpending` only write the sets given to them.
        unsafe {
            let mut only: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&raw mut only);
            libc::sigaddset(&raw mut only, libc::SIGXFSZ);
            let mut before: libc::sigset_t = std::mem::zeroed();
            if libc::pthread_sigmask(libc::SIG_BLOCK, &raw const only, &raw mut before) != 0
                || libc::sigismember(&raw const before, libc::SIGXFSZ) == 1
            {
                return Self { blocked: None };
            }
            Self { blocked: Some(only) }
        }
    }
}

impl Drop for BlockedFileSizeSignal {
    fn drop(&mut self) {
        let Some(only) = self.blocked else { return };
        let no_wait = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: initialised sets; a null pointer for information nobody wants. The signal was
        // not blocked before, so one that is pending is the one that the allocation raised.
        unsafe {
            libc::sigtimedwait(&raw const only, std::ptr::null_mut(), &raw const no_wait);
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const only, std::ptr::null_mut());
        }
    }
}

/// Random bits of the kernel.
pub(super) fn random() -> io::Result<u128> {
    let mut bytes = [0_u8; 16];
    // SAFETY: memory for 16 bytes; calls for up to 256 bytes are not cut short by signals.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if got != bytes.len() as isize {
        return Err(io::Error::last_os_error());
    }
    Ok(u128::from_ne_bytes(bytes))
}

/// The boot of the kernel: locks and boot-time deadlines of another one mean nothing.
pub(super) fn boot_id() -> io::Result<u128> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map_err(io::Error::other)
}

/// The PID namespace of this process: the numbers of its threads mean nothing in another one.
pub(super) fn pid_namespace() -> io::Result<u64> {
    Ok(std::fs::metadata("/proc/self/ns/pid")?.ino())
}

/// A thread of this machine in words, with the process that it is of.
pub(super) fn describe_thread(thread: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match (field("Tgid:"), field("Name:")) {
        (Some(process), Some(name)) => {
            // A name may hold anything, and ends up in logs.
            let name: String = name.chars().filter(|letter| !letter.is_control()).collect();
            format!("thread {thread} ({name}) of process {process}")
        }
        _ => format!("thread {thread}"),
    }
}

/// True in a time namespace whose boot time is not the host's: deadlines would differ between
/// processes that share a store.
pub(super) fn has_shifted_time() -> bool {
    let text = std::fs::read_to_string("/proc/self/timens_offsets").unwrap_or_default();
    text.lines()
        .filter_map(|line| line.strip_prefix("boottime"))
        .any(|offsets| offsets.split_whitespace().any(|offset| offset != "0"))
}

/// See [`crate::default_directory`].
pub(super) fn default_directory(name: &str) -> PathBuf {
    let user = effective_user();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| {
        let Ok(file) = File::open(path) else { return false };
        let is_ours = file.metadata().is_ok_and(|about| {
            about.is_dir() && about.uid() == user && about.mode() & OTHERS_WRITE == 0
        });
        is_ours && matches!(file_system(&file), Ok((FileSystem::Memory, _)))
    });
    match runtime {
        Some(path) => path.join("tierce").join(name),
        None => PathBuf::from(format!("/dev/shm/tierce-{user}")).join(name),
    }
}

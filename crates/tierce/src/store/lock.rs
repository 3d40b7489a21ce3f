//! The lock file: robust mutexes shared by processes, and what lives no longer than they do.
//!
//! ```text
//! l2.lock (192 KiB)
//!     0  magic, fingerprint of the C library's mutex, boot id, uuid of l2.data, ready word,
//!        PID namespace
//!  4096  mutexes, 128 bytes apart: one per shard, then the evictor's
//! 16384  active segments, 64 bytes per shard, then the evictor's; free-segment count
//! 24576  statistics: 128 slots of 1 KiB ([`super::statistics`])
//! 160 K  leases of loads: a mutex and its words, 128 bytes each ([`super::lease`])
//! ```
//!
//! The mutexes are never trusted from an earlier life: a file copied while one was held would
//! hang its next user for ever. The first process to open a store (it alone gets the write lock on
//! byte 0) writes this file anew; the others check that the bytes fit their C library.
//!
//! A wait is bounded by `CLOCK_MONOTONIC`. A dead owner is reported by the kernel (EOWNERDEAD),
//! and the mutex is then made consistent at once, because one that is unlocked without it is lost
//! for everyone; the guard says that its owner died.
//!
//! The processes of a store are of one PID namespace. A mutex names its owner by the number of its
//! thread there, so the first threads of two containers have the same name. When one is killed
//! while it waits for a mutex, the kernel finds that name in it and takes the mutex from the other
//! one, which lives and goes on writing.
#![allow(unsafe_code)]

use std::{
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    sync::{
        OnceLock,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use xxhash_rust::xxh3::xxh3_64;

use crate::store::{
    layout::{MAX_CLASSES, MAX_SHARDS},
    map::{Mapping, shared_struct},
    statistics::{SLOT_BYTES, SLOTS},
};

/// Bytes of the lock file.
pub(super) const LOCK_FILE_BYTES: u64 = 192 << 10;
/// Position of the statistics.
pub(super) const STATISTICS_AT: u64 = 24576;

/// Position of the leases.
pub(super) const LEASES_AT: u64 = 160 << 10;
/// How many loads of the host's processes may have one at a time.
pub(super) const LEASES: u32 = 256;
/// Bytes from lease to lease.
pub(super) const LEASE_BYTES: u64 = 128;
/// Bytes from the mutex of a lease to its words.
pub(super) const LEASE_WORDS_AT: u64 = 64;

pub(super) const MAGIC: u64 = u64::from_ne_bytes(*b"tiercLk2");
const MUTEXES_AT: usize = 4096;
/// Two cache lines apart: neighbours are prefetched in pairs.
const MUTEX_STRIDE: usize = 128;
const ACTIVE_AT: u64 = 16384;
const FREE_AT: u64 = 24576 - 64;
const MUTEX_BYTES: usize = size_of::<libc::pthread_mutex_t>();
/// Where in a mutex the word is by which the kernel knows the owner of a robust one.
const OWNER_AT: u64 = if cfg!(target_env = "musl") { 4 } else { 0 };
/// The bits of that word that are the number of the owner's thread (linux/futex.h).
const OWNER: u32 = 0x3fff_ffff;
/// Times that a waiting thread looks on before it sleeps, each twice as long as the one before: some
/// microseconds together. A put holds its shard for a fraction of one, and to sleep and be woken takes
/// several.
const SPINS: u32 = 4;
/// Looks at the mutex in the shortest of them.
const SHORTEST_SPIN: u32 = 4;
/// Looks at a mutex until its owner is called stuck: a busy one lets go between two of them.
const LOOKS: u32 = 20;

const _: () = assert!(MUTEX_BYTES <= MUTEX_STRIDE);
const _: () = assert!(MUTEXES_AT + (MAX_SHARDS as usize + 1) * MUTEX_STRIDE <= ACTIVE_AT as usize);
const _: () = assert!(ACTIVE_AT + (MAX_SHARDS as u64 + 1) * 64 <= FREE_AT);
const _: () = assert!(STATISTICS_AT + SLOTS as u64 * SLOT_BYTES <= LEASES_AT);
const _: () = assert!(MUTEX_BYTES <= LEASE_WORDS_AT as usize);
const _: () = assert!(LEASES_AT + LEASES as u64 * LEASE_BYTES <= LOCK_FILE_BYTES);

shared_struct! {
    LockHead, 64 {
        magic: AtomicU64,
        fingerprint: AtomicU64,
        boot_id: [AtomicU64; 2],
        uuid: [AtomicU64; 2],
        ready: AtomicU64,
        pid_namespace: AtomicU64,
    }
}

shared_struct! {
    /// Segment number plus one per lifetime class, 0 for none.
    Active, 64 {
        segments: [AtomicU32; MAX_CLASSES],
        reserved: [AtomicU32; 12],
    }
}

/// Whose mutexes these may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Home {
    pub(super) boot_id: u128,
    pub(super) pid_namespace: u64,
}

/// The mapped lock file.
pub(super) struct LockArea {
    mapping: Mapping,
    shards: u32,
    /// The mutex that was not had in time last, plus one; 0 for none.
    missed: AtomicU32,
}

/// Why a lock was not had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotLocked {
    /// Its owner kept it for longer than the wait.
    Busy,
    /// ENOTRECOVERABLE or an error that cannot be: the lock is of no more use.
    Lost(i32),
}

/// The time that one call may wait, counted from its first wait.
pub(super) struct Wait {
    span: Duration,
    deadline: Cell<Option<libc::timespec>>,
}

impl Wait {
    pub(super) fn new(span: Duration) -> Self {
        Self { span, deadline: Cell::new(None) }
    }

    fn deadline(&self) -> libc::timespec {
        self.deadline.get().unwrap_or_else(|| {
            let now = monotonic();
            let nanos = now.tv_nsec as u64 + u64::from(self.span.subsec_nanos());
            let deadline = libc::timespec {
                tv_sec: now.tv_sec + self.span.as_secs() as i64 + (nanos / 1_000_000_000) as i64,
                tv_nsec: (nanos % 1_000_000_000) as i64,
            };
            self.deadline.set(Some(deadline));
            deadline
        })
    }
}

fn monotonic() -> libc::timespec {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writes; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now
}

type ClockLock = unsafe extern "C" fn(
    *mut libc::pthread_mutex_t,
    libc::clockid_t,
    *const libc::timespec,
) -> libc::c_int;

/// `pthread_mutex_clocklock`, which only newer C libraries have (glibc 2.30).
fn clock_lock() -> Option<ClockLock> {
    static FOUND: OnceLock<Option<ClockLock>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        // SAFETY: a null-terminated name; the default handle searches what is loaded.
        let symbol =
            unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"pthread_mutex_clocklock".as_ptr()) };
        // SAFETY: a function of this name has this signature in every C library that has it
        // (POSIX.1-2024); a null pointer is `None` by the layout of `Option` of functions.
        unsafe { std::mem::transmute::<*mut libc::c_void, Option<ClockLock>>(symbol) }
    })
}

impl LockArea {
    /// Wraps a mapping of [`LOCK_FILE_BYTES`] bytes.
    pub(super) fn new(mapping: Mapping, shards: u32) -> Self {
        Self { mapping, shards: shards.min(MAX_SHARDS), missed: AtomicU32::new(0) }
    }

    /// The same area, used with this many shards.
    pub(super) fn with_shards(self, shards: u32) -> Self {
        Self { shards: shards.min(MAX_SHARDS), ..self }
    }

    pub(super) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// Has the mapping outlive the truncation of the lock file, if the system allows. A mutex
    /// that is all ones is none to the C library: it refuses it.
    pub(super) fn guard(&mut self) {
        self.mapping.guard();
    }

    fn head(&self) -> &LockHead {
        self.mapping.at(0)
    }

    /// Makes all mutexes afresh and zeroes everything else. Only for the process that holds the
    /// write lock on byte 0: nobody else looks at the file before [`Self::set_ready`].
    pub(super) fn initialise(&self, home: Home) -> std::io::Result<()> {
        let head = self.head();
        head.ready.store(0, Ordering::SeqCst);
        for word in self.mapping.slice::<AtomicU64>(0, LOCK_FILE_BYTES as usize / 8) {
            word.store(0, Ordering::Relaxed);
        }
        let of_shards = (0..=self.shards).map(|index| self.mutex(index));
        for mutex in of_shards.chain((0..LEASES).map(|number| self.lease_mutex(number))) {
            // SAFETY: the address is inside the mapping and aligned; nobody holds or waits for
            // the mutex, as the caller is alone.
            unsafe { initialise_mutex(mutex) }?;
        }
        head.magic.store(MAGIC, Ordering::Relaxed);
        head.fingerprint.store(fingerprint()?, Ordering::Relaxed);
        head.pid_namespace.store(home.pid_namespace, Ordering::Relaxed);
        store_u128(&head.boot_id, home.boot_id);
        Ok(())
    }

    /// Lets other processes in: `uuid` is that of the data file.
    pub(super) fn set_ready(&self, uuid: u128) {
        let head = self.head();
        store_u128(&head.uuid, uuid);
        head.ready.store(1, Ordering::Release);
    }

    /// True once the first opener has finished.
    pub(super) fn is_ready(&self) -> bool {
        self.head().ready.load(Ordering::Acquire) == 1
    }

    /// The uuid of the data file that the mutexes belong to.
    pub(super) fn uuid(&self) -> u128 {
        load_u128(&self.head().uuid)
    }

    /// Why the mutexes of a ready file cannot be used by this process, if they cannot.
    pub(super) fn mismatch(&self, home: Home) -> std::io::Result<Option<&'static str>> {
        let head = self.head();
        Ok(if head.magic.load(Ordering::Relaxed) != MAGIC {
            Some("is not a lock file of this version")
        } else if head.fingerprint.load(Ordering::Relaxed) != fingerprint()? {
            Some("was made by another C library, whose mutexes differ")
        } else if load_u128(&head.boot_id) != home.boot_id {
            Some("is in use from another boot of the machine")
        } else if head.pid_namespace.load(Ordering::Relaxed) != home.pid_namespace {
            Some("is in use by processes of another PID namespace (container)")
        } else {
            None
        })
    }

    /// The index of the evictor's mutex and active segment.
    pub(super) fn evictor(&self) -> u32 {
        self.shards
    }

    /// The active segments of a shard or the evictor; written under its mutex.
    pub(super) fn active(&self, index: u32) -> &Active {
        self.mapping.at(ACTIVE_AT + u64::from(index.min(self.shards)) * 64)
    }

    /// About how many segments are free.
    pub(super) fn free_segments(&self) -> &AtomicU32 {
        self.mapping.at(FREE_AT)
    }

    /// Has the processor take from others what who fills a segment for `index` will write to, so that
    /// it comes all at once; returns the number of that segment, if it is one, as it is at the moment.
    #[inline]
    pub(super) fn fetch_for_put(&self, index: u32, class: u32) -> Option<u32> {
        let index = index.min(self.shards);
        self.mapping.prefetch_to_write((MUTEXES_AT + index as usize * MUTEX_STRIDE) as u64);
        let active = &self.active(index).segments[class as usize % MAX_CLASSES];
        active.load(Ordering::Relaxed).checked_sub(1)
    }

    fn mutex(&self, index: u32) -> *mut libc::pthread_mutex_t {
        let at = MUTEXES_AT + index.min(self.shards) as usize * MUTEX_STRIDE;
        self.mapping.address(at, MUTEX_BYTES).as_ptr().cast()
    }

    /// Takes a mutex, waiting no longer than what is left of `wait`.
    pub(super) fn lock(&self, index: u32, wait: &Wait) -> Result<LockGuard<'_>, NotLocked> {
        for spins in 0..=SPINS {
            match self.try_lock(index) {
                Err(NotLocked::Busy) if !wait.span.is_zero() => {}
                done => return done,
            }
            self.spin(index, SHORTEST_SPIN << spins);
        }
        let mutex = self.mutex(index);
        let deadline = wait.deadline();
        let code = match clock_lock() {
            // SAFETY: an initialised mutex inside a live mapping, and a valid deadline.
            Some(clock_lock) => unsafe {
                clock_lock(mutex, libc::CLOCK_MONOTONIC, &raw const deadline)
            },
            None => loop {
                // SAFETY: an initialised mutex inside a live mapping.
                let code = unsafe { libc::pthread_mutex_trylock(mutex) };
                let now = monotonic();
                let late = (now.tv_sec, now.tv_nsec) >= (deadline.tv_sec, deadline.tv_nsec);
                if code != libc::EBUSY || late {
                    break code;
                }
                std::thread::sleep(Duration::from_micros(50));
            },
        };
        let outcome = self.outcome(mutex, code);
        if matches!(outcome, Err(NotLocked::Busy)) {
            self.missed.store(index.min(self.shards) + 1, Ordering::Relaxed);
        }
        outcome
    }

    /// Looks on for a while, or until the mutex is free.
    fn spin(&self, index: u32, looks: u32) {
        let word = self.owner_word(index);
        for _ in 0..looks {
            if word.load(Ordering::Relaxed) & OWNER == 0 {
                return;
            }
            std::hint::spin_loop();
        }
    }

    /// The word by which the kernel knows the owner of a mutex.
    fn owner_word(&self, index: u32) -> &AtomicU32 {
        let at = MUTEXES_AT + index.min(self.shards) as usize * MUTEX_STRIDE;
        self.mapping.at(at as u64 + OWNER_AT)
    }

    /// The number of the thread that holds the mutex which was not had in time last, if it holds
    /// it still and for all of `wait`.
    pub(super) fn stuck_owner(&self, wait: Duration) -> Option<u32> {
        let index = self.missed.load(Ordering::Relaxed).checked_sub(1)?;
        let word = self.owner_word(index);
        let owner = word.load(Ordering::Relaxed) & OWNER;
        let keeps_it = |_| {
            std::thread::sleep(wait / LOOKS);
            owner != 0 && word.load(Ordering::Relaxed) & OWNER == owner
        };
        if (0..LOOKS).all(keeps_it) {
            return Some(owner);
        }
        self.missed.store(0, Ordering::Relaxed);
        None
    }

    /// Takes a mutex only if it is free.
    pub(super) fn try_lock(&self, index: u32) -> Result<LockGuard<'_>, NotLocked> {
        let mutex = self.mutex(index);
        // SAFETY: an initialised mutex inside a live mapping.
        let code = unsafe { libc::pthread_mutex_trylock(mutex) };
        self.outcome(mutex, code)
    }

    /// Takes the mutex of a lease only if it is free.
    pub(super) fn try_lock_lease(&self, number: u32) -> Result<LockGuard<'_>, NotLocked> {
        let mutex = self.lease_mutex(number);
        // SAFETY: an initialised mutex inside a live mapping.
        let code = unsafe { libc::pthread_mutex_trylock(mutex) };
        self.outcome(mutex, code)
    }

    fn lease_mutex(&self, number: u32) -> *mut libc::pthread_mutex_t {
        let at = LEASES_AT + u64::from(number % LEASES) * LEASE_BYTES;
        self.mapping.address(at as usize, MUTEX_BYTES).as_ptr().cast()
    }

    /// Makes a mutex unrecoverable, as a faulty program could: takes it over from its dead owner
    /// and lets go without making it consistent.
    #[cfg(test)]
    pub(super) fn spoil(&self, index: u32) {
        // SAFETY: an initialised mutex inside a live mapping, unlocked only where it was taken.
        unsafe {
            assert_eq!(libc::pthread_mutex_trylock(self.mutex(index)), libc::EOWNERDEAD);
            assert_eq!(libc::pthread_mutex_unlock(self.mutex(index)), 0);
        }
    }

    fn outcome(
        &self,
        mutex: *mut libc::pthread_mutex_t,
        code: libc::c_int,
    ) -> Result<LockGuard<'_>, NotLocked> {
        match code {
            0 => Ok(LockGuard { mutex, owner_died: false, area: PhantomData }),
            libc::EOWNERDEAD => {
                // SAFETY: the calling thread holds the mutex, in the inconsistent state.
                match unsafe { libc::pthread_mutex_consistent(mutex) } {
                    0 => Ok(LockGuard { mutex, owner_died: true, area: PhantomData }),
                    code => Err(NotLocked::Lost(code)),
                }
            }
            // EDEADLK is this thread's own lock: nothing that waiting would help.
            libc::EBUSY | libc::ETIMEDOUT | libc::EDEADLK | libc::EAGAIN => Err(NotLocked::Busy),
            code => Err(NotLocked::Lost(code)),
        }
    }
}

/// A held mutex. Not `Send`: the owner is a thread.
pub(super) struct LockGuard<'a> {
    mutex: *mut libc::pthread_mutex_t,
    owner_died: bool,
    area: PhantomData<(&'a LockArea, *const ())>,
}

impl LockGuard<'_> {
    /// True where the last owner died with the mutex: what it guards must be checked first.
    pub(super) fn owner_died(&self) -> bool {
        self.owner_died
    }
}

impl Drop for LockGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the mutex (the guard is neither `Send` nor cloned), and the
        // guard's lifetime keeps the mapping.
        unsafe { libc::pthread_mutex_unlock(self.mutex) };
    }
}

/// Makes a robust mutex that processes share.
///
/// # Safety
/// `mutex` is valid for writes, aligned, and neither held nor waited for.
unsafe fn initialise_mutex(mutex: *mut libc::pthread_mutex_t) -> std::io::Result<()> {
    let check = |code: libc::c_int| match code {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code)),
    };
    let mut attributes = MaybeUninit::<libc::pthread_mutexattr_t>::uninit();
    // SAFETY: the attributes are initialised by the first call before the others use them, and
    // destroyed once; `mutex` is as the caller promises.
    unsafe {
        check(libc::pthread_mutexattr_init(attributes.as_mut_ptr()))?;
        let made = check(libc::pthread_mutexattr_setpshared(
            attributes.as_mut_ptr(),
            libc::PTHREAD_PROCESS_SHARED,
        ))
        .and_then(|()| {
            check(libc::pthread_mutexattr_setrobust(
                attributes.as_mut_ptr(),
                libc::PTHREAD_MUTEX_ROBUST,
            ))
        })
        .and_then(|()| check(libc::pthread_mutex_init(mutex, attributes.as_ptr())));
        libc::pthread_mutexattr_destroy(attributes.as_mut_ptr());
        made
    }
}

/// Tells C libraries with different mutexes apart: by kind, architecture, and the bytes of a
/// fresh mutex.
fn fingerprint() -> std::io::Result<u64> {
    let mut mutex = MaybeUninit::<libc::pthread_mutex_t>::zeroed();
    // SAFETY: a private mutex that nobody else knows.
    unsafe { initialise_mutex(mutex.as_mut_ptr()) }?;
    // SAFETY: all bytes were zeroed before the C library wrote some of them.
    let image = unsafe { mutex.as_ptr().cast::<[u8; MUTEX_BYTES]>().read() };
    let kind = if cfg!(target_env = "gnu") { "gnu" } else { "other" };
    let mut text = format!("{kind} {} {MUTEX_BYTES} ", std::env::consts::ARCH).into_bytes();
    text.extend_from_slice(&image);
    Ok(xxh3_64(&text))
}

pub(super) fn store_u128(words: &[AtomicU64; 2], number: u128) {
    words[0].store(number as u64, Ordering::Relaxed);
    words[1].store((number >> 64) as u64, Ordering::Relaxed);
}

pub(super) fn load_u128(words: &[AtomicU64; 2]) -> u128 {
    u128::from(words[0].load(Ordering::Relaxed))
        | u128::from(words[1].load(Ordering::Relaxed)) << 64
}

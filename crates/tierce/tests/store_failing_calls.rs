//! The n-th system call fails, for every n, once and from then on for ever; reads and writes are
//! cut short or interrupted; the file system is of a kind that cannot carry a store.
//!
//! This program has functions of its own with the names of the C library's, which the standard
//! library and tierce then call: they fail in the thread that asks for it, and else do the call.
#![cfg(all(feature = "shared", target_os = "linux", target_env = "gnu"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    cell::Cell,
    ffi::{c_char, c_int, c_long, c_void},
    fs,
    path::Path,
    time::Duration,
};

use store_support::*;
use tierce::{Clock, Dropped, ErrorKind, Medium, Put, Store};

/// What happens to the calls of a thread.
#[derive(Clone, Copy)]
enum Plan {
    Work,
    /// The call of this number fails with this error, and all after it if so said.
    Fail {
        number: u32,
        error: c_int,
        for_ever: bool,
    },
    /// Reads and writes move a few bytes at a time, and every other one is interrupted.
    Stutter,
    /// The file system says that it is of this type.
    Type(i64),
}

thread_local! {
    static PLAN: Cell<Plan> = const { Cell::new(Plan::Work) };
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

/// Runs `work` under a plan; returns what it returned, and how many calls it made.
fn under<T>(plan: Plan, work: impl FnOnce() -> T) -> (T, u32) {
    CALLS.set(0);
    PLAN.set(plan);
    let done = work();
    PLAN.set(Plan::Work);
    (done, CALLS.get())
}

/// The error that the next call is to fail with.
fn failure() -> Option<c_int> {
    let plan = PLAN.try_with(Cell::get).unwrap_or(Plan::Work);
    if matches!(plan, Plan::Work | Plan::Type(_)) {
        return None;
    }
    let call = CALLS.get();
    CALLS.set(call + 1);
    match plan {
        Plan::Fail { number, error, for_ever } => {
            (call == number || for_ever && call > number).then_some(error)
        }
        Plan::Stutter if call % 2 == 1 => Some(libc::EINTR),
        _ => None,
    }
}

fn fail(error: c_int) -> c_long {
    // SAFETY: the address of this thread's own errno.
    unsafe { *libc::__errno_location() = error };
    -1
}

/// Bytes that a read or write of `count` moves.
fn portion(count: usize) -> usize {
    if matches!(PLAN.get(), Plan::Stutter) { count.min(700) } else { count }
}

/// A function of the C library that does as the plan says, else makes the system call.
macro_rules! call {
    ($name:ident, $number:expr, ($($argument:ident: $type:ty),*) -> $result:ty) => {
        // SAFETY: of the type that the C library declares; the arguments go on as they came.
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($argument: $type),*) -> $result {
            let done = match failure() {
                Some(error) => fail(error),
                // SAFETY: as promised by the caller.
                None => unsafe { libc::syscall($number, $($argument),*) },
            };
            done as $result
        }
    };
}

call!(openat, libc::SYS_openat, (folder: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int);
call!(fcntl, libc::SYS_fcntl, (file: c_int, command: c_int, argument: usize) -> c_int);
call!(mmap, libc::SYS_mmap, (at: *mut c_void, bytes: usize, protection: c_int, flags: c_int, file: c_int, offset: i64) -> *mut c_void);

// SAFETY: of the type that the C library declares; the arguments go on as they came.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(file: c_int, at: *mut c_void, count: usize, offset: i64) -> isize {
    let done = match failure() {
        Some(error) => fail(error),
        // SAFETY: as promised by the caller, for fewer bytes at most.
        None => unsafe { libc::syscall(libc::SYS_pread64, file, at, portion(count), offset) },
    };
    done as isize
}

// SAFETY: of the type that the C library declares; the arguments go on as they came.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, at: *const c_void, count: usize, offset: i64) -> isize {
    let done = match failure() {
        Some(error) => fail(error),
        // SAFETY: as promised by the caller, for fewer bytes at most.
        None => unsafe { libc::syscall(libc::SYS_pwrite64, file, at, portion(count), offset) },
    };
    done as isize
}

// SAFETY: of the type that the C library declares; the arguments go on as they came.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_fallocate(file: c_int, offset: i64, bytes: i64) -> c_int {
    match failure() {
        Some(error) => error,
        // SAFETY: as promised by the caller.
        None => match unsafe { libc::syscall(libc::SYS_fallocate, file, 0, offset, bytes) } {
            0 => 0,
            // SAFETY: the address of this thread's own errno.
            _ => unsafe { *libc::__errno_location() },
        },
    }
}

// SAFETY: of the type that the C library declares; the arguments go on as they came.
#[unsafe(no_mangle)]
unsafe extern "C" fn fstatfs(file: c_int, about: *mut libc::statfs) -> c_int {
    if let Some(error) = failure() {
        return fail(error) as c_int;
    }
    // SAFETY: as promised by the caller.
    let done = unsafe { libc::syscall(libc::SYS_fstatfs, file, about) } as c_int;
    if let Plan::Type(kind) = PLAN.get() {
        // SAFETY: filled by the call above.
        unsafe { (*about).f_type = kind as _ };
    }
    done
}

/// True where nothing is left but what is whole: a store with its header, which is written last,
/// or an empty `l2.lock`; one that could not be locked may be another process's.
fn is_unmade(folder: &Path) -> bool {
    let Ok(names) = fs::read_dir(folder) else { return true };
    names.map(Result::unwrap).all(|entry| {
        let bytes = fs::read(entry.path()).unwrap();
        match entry.file_name().to_str() {
            Some("l2.lock") => bytes.is_empty(),
            _ => bytes.get(..8).is_some_and(|magic| magic != [0; 8]),
        }
    })
}

#[test]
fn any_failing_call_of_open_is_an_error_that_leaves_nothing_behind() {
    for medium in MEDIA {
        for warm in [false, true] {
            for (error, for_ever) in [
                (libc::EIO, false),
                (libc::EIO, true),
                (libc::ENOSPC, false),
                (libc::ENOSPC, true),
                (libc::EMFILE, true),
                (libc::ENOMEM, true),
            ] {
                let (mut failed, mut number) = (0, 0);
                loop {
                    let (folder, options) = small_store(medium);
                    let options = options.max_bytes(1 << 20);
                    if warm {
                        put(&open(&options), b"k", b"warm");
                    }
                    let plan = Plan::Fail { number, error, for_ever };
                    let (opened, calls) = under(plan, || Store::open(&options, Clock::system()));
                    let tale = format!(
                        "{medium:?}, warm {warm}, call {number} of {calls} fails with {error}, \
                         for ever: {for_ever}"
                    );
                    let is_err = opened.is_err();
                    failed += u32::from(is_err);
                    if let Err(error) = &opened {
                        let kinds = [ErrorKind::Io, ErrorKind::Full, ErrorKind::Unsupported];
                        assert!(kinds.contains(&error.kind()), "{tale}: {error:?}");
                    }
                    if is_err && !warm {
                        assert!(is_unmade(&folder.path().join("store")), "{tale}");
                    }
                    drop(opened);
                    let store = open(&options);
                    if let Some(found) = get(&store, b"k") {
                        assert!(warm && found == b"warm", "{tale}");
                    } else {
                        assert!(!warm, "{tale}: the store was lost");
                    }
                    put(&store, b"k", b"again");
                    assert_eq!(get(&store, b"k").unwrap(), b"again", "{tale}");
                    if calls <= number {
                        break;
                    }
                    number += 1;
                }
                assert!(failed > 8, "{medium:?}, warm {warm}: only {failed} calls failed");
            }
        }
    }
}

#[test]
fn any_failing_call_of_a_change_on_disk_leaves_nothing_old_and_the_next_one_works() {
    for bytes in [100, 3_000, 60_000] {
        for error in [libc::EIO, libc::ENOSPC] {
            let (_folder, options) = small_store(Medium::Disk);
            let store = open(&options.segment_bytes(64 << 10));
            let (hash, key) = hash_of(&store, 1);
            let mut number = 0;
            loop {
                let old = describing_value(1, 2 * u64::from(number), bytes);
                let new = describing_value(1, 2 * u64::from(number) + 1, bytes);
                put(&store, &key, &old);
                let before = store.token(hash).stamp;
                let plan = Plan::Fail { number, error, for_ever: false };
                let (done, calls) = under(plan, || store.put(hash, &key, record(&new), None));
                let tale = format!("{bytes} bytes, call {number} of {calls} fails with {error}");
                match done {
                    Put::Stored { .. } => assert_eq!(get(&store, &key).unwrap(), new, "{tale}"),
                    Put::Removed { why, .. } => {
                        assert_eq!(why, Dropped::Io, "{tale}");
                        assert_eq!(get(&store, &key), None, "{tale}: the old value came back");
                    }
                }
                assert_ne!(store.token(hash).stamp, before, "{tale}");
                if calls <= number {
                    break;
                }
                number += 1;
            }
            let numbers = store.statistics();
            // What fails in the accounts of a large value that is gone is not counted.
            assert!((1..=u64::from(number)).contains(&numbers.io_errors), "{numbers:?}");
            let check = store.validate().unwrap();
            assert_eq!((check.corrupt, check.doubled, check.broken_segments), (0, 0, 0));
        }
    }
}

#[test]
fn a_device_that_fails_for_ever_parks_the_store_and_is_found_again_when_it_works() {
    let (_folder, options) = small_store(Medium::Disk);
    let (clock, time) = Clock::manual();
    let store = Store::open(&options, clock).unwrap();
    let (hash, key) = hash_of(&store, 1);
    let value = describing_value(1, 1, 2000);
    put(&store, &key, &value);
    let plan = Plan::Fail { number: 0, error: libc::EIO, for_ever: true };
    let ((), calls) = under(plan, || {
        for _ in 0..100 {
            assert!(!matches!(store.get(hash, &key), Ok(Some(_))));
        }
        let put = store.put(hash, &key, record(&value), None);
        assert!(matches!(put, Put::Removed { why: Dropped::Parked, .. }), "{put:?}");
    });
    assert_eq!(calls, 8, "a failed device is left alone");
    let trouble = store.trouble().unwrap();
    assert!(trouble.contains("device failed") && trouble.contains("os error 5"), "{trouble}");
    let token = store.token(hash);
    store.delete(hash, &key);
    assert_ne!(store.token(hash), token, "invalidation needs no device");
    time.advance(Duration::from_secs(61));
    put(&store, &key, &value);
    assert_eq!(get(&store, &key).unwrap(), value);
    assert_eq!(store.trouble(), None);
}

#[test]
fn short_and_interrupted_reads_and_writes_are_gone_on_with() {
    let (_folder, options) = small_store(Medium::Disk);
    let (store, calls) = under(Plan::Stutter, || {
        // Only the calls of records: opening is done without.
        PLAN.set(Plan::Work);
        let store = open(&options);
        PLAN.set(Plan::Stutter);
        for number in 0..200 {
            let value = describing_value(number, 1, 24 + 97 * number as usize);
            put(&store, &key_of(number), &value);
            assert_eq!(get(&store, &key_of(number)).unwrap(), value, "{number}");
        }
        store
    });
    assert!(calls > 4000, "{calls}");
    assert_eq!((store.statistics().io_errors, store.trouble()), (0, None));
}

#[test]
fn file_systems_that_can_fail_a_mapped_page_are_refused_by_name() {
    for (kind, name) in [
        (0x6573_5546, "fuse"),
        (0x6969, "nfs"),
        (0x0102_1997, "9p"),
        (0x9123_683e, "btrfs"),
        (0x2fc1_2fc1, "zfs"),
        (0xff53_4d42, "cifs"),
    ] {
        for is_copy in [false, true] {
            let (folder, options) = small_store(Medium::Auto);
            if is_copy {
                put(&open(&options), b"k", b"of a store that was copied there");
            }
            let (opened, _) = under(Plan::Type(kind), || Store::open(&options, Clock::system()));
            let error = opened.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains(name), "{error}");
            if is_copy {
                assert!(get(&open(&options), b"k").is_some(), "{name}: it is left as it is");
            } else {
                assert!(fs::read_dir(folder.path()).unwrap().next().is_none(), "nothing is left");
            }
        }
    }
}

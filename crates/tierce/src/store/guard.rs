//! Outliving a truncated store file, for who asks for it.
//!
//! A mapped page of a file that an outsider truncated cannot be read any more: the access raises
//! SIGBUS, which ends the process. The guard is a handler of that signal: where the address is in
//! a mapping of a store, it puts a page of ones in the place of the one that is gone, notes that
//! the mapping is **spoiled**, and lets the access go on. All else goes to the handler that was
//! there before, or to the default.
//!
//! Ones, because they are the bytes that nothing is proved by: no generation is odd and current,
//! no stamp or clear epoch is one that an entry of L1 has, and the word that says that the store
//! was superseded is set, so that it is replaced.
//!
//! A handler belongs to the whole process and so to its host, which may install one of its own at
//! any time. Then that one decides: the guard is off unless it hands on what it does not know.
#![allow(unsafe_code)]

use std::{
    cell::UnsafeCell,
    mem::MaybeUninit,
    ptr,
    sync::{
        Once,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

/// Mappings that can be guarded at a time: more stores than a process has use for.
const PLACES: usize = 64;

/// The file is shorter than its mapping, or its device failed.
const BUS_ADRERR: libc::c_int = 2;
const BUS_OBJERR: libc::c_int = 3;

struct Place {
    /// 0 for a place that is free, 1 for one that is being filled.
    begin: AtomicUsize,
    end: AtomicUsize,
    is_spoiled: AtomicBool,
}

static GUARDED: [Place; PLACES] = [const {
    Place {
        begin: AtomicUsize::new(0),
        end: AtomicUsize::new(0),
        is_spoiled: AtomicBool::new(false),
    }
}; PLACES];

/// The handler of before.
struct Before(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: written once, before the handler that reads it is installed.
unsafe impl Sync for Before {}

static BEFORE: Before = Before(UnsafeCell::new(MaybeUninit::uninit()));
static PAGE_BYTES: AtomicUsize = AtomicUsize::new(0);

/// A range of addresses that is guarded while this lives.
pub(super) struct Guard(&'static Place);

impl Guard {
    /// Guards a mapping, which must be unmapped after this was dropped; `None` where that cannot
    /// be.
    pub(super) fn new(begin: usize, bytes: usize) -> Option<Self> {
        if !install() {
            return None;
        }
        let place = GUARDED.iter().find(|place| {
            place.begin.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
        })?;
        place.is_spoiled.store(false, Ordering::Relaxed);
        place.end.store(begin + bytes, Ordering::Relaxed);
        place.begin.store(begin, Ordering::Release);
        Some(Self(place))
    }

    /// True once a page of the mapping was gone.
    #[inline]
    pub(super) fn is_spoiled(&self) -> bool {
        self.0.is_spoiled.load(Ordering::Relaxed)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.begin.store(0, Ordering::Release);
    }
}

/// Installs the handler, once; false where the system refuses.
fn install() -> bool {
    static ONCE: Once = Once::new();
    static IS_ON: AtomicBool = AtomicBool::new(false);
    ONCE.call_once(|| {
        // SAFETY: `sysconf` only returns a number; `sigaction` reads and writes the structures
        // given to it, of which zeros are valid. `BEFORE` is written before the handler that
        // reads it can run, and never again. The handler lives as long as the code.
        unsafe {
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(0);
            if !page.is_power_of_two() {
                return;
            }
            PAGE_BYTES.store(page, Ordering::Relaxed);
            let before = BEFORE.0.get().cast::<libc::sigaction>();
            if libc::sigaction(libc::SIGBUS, ptr::null(), before) != 0 {
                return;
            }
            let mut ours: libc::sigaction = std::mem::zeroed();
            let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                handle;
            ours.sa_sigaction = handler as libc::sighandler_t;
            // On the stack for signals where the thread has one, as the handler of before may
            // want it.
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&raw mut ours.sa_mask);
            let is_on = libc::sigaction(libc::SIGBUS, &raw const ours, ptr::null_mut()) == 0;
            IS_ON.store(is_on, Ordering::Relaxed);
        }
    });
    IS_ON.load(Ordering::Relaxed)
}

/// Touches nothing but atomics, the page in question and two system calls that signal handlers
/// may make.
extern "C" fn handle(signal: libc::c_int, about: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes what it says of the signal; an address is part of it for SIGBUS.
    let (address, code) = unsafe { ((*about).si_addr().addr(), (*about).si_code) };
    let place = GUARDED.iter().find(|place| {
        let begin = place.begin.load(Ordering::Acquire);
        begin > 1 && (begin..place.end.load(Ordering::Relaxed)).contains(&address)
    });
    let is_gone = matches!(code, BUS_ADRERR | BUS_OBJERR);
    if let (true, Some(place)) = (is_gone, place)
        && replace_page(address)
    {
        place.is_spoiled.store(true, Ordering::Relaxed);
        return;
    }
    // SAFETY: written before this handler was installed.
    let before = unsafe { (*BEFORE.0.get()).assume_init_ref() };
    match before.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // The access fails again, and ends the process as it would without a guard.
            // SAFETY: a structure of zeros is the default; the set is made empty.
            unsafe {
                let mut default: libc::sigaction = std::mem::zeroed();
                libc::sigemptyset(&raw mut default.sa_mask);
                libc::sigaction(libc::SIGBUS, &raw const default, ptr::null_mut());
            }
        }
        handler if before.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: installed as a handler of this kind.
            let handler = unsafe {
                std::mem::transmute::<
                    libc::sighandler_t,
                    extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void),
                >(handler)
            };
            handler(signal, about, context);
        }
        handler => {
            // SAFETY: installed as a handler of this kind.
            let handler = unsafe {
                std::mem::transmute::<libc::sighandler_t, extern "C" fn(libc::c_int)>(handler)
            };
            handler(signal);
        }
    }
}

/// Puts a private page of ones where `address` is.
fn replace_page(address: usize) -> bool {
    let bytes = PAGE_BYTES.load(Ordering::Relaxed);
    let begin = ptr::without_provenance_mut::<libc::c_void>(address & !(bytes - 1));
    // SAFETY: the page is inside of a mapping of ours, which its owner sees as atomics only; what
    // was there cannot be read by anybody. `errno` is kept for the code that was interrupted.
    unsafe {
        let errno = libc::__errno_location();
        let kept = *errno;
        let page = libc::mmap(
            begin,
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
            -1,
            0,
        );
        *errno = kept;
        if page == libc::MAP_FAILED {
            return false;
        }
        // Another thread may write here already; the bytes mean nothing.
        ptr::write_bytes(page.cast::<u8>(), 0xff, bytes);
    }
    true
}

#[cfg(test)]
mod tests {
    use std::{fs::File, sync::atomic::AtomicU64};

    use super::*;
    use crate::store::map::Mapping;

    const BYTES: u64 = 4 << 20;

    fn mapped(file: &File) -> Mapping {
        file.set_len(BYTES).unwrap();
        Mapping::new(file, BYTES).unwrap()
    }

    fn read(mapping: &Mapping) -> u64 {
        mapping.at::<AtomicU64>(BYTES / 2).load(Ordering::Relaxed)
    }

    /// Runs `child` in a forked process and returns how it ended.
    fn status_of(child: impl FnOnce() -> libc::c_int) -> libc::c_int {
        // SAFETY: the child runs what is given to it and ends at once; waiting has memory for the
        // status.
        unsafe {
            let process = libc::fork();
            if process == 0 {
                libc::_exit(child());
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(process, &raw mut status, 0), process);
            status
        }
    }

    extern "C" fn exit_with_42(_: libc::c_int) {
        // SAFETY: ends the process.
        unsafe { libc::_exit(42) };
    }

    #[test]
    fn only_what_is_guarded_is_outlived_and_the_rest_goes_to_the_handler_of_before() {
        let (ours, others) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        for host_handles in [false, true] {
            let truncate_and_read = |guarded: bool, read_other: bool| {
                let handler: extern "C" fn(libc::c_int) = exit_with_42;
                let handler =
                    if host_handles { handler as libc::sighandler_t } else { libc::SIG_DFL };
                // SAFETY: a handler of the kind that `signal` installs.
                unsafe { libc::signal(libc::SIGBUS, handler) };
                let (mut mapping, other) = (mapped(&ours), mapped(&others));
                if guarded {
                    mapping.guard();
                }
                ours.set_len(0).unwrap();
                others.set_len(0).unwrap();
                if read_other {
                    read(&other);
                    return 1;
                }
                let is_well = read(&mapping) == u64::MAX && mapping.is_spoiled();
                libc::c_int::from(!is_well)
            };
            let outlived = status_of(|| truncate_and_read(true, false));
            assert!(libc::WIFEXITED(outlived) && libc::WEXITSTATUS(outlived) == 0, "{outlived:#x}");
            for (guarded, read_other) in [(false, false), (true, true)] {
                let status = status_of(|| truncate_and_read(guarded, read_other));
                let as_before = if host_handles {
                    libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 42
                } else {
                    libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGBUS
                };
                assert!(as_before, "{guarded} {read_other} {host_handles}: {status:#x}");
            }
        }
    }
}

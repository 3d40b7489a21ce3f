//! Sleeping until a word changes, by `futex(2)`.
#![allow(unsafe_code)]

use std::{ptr, sync::atomic::AtomicU32, time::Duration};

use crate::simulated;

/// Sleeps while `word` holds `value`, at most for `longest`. May wake for no reason.
pub(super) fn wait(word: &AtomicU32, value: u32, longest: Option<Duration>) {
    if simulated::wait(word, value, longest) {
        return;
    }
    let span = longest.map(|longest| libc::timespec {
        // A span too long to express is longer than anybody waits.
        tv_sec: libc::time_t::try_from(longest.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: longest.subsec_nanos().into(),
    });
    let span = span.as_ref().map_or(ptr::null(), ptr::from_ref);
    let operation = libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: `word` is valid for the call, `span` null or valid; nothing is written.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, span) };
}

/// Wakes one that sleeps on `word`.
pub(super) fn wake_one(word: &AtomicU32) {
    wake(word, 1);
}

/// Wakes all that sleep on `word`.
pub(super) fn wake_all(word: &AtomicU32) {
    wake(word, i32::MAX);
}

fn wake(word: &AtomicU32, count: i32) {
    let operation = libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG;
    // SAFETY: only the address of `word` is used.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, count) };
}

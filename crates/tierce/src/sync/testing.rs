//! Tests that need a process of their own, and children forked by it.

use std::{
    env,
    panic::{self, AssertUnwindSafe},
    process::Command,
};

use super::barrier;

/// Names the test that a child process is to run.
const ROLE: &str = "TIERCE_APART";
/// Set where the child is to go without the kernel's fence.
const REFUSED: &str = "TIERCE_APART_REFUSED";

/// Runs `body` in a process of its own, once with the kernel's fence and once without.
#[allow(unsafe_code)]
pub(crate) fn apart(module: &str, test: &str, body: fn()) {
    if env::var(ROLE).is_ok_and(|role| role == test) {
        if is_refused() {
            barrier::refuse();
        }
        // SAFETY: ends this process if it hangs.
        unsafe { libc::alarm(60) };
        return body();
    }
    let (_crate, module) = module.split_once("::").unwrap();
    for refused in [false, true] {
        let mut command = Command::new(env::current_exe().unwrap());
        let name = format!("{module}::{test}");
        command.args(["--exact", &name, "--nocapture", "--test-threads=1"]).env(ROLE, test);
        if refused {
            command.env(REFUSED, "1");
        }
        let output = command.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && text.contains("1 passed"),
            "refused: {refused}\n{text}\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Does this process go without the kernel's fence?
pub(crate) fn is_refused() -> bool {
    env::var_os(REFUSED).is_some()
}

/// What a forked child says.
#[allow(unsafe_code)]
pub(crate) fn fork(in_child: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs `in_child`, which uses our locks, atomics and the C library's
    // allocator, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: a child that hangs is ended by the signal.
        unsafe { libc::alarm(20) };
        let is_well = panic::catch_unwind(AssertUnwindSafe(in_child)).unwrap_or(false);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if is_well { 0 } else { 1 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made, with memory for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status == 0
}

/// Lets a forked child judge, and fails where it does.
pub(crate) fn forked(in_child: impl FnOnce() -> bool) {
    assert!(fork(in_child), "the child failed");
}

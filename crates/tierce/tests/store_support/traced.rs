//! A forked child that is run instruction by instruction and killed after so many.
// Each test file uses some of this.
#![allow(unsafe_code, dead_code)]

use std::sync::{Mutex, MutexGuard, PoisonError};

static FORKS: Mutex<()> = Mutex::new(());

/// Keeps other tests of this program from running: a child has the files of all of them open.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    FORKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a traced child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Killed before it was done.
    Killed,
    /// Done after so many steps.
    Done(u64),
}

/// What one step is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// One instruction.
    Instruction,
    /// To the next begin or end of a system call.
    SystemCall,
}

/// Forks, runs `work` in the child for at most `steps` steps, and kills it there.
///
/// # Panics
/// If the child cannot be traced, or ends otherwise than by returning from `work`.
pub(crate) fn run(step: Step, steps: u64, work: impl FnOnce()) -> End {
    // SAFETY: the child calls the store and the C library's allocator, which a fork leaves usable,
    // and ends by `_exit`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        // SAFETY: bare system calls; `work` does not return into the test harness.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(7);
            }
            libc::raise(libc::SIGSTOP);
            let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok();
            libc::_exit(if is_well { 0 } else { 8 });
        }
    }
    let wait = || {
        let mut status = 0;
        // SAFETY: waits for the child just made, with memory for its status.
        assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
        status
    };
    let status = wait();
    assert!(libc::WIFSTOPPED(status), "the child cannot be traced: status {status:#x}");
    let request = match step {
        Step::Instruction => libc::PTRACE_SINGLESTEP,
        Step::SystemCall => libc::PTRACE_SYSCALL,
    };
    for done in 0..steps {
        // SAFETY: the child is traced by this thread and stopped.
        assert_eq!(unsafe { libc::ptrace(request, child, 0, 0) }, 0);
        let status = wait();
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0, "the child failed");
            return End::Done(done);
        }
        let signal = if libc::WIFSTOPPED(status) { libc::WSTOPSIG(status) } else { 0 };
        assert_eq!(signal, libc::SIGTRAP, "step {done}: status {status:#x}");
    }
    // SAFETY: ends the child just made.
    unsafe { libc::kill(child, libc::SIGKILL) };
    assert!(libc::WIFSIGNALED(wait()));
    End::Killed
}

/// Forks, runs `work`, and returns the status that the child ended with, as `waitpid` tells it.
pub(crate) fn in_child(work: impl FnOnce() -> bool) -> i32 {
    // SAFETY: as in `run`.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "no fork");
    if child == 0 {
        let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(if matches!(is_well, Ok(true)) { 0 } else { 9 }) };
    }
    let mut status = 0;
    // SAFETY: waits for the child just made, with memory for its status.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    status
}

//! The calling thread: what a model answers by its own threads.

use std::thread;

/// An address that no other living thread has, and that is not null.
pub(crate) fn me() -> usize {
    thread_local! {
        static MARK: u8 = const { 0 };
    }
    MARK.with(|mark| std::ptr::from_ref(mark).addr())
}

/// Is a panic of this thread on its way?
pub(crate) fn is_unwinding() -> bool {
    thread::panicking()
}

//! Descriptors that forked children do not have.
#![allow(unsafe_code)]

use std::{
    mem::ManuallyDrop,
    ops::Deref,
    sync::atomic::{AtomicI32, Ordering},
};

use super::fork::{generation, section};

/// How many descriptors are kept back at a time: a listener for each guard, and few of those. Where
/// there are more, children have the further ones.
const MOST: usize = 64;
/// No descriptor.
const NONE: i32 = -1;

/// What a child closes before it does anything else.
static KEPT_BACK: [AtomicI32; MOST] = [const { AtomicI32::new(NONE) }; MOST];

/// A file or a socket that children of the process do not have. For what no thread uses that forks.
#[derive(Debug)]
pub(crate) struct KeptBack<T> {
    // Taken out by the drop alone.
    kept: ManuallyDrop<T>,
    fd: i32,
    generation: u32,
}

impl<T> KeptBack<T> {
    #[cfg(unix)]
    pub(crate) fn new(kept: T) -> Self
    where
        T: std::os::fd::AsRawFd,
    {
        let fd = kept.as_raw_fd();
        // First, as it has children do what is to be done there.
        let generation = generation();
        replace(NONE, fd);
        Self { kept: ManuallyDrop::new(kept), fd, generation }
    }

    /// Nothing forks here.
    #[cfg(not(unix))]
    pub(crate) fn new(kept: T) -> Self {
        Self { kept: ManuallyDrop::new(kept), fd: NONE, generation: generation() }
    }
}

fn replace(old: i32, new: i32) {
    let takes = |place: &&AtomicI32| {
        place.compare_exchange(old, new, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    };
    let _where_there_is_room = KEPT_BACK.iter().find(takes);
}

impl<T> Deref for KeptBack<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.kept
    }
}

impl<T> Drop for KeptBack<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            return; // It was closed here, and its number may be that of something else by now.
        }
        // No fork between the two.
        let _section = section();
        replace(self.fd, NONE);
        // SAFETY: dropped here alone, and not used afterwards.
        unsafe { ManuallyDrop::drop(&mut self.kept) }
    }
}

/// In a forked child: closes them. Touches atomics and makes calls that a handler may make.
#[cfg_attr(not(unix), allow(dead_code))]
pub(super) fn close_in_child() {
    for place in &KEPT_BACK {
        let fd = place.swap(NONE, Ordering::Relaxed);
        #[cfg(unix)]
        if fd != NONE {
            // SAFETY: a descriptor of this process, which the object that has it will not close.
            unsafe { libc::close(fd) };
        }
        #[cfg(not(unix))]
        let _ = fd;
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;
    use crate::sync::testing::{apart, forked};

    #[test]
    fn a_child_does_not_have_what_is_kept_back_and_the_parent_does() {
        let name = "a_child_does_not_have_what_is_kept_back_and_the_parent_does";
        apart(module_path!(), name, || {
            let socket = KeptBack::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let address = socket.local_addr().unwrap();
            let (mut theirs, ours) = std::io::pipe().unwrap();
            let (mut ready, says_ready) = std::io::pipe().unwrap();
            // A child that outlives the parent's socket.
            // SAFETY: as in `forked`: it waits, and ends by `_exit`.
            let child = unsafe { libc::fork() };
            if child == 0 {
                drop((ours, says_ready));
                let _ = theirs.read(&mut [0]);
                // SAFETY: ends the child at once.
                unsafe { libc::_exit(i32::from(socket.local_addr().is_ok())) };
            }
            drop(says_ready);
            assert_eq!(ready.read(&mut [0]).unwrap(), 0, "it is past its handlers");
            assert!(TcpStream::connect(address).is_ok());
            drop(socket);
            assert!(TcpStream::connect(address).is_err(), "the child listens no more than we do");
            TcpListener::bind(address).unwrap();
            drop(ours);
            let mut status = 0;
            // SAFETY: waits for the child just made, with memory for its status.
            assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
            assert_eq!(status, 0, "it was closed there");
            // What has the number afterwards is left alone.
            let kept = KeptBack::new(TcpListener::bind("127.0.0.1:0").unwrap());
            let mut kept = Some(kept);
            forked(|| {
                let other = TcpListener::bind("127.0.0.1:0").unwrap();
                drop(kept.take());
                other.local_addr().is_ok()
            });
        });
    }
}

//! A folder on a real FUSE file system: a page of it that is mapped can fail at any time, by a
//! signal, so no store is made there.
//!
//! The file system is this test: a folder, and nothing in it. Needs root and `/dev/fuse`; left out
//! where they are not had.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    ffi::CString,
    fs::{File, OpenOptions},
    io::{Read, Write},
    os::{fd::AsRawFd, unix::ffi::OsStrExt},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use store_support::*;
use tierce::{Clock, ErrorKind, Store, StoreOptions};

/// Operations of linux/fuse.h that a folder needs.
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const STATFS: u32 = 17;
const INIT: u32 = 26;
const INTERRUPT: u32 = 36;
/// MKNOD, MKDIR, OPEN, WRITE, CREATE, FALLOCATE: what nobody is to ask for.
const MAKING: [u32; 6] = [8, 9, 14, 16, 35, 43];

/// Bytes of a request's head, and of an answer's.
const IN_HEADER: usize = 40;
const OUT_HEADER: usize = 16;

/// Numbers of an answer, one after the other as in linux/fuse.h.
#[derive(Default)]
struct Answer(Vec<u8>);

impl Answer {
    fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }

    fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_ne_bytes());
        self
    }
}

/// What the file system says to a request, or the error.
fn answer(operation: u32, body: &[u8]) -> Result<Answer, i32> {
    let number = |at: usize| u32::from_ne_bytes(body[at..at + 4].try_into().unwrap());
    match operation {
        // The kernel's version; readahead, flags; requests at a time, largest write; times.
        INIT => {
            let versions = Answer::default().u32(number(0)).u32(number(4));
            let limits = versions.u32(number(8)).u32(0).u32(0).u32(4096).u32(1);
            Ok((0..9).fold(limits, |answer, _| answer.u32(0)))
        }
        // Valid for no time; then the attributes: a folder of root, for root alone.
        GETATTR => {
            let validity = Answer::default().u64(0).u32(0).u32(0);
            let size_and_times = validity.u64(1).u64(0).u64(0).u64(0).u64(0).u64(0);
            let nanos = size_and_times.u32(0).u32(0).u32(0);
            Ok(nanos.u32(libc::S_IFDIR | 0o700).u32(2).u32(0).u32(0).u32(0).u32(4096).u32(0))
        }
        // Blocks, free, available; files, free; block size, name length, fragment; the rest.
        STATFS => {
            let sizes = Answer::default().u64(1 << 30).u64(1 << 30).u64(1 << 30).u64(9).u64(9);
            Ok((0..8).fold(sizes.u32(4096).u32(255), |answer, _| answer.u32(0)))
        }
        LOOKUP => Err(libc::ENOENT),
        _ => Err(libc::ENOSYS),
    }
}

/// Serves until the file system is gone; counts the requests to make something.
fn serve(mut device: File, made: &AtomicU32) {
    let mut request = vec![0; 1 << 20];
    while let Ok(bytes) = device.read(&mut request) {
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let operation = word(4);
        if matches!(operation, FORGET | INTERRUPT) {
            continue;
        }
        let done = answer(operation, &request[IN_HEADER..bytes]);
        if MAKING.contains(&operation) {
            made.fetch_add(1, Ordering::SeqCst);
        }
        let (error, body) = match done {
            Ok(answer) => (0, answer.0),
            Err(error) => (error, Vec::new()),
        };
        let mut reply = ((OUT_HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        reply.extend_from_slice(&(-error).to_ne_bytes());
        reply.extend_from_slice(&request[8..16]);
        reply.extend_from_slice(&body);
        if device.write(&reply).is_err() {
            return;
        }
    }
}

/// Mounts the file system on `path`, in a mount namespace of this process's own.
fn mount(path: &Path, device: &File) -> bool {
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
    let options = CString::new(options).unwrap();
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let root = c"/".as_ptr();
    let private = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: bare system calls with null-terminated strings.
    unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(root, root, std::ptr::null(), private, std::ptr::null()) == 0
            && libc::mount(
                c"tierce-test".as_ptr(),
                path.as_ptr(),
                c"fuse".as_ptr(),
                libc::MS_NOSUID | libc::MS_NODEV,
                options.as_ptr().cast(),
            ) == 0
    }
}

#[test]
fn no_store_is_made_on_a_real_fuse_file_system() {
    let _alone = traced::alone();
    let folder = tempfile::tempdir().unwrap();
    let status = traced::in_child(|| {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse");
        let Some(device) = device.ok().filter(|device| mount(folder.path(), device)) else {
            println!("left out: no FUSE file system may be mounted");
            return true;
        };
        let made = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&made);
        thread::spawn(move || serve(device, &counted));
        let options = StoreOptions::new(folder.path()).max_bytes(4 << 20);
        for medium in MEDIA {
            let error = Store::open(&options.clone().medium(medium), Clock::system()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            assert!(error.to_string().contains("cannot lie on fuse"), "{error}");
        }
        assert_eq!(made.load(Ordering::SeqCst), 0, "the folder was looked at, and no more");
        true
    });
    assert_eq!(status, 0, "the child ended with status {status:#x}");
}

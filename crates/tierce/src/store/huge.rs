//! Huge pages for a store in memory.
//!
//! A get of a key at random touches three places of the mapping, and for each of them a processor
//! that knows pages of 4 KiB walks the page tables first: in a virtual machine those walks are a
//! third of the time of a get. A tmpfs is rarely set up to give huge pages of its own accord, but a
//! process may ask for them (`MADV_COLLAPSE`, Linux 6.1), also there. What is asked for while the
//! file is still empty is not copied: making a store of huge pages takes a fraction of the time
//! that its small pages take. All processes that map the file later see the same pages.
//!
//! A store is as good without: what the kernel does not give stays as it was, and the allocation
//! that follows fills it with small pages.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use crate::store::map::{HUGE_PAGE_BYTES, Mapping};

/// What is asked for at a time: long enough that what each call costs beside its pages does not
/// count, short enough that one that goes wrong is noticed.
const PIECE_BYTES: u64 = 32 << 20;

/// How long the asking may take, and how much longer for each so many bytes that were had: about
/// as long as small pages take. It takes less than half of that, unless the kernel has no huge
/// pages at hand and moves what is in use, or its host has to bring the memory.
const PATIENCE: Duration = Duration::from_secs(1);
const BYTES_PER_SECOND: u64 = 1 << 30;

/// Of `madvise`; not every C library names it.
const MADV_COLLAPSE: libc::c_int = 25;

/// Has the first `bytes` bytes of an empty file in memory lie in huge pages, as far as the kernel
/// gives them, and lengthens the file to that. Allocates nothing reliably.
///
/// # Errors
/// Where the file cannot have that length.
pub(super) fn ask(file: &File, bytes: u64) -> io::Result<()> {
    let whole = bytes / HUGE_PAGE_BYTES as u64 * HUGE_PAGE_BYTES as u64;
    if whole == 0 {
        return Ok(());
    }
    file.set_len(bytes)?;
    // Not a byte of it is touched: what is not allocated yet would raise a signal.
    let mapping = Mapping::new(file, bytes)?;
    let begin = Instant::now();
    let mut at = 0;
    // From the front, where the index is, which gains most.
    while at < whole && begin.elapsed() <= patience(at) {
        let piece = PIECE_BYTES.min(whole - at);
        if !(start_pages(file, at, piece) && collapse(&mapping, at, piece)) {
            break;
        }
        at += piece;
    }
    Ok(())
}

/// How long the asking may take after so many bytes were had.
fn patience(had: u64) -> Duration {
    PATIENCE + Duration::from_millis(had / (BYTES_PER_SECOND / 1000))
}

/// Allocates the first small page of each huge one: the kernel takes a range without any for one
/// that was cut off of the file.
fn start_pages(file: &File, at: u64, bytes: u64) -> bool {
    (at..at + bytes).step_by(HUGE_PAGE_BYTES).all(|at| {
        // SAFETY: an open descriptor; the call touches no memory of ours.
        unsafe { libc::fallocate(file.as_raw_fd(), 0, at as libc::off_t, 1) == 0 }
    })
}

/// Gathers a range of a mapping in huge pages; false where some of it could not be.
fn collapse(mapping: &Mapping, at: u64, bytes: u64) -> bool {
    let address = mapping.address(at as usize, bytes as usize);
    // SAFETY: a range inside the mapping, whose bytes stay as they are.
    unsafe { libc::madvise(address.as_ptr().cast(), bytes as usize, MADV_COLLAPSE) == 0 }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt, path::Path, sync::atomic::AtomicU64};

    use super::*;
    use crate::store::files;

    const BYTES: u64 = 5 << 20;

    /// What the system says of the memory of this process: kilobytes of shared huge pages.
    fn huge_kilobytes_of(mapping: &Mapping) -> u64 {
        let begin = mapping.address(0, 1).addr();
        let text = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = text.lines().skip_while(|line| !line.starts_with(&format!("{begin:x}-")));
        let line = lines.find_map(|line| line.strip_prefix("ShmemPmdMapped:"));
        line.unwrap().trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn a_file_that_was_asked_for_is_whole_and_empty() {
        for folder in ["/dev/shm", "/tmp"].into_iter().map(Path::new) {
            for bytes in [BYTES, HUGE_PAGE_BYTES as u64 - 4096] {
                let file = tempfile::tempfile_in(folder).unwrap();
                ask(&file, bytes).unwrap();
                files::allocate(&file, bytes).unwrap();
                let about = file.metadata().unwrap();
                assert_eq!(about.len(), bytes, "{}", folder.display());
                assert!(about.blocks() * 512 < bytes + 64 * 1024, "{}", folder.display());
                let mapping = Mapping::new(&file, bytes).unwrap();
                let words = mapping.slice::<AtomicU64>(0, bytes as usize / 8);
                let is_zero =
                    |word: &AtomicU64| word.load(std::sync::atomic::Ordering::Relaxed) == 0;
                assert!(words.iter().all(is_zero), "{}", folder.display());
            }
        }
    }

    #[test]
    fn pages_are_huge_where_the_kernel_gives_any() {
        let is_given = {
            let file = tempfile::tempfile_in("/dev/shm").unwrap();
            files::allocate(&file, BYTES).unwrap();
            collapse(&Mapping::new(&file, BYTES).unwrap(), 0, HUGE_PAGE_BYTES as u64)
        };
        let file = tempfile::tempfile_in("/dev/shm").unwrap();
        ask(&file, BYTES).unwrap();
        files::allocate(&file, BYTES).unwrap();
        let mapping = Mapping::new(&file, BYTES).unwrap();
        let words = mapping.slice::<AtomicU64>(0, BYTES as usize / 8);
        words[0].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        words[HUGE_PAGE_BYTES / 8].fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(huge_kilobytes_of(&mapping), if is_given { 4096 } else { 0 });
    }
}

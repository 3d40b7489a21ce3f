//! A file mapped into memory that other processes write at the same time.
//!
//! Nothing here hands out a reference to plain bytes: the mapping is seen only as atomics, so
//! that a write by another process at any moment is no data race in the sense of the language.
#![allow(unsafe_code)]

use std::{
    fs::File,
    io,
    os::fd::AsRawFd,
    ptr::NonNull,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
};

use crate::{prefetch, store::guard::Guard};

pub(super) const HUGE_PAGE_BYTES: usize = 2 << 20;
/// The largest page that this library knows of: what is cut off of a reservation is whole pages.
const PAGE_BYTES: usize = 64 << 10;

/// A shared mapping of the first `bytes` bytes of a file.
pub(super) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
    guard: Option<Guard>,
}

// SAFETY: the mapping is plain shared memory without a home thread, and `&Mapping` gives access
// to it by atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

/// Types that may be seen in shared memory.
///
/// # Safety
/// The type is `repr(C)`, consists of atomic integers alone and has no padding that matters: any
/// bytes are a valid value and any concurrent writes are atomic operations on the same fields.
pub(super) unsafe trait Shared {}

// SAFETY: an atomic integer.
unsafe impl Shared for AtomicU32 {}
// SAFETY: an atomic integer.
unsafe impl Shared for AtomicU64 {}

/// Declares a `repr(C)` struct of atomics and its [`Shared`] mark.
macro_rules! shared_struct {
    ($(#[$meta:meta])* $name:ident, $bytes:literal {
        $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
    }) => {
        $(#[$meta])*
        #[repr(C)]
        pub(super) struct $name { $($(#[$field_meta])* pub(super) $field: $type),* }
        const _: () = {
            const fn atomics_only<T: crate::store::map::Shared>() {}
            $(atomics_only::<$type>();)*
            assert!(size_of::<$name>() == $bytes);
        };
        // SAFETY: `repr(C)`, and the line above accepts only fields that are atomics themselves.
        #[allow(unsafe_code)]
        unsafe impl crate::store::map::Shared for $name {}
    };
}
pub(super) use shared_struct;

// SAFETY: an array of a shared type is that type, repeated.
unsafe impl<T: Shared, const N: usize> Shared for [T; N] {}

impl Mapping {
    /// Maps the first `bytes` bytes of `file`, which must be that long and really allocated.
    pub(super) fn new(file: &File, bytes: u64) -> io::Result<Self> {
        Self::with(file, bytes, libc::PROT_READ | libc::PROT_WRITE)
    }

    /// As [`new`](Self::new), for who only reads: with relaxed loads, which are what the language
    /// allows on memory that cannot be written.
    pub(super) fn for_reading(file: &File, bytes: u64) -> io::Result<Self> {
        Self::with(file, bytes, libc::PROT_READ)
    }

    fn with(file: &File, bytes: u64, protection: libc::c_int) -> io::Result<Self> {
        let bytes = usize::try_from(bytes)
            .ok()
            .filter(|bytes| *bytes > 0 && isize::try_from(*bytes).is_ok())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let place = huge_aligned(bytes);
        let fixed = if place.is_null() { 0 } else { libc::MAP_FIXED };
        // SAFETY: a null hint asks for a fresh address range; MAP_FIXED replaces only the range
        // that was reserved for it, which nobody else knows; the descriptor is open for the
        // duration of the call.
        let base = unsafe {
            libc::mmap(place, bytes, protection, libc::MAP_SHARED | fixed, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).ok_or_else(io::Error::last_os_error)?;
        let mapping = Self { base, bytes, guard: None };
        // SAFETY: the range is the mapping just made. Cached values have no place in core dumps;
        // a kernel that cannot exclude them changes nothing else.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_DONTDUMP) };
        Ok(mapping)
    }

    /// `count` values of `T` at byte `at`.
    ///
    /// # Panics
    /// Where the range is not inside the mapping or not aligned: callers compute it from the
    /// checked geometry or have bounded it.
    #[inline(always)]
    pub(super) fn slice<T: Shared>(&self, at: u64, count: usize) -> &[T] {
        let at = at as usize;
        let end = count.checked_mul(size_of::<T>()).and_then(|bytes| bytes.checked_add(at));
        assert!(
            end.is_some_and(|end| end <= self.bytes) && at.is_multiple_of(align_of::<T>()),
            "range inside the mapping"
        );
        // SAFETY:
        // 1. In bounds: just checked against the length of the mapping, which lives as long as
        //    `self`; the range cannot wrap, because the mapping did not.
        // 2. Aligned: `at` is a multiple of the alignment and the base is page-aligned.
        // 3. Initialised and valid: file bytes, and `Shared` types take any bytes.
        // 4. Aliasing: only shared references are made, and all fields are atomics, which other
        //    processes may write at any time.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(at).cast::<T>(), count) }
    }

    /// The `T` at byte `at`; panics as [`slice`](Self::slice).
    #[inline]
    pub(super) fn at<T: Shared>(&self, at: u64) -> &T {
        &self.slice::<T>(at, 1)[0]
    }

    /// Has the processor fetch `lines` cache lines from byte `at` on. Of no effect but on time.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: u64, lines: usize) {
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        for line in 0..lines {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

            let address = self.base.as_ptr().wrapping_add(at as usize + line * 64);
            // SAFETY: a prefetch takes any address, and what cannot be read is not fetched.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
        }
        #[cfg(not(all(target_arch = "x86_64", not(miri))))]
        let _ = (at, lines);
    }

    /// Has the processor take the cache line of byte `at` from others. Of no effect but on time.
    #[inline(always)]
    pub(super) fn prefetch_to_write(&self, at: u64) {
        prefetch::prefetch_to_write(self.base.as_ptr().wrapping_add(at as usize));
    }

    /// Has the mapping outlive the truncation of its file; false where the system does not allow
    /// it.
    pub(super) fn guard(&mut self) -> bool {
        self.guard = Guard::new(self.base.as_ptr().addr(), self.bytes);
        self.guard.is_some()
    }

    /// True where it has outlived one: what is read from it means nothing.
    #[inline]
    pub(super) fn is_spoiled(&self) -> bool {
        self.guard.as_ref().is_some_and(Guard::is_spoiled)
    }

    /// Makes the pages from byte `at` on present and writable, which is many times cheaper than a
    /// page fault for each; the range must begin and end at pages. False where that cannot be.
    pub(super) fn populate(&self, at: u64, bytes: u64) -> bool {
        let address = self.address(at as usize, bytes as usize);
        // SAFETY: a range inside the mapping, whose bytes stay as they are.
        unsafe {
            libc::madvise(address.as_ptr().cast(), bytes as usize, libc::MADV_POPULATE_WRITE) == 0
        }
    }

    /// The address of byte `at`, for [`super::lock`], which keeps mutexes there.
    pub(super) fn address(&self, at: usize, bytes: usize) -> NonNull<u8> {
        assert!(at.checked_add(bytes).is_some_and(|end| end <= self.bytes), "inside the mapping");
        // SAFETY: in bounds, just checked.
        unsafe { self.base.add(at) }
    }
}

/// Reserves `bytes` bytes of addresses that begin at a multiple of [`HUGE_PAGE_BYTES`], so that
/// the system can map a large file by huge pages where it is set up to; null where that is not
/// worth it or not possible.
fn huge_aligned(bytes: usize) -> *mut libc::c_void {
    let Some(more) = bytes.checked_add(HUGE_PAGE_BYTES).filter(|_| bytes >= HUGE_PAGE_BYTES) else {
        return std::ptr::null_mut();
    };
    // SAFETY: a fresh range of addresses without memory.
    let reserved = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            more,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if reserved == libc::MAP_FAILED {
        return std::ptr::null_mut();
    }
    let before = reserved.addr().next_multiple_of(HUGE_PAGE_BYTES) - reserved.addr();
    let end = (before + bytes).next_multiple_of(PAGE_BYTES).min(more);
    let place = reserved.wrapping_byte_add(before);
    // SAFETY: both ranges are inside of what was just reserved, and outside of what is returned;
    // a length of zero or an error leaves addresses reserved, which costs nothing.
    unsafe {
        libc::munmap(reserved, before);
        libc::munmap(reserved.wrapping_byte_add(end), more - end);
    }
    place
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: the range was mapped by `new` and no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// A fixed table of counters inside a mapping, read on the hottest path without a bounds check
/// that could fail: an index is cut to the table's length, a power of two.
#[derive(Clone, Copy)]
pub(super) struct Counters {
    base: NonNull<AtomicU32>,
    mask: u32,
}

// SAFETY: points into a `Mapping`, which is itself `Send` and `Sync`; see `Counters::new`.
unsafe impl Send for Counters {}
// SAFETY: as above.
unsafe impl Sync for Counters {}

impl Counters {
    /// The table of `count` (a power of two) counters at byte `at`.
    ///
    /// # Safety
    /// The mapping must outlive the table.
    pub(super) unsafe fn new(mapping: &Mapping, at: u64, count: u32) -> Self {
        assert!(count.is_power_of_two(), "a power of two");
        let slice = mapping.slice::<AtomicU32>(at, count as usize);
        Self { base: NonNull::from(&slice[0]), mask: count - 1 }
    }

    /// The counter at `index`, cut to the table.
    #[inline(always)]
    pub(super) fn at(&self, index: u32) -> &AtomicU32 {
        // SAFETY: `index & mask` is below the count that `new` checked against the mapping, and
        // the caller of `new` keeps the mapping alive.
        unsafe { self.base.add((index & self.mask) as usize).as_ref() }
    }

    /// Adds one and returns the new value; in one order with looks for a successor of the store.
    pub(super) fn raise(&self, index: u32) -> u32 {
        self.at(index).fetch_add(1, Ordering::SeqCst).wrapping_add(1)
    }
}

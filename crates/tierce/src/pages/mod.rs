//! Memory for large tables: zeroed, and the system's again when it is freed.
//!
//! What is large is apart from the rest, in large pages ([`arena`]). A general allocator zeroes memory that it uses again, by
//! which an insert that grows a shard would wait for a megabyte to be written; and what it freed
//! between other pieces it keeps, where a shard that grew by half a few times would leave as much
//! behind as it uses.

#![allow(unsafe_code)]

use std::{
    alloc::{Layout, alloc_zeroed, dealloc},
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

#[cfg(all(target_os = "linux", not(miri)))]
mod arena;

/// What is so large, or larger, is mapped: what is wasted of the last page is little then, and the
/// call, which takes some microseconds, rare.
const LEAST_MAPPED: usize = 128 << 10;

fn is_mapped(layout: Layout) -> bool {
    cfg!(all(target_os = "linux", not(miri))) && layout.size() >= LEAST_MAPPED
}

/// Zeroed memory, or nothing where it is short. The layout must not be of size zero, nor aligned
/// to more than a page.
pub(crate) fn allocate(layout: Layout) -> Option<NonNull<u8>> {
    assert!(layout.size() > 0 && layout.align() <= 4096, "{layout:?}");
    if is_mapped(layout) {
        return arena::allocate(layout.size());
    }
    // SAFETY: not of size zero, as just checked.
    NonNull::new(unsafe { alloc_zeroed(layout) })
}

/// Gives memory back.
///
/// # Safety
/// It came from [`allocate`] with this layout, and nobody uses it any more.
pub(crate) unsafe fn free(memory: NonNull<u8>, layout: Layout) {
    if is_mapped(layout) {
        // SAFETY: by the caller's word.
        unsafe { arena::free(memory, layout.size()) };
    } else {
        // SAFETY: allocated with this layout, by the caller's word.
        unsafe { dealloc(memory.as_ptr(), layout) };
    }
}

/// Plain data for which all zeros is a value.
///
/// # Safety
/// It is so, and there is nothing to drop.
pub(crate) unsafe trait Zero: Copy {}

// SAFETY: a number.
unsafe impl Zero for u32 {}

/// A table of a fixed length that begins as zeros.
pub(crate) struct Zeroed<T: Zero> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: it owns its elements, as a `Vec` does.
unsafe impl<T: Zero + Send> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: Zero + Sync> Sync for Zeroed<T> {}

impl<T: Zero> Zeroed<T> {
    /// So many zeros, or nothing where memory is short.
    pub(crate) fn new(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self::default());
        }
        let layout = Layout::array::<T>(len).ok()?;
        Some(Self { first: allocate(layout)?.cast(), len })
    }

    pub(crate) fn bytes(&self) -> usize {
        self.len * size_of::<T>()
    }
}

impl<T: Zero> Default for Zeroed<T> {
    fn default() -> Self {
        Self { first: NonNull::dangling(), len: 0 }
    }
}

impl<T: Zero> Deref for Zeroed<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: so many were allocated, or there are none; zeros are values, and who changed
        // them stored others.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.len) }
    }
}

impl<T: Zero> DerefMut for Zeroed<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`, and `&mut self` has them alone.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.len) }
    }
}

impl<T: Zero> Drop for Zeroed<T> {
    fn drop(&mut self) {
        if let (1.., Ok(layout)) = (self.len, Layout::array::<T>(self.len)) {
            // SAFETY: allocated in `new` with this layout.
            unsafe { free(self.first.cast(), layout) };
        }
    }
}

impl<T: Zero> fmt::Debug for Zeroed<T> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Zeroed({})", self.len)
    }
}

/// Without the system's mappings nothing is mapped.
#[cfg(not(all(target_os = "linux", not(miri))))]
mod arena {
    use std::ptr::NonNull;

    pub(super) fn allocate(_size: usize) -> Option<NonNull<u8>> {
        None
    }

    pub(super) unsafe fn free(_piece: NonNull<u8>, _size: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_every_size_is_zeroed_and_ours() {
        for size in [1, 64, LEAST_MAPPED - 1, LEAST_MAPPED, LEAST_MAPPED + 1, 3 << 20] {
            for _ in 0..3 {
                let layout = Layout::from_size_align(size, 64).unwrap();
                let memory = allocate(layout).unwrap();
                assert_eq!(memory.as_ptr() as usize % 64, 0);
                // SAFETY: as many bytes as were allocated, which nobody else has.
                let bytes = unsafe { std::slice::from_raw_parts_mut(memory.as_ptr(), size) };
                assert!(bytes.iter().all(|byte| *byte == 0), "{size}");
                bytes.fill(0xA5);
                // SAFETY: from `allocate`, with this layout, and not used any more.
                unsafe { free(memory, layout) };
            }
        }
        let too_large = Layout::from_size_align(isize::MAX as usize - 4096, 64).unwrap();
        assert_eq!(allocate(too_large), None);
    }
}

//! A value at a fixed place, for the handles of libraries that borrow what they belong to.

use std::ptr::NonNull;

/// A value on the heap that is only ever shared, and dropped with its keeper.
///
/// Not a `Box`: to move one would be to claim that nobody borrows what is in it.
pub(super) struct Kept<T>(NonNull<T>);

impl<T> Kept<T> {
    pub(super) fn new(value: T) -> Self {
        Self(NonNull::from(Box::leak(Box::new(value))))
    }

    /// The value, for as long as its keeper says.
    ///
    /// # Safety
    /// Nothing that is made of the reference may be used after the keeper is dropped.
    pub(super) unsafe fn borrow<'a>(&self) -> &'a T {
        // SAFETY: it came from a Box, is never borrowed mutably, and by the rule above the
        // reference ends before the drop below.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for Kept<T> {
    fn drop(&mut self) {
        // SAFETY: it was leaked from a Box in `new`, this is the only drop of it, and by the rule
        // of `borrow` nobody uses it any more.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

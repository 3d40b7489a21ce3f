//! Pointers that the caller's functions get back, kept as long as these may be called.
#![allow(unsafe_code)] // Calls the function that lets the pointer go; vouches for threads.

use std::ffi::c_void;

/// Lets go what `user` points to: called once, when no function will get it any more, on whatever
/// thread that turns out. NULL where there is nothing to let go.
///
/// \param user  as given with this function.
pub type tierce_drop_fn = Option<unsafe extern "C-unwind" fn(user: *mut c_void)>;

/// A pointer of the caller, and what is to be done when it is of no use any more.
pub(crate) struct User {
    user: *mut c_void,
    let_go: tierce_drop_fn,
}

impl User {
    pub(crate) fn new(user: *mut c_void, let_go: tierce_drop_fn) -> Self {
        Self { user, let_go }
    }

    pub(crate) fn get(&self) -> *mut c_void {
        self.user
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if let Some(let_go) = self.let_go {
            // SAFETY: a function of this type, called once with its pointer, by the words of the
            // header.
            unsafe { let_go(self.user) }
        }
    }
}

// SAFETY: the library does not look at what is there. The header says of each function that takes
// such a pointer which threads the functions that get it back are called on, and the caller's word
// is that this is fine.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

//! Views: a value, read in place and kept alive by a pin within the caller's own struct.
//!
//! The pin is the core's [`Bytes`] itself, moved into four words: taking one allocates nothing,
//! and a view may outlive the cache. The words are pointers, not numbers, so that what a `Bytes`
//! may point to travels with them when the struct is copied.
#![allow(unsafe_code)] // Moves a value into and out of opaque words.

use std::{
    ffi::c_void,
    mem::{MaybeUninit, align_of, offset_of, size_of},
    ptr,
    time::Duration,
};

use tierce::{Answer, Bytes, Origin, TierKind};

use crate::{guard::guard, slice, status::TIERCE_OK};

/// The value came from no cache: a text made for the caller.
pub const TIERCE_FROM_NOWHERE: u32 = 0;
/// The value came from L1, the memory of this process.
pub const TIERCE_FROM_L1: u32 = 1;
/// The value came from L2, the store that all processes of this host share.
pub const TIERCE_FROM_L2: u32 = 2;
/// The value came from L3, Redis or Valkey.
pub const TIERCE_FROM_L3: u32 = 3;
/// The loader of this call made the value.
pub const TIERCE_FROM_LOADER: u32 = 4;
/// The loader of another thread made the value, while this call waited for it.
pub const TIERCE_FROM_OTHER_LOADER: u32 = 5;

/// The value's time to live is over: it is served because the call allows that.
pub const TIERCE_VIEW_STALE: u32 = 1;

/// A value, read in place. Owned by the caller; the functions that fill it in overwrite what it
/// held, so release a view before its next use.
#[repr(C)]
pub struct tierce_view_t {
    /// The bytes; nobody writes to them before the release. NULL where `len` is 0.
    pub data: *const c_void,
    /// How many.
    pub len: usize,
    /// Keeps the bytes alive. Not to be touched; a copy of the struct is not a second pin.
    pub pin: [*const c_void; 4],
    /// One of the TIERCE_FROM_ numbers.
    pub origin: u32,
    /// TIERCE_VIEW_STALE or zero. Other bits may come to mean something.
    pub flags: u32,
    /// Milliseconds since the value was set or its load began; below zero where that is not known.
    pub age_ms: i64,
}

const _: () = {
    assert!(size_of::<Bytes>() == size_of::<[*const c_void; 4]>());
    assert!(align_of::<Bytes>() == align_of::<[*const c_void; 4]>());
    assert!(size_of::<tierce_view_t>() == 6 * size_of::<usize>() + 16);
    assert!(offset_of!(tierce_view_t, data) == 0);
    assert!(offset_of!(tierce_view_t, len) == size_of::<usize>());
    assert!(offset_of!(tierce_view_t, pin) == 2 * size_of::<usize>());
    assert!(offset_of!(tierce_view_t, origin) == 6 * size_of::<usize>());
    assert!(offset_of!(tierce_view_t, flags) == 6 * size_of::<usize>() + 4);
    assert!(offset_of!(tierce_view_t, age_ms) == 6 * size_of::<usize>() + 8);
};

impl tierce_view_t {
    /// A view of nothing: releasing it does nothing.
    pub(crate) const NONE: Self =
        Self { data: ptr::null(), len: 0, pin: [ptr::null(); 4], origin: 0, flags: 0, age_ms: 0 };

    pub(crate) fn of(value: Bytes, origin: u32) -> Self {
        let (data, len) = (value.as_ptr().cast(), value.len());
        let mut view =
            Self { data: if len == 0 { ptr::null() } else { data }, len, origin, ..Self::NONE };
        // SAFETY:
        // 1. `pin` has the size and alignment of a `Bytes`: asserted above.
        // 2. The value moves: `write` does not drop the zeros, and nobody else keeps `value`.
        unsafe { (&raw mut view.pin).cast::<Bytes>().write(value) };
        view
    }

    /// Takes the pin out, if there is one, and leaves a view of nothing.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        let mut view = std::mem::replace(self, Self::NONE);
        if view.pin == Self::NONE.pin {
            return None;
        }
        // SAFETY:
        // 1. `of` put a `Bytes` there: the words are not zero, and the header forbids to touch
        //    them.
        // 2. It moves out once: `self` holds zeros now, and `view` is not looked at again.
        Some(unsafe { (&raw mut view.pin).cast::<Bytes>().read() })
    }
}

/// Gives back what keeps a view's bytes alive, and zeroes the struct.
///
/// \param view  owned by the caller; NULL and a view of zeros are fine, so a second release of the
///              same struct is harmless. Also fine after tierce_close(). A copy of a released
///              struct must not be released.
///              Threads: any, also another than the one that got it; once.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_view_release(view: *mut tierce_view_t) {
    if view.is_null() {
        return;
    }
    guard(|| {
        // SAFETY: a view that this library filled in or zeros, of which nobody else makes use, by
        // the words of the header.
        let view = unsafe { slice::out(view, "view")?.assume_init_mut() };
        drop(view.take());
        Ok(TIERCE_OK)
    });
}

/// Borrows the place for a view and zeroes it: whatever the call ends with, releasing it is fine.
///
/// # Safety
/// As [`slice::out`].
pub(crate) unsafe fn place<'a>(
    view: *mut tierce_view_t,
) -> Result<&'a mut tierce_view_t, crate::failure::Failure> {
    // SAFETY: the caller's promise is the same.
    let view: &mut MaybeUninit<tierce_view_t> = unsafe { slice::out(view, "out") }?;
    Ok(view.write(tierce_view_t::NONE))
}

pub(crate) fn of_answer(answer: Answer<Bytes>) -> tierce_view_t {
    let about = about(answer.origin, answer.is_stale, answer.age);
    of_value(answer.value, about)
}

/// A view of nothing that says where its value came from and how old it is.
pub(crate) fn about(origin: Origin, is_stale: bool, age: Option<Duration>) -> tierce_view_t {
    let origin = match origin {
        Origin::Tier(TierKind::Memory) => TIERCE_FROM_L1,
        Origin::Tier(TierKind::Shared) => TIERCE_FROM_L2,
        Origin::Tier(TierKind::Redis) => TIERCE_FROM_L3,
        Origin::Loaded => TIERCE_FROM_LOADER,
        Origin::Joined => TIERCE_FROM_OTHER_LOADER,
    };
    let flags = if is_stale { TIERCE_VIEW_STALE } else { 0 };
    let age_ms = age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
    tierce_view_t { origin, flags, age_ms, ..tierce_view_t::NONE }
}

pub(crate) fn of_value(value: Bytes, about: tierce_view_t) -> tierce_view_t {
    let tierce_view_t { origin, flags, age_ms, .. } = about;
    tierce_view_t { flags, age_ms, ..tierce_view_t::of(value, origin) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    struct Counted {
        value: Vec<u8>,
        _alive: Arc<()>,
    }

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.value
        }
    }

    #[test]
    fn a_view_pins_its_bytes_until_the_first_release() {
        let alive = Arc::new(());
        for value in [
            Bytes::from_owner(Counted { value: vec![1, 2, 3], _alive: Arc::clone(&alive) }),
            Bytes::from(vec![1, 2, 3]),
            Bytes::from_static(&[1, 2, 3]),
            Bytes::from(vec![0, 1, 2, 3]).slice(1..),
        ] {
            let mut view = tierce_view_t::of(value, TIERCE_FROM_L1);
            // SAFETY: the view is not released yet.
            let seen = unsafe { std::slice::from_raw_parts(view.data.cast::<u8>(), view.len) };
            assert_eq!(seen, [1, 2, 3]);
            // SAFETY: a view of ours, twice the same struct.
            unsafe {
                tierce_view_release(&raw mut view);
                assert!(
                    view.data.is_null() && view.len == 0 && view.pin == tierce_view_t::NONE.pin
                );
                tierce_view_release(&raw mut view);
            }
        }
        assert_eq!(Arc::strong_count(&alive), 1);
    }

    #[test]
    fn an_empty_value_has_a_pin_and_no_data() {
        let mut view = tierce_view_t::of(Bytes::new(), TIERCE_FROM_L2);
        assert!(view.data.is_null() && view.pin != tierce_view_t::NONE.pin);
        assert_eq!(view.take(), Some(Bytes::new()));
        assert_eq!(view.take(), None);
    }
}

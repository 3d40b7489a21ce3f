//! What is changed by its tags, whatever its keys are.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_void;

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    slice,
    status::{TIERCE_OK, tierce_status_t},
};

/// Borrows `count` tags.
///
/// # Safety
/// Pointers that are not NULL point to `count` pointers and lengths, and those to as many bytes,
/// that are not written to while the slices live.
pub(crate) unsafe fn borrow<'a>(
    tags: *const *const c_void,
    tag_lens: *const usize,
    count: usize,
) -> Result<Vec<&'a [u8]>, Failure> {
    // SAFETY: passed on to the caller.
    unsafe { borrow_named(tags, tag_lens, count, ["tags", "tag_lens", "tag"]) }
}

/// Borrows `count` texts, of which errors speak by these names: of the pointers, of the lengths, of
/// one of them.
///
/// # Safety
/// As [`borrow`].
pub(crate) unsafe fn borrow_named<'a>(
    texts: *const *const c_void,
    lengths: *const usize,
    count: usize,
    [of_texts, of_lengths, of_one]: [&'static str; 3],
) -> Result<Vec<&'a [u8]>, Failure> {
    // SAFETY: `count` pointers and `count` lengths: the caller's promise.
    let (texts, lengths) = unsafe {
        (slice::items(texts, count, of_texts)?, slice::items(lengths, count, of_lengths)?)
    };
    let texts = texts.iter().zip(lengths).map(|(text, length)| {
        // SAFETY: `length` bytes at `text`: the caller's promise.
        unsafe { slice::bytes(*text, *length, of_one) }
    });
    texts.collect()
}

/// Removes all that bears one of these tags from all tiers, as tierce_delete() of each key would.
///
/// Costs as much as one tierce_delete(), however much bears them. What was looked for or loaded
/// before is not served any more, also where a loader names the tag later.
///
/// \param cache     borrowed, not NULL.
/// \param tags      borrowed for the call: `count` pointers to tags, each NULL only when its length
///                  is 0. NULL only when `count` is 0.
/// \param tag_lens  borrowed for the call: the bytes of each tag. NULL only when `count` is 0.
/// \param count     how many tags.
/// \return TIERCE_OK whether anything bore them or not; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_remove_tags(
    cache: *const tierce_t,
    tags: *const *const c_void,
    tag_lens: *const usize,
    count: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `count` tags, by the words of the header.
        let tags = unsafe { borrow(tags, tag_lens, count) }?;
        handle::find(cache)?.remove_tags(tags)?;
        Ok(TIERCE_OK)
    })
}

/// Makes all that bears one of these tags stale, as tierce_expire() of each key would; what has no
/// stale window is gone. A window counts from the first look at the entry.
///
/// \param cache     borrowed, not NULL.
/// \param tags      borrowed for the call, as for tierce_remove_tags().
/// \param tag_lens  borrowed for the call, as there.
/// \param count     how many tags.
/// \return as tierce_remove_tags(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_expire_tags(
    cache: *const tierce_t,
    tags: *const *const c_void,
    tag_lens: *const usize,
    count: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `count` tags, by the words of the header.
        let tags = unsafe { borrow(tags, tag_lens, count) }?;
        handle::find(cache)?.expire_tags(tags)?;
        Ok(TIERCE_OK)
    })
}

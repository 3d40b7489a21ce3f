//! What is changed by what its key begins with.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_void;

use crate::{
    guard::guard,
    handle,
    open::tierce_t,
    status::{TIERCE_OK, tierce_status_t},
    tags,
};

/// Removes all whose keys begin with one of these prefixes from all tiers, as tierce_delete() of
/// each key would.
///
/// Costs as much as one tierce_delete(), however many they are. What was looked for or loaded before
/// is not served any more. The cache must have been opened with "invalidation.prefix_delimiter";
/// each prefix ends in that, and has eight of them at most.
///
/// \param cache        borrowed, not NULL.
/// \param prefixes     borrowed for the call: `count` pointers to prefixes. NULL only when `count`
///                     is 0.
/// \param prefix_lens  borrowed for the call: the bytes of each prefix. NULL only when `count` is 0.
/// \param count        how many prefixes.
/// \return TIERCE_OK whether there were such keys or not; TIERCE_E_CONFIG for a prefix that cannot be
///         removed so, and nothing is then; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_remove_prefixes(
    cache: *const tierce_t,
    prefixes: *const *const c_void,
    prefix_lens: *const usize,
    count: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `count` prefixes, by the words of the header.
        let prefixes = unsafe { tags::borrow_named(prefixes, prefix_lens, count, NAMES) }?;
        handle::find(cache)?.remove_prefixes(prefixes)?;
        Ok(TIERCE_OK)
    })
}

/// Makes all stale whose keys begin with one of these prefixes, as tierce_expire() of each key would;
/// what has no stale window is gone. A window counts from the first look at the entry.
///
/// \param cache        borrowed, not NULL.
/// \param prefixes     borrowed for the call, as for tierce_remove_prefixes().
/// \param prefix_lens  borrowed for the call, as there.
/// \param count        how many prefixes.
/// \return as tierce_remove_prefixes(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_expire_prefixes(
    cache: *const tierce_t,
    prefixes: *const *const c_void,
    prefix_lens: *const usize,
    count: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `count` prefixes, by the words of the header.
        let prefixes = unsafe { tags::borrow_named(prefixes, prefix_lens, count, NAMES) }?;
        handle::find(cache)?.expire_prefixes(prefixes)?;
        Ok(TIERCE_OK)
    })
}

/// As the header calls what is borrowed.
const NAMES: [&str; 3] = ["prefixes", "prefix_lens", "prefix"];

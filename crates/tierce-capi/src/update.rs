//! Changes that depend on what is there: one step for all processes and hosts that share the key.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_void;

use tierce::{Bytes, Version};

use crate::{
    change::copy,
    guard::guard,
    handle,
    open::tierce_t,
    options::tierce_set_opts_t,
    registry::Registry,
    slice,
    status::{TIERCE_MISS, TIERCE_OK, TIERCE_OTHERWISE, tierce_status_t},
    view::{self, tierce_view_t},
};

/// What a key had when it was looked at. Made by tierce_get_versioned(), given back by
/// tierce_revision_release().
///
/// Not a pointer to anything: the library recognises its handles, and answers one that was given
/// back with a code.
pub struct tierce_revision_t {
    _opaque: (),
}

static REVISIONS: Registry<tierce_revision_t, Version> = Registry::new("revision", 0b1101);

/// Looks `key` up in the tier that decides about it, for tierce_compare_and_set().
///
/// That is the lowest tier in force, which all who use the key share: a round trip where it is L3,
/// a look into the store where it is L2.
///
/// \param cache     borrowed, not NULL.
/// \param key       borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len   bytes of `key`, at most 64 KiB.
/// \param out       receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                  every other answer.
/// \param revision  receives a handle on TIERCE_OK and TIERCE_MISS, give it to
///                  tierce_revision_release(); NULL on every other answer.
/// \return TIERCE_OK; TIERCE_MISS where there is no value or a stale one; TIERCE_E_NETWORK (L3) or
///         TIERCE_E_IO (L2) where that tier does not answer; TIERCE_E_TOO_LARGE; TIERCE_E_CLOSED;
///         TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_versioned(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
    revision: *mut *mut tierce_revision_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a view, by the words of the header.
        let out = unsafe { view::place(out) }?;
        // SAFETY: a place for a pointer, by the words of the header.
        let revision = unsafe { slice::out(revision, "revision") }?.write(std::ptr::null_mut());
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        let (value, version) = handle::find(cache)?.get_versioned(key)?;
        *revision = REVISIONS.put(version);
        let Some(value) = value else { return Ok(TIERCE_MISS) };
        *out = tierce_view_t::of(value, view::TIERCE_FROM_NOWHERE);
        Ok(TIERCE_OK)
    })
}

/// Gives back what tierce_get_versioned() made.
///
/// \param revision  a handle; NULL is fine.
/// \return TIERCE_OK, TIERCE_E_ARG for what is no handle or was given back. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_revision_release(revision: *mut tierce_revision_t) -> tierce_status_t {
    guard(|| {
        if !revision.is_null() {
            REVISIONS.take(revision)?;
        }
        Ok(TIERCE_OK)
    })
}

/// Sets `key` as tierce_set() does, if what it had when `revision` was made is still there.
///
/// One step for all threads, processes and hosts that share the key; the revision stays good for
/// another call. Costs as tierce_get_versioned().
///
/// \param cache      borrowed, not NULL.
/// \param key        borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len    bytes of `key`, at most 64 KiB.
/// \param revision   borrowed: of this key.
/// \param value      borrowed for the call; NULL only when `value_len` is 0.
/// \param value_len  bytes of `value`.
/// \param opts       borrowed for the call; NULL for the defaults.
/// \return TIERCE_OK; TIERCE_OTHERWISE where somebody changed the key: nothing was set;
///         TIERCE_E_BUSY where a lock of L2 was not free in time; TIERCE_E_NETWORK or TIERCE_E_IO
///         where the tier that decides does not answer: then the value may have been set or not,
///         and nobody is served what was there before; else as tierce_set(), and TIERCE_E_CONFIG
///         for TIERCE_TTL_KEEP_NOTHING. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_compare_and_set(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    revision: *const tierce_revision_t,
    value: *const c_void,
    value_len: usize,
    opts: *const tierce_set_opts_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        // SAFETY: `value_len` bytes at `value`, by the words of the header.
        let value = unsafe { slice::bytes(value, value_len, "value") }?;
        // SAFETY: a struct of the size that it says and what it points to, by the words of the
        // header.
        let options = unsafe { slice::options(opts, "opts")?.to_core() }?;
        let version = REVISIONS.find(revision)?;
        let cache = handle::find(cache)?;
        let is_set = cache.compare_and_set(key, &version, Bytes::from(copy(value)?), &options)?;
        Ok(if is_set { TIERCE_OK } else { TIERCE_OTHERWISE })
    })
}

/// Sets `key` as tierce_set() does, if it has no value or a stale one.
///
/// One step for all threads, processes and hosts that share the key. Costs as
/// tierce_get_versioned().
///
/// \param cache      borrowed, not NULL.
/// \param key        borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len    bytes of `key`, at most 64 KiB.
/// \param value      borrowed for the call; NULL only when `value_len` is 0.
/// \param value_len  bytes of `value`.
/// \param opts       borrowed for the call; NULL for the defaults.
/// \return TIERCE_OK; TIERCE_OTHERWISE where it has a value: nothing was set; else as
///         tierce_compare_and_set(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_set_if_absent(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    value: *const c_void,
    value_len: usize,
    opts: *const tierce_set_opts_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        // SAFETY: `value_len` bytes at `value`, by the words of the header.
        let value = unsafe { slice::bytes(value, value_len, "value") }?;
        // SAFETY: a struct of the size that it says and what it points to, by the words of the
        // header.
        let options = unsafe { slice::options(opts, "opts")?.to_core() }?;
        let cache = handle::find(cache)?;
        let is_set = cache.set_if_absent(key, Bytes::from(copy(value)?), &options)?;
        Ok(if is_set { TIERCE_OK } else { TIERCE_OTHERWISE })
    })
}

/// Adds `delta` to the number that `key` has, written in decimal digits, and tells the sum.
///
/// One step for all threads, processes and hosts that share the key. A key without a value counts
/// as 0; a number keeps what remains of its time to live. Costs as tierce_get_versioned().
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`, at most 64 KiB.
/// \param delta    what is added; below zero subtracts.
/// \param sum      receives the sum on TIERCE_OK; NULL where it is not wanted.
/// \return TIERCE_OK; TIERCE_E_CODEC where the value is no whole number of 64 bits or the sum is
///         none: the value stays as it was; else as tierce_compare_and_set(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_increment(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    delta: i64,
    sum: *mut i64,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        let place = if sum.is_null() {
            None
        } else {
            // SAFETY: a place for a number, by the words of the header.
            Some(unsafe { slice::out(sum, "sum") }?)
        };
        let total = handle::find(cache)?.increment(key, delta)?;
        if let Some(place) = place {
            place.write(total);
        }
        Ok(TIERCE_OK)
    })
}

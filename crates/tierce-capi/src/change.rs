//! How entries are set and removed.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_void;

use tierce::Bytes;

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    options::{self, tierce_set_opts_t},
    slice,
    status::{TIERCE_MISS, TIERCE_OK, TIERCE_OTHERWISE, tierce_status_t},
};

/// Puts a copy of `value` under `key` into all tiers.
///
/// When it returns, no read in any process of this host finds an older value. A tier that cannot
/// take the change is not asked for this key again until it could.
///
/// \param cache      borrowed, not NULL.
/// \param key        borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len    bytes of `key`, at most 64 KiB.
/// \param value      borrowed for the call; NULL only when `value_len` is 0.
/// \param value_len  bytes of `value`.
/// \param opts       borrowed for the call; NULL for the defaults.
/// \return TIERCE_OK, TIERCE_E_TOO_LARGE for the key, TIERCE_E_CLOSED, TIERCE_E_NOMEM,
///         TIERCE_E_CONFIG for more than 128 tags, TIERCE_E_VERSION for options that this library does not know, TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_set(
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
        cache.set_with(key, Bytes::from(copy(value)?), &options)?;
        Ok(TIERCE_OK)
    })
}

/// A value of our own.
pub(crate) fn copy(value: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(value.len()).map_err(|_| Failure::no_memory(value.len()))?;
    copy.extend_from_slice(value);
    Ok(copy)
}

/// Removes `key` from all tiers. A load under way does not bring it back.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`.
/// \return TIERCE_OK whether the key was there or not, TIERCE_E_CLOSED, TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_delete(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        handle::find(cache)?.delete(key)?;
        Ok(TIERCE_OK)
    })
}

/// Removes many keys from all tiers, each as tierce_delete() does.
///
/// \param cache     borrowed, not NULL.
/// \param keys      borrowed for the call: `count` pointers to keys, each NULL only when its length
///                  is 0. NULL only when `count` is 0.
/// \param key_lens  borrowed for the call: the bytes of each key. NULL only when `count` is 0.
/// \param count     how many keys.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_delete_many(
    cache: *const tierce_t,
    keys: *const *const c_void,
    key_lens: *const usize,
    count: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `count` pointers and `count` lengths, by the words of the header.
        let (keys, lengths) = unsafe {
            (slice::items(keys, count, "keys")?, slice::items(key_lens, count, "key_lens")?)
        };
        let keys = keys.iter().zip(lengths).map(|(key, length)| {
            // SAFETY: `length` bytes at `key`, by the words of the header.
            unsafe { slice::bytes(*key, *length, "key") }
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        handle::find(cache)?.delete_many(&keys)?;
        Ok(TIERCE_OK)
    })
}

/// Ends the time to live of what `key` has, in all tiers: from now on it is stale.
///
/// It is served where its stale window allows, and replaced by the next load; where it has none it
/// is gone. A load under way does not make the key fresh: it began before.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`.
/// \return TIERCE_OK whether the key was there or not, TIERCE_E_CLOSED, TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_expire(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        handle::find(cache)?.expire(key)?;
        Ok(TIERCE_OK)
    })
}

/// Has what `key` has be fresh for `ttl_ms` from now on, in all tiers and without sending it.
///
/// How long it may be served as stale after that stays, and so does its age. When it returns, no
/// process of this host serves the value for longer.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`.
/// \param ttl_ms   milliseconds above zero, or TIERCE_TTL_FOREVER.
/// \return TIERCE_OK; TIERCE_MISS where there was no fresh value; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_touch(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    ttl_ms: i64,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        let ttl = options::ttl(ttl_ms)?.filter(|ttl| !ttl.is_zero()).ok_or_else(|| {
            Failure::argument(format!(
                "ttl_ms = {ttl_ms}: must be above zero or TIERCE_TTL_FOREVER"
            ))
        })?;
        let was_there = handle::find(cache)?.touch(key, ttl)?;
        Ok(if was_there { TIERCE_OK } else { TIERCE_MISS })
    })
}

/// Removes all entries of this cache from all tiers, for all processes and hosts that share them.
///
/// \param cache  borrowed, not NULL.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_clear(cache: *const tierce_t) -> tierce_status_t {
    guard(|| {
        handle::find(cache)?.clear()?;
        Ok(TIERCE_OK)
    })
}

/// Sends L3 what was set behind it until now (`redis.write` is `behind`), for `redis.flush_timeout` at
/// most; at once where nothing waits. tierce_close() does the same.
///
/// \param cache  borrowed, not NULL.
/// \return TIERCE_OK; TIERCE_OTHERWISE where some of it goes on waiting; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_flush(cache: *const tierce_t) -> tierce_status_t {
    guard(|| Ok(if handle::find(cache)?.flush()? { TIERCE_OK } else { TIERCE_OTHERWISE }))
}

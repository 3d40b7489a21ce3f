//! How a value is found.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_void;

use crate::{
    guard::guard,
    handle,
    open::tierce_t,
    options::tierce_read_opts_t,
    slice,
    status::{TIERCE_MISS, TIERCE_OK, TIERCE_TRUNCATED, tierce_status_t},
    view::{self, tierce_view_t},
};

/// Looks `key` up in every tier, fastest first, and pins the value.
///
/// A tier that fails is a miss there, counted in the statistics: this call never fails because a
/// tier does.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`. A key above 64 KiB is never found.
/// \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                 every other answer.
/// \return TIERCE_OK, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a view, by the words of the header.
        let out = unsafe { view::place(out) }?;
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        let Some(answer) = handle::find(cache)?.get_entry(key) else {
            return Ok(TIERCE_MISS);
        };
        *out = view::of_answer(answer);
        Ok(TIERCE_OK)
    })
}

/// Looks `key` up as tierce_get() does, for callers that accept stale values, or only young ones.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`. A key above 64 KiB is never found.
/// \param opts     borrowed for the call; NULL for the defaults.
/// \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                 every other answer. Its `flags` and `age_ms` say what it is.
/// \return TIERCE_OK, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_VERSION for options that this library
///         does not know, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_with(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    opts: *const tierce_read_opts_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a view, by the words of the header.
        let out = unsafe { view::place(out) }?;
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        // SAFETY: a struct of the size that it says and what it points to, by the words of the
        // header.
        let options = unsafe { slice::options(opts, "opts")?.to_core() }?;
        let Some(answer) = handle::find(cache)?.get_with(key, &options) else {
            return Ok(TIERCE_MISS);
        };
        *out = view::of_answer(answer);
        Ok(TIERCE_OK)
    })
}

/// Looks many keys up at once, each as tierce_get() does, and pins the values.
///
/// L1 is asked for all keys together, and what L1 and L2 lack is fetched from L3 in one round trip;
/// large values may take several. The values are not those of one moment.
///
/// \param cache     borrowed, not NULL.
/// \param keys      borrowed for the call: `count` pointers to keys, each NULL only when its length
///                  is 0. NULL only when `count` is 0. A key may be there more than once.
/// \param key_lens  borrowed for the call: the bytes of each key. NULL only when `count` is 0.
/// \param count     how many keys.
/// \param out       `count` views, NULL only when `count` is 0. Each receives the value of its key,
///                  give it to tierce_view_release(); or zeros, with the origin TIERCE_FROM_NOWHERE,
///                  where no tier has the key, and all of them on TIERCE_E_CLOSED.
/// \param found     receives how many keys have a value on TIERCE_OK; may be NULL.
/// \return TIERCE_OK also where no key has a value, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_many(
    cache: *const tierce_t,
    keys: *const *const c_void,
    key_lens: *const usize,
    count: usize,
    out: *mut tierce_view_t,
    found: *mut usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: places for `count` views, by the words of the header.
        let views = unsafe { slice::places(out, count, "out") }?;
        views.iter_mut().for_each(|view| _ = view.write(tierce_view_t::NONE));
        // SAFETY: `count` pointers and `count` lengths, by the words of the header.
        let (keys, lengths) = unsafe {
            (slice::items(keys, count, "keys")?, slice::items(key_lens, count, "key_lens")?)
        };
        let keys = keys.iter().zip(lengths).map(|(key, length)| {
            // SAFETY: `length` bytes at `key`, by the words of the header.
            unsafe { slice::bytes(*key, *length, "key") }
        });
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let mut with_value = 0;
        for (view, answer) in views.iter_mut().zip(handle::find(cache)?.get_many_entries(&keys)) {
            if let Some(answer) = answer {
                view.write(view::of_answer(answer));
                with_value += 1;
            }
        }
        if !found.is_null() {
            // SAFETY: a place for a number, by the words of the header.
            unsafe { slice::out(found, "found") }?.write(with_value);
        }
        Ok(TIERCE_OK)
    })
}

/// Looks `key` up as tierce_get() does and copies the value, as much as fits.
///
/// \param cache     borrowed, not NULL.
/// \param key       borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len   bytes of `key`.
/// \param buffer    owned by the caller; NULL only when `capacity` is 0.
/// \param capacity  bytes that fit into `buffer`.
/// \param len       receives the length of the whole value on TIERCE_OK and TIERCE_TRUNCATED, 0 on
///                  TIERCE_MISS; not NULL.
/// \return TIERCE_OK, TIERCE_TRUNCATED, TIERCE_MISS, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_copy(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    buffer: *mut c_void,
    capacity: usize,
    len: *mut usize,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a length, by the words of the header.
        let len = unsafe { slice::out(len, "len") }?;
        // SAFETY: `capacity` bytes at `buffer`, by the words of the header.
        let buffer = unsafe { slice::buffer(buffer, capacity, "buffer") }?;
        // SAFETY: `key_len` bytes at `key`, by the words of the header.
        let key = unsafe { slice::bytes(key, key_len, "key") }?;
        let Some(value) = handle::find(cache)?.get(key) else {
            len.write(0);
            return Ok(TIERCE_MISS);
        };
        let copied = value.len().min(buffer.len());
        buffer[..copied].write_copy_of_slice(&value[..copied]);
        len.write(value.len());
        Ok(if copied < value.len() { TIERCE_TRUNCATED } else { TIERCE_OK })
    })
}

//! How a cache is opened and closed.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::{
    ffi::{OsStr, c_char, c_void},
    os::unix::ffi::OsStrExt,
    path::Path,
};

use tierce::config::Config;

use crate::{
    failure::Failure,
    guard::{guard, tell_panics_to_the_caller},
    handle, slice,
    status::{TIERCE_OK, tierce_status_t},
    watching,
};

/// A cache. Opened by one of the tierce_open functions, closed by tierce_close().
///
/// Not a pointer to anything: the library recognises its handles, and answers a closed or foreign
/// one with a code.
pub struct tierce_t {
    _opaque: (),
}

/// Opens a cache with the settings of a text; the environment is not looked at.
///
/// A tier that does not answer now (no server, no room for the store) is no error: the cache
/// serves from the others and says so in tierce_health_json().
///
/// \param text  borrowed for the call: YAML, TOML or JSON in UTF-8; no NUL at its end is needed.
///              NULL only when `len` is 0, which opens a cache of all defaults: L1, 64 MiB.
/// \param len   bytes of `text`.
/// \param out   receives a handle on TIERCE_OK; give it to tierce_close().
/// \return TIERCE_OK; TIERCE_E_CONFIG for an unknown key or a bad value, which the message names;
///         TIERCE_E_UNSUPPORTED; TIERCE_E_FULL where 4096 caches are open; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_open(
    text: *const c_char,
    len: usize,
    out: *mut *mut tierce_t,
) -> tierce_status_t {
    open(out, || {
        // SAFETY: `len` bytes at `text`, by the words of the header.
        let text = unsafe { slice::utf8(text.cast::<c_void>(), len, "text") }?;
        if text.trim().is_empty() { Ok(Config::default()) } else { Ok(Config::from_text(text)?) }
    })
}

/// Opens a cache with the settings of a file, and those of the environment over them.
///
/// \param path  borrowed for the call, ended by a NUL, not NULL: a YAML, TOML or JSON file.
/// \param out   receives a handle on TIERCE_OK; give it to tierce_close().
/// \return as tierce_open() and tierce_open_env(); TIERCE_E_IO or TIERCE_E_DENIED where the file
///         cannot be read. Threads: any, while no other changes the environment.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_open_file(
    path: *const c_char,
    out: *mut *mut tierce_t,
) -> tierce_status_t {
    open(out, || {
        // SAFETY: a text that ends with a NUL, by the words of the header.
        let path = unsafe { slice::c_text(path, "path") }?;
        Ok(Config::load(Some(Path::new(OsStr::from_bytes(path.to_bytes()))))?)
    })
}

/// Opens a cache with the settings of the environment: CACHE_TIERING, CACHE_MEMORY_MAX_ENTRIES,
/// REDIS_HOST and the others.
///
/// \param out  receives a handle on TIERCE_OK; give it to tierce_close().
/// \return as tierce_open(); an unknown CACHE_ variable is TIERCE_E_CONFIG. Threads: any, while no
///         other changes the environment.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_open_env(out: *mut *mut tierce_t) -> tierce_status_t {
    open(out, || Ok(Config::from_env()?))
}

fn open(
    out: *mut *mut tierce_t,
    settings: impl FnOnce() -> Result<Config, Failure>,
) -> tierce_status_t {
    guard(|| {
        tell_panics_to_the_caller();
        // SAFETY: a place for a handle, by the words of the header of all who pass it here.
        let out = unsafe { slice::out(out, "out") }?;
        let config = settings()?;
        let cache = config.builder()?.build()?;
        out.write(handle::open(cache, config)?);
        Ok(TIERCE_OK)
    })
}

/// Closes a cache: ends its guards, and gives back its threads, connections and memory. Views stay
/// valid.
///
/// Calls of other threads that are under way end, and may find the cache empty or closed; the last
/// of them frees it. May be called by a loader of this cache. A call after it is
/// TIERCE_E_CLOSED, which makes a second close harmless.
///
/// \param cache  taken; NULL is fine.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any, once.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_close(cache: *mut tierce_t) -> tierce_status_t {
    guard(|| {
        if !cache.is_null() {
            let open = handle::close(cache)?;
            open.stop_watching();
            watching::end_those_of(cache);
            open.cache.close();
        }
        Ok(TIERCE_OK)
    })
}

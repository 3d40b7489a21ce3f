//! Loading on a miss.
#![allow(unsafe_code)] // Exported names; the call of the caller's function.

use std::{
    error::Error,
    ffi::c_void,
    fmt::{self, Display},
};

use tierce::{Bytes, Loaded};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    options::tierce_load_opts_t,
    sink::{Says, Sink, Written, tierce_sink_t},
    slice,
    status::{self, TIERCE_ABSENT, TIERCE_OK, tierce_status_t},
    view::{self, tierce_view_t},
};

/// Makes the value of `key`: writes it to `sink` and returns 0.
///
/// Any other result means that there is no value; below zero it is the loader's own code, above
/// zero is reserved. Called on the thread of tierce_get_or_load(), with no lock held; may call any
/// function of this library, tierce_close() included. Must return: no longjmp() and no C++
/// exception may leave it.
///
/// \param user     as given to tierce_get_or_load().
/// \param key      borrowed for the call; `key_len` bytes, not NULL.
/// \param key_len  bytes of `key`.
/// \param sink     borrowed for the call.
pub type tierce_load_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        key: *const c_void,
        key_len: usize,
        sink: *mut tierce_sink_t,
    ) -> i32,
>;

/// Why a loader has no value: reaches everybody who waited for it.
#[derive(Debug)]
pub(crate) struct LoaderRefused {
    pub(crate) code: i32,
    /// True where the code is of a sink function whose failure the loader overlooked.
    of_sink: bool,
}

impl Display for LoaderRefused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.of_sink {
            let name = status::name(self.code).to_string_lossy();
            write!(out, "it returned 0 although a sink function failed with {name}")
        } else {
            write!(out, "it returned {}", self.code)
        }
    }
}

impl Error for LoaderRefused {}

/// What a loader made, by what it returned and what it left in its sink.
pub(crate) fn loaded(code: i32, written: Written) -> Result<Loaded<Bytes>, LoaderRefused> {
    let (code, of_sink) = match written.failed {
        Some(failed) if code == 0 => (failed, true),
        _ => (code, false),
    };
    if code != 0 {
        return Err(LoaderRefused { code, of_sink });
    }
    let mut loaded = match written.says {
        Says::Value => Loaded::new(Bytes::from(written.value)),
        Says::Absent => Loaded::absent(),
        Says::NotModified => Loaded::not_modified(),
    };
    if let Some(ttl) = written.ttl {
        loaded = loaded.ttl(ttl);
    }
    if let Some(weight) = written.weight {
        loaded = loaded.weight(weight);
    }
    if let Some(validator) = written.validator {
        loaded = loaded.validator(validator);
    }
    if !written.tags.is_empty() {
        loaded = loaded.tags(&written.tags);
    }
    Ok(loaded)
}

/// Looks `key` up; on a miss calls `load`, once for all threads of this process that ask for it.
///
/// A stale value is served where the options allow it: `flags` of the view says so. Where the load
/// fails, to all for whom `stale_if_error_ms` lasts; while another thread loads, to those for whom
/// `stale_while_revalidate_ms` does.
///
/// If the key is set or deleted while the loader runs, its value goes to those who wait for it and
/// is not kept.
///
/// \param cache    borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`, at most 64 KiB.
/// \param load     makes the value; not NULL. Not called where a tier has the value or another
///                 thread loads it.
/// \param user     handed to `load`, not looked at.
/// \param opts     borrowed for the call; NULL for the defaults.
/// \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                 every other answer.
/// \return TIERCE_OK; TIERCE_ABSENT where the loader says that there is no value, now or within the
///         time that this is remembered; TIERCE_E_LOADER where the loader did not return 0, for all who waited for
///         it, and until the time of a back-off is over, see tierce_last_loader_code(); TIERCE_E_TIMEOUT after waiting too long for another
///         thread's load; TIERCE_E_REENTRANT where a loader asks for the key that it is loading;
///         TIERCE_E_TOO_LARGE for the key; TIERCE_E_CLOSED; TIERCE_E_CONFIG for options that do not
///         fit together; TIERCE_E_VERSION for options that
///         this library does not know; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_or_load(
    cache: *const tierce_t,
    key: *const c_void,
    key_len: usize,
    load: tierce_load_fn,
    user: *mut c_void,
    opts: *const tierce_load_opts_t,
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
        let load = load.ok_or_else(|| Failure::argument("load is NULL"))?;
        let cache = handle::find(cache)?;
        let answer = cache.get_or_load_optional(key, &options, |key| {
            let sink = Sink::new();
            // SAFETY: a function of this type, which takes what it is given as the header says:
            // `key` is borrowed for the call, the sink ends with it.
            let code = unsafe { load(user, key.as_ptr().cast(), key.len(), sink.handle()) };
            loaded(code, sink.finish())
        })?;
        let about = view::about(answer.origin, answer.is_stale, answer.age);
        let Some(value) = answer.value else { return Ok(TIERCE_ABSENT) };
        *out = view::of_value(value, about);
        Ok(TIERCE_OK)
    })
}

//! A cache with its loader, which is told what there is and may run on threads of the cache.
#![allow(unsafe_code)] // Exported names; the call of the caller's function.

use std::{
    ffi::{c_char, c_void},
    time::Instant,
};

use tierce::{
    Answer, Bytes, CancelToken, Error, ErrorKind, LoadContext, LoadReason, Loaded, Loader, Loading,
};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    load::loaded,
    open::tierce_t,
    options::tierce_load_opts_t,
    registry::Registry,
    sink::{Sink, tierce_sink_t},
    slice,
    status::{TIERCE_ABSENT, TIERCE_OK, tierce_status_t},
    user::{User, tierce_drop_fn},
    view::{self, tierce_view_t},
};

/// A cache with the loader of its values. Opened by tierce_loading_open(), closed by
/// tierce_loading_close(). Not a pointer to anything, as tierce_t.
pub struct tierce_loading_t {
    _opaque: (),
}

static LOADINGS: Registry<tierce_loading_t, Loading<Bytes>> = Registry::new("loading", 0b0011);

/// What a loader is told about the load that it is called for: borrowed for the call, as all that
/// it points to. Later versions may add fields at the end.
#[repr(C)]
pub struct tierce_load_context_t {
    /// The bytes of this struct that the library filled in.
    pub struct_size: usize,
    /// The key that is asked for; not NULL.
    pub key: *const c_void,
    /// Bytes of `key`.
    pub key_len: usize,
    /// The value that is to be replaced: stale, or fresh where the load is ahead of time or asked
    /// for. NULL where there is none, and where it is empty.
    pub stale: *const c_void,
    /// Bytes of `stale`.
    pub stale_len: usize,
    /// 1 where there is a value to be replaced, else 0.
    pub has_stale: i64,
    /// What the load of `stale` gave to tierce_sink_validator(); not NULL, empty if nothing.
    pub validator: *const c_void,
    /// Bytes of `validator`.
    pub validator_len: usize,
    /// How many milliseconds the load may take from now on; below zero where it may take any.
    pub left_ms: i64,
    /// Why the loader is called: "miss", "stale", "ahead" (of the end of the time to live),
    /// "max_age" or "asked". Static text.
    pub reason: *const c_char,
    /// For tierce_load_is_cancelled(); not to be touched.
    pub token: *const c_void,
}

/// Makes the value of `context->key`: writes it to `sink` and returns 0.
///
/// As a tierce_load_fn, but it may be called on any thread of the cache, for several keys at once,
/// and as long as the tierce_loading_t is open. May call any function of this library. Must
/// return: no longjmp() and no C++ exception may leave it.
///
/// \param user     as given to tierce_loading_open().
/// \param context  borrowed for the call, not NULL.
/// \param sink     borrowed for the call.
pub type tierce_context_load_fn = Option<
    unsafe extern "C-unwind" fn(
        user: *mut c_void,
        context: *const tierce_load_context_t,
        sink: *mut tierce_sink_t,
    ) -> i32,
>;

/// The loader of C.
struct Calls {
    load: unsafe extern "C-unwind" fn(
        *mut c_void,
        *const tierce_load_context_t,
        *mut tierce_sink_t,
    ) -> i32,
    user: User,
}

impl Loader<Bytes> for Calls {
    fn load(&self, context: &LoadContext<'_, Bytes>) -> tierce::Result<Loaded<Bytes>> {
        let stale = context.stale();
        let token = context.token();
        let told = tierce_load_context_t {
            struct_size: size_of::<tierce_load_context_t>(),
            key: context.key().as_ptr().cast(),
            key_len: context.key().len(),
            stale: stale
                .filter(|stale| !stale.is_empty())
                .map_or(std::ptr::null(), |stale| stale.as_ptr().cast()),
            stale_len: stale.map_or(0, Bytes::len),
            has_stale: stale.is_some().into(),
            validator: context.validator().as_ptr().cast(),
            validator_len: context.validator().len(),
            left_ms: left_ms(token),
            reason: reason(context.reason()),
            token: std::ptr::from_ref(token).cast(),
        };
        let sink = Sink::new();
        // SAFETY: a function of this type, which takes what it is given as the header says: all
        // that the context points to lives until the function has returned, and the sink ends
        // with it. That any thread may call it is said there too.
        let code = unsafe { (self.load)(self.user.get(), &raw const told, sink.handle()) };
        loaded(code, sink.finish()).map_err(|refused| {
            Error::new(ErrorKind::Loader, "the loader failed").caused_by(refused)
        })
    }
}

fn left_ms(token: &CancelToken) -> i64 {
    token.deadline().map_or(-1, |deadline| {
        let left = deadline.saturating_duration_since(Instant::now());
        i64::try_from(left.as_millis()).unwrap_or(i64::MAX)
    })
}

/// The text of a reason.
pub(crate) fn reason(reason: LoadReason) -> *const c_char {
    match reason {
        LoadReason::Miss => c"miss",
        LoadReason::Stale => c"stale",
        LoadReason::Ahead => c"ahead",
        LoadReason::MaxAge => c"max_age",
        LoadReason::Asked => c"asked",
        _ => c"other",
    }
    .as_ptr()
}

/// Binds a loader to a cache, for many keys and calls.
///
/// With it, stale values are refreshed by threads of the cache where the options say so
/// (`stale_while_revalidate_ms`, `soft_timeout_ms`), and a loader is told of the value that there
/// is, so that it can ask its origin whether that has changed.
///
/// \param cache    borrowed, not NULL.
/// \param load     makes the values; not NULL.
/// \param user     handed to `load`, not looked at; it must be fit for several threads at once.
/// \param let_go   called with `user` once `load` will not be called any more, which may be after
///                 tierce_loading_close() where a load is under way; NULL for nothing. Also called
///                 where this function answers anything but TIERCE_OK.
/// \param opts     borrowed for the call; NULL for the defaults.
/// \param out      receives a handle on TIERCE_OK; give it to tierce_loading_close().
/// \return TIERCE_OK; TIERCE_E_CONFIG for options that do not fit together; TIERCE_E_VERSION for
///         options that this library does not know; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_loading_open(
    cache: *const tierce_t,
    load: tierce_context_load_fn,
    user: *mut c_void,
    let_go: tierce_drop_fn,
    opts: *const tierce_load_opts_t,
    out: *mut *mut tierce_loading_t,
) -> tierce_status_t {
    let user = User::new(user, let_go);
    guard(|| {
        // SAFETY: a place for a pointer, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?.write(std::ptr::null_mut());
        // SAFETY: a struct of the size that it says and what it points to, by the words of the
        // header.
        let options = unsafe { slice::options(opts, "opts")?.to_core() }?;
        let load = load.ok_or_else(|| Failure::argument("load is NULL"))?;
        let loading = handle::find(cache)?.loading(Calls { load, user }, options)?;
        *out = LOADINGS.put(loading);
        Ok(TIERCE_OK)
    })
}

/// Lets a loader go. The cache stays open.
///
/// \param loading  a handle; NULL is fine.
/// \return TIERCE_OK, TIERCE_E_ARG for what is no handle or was closed. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_loading_close(loading: *mut tierce_loading_t) -> tierce_status_t {
    guard(|| {
        if !loading.is_null() {
            LOADINGS.take(loading)?;
        }
        Ok(TIERCE_OK)
    })
}

/// Looks `key` up, loaded if need be: as tierce_get_or_load() with the loader and options of
/// `loading`.
///
/// \param loading  borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`, at most 64 KiB.
/// \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                 every other answer.
/// \return as tierce_get_or_load(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_loading_get(
    loading: *const tierce_loading_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: by the words of the header.
    unsafe { answer(loading, key, key_len, out, |loading, key| loading.get_optional(key)) }
}

/// Calls the loader of `loading` whatever the tiers have, and puts what it makes in the place of
/// that. Nothing stale is served where it fails.
///
/// \param loading  borrowed, not NULL.
/// \param key      borrowed for the call; NULL only when `key_len` is 0.
/// \param key_len  bytes of `key`, at most 64 KiB.
/// \param out      receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                 every other answer.
/// \return as tierce_get_or_load(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_loading_refresh(
    loading: *const tierce_loading_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    let refresh = |loading: &Loading<Bytes>, key: &[u8]| match loading.refresh(key) {
        Err(error) if error.kind() == ErrorKind::Absent => Ok(None),
        answer => answer.map(Some),
    };
    guard(|| {
        // SAFETY: by the words of the header.
        let (loading, key, out) = unsafe { parts(loading, key, key_len, out) }?;
        let Some(answer) = refresh(&loading, key)? else { return Ok(TIERCE_ABSENT) };
        *out = view::of_answer(answer);
        Ok(TIERCE_OK)
    })
}

/// Tells whether what a loader makes is of no use any more: its time is over, somebody overtook
/// the load, or the cache was closed. A load that takes long should ask from time to time.
///
/// \param context  the one that the loader was called with, borrowed, not NULL.
/// \return 1 if it is of no use; else 0, also for NULL. Threads: any, during the loader's call.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_load_is_cancelled(context: *const tierce_load_context_t) -> i32 {
    if context.is_null() {
        return 0;
    }
    // SAFETY: a context that a loader was called with, whose call goes on: by the words of the
    // header. Its token is that of the load, which lives as long.
    let token = unsafe { (*context).token.cast::<CancelToken>().as_ref() };
    token.is_some_and(CancelToken::is_cancelled).into()
}

/// # Safety
/// As the functions of the header.
unsafe fn answer(
    loading: *const tierce_loading_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
    ask: impl FnOnce(&Loading<Bytes>, &[u8]) -> tierce::Result<Answer<Option<Bytes>>>,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: the caller's promise is the same.
        let (loading, key, out) = unsafe { parts(loading, key, key_len, out) }?;
        let answer = ask(&loading, key)?;
        let about = view::about(answer.origin, answer.is_stale, answer.age);
        let Some(value) = answer.value else { return Ok(TIERCE_ABSENT) };
        *out = view::of_value(value, about);
        Ok(TIERCE_OK)
    })
}

type Parts<'a> = (std::sync::Arc<Loading<Bytes>>, &'a [u8], &'a mut tierce_view_t);

/// # Safety
/// As the functions of the header.
unsafe fn parts<'a>(
    loading: *const tierce_loading_t,
    key: *const c_void,
    key_len: usize,
    out: *mut tierce_view_t,
) -> Result<Parts<'a>, Failure> {
    // SAFETY: a place for a view: the caller's promise.
    let out = unsafe { view::place(out) }?;
    // SAFETY: `key_len` bytes at `key`: the caller's promise.
    let key = unsafe { slice::bytes(key, key_len, "key") }?;
    Ok((LOADINGS.find(loading)?, key, out))
}

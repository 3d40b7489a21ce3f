//! How a cache judges itself: objectives and alerts.
#![allow(unsafe_code)] // Exported names; the call of the caller's function.

use std::ffi::{CString, c_char, c_void};

use serde_json::json;
use tierce::guard::{
    Alerts, Guard, Objectives,
    alert::{CallbackSink, Notice},
};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    report::put_text,
    slice,
    status::{TIERCE_E_CONFIG, TIERCE_MISS, TIERCE_OK, tierce_status_t},
    user::{User, tierce_drop_fn},
    view::{self, tierce_view_t},
    watching,
};

/// Is told that an alert fires or is over. Called on a thread of the library that is there for these
/// calls alone, one after another, with no lock held. Nobody waits for it: it may take its time, and
/// may call any function of this library, asking the guard that tells it for a rollback included. What
/// waits for its turn is told as it is by then. Must return: no longjmp() and no C++ exception may
/// leave it.
///
/// \param user    as given to tierce_alerts_start() or tierce_guard_open().
/// \param notice  borrowed for the call, ended by a NUL: JSON with `alert`, `status` ("firing" or
///                "resolved"), `severity`, `condition`, `value` and `cache`.
pub type tierce_notice_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, notice: *const c_char)>;

/// Makes a report in JSON of how the cache met objectives in the last time: for each what it is,
/// whether it is met, what is left of its error budget and how fast that is spent. Spans are
/// seconds, with `_s` behind their names.
///
/// What is known of a window begins with the first call of this function or of
/// tierce_alerts_start(): nothing is kept before.
///
/// \param cache       borrowed, not NULL.
/// \param objectives  borrowed for the call, ended by a NUL: "staging", "production",
///                    "staging-canary" or "phase-1" to "phase-4"; NULL for those of the environment
///                    that TIERCE_ENV, CACHE_ENVIRONMENT or NODE_ENV names.
/// \param window_ms   how many milliseconds are judged, from a second to an hour.
/// \param out         receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                    every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_E_CONFIG where there are no such objectives, or no environment is
///         named; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_slo_json(
    cache: *const tierce_t,
    objectives: *const c_char,
    window_ms: i64,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a view, by the words of the header.
        let out = unsafe { view::place(out) }?;
        let window = watching::window(window_ms)?;
        let cache = handle::find(cache)?;
        let report = if objectives.is_null() {
            cache.slo(window)?
        } else {
            // SAFETY: a text that ends with a NUL, by the words of the header.
            let name = unsafe { slice::c_text(objectives, "objectives") }?.to_string_lossy();
            let objectives = Objectives::named(&name).ok_or_else(|| {
                let known = Objectives::names().collect::<Vec<_>>().join(", ");
                Failure::new(TIERCE_E_CONFIG, format!("objectives {name:?}: must be of {known}"))
            })?;
            cache.slo_of(&objectives, window)
        };
        put_text(out, report.to_json());
        Ok(TIERCE_OK)
    })
}

/// Begins to judge alerts once a second, on a thread of the cache, until tierce_alerts_stop() or
/// tierce_close(). Those that were judged before are stopped. tierce_guard_open() does this and all
/// else that a configuration says.
///
/// \param cache   borrowed, not NULL.
/// \param text    borrowed for the call: YAML in UTF-8, a list `alerts` of `name`, `condition`
///                (such as "latency_p95 > 100ms"), `duration`, `severity` and `keep_firing_for`; no
///                NUL at its end is needed. NULL only when `len` is 0.
/// \param len     bytes of `text`.
/// \param notify  is told of alerts; NULL for nobody.
/// \param user    handed to `notify`, not looked at.
/// \param let_go  called with `user` once `notify` will not be called any more; NULL for nothing.
///                Also called where this function answers anything but TIERCE_OK.
/// \return TIERCE_OK; TIERCE_E_CONFIG for what are no alerts, which the message names;
///         TIERCE_E_CLOSED; TIERCE_E_IO where there is no thread to be had; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_alerts_start(
    cache: *const tierce_t,
    text: *const c_char,
    len: usize,
    notify: tierce_notice_fn,
    user: *mut c_void,
    let_go: tierce_drop_fn,
) -> tierce_status_t {
    let user = User::new(user, let_go);
    guard(|| {
        // SAFETY: `len` bytes at `text`, by the words of the header.
        let text = unsafe { slice::utf8(text.cast::<c_void>(), len, "text") }?;
        let alerts = Alerts::from_yaml(text)?;
        let cache = handle::find(cache)?;
        let mut builder = Guard::of(&cache).alerts(alerts);
        if let Some(notify) = notify {
            builder = builder.sink(sink(notify, user));
        }
        let started = builder.start()?;
        cache.watch(Some(started));
        Ok(TIERCE_OK)
    })
}

/// Makes a list in JSON of the alerts that are judged: `name`, `condition`, `severity`,
/// `duration_s` and `state` ("inactive", "pending" or "firing") of each, as of the latest look.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on every
///               other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_MISS where none are judged; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_alerts_json(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a view, by the words of the header.
        let out = unsafe { view::place(out) }?;
        let Some(watching) = handle::find(cache)?.watching() else { return Ok(TIERCE_MISS) };
        let alerts = watching.alerts().into_iter().map(|(rule, state)| {
            json!({
                "name": rule.name,
                "condition": rule.condition.to_string(),
                "severity": rule.severity.as_str(),
                "duration_s": rule.duration.as_secs_f64(),
                "state": state.as_str(),
            })
        });
        put_text(out, alerts.collect::<serde_json::Value>().to_string());
        Ok(TIERCE_OK)
    })
}

/// Ends what tierce_alerts_start() began; nothing to end is fine.
///
/// \param cache  borrowed, not NULL.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_alerts_stop(cache: *const tierce_t) -> tierce_status_t {
    guard(|| {
        handle::find(cache)?.watch(None);
        Ok(TIERCE_OK)
    })
}

/// Tells a function of the caller of alerts.
pub(crate) fn sink(
    notify: unsafe extern "C-unwind" fn(user: *mut c_void, notice: *const c_char),
    user: User,
) -> CallbackSink {
    CallbackSink::new(move |notice| {
        let user = &user;
        let text = CString::new(notice_json(notice).to_string()).unwrap_or_default();
        // SAFETY: a function of this type, which takes what it is given as the header says; the text
        // lives until it has returned.
        unsafe { notify(user.get(), text.as_ptr()) }
    })
}

fn notice_json(notice: &Notice) -> serde_json::Value {
    json!({
        "alert": notice.alert,
        "status": notice.status.as_str(),
        "severity": notice.severity.as_str(),
        "condition": notice.condition,
        "value": notice.value,
        "cache": notice.cache,
    })
}

//! Guards: what judges a cache, tells of it and answers over HTTP, as its configuration says.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::{
    ffi::{CStr, c_char, c_void},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tierce::{
    Bytes,
    config::Watching,
    guard::{Guard, HealthStatus, ServeOptions},
};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    registry::Registry,
    report::put_text,
    slice,
    status::{TIERCE_E_CLOSED, TIERCE_MISS, TIERCE_OK, tierce_status_t},
    user::{User, tierce_drop_fn},
    view::{self, tierce_view_t},
    watch::{self, tierce_notice_fn},
};

/// Every tier of the tiering answers.
pub const TIERCE_HEALTHY: u32 = 0;
/// A tier does not answer; the others serve.
pub const TIERCE_DEGRADED: u32 = 1;
/// Nothing can be served.
pub const TIERCE_UNHEALTHY: u32 = 2;

/// A guard of a cache. Opened by tierce_guard_open(), closed by tierce_guard_close(). Not a pointer to
/// anything.
pub struct tierce_guard_t {
    _opaque: (),
}

/// A guard that C holds a handle of.
struct Held {
    /// The number of its cache's handle.
    cache: usize,
    /// Taken out when that is closed.
    watching: ArcSwapOption<Watching<Bytes>>,
}

static GUARDS: Registry<tierce_guard_t, Held> = Registry::new("guard", 0b0101);

/// Finds the guard of a handle.
pub(crate) fn find(guard: *const tierce_guard_t) -> Result<Arc<Watching<Bytes>>, Failure> {
    let found = GUARDS.find(guard)?.watching.load_full();
    found.ok_or_else(|| Failure::new(TIERCE_E_CLOSED, "the cache of the guard was closed"))
}

/// Ends the guards of a cache that is closed. Their handles stay, to be given back.
pub(crate) fn end_those_of(cache: *const tierce_t) {
    let all = GUARDS.all();
    let theirs = all.iter().filter(|held| held.cache == cache.addr());
    theirs.for_each(|held| held.watching.store(None));
}

/// Runs a call of the header on a guard.
pub(crate) fn with(
    guard: *const tierce_guard_t,
    call: impl FnOnce(&Watching<Bytes>) -> Result<tierce_status_t, Failure>,
) -> tierce_status_t {
    crate::guard::guard(|| call(&*find(guard)?))
}

/// Puts a text that the guard makes into a view; one that there is not is a miss.
///
/// # Safety
/// As [`view::place`] for `out`.
pub(crate) unsafe fn text(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
    make: impl FnOnce(&Watching<Bytes>) -> Result<Option<String>, Failure>,
) -> tierce_status_t {
    crate::guard::guard(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { view::place(out) }?;
        let Some(text) = make(&*find(guard)?)? else { return Ok(TIERCE_MISS) };
        put_text(out, text);
        Ok(TIERCE_OK)
    })
}

/// Borrows a text of the caller that ends with a NUL, as UTF-8.
///
/// # Safety
/// As [`slice::c_text`].
pub(crate) unsafe fn utf8<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: the caller's promise is the same.
    let text: &CStr = unsafe { slice::c_text(text, name) }?;
    text.to_str().map_err(|error| {
        Failure::argument(format!("{name}: byte {} is not UTF-8", error.valid_up_to()))
    })
}

/// Reads a window of the caller.
pub(crate) fn window(window_ms: i64) -> Result<Duration, Failure> {
    let window = u64::try_from(window_ms).ok().filter(|millis| *millis > 0);
    let refuse = || Failure::argument(format!("window_ms = {window_ms}: must be above zero"));
    Ok(Duration::from_millis(window.ok_or_else(refuse)?))
}

/// Tells how a cache is: the `status` of tierce_health_json(), as a number. Looks at what is known
/// already and asks no tier.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives TIERCE_HEALTHY, TIERCE_DEGRADED or TIERCE_UNHEALTHY on TIERCE_OK.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_health(cache: *const tierce_t, out: *mut u32) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a number, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        out.write(match handle::find(cache)?.health().status {
            HealthStatus::Healthy => TIERCE_HEALTHY,
            HealthStatus::Degraded => TIERCE_DEGRADED,
            HealthStatus::Unhealthy => TIERCE_UNHEALTHY,
        });
        Ok(TIERCE_OK)
    })
}

/// Starts all that the configuration of a cache says beside its tiers: `alerts`, `notify`, `slo`,
/// `serve`, `rollout`, `automatic_rollback`, `traffic_split` and `actions_journal`. A thread looks once a second until
/// tierce_guard_close() or tierce_close().
///
/// A forked child has no guard, and no listener either: open one there.
///
/// \param cache   borrowed, not NULL.
/// \param text    borrowed for the call: YAML, TOML or JSON in UTF-8, of these keys and `environment`, that
///                is read over the settings with which the cache was opened; no NUL at its end is needed.
///                NULL only when `len` is 0, which leaves those as they are.
/// \param len     bytes of `text`.
/// \param notify  is told of alerts beside the sinks of `notify`; NULL for nobody more.
/// \param user    handed to `notify`, not looked at.
/// \param let_go  called with `user` once `notify` will not be called any more; NULL for nothing.
///                Also called where this function answers anything but TIERCE_OK.
/// \param out     receives a handle on TIERCE_OK; give it to tierce_guard_close().
/// \return TIERCE_OK; TIERCE_E_CONFIG for an unknown key, a bad value or a bad plan, which the message
///         names; TIERCE_E_IO or TIERCE_E_DENIED where a file cannot be read, the address not be
///         listened at, or there is no thread to be had; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_open(
    cache: *const tierce_t,
    text: *const c_char,
    len: usize,
    notify: tierce_notice_fn,
    user: *mut c_void,
    let_go: tierce_drop_fn,
    out: *mut *mut tierce_guard_t,
) -> tierce_status_t {
    let user = User::new(user, let_go);
    guard(|| {
        // SAFETY: a place for a handle, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        // SAFETY: `len` bytes at `text`, by the words of the header.
        let text = unsafe { slice::utf8(text.cast::<c_void>(), len, "text") }?;
        let in_use = handle::find(cache)?;
        let config = in_use.config().with_guard_text(text)?;
        let sink = notify.map(|notify| watch::sink(notify, user));
        let watching = Guard::from_config_with(&in_use, &config, |builder| match sink {
            Some(sink) => builder.sink(sink),
            None => builder,
        })?;
        let watching = ArcSwapOption::from_pointee(watching);
        out.write(GUARDS.put(Held { cache: cache.addr(), watching }));
        Ok(TIERCE_OK)
    })
}

/// Ends a guard and its listener. What `notify` of tierce_guard_open() is being told ends first, and
/// nobody waits for it: `let_go` says when it is over. Shares, tiers and what
/// tierce_guard_shed() and tierce_guard_block() did stay as they are.
///
/// \param guard  taken; NULL is fine.
/// \return TIERCE_OK, TIERCE_E_ARG. Threads: any, once; also from `notify`.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_guard_close(guard: *mut tierce_guard_t) -> tierce_status_t {
    crate::guard::guard(|| {
        if !guard.is_null() {
            GUARDS.take(guard)?.watching.store(None);
        }
        Ok(TIERCE_OK)
    })
}

/// Makes a report in JSON of how the cache met the objectives of the configuration, as
/// tierce_slo_json().
///
/// \param guard      borrowed, not NULL.
/// \param window_ms  how many milliseconds are judged, from a second to an hour.
/// \param out        receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                   every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_MISS where there are no objectives; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_slo_json(
    guard: *const tierce_guard_t,
    window_ms: i64,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    let make = |watching: &Watching<Bytes>| {
        Ok(watching.guard().slo(window(window_ms)?).map(|report| report.to_json()))
    };
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(guard, out, make) }
}

/// Makes a document in JSON of the alerts, as of the latest look: `alerts`, each with `name`,
/// `condition`, `severity`, `duration_s` and `state`, and `sinks`, what became of their notices.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_alerts_json(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(guard, out, |watching| Ok(Some(watching.guard().alerts_json()))) }
}

/// Makes the statistics in the text format of Prometheus, as tierce_metrics_text(), with those of
/// alerts and of the process.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_MISS where metrics are not shown (`metrics_enabled`);
///         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_metrics_text(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(guard, out, |watching| Ok(watching.guard().metrics_text())) }
}

/// Answers over HTTP from now on, in place of where the guard did before: health, metrics, objectives,
/// alerts, rollout and actions.
///
/// \param guard     borrowed, not NULL.
/// \param address   borrowed for the call, ended by a NUL: host and port, port 0 for a free one; NULL
///                  for "127.0.0.1:9464".
/// \param token     borrowed for the call, ended by a NUL: what requests that change state must bear;
///                  NULL refuses them all.
/// \param out_port  receives the port on TIERCE_OK; NULL is fine.
/// \return TIERCE_OK; TIERCE_E_IO or TIERCE_E_DENIED where the address cannot be listened at;
///         TIERCE_E_CONFIG for an empty token; TIERCE_E_CLOSED; TIERCE_E_ARG. The guard listens where it
///         did before on any but the first. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_serve(
    guard: *const tierce_guard_t,
    address: *const c_char,
    token: *const c_char,
    out_port: *mut u16,
) -> tierce_status_t {
    with(guard, |watching| {
        let mut options = ServeOptions::new();
        if !address.is_null() {
            // SAFETY: a text that ends with a NUL, by the words of the header.
            options = options.address(unsafe { utf8(address, "address") }?);
        }
        if !token.is_null() {
            // SAFETY: as above.
            options = options.token(unsafe { utf8(token, "token") }?);
        }
        let place = match out_port.is_null() {
            true => None,
            // SAFETY: a place for a number, by the words of the header.
            false => Some(unsafe { slice::out(out_port, "out_port") }?),
        };
        let address = watching.serve(&options)?;
        if let Some(place) = place {
            place.write(address.port());
        }
        Ok(TIERCE_OK)
    })
}

/// Tells at which port a guard listens.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives the port on TIERCE_OK.
/// \return TIERCE_OK; TIERCE_MISS where it listens nowhere; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_port(
    guard: *const tierce_guard_t,
    out: *mut u16,
) -> tierce_status_t {
    with(guard, |watching| {
        // SAFETY: a place for a number, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        let Some(address) = watching.address() else { return Ok(TIERCE_MISS) };
        out.write(address.port());
        Ok(TIERCE_OK)
    })
}

/// Ends what tierce_guard_serve() or the configuration began; nothing to end is fine.
///
/// \param guard  borrowed, not NULL.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_guard_serve_stop(guard: *const tierce_guard_t) -> tierce_status_t {
    with(guard, |watching| {
        watching.stop_serving();
        Ok(TIERCE_OK)
    })
}

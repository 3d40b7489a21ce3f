//! What an operator does when things go wrong, and what the numbers advise.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::c_char;

use tierce::{Shedding, guard::Contingency};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    report::text,
    status::{TIERCE_E_CONFIG, TIERCE_OK, tierce_status_t},
    view::tierce_view_t,
    watching::{self, tierce_guard_t, utf8, window},
};

/// Keys a second, where nothing else is said: as `tierce act refresh`.
const REFRESHES: u32 = 100;

/// Does an action, as an operator of this name.
///
/// # Safety
/// As [`utf8`] for `by`.
unsafe fn act(
    guard: *const tierce_guard_t,
    by: *const c_char,
    action: impl FnOnce() -> Result<Contingency, Failure>,
) -> tierce_status_t {
    watching::with(guard, |watching| {
        // SAFETY: the caller's promise is the same.
        let by = unsafe { utf8(by, "by") }?;
        watching.guard().act(by, action()?)?;
        Ok(TIERCE_OK)
    })
}

/// Lets a share of calls pass. The others are answered by L1, by a stale value there, or by an error:
/// nothing is asked below L1 and nothing loaded. Changes are never shed. In force with the next call
/// of any thread of this process, until tierce_guard_lift().
///
/// \param guard    borrowed, not NULL.
/// \param by       borrowed for the call, ended by a NUL, not NULL: who asks, for the journal of
///                 actions (`actions_journal`).
/// \param percent  how many of 100 calls pass: 0 to 100.
/// \param answer   borrowed for the call, ended by a NUL: what the others get, "stale" or "error"
///                 (TIERCE_E_BUSY); NULL for "stale".
/// \return TIERCE_OK; TIERCE_E_CONFIG for another word; TIERCE_E_IO and the like where the journal
///         cannot be written: then it is in force all the same; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_shed(
    guard: *const tierce_guard_t,
    by: *const c_char,
    percent: f64,
    answer: *const c_char,
) -> tierce_status_t {
    let action = || {
        if !(0.0..=100.0).contains(&percent) {
            return Err(Failure::argument(format!("percent = {percent}: must be 0 to 100")));
        }
        let shedding = match answer.is_null() {
            true => Shedding::Stale,
            // SAFETY: a text that ends with a NUL, by the words of the header.
            false => match unsafe { utf8(answer, "answer") }? {
                "stale" => Shedding::Stale,
                "error" => Shedding::Error,
                other => {
                    let message = format!("answer {other:?}: must be stale or error");
                    return Err(Failure::new(TIERCE_E_CONFIG, message));
                }
            },
        };
        Ok(Contingency::Shed { share: percent / 100.0, shedding })
    };
    // SAFETY: a text that ends with a NUL, by the words of the header.
    unsafe { act(guard, by, action) }
}

/// Serves nothing and takes no new value, until tierce_guard_lift(): reads find nothing, loads and sets
/// are TIERCE_E_DENIED. Removals are made.
///
/// \param guard  borrowed, not NULL.
/// \param by     as for tierce_guard_shed().
/// \return as tierce_guard_shed(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_block(
    guard: *const tierce_guard_t,
    by: *const c_char,
) -> tierce_status_t {
    // SAFETY: a text that ends with a NUL, by the words of the header.
    unsafe { act(guard, by, || Ok(Contingency::Block)) }
}

/// Makes all that L1 of this process has stale, in all tiers, on a thread of the library; another
/// refresh takes the place of one that is under way. It has begun when this returns.
///
/// \param guard       borrowed, not NULL.
/// \param by          as for tierce_guard_shed().
/// \param per_second  keys a second; 0 for 100.
/// \return as tierce_guard_shed(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_refresh(
    guard: *const tierce_guard_t,
    by: *const c_char,
    per_second: u32,
) -> tierce_status_t {
    let per_second = if per_second == 0 { REFRESHES } else { per_second };
    // SAFETY: a text that ends with a NUL, by the words of the header.
    unsafe { act(guard, by, || Ok(Contingency::Refresh { per_second })) }
}

/// Drops the connections to L3 and has them made anew. Calls that wait on them are misses there.
///
/// \param guard  borrowed, not NULL.
/// \param by     as for tierce_guard_shed().
/// \return as tierce_guard_shed(); TIERCE_E_UNSUPPORTED where there is no connection. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_reset(
    guard: *const tierce_guard_t,
    by: *const c_char,
) -> tierce_status_t {
    // SAFETY: a text that ends with a NUL, by the words of the header.
    unsafe { act(guard, by, || Ok(Contingency::Reset)) }
}

/// Ends what tierce_guard_shed(), tierce_guard_block() and tierce_guard_refresh() began.
///
/// \param guard  borrowed, not NULL.
/// \param by     as for tierce_guard_shed().
/// \return as tierce_guard_shed(). Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_lift(
    guard: *const tierce_guard_t,
    by: *const c_char,
) -> tierce_status_t {
    // SAFETY: a text that ends with a NUL, by the words of the header.
    unsafe { act(guard, by, || Ok(Contingency::Lift)) }
}

/// Makes a document in JSON of what is in force of these actions: `gate` with `passes` (the share, 0 to
/// 1), `shedding`, `is_blocked` and `turned_away`, and `refreshed`, keys of the refresh under way, or
/// null.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_guard_actions_json(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { watching::text(guard, out, |watching| Ok(Some(watching.guard().contingency_json()))) }
}

/// Makes a document in JSON of what the numbers of a cache show to be unwise: `advice`, a list of `code`
/// and `message`, and `survey`, what the survey under way has seen, or null.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_advise_json(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(cache, out, |cache| Ok(Some(cache.advise_json()))) }
}

/// Begins to observe which keys are asked for and how long entries of L1 are of use, for
/// tierce_advise_json(); a survey that is under way begins anew. A read costs some tens of nanoseconds
/// more until tierce_survey_end().
///
/// \param cache  borrowed, not NULL.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_survey_begin(cache: *const tierce_t) -> tierce_status_t {
    guard(|| {
        handle::find(cache)?.begin_survey();
        Ok(TIERCE_OK)
    })
}

/// Ends the survey, and what it saw is gone; nothing to end is fine.
///
/// \param cache  borrowed, not NULL.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_survey_end(cache: *const tierce_t) -> tierce_status_t {
    guard(|| {
        handle::find(cache)?.end_survey();
        Ok(TIERCE_OK)
    })
}

/// Makes a document in JSON of the counts and latencies of the last time. What is known of a window
/// begins with the first look at one, by this function or a guard.
///
/// \param cache      borrowed, not NULL.
/// \param window_ms  how many milliseconds, from a second to an hour.
/// \param out        receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///                   every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_window_json(
    cache: *const tierce_t,
    window_ms: i64,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(cache, out, |cache| Ok(Some(cache.window_json(window(window_ms)?)))) }
}

//! The rollout that a guard takes part in.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::{c_char, c_void};

use tierce::guard::rollout::Command;

use crate::{
    failure::Failure,
    slice,
    status::{TIERCE_E_CONFIG, TIERCE_OK, tierce_status_t},
    view::tierce_view_t,
    watching::{self, tierce_guard_t, utf8},
};

/// Begins a rollout: with the plan that the guard was given (`rollout.plan`) or that its store had
/// before, or with another one.
///
/// With another plan it begins in all processes of the host that take part in the rollouts of the store
/// (`rollout.of_store`), or, with L3, on all hosts. The decision is written down when this returns; the
/// first step is taken by the next look of who leads, within a second, if what it requires holds.
///
/// \param guard  borrowed, not NULL.
/// \param by     borrowed for the call, ended by a NUL, not NULL: who asks, for the journal.
/// \param plan   borrowed for the call: YAML in UTF-8; no NUL at its end is needed. NULL only when
///               `len` is 0, for the plan that there is.
/// \param len    bytes of `plan`.
/// \return TIERCE_OK; TIERCE_E_CONFIG for a plan that cannot be carried out, while a rollout is under
///         way, and where there is none to take part in; TIERCE_E_IO and the like for the journal;
///         TIERCE_E_NETWORK and the like for L3; TIERCE_E_UNSUPPORTED in a forked child;
///         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_rollout_start(
    guard: *const tierce_guard_t,
    by: *const c_char,
    plan: *const c_char,
    len: usize,
) -> tierce_status_t {
    watching::with(guard, |watching| {
        // SAFETY: a text that ends with a NUL, by the words of the header.
        let by = unsafe { utf8(by, "by") }?;
        // SAFETY: `len` bytes at `plan`, by the words of the header.
        let plan = unsafe { slice::utf8(plan.cast::<c_void>(), len, "plan") }?;
        match plan.trim().is_empty() {
            true => watching.guard().command(by, Command::Start)?,
            false => watching.guard().start_rollout(by, plan)?,
        }
        Ok(TIERCE_OK)
    })
}

/// Asks for something else of the rollout. The decision is written down, and in force in this process,
/// when this returns; a rollback is in force even where it cannot be written.
///
/// \param guard    borrowed, not NULL.
/// \param by       borrowed for the call, ended by a NUL, not NULL: who asks, for the journal.
/// \param command  borrowed for the call, ended by a NUL, not NULL: "advance" to the next step if its
///                 gate is passed, "force" it, "pause", "resume", "rollback" at once,
///                 "gradual_rollback" by the steps of the plan, or "start".
/// \return TIERCE_OK; TIERCE_E_CONFIG for another word, for what cannot be done now, and where there is
///         no rollout; TIERCE_E_IO, TIERCE_E_NETWORK and the like for the journal and L3;
///         TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any, also
///         from `notify` of tierce_guard_open().
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_rollout_ask(
    guard: *const tierce_guard_t,
    by: *const c_char,
    command: *const c_char,
) -> tierce_status_t {
    watching::with(guard, |watching| {
        // SAFETY: a text that ends with a NUL, by the words of the header.
        let by = unsafe { utf8(by, "by") }?;
        // SAFETY: as above.
        let name = unsafe { utf8(command, "command") }?;
        let command = Command::parse(name).ok_or_else(|| {
            let known = Command::NAMES.join(", ");
            Failure::new(TIERCE_E_CONFIG, format!("command {name:?}: must be of {known}"))
        })?;
        watching.guard().command(by, command)?;
        Ok(TIERCE_OK)
    })
}

/// Tells a rollout a number or a truth (1 or 0) that only the outside knows: what its plan calls
/// `input.NAME`.
///
/// \param guard  borrowed, not NULL.
/// \param input  borrowed for the call, ended by a NUL, not NULL: the name.
/// \param value  a number.
/// \return TIERCE_OK; TIERCE_E_CONFIG for what is no number, and where there is no rollout;
///         TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_rollout_push(
    guard: *const tierce_guard_t,
    input: *const c_char,
    value: f64,
) -> tierce_status_t {
    watching::with(guard, |watching| {
        // SAFETY: a text that ends with a NUL, by the words of the header.
        let input = unsafe { utf8(input, "input") }?;
        watching.guard().push(input, value)?;
        Ok(TIERCE_OK)
    })
}

/// Makes a document in JSON of where the rollout is, as of the latest look: `plan`, `stage`, `phase`,
/// `step`, `percent`, `baseline`, `target`, `green_ms` of `needed_ms`, and `red`, why the gate is shut;
/// while keys are split also `sides`, and with other hosts `hosts`.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_MISS where there is no rollout; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_rollout_json(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { watching::text(guard, out, |watching| Ok(watching.guard().rollout_json())) }
}

/// Makes a list in JSON of every decision of the rollout, the oldest first: `at_ms`, `kind`, `rule`,
/// `value`, `by`, `stage`, `phase`, `step` and `percent` of each. Reads the journal.
///
/// \param guard  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_E_CONFIG where there is no rollout; TIERCE_E_CORRUPT, TIERCE_E_IO and the
///         like for the journal; TIERCE_E_UNSUPPORTED in a forked child; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_rollout_history_json(
    guard: *const tierce_guard_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    let make = |watching: &tierce::config::Watching<tierce::Bytes>| {
        Ok(Some(watching.guard().rollout_history_json()?))
    };
    // SAFETY: a place for a view, by the words of the header.
    unsafe { watching::text(guard, out, make) }
}

//! Where Rust ends: no panic leaves, and none prints.
//!
//! A shared object or a static archive has a standard library of its own, so the panic hook set
//! here sees the panics of this library and no others. Where the crate is linked into a Rust
//! program, panics outside of our calls go on to the hook that was there before.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe, PanicHookInfo},
    sync::Once,
};

use crate::{
    failure::{self, Failure},
    status::{TIERCE_E_PANIC, tierce_status_t},
};

thread_local! {
    /// How many of our calls this thread is in: a loader may call back.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// True between a panic in one of our calls and the return of that call.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Runs one call of the header: a failure is told to the thread and becomes its code.
#[inline]
pub(crate) fn guard(call: impl FnOnce() -> Result<tierce_status_t, Failure>) -> tierce_status_t {
    let _inside = Inside::enter();
    // What a panic interrupts is the core's, whose locks open on the way and whose promises hold
    // after any call; what is ours is a value on the stack.
    match panic::catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(status)) => status,
        Ok(Err(failure)) => failure.report(),
        Err(payload) => {
            if !TOLD.take() {
                failure::record(format_args!("the library panicked: {}", message(&*payload)));
            }
            // Whoever made it may panic again in its destructor.
            std::mem::forget(payload);
            TIERCE_E_PANIC
        }
    }
}

/// Keeps panics of our calls off the host's error stream; once for the process.
pub(crate) fn tell_panics_to_the_caller() {
    static ONCE: Once = Once::new();
    if std::thread::panicking() {
        return; // A hook cannot be set from here; the next call does it.
    }
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(
            move |info| {
                if DEPTH.get() > 0 { tell(info) } else { before(info) }
            },
        ));
    });
}

fn tell(info: &PanicHookInfo<'_>) {
    let what = message(info.payload());
    match info.location() {
        Some(place) => failure::record(format_args!("the library panicked at {place}: {what}")),
        None => failure::record(format_args!("the library panicked: {what}")),
    }
    TOLD.set(true);
}

fn message(payload: &(dyn Any + Send)) -> &str {
    match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (_, Some(text)) => text,
        _ => "no message",
    }
}

struct Inside;

impl Inside {
    #[inline]
    fn enter() -> Self {
        DEPTH.set(DEPTH.get() + 1);
        Self
    }
}

impl Drop for Inside {
    #[inline]
    fn drop(&mut self) {
        DEPTH.set(DEPTH.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;
    use crate::{failure::tierce_last_error, status::TIERCE_OK};

    #[allow(unsafe_code)]
    fn last() -> String {
        // SAFETY: the text is NUL-terminated and of this thread.
        unsafe { CStr::from_ptr(tierce_last_error()) }.to_str().unwrap().to_owned()
    }

    #[test]
    fn a_panic_becomes_a_code_and_a_text_with_its_place() {
        tell_panics_to_the_caller();
        assert_eq!(guard(|| panic!("lost {}", 7)), TIERCE_E_PANIC);
        let text = last();
        assert!(text.contains("guard.rs:") && text.ends_with(": lost 7"), "{text}");
        assert_eq!(guard(|| panic::panic_any(3)), TIERCE_E_PANIC);
        assert!(last().ends_with(": no message"));
        assert_eq!(guard(|| Ok(TIERCE_OK)), TIERCE_OK);
        assert_eq!(DEPTH.get(), 0);
    }

    #[test]
    fn a_call_within_a_call_leaves_the_outer_one_guarded() {
        tell_panics_to_the_caller();
        let outer = guard(|| {
            assert_eq!(guard(|| Err(Failure::argument("inner"))), crate::TIERCE_E_ARG);
            assert_eq!(DEPTH.get(), 1);
            panic!("outer")
        });
        assert_eq!(outer, TIERCE_E_PANIC);
        assert!(last().ends_with(": outer"));
    }
}

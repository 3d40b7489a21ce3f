//! The tiers of a running cache.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::ffi::{CStr, c_char};

use tierce::Tiering;

use crate::{
    guard::guard,
    handle,
    open::tierce_t,
    slice,
    status::{TIERCE_OK, tierce_status_t},
};

/// Puts other tiers in force, under load.
///
/// Reads under way end on the tiers they began with; changes under way are waited for. A tier that
/// cannot be opened is no error: it shows in tierce_health_json().
///
/// \param cache    borrowed, not NULL.
/// \param tiering  borrowed for the call, ended by a NUL, not NULL: one of "L1", "L2", "L3",
///                 "L1L2", "L1L3", "L2L3", "L1L2L3", in any case.
/// \return TIERCE_OK, TIERCE_E_CONFIG for any other text, TIERCE_E_UNSUPPORTED, TIERCE_E_CLOSED,
///         TIERCE_E_ARG; the tiers stay as they were on any but the first. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_retier(
    cache: *const tierce_t,
    tiering: *const c_char,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a text that ends with a NUL, by the words of the header.
        let tiering = unsafe { slice::c_text(tiering, "tiering") }?.to_string_lossy();
        let cache = handle::find(cache)?;
        cache.retier(tiering.parse()?)?;
        Ok(TIERCE_OK)
    })
}

/// Tells the tiers in force.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives static text such as "L1L2" on TIERCE_OK.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_tiering(
    cache: *const tierce_t,
    out: *mut *const c_char,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a pointer, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        out.write(name(handle::find(cache)?.tiering()).as_ptr());
        Ok(TIERCE_OK)
    })
}

fn name(tiering: Tiering) -> &'static CStr {
    match tiering {
        Tiering::L1 => c"L1",
        Tiering::L2 => c"L2",
        Tiering::L3 => c"L3",
        Tiering::L1L2 => c"L1L2",
        Tiering::L1L3 => c"L1L3",
        Tiering::L2L3 => c"L2L3",
        _ => c"L1L2L3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tiering_has_its_name() {
        for tiering in Tiering::ALL {
            assert_eq!(name(tiering).to_str().unwrap(), tiering.name());
        }
    }
}

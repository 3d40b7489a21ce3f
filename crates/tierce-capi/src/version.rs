//! Which library this is: everything here comes from Cargo.toml.
#![allow(unsafe_code)] // Exported names.

use std::ffi::{CStr, c_char};

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The tiers below memory and the protection of their transport that this build has.
const FEATURES: &CStr = c"shared,redis,tls";

/// The ABI is the one of the soname: the major version.
pub(crate) const ABI_VERSION: u32 = parse(env!("CARGO_PKG_VERSION_MAJOR"));

const fn parse(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("Cargo gives the major version as a number"),
    }
}

/// Tells the ABI version of the library: equal to TIERCE_ABI_VERSION of every header that fits it.
///
/// \return the number in the soname. Never fails. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_abi_version() -> u32 {
    ABI_VERSION
}

/// Tells the version of the library, such as "0.1.0".
///
/// \return static text, never NULL. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// Tells what is built in beside L1: words of "shared" (L2), "redis" (L3) and "tls" (to L3), with
/// commas between.
///
/// \return static text, never NULL. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub extern "C" fn tierce_features() -> *const c_char {
    FEATURES.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_package() {
        let version = CStr::from_bytes_with_nul(VERSION.as_bytes()).unwrap().to_str().unwrap();
        assert_eq!(version, env!("CARGO_PKG_VERSION"));
        assert_eq!(version.split('.').next().unwrap(), tierce_abi_version().to_string());
    }
}

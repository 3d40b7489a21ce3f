//! Options of single calls: structs of the caller that begin with their size.
#![allow(unsafe_code)] // Vouches for the layout of the structs.

use std::{
    mem::{offset_of, size_of},
    time::Duration,
};

use tierce::{LoadOptions, SetOptions};

use crate::{failure::Failure, slice::Versioned};

/// A time to live of 0 ms: the cache's own default.
pub const TIERCE_TTL_DEFAULT: i64 = 0;
/// The value lives until it is evicted.
pub const TIERCE_TTL_FOREVER: i64 = -1;
/// The value goes to those who wait for it and is kept nowhere; a set with it acts as a delete.
pub const TIERCE_TTL_KEEP_NOTHING: i64 = -2;

/// Options of tierce_set(). Set all to zero and `struct_size` to the sizeof: the defaults.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_set_opts_t {
    /// sizeof(tierce_set_opts_t).
    pub struct_size: usize,
    /// Time to live in milliseconds, or one of the TIERCE_TTL_ numbers.
    pub ttl_ms: i64,
}

/// Options of tierce_get_or_load(). Set all to zero and `struct_size` to the sizeof: the
/// defaults.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_load_opts_t {
    /// sizeof(tierce_load_opts_t).
    pub struct_size: usize,
    /// Time to live of a loaded value in milliseconds, or one of the TIERCE_TTL_ numbers. What
    /// the loader says by tierce_sink_ttl() goes first.
    pub ttl_ms: i64,
    /// How many milliseconds to wait for a load that another thread began; 0 for the cache's
    /// default.
    pub wait_ms: i64,
}

const _: () = {
    assert!(offset_of!(tierce_set_opts_t, ttl_ms) == 8 && size_of::<tierce_set_opts_t>() == 16);
    assert!(offset_of!(tierce_load_opts_t, ttl_ms) == 8);
    assert!(offset_of!(tierce_load_opts_t, wait_ms) == 16);
    assert!(size_of::<tierce_load_opts_t>() == 24);
};

// SAFETY: `repr(C)`, the size first, integers whose sizes add up to that of the struct.
unsafe impl Versioned for tierce_set_opts_t {
    const FIRST_SIZE: usize = 16;
}

// SAFETY: `repr(C)`, the size first, integers whose sizes add up to that of the struct.
unsafe impl Versioned for tierce_load_opts_t {
    const FIRST_SIZE: usize = 24;
}

/// A time to live as the header spells it; `None` is the default.
pub(crate) fn ttl(ttl_ms: i64) -> Result<Option<Duration>, Failure> {
    match ttl_ms {
        TIERCE_TTL_DEFAULT => Ok(None),
        // The core takes a span too long to express for one without an end.
        TIERCE_TTL_FOREVER => Ok(Some(Duration::MAX)),
        TIERCE_TTL_KEEP_NOTHING => Ok(Some(Duration::ZERO)),
        _ => match u64::try_from(ttl_ms) {
            Ok(millis) => Ok(Some(Duration::from_millis(millis))),
            Err(_) => Err(Failure::argument(format!(
                "ttl_ms = {ttl_ms}: must be above zero or one of the TIERCE_TTL_ numbers"
            ))),
        },
    }
}

impl tierce_set_opts_t {
    pub(crate) fn to_core(self) -> Result<SetOptions, Failure> {
        let options = SetOptions::new();
        if self.ttl_ms == TIERCE_TTL_FOREVER {
            return Ok(options.no_ttl());
        }
        Ok(match ttl(self.ttl_ms)? {
            Some(ttl) => options.ttl(ttl),
            None => options,
        })
    }
}

impl tierce_load_opts_t {
    pub(crate) fn to_core(self) -> Result<LoadOptions, Failure> {
        let mut options = LoadOptions::new();
        if let Some(ttl) = ttl(self.ttl_ms)? {
            options = options.ttl(ttl);
        }
        match u64::try_from(self.wait_ms) {
            Ok(0) => Ok(options),
            Ok(millis) => Ok(options.wait(Duration::from_millis(millis))),
            Err(_) => Err(Failure::argument(format!(
                "wait_ms = {}: must be 0 (the default) or above",
                self.wait_ms
            ))),
        }
    }
}

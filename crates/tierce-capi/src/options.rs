//! Options of single calls: structs of the caller that begin with their size.
#![allow(unsafe_code)] // Vouches for the layout of the structs.

use std::{
    ffi::{c_char, c_void},
    mem::{offset_of, size_of},
    time::Duration,
};

use tierce::{Freshness, LoadOptions, ReadOptions, SetOptions, Tiering};

use crate::{
    failure::Failure,
    slice::{self, Versioned},
    tags,
};

/// A time to live of 0 ms: the cache's own default.
pub const TIERCE_TTL_DEFAULT: i64 = 0;
/// The value lives until it is evicted.
pub const TIERCE_TTL_FOREVER: i64 = -1;
/// The value goes to those who wait for it and is kept nowhere; a set with it acts as a delete.
pub const TIERCE_TTL_KEEP_NOTHING: i64 = -2;

/// A span of 0 ms: what the cache says.
pub const TIERCE_SPAN_DEFAULT: i64 = 0;

/// No span, whatever the cache says; as the age of a read: nothing is young enough.
pub const TIERCE_SPAN_NONE: i64 = -1;

/// Options of tierce_set(). Set all to zero and `struct_size` to the sizeof: the defaults.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_set_opts_t {
    /// sizeof(tierce_set_opts_t).
    pub struct_size: usize,
    /// Time to live in milliseconds, or one of the TIERCE_TTL_ numbers.
    pub ttl_ms: i64,
    /// How many milliseconds after its time to live the value may be served where loading it anew
    /// fails, or one of the TIERCE_SPAN_ numbers.
    pub stale_if_error_ms: i64,
    /// The same for while it is loaded anew.
    pub stale_while_revalidate_ms: i64,
    /// By how many percent the time to live is shortened at most, each by another part; 0 for the
    /// cache's default, TIERCE_SPAN_NONE for not at all.
    pub ttl_jitter_percent: i64,
    /// Borrowed for the call: `tag_count` pointers to tags, names by which the value can be removed
    /// or made stale (tierce_remove_tags()) beside its key. At most 128.
    pub tags: *const *const c_void,
    /// Borrowed for the call: the bytes of each tag.
    pub tag_lens: *const usize,
    /// How many tags.
    pub tag_count: usize,
    /// Borrowed for the call, ended by a NUL: the tiers that the call keeps the value in, such as "L1L2", as far as
    /// they are in force; NULL for all. From the others the key is removed.
    pub tiers: *const c_char,
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
    /// How many milliseconds after its time to live a value may be served where loading it anew
    /// fails, or one of the TIERCE_SPAN_ numbers.
    pub stale_if_error_ms: i64,
    /// The same for while another thread loads it anew.
    pub stale_while_revalidate_ms: i64,
    /// By how many percent the time to live is shortened at most, each by another part; 0 for the
    /// cache's default, TIERCE_SPAN_NONE for not at all.
    pub ttl_jitter_percent: i64,
    /// How many milliseconds it is remembered that there is no value (tierce_sink_absent()), or
    /// one of the TIERCE_SPAN_ numbers.
    pub negative_ttl_ms: i64,
    /// How many milliseconds ago the value may have been set, or its load begun, at most: what is
    /// older is loaded anew. 0 for no bound; TIERCE_SPAN_NONE always loads.
    pub max_age_ms: i64,
    /// How many milliseconds to wait for another thread's load before a stale value is taken, where
    /// one may be; 0 for the cache's default.
    pub soft_timeout_ms: i64,
    /// How many milliseconds a load may take before those who wait for it leave; 0 for the cache's
    /// default. The loader itself runs on its caller's thread, which it keeps until it returns.
    pub hard_timeout_ms: i64,
    /// For how many milliseconds a key is not loaded after its loader failed, at first, or one of
    /// the TIERCE_SPAN_ numbers. It doubles with each failure.
    pub failure_backoff_ms: i64,
    /// The longest such pause in milliseconds; 0 for 30 times the first.
    pub failure_backoff_most_ms: i64,
    /// Borrowed for the call: `tag_count` pointers to tags, names by which the value can be removed
    /// or made stale (tierce_remove_tags()) beside its key. At most 128.
    pub tags: *const *const c_void,
    /// Borrowed for the call: the bytes of each tag.
    pub tag_lens: *const usize,
    /// How many tags.
    pub tag_count: usize,
    /// Borrowed for the call, ended by a NUL: the tiers that the call looks in and keeps what is loaded in, such as "L1L2", as far as
    /// they are in force; NULL for all.
    pub tiers: *const c_char,
}

/// Options of tierce_get_with(). Set all to zero and `struct_size` to the sizeof: the defaults.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_read_opts_t {
    /// sizeof(tierce_read_opts_t).
    pub struct_size: usize,
    /// How many milliseconds ago the value may have been set, or its load begun, at most; one whose
    /// age is not known is too old. 0 for no bound; TIERCE_SPAN_NONE is satisfied by no tier.
    pub max_age_ms: i64,
    /// Not zero: a value may be served in its stale window, where no tier has a fresh one.
    pub allow_stale: i64,
    /// Borrowed for the call, ended by a NUL: the tiers that the call looks in, such as "L1L2", as far as
    /// they are in force; NULL for all.
    pub tiers: *const c_char,
}

const _: () = {
    assert!(offset_of!(tierce_set_opts_t, ttl_ms) == 8);
    assert!(offset_of!(tierce_set_opts_t, ttl_jitter_percent) == 32);
    assert!(offset_of!(tierce_set_opts_t, tags) == 40);
    assert!(size_of::<tierce_set_opts_t>() == 40 + 4 * size_of::<usize>());
    assert!(offset_of!(tierce_load_opts_t, ttl_ms) == 8);
    assert!(offset_of!(tierce_load_opts_t, wait_ms) == 16);
    assert!(offset_of!(tierce_load_opts_t, max_age_ms) == 56);
    assert!(offset_of!(tierce_load_opts_t, tags) == 96);
    assert!(size_of::<tierce_load_opts_t>() == 96 + 4 * size_of::<usize>());
    assert!(offset_of!(tierce_read_opts_t, tiers) == 24);
    assert!(size_of::<tierce_read_opts_t>() == 24 + size_of::<usize>());
};

// SAFETY: `repr(C)`, the size first, integers and pointers whose sizes add up to that of the struct;
// any bits are a pointer.
unsafe impl Versioned for tierce_set_opts_t {
    const FIRST_SIZE: usize = 16;
}

// SAFETY: as above.
unsafe impl Versioned for tierce_load_opts_t {
    const FIRST_SIZE: usize = 24;
}

// SAFETY: as above.
unsafe impl Versioned for tierce_read_opts_t {
    const FIRST_SIZE: usize = 24;
}

/// The longest pause after a failed load, in first ones, where it is not said: as in files.
const DEFAULT_BACKOFFS: u32 = 30;

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

/// A span as the header spells it; `None` is the default.
fn span(millis: i64, name: &str) -> Result<Option<Duration>, Failure> {
    match millis {
        TIERCE_SPAN_DEFAULT => Ok(None),
        TIERCE_SPAN_NONE => Ok(Some(Duration::ZERO)),
        _ => positive(millis, name),
    }
}

/// A span that has no word for "none"; `None` is the default.
fn positive(millis: i64, name: &str) -> Result<Option<Duration>, Failure> {
    match u64::try_from(millis) {
        Ok(0) => Ok(None),
        Ok(millis) => Ok(Some(Duration::from_millis(millis))),
        Err(_) => {
            Err(Failure::argument(format!("{name} = {millis}: must be 0 (the default) or above")))
        }
    }
}

/// What both structs say of how long a value is fresh and stale.
fn freshness(
    ttl_ms: i64,
    stale_if_error_ms: i64,
    stale_while_revalidate_ms: i64,
    ttl_jitter_percent: i64,
) -> Result<Freshness, Failure> {
    let mut freshness = Freshness::new();
    if ttl_ms == TIERCE_TTL_FOREVER {
        freshness = freshness.no_ttl();
    } else if let Some(ttl) = ttl(ttl_ms)? {
        freshness = freshness.ttl(ttl);
    }
    if let Some(window) = span(stale_if_error_ms, "stale_if_error_ms")? {
        freshness = freshness.stale_if_error(window);
    }
    if let Some(window) = span(stale_while_revalidate_ms, "stale_while_revalidate_ms")? {
        freshness = freshness.stale_while_revalidate(window);
    }
    match ttl_jitter_percent {
        0 => Ok(freshness),
        TIERCE_SPAN_NONE => Ok(freshness.ttl_jitter(0.0)),
        1..=100 => Ok(freshness.ttl_jitter(ttl_jitter_percent as f64 / 100.0)),
        _ => Err(Failure::argument(format!(
            "ttl_jitter_percent = {ttl_jitter_percent}: must be from 0 to 100"
        ))),
    }
}

/// The tiers of a call; `None` for all.
///
/// # Safety
/// As [`slice::c_text`].
unsafe fn tiers(name: *const c_char) -> Result<Option<Tiering>, Failure> {
    if name.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller's promise is the same.
    let name = unsafe { slice::c_text(name, "tiers") }?.to_string_lossy();
    Ok(Some(name.parse()?))
}

impl tierce_set_opts_t {
    /// # Safety
    /// As [`tags::borrow`], and [`slice::c_text`] for `tiers`.
    pub(crate) unsafe fn to_core(self) -> Result<SetOptions, Failure> {
        // SAFETY: the caller's promise is the same.
        let tags = unsafe { tags::borrow(self.tags, self.tag_lens, self.tag_count) }?;
        let freshness = freshness(
            self.ttl_ms,
            self.stale_if_error_ms,
            self.stale_while_revalidate_ms,
            self.ttl_jitter_percent,
        )?;
        let options = SetOptions::new().freshness(freshness).tags(tags);
        // SAFETY: the caller's promise is the same.
        Ok(match unsafe { tiers(self.tiers) }? {
            Some(tiers) => options.tiers(tiers),
            None => options,
        })
    }
}

impl tierce_load_opts_t {
    /// # Safety
    /// As [`tags::borrow`], and [`slice::c_text`] for `tiers`.
    pub(crate) unsafe fn to_core(self) -> Result<LoadOptions, Failure> {
        // SAFETY: the caller's promise is the same.
        let tags = unsafe { tags::borrow(self.tags, self.tag_lens, self.tag_count) }?;
        let mut freshness = freshness(
            self.ttl_ms,
            self.stale_if_error_ms,
            self.stale_while_revalidate_ms,
            self.ttl_jitter_percent,
        )?;
        if let Some(ttl) = span(self.negative_ttl_ms, "negative_ttl_ms")? {
            freshness = freshness.negative_ttl(ttl);
        }
        if let Some(soft) = positive(self.soft_timeout_ms, "soft_timeout_ms")? {
            freshness = freshness.soft_timeout(soft);
        }
        if let Some(hard) = positive(self.hard_timeout_ms, "hard_timeout_ms")? {
            freshness = freshness.hard_timeout(hard);
        }
        let most = positive(self.failure_backoff_most_ms, "failure_backoff_most_ms")?;
        if let Some(first) = span(self.failure_backoff_ms, "failure_backoff_ms")? {
            let most = most.unwrap_or(first.saturating_mul(DEFAULT_BACKOFFS));
            freshness = freshness.failure_backoff(first, most);
        }
        let mut options = LoadOptions::new().freshness(freshness).tags(tags);
        if let Some(age) = span(self.max_age_ms, "max_age_ms")? {
            options = options.max_age(age);
        }
        // SAFETY: the caller's promise is the same.
        if let Some(tiers) = unsafe { tiers(self.tiers) }? {
            options = options.tiers(tiers);
        }
        match positive(self.wait_ms, "wait_ms")? {
            Some(wait) => Ok(options.wait(wait)),
            None => Ok(options),
        }
    }
}

impl tierce_read_opts_t {
    /// # Safety
    /// As [`slice::c_text`], for `tiers`.
    pub(crate) unsafe fn to_core(self) -> Result<ReadOptions, Failure> {
        let mut options = ReadOptions::new().allow_stale(self.allow_stale != 0);
        // SAFETY: the caller's promise is the same.
        if let Some(tiers) = unsafe { tiers(self.tiers) }? {
            options = options.tiers(tiers);
        }
        Ok(match span(self.max_age_ms, "max_age_ms")? {
            Some(age) => options.max_age(age),
            None => options,
        })
    }
}

//! Statistics, health and metrics.
#![allow(unsafe_code)] // Exported names; borrows of what the caller passed.

use std::mem::{offset_of, size_of};

use tierce::{Bytes, TierKind};

use crate::{
    failure::Failure,
    guard::guard,
    handle::{self, InUse},
    open::tierce_t,
    slice::{self, Versioned},
    status::{TIERCE_MISS, TIERCE_OK, tierce_status_t},
    view::{
        self, TIERCE_FROM_L1, TIERCE_FROM_L2, TIERCE_FROM_L3, TIERCE_FROM_NOWHERE, tierce_view_t,
    },
};

/// What a cache did since it was opened. Numbers that this library does not count are 0.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_stats_t {
    /// sizeof(tierce_stats_t), set by the caller.
    pub struct_size: usize,
    /// Reads that a tier answered.
    pub hits: u64,
    /// Reads that no tier answered.
    pub misses: u64,
    /// Loaders that were run.
    pub loads: u64,
    /// Loaders that failed.
    pub load_failures: u64,
    /// Calls that waited for another thread's load of the same key.
    pub load_waits: u64,
    /// The tier of the latest hit, TIERCE_FROM_L1 and so on; TIERCE_FROM_NOWHERE before the first.
    pub last_hit: u64,
    /// Those of `hits` that found word that the key has no value.
    pub negative_hits: u64,
    /// Reads that were given a stale value: neither hits nor misses.
    pub stale_served: u64,
}

/// What one tier did since the cache was opened, and how full it is.
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct tierce_tier_stats_t {
    /// sizeof(tierce_tier_stats_t), set by the caller.
    pub struct_size: usize,
    /// Requests that it answered.
    pub hits: u64,
    /// Requests that it was asked and did not answer.
    pub misses: u64,
    /// Its failures, all kinds together.
    pub errors: u64,
    /// Values that were brought up into it from a tier below.
    pub backfills: u64,
    /// Entries that left it to keep its bounds.
    pub evictions: u64,
    /// Entries that left it because their time to live had passed.
    pub expirations: u64,
    /// Entries in it; 0 where it cannot tell.
    pub entries: u64,
    /// Bytes that it holds, overhead included; 0 where it cannot tell.
    pub bytes: u64,
    /// Half of its reads took at most so many nanoseconds.
    pub latency_p50_ns: u64,
    /// 95 % of its reads took at most so many nanoseconds.
    pub latency_p95_ns: u64,
    /// 99 % of its reads took at most so many nanoseconds.
    pub latency_p99_ns: u64,
    /// 1 while it answers, 0 while it does not: then tierce_health_json() says why.
    pub answers: u64,
}

const _: () = {
    assert!(offset_of!(tierce_stats_t, hits) == 8);
    assert!(offset_of!(tierce_stats_t, last_hit) == 48 && size_of::<tierce_stats_t>() == 72);
    assert!(offset_of!(tierce_tier_stats_t, hits) == 8);
    assert!(offset_of!(tierce_tier_stats_t, answers) == 96);
    assert!(size_of::<tierce_tier_stats_t>() == 104);
};

// SAFETY: `repr(C)`, the size first, integers whose sizes add up to that of the struct.
unsafe impl Versioned for tierce_stats_t {
    const FIRST_SIZE: usize = 56;
}

// SAFETY: `repr(C)`, the size first, integers whose sizes add up to that of the struct.
unsafe impl Versioned for tierce_tier_stats_t {
    const FIRST_SIZE: usize = 104;
}

/// Reads the numbers of the whole cache.
///
/// They are read one after the other while the cache goes on, so they may be some operations
/// apart.
///
/// \param cache  borrowed, not NULL.
/// \param stats  owned by the caller, who has set `struct_size`; filled in on TIERCE_OK.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_stats(
    cache: *const tierce_t,
    stats: *mut tierce_stats_t,
) -> tierce_status_t {
    guard(|| {
        let now = handle::find(cache)?.stats();
        let known = tierce_stats_t {
            struct_size: 0,
            hits: now.hits,
            misses: now.misses,
            loads: now.loads,
            load_failures: now.load_failures,
            load_waits: now.load_waits,
            last_hit: now.last_hit_tier.map_or(TIERCE_FROM_NOWHERE, number).into(),
            negative_hits: now.negative_hits,
            stale_served: now.stale_served,
        };
        // SAFETY: a struct of the size that it says, by the words of the header.
        unsafe { slice::fill(stats, &known, "stats") }?;
        Ok(TIERCE_OK)
    })
}

/// Reads the numbers of one tier.
///
/// \param cache  borrowed, not NULL.
/// \param tier   TIERCE_FROM_L1, TIERCE_FROM_L2 or TIERCE_FROM_L3.
/// \param stats  owned by the caller, who has set `struct_size`; filled in on TIERCE_OK.
/// \return TIERCE_OK; TIERCE_MISS where the tier is not in force; TIERCE_E_CLOSED; TIERCE_E_ARG.
///         Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_get_tier_stats(
    cache: *const tierce_t,
    tier: u32,
    stats: *mut tierce_tier_stats_t,
) -> tierce_status_t {
    guard(|| {
        let kind =
            TierKind::ALL.into_iter().find(|kind| number(*kind) == tier).ok_or_else(|| {
                Failure::argument(format!("tier = {tier}: must be one of TIERCE_FROM_L1, _L2, _L3"))
            })?;
        let cache = handle::find(cache)?;
        let now = cache.stats();
        let Some(now) = now.tier(kind) else {
            // The struct is checked all the same: an error must not wait for the tier to show.
            // SAFETY: as below.
            unsafe { slice::check_struct(stats, "stats") }?;
            return Ok(TIERCE_MISS);
        };
        let known = tierce_tier_stats_t {
            struct_size: 0,
            hits: now.hits,
            misses: now.misses,
            errors: now.errors_total(),
            backfills: now.backfills,
            evictions: now.evictions.size.saturating_add(now.evictions.bytes),
            expirations: now.evictions.expired,
            entries: now.entries,
            bytes: now.bytes,
            latency_p50_ns: nanos(now.latency.p50),
            latency_p95_ns: nanos(now.latency.p95),
            latency_p99_ns: nanos(now.latency.p99),
            answers: now.trouble.is_none().into(),
        };
        // SAFETY: a struct of the size that it says, by the words of the header.
        unsafe { slice::fill(stats, &known, "stats") }?;
        Ok(TIERCE_OK)
    })
}

fn number(tier: TierKind) -> u32 {
    match tier {
        TierKind::Memory => TIERCE_FROM_L1,
        TierKind::Shared => TIERCE_FROM_L2,
        TierKind::Redis => TIERCE_FROM_L3,
    }
}

fn nanos(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// Makes the statistics in JSON: those of the whole cache, and of each tier in force. Spans of
/// time are whole nanoseconds, with `_ns` behind their names.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_stats_json(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(cache, out, |cache| Ok(Some(cache.stats().to_json()))) }
}

/// Makes the health document in JSON: `service`, `status`, `tierMetrics` and `dependencies`, which
/// has an element for each tier in force. Looks at what is known already and asks no tier.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_health_json(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(cache, out, |cache| Ok(Some(cache.health().to_json()))) }
}

/// Makes the statistics in the text format of Prometheus.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives a view on TIERCE_OK, give it to tierce_view_release(); zeroed on
///               every other answer. A NUL, which `len` does not count, ends the text.
/// \return TIERCE_OK; TIERCE_MISS where metrics are not shown (`metrics_enabled`);
///         TIERCE_E_CLOSED; TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_metrics_text(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
) -> tierce_status_t {
    // SAFETY: a place for a view, by the words of the header.
    unsafe { text(cache, out, |cache| Ok(cache.metrics_text())) }
}

/// Puts a text of the cache into a view, with a NUL behind it for C; a text that there is not is
/// a miss.
///
/// # Safety
/// As [`view::place`] for `out`.
pub(crate) unsafe fn text(
    cache: *const tierce_t,
    out: *mut tierce_view_t,
    make: impl FnOnce(&InUse) -> Result<Option<String>, Failure>,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: the caller's promise is the same.
        let out = unsafe { view::place(out) }?;
        let Some(text) = make(&handle::find(cache)?)? else {
            return Ok(TIERCE_MISS);
        };
        put_text(out, text);
        Ok::<_, Failure>(TIERCE_OK)
    })
}

/// Puts a text into a view, with a NUL behind it for C.
pub(crate) fn put_text(out: &mut tierce_view_t, mut text: String) {
    let len = text.len();
    text.push('\0');
    *out = tierce_view_t::of(Bytes::from(text).slice(..len), TIERCE_FROM_NOWHERE);
}

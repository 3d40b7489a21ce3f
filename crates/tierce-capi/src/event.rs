//! What listeners are told of a cache.
#![allow(unsafe_code)] // Exported names; the call of the caller's function.

use std::{
    ffi::{CStr, CString, c_char, c_void},
    ptr,
};

use tierce::{BreakerState, Event, RemovalCause, TierKind};

use crate::{
    failure::Failure,
    guard::guard,
    handle,
    open::tierce_t,
    slice,
    status::{TIERCE_OK, tierce_status_t},
    user::{User, tierce_drop_fn},
    view::{TIERCE_FROM_L1, TIERCE_FROM_L2, TIERCE_FROM_L3, TIERCE_FROM_NOWHERE},
};

/// An event of a kind that has no number yet; its text says what it is.
pub const TIERCE_EVENT_OTHER: u32 = 0;
/// A tier had a fresh value, or word that there is none, and a read was answered by it.
pub const TIERCE_EVENT_HIT: u32 = 1;
/// A read was answered by a stale value.
pub const TIERCE_EVENT_STALE: u32 = 2;
/// No tier had what a read could be answered by.
pub const TIERCE_EVENT_MISS: u32 = 3;
/// A loader returned or failed.
pub const TIERCE_EVENT_LOAD: u32 = 4;
/// A caller set the key.
pub const TIERCE_EVENT_SET: u32 = 5;
/// A caller removed the key.
pub const TIERCE_EVENT_DELETE: u32 = 6;
/// A caller made the key's value stale.
pub const TIERCE_EVENT_EXPIRE: u32 = 7;
/// A caller removed all keys.
pub const TIERCE_EVENT_CLEAR: u32 = 8;
/// An entry left L1 for room or age.
pub const TIERCE_EVENT_EVICT: u32 = 9;
/// Other tiers are in force.
pub const TIERCE_EVENT_RETIER: u32 = 10;
/// A caller gave the key's value another time to live.
pub const TIERCE_EVENT_TOUCH: u32 = 11;
/// Entries left L2, `count` of them since this was told last.
pub const TIERCE_EVENT_EVICT_SHARED: u32 = 12;
/// Another host, or another client of the server, changed the key in L3.
pub const TIERCE_EVENT_INVALIDATE: u32 = 13;
/// The same of many keys: of a group of them, or of all.
pub const TIERCE_EVENT_INVALIDATE_MANY: u32 = 14;
/// A caller removed all that bears some tags, which the text names.
pub const TIERCE_EVENT_REMOVE_TAGS: u32 = 15;
/// A caller made all that bears some tags stale, which the text names.
pub const TIERCE_EVENT_EXPIRE_TAGS: u32 = 16;
/// The breaker before a tier changed its state, which is the reason.
pub const TIERCE_EVENT_BREAKER: u32 = 17;
/// A caller removed all whose keys begin with some prefixes, which the text names.
pub const TIERCE_EVENT_REMOVE_PREFIXES: u32 = 18;
/// A caller made all stale whose keys begin with some prefixes, which the text names.
pub const TIERCE_EVENT_EXPIRE_PREFIXES: u32 = 19;

/// Another share of calls passes than before, or none (tierce_guard_shed(), tierce_guard_block()), in
/// the words of the text.
pub const TIERCE_EVENT_GATE: u32 = 20;
/// The connections to a tier were dropped, to be made anew.
pub const TIERCE_EVENT_RESET: u32 = 21;

/// Something that happened in a cache: borrowed for the call, as all that it points to. Later
/// versions may add fields at the end.
#[repr(C)]
pub struct tierce_event_t {
    /// The bytes of this struct that the library filled in.
    pub struct_size: usize,
    /// One of the TIERCE_EVENT_ numbers; there may be more in later versions.
    pub kind: u32,
    /// The tier that had the value, as one of the TIERCE_FROM_ numbers.
    pub tier: u32,
    /// The key; NULL for what concerns all of them.
    pub key: *const c_void,
    /// Bytes of `key`.
    pub key_len: usize,
    /// Of a load why it was made, as `reason` of tierce_load_context_t; of an eviction "size",
    /// "bytes" or "expired"; of a breaker "closed", "open" or "half_open"; of
    /// TIERCE_EVENT_INVALIDATE_MANY "all" or "group"; else NULL. Static text.
    pub reason: *const c_char,
    /// Of a load how many nanoseconds the loader took; else below zero.
    pub took_ns: i64,
    /// Of a load that failed its code, else TIERCE_OK.
    pub status: i64,
    /// Of TIERCE_EVENT_EVICT_SHARED how many entries, else 0.
    pub count: u64,
    /// All that is known of it, for people to read; ended by a NUL.
    pub text: *const c_char,
}

/// Is told of an event. Called on a thread of the cache, one event after another, with no lock
/// held; may call any function of this library. Must return: no longjmp() and no C++ exception may
/// leave it.
///
/// \param user   as given to tierce_on_event().
/// \param event  borrowed for the call, not NULL.
pub type tierce_event_fn =
    Option<unsafe extern "C-unwind" fn(user: *mut c_void, event: *const tierce_event_t)>;

/// Has `listener` told of what happens in a cache, until that is closed.
///
/// Nobody waits for it: events that come faster than it takes them are dropped, see
/// tierce_events_dropped(). While anybody listens, a hit costs about a microsecond more.
///
/// \param cache     borrowed, not NULL.
/// \param listener  not NULL.
/// \param user      handed to `listener`, not looked at.
/// \param let_go    called with `user` once `listener` will not be called any more; NULL for
///                  nothing. Also called where this function answers anything but TIERCE_OK.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_on_event(
    cache: *const tierce_t,
    listener: tierce_event_fn,
    user: *mut c_void,
    let_go: tierce_drop_fn,
) -> tierce_status_t {
    let user = User::new(user, let_go);
    guard(|| {
        let listener = listener.ok_or_else(|| Failure::argument("listener is NULL"))?;
        handle::find(cache)?.on_event(move |event| {
            let user = &user;
            with(event, |told| {
                // SAFETY: a function of this type, which takes what it is given as the header
                // says; all that the event points to lives until it has returned.
                unsafe { listener(user.get(), told) }
            });
        });
        Ok(TIERCE_OK)
    })
}

/// Tells how many events listeners were not told of, because too many waited.
///
/// \param cache  borrowed, not NULL.
/// \param out    receives the number on TIERCE_OK.
/// \return TIERCE_OK, TIERCE_E_CLOSED, TIERCE_E_ARG. Threads: any.
/// \since 0.1
#[unsafe(no_mangle)]
pub unsafe extern "C" fn tierce_events_dropped(
    cache: *const tierce_t,
    out: *mut u64,
) -> tierce_status_t {
    guard(|| {
        // SAFETY: a place for a number, by the words of the header.
        let out = unsafe { slice::out(out, "out") }?;
        out.write(handle::find(cache)?.events_dropped());
        Ok(TIERCE_OK)
    })
}

/// Runs with the event in the form of C.
fn with(event: &Event, run: impl FnOnce(*const tierce_event_t)) {
    let text = format!("{event:?}").replace('\0', "\\0");
    let text = CString::new(text).unwrap_or_default();
    let mut told = tierce_event_t {
        struct_size: size_of::<tierce_event_t>(),
        kind: TIERCE_EVENT_OTHER,
        tier: TIERCE_FROM_NOWHERE,
        key: ptr::null(),
        key_len: 0,
        reason: ptr::null(),
        took_ns: -1,
        status: TIERCE_OK.into(),
        count: 0,
        text: text.as_ptr(),
    };
    let mut about = |kind, key: &[u8]| {
        told.kind = kind;
        told.key = key.as_ptr().cast();
        told.key_len = key.len();
    };
    match event {
        Event::Hit { key, tier, .. } => {
            about(TIERCE_EVENT_HIT, key);
            told.tier = number(*tier);
        }
        Event::Stale { key, tier, .. } => {
            about(TIERCE_EVENT_STALE, key);
            told.tier = number(*tier);
        }
        Event::Miss { key, .. } => about(TIERCE_EVENT_MISS, key),
        Event::Load { key, reason, took, error, .. } => {
            about(TIERCE_EVENT_LOAD, key);
            told.reason = crate::loading::reason(*reason);
            told.took_ns = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
            if let Some(error) = error {
                told.status = crate::status::of_kind(error.kind()).into();
            }
        }
        Event::Set { key, .. } => about(TIERCE_EVENT_SET, key),
        Event::Delete { key, .. } => about(TIERCE_EVENT_DELETE, key),
        Event::Expire { key, .. } => about(TIERCE_EVENT_EXPIRE, key),
        Event::Clear { .. } => told.kind = TIERCE_EVENT_CLEAR,
        Event::Evict { key, cause, .. } => {
            about(TIERCE_EVENT_EVICT, key);
            told.tier = TIERCE_FROM_L1;
            told.reason = why(*cause).as_ptr();
        }
        Event::Retier { .. } => told.kind = TIERCE_EVENT_RETIER,
        Event::Touch { key, .. } => about(TIERCE_EVENT_TOUCH, key),
        Event::EvictShared { for_room, expired, .. } => {
            told.kind = TIERCE_EVENT_EVICT_SHARED;
            told.tier = TIERCE_FROM_L2;
            told.count = for_room + expired;
        }
        Event::Invalidate { key, .. } => {
            about(TIERCE_EVENT_INVALIDATE, key);
            told.tier = TIERCE_FROM_L3;
        }
        Event::InvalidateMany { is_all, .. } => {
            told.kind = TIERCE_EVENT_INVALIDATE_MANY;
            told.tier = TIERCE_FROM_L3;
            told.reason = if *is_all { c"all" } else { c"group" }.as_ptr();
        }
        Event::Tags { is_removed: true, .. } => told.kind = TIERCE_EVENT_REMOVE_TAGS,
        Event::Tags { .. } => told.kind = TIERCE_EVENT_EXPIRE_TAGS,
        Event::Prefixes { is_removed: true, .. } => told.kind = TIERCE_EVENT_REMOVE_PREFIXES,
        Event::Prefixes { .. } => told.kind = TIERCE_EVENT_EXPIRE_PREFIXES,
        Event::Breaker { tier, state, .. } => {
            told.kind = TIERCE_EVENT_BREAKER;
            told.tier = number(*tier);
            told.reason = match state {
                BreakerState::Closed => c"closed",
                BreakerState::Open => c"open",
                BreakerState::HalfOpen => c"half_open",
            }
            .as_ptr();
        }
        Event::Gate { .. } => told.kind = TIERCE_EVENT_GATE,
        Event::Reset { tier, .. } => {
            told.kind = TIERCE_EVENT_RESET;
            told.tier = number(*tier);
        }
        _ => {}
    }
    run(&raw const told);
}

fn why(cause: RemovalCause) -> &'static CStr {
    match cause {
        RemovalCause::Size => c"size",
        RemovalCause::Bytes => c"bytes",
        RemovalCause::Expired => c"expired",
        _ => c"other",
    }
}

fn number(tier: TierKind) -> u32 {
    match tier {
        TierKind::Memory => TIERCE_FROM_L1,
        TierKind::Shared => TIERCE_FROM_L2,
        TierKind::Redis => TIERCE_FROM_L3,
    }
}

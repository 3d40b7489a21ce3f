//! The C ABI of tierce: `include/tierce.h` is generated from this crate.
//!
//! Thin by rule: convert, call the core, convert back. What holds for every function:
//!
//! - It runs inside [`guard`]: a panic becomes `TIERCE_E_PANIC`, an error becomes a code and a
//!   text in a buffer of this thread that never moves.
//! - Caches and sinks are numbers in the clothes of a pointer (index and generation, see
//!   [`handle`] and [`sink`]): one that was closed, made up or meant for something else is an
//!   error code.
//! - Pointers are checked for NULL, lengths for a sane size ([`slice`]). Whether a pointer that is
//!   not NULL points to what its length says is the caller's word; that is the one obligation all
//!   `unsafe` here rests on.
//! - The caller's functions are called with no lock held.
//!
//! | file | answers |
//! |---|---|
//! | `version.rs` | which library this is |
//! | `status.rs` | the codes, and which error has which |
//! | `failure.rs` | what went wrong last in this thread |
//! | `open.rs` | how a cache is opened and closed |
//! | `view.rs`, `read.rs` | how a value is found, pinned and given back |
//! | `options.rs`, `change.rs` | set, delete, expire, clear |
//! | `tags.rs` | what is changed by its tags |
//! | `update.rs` | changes that depend on what is there |
//! | `sink.rs`, `load.rs` | loading on a miss |
//! | `loading.rs` | loaders that are told what there is, and may run on threads of the cache |
//! | `event.rs` | what listeners are told |
//! | `report.rs` | statistics, health, metrics |
//! | `watch.rs` | objectives and alerts |
//! | `watching.rs` | guards: what a configuration says beside the tiers, and the listener |
//! | `rollout.rs` | the rollout that a guard takes part in |
//! | `actions.rs` | what an operator does when things go wrong, and what the numbers advise |
//! | `operate.rs` | the tiers of a running cache |
//! | `guard.rs`, `handle.rs`, `registry.rs`, `slice.rs`, `user.rs` | panics, handles, pointers |
#![deny(unsafe_code)]
// The names are those of the header.
#![allow(non_camel_case_types)]
// What a caller must uphold stands at each parameter, in the words of the header.
#![allow(clippy::missing_safety_doc)]

// In the order of the header.
mod version;

mod status;

mod failure;

mod open;

mod view;

mod read;

mod options;

mod change;

mod tags;

mod prefixes;

mod update;

mod sink;

mod load;

mod user;

mod loading;

mod event;

mod report;

mod watch;

mod watching;

mod rollout;

mod actions;

mod operate;

mod guard;
mod handle;
mod registry;
mod slice;

pub use actions::{
    tierce_advise_json, tierce_guard_actions_json, tierce_guard_block, tierce_guard_lift,
    tierce_guard_refresh, tierce_guard_reset, tierce_guard_shed, tierce_survey_begin,
    tierce_survey_end, tierce_window_json,
};
pub use change::{
    tierce_clear, tierce_delete, tierce_delete_many, tierce_expire, tierce_flush, tierce_set,
    tierce_touch,
};
pub use event::{
    TIERCE_EVENT_BREAKER, TIERCE_EVENT_CLEAR, TIERCE_EVENT_DELETE, TIERCE_EVENT_EVICT,
    TIERCE_EVENT_EVICT_SHARED, TIERCE_EVENT_EXPIRE, TIERCE_EVENT_EXPIRE_PREFIXES,
    TIERCE_EVENT_EXPIRE_TAGS, TIERCE_EVENT_GATE, TIERCE_EVENT_HIT, TIERCE_EVENT_INVALIDATE,
    TIERCE_EVENT_INVALIDATE_MANY, TIERCE_EVENT_LOAD, TIERCE_EVENT_MISS, TIERCE_EVENT_OTHER,
    TIERCE_EVENT_REMOVE_PREFIXES, TIERCE_EVENT_REMOVE_TAGS, TIERCE_EVENT_RESET,
    TIERCE_EVENT_RETIER, TIERCE_EVENT_SET, TIERCE_EVENT_STALE, TIERCE_EVENT_TOUCH, tierce_event_fn,
    tierce_event_t, tierce_events_dropped, tierce_on_event,
};
pub use failure::{
    tierce_error_copy, tierce_last_error, tierce_last_loader_code, tierce_status_name,
};
pub use load::{tierce_get_or_load, tierce_load_fn};
pub use loading::{
    tierce_context_load_fn, tierce_load_context_t, tierce_load_is_cancelled, tierce_loading_close,
    tierce_loading_get, tierce_loading_open, tierce_loading_refresh, tierce_loading_t,
};
pub use open::{tierce_close, tierce_open, tierce_open_env, tierce_open_file, tierce_t};
pub use operate::{tierce_retier, tierce_tiering};
pub use options::{
    TIERCE_SPAN_DEFAULT, TIERCE_SPAN_NONE, TIERCE_TTL_DEFAULT, TIERCE_TTL_FOREVER,
    TIERCE_TTL_KEEP_NOTHING, tierce_load_opts_t, tierce_read_opts_t, tierce_set_opts_t,
};
pub use prefixes::{tierce_expire_prefixes, tierce_remove_prefixes};
pub use read::{tierce_get, tierce_get_copy, tierce_get_many, tierce_get_with};
pub use report::{
    tierce_get_stats, tierce_get_tier_stats, tierce_health_json, tierce_metrics_text,
    tierce_stats_json, tierce_stats_t, tierce_tier_stats_t,
};
pub use rollout::{
    tierce_rollout_ask, tierce_rollout_history_json, tierce_rollout_json, tierce_rollout_push,
    tierce_rollout_start,
};
pub use sink::{
    tierce_sink_absent, tierce_sink_not_modified, tierce_sink_reserve, tierce_sink_t,
    tierce_sink_tag, tierce_sink_truncate, tierce_sink_ttl, tierce_sink_validator,
    tierce_sink_weight, tierce_sink_write,
};
pub use status::{
    TIERCE_ABSENT, TIERCE_E_ARG, TIERCE_E_AUTH, TIERCE_E_BUSY, TIERCE_E_CLOSED, TIERCE_E_CODEC,
    TIERCE_E_CONFIG, TIERCE_E_CORRUPT, TIERCE_E_DENIED, TIERCE_E_FULL, TIERCE_E_IO,
    TIERCE_E_LOADER, TIERCE_E_NETWORK, TIERCE_E_NOMEM, TIERCE_E_OTHER, TIERCE_E_PANIC,
    TIERCE_E_REENTRANT, TIERCE_E_TIMEOUT, TIERCE_E_TOO_LARGE, TIERCE_E_UNSUPPORTED,
    TIERCE_E_VERSION, TIERCE_MISS, TIERCE_OK, TIERCE_OTHERWISE, TIERCE_TRUNCATED, tierce_status_t,
};
pub use tags::{tierce_expire_tags, tierce_remove_tags};
pub use update::{
    tierce_compare_and_set, tierce_get_versioned, tierce_increment, tierce_revision_release,
    tierce_revision_t, tierce_set_if_absent,
};
pub use user::tierce_drop_fn;
pub use version::{tierce_abi_version, tierce_features, tierce_version};
pub use view::{
    TIERCE_FROM_L1, TIERCE_FROM_L2, TIERCE_FROM_L3, TIERCE_FROM_LOADER, TIERCE_FROM_NOWHERE,
    TIERCE_FROM_OTHER_LOADER, TIERCE_VIEW_STALE, tierce_view_release, tierce_view_t,
};
pub use watch::{
    tierce_alerts_json, tierce_alerts_start, tierce_alerts_stop, tierce_notice_fn, tierce_slo_json,
};
pub use watching::{
    TIERCE_DEGRADED, TIERCE_HEALTHY, TIERCE_UNHEALTHY, tierce_guard_alerts_json,
    tierce_guard_close, tierce_guard_metrics_text, tierce_guard_open, tierce_guard_port,
    tierce_guard_serve, tierce_guard_serve_stop, tierce_guard_slo_json, tierce_guard_t,
    tierce_health,
};

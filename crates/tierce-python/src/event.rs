//! What listeners are told of a cache.
//!
//! They are called in a thread of the cache, one event after another. What a listener raises is
//! told to `sys.unraisablehook`, as what a `__del__` raises.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyTuple},
};
use tierce::{Event, RemovalCause};

use crate::{call::call, error::exception, held::Parked};

/// Something that happened in a cache: what a listener of `Cache.on_event` is called with.
///
/// Attributes
/// ----------
/// kind : str
///     "hit", "stale" (answered by a stale value), "miss", "load" (a loader returned or failed),
///     "set", "delete", "expire", "touch", "clear", "remove_tags", "expire_tags",
///     "remove_prefixes", "expire_prefixes", "evict" (left
///     L1 for room or age), "evict_shared" (some left L2), "invalidate" and "invalidate_many"
///     (another host changed it in L3), "breaker" (before a tier), "retier", "gate" (another share of
///     calls passes, as `details` says), "reset" (connections are made anew). There may be more in
///     later versions.
/// key : bytes or None
///     The key; None for what concerns all of them.
/// tier : str or None
///     "L1", "L2" or "L3" where one had the value.
/// reason : str or None
///     Of a load why it was made, as `LoadContext.reason`; of an eviction "size", "bytes" or
///     "expired"; of a breaker its state; of "invalidate_many" "all" or "group".
/// took : float or None
///     Of a load how many seconds the loader took.
/// error : Exception or None
///     Of a load why it failed: what the loader raised is its `__cause__`.
/// count : int or None
///     Of "evict_shared" how many entries left L2 since that was told last.
/// tags : tuple of bytes or None
///     Of "remove_tags" and "expire_tags" the tags, of "remove_prefixes" and "expire_prefixes" the
///     prefixes.
/// tiering : tuple of str or None
///     Of "retier": the tiers before, and those from now on.
/// details : str
///     All that is known of it, for people to read.
///
/// Examples
/// --------
/// >>> import queue, tierce
/// >>> cache, events = tierce.Cache(), queue.Queue()
/// >>> cache.on_event(events.put)
/// >>> cache["user:7"] = "Ada"
/// >>> event = events.get()
/// >>> event.kind, event.key
/// ('set', b'user:7')
#[pyclass(name = "Event", module = "tierce", frozen)]
pub(crate) struct PyEvent {
    event: Event,
}

/// What all kinds of events have in common.
#[derive(Default)]
struct Parts<'a> {
    kind: &'static str,
    key: Option<&'a [u8]>,
    tier: Option<&'static str>,
    reason: Option<&'static str>,
}

impl PyEvent {
    fn parts(&self) -> Parts<'_> {
        fn of<'a>(kind: &'static str, key: &'a [u8]) -> Parts<'a> {
            Parts { kind, key: Some(key), ..Parts::default() }
        }
        match &self.event {
            Event::Hit { key, tier, .. } => Parts { tier: Some(tier.short()), ..of("hit", key) },
            Event::Stale { key, tier, .. } => {
                Parts { tier: Some(tier.short()), ..of("stale", key) }
            }
            Event::Miss { key, .. } => of("miss", key),
            Event::Load { key, reason, .. } => {
                Parts { reason: Some(reason.as_str()), ..of("load", key) }
            }
            Event::Set { key, .. } => of("set", key),
            Event::Delete { key, .. } => of("delete", key),
            Event::Expire { key, .. } => of("expire", key),
            Event::Clear { .. } => Parts { kind: "clear", ..Parts::default() },
            Event::Evict { key, cause, .. } => {
                let reason = match cause {
                    RemovalCause::Size => "size",
                    RemovalCause::Bytes => "bytes",
                    RemovalCause::Expired => "expired",
                    _ => "other",
                };
                Parts { reason: Some(reason), tier: Some("L1"), ..of("evict", key) }
            }
            Event::Touch { key, .. } => of("touch", key),
            Event::EvictShared { .. } => {
                Parts { kind: "evict_shared", tier: Some("L2"), ..Parts::default() }
            }
            Event::Invalidate { key, .. } => Parts { tier: Some("L3"), ..of("invalidate", key) },
            Event::InvalidateMany { is_all, .. } => Parts {
                kind: "invalidate_many",
                tier: Some("L3"),
                reason: Some(if *is_all { "all" } else { "group" }),
                ..Parts::default()
            },
            Event::Tags { is_removed, .. } => Parts {
                kind: if *is_removed { "remove_tags" } else { "expire_tags" },
                ..Parts::default()
            },
            Event::Prefixes { is_removed, .. } => Parts {
                kind: if *is_removed { "remove_prefixes" } else { "expire_prefixes" },
                ..Parts::default()
            },
            Event::Breaker { tier, state, .. } => Parts {
                kind: "breaker",
                tier: Some(tier.short()),
                reason: Some(state.as_str()),
                ..Parts::default()
            },
            Event::Retier { .. } => Parts { kind: "retier", ..Parts::default() },
            Event::Gate { .. } => Parts { kind: "gate", ..Parts::default() },
            Event::Reset { tier, .. } => {
                Parts { kind: "reset", tier: Some(tier.short()), ..Parts::default() }
            }
            _ => Parts { kind: "other", ..Parts::default() },
        }
    }
}

#[pymethods]
impl PyEvent {
    #[getter]
    fn kind(&self) -> &'static str {
        self.parts().kind
    }

    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.parts().key.map(|key| PyBytes::new(py, key))
    }

    #[getter]
    fn tier(&self) -> Option<&'static str> {
        self.parts().tier
    }

    #[getter]
    fn reason(&self) -> Option<&'static str> {
        self.parts().reason
    }

    #[getter]
    fn took(&self) -> Option<f64> {
        match &self.event {
            Event::Load { took, .. } => Some(took.as_secs_f64()),
            _ => None,
        }
    }

    #[getter]
    fn error(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        let Event::Load { error: Some(error), .. } = &self.event else { return None };
        let told = exception(py, error);
        told.set_cause(py, crate::load::cause(py, error));
        Some(told.into_value(py).into_any())
    }

    #[getter]
    fn count(&self) -> Option<u64> {
        match &self.event {
            Event::EvictShared { for_room, expired, .. } => Some(for_room + expired),
            _ => None,
        }
    }

    #[getter]
    fn tags<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyTuple>>> {
        match &self.event {
            Event::Tags { tags, .. } | Event::Prefixes { prefixes: tags, .. } => {
                PyTuple::new(py, tags.iter().map(|tag| PyBytes::new(py, tag))).map(Some)
            }
            _ => Ok(None),
        }
    }

    #[getter]
    fn tiering(&self) -> Option<(&'static str, &'static str)> {
        match &self.event {
            Event::Retier { from, to, .. } => Some((from.name(), to.name())),
            _ => None,
        }
    }

    #[getter]
    fn details(&self) -> String {
        format!("{:?}", self.event)
    }

    fn __repr__(&self) -> String {
        let Parts { kind, key, .. } = self.parts();
        match key {
            Some(key) => format!("<tierce.Event {kind} b\"{}\">", key.escape_ascii()),
            None => format!("<tierce.Event {kind}>"),
        }
    }
}

/// The listener of the core that calls `listener`.
pub(crate) fn listening(listener: Py<PyAny>) -> impl Fn(&Event) + Send + Sync + 'static {
    let listener = Parked::new(listener);
    move |event| {
        // Nobody is told while the interpreter shuts down.
        let _ = Python::try_attach(|py| {
            let listener = listener.get().bind(py);
            let told = Bound::new(py, PyEvent { event: event.clone() })
                .and_then(|event| call(listener, &PyTuple::new(py, [event])?, None));
            if let Err(error) = told {
                error.write_unraisable(py, Some(listener));
            }
        });
    }
}

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
///     "set", "delete", "expire", "clear", "evict" (left L1 for room or age), "retier". There may
///     be more in later versions.
/// key : bytes or None
///     The key; None for what concerns all of them.
/// tier : str or None
///     "L1", "L2" or "L3" where one had the value.
/// reason : str or None
///     Of a load why it was made, as `LoadContext.reason`; of an eviction "size", "bytes" or
///     "expired".
/// took : float or None
///     Of a load how many seconds the loader took.
/// error : Exception or None
///     Of a load why it failed: what the loader raised is its `__cause__`.
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
            Event::Retier { .. } => Parts { kind: "retier", ..Parts::default() },
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

//! What a cache tells by itself.

use pyo3::{exceptions::PyTypeError, prelude::*};

use super::PyCache;
use crate::{event::listening, key::type_name};

#[pymethods]
impl PyCache {
    /// Have `listener` told of what happens in this cache, until it is closed.
    ///
    /// It is called in a thread of the cache, one event after another. Nobody waits for it: events
    /// that come faster than it takes them are dropped and counted (`events_dropped`). While
    /// anybody listens, each hit costs a microsecond more.
    ///
    /// Parameters
    /// ----------
    /// listener : callable
    ///     Called with an `Event`. What it raises is told to `sys.unraisablehook`. In a forked
    ///     child it hears of what happens there.
    ///
    /// Examples
    /// --------
    /// >>> import queue, tierce
    /// >>> cache, events = tierce.Cache(), queue.Queue()
    /// >>> cache.on_event(events.put)
    /// >>> cache.get("user:7") is None
    /// True
    /// >>> events.get().kind
    /// 'miss'
    fn on_event(&self, listener: &Bound<'_, PyAny>) -> PyResult<()> {
        if !listener.is_callable() {
            let name = type_name(listener);
            return Err(PyTypeError::new_err(format!("listener must be callable, not {name}")));
        }
        self.core.on_event(listening(listener.clone().unbind()));
        Ok(())
    }

    /// Return how many events listeners were not told of, because too many waited.
    ///
    /// Returns
    /// -------
    /// int
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().events_dropped()
    /// 0
    fn events_dropped(&self) -> u64 {
        self.core.events_dropped()
    }
}

//! What a cache tells by itself.

use std::{
    sync::{Arc, MutexGuard, PoisonError},
    time::Duration,
};

use pyo3::{exceptions::PyTypeError, prelude::*, types::PyList};
use tierce::guard::{Alerts, Guard};

use super::PyCache;
use crate::{
    error::exception,
    event::listening,
    held::{Value, scope},
    key::type_name,
    options::duration,
    watch,
};

/// The window of a report that names none: half an hour tells a bad release from a bad minute.
const WINDOW: Duration = Duration::from_secs(1800);

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

    /// Return how the cache met objectives in the last time, as a dict.
    ///
    /// What is known of a window begins with the first call of this method or of `start_alerts`:
    /// nothing is kept before.
    ///
    /// Parameters
    /// ----------
    /// window : float, timedelta or str, default "30m"
    ///     The time that is judged, from a second to an hour.
    /// objectives : str or list of str, optional
    ///     "staging", "production", "staging-canary", "phase-1" to "phase-4", or conditions such
    ///     as "hit_rate > 80%". Without it, those of the environment that `TIERCE_ENV`,
    ///     `CACHE_ENVIRONMENT` or `NODE_ENV` names.
    ///
    /// Returns
    /// -------
    /// dict
    ///     "is_met" (None without traffic), and under "lines" for each objective what it is, whether
    ///     it is met, what is left of its error budget and how fast that is spent.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     No such objectives, or no environment is named.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> report = tierce.Cache().slo(objectives=["hit_rate > 80%"])
    /// >>> report["is_met"], report["lines"][0]["objective"]
    /// (None, 'hit_rate > 80%')
    #[pyo3(signature = (window=None, objectives=None))]
    fn slo<'py>(
        &self,
        py: Python<'py>,
        window: Option<&Bound<'py, PyAny>>,
        objectives: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let window = window.map_or(Ok(WINDOW), |window| duration(window, "window"))?;
        let objectives = objectives.map(watch::objectives).transpose()?;
        let report = py.detach(|| match &objectives {
            Some(objectives) => Ok(self.core.slo_of(objectives, window)),
            None => self.core.slo(window),
        });
        watch::report(py, &report.map_err(|error| exception(py, &error))?)
    }

    /// Begin to judge alerts once a second, in a thread of the cache, in place of those before.
    ///
    /// Parameters
    /// ----------
    /// text : str
    ///     YAML: a list `alerts` of `name`, `condition` (such as "latency_p95 > 100ms"), `duration`,
    ///     `severity` and `keep_firing_for`.
    /// notify : callable, optional
    ///     Called by that thread with a dict for each alert that fires or is over: "alert",
    ///     "status" ("firing" or "resolved"), "severity", "condition", "value", "cache",
    ///     "started" and "ended". What it raises is told to `sys.unraisablehook`.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The text is none of alerts; the message names the alert and the rule.
    ///
    /// Notes
    /// -----
    /// The thread does not go on in a forked child: start there anew.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.start_alerts("""
    /// ... alerts:
    /// ...   - name: few hits
    /// ...     condition: hit_rate < 50%
    /// ...     duration: 5m
    /// ...     severity: warning
    /// ... """)
    /// >>> cache.alerts()[0]["state"]
    /// 'inactive'
    /// >>> cache.stop_alerts()
    #[pyo3(signature = (text, notify=None))]
    fn start_alerts(
        &self,
        py: Python<'_>,
        text: &str,
        notify: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        if let Some(notify) = notify.filter(|notify| !notify.is_callable()) {
            let name = type_name(notify);
            return Err(PyTypeError::new_err(format!("notify must be callable, not {name}")));
        }
        let alerts = Alerts::from_yaml(text).map_err(|error| exception(py, &error))?;
        let service = py.detach(|| self.core.health().service);
        let notifier = watch::notifier(service, notify.map(|notify| notify.clone().unbind()));
        let guard = Guard::of(&self.core).alerts(alerts).notifier(notifier).start();
        let guard = guard.map_err(|error| exception(py, &error))?;
        self.keep_guard(py, Some(guard));
        Ok(())
    }

    /// Return the alerts that are judged, each as a dict, as of the latest look.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     "name", "condition", "severity", "duration" in seconds and "state" ("inactive",
    ///     "pending" or "firing"); empty where none are judged.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().alerts()
    /// []
    fn alerts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let guard = self.guard().clone();
        guard.map_or_else(|| Ok(PyList::empty(py)), |guard| watch::alerts(py, &guard))
    }

    /// End what `start_alerts` began; nothing to end is fine.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().stop_alerts()
    fn stop_alerts(&self, py: Python<'_>) {
        self.keep_guard(py, None);
    }
}

impl PyCache {
    fn guard(&self) -> MutexGuard<'_, Option<Arc<Guard<Value>>>> {
        // Nothing here is left half done by a panic.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has alerts judged by this, and lets go of what judged them before.
    pub(super) fn keep_guard(&self, py: Python<'_>, guard: Option<Guard<Value>>) {
        let before = std::mem::replace(&mut *self.guard(), guard.map(Arc::new));
        // Its listener may run Python code as it goes.
        scope(py, || py.detach(|| drop(before)));
    }
}

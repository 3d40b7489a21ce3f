//! `cache.guard(...)`: what judges a cache, tells of it, drives its rollout and answers over HTTP.
//!
//! Every call but looks at what is known lets the interpreter go: it may wait for a look of the guard,
//! for the disk, or for L3. Listeners are called by a thread that is there for that alone, so what they
//! ask of the guard waits for nobody who waits for them.
//!
//! | file | holds |
//! |---|---|
//! | `mod` | the guard, and looks at what it judges |
//! | `rollout` | what is asked of its rollout |
//! | `operate` | what an operator does to its cache |

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::{
    prelude::*,
    types::{PyDict, PyList},
};
use tierce::{
    Error, ErrorKind, Result,
    config::Watching,
    guard::{Contingency, Guard, ServeOptions, rollout::Command},
};

use crate::{
    cache::PyCache,
    error::exception,
    held::{Value, scope},
    options::duration,
    report, watch,
};

mod operate;
mod rollout;

/// Where a guard listens, if nothing else is said.
const ADDRESS: &str = "127.0.0.1:9464";

/// A guard, until it or its cache is closed.
pub(crate) struct Held {
    // The interpreter is held while it is locked, and nothing waits.
    watching: Mutex<Option<Arc<Watching<Value>>>>,
}

impl Held {
    pub(crate) fn new(watching: Watching<Value>) -> Self {
        Self { watching: Mutex::new(Some(Arc::new(watching))) }
    }

    fn place(&self) -> MutexGuard<'_, Option<Arc<Watching<Value>>>> {
        // Nothing here is left half done by a panic.
        self.watching.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends it; its listener may run Python code as it goes.
    pub(crate) fn close(&self, py: Python<'_>) {
        let watching = self.place().take();
        scope(py, || py.detach(|| drop(watching)));
    }
}

/// What judges a cache: alerts, objectives, its rollout, actions of an operator, and a listener.
///
/// Made by `Cache.guard`. Its thread looks once a second until it or its cache is closed; use it in a
/// `with` statement, or keep it as long as it is to watch. Every method may be called from any thread;
/// those that write to a journal or ask other hosts may wait, so tasks call them by
/// `asyncio.to_thread`.
///
/// Attributes
/// ----------
/// cache : Cache
///     The cache.
/// port : int or None
///     Where it listens; None where it does not.
///
/// Notes
/// -----
/// A forked child has no guard: start one there (in `post_fork` of the server, say). Nor does it have
/// the listener, so the address is free once the parent is gone.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache(options={"serve.address": "127.0.0.1:0"})
/// >>> with cache.guard() as guard:
/// ...     guard.port > 0, guard.rollout()
/// (True, None)
#[pyclass(name = "Guard", module = "tierce", frozen, weakref)]
pub(crate) struct PyGuard {
    /// The cache.
    #[pyo3(get)]
    cache: Py<PyCache>,
    held: Arc<Held>,
}

impl PyGuard {
    pub(crate) fn new(cache: Py<PyCache>, held: Arc<Held>) -> Self {
        Self { cache, held }
    }

    fn watching(&self, py: Python<'_>) -> PyResult<Arc<Watching<Value>>> {
        let watching = self.held.place().clone();
        let closed = || exception(py, &Error::new(ErrorKind::Closed, "the guard was closed"));
        watching.ok_or_else(closed)
    }

    /// Asks it for something, detached: whoever lets go of it last does so there.
    fn ask<R: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&Watching<Value>) -> Result<R> + Send,
    ) -> PyResult<R> {
        let watching = self.watching(py)?;
        let answer = scope(py, || {
            py.detach(move || {
                let answer = ask(&watching);
                drop(watching);
                answer
            })
        });
        answer.map_err(|error| exception(py, &error))
    }

    fn command(&self, py: Python<'_>, by: &str, command: Command) -> PyResult<()> {
        self.ask(py, |watching| watching.guard().command(by, command))
    }

    fn act(&self, py: Python<'_>, by: &str, action: Contingency) -> PyResult<()> {
        self.ask(py, |watching| watching.guard().act(by, action))
    }

    /// A document of the guard as Python objects.
    fn document<'py>(
        &self,
        py: Python<'py>,
        make: impl FnOnce(&Guard<Value>) -> Result<Option<String>> + Send,
    ) -> PyResult<Bound<'py, PyAny>> {
        let text = self.ask(py, |watching| make(watching.guard()))?;
        match text {
            Some(text) => report::document(py, "document of the guard", &text),
            None => Ok(py.None().into_bound(py)),
        }
    }
}

#[pymethods]
impl PyGuard {
    /// The port; None where it does not listen.
    #[getter]
    fn port(&self, py: Python<'_>) -> PyResult<Option<u16>> {
        Ok(self.watching(py)?.address().map(|address| address.port()))
    }

    /// Answer over HTTP from now on, in place of where it did before.
    ///
    /// Health, metrics, objectives, alerts, rollout and actions, under "/cache/..." each.
    ///
    /// Parameters
    /// ----------
    /// address : str, default "127.0.0.1:9464"
    ///     Host and port; port 0 takes a free one.
    /// token : str, optional
    ///     What requests that change state must bear; without it they are refused.
    ///
    /// Returns
    /// -------
    /// int
    ///     The port.
    ///
    /// Raises
    /// ------
    /// StorageError
    ///     The address cannot be listened at; where it listened before it goes on.
    /// ConfigError
    ///     The token is empty.
    ///
    /// Examples
    /// --------
    /// >>> import tierce, urllib.request
    /// >>> guard = tierce.Cache().guard()
    /// >>> port = guard.serve("127.0.0.1:0")
    /// >>> urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").read()
    /// b'ok\n'
    /// >>> guard.stop_serving()
    /// >>> guard.port is None
    /// True
    #[pyo3(signature = (address=ADDRESS, *, token=None), text_signature = "($self, address='127.0.0.1:9464', *, token=None)")]
    fn serve(&self, py: Python<'_>, address: &str, token: Option<&str>) -> PyResult<u16> {
        let mut options = ServeOptions::new().address(address);
        if let Some(token) = token {
            options = options.token(token);
        }
        Ok(self.ask(py, |watching| watching.serve(&options))?.port())
    }

    /// Answer over HTTP no more; nothing to end is fine.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().stop_serving()
    fn stop_serving(&self, py: Python<'_>) -> PyResult<()> {
        self.ask(py, |watching| {
            watching.stop_serving();
            Ok(())
        })
    }

    /// Return how the cache met the objectives of its configuration, as `Cache.slo` does.
    ///
    /// Parameters
    /// ----------
    /// window : float, timedelta or str, default "30m"
    ///     The time that is judged, from a second to an hour.
    ///
    /// Returns
    /// -------
    /// dict or None
    ///     None where there are no objectives: no environment is named, and no table.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(options={"slo.objectives": "production"})
    /// >>> cache.guard().slo("5m")["objectives"]
    /// 'production'
    #[pyo3(signature = (window=None), text_signature = "($self, window='30m')")]
    fn slo<'py>(
        &self,
        py: Python<'py>,
        window: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let window = window.map_or(Ok(watch::WINDOW), |window| duration(window, "window"))?;
        self.document(py, |guard| Ok(guard.slo(window).map(|report| report.to_json())))
    }

    /// Return the alerts that are judged, each as a dict, as of the latest look.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     As `Cache.alerts`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> guard = tierce.Cache().guard("""
    /// ... alerts:
    /// ...   - {name: few hits, condition: hit_rate < 50%, duration: 5m, severity: warning}
    /// ... """)
    /// >>> guard.alerts()[0]["state"]
    /// 'inactive'
    fn alerts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        watch::alerts(py, self.watching(py)?.guard())
    }

    /// Return what became of the notices of alerts, a dict for each sink that takes them along.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     "sink", how many notices were "taken", "refused", "failed" (and tried again) and
    ///     "dropped", how many are "waiting", and "last_error".
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> [sink["sink"] for sink in tierce.Cache().guard(notify=print).sinks()]
    /// ['callback']
    fn sinks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let list = PyList::empty(py);
        for sink in self.watching(py)?.guard().sinks() {
            let dict = PyDict::new(py);
            dict.set_item("sink", sink.sink)?;
            dict.set_item("taken", sink.taken)?;
            dict.set_item("refused", sink.refused)?;
            dict.set_item("failed", sink.failed)?;
            dict.set_item("dropped", sink.dropped)?;
            dict.set_item("waiting", sink.waiting)?;
            dict.set_item("last_error", sink.last_error)?;
            list.append(dict)?;
        }
        Ok(list)
    }

    /// Return the statistics as Prometheus text, with those of alerts and of the process.
    ///
    /// Returns
    /// -------
    /// str or None
    ///     None where metrics are not shown; see `Cache.metrics_text`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(options={"metrics_enabled": True})
    /// >>> "process_threads" in cache.guard().metrics_text()
    /// True
    fn metrics_text(&self, py: Python<'_>) -> PyResult<Option<String>> {
        self.ask(py, |watching| Ok(watching.guard().metrics_text()))
    }

    /// End the guard and its listener; closing twice is fine, and every other call raises ClosedError.
    ///
    /// What `notify` is being told ends first; nobody waits for it. Shares, tiers and what `shed` and
    /// `block` did stay as they are.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> guard = tierce.Cache().guard()
    /// >>> guard.close()
    /// >>> guard.close()
    fn close(&self, py: Python<'_>) {
        self.held.close(py);
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (kind, error, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (kind, error, traceback);
        self.close(py);
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let cache = self.cache.bind(py).repr()?;
        let state = if self.held.place().is_some() { "open" } else { "closed" };
        Ok(format!("<tierce.Guard {state} cache={cache}>"))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cache)
    }
}

impl Drop for PyGuard {
    fn drop(&mut self) {
        // Attached: Python lets objects go in no other way. One that the interpreter's end leaves
        // behind ends with the process.
        let _ = Python::try_attach(|py| self.held.close(py));
    }
}

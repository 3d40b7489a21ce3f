//! `cache.guard(...)`: what judges a cache, tells of it, drives its rollout and answers over HTTP.
//!
//! Every call but looks at what is known lets the interpreter go: it may wait for a look of the guard,
//! for the disk, or for L3. Listeners are called by a thread that is there for that alone, so what they
//! ask of the guard waits for nobody who waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString},
};
use tierce::{
    Error, ErrorKind, Result, Shedding,
    config::{Watching, units},
    guard::{Contingency, Guard, ServeOptions, rollout::Command},
};

use crate::{
    cache::PyCache,
    error::exception,
    held::{Value, scope},
    key::type_name,
    options::duration,
    report, watch,
};

/// Where a guard listens, if nothing else is said.
const ADDRESS: &str = "127.0.0.1:9464";
/// Keys a second of a refresh, if nothing else is said: what most origins bear beside their load.
const REFRESHES: u32 = 100;

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

    /// Return where the rollout is, as of the latest look; None where there is none.
    ///
    /// Returns
    /// -------
    /// dict or None
    ///     "plan", "stage" ("idle", "waiting", "running", "paused", "rolling_back", "rolled_back" or
    ///     "complete"), "phase", "step", "percent", "baseline", "target", "green_ms" of "needed_ms", and
    ///     "red", why the gate is shut; while keys are split also "sides", and with other hosts "hosts".
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().rollout() is None
    /// True
    fn rollout<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.document(py, |guard| Ok(guard.rollout_json()))
    }

    /// Return every decision of the rollout, the oldest first.
    ///
    /// Returns
    /// -------
    /// list of dict
    ///     "at_ms" since 1970, "kind", "rule" and "value" that it was judged by, "by", "stage", "phase",
    ///     "step" and "percent" from then on.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no rollout.
    ///
    /// Examples
    /// --------
    /// >>> import pathlib, tempfile, tierce
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     plan = pathlib.Path(folder, "plan.yaml")
    /// ...     _ = plan.write_text('''
    /// ... plan: try it
    /// ... baseline: L1
    /// ... phases: [{name: all, target: L1, steps: [{share: 10%, wait: 1h}, {share: 100%, wait: 1d}]}]
    /// ... ''')
    /// ...     with tierce.Cache().guard(f"""
    /// ... rollout: {{plan: {plan}, journal: {folder}/journal, instance: web-1}}
    /// ... """) as guard:
    /// ...         guard.start(by="ada")
    /// ...         guard.rollback(by="ada")
    /// ...         guard.rollout()["stage"]
    /// ...         [guard.history()[at]["kind"] for at in (0, -1)]
    /// 'rolled_back'
    /// ['started', 'rolled_back']
    fn history<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.document(py, |guard| guard.rollout_history_json().map(Some))
    }

    /// Begin a rollout: with the plan that there is, or with another one.
    ///
    /// The decision is written down when this returns; the first step is taken by the next look of who
    /// leads, within a second, if what it requires holds.
    ///
    /// Parameters
    /// ----------
    /// plan : str, optional
    ///     In YAML, for a guard that takes part in the rollouts of its store (`rollout.of_store`): it
    ///     begins in all such processes of the host, or, with L3, on all hosts. Without it, the plan
    ///     of `rollout.plan`, or the one that the store had before.
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     A plan that cannot be carried out; one is under way; there is none to take part in; or this
    ///     is a forked child.
    /// TierceError
    ///     The journal cannot be written, or L3 does not answer.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().start()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (plan=None, *, by="python"))]
    fn start(&self, py: Python<'_>, plan: Option<&str>, by: &str) -> PyResult<()> {
        self.ask(py, |watching| match plan {
            Some(plan) => watching.guard().start_rollout(by, plan),
            None => watching.guard().command(by, Command::Start),
        })
    }

    /// Go on to the next step of the rollout, if its gate is passed.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The gate is not passed, there is no step to go to, or no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().advance()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn advance(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Advance)
    }

    /// Go on to the next step of the rollout, whatever its gate says.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no step to go to, or no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().force()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn force(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Force)
    }

    /// Raise the share of the rollout no further. What takes it back is looked at as before.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     It cannot be paused now, or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().pause()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn pause(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Pause)
    }

    /// Undo a pause.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     It is not paused, or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().resume()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, by="python"))]
    fn resume(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.command(py, by, Command::Resume)
    }

    /// Take the rollout back. Always obeyed, and undone by nothing but a start.
    ///
    /// It is in force in this process even where the journal cannot be written.
    ///
    /// Parameters
    /// ----------
    /// gradual : bool, default False
    ///     By the steps of the plan, not at once.
    /// by : str, default "python"
    ///     Who asks, for the journal.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().rollback()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    #[pyo3(signature = (*, gradual=false, by="python"))]
    fn rollback(&self, py: Python<'_>, gradual: bool, by: &str) -> PyResult<()> {
        let name = if gradual { "gradual_rollback" } else { "rollback" };
        let command = Command::parse(name).expect("the core knows the names of its commands");
        self.command(py, by, command)
    }

    /// Tell the rollout what its plan calls `input.NAME`.
    ///
    /// Parameters
    /// ----------
    /// name : str
    ///     The name.
    /// value : float or bool
    ///     A number, or whether it is so.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The value is no number (NaN), or there is no rollout.
    ///
    /// Examples
    /// --------
    /// See `history` for a rollout that is under way.
    ///
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().push("approval", True)
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// rollout: there is none
    fn push(&self, name: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = value.py();
        let number = if let Ok(flag) = value.cast::<PyBool>() {
            f64::from(u8::from(flag.is_true()))
        } else if value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>() {
            value.extract()?
        } else {
            return Err(PyTypeError::new_err(format!(
                "value must be float or bool, not {}",
                type_name(value)
            )));
        };
        self.ask(py, |watching| watching.guard().push(name, number))
    }

    /// Let a share of calls pass; the others are answered by what L1 has.
    ///
    /// Nothing is asked below L1 and nothing loaded for those. Changes are never shed. In force with
    /// the next call of any thread of this process, until `lift`.
    ///
    /// Parameters
    /// ----------
    /// to : float or str
    ///     The share that passes: from 0 to 1, or text such as "70%".
    /// answer : {"stale", "error"}, default "stale"
    ///     What the others get that L1 has no fresh value for: a stale one where there is one, else an
    ///     exception; or always that (a TierceError whose `kind` is "busy").
    /// by : str, default "python"
    ///     Who asks, for the journal of actions (`actions_journal`).
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     No such share or answer.
    /// StorageError
    ///     The journal cannot be written; it is in force all the same.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> guard = tierce.Cache().guard()
    /// >>> guard.shed("70%")
    /// >>> guard.contingency()["gate"]["passes"]
    /// 0.7
    /// >>> guard.lift()
    #[pyo3(signature = (to, *, answer="stale", by="python"))]
    fn shed(&self, to: &Bound<'_, PyAny>, answer: &str, by: &str) -> PyResult<()> {
        let share = share(to)?;
        let shedding = match answer {
            "stale" => Shedding::Stale,
            "error" => Shedding::Error,
            _ => {
                let message = format!("answer = {answer:?}: must be stale or error");
                return Err(PyValueError::new_err(message));
            }
        };
        self.act(to.py(), by, Contingency::Shed { share, shedding })
    }

    /// Serve nothing and take no new value, until `lift`. Removals are made.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal of actions.
    ///
    /// Raises
    /// ------
    /// StorageError
    ///     The journal cannot be written; it is in force all the same.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["a"] = 1
    /// >>> guard = cache.guard()
    /// >>> guard.block(by="ada")
    /// >>> cache.get("a") is None
    /// True
    /// >>> guard.lift(by="ada")
    /// >>> cache.get("a")
    /// 1
    #[pyo3(signature = (*, by="python"))]
    fn block(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.act(py, by, Contingency::Block)
    }

    /// Make all that L1 of this process has stale, in all tiers, in a thread of the cache.
    ///
    /// Another refresh takes the place of one that is under way.
    ///
    /// Parameters
    /// ----------
    /// per_second : int, default 100
    ///     Keys a second.
    /// by : str, default "python"
    ///     Who asks, for the journal of actions.
    ///
    /// Raises
    /// ------
    /// ValueError
    ///     `per_second` is not above 0.
    /// StorageError
    ///     The journal cannot be written; it has begun all the same.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().refresh(per_second=1000)
    #[pyo3(signature = (*, per_second=REFRESHES.into(), by="python"), text_signature = "($self, *, per_second=100, by='python')")]
    fn refresh(&self, py: Python<'_>, per_second: i64, by: &str) -> PyResult<()> {
        let rate = u32::try_from(per_second).ok().filter(|rate| *rate > 0);
        let per_second = rate.ok_or_else(|| {
            PyValueError::new_err(format!(
                "per_second = {per_second}: must be from 1 to {}",
                u32::MAX
            ))
        })?;
        self.act(py, by, Contingency::Refresh { per_second })
    }

    /// Drop the connections to L3 and have them made anew.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal of actions.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     There is no connection.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> try:
    /// ...     tierce.Cache().guard().reset()
    /// ... except tierce.ConfigError as error:
    /// ...     print(error)
    /// reset: there is no connection to L3
    #[pyo3(signature = (*, by="python"))]
    fn reset(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.act(py, by, Contingency::Reset)
    }

    /// End what `shed`, `block` and `refresh` began.
    ///
    /// Parameters
    /// ----------
    /// by : str, default "python"
    ///     Who asks, for the journal of actions.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().lift()
    #[pyo3(signature = (*, by="python"))]
    fn lift(&self, py: Python<'_>, by: &str) -> PyResult<()> {
        self.act(py, by, Contingency::Lift)
    }

    /// Return what is in force of what operators did.
    ///
    /// Returns
    /// -------
    /// dict
    ///     "gate" with "passes" (0 to 1), "shedding", "is_blocked" and "turned_away"; and "refreshed",
    ///     keys of the refresh under way, or None.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().guard().contingency()["gate"]["is_blocked"]
    /// False
    fn contingency<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.document(py, |guard| Ok(Some(guard.contingency_json())))
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

/// The share that an object means: a number from 0 to 1, or text such as "70%".
fn share(object: &Bound<'_, PyAny>) -> PyResult<f64> {
    const RULE: &str = "must be from 0 to 1, or text such as \"70%\"";
    if let Ok(text) = object.cast::<PyString>() {
        let text = text.to_str()?;
        return units::parse_percent(text)
            .ok()
            .filter(|share| (0.0..=1.0).contains(share))
            .ok_or_else(|| PyValueError::new_err(format!("to = {text:?}: {RULE}")));
    }
    let is_number = object.is_instance_of::<PyInt>() || object.is_instance_of::<PyFloat>();
    if !is_number || object.is_instance_of::<PyBool>() {
        let name = type_name(object);
        return Err(PyTypeError::new_err(format!("to must be float or str, not {name}")));
    }
    let share: f64 = object.extract()?;
    if (0.0..=1.0).contains(&share) {
        return Ok(share);
    }
    Err(PyValueError::new_err(format!("to = {}: {RULE}", object.repr()?)))
}

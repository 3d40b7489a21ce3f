//! What a cache tells by itself.

use std::sync::{Arc, MutexGuard, PoisonError, Weak};

use pyo3::{exceptions::PyTypeError, prelude::*, types::PyList};
use tierce::guard::{Alerts, Guard};

use super::PyCache;
use crate::{
    error::exception,
    event::listening,
    guard::{Held, PyGuard},
    held::{Value, scope},
    key::type_name,
    options::duration,
    report,
    watch::{self, WINDOW},
};

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

    /// Return counts and latencies of the last time, as a dict.
    ///
    /// What is known of a window begins with the first look at one, by this method, `slo` or a guard.
    ///
    /// Parameters
    /// ----------
    /// window : float, timedelta or str
    ///     From a second to an hour.
    ///
    /// Returns
    /// -------
    /// dict
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> "requests" in tierce.Cache().window("5m")
    /// True
    fn window<'py>(
        &self,
        py: Python<'py>,
        window: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let window = duration(window, "window")?;
        let text = py.detach(|| self.core.window_json(window));
        report::document(py, "window", &text)
    }

    /// Return what the numbers of this cache show to be unwise, each in a sentence with those numbers.
    ///
    /// Most of it needs a survey of some minutes (`begin_survey`). What options show is `advice`.
    ///
    /// Returns
    /// -------
    /// list of tuple
    ///     A code, the same in all versions, and a sentence for each; nothing where all is well.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(max_entries=64)
    /// >>> for number in range(1000):
    /// ...     cache[str(number)] = number
    /// >>> [code for code, sentence in cache.advise()]
    /// ['evictions_of_memory']
    fn advise(&self, py: Python<'_>) -> Vec<(&'static str, String)> {
        let advice = py.detach(|| self.core.advise());
        advice.into_iter().map(|advice| (advice.code, advice.message)).collect()
    }

    /// Begin to observe which keys are asked for and how long entries of L1 are of use.
    ///
    /// For `advise`. A survey that is under way begins anew. A read costs some tens of nanoseconds more
    /// until `end_survey`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.begin_survey()
    /// >>> cache.survey()["reads_sampled"]
    /// 0
    /// >>> cache.end_survey()
    /// >>> cache.survey() is None
    /// True
    fn begin_survey(&self, py: Python<'_>) {
        py.detach(|| self.core.begin_survey());
    }

    /// End the survey, and what it saw is gone; nothing to end is fine.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().end_survey()
    fn end_survey(&self, py: Python<'_>) {
        py.detach(|| self.core.end_survey());
    }

    /// Return what the survey under way has seen; None where there is none.
    ///
    /// Returns
    /// -------
    /// dict or None
    ///     "observed_ms", "reads_sampled", "prefixes" (the heaviest beginnings of keys) and "ttl" (how
    ///     long entries of L1 were of use).
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().survey() is None
    /// True
    fn survey<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let text = py.detach(|| self.core.advise_json());
        report::document(py, "survey", &text)?.get_item("survey")
    }

    /// Start all that the configuration of this cache says beside its tiers.
    ///
    /// That is `alerts`, `notify`, `slo`, `serve`, `rollout`, `traffic_split`, `automatic_rollback` and
    /// `actions_journal`. A thread looks once a second until the guard or the cache is closed.
    ///
    /// Parameters
    /// ----------
    /// text : str, optional
    ///     YAML, TOML or JSON, of these keys and `environment`, that is read over the settings of the
    ///     cache.
    /// notify : callable, optional
    ///     Told of alerts beside the sinks of `notify`, as for `start_alerts`.
    ///
    /// Returns
    /// -------
    /// Guard
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     An unknown key, a bad value or a bad plan, which the message names.
    /// StorageError
    ///     A file cannot be read, or the address not be listened at.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(service="shop")
    /// >>> text = "alerts: [{name: Errors, condition: error_rate > 1%, severity: critical}]"
    /// >>> with cache.guard(text, notify=print) as guard:
    /// ...     [alert["name"] for alert in guard.alerts()]
    /// ['Errors']
    #[pyo3(signature = (text=None, *, notify=None))]
    fn guard(
        slf: Bound<'_, Self>,
        text: Option<&str>,
        notify: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyGuard> {
        let (py, this) = (slf.py(), slf.get());
        let notify = watch::notify(notify)?;
        let config = this.config.with_guard_text(text.unwrap_or_default());
        let config = config.map_err(|error| exception(py, &error))?;
        let sink = notify.map(|notify| watch::sink(notify.clone().unbind()));
        let watching = scope(py, || {
            py.detach(|| {
                Guard::from_config_with(&this.core, &config, |builder| match sink {
                    Some(sink) => builder.sink(sink),
                    None => builder,
                })
            })
        });
        let held = Arc::new(Held::new(watching.map_err(|error| exception(py, &error))?));
        let mut guards = this.guards();
        guards.retain(|guard| guard.strong_count() > 0);
        guards.push(Arc::downgrade(&held));
        drop(guards);
        Ok(PyGuard::new(slf.unbind(), held))
    }

    /// Begin to judge alerts once a second, in a thread of the cache, in place of those before.
    ///
    /// `guard` does this and all else that a configuration says.
    ///
    /// Parameters
    /// ----------
    /// text : str
    ///     YAML: a list `alerts` of `name`, `condition` (such as "latency_p95 > 100ms"), `duration`,
    ///     `severity` and `keep_firing_for`.
    /// notify : callable, optional
    ///     Called with a dict for each alert that fires or is over: "alert",
    ///     "status" ("firing" or "resolved"), "severity", "condition", "value", "cache",
    ///     "started" and "ended". It is called in a thread that is there for that alone, one notice
    ///     after another, so it may take its time and ask the cache or the guard for anything. What it
    ///     raises is told to `sys.unraisablehook`.
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
        let notify = watch::notify(notify)?;
        let alerts = Alerts::from_yaml(text).map_err(|error| exception(py, &error))?;
        let mut builder = Guard::of(&self.core).alerts(alerts);
        if let Some(notify) = notify {
            builder = builder.sink(watch::sink(notify.clone().unbind()));
        }
        let guard = builder.start();
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
        let guard = self.judges().clone();
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
    fn judges(&self) -> MutexGuard<'_, Option<Arc<Guard<Value>>>> {
        // Nothing here is left half done by a panic.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn guards(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        self.guards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has alerts judged by this, and lets go of what judged them before.
    pub(super) fn keep_guard(&self, py: Python<'_>, guard: Option<Guard<Value>>) {
        let before = std::mem::replace(&mut *self.judges(), guard.map(Arc::new));
        // Its listener may run Python code as it goes.
        scope(py, || py.detach(|| drop(before)));
    }

    /// Ends all guards that are there.
    pub(super) fn close_guards(&self, py: Python<'_>) {
        self.keep_guard(py, None);
        let guards = std::mem::take(&mut *self.guards());
        guards.iter().filter_map(Weak::upgrade).for_each(|guard| guard.close(py));
    }
}

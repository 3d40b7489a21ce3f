//! What an operator does to a cache through its guard.

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyFloat, PyInt, PyString},
};
use tierce::{Shedding, config::units, guard::Contingency};

use super::PyGuard;
use crate::key::type_name;

/// Keys a second of a refresh, if nothing else is said: what most origins bear beside their load.
const REFRESHES: u32 = 100;

#[pymethods]
impl PyGuard {
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

//! How a cache judges itself, in plain dicts and lists.

use std::time::Duration;

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyList, PyString, PyTuple},
};
use tierce::{
    Error, ErrorKind,
    guard::{
        Guard, Objectives, SloReport,
        alert::{CallbackSink, Notice},
    },
};

use crate::{
    call::call,
    error::exception,
    held::{Parked, Value},
    key::type_name,
    report::document,
};

/// The window of a report that names none: half an hour tells a bad release from a bad minute.
pub(crate) const WINDOW: Duration = Duration::from_secs(1800);

/// The objectives that `object` means: the name of a set, or conditions of the caller's own.
///
/// # Errors
/// ConfigError for an unknown name or what is no condition, TypeError for what is neither a str nor
/// an iterable of str.
pub(crate) fn objectives(object: &Bound<'_, PyAny>) -> PyResult<Objectives> {
    let py = object.py();
    if let Ok(name) = object.cast::<PyString>() {
        let name = name.to_str()?;
        return Objectives::named(name).ok_or_else(|| {
            let known = Objectives::names().collect::<Vec<_>>().join(", ");
            let message =
                format!("objectives {name:?}: must be of {known}, or a list of conditions");
            exception(py, &Error::new(ErrorKind::Config, message))
        });
    }
    let Ok(conditions) = object.try_iter().and_then(|each| each.collect::<PyResult<Vec<_>>>())
    else {
        return Err(PyTypeError::new_err(format!(
            "objectives must be a str or a list of conditions, not {}",
            type_name(object)
        )));
    };
    let conditions = conditions.iter().map(|it| it.cast::<PyString>()?.to_str());
    let conditions = conditions.collect::<PyResult<Vec<_>>>()?;
    Objectives::new("own", conditions).map_err(|error| exception(py, &error))
}

/// A report as a dict.
pub(crate) fn report<'py>(py: Python<'py>, report: &SloReport) -> PyResult<Bound<'py, PyAny>> {
    document(py, "report of objectives", &report.to_json())
}

/// The alerts of a guard, each as a dict.
pub(crate) fn alerts<'py>(py: Python<'py>, guard: &Guard<Value>) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for (rule, state) in guard.alerts() {
        let alert = PyDict::new(py);
        alert.set_item("name", &rule.name)?;
        alert.set_item("condition", rule.condition.to_string())?;
        alert.set_item("severity", rule.severity.as_str())?;
        alert.set_item("duration", rule.duration.as_secs_f64())?;
        alert.set_item("state", state.as_str())?;
        list.append(alert)?;
    }
    Ok(list)
}

/// The callable of a caller who wants to be told of alerts.
///
/// # Errors
/// TypeError for what cannot be called.
pub(crate) fn notify<'a, 'py>(
    notify: Option<&'a Bound<'py, PyAny>>,
) -> PyResult<Option<&'a Bound<'py, PyAny>>> {
    match notify.filter(|notify| !notify.is_callable()) {
        Some(wrong) => {
            let name = type_name(wrong);
            Err(PyTypeError::new_err(format!("notify must be callable, not {name}")))
        }
        None => Ok(notify),
    }
}

/// What tells `listener` of alerts that fire and end.
pub(crate) fn sink(listener: Py<PyAny>) -> CallbackSink {
    let listener = Parked::new(listener);
    CallbackSink::new(move |notice: &Notice| {
        // Nobody is told while the interpreter shuts down.
        let _ = Python::try_attach(|py| {
            let listener = listener.get().bind(py);
            let told =
                told(py, notice).and_then(|told| call(listener, &PyTuple::new(py, [told])?, None));
            if let Err(error) = told {
                error.write_unraisable(py, Some(listener));
            }
        });
    })
}

fn told<'py>(py: Python<'py>, notice: &Notice) -> PyResult<Bound<'py, PyDict>> {
    let told = PyDict::new(py);
    told.set_item("alert", &notice.alert)?;
    told.set_item("status", notice.status.as_str())?;
    told.set_item("severity", notice.severity.as_str())?;
    told.set_item("condition", &notice.condition)?;
    told.set_item("value", &notice.value)?;
    told.set_item("cache", &notice.cache)?;
    told.set_item("started", notice.started)?;
    told.set_item("ended", notice.ended)?;
    Ok(told)
}

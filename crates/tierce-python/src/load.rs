//! `get_or_load`, and how a loader's exception travels.
//!
//! The thread that leads a load gets the very exception that its loader raised, whatever it is.
//! Those who wait for that load get the same object if it is an `Exception`, as all who wait for
//! one `concurrent.futures.Future` do. What is not (`KeyboardInterrupt`, `SystemExit`) was meant
//! for the leader alone: who waited loads anew, one of them leading.

use std::fmt;

use pyo3::{exceptions::PyException, prelude::*};
use tierce::{Cache, Error, ErrorKind, LoadOptions};

use crate::{
    call::call_without_arguments,
    codec::attached,
    error::exception,
    held::{Parked, Value, Weighing, scope},
};

/// What a loader raised, on its way through the core.
enum Raised {
    Exception(Parked),
    /// Not an `Exception`: not for those who wait.
    Interrupt,
    /// The interpreter shuts down; the loader was not called.
    ShuttingDown,
}

impl fmt::Debug for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Exception(_) => "it raised an exception",
            Self::Interrupt => "it was interrupted",
            Self::ShuttingDown => "the interpreter is shutting down",
        })
    }
}

impl std::error::Error for Raised {}

/// What a signal handler raised while its thread waited for another thread's load.
struct Signalled(Parked);

impl fmt::Debug for Signalled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Signalled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a signal handler raised an exception")
    }
}

impl std::error::Error for Signalled {}

/// Options under which a wait for another thread's load looks up for signals (Control-C) now and
/// then. The handlers run in the main thread alone; in others the look costs a microsecond.
pub(crate) fn watchful() -> LoadOptions {
    LoadOptions::new().while_waiting(|| {
        attached(|py| {
            py.check_signals().map_err(|error| {
                Error::new(ErrorKind::Loader, "waiting for a load was interrupted")
                    .caused_by(Signalled(Parked::new(error.into_value(py).into_any())))
            })
        })
    })
}

/// Loads through the core, detached but for the loader itself.
pub(crate) fn get_or_load<'py>(
    cache: &Cache<Value>,
    key: &[u8],
    options: &LoadOptions,
    loader: &Bound<'py, PyAny>,
    weighing: Weighing,
) -> PyResult<Bound<'py, PyAny>> {
    let py = loader.py();
    let loader = loader.clone().unbind();
    let mut raised = None;
    let outcome = through_core(py, cache, key, options, || {
        Python::try_attach(|py| {
            let loaded = call_without_arguments(loader.bind(py)).map(|it| Value::new(it, weighing));
            loaded.map_err(|error| {
                let shared = share(py, &error);
                raised = Some(error);
                shared
            })
        })
        .unwrap_or(Err(Raised::ShuttingDown))
    });
    // The leader's own, even where it is not for those who waited.
    raised.map_or(outcome, Err)
}

/// Files `value` unless the key is there or on its way; returns what is there then.
pub(crate) fn put_if_absent<'py>(
    py: Python<'py>,
    cache: &Cache<Value>,
    key: &[u8],
    options: &LoadOptions,
    value: &Value,
) -> PyResult<Bound<'py, PyAny>> {
    through_core(py, cache, key, options, || Ok(value.clone()))
}

fn through_core<'py>(
    py: Python<'py>,
    cache: &Cache<Value>,
    key: &[u8],
    options: &LoadOptions,
    mut load: impl FnMut() -> Result<Value, Raised> + Send,
) -> PyResult<Bound<'py, PyAny>> {
    loop {
        let mut led = false;
        let outcome = scope(py, || {
            py.detach(|| {
                cache.get_or_load_with(key, options, |_| {
                    led = true;
                    load()
                })
            })
        });
        let error = match outcome {
            Ok(answer) => return Ok(answer.value.object(py)),
            Err(error) => error,
        };
        if let Some(Signalled(handlers)) = error.cause() {
            return Err(PyErr::from_value(handlers.get().bind(py).clone()));
        }
        match error.cause::<Raised>() {
            Some(Raised::Exception(shared)) => {
                return Err(PyErr::from_value(shared.get().bind(py).clone()));
            }
            // Somebody else's: this call loads anew, or waits for one who does.
            Some(Raised::Interrupt) if !led => py.check_signals()?,
            _ => return Err(exception(py, &error)),
        }
    }
}

fn share(py: Python<'_>, error: &PyErr) -> Raised {
    if error.is_instance_of::<PyException>(py) {
        Raised::Exception(Parked::new(error.value(py).clone().unbind().into_any()))
    } else {
        Raised::Interrupt
    }
}

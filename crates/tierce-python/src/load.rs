//! Loads through the core, and how a loader's exception travels.
//!
//! All who wait for a load that raised get the very exception that its loader raised, as all who
//! wait for one `concurrent.futures.Future` do. What is not an `Exception` (`KeyboardInterrupt`,
//! `SystemExit`) was meant for the thread that ran the loader alone, whatever it could be served
//! in its stead: who waited loads anew, one of them leading.
//!
//! A loader is an object that lives as long as the cache wants, so every load may go on in a
//! thread of the cache where the options ask for that. There, nobody but those who wait can be
//! meant: they get whatever was raised.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pyo3::{
    exceptions::{PyException, PyTypeError},
    prelude::*,
    types::{PyDict, PyList, PyMapping, PyTraceback, PyTuple},
};
use tierce::{
    Answer, Cache, Error, ErrorKind, KeyspaceCounters, LoadContext, LoadOptions, Loaded, Loader,
    Loading, Origin,
};

use crate::{
    call::{call, call_without_arguments},
    codec::attached,
    entry::PyEntry,
    error::exception,
    held::{Parked, Value, Weighing, is_in_call, scope},
    key::{key_bytes, type_name},
    loaded::{PyLoadContext, loaded},
};

/// What a loader raised, on its way through the core.
pub(crate) enum Raised {
    Exception {
        exception: Parked,
        traceback: Option<Parked>,
    },
    /// Not an `Exception`: not for those who wait. Which load it was.
    Interrupt(u64),
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
            Self::Exception { .. } => "it raised an exception",
            Self::Interrupt(_) => "it was interrupted",
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

/// A Python function that loads, and how it is called.
#[derive(Clone)]
pub(crate) struct Callee {
    how: Arc<How>,
    /// Where its calls are counted.
    counters: Option<KeyspaceCounters>,
}

enum How {
    /// `load()`
    Plain(Parked),
    /// `load(context)`
    WithContext(Parked),
    /// `function(*arguments, **keywords)`
    With(Parked, Parked, Option<Parked>),
}

impl Callee {
    /// `load()`, or `load(context)`.
    ///
    /// # Errors
    /// TypeError for what cannot be called.
    pub(crate) fn new(load: &Bound<'_, PyAny>, with_context: bool) -> PyResult<Self> {
        if !load.is_callable() {
            return Err(not_callable(load));
        }
        let load = Parked::new(load.clone().unbind());
        Ok(Self::how(if with_context { How::WithContext(load) } else { How::Plain(load) }))
    }

    /// `function(*arguments, **keywords)`.
    pub(crate) fn with(
        function: &Py<PyAny>,
        arguments: &Bound<'_, PyTuple>,
        keywords: Option<&Bound<'_, PyDict>>,
    ) -> Self {
        let parked = |object: &Bound<'_, PyAny>| Parked::new(object.clone().unbind());
        Self::how(How::With(
            Parked::new(function.clone_ref(arguments.py())),
            parked(arguments),
            keywords.map(|keywords| parked(keywords)),
        ))
    }

    fn how(how: How) -> Self {
        Self { how: Arc::new(how), counters: None }
    }

    /// The same, with its calls counted.
    pub(crate) fn counted(mut self, counters: Option<&KeyspaceCounters>) -> Self {
        self.counters = counters.cloned();
        self
    }

    fn call<'py>(
        &self,
        py: Python<'py>,
        context: &LoadContext<'_, Value>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match &*self.how {
            How::Plain(load) => call_without_arguments(load.get().bind(py)),
            How::WithContext(load) => {
                let context = Bound::new(py, PyLoadContext::new(context))?;
                call(load.get().bind(py), &PyTuple::new(py, [context])?, None)
            }
            How::With(function, arguments, keywords) => {
                let arguments = arguments.get().bind(py).cast::<PyTuple>()?;
                let keywords = keywords.as_ref();
                let keywords = keywords.map(|it| it.get().bind(py).cast::<PyDict>()).transpose()?;
                call(function.get().bind(py), arguments, keywords)
            }
        }
    }
}

/// What to raise for a loader that is none.
pub(crate) fn not_callable(load: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("load must be callable, not {}", type_name(load)))
}

/// The loader of one call.
struct CallLoader {
    callee: Callee,
    weighing: Weighing,
    number: u64,
    /// What it raised that is for this call alone.
    interrupt: Arc<OnceLock<Parked>>,
}

impl Loader<Value> for CallLoader {
    fn load(&self, context: &LoadContext<'_, Value>) -> tierce::Result<Loaded<Value>> {
        if let Some(counters) = &self.callee.counters {
            counters.loads(1);
        }
        let raised = Python::try_attach(|py| {
            let answer = self.callee.call(py, context);
            let answer = answer.and_then(|answer| loaded(answer, self.weighing));
            answer.map_err(|error| self.share(py, error))
        });
        raised
            .unwrap_or(Err(Raised::ShuttingDown))
            .map_err(|raised| Error::new(ErrorKind::Loader, "the loader failed").caused_by(raised))
    }
}

impl CallLoader {
    fn share(&self, py: Python<'_>, error: PyErr) -> Raised {
        if error.is_instance_of::<PyException>(py) || !is_in_call() {
            return raised(py, &error);
        }
        let _ = self.interrupt.set(Parked::new(error.into_value(py).into_any()));
        Raised::Interrupt(self.number)
    }
}

/// An exception for all who wait.
pub(crate) fn raised(py: Python<'_>, error: &PyErr) -> Raised {
    let traceback = error.traceback(py).map(|it| Parked::new(it.into_any().unbind()));
    let exception = Parked::new(error.value(py).clone().unbind().into_any());
    Raised::Exception { exception, traceback }
}

/// How a load is begun.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A value that the options accept.
    Any,
    /// A new one.
    New,
}

/// What a load came to: a value, or word that there is none.
pub(crate) struct Came {
    pub(crate) value: Option<Value>,
    pub(crate) origin: Origin,
    pub(crate) is_stale: bool,
    pub(crate) age: Option<Duration>,
}

impl From<Answer<Option<Value>>> for Came {
    fn from(answer: Answer<Option<Value>>) -> Self {
        let Answer { value, origin, is_stale, age, .. } = answer;
        Self { value, origin, is_stale, age }
    }
}

impl From<Answer<Value>> for Came {
    fn from(answer: Answer<Value>) -> Self {
        let Answer { value, origin, is_stale, age, .. } = answer;
        Self { value: Some(value), origin, is_stale, age }
    }
}

impl Came {
    const ABSENT: Self =
        Self { value: None, origin: Origin::Loaded, is_stale: false, age: Some(Duration::ZERO) };

    /// True if a tier had it.
    pub(crate) fn is_hit(&self) -> bool {
        matches!(self.origin, Origin::Tier(_))
    }

    /// The value; where there is none, `default`, or an AbsentError.
    pub(crate) fn value<'py>(
        &self,
        py: Python<'py>,
        default: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        match (&self.value, default) {
            (Some(value), _) => Ok(value.object(py)),
            (None, Some(default)) => Ok(default.clone()),
            (None, None) => {
                let message = "the loader says that the key has no value";
                Err(exception(py, &Error::new(ErrorKind::Absent, message)))
            }
        }
    }

    /// The same with where it came from.
    pub(crate) fn entry(
        &self,
        py: Python<'_>,
        default: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<PyEntry> {
        Ok(PyEntry::new(self, self.value(py, default)?.unbind()))
    }
}

/// Loads through the core, detached but for the loader itself.
pub(crate) fn load(
    py: Python<'_>,
    cache: &Cache<Value>,
    key: &[u8],
    options: &LoadOptions,
    callee: Callee,
    weighing: Weighing,
    mut wanted: Wanted,
) -> PyResult<Came> {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    let interrupt = Arc::new(OnceLock::new());
    let number = CALLS.fetch_add(1, Ordering::Relaxed);
    let loader = CallLoader { callee, weighing, number, interrupt: Arc::clone(&interrupt) };
    let loading = cache.loading(loader, options.clone()).map_err(|error| exception(py, &error))?;
    let mut seen = None;
    loop {
        let outcome = scope(py, || py.detach(|| ask(&loading, key, wanted)));
        // The caller's own, even where there is something stale to serve.
        if let Some(error) = interrupt.get() {
            return Err(PyErr::from_value(error.get().bind(py).clone()));
        }
        let error = match outcome {
            Ok(came) => return Ok(came),
            Err(error) => error,
        };
        if let Some(Raised::Interrupt(theirs)) = error.cause() {
            // Somebody else's: this call loads anew, or waits for one who does. Where the failure
            // is remembered it comes again: then it must not be asked for.
            py.check_signals()?;
            if seen.replace(*theirs) == Some(*theirs) {
                wanted = Wanted::New;
            }
            continue;
        }
        return Err(of_load(py, &error));
    }
}

fn ask(loading: &Loading<Value>, key: &[u8], wanted: Wanted) -> tierce::Result<Came> {
    match wanted {
        Wanted::Any => loading.get_optional(key).map(Came::from),
        Wanted::New => match loading.refresh(key) {
            Err(error) if error.kind() == ErrorKind::Absent => Ok(Came::ABSENT),
            answer => answer.map(Came::from),
        },
    }
}

/// Loads what is missing of many keys by one call of `load`, in this thread.
pub(crate) fn load_many<'py>(
    py: Python<'py>,
    cache: &Cache<Value>,
    keys: &[Bound<'py, PyAny>],
    options: &LoadOptions,
    load: &Bound<'py, PyAny>,
    weighing: Weighing,
) -> PyResult<Bound<'py, PyDict>> {
    // The loader is told the keys as they were given.
    let mut given = HashMap::with_capacity(keys.len());
    let mut names = Vec::with_capacity(keys.len());
    for key in keys {
        let name = key_bytes(key)?;
        given.entry(name).or_insert_with(|| key.clone().unbind());
        names.push(name);
    }
    let load = load.clone().unbind();
    let mut failure: Option<PyErr> = None;
    let failed = &mut failure;
    let answers = scope(py, || {
        py.detach(|| {
            cache.get_or_load_many_entries(&names, options, |missing| {
                let ended = Python::try_attach(|py| {
                    let missing = missing.iter().filter_map(|name| given.get(name));
                    let missing = missing.map(|key| key.clone_ref(py)).collect::<Vec<_>>();
                    call_many(py, load.bind(py), &missing, weighing).map_err(|error| {
                        let shared = if error.is_instance_of::<PyException>(py) {
                            raised(py, &error)
                        } else {
                            Raised::Interrupt(0)
                        };
                        *failed = Some(error);
                        shared
                    })
                });
                ended.unwrap_or(Err(Raised::ShuttingDown))
            })
        })
    });
    if let Some(error) = failure.take_if(|error| !error.is_instance_of::<PyException>(py)) {
        return Err(error);
    }
    let found = PyDict::new(py);
    for (key, answer) in keys.iter().zip(answers) {
        let answer = answer.map_err(|error| of_load(py, &error))?;
        if let Some(value) = answer.value {
            found.set_item(key, value.object(py))?;
        }
    }
    Ok(found)
}

fn call_many(
    py: Python<'_>,
    load: &Bound<'_, PyAny>,
    missing: &[Py<PyAny>],
    weighing: Weighing,
) -> PyResult<Vec<Loaded<Value>>> {
    let list = PyList::new(py, missing)?;
    let values = call(load, &PyTuple::new(py, [list])?, None)?;
    let Ok(values) = values.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "load must return a dict of the values by their keys, not {}",
            type_name(&values)
        )));
    };
    let of_key = |key: &Py<PyAny>| {
        if values.contains(key)? {
            loaded(values.get_item(key)?, weighing)
        } else {
            Ok(Loaded::absent())
        }
    };
    missing.iter().map(of_key).collect()
}

/// What a loader raised, where that is why the load failed.
pub(crate) fn cause(py: Python<'_>, error: &Error) -> Option<PyErr> {
    match error.cause() {
        Some(Raised::Exception { exception, .. }) => {
            Some(PyErr::from_value(exception.get().bind(py).clone()))
        }
        _ => None,
    }
}

/// The exception of a load that failed.
pub(crate) fn of_load(py: Python<'_>, error: &Error) -> PyErr {
    if let Some(Signalled(handlers)) = error.cause() {
        return PyErr::from_value(handlers.get().bind(py).clone());
    }
    let Some(Raised::Exception { exception: shared, traceback }) = error.cause() else {
        return exception(py, error);
    };
    let error = PyErr::from_value(shared.get().bind(py).clone());
    // Each raise adds the frames that it passes: all begin with those of the loader.
    let traceback =
        traceback.as_ref().and_then(|it| it.get().bind(py).cast::<PyTraceback>().ok().cloned());
    error.set_traceback(py, traceback);
    error
}

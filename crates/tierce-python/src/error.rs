//! Which exception stands for which error of the core. The classes are in `tierce/_errors.py`.

use pyo3::{prelude::*, sync::PyOnceLock};
use tierce::{Error, ErrorKind};

/// The exception of an error.
pub(crate) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let class = match error.kind() {
        ErrorKind::Config | ErrorKind::Unsupported => "ConfigError",
        ErrorKind::Codec => "CodecError",
        ErrorKind::TooLarge => "TooLargeError",
        ErrorKind::Timeout => "TimeoutError",
        ErrorKind::Closed => "ClosedError",
        ErrorKind::Absent => "AbsentError",
        ErrorKind::Reentrant => "ReentrantLoadError",
        ErrorKind::Io | ErrorKind::Denied | ErrorKind::Full => "StorageError",
        _ => "TierceError",
    };
    raise(py, class, error).unwrap_or_else(|trouble| trouble)
}

fn raise(py: Python<'_>, class: &str, error: &Error) -> PyResult<PyErr> {
    static ERRORS: PyOnceLock<Py<PyModule>> = PyOnceLock::new();
    let errors = ERRORS.get_or_try_init(py, || py.import("tierce._errors").map(Bound::unbind))?;
    let class = errors.bind(py).getattr(class)?;
    let message = error.to_string();
    let number = error.cause::<std::io::Error>().and_then(std::io::Error::raw_os_error);
    let exception = match number {
        // An OSError takes its errno from the first of two arguments.
        Some(number) if error.kind() != ErrorKind::Timeout => class.call1((number, message))?,
        _ => class.call1((message,))?,
    };
    exception.setattr("kind", error.kind().as_str())?;
    exception.setattr("tier", error.tier().map(tierce::TierKind::short))?;
    Ok(PyErr::from_value(exception))
}

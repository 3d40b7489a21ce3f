//! How keyword arguments become a configuration, and spans of time a `Duration`.
//!
//! A keyword is the source `code` of `tierce::config::Config`: it wins over the environment, that
//! over the file. A keyword that is None says nothing.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDelta, PyDict, PyFloat, PyInt, PyMapping, PyString},
};
use tierce::config::{Config, units};

use crate::{error::exception, key::type_name};

/// The keywords of the constructor that are configuration keys, each with its key.
pub(crate) const KEYS: [(&str, &str); 10] = [
    ("tiering", "tiering"),
    ("max_entries", "memory.max_entries"),
    ("max_bytes", "memory.max_bytes"),
    ("ttl", "default_ttl"),
    ("name", "shared.name"),
    ("shared_directory", "shared.directory"),
    ("shared_max_entries", "shared.max_entries"),
    ("shared_max_bytes", "shared.max_bytes"),
    ("redis", "redis.url"),
    ("service", "service"),
];

/// File and environment, then the keywords.
pub(crate) fn configuration(
    py: Python<'_>,
    file: Option<PathBuf>,
    environ: Option<&Bound<'_, PyAny>>,
    keywords: &[(&str, Option<&Bound<'_, PyAny>>)],
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Config> {
    let flag = environ.map_or(Ok(true), |environ| match environ.cast::<PyBool>() {
        Ok(flag) => Ok(flag.is_true()),
        Err(_) => Err(environ),
    });
    let mut config = match flag {
        // Attached: Python changes the environment only while it holds the interpreter.
        Ok(true) => Config::load(file.as_deref()),
        Ok(false) => Config::load_with(file.as_deref(), std::iter::empty::<(OsString, OsString)>()),
        Err(environ) => Config::load_with(file.as_deref(), variables(environ)?),
    }
    .map_err(|error| exception(py, &error))?;
    for (keyword, value) in keywords {
        let Some(value) = value else { continue };
        let key = KEYS.iter().find(|(name, _)| name == keyword).map_or(*keyword, |(_, key)| *key);
        set(&mut config, key, keyword, value)?;
    }
    for (key, value) in options.into_iter().flatten() {
        let Ok(key) = key.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!(
                "a key of options must be str, not {}",
                type_name(&key)
            )));
        };
        set(&mut config, key.to_str()?, key.to_str()?, &value)?;
    }
    config.check().map_err(|error| exception(py, &error))?;
    Ok(config)
}

fn variables(environ: &Bound<'_, PyAny>) -> PyResult<Vec<(OsString, OsString)>> {
    let Ok(mapping) = environ.cast::<PyMapping>() else {
        return Err(PyTypeError::new_err(format!(
            "environ must be a bool or a mapping of str to str, not {}",
            type_name(environ)
        )));
    };
    mapping.items()?.iter().map(|pair| pair.extract()).collect()
}

/// Sets one key from a Python value, by the text that a file would hold.
fn set(config: &mut Config, key: &str, keyword: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    let text = if let Ok(text) = value.cast::<PyString>() {
        text.to_str()?.to_owned()
    } else if let Ok(flag) = value.cast::<PyBool>() {
        flag.is_true().to_string()
    } else if is_span(key) {
        units::write_span(duration(value, keyword)?)
    } else if value.is_instance_of::<PyInt>() {
        // Sizes need a unit; a bare int is bytes.
        let number = value.str()?.to_str()?.to_owned();
        if is_size(key) { number + "B" } else { number }
    } else if value.hasattr("__fspath__")? {
        path_text(value)?
    } else {
        return Err(PyTypeError::new_err(format!(
            "{keyword} must be str, int, float, bool, timedelta or a path, not {}",
            type_name(value)
        )));
    };
    config.set(key, &text).map_err(|error| exception(py, &error))
}

fn path_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path: PathBuf = value.extract()?;
    path.into_os_string()
        .into_string()
        .map_err(|path| PyValueError::new_err(format!("path {path:?}: must be UTF-8 text")))
}

/// True for a key that holds a span of time.
fn is_span(key: &str) -> bool {
    key == "default_ttl"
        || ["_wait", "_timeout", ".wait", "_ttl", "_if_error", "_revalidate", "_backoff", "_most"]
            .iter()
            .any(|ending| key.ends_with(ending))
}

/// True for a key that holds a size.
fn is_size(key: &str) -> bool {
    key.ends_with("_bytes")
}

/// The span that `object` means: seconds, a timedelta, or text such as `"10m"`.
///
/// # Errors
/// TypeError for another type, ValueError for a span that is negative, not a number or without
/// its unit.
pub(crate) fn duration(object: &Bound<'_, PyAny>, name: &str) -> PyResult<Duration> {
    let seconds: f64 = if let Ok(text) = object.cast::<PyString>() {
        let text = text.to_str()?;
        return units::parse_span(text)
            .map_err(|rule| PyValueError::new_err(format!("{name} = {text:?}: {rule}")));
    } else if object.is_instance_of::<PyDelta>() {
        object.call_method0("total_seconds")?.extract()?
    } else if !object.is_instance_of::<PyBool>()
        && (object.is_instance_of::<PyInt>() || object.is_instance_of::<PyFloat>())
    {
        object.extract()?
    } else {
        return Err(PyTypeError::new_err(format!(
            "{name} must be seconds, a timedelta or text such as \"10m\", not {}",
            type_name(object)
        )));
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| {
        PyValueError::new_err(format!("{name} = {seconds}: must be a span of time, zero or more"))
    })
}

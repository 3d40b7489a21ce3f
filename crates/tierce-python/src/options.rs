//! How keyword arguments become a configuration, and spans of time a `Duration`.
//!
//! A keyword is the source `code` of `tierce::config::Config`: it wins over the environment, that
//! over the file. A keyword that is None says nothing.

use std::{collections::HashMap, ffi::OsString, path::PathBuf, sync::LazyLock, time::Duration};

use pyo3::{
    exceptions::{PyTypeError, PyValueError},
    prelude::*,
    types::{PyBool, PyDelta, PyDict, PyFloat, PyInt, PyMapping, PyString},
};
use tierce::config::{Config, reference, units};

use crate::{
    error::exception,
    key::{type_name, wrong_type},
};

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
    options: Option<&Bound<'_, PyAny>>,
) -> PyResult<Config> {
    let options = options.map(|options| {
        options.cast::<PyDict>().map_err(|_| wrong_type("options", "a dict", options))
    });
    let options = options.transpose()?;
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
        return Err(wrong_type("environ", "a bool or a mapping of str to str", environ));
    };
    let mut variables = Vec::new();
    for pair in mapping.items()?.iter() {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = pair.extract()?;
        let Ok(text) = name.extract() else {
            return Err(wrong_type("a name in environ", "str", &name));
        };
        let Ok(content) = value.extract() else {
            return Err(wrong_type(&format!("environ[{}]", name.repr()?), "str", &value));
        };
        variables.push((text, content));
    }
    Ok(variables)
}

/// Sets one key from a Python value, by the text that a file would hold.
fn set(config: &mut Config, key: &str, keyword: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
    let py = value.py();
    let text = if let Ok(text) = value.cast::<PyString>() {
        text.to_str()?.to_owned()
    } else if let Ok(flag) = value.cast::<PyBool>() {
        flag.is_true().to_string()
    } else if kind(key) == Kind::Span {
        units::write_span(duration(value, keyword)?)
    } else if value.is_instance_of::<PyInt>() {
        // Sizes need a unit; a bare int is bytes.
        let number = value.str()?.to_str()?.to_owned();
        if kind(key) == Kind::Size { number + "B" } else { number }
    } else if value.hasattr("__fspath__")? {
        path_text(value)?
    } else {
        // Those are for spans of time alone.
        return Err(wrong_type(keyword, "str, int, bool or a path", value));
    };
    config.set(key, &text).map_err(|error| exception(py, &error))
}

fn path_text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    let path: PathBuf = value.extract()?;
    path.into_os_string()
        .into_string()
        .map_err(|path| PyValueError::new_err(format!("path {path:?}: must be UTF-8 text")))
}

/// What a bare number means as the value of a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Seconds.
    Span,
    /// Bytes.
    Size,
    /// Itself.
    Other,
}

/// The kind of a key, by its row in the table of the core: what a span and a size must look like is
/// said there in the words that [`units`] refuses others with.
fn kind(key: &str) -> Kind {
    static KINDS: LazyLock<HashMap<String, Kind>> = LazyLock::new(|| {
        let rules = [
            (Kind::Span, units::parse_span("").map(|_| ())),
            (Kind::Size, units::parse_size("").map(|_| ())),
        ];
        let of_row = |row: &str| {
            let (_, row) = row.split_once("| `")?;
            let (key, row) = row.split_once('`')?;
            let is_kind = |(_, rule): &&(Kind, Result<(), &str>)| {
                rule.as_ref().is_err_and(|rule| row.contains(&format!("| {rule}, from ")))
            };
            let kind = rules.iter().find(is_kind).map_or(Kind::Other, |(kind, _)| *kind);
            Some((key.to_owned(), kind))
        };
        reference().lines().filter_map(of_row).collect()
    });
    KINDS.get(key).copied().unwrap_or(Kind::Other)
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

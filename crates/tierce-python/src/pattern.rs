//! Python values in the places of a key's pattern: `user/:id`, by the rules of the core.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyInt, PyString},
};
use tierce::{KeyPart, KeyPattern};

use crate::{error::exception, key::type_name};

/// Parses a pattern.
///
/// # Errors
/// ConfigError, as the core says it.
pub(crate) fn parse(py: Python<'_>, text: &str) -> PyResult<KeyPattern> {
    KeyPattern::parse(text).map_err(|error| exception(py, &error))
}

/// Appends the key with the values in its places; `value` gives that of each.
///
/// # Errors
/// TypeError for a value that is neither str nor int, and what `value` raises.
pub(crate) fn append<'py>(
    pattern: &KeyPattern,
    key: &mut Vec<u8>,
    mut value: impl FnMut(usize, &str) -> PyResult<Bound<'py, PyAny>>,
) -> PyResult<()> {
    pattern.append_with(key, |key, number, name| append_part(key, &value(number, name)?, name))
}

fn append_part(key: &mut Vec<u8>, value: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        text.to_str()?.append_to(key);
        return Ok(());
    }
    if value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>() {
        return append_int(key, value);
    }
    Err(PyTypeError::new_err(format!("{name} must be str or int, not {}", type_name(value))))
}

/// Appends an int in decimal.
pub(crate) fn append_int(key: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<()> {
    match value.extract::<i64>() {
        Ok(number) => number.append_to(key),
        // Not `str(value)`: a subclass may say what it likes.
        Err(_) => {
            let text = value.call_method0("__int__")?.repr()?;
            key.extend_from_slice(text.to_str()?.as_bytes());
        }
    }
    Ok(())
}

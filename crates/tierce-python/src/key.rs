//! Which objects are keys: str and bytes, and nothing else.
//!
//! The core knows keys as bytes; a str is the bytes of its UTF-8 form, so `"a"` and `b"a"` are the
//! same key, in every process and language. CPython keeps that form inside the str: no copy, and
//! no allocation for a str of ASCII.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyString},
};

/// The bytes of a key, borrowed from the object.
///
/// # Errors
/// TypeError for an object that is neither str nor bytes, UnicodeEncodeError for a str with lone
/// surrogates: it has no UTF-8 form.
#[inline]
pub(crate) fn key_bytes<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    // The very class first: that takes no call into the interpreter.
    if let Ok(text) = key.cast_exact::<PyString>() {
        return text.to_str().map(str::as_bytes);
    }
    key_bytes_of_others(key)
}

fn key_bytes_of_others<'a>(key: &'a Bound<'_, PyAny>) -> PyResult<&'a [u8]> {
    if let Ok(text) = key.cast::<PyString>() {
        return text.to_str().map(str::as_bytes);
    }
    if let Ok(bytes) = key.cast::<PyBytes>() {
        return Ok(bytes.as_bytes());
    }
    Err(refuse(key))
}

/// The keys of a call that takes many.
///
/// # Errors
/// TypeError for what is no iterable. A str by itself is refused, as its letters would be keys; so
/// is bytes.
pub(crate) fn many_keys<'py>(keys: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    let is_one = keys.is_instance_of::<PyString>() || keys.is_instance_of::<PyBytes>();
    if is_one || !keys.hasattr("__iter__")? {
        return Err(PyTypeError::new_err(format!(
            "keys must be a list or another iterable of str or bytes, not {}",
            type_name(keys)
        )));
    }
    keys.try_iter()?.collect()
}

#[cold]
fn refuse(key: &Bound<'_, PyAny>) -> PyErr {
    let name = type_name(key);
    PyTypeError::new_err(format!("a key must be str or bytes, not {name}"))
}

/// The text of an argument that must be str.
///
/// # Errors
/// TypeError for another object, UnicodeEncodeError for a str with lone surrogates.
pub(crate) fn text<'a>(object: &'a Bound<'_, PyAny>, name: &str) -> PyResult<&'a str> {
    match object.cast::<PyString>() {
        Ok(text) => text.to_str(),
        Err(_) => Err(wrong_type(name, "str", object)),
    }
}

/// The TypeError for an argument of another type than `what` says.
#[cold]
pub(crate) fn wrong_type(name: &str, what: &str, object: &Bound<'_, PyAny>) -> PyErr {
    PyTypeError::new_err(format!("{name} must be {what}, not {}", type_name(object)))
}

/// The name of the object's type, for messages.
pub(crate) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "object".to_owned(), |name| name.to_string())
}

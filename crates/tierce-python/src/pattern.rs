//! Patterns of keys: `user/:id`, with the rules of the core's keyspaces.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyInt, PyString},
};
use tierce::{Error, ErrorKind};

use crate::{error::exception, key::type_name};

/// A parsed pattern.
pub(crate) struct Pattern {
    text: String,
    /// The names of the places, and what stands before each, slashes included.
    places: Vec<(String, String)>,
    /// What stands after the last one.
    after: String,
}

impl Pattern {
    /// Parses a pattern: segments between slashes, of which those that begin with a colon are
    /// places and have a name of letters, digits and `_`.
    ///
    /// # Errors
    /// ConfigError for an empty segment, a percent sign, a name that is none or there twice.
    pub(crate) fn parse(py: Python<'_>, text: &str) -> PyResult<Self> {
        let wrong = |rule: &str| {
            let message = format!("key pattern {text:?}: {rule}");
            Err(exception(py, &Error::new(ErrorKind::Config, message)))
        };
        let (mut places, mut literal) = (Vec::<(String, String)>::new(), String::new());
        for (number, segment) in text.split('/').enumerate() {
            if number > 0 {
                literal.push('/');
            }
            if segment.is_empty() {
                return wrong("a segment is empty; write it like user/:id");
            }
            if segment.contains('%') {
                return wrong("a percent sign is for what stands in the places");
            }
            let Some(name) = segment.strip_prefix(':') else {
                literal.push_str(segment);
                continue;
            };
            if name.is_empty() || !name.chars().all(|it| it.is_ascii_alphanumeric() || it == '_') {
                return wrong("the name of a place must be of letters, digits and _");
            }
            if places.iter().any(|(other, _)| other == name) {
                return wrong(&format!("two places have the name {name}"));
            }
            places.push((name.to_owned(), std::mem::take(&mut literal)));
        }
        Ok(Self { text: text.to_owned(), places, after: literal })
    }

    /// The pattern as it was written.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The names of the places.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.places.iter().map(|(name, _)| name.as_str())
    }

    /// Appends the key with the values in its places; `value` gives that of each.
    ///
    /// # Errors
    /// TypeError for a value that is neither str nor int, and what `value` raises.
    pub(crate) fn append<'py>(
        &self,
        key: &mut Vec<u8>,
        mut value: impl FnMut(usize, &str) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        for (number, (name, before)) in self.places.iter().enumerate() {
            key.extend_from_slice(before.as_bytes());
            append_part(key, &value(number, name)?, name)?;
        }
        key.extend_from_slice(self.after.as_bytes());
        Ok(())
    }
}

fn append_part(key: &mut Vec<u8>, value: &Bound<'_, PyAny>, name: &str) -> PyResult<()> {
    if let Ok(text) = value.cast::<PyString>() {
        for byte in text.to_str()?.bytes() {
            match byte {
                b'/' => key.extend_from_slice(b"%2F"),
                b'%' => key.extend_from_slice(b"%25"),
                byte => key.push(byte),
            }
        }
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
        // Writing to a vector cannot fail.
        Ok(number) => _ = std::io::Write::write_fmt(key, format_args!("{number}")),
        // Not `str(value)`: a subclass may say what it likes.
        Err(_) => {
            let text = value.call_method0("__int__")?.repr()?;
            key.extend_from_slice(text.to_str()?.as_bytes());
        }
    }
    Ok(())
}

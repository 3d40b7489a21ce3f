//! Values that can be used only once, which no cache can keep for many readers.
//!
//! L2 and L3 refuse them as they refuse all that does not come back as it is. L1 keeps the object
//! itself: its first reader would use it up, and all others would find it empty.

use pyo3::{prelude::*, sync::PyOnceLock, types::PyType};
use tierce::{Error, ErrorKind};

use crate::{error::exception, key::type_name};

/// The types, each with the module that has it. Other iterators may be kept: a class may well
/// begin anew for each reader.
const TYPES: [(&str, &str); 6] = [
    ("types", "CoroutineType"),
    ("types", "GeneratorType"),
    ("types", "AsyncGeneratorType"),
    ("builtins", "map"),
    ("builtins", "filter"),
    ("builtins", "zip"),
];

/// Refuses a value that can be used only once. It costs six compares of pointers.
///
/// # Errors
/// CodecError, as for other values that cannot be kept.
#[inline]
pub(crate) fn refuse_once_used(value: &Bound<'_, PyAny>) -> PyResult<()> {
    static FOUND: PyOnceLock<[Py<PyType>; TYPES.len()]> = PyOnceLock::new();
    let py = value.py();
    let types = match FOUND.get(py) {
        Some(types) => types,
        None => FOUND.get_or_try_init(py, || found(py))?,
    };
    let of_value = value.get_type_ptr();
    if types.iter().any(|of| of.as_ptr().cast() == of_value) { Err(refuse(value)) } else { Ok(()) }
}

#[cold]
fn found(py: Python<'_>) -> PyResult<[Py<PyType>; TYPES.len()]> {
    let found = TYPES.map(|(module, name)| -> PyResult<Py<PyType>> {
        Ok(py.import(module)?.getattr(name)?.cast_into::<PyType>()?.unbind())
    });
    let found = found.into_iter().collect::<PyResult<Vec<_>>>()?;
    found.try_into().map_err(|_| pyo3::exceptions::PySystemError::new_err("a type was lost"))
}

#[cold]
fn refuse(value: &Bound<'_, PyAny>) -> PyErr {
    let name = type_name(value);
    let instead = if name == "coroutine" {
        "await it and keep what it returns, as aget_or_load and cached on an async def do"
    } else {
        "keep a list of what it gives"
    };
    let message = format!("{name}: it can be used only once, and values are read often; {instead}");
    exception(value.py(), &Error::new(ErrorKind::Codec, message))
}

//! Which objects name tags: iterables of str and bytes, as keys are.

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBytes, PyString},
};

use crate::key::type_name;

/// The bytes of the tags that `object` names.
///
/// # Errors
/// TypeError for what is no iterable of str and bytes. A str by itself is refused, as its letters
/// would be tags; so is bytes.
pub(crate) fn tag_bytes(object: &Bound<'_, PyAny>) -> PyResult<Vec<Box<[u8]>>> {
    let is_one = object.is_instance_of::<PyString>() || object.is_instance_of::<PyBytes>();
    if is_one || !object.hasattr("__iter__")? {
        return Err(PyTypeError::new_err(format!(
            "tags must be a list or another iterable of str or bytes, not {}",
            type_name(object)
        )));
    }
    object.try_iter()?.map(|tag| one_tag(&tag?)).collect()
}

/// The bytes of one tag.
///
/// # Errors
/// TypeError for what is neither str nor bytes.
pub(crate) fn one_tag(tag: &Bound<'_, PyAny>) -> PyResult<Box<[u8]>> {
    if let Ok(text) = tag.cast::<PyString>() {
        return Ok(text.to_str()?.as_bytes().into());
    }
    match tag.cast::<PyBytes>() {
        Ok(bytes) => Ok(bytes.as_bytes().into()),
        Err(_) => {
            Err(PyTypeError::new_err(format!("a tag must be str or bytes, not {}", type_name(tag))))
        }
    }
}

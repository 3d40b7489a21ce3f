//! What a key had when it was looked at, and the number that a value is.

use pyo3::{
    prelude::*,
    types::{PyBytes, PyInt},
};
use tierce::{Countable, Version};

use crate::held::{Value, Weighing};

/// What a key had when it was looked at, for `Cache.compare_and_set`.
///
/// Made by `Cache.get_versioned`. It holds until the key is changed, by whomever; a value that was
/// loaded or brought up anew is a change as well.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> value, version = cache.get_versioned("user:7")
/// >>> cache.compare_and_set("user:7", version, "Ada")
/// True
#[pyclass(name = "Version", module = "tierce", frozen)]
pub(crate) struct PyVersion(pub(crate) Version);

#[pymethods]
impl PyVersion {
    fn __repr__(&self) -> &'static str {
        "<tierce.Version>"
    }
}

/// An int that fits 64 bits, or such a number in decimal digits as other languages write it.
impl Countable for Value {
    fn to_number(&self) -> Option<i64> {
        Python::try_attach(|py| {
            let object = self.object(py);
            if object.is_exact_instance_of::<PyInt>() {
                return object.extract().ok();
            }
            let digits = object.cast_exact::<PyBytes>().ok()?;
            std::str::from_utf8(digits.as_bytes()).ok()?.parse().ok()
        })
        .flatten()
    }

    fn from_number(number: i64) -> Self {
        // The one caller has the interpreter, or waits for it as any codec does.
        Python::attach(|py| Self::new(PyInt::new(py, number).into_any(), Weighing::Estimate))
    }
}

//! A value with where it came from and how old it is.

use pyo3::prelude::*;
use tierce::Origin;

use crate::load::Came;

/// A value with where it came from and how old it is.
///
/// Attributes
/// ----------
/// value : object
///     The value; where the loader said that there is none, the default of the call.
/// origin : str
///     "L1", "L2" or "L3" for a tier that had it; "loaded" where this call loaded it, "joined"
///     where another thread or task did while this call waited.
/// is_stale : bool
///     True if its time to live is over: it is served because the call allows that.
/// is_absent : bool
///     True where the loader said that there is no value.
/// age : float or None
///     Seconds since it was set or its load began; None where that is not known.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> cache["user:7"] = "Ada"
/// >>> entry = cache.get_entry("user:7")
/// >>> entry.value, entry.origin, entry.is_stale
/// ('Ada', 'L1', False)
#[pyclass(name = "Entry", module = "tierce", frozen, generic)]
pub(crate) struct PyEntry {
    #[pyo3(get)]
    value: Py<PyAny>,
    #[pyo3(get)]
    origin: &'static str,
    #[pyo3(get)]
    is_stale: bool,
    #[pyo3(get)]
    is_absent: bool,
    #[pyo3(get)]
    age: Option<f64>,
}

impl PyEntry {
    /// What came, with this object for its value.
    pub(crate) fn new(came: &Came, value: Py<PyAny>) -> Self {
        Self {
            value,
            origin: match came.origin {
                Origin::Tier(tier) => tier.short(),
                Origin::Loaded => "loaded",
                Origin::Joined => "joined",
            },
            is_stale: came.is_stale,
            is_absent: came.value.is_none(),
            age: came.age.map(|age| age.as_secs_f64()),
        }
    }
}

#[pymethods]
impl PyEntry {
    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let value = self.value.bind(py).repr()?;
        let (origin, age) =
            (self.origin, self.age.map_or("None".to_owned(), |age| age.to_string()));
        let is_stale = if self.is_stale { "True" } else { "False" };
        Ok(format!("Entry(value={value}, origin='{origin}', is_stale={is_stale}, age={age})"))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.value)
    }
}

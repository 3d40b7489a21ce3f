//! `cache.loading(...)`: a cache with the loader of its values.

use pyo3::{prelude::*, types::PyDict};
use tierce::Freshness;

use crate::{
    cache::PyCache,
    entry::PyEntry,
    key::key_bytes,
    load::{Callee, Came, Wanted},
    words::{Takes, Words},
};

/// A cache with the loader of its values: reads load what is missing, also in the background.
///
/// Made by `Cache.loading`. Several over one cache, for several kinds of keys, are fine.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache()
/// >>> users = cache.loading(lambda context: {"id": context.text}, ttl="10m", refresh_ahead=0.8)
/// >>> users.get("user:7")
/// {'id': 'user:7'}
#[pyclass(name = "Loading", module = "tierce", frozen, weakref, generic)]
pub(crate) struct PyLoading {
    /// The cache.
    #[pyo3(get)]
    cache: Py<PyCache>,
    load: Py<PyAny>,
    callee: Callee,
    words: Words,
}

impl PyLoading {
    pub(crate) fn new(cache: Py<PyCache>, load: &Bound<'_, PyAny>, words: Words) -> PyResult<Self> {
        let callee = Callee::new(load, true)?;
        Ok(Self { cache, load: load.clone().unbind(), callee, words })
    }

    fn came(&self, py: Python<'_>, name: &[u8], wanted: Wanted) -> PyResult<Came> {
        self.cache.get().load(py, name, &self.words, self.callee.clone(), wanted)
    }
}

#[pymethods]
impl PyLoading {
    /// Return the value of `key`, loaded if need be.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, optional
    ///     Returned where the loader says that there is no value; without it that is an
    ///     AbsentError.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `Cache.get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().loading(lambda context: len(context.key)).get("user:7")
    /// 6
    #[pyo3(signature = (key, **default), text_signature = "($self, key, *, default=...)")]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        if let Some(object) = self.cache.get().near(py, name, &self.words) {
            return Ok(object);
        }
        let (_, default) = Words::and_default("get", Takes::Nothing, &Freshness::new(), default)?;
        self.came(py, name, Wanted::Any)?.value(py, default.as_ref())
    }

    /// Return the value of `key` with where it came from, loaded if need be.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, optional
    ///     As for `get`.
    ///
    /// Returns
    /// -------
    /// Entry
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `Cache.get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> sizes = tierce.Cache().loading(lambda context: len(context.key))
    /// >>> sizes.get_entry("user:7").origin, sizes.get_entry("user:7").origin
    /// ('loaded', 'L1')
    #[pyo3(signature = (key, **default), text_signature = "($self, key, *, default=...)")]
    fn get_entry(
        &self,
        key: &Bound<'_, PyAny>,
        default: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyEntry> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (_, default) =
            Words::and_default("get_entry", Takes::Nothing, &Freshness::new(), default)?;
        self.came(py, name, Wanted::Any)?.entry(py, default.as_ref())
    }

    /// Load `key` anew, whatever there is, and return the new value with where it came from.
    ///
    /// Nothing stale is served where the load fails. Who comes while another thread refreshes the
    /// key, and asked before that began, joins it.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    ///
    /// Returns
    /// -------
    /// Entry
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `Cache.get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import itertools, tierce
    /// >>> numbers = itertools.count()
    /// >>> tickets = tierce.Cache().loading(lambda context: next(numbers))
    /// >>> tickets.get("a"), tickets.get("a"), tickets.refresh("a").value
    /// (0, 0, 1)
    fn refresh(&self, key: &Bound<'_, PyAny>) -> PyResult<PyEntry> {
        let (py, name) = (key.py(), key_bytes(key)?);
        self.came(py, name, Wanted::New)?.entry(py, None)
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let cache = self.cache.bind(py).repr()?;
        Ok(format!("<tierce.Loading cache={cache} load={}>", self.load.bind(py).repr()?))
    }

    fn __traverse__(&self, visit: pyo3::PyVisit<'_>) -> Result<(), pyo3::PyTraverseError> {
        visit.call(&self.cache)?;
        visit.call(&self.load)
    }
}

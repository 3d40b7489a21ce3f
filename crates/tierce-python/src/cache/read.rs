//! What the tiers have.

use pyo3::{prelude::*, types::PyDict};
use tierce::Freshness;

use super::{PyCache, missing, said};
use crate::{
    entry::PyEntry,
    key::{key_bytes, many_keys},
    words::{Takes, Words},
};

#[pymethods]
impl PyCache {
    /// Return the value of `key`, or `default` if no tier has it.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, default None
    ///     None is a value like any other: tell a miss from it by a default of your own.
    /// allow_stale : bool, default False
    ///     True accepts a value in its stale window, where no tier has a fresh one.
    /// max_age : float, timedelta or str, optional
    ///     How long ago the value may have been set, or its load begun, at most. One whose age is
    ///     not known is too old.
    /// tiers : str, optional
    ///     The tiers to look in, such as "L1L2"; all by default.
    ///
    /// Returns
    /// -------
    /// object
    ///     From L1 the object that was put in; from L2 and L3 an equal one.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.get("user:7") is None
    /// True
    /// >>> cache.set("user:7", "Ada")
    /// >>> cache.get(b"user:7")
    /// 'Ada'
    #[pyo3(signature = (key, default=None, *, allow_stale=None, max_age=None, tiers=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        allow_stale: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
        tiers: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let found = match said!(py, allow_stale, max_age, tiers)? {
            None => self.find(py, name),
            accepts => {
                let words = Words::read("get", Takes::Read, &Freshness::new(), accepts.as_ref())?;
                self.came(py, name, &words).map(|came| came.value(py, None)).transpose()?
            }
        };
        Ok(found.unwrap_or_else(|| default.unwrap_or_else(|| py.None().into_bound(py))))
    }

    /// Return the value of `key` with where it came from and its age; None if no tier has it.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// allow_stale : bool, default False
    ///     As for `get`.
    /// max_age : float, timedelta or str, optional
    ///     As for `get`.
    /// tiers : str, optional
    ///     As for `get`.
    ///
    /// Returns
    /// -------
    /// Entry or None
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> clock = tierce.ManualClock()
    /// >>> cache = tierce.Cache(ttl=60, stale_if_error=600, clock=clock)
    /// >>> cache["user:7"] = "Ada"
    /// >>> clock.advance(70)
    /// >>> cache.get_entry("user:7") is None
    /// True
    /// >>> entry = cache.get_entry("user:7", allow_stale=True)
    /// >>> entry.value, entry.origin, entry.is_stale, entry.age
    /// ('Ada', 'L1', True, 70.0)
    #[pyo3(
        signature = (key, **accepts),
        text_signature = "($self, key, *, allow_stale=None, max_age=None, tiers=None)"
    )]
    fn get_entry<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        accepts: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<PyEntry>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let words = Words::read("get_entry", Takes::Read, &Freshness::new(), accepts)?;
        self.came(py, name, &words).map(|came| came.entry(py, None)).transpose()
    }

    /// Return the values of many keys, as a dict of those that a tier has.
    ///
    /// As many calls of `get`, but L1 is asked for all keys together, and what L1 and L2 lack is
    /// fetched from L3 in one round trip; large values may take several.
    ///
    /// Parameters
    /// ----------
    /// keys : iterable of str or bytes
    ///     A key may come more than once.
    ///
    /// Returns
    /// -------
    /// dict
    ///     The values by the keys as they were given, in that order. A key that no tier has is
    ///     not in it.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("user:7", "Ada")
    /// >>> cache.set("user:8", "Grace")
    /// >>> cache.get_many(["user:7", "user:8", "user:9"])
    /// {'user:7': 'Ada', 'user:8': 'Grace'}
    fn get_many<'py>(&self, keys: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyDict>> {
        let py = keys.py();
        let keys = many_keys(keys)?;
        let names = keys.iter().map(key_bytes).collect::<PyResult<Vec<_>>>()?;
        let values = self.ask(py, || self.core.get_many(&names));
        let found = PyDict::new(py);
        for (key, value) in keys.iter().zip(&values) {
            if let Some(value) = value {
                found.set_item(key, value.object(py))?;
            }
        }
        Ok(found)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.find(key.py(), key_bytes(key)?).ok_or_else(|| missing(key))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(key.py(), key_bytes(key)?).is_some())
    }

    /// The number of entries in L1.
    fn __len__(&self) -> usize {
        self.core.len()
    }
}

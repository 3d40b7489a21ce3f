//! Changes that depend on what is there: one step for all processes and hosts that share the key.

use pyo3::{
    Borrowed,
    exceptions::{PyOverflowError, PyTypeError},
    prelude::*,
    types::{PyDict, PyInt},
};
use tierce::{Freshness, SetOptions};

use super::PyCache;
use crate::{
    call::call,
    codec::attached,
    error::exception,
    held::{Parked, Value, scope},
    key::{key_bytes, type_name, wrong_type},
    loaded::{is_not_modified, is_said},
    version::PyVersion,
    words::{Takes, Words},
};

/// What `increment` adds.
pub(super) struct Delta(pub(super) i64);

impl<'py> FromPyObject<'_, 'py> for Delta {
    type Error = PyErr;

    fn extract(delta: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if !delta.is_instance_of::<PyInt>() {
            return Err(wrong_type("delta", "int", &delta));
        }
        delta.extract().map(Self).map_err(|_| {
            let rule = format!("from {} to {}", i64::MIN, i64::MAX);
            PyOverflowError::new_err(format!("delta = {}: must be {rule}", &*delta))
        })
    }
}

#[pymethods]
impl PyCache {
    /// Return the value of `key` from the tier that decides about it, and its version.
    ///
    /// That is the lowest tier in force, which all who use the key share: a round trip where it
    /// is L3, a look into the store where it is L2.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, default None
    ///     In place of the value where there is none, or a stale one.
    ///
    /// Returns
    /// -------
    /// tuple of object and Version
    ///
    /// Raises
    /// ------
    /// TierceError
    ///     The tier that decides does not answer (`kind` is "network" or "busy"); StorageError
    ///     where that is L2.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> value, version = cache.get_versioned("user:7")
    /// >>> value
    /// 'Ada'
    #[pyo3(signature = (key, default=None))]
    fn get_versioned<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<(Bound<'py, PyAny>, PyVersion)> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (value, version) = self.change(py, || self.core.get_versioned(name))?;
        let value = value.map(|value| value.object(py)).or(default);
        Ok((value.unwrap_or_else(|| py.None().into_bound(py)), PyVersion(version)))
    }

    /// Set `key` as `set` does, if what it had when `version` was taken is still there.
    ///
    /// One step for all threads, processes and hosts that share the key. Costs as `get_versioned`.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// version : Version
    ///     Of this key, from `get_versioned`.
    /// value : object
    /// ttl : float, timedelta or str, optional
    ///     As for `set`, and so are the other keywords. Not zero.
    ///
    /// Returns
    /// -------
    /// bool
    ///     True if it was set; else somebody changed the key meanwhile.
    ///
    /// Raises
    /// ------
    /// TierceError
    ///     The tier that decides does not answer, or is busy (`kind`); StorageError where that is
    ///     L2. The value may have been set or not, and nobody is served what was there before.
    /// ConfigError, CodecError, ClosedError
    ///     As `set`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> _, version = cache.get_versioned("user:7")
    /// >>> cache.compare_and_set("user:7", version, "Ada")
    /// True
    /// >>> cache.compare_and_set("user:7", version, "Grace"), cache["user:7"]
    /// (False, 'Ada')
    #[pyo3(
        signature = (key, version, value, ttl=None, **freshness),
        text_signature = "($self, key, version, value, ttl=None, *, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None)"
    )]
    fn compare_and_set<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        version: &Bound<'py, PyVersion>,
        value: Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<bool> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let options = options("compare_and_set", ttl, freshness)?;
        let (version, value) = (&version.get().0, Value::given(value, self.weighing)?);
        self.change(py, || self.core.compare_and_set(name, version, value, &options))
    }

    /// Set `key` as `set` does, if it has no value or a stale one.
    ///
    /// One step for all threads, processes and hosts that share the key. Costs as `get_versioned`.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// value : object
    /// ttl : float, timedelta or str, optional
    ///     As for `set`, and so are the other keywords. Not zero.
    ///
    /// Returns
    /// -------
    /// bool
    ///     True if it was set.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `compare_and_set`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set_if_absent("lock", "mine", ttl=30), cache.set_if_absent("lock", "theirs")
    /// (True, False)
    #[pyo3(
        signature = (key, value, ttl=None, **freshness),
        text_signature = "($self, key, value, ttl=None, *, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None)"
    )]
    fn set_if_absent<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        value: Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<bool> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let options = options("set_if_absent", ttl, freshness)?;
        let value = Value::given(value, self.weighing)?;
        self.change(py, || self.core.set_if_absent(name, value, &options))
    }

    /// Set `key` to what `change` makes of its value, and return the new value.
    ///
    /// One step for all threads, processes and hosts that share the key: where somebody else was
    /// faster, `change` is called again with what they made of it. No lock is held meanwhile.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// change : callable
    ///     Called with the value, or with `default` where there is none or a stale one. It returns
    ///     the new one, or `Loaded.not_modified()`: then all stays as it is. It must not change
    ///     the object that it is given: in tiering "L1" that is the one that others have.
    /// default : object, default None
    /// ttl : float, timedelta or str, optional
    ///     As for `set`, and so are the other keywords. Not zero. Where none is given, a value
    ///     keeps what remains of its time to live, and its tags.
    ///
    /// Returns
    /// -------
    /// object
    ///     What the key has now: the new value, or where all stayed what `change` was called with.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     What `change` raises; then nothing was changed. Else as `compare_and_set`.
    /// TierceError
    ///     Others were faster a thousand times (`kind` is "busy").
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.update("names", lambda names: [*names, "Ada"], default=[])
    /// ['Ada']
    /// >>> cache.update("names", lambda names: [*names, "Grace"], default=[])
    /// ['Ada', 'Grace']
    #[pyo3(
        signature = (key, change, default=None, ttl=None, **freshness),
        text_signature = "($self, key, change, default=None, ttl=None, *, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None)"
    )]
    fn update<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        change: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        ttl: Option<&Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        if !change.is_callable() {
            let name = type_name(change);
            return Err(PyTypeError::new_err(format!("change must be callable, not {name}")));
        }
        let options = options("update", ttl, freshness)?;
        let change = change.clone().unbind();
        let default = default.unwrap_or_else(|| py.None().into_bound(py)).unbind();
        let mut ended: Result<Option<Parked>, Option<PyErr>> = Ok(None);
        let once = |present: Option<Value>| {
            let made = attached(|py| {
                let present =
                    present.map_or_else(|| default.bind(py).clone(), |value| value.object(py));
                let made = turn(change.bind(py), &present).and_then(|made| {
                    let made = made.map(|made| Value::given(made, self.weighing)).transpose()?;
                    Ok((made, present.unbind()))
                });
                Ok(made)
            });
            match made {
                Ok(Ok((made, present))) => {
                    ended = Ok(Some(Parked::new(present)));
                    made
                }
                Ok(Err(raised)) => {
                    ended = Err(Some(raised));
                    None
                }
                Err(_) => {
                    ended = Err(None);
                    None
                }
            }
        };
        let updated = scope(py, || py.detach(|| self.core.update(name, &options, once)));
        if let Err(Some(raised)) = ended {
            return Err(raised);
        }
        match (updated.map_err(|error| exception(py, &error))?, ended) {
            (Some(value), _) => Ok(value.object(py)),
            (None, Ok(Some(present))) => Ok(present.get().bind(py).clone()),
            (None, _) => Ok(py.None().into_bound(py)),
        }
    }

    /// Add `delta` to the number that `key` has, and return the sum.
    ///
    /// One step for all threads, processes and hosts that share the key. A key without a value
    /// counts as 0; a number keeps what remains of its time to live. Costs as `get_versioned`.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// delta : int, default 1
    ///     A whole number of 64 bits; below zero subtracts.
    ///
    /// Returns
    /// -------
    /// int
    ///
    /// Raises
    /// ------
    /// CodecError
    ///     The value is no whole number, or the sum does not fit 64 bits; the value stays.
    /// Exception
    ///     Else as `compare_and_set`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.increment("visits"), cache.increment("visits", 41), cache["visits"]
    /// (1, 42, 42)
    #[pyo3(signature = (key, delta=Delta(1)), text_signature = "($self, key, delta=1)")]
    fn increment(&self, key: &Bound<'_, PyAny>, delta: Delta) -> PyResult<i64> {
        let (py, name, Delta(delta)) = (key.py(), key_bytes(key)?, delta);
        self.change(py, || self.core.increment(name, delta))
    }
}

fn options(
    call: &str,
    ttl: Option<&Bound<'_, PyAny>>,
    keywords: Option<&Bound<'_, PyDict>>,
) -> PyResult<SetOptions> {
    let mut words = Words::read(call, Takes::Update, &Freshness::new(), keywords)?;
    if let Some(ttl) = ttl {
        words.set_ttl(ttl)?;
    }
    Ok(words.set_options())
}

/// What `change` makes of a value; `None` where it stays.
fn turn<'py>(
    change: &Bound<'py, PyAny>,
    present: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let made = call(change, &pyo3::types::PyTuple::new(present.py(), [present])?, None)?;
    if is_not_modified(&made) {
        return Ok(None);
    }
    if is_said(&made) {
        return Err(PyTypeError::new_err(
            "change must return the new value or Loaded.not_modified(), no other Loaded",
        ));
    }
    Ok(Some(made))
}

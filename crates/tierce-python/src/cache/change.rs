//! What becomes of keys: set, removed, made stale.

use pyo3::{exceptions::PyTypeError, prelude::*, types::PyTuple};
use tierce::{Freshness, SetOptions};

use super::{PyCache, missing, said};
use crate::{
    held::Value,
    key::{key_bytes, many_keys},
    options::duration,
    words::{Takes, Words},
};

#[pymethods]
impl PyCache {
    /// Put `value` under `key` into all tiers.
    ///
    /// When it returns, no reader on this host sees an older value.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// value : object
    ///     Anything in tiering "L1"; see the class for what L2 and L3 take.
    /// ttl : float, timedelta or str, optional
    ///     How long the value is fresh, in place of the cache's own `ttl`. Zero removes the key.
    /// tags : iterable of str or bytes, optional
    ///     Names by which the value can be removed or made stale (`remove_tag`); 128 at most.
    /// no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate : optional
    ///     In place of the cache's own; see the class.
    /// tiers : str, optional
    ///     The tiers to keep the value in, such as "L1L2"; from the others the key is removed.
    ///
    /// Raises
    /// ------
    /// CodecError
    ///     The value would not come back from L2 or L3 as it is, or can be used only once. Nothing
    ///     was changed.
    /// TooLargeError
    ///     The key is longer than 64 KiB.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import datetime, tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("token", "s3cret", ttl=datetime.timedelta(minutes=5))
    /// >>> cache.set("token", "s3cret", ttl="5m")
    /// >>> cache.set("token", "s3cret", ttl=300)
    #[pyo3(signature = (key, value, ttl=None, *, tags=None, no_ttl=None, ttl_jitter=None,
        stale_if_error=None, stale_while_revalidate=None, tiers=None))]
    #[allow(clippy::too_many_arguments)]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        tags: Option<&Bound<'_, PyAny>>,
        no_ttl: Option<&Bound<'_, PyAny>>,
        ttl_jitter: Option<&Bound<'_, PyAny>>,
        stale_if_error: Option<&Bound<'_, PyAny>>,
        stale_while_revalidate: Option<&Bound<'_, PyAny>>,
        tiers: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let options = match said!(
            value.py(),
            ttl,
            tags,
            no_ttl,
            ttl_jitter,
            stale_if_error,
            stale_while_revalidate,
            tiers
        )? {
            None => SetOptions::new(),
            words => {
                let none = Freshness::new();
                Words::read("set", Takes::Set, &none, words.as_ref())?.set_options()
            }
        };
        self.put(key_bytes(key)?, value, &options)
    }

    /// Remove `key` from all tiers; a key that is not there is fine.
    ///
    /// A load under way does not bring it back.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.delete("user:7")
    /// >>> "user:7" in cache
    /// False
    fn delete(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.remove(key.py(), key_bytes(key)?)
    }

    /// Remove many keys from all tiers, each as `delete` does.
    ///
    /// Parameters
    /// ----------
    /// keys : iterable of str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"], cache["user:8"] = "Ada", "Grace"
    /// >>> cache.delete_many(["user:7", "user:9"])
    /// >>> "user:7" in cache, "user:8" in cache
    /// (False, True)
    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<()> {
        let py = keys.py();
        let keys = many_keys(keys)?;
        let names = keys.iter().map(key_bytes).collect::<PyResult<Vec<_>>>()?;
        self.change(py, || self.core.delete_many(&names))
    }

    /// End the time to live of what `key` has, in all tiers: from now on it is stale.
    ///
    /// It is served where its stale window allows, and replaced by the next load; where it has
    /// none, it is gone. A load under way does not make the key fresh: it began before.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(ttl=60, stale_if_error=600)
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.expire("user:7")
    /// >>> cache.get("user:7"), cache.get("user:7", allow_stale=True)
    /// (None, 'Ada')
    fn expire(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        self.make_stale(key.py(), key_bytes(key)?)
    }

    /// Have what `key` has be fresh for `ttl` from now on, in all tiers and without sending it.
    ///
    /// How long it may be served as stale after that stays, and so does its age. When it returns,
    /// no process of this host serves the value for longer.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// ttl : float, timedelta or str
    ///     Above zero.
    ///
    /// Returns
    /// -------
    /// bool
    ///     True if there was a fresh value.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     `ttl` is zero.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(ttl=60)
    /// >>> cache["session:7"] = "Ada"
    /// >>> cache.touch("session:7", "10m"), cache.touch("session:8", "10m")
    /// (True, False)
    fn touch(&self, key: &Bound<'_, PyAny>, ttl: &Bound<'_, PyAny>) -> PyResult<bool> {
        self.prolong(key.py(), key_bytes(key)?, duration(ttl, "ttl")?)
    }

    /// Remove all entries of this cache from all tiers, for all processes and hosts.
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.clear()
    /// >>> len(cache)
    /// 0
    fn clear(&self, py: Python<'_>) -> PyResult<()> {
        self.change(py, || self.core.clear())
    }

    /// Send L3 what was set behind it until now (the option ``redis.write`` is ``"behind"``).
    ///
    /// It takes ``redis.flush_timeout`` at most, and no time where nothing waits. ``close`` does the same.
    ///
    /// Returns
    /// -------
    /// bool
    ///     False where some of it goes on waiting.
    ///
    /// Raises
    /// ------
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.flush()
    /// True
    fn flush(&self, py: Python<'_>) -> PyResult<bool> {
        let mut is_sent = false;
        self.change(py, || {
            is_sent = self.core.flush()?;
            Ok(())
        })?;
        Ok(is_sent)
    }

    /// Remove `key` and return its value.
    ///
    /// What is stale is removed as well, and is not returned.
    ///
    /// Looking and removing are two steps: of two processes that pop one key at a time, both may
    /// get the value. Threads of one process do not, in tiering "L1".
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, optional
    ///     Returned where no tier has the key; without it that is a KeyError.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// KeyError
    ///     No tier has the key, and no default is given.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.pop("user:7"), cache.pop("user:7", None)
    /// ('Ada', None)
    #[pyo3(signature = (key, *default))]
    fn pop<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        if default.len() > 1 {
            return Err(PyTypeError::new_err(format!(
                "pop expected at most 2 arguments, got {}",
                default.len() + 1
            )));
        }
        let name = key_bytes(key)?;
        let found = self.find(py, name);
        // Also where nothing fresh was found: a stale value would be served where loading fails.
        self.remove(py, name)?;
        found.map_or_else(|| default.get_item(0).map_err(|_| missing(key)), Ok)
    }

    /// Return the value of `key`; where there is none or a stale one, put `default` there and
    /// return that.
    ///
    /// As `set_if_absent`, in one step for all threads, processes and hosts that share the key: all
    /// that come at one time get the same value. A hit costs as much as `get`, all else as much as
    /// `get_versioned`. A load under way is not waited for.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, default None
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `set_if_absent`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.setdefault("visits", 1), cache.setdefault("visits", 2)
    /// (1, 1)
    #[pyo3(signature = (key, default=None))]
    fn setdefault<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let name = key_bytes(key)?;
        if let Some(object) = self.find(py, name) {
            return Ok(object);
        }
        let default = default.unwrap_or_else(|| py.None().into_bound(py));
        let default = Value::given(default, self.weighing)?;
        let mut found = None;
        let set = self.change(py, || {
            self.core.update(name, &SetOptions::new(), |present| {
                found = present;
                found.is_none().then(|| default.clone())
            })
        })?;
        Ok(set.or(found).unwrap_or(default).object(py))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.put(key_bytes(key)?, value, &SetOptions::new())
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = key_bytes(key)?;
        let found = self.find(key.py(), name);
        // As for `pop`.
        self.remove(key.py(), name)?;
        found.map_or_else(|| Err(missing(key)), |_| Ok(()))
    }
}

//! What is loaded where no tier has it.

use pyo3::{Borrowed, prelude::*, types::PyDict};
use tierce::Freshness;

use super::{PyCache, said};
use crate::{
    entry::PyEntry,
    key::{key_bytes, many_keys},
    load::{Callee, Wanted, load_many},
    words::{Takes, Words},
};

/// An argument that may be None, told apart from one that is not given.
struct Given<'py>(Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(object.to_owned())))
    }
}

#[pymethods]
impl PyCache {
    /// Return the value of `key`; on a miss call `load`, once for all threads that wait.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// load : callable
    ///     Called without arguments, or with a LoadContext (`with_context`). It returns the value,
    ///     or a `Loaded` with a time to live of its own, or `ABSENT`. It may use the cache for
    ///     other keys.
    /// default : object, optional
    ///     Returned where `load` says that there is no value; without it that is an AbsentError.
    /// ttl : float, timedelta or str, optional
    ///     How long the loaded value is fresh. Zero hands it to those who wait and keeps nothing.
    /// tags : iterable of str or bytes, optional
    ///     What the loaded value bears, beside those that its `Loaded` names (`remove_tag`).
    /// no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     In place of the cache's own; see the class.
    /// refresh_ahead, soft_timeout, hard_timeout, failure_backoff : optional
    ///     The same.
    /// max_age : float, timedelta or str, optional
    ///     How long ago the value may have been set, or its load begun, at most; what is older, or
    ///     of an age that is not known, is loaded anew. Zero always loads.
    /// with_context : bool, default False
    ///     True calls `load` with a LoadContext.
    /// tiers : str, optional
    ///     The tiers to look in and to keep what is loaded in, such as "L1L2"; all by default.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// Exception
    ///     What `load` raises is raised here, and by all threads that wait for that call of
    ///     `load`: the same object. Nothing is kept. A KeyboardInterrupt or SystemExit is raised
    ///     in the thread that ran `load` alone; those who waited load anew.
    /// AbsentError
    ///     `load` says that there is no value, now or within `negative_ttl`.
    /// TimeoutError
    ///     Another thread's load took longer than `load.wait`, or any longer than `hard_timeout`.
    /// ReentrantLoadError
    ///     `load` asked for its own key.
    /// CodecError
    ///     What `load` returned would not come back from L2 or L3 as it is, or can be used only
    ///     once, as what a coroutine function returns.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.get_or_load("user:7", lambda: "Ada", ttl="10m", stale_if_error="1h")
    /// 'Ada'
    /// >>> cache.get_or_load("user:7", lambda: "Grace")
    /// 'Ada'
    #[pyo3(
        signature = (key, load, *, default=Given(None), ttl=None, tags=None, no_ttl=None, ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, hard_timeout=None, failure_backoff=None, with_context=None, tiers=None),
        text_signature = "($self, key, load, *, default=..., ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None, tiers=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn get_or_load<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        default: Given<'py>,
        ttl: Option<&Bound<'py, PyAny>>,
        tags: Option<&Bound<'py, PyAny>>,
        no_ttl: Option<&Bound<'py, PyAny>>,
        ttl_jitter: Option<&Bound<'py, PyAny>>,
        stale_if_error: Option<&Bound<'py, PyAny>>,
        stale_while_revalidate: Option<&Bound<'py, PyAny>>,
        negative_ttl: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
        refresh_ahead: Option<&Bound<'py, PyAny>>,
        soft_timeout: Option<&Bound<'py, PyAny>>,
        hard_timeout: Option<&Bound<'py, PyAny>>,
        failure_backoff: Option<&Bound<'py, PyAny>>,
        with_context: Option<&Bound<'py, PyAny>>,
        tiers: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let words = said!(
            py,
            ttl,
            tags,
            no_ttl,
            ttl_jitter,
            stale_if_error,
            stale_while_revalidate,
            negative_ttl,
            max_age,
            refresh_ahead,
            soft_timeout,
            hard_timeout,
            failure_backoff,
            with_context,
            tiers
        )?;
        if words.is_none()
            && !self.refreshes_ahead
            && let Some(value) = self.core.get_near(name)
        {
            return Ok(value.object(py));
        }
        let words = Words::read("get_or_load", Takes::Load, &Freshness::new(), words.as_ref())?;
        self.value(py, name, &words, load, default.0.as_ref(), Wanted::Any)
    }

    /// Return the value of `key` with where it came from; on a miss call `load`.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// load : callable
    ///     As for `get_or_load`, and so are the keywords.
    ///
    /// Returns
    /// -------
    /// Entry
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> entry = cache.get_or_load_entry("user:7", lambda: "Ada")
    /// >>> entry.value, entry.origin
    /// ('Ada', 'loaded')
    #[pyo3(
        signature = (key, load, **freshness),
        text_signature = "($self, key, load, *, default=..., ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None, tiers=None)"
    )]
    fn get_or_load_entry(
        &self,
        key: &Bound<'_, PyAny>,
        load: &Bound<'_, PyAny>,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyEntry> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (words, default) =
            Words::and_default("get_or_load_entry", Takes::Load, &Freshness::new(), freshness)?;
        let callee = Callee::new(load, words.with_context)?;
        self.load(py, name, &words, callee, Wanted::Any)?.entry(py, default.as_ref())
    }

    /// Call `load` whatever the tiers have, and put what it returns in the place of that.
    ///
    /// Nothing stale is served where the load fails. Who comes while another thread refreshes the
    /// key, and asked before that began, joins it.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// load : callable
    ///     As for `get_or_load`, and so are the keywords.
    ///
    /// Returns
    /// -------
    /// object
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.refresh("user:7", lambda: "Grace")
    /// 'Grace'
    #[pyo3(
        signature = (key, load, **freshness),
        text_signature = "($self, key, load, *, default=..., ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None, tiers=None)"
    )]
    fn refresh<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (words, default) =
            Words::and_default("refresh", Takes::Load, &Freshness::new(), freshness)?;
        self.value(py, name, &words, load, default.as_ref(), Wanted::New)
    }

    /// Return the values of many keys; what is missing is loaded by one call of `load`.
    ///
    /// Parameters
    /// ----------
    /// keys : iterable of str or bytes
    ///     A key may come more than once.
    /// load : callable
    ///     Called with a list of the keys that are missing, as they were given. It returns a dict
    ///     of their values; a key that is not in it has none. A value may be a `Loaded`.
    /// ttl, tags, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, failure_backoff, tiers : optional
    ///     The same.
    ///
    /// Returns
    /// -------
    /// dict
    ///     The values by the keys as they were given, in that order. A key without a value is not
    ///     in it.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `get_or_load`, of the first key that failed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> cache.get_or_load_many(["user:7", "user:8", "user:9"], lambda keys: {"user:8": "Grace"})
    /// {'user:7': 'Ada', 'user:8': 'Grace'}
    #[pyo3(
        signature = (keys, load, **freshness),
        text_signature = "($self, keys, load, *, ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, tiers=None)"
    )]
    fn get_or_load_many<'py>(
        &self,
        keys: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = keys.py();
        let keys = many_keys(keys)?;
        let words = Words::read("get_or_load_many", Takes::Load, &Freshness::new(), freshness)?;
        load_many(py, &self.core, &keys, &self.options(&words), load, self.weighing)
    }
}

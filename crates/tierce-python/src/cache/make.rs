//! What is made over a cache: loaders of their own, keyspaces, functions that remember.

use pyo3::{prelude::*, types::PyDict};
use tierce::Freshness;

use super::PyCache;
use crate::{
    cached::{PyCached, PyDecorator},
    key::text,
    keyspace::PyKeyspace,
    loading::PyLoading,
    words::{Takes, Words},
};

#[pymethods]
impl PyCache {
    /// Bind a loader to this cache, for many keys and calls.
    ///
    /// Parameters
    /// ----------
    /// load : callable
    ///     Called with a LoadContext, whose `key` says what to load; it returns what a loader of
    ///     `get_or_load` does.
    /// ttl, tags, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, refresh_ahead, soft_timeout, hard_timeout, failure_backoff, tiers : optional
    ///     The same.
    ///
    /// Returns
    /// -------
    /// Loading
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     An option is out of its range.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> names = cache.loading(lambda context: f"name of {context.text}", ttl="10m")
    /// >>> names.get("user:7")
    /// 'name of user:7'
    #[pyo3(
        signature = (load, **freshness),
        text_signature = "($self, load, *, ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, tiers=None)"
    )]
    fn loading(
        slf: Bound<'_, Self>,
        load: &Bound<'_, PyAny>,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyLoading> {
        let words = Words::read("loading", Takes::Load, &Freshness::new(), freshness)?;
        PyLoading::new(slf.unbind(), load, words)
    }

    /// Return the keys of one shape, with defaults of their own.
    ///
    /// Parameters
    /// ----------
    /// pattern : str
    ///     Segments between slashes, of which those that begin with a colon are filled in by each
    ///     call: "user/:id/posts/:post".
    /// label : str, optional
    ///     Under which name metrics count what is done with these keys (`stats()["keyspaces"]`).
    ///     Default: the pattern. A cache counts 1,000 labels at most.
    /// tiers : str, optional
    ///     The tiers that these calls look in and keep values in, such as "L1L2"; all by default.
    ///     The bound is one of the calls: the same key used on the cache itself is looked for in all
    ///     tiers.
    /// clearable : bool
    ///     Have what is set and loaded here bear hidden tags, by which `Keyspace.clear` removes all of
    ///     it at once.
    /// ttl, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     In place of the cache's own; see the class.
    /// refresh_ahead, soft_timeout, hard_timeout, failure_backoff : optional
    ///     The same.
    ///
    /// Returns
    /// -------
    /// Keyspace
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     The pattern is none, or names a place as a keyword is named; or there are too many
    ///     labels.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> users = cache.keyspace("user/:id", ttl=60)
    /// >>> users.set(7, "Ada")
    /// >>> cache["user/7"]
    /// 'Ada'
    #[pyo3(
        signature = (pattern, *, label=None, tiers=None, clearable=false, **freshness),
        text_signature = "($self, pattern, *, label=None, tiers=None, clearable=False, ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None)"
    )]
    fn keyspace(
        slf: Bound<'_, Self>,
        pattern: &Bound<'_, PyAny>,
        label: Option<&Bound<'_, PyAny>>,
        tiers: Option<&Bound<'_, PyAny>>,
        clearable: bool,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyKeyspace> {
        let pattern = text(pattern, "pattern")?;
        let label = label.map(|label| text(label, "label")).transpose()?;
        let mut words = Words::read("keyspace", Takes::Defaults, &Freshness::new(), freshness)?;
        words.tiers = tiers.map(crate::words::tiers).transpose()?;
        PyKeyspace::new(slf.py(), slf.clone().unbind(), pattern, label, clearable, words)
    }

    /// Make a function remember its results here: a decorator, with or without arguments.
    ///
    /// One call for all threads (and processes, above L2) that call with equal arguments at a
    /// time; what the function raises is raised to all of them.
    ///
    /// Parameters
    /// ----------
    /// function : callable, optional
    ///     The function; without it, `cached` returns the decorator.
    /// key : str or callable, optional
    ///     How the key is made. A pattern such as "user/:id" names parameters of the function,
    ///     which must be str or int; others do not count. A callable gets the arguments and
    ///     returns the key. Without it, the key is made of the function's name and all arguments,
    ///     which must be str, bytes, int, float, bool, None, or tuples of those; an argument given
    ///     by name or left to its default makes the same key as one given by place. A lambda, a
    ///     bound method and a function that uses variables of the function that it is made in
    ///     need a key: others of their name would share theirs.
    /// ttl, tags, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, refresh_ahead, soft_timeout, hard_timeout, failure_backoff, tiers : optional
    ///     The same.
    ///
    /// Returns
    /// -------
    /// Cached
    ///     Called like the function. Where the function returns `ABSENT`, the caller gets None.
    ///
    /// Raises
    /// ------
    /// TypeError
    ///     The function needs a key, or `key` is none. A call raises a CodecError, which is one, where
    ///     the function returns a coroutine and is no coroutine function, as far as `inspect` knows.
    /// ConfigError
    ///     `key` is no pattern, or an option is out of its range.
    /// ValueError
    ///     `key` names what is no parameter.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> @cache.cached(key="user/:id", ttl="10m", stale_if_error="1h")
    /// ... def user(id: int) -> dict[str, int]:
    /// ...     print("loading")
    /// ...     return {"id": id}
    /// >>> user(7), user(id=7)
    /// loading
    /// ({'id': 7}, {'id': 7})
    /// >>> cache["user/7"]
    /// {'id': 7}
    /// >>> user.delete(7)
    /// >>> "user/7" in cache
    /// False
    #[pyo3(
        signature = (function=None, /, *, key=None, **freshness),
        text_signature = "($self, function=None, /, *, key=None, ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, tiers=None)"
    )]
    fn cached<'py>(
        slf: Bound<'py, Self>,
        function: Option<&Bound<'py, PyAny>>,
        key: Option<Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = slf.py();
        let words = Words::read("cached", Takes::Load, &Freshness::new(), freshness)?;
        let decorator = PyDecorator::new(slf.unbind(), key.map(Bound::unbind), words);
        match function {
            Some(function) => PyCached::decorate(function, &decorator),
            None => Ok(Bound::new(py, decorator)?.into_any()),
        }
    }
}

//! The same for asyncio tasks.

use pyo3::{
    prelude::*,
    types::{PyDict, PyTuple},
};
use tierce::Freshness;

use super::{PyCache, update::Delta};
use crate::{
    key::key_bytes,
    tasks::PyReady,
    words::{Takes, Words},
};

#[pymethods]
impl PyCache {
    /// As `get_or_load`, for an asyncio task and with a loader that is a coroutine function.
    ///
    /// One load for all tasks and threads that wait for the key, in whatever event loop. A hit in
    /// L1 is there without a round of the loop; nothing here blocks it: what would is done by
    /// threads of the cache. A task that is cancelled hands its load over to another that waits.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// load : callable
    ///     Returns an awaitable (is a coroutine function), else as for `get_or_load`, and so are
    ///     the keywords. It runs as a task of its own, which is cancelled where nobody wants its
    ///     value any more.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for the value.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `get_or_load`.
    ///
    /// Notes
    /// -----
    /// What is stale is refreshed by a task that waits: `stale_while_revalidate`, `soft_timeout`
    /// serve those who come while it loads, and `refresh_ahead` does nothing.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> async def load():
    /// ...     await asyncio.sleep(0.001)
    /// ...     return "Ada"
    /// >>> async def main():
    /// ...     return await cache.aget_or_load("user:7", load, ttl="10m")
    /// >>> asyncio.run(main())
    /// 'Ada'
    #[pyo3(
        signature = (key, load, **freshness),
        text_signature = "($self, key, load, *, default=..., ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None, tiers=None)"
    )]
    fn aget_or_load<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name, this) = (key.py(), key_bytes(key)?, slf.get());
        if freshness.is_none()
            && let Some(value) = this.core.get_near(name)
        {
            return PyReady::with(value.object(py));
        }
        let (words, default) =
            Words::and_default("aget_or_load", Takes::Load, &Freshness::new(), freshness)?;
        Self::awaited(slf, name, words, load, default)
    }

    /// As `aget_or_load`, with where the value came from.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// load : callable
    ///     As for `aget_or_load`, and so are the keywords.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for an Entry.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `get_or_load`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> async def load():
    /// ...     return "Ada"
    /// >>> async def main():
    /// ...     return await cache.aget_or_load_entry("user:7", load)
    /// >>> asyncio.run(main()).origin
    /// 'loaded'
    #[pyo3(
        signature = (key, load, **freshness),
        text_signature = "($self, key, load, *, default=..., ttl=None, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None, tiers=None)"
    )]
    fn aget_or_load_entry<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (words, default) =
            Words::and_default("aget_or_load_entry", Takes::Load, &Freshness::new(), freshness)?;
        let operation = slf.get().operation(key_bytes(key)?, &words, true, default);
        operation.driven(slf.as_any(), load, words.with_context)
    }

    /// As `get`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, default None
    ///     As for `get`, and so are the keywords.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for the value.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> async def main():
    /// ...     await cache.aset("user:7", "Ada", ttl=60)
    /// ...     return await cache.aget("user:7")
    /// >>> asyncio.run(main())
    /// 'Ada'
    #[pyo3(
        signature = (key, default=None, **accepts),
        text_signature = "($self, key, default=None, *, allow_stale=None, max_age=None, tiers=None)"
    )]
    fn aget<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        accepts: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (key.py(), slf.get());
        if accepts.is_none()
            && let Some(value) = this.core.get_near(key_bytes(key)?)
        {
            return PyReady::with(value.object(py));
        }
        this.aside(slf, "get", PyTuple::new(py, [Some(key.clone()), default])?, accepts)
    }

    /// As `set`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// value : object
    /// ttl : float, timedelta or str, optional
    ///     As for `set`, and so are the other keywords.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have set the key.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `set`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> asyncio.run(cache.aset("user:7", "Ada"))
    /// >>> cache["user:7"]
    /// 'Ada'
    #[pyo3(
        signature = (key, value, ttl=None, **freshness),
        text_signature = "($self, key, value, ttl=None, *, tags=None, no_ttl=None, ttl_jitter=None, \
            stale_if_error=None, stale_while_revalidate=None, tiers=None)"
    )]
    fn aset<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        ttl: Option<Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = [Some(key.clone()), Some(value.clone()), ttl];
        slf.get().aside(slf, "set", PyTuple::new(key.py(), arguments)?, freshness)
    }

    /// As `delete`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have removed the key.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `delete`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> asyncio.run(cache.adelete("user:7"))
    /// >>> len(cache)
    /// 0
    fn adelete<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "delete", PyTuple::new(key.py(), [key])?, None)
    }

    /// As `expire`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have expired the key.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `expire`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache["user:7"] = "Ada"
    /// >>> asyncio.run(cache.aexpire("user:7"))
    /// >>> "user:7" in cache
    /// False
    fn aexpire<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "expire", PyTuple::new(key.py(), [key])?, None)
    }

    /// As `touch`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// ttl : float, timedelta or str
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for whether there was a fresh value.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `touch`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache(ttl=60)
    /// >>> cache["session:7"] = "Ada"
    /// >>> asyncio.run(cache.atouch("session:7", "10m"))
    /// True
    fn atouch<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        ttl: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "touch", PyTuple::new(key.py(), [key, ttl])?, None)
    }

    /// As `remove_tags`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// tags : iterable of str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have removed them.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `remove_tags`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> asyncio.run(cache.aremove_tags(["user:7"]))
    /// >>> "name:7" in cache
    /// False
    fn aremove_tags<'py>(
        slf: &Bound<'py, Self>,
        tags: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "remove_tags", PyTuple::new(tags.py(), [tags])?, None)
    }

    /// As `expire_tags`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// tags : iterable of str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have expired them.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `expire_tags`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.set("name:7", "Ada", tags=["user:7"])
    /// >>> asyncio.run(cache.aexpire_tags(["user:7"]))
    /// >>> "name:7" in cache
    /// False
    fn aexpire_tags<'py>(
        slf: &Bound<'py, Self>,
        tags: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "expire_tags", PyTuple::new(tags.py(), [tags])?, None)
    }

    /// As `remove_prefix`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// prefix : str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have removed it.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `remove_prefix`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache(options={"invalidation.prefix_delimiter": "/"})
    /// >>> cache["user/7/name"] = "Ada"
    /// >>> asyncio.run(cache.aremove_prefix("user/"))
    /// >>> "user/7/name" in cache
    /// False
    fn aremove_prefix<'py>(
        slf: &Bound<'py, Self>,
        prefix: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "remove_prefix", PyTuple::new(prefix.py(), [prefix])?, None)
    }

    /// As `expire_prefix`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// prefix : str or bytes
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for nothing. A task that is cancelled meanwhile may have expired it.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `remove_prefix`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache(options={"invalidation.prefix_delimiter": "/"})
    /// >>> cache["user/7/name"] = "Ada"
    /// >>> asyncio.run(cache.aexpire_prefix("user/"))
    /// >>> "user/7/name" in cache
    /// False
    fn aexpire_prefix<'py>(
        slf: &Bound<'py, Self>,
        prefix: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        slf.get().aside(slf, "expire_prefix", PyTuple::new(prefix.py(), [prefix])?, None)
    }

    /// As `increment`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// delta : int, default 1
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for the sum. A task that is cancelled meanwhile may have added.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `increment`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> asyncio.run(cache.aincrement("visits", 42))
    /// 42
    #[pyo3(signature = (key, delta=Delta(1)), text_signature = "($self, key, delta=1)")]
    fn aincrement<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        delta: Delta,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = (key, delta.0).into_pyobject(key.py())?;
        slf.get().aside(slf, "increment", arguments, None)
    }

    /// As `set_if_absent`, for an asyncio task: with L3 in force, the event loop is not blocked.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// value : object
    /// ttl : float, timedelta or str, optional
    ///     As for `set_if_absent`, and so are the other keywords.
    ///
    /// Returns
    /// -------
    /// coroutine
    ///     To be awaited for whether it was set. A task that is cancelled meanwhile may have set it.
    ///
    /// Raises
    /// ------
    /// Exception
    ///     As `set_if_absent`.
    ///
    /// Examples
    /// --------
    /// >>> import asyncio, tierce
    /// >>> cache = tierce.Cache()
    /// >>> asyncio.run(cache.aset_if_absent("lock", "mine", ttl=30))
    /// True
    #[pyo3(
        signature = (key, value, ttl=None, **freshness),
        text_signature = "($self, key, value, ttl=None, *, tags=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None)"
    )]
    fn aset_if_absent<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        value: &Bound<'py, PyAny>,
        ttl: Option<Bound<'py, PyAny>>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let arguments = [Some(key.clone()), Some(value.clone()), ttl];
        slf.get().aside(slf, "set_if_absent", PyTuple::new(key.py(), arguments)?, freshness)
    }
}

//! The class `tierce.Cache`: convert, call, convert back.

use std::path::PathBuf;

use pyo3::{
    Borrowed,
    exceptions::{PyKeyError, PyTypeError},
    prelude::*,
    types::{PyDict, PyTuple, PyType},
};
use tierce::{
    Advice, Cache, Clock, Freshness, LoadOptions, ReadOptions, SetOptions, TierKind, Tiering,
    config::Config,
};

use crate::{
    cached::{PyCached, PyDecorator},
    clock::PyManualClock,
    codec::ValueCodec,
    entry::PyEntry,
    error::exception,
    held::{Value, Weighing, scope},
    key::key_bytes,
    keyspace::PyKeyspace,
    load::{Callee, Came, Wanted, load, load_many, watchful},
    loading::{PyLoading, take_default},
    options::configuration,
    report,
    tasks::{Answers, PyOperation, PyReady, module},
    words::{Takes, Words, configured},
};

/// A cache in up to three tiers: this process, this host, Redis.
///
/// Every keyword is optional. What is not given here is taken from the environment, then from
/// `config_file`, then from the defaults.
///
/// Parameters
/// ----------
/// tiering : str, default "L1"
///     Which tiers are in force: "L1" (memory), "L2" (a store that all processes of this host
///     share), "L3" (Redis or Valkey), or "L1L2", "L1L3", "L2L3", "L1L2L3".
/// max_entries : int, optional
///     Most entries that L1 holds.
/// max_bytes : int or str, default 64 MiB unless `max_entries` is given
///     Most bytes that L1 holds, as a count or as text such as "64MB". The size of a value is
///     estimated when it is put in.
/// ttl : float, timedelta or str, optional
///     How long a value is fresh if the call does not say: seconds, a timedelta or "10m".
///     Without it, values stay until they are evicted.
/// name : str, optional
///     Name of the store of L2. Processes that name the same one share it.
/// shared_directory : str or path, optional
///     In place of `name`: absolute path of the folder that is the store.
/// shared_max_entries, shared_max_bytes : int, optional
///     Bounds of the store of L2.
/// redis : str, optional
///     Where L3 is: "redis://user:password@host:6379/0".
/// service : str, optional
///     Name in the health document and in metrics.
/// config_file : str or path, optional
///     A file of settings in YAML, TOML or JSON.
/// environ : bool or mapping, optional
///     False leaves the environment (`CACHE_TIERING`, `REDIS_URL` and so on) out; a mapping is
///     read in its place. Without it, the environment is read.
/// options : dict, optional
///     Further settings by their names in a file, such as {"redis.read_timeout": "20ms"}.
/// clock : ManualClock, optional
///     For tests: the clock by which values become stale.
/// ttl_jitter : float, default 0
///     By which part of it a `ttl` is shortened at most, from 0 to 1: each value by another, so
///     that what was stored together does not end together.
/// no_ttl : bool, default False
///     In a call: the value is fresh until it is evicted, whatever the cache's `ttl`.
/// stale_if_error : float, timedelta or str, default 0
///     How long after its `ttl` a value is served where loading it anew fails.
/// stale_while_revalidate : float, timedelta or str, default 0
///     How long after its `ttl` a value is served while it is loaded anew behind the callers.
/// negative_ttl : float, timedelta or str, default 0
///     How long it is remembered that a loader found no value (`ABSENT`).
/// refresh_ahead : float, XFetch or False, default False
///     From which share of the `ttl` on a hit of `get_or_load` has its value loaded anew while
///     it is served, above 0 and below 1; or by lot (`XFetch`).
/// soft_timeout : float, timedelta or str, optional
///     How long a caller waits for a load before it takes a stale value, where one of the stale
///     windows allows it; the load goes on in a thread of the cache.
/// hard_timeout : float, timedelta or str, optional
///     How long a load may take: then its callers leave, with a stale value if they may have it,
///     the loader is told (`LoadContext.is_cancelled`), and the next caller loads anew.
/// failure_backoff : tuple of two spans, optional
///     For how long a key is not loaded after its loader failed: the first span, then twice as
///     long with each failure, at most the second. Until then callers get a stale value if they
///     may have it, else the exception again. Without it, failures are not remembered.
///
/// Raises
/// ------
/// ConfigError
///     A setting is unknown or out of its range, wherever it stands.
/// StorageError
///     `config_file` cannot be read.
///
/// Notes
/// -----
/// Keys are str or bytes; a str and its UTF-8 form are the same key.
///
/// L1 holds the object itself: a hit returns the very object that was put in, so who changes it
/// changes it for all. L2 and L3 hold None, bool, int, float, str, list and dict with str keys,
/// nested as one likes, and bytes by themselves; with L2 or L3 in force, `set` refuses any other
/// value. What comes back from there is a copy.
///
/// A tier that fails costs a miss, never an exception; `health` tells.
///
/// A value is fresh for its `ttl`, then stale for its stale window (the longer one of
/// `stale_if_error` and `stale_while_revalidate`), then gone. `get` serves fresh values alone.
/// What a call does not say is as the cache has it. A loader that goes on in a thread of the
/// cache sees neither the caller's context variables nor its `threading.local`.
///
/// All methods may be called from any thread. The cache may be made before a fork and used in
/// the children.
///
/// The garbage collector does not see what L1 holds: a value that refers to its cache stays
/// until it is evicted, deleted, or the cache is cleared or closed.
///
/// Examples
/// --------
/// >>> import tierce
/// >>> cache = tierce.Cache(max_entries=10_000, ttl="10m")
/// >>> cache.set("user:7", {"name": "Ada"})
/// >>> cache.get("user:7")
/// {'name': 'Ada'}
/// >>> cache.get("user:8", "nobody")
/// 'nobody'
#[pyclass(name = "Cache", module = "tierce", frozen, weakref, mapping, generic)]
pub(crate) struct PyCache {
    core: Cache<Value>,
    /// What every load begins with.
    load_options: LoadOptions,
    weighing: Weighing,
    /// True if hits of loads may have their value loaded anew.
    refreshes_ahead: bool,
    advice: Vec<Advice>,
}

#[pymethods]
impl PyCache {
    #[new]
    #[pyo3(signature = (*, tiering=None, max_entries=None, max_bytes=None, ttl=None, name=None,
        shared_directory=None, shared_max_entries=None, shared_max_bytes=None, redis=None,
        service=None, config_file=None, environ=None, options=None, clock=None, **freshness),
        text_signature = "(*, tiering=None, max_entries=None, max_bytes=None, ttl=None, name=None, \
        shared_directory=None, shared_max_entries=None, shared_max_bytes=None, redis=None, \
        service=None, config_file=None, environ=None, options=None, clock=None, no_ttl=None, \
        ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, negative_ttl=None, \
        refresh_ahead=None, soft_timeout=None, hard_timeout=None, failure_backoff=None)")]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        tiering: Option<&Bound<'_, PyAny>>,
        max_entries: Option<&Bound<'_, PyAny>>,
        max_bytes: Option<&Bound<'_, PyAny>>,
        ttl: Option<&Bound<'_, PyAny>>,
        name: Option<&Bound<'_, PyAny>>,
        shared_directory: Option<&Bound<'_, PyAny>>,
        shared_max_entries: Option<&Bound<'_, PyAny>>,
        shared_max_bytes: Option<&Bound<'_, PyAny>>,
        redis: Option<&Bound<'_, PyAny>>,
        service: Option<&Bound<'_, PyAny>>,
        config_file: Option<PathBuf>,
        environ: Option<&Bound<'_, PyAny>>,
        options: Option<&Bound<'_, PyDict>>,
        clock: Option<&Bound<'_, PyManualClock>>,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Self> {
        let keywords = [
            ("tiering", tiering),
            ("max_entries", max_entries),
            ("max_bytes", max_bytes),
            ("ttl", ttl),
            ("name", name),
            ("shared_directory", shared_directory),
            ("shared_max_entries", shared_max_entries),
            ("shared_max_bytes", shared_max_bytes),
            ("redis", redis),
            ("service", service),
        ];
        let config = configuration(py, config_file, environ, &keywords, options)?;
        let (base, refreshes_ahead) = configured(&config);
        let mut words = Words::read("Cache", Takes::Defaults, &base, freshness)?;
        words.refreshes_ahead.get_or_insert(refreshes_ahead);
        let clock = clock.map_or_else(Clock::system, |clock| clock.get().clock());
        Self::build(py, config, words, clock)
    }

    /// Make a cache from the environment alone: `Cache()`, said aloud.
    ///
    /// Returns
    /// -------
    /// Cache
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache.from_env().tiering
    /// 'L1'
    #[classmethod]
    fn from_env(cls: &Bound<'_, PyType>) -> PyResult<Self> {
        let config = configuration(cls.py(), None, None, &[], None)?;
        Self::plain(cls.py(), config)
    }

    /// Make a cache from a file in YAML, TOML or JSON, and the environment over it.
    ///
    /// Parameters
    /// ----------
    /// path : str or path
    ///     The file.
    /// environ : bool or mapping, optional
    ///     As in the constructor.
    ///
    /// Returns
    /// -------
    /// Cache
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     A setting is unknown or out of its range; the message names its line.
    /// StorageError
    ///     The file cannot be read.
    ///
    /// Examples
    /// --------
    /// >>> import pathlib, tempfile, tierce
    /// >>> with tempfile.TemporaryDirectory() as folder:
    /// ...     path = pathlib.Path(folder, "cache.yaml")
    /// ...     _ = path.write_text("memory:\n  max_entries: 5000\n")
    /// ...     cache = tierce.Cache.from_file(path)
    /// >>> cache.tiering
    /// 'L1'
    #[classmethod]
    #[pyo3(signature = (path, *, environ=None))]
    fn from_file(
        cls: &Bound<'_, PyType>,
        path: PathBuf,
        environ: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let config = configuration(cls.py(), Some(path), environ, &[], None)?;
        Self::plain(cls.py(), config)
    }

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
    #[pyo3(signature = (key, default=None, *, allow_stale=None, max_age=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
        allow_stale: Option<&Bound<'py, PyAny>>,
        max_age: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let found = match said(py, &[("allow_stale", allow_stale), ("max_age", max_age)])? {
            None => self.find(py, name),
            accepts => {
                let came = self.came(py, name, "get", accepts.as_ref())?;
                came.map(|came| came.value(py, None)).transpose()?
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
        text_signature = "($self, key, *, allow_stale=None, max_age=None)"
    )]
    fn get_entry<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        accepts: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Option<PyEntry>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        self.came(py, name, "get_entry", accepts)?.map(|came| came.entry(py, None)).transpose()
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
        let keys = keys.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let names = keys.iter().map(key_bytes).collect::<PyResult<Vec<_>>>()?;
        let values = if self.is_memory_only() {
            self.core.get_many(&names)
        } else {
            scope(py, || py.detach(|| self.core.get_many(&names)))
        };
        let found = PyDict::new(py);
        for (key, value) in keys.iter().zip(&values) {
            if let Some(value) = value {
                found.set_item(key, value.object(py))?;
            }
        }
        Ok(found)
    }

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
    /// no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate : optional
    ///     In place of the cache's own; see the class.
    ///
    /// Raises
    /// ------
    /// CodecError
    ///     The value would not come back from L2 or L3 as it is. Nothing was changed.
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
    #[pyo3(signature = (key, value, ttl=None, *, no_ttl=None, ttl_jitter=None,
        stale_if_error=None, stale_while_revalidate=None))]
    #[allow(clippy::too_many_arguments)]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
        no_ttl: Option<&Bound<'_, PyAny>>,
        ttl_jitter: Option<&Bound<'_, PyAny>>,
        stale_if_error: Option<&Bound<'_, PyAny>>,
        stale_while_revalidate: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let words = [
            ("ttl", ttl),
            ("no_ttl", no_ttl),
            ("ttl_jitter", ttl_jitter),
            ("stale_if_error", stale_if_error),
            ("stale_while_revalidate", stale_while_revalidate),
        ];
        let mut options = SetOptions::new();
        if let words @ Some(_) = said(value.py(), &words)? {
            let words = Words::read("set", Takes::Set, &Freshness::new(), words.as_ref())?;
            options = options.freshness(words.freshness);
        }
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
        let name = key_bytes(key)?;
        self.change(key.py(), || self.core.delete(name))
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
        let keys = keys.try_iter()?.collect::<PyResult<Vec<_>>>()?;
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
        let name = key_bytes(key)?;
        self.change(key.py(), || self.core.expire(name))
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
    /// no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     In place of the cache's own; see the class.
    /// refresh_ahead, soft_timeout, hard_timeout, failure_backoff : optional
    ///     The same.
    /// max_age : float, timedelta or str, optional
    ///     How long ago the value may have been set, or its load begun, at most; what is older, or
    ///     of an age that is not known, is loaded anew. Zero always loads.
    /// with_context : bool, default False
    ///     True calls `load` with a LoadContext.
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
    ///     What `load` returned would not come back from L2 or L3 as it is.
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
        signature = (key, load, *, default=Given(None), ttl=None, no_ttl=None, ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, hard_timeout=None, failure_backoff=None, with_context=None),
        text_signature = "($self, key, load, *, default=..., ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None)"
    )]
    #[allow(clippy::too_many_arguments)]
    fn get_or_load<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        default: Given<'py>,
        ttl: Option<&Bound<'py, PyAny>>,
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
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let words = [
            ("ttl", ttl),
            ("no_ttl", no_ttl),
            ("ttl_jitter", ttl_jitter),
            ("stale_if_error", stale_if_error),
            ("stale_while_revalidate", stale_while_revalidate),
            ("negative_ttl", negative_ttl),
            ("max_age", max_age),
            ("refresh_ahead", refresh_ahead),
            ("soft_timeout", soft_timeout),
            ("hard_timeout", hard_timeout),
            ("failure_backoff", failure_backoff),
            ("with_context", with_context),
        ];
        let words = said(py, &words)?;
        if words.is_none()
            && !self.refreshes_ahead
            && let Some(value) = self.core.get_near(name)
        {
            return Ok(value.object(py));
        }
        let (words, _) = self.load_words("get_or_load", words.as_ref())?;
        if let Some(object) = self.near(py, name, &words) {
            return Ok(object);
        }
        let callee = Callee::new(load, words.with_context)?;
        self.load(py, name, &words, callee, Wanted::Any)?.value(py, default.0.as_ref())
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
        text_signature = "($self, key, load, *, default=..., ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None)"
    )]
    fn get_or_load_entry(
        &self,
        key: &Bound<'_, PyAny>,
        load: &Bound<'_, PyAny>,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyEntry> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (words, default) = self.load_words("get_or_load_entry", freshness)?;
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
        text_signature = "($self, key, load, *, default=..., ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None)"
    )]
    fn refresh<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (py, name) = (key.py(), key_bytes(key)?);
        let (words, default) = self.load_words("refresh", freshness)?;
        let callee = Callee::new(load, words.with_context)?;
        self.load(py, name, &words, callee, Wanted::New)?.value(py, default.as_ref())
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
    /// ttl, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, failure_backoff : optional
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
        text_signature = "($self, keys, load, *, ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None)"
    )]
    fn get_or_load_many<'py>(
        &self,
        keys: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let py = keys.py();
        let keys = keys.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let words = Words::read("get_or_load_many", Takes::Load, &Freshness::new(), freshness)?;
        load_many(py, &self.core, &keys, &self.options(&words), load, self.weighing)
    }

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
        text_signature = "($self, key, load, *, default=..., ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None)"
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
        let (mut words, default) = this.load_words("aget_or_load", freshness)?;
        words.refreshes_ahead = Some(false);
        if let Some(object) = this.near(py, name, &words) {
            return PyReady::with(object);
        }
        let operation = this.operation(name, &words, false, default);
        operation.driven(slf.as_any(), load, words.with_context)
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
        text_signature = "($self, key, load, *, default=..., ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None, with_context=None)"
    )]
    fn aget_or_load_entry<'py>(
        slf: &Bound<'py, Self>,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        freshness: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (name, this) = (key_bytes(key)?, slf.get());
        let (words, default) = this.load_words("aget_or_load_entry", freshness)?;
        let operation = this.operation(name, &words, true, default);
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
        text_signature = "($self, key, default=None, *, allow_stale=None, max_age=None)"
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
        text_signature = "($self, key, value, ttl=None, *, no_ttl=None, ttl_jitter=None, \
            stale_if_error=None, stale_while_revalidate=None)"
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

    /// Bind a loader to this cache, for many keys and calls.
    ///
    /// Parameters
    /// ----------
    /// load : callable
    ///     Called with a LoadContext, whose `key` says what to load; it returns what a loader of
    ///     `get_or_load` does.
    /// ttl, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, refresh_ahead, soft_timeout, hard_timeout, failure_backoff : optional
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
        text_signature = "($self, load, *, ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None)"
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
    ///     The pattern is none, or names a place as a keyword is named.
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
        signature = (pattern, **freshness),
        text_signature = "($self, pattern, *, ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None)"
    )]
    fn keyspace(
        slf: Bound<'_, Self>,
        pattern: &str,
        freshness: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<PyKeyspace> {
        let words = Words::read("keyspace", Takes::Defaults, &Freshness::new(), freshness)?;
        PyKeyspace::new(slf.py(), slf.clone().unbind(), pattern, words)
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
    ///     by name or left to its default makes the same key as one given by place.
    /// ttl, no_ttl, ttl_jitter, stale_if_error, stale_while_revalidate, negative_ttl : optional
    ///     As for `get_or_load`.
    /// max_age, refresh_ahead, soft_timeout, hard_timeout, failure_backoff : optional
    ///     The same.
    ///
    /// Returns
    /// -------
    /// Cached
    ///     Called like the function. Where the function returns `ABSENT`, the caller gets None.
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
        text_signature = "($self, function=None, /, *, key=None, ttl=None, no_ttl=None, \
            ttl_jitter=None, stale_if_error=None, stale_while_revalidate=None, \
            negative_ttl=None, max_age=None, refresh_ahead=None, soft_timeout=None, \
            hard_timeout=None, failure_backoff=None)"
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

    /// Remove `key` and return its value.
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
        match self.find(py, name) {
            Some(object) => {
                self.change(py, || self.core.delete(name))?;
                Ok(object)
            }
            None => default.get_item(0).map_err(|_| missing(key)),
        }
    }

    /// Return the value of `key`; where no tier has it, put `default` there and return that.
    ///
    /// As `get_or_load` with a loader that returns `default`: of threads that come at one time
    /// all get the same value, and a load of the key under way is waited for.
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
        let default = Callee::ready(Value::new(default, self.weighing));
        self.load(py, name, &Words::default(), default, Wanted::Any)?.value(py, None)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.find(key.py(), key_bytes(key)?).ok_or_else(|| missing(key))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.put(key_bytes(key)?, value, &SetOptions::new())
    }

    fn __delitem__(&self, key: &Bound<'_, PyAny>) -> PyResult<()> {
        let name = key_bytes(key)?;
        if self.find(key.py(), name).is_none() {
            return Err(missing(key));
        }
        self.change(key.py(), || self.core.delete(name))
    }

    fn __contains__(&self, key: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.find(key.py(), key_bytes(key)?).is_some())
    }

    /// The number of entries in L1.
    fn __len__(&self) -> usize {
        self.core.len()
    }

    /// The tiers in force, such as "L1L2".
    #[getter]
    fn tiering(&self) -> &'static str {
        self.core.tiering().name()
    }

    /// Return what in the options is allowed and yet unsafe, or of no use.
    ///
    /// Returns
    /// -------
    /// list of tuple
    ///     A code, the same in all versions, and a sentence for each; nothing where all is well.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(soft_timeout=0.1, ttl=60)
    /// >>> [code for code, sentence in cache.advice()]
    /// ['soft_timeout_without_stale']
    fn advice(&self) -> Vec<(&'static str, String)> {
        self.advice.iter().map(|advice| (advice.code, advice.message.clone())).collect()
    }

    /// Put other tiers in force while the cache is in use.
    ///
    /// Parameters
    /// ----------
    /// tiering : str
    ///     As in the constructor.
    ///
    /// Raises
    /// ------
    /// ConfigError
    ///     No such tiering, or the options of a tier are wrong; the tiers stay as they were. A
    ///     tier that does not answer is no error: `health` tells.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(tiering="L1")
    /// >>> cache.retier("L1")
    /// >>> cache.tiering
    /// 'L1'
    fn retier(&self, py: Python<'_>, tiering: &str) -> PyResult<()> {
        scope(py, || py.detach(|| self.core.retier(tiering.parse()?)))
            .map_err(|error| exception(py, &error))
    }

    /// Return counters and latencies since the cache was made, as plain dicts.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Counters by name, and under "tiers" a dict for each tier in force. Latencies are in
    ///     seconds.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> _ = cache.get("user:7")
    /// >>> cache.stats()["misses"]
    /// 1
    /// >>> cache.stats()["tiers"]["L1"]["entries"]
    /// 0
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = py.detach(|| self.core.stats());
        report::stats(py, &stats)
    }

    /// Return the health document: which tiers answer, and how well the cache serves.
    ///
    /// Returns
    /// -------
    /// dict
    ///     With the keys "service", "status" ("healthy", "degraded" or "unhealthy"),
    ///     "tierMetrics" and "dependencies".
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> tierce.Cache().health()["status"]
    /// 'healthy'
    fn health<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let health = py.detach(|| self.core.health());
        report::health(py, &health)
    }

    /// Return the statistics as Prometheus text; None while metrics are switched off.
    ///
    /// The setting `metrics_enabled` decides; it is on outside of development.
    ///
    /// Returns
    /// -------
    /// str or None
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache(options={"metrics_enabled": True})
    /// >>> cache.metrics_text().startswith("# HELP")
    /// True
    fn metrics_text(&self, py: Python<'_>) -> Option<String> {
        py.detach(|| self.core.metrics_text())
    }

    /// Give back memory, connections and threads.
    ///
    /// Reads miss from now on and changes raise ClosedError. Closing twice is fine. Other
    /// processes keep what is in L2 and L3.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.close()
    /// >>> cache.get("user:7") is None
    /// True
    fn close(&self, py: Python<'_>) {
        scope(py, || py.detach(|| self.core.close()));
    }

    fn __enter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    #[pyo3(signature = (kind, error, traceback, /))]
    fn __exit__(
        &self,
        py: Python<'_>,
        kind: &Bound<'_, PyAny>,
        error: &Bound<'_, PyAny>,
        traceback: &Bound<'_, PyAny>,
    ) {
        let _ = (kind, error, traceback);
        self.close(py);
    }

    fn __reduce__(&self) -> PyResult<()> {
        Err(PyTypeError::new_err(
            "cannot pickle or copy 'tierce.Cache' object: make one in each process, with the \
             same name to share a store",
        ))
    }

    fn __repr__(&self) -> String {
        format!("<tierce.Cache tiering={} entries={}>", self.tiering(), self.core.len())
    }
}

impl PyCache {
    fn plain(py: Python<'_>, config: Config) -> PyResult<Self> {
        let (freshness, refreshes_ahead) = configured(&config);
        let refreshes_ahead = Some(refreshes_ahead);
        let words = Words { freshness, refreshes_ahead, ..Words::default() };
        Self::build(py, config, words, Clock::system())
    }

    fn build(py: Python<'_>, config: Config, words: Words, clock: Clock) -> PyResult<Self> {
        let weighing = match config.memory.bound_bytes() {
            Some(_) => Weighing::Estimate,
            None => Weighing::LeaveOut,
        };
        // Opening L2 makes and maps a file.
        let core = py.detach(|| {
            let builder = config.builder()?.freshness(words.freshness).clock(clock);
            let advice = builder.advice();
            Ok((builder.build_with(ValueCodec(weighing))?, advice))
        });
        let (core, advice) = core.map_err(|error| exception(py, &error))?;
        let refreshes_ahead = words.refreshes_ahead.unwrap_or(false);
        Ok(Self { core, load_options: watchful(), weighing, refreshes_ahead, advice })
    }

    /// What the keywords of a load say, and its `default`.
    fn load_words<'py>(
        &self,
        call: &str,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<(Words, Option<Bound<'py, PyAny>>)> {
        let default = keywords.map(take_default).transpose()?.flatten();
        Ok((Words::read(call, Takes::Load, &Freshness::new(), keywords)?, default))
    }

    /// The options of a load.
    fn options(&self, words: &Words) -> LoadOptions {
        let options = self.load_options.clone().freshness(words.freshness.clone());
        match words.max_age {
            Some(age) => options.max_age(age),
            None => options,
        }
    }

    /// The value, where L1 has one that needs no more looks at it.
    #[inline]
    pub(crate) fn near<'py>(
        &self,
        py: Python<'py>,
        name: &[u8],
        words: &Words,
    ) -> Option<Bound<'py, PyAny>> {
        if words.max_age.is_some() || words.refreshes_ahead.unwrap_or(self.refreshes_ahead) {
            return None;
        }
        self.core.get_near(name).map(|value| value.object(py))
    }

    /// Loads, where no tier has what the words accept.
    pub(crate) fn load(
        &self,
        py: Python<'_>,
        name: &[u8],
        words: &Words,
        callee: Callee,
        wanted: Wanted,
    ) -> PyResult<Came> {
        load(py, &self.core, name, &self.options(words), callee, self.weighing, wanted)
    }

    /// A load for a task.
    pub(crate) fn operation(
        &self,
        name: &[u8],
        words: &Words,
        wants_entry: bool,
        default: Option<Bound<'_, PyAny>>,
    ) -> PyOperation {
        let (weighing, detaches) = (self.weighing, !self.is_memory_only());
        let default = default.map(Bound::unbind);
        let answers = Answers { weighing, detaches, wants_entry, default };
        PyOperation::new(&self.core, name, self.options(words), answers)
    }

    /// Another method of this class, as a coroutine: in a thread where L3 is in force.
    pub(crate) fn aside<'py>(
        &self,
        slf: &Bound<'py, Self>,
        method: &str,
        arguments: Bound<'py, PyTuple>,
        keywords: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let is_far = self.core.tiering().has(TierKind::Redis);
        let call = slf.getattr(method)?;
        module(slf.py())?.getattr("aside")?.call1((is_far, call, arguments, keywords))
    }

    /// What a read that says what it accepts finds.
    pub(crate) fn came(
        &self,
        py: Python<'_>,
        name: &[u8],
        call: &str,
        accepts: Option<&Bound<'_, PyDict>>,
    ) -> PyResult<Option<Came>> {
        let words = Words::read(call, Takes::Read, &Freshness::new(), accepts)?;
        let mut options = ReadOptions::new().allow_stale(words.allow_stale);
        if let Some(age) = words.max_age {
            options = options.max_age(age);
        }
        let answer = if self.is_memory_only() {
            self.core.get_with(name, &options)
        } else {
            scope(py, || py.detach(|| self.core.get_with(name, &options)))
        };
        Ok(answer.map(Came::from))
    }

    /// The value from the fastest tier that has it.
    #[inline]
    pub(crate) fn find<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyAny>> {
        if let Some(value) = self.core.get_near(key) {
            return Some(value.object(py));
        }
        self.find_below(py, key)
    }

    fn find_below<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyAny>> {
        let value = if self.is_memory_only() {
            self.core.get(key)
        } else {
            scope(py, || py.detach(|| self.core.get(key)))
        };
        value.map(|value| value.object(py))
    }

    pub(crate) fn put(
        &self,
        name: &[u8],
        value: Bound<'_, PyAny>,
        options: &SetOptions,
    ) -> PyResult<()> {
        let py = value.py();
        let value = Value::new(value, self.weighing);
        self.change(py, || self.core.set_with(name, value, options))
    }

    /// Runs a change: attached where it cannot wait, else detached.
    #[inline]
    fn change(
        &self,
        py: Python<'_>,
        change: impl FnOnce() -> tierce::Result<()> + Send,
    ) -> PyResult<()> {
        let changed =
            if self.is_memory_only() { scope(py, change) } else { scope(py, || py.detach(change)) };
        changed.map_err(|error| exception(py, &error))
    }

    #[inline]
    fn is_memory_only(&self) -> bool {
        self.core.tiering() == Tiering::L1
    }
}

/// An argument that may be None, told apart from one that is not given.
struct Given<'py>(Option<Bound<'py, PyAny>>);

impl<'py> FromPyObject<'_, 'py> for Given<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        Ok(Self(Some(object.to_owned())))
    }
}

/// The keywords that are given, of methods that are called too often for `**keywords`: those make a
/// tuple of the arguments of each call.
#[inline]
fn said<'py>(
    py: Python<'py>,
    words: &[(&str, Option<&Bound<'py, PyAny>>)],
) -> PyResult<Option<Bound<'py, PyDict>>> {
    if words.iter().all(|(_, value)| value.is_none()) {
        return Ok(None);
    }
    let said = PyDict::new(py);
    for (name, value) in words {
        if let Some(value) = value {
            said.set_item(name, value)?;
        }
    }
    Ok(Some(said))
}

#[cold]
fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err(key.clone().unbind())
}

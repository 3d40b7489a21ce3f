//! The class `tierce.Cache`: convert, call, convert back.

use std::path::PathBuf;

use pyo3::{
    exceptions::{PyKeyError, PyTypeError},
    prelude::*,
    types::{PyDict, PyTuple, PyType},
};
use tierce::{Cache, LoadOptions, SetOptions, Tiering, config::Config};

use crate::{
    codec::ValueCodec,
    error::exception,
    held::{Value, Weighing, scope},
    key::key_bytes,
    load::{get_or_load, put_if_absent, watchful},
    options::{configuration, duration},
    report,
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
}

#[pymethods]
impl PyCache {
    #[new]
    #[pyo3(signature = (*, tiering=None, max_entries=None, max_bytes=None, ttl=None, name=None,
        shared_directory=None, shared_max_entries=None, shared_max_bytes=None, redis=None,
        service=None, config_file=None, environ=None, options=None))]
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
        Self::build(py, config)
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
        Self::build(cls.py(), config)
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
        Self::build(cls.py(), config)
    }

    /// Return the value of `key`, or `default` if no tier has it.
    ///
    /// Parameters
    /// ----------
    /// key : str or bytes
    /// default : object, default None
    ///     None is a value like any other: tell a miss from it by a default of your own.
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
    #[pyo3(signature = (key, default=None))]
    fn get<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        default: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        match self.find(py, key_bytes(key)?) {
            Some(object) => Ok(object),
            None => Ok(default.unwrap_or_else(|| py.None().into_bound(py))),
        }
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
    #[pyo3(signature = (key, value, ttl=None))]
    fn set(
        &self,
        key: &Bound<'_, PyAny>,
        value: Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let mut options = SetOptions::new();
        if let Some(ttl) = ttl {
            options = options.ttl(duration(ttl, "ttl")?);
        }
        self.put(key, value, &options)
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
    ///     Called without arguments. It may use the cache for other keys.
    /// ttl : float, timedelta or str, optional
    ///     How long the loaded value is fresh. Zero hands it to those who wait and keeps nothing.
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
    /// ReentrantLoadError
    ///     `load` asked for the key that it is loading.
    /// TimeoutError
    ///     Another thread's `load` took longer than the setting `load.wait` (30 s).
    /// CodecError
    ///     What `load` returned would not come back from L2 or L3 as it is.
    /// ClosedError
    ///     The cache was closed.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.get_or_load("user:7", lambda: "Ada")
    /// 'Ada'
    /// >>> cache.get_or_load("user:7", lambda: "Grace")
    /// 'Ada'
    #[pyo3(signature = (key, load, *, ttl=None))]
    fn get_or_load<'py>(
        &self,
        key: &Bound<'py, PyAny>,
        load: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let name = key_bytes(key)?;
        if let Some(value) = self.core.get_near(name) {
            return Ok(value.object(py));
        }
        let mut options = self.load_options.clone();
        if let Some(ttl) = ttl {
            options = options.ttl(duration(ttl, "ttl")?);
        }
        if !load.is_callable() {
            return Err(PyTypeError::new_err(format!(
                "load must be callable without arguments, not {}",
                crate::key::type_name(load)
            )));
        }
        get_or_load(&self.core, name, &options, load, self.weighing)
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
        let default = Value::new(default, self.weighing);
        put_if_absent(py, &self.core, name, &self.load_options, &default)
    }

    fn __getitem__<'py>(&self, key: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        self.find(key.py(), key_bytes(key)?).ok_or_else(|| missing(key))
    }

    fn __setitem__(&self, key: &Bound<'_, PyAny>, value: Bound<'_, PyAny>) -> PyResult<()> {
        self.put(key, value, &SetOptions::new())
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
    fn build(py: Python<'_>, config: Config) -> PyResult<Self> {
        let weighing = match config.memory.bound_bytes() {
            Some(_) => Weighing::Estimate,
            None => Weighing::LeaveOut,
        };
        // Opening L2 makes and maps a file.
        let core = py.detach(|| config.builder()?.build_with(ValueCodec(weighing)));
        let core = core.map_err(|error| exception(py, &error))?;
        Ok(Self { core, load_options: watchful(), weighing })
    }

    /// The value from the fastest tier that has it.
    #[inline]
    fn find<'py>(&self, py: Python<'py>, key: &[u8]) -> Option<Bound<'py, PyAny>> {
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

    fn put(
        &self,
        key: &Bound<'_, PyAny>,
        value: Bound<'_, PyAny>,
        options: &SetOptions,
    ) -> PyResult<()> {
        let py = key.py();
        let name = key_bytes(key)?;
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

#[cold]
fn missing(key: &Bound<'_, PyAny>) -> PyErr {
    PyKeyError::new_err(key.clone().unbind())
}

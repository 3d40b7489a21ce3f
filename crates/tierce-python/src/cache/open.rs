//! How a cache is made, and how it ends.

use std::path::PathBuf;

use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyDict, PyType},
};
use tierce::Clock;

use super::PyCache;
use crate::{
    clock::PyManualClock,
    held::scope,
    key::wrong_type,
    options::configuration,
    words::{Takes, Words},
};

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
        options: Option<&Bound<'_, PyAny>>,
        clock: Option<&Bound<'_, PyAny>>,
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
        let base = config.freshness_options();
        let words = Words::read("Cache", Takes::Defaults, &base, freshness)?.and_ttl(ttl)?;
        let clock = match clock {
            None => Clock::system(),
            Some(clock) => match clock.cast::<PyManualClock>() {
                Ok(clock) => clock.get().clock(),
                Err(_) => return Err(wrong_type("clock", "a ManualClock", clock)),
            },
        };
        Self::build(py, config, Some(words), clock)
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
        Self::build(cls.py(), config, None, Clock::system())
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
        Self::build(cls.py(), config, None, Clock::system())
    }

    /// Give back memory, connections and threads.
    ///
    /// Its guards end. Reads miss from now on and changes raise ClosedError. Closing twice is fine.
    /// Other processes keep what is in L2 and L3.
    ///
    /// Examples
    /// --------
    /// >>> import tierce
    /// >>> cache = tierce.Cache()
    /// >>> cache.close()
    /// >>> cache.get("user:7") is None
    /// True
    fn close(&self, py: Python<'_>) {
        self.close_guards(py);
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
        format!("<tierce.Cache tiering={} entries={}>", self.core.tiering().name(), self.core.len())
    }
}

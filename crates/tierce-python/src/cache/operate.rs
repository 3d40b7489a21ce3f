//! What a running cache tells, and which tiers it uses.

use pyo3::{prelude::*, types::PyDict};

use super::PyCache;
use crate::{error::exception, held::scope, key::text, report};

#[pymethods]
impl PyCache {
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
    fn retier(&self, tiering: &Bound<'_, PyAny>) -> PyResult<()> {
        let (py, name) = (tiering.py(), text(tiering, "tiering")?);
        scope(py, || py.detach(|| self.core.retier(name.parse()?)))
            .map_err(|error| exception(py, &error))
    }

    /// Return counters and latencies since the cache was made, as plain dicts.
    ///
    /// Returns
    /// -------
    /// dict
    ///     Counters by name; under "tiers" a dict for each tier in force, under "keyspaces" one for
    ///     each label of a keyspace. Latencies are in seconds.
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

    /// Return the statistics as Prometheus text; None where metrics are not shown.
    ///
    /// The setting `metrics_enabled` decides whether they are shown, here and over HTTP; it is on
    /// outside of development. They are counted all the same, as health, objectives and alerts go by
    /// them.
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
}

//! Statistics and health as plain dicts. Spans of time are floats in seconds in statistics;
//! the health document keeps the names and units of its own (milliseconds).

use pyo3::{exceptions::PyRuntimeError, prelude::*, types::PyDict};
use tierce::{Health, LatencySummary, Stats, TierStats};

use crate::json::{self, Fault};

/// Puts fields of a struct into a dict under their own names.
macro_rules! put {
    ($dict:ident, $from:expr, $($field:ident),+ $(,)?) => {
        $($dict.set_item(stringify!($field), &$from.$field)?;)+
    };
}

pub(crate) fn stats<'py>(py: Python<'py>, stats: &Stats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    put!(dict, stats, requests, hits, negative_hits, stale_served, misses);
    put!(dict, stats, loads, load_failures, load_waits, loads_not_stored);
    put!(dict, stats, replica_reads, replica_turned_back);
    dict.set_item("last_hit_tier", stats.last_hit_tier.map(tierce::TierKind::short))?;
    let tiers = PyDict::new(py);
    for stats in &stats.tiers {
        tiers.set_item(stats.kind.short(), tier(py, stats)?)?;
    }
    dict.set_item("tiers", tiers)?;
    let keyspaces = PyDict::new(py);
    for stats in &stats.keyspaces {
        let counted = PyDict::new(py);
        put!(counted, stats, hits, misses, loads, changes);
        keyspaces.set_item(&stats.label, counted)?;
    }
    dict.set_item("keyspaces", keyspaces)?;
    dict.set_item("load_latency", latency(py, &stats.load_latency)?)?;
    dict.set_item("latency", latency(py, &stats.latency)?)?;
    dict.set_item("operation_latency", latency(py, &stats.operation_latency)?)?;
    Ok(dict)
}

fn tier<'py>(py: Python<'py>, stats: &TierStats) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    put!(dict, stats, hits, misses, stale, errors, backfills);
    let evictions = PyDict::new(py);
    put!(evictions, stats.evictions, size, bytes, expired, replaced, removed, refused);
    dict.set_item("evictions", evictions)?;
    put!(dict, stats, bytes_out, bytes_in, entries, max_entries, bytes, max_bytes, trouble);
    dict.set_item("latency", latency(py, &stats.latency)?)?;
    Ok(dict)
}

fn latency<'py>(py: Python<'py>, summary: &LatencySummary) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    put!(dict, summary, count);
    for (name, span) in [
        ("p50", summary.p50),
        ("p95", summary.p95),
        ("p99", summary.p99),
        ("max", summary.max),
        ("mean", summary.mean),
        ("sum", summary.sum),
    ] {
        dict.set_item(name, span.as_secs_f64())?;
    }
    Ok(dict)
}

/// The health document, read back from the JSON that every other language serves.
pub(crate) fn health<'py>(py: Python<'py>, health: &Health) -> PyResult<Bound<'py, PyAny>> {
    document(py, "health document", &health.to_json())
}

/// A document that the core made as JSON, which `name` is for messages.
pub(crate) fn document<'py>(
    py: Python<'py>,
    name: &str,
    text: &str,
) -> PyResult<Bound<'py, PyAny>> {
    json::decode(py, text).map_err(|fault| match fault {
        Fault::Python(error) => error,
        Fault::Text(what, at) => PyRuntimeError::new_err(format!("{name}: {what} at byte {at}")),
    })
}

//! How the metrics are called in OpenTelemetry, and in which units they are.
//!
//! Ours are those of the text of Prometheus with dots for levels, and without what the type and the unit
//! say; a Prometheus that takes OTLP gives them the names of its text again. What the process uses is
//! called as the conventions of OpenTelemetry call it. Labels are `tierce.` and their name, but for the
//! kind of an error, which is `error.type`.

/// Whether values of a metric are whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    Whole,
    Fraction,
}

/// What a metric is in OpenTelemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Metric {
    pub(super) name: &'static str,
    /// In the notation of UCUM.
    pub(super) unit: &'static str,
    pub(super) number: Number,
}

const fn count(name: &'static str, unit: &'static str) -> Metric {
    Metric { name, unit, number: Number::Whole }
}

const fn seconds(name: &'static str) -> Metric {
    Metric { name, unit: "s", number: Number::Fraction }
}

const fn share(name: &'static str) -> Metric {
    Metric { name, unit: "1", number: Number::Fraction }
}

/// How OpenTelemetry wants the duration of calls of a database to be told.
pub(super) const DATABASE: Metric = seconds("db.client.operation.duration");

/// The limits of its histogram, in nanoseconds; each is one of ours.
pub(super) const DATABASE_LIMITS: [u64; 9] = [
    1_000_000,
    5_000_000,
    10_000_000,
    50_000_000,
    100_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What this metric of the text of Prometheus is called; `None` where OpenTelemetry says the same
/// elsewhere: when the process began and how many files it may open are no metrics there.
pub(super) fn metric(prometheus: &str) -> Option<Metric> {
    Some(match prometheus {
        "tierce_build_info" => count("tierce.build_info", "{build}"),
        "tierce_latency_sample_ratio" => share("tierce.latency.sample_ratio"),
        "tierce_requests_total" => count("tierce.requests", "{request}"),
        "tierce_operations_total" => count("tierce.operations", "{operation}"),
        "tierce_operation_errors_total" => count("tierce.operation.errors", "{error}"),
        "tierce_stale_served_total" => count("tierce.stale_served", "{request}"),
        "tierce_negative_hits_total" => count("tierce.negative_hits", "{request}"),
        "tierce_load_waits_total" => count("tierce.load.waits", "{wait}"),
        "tierce_loads_not_stored_total" => count("tierce.loads_not_stored", "{load}"),
        "tierce_replica_reads_total" => count("tierce.replica.reads", "{read}"),
        "tierce_written_behind_total" => count("tierce.written_behind", "{value}"),
        "tierce_waiting_writes" => count("tierce.waiting_writes", "{write}"),
        "tierce_waiting_size_bytes" => count("tierce.waiting_size", "By"),
        "tierce_tier_reads_total" => count("tierce.tier.reads", "{read}"),
        "tierce_evictions_total" => count("tierce.evictions", "{entry}"),
        "tierce_backfills_total" => count("tierce.backfills", "{entry}"),
        "tierce_tier_errors_total" => count("tierce.tier.errors", "{error}"),
        "tierce_tier_available" => count("tierce.tier.available", "{tier}"),
        "tierce_breaker_openings_total" => count("tierce.breaker.openings", "{opening}"),
        "tierce_breaker_state" => count("tierce.breaker.state", "{breaker}"),
        "tierce_breaker_rejections_total" => count("tierce.breaker.rejections", "{call}"),
        "tierce_distrusted_keys" => count("tierce.distrusted_keys", "{key}"),
        "tierce_entries" => count("tierce.entries", "{entry}"),
        "tierce_entries_limit" => count("tierce.entries_limit", "{entry}"),
        "tierce_size_bytes" => count("tierce.size", "By"),
        "tierce_size_limit_bytes" => count("tierce.size_limit", "By"),
        "tierce_tier_bytes_total" => count("tierce.tier.bytes", "By"),
        "tierce_network_bytes_total" => count("tierce.network.bytes", "By"),
        "tierce_tier_duration_seconds" => seconds("tierce.tier.duration"),
        "tierce_operation_duration_seconds" => seconds("tierce.operation.duration"),
        "tierce_load_duration_seconds" => seconds("tierce.load.duration"),
        "tierce_keyspace_operations_total" => count("tierce.keyspace.operations", "{operation}"),
        "tierce_side_requests_total" => count("tierce.side.requests", "{request}"),
        "tierce_side_hits_total" => count("tierce.side.hits", "{request}"),
        "tierce_side_failures_total" => count("tierce.side.failures", "{call}"),
        "tierce_side_timeouts_total" => count("tierce.side.timeouts", "{call}"),
        "tierce_side_loads_total" => count("tierce.side.loads", "{load}"),
        "tierce_side_duration_seconds" => seconds("tierce.side.duration"),
        "tierce_alert_active" => count("tierce.alert.active", "{alert}"),
        "tierce_notices_total" => count("tierce.notices", "{notice}"),
        "tierce_otlp_exports_total" => count("tierce.otlp.exports", "{export}"),
        "tierce_otlp_rejected_points_total" => count("tierce.otlp.rejected_points", "{point}"),
        "process_cpu_seconds_total" => seconds("process.cpu.time"),
        "process_resident_memory_bytes" => count("process.memory.usage", "By"),
        "process_virtual_memory_bytes" => count("process.memory.virtual", "By"),
        "process_threads" => count("process.thread.count", "{thread}"),
        "process_open_fds" => count("process.unix.file_descriptor.count", "{file_descriptor}"),
        _ => return None,
    })
}

/// What a label is called.
pub(super) fn attribute(label: &str) -> String {
    match label {
        "error" | "kind" => "error.type".to_owned(),
        label => format!("tierce.{label}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::process_to_prometheus;

    /// What a Prometheus that takes OTLP makes of a name, as its documentation says: dots become
    /// underscores, the unit and the ending of counters are put behind it where they are not there yet.
    fn in_prometheus(metric: Metric, kind: &str) -> String {
        let mut name = metric.name.replace('.', "_");
        let unit = match (metric.unit, kind) {
            ("s", _) => "seconds",
            ("By", _) => "bytes",
            ("1", "gauge") => "ratio",
            _ => "",
        };
        if !unit.is_empty() && !name.split('_').any(|word| word == unit) {
            name = format!("{name}_{unit}");
        }
        if kind == "counter" { format!("{name}_total") } else { name }
    }

    #[test]
    fn every_metric_of_the_text_has_a_name_that_gives_its_own_again() {
        let text =
            crate::metrics::testing::full_stats().to_prometheus("users") + &process_to_prometheus();
        let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let mut names = Vec::new();
        let ours = "tierce_alert_active gauge\ntierce_notices_total counter\n\
                    tierce_otlp_exports_total counter\ntierce_otlp_rejected_points_total counter";
        for head in heads.chain(ours.lines()) {
            let (name, kind) = head.split_once(' ').unwrap();
            let known = metric(name);
            if ["process_start_time_seconds", "process_max_fds"].contains(&name) {
                assert_eq!(known, None);
                continue;
            }
            let known = known.unwrap_or_else(|| panic!("{name} has no name in OpenTelemetry"));
            if name.starts_with("tierce_") {
                assert_eq!(in_prometheus(known, kind), name);
            }
            assert!(["s", "By", "1"].contains(&known.unit) || known.unit.starts_with('{'));
            names.push(known.name);
        }
        assert!(names.len() > 40, "{names:?}");
        // The conventions of OpenTelemetry: a name is not the level of others.
        for name in &names {
            let level = format!("{name}.");
            assert!(!names.iter().any(|other| other.starts_with(&level)), "{name}");
        }
    }
}

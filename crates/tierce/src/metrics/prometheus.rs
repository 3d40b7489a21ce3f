//! Statistics in the text format of Prometheus.
//!
//! All samples of a metric stand together under one HELP and TYPE, whatever the number of caches,
//! as the format demands. Labels take values of bounded sets only; keys never appear.

use std::fmt::Write as _;

use super::{
    SideStats,
    sampler::SAMPLE_RATE,
    snapshot::{LatencySummary, Stats, TierStats},
};
use crate::tiering::TierKind;

/// Writes the statistics of several caches as Prometheus text (format 0.0.4), each with its name
/// in the label `cache`. Names must differ.
///
/// ```
/// # let (users, pages) = (tierce::Stats::default(), tierce::Stats::default());
/// let text = tierce::to_prometheus([("users", &users), ("pages", &pages)]);
/// assert!(text.contains("tierce_requests_total{cache=\"pages\",tier=\"none\",result=\"miss\"} 0"));
/// ```
pub fn to_prometheus<'a>(caches: impl IntoIterator<Item = (&'a str, &'a Stats)>) -> String {
    let caches: Vec<_> = caches.into_iter().collect();
    let mut text = Text { out: String::new(), caches: &caches };
    text.build();
    text.requests();
    text.entries();
    text.keyspaces();
    text.latencies();
    text.sides();
    text.out
}

/// A label and its value, which is escaped when written.
type Label<'a> = (&'a str, &'a str);

/// One number of a side.
type SideCount = fn(&SideStats) -> u64;

struct Text<'a> {
    out: String,
    caches: &'a [(&'a str, &'a Stats)],
}

impl Text<'_> {
    fn build(&mut self) {
        self.head("tierce_build_info", "gauge", "Version of the library that runs.");
        self.sample("tierce_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let help = "Share of reads of a tier whose duration is measured.";
        self.each_tier("tierce_latency_sample_ratio", "gauge", help, |kind| {
            let memory = kind.kind == TierKind::Memory;
            Some(if memory { 1.0 / SAMPLE_RATE as f64 } else { 1.0 })
        });
    }

    fn requests(&mut self) {
        let name = "tierce_requests_total";
        self.head(name, "counter", "Reads by the tier that answered and how.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                for (result, count) in [("hit", tier.hits), ("stale", tier.stale)] {
                    let labels =
                        [("cache", *cache), ("tier", tier.kind.short()), ("result", result)];
                    self.sample(name, &labels, count as f64);
                }
            }
            let labels = [("cache", *cache), ("tier", "none"), ("result", "miss")];
            self.sample(name, &labels, stats.misses as f64);
        }
        let name = "tierce_operations_total";
        self.head(name, "counter", "Operations by kind.");
        for (cache, stats) in self.caches {
            for (op, count) in [("get", stats.requests), ("load", stats.loads)] {
                self.sample(name, &[("cache", cache), ("op", op)], count as f64);
            }
        }
        let name = "tierce_operation_errors_total";
        self.head(name, "counter", "Operations that failed, by kind.");
        for (cache, stats) in self.caches {
            let labels = [("cache", *cache), ("op", "load"), ("error", "loader")];
            self.sample(name, &labels, stats.load_failures as f64);
        }
    }

    fn entries(&mut self) {
        let name = "tierce_evictions_total";
        self.head(name, "counter", "Entries that left a tier, by cause.");
        self.by_tier(|tier| {
            let evictions = tier.evictions;
            vec![
                (name, "cause", "size", evictions.size),
                (name, "cause", "bytes", evictions.bytes),
                (name, "cause", "expired", evictions.expired),
                (name, "cause", "replaced", evictions.replaced),
                (name, "cause", "removed", evictions.removed),
            ]
        });
        let name = "tierce_backfills_total";
        self.head(name, "counter", "Values brought up into a tier from one below.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                let labels = [("cache", *cache), ("to", tier.kind.short())];
                self.sample(name, &labels, tier.backfills as f64);
            }
        }
        let name = "tierce_tier_errors_total";
        self.head(name, "counter", "Failures of a tier, by kind.");
        self.by_tier(|tier| {
            tier.errors.iter().map(|(kind, count)| (name, "kind", *kind, *count)).collect()
        });
        let help = "1 while the tier answers, else 0.";
        self.each_tier("tierce_tier_available", "gauge", help, |tier| {
            Some(f64::from(u8::from(tier.trouble.is_none())))
        });
        let help = "Times the circuit breaker of a tier opened.";
        self.each_tier("tierce_breaker_openings_total", "counter", help, |tier| {
            tier.breaker.as_ref().map(|breaker| breaker.opened as f64)
        });
        self.each_tier("tierce_entries", "gauge", "Entries in a tier.", |tier| {
            Some(tier.entries as f64)
        });
        self.each_tier(
            "tierce_entries_limit",
            "gauge",
            "Bound on the entries of a tier.",
            |tier| tier.max_entries.map(|limit| limit as f64),
        );
        self.each_tier("tierce_size_bytes", "gauge", "Bytes that a tier holds.", |tier| {
            Some(tier.bytes as f64)
        });
        let help = "Bound on the bytes of a tier.";
        self.each_tier("tierce_size_limit_bytes", "gauge", help, |tier| {
            tier.max_bytes.map(|limit| limit as f64)
        });
        let name = "tierce_network_bytes_total";
        self.head(name, "counter", "Bytes of values received from and sent to a peer.");
        for (cache, stats) in self.caches {
            if let Some(redis) = stats.tier(TierKind::Redis) {
                for (direction, count) in [("in", redis.bytes_out), ("out", redis.bytes_in)] {
                    let labels = [("cache", *cache), ("peer", "redis"), ("direction", direction)];
                    self.sample(name, &labels, count as f64);
                }
            }
        }
    }

    fn latencies(&mut self) {
        let name = "tierce_tier_duration_seconds";
        self.head(name, "histogram", "Duration of reads of a tier.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                let labels = [("cache", *cache), ("tier", tier.kind.short())];
                self.histogram(name, &labels, &tier.latency);
            }
        }
        let name = "tierce_operation_duration_seconds";
        self.head(name, "histogram", "Duration of reads that went below the memory tier.");
        for (cache, stats) in self.caches {
            let labels = [("cache", *cache), ("op", "get")];
            self.histogram(name, &labels, &stats.operation_latency);
        }
        let name = "tierce_load_duration_seconds";
        self.head(name, "histogram", "Duration of loads.");
        for (cache, stats) in self.caches {
            self.histogram(name, &[("cache", cache)], &stats.load_latency);
        }
    }

    /// Nothing at all where no cache has keyspaces.
    fn keyspaces(&mut self) {
        if self.caches.iter().all(|(_, stats)| stats.keyspaces.is_empty()) {
            return;
        }
        let name = "tierce_keyspace_operations_total";
        self.head(name, "counter", "Operations by way of keyspaces, by label and result.");
        for (cache, stats) in self.caches {
            for keyspace in &stats.keyspaces {
                for (result, count) in [
                    ("hit", keyspace.hits),
                    ("miss", keyspace.misses),
                    ("load", keyspace.loads),
                    ("change", keyspace.changes),
                ] {
                    let labels =
                        [("cache", *cache), ("keyspace", &keyspace.label), ("result", result)];
                    self.sample(name, &labels, count as f64);
                }
            }
        }
    }

    /// Nothing at all where no cache was ever split.
    fn sides(&mut self) {
        if self.caches.iter().all(|(_, stats)| stats.sides.is_empty()) {
            return;
        }
        let counters: [(&str, &str, SideCount); 5] = [
            ("requests", "Reads of one side of a split cache.", |side| side.requests),
            ("hits", "Reads of one side that a tier answered.", |side| side.hits),
            ("failures", "Calls of one side that gave an error.", |side| side.failures),
            ("timeouts", "Calls of one side that lost a tier's whole deadline.", |side| side.late),
            ("loads", "Loaders that ran for one side.", |side| side.loads),
        ];
        for (what, help, count) in counters {
            let name = format!("tierce_side_{what}_total");
            self.head(&name, "counter", help);
            for (cache, stats) in self.caches {
                for side in &stats.sides {
                    let labels = [("cache", *cache), ("side", side.side)];
                    self.sample(&name, &labels, count(side) as f64);
                }
            }
        }
        let name = "tierce_side_duration_seconds";
        self.head(name, "histogram", "Duration of reads of one side of a split cache.");
        for (cache, stats) in self.caches {
            for side in &stats.sides {
                self.histogram(name, &[("cache", cache), ("side", side.side)], &side.latency);
            }
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail; the results are ignored here and below for that.
        let _ = writeln!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &[Label<'_>], value: f64) {
        self.out.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.out, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for char in value.chars() {
                match char {
                    '\\' => self.out.push_str("\\\\"),
                    '"' => self.out.push_str("\\\""),
                    '\n' => self.out.push_str("\\n"),
                    other => self.out.push(other),
                }
            }
            self.out.push('"');
        }
        let _ = writeln!(self.out, "}} {value}");
    }

    fn each_tier(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        value: impl Fn(&TierStats) -> Option<f64>,
    ) {
        self.head(name, kind, help);
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                if let Some(value) = value(tier) {
                    self.sample(name, &[("cache", cache), ("tier", tier.kind.short())], value);
                }
            }
        }
    }

    /// Samples of all tiers with one more label: name, label, its value, count.
    fn by_tier<'t>(
        &mut self,
        samples: impl Fn(&TierStats) -> Vec<(&'t str, &'t str, &'t str, u64)>,
    ) {
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                for (name, label, value, count) in samples(tier) {
                    let labels = [("cache", *cache), ("tier", tier.kind.short()), (label, value)];
                    self.sample(name, &labels, count as f64);
                }
            }
        }
    }

    fn histogram(&mut self, name: &str, labels: &[Label<'_>], latency: &LatencySummary) {
        let bucket = format!("{name}_bucket");
        let mut labels = labels.to_vec();
        labels.push(("le", ""));
        let last = labels.len() - 1;
        for threshold in &latency.thresholds {
            let limit = threshold.limit.as_secs_f64().to_string();
            // A local vector, so that the label does not outlive its text.
            let mut labels = labels.clone();
            labels[last].1 = &limit;
            self.sample(&bucket, &labels, threshold.count as f64);
        }
        labels[last].1 = "+Inf";
        self.sample(&bucket, &labels, latency.count as f64);
        labels.pop();
        self.sample(&format!("{name}_sum"), &labels, latency.sum.as_secs_f64());
        self.sample(&format!("{name}_count"), &labels, latency.count as f64);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::{
        error::ErrorKind,
        metrics::{ArmCounter, CacheCounter, KeyspaceCounter, Metrics, TierCounter},
        split::Side,
    };

    fn stats() -> Stats {
        let metrics = Metrics::default();
        metrics.hit(TierKind::Memory);
        metrics.miss();
        metrics.count(CacheCounter::LoadFailures);
        metrics.tier(TierKind::Memory).latency.record_many(300, SAMPLE_RATE);
        metrics.tier(TierKind::Redis).error(ErrorKind::Timeout);
        metrics.tier(TierKind::Redis).add(TierCounter::BytesOut, 12);
        let users = metrics.keyspaces.label("user/:id", 1).unwrap();
        users.add(KeyspaceCounter::Hits, 3);
        metrics.count_sides();
        let new = metrics.arm(Some(Side::New)).unwrap();
        new.add(ArmCounter::Requests, 5);
        new.latency.record(1_000_000);
        let mut stats = metrics.snapshot(TierKind::ALL);
        stats.tiers[0].max_entries = Some(10_000);
        stats.tiers[2].trouble = Some("no route".into());
        stats
    }

    #[test]
    fn samples_bear_the_numbers_and_escaped_labels() {
        let text = stats().to_prometheus("a\"b\\c\nd");
        for line in [
            r#"tierce_requests_total{cache="a\"b\\c\nd",tier="L1",result="hit"} 1"#,
            r#"tierce_requests_total{cache="a\"b\\c\nd",tier="none",result="miss"} 1"#,
            r#"tierce_tier_errors_total{cache="a\"b\\c\nd",tier="L3",kind="timeout"} 1"#,
            r#"tierce_tier_available{cache="a\"b\\c\nd",tier="L3"} 0"#,
            r#"tierce_entries_limit{cache="a\"b\\c\nd",tier="L1"} 10000"#,
            r#"tierce_network_bytes_total{cache="a\"b\\c\nd",peer="redis",direction="in"} 12"#,
            r#"tierce_tier_duration_seconds_bucket{cache="a\"b\\c\nd",tier="L1",le="0.00000025"} 0"#,
            r#"tierce_tier_duration_seconds_bucket{cache="a\"b\\c\nd",tier="L1",le="0.0000005"} 64"#,
            r#"tierce_tier_duration_seconds_count{cache="a\"b\\c\nd",tier="L1"} 64"#,
            r#"tierce_latency_sample_ratio{cache="a\"b\\c\nd",tier="L1"} 0.015625"#,
            r#"tierce_keyspace_operations_total{cache="a\"b\\c\nd",keyspace="user/:id",result="hit"} 3"#,
            r#"tierce_side_requests_total{cache="a\"b\\c\nd",side="old"} 0"#,
            r#"tierce_side_requests_total{cache="a\"b\\c\nd",side="new"} 5"#,
            r#"tierce_side_duration_seconds_count{cache="a\"b\\c\nd",side="new"} 1"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
    }

    #[test]
    fn each_metric_is_introduced_once_whatever_the_number_of_caches() {
        let (one, two) = (stats(), stats());
        let text = to_prometheus([("one", &one), ("two", &two)]);
        let mut names: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    /// Prometheus' own checker, which `make test` installs, must have no complaint.
    #[test]
    fn promtool_accepts_the_text() {
        let child = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.expect("promtool is installed");
        let (one, two) = (stats(), stats());
        let text = to_prometheus([("one", &one), ("two", &two)]);
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    }
}

//! Statistics in the text format of Prometheus.
//!
//! All samples of a metric stand together under one HELP and TYPE, whatever the number of caches,
//! as the format demands. Labels take values of bounded sets only; keys never appear.

use super::{
    SideStats,
    families::Families,
    snapshot::{Stats, TierStats},
    text::Text,
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
    let mut text = Text::default();
    write_stats(&mut text, &caches);
    text.finish()
}

/// Writes the statistics of caches as families of metrics.
pub(crate) fn write_stats(out: &mut dyn Families, caches: &[(&str, &Stats)]) {
    let mut page = Page { text: out, caches };
    page.build();
    page.requests();
    page.entries();
    page.trouble();
    page.keyspaces();
    page.latencies();
    page.sides();
}

struct Page<'a> {
    text: &'a mut dyn Families,
    caches: &'a [(&'a str, &'a Stats)],
}

impl Page<'_> {
    fn build(&mut self) {
        self.text.head("tierce_build_info", "gauge", "Version of the library that runs.");
        self.text.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
        let help = "Share of reads of a tier whose duration is measured.";
        self.each_tier("tierce_latency_sample_ratio", "gauge", help, |tier| {
            let count = tier.latency.count;
            Some(if count == 0 { 1.0 } else { tier.timed as f64 / count as f64 })
        });
    }

    fn requests(&mut self) {
        let name = "tierce_requests_total";
        self.text.head(name, "counter", "Reads by the tier that answered and how.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                for (result, count) in [("hit", tier.hits), ("stale", tier.stale)] {
                    let labels =
                        [("cache", *cache), ("tier", tier.kind.short()), ("result", result)];
                    self.text.sample(&labels, count as f64);
                }
            }
            let labels = [("cache", *cache), ("tier", "none"), ("result", "miss")];
            self.text.sample(&labels, stats.misses as f64);
        }
        let name = "tierce_operations_total";
        self.text.head(name, "counter", "Operations by kind.");
        for (cache, stats) in self.caches {
            let counts = [
                ("get", stats.requests),
                ("load", stats.loads),
                ("set", stats.sets),
                ("delete", stats.deletes),
            ];
            for (op, count) in counts {
                self.text.sample(&[("cache", cache), ("op", op)], count as f64);
            }
        }
        let name = "tierce_operation_errors_total";
        self.text.head(name, "counter", "Operations that failed, by kind.");
        for (cache, stats) in self.caches {
            for (op, count) in [("get", stats.failed_reads), ("load", stats.load_failures)] {
                let labels = [("cache", *cache), ("op", op), ("error", "loader")];
                self.text.sample(&labels, count as f64);
            }
        }
        self.each_cache(
            "tierce_stale_served_total",
            "Reads that were answered with a stale value, as their callers allowed.",
            |stats| stats.stale_served,
        );
        self.each_cache(
            "tierce_negative_hits_total",
            "Hits of word that a key has no value.",
            |stats| stats.negative_hits,
        );
        let help = "Callers that waited for another caller's load of the same key.";
        self.each_cache("tierce_load_waits_total", help, |stats| stats.load_waits);
        let help = "Loaded values that were not kept, as their keys had changed meanwhile.";
        self.each_cache("tierce_loads_not_stored_total", help, |stats| stats.loads_not_stored);
        let name = "tierce_replica_reads_total";
        self.text.head(name, "counter", "Reads that a replica of L3 answered, or might have.");
        for (cache, stats) in self.caches {
            let results =
                [("answered", stats.replica_reads), ("turned_back", stats.replica_turned_back)];
            for (result, count) in results {
                self.text.sample(&[("cache", *cache), ("result", result)], count as f64);
            }
        }
        self.behind();
        let name = "tierce_tier_reads_total";
        self.text.head(name, "counter", "Reads of a tier by whether it had the key.");
        self.by_tier(|tier| vec![("result", "hit", tier.hits), ("result", "miss", tier.misses)]);
    }

    fn behind(&mut self) {
        let caches = self.caches;
        let used = || caches.iter().filter(|(_, stats)| !stats.behind.is_unused());
        let name = "tierce_written_behind_total";
        let help = "Values that were to be set behind L3, by what became of them.";
        self.text.head(name, "counter", help);
        for (cache, stats) in used() {
            let behind = stats.behind;
            let counts = [
                ("queued", behind.queued),
                ("coalesced", behind.coalesced),
                ("sent", behind.sent),
                ("overtaken", behind.overtaken),
                ("through", behind.through),
                ("in_doubt", behind.in_doubt),
            ];
            for (outcome, count) in counts {
                self.text.sample(&[("cache", cache), ("outcome", outcome)], count as f64);
            }
        }
        self.text.head("tierce_waiting_writes", "gauge", "Values that wait to be sent to L3.");
        for (cache, stats) in used() {
            self.text.sample(&[("cache", cache)], stats.behind.waiting as f64);
        }
        let help = "Bytes of values, and of their keys, that wait to be sent to L3.";
        self.text.head("tierce_waiting_size_bytes", "gauge", help);
        for (cache, stats) in used() {
            self.text.sample(&[("cache", cache)], stats.behind.waiting_bytes as f64);
        }
    }

    fn entries(&mut self) {
        let name = "tierce_evictions_total";
        self.text.head(name, "counter", "Entries that left a tier or were not let in, by cause.");
        self.by_tier(|tier| {
            let evictions = tier.evictions;
            vec![
                ("cause", "size", evictions.size),
                ("cause", "bytes", evictions.bytes),
                ("cause", "expired", evictions.expired),
                ("cause", "replaced", evictions.replaced),
                ("cause", "removed", evictions.removed),
                ("cause", "refused", evictions.refused),
            ]
        });
        let name = "tierce_backfills_total";
        self.text.head(name, "counter", "Values brought up into a tier from one below.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                let labels = [("cache", *cache), ("to", tier.kind.short())];
                self.text.sample(&labels, tier.backfills as f64);
            }
        }
        let name = "tierce_tier_errors_total";
        self.text.head(name, "counter", "Failures of a tier, by kind.");
        self.by_tier(|tier| {
            tier.errors.iter().map(|(kind, count)| ("kind", *kind, *count)).collect()
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
        let name = "tierce_tier_bytes_total";
        self.text.head(name, "counter", "Bytes of values read from and written to a tier.");
        self.by_tier(|tier| {
            let bytes = [("read", tier.bytes_out), ("write", tier.bytes_in)];
            let is_below = tier.kind != TierKind::Memory;
            let bytes = bytes.iter().filter(|_| is_below);
            bytes.map(|(direction, count)| ("direction", *direction, *count)).collect()
        });
        let name = "tierce_network_bytes_total";
        self.text.head(name, "counter", "Bytes of values received from and sent to a peer.");
        for (cache, stats) in self.caches {
            if let Some(redis) = stats.tier(TierKind::Redis) {
                for (direction, count) in [("in", redis.bytes_out), ("out", redis.bytes_in)] {
                    let labels = [("cache", *cache), ("peer", "redis"), ("direction", direction)];
                    self.text.sample(&labels, count as f64);
                }
            }
        }
    }

    fn trouble(&mut self) {
        let help = "1 while the circuit breaker of a tier is in this state, else 0.";
        let name = "tierce_breaker_state";
        self.text.head(name, "gauge", help);
        self.by_tier(|tier| {
            let Some(breaker) = &tier.breaker else { return Vec::new() };
            let states = ["closed", "open", "half_open"];
            let is_in = |state: &str| u64::from(breaker.state == state);
            states.into_iter().map(|state| ("state", state, is_in(state))).collect()
        });
        let help = "Calls of a tier that were not made, as its breaker was not closed.";
        self.each_tier("tierce_breaker_rejections_total", "counter", help, |tier| {
            tier.breaker.as_ref().map(|breaker| breaker.rejected as f64)
        });
        let help = "Keys that a tier is not asked for, since changes did not reach it.";
        self.each_tier("tierce_distrusted_keys", "gauge", help, |tier| {
            Some(tier.distrusted_keys as f64)
        });
    }

    fn latencies(&mut self) {
        let name = "tierce_tier_duration_seconds";
        self.text.head(name, "histogram", "Duration of reads of a tier.");
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                let labels = [("cache", *cache), ("tier", tier.kind.short())];
                self.text.histogram(&labels, &tier.latency);
            }
        }
        let name = "tierce_operation_duration_seconds";
        self.text.head(name, "histogram", "Duration of reads that went below the memory tier.");
        for (cache, stats) in self.caches {
            let labels = [("cache", *cache), ("op", "get")];
            self.text.histogram(&labels, &stats.operation_latency);
        }
        let name = "tierce_load_duration_seconds";
        self.text.head(name, "histogram", "Duration of loads.");
        for (cache, stats) in self.caches {
            self.text.histogram(&[("cache", cache)], &stats.load_latency);
        }
    }

    /// Nothing at all where no cache has keyspaces.
    fn keyspaces(&mut self) {
        if self.caches.iter().all(|(_, stats)| stats.keyspaces.is_empty()) {
            return;
        }
        let name = "tierce_keyspace_operations_total";
        self.text.head(name, "counter", "Operations by way of keyspaces, by label and result.");
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
                    self.text.sample(&labels, count as f64);
                }
            }
        }
    }

    /// Nothing at all where no cache was ever split.
    fn sides(&mut self) {
        type Count = fn(&SideStats) -> u64;
        if self.caches.iter().all(|(_, stats)| stats.sides.is_empty()) {
            return;
        }
        let counters: [(&str, &str, Count); 5] = [
            ("requests", "Reads of one side of a split cache.", |side| side.requests),
            ("hits", "Reads of one side that a tier answered.", |side| side.hits),
            ("failures", "Calls of one side that gave an error.", |side| side.failures),
            ("timeouts", "Calls of one side that lost a tier's whole deadline.", |side| side.late),
            ("loads", "Loaders that ran for one side.", |side| side.loads),
        ];
        for (what, help, count) in counters {
            let name = format!("tierce_side_{what}_total");
            self.text.head(&name, "counter", help);
            for (cache, stats) in self.caches {
                for side in &stats.sides {
                    let labels = [("cache", *cache), ("side", side.side)];
                    self.text.sample(&labels, count(side) as f64);
                }
            }
        }
        let name = "tierce_side_duration_seconds";
        self.text.head(name, "histogram", "Duration of reads of one side of a split cache.");
        for (cache, stats) in self.caches {
            for side in &stats.sides {
                self.text.histogram(&[("cache", cache), ("side", side.side)], &side.latency);
            }
        }
    }

    fn each_cache(&mut self, name: &str, help: &str, value: impl Fn(&Stats) -> u64) {
        self.text.head(name, "counter", help);
        for (cache, stats) in self.caches {
            self.text.sample(&[("cache", cache)], value(stats) as f64);
        }
    }

    fn each_tier(
        &mut self,
        name: &str,
        kind: &'static str,
        help: &str,
        value: impl Fn(&TierStats) -> Option<f64>,
    ) {
        self.text.head(name, kind, help);
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                if let Some(value) = value(tier) {
                    self.text.sample(&[("cache", cache), ("tier", tier.kind.short())], value);
                }
            }
        }
    }

    /// Samples of all tiers with one more label: label, its value, count.
    fn by_tier(&mut self, samples: impl Fn(&TierStats) -> Vec<(&'static str, &'static str, u64)>) {
        for (cache, stats) in self.caches {
            for tier in &stats.tiers {
                for (label, value, count) in samples(tier) {
                    let labels = [("cache", *cache), ("tier", tier.kind.short()), (label, value)];
                    self.text.sample(&labels, count as f64);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write as _,
        process::{Command, Stdio},
    };

    use super::*;
    use crate::metrics::{process_to_prometheus, testing::full_stats as stats};

    #[test]
    fn samples_bear_the_numbers_and_escaped_labels() {
        let text = stats().to_prometheus("a\"b\\c\nd");
        for line in [
            r#"tierce_requests_total{cache="a\"b\\c\nd",tier="L1",result="hit"} 1"#,
            r#"tierce_requests_total{cache="a\"b\\c\nd",tier="none",result="miss"} 1"#,
            r#"tierce_tier_errors_total{cache="a\"b\\c\nd",tier="L3",kind="timeout"} 1"#,
            r#"tierce_tier_available{cache="a\"b\\c\nd",tier="L3"} 0"#,
            r#"tierce_operations_total{cache="a\"b\\c\nd",op="set"} 5"#,
            r#"tierce_operations_total{cache="a\"b\\c\nd",op="delete"} 2"#,
            r#"tierce_operation_errors_total{cache="a\"b\\c\nd",op="get",error="loader"} 1"#,
            r#"tierce_operation_errors_total{cache="a\"b\\c\nd",op="load",error="loader"} 1"#,
            r#"tierce_tier_bytes_total{cache="a\"b\\c\nd",tier="L3",direction="read"} 12"#,
            r#"tierce_tier_reads_total{cache="a\"b\\c\nd",tier="L1",result="hit"} 1"#,
            r#"tierce_breaker_state{cache="a\"b\\c\nd",tier="L3",state="open"} 1"#,
            r#"tierce_breaker_rejections_total{cache="a\"b\\c\nd",tier="L3"} 7"#,
            r#"tierce_distrusted_keys{cache="a\"b\\c\nd",tier="L3"} 3"#,
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
        let text = to_prometheus([("one", &one), ("two", &two)]) + &process_to_prometheus();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    }
}

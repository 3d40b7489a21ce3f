//! Families of metrics as a message of OTLP: cumulative sums and histograms with their limits, gauges.
//!
//! They are gathered first, and written later, by the thread that sends them: so what is gathered when
//! the cache goes can be sent after it.

use std::{
    collections::HashMap,
    time::{SystemTime, UNIX_EPOCH},
};

use super::{
    names::{self, DATABASE, DATABASE_LIMITS, Metric, Number},
    resource::{Attribute, Resource, write_attribute},
    wire::Message,
};
use crate::metrics::{Families, Label, LatencySummary, nanoseconds};

/// Values go on from where they were at the message before, since the start: `CUMULATIVE` of OTLP.
const CUMULATIVE: u64 = 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A metric with its points.
#[derive(Clone, Debug)]
struct Family {
    metric: Metric,
    kind: Kind,
    help: String,
    points: Vec<(Vec<Attribute>, Value)>,
}

#[derive(Clone, Debug)]
enum Value {
    Number(f64),
    Histogram(Distribution),
}

/// How many values lie between neighbouring limits.
#[derive(Clone, Debug, PartialEq)]
struct Distribution {
    /// Seconds.
    limits: Vec<f64>,
    /// One more than limits.
    counts: Vec<u64>,
    sum: f64,
    max: f64,
}

impl Distribution {
    /// By these of its thresholds.
    fn of(latency: &LatencySummary, is_limit: impl Fn(u64) -> bool) -> Self {
        let (mut limits, mut counts, mut below) = (Vec::new(), Vec::new(), 0);
        for threshold in &latency.thresholds {
            if is_limit(nanoseconds(threshold.limit)) {
                limits.push(threshold.limit.as_secs_f64());
                counts.push(threshold.count.saturating_sub(below));
                below = below.max(threshold.count);
            }
        }
        // Counted a moment apart from the thresholds, so it may be less.
        counts.push(latency.count.saturating_sub(below));
        let (sum, max) = (latency.sum.as_secs_f64(), latency.max.as_secs_f64());
        Self { limits, counts, sum, max }
    }

    fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Metrics as they were at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    families: Vec<Family>,
    /// What calls of L3 took, under the name that OpenTelemetry has for it.
    database: Vec<(Vec<Attribute>, Value)>,
    /// The family under way is not one of OpenTelemetry.
    is_skipped: bool,
    is_tier_duration: bool,
    is_process_start: bool,
    /// Nanoseconds since 1970.
    process_begun: Option<u64>,
}

impl Gathered {
    fn point(&mut self, labels: &[Label<'_>], value: Value) {
        if self.is_skipped {
            return;
        }
        let attributes = labels.iter().map(|(label, value)| {
            let value = (*value).to_owned();
            Attribute { key: names::attribute(label), value }
        });
        if let Some(family) = self.families.last_mut() {
            family.points.push((attributes.collect(), value));
        }
    }
}

impl Families for Gathered {
    fn head(&mut self, name: &str, kind: &'static str, help: &str) {
        self.is_process_start = name == "process_start_time_seconds";
        self.is_tier_duration = name == "tierce_tier_duration_seconds";
        let metric = names::metric(name);
        self.is_skipped = metric.is_none();
        let Some(metric) = metric else { return };
        let kind = match kind {
            "counter" => Kind::Counter,
            "histogram" => Kind::Histogram,
            _ => Kind::Gauge,
        };
        self.families.push(Family { metric, kind, help: help.to_owned(), points: Vec::new() });
    }

    fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        if self.is_process_start {
            // Far below 2^53 microseconds.
            self.process_begun = Some((value * 1e6) as u64 * 1000);
        }
        self.point(labels, Value::Number(value));
    }

    fn histogram(&mut self, labels: &[Label<'_>], latency: &LatencySummary) {
        if self.is_tier_duration && labels.contains(&("tier", "L3")) {
            let cache = labels.iter().filter(|(label, _)| *label == "cache");
            let cache = cache.map(|(label, value)| (names::attribute(label), (*value).to_owned()));
            let system = ("db.system.name".to_owned(), "redis".to_owned());
            let attributes = cache.chain([system]).map(|(key, value)| Attribute { key, value });
            let calls = Distribution::of(latency, |limit| DATABASE_LIMITS.contains(&limit));
            self.database.push((attributes.collect(), Value::Histogram(calls)));
        }
        self.point(labels, Value::Histogram(Distribution::of(latency, |_| true)));
    }
}

/// Since when each series has been counted.
///
/// A series that fell began anew some time after the message before: the counts of L2 are of its
/// store, and another store may take its place.
#[derive(Debug)]
pub(super) struct Starts {
    /// Nanoseconds since 1970, as all times here.
    begun: u64,
    previous: u64,
    seen: HashMap<(&'static str, Vec<Attribute>), (f64, u64)>,
}

impl Starts {
    /// Of a cache that began to count at this time.
    pub(super) fn new(begun: SystemTime) -> Self {
        let begun = unix(begun);
        Self { begun, previous: begun, seen: HashMap::new() }
    }

    fn of(
        &mut self,
        metric: &Metric,
        attributes: &[Attribute],
        value: f64,
        begun: Option<u64>,
    ) -> u64 {
        let series = (metric.name, attributes.to_vec());
        let begun = begun.unwrap_or(self.begun);
        let (seen, start) = self.seen.entry(series).or_insert((value, begun));
        if value < *seen {
            *start = self.previous;
        }
        *seen = value;
        *start
    }
}

/// Nanoseconds since 1970.
pub(super) fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, nanoseconds)
}

/// An `ExportMetricsServiceRequest`.
pub(super) fn request(
    resource: &Resource,
    gathered: Gathered,
    starts: &mut Starts,
    now: SystemTime,
) -> Vec<u8> {
    // A clock that was set back must not have a point lie before its start.
    let now = unix(now).max(starts.previous);
    let Gathered { mut families, database, process_begun, .. } = gathered;
    let help = "Duration of calls of the database, from the call to its return.".to_owned();
    families.push(Family { metric: DATABASE, kind: Kind::Histogram, help, points: database });
    // What has no points says nothing.
    families.retain(|family| !family.points.is_empty());
    let mut message = Message::default();
    message.message(1, |all| {
        resource.write(all, 1);
        all.message(2, |scope| {
            Resource::write_scope(scope, 1);
            for family in &families {
                let begun = process_begun.filter(|_| family.metric.name.starts_with("process."));
                scope.message(2, |metric| write(metric, family, starts, begun, now));
            }
        });
    });
    starts.previous = now;
    message.finish()
}

fn write(metric: &mut Message, family: &Family, starts: &mut Starts, begun: Option<u64>, now: u64) {
    metric.bytes(1, family.metric.name);
    metric.bytes(2, &family.help);
    metric.bytes(3, family.metric.unit);
    let data = match family.kind {
        Kind::Gauge => 5,
        Kind::Counter => 7,
        Kind::Histogram => 9,
    };
    metric.message(data, |data| {
        for (attributes, value) in &family.points {
            let total = match value {
                Value::Number(value) => *value,
                Value::Histogram(distribution) => distribution.count() as f64,
            };
            let is_sum = family.kind != Kind::Gauge;
            let start = is_sum.then(|| starts.of(&family.metric, attributes, total, begun));
            data.message(1, |point| {
                if let Some(start) = start {
                    point.set_fixed(2, start);
                }
                point.set_fixed(3, now);
                match value {
                    Value::Number(value) => {
                        match family.metric.number {
                            // Whole up to 2^53, which no counter of ours comes to.
                            Number::Whole => point.set_fixed(6, *value as i64 as u64),
                            Number::Fraction => point.set_fixed(4, value.to_bits()),
                        }
                        write_attributes(point, 7, attributes);
                    }
                    Value::Histogram(distribution) => {
                        write_distribution(point, distribution);
                        write_attributes(point, 9, attributes);
                    }
                }
            });
        }
        if family.kind != Kind::Gauge {
            data.number(2, CUMULATIVE);
        }
        data.number(3, u64::from(family.kind == Kind::Counter));
    });
}

fn write_attributes(point: &mut Message, field: u32, attributes: &[Attribute]) {
    for attribute in attributes {
        write_attribute(point, field, &attribute.key, |value| value.set_bytes(1, &attribute.value));
    }
}

fn write_distribution(point: &mut Message, distribution: &Distribution) {
    let count = distribution.count();
    point.set_fixed(4, count);
    point.set_fixed(5, distribution.sum.to_bits());
    point.packed(6, distribution.counts.iter().copied());
    point.packed(7, distribution.limits.iter().map(|limit| limit.to_bits()));
    if count > 0 {
        point.set_fixed(12, distribution.max.to_bits());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::Histogram;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(second)
    }

    #[test]
    fn a_series_that_fell_began_anew_after_the_message_before() {
        let mut starts = Starts::new(at(100));
        let metric = names::metric("tierce_evictions_total").unwrap();
        let tier = |tier: &str| vec![Attribute { key: "tierce.tier".into(), value: tier.into() }];
        let (one, two) = (tier("L1"), tier("L2"));
        assert_eq!(starts.of(&metric, &one, 5.0, None), 100 * SECOND);
        assert_eq!(starts.of(&metric, &two, 50.0, None), 100 * SECOND);
        starts.previous = 160 * SECOND;
        assert_eq!(starts.of(&metric, &one, 5.0, None), 100 * SECOND);
        assert_eq!(starts.of(&metric, &two, 3.0, None), 160 * SECOND);
        starts.previous = 220 * SECOND;
        assert_eq!(starts.of(&metric, &two, 4.0, None), 160 * SECOND);
        // What the process used before there was a cache.
        let cpu = names::metric("process_cpu_seconds_total").unwrap();
        assert_eq!(starts.of(&cpu, &[], 1.5, Some(7)), 7);
    }

    #[test]
    fn counts_between_limits_add_up_though_they_were_read_a_moment_apart() {
        let histogram = Histogram::default();
        for value in [100, 600_000, 3_000_000, 450_000_000, 20_000_000_000] {
            histogram.record(value);
        }
        let mut summary = histogram.snapshot().summary();
        let calls = Distribution::of(&summary, |limit| DATABASE_LIMITS.contains(&limit));
        assert_eq!(calls.limits, [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0]);
        assert_eq!(calls.counts, [2, 1, 0, 0, 0, 1, 0, 0, 0, 1]);
        assert_eq!((calls.count(), calls.max), (5, 20.0));
        summary.count = 1;
        let all = Distribution::of(&summary, |_| true);
        assert_eq!((all.limits.len() + 1, all.count()), (all.counts.len(), 4));
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_point_before_its_start() {
        let mut starts = Starts::new(at(100));
        let mut gathered = Gathered::default();
        gathered.head("tierce_backfills_total", "counter", "");
        gathered.sample(&[], 1.0);
        request(&Resource::default(), gathered.clone(), &mut starts, at(150));
        request(&Resource::default(), gathered, &mut starts, at(50));
        assert_eq!(starts.previous, 150 * SECOND);
    }
}

//! What can be measured of a cache and judged: the names that conditions use, with their units.

use std::{fmt, time::Duration};

use crate::{
    clock::Millis,
    metrics::{LatencySummary, WindowStats},
};

/// Something of a cache that has a value in a window of time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Measure {
    /// Share of operations whose caller got an answer.
    Availability,
    /// Median latency of reads; loaders are not part of it.
    LatencyP50,
    /// 95th percentile of the same.
    LatencyP95,
    /// 99th percentile of the same.
    LatencyP99,
    /// Share of operations that failed, or that a tier kept waiting for its whole deadline.
    ErrorRate,
    /// Share of reads that a tier answered.
    HitRate,
    /// Share of reads that no tier answered.
    MissRate,
    /// Failures of tiers for each read that went below L1, whether or not a caller noticed.
    TierErrorRate,
    /// True while every tier of the tiering answers.
    BackendAvailable,
    /// Bytes that the cache accounts for in this process; with a limit in percent, their share of
    /// the bound.
    MemoryUsage,
    /// Memory of the process as the system sees it, in bytes.
    ProcessMemory,
    /// How fast the memory of the process grows, in bytes an hour: the slope of a straight line by
    /// least squares.
    MemoryGrowthRate,
    /// Share of all processors of the machine that the process uses.
    CpuUsage,
    /// Reads per second.
    Throughput,
    /// A number or truth that only the outside knows, by the name under which it was pushed.
    Input(String),
}

/// What kind of number a measure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// 0 to 1; written in percent.
    Ratio,
    /// Seconds.
    Time,
    /// Bytes.
    Size,
    /// Bytes an hour.
    Growth,
    /// Operations a second.
    Rate,
    /// 0 or 1.
    Truth,
    /// Whatever was pushed.
    Any,
}

/// Names of measures, the one that is written first, then those that the source documents use for
/// the same.
const NAMES: [(Measure, Unit, &[&str]); 14] = [
    (Measure::Availability, Unit::Ratio, &["availability"]),
    (Measure::LatencyP50, Unit::Time, &["latency_p50", "p50_latency"]),
    (Measure::LatencyP95, Unit::Time, &["latency_p95", "p95_latency"]),
    (Measure::LatencyP99, Unit::Time, &["latency_p99", "p99_latency"]),
    (Measure::ErrorRate, Unit::Ratio, &["error_rate"]),
    (
        Measure::HitRate,
        Unit::Ratio,
        &["hit_rate", "cache_hit_ratio", "cache_hit_rate", "hit_ratio"],
    ),
    (Measure::MissRate, Unit::Ratio, &["miss_rate", "cache_miss_ratio"]),
    (Measure::TierErrorRate, Unit::Ratio, &["tier_error_rate"]),
    (Measure::BackendAvailable, Unit::Truth, &["backend_available"]),
    (Measure::MemoryUsage, Unit::Size, &["memory_usage"]),
    (Measure::ProcessMemory, Unit::Size, &["process_memory"]),
    (Measure::MemoryGrowthRate, Unit::Growth, &["memory_growth_rate"]),
    (Measure::CpuUsage, Unit::Ratio, &["cpu_usage"]),
    (Measure::Throughput, Unit::Rate, &["throughput"]),
];

/// Before the names of inputs.
pub(crate) const INPUT_PREFIX: &str = "input.";

/// The memory of a process is looked at for so long before its growth is told: the slope of a few
/// seconds says nothing of an hour.
const LEAST_GROWTH_SPAN: Duration = Duration::from_secs(300);

impl Measure {
    /// The six indicators of the service level, in the order of the source's table.
    pub const INDICATORS: [Self; 6] = [
        Self::Availability,
        Self::LatencyP50,
        Self::LatencyP95,
        Self::LatencyP99,
        Self::ErrorRate,
        Self::HitRate,
    ];

    /// The measure of this name or of another name for it; `input.NAME` is an input.
    pub fn parse(name: &str) -> Option<Self> {
        if let Some(input) = name.strip_prefix(INPUT_PREFIX) {
            let is_name = |name: &str| {
                name.starts_with(|letter: char| letter.is_ascii_alphabetic())
                    && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            return is_name(input).then(|| Self::Input(input.to_owned()));
        }
        let known = NAMES.iter().find(|(_, _, names)| names.contains(&name));
        known.map(|(measure, _, _)| measure.clone())
    }

    /// All names that [`parse`](Self::parse) knows, inputs apart.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().flat_map(|(_, _, names)| names.iter().copied())
    }

    /// The name as conditions write it.
    pub fn name(&self) -> &str {
        match self {
            Self::Input(name) => name,
            known => NAMES
                .iter()
                .find(|(measure, _, _)| measure == known)
                .map_or("", |(_, _, names)| names[0]),
        }
    }

    pub(crate) fn unit(&self) -> Unit {
        NAMES.iter().find(|(measure, _, _)| measure == self).map_or(Unit::Any, |(_, unit, _)| *unit)
    }

    /// The share of values that a percentile speaks of.
    pub(crate) fn quantile(&self) -> Option<f64> {
        match self {
            Self::LatencyP50 => Some(0.50),
            Self::LatencyP95 => Some(0.95),
            Self::LatencyP99 => Some(0.99),
            _ => None,
        }
    }

    /// A value with its unit, as people read it.
    pub fn write(&self, value: f64) -> String {
        match self.unit() {
            Unit::Ratio => format!("{}%", rounded(value * 100.0)),
            Unit::Time => format!("{}ms", rounded(value * 1e3)),
            Unit::Size => format!("{}MB", rounded(value / (1 << 20) as f64)),
            Unit::Growth => format!("{}MB/hour", rounded(value / (1 << 20) as f64)),
            Unit::Rate => format!("{}/s", rounded(value)),
            Unit::Truth => (value > 0.0).to_string(),
            Unit::Any => rounded(value),
        }
    }
}

/// At most four digits behind the point, without zeros at the end.
fn rounded(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl fmt::Display for Measure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if matches!(self, Self::Input(_)) {
            out.write_str(INPUT_PREFIX)?;
        }
        out.write_str(self.name())
    }
}

/// What conditions are judged by at one moment: a window of the cache, its memory over time, and
/// what was pushed from outside.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The window that rates and percentiles are of.
    pub window: WindowStats,
    /// Memory of the process over time, latest first.
    pub(crate) memory: Vec<(Millis, u64)>,
    /// What was pushed from outside, by name.
    pub(crate) inputs: Vec<(String, f64)>,
}

impl View {
    /// A view of a window alone.
    pub fn of(window: WindowStats) -> Self {
        Self { window, ..Self::default() }
    }

    /// The same with rates and percentiles of one side of a split cache. What has no side stays the
    /// cache's.
    #[must_use]
    pub fn of_side(mut self, side: &WindowStats) -> Self {
        self.window = WindowStats {
            asked: side.asked,
            covered: side.covered,
            requests: side.requests,
            hits: side.hits,
            failures: side.failures,
            late: side.late,
            loads: side.loads,
            latency: side.latency.clone(),
            ..self.window
        };
        self
    }

    /// Adds or replaces an input from outside; 1 is true and 0 is false.
    #[must_use]
    pub fn with_input(mut self, name: &str, value: f64) -> Self {
        self.inputs.retain(|(known, _)| known != name);
        self.inputs.push((name.to_owned(), value));
        self
    }

    /// Adds the memory of the process over time, latest first.
    #[must_use]
    pub(crate) fn with_memory(mut self, memory: Vec<(Millis, u64)>) -> Self {
        self.memory = memory;
        self
    }

    /// The value of a measure; `None` where there is no data: no traffic, nothing known yet,
    /// nothing pushed. `over` is the span for growth.
    ///
    /// Ratios are 0 to 1, times are seconds, sizes bytes, growth bytes an hour, truths 0 or 1.
    pub fn value(&self, measure: &Measure, over: Duration) -> Option<f64> {
        let window = &self.window;
        let share = |part: u64, whole: u64| (whole > 0).then(|| part as f64 / whole as f64);
        let operations = window.operations();
        match measure {
            Measure::Availability => share(operations - window.failures, operations),
            Measure::ErrorRate => {
                share(window.failures.saturating_add(window.late).min(operations), operations)
            }
            Measure::HitRate => share(window.hits.min(window.requests), window.requests),
            Measure::MissRate => {
                share(window.requests.saturating_sub(window.hits), window.requests)
            }
            Measure::TierErrorRate => share(window.tier_errors, window.tier_reads),
            Measure::LatencyP50 => latency(&window.latency, window.latency.p50),
            Measure::LatencyP95 => latency(&window.latency, window.latency.p95),
            Measure::LatencyP99 => latency(&window.latency, window.latency.p99),
            // Whether a tier answers is known without traffic.
            Measure::BackendAvailable => Some(f64::from(u8::from(window.available))),
            Measure::MemoryUsage => Some(window.bytes as f64),
            Measure::ProcessMemory => {
                (window.resident_bytes > 0).then_some(window.resident_bytes as f64)
            }
            Measure::MemoryGrowthRate => growth(&self.memory, over.max(LEAST_GROWTH_SPAN)),
            Measure::CpuUsage => window.processor_share(),
            Measure::Throughput => window.throughput(),
            Measure::Input(name) => {
                self.inputs.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
            }
        }
    }

    /// The bound that a share of memory is of.
    pub(crate) fn memory_limit(&self) -> Option<u64> {
        self.window.bytes_limit
    }
}

fn latency(summary: &LatencySummary, value: Duration) -> Option<f64> {
    (summary.count > 0).then_some(value.as_secs_f64())
}

/// The slope of the straight line through what the memory was in the latest `over`, by least
/// squares, in bytes an hour; `None` before [`LEAST_GROWTH_SPAN`] of it is known.
fn growth(memory: &[(Millis, u64)], over: Duration) -> Option<f64> {
    let (latest, _) = memory.first()?;
    let begin = latest.0.saturating_sub(u64::try_from(over.as_millis()).unwrap_or(u64::MAX));
    let points: Vec<(f64, f64)> = memory
        .iter()
        .take_while(|(at, _)| at.0 >= begin)
        .map(|(at, bytes)| ((latest.0 - at.0) as f64 / -3_600_000.0, *bytes as f64))
        .collect();
    let covered = -points.last()?.0;
    if covered < LEAST_GROWTH_SPAN.as_secs_f64() / 3600.0 {
        return None;
    }
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (hours, bytes) = (mean(|point| point.0), mean(|point| point.1));
    let mixed: f64 = points.iter().map(|point| (point.0 - hours) * (point.1 - bytes)).sum();
    let square: f64 = points.iter().map(|point| (point.0 - hours).powi(2)).sum();
    (square > 0.0).then(|| mixed / square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_their_other_names_are_one_measure() {
        for (one, other) in [
            ("latency_p95", "p95_latency"),
            ("hit_rate", "cache_hit_ratio"),
            ("latency_p50", "p50_latency"),
        ] {
            assert_eq!(Measure::parse(one), Measure::parse(other));
            assert_eq!(Measure::parse(other).unwrap().name(), one);
        }
        assert_eq!(Measure::parse("hit_rte"), None);
        assert_eq!(Measure::parse("input.incidents"), Some(Measure::Input("incidents".into())));
        for wrong in ["input.", "input.a b", "input.7", "incidents"] {
            assert_eq!(Measure::parse(wrong), None, "{wrong}");
        }
        for name in Measure::names() {
            assert!(Measure::parse(name).is_some_and(|measure| !measure.name().is_empty()));
        }
    }

    #[test]
    fn without_traffic_there_is_no_data() {
        let view = View::default();
        for measure in Measure::INDICATORS {
            assert_eq!(view.value(&measure, Duration::ZERO), None, "{measure}");
        }
        assert_eq!(view.value(&Measure::Throughput, Duration::ZERO), None);
    }

    #[test]
    fn an_error_is_a_failure_or_a_late_answer_and_availability_counts_failures_only() {
        let window = WindowStats { requests: 1000, failures: 4, late: 6, ..Default::default() };
        let view = View::of(window);
        let value = |measure| view.value(&measure, Duration::ZERO).unwrap();
        assert_eq!(value(Measure::Availability), 0.996);
        assert_eq!(value(Measure::ErrorRate), 0.010);
    }

    #[test]
    fn growth_is_the_slope_by_least_squares() {
        let minutes = |count: u64, bytes: fn(u64) -> u64| {
            (0..=count).rev().map(|at| (Millis(at * 60_000), bytes(at))).collect::<Vec<_>>()
        };
        let hour = Duration::from_secs(3600);
        let of = |memory: Vec<(Millis, u64)>| growth(&memory, hour);
        // 12 MB an hour, under a saw of 4 MB.
        let leak = minutes(60, |at| (100 << 20) + at * (12 << 20) / 60 + (at % 2) * (4 << 20));
        let found = of(leak).unwrap() / (1 << 20) as f64;
        assert!((found - 12.0).abs() < 0.2, "{found}");
        let steady = of(minutes(60, |at| (100 << 20) + (at % 2) * (4 << 20))).unwrap();
        assert!(steady.abs() < (1 << 20) as f64 / 4.0, "{steady}");
        assert_eq!(of(minutes(4, |at| at)), None, "four minutes tell nothing");
        // Only the latest hour counts.
        let late = minutes(120, |at| if at < 60 { at << 20 } else { 60 << 20 });
        assert_eq!(of(late), Some(0.0));
    }

    #[test]
    fn values_are_written_with_their_units() {
        for (measure, value, written) in [
            (Measure::ErrorRate, 0.005, "0.5%"),
            (Measure::LatencyP95, 0.1, "100ms"),
            (Measure::MemoryUsage, 157_286_400.0, "150MB"),
            (Measure::MemoryGrowthRate, 12_582_912.0, "12MB/hour"),
            (Measure::BackendAvailable, 0.0, "false"),
            (Measure::Throughput, 94.25, "94.25/s"),
            (Measure::Input("incidents".into()), 3.0, "3"),
        ] {
            assert_eq!(measure.write(value), written);
        }
    }
}

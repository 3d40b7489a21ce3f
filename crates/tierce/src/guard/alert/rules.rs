//! Alerts and objectives as rules of Prometheus, for those who have one.
//!
//! Measures become recording rules over the metrics that
//! [`to_prometheus`](crate::to_prometheus) writes, one series a cache; alerts are written over
//! those, so that the arithmetic of pending and firing is the same as here. What only the library
//! knows (inputs, processor and memory of the process) has no rule and is left out; a comment says
//! so.

use std::{fmt::Write as _, time::Duration};

use super::AlertRule;
use crate::{
    guard::{
        condition::Condition,
        measure::Measure,
        slo::{BURNS, BurnSeverity, Objectives},
    },
    units::write_span,
};

/// The window of rates and percentiles, as [`Guard`](crate::guard) evaluates by default.
const WINDOW: &str = "1m";

/// The rate of a counter over a window, summed by cache.
fn rate(metric: &str, window: &str) -> String {
    format!("sum by (cache) (rate({metric}[{window}]))")
}

/// Reads below L1 are in one histogram, hits of L1 in another.
fn bucket_rate(window: &str, le: &str) -> String {
    let names = "tierce_operation_duration_seconds_bucket|tierce_tier_duration_seconds_bucket";
    let by = if le.is_empty() { "cache, le" } else { "cache" };
    format!("sum by ({by}) (rate({{__name__=~\"{names}\",tier=~\"|L1\"{le}}}[{window}]))")
}

fn requests(window: &str) -> String {
    rate("tierce_requests_total", window)
}

fn failures(window: &str) -> String {
    rate("tierce_operation_errors_total{op=\"get\"}", window)
}

/// A sum that is 0, not absent, where there is none of the second.
fn plus(one: &str, other: &str) -> String {
    format!("({one} + ({other} or {one} * 0))")
}

fn errors(window: &str) -> String {
    plus(&failures(window), &rate("tierce_tier_errors_total{kind=\"timeout\"}", window))
}

fn hits(window: &str) -> String {
    rate("tierce_requests_total{result=\"hit\"}", window)
}

/// The expression of a measure, or `None` where only the library knows it.
fn expression(measure: &Measure, window: &str) -> Option<String> {
    let requests = requests(window);
    let text = match measure {
        Measure::Availability => format!("1 - {} / {requests}", failures(window)),
        Measure::ErrorRate => format!("clamp_max({} / {requests}, 1)", errors(window)),
        Measure::HitRate => format!("{} / {requests}", hits(window)),
        Measure::MissRate => format!("1 - {} / {requests}", hits(window)),
        Measure::LatencyP50 | Measure::LatencyP95 | Measure::LatencyP99 => {
            format!("histogram_quantile({}, {})", measure.quantile()?, bucket_rate(window, ""))
        }
        Measure::BackendAvailable => "min by (cache) (tierce_tier_available)".to_owned(),
        Measure::MemoryUsage => "sum by (cache) (tierce_size_bytes{tier=\"L1\"})".to_owned(),
        Measure::Throughput => requests,
        _ => return None,
    };
    Some(text)
}

/// The series in which a measure is recorded.
fn series(measure: &Measure) -> String {
    format!("tierce:{}:{WINDOW}", measure.name())
}

/// The expression that is true while a condition holds.
fn condition_expression(condition: &Condition) -> Option<String> {
    expression(condition.measure(), WINDOW)?;
    let (operator, limit) = (condition.comparison().as_str(), condition.limit());
    let mut left = series(condition.measure());
    if condition.is_of_bound() {
        let bound = "sum by (cache) (tierce_size_limit_bytes{tier=\"L1\"})";
        left = format!("{left} / {bound}");
    }
    Some(format!("{left} {operator} {limit}"))
}

/// Text for a YAML scalar in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Alerts as a file of Prometheus rules, with the recording rules that they need.
pub fn alerting<'a>(rules: impl IntoIterator<Item = &'a AlertRule>) -> String {
    let mut out = String::from("groups:\n  - name: tierce-measures\n    rules:\n");
    // Writing to a String cannot fail; the results are ignored here and below for that.
    let mut recorded: Vec<Measure> = Vec::new();
    let (mut alerts, mut without) = (String::new(), String::new());
    for rule in rules {
        let measure = rule.condition.measure();
        let Some(condition) = condition_expression(&rule.condition) else {
            let _ = writeln!(without, "# {}: {} is known to the library only", rule.name, measure);
            continue;
        };
        if !recorded.contains(measure) {
            recorded.push(measure.clone());
            record(
                &mut out,
                &series(measure),
                &expression(measure, WINDOW).unwrap_or_default(),
                &[],
            );
        }
        let _ = writeln!(alerts, "      - alert: {}", rule.name);
        let _ = writeln!(alerts, "        expr: {}", quoted(&condition));
        let _ = writeln!(alerts, "        for: {}", write_span(rule.duration));
        if !rule.keep_firing_for.is_zero() {
            let _ =
                writeln!(alerts, "        keep_firing_for: {}", write_span(rule.keep_firing_for));
        }
        let _ = writeln!(alerts, "        labels:\n          severity: {}", rule.severity.as_str());
        let summary = quoted(&rule.condition.to_string());
        let _ = writeln!(alerts, "        annotations:\n          summary: {summary}");
    }
    if recorded.is_empty() {
        return format!("{without}groups: []\n");
    }
    format!("{without}{out}  - name: tierce-alerts\n    rules:\n{alerts}")
}

fn record(out: &mut String, series: &str, expression: &str, labels: &[(&str, &str)]) {
    let _ = writeln!(out, "      - record: {series}\n        expr: {}", quoted(expression));
    if !labels.is_empty() {
        let _ = writeln!(out, "        labels:");
        for (name, value) in labels {
            let _ = writeln!(out, "          {name}: {}", quoted(value));
        }
    }
}

/// The share of bad operations of an objective.
fn bad_ratio(condition: &Condition, window: &str) -> Option<String> {
    let requests = requests(window);
    match condition.measure() {
        Measure::Availability => Some(format!("{} / {requests}", failures(window))),
        Measure::ErrorRate => Some(format!("{} / {requests}", errors(window))),
        Measure::HitRate | Measure::MissRate => Some(format!("1 - {} / {requests}", hits(window))),
        measure => {
            measure.quantile()?;
            let within = bucket_rate(window, &format!(",le=\"{}\"", condition.limit()));
            let all = bucket_rate(window, ",le=\"+Inf\"");
            Some(format!("1 - {within} / {all}"))
        }
    }
}

/// Objectives as a file of Prometheus rules: the share of bad operations over each window, and
/// alerts on burn rates.
pub fn objectives(set: &Objectives) -> String {
    let mut out = String::from("groups:\n  - name: tierce-slo-errors\n    rules:\n");
    let mut alerts = String::new();
    let mut windows: Vec<u64> =
        BURNS.iter().flat_map(|(_, long, short, _)| [*long, *short]).collect();
    windows.sort_unstable();
    windows.dedup();
    let span = |seconds: u64| write_span(Duration::from_secs(seconds));
    for objective in set.objectives() {
        let condition = objective.condition();
        let Some(budget) = objective.budget() else { continue };
        let name = condition.measure().name();
        let labels = [("slo", name), ("objectives", set.name())];
        for window in &windows {
            let Some(ratio) = bad_ratio(condition, &span(*window)) else { continue };
            record(
                &mut out,
                &format!("slo:sli_error:ratio_rate{}", span(*window)),
                &ratio,
                &labels,
            );
        }
        for severity in [BurnSeverity::Page, BurnSeverity::Ticket] {
            let burns = BURNS.iter().filter(|burn| burn.0 == severity);
            let terms = burns.map(|(_, long, short, factor)| {
                let above = |window: u64| {
                    let series = format!("slo:sli_error:ratio_rate{}", span(window));
                    let limit = factor * budget;
                    format!("{series}{{slo=\"{name}\",objectives=\"{}\"}} > {limit}", set.name())
                };
                format!("({} and {})", above(*long), above(*short))
            });
            let expression = terms.collect::<Vec<_>>().join(" or ");
            let (label, end) = match severity {
                BurnSeverity::Page => ("critical", "Page"),
                BurnSeverity::Ticket => ("warning", "Ticket"),
            };
            let _ = writeln!(alerts, "      - alert: TierceBudgetBurns{}", end);
            let _ = writeln!(alerts, "        expr: {}", quoted(&expression));
            let _ = writeln!(
                alerts,
                "        labels:\n          severity: {label}\n          slo: {name}"
            );
            let summary = quoted(&format!("{condition}: the budget is spent too fast"));
            let _ = writeln!(alerts, "        annotations:\n          summary: {summary}");
        }
    }
    format!("{out}  - name: tierce-slo-alerts\n    rules:\n{alerts}")
}

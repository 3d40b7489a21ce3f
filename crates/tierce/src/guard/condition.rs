//! Conditions as alerts, gates and triggers write them: `error_rate > 1%`,
//! `backend_available == false`, `memory_growth_rate > 10MB/hour`.
//!
//! ```text
//!   condition  = name operator limit
//!   name       = one of Measure, or "input." and a name
//!   operator   = ">" | ">=" | "<" | "<=" | "==" | "!="
//!   limit      = number unit | "true" | "false"
//!   unit       = "%" | "us" | "ms" | "s" | "B" | "KB" | "MB" | "GB" | "MB/hour" | "/s" | "RPS"
//! ```
//! A number without a unit where one is needed is refused, as `1` has been read as 1 % and as all.
//! Sizes are powers of 1024, as everywhere in tierce.
//!
//! Limits of percentiles that are a threshold of the histogram are judged by exact counts: p95 is
//! above 100 ms if fewer than 95 % of the reads took at most 100 ms. For others the percentile is
//! known within 1 %.

use std::{fmt, str::FromStr, time::Duration};

use super::measure::{Measure, Unit, View};
use crate::error::{Error, ErrorKind, Result};

/// How a value is compared with a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `>`
    Above,
    /// `>=`
    AtLeast,
    /// `<`
    Below,
    /// `<=`
    AtMost,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
}

/// Longest first, so that `>=` is not read as `>`.
const OPERATORS: [(&str, Comparison); 6] = [
    (">=", Comparison::AtLeast),
    ("<=", Comparison::AtMost),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    (">", Comparison::Above),
    ("<", Comparison::Below),
];

impl Comparison {
    /// The operator.
    pub fn as_str(self) -> &'static str {
        OPERATORS.iter().find(|(_, known)| *known == self).map_or("", |(text, _)| text)
    }

    fn holds(self, value: f64, limit: f64) -> bool {
        match self {
            Self::Above => value > limit,
            Self::AtLeast => value >= limit,
            Self::Below => value < limit,
            Self::AtMost => value <= limit,
            Self::Equal => value == limit,
            Self::NotEqual => value != limit,
        }
    }
}

/// A measure, an operator and a limit.
///
/// ```
/// use tierce::guard::Condition;
/// let condition: Condition = "p95_latency > 100ms".parse()?;
/// assert_eq!(condition.to_string(), "latency_p95 > 100ms");
/// assert!("p95_latency > 100".parse::<Condition>().is_err());
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    measure: Measure,
    comparison: Comparison,
    /// In the unit of [`View::value`].
    limit: f64,
    /// True for memory against a percentage: the value is the share of the bound.
    of_bound: bool,
    /// As written, in one spelling.
    limit_text: String,
}

impl Condition {
    /// What is judged.
    pub fn measure(&self) -> &Measure {
        &self.measure
    }

    /// How it is compared with the limit.
    pub fn comparison(&self) -> Comparison {
        self.comparison
    }

    /// The limit: ratios are 0 to 1, times seconds, sizes bytes, truths 0 or 1.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// The value that the condition compares; `None` where there is no data. `over` is the span
    /// for growth.
    pub fn value(&self, view: &View, over: Duration) -> Option<f64> {
        let value = view.value(&self.measure, over)?;
        if self.of_bound { Some(value / view.memory_limit()? as f64) } else { Some(value) }
    }

    /// Whether it holds; `None` where there is no data.
    pub fn holds(&self, view: &View, over: Duration) -> Option<bool> {
        let value = self.value(view, over)?;
        if let Some(side) = self.exactly(view) {
            return Some(side);
        }
        Some(self.comparison.holds(value, self.limit))
    }

    /// By exact counts, where the limit is a threshold of the histogram.
    fn exactly(&self, view: &View) -> Option<bool> {
        let quantile = self.measure.quantile()?;
        let latency = &view.window.latency;
        let limit = Duration::from_secs_f64(self.limit);
        let threshold = latency.thresholds.iter().find(|threshold| threshold.limit == limit)?;
        let needed = (quantile * latency.count as f64).ceil();
        let is_at_most = threshold.count as f64 >= needed;
        match self.comparison {
            Comparison::Above => Some(!is_at_most),
            Comparison::AtMost => Some(is_at_most),
            // Latencies are whole nanoseconds: one that is exactly the limit is next to never.
            Comparison::Below => Some(is_at_most),
            Comparison::AtLeast => Some(!is_at_most),
            Comparison::Equal | Comparison::NotEqual => None,
        }
    }

    /// A value as people read it.
    pub fn write(&self, value: f64) -> String {
        if self.of_bound { Measure::HitRate.write(value) } else { self.measure.write(value) }
    }

    pub(crate) fn is_of_bound(&self) -> bool {
        self.of_bound
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {} {}", self.measure, self.comparison.as_str(), self.limit_text)
    }
}

impl FromStr for Condition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |rule: String| {
            Error::new(ErrorKind::Config, format!("condition {:?}: {rule}", text.trim()))
        };
        let found = OPERATORS
            .iter()
            .filter_map(|(operator, comparison)| {
                Some((text.find(operator)?, operator, *comparison))
            })
            // The first operator; of two at one place, the longer.
            .min_by_key(|(at, operator, _)| (*at, 2 - operator.len()));
        let Some((at, operator, comparison)) = found else {
            return Err(refuse(
                "must be a name, an operator (>, >=, <, <=, ==, !=) and a limit, such as \
                 error_rate > 1%"
                    .to_owned(),
            ));
        };
        let (name, limit_text) = (text[..at].trim(), text[at + operator.len()..].trim());
        let measure = Measure::parse(name).ok_or_else(|| {
            let known = Measure::names().collect::<Vec<_>>().join(", ");
            refuse(format!("{name:?} is no measure: must be one of {known}, or input.NAME"))
        })?;
        let limit = Limit::parse(limit_text).ok_or_else(|| {
            refuse(format!("{limit_text:?} is no number with a unit, nor true or false"))
        })?;
        let of_bound = measure == Measure::MemoryUsage && limit.unit == Some(Unit::Ratio);
        if !of_bound && !limit.suits(measure.unit()) {
            return Err(refuse(format!("{limit_text:?} must be {}", example(measure.unit()))));
        }
        if measure.unit() == Unit::Truth
            && !matches!(comparison, Comparison::Equal | Comparison::NotEqual)
        {
            return Err(refuse("true and false can only be compared by == and !=".to_owned()));
        }
        let limit_text = limit_text.split_ascii_whitespace().collect();
        Ok(Self { measure, comparison, limit: limit.value, of_bound, limit_text })
    }
}

/// What limits of a unit look like.
fn example(unit: Unit) -> &'static str {
    match unit {
        Unit::Ratio => "a percentage from 0% to 100%, such as 0.5%",
        Unit::Time => "a time with its unit, such as 100ms",
        Unit::Size => "a size with its unit, such as 150MB",
        Unit::Growth => "a size an hour, such as 10MB/hour",
        Unit::Rate => "a rate, such as 50 RPS or 50/s",
        Unit::Truth => "true or false",
        Unit::Any => "a number, a percentage, true or false",
    }
}

/// A number with what its unit says.
struct Limit {
    value: f64,
    /// `None` for a bare number.
    unit: Option<Unit>,
}

/// Units of limits: in what the value is counted, and by which power of ten and which factor it is
/// multiplied.
const UNITS: [(&str, Unit, i32, f64); 17] = [
    ("%", Unit::Ratio, -2, 1.0),
    ("us", Unit::Time, -6, 1.0),
    ("ms", Unit::Time, -3, 1.0),
    ("s", Unit::Time, 0, 1.0),
    ("B", Unit::Size, 0, 1.0),
    ("KB", Unit::Size, 0, 1024.0),
    ("KiB", Unit::Size, 0, 1024.0),
    ("MB", Unit::Size, 0, 1_048_576.0),
    ("MiB", Unit::Size, 0, 1_048_576.0),
    ("GB", Unit::Size, 0, 1_073_741_824.0),
    ("GiB", Unit::Size, 0, 1_073_741_824.0),
    ("KB/hour", Unit::Growth, 0, 1024.0),
    ("MB/hour", Unit::Growth, 0, 1_048_576.0),
    ("GB/hour", Unit::Growth, 0, 1_073_741_824.0),
    ("/s", Unit::Rate, 0, 1.0),
    ("RPS", Unit::Rate, 0, 1.0),
    ("rps", Unit::Rate, 0, 1.0),
];

impl Limit {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "true" => return Some(Self { value: 1.0, unit: Some(Unit::Truth) }),
            "false" => return Some(Self { value: 0.0, unit: Some(Unit::Truth) }),
            _ => {}
        }
        let digits = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, unit) = text.split_at(digits);
        let unit = unit.trim_start();
        let times = |exponent: i32, factor: f64| {
            // The exponent as text: 99.99 / 100 is not the double nearest to 0.9999.
            Some(format!("{number}e{exponent}").parse::<f64>().ok()? * factor)
        };
        if unit.is_empty() {
            return Some(Self { value: times(0, 1.0)?, unit: None });
        }
        let (_, kind, exponent, factor) = UNITS.iter().find(|(name, ..)| *name == unit)?;
        Some(Self { value: times(*exponent, *factor)?, unit: Some(*kind) })
    }

    fn suits(&self, unit: Unit) -> bool {
        match unit {
            Unit::Any => matches!(self.unit, None | Some(Unit::Ratio | Unit::Truth)),
            Unit::Ratio => self.unit == Some(Unit::Ratio) && (0.0..=1.0).contains(&self.value),
            needed => self.unit == Some(needed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Histogram, LatencySummary, WindowStats};

    fn condition(text: &str) -> Condition {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn holds(text: &str, view: &View) -> Option<bool> {
        condition(text).holds(view, Duration::ZERO)
    }

    fn latencies(values: impl IntoIterator<Item = u64>) -> LatencySummary {
        let histogram = Histogram::default();
        values.into_iter().for_each(|value| histogram.record(value));
        histogram.snapshot().summary()
    }

    /// Every condition of the two source documents, with what must come out.
    #[test]
    fn the_conditions_of_the_sources_are_understood() {
        for (text, limit) in [
            ("error_rate > 1%", 0.01),
            ("latency_p95 > 100ms", 0.1),
            ("hit_rate < 60%", 0.6),
            ("backend_available == false", 0.0),
            ("p95_latency > 10ms", 0.01),
            ("cache_hit_ratio < 60%", 0.6),
            ("memory_growth_rate > 10MB/hour", 10_485_760.0),
            ("p95_latency > 50ms", 0.05),
            ("error_rate > 5%", 0.05),
            ("cache_hit_ratio < 30%", 0.3),
            ("memory_usage > 500MB", 524_288_000.0),
            ("error_rate < 0.5%", 0.005),
            ("throughput > 50 RPS", 50.0),
            ("availability > 99.99%", 0.9999),
            ("cpu_usage > 50%", 0.5),
            ("latency_p99 < 200ms", 0.2),
        ] {
            assert_eq!(condition(text).limit(), limit, "{text}");
            let written = condition(text).to_string();
            assert_eq!(condition(&written), condition(text), "{written}");
        }
    }

    #[test]
    fn what_is_no_condition_is_refused_with_the_rule() {
        for (wrong, rule) in [
            ("", "must be a name, an operator"),
            ("error_rate", "must be a name, an operator"),
            ("error_rat > 1%", "is no measure"),
            ("error_rate > 1", "must be a percentage"),
            ("error_rate > 101%", "must be a percentage"),
            ("error_rate > 1ms", "must be a percentage"),
            ("latency_p95 > 100", "must be a time with its unit"),
            ("latency_p95 > ms", "is no number"),
            ("latency_p95 > 1.2.3ms", "is no number"),
            ("latency_p95 > -1ms", "is no number"),
            ("latency_p95 > 10 minutes", "is no number"),
            ("memory_usage > 10MB/hour", "must be a size"),
            ("memory_growth_rate > 10MB", "must be a size an hour"),
            ("backend_available == 1", "must be true or false"),
            ("backend_available > false", "only be compared by =="),
            ("input.approval == ok", "is no number"),
        ] {
            let error = wrong.parse::<Condition>().unwrap_err().to_string();
            assert!(error.contains(rule), "{wrong}: {error}");
        }
    }

    #[test]
    fn operators_compare_as_they_are_written() {
        let view = View::of(WindowStats { requests: 100, hits: 70, ..Default::default() });
        for (text, wanted) in [
            ("hit_rate > 70%", false),
            ("hit_rate >= 70%", true),
            ("hit_rate < 70%", false),
            ("hit_rate <= 70%", true),
            ("hit_rate == 70%", true),
            ("hit_rate != 70%", false),
            ("hit_rate>69.9%", true),
        ] {
            assert_eq!(holds(text, &view), Some(wanted), "{text}");
        }
    }

    #[test]
    fn no_traffic_is_no_data_and_no_verdict() {
        let view = View::default();
        for text in ["error_rate > 1%", "latency_p95 > 1ms", "hit_rate < 60%", "input.x == 1"] {
            assert_eq!(holds(text, &view), None, "{text}");
        }
    }

    /// 100.2 ms lies in the bucket whose middle is below 100 ms.
    #[test]
    fn limits_that_are_thresholds_are_judged_by_exact_counts() {
        let slow = |share: u64| {
            let slow = (0..share).map(|_| 100_200_000);
            let fast = (0..100 - share).map(|_| 99_900_000);
            View::of(WindowStats { latency: latencies(slow.chain(fast)), ..Default::default() })
        };
        for (share, above) in [(0, false), (4, false), (5, false), (6, true), (100, true)] {
            assert_eq!(holds("latency_p95 > 100ms", &slow(share)), Some(above), "{share}");
            assert_eq!(holds("latency_p95 < 100ms", &slow(share)), Some(!above), "{share}");
        }
    }

    #[test]
    fn memory_in_percent_is_the_share_of_the_bound() {
        let mut window = WindowStats { bytes: 85, bytes_limit: Some(100), ..Default::default() };
        assert_eq!(holds("memory_usage > 80%", &View::of(window.clone())), Some(true));
        assert_eq!(holds("memory_usage > 95%", &View::of(window.clone())), Some(false));
        window.bytes_limit = None;
        assert_eq!(holds("memory_usage > 80%", &View::of(window)), None);
    }

    #[test]
    fn inputs_of_the_outside_are_judged_like_measures() {
        let view = View::default().with_input("incidents", 2.0).with_input("approved", 1.0);
        assert_eq!(holds("input.incidents > 0", &view), Some(true));
        assert_eq!(holds("input.approved == true", &view), Some(true));
        let view = view.with_input("incidents", 0.0);
        assert_eq!(holds("input.incidents > 0", &view), Some(false));
    }
}

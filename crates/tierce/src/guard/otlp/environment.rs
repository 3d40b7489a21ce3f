//! What the variables of OpenTelemetry say: `OTEL_*`, as its specification has them.
//!
//! They are read for what code and configuration leave out, as they may be meant for all exporters of
//! the process. What cannot be made sense of is left alone and told of (`OtlpOptions::warnings`), as
//! the specification wants it; so is what asks for something that is not done here.
//!
//! | variable | says |
//! |---|---|
//! | `OTEL_EXPORTER_OTLP_ENDPOINT` | where; `/v1/metrics` and `/v1/traces` are put behind it |
//! | `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT`, `..._TRACES_ENDPOINT` | the whole address of one of the two |
//! | `OTEL_EXPORTER_OTLP_HEADERS`, `..._METRICS_HEADERS`, `..._TRACES_HEADERS` | what goes along: `name=value,...` |
//! | `OTEL_EXPORTER_OTLP_TIMEOUT`, `..._METRICS_TIMEOUT`, `..._TRACES_TIMEOUT` | milliseconds that a message may take |
//! | `OTEL_EXPORTER_OTLP_CERTIFICATE` | PEM file of the certificates that are trusted |
//! | `OTEL_METRIC_EXPORT_INTERVAL` | milliseconds from one message of metrics to the next |
//! | `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES` | who sends |
//! | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | which traces are sent: `always_on`, `always_off`, `traceidratio`, each also with `parentbased_` before it |
//! | `OTEL_SDK_DISABLED` | `true`: nothing is sent |

use std::{collections::HashMap, ffi::OsString, time::Duration};

use super::options::{OtlpOptions, PERIODS, Signal, TIMEOUTS};
use crate::guard::pairs::pairs;

/// What asks for other than what is done here: which variable, and what of its values is done.
const ONLY: [(&str, &[&str]); 8] = [
    ("OTEL_EXPORTER_OTLP_PROTOCOL", &["http/protobuf"]),
    ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", &["http/protobuf"]),
    ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", &["http/protobuf"]),
    ("OTEL_EXPORTER_OTLP_COMPRESSION", &["none"]),
    ("OTEL_EXPORTER_OTLP_METRICS_COMPRESSION", &["none"]),
    ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", &["none"]),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", &["cumulative"]),
    ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", &["explicit_bucket_histogram"]),
];

struct Variables {
    known: HashMap<String, String>,
    warnings: Vec<String>,
}

impl Variables {
    fn get(&self, name: &str) -> Option<String> {
        self.known.get(name).cloned()
    }

    fn warn(&mut self, name: &str, rule: &str) {
        self.warnings.push(format!("{name}: {rule}: left alone"));
    }

    /// Whole milliseconds within these bounds.
    fn span(&mut self, name: &str, within: (Duration, Duration)) -> Option<Duration> {
        let text = self.get(name)?;
        let span = text.parse().ok().map(Duration::from_millis);
        let span = span.filter(|span| (within.0..=within.1).contains(span));
        if span.is_none() {
            let (least, most) = (within.0.as_millis(), within.1.as_millis());
            let rule =
                format!("{text:?} must be whole milliseconds without a unit, {least} to {most}");
            self.warn(name, &rule);
        }
        span
    }

    fn list(&mut self, name: &str) -> Option<Vec<(String, String)>> {
        let text = self.get(name)?;
        let mut list = Vec::new();
        for pair in pairs(&text) {
            match pair {
                Ok(pair) => list.push(pair),
                Err(rule) => self.warn(name, rule),
            }
        }
        Some(list)
    }

    fn signal(&mut self, name: &str, path: &str) -> Signal {
        let own = |what: &str| format!("OTEL_EXPORTER_OTLP_{name}_{what}");
        let all = |what: &str| format!("OTEL_EXPORTER_OTLP_{what}");
        let base = self.get(&all("ENDPOINT"));
        let url = base.map(|base| format!("{}{path}", base.trim_end_matches('/')));
        Signal {
            url: self.get(&own("ENDPOINT")).or(url),
            headers: match self.list(&own("HEADERS")) {
                Some(headers) => headers,
                None => self.list(&all("HEADERS")).unwrap_or_default(),
            },
            timeout: match self.span(&own("TIMEOUT"), TIMEOUTS) {
                Some(timeout) => Some(timeout),
                None => self.span(&all("TIMEOUT"), TIMEOUTS),
            },
            ca_file: self
                .get(&own("CERTIFICATE"))
                .or(self.get(&all("CERTIFICATE")))
                .map(Into::into),
        }
    }

    /// The share of traces that are sent.
    fn sampled(&mut self) -> Option<f64> {
        let name = "OTEL_TRACES_SAMPLER";
        let sampler = self.get(name)?;
        match sampler.strip_prefix("parentbased_").unwrap_or(&sampler) {
            "always_on" => Some(1.0),
            "always_off" => Some(0.0),
            "traceidratio" => {
                let argument = "OTEL_TRACES_SAMPLER_ARG";
                let Some(text) = self.get(argument) else { return Some(1.0) };
                let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
                if ratio.is_none() {
                    self.warn(argument, &format!("{text:?} must be a number from 0 to 1"));
                }
                ratio.or(Some(1.0))
            }
            _ => {
                let rule = format!("{sampler:?} must be always_on, always_off or traceidratio");
                self.warn(name, &rule);
                None
            }
        }
    }
}

/// Options as these variables say.
pub(super) fn read(variables: impl IntoIterator<Item = (OsString, OsString)>) -> OtlpOptions {
    let text = |(name, value): (OsString, OsString)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        let value = value.trim().to_owned();
        // As the specification has it, one that is empty is not set.
        (name.starts_with("OTEL_") && !value.is_empty()).then_some((name, value))
    };
    let known = variables.into_iter().filter_map(text).collect();
    let mut variables = Variables { known, warnings: Vec::new() };
    let metrics = variables.signal("METRICS", super::options::METRICS_PATH);
    let traces = variables.signal("TRACES", super::options::TRACES_PATH);
    let mut options = OtlpOptions::of(metrics, traces);
    options.period = variables.span("OTEL_METRIC_EXPORT_INTERVAL", PERIODS);
    options.sampled = variables.sampled().unwrap_or(1.0);
    let disabled = variables.get("OTEL_SDK_DISABLED");
    options.is_disabled = disabled.is_some_and(|text| text.eq_ignore_ascii_case("true"));
    for (key, value) in variables.list("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default() {
        options.resource.set(&key, &value);
    }
    if let Some(name) = variables.get("OTEL_SERVICE_NAME") {
        options.resource.set("service.name", &name);
    }
    for (name, done) in ONLY {
        if let Some(text) = variables.get(name)
            && !done.iter().any(|known| text.eq_ignore_ascii_case(known))
        {
            variables.warn(name, &format!("{text:?} is not done here, only {}", done.join(", ")));
        }
    }
    // One for both signals is told once.
    let mut warnings: Vec<String> = Vec::new();
    for warning in variables.warnings {
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
    }
    options.warnings = warnings;
    options
}

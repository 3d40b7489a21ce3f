//! A receiver of OTLP that is not ours, and what of its messages tests look at.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;
use tierce::guard::otlp::OtlpOptions;

use crate::{server::free_port, web::Program};

/// No variables of OpenTelemetry.
pub const NOTHING: [(&str, &str); 0] = [];

/// A server that takes messages apart by the official messages of OpenTelemetry, and answers as it is
/// told to (`tests/python/otlp_receiver.py`); gone when dropped.
#[derive(Debug)]
pub struct Receiver(Program);

#[allow(clippy::unwrap_used)]
impl Receiver {
    /// Starts one at a port of its own.
    ///
    /// # Panics
    /// If `scripts/setup.sh test` was not run, or it does not get ready.
    pub fn start() -> Self {
        Self::at(free_port())
    }

    /// Starts one at this port.
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub fn at(port: u16) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let python = root.join(".venv/bin/python");
        assert!(python.exists(), "scripts/setup.sh test makes .venv");
        let script = root.join("tests/python/otlp_receiver.py");
        let arguments = [script.to_str().unwrap(), "PORT"];
        Self(Program::start_at(port, python.to_str().unwrap(), &arguments, "/ready"))
    }

    /// Its endpoint.
    pub fn place(&self) -> String {
        format!("http://{}", self.0.address())
    }

    /// Options that send there, whatever the environment says.
    pub fn options(&self) -> OtlpOptions {
        OtlpOptions::from_env_vars(NOTHING).endpoint(self.place())
    }

    /// Says how requests are answered from now on, as the head of the script has it.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn behave(&self, how: &str) {
        self.0.ask(&format!("/behave?{how}")).unwrap();
    }

    /// What was sent so far, refused or not.
    ///
    /// # Panics
    /// If it does not answer, or was sent what is no message of OTLP.
    pub fn received(&self) -> Vec<Value> {
        let text = self.0.ask("/received").unwrap();
        let requests: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for request in &requests {
            assert_eq!(request["unknown"], false, "a field that the messages do not have");
            assert_eq!(request["headers"]["content-type"], "application/x-protobuf");
        }
        requests
    }

    /// The requests that were taken.
    pub fn taken(&self) -> Vec<Value> {
        self.received().into_iter().filter(|request| request["status"] == 200).collect()
    }

    /// The spans of the requests that were taken.
    ///
    /// # Panics
    /// As [`received`](Self::received).
    pub fn spans(&self) -> Vec<Value> {
        let taken = self.taken();
        let traces = taken.iter().filter(|request| request["path"] == "/v1/traces");
        let spans = traces.flat_map(|request| {
            let scope = &request["message"]["resourceSpans"][0]["scopeSpans"][0];
            scope["spans"].as_array().unwrap().clone()
        });
        spans.collect()
    }
}

/// Attributes that are all texts.
///
/// # Panics
/// If they are not.
#[allow(clippy::unwrap_used)]
pub fn texts(attributes: &Value) -> BTreeMap<&str, &str> {
    let Some(pairs) = attributes.as_array() else { return BTreeMap::new() };
    pairs
        .iter()
        .map(|pair| (&pair["key"], &pair["value"]["stringValue"]))
        .map(|(key, value)| (key.as_str().unwrap(), value.as_str().unwrap()))
        .collect()
}

/// The metrics of a request by name.
///
/// # Panics
/// If one stands there twice.
#[allow(clippy::unwrap_used)]
pub fn metrics(request: &Value) -> BTreeMap<&str, &Value> {
    let scope = &request["message"]["resourceMetrics"][0]["scopeMetrics"][0];
    assert_eq!(scope["scope"]["name"], "tierce");
    let all = scope["metrics"].as_array().unwrap();
    let named: BTreeMap<_, _> =
        all.iter().map(|metric| (metric["name"].as_str().unwrap(), metric)).collect();
    assert_eq!(named.len(), all.len(), "each metric stands once");
    named
}

/// The point of a metric with these attributes and no others.
///
/// # Panics
/// If there is none, or more than one.
#[allow(clippy::unwrap_used)]
pub fn point<'v>(metric: &'v Value, attributes: &[(&str, &str)]) -> &'v Value {
    let data = ["sum", "gauge", "histogram"].iter().find_map(|kind| metric.get(kind)).unwrap();
    let wanted: BTreeMap<&str, &str> = attributes.iter().copied().collect();
    let points = data["dataPoints"].as_array().unwrap().iter();
    let found: Vec<_> = points.filter(|point| texts(&point["attributes"]) == wanted).collect();
    assert_eq!(found.len(), 1, "{attributes:?} in {metric:#}");
    found[0]
}

/// A number of 64 bits, which the JSON of protobuf has as text.
///
/// # Panics
/// If it is none.
#[allow(clippy::unwrap_used)]
pub fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

/// How many operations of this kind a cache of this name had made when the request was sent.
pub fn operations(request: &Value, op: &str, cache: &str) -> u64 {
    let all = metrics(request);
    let attributes = [("tierce.cache", cache), ("tierce.op", op)];
    number(&point(all["tierce.operations"], &attributes)["asInt"])
}

//! [`OtlpOptions`]: where metrics and traces are sent, by whom, and how often.

use std::{
    ffi::OsString,
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use ureq::http::{HeaderName, HeaderValue};

use super::{
    batch::Batch,
    environment,
    export::Exporter,
    pusher::{Gather, Pusher},
    resource::Resource,
    spans::{OtlpLayer, OtlpTraces},
};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::{pairs::pairs, post},
};

/// Where a collector takes OTLP over HTTP, unless told otherwise.
const ENDPOINT: &str = "http://localhost:4318";
/// What is put behind an endpoint that is for both.
pub(super) const METRICS_PATH: &str = "/v1/metrics";
pub(super) const TRACES_PATH: &str = "/v1/traces";
/// From one message of metrics to the next, as the specification has it.
const PERIOD: Duration = Duration::from_secs(60);
/// How long a message may take, as the specification has it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Less is a load, more is no monitoring.
pub(super) const PERIODS: (Duration, Duration) =
    (Duration::from_millis(100), Duration::from_secs(3600));
/// Who needs longer is not there.
pub(super) const TIMEOUTS: (Duration, Duration) =
    (Duration::from_millis(1), Duration::from_secs(300));
/// Messages of metrics and of traces follow each other closely enough to keep their connection.
const CONNECTIONS: usize = 1;

/// What is said of one of the two that are sent.
#[derive(Clone, Default)]
pub(super) struct Signal {
    /// The whole address.
    pub(super) url: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) timeout: Option<Duration>,
    pub(super) ca_file: Option<PathBuf>,
}

/// Where metrics and traces are sent by OTLP over HTTP, by whom, and how often.
///
/// What is not set here is as the variables of OpenTelemetry say (`OTEL_EXPORTER_OTLP_ENDPOINT`,
/// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`,
/// `OTEL_METRIC_EXPORT_INTERVAL`, ...; docs/operations.md has all), else as its specification has it.
///
/// `Debug` and errors show hosts alone, and no headers.
#[derive(Clone)]
#[must_use = "options do nothing until a guard is started with them or traces are opened"]
pub struct OtlpOptions {
    metrics: Signal,
    traces: Signal,
    pub(super) period: Option<Duration>,
    pub(super) sampled: f64,
    pub(super) resource: Resource,
    pub(super) is_disabled: bool,
    pub(super) warnings: Vec<String>,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl OtlpOptions {
    /// What the variables of this process say.
    pub fn new() -> Self {
        Self::from_env_vars(std::env::vars_os())
    }

    /// What these variables say, in place of those of the process.
    pub fn from_env_vars<Name, Text>(variables: impl IntoIterator<Item = (Name, Text)>) -> Self
    where
        Name: Into<OsString>,
        Text: Into<OsString>,
    {
        environment::read(variables.into_iter().map(|(name, text)| (name.into(), text.into())))
    }

    pub(super) fn of(metrics: Signal, traces: Signal) -> Self {
        Self {
            metrics,
            traces,
            period: None,
            sampled: 1.0,
            resource: Resource::default(),
            is_disabled: false,
            warnings: Vec::new(),
        }
    }

    /// Sets where both are sent: `/v1/metrics` and `/v1/traces` are put behind it. Default:
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else `http://localhost:4318`.
    pub fn endpoint(mut self, url: impl AsRef<str>) -> Self {
        let base = url.as_ref().trim_end_matches('/');
        self.metrics.url = Some(format!("{base}{METRICS_PATH}"));
        self.traces.url = Some(format!("{base}{TRACES_PATH}"));
        self
    }

    /// Sets the whole address that metrics are sent to.
    pub fn metrics_endpoint(mut self, url: impl Into<String>) -> Self {
        self.metrics.url = Some(url.into());
        self
    }

    /// Sets the whole address that traces are sent to.
    pub fn traces_endpoint(mut self, url: impl Into<String>) -> Self {
        self.traces.url = Some(url.into());
        self
    }

    /// Sets a header that goes along with every message, such as one with a token; it takes the place
    /// of one of the same name. Default: those of `OTEL_EXPORTER_OTLP_HEADERS`.
    pub fn header(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        for signal in [&mut self.metrics, &mut self.traces] {
            signal.headers.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
            signal.headers.push((name.to_owned(), value.as_ref().to_owned()));
        }
        self
    }

    /// Sets all headers, in the form of `OTEL_EXPORTER_OTLP_HEADERS`: `name=value,...`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what is no such list; the list is not shown.
    pub fn headers(mut self, list: &str) -> Result<Self> {
        (self.metrics.headers, self.traces.headers) = (Vec::new(), Vec::new());
        for pair in pairs(list) {
            let (name, value) = pair.map_err(|rule| refuse(&format!("headers: {rule}")))?;
            self = self.header(name, value);
        }
        Ok(self)
    }

    /// Sets the distance of two messages of metrics, 100 ms to 1 h. Default:
    /// `OTEL_METRIC_EXPORT_INTERVAL`, else one minute.
    pub fn period(mut self, period: Duration) -> Self {
        self.period = Some(period);
        self
    }

    /// Sets how long a message may take in all, 1 ms to 5 min. Default: `OTEL_EXPORTER_OTLP_TIMEOUT`,
    /// else 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        (self.metrics.timeout, self.traces.timeout) = (Some(timeout), Some(timeout));
        self
    }

    /// Sets the PEM file of the only certificates that are trusted. Default:
    /// `OTEL_EXPORTER_OTLP_CERTIFICATE`, else Mozilla's roots.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        (self.metrics.ca_file, self.traces.ca_file) = (Some(path.clone()), Some(path));
        self
    }

    /// Sets the name of the service (`service.name`). Default: `OTEL_SERVICE_NAME`, else what
    /// `OTEL_RESOURCE_ATTRIBUTES` has, else that of the cache.
    pub fn service_name(self, name: impl AsRef<str>) -> Self {
        self.attribute("service.name", name)
    }

    /// Sets an attribute of the resource, such as `deployment.environment.name`. Default: those of
    /// `OTEL_RESOURCE_ATTRIBUTES`; `service.instance.id` is a random UUID of the process.
    pub fn attribute(mut self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.resource.set(name.as_ref(), value.as_ref());
        self
    }

    /// Sets the share of traces that are sent, 0 to 1; a span goes with that it is in. Default: as
    /// `OTEL_TRACES_SAMPLER` says, else all.
    pub fn sampled(mut self, share: f64) -> Self {
        self.sampled = share;
        self
    }

    /// What of the variables could not be made sense of or is not done here, and so was left alone. It
    /// is also told to the host's `tracing` subscriber where something is begun with these options.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Begins to send the spans of tierce: those that the layer sees, once it is added to the
    /// subscriber of the host. They are sent while the handle lives.
    ///
    /// ```
    /// use tierce::guard::otlp::OtlpOptions;
    /// use tracing_subscriber::layer::SubscriberExt as _;
    ///
    /// let (layer, traces) = OtlpOptions::new().endpoint("http://127.0.0.1:4318").traces()?;
    /// let subscriber = tracing_subscriber::registry().with(layer);
    /// tracing::subscriber::with_default(subscriber, || { /* the host's work */ });
    /// drop(traces); // sends what waits
    /// # Ok::<(), tierce::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the option, its value (unless it may be secret) and the rule.
    pub fn traces(self) -> Result<(OtlpLayer, OtlpTraces)> {
        if !(0.0..=1.0).contains(&self.sampled) {
            return Err(refuse(&format!("sampled = {}: must be from 0 to 1", self.sampled)));
        }
        let exporter = self.exporter(&self.traces, TRACES_PATH)?;
        self.warn();
        let sampled = if self.is_disabled { 0.0 } else { self.sampled };
        let batch = Batch::new(exporter, self.resource);
        Ok((OtlpLayer::new(batch.clone(), sampled), OtlpTraces::new(batch)))
    }

    /// Begins to send what is gathered: `None` where the variables say that nothing is to be sent.
    pub(in crate::guard) fn push(
        mut self,
        service: &str,
        begun: SystemTime,
        gather: Gather,
    ) -> Result<Option<Pusher>> {
        self.resource.set_default("service.name", service);
        let period = self.period.unwrap_or(PERIOD);
        let (least, most) = PERIODS;
        if !(least..=most).contains(&period) {
            return Err(refuse(&format!("period = {period:?}: must be from 100ms to 1h")));
        }
        let exporter = self.exporter(&self.metrics, METRICS_PATH)?;
        self.warn();
        if self.is_disabled {
            return Ok(None);
        }
        Pusher::start(exporter, self.resource, period, (service, begun, gather)).map(Some)
    }

    /// Looks at what metrics need, without beginning anything.
    pub(in crate::guard) fn check(&self) -> Result<()> {
        self.exporter(&self.metrics, METRICS_PATH).map(|_| ())
    }

    fn exporter(&self, signal: &Signal, path: &str) -> Result<Exporter> {
        let url = signal.url.clone().unwrap_or_else(|| format!("{ENDPOINT}{path}"));
        let place = post::place(&url).map_err(|rule| refuse(&format!("endpoint: {rule}")))?;
        let timeout = signal.timeout.unwrap_or(TIMEOUT);
        let (least, most) = TIMEOUTS;
        if !(least..=most).contains(&timeout) {
            return Err(refuse(&format!("timeout = {timeout:?}: must be from 1ms to 5m")));
        }
        let mut headers = Vec::new();
        for (name, value) in &signal.headers {
            let rule = |what: &str| refuse(&format!("header {name:?}: {what}"));
            let name = HeaderName::try_from(name.as_str());
            let name = name.map_err(|_| rule("must be a legal name of a header"))?;
            let mut value = HeaderValue::try_from(value.as_str())
                .map_err(|_| rule("its value must be printable ASCII"))?;
            value.set_sensitive(true);
            headers.push((name, value));
        }
        let who = format!("otlp {place}");
        let agent = post::agent(&who, timeout, signal.ca_file.as_deref(), CONNECTIONS)?;
        Ok(Exporter::new(agent, url, headers))
    }

    fn warn(&self) {
        for warning in &self.warnings {
            tracing::warn!(target: "tierce::otlp", "{warning}");
        }
    }
}

fn refuse(what: &str) -> Error {
    Error::new(ErrorKind::Config, format!("otlp: {what}"))
}

impl fmt::Debug for OtlpOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |signal: &Signal| {
            let url = signal.url.as_deref().unwrap_or(ENDPOINT);
            post::place(url).unwrap_or_default()
        };
        out.debug_struct("OtlpOptions")
            .field("metrics", &place(&self.metrics))
            .field("traces", &place(&self.traces))
            .field("period", &self.period)
            .field("sampled", &self.sampled)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;

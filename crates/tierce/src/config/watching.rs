//! What of a configuration judges the running cache: alerts, who is told of them, objectives, the
//! listener, a rollout. `guard.rs` starts it.
//!
//! Alerts and sinks are lists, which files alone can hold. They are checked when they are read: what
//! is here can be started, as far as this build goes.

use std::{fmt, path::PathBuf, time::Duration};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    config::{Source, secret::Secret},
    error::{Error, ErrorKind, Result},
    guard::{
        AlertRule, Alerts, Severity,
        rollout::{Plan, Trigger},
    },
    split::Share,
    tiering::Tiering,
    units::parse_span,
};

/// The blocks that hold lists, with what they mean: for [`Config::show`](super::Config::show) and the
/// reference.
pub(super) const LISTS: [(&str, &str, &str); 3] = [
    (
        "alerts",
        "a list of name, condition, duration, severity and keep_firing_for; `monitoring` adds to it",
        "what must not be, and for how long",
    ),
    (
        "notify.sinks",
        "a list of type (log, alertmanager, webhook, pagerduty, slack), url, routing_key, token, each \
         of the three also with `_file` behind its name, severity, timeout, refresh, ca_file",
        "who is told of alerts",
    ),
    (
        "automatic_rollback.triggers",
        "a list of condition, duration and action (immediate_rollback, gradual_rollback)",
        "what takes the rollout of `rollout.plan` back, beside what the plan says",
    ),
];

/// The blocks that are read whole, but for what has keys of its own in them.
pub(super) const BLOCKS: [&str; 4] = ["alerts", "monitoring", "notify.sinks", "automatic_rollback"];

/// What has keys of its own in one of them: the name of the block, and its name there.
pub(super) const NOT_OF_BLOCK: (&str, &str) = ("monitoring", "otlp");

/// Alerts that a guard judges.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertsSection {
    /// `alerts` and `monitoring`: those that stand in the configuration.
    pub rules: Vec<AlertRule>,
    /// `alerts_file`: a file with more of them.
    pub file: Option<PathBuf>,
    /// Where `rules` stood.
    pub(super) source: Option<Source>,
}

/// Who is told of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct NotifySection {
    /// `notify.sinks`.
    pub sinks: Vec<SinkSection>,
    /// `notify.repeat`: after how long an alert that goes on is told again.
    pub repeat: Duration,
    /// `notify.per_minute`: most notices a minute and sink.
    pub per_minute: u64,
    /// Where `sinks` stood.
    pub(super) source: Option<Source>,
}

impl Default for NotifySection {
    fn default() -> Self {
        let repeat = Duration::from_secs(4 * 3600);
        Self { sinks: Vec::new(), repeat, per_minute: 20, source: None }
    }
}

/// What a sink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SinkType {
    /// The `tracing` subscriber of the host.
    Log,
    /// A running Alertmanager.
    Alertmanager,
    /// Whoever takes what Alertmanager sends to its webhooks.
    Webhook,
    /// PagerDuty.
    PagerDuty,
    /// An incoming webhook of Slack.
    Slack,
}

impl SinkType {
    /// The name in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
            Self::PagerDuty => "pagerduty",
            Self::Slack => "slack",
        }
    }
}

/// One sink; as the options of the same names.
#[derive(Clone, PartialEq, Eq)]
pub struct SinkSection {
    /// `type`.
    pub kind: SinkType,
    /// `url`: may be a secret.
    pub url: Option<Secret>,
    /// `routing_key`, of PagerDuty.
    pub routing_key: Option<Secret>,
    /// `token`.
    pub token: Option<Secret>,
    /// `severity`: how bad an alert must be at least.
    pub severity: Severity,
    /// `timeout`.
    pub timeout: Option<Duration>,
    /// `refresh`, of an Alertmanager.
    pub refresh: Option<Duration>,
    /// `ca_file`.
    pub ca_file: Option<PathBuf>,
}

impl SinkSection {
    /// The type and the host, which is all that may be shown.
    fn shown(&self) -> String {
        let host = self.url.as_ref().and_then(|url| url.expose().split("//").nth(1));
        let host = host.and_then(|rest| rest.split(['/', '?', '#']).next());
        // What stands before an `@` may be a password.
        let host = host.and_then(|host| host.rsplit('@').next()).unwrap_or_default();
        format!("{} {host}", self.kind.as_str()).trim_end().to_owned()
    }
}

impl fmt::Debug for SinkSection {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown())
    }
}

/// The listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServeSection {
    /// `serve.address`: host and port; `None` does not listen.
    pub address: Option<String>,
    /// `serve.token`: what requests that change state must bear.
    pub token: Option<Secret>,
}

/// What is sent to a receiver of OpenTelemetry. What is not set is as the variables of OpenTelemetry
/// say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtlpSection {
    /// `monitoring.otlp.enabled`: whether metrics are sent; where `None`, whether there is an endpoint.
    pub enabled: Option<bool>,
    /// `monitoring.otlp.endpoint`.
    pub endpoint: Option<String>,
    /// `monitoring.otlp.headers`: `name=value,...`.
    pub headers: Option<Secret>,
    /// `monitoring.otlp.period`: from one message to the next.
    pub period: Option<Duration>,
    /// `monitoring.otlp.timeout`: how long a message may take.
    pub timeout: Option<Duration>,
    /// `monitoring.otlp.ca_file`.
    pub ca_file: Option<PathBuf>,
}

impl OtlpSection {
    /// Whether metrics are sent.
    pub fn is_on(&self) -> bool {
        self.enabled.unwrap_or(self.endpoint.is_some())
    }
}

/// A rollout that this process takes part in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutSection {
    /// `rollout.plan`: a file.
    pub plan: Option<PathBuf>,
    /// `rollout.journal`: a file that all processes of the host share.
    pub journal: Option<PathBuf>,
    /// `rollout.instance`: the name of this process among them.
    pub instance: Option<String>,
    /// `rollout.of_store`: whichever plan an operator starts in the store.
    pub of_store: bool,
    /// `automatic_rollback`: what takes it back, beside the triggers of the plan.
    pub triggers: Vec<Trigger>,
    /// Where `triggers` stood.
    pub(super) source: Option<Source>,
}

/// How keys are split between the tiering of this configuration and an older one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrafficSplitSection {
    /// `traffic_split.new_system`: the share of keys on `tiering`.
    pub new_system: Option<Share>,
    /// `traffic_split.old_system`: that of the others; both are all.
    pub old_system: Option<Share>,
    /// `traffic_split.old_tiering`.
    pub old_tiering: Tiering,
}

impl Default for TrafficSplitSection {
    fn default() -> Self {
        Self { new_system: None, old_system: None, old_tiering: Tiering::L1 }
    }
}

impl AlertsSection {
    pub(super) fn shown(&self) -> String {
        let names: Vec<&str> = self.rules.iter().map(|rule| rule.name.as_str()).collect();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    }

    /// Takes the blocks `alerts` and `monitoring` of a document.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the alert and the rule that it breaks.
    pub(super) fn read(&mut self, blocks: Value, source: Source) -> Result<()> {
        let alerts = Alerts::from_value(blocks)?;
        self.rules = alerts.states().map(|(rule, _)| rule.clone()).collect();
        self.source = Some(source);
        Ok(())
    }
}

impl NotifySection {
    pub(super) fn shown(&self) -> String {
        let sinks: Vec<String> = self.sinks.iter().map(SinkSection::shown).collect();
        if sinks.is_empty() { "none".to_owned() } else { sinks.join(", ") }
    }

    /// Takes the list `notify.sinks`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the number of the sink, from 1, and the rule that it breaks.
    pub(super) fn read(&mut self, list: &Value, source: Source) -> Result<()> {
        let refuse = |what: String| {
            Error::new(ErrorKind::Config, format!("notify.sinks ({source}): {what}"))
        };
        let Some(list) = list.as_array() else {
            return Err(refuse("must be a list of sinks".to_owned()));
        };
        let sinks = list.iter().enumerate().map(|(index, block)| {
            sink(block).map_err(|what| refuse(format!("sink {}: {what}", index + 1)))
        });
        self.sinks = sinks.collect::<Result<_>>()?;
        self.source = Some(source);
        Ok(())
    }
}

impl RolloutSection {
    pub(super) fn shown(&self) -> String {
        let triggers: Vec<String> =
            self.triggers.iter().map(|trigger| trigger.condition.to_string()).collect();
        if triggers.is_empty() { "none".to_owned() } else { triggers.join(", ") }
    }

    /// Takes the block `automatic_rollback`.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the rule that it breaks.
    pub(super) fn read(&mut self, block: Value, source: Source) -> Result<()> {
        self.triggers = Plan::triggers_of(block).map_err(|error| {
            Error::new(error.kind(), format!("automatic_rollback ({source}): {error}"))
        })?;
        self.source = Some(source);
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SinkBlock {
    #[serde(rename = "type")]
    kind: SinkType,
    url: Option<String>,
    url_file: Option<PathBuf>,
    routing_key: Option<String>,
    routing_key_file: Option<PathBuf>,
    token: Option<String>,
    token_file: Option<PathBuf>,
    severity: Option<String>,
    timeout: Option<String>,
    refresh: Option<String>,
    ca_file: Option<PathBuf>,
}

fn sink(block: &Value) -> std::result::Result<SinkSection, String> {
    // The parser would repeat what is of the wrong type.
    for key in ["url", "routing_key", "token"] {
        if block.get(key).is_some_and(|value| !value.is_string()) {
            return Err(format!("{key}: must be text: write it in quotes"));
        }
    }
    let block: SinkBlock = serde_json::from_value(block.clone()).map_err(|e| e.to_string())?;
    let kind = block.kind;
    let span = |key: &str, text: &Option<String>| match text {
        Some(text) => {
            parse_span(text).map(Some).map_err(|rule| format!("{key} = {text:?}: {rule}"))
        }
        None => Ok(None),
    };
    let sink = SinkSection {
        kind,
        url: secret("url", block.url, block.url_file)?,
        routing_key: secret("routing_key", block.routing_key, block.routing_key_file)?,
        token: secret("token", block.token, block.token_file)?,
        severity: match &block.severity {
            Some(name) => Severity::parse(name).map_err(|error| error.to_string())?,
            None => Severity::Info,
        },
        timeout: span("timeout", &block.timeout)?,
        refresh: span("refresh", &block.refresh)?,
        ca_file: block.ca_file,
    };
    let name = kind.as_str();
    let takes = |is_given: bool, key: &str, kinds: &[SinkType]| {
        if is_given && !kinds.contains(&kind) {
            return Err(format!("{key}: a sink of type {name} has none"));
        }
        Ok(())
    };
    let posting = [SinkType::Alertmanager, SinkType::Webhook, SinkType::PagerDuty, SinkType::Slack];
    takes(sink.url.is_some(), "url", &posting)?;
    takes(sink.token.is_some(), "token", &posting)?;
    takes(sink.timeout.is_some(), "timeout", &posting)?;
    takes(sink.ca_file.is_some(), "ca_file", &posting)?;
    takes(sink.routing_key.is_some(), "routing_key", &[SinkType::PagerDuty])?;
    takes(sink.refresh.is_some(), "refresh", &[SinkType::Alertmanager])?;
    match kind {
        SinkType::PagerDuty if sink.routing_key.is_none() => {
            Err("routing_key: a sink of type pagerduty must have one".to_owned())
        }
        SinkType::Alertmanager | SinkType::Webhook | SinkType::Slack if sink.url.is_none() => {
            Err(format!("url: a sink of type {name} must have one"))
        }
        _ => Ok(sink),
    }
}

/// What is secret, or the file that holds it.
fn secret(
    key: &str,
    text: Option<String>,
    file: Option<PathBuf>,
) -> std::result::Result<Option<Secret>, String> {
    match (text, file) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => {
            Err(format!("{key} and {key}_file: only one of the two may be given"))
        }
        (Some(text), None) => Ok(Some(Secret::new(text))),
        (None, Some(path)) => match std::fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => Ok(Some(Secret::new(text.trim()))),
            Ok(_) => Err(format!("{key}_file = {}: must not be empty", path.display())),
            Err(error) => Err(format!("{key}_file = {}: {error}", path.display())),
        },
    }
}

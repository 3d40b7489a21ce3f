//! [`WebhookSink`]: posts alerts to Alertmanager, PagerDuty, Slack, or whoever takes what
//! Alertmanager sends.
//!
//! | place | is sent | how |
//! |---|---|---|
//! | [`alertmanager`](WebhookOptions::alertmanager) | `/api/v2/alerts` of a running one | all that waits at once; again every minute while it fires, as it forgets |
//! | [`webhook`](WebhookOptions::webhook) | what Alertmanager sends to its receivers, version 4 | all that waits at once |
//! | [`pagerduty`](WebhookOptions::pagerduty) | Events API v2; the end resolves the incident | one by one |
//! | [`slack`](WebhookOptions::slack) | an incoming webhook | one by one |
//!
//! A message that meets a broken network, a timeout, a 5xx, 408, 425 or 429 is sent again, no earlier
//! than `Retry-After` asks; any other status but 2xx refuses it for good. Redirections are not
//! followed, as they would carry what is secret elsewhere. TLS is rustls with ring, as for L3; the
//! certificate is always checked.
//!
//! Addresses and keys may be secrets: `Debug`, errors and statistics show the host alone. Who has the
//! `log` crate write the level trace of `ureq` sees all that goes over the wire.

use std::{
    fmt,
    path::PathBuf,
    time::{Duration, SystemTime},
};

use serde_json::Value;
use ureq::Agent;

use super::{
    AlertSink, Notice, SinkStats,
    courier::{Courier, MOST_WAITING, Outcome},
    payload,
};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::post::{self, asked, place, told},
};

/// Where PagerDuty takes events, but for accounts of its European region.
const PAGERDUTY: &str = "https://events.pagerduty.com/v2/enqueue";
/// How long a message may take, from the look-up of the name to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Who needs longer is not there.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
/// Alertmanager takes an alert for over after five minutes, unless told another end.
const REFRESH: Duration = Duration::from_secs(60);
/// An end this many refreshes ahead outlives some that are lost.
const REFRESHES_AHEAD: u32 = 4;
/// What a place is that takes what Alertmanager sends.
const RECEIVER: &str = "tierce";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Alertmanager,
    Webhook,
    PagerDuty,
    Slack,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Alertmanager => "alertmanager",
            Self::Webhook => "webhook",
            Self::PagerDuty => "pagerduty",
            Self::Slack => "slack",
        }
    }

    /// How many notices one message tells of.
    const fn at_once(self) -> usize {
        match self {
            Self::Alertmanager | Self::Webhook => MOST_WAITING,
            Self::PagerDuty | Self::Slack => 1,
        }
    }
}

/// Where alerts are posted, and how.
#[derive(Clone)]
#[must_use = "options do nothing until `open`"]
pub struct WebhookOptions {
    form: Form,
    url: String,
    /// Of PagerDuty.
    routing_key: String,
    token: Option<String>,
    timeout: Duration,
    refresh: Duration,
    ca_file: Option<PathBuf>,
}

impl WebhookOptions {
    fn new(form: Form, url: String) -> Self {
        Self {
            form,
            url,
            routing_key: String::new(),
            token: None,
            timeout: TIMEOUT,
            refresh: REFRESH,
            ca_file: None,
        }
    }

    /// A running Alertmanager, such as `http://127.0.0.1:9093`.
    pub fn alertmanager(url: impl Into<String>) -> Self {
        let url: String = url.into();
        let base = url.trim_end_matches('/');
        let url = if base.ends_with("/api/v2/alerts") {
            base.to_owned()
        } else {
            format!("{base}/api/v2/alerts")
        };
        Self::new(Form::Alertmanager, url)
    }

    /// Whoever takes what Alertmanager sends to its webhooks.
    pub fn webhook(url: impl Into<String>) -> Self {
        Self::new(Form::Webhook, url.into())
    }

    /// A service of PagerDuty, by the routing key of its integration.
    pub fn pagerduty(routing_key: impl Into<String>) -> Self {
        let routing_key = routing_key.into();
        Self { routing_key, ..Self::new(Form::PagerDuty, PAGERDUTY.to_owned()) }
    }

    /// A channel of Slack, by its incoming webhook.
    pub fn slack(url: impl Into<String>) -> Self {
        Self::new(Form::Slack, url.into())
    }

    /// Sets another address: that of PagerDuty's European region, or of a proxy that takes its place.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.url = url.into();
        self
    }

    /// Sets the token that goes along (`Authorization: Bearer TOKEN`). Default: none.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Sets how long a message may take in all. Default: 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets after how long an Alertmanager is told again what fires. What it is not told again for
    /// four times as long is over for it. Default: one minute.
    pub fn refresh(mut self, refresh: Duration) -> Self {
        self.refresh = refresh;
        self
    }

    /// Sets the PEM file of the only certificates that are trusted. Default: Mozilla's roots.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_file = Some(path.into());
        self
    }

    /// Makes the sink. Nothing is connected, and no thread begins before there is something to send.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the option, its value (unless it may be secret) and the rule.
    pub fn open(self) -> Result<WebhookSink> {
        let name = self.form.name();
        let refuse =
            |what: &str| Err(Error::new(ErrorKind::Config, format!("sink {name}: {what}")));
        let place = match place(&self.url) {
            Ok(place) => place,
            Err(rule) => return refuse(&format!("url: {rule}")),
        };
        let is_header =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte < 127);
        if self.form == Form::PagerDuty && !is_header(&self.routing_key) {
            return refuse("routing_key: must be printable ASCII, not empty and without blanks");
        }
        if self.token.as_deref().is_some_and(|token| !is_header(token)) {
            return refuse("token: must be printable ASCII, not empty and without blanks");
        }
        let millisecond = Duration::from_millis(1);
        if !(millisecond..=LONGEST_TIMEOUT).contains(&self.timeout) {
            return refuse(&format!("timeout = {:?}: must be from 1ms to 5m", self.timeout));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(3600)).contains(&self.refresh) {
            return refuse(&format!("refresh = {:?}: must be from 1s to 1h", self.refresh));
        }
        let form = self.form;
        let sink = format!("{name} {place}");
        // One message now and then: a connection that is kept would have been closed meanwhile.
        let agent = post::agent(&format!("sink {sink}"), self.timeout, self.ca_file.as_deref(), 0)?;
        let refresh = (form == Form::Alertmanager).then_some(self.refresh);
        let send = Box::new(move |notices: &[Notice]| self.post(&agent, notices));
        let courier = Courier::new(sink, form.at_once(), refresh, send);
        Ok(WebhookSink { courier })
    }

    fn post(&self, agent: &Agent, notices: &[Notice]) -> Outcome {
        let Some(first) = notices.first() else { return Outcome::Taken };
        let body = match self.form {
            Form::Alertmanager => {
                let until = SystemTime::now() + self.refresh * REFRESHES_AHEAD;
                payload::alertmanager_until(notices, until)
            }
            Form::Webhook => payload::alertmanager(RECEIVER, notices),
            Form::PagerDuty => payload::pagerduty(&self.routing_key, first),
            Form::Slack => payload::slack(first),
        };
        send(agent, &self.url, self.token.as_deref(), &body)
    }
}

impl fmt::Debug for WebhookOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("WebhookOptions")
            .field("form", &self.form)
            .field("place", &place(&self.url).unwrap_or_default())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}

/// Posts alerts, by a thread of its own: see [`WebhookOptions`].
pub struct WebhookSink {
    courier: Courier,
}

impl fmt::Debug for WebhookSink {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_tuple("WebhookSink").field(&self.courier.stats()).finish()
    }
}

impl AlertSink for WebhookSink {
    fn notify(&self, notice: &Notice) -> Result<()> {
        Ok(self.courier.take(notice.clone())?)
    }

    fn stats(&self) -> Option<SinkStats> {
        Some(self.courier.stats())
    }
}

fn send(agent: &Agent, url: &str, token: Option<&str>, body: &Value) -> Outcome {
    let mut request = agent.post(url).header("Content-Type", "application/json");
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let answer = match request.send(body.to_string()) {
        Ok(answer) => answer,
        Err(error) => return Outcome::Failed(told(&error), None),
    };
    let status = answer.status().as_u16();
    match status {
        200..=299 => Outcome::Taken,
        408 | 425 | 429 | 500..=599 => Outcome::Failed(format!("status {status}"), asked(&answer)),
        _ => Outcome::Refused(format!("status {status}")),
    }
}

#[cfg(test)]
mod tests;

//! Alerts from YAML, in the form of both source documents.
//!
//! ```yaml
//! alerts:
//!   - name: CacheErrorRateHigh
//!     condition: error_rate > 1%
//!     duration: 5m
//!     severity: critical
//!     keep_firing_for: 1m     # ours; none: 0s
//! monitoring:                 # limits without a duration, as warnings
//!   latency_threshold: 10ms
//!   error_rate_threshold: 1%
//!   cache_hit_ratio_min: 60%
//! ```

use std::time::Duration;

use serde::Deserialize;

use super::{AlertRule, Alerts, Severity};
use crate::{
    error::{Error, ErrorKind, Result},
    guard::yaml,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    alerts: Vec<Alert>,
    monitoring: Option<Monitoring>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Alert {
    name: String,
    condition: String,
    #[serde(default)]
    duration: Option<String>,
    severity: String,
    #[serde(default)]
    keep_firing_for: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Monitoring {
    latency_threshold: Option<String>,
    error_rate_threshold: Option<String>,
    cache_hit_ratio_min: Option<String>,
}

impl Alerts {
    /// Reads alerts from YAML: a list `alerts` of `name`, `condition`, `duration`, `severity` and
    /// `keep_firing_for`, and the block `monitoring` of the phased deployment plan.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], with the name of the alert and the rule that it breaks.
    pub fn from_yaml(text: &str) -> Result<Self> {
        Self::of_file(&yaml::parse(text)?)
    }

    /// The same from blocks of a configuration that were read already.
    ///
    /// # Errors
    /// As [`from_yaml`](Self::from_yaml).
    pub(crate) fn from_value(blocks: serde_json::Value) -> Result<Self> {
        let file = serde_json::from_value(blocks)
            .map_err(|error| Error::new(ErrorKind::Config, error.to_string()))?;
        Self::of_file(&file)
    }

    fn of_file(file: &File) -> Result<Self> {
        let mut rules = Vec::new();
        for alert in &file.alerts {
            let in_alert =
                |error: Error| Error::new(error.kind(), format!("alert {:?}: {error}", alert.name));
            if rules.iter().any(|known: &AlertRule| known.name == alert.name) {
                let message = format!("alert {:?}: stands twice", alert.name);
                return Err(Error::new(ErrorKind::Config, message));
            }
            rules.push(alert.rule().map_err(in_alert)?);
        }
        if let Some(monitoring) = &file.monitoring {
            rules.extend(monitoring.rules()?);
        }
        Ok(Self::new(rules))
    }
}

impl Alert {
    fn rule(&self) -> Result<AlertRule> {
        let span = |name: &str, text: &Option<String>| match text {
            Some(text) => yaml::span(name, text),
            None => Ok(Duration::ZERO),
        };
        Ok(AlertRule {
            name: self.name.clone(),
            condition: self.condition.parse()?,
            duration: span("duration", &self.duration)?,
            severity: Severity::parse(&self.severity)?,
            keep_firing_for: span("keep_firing_for", &self.keep_firing_for)?,
        })
    }
}

impl Monitoring {
    fn rules(&self) -> Result<Vec<AlertRule>> {
        let limits = [
            ("latency_threshold", "latency_p95 >", &self.latency_threshold),
            ("error_rate_threshold", "error_rate >", &self.error_rate_threshold),
            ("cache_hit_ratio_min", "hit_rate <", &self.cache_hit_ratio_min),
        ];
        let given =
            limits.iter().filter_map(|(key, left, limit)| Some((key, left, limit.as_ref()?)));
        let rule = |(key, left, limit): (&&str, &&str, &String)| {
            Ok(AlertRule {
                name: format!("monitoring.{key}"),
                condition: format!("{left} {limit}").parse()?,
                duration: Duration::ZERO,
                severity: Severity::Warning,
                keep_firing_for: Duration::ZERO,
            })
        };
        given.map(rule).collect()
    }
}

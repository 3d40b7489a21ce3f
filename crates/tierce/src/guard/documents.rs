//! What a guard and its cache know, as JSON: what `serve` answers, and what other languages get. One
//! place, so that all of them say the same.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::keeper::Guard;
use crate::{cache::Cache, error::Result};

/// Numbers, names and lists of our own: nothing here that JSON cannot say.
fn text(document: &impl Serialize) -> String {
    serde_json::to_string(document).unwrap_or_default()
}

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// The alerts and what sinks did: `alerts`, each with `name`, `condition`, `duration_s`,
    /// `severity` and `state`, and `sinks`, as [`SinkStats`](super::alert::SinkStats). As
    /// `/cache/alerts`.
    pub fn alerts_json(&self) -> String {
        let alerts: Vec<Value> = self
            .alerts()
            .iter()
            .map(|(rule, state)| {
                json!({
                    "name": rule.name,
                    "condition": rule.condition.to_string(),
                    "duration_s": rule.duration.as_secs_f64(),
                    "severity": rule.severity.as_str(),
                    "state": state.as_str(),
                })
            })
            .collect();
        text(&json!({ "alerts": alerts, "sinks": self.sinks() }))
    }

    /// Where the rollout is, a [`Status`](super::rollout::Status); `None` where there is none. As
    /// `/cache/rollout`.
    pub fn rollout_json(&self) -> Option<String> {
        self.rollout().map(|status| text(&status))
    }

    /// Every decision of the rollout, a list of [`Decision`](super::rollout::Decision).
    ///
    /// # Errors
    /// As [`rollout_history`](Self::rollout_history).
    pub fn rollout_history_json(&self) -> Result<String> {
        Ok(text(&self.rollout_history()?))
    }

    /// What is in force of what operators did, a
    /// [`ContingencyState`](super::ContingencyState). As `/cache/actions`.
    pub fn contingency_json(&self) -> String {
        text(&self.contingency())
    }
}

impl<V: Clone + Send + Sync + 'static> Cache<V> {
    /// What [`advise`](Self::advise) says: `advice`, a list of `code` and `message`, and `survey`, what
    /// the survey under way has seen, or null. As `/cache/advice`.
    pub fn advise_json(&self) -> String {
        let one = |advice: &crate::Advice| json!({"code": advice.code, "message": advice.message});
        let advice: Vec<Value> = self.advise().iter().map(one).collect();
        text(&json!({ "advice": advice, "survey": self.survey() }))
    }

    /// Counts and latencies of the last time, a [`WindowStats`](crate::metrics::WindowStats). As
    /// `/cache/window`.
    pub fn window_json(&self, window: Duration) -> String {
        text(&self.window(window))
    }
}

#[cfg(test)]
mod tests {
    use crate::{Cache, guard::Guard};

    #[test]
    fn each_document_is_there_and_legal() {
        let cache: Cache = Cache::builder().build().unwrap();
        let guard = Guard::of(&cache).build().unwrap();
        let of = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(of(&guard.alerts_json()), serde_json::json!({"alerts": [], "sinks": []}));
        assert_eq!(of(&guard.contingency_json())["gate"]["passes"], 1.0);
        assert_eq!(guard.rollout_json(), None);
        assert!(guard.rollout_history_json().is_err());
        let advice = of(&cache.advise_json());
        assert!(advice["advice"].as_array().unwrap().is_empty() && advice["survey"].is_null());
        cache.begin_survey();
        assert_eq!(of(&cache.advise_json())["survey"]["reads_sampled"], 0);
        let window = of(&cache.window_json(std::time::Duration::from_secs(60)));
        assert!(window.is_object(), "{window}");
    }
}

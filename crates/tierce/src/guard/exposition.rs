//! What a guard adds to the metrics of its cache: its alerts, what became of its notices, and the
//! process.

use std::collections::BTreeMap;

use super::keeper::Guard;
use crate::metrics::{process_to_prometheus, text::Text};

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// The metrics of the cache, of its alerts and sinks, and of the process, in the text format of
    /// Prometheus; `None` where metrics are switched off.
    pub fn metrics_text(&self) -> Option<String> {
        let of_cache = self.cache().metrics_text()?;
        let cache = self.cache().service();
        let mut text = Text::default();
        // By labels: what is there twice is one series.
        let mut alerts = BTreeMap::new();
        for (rule, state) in self.alerts() {
            *alerts.entry((rule.name, rule.severity.as_str())).or_insert(false) |=
                state.is_firing();
        }
        if !alerts.is_empty() {
            let name = "tierce_alert_active";
            text.head(name, "gauge", "1 while an alert fires, else 0.");
            for ((alert, severity), is_firing) in &alerts {
                let labels = [("cache", cache), ("alert", alert.as_str()), ("severity", severity)];
                text.sample(name, &labels, f64::from(u8::from(*is_firing)));
            }
        }
        let mut notices = BTreeMap::new();
        for sink in self.sinks() {
            let counts = [
                ("taken", sink.taken),
                ("refused", sink.refused),
                ("failed", sink.failed),
                ("dropped", sink.dropped),
            ];
            for (result, count) in counts {
                *notices.entry((sink.sink.clone(), result)).or_insert(0) += count;
            }
        }
        if !notices.is_empty() {
            let name = "tierce_notices_total";
            text.head(name, "counter", "Notices of alerts by what became of them.");
            for ((sink, result), count) in &notices {
                let labels = [("cache", cache), ("sink", sink.as_str()), ("result", result)];
                text.sample(name, &labels, *count as f64);
            }
        }
        Some(of_cache + &text.finish() + &process_to_prometheus())
    }
}

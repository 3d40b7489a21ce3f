//! What a guard adds to the metrics of its cache: its alerts, what became of its notices, and the
//! process.

use std::collections::BTreeMap;

use super::{
    alert::{AlertRule, SinkStats},
    hold::HoldState,
    keeper::Guard,
};
use crate::metrics::{Families, process_to_prometheus, text::Text};

impl<V: Clone + Send + Sync + 'static> Guard<V> {
    /// The metrics of the cache, of its alerts and sinks, and of the process, in the text format of
    /// Prometheus; `None` where metrics are switched off.
    pub fn metrics_text(&self) -> Option<String> {
        let of_cache = self.cache().metrics_text()?;
        let mut text = Text::default();
        write_guard(&mut text, self.cache().service(), self.alerts(), self.sinks());
        #[cfg(feature = "otel")]
        if let Some(stats) = self.otlp() {
            stats.write(&mut text, self.cache().service());
        }
        Some(of_cache + &text.finish() + &process_to_prometheus())
    }
}

/// Writes alerts and what became of notices as families of metrics.
pub(super) fn write_guard(
    out: &mut dyn Families,
    cache: &str,
    alerts: Vec<(AlertRule, HoldState)>,
    sinks: Vec<SinkStats>,
) {
    // By labels: what is there twice is one series.
    let mut active = BTreeMap::new();
    for (rule, state) in alerts {
        *active.entry((rule.name, rule.severity.as_str())).or_insert(false) |= state.is_firing();
    }
    if !active.is_empty() {
        out.head("tierce_alert_active", "gauge", "1 while an alert fires, else 0.");
        for ((alert, severity), is_firing) in &active {
            let labels = [("cache", cache), ("alert", alert.as_str()), ("severity", severity)];
            out.sample(&labels, f64::from(u8::from(*is_firing)));
        }
    }
    let mut notices = BTreeMap::new();
    for sink in sinks {
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
        let help = "Notices of alerts by what became of them.";
        out.head("tierce_notices_total", "counter", help);
        for ((sink, result), count) in &notices {
            let labels = [("cache", cache), ("sink", sink.as_str()), ("result", result)];
            out.sample(&labels, *count as f64);
        }
    }
}

//! Families of metrics in the text format of Prometheus.

use std::fmt::Write as _;

use super::{
    families::{Families, Label},
    snapshot::LatencySummary,
};

/// A text under way.
#[derive(Debug, Default)]
pub(crate) struct Text {
    text: String,
    /// The family that was begun.
    name: String,
}

impl Text {
    /// What was written.
    pub(crate) fn finish(self) -> String {
        self.text
    }

    /// One line: a name with this ending, labels with their values escaped, and the value.
    fn line(&mut self, ending: &str, labels: &[Label<'_>], value: f64) {
        self.text.push_str(&self.name);
        self.text.push_str(ending);
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for char in value.chars() {
                match char {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
    }
}

impl Families for Text {
    fn head(&mut self, name: &str, kind: &'static str, help: &str) {
        // Writing to a String cannot fail; the results are ignored here and above for that.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        name.clone_into(&mut self.name);
    }

    fn sample(&mut self, labels: &[Label<'_>], value: f64) {
        self.line("", labels, value);
    }

    fn histogram(&mut self, labels: &[Label<'_>], latency: &LatencySummary) {
        for threshold in &latency.thresholds {
            let limit = threshold.limit.as_secs_f64().to_string();
            let labels = [labels, &[("le", &limit)]].concat();
            self.line("_bucket", &labels, threshold.count as f64);
        }
        self.line("_bucket", &[labels, &[("le", "+Inf")]].concat(), latency.count as f64);
        self.line("_sum", labels, latency.sum.as_secs_f64());
        self.line("_count", labels, latency.count as f64);
    }
}

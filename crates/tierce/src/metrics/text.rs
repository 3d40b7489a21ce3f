//! Lines of the text format of Prometheus: heads of metrics, and samples with their labels.

use std::fmt::Write as _;

/// A label and its value, which is escaped when written.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// A text under way.
#[derive(Debug, Default)]
pub(crate) struct Text(String);

impl Text {
    /// Introduces a metric; its samples follow.
    pub(crate) fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a String cannot fail; the results are ignored here and below for that.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    /// One value.
    pub(crate) fn sample(&mut self, name: &str, labels: &[Label<'_>], value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"", if index == 0 { '{' } else { ',' });
            for char in value.chars() {
                match char {
                    '\\' => self.0.push_str("\\\\"),
                    '"' => self.0.push_str("\\\""),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{end} {value}");
    }

    /// What was written.
    pub(crate) fn finish(self) -> String {
        self.0
    }
}

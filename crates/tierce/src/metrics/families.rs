//! What takes metrics, whatever becomes of them: the text of Prometheus, or a message of OTLP.

use super::snapshot::LatencySummary;

/// A label and its value.
pub(crate) type Label<'a> = (&'a str, &'a str);

/// Takes families of metrics, one after the other, each with all its samples.
pub(crate) trait Families {
    /// Begins a family: `counter`, `gauge` or `histogram`, under its name in Prometheus.
    fn head(&mut self, name: &str, kind: &'static str, help: &str);

    /// One value of the family that was begun.
    fn sample(&mut self, labels: &[Label<'_>], value: f64);

    /// One distribution of the family that was begun.
    fn histogram(&mut self, labels: &[Label<'_>], latency: &LatencySummary);
}

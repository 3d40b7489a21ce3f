//! Figures that are drawn from what was measured, each beside what it should be.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::results::digits;

/// A figure and what it should be.
pub struct Bar {
    what: String,
    figure: f64,
    bar: f64,
    stretch: Option<f64>,
    /// True if less is better.
    at_most: bool,
    note: String,
}

impl Bar {
    /// A figure that should be `bar` or more.
    pub fn at_least(what: impl Into<String>, figure: f64, bar: f64) -> Self {
        Self::new(what.into(), figure, bar, false)
    }

    /// A figure that should be `bar` or less.
    pub fn at_most(what: impl Into<String>, figure: f64, bar: f64) -> Self {
        Self::new(what.into(), figure, bar, true)
    }

    fn new(what: String, figure: f64, bar: f64, at_most: bool) -> Self {
        Self { what, figure, bar, stretch: None, at_most, note: String::new() }
    }

    /// With what would be better still.
    #[must_use]
    pub fn stretch(self, stretch: f64) -> Self {
        Self { stretch: Some(stretch), ..self }
    }

    /// With what must be said of it.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The figure.
    pub fn figure(&self) -> f64 {
        self.figure
    }

    /// True if the figure is what it should be.
    pub fn is_met(&self) -> bool {
        if self.at_most { self.figure <= self.bar } else { self.figure >= self.bar }
    }

    /// A table of them, with a column for what is better still where one of them has that.
    pub fn table(bars: &[Self]) -> String {
        let mut text = String::new();
        if bars.is_empty() {
            return text;
        }
        let stretches = bars.iter().any(|bar| bar.stretch.is_some());
        let [head, rule] = if stretches { [" stretch |", "---|"] } else { ["", ""] };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## Bars\n\n| what | figure | bar |{head} met | |");
        let _ = writeln!(text, "|---|---|---|{rule}---|---|");
        for each in bars {
            let sign = if each.at_most { "<=" } else { ">=" };
            let Self { what, figure, bar, stretch, note, .. } = each;
            let _ = write!(text, "| {what} | {} | {sign} {bar} |", digits(*figure));
            if stretches {
                let stretch = stretch.map_or(String::new(), |stretch| format!("{sign} {stretch}"));
                let _ = write!(text, " {stretch} |");
            }
            let met = if each.is_met() { "yes" } else { "**no**" };
            let _ = writeln!(text, " {met} | {note} |");
        }
        text
    }

    /// All of it.
    pub fn json(&self) -> Value {
        json!({
            "what": self.what,
            "figure": self.figure,
            "bar": self.bar,
            "stretch": self.stretch,
            "at_most": self.at_most,
            "met": self.is_met(),
            "note": self.note,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_on_its_side_and_at_it() {
        let met = |figure| {
            [Bar::at_least("", figure, 2.0).is_met(), Bar::at_most("", figure, 2.0).is_met()]
        };
        assert_eq!([1.9, 2.0, 2.1].map(met), [[false, true], [true, true], [true, false]]);
    }

    #[test]
    fn the_column_of_stretches_is_there_where_one_bar_has_one() {
        let plain = Bar::at_most("ns", 12.34, 10.0).note("why");
        let text = Bar::table(&[plain]);
        assert!(text.ends_with("| ns | 12.3 | <= 10 | **no** | why |\n"), "{text}");
        let bars = [Bar::at_least("a", 3.0, 1.5).stretch(2.0), Bar::at_least("b", 1.5, 1.5)];
        let text = Bar::table(&bars);
        assert!(text.contains("| a | 3.00 | >= 1.5 | >= 2 | yes |  |\n"), "{text}");
        assert!(text.contains("| b | 1.50 | >= 1.5 |  | yes |  |\n"), "{text}");
        assert_eq!(bars[0].json()["stretch"], 2.0);
        assert_eq!(Bar::table(&[]), "");
    }
}

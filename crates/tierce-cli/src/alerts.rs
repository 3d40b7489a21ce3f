//! `tierce alerts`: whether a file of alerts is legal, and the same as rules of Prometheus.

use std::{fs, io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use tierce::guard::{Alerts, alert::rules};

use crate::{
    output::{Outcome, Verdict},
    table::{Align, Table},
};

/// The arguments of `tierce alerts`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Says what alerts a file has; exit code 1 and the reason if it is not legal.
    Check {
        /// A file in YAML with a list `alerts`.
        file: PathBuf,
    },
    /// Prints the alerts as rules of Prometheus.
    Prometheus {
        /// A file in YAML with a list `alerts`.
        file: PathBuf,
    },
}

/// Runs `tierce alerts`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let (Action::Check { file } | Action::Prometheus { file }) = &arguments.action;
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    let alerts = Alerts::from_yaml(&text).map_err(|error| format!("{shown}: {error}"))?;
    match &arguments.action {
        Action::Check { .. } => {
            let mut table = Table::new([
                ("alert", Align::Left),
                ("condition", Align::Left),
                ("for", Align::Right),
                ("severity", Align::Left),
            ]);
            for (rule, _) in alerts.states() {
                table.row([
                    rule.name.clone(),
                    rule.condition.to_string(),
                    tierce::config::units::write_span(rule.duration),
                    rule.severity.as_str().to_owned(),
                ]);
            }
            table.write(out)?;
        }
        Action::Prometheus { .. } => {
            write!(out, "{}", rules::alerting(alerts.states().map(|(rule, _)| rule)))?;
        }
    }
    out.flush()?;
    Ok(Verdict::Good)
}

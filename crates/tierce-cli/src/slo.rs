//! `tierce slo`: the objectives that are shipped, and how a running cache meets them.
//!
//! A cache lives in its process, so its report is asked for over HTTP (`/cache/slo`), or taken from
//! a file or standard input as that path gives it.

use std::{
    fs,
    io::{self, Read as _, Write},
};

use clap::Args;
use serde_json::Value;
use tierce::guard::{Objectives, alert::rules};

use crate::{
    http,
    output::{Outcome, Verdict},
    table::{Align, Table},
};

/// The arguments of `tierce slo`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Address of a process that serves its guard, such as 127.0.0.1:9464; exit code 1 if an
    /// objective is not met.
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["report", "prometheus"])]
    address: Option<String>,
    /// A report of `/cache/slo` in a file; `-` reads standard input.
    #[arg(long, value_name = "FILE", conflicts_with = "prometheus")]
    report: Option<String>,
    /// The window to ask for, such as 30m.
    #[arg(long, default_value = "30m")]
    window: String,
    /// Objectives to print: staging, production, staging-canary or phase-1 to phase-4; all without
    /// it.
    #[arg(long = "env", value_name = "NAME")]
    environment: Option<String>,
    /// Prints the objectives as rules of Prometheus.
    #[arg(long, requires = "environment")]
    prometheus: bool,
}

/// Runs `tierce slo`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    if let Some(address) = &arguments.address {
        let path = format!("/cache/slo?window={}", arguments.window);
        return report(&http::get(address, &path)?, out);
    }
    if let Some(file) = &arguments.report {
        let mut text = String::new();
        if file == "-" {
            io::stdin().read_to_string(&mut text)?;
        } else {
            text = fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        }
        return report(&text, out);
    }
    let names: Vec<&str> = match &arguments.environment {
        Some(name) => vec![name],
        None => Objectives::names().collect(),
    };
    let mut table = Table::new([
        ("objectives", Align::Left),
        ("objective", Align::Left),
        ("budget", Align::Right),
    ]);
    for name in names {
        let known = || Objectives::names().collect::<Vec<_>>().join(", ");
        let set = Objectives::named(name)
            .ok_or_else(|| format!("{name:?} names no objectives: must be one of {}", known()))?;
        if arguments.prometheus {
            write!(out, "{}", rules::objectives(&set))?;
            continue;
        }
        for objective in set.objectives() {
            let budget = objective.budget().map_or_else(|| "-".to_owned(), percent);
            table.row([set.name().to_owned(), objective.condition().to_string(), budget]);
        }
    }
    if !arguments.prometheus {
        table.write(out)?;
    }
    out.flush()?;
    Ok(Verdict::Good)
}

fn percent(share: f64) -> String {
    let text = format!("{:.2}", share * 100.0);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

fn report(text: &str, out: &mut dyn Write) -> Outcome {
    let report: Value =
        serde_json::from_str(text).map_err(|error| format!("no report: {error}"))?;
    let lines = report["lines"].as_array().ok_or("no report: it has no lines")?;
    writeln!(
        out,
        "{}, window {} s, of which {} s are known",
        report["objectives"].as_str().unwrap_or("?"),
        report["window_s"],
        report["covered_s"]
    )?;
    let mut table = Table::new([
        ("objective", Align::Left),
        ("is", Align::Right),
        ("budget left", Align::Right),
        ("burns", Align::Left),
        ("", Align::Left),
    ]);
    for line in lines {
        let burning = line["burn_rates"].as_array().into_iter().flatten();
        let burning = burning.filter(|burn| burn["is_burning"] == true);
        let burning: Vec<&str> = burning.filter_map(|burn| burn["severity"].as_str()).collect();
        table.row([
            line["objective"].as_str().unwrap_or("?").to_owned(),
            line["written"].as_str().unwrap_or("no data").to_owned(),
            line["budget_left"].as_f64().map_or_else(|| "-".to_owned(), percent),
            burning.first().copied().unwrap_or("-").to_owned(),
            match line["is_met"].as_bool() {
                Some(true) => "green".to_owned(),
                Some(false) => "RED".to_owned(),
                None => "no data".to_owned(),
            },
        ]);
    }
    table.write(out)?;
    out.flush()?;
    Ok(if report["is_met"] == false { Verdict::Bad } else { Verdict::Good })
}

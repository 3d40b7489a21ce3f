//! `tierce doctor`: whether a cache of these settings would work here, and what to do where not.
//!
//! All checks are the library's (`Builder::diagnose`); this prints them.

use std::{io::Write, path::PathBuf};

use clap::Args;
use serde_json::json;
use tierce::{Config, Diagnosis, Fitness};

use crate::output::{Outcome, Verdict};

/// The arguments of `tierce doctor`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A file in YAML, TOML or JSON; the environment wins over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A setting that wins over all others, such as tiering=L1L2L3; may be given more than once.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Prints only what is not as it should be.
    #[arg(long, short)]
    quiet: bool,
}

/// Reads settings from file and environment, then those of the command line.
pub(crate) fn settings(
    file: Option<&std::path::Path>,
    set: &[String],
) -> Result<Config, crate::output::Failure> {
    let mut config = Config::load(file)?;
    for setting in set {
        let (key, value) = setting
            .split_once('=')
            .ok_or_else(|| format!("--set {setting:?}: must be KEY=VALUE"))?;
        config.set(key.trim(), value.trim())?;
    }
    Ok(config)
}

/// Runs `tierce doctor`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let config = settings(arguments.file.as_deref(), &arguments.set)?;
    let all = config.builder()?.diagnose();
    let worst = all.iter().map(|one| one.verdict).max().unwrap_or(Fitness::Fit);
    let shown = all.iter().filter(|one| !arguments.quiet || one.verdict > Fitness::Fit);
    if arguments.json {
        let shown: Vec<&Diagnosis> = shown.collect();
        let document = json!({
            "tiering": config.tiering.to_string(),
            "verdict": worst.as_str(),
            "checks": shown,
        });
        writeln!(out, "{document:#}")?;
    } else {
        for one in shown {
            writeln!(out, "{:4}  {}: {}", one.verdict.as_str(), one.check, one.found)?;
            if let Some(remedy) = &one.remedy {
                writeln!(out, "      -> {remedy}")?;
            }
        }
        let count = |verdict| all.iter().filter(|one| one.verdict == verdict).count();
        let [fit, doubtful, unfit] = [Fitness::Fit, Fitness::Doubtful, Fitness::Unfit].map(count);
        writeln!(out, "{}: {fit} ok, {doubtful} warnings, {unfit} failures", config.tiering)?;
    }
    out.flush()?;
    Ok(if worst == Fitness::Unfit { Verdict::Bad } else { Verdict::Good })
}

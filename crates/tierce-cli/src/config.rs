//! `tierce config`: what a cache would start with, and whether it would start.
//!
//! The environment and the file are read as the library reads them; nothing is opened or
//! connected.

use std::{io::Write, path::PathBuf};

use clap::{Args, Subcommand};
use tierce::{
    Config,
    config::{Source, reference},
};

use crate::{
    output::{Outcome, Verdict},
    table::{Align, Table},
};

/// The arguments of `tierce config`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Prints every key with its value and where the value came from; secrets are stars.
    Show(Sources),
    /// Says whether the settings are legal; exit code 1 and the reason if they are not.
    Check(Sources),
    /// Prints the reference of all keys as a Markdown table.
    Keys,
}

#[derive(Args)]
struct Sources {
    /// A file in YAML, TOML or JSON; the environment wins over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs `tierce config`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    match &arguments.action {
        Action::Show(sources) => show(&Config::load(sources.file.as_deref())?, out)?,
        Action::Check(sources) => {
            let config = Config::load(sources.file.as_deref())?;
            let given = config.show().iter().filter(|key| key.source != Source::Default).count();
            writeln!(
                out,
                "configuration is legal: {given} keys given, the others at their default"
            )?;
            for advice in config.advice() {
                writeln!(out, "{advice}")?;
            }
        }
        Action::Keys => write!(out, "{}", reference())?,
    }
    out.flush()?;
    Ok(Verdict::Good)
}

fn show(config: &Config, out: &mut dyn Write) -> std::io::Result<()> {
    let mut table =
        Table::new([("key", Align::Left), ("value", Align::Left), ("source", Align::Left)]);
    for shown in config.show() {
        table.row([shown.key.to_owned(), shown.value, shown.source.to_string()]);
    }
    table.write(out)
}

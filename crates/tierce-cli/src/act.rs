//! `tierce act`: what an operator does to a running cache when things go wrong, and undoes.

use std::io::Write;

use clap::{Args, Subcommand, ValueEnum};

use crate::{
    http,
    output::{Outcome, Verdict},
};

/// The arguments of `tierce act`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The listener of the cache; its token is read from TIERCE_TOKEN.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9464")]
    address: String,
    /// Who does it, for the journal.
    #[arg(long, value_name = "NAME", default_value = "cli")]
    by: String,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Makes all that the cache has stale, so many keys a second.
    Refresh {
        /// Keys a second.
        #[arg(long, value_name = "N", default_value_t = 100)]
        per_second: u32,
    },
    /// Drops the connections to L3 and has them made anew.
    Reset,
    /// Lets a share of calls pass; the others are answered by L1, a stale value or an error.
    Shed {
        /// The share that passes, such as 70%.
        #[arg(value_name = "PERCENT")]
        to: String,
        /// What the others get.
        #[arg(long, value_enum, default_value_t = Shedding::Stale)]
        answer: Shedding,
    },
    /// Serves nothing and takes no new value.
    Block,
    /// Ends all of these.
    Lift,
    /// Prints what is in force.
    Status,
}

#[derive(Clone, Copy, ValueEnum)]
enum Shedding {
    Stale,
    Error,
}

/// Runs `tierce act`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let by = http::in_query(&arguments.by);
    let path = match &arguments.action {
        Action::Status => None,
        Action::Refresh { per_second } => Some(format!("refresh?per_second={per_second}&by={by}")),
        Action::Reset => Some(format!("reset?by={by}")),
        Action::Shed { to, answer } => {
            let answer = match answer {
                Shedding::Stale => "stale",
                Shedding::Error => "error",
            };
            Some(format!("shed?to={}&answer={answer}&by={by}", http::in_query(to)))
        }
        Action::Block => Some(format!("block?by={by}")),
        Action::Lift => Some(format!("lift?by={by}")),
    };
    let said = match path {
        Some(path) => http::post(&arguments.address, &format!("/cache/actions/{path}"))?,
        None => http::get(&arguments.address, "/cache/actions")?,
    };
    writeln!(out, "{said}")?;
    out.flush()?;
    Ok(Verdict::Good)
}

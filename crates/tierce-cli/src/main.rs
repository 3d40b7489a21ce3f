//! The `tierce` command: looks at configurations and stores, plays traces, shows the whole at work.
//!
//! One file per subcommand; each has its arguments and a `run` that writes to the given output
//! and returns what to exit with. Exit codes: 0 done, 1 an error or a failed check, 2 wrong
//! arguments (by clap).

mod act;
mod advise;
mod alerts;
mod config;
mod demo;
mod doctor;
mod http;
mod inspect;
mod latency;
mod load;
mod output;
mod play;
mod plot;
mod quantity;
mod replay;
mod report;
mod rollout;
mod slo;
mod table;
mod target;
mod top;
mod value;

use std::{io, process::ExitCode};

use clap::{Parser, Subcommand};

/// An embedded tiered cache: L1 memory, L2 a store shared by all processes of a host, L3 Redis.
#[derive(Parser)]
#[command(name = "tierce", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows or checks the settings that a cache would start with.
    Config(config::Arguments),
    /// Says whether a cache of the settings would work here: limits, rights, server, versions.
    Doctor(doctor::Arguments),
    /// Makes so many requests a second of a cache, and judges it by the objectives of a profile.
    Load(Box<load::Arguments>),
    /// Plays a request trace through a cache and reports hits and latencies per tier.
    Replay(replay::Arguments),
    /// Tells what a store file is, who uses it, what is in it; verifies every record.
    Inspect(inspect::Arguments),
    /// Shows who uses a store at the moment, and how: rates, hit ratios, occupancy.
    Top(top::Arguments),
    /// Prints the objectives that are shipped, or how a running cache meets them.
    Slo(slo::Arguments),
    /// Says what the numbers of a running cache, or of a store, show to be unwise.
    Advise(advise::Arguments),
    /// Sheds load, blocks, refreshes, resets connections of a running cache, and undoes it.
    Act(act::Arguments),
    /// Checks a file of alerts, or turns it into rules of Prometheus.
    Alerts(alerts::Arguments),
    /// Prints a rollout plan; shows a rollout, moves it or takes it back by its journal.
    Rollout(rollout::Arguments),
    /// Shows the cache at work, in under a minute: a slow origin, four processes, kills, outages.
    Demo(demo::Arguments),
    /// One worker process of a demo.
    #[command(hide = true)]
    DemoWorker(demo::WorkerArguments),
    /// Becomes another program that ends with the demo.
    #[command(hide = true)]
    DemoChild(demo::ChildArguments),
}

fn main() -> ExitCode {
    let mut out = io::stdout().lock();
    let outcome = match Arguments::parse().command {
        Command::Config(arguments) => config::run(&arguments, &mut out),
        Command::Doctor(arguments) => doctor::run(&arguments, &mut out),
        Command::Load(arguments) => load::run(&arguments, &mut out),
        Command::Replay(arguments) => replay::run(&arguments, &mut out),
        Command::Inspect(arguments) => inspect::run(&arguments, &mut out),
        Command::Top(arguments) => top::run(&arguments, &mut out),
        Command::Slo(arguments) => slo::run(&arguments, &mut out),
        Command::Advise(arguments) => advise::run(&arguments, &mut out),
        Command::Act(arguments) => act::run(&arguments, &mut out),
        Command::Alerts(arguments) => alerts::run(&arguments, &mut out),
        Command::Rollout(arguments) => rollout::run(&arguments, &mut out),
        Command::Demo(arguments) => demo::run(&arguments, &mut out),
        Command::DemoWorker(arguments) => demo::run_worker(&arguments, &mut out),
        Command::DemoChild(arguments) => demo::become_child(&arguments),
    };
    output::exit_code(outcome)
}

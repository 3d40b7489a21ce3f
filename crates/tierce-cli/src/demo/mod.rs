//! `tierce demo`: the whole cache at work before one's eyes, on one machine, in under a minute.
//!
//! A slow origin over HTTP, four worker processes with one L2, a Redis of the demo's own, a real
//! trace; workers and Redis are killed on the way. Every value that anybody reads is checked: a
//! wrong one, or an error that reaches a caller, makes the exit code 1.
//!
//! | file | answers |
//! |---|---|
//! | `story.rs` | what happens, in which order, and that nothing stays behind |
//! | `origin.rs`, `client.rs` | the slow server, and how workers ask it |
//! | `item.rs`, `floors.rs` | what a right value is, and which versions may still be read |
//! | `script.rs` | the trace |
//! | `redis_server.rs`, `crew.rs` | the processes |
//! | `worker.rs` | what one worker does |
//! | `protocol.rs`, `book.rs` | what workers report, and what is made of it |
//! | `screen.rs`, `summary.rs` | what is shown |
//! | `sabotage.rs` | how the verifier is tested |

mod book;
mod client;
mod crew;
mod floors;
mod item;
mod origin;
mod protocol;
mod redis_server;
mod sabotage;
mod screen;
mod script;
mod story;
mod summary;
mod worker;

use std::{io::Write, time::Duration};

pub(crate) use redis_server::{ChildArguments, become_child};
pub(crate) use worker::{WorkerArguments, run as run_worker};

use crate::output::{Outcome, Verdict};
use sabotage::Sabotage;
use screen::Screen;
use story::Plan;

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How long to play, besides starting and stopping.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(6..=600))]
    seconds: u32,
    /// Plays with L1 and L2 only, though a redis-server may be installed.
    #[arg(long)]
    without_redis: bool,
    /// Breaks a rule that the demo verifies: it must fail.
    #[arg(long, value_enum, hide = true)]
    sabotage: Option<Sabotage>,
}

/// Runs the demo and writes its report.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let plan = Plan {
        length: Duration::from_secs(arguments.seconds.into()),
        with_redis: !arguments.without_redis,
        sabotage: arguments.sabotage,
    };
    let ending = story::play(&plan, &mut Screen::new())?;
    summary::write(&ending, out)?;
    for trouble in &ending.book.troubles {
        writeln!(out, "wrong: {trouble}")?;
    }
    if ending.book.is_clean() {
        return Ok(Verdict::Good);
    }
    writeln!(out, "\nFAILED: callers saw errors or wrong values")?;
    Ok(Verdict::Bad)
}

//! `tierce top`: who uses a store at the moment, and how.
//!
//! Looks from outside every interval, as `tierce inspect` does, and shows what changed since. The
//! store counts events, by opening, and no times: so there are rates and ratios, and no latencies.

mod frame;
mod plain;
mod sample;
mod screen;
mod terminal;

use std::{
    io::{self, IsTerminal as _, Write},
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use tierce::{
    Clock, StoreInspection,
    config::units::{parse_span, write_span},
};

use self::{frame::Frame, sample::Sampler, screen::Screen, terminal::Event};
use crate::output::{Failure, Outcome, Verdict};

/// Shorter ones would show the scheduler, and cost the host more than they tell.
const LEAST_INTERVAL: Duration = Duration::from_millis(100);
/// Longer ones are a mistake of the unit.
const MOST_INTERVAL: Duration = Duration::from_secs(3600);

/// The arguments of `tierce top`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store: its l2.data, or the folder that has it.
    file: PathBuf,
    /// Between two looks, such as 500ms; from 100ms to 1h.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = parse_interval)]
    interval: Duration,
    /// Prints one frame as text after one interval, and ends.
    #[arg(long)]
    once: bool,
}

fn parse_interval(text: &str) -> Result<Duration, String> {
    let span = parse_span(text).map_err(str::to_owned)?;
    if (LEAST_INTERVAL..=MOST_INTERVAL).contains(&span) {
        return Ok(span);
    }
    Err(format!("must be from {} to {}", write_span(LEAST_INTERVAL), write_span(MOST_INTERVAL)))
}

/// Runs `tierce top`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let inspection = StoreInspection::open(&arguments.file, Clock::system())?;
    let mut sampler = Sampler::new(inspection);
    if arguments.once {
        let before = sampler.take()?;
        std::thread::sleep(arguments.interval);
        let frame = Frame::between(&before, &sampler.take()?, sampler.header());
        plain::write(&frame, sampler.path(), out)?;
        out.flush()?;
        return Ok(Verdict::Good);
    }
    if !io::stdout().is_terminal() {
        return Err("top: stdout is not a terminal: --once prints one frame as text".into());
    }
    watch(&mut sampler, arguments.interval)?;
    Ok(Verdict::Good)
}

/// Draws until it is told to stop. The terminal is as before when this returns, whatever it
/// returns.
fn watch(sampler: &mut Sampler, interval: Duration) -> Result<(), Failure> {
    let mut terminal = terminal::enter()?;
    let mut screen = Screen::new(sampler.path(), sampler.header(), interval);
    let mut before = sampler.take()?;
    let mut due = Instant::now() + interval;
    loop {
        terminal.draw(|target| screen.draw(target))?;
        match terminal.wait_until(due)? {
            Event::Quit => return Ok(()),
            Event::Changed => {}
            Event::Due => {
                let now = sampler.take()?;
                screen.show(Frame::between(&before, &now, sampler.header()));
                before = now;
                due = Instant::now() + interval;
            }
        }
    }
}

//! Progress on standard error: on a terminal one line that changes twice a second under the
//! headlines of the phases, else the headlines and a line every five seconds.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use super::book::Book;
use crate::latency::write_nanos;

const TERMINAL_INTERVAL: Duration = Duration::from_millis(500);
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// Back to the start of the line, and clear it.
const RESTART_LINE: &str = "\r\x1b[2K";

pub(super) struct Screen {
    begin: Instant,
    shown: Instant,
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        let now = Instant::now();
        Self { begin: now, shown: now, is_terminal: io::stderr().is_terminal() }
    }

    /// Says what happens now.
    pub(super) fn headline(&mut self, text: &str) {
        let before = if self.is_terminal { RESTART_LINE } else { "" };
        let seconds = self.begin.elapsed().as_secs_f64();
        write(format_args!("{before}[{seconds:5.1} s] {text}\n"));
    }

    /// Shows how it goes, when it is time for that.
    pub(super) fn status(&mut self, phase: &str, book: &mut Book) {
        let interval = if self.is_terminal { TERMINAL_INTERVAL } else { LOG_INTERVAL };
        if self.shown.elapsed() < interval {
            return;
        }
        self.shown = Instant::now();
        let (recent, span) = book.take_recent();
        let tally = recent.tally;
        let rate = tally.requests as f64 / span.as_secs_f64();
        let share = |count: u64| count as f64 * 100.0 / tally.requests.max(1) as f64;
        let p95 = recent.latencies.quantile(0.95).map_or("-".into(), write_nanos);
        let total = book.sum_from(0).0.tally;
        let without = match book.workers_without_redis() {
            0 => String::new(),
            workers => format!(" | {workers} without L3"),
        };
        let (before, after) = if self.is_terminal { (RESTART_LINE, "") } else { ("", "\n") };
        write(format_args!(
            "{before}[{:5.1} s] {phase:<14} {rate:6.0} req/s | L1 {:.0} % L2 {:.0} % L3 {:.0} % \
             origin {:.0} % | p95 {p95} | errors {} wrong {}{without}{after}",
            self.begin.elapsed().as_secs_f64(),
            share(tally.memory),
            share(tally.shared),
            share(tally.redis),
            share(tally.loaded + tally.joined),
            total.errors,
            total.wrong,
        ));
    }

    /// Takes the changing line away.
    pub(super) fn clear(&mut self) {
        if self.is_terminal {
            write(format_args!("{RESTART_LINE}"));
        }
    }
}

/// Progress that cannot be shown is no reason to stop.
fn write(text: std::fmt::Arguments<'_>) {
    let mut out = io::stderr().lock();
    let _ = out.write_fmt(text).and_then(|()| out.flush());
}

//! What a load came to: figures, objectives, whether the rate was reached, and what kept it.

use std::{
    io::{self, Write},
    time::Duration,
};

use serde_json::{Value, json};
use tierce::{
    LatencySummary, WindowStats,
    guard::{Objectives, View},
};

use super::course::Done;
use crate::{
    latency::{Latencies, write_nanos},
    table::{Align, Table},
};

/// A rate counts as reached from here on: a run of few requests has some more or less.
const REACHED: f64 = 0.97;
/// Threads that are busy for more of the time have no reserve for what comes at once.
const SATURATED: f64 = 0.9;

/// An objective, and how it was met.
pub(super) struct Line {
    condition: String,
    found: Option<String>,
    /// `None` where nothing is known of it.
    is_met: Option<bool>,
}

pub(super) struct Report {
    pub(super) profile: Option<String>,
    pub(super) tiering: String,
    pub(super) asked: f64,
    pub(super) duration: Duration,
    pub(super) done: Done,
    pub(super) lines: Vec<Line>,
    pub(super) absent: Vec<String>,
}

fn summary(latencies: &Latencies, count: u64) -> LatencySummary {
    let of = |share| Duration::from_nanos(latencies.quantile(share).unwrap_or(0));
    let mut summary = LatencySummary::default();
    summary.count = count;
    (summary.p50, summary.p95, summary.p99, summary.max) = (of(0.5), of(0.95), of(0.99), of(1.0));
    summary
}

/// Judges what was done by the objectives: latencies are those from the intended beginning.
pub(super) fn judge(objectives: &Objectives, done: &Done) -> Vec<Line> {
    let mut window = WindowStats::default();
    (window.asked, window.covered) = (done.elapsed, done.elapsed);
    window.requests = done.read_count;
    window.hits = done.hits;
    // A request that nobody got to is one without an answer.
    window.failures = done.errors + done.unsent;
    window.late = done.late;
    window.loads = done.loads;
    window.latency = summary(&done.reads, done.read_count);
    window.bytes = done.bytes;
    window.bytes_limit = (done.bytes_limit > 0).then_some(done.bytes_limit);
    window.resident_bytes = done.resident_bytes;
    window.available = done.available;
    window.processor = done.processor;
    let view = View::of(window);
    let judged = objectives.objectives().iter().map(|objective| {
        let condition = objective.condition();
        let value = condition.value(&view, done.elapsed);
        Line {
            condition: condition.to_string(),
            found: value.map(|value| condition.write(value)),
            is_met: condition.holds(&view, done.elapsed),
        }
    });
    judged.collect()
}

impl Report {
    /// Requests a second that were made at their rate.
    pub(super) fn reached(&self) -> f64 {
        self.done.in_time as f64 / self.duration.as_secs_f64()
    }

    fn is_reached(&self) -> bool {
        self.reached() >= self.asked * REACHED
    }

    /// How much of their time threads were in calls.
    fn busy(&self) -> f64 {
        let all = self.done.elapsed.as_secs_f64() * self.done.threads as f64;
        if all > 0.0 { self.done.busy.as_secs_f64() / all } else { 0.0 }
    }

    /// Share of all processors that the load and the cache used.
    fn processors(&self) -> f64 {
        let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
        self.done.processor.as_secs_f64() / self.done.elapsed.as_secs_f64().max(1e-9) / count
    }

    /// True if all that was asked for came to be.
    pub(super) fn is_good(&self) -> bool {
        self.is_reached()
            && self.done.wrong == 0
            && self.absent.is_empty()
            && self.lines.iter().all(|line| line.is_met == Some(true))
            && (self.profile.is_some() || self.done.errors == 0)
    }

    /// What keeps the figures from meaning what they seem to.
    pub(super) fn remarks(&self) -> Vec<String> {
        let mut remarks = self.absent.clone();
        if !self.is_reached() {
            let (busy, used) = (self.busy() * 100.0, self.processors() * 100.0);
            let why = match () {
                () if used > SATURATED * 100.0 => {
                    format!("the processors are the limit ({used:.0} % used): use another machine")
                }
                () if busy > SATURATED * 100.0 => {
                    format!("the threads are the limit ({busy:.0} % in calls): raise --threads")
                }
                () => format!("threads {busy:.0} % in calls, processors {used:.0} % used"),
            };
            remarks.push(format!(
                "{:.0} of {:.0} requests a second were reached, {} were never made: {why}",
                self.reached(),
                self.asked,
                self.done.unsent
            ));
        }
        if self.done.wrong > 0 {
            remarks.push(format!("{} answers were not the value of their key", self.done.wrong));
        }
        if let Some(error) = &self.done.first_error {
            remarks.push(format!("{} requests failed, first: {error}", self.done.errors));
        }
        let late = self.done.wakeup.quantile(0.99).unwrap_or(0);
        let all = self.done.reads.quantile(0.99).unwrap_or(0);
        if late > all / 2 && late > 0 {
            remarks.push(format!(
                "timers of this machine are late by {} (p99): that much of the latencies may be theirs",
                write_nanos(late)
            ));
        }
        remarks
    }

    pub(super) fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let done = &self.done;
        let share = |part: u64| 100.0 * part as f64 / done.read_count.max(1) as f64;
        writeln!(
            out,
            "{}: {:.0} of {:.0} requests a second for {:.1} s; {} reads, {:.1} % hits, {} loads, \
             {} writes, {} errors",
            self.tiering,
            self.reached(),
            self.asked,
            done.elapsed.as_secs_f64(),
            done.read_count,
            share(done.hits),
            done.loads,
            done.write_count,
            done.errors + done.unsent,
        )?;
        let mut table = Table::new([
            ("latency", Align::Left),
            ("p50", Align::Right),
            ("p95", Align::Right),
            ("p99", Align::Right),
            ("max", Align::Right),
        ]);
        for (name, latencies) in [
            ("reads, from when they were due", &done.reads),
            ("reads, from when they were made", &done.reads_served),
            ("writes, from when they were due", &done.writes),
        ] {
            let cell = |share| latencies.quantile(share).map_or_else(|| "-".into(), write_nanos);
            let cells = [0.5, 0.95, 0.99, 1.0].map(cell);
            table.row([name.to_owned()].into_iter().chain(cells));
        }
        table.write(out)?;
        if let Some(profile) = &self.profile {
            writeln!(out)?;
            let mut table =
                Table::new([(("objective"), Align::Left), ("is", Align::Right), ("", Align::Left)]);
            for line in &self.lines {
                let word = match line.is_met {
                    Some(true) => "met",
                    Some(false) => "NOT MET",
                    None => "no data",
                };
                let found = line.found.clone().unwrap_or_else(|| "-".into());
                table.row([line.condition.clone(), found, word.to_owned()]);
            }
            table.write(out)?;
            writeln!(out, "{profile}: {}", if self.is_good() { "met" } else { "NOT MET" })?;
        }
        for remark in self.remarks() {
            writeln!(out, "note: {remark}")?;
        }
        Ok(())
    }

    pub(super) fn to_json(&self) -> Value {
        let done = &self.done;
        let latencies = |latencies: &Latencies| {
            let of = |share| latencies.quantile(share);
            json!({"p50_ns": of(0.5), "p95_ns": of(0.95), "p99_ns": of(0.99), "max_ns": of(1.0)})
        };
        let lines = self.lines.iter().map(
            |line| json!({"objective": line.condition, "is": line.found, "is_met": line.is_met}),
        );
        json!({
            "tiering": self.tiering,
            "profile": self.profile,
            "is_met": self.is_good(),
            "asked_rps": self.asked,
            "reached_rps": self.reached(),
            "is_reached": self.is_reached(),
            "elapsed_s": done.elapsed.as_secs_f64(),
            "reads": done.read_count,
            "hits": done.hits,
            "loads": done.loads,
            "writes": done.write_count,
            "errors": done.errors,
            "never_made": done.unsent,
            "wrong_values": done.wrong,
            "threads_busy": self.busy(),
            "processors_used": self.processors(),
            "latency_since_due": latencies(&done.reads),
            "latency_since_made": latencies(&done.reads_served),
            "write_latency_since_due": latencies(&done.writes),
            "timer_lateness": latencies(&done.wakeup),
            "objectives": lines.collect::<Vec<_>>(),
            "notes": self.remarks(),
        })
    }
}

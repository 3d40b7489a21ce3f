//! The report at the end: figures of this run, nothing else.

use std::{
    fmt::Write as _,
    io::{self, Write},
    time::Duration,
};

use super::{
    book::Successor,
    origin::READ_TIME,
    protocol::{Counted, INTERVAL, Tally},
    script::TRACE_NAME,
    story::{BASELINE, CALLERS, Ending, STEADY, THINK_TIME, WARM_UP, WORKERS},
};
use crate::{
    latency::write_nanos,
    table::{Align, Table},
};

/// Writes the report.
pub(super) fn write(ending: &Ending, out: &mut dyn Write) -> io::Result<()> {
    let Ending { script, tiering, rounds, took, .. } = ending;
    writeln!(
        out,
        "\ntierce demo: trace {TRACE_NAME} ({} requests, {} keys), {rounds:.1} rounds in {:.1} s; \
         tiering {tiering}",
        script.len(),
        script.items(),
        took.as_secs_f64()
    )?;
    writeln!(
        out,
        "{WORKERS} processes of {CALLERS} callers, each pausing {} between requests; the origin \
         takes {} per read\n",
        write_nanos(THINK_TIME.as_nanos() as u64),
        write_nanos(READ_TIME.as_nanos() as u64),
    )?;
    phases(ending).write(out)?;
    writeln!(out)?;
    comparison(ending).write(out)?;
    writeln!(out)?;
    facts(ending).write(out)
}

fn phases(ending: &Ending) -> Table {
    let right =
        ["requests", "req/s", "p50", "p95", "p99", "L1", "L2", "L3", "origin", "errors", "wrong"]
            .map(|head| (head, Align::Right));
    let mut table = Table::new([("phase", Align::Left)].into_iter().chain(right));
    let mut row = |name: &str, counted: &Counted, span: Duration| {
        let tally = counted.tally;
        table.row([
            name.to_owned(),
            tally.requests.to_string(),
            format!("{:.0}", rate(counted, span)),
            quantile(counted, 0.5),
            quantile(counted, 0.95),
            quantile(counted, 0.99),
            percent(tally.memory, tally.requests),
            percent(tally.shared, tally.requests),
            percent(tally.redis, tally.requests),
            percent(tally.loaded + tally.joined, tally.requests),
            tally.errors.to_string(),
            tally.wrong.to_string(),
        ]);
    };
    for (phase, (counted, span)) in ending.phases.iter().zip(&ending.book.phases) {
        row(phase.name, counted, *span);
    }
    let (all, span) = ending.book.sum_from(WARM_UP);
    row("all with cache", &all, span);
    table
}

fn comparison(ending: &Ending) -> Table {
    let heads = ["without cache", "with cache", "ratio", "steady", "ratio"];
    let heads = heads.map(|head| (head, Align::Right));
    let mut table = Table::new([("", Align::Left)].into_iter().chain(heads));
    let (without, without_span) = &ending.book.phases[BASELINE];
    let (with, with_span) = ending.book.sum_from(WARM_UP);
    let (steady, steady_span) = &ending.book.phases[STEADY];
    for (name, share) in [("latency p50", 0.5), ("latency p95", 0.95)] {
        let ratio = |other: &Counted| {
            let nanos = |counted: &Counted| counted.latencies.quantile(share);
            match (nanos(without), nanos(other)) {
                (Some(slow), Some(fast)) => times(slow as f64 / fast.max(1) as f64),
                _ => "-".into(),
            }
        };
        table.row([
            name.to_owned(),
            quantile(without, share),
            quantile(&with, share),
            ratio(&with),
            quantile(steady, share),
            ratio(steady),
        ]);
    }
    let base = rate(without, *without_span);
    let ratio = |other: f64| if base > 0.0 { times(other / base) } else { "-".into() };
    let (all, steady) = (rate(&with, with_span), rate(steady, *steady_span));
    table.row([
        "requests/s".to_owned(),
        format!("{base:.0}"),
        format!("{all:.0}"),
        ratio(all),
        format!("{steady:.0}"),
        ratio(steady),
    ]);
    table
}

fn facts(ending: &Ending) -> Table {
    let book = &ending.book;
    let mut table = Table::new([("fact", Align::Left), ("of this run", Align::Left)]);
    let mut fact = |name: &str, text: String| table.row([name.to_owned(), text]);
    let (with, _) = book.sum_from(WARM_UP);
    let tally = with.tally;
    let of = |count: u64| format!("{count} ({})", percent(count, tally.requests));
    fact("hits by tier", {
        let mut text = format!("L1 {}, L2 {}", of(tally.memory), of(tally.shared));
        if ending.tiering.has(tierce::TierKind::Redis) {
            // Writing to a String cannot fail.
            let _ = write!(text, ", L3 {}", of(tally.redis));
        }
        text
    });
    let asked = tally.requests + tally.probes;
    fact(
        "origin calls",
        format!(
            "{} instead of {asked} (each read a call): {} fewer",
            ending.origin_reads.1,
            times(asked as f64 / ending.origin_reads.1.max(1) as f64)
        ),
    );
    let every = book.sum_from(0).0.tally;
    fact("errors seen by callers", every.errors.to_string());
    let checked = every.requests + every.probes;
    fact("wrong values", format!("{} of {checked} reads, every one checked", every.wrong));
    fact(
        "coherence",
        format!(
            "{} changes under load ({} by set, {} by delete); {} further reads of changed items \
             in all processes",
            every.sets + every.deletes,
            every.sets,
            every.deletes,
            every.probes
        ),
    );
    fact("cold start, first second", first_second(&book.cold));
    for Successor { worker, ready_after, youth, .. } in &book.successors {
        let ready = ready_after.map_or("never".into(), short);
        let name = format!("worker {} after SIGKILL", worker + 1);
        fact(&name, format!("open in {ready}; first second: {}", first_second(youth)));
    }
    if let (Some((stopped, before)), Some(started)) = (book.redis_stopped, book.redis_started) {
        let opened = book.redis_found(false, stopped, Some(started));
        let closed = book.redis_found(true, started, None);
        let mut text = format!("for {}; L3 left out {}", short(started - stopped), spread(&opened));
        if before > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, ", by {before} even before");
        }
        fact("Redis stopped", text);
        fact("Redis started", format!("L3 in use again {}", spread(&closed)));
    }
    if !book.successors.is_empty() {
        fact(
            "not in these figures",
            format!("what the killed workers did in their last {}", short(INTERVAL)),
        );
    }
    table
}

/// What the tiers below L1 were good for.
fn first_second(tally: &Tally) -> String {
    let below = tally.below_memory();
    let of = |count| percent(count, below);
    format!(
        "of {below} L1 misses {} were in L2, {} in L3, {} at the origin",
        of(tally.shared),
        of(tally.redis),
        of(tally.loaded + tally.joined)
    )
}

fn spread(found: &[Duration]) -> String {
    match (found.first(), found.last()) {
        (Some(first), Some(last)) => {
            format!(
                "after {} to {} ({} of {WORKERS} workers)",
                short(*first),
                short(*last),
                found.len()
            )
        }
        _ => "by no worker".into(),
    }
}

fn rate(counted: &Counted, span: Duration) -> f64 {
    let seconds = span.as_secs_f64();
    if seconds > 0.0 { counted.tally.requests as f64 / seconds } else { 0.0 }
}

fn quantile(counted: &Counted, share: f64) -> String {
    counted.latencies.quantile(share).map_or("-".into(), write_nanos)
}

fn percent(count: u64, of: u64) -> String {
    if of == 0 { "-".into() } else { format!("{:.1} %", count as f64 * 100.0 / of as f64) }
}

fn times(ratio: f64) -> String {
    if ratio < 100.0 { format!("{ratio:.1}x") } else { format!("{ratio:.0}x") }
}

fn short(span: Duration) -> String {
    write_nanos(span.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_ratios_of_nothing_are_told_as_such() {
        assert_eq!(percent(0, 0), "-");
        assert_eq!(percent(1, 3), "33.3 %");
        assert_eq!(times(3.26), "3.3x");
        assert_eq!(times(4640.0), "4640x");
        assert_eq!(spread(&[]), "by no worker");
        assert_eq!(rate(&Counted::new(), Duration::ZERO), 0.0);
    }
}

//! What a replay tells: a table for people, JSON for programs.

use std::io::{self, Write};

use serde_json::{Value, json};
use tierce::Tiering;

use crate::{
    latency::write_nanos,
    play::{Played, Tally},
    table::{Align, Table},
    target::Place,
};

/// What was played, and with what.
pub(crate) struct Setting<'a> {
    pub(crate) trace: &'a str,
    pub(crate) tiering: Tiering,
    /// Key and value of each option that was in force.
    pub(crate) options: Vec<(&'static str, String)>,
    /// Tiers of the tiering that did not serve, and why.
    pub(crate) absent: Vec<String>,
}

/// The quantiles of every report.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];

/// The places that a report speaks of: the tiers in force, the origin, and the wait for another
/// worker's load where it happened.
fn places<'a>(
    setting: &'a Setting<'_>,
    played: &'a Played,
) -> impl Iterator<Item = (Place, &'a Tally)> {
    let tally = |place: Place| (place, &played.tallies[place.index()]);
    Place::ALL.into_iter().map(tally).filter(|(place, tally)| match place {
        Place::Tier(tier) => setting.tiering.has(*tier),
        Place::Joined => tally.count > 0,
        Place::Origin => true,
    })
}

/// Writes the table.
pub(crate) fn write_table(
    setting: &Setting<'_>,
    played: &Played,
    out: &mut dyn Write,
) -> io::Result<()> {
    let options: Vec<String> =
        setting.options.iter().map(|(key, value)| format!("{key} {value}")).collect();
    writeln!(out, "{}: tiering {}, {}", setting.trace, setting.tiering, options.join(", "))?;
    for reason in &setting.absent {
        writeln!(out, "warning: {reason}")?;
    }
    writeln!(out)?;
    let head = ["requests", "share", "bytes", "p50", "p95", "p99"];
    let columns = head.map(|name| (name, Align::Right));
    let mut table = Table::new([("answered by", Align::Left)].into_iter().chain(columns));
    let requests = played.requests();
    let share = |count: u64| format!("{:.2} %", 100.0 * count as f64 / requests.max(1) as f64);
    for (place, tally) in places(setting, played) {
        let latencies = QUANTILES.map(|(_, share)| {
            tally.latencies.quantile(share).map_or_else(|| "-".to_owned(), write_nanos)
        });
        let cells = [
            place.label().to_owned(),
            tally.count.to_string(),
            share(tally.count),
            tally.bytes.to_string(),
        ];
        table.row(cells.into_iter().chain(latencies));
    }
    let bytes: u64 = played.tallies.iter().map(|tally| tally.bytes).sum();
    table.row(["all".to_owned(), requests.to_string(), share(requests), bytes.to_string()]);
    table.write(out)?;
    writeln!(out)?;
    writeln!(out, "hits          {} ({})", played.hits(), share(played.hits()))?;
    writeln!(out, "origin calls  {}", played.origin_calls)?;
    writeln!(out, "wrong values  {}", played.wrong)?;
    writeln!(out, "errors        {}", played.errors)?;
    if let Some(error) = &played.first_error {
        writeln!(out, "first error   {error}")?;
    }
    let seconds = played.elapsed.as_secs_f64();
    let rate = requests as f64 / seconds.max(1e-9);
    writeln!(out, "time          {seconds:.3} s, {rate:.0} requests a second")
}

/// The same as JSON; latencies in nanoseconds, off by 1.6 % at most.
pub(crate) fn to_json(setting: &Setting<'_>, played: &Played) -> Value {
    let answers: Vec<Value> = places(setting, played)
        .map(|(place, tally)| {
            let mut answer = json!({
                "by": place.label(), "requests": tally.count, "bytes": tally.bytes,
            });
            for (name, share) in QUANTILES {
                answer[format!("{name}_ns")] = json!(tally.latencies.quantile(share));
            }
            answer
        })
        .collect();
    let labels: Vec<&str> = Place::ALL.iter().map(|place| place.label()).collect();
    let options: serde_json::Map<String, Value> =
        setting.options.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
    json!({
        "trace": setting.trace,
        "tiering": setting.tiering.name(),
        "options": options,
        "absent": setting.absent,
        "requests": played.requests(),
        "hits": played.hits(),
        "hit_ratio": played.hit_ratio(),
        "origin_calls": played.origin_calls,
        "wrong_values": played.wrong,
        "errors": played.errors,
        "first_error": played.first_error.as_ref().map(ToString::to_string),
        "elapsed_seconds": played.elapsed.as_secs_f64(),
        "answers": answers,
        "slices": { "columns": labels, "rows": played.slices },
    })
}

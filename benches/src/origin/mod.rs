//! The parts of `bench-origin`.
//!
//! | file | answers |
//! |---|---|
//! | `source` | what is loaded from: slow, and often failing |
//! | `rivals` | which caches, and how each is set up |
//! | `run` | who asks for what, and what is written down of it |
//! | `crowd` | many callers of one key whose loader fails |

mod crowd;
mod rivals;
mod run;
mod source;

use std::{fmt::Write as _, time::Duration};

use serde_json::{Value, json};
use tierce_benches::{
    arguments::Arguments,
    bars::Bar,
    report::{Machine, write_files},
};

use crowd::Crowd;
use run::Tale;
use source::Source;

const HOW: &str = "\
An origin that answers after 464 ms and fails 30 % of the time, asked for 1,000 keys by Zipf's law \
(0.99) through a cache with a time to live of 10 s. Four threads ask, each ten times in a row and \
then pausing for a millisecond. Before that each key is asked for until it is there; what this \
costs is not in the figures. Failures come by a seeded lot.\n\
\n\
Rows: `tierce`: L1 over a store (L2) with ttl 10 s, 10 % jitter, refresh ahead from half of the \
time to live on, stale while revalidating and stale if error for 10 minutes, failures remembered \
for 0.2 s doubling to 2 s, 64 threads that may load. `tierce-ttl`: the same cache with the time to \
live alone. `moka`: `try_get_with` and the time to live.\n\
\n\
`age`: how old the oldest value was that a caller was given, where the cache tells. A value that \
is older than its time to live was served as stale: that is what fail-safe is.\n\
\n\
The crowd: twenty callers at once of one key whose loader fails after 50 ms; `answered` is the \
time until the last of them has its error, the middle of seven rounds.";

/// How long the origin takes, also to fail.
const LATENCY: Duration = Duration::from_millis(464);
/// The part of its answers that are failures.
const FAILURES: f64 = 0.3;

/// Seconds of each run, if nothing is said.
const SECONDS: u64 = 60;

/// Does what the arguments say.
///
/// # Errors
/// If the arguments are wrong, a cache cannot be made or a file cannot be written; the text says
/// which.
pub(crate) fn main() -> Result<(), String> {
    let mut seconds = None;
    let arguments = Arguments::parse_with(
        std::env::args().skip(1),
        &rivals::NAMES,
        "--seconds N",
        |argument, value| {
            if argument == "--seconds" {
                let text = value()?;
                let number = text.parse().map_err(|_| format!("--seconds {text}: no number"))?;
                seconds = Some(number);
            }
            Ok(argument == "--seconds")
        },
    )?;
    let seconds = seconds.unwrap_or(if arguments.quick { 3 } else { SECONDS });
    let folder = tempfile::tempdir().map_err(|error| format!("no folder: {error}"))?;
    let (mut tales, mut crowds) = (vec![], vec![]);
    for name in &arguments.rivals {
        let cache = rivals::make(name, folder.path(), Source::new(LATENCY, FAILURES))?;
        tales.push((*name, run::run(&*cache, Duration::from_secs(seconds))));
        drop(cache);
        let apart = folder.path().join("crowd");
        let cache = rivals::make(name, &apart, Source::new(crowd::LATENCY, 1.0))?;
        crowds.push((*name, crowd::run(&*cache)));
    }

    let machine = Machine::here();
    let bars = bars(&tales, &crowds);
    let mut text = format!("# origin\n\n{} {seconds} s each.\n\n{HOW}\n", machine.line());
    text += &Bar::table(&bars);
    text += &table(&tales);
    text += &crowd::table(&crowds);
    println!("{text}");
    if arguments.keeps_results() {
        let mut value = machine.json("origin", HOW);
        value["seconds"] = json!(seconds);
        value["rows"] = tales.iter().map(|(name, tale)| row(name, tale)).collect();
        value["crowd"] = crowds.iter().map(|(name, crowd)| crowd.json(name)).collect();
        value["bars"] = bars.iter().map(Bar::json).collect();
        write_files("origin", &text, &value)
            .map_err(|error| format!("results could not be written: {error}"))?;
    }
    Ok(())
}

fn bars(tales: &[(&'static str, Tale)], crowds: &[(&'static str, Crowd)]) -> Vec<Bar> {
    let Some(at) = tales.iter().position(|(name, _)| *name == rivals::NAMES[0]) else {
        return vec![];
    };
    let (ours, crowd) = (&tales[at].1, &crowds[at].1);
    vec![
        Bar::at_most("errors that callers see", ours.errors as f64, 0.0),
        Bar::at_most("p99 of a call, milliseconds", millis(ours.percentile(0.99)), 1.0),
        Bar::at_most("loader calls for a crowd of 20", crowd.most_loads as f64, 1.0),
        Bar::at_most("the crowd answered, milliseconds", crowd.answered, 60.0),
    ]
}

fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

fn table(tales: &[(&'static str, Tale)]) -> String {
    let mut text = String::from(
        "\n## What callers saw\n\n| | calls | errors | p50 µs | p99 µs | p99.9 ms | slowest ms | \
         loads | failed | age s |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for (name, tale) in tales {
        let age = tale.oldest.map_or("-".into(), |age| format!("{:.1}", age.as_secs_f64()));
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {} | {} | {:.2} | {:.1} | {:.3} | {:.1} | {} | {} | {age} |",
            tale.nanos.len(),
            tale.errors,
            tale.percentile(0.5) as f64 / 1e3,
            tale.percentile(0.99) as f64 / 1e3,
            millis(tale.percentile(0.999)),
            millis(tale.percentile(1.0)),
            tale.loads,
            tale.failed,
        );
    }
    text
}

fn row(name: &str, tale: &Tale) -> Value {
    json!({
        "name": name,
        "calls": tale.nanos.len(),
        "errors": tale.errors,
        "p50_ns": tale.percentile(0.5),
        "p99_ns": tale.percentile(0.99),
        "p999_ns": tale.percentile(0.999),
        "slowest_ns": tale.percentile(1.0),
        "loads": tale.loads,
        "failed_loads": tale.failed,
        "oldest_s": tale.oldest.map(|age| age.as_secs_f64()),
    })
}

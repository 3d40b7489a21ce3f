//! `tierce advise`: what the numbers of a running cache, or of a store, show to be unwise.

use std::{io::Write, path::PathBuf, thread, time::Duration};

use clap::{ArgGroup, Args};
use serde_json::{Value, json};
use tierce::{Clock, StoreInspection, config::units::parse_span, guard::advise_store};

use crate::{
    http,
    output::{Outcome, Verdict},
    table::{Align, Table},
};

/// The arguments of `tierce advise`.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true).args(["address", "store"]))]
pub(crate) struct Arguments {
    /// The listener of a running cache, such as 127.0.0.1:9464.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    /// A store: its file or folder.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Has the cache observe its keys for so long first; needs TIERCE_TOKEN.
    #[arg(long, value_name = "TIME", requires = "address", value_parser = span)]
    survey: Option<Duration>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).map_err(str::to_owned)
}

/// Runs `tierce advise`: exit code 1 where there is advice.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let document = match (&arguments.address, &arguments.store) {
        (Some(address), _) => of_cache(address, arguments.survey)?,
        (None, Some(path)) => {
            let inspection = StoreInspection::open(path, Clock::system())?;
            let users = inspection.users()?;
            if let Some(why) = &users.no_counters {
                return Err(format!("{}: no counts: {why}", path.display()).into());
            }
            let advice: Vec<Value> = advise_store(&users.total)
                .iter()
                .map(|advice| json!({"code": advice.code, "message": advice.message}))
                .collect();
            json!({ "advice": advice, "survey": null })
        }
        (None, None) => return Err("--address or --store: must be given".into()),
    };
    let advice = document["advice"].as_array().ok_or("the answer is no advice")?;
    if arguments.json {
        writeln!(out, "{document:#}")?;
    } else {
        for one in advice {
            let word = |name: &str| one[name].as_str().unwrap_or("?").to_owned();
            writeln!(out, "{}: {}", word("code"), word("message"))?;
        }
        if advice.is_empty() {
            writeln!(out, "nothing in the numbers is unwise")?;
        }
        prefixes(&document["survey"], out)?;
    }
    out.flush()?;
    Ok(if advice.is_empty() { Verdict::Good } else { Verdict::Bad })
}

fn of_cache(address: &str, survey: Option<Duration>) -> Result<Value, crate::output::Failure> {
    if let Some(span) = survey {
        http::post(address, "/cache/survey/begin")?;
        thread::sleep(span);
    }
    let text = http::get(address, "/cache/advice")?;
    if survey.is_some() {
        http::post(address, "/cache/survey/end")?;
    }
    Ok(serde_json::from_str(&text).map_err(|error| format!("no advice: {error}"))?)
}

fn prefixes(survey: &Value, out: &mut dyn Write) -> std::io::Result<()> {
    let Some(prefixes) = survey["prefixes"].as_array().filter(|all| !all.is_empty()) else {
        return Ok(());
    };
    writeln!(out, "\n{} reads looked at", survey["reads_sampled"])?;
    let mut table = Table::new([("keys that begin with", Align::Left), ("reads", Align::Right)]);
    for one in prefixes {
        let share = one["share"].as_f64().unwrap_or(0.0) * 100.0;
        table.row([one["prefix"].as_str().unwrap_or("?").to_owned(), format!("{share:.1} %")]);
    }
    table.write(out)
}

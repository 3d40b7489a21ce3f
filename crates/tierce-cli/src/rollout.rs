//! `tierce rollout`: what a plan does, where a rollout is, and taking it back.
//!
//! All but `plan` work on a store, whose processes take part in what is started there, on the Redis of
//! several hosts, or on a journal that processes were given. A rollback by way of the store is in force
//! with the next call of each process and needs no server; what is written into a journal is, some 40 ms
//! later; what is asked of Redis is on all hosts within half a second.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;
use tierce::{
    Millis, RedisOptions,
    config::units::write_span,
    guard::{
        alert::payload::timestamp,
        rollout::{
            Action, Command, Decision, Journal, Plan, RedisRollout, Rollout, StoreRollout, Trigger,
        },
    },
};

use crate::{
    http,
    output::{Failure, Outcome, Verdict},
    table::{Align, Table},
};

/// The arguments of `tierce rollout`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: What,
}

#[derive(Subcommand)]
enum What {
    /// Prints the phases, steps, gates and triggers of a plan; exit code 1 if it is not legal.
    Plan {
        /// A plan in YAML.
        file: PathBuf,
        /// Only the phases of this environment.
        #[arg(long = "env", value_name = "NAME")]
        environment: Option<String>,
    },
    /// Says where the rollout is; of a process that serves its guard also what both sides met.
    Status(Looked),
    /// Prints every decision with its time, rule and value.
    History(Looked),
    /// Begins a rollout in all processes that share a store, or a Redis, and watch for one.
    Start {
        /// The plan in YAML; a copy of it is left with the store, or in Redis.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        #[command(flatten)]
        told: Told,
    },
    /// Goes on to the next step, if the journal says that its gate is passed.
    Advance(Told),
    /// Goes on to the next step, whatever its gate says.
    Force(Told),
    /// Raises the share no further.
    Pause(Told),
    /// Undoes a pause.
    Resume(Told),
    /// Takes it back. Always obeyed.
    Rollback {
        #[command(flatten)]
        told: Told,
        /// By the steps of the plan, not at once.
        #[arg(long)]
        gradual: bool,
    },
    /// Asks by way of a journal for the begin, the next step, a pause, its end, or a rollback.
    Ask {
        /// What to ask for.
        command: Asked,
        /// The plan of the rollout.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// The journal that the processes of the host share.
        #[arg(long, value_name = "FILE")]
        journal: PathBuf,
        /// Who asks, for the journal.
        #[arg(long, default_value = "cli")]
        by: String,
    },
}

#[derive(Args)]
struct Looked {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    prefix: Prefix,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Place {
    /// The journal that the processes of the host share.
    #[arg(long, value_name = "FILE")]
    journal: Option<PathBuf>,
    /// The folder of the store that they share.
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The Redis of all hosts, such as redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// A process that serves its guard, such as 127.0.0.1:9464; it knows no history.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

#[derive(Args)]
struct Told {
    #[command(flatten)]
    place: Shared,
    #[command(flatten)]
    prefix: Prefix,
    /// Who asks, for the journal.
    #[arg(long, default_value = "cli")]
    by: String,
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct Shared {
    /// The folder of the store that the processes share.
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The Redis of all hosts, such as redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
}

#[derive(Args)]
struct Prefix {
    /// What the names of the cache begin with in Redis.
    #[arg(long, default_value = "tierce", requires = "redis")]
    prefix: String,
}

/// How long an operator waits for Redis.
const PATIENCE: Duration = Duration::from_secs(3);

fn of_redis(url: &str, Prefix { prefix }: &Prefix) -> Result<RedisRollout, Failure> {
    let options = RedisOptions::new().url(url).prefix(prefix);
    Ok(RedisRollout::open(options.read_timeout(PATIENCE).write_timeout(PATIENCE))?)
}

#[derive(Clone, Copy, ValueEnum)]
enum Asked {
    Start,
    Force,
    Pause,
    Resume,
    /// All back at once.
    Rollback,
    /// Back by the steps of the plan.
    GradualRollback,
}

/// Runs `tierce rollout`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    match &arguments.action {
        What::Plan { file, environment } => {
            let mut plan = read(file)?;
            if let Some(environment) = environment {
                plan = plan.for_environment(environment);
                plan.check()?;
            }
            show(&plan, out)?;
        }
        What::Status(looked) => status(looked, out)?,
        What::History(Looked { place: Place { store: Some(store), .. }, .. }) => {
            history(StoreRollout::open(store)?.history()?, out)?;
        }
        What::History(Looked { place: Place { redis: Some(url), .. }, prefix }) => {
            history(&of_redis(url, prefix)?.history()?, out)?;
        }
        What::History(Looked { place: Place { address: Some(_), .. }, .. }) => {
            return Err("--address: a history is of --journal, --store or --redis".into());
        }
        What::History(looked) => history(&open(looked.place.journal.as_deref(), false)?.1, out)?,
        What::Start { plan, told } => {
            let text = text(plan)?;
            let decisions = match (&told.place.store, &told.place.redis) {
                (Some(store), _) => StoreRollout::open(store)?.start(&told.by, &text)?,
                (None, url) => of_redis(url.as_deref().unwrap_or_default(), &told.prefix)?
                    .start(&told.by, &text)?,
            };
            history(&decisions, out)?;
        }
        What::Advance(told) => tell(told, Command::Advance, out)?,
        What::Force(told) => tell(told, Command::Force, out)?,
        What::Pause(told) => tell(told, Command::Pause, out)?,
        What::Resume(told) => tell(told, Command::Resume, out)?,
        What::Rollback { told, gradual } => {
            let action = if *gradual { Action::Gradual } else { Action::Immediate };
            tell(told, Command::Rollback(action), out)?;
        }
        What::Ask { command, plan, journal, by } => {
            let (mut journal, _) = open(Some(journal), true)?;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            let plan = read(plan)?;
            let mut rollout = match journal.latest() {
                Some(latest) => Rollout::resume(plan, latest, now)?,
                None => Rollout::new(plan)?,
            };
            let is_shared = journal.latest().is_some_and(|latest| latest.epoch.is_some());
            if is_shared && !matches!(command, Asked::Rollback | Asked::GradualRollback) {
                return Err("rollout: other hosts take part in it: ask by --redis".into());
            }
            let command = match command {
                Asked::Start => Command::Start,
                Asked::Force => Command::Force,
                Asked::Pause => Command::Pause,
                Asked::Resume => Command::Resume,
                Asked::Rollback => Command::Rollback(Action::Immediate),
                Asked::GradualRollback => Command::Rollback(Action::Gradual),
            };
            let decisions = rollout.command(now, by, command)?;
            journal.append(&decisions)?;
            history(&decisions, out)?;
        }
    }
    out.flush()?;
    Ok(Verdict::Good)
}

fn text(file: &Path) -> Result<String, Failure> {
    Ok(fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?)
}

fn read(file: &Path) -> Result<Plan, Failure> {
    Ok(Plan::from_yaml(&text(file)?).map_err(|error| format!("{}: {error}", file.display()))?)
}

fn tell(told: &Told, command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    let decisions = match (&told.place.store, &told.place.redis) {
        (Some(store), _) => StoreRollout::open(store)?.ask(&told.by, command)?,
        (None, url) => {
            of_redis(url.as_deref().unwrap_or_default(), &told.prefix)?.ask(&told.by, command)?
        }
    };
    history(&decisions, out)?;
    Ok(())
}

fn status(looked: &Looked, out: &mut dyn Write) -> Result<(), Failure> {
    match &looked.place {
        Place { store: Some(store), .. } => {
            let mut rollout = StoreRollout::open(store)?;
            let percent = rollout.percent()?;
            show_latest(rollout.latest()?, out)?;
            if let Some(percent) = percent {
                writeln!(out, "calls of all processes go by a share of {percent}%")?;
            }
        }
        Place { redis: Some(url), .. } => {
            let rollout = of_redis(url, &looked.prefix)?;
            show_latest(rollout.latest()?.as_ref(), out)?;
            if let Some(percent) = rollout.percent()? {
                let leader = rollout.leader()?.unwrap_or_else(|| "nobody".to_owned());
                writeln!(out, "hosts go by a share of {percent}%, and {leader} leads")?;
            }
        }
        Place { address: Some(address), .. } => status_of(address, out)?,
        Place { journal, .. } => show_latest(open(journal.as_deref(), false)?.0.latest(), out)?,
    }
    Ok(())
}

/// What a process says of its rollout, and what both sides met there.
fn status_of(address: &str, out: &mut dyn Write) -> Result<(), Failure> {
    let status: Value = serde_json::from_str(&http::get(address, "/cache/rollout")?)
        .map_err(|error| format!("{address}: no rollout: {error}"))?;
    let text = |field: &str| status[field].as_str().unwrap_or("-").to_owned();
    let (plan, stage, phase) = (text("plan"), text("stage"), text("phase"));
    writeln!(out, "{plan}: {stage}, phase {phase}, share {}%", status["percent"])?;
    let seconds = |field: &str| status[field].as_u64().unwrap_or(0) / 1000;
    writeln!(out, "green for {} s of {} s", seconds("green_ms"), seconds("needed_ms"))?;
    if let Some(red) = status["red"].as_str() {
        writeln!(out, "red: {red}")?;
    }
    if let Some(sides) = status["sides"].as_object() {
        let mut table = Table::new([
            ("side", Align::Left),
            ("tiering", Align::Left),
            ("reads", Align::Right),
            ("hits", Align::Right),
            ("errors", Align::Right),
            ("p95", Align::Right),
        ]);
        for (side, tiering) in [("old", "baseline"), ("new", "target")] {
            let it = &sides[side];
            let p95 = it["latency_p95_ms"].as_f64();
            table.row([
                side.to_owned(),
                text(tiering),
                it["requests"].to_string(),
                it["hits"].to_string(),
                it["errors"].to_string(),
                p95.map_or_else(|| "-".to_owned(), |p95| format!("{p95:.3} ms")),
            ]);
        }
        table.write(out)?;
        for compared in sides["compared"].as_array().into_iter().flatten() {
            let number = |field: &str| compared[field].as_f64().unwrap_or(0.0);
            let measure = compared["measure"].as_str().unwrap_or("?");
            let verdict = if compared["is_worse"] == true { "WORSE" } else { "not worse" };
            let (old, new, by) =
                (number("old") * 100.0, number("new") * 100.0, number("deviations"));
            writeln!(
                out,
                "{measure}: bad {new:.3}% on the new side, {old:.3}% on the old, {by:.1} deviations: {verdict}"
            )?;
        }
    }
    Ok(())
}

fn show_latest(latest: Option<&Decision>, out: &mut dyn Write) -> std::io::Result<()> {
    match latest {
        Some(latest) => history(std::slice::from_ref(latest), out),
        None => writeln!(out, "nobody started it"),
    }
}

/// A journal that is only looked at must be there.
fn open(path: Option<&Path>, may_begin: bool) -> Result<(Journal, Vec<Decision>), Failure> {
    let path = path.unwrap_or(Path::new(""));
    if !may_begin && !path.exists() {
        return Err(format!("{}: there is no such journal", path.display()).into());
    }
    Ok(Journal::open(path)?)
}

fn show(plan: &Plan, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{}: from {}, {} phases", plan.name, plan.baseline, plan.phases.len())?;
    for phase in &plan.phases {
        let environment = phase.environment.as_deref().unwrap_or("any environment");
        let (target, split) = (phase.target, phase.split.as_str());
        writeln!(out, "\n{} ({environment}): to {target}, split by {split}", phase.name)?;
        for condition in &phase.requires {
            writeln!(out, "  begins when   {condition}")?;
        }
        for (at, step) in phase.steps.iter().enumerate() {
            let hold = if at + 1 == phase.steps.len() { phase.hold } else { Duration::ZERO };
            let spans = [step.wait, hold].into_iter().filter(|span| !span.is_zero());
            let spans: Vec<String> = spans.map(write_span).collect();
            let spans = if spans.is_empty() { "a look".to_owned() } else { spans.join(", then ") };
            writeln!(out, "  step          {:>5}  green for {spans}", step.share.to_string())?;
        }
        for condition in &phase.step_requires {
            writeln!(out, "  each step     {condition}")?;
        }
        for condition in &phase.success {
            writeln!(out, "  green while   {condition}")?;
        }
        for measure in &phase.compare {
            writeln!(out, "  green while   {measure} is not worse than on the old side")?;
        }
        for trigger in &phase.triggers {
            trigger_line(trigger, out)?;
        }
        for (name, value) in &phase.settings {
            writeln!(out, "  setting       {name}={value}")?;
        }
    }
    if !plan.triggers.is_empty() {
        writeln!(out, "\nin every phase, after {}", write_span(plan.grace))?;
    }
    for trigger in &plan.triggers {
        trigger_line(trigger, out)?;
    }
    for step in &plan.gradual {
        writeln!(
            out,
            "  back by steps {:>5}  for {}",
            step.share.to_string(),
            write_span(step.wait)
        )?;
    }
    Ok(())
}

fn trigger_line(trigger: &Trigger, out: &mut dyn Write) -> std::io::Result<()> {
    let span = match trigger.duration {
        Duration::ZERO => String::new(),
        span => format!(" for {}", write_span(span)),
    };
    writeln!(out, "  back when     {}{span}: {}", trigger.condition, trigger.action.as_str())
}

fn history(decisions: &[Decision], out: &mut dyn Write) -> std::io::Result<()> {
    let mut table = Table::new([
        ("time", Align::Left),
        ("decision", Align::Left),
        ("phase", Align::Left),
        ("share", Align::Right),
        ("stage", Align::Left),
        ("by", Align::Left),
        ("rule and value", Align::Left),
    ]);
    // As the journal spells them.
    let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
    for decision in decisions {
        let at = UNIX_EPOCH + Duration::from_millis(decision.at_ms);
        let why = [decision.rule.as_deref(), decision.value.as_deref()];
        table.row([
            timestamp(at),
            word(serde_json::json!(decision.kind)),
            decision.phase.clone().unwrap_or_default(),
            format!("{}%", decision.percent),
            word(serde_json::json!(decision.stage)),
            decision.by.clone(),
            why.iter().flatten().copied().collect::<Vec<_>>().join(": "),
        ]);
    }
    table.write(out)
}

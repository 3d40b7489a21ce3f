//! `tierce rollout`: what a plan does, where a rollout is, and taking it back.
//!
//! All but `plan` work on the journal, which the processes of the host follow: no server is needed,
//! and a rollback is in force in all of them some 40 ms after it is written.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand, ValueEnum};
use tierce::{
    Millis,
    config::units::write_span,
    guard::{
        alert::payload::timestamp,
        rollout::{Action, Command, Decision, Journal, Plan, Rollout, Trigger},
    },
};

use crate::{
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
    /// Says where the rollout of a journal is.
    Status(Place),
    /// Prints every decision with its time, rule and value.
    History(Place),
    /// Asks for the begin, the next step, a pause, its end, or a rollback.
    Ask {
        /// What to ask for.
        command: Asked,
        /// The plan of the rollout.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        #[command(flatten)]
        place: Place,
        /// Who asks, for the journal.
        #[arg(long, default_value = "cli")]
        by: String,
    },
}

#[derive(Args)]
struct Place {
    /// The journal that the processes of the host share.
    #[arg(long, value_name = "FILE")]
    journal: PathBuf,
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
        What::Status(place) => match open(place, false)?.0.latest() {
            Some(latest) => history(std::slice::from_ref(latest), out)?,
            None => writeln!(out, "nobody started it")?,
        },
        What::History(place) => history(&open(place, false)?.1, out)?,
        What::Ask { command, plan, place, by } => {
            let (mut journal, _) = open(place, true)?;
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX));
            let plan = read(plan)?;
            let mut rollout = match journal.latest() {
                Some(latest) => Rollout::resume(plan, latest, now)?,
                None => Rollout::new(plan)?,
            };
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

fn read(file: &Path) -> Result<Plan, Failure> {
    let shown = file.display();
    let text = fs::read_to_string(file).map_err(|error| format!("{shown}: {error}"))?;
    Ok(Plan::from_yaml(&text).map_err(|error| format!("{shown}: {error}"))?)
}

/// A journal that is only looked at must be there.
fn open(place: &Place, may_begin: bool) -> Result<(Journal, Vec<Decision>), Failure> {
    let path = &place.journal;
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
    let word = |value: serde_json::Value| value.as_str().unwrap_or_default().to_owned();
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

//! `tierce load`: a load of so many requests a second, judged by the objectives of an environment.
//!
//! | file | has |
//! |---|---|
//! | `course` | requests at their times, whatever became of those before |
//! | `keys` | which keys are asked for |
//! | `verdict` | what it came to |
//!
//! It disturbs nobody: the store is one of its own in a folder that goes with the run, the names in L3
//! have a prefix of their own and expire, unless the settings name others.

mod course;
mod keys;
mod verdict;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write},
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    time::Duration,
};

use clap::Args;
use tierce::{
    Config, TierKind, Tiering,
    config::{
        Source,
        units::{parse_percent, parse_size, parse_span},
    },
    guard::Objectives,
};

use self::{
    course::{Course, Done},
    keys::{Keys, MOST_KEYS},
    verdict::Report,
};
use crate::{
    doctor,
    output::{Failure, Outcome, Verdict},
    replay, target, value,
};

/// A rate above this is out of reach of a loop that looks at the clock for each request.
const MOST_RATE: f64 = 5_000_000.0;
const MOST_THREADS: u64 = 256;
const MOST_PROCESSES: u64 = 64;
/// The part of the time that warms up, where nothing else is said.
const WARMUP_PART: u32 = 10;
const MOST_VALUE_BYTES: u64 = 1 << 20;

/// The arguments of `tierce load`.
#[derive(Args, Clone)]
pub(crate) struct Arguments {
    /// Requests a second, of all processes together.
    #[arg(long, value_name = "N", value_parser = parse_rate)]
    rps: f64,
    /// How long, without the warm-up.
    #[arg(long, value_name = "TIME", value_parser = span)]
    duration: Duration,
    /// How long to make requests that are not counted. Default: a tenth of the duration.
    #[arg(long, value_name = "TIME", value_parser = span)]
    warmup: Option<Duration>,
    /// The objectives to judge by: staging, production, staging-canary, phase-1 to phase-4.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
    /// The tiers of the cache. Default: those of the settings.
    #[arg(long, value_name = "TIERS")]
    tiering: Option<Tiering>,
    /// How many keys there are.
    #[arg(long, value_name = "N", default_value_t = 10_000,
          value_parser = clap::value_parser!(u64).range(1..=MOST_KEYS))]
    keys: u64,
    /// The exponent of Zipf's law for the keys; 0 asks for all alike.
    #[arg(long, value_name = "S", default_value_t = 0.99)]
    zipf: f64,
    /// Takes the keys of a trace instead, over and over.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["keys", "zipf"])]
    trace: Option<PathBuf>,
    /// Share of requests that write, such as 10%.
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = share)]
    writes: f64,
    /// The size of each value.
    #[arg(long, value_name = "SIZE", default_value = "256", value_parser = value_bytes)]
    value_bytes: u64,
    /// How long the origin takes for what the cache does not have. Its time counts for none of the
    /// objectives, but who waits behind it waits.
    #[arg(long, value_name = "TIME", value_parser = span)]
    origin: Option<Duration>,
    /// Threads of each process.
    #[arg(long, value_name = "N", default_value_t = 4,
          value_parser = clap::value_parser!(u64).range(1..=MOST_THREADS))]
    threads: u64,
    /// Processes, which share L2 and L3.
    #[arg(long, value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=MOST_PROCESSES))]
    processes: u64,
    /// A file in YAML, TOML or JSON; the environment wins over it.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// A setting that wins over all others, such as memory.max_bytes=10MB; may be given more than
    /// once.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where the draws begin.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Is one process of several: waits for a line, and prints what it did.
    #[arg(long, hide = true)]
    part: bool,
}

fn parse_rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.1..=MOST_RATE).contains(&rate) => Ok(rate),
        _ => Err(format!("must be a number from 0.1 to {MOST_RATE}")),
    }
}

fn span(text: &str) -> Result<Duration, String> {
    parse_span(text).map_err(str::to_owned)
}

fn share(text: &str) -> Result<f64, String> {
    match parse_percent(text).map_err(str::to_owned)? {
        share @ 0.0..=1.0 => Ok(share),
        _ => Err("must be from 0% to 100%".to_owned()),
    }
}

fn value_bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().or_else(|_| parse_size(text)).map_err(str::to_owned)?;
    let least = value::LEAST_BYTES as u64;
    if (least..=MOST_VALUE_BYTES).contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be from {least} to {MOST_VALUE_BYTES}"))
}

impl Arguments {
    fn check(&self) -> Result<Option<Objectives>, Failure> {
        if !(0.0..=10.0).contains(&self.zipf) {
            return Err(format!("--zipf {}: must be from 0 to 10", self.zipf).into());
        }
        if self.duration.is_zero() {
            return Err("--duration 0: must be above zero".into());
        }
        let Some(name) = &self.profile else { return Ok(None) };
        let known = || Objectives::names().collect::<Vec<_>>().join(", ");
        Objectives::named(name)
            .map(Some)
            .ok_or_else(|| format!("--profile {name:?}: must be one of {}", known()).into())
    }

    fn warmup(&self) -> Duration {
        self.warmup.unwrap_or(self.duration / WARMUP_PART)
    }

    fn course(&self) -> Course {
        Course {
            rate: self.rps,
            warmup: self.warmup(),
            duration: self.duration,
            threads: self.threads as usize,
            writes: self.writes,
            value_bytes: self.value_bytes as usize,
            origin: self.origin.unwrap_or_default(),
            seed: self.seed,
        }
    }

    fn keys(&self) -> Result<Keys, Failure> {
        match &self.trace {
            Some(path) => Keys::trace(path),
            None => Ok(Keys::zipf(self.keys, self.zipf)),
        }
    }
}

/// Runs `tierce load`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let objectives = arguments.check()?;
    let mut config = doctor::settings(arguments.file.as_deref(), &arguments.set)?;
    if let Some(tiering) = arguments.tiering {
        config.tiering = tiering;
    }
    if arguments.part {
        return part(arguments, &config, out);
    }
    let mut own = Vec::new();
    let is_default =
        |config: &Config, key| config.get(key).is_ok_and(|shown| shown.source == Source::Default);
    let mut set = |config: &mut Config, key: &str, value: &str| {
        own.push(format!("{key}={value}"));
        config.set(key, value)
    };
    // Held until the end: the folder goes with it.
    let folder =
        match config.tiering.has(TierKind::Shared) && is_default(&config, "shared.directory") {
            true => Some(replay::store_folder()?),
            false => None,
        };
    if let Some(folder) = &folder {
        let path = folder.path().join("store");
        set(&mut config, "shared.directory", &path.to_string_lossy())?;
    }
    if config.tiering.has(TierKind::Redis) {
        if is_default(&config, "redis.prefix") {
            set(&mut config, "redis.prefix", &format!("tierce-load-{}", process::id()))?;
        }
        if config.default_ttl.is_none() {
            set(&mut config, "default_ttl", replay::REDIS_TTL)?;
        }
    }
    let (done, absent) = if arguments.processes > 1 {
        (processes(arguments, &own)?, Vec::new())
    } else {
        alone(arguments, &config)?
    };
    let mut lines = Vec::new();
    if let Some(objectives) = &objectives {
        lines = verdict::judge(objectives, &done);
    }
    let report = Report {
        profile: objectives.map(|objectives| objectives.name().to_owned()),
        tiering: config.tiering.to_string(),
        asked: arguments.rps,
        duration: arguments.duration,
        done,
        lines,
        absent,
    };
    match arguments.json {
        true => writeln!(out, "{:#}", report.to_json())?,
        false => report.write(out)?,
    }
    out.flush()?;
    Ok(if report.is_good() { Verdict::Good } else { Verdict::Bad })
}

fn alone(arguments: &Arguments, config: &Config) -> Result<(Done, Vec<String>), Failure> {
    let keys = arguments.keys()?;
    let cache = config.builder()?.build()?;
    let done = course::run(&cache, &keys, &arguments.course());
    let absent = target::absent(&cache);
    cache.close();
    Ok((done, absent))
}

/// One of several processes: ready when it says so, begins when it is told.
fn part(arguments: &Arguments, config: &Config, out: &mut dyn Write) -> Outcome {
    let keys = arguments.keys()?;
    let cache = config.builder()?.build()?;
    writeln!(out, "ready")?;
    out.flush()?;
    let mut word = String::new();
    std::io::stdin().read_line(&mut word)?;
    if word.trim() != "go" {
        return Err("load: the process that began this one is gone".into());
    }
    let mut done = course::run(&cache, &keys, &arguments.course());
    if let Some(reason) = target::absent(&cache).into_iter().next() {
        done.first_error.get_or_insert(reason);
    }
    cache.close();
    writeln!(out, "{}", done.written())?;
    out.flush()?;
    Ok(Verdict::Good)
}

/// Processes that end with this one's interest in them.
struct Parts(Vec<Child>);

impl Drop for Parts {
    fn drop(&mut self) {
        for part in &mut self.0 {
            // One that is done already is not there any more.
            let _ = part.kill();
            let _ = part.wait();
        }
    }
}

fn processes(arguments: &Arguments, own: &[String]) -> Result<Done, Failure> {
    let count = arguments.processes;
    let mut parts = Parts(Vec::new());
    for number in 0..count {
        let mut command = Command::new(std::env::current_exe()?);
        let rate = arguments.rps / count as f64;
        command.args(["load", "--part", "--rps", &rate.to_string()]);
        let seconds = |span: Duration| format!("{}ms", span.as_millis());
        command.args(["--duration", &seconds(arguments.duration)]);
        command.args(["--warmup", &seconds(arguments.warmup())]);
        command.args(["--threads", &arguments.threads.to_string()]);
        command.args(["--writes", &format!("{}%", arguments.writes * 100.0)]);
        command.args(["--value-bytes", &arguments.value_bytes.to_string()]);
        command.args(["--origin", &seconds(arguments.origin.unwrap_or_default())]);
        let seed = arguments.seed.wrapping_add(number << 32);
        command.args(["--seed", &seed.to_string()]);
        match &arguments.trace {
            Some(path) => command.arg("--trace").arg(path),
            None => command
                .args(["--keys", &arguments.keys.to_string()])
                .args(["--zipf", &arguments.zipf.to_string()]),
        };
        if let Some(tiering) = arguments.tiering {
            command.args(["--tiering", &tiering.to_string()]);
        }
        if let Some(file) = &arguments.file {
            command.arg("--file").arg(file);
        }
        for setting in arguments.set.iter().chain(own) {
            command.args(["--set", setting]);
        }
        parts.0.push(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?);
    }
    let gone = || "load: one of its processes ended before its time";
    let mut readers = Vec::new();
    for part in &mut parts.0 {
        let mut reader = BufReader::new(part.stdout.take().ok_or_else(gone)?);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim() != "ready" {
            return Err(gone().into());
        }
        readers.push(reader);
    }
    for part in &mut parts.0 {
        part.stdin.as_mut().ok_or_else(gone)?.write_all(b"go\n")?;
    }
    let mut done = Done::new();
    for mut reader in readers {
        let mut text = String::new();
        reader.read_to_string(&mut text)?;
        done.merge(Done::of_line(&serde_json::from_str(&text).map_err(|_| gone())?));
    }
    Ok(done)
}

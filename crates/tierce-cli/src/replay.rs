//! `tierce replay`: plays a request trace through a real cache.
//!
//! A replay disturbs nobody: its L2 is a store in a folder of its own that is removed with the
//! run; its L3 keys have a prefix of their own and expire. So two runs of one worker give the
//! same hits.

use std::{
    fs,
    io::{self, IsTerminal as _, Write},
    path::{Path, PathBuf},
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use clap::Args;
use tempfile::TempDir;
use tierce::{
    Config, TierKind, Tiering,
    config::units::{parse_size, write_size},
};
use tierce_trace::Trace;

use crate::{
    output::{Failure, Outcome, Verdict},
    play::{self, Course},
    plot::{self, Format},
    report::{self, Setting},
    target, value,
};

/// Threads: more than this measure the scheduler.
const MOST_WORKERS: u64 = 256;
/// The size of values where neither the trace nor the caller names one.
const DEFAULT_VALUE_BYTES: u64 = 256;
/// What a replay leaves in L3 is gone after this; longer than any replay of use takes.
pub(crate) const REDIS_TTL: &str = "1h";

/// The arguments of `tierce replay`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The trace: a zstd frame or its content, as tests/traces/README.md describes it.
    trace: PathBuf,
    /// The tiers of the cache: L1, L2, L3, L1L2, L1L3, L2L3 or L1L2L3.
    #[arg(long, default_value = "L1", value_name = "TIERS")]
    tiering: Tiering,
    /// Bounds L1 by entries.
    #[arg(long, value_name = "N", conflicts_with = "memory_bytes")]
    memory_entries: Option<u64>,
    /// Bounds L1 by bytes, such as 10MB. Without either bound: 64MiB.
    #[arg(long, value_name = "SIZE")]
    memory_bytes: Option<String>,
    /// Which entry of L1 makes room: adaptive or lru. Default: adaptive.
    #[arg(long, value_name = "POLICY")]
    memory_policy: Option<String>,
    /// Bounds L2 by entries. Default: 100000.
    #[arg(long, value_name = "N")]
    shared_entries: Option<u64>,
    /// The server of L3, such as redis://127.0.0.1:6379.
    #[arg(long, value_name = "URL")]
    redis: Option<String>,
    /// How long a call of L3 may take, such as 1s. Default: 100ms.
    #[arg(long, value_name = "TIME")]
    redis_timeout: Option<String>,
    /// The size of every value in bytes, or with a unit. Default: the trace's, else 256; at
    /// least 16.
    #[arg(long, value_name = "N", value_parser = parse_value_bytes)]
    value_bytes: Option<u64>,
    /// How long values are fresh, such as 10m. Default: until evicted; with L3, 1h.
    #[arg(long, value_name = "TIME")]
    ttl: Option<String>,
    /// Threads that make the requests, in the order of the trace.
    #[arg(long, default_value_t = 1, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=MOST_WORKERS))]
    workers: u64,
    /// Plays only the first N requests.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Draws who answered over the course of the trace: a name in .png or .svg.
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
    /// Writes the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_value_bytes(text: &str) -> Result<u64, String> {
    let bytes = text.parse().or_else(|_| parse_size(text)).map_err(str::to_owned)?;
    let range = value::LEAST_BYTES as u64..=play::MOST_VALUE_BYTES;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    Err(format!("must be from {} to {}", value::LEAST_BYTES, write_size(play::MOST_VALUE_BYTES)))
}

/// Runs `tierce replay`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let format = arguments.plot.as_deref().map(Format::of_path).transpose()?;
    let (mut config, options) = configure(arguments)?;
    let trace = Trace::read(&arguments.trace, arguments.limit)?;
    // Held until the end: the folder goes with it.
    let folder = arguments.tiering.has(TierKind::Shared).then(store_folder).transpose()?;
    if let Some(folder) = &folder {
        config.shared.directory = Some(folder.path().to_owned());
    }
    config.check()?;

    let cache = config.builder()?.build()?;
    let course = Course {
        workers: arguments.workers as usize,
        value_bytes: arguments.value_bytes,
        default_bytes: DEFAULT_VALUE_BYTES,
    };
    let mut progress = Progress::new(trace.requests.len());
    let played = play::play(&cache, &trace.requests, &course, |begun| progress.show(begun));
    progress.clear();
    let name = arguments.trace.file_name().unwrap_or(arguments.trace.as_os_str());
    let setting = Setting {
        trace: &name.to_string_lossy(),
        tiering: arguments.tiering,
        options,
        absent: target::absent(&cache),
    };
    cache.close();

    report::write_table(&setting, &played, out)?;
    out.flush()?;
    if let Some(path) = &arguments.json {
        let mut json = serde_json::to_vec_pretty(&report::to_json(&setting, &played))?;
        json.push(b'\n');
        fs::write(path, json)
            .map_err(|error| format!("json {}: cannot be written: {error}", path.display()))?;
    }
    if let (Some(path), Some(format)) = (&arguments.plot, format) {
        plot::draw(path, format, &setting, &played)?;
    }
    let good = played.wrong == 0 && played.errors == 0 && setting.absent.is_empty();
    Ok(if good { Verdict::Good } else { Verdict::Bad })
}

/// Names and values of the options in force, for the report.
type Options = Vec<(&'static str, String)>;

/// The settings that the arguments ask for, and the list of them for the report.
fn configure(arguments: &Arguments) -> Result<(Config, Options), Failure> {
    let has = |tier| arguments.tiering.has(tier);
    let text = |number: Option<u64>| number.map(|number| number.to_string());
    let given = [
        ("memory.max_entries", text(arguments.memory_entries), has(TierKind::Memory)),
        ("memory.max_bytes", arguments.memory_bytes.clone(), has(TierKind::Memory)),
        ("memory.policy", arguments.memory_policy.clone(), has(TierKind::Memory)),
        ("shared.max_entries", text(arguments.shared_entries), has(TierKind::Shared)),
        ("redis.url", arguments.redis.clone(), has(TierKind::Redis)),
        ("redis.read_timeout", arguments.redis_timeout.clone(), has(TierKind::Redis)),
        ("redis.write_timeout", arguments.redis_timeout.clone(), has(TierKind::Redis)),
        ("default_ttl", arguments.ttl.clone(), true),
    ];
    let mut config = Config::default();
    config.tiering = arguments.tiering;
    for (key, value, is_used) in given {
        let Some(value) = value else { continue };
        if !is_used {
            let tiering = arguments.tiering;
            return Err(format!("{key} is given, but tiering {tiering} does not use it").into());
        }
        config.set(key, &value)?;
    }
    if has(TierKind::Redis) {
        if config.redis.url.is_none() {
            return Err(format!("tiering {} needs --redis URL", arguments.tiering).into());
        }
        if config.default_ttl.is_none() {
            config.set("default_ttl", REDIS_TTL)?;
        }
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_nanos());
        config.set("redis.prefix", &format!("tierce-replay-{}-{nanos:x}", process::id()))?;
    }
    config.check()?;

    let used = [
        ("memory.max_entries", has(TierKind::Memory)),
        ("memory.max_bytes", has(TierKind::Memory)),
        ("memory.policy", has(TierKind::Memory)),
        ("shared.max_entries", has(TierKind::Shared)),
        ("redis.url", has(TierKind::Redis)),
        ("default_ttl", true),
    ];
    let mut options = Vec::new();
    for (key, _) in used.into_iter().filter(|(_, is_used)| *is_used) {
        options.push((key, config.get(key)?.value));
    }
    options.retain(|(_, value)| value != "none");
    if let Some(bytes) = arguments.value_bytes {
        options.push(("value_bytes", write_size(bytes)));
    }
    options.push(("workers", arguments.workers.to_string()));
    Ok((config, options))
}

/// A folder for the store: in memory where there is such a place, as a real L2 would be.
pub(crate) fn store_folder() -> Result<TempDir, Failure> {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new()
        .prefix(&format!("tierce-replay-{}-", process::id()))
        .tempdir_in(&place)
        .map_err(|error| format!("store folder in {}: {error}", place.display()).into())
}

/// How far the replay is, on stderr, while that is a terminal.
struct Progress {
    all: usize,
    is_shown: bool,
}

impl Progress {
    fn new(all: usize) -> Self {
        Self { all, is_shown: io::stderr().is_terminal() }
    }

    fn show(&mut self, begun: usize) {
        if self.is_shown {
            let share = 100 * begun / self.all.max(1);
            // What cannot be shown is no reason to stop.
            let _ = write!(io::stderr(), "\r\x1b[K{share:3} %  {begun} of {} requests", self.all);
        }
    }

    fn clear(&mut self) {
        if self.is_shown {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

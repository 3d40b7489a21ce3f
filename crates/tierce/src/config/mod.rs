//! Configuration: one model, four sources. Code wins over the environment, the environment over
//! a file, a file over the defaults.
//!
//! [`Config`] is plain data. What is behind it is one table of keys (`fields.rs`) that drives
//! parsing, ranges, suggestions, [`Config::show`] and [`reference()`]. Every error names the key,
//! the value, where it stood and the rule; an unknown key or `CACHE_*` variable is an error with
//! the nearest legal name. Secrets show in no output.
//!
//! | file | answers |
//! |---|---|
//! | `sections.rs` | what the parts of the model hold |
//! | `fields.rs`, a file in `fields` for each part | which keys there are |
//! | `names.rs` | which legal name is nearest to one that does not exist |
//! | `value.rs` | which values a key takes |
//! | `environment.rs` | which variables are read |
//! | `document.rs` | how YAML, TOML and JSON become entries |
//! | `blocks.rs` | what of the phased deployment plan's blocks is understood |
//! | `check.rs` | which values do not go together |
//! | `build.rs` | how the parts of a cache get their options |
//! | `watching.rs` | alerts, sinks, the listener and rollouts |
//! | `guard.rs` | how they are started |
//! | `secret.rs` | what no output may show |

mod blocks;
mod build;
mod check;
mod document;
mod environment;
mod fields;
mod guard;
mod names;
mod secret;
mod sections;
mod value;
mod watching;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};

pub use crate::units;
pub use fields::reference;
pub use guard::Watching;
pub use secret::Secret;
pub use sections::{
    DEFAULT_MEMORY_BYTES, Environment, FreshnessSection, InvalidationSection, LoadSection,
    MemorySection, RedisSection, SharedSection,
};
pub use watching::{
    AlertsSection, NotifySection, OtlpSection, RolloutSection, ServeSection, SinkSection, SinkType,
    TrafficSplitSection,
};

use crate::{
    config::{
        document::{Content, Syntax},
        environment::Variables,
        fields::{Field, fields},
        names::{nearest, unknown},
        value::Value,
        watching::{BLOCKS, LISTS, NOT_OF_BLOCK},
    },
    error::{Error, ErrorKind, Result},
    tiering::Tiering,
};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// Nobody said anything.
    Default,
    /// A file or a text.
    File {
        /// The path of the file; `None` for [`Config::from_text`].
        path: Option<PathBuf>,
        /// The line, from 1, where the syntax tells it (YAML and TOML).
        line: Option<u64>,
    },
    /// A variable of the environment.
    Environment {
        /// Its name; `NAME_FILE` where a secret was read from a file.
        name: String,
    },
    /// [`Config::set`], or a field that code wrote to.
    Code,
}

impl fmt::Display for Source {
    /// `default`, `file cache.yaml:3`, `env CACHE_TIERING` or `code`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => out.write_str("default"),
            Self::File { path, line } => {
                match path {
                    Some(path) => write!(out, "file {}", path.display())?,
                    None => out.write_str("text")?,
                }
                line.map_or(Ok(()), |line| write!(out, ":{line}"))
            }
            Self::Environment { name } => write!(out, "env {name}"),
            Self::Code => out.write_str("code"),
        }
    }
}

/// One line of [`Config::show`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// The key, such as `memory.max_entries`.
    pub key: &'static str,
    /// The value that holds, readable back by [`Config::set`] where it is not `none` or
    /// `automatic`; secrets are stars.
    pub value: String,
    /// Where it came from.
    pub source: Source,
}

/// The settings of a cache.
///
/// Plain data: read and write the fields, or name them by key with [`set`](Self::set) and
/// [`get`](Self::get). A field that code wrote to shows `code` as its source. Nothing is checked
/// on writing a field; [`check`](Self::check) does, and whoever builds a cache calls it.
///
/// ```
/// use tierce::{Tiering, config::Config};
/// let file = "
/// tiering: L1L2
/// cache_config:
///   capacity: 20000
///   default_ttl: 10m
/// ";
/// let mut config = Config::from_text(file)?;
/// config.set("memory.max_entries", "5000")?;
/// assert_eq!(config.tiering, Tiering::L1L2);
/// assert_eq!(config.memory.max_entries, Some(5000));
/// assert_eq!(config.default_ttl, Some(std::time::Duration::from_secs(600)));
/// # Ok::<(), tierce::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// `service`: name in the health document and in metrics.
    pub service: String,
    /// `environment`.
    pub environment: Environment,
    /// `tiering`: which tiers the cache has.
    pub tiering: Tiering,
    /// `default_ttl`: freshness of entries whose call names none; `None`: until evicted.
    pub default_ttl: Option<Duration>,
    /// `metrics_enabled`; see [`exposes_metrics`](Self::exposes_metrics) for the default.
    pub metrics_enabled: Option<bool>,
    /// `memory.*`: L1.
    pub memory: MemorySection,
    /// `shared.*`: L2.
    pub shared: SharedSection,
    /// `redis.*`: L3.
    pub redis: RedisSection,
    /// `freshness.*`: how long entries are fresh, and when stale ones are served.
    pub freshness: FreshnessSection,
    /// `invalidation.*`: what can be removed at once.
    pub invalidation: InvalidationSection,
    /// `load.*`: loading on a miss.
    pub load: LoadSection,
    /// `actions_journal`: a file to which each action of an operator is written.
    pub actions_journal: Option<PathBuf>,
    /// `alerts`, `monitoring` and `alerts_file`.
    pub alerts: AlertsSection,
    /// `notify.*`: who is told of alerts.
    pub notify: NotifySection,
    /// `serve.*`: the listener.
    pub serve: ServeSection,
    /// `monitoring.otlp.*`: what is sent to a receiver of OpenTelemetry.
    pub otlp: OtlpSection,
    /// `slo.objectives`: the name of a table of objectives; by `environment` when `None`.
    pub slo: Option<String>,
    /// `rollout.*` and `automatic_rollback`.
    pub rollout: RolloutSection,
    /// `traffic_split.*`.
    pub traffic_split: TrafficSplitSection,
    /// What was read and has no effect here.
    advice: Vec<String>,
    /// Who set each key, and to what: a field that now differs was written by code.
    sources: BTreeMap<&'static str, (Source, Value)>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            service: "CacheService".to_owned(),
            environment: Environment::default(),
            tiering: Tiering::L1,
            default_ttl: None,
            metrics_enabled: None,
            memory: MemorySection::default(),
            shared: SharedSection::default(),
            redis: RedisSection::default(),
            freshness: FreshnessSection::default(),
            invalidation: InvalidationSection::default(),
            load: LoadSection::default(),
            actions_journal: None,
            alerts: AlertsSection::default(),
            notify: NotifySection::default(),
            serve: ServeSection::default(),
            otlp: OtlpSection::default(),
            slo: None,
            rollout: RolloutSection::default(),
            traffic_split: TrafficSplitSection::default(),
            advice: Vec::new(),
            sources: BTreeMap::new(),
        }
    }
}

impl Config {
    /// Reads the environment of this process over the defaults.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: an unknown `CACHE_*` variable, a value that breaks its rule, two
    /// names of one key that disagree, values that do not go together, or an unreadable
    /// `*_FILE`.
    pub fn from_env() -> Result<Self> {
        Self::from_env_vars(std::env::vars_os())
    }

    /// Reads these variables, as [`from_env`](Self::from_env) does those of the process.
    ///
    /// # Errors
    /// As [`from_env`](Self::from_env).
    pub fn from_env_vars<Name, Text>(
        variables: impl IntoIterator<Item = (Name, Text)>,
    ) -> Result<Self>
    where
        Name: Into<OsString>,
        Text: Into<OsString>,
    {
        Self::load_with(None, variables)
    }

    /// Reads a file over the defaults: YAML, TOML or JSON by the ending of its name, else by its
    /// content.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for what [`from_text`](Self::from_text) refuses and for a file
    /// above 1 MiB, [`ErrorKind::Unsupported`] for a block of the phased deployment plan that
    /// this version does not have, [`ErrorKind::Io`] or [`ErrorKind::Denied`] where the file
    /// cannot be read.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        let mut config = Self::default();
        config.apply_file(path.as_ref())?;
        config.check()?;
        Ok(config)
    }

    /// Reads a text in YAML, TOML or JSON, told apart by its first line, over the defaults.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: text that is none of the three, an unknown or repeated key, a
    /// value that breaks its rule, values that do not go together.
    /// [`ErrorKind::Unsupported`]: a known block that this version does not have.
    pub fn from_text(text: &str) -> Result<Self> {
        let mut config = Self::default();
        config.apply_text(text, None, Syntax::of_text(text))?;
        config.check()?;
        Ok(config)
    }

    /// Reads a text, as [`from_text`](Self::from_text), over what this configuration says: lists of the
    /// text take the place of lists.
    ///
    /// # Errors
    /// As [`from_text`](Self::from_text); the configuration is then as it was.
    pub fn read_text(&mut self, text: &str) -> Result<()> {
        let mut next = self.clone();
        next.apply_text(text, None, Syntax::of_text(text))?;
        next.check()?;
        *self = next;
        Ok(())
    }

    /// Reads the file, if one is given, and the environment of this process over it.
    ///
    /// # Errors
    /// As [`from_file`](Self::from_file) and [`from_env`](Self::from_env).
    pub fn load(file: Option<&Path>) -> Result<Self> {
        Self::load_with(file, std::env::vars_os())
    }

    /// Reads the file, if one is given, and these variables over it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with<Name, Text>(
        file: Option<&Path>,
        variables: impl IntoIterator<Item = (Name, Text)>,
    ) -> Result<Self>
    where
        Name: Into<OsString>,
        Text: Into<OsString>,
    {
        let mut config = Self::default();
        if let Some(path) = file {
            config.apply_file(path)?;
        }
        let variables = variables.into_iter().map(|(name, text)| (name.into(), text.into()));
        environment::apply(&mut config, &Variables::of(variables))?;
        config.check()?;
        Ok(config)
    }

    /// Sets one key to a value spelled as in a file or variable; the source becomes `code`.
    ///
    /// Only this key is checked here; [`check`](Self::check) looks at all of them together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: no such key, or a value that breaks its rule. The configuration is
    /// then as it was.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.assign(Field::named(key)?, value, Source::Code)
    }

    /// Shows one key.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: no such key; the message names the nearest.
    pub fn get(&self, key: &str) -> Result<Shown> {
        match self.lists().into_iter().find(|shown| shown.key == key) {
            Some(shown) => Ok(shown),
            None => Ok(self.shown(Field::named(key)?)),
        }
    }

    /// Shows every key with the value that holds and its source, always in the same order.
    pub fn show(&self) -> Vec<Shown> {
        fields().map(|field| self.shown(field)).chain(self.lists()).collect()
    }

    /// What was read and has no effect here, in words: blocks of the phased deployment plan that speak
    /// to other programs.
    pub fn advice(&self) -> &[String] {
        &self.advice
    }

    /// Checks every value against its rule, and that the values go together.
    ///
    /// # Errors
    /// [`ErrorKind::Config`]: the first rule that is broken, in the order of the keys.
    pub fn check(&self) -> Result<()> {
        check::check(self)
    }

    /// Whether metrics are exposed: as said, else everywhere but in development.
    pub fn exposes_metrics(&self) -> bool {
        self.metrics_enabled.unwrap_or(self.environment != Environment::Development)
    }

    fn shown(&self, field: &Field) -> Shown {
        let value = (field.read)(self);
        let value = value.map_or_else(|| (field.unset)(self), |value| value.to_string());
        Shown { key: field.key, value, source: self.source(field) }
    }

    /// The lists, which files alone can hold.
    fn lists(&self) -> [Shown; 3] {
        let shown = |key, value, source: &Option<Source>, is_empty| {
            let unsaid = if is_empty { Source::Default } else { Source::Code };
            Shown { key, value, source: source.clone().unwrap_or(unsaid) }
        };
        let (alerts, notify, rollout) = (&self.alerts, &self.notify, &self.rollout);
        [
            shown(LISTS[0].0, alerts.shown(), &alerts.source, alerts.rules.is_empty()),
            shown(LISTS[1].0, notify.shown(), &notify.source, notify.sinks.is_empty()),
            shown(LISTS[2].0, rollout.shown(), &rollout.source, rollout.triggers.is_empty()),
        ]
    }

    /// The objectives that hold, by name.
    pub(crate) fn objectives_name(&self) -> &str {
        match (&self.slo, self.environment) {
            (Some(name), _) => name,
            (None, Environment::Development) => "none",
            (None, environment) => environment.name(),
        }
    }

    fn source(&self, field: &Field) -> Source {
        let now = (field.read)(self);
        match self.sources.get(field.key) {
            Some((source, value)) if now.as_ref() == Some(value) => source.clone(),
            None if now == (field.read)(&Self::default()) => Source::Default,
            _ => Source::Code,
        }
    }

    /// Parses `text` as this field's value, stores it and notes where it came from.
    fn assign(&mut self, field: &Field, text: &str, source: Source) -> Result<()> {
        let Some(value) = field.kind.parse(text) else {
            return Err(field.refuse(text, &source.to_string(), &field.kind.rule()));
        };
        (field.write)(self, value.clone());
        self.sources.insert(field.key, (source, value));
        Ok(())
    }

    fn apply_file(&mut self, path: &Path) -> Result<()> {
        let refuse =
            |kind, rule: &str| Error::new(kind, format!("file {}: {rule}", path.display()));
        let mut text = String::new();
        let read = File::open(path)
            .and_then(|file| file.take(document::MOST_BYTES + 1).read_to_string(&mut text));
        match read {
            Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
                return Err(refuse(ErrorKind::Config, "must be UTF-8 text"));
            }
            Err(error) => {
                let kind = Error::from(std::io::Error::from(error.kind())).kind();
                return Err(refuse(kind, "cannot be read").caused_by(error));
            }
            Ok(_) if text.len() as u64 > document::MOST_BYTES => {
                return Err(refuse(ErrorKind::Config, "must not be larger than 1 MiB"));
            }
            Ok(_) => {}
        }
        let syntax = Syntax::of_path(path).unwrap_or_else(|| Syntax::of_text(&text));
        self.apply_text(&text, Some(path), syntax)
    }

    /// Writes the entries of a document over this configuration.
    fn apply_text(&mut self, text: &str, path: Option<&Path>, syntax: Syntax) -> Result<()> {
        let source = |line| Source::File { path: path.map(Path::to_owned), line };
        let whole = source(None).to_string();
        let in_whole = |error: Error| Error::new(error.kind(), format!("{whole}: {error}"));
        let mut entries = document::parse(text, syntax).map_err(in_whole)?;
        blocks::refuse_unsupported(&entries, &whole)?;
        self.advice.extend(blocks::take_foreign(&mut entries, &whole));
        self.apply_lists(&mut entries, &|| document::value(text, syntax), &source)
            .map_err(in_whole)?;
        let mut said: BTreeMap<&'static str, (String, Value)> = BTreeMap::new();
        for entry in entries {
            let source = source(entry.line);
            let place = source.to_string();
            let theirs = entry.path.clone();
            let entry = blocks::translate(entry, &place)?;
            if entry.content == Content::Nothing && is_section(&entry.path) {
                continue;
            }
            let field = fields().find(|field| field.key == entry.path).ok_or_else(|| {
                let legal = fields().map(|field| field.key).chain(blocks::legal_keys());
                unknown("key", &entry.path, &place, nearest(&entry.path, legal))
            })?;
            let text = match entry.content {
                Content::Scalar { text, is_text } if is_text || !field.kind.is_text() => text,
                Content::Scalar { text, .. } => {
                    return Err(field.refuse(&text, &place, "must be text: write it in quotes"));
                }
                Content::Nothing => {
                    return Err(field.refuse("", &place, "must have a value, or be left out"));
                }
                Content::List => {
                    return Err(field.refuse("list", &place, "must be one value, not a list"));
                }
            };
            self.assign(field, &text, source)?;
            if let Some(value) = (field.read)(self) {
                let earlier = said.insert(field.key, (theirs, value.clone()));
                if let Some((other, _)) = earlier.filter(|(_, earlier)| *earlier != value) {
                    let rule = format!("must be the same as {other}, which sets the same key");
                    return Err(field.refuse(&text, &place, &rule));
                }
            }
        }
        Ok(())
    }
}

impl Config {
    /// Takes the blocks that hold lists out of the entries, and reads them whole.
    fn apply_lists(
        &mut self,
        entries: &mut Vec<document::Entry>,
        whole: &dyn Fn() -> Result<serde_json::Value>,
        source: &dyn Fn(Option<u64>) -> Source,
    ) -> Result<()> {
        let lies_in = |path: &str, block: &str| {
            let is_below = |rest: &str| rest.is_empty() || rest.starts_with('.');
            let rest = path.strip_prefix(block).filter(|rest| is_below(rest));
            let (outer, name) = NOT_OF_BLOCK;
            let own = rest.and_then(|rest| rest.strip_prefix('.')?.strip_prefix(name));
            rest.is_some() && !(block == outer && own.is_some_and(is_below))
        };
        let line_of = |block: &str| {
            entries.iter().find(|entry| lies_in(&entry.path, block)).map(|entry| entry.line)
        };
        let lines = BLOCKS.map(line_of);
        if lines.iter().all(Option::is_none) {
            return Ok(());
        }
        entries.retain(|entry| !BLOCKS.iter().any(|block| lies_in(&entry.path, block)));
        let mut whole = whole()?;
        if let Some(line) = lines[0].or(lines[1]) {
            let mut blocks = serde_json::Map::new();
            for key in [BLOCKS[0], BLOCKS[1]] {
                if let Some(block) = whole.get_mut(key) {
                    if let Some(names) = block.as_object_mut().filter(|_| key == NOT_OF_BLOCK.0) {
                        names.remove(NOT_OF_BLOCK.1);
                    }
                    blocks.insert(key.to_owned(), block.take());
                }
            }
            self.alerts.read(blocks.into(), source(line))?;
        }
        if let Some(line) = lines[2] {
            self.notify.read(&whole["notify"]["sinks"], source(line))?;
        }
        if let Some(line) = lines[3] {
            self.rollout.read(whole["automatic_rollback"].take(), source(line))?;
        }
        Ok(())
    }
}

/// True for a name that keys or blocks lie under.
fn is_section(path: &str) -> bool {
    let under = |key: &str| key.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
    path == blocks::CACHE_CONFIG || fields().any(|field| under(field.key))
}

#[cfg(test)]
mod tests;

//! The table of all keys of the configuration.
//!
//! One row says all there is to say of a key: name, names in the environment, kind, range,
//! default, meaning, and how it is read from and written to [`Config`]. Parsing, validation,
//! suggestions, `config show` and the reference table all walk this table, so none of them can
//! know a key that another does not.

use std::{fmt::Write as _, time::Duration};

use crate::{
    config::{
        Config,
        names::{nearest, unknown},
        value::{Kind, Value},
        watching::LISTS,
    },
    error::{Error, ErrorKind},
};

/// One key.
pub(super) struct Field {
    /// Dotted path, as files nest it.
    pub(super) key: &'static str,
    /// The names that the source documents use; `CACHE_` and the path in capitals is one more.
    pub(super) names: &'static [&'static str],
    /// True where the first name that is set wins; else names that disagree are an error.
    pub(super) first_name_wins: bool,
    pub(super) kind: Kind,
    /// The default as documents say it; readable text where it is a plain value.
    pub(super) default: &'static str,
    pub(super) meaning: &'static str,
    /// The value in `config`; `None` where it holds none.
    pub(super) read: fn(&Config) -> Option<Value>,
    pub(super) write: fn(&mut Config, Value),
    /// What holds while `read` gives `None`.
    pub(super) unset: fn(&Config) -> String,
}

/// Ten years of 365 days: longer spans are mistakes of a unit.
const MOST_TTL: Duration = Duration::from_secs(3650 * 86_400);
/// Longer than any caller waits for a load.
const MOST_LEASE: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);
/// A file or value name fits in one component of a path with room for an ending.
const MOST_NAME_BYTES: usize = 64;

/// Takes a value out of the one variant that the field's kind produces. Another variant cannot
/// come: [`Config::assign`] hands over only what the field's own kind has let pass.
macro_rules! put {
    ($variant:ident, $($place:ident).+) => {
        |config, value| if let Value::$variant(inner) = value { config.$($place).+ = inner }
    };
    (some $variant:ident, $($place:ident).+) => {
        |config, value| if let Value::$variant(inner) = value { config.$($place).+ = Some(inner) }
    };
}
macro_rules! take {
    ($variant:ident, $($place:ident).+) => {
        |config| Some(Value::$variant(config.$($place).+.clone()))
    };
    (some $variant:ident, $($place:ident).+) => {
        |config| config.$($place).+.clone().map(Value::$variant)
    };
}

mod redis;
mod tiers;
mod values;
mod watching;

/// All keys, in the order of `config show`.
pub(super) fn fields() -> impl Iterator<Item = &'static Field> {
    [tiers::TIERS, redis::REDIS, values::VALUES, watching::WATCHING].into_iter().flatten()
}

impl Field {
    /// The row of `key`, or an error that names the nearest key.
    pub(super) fn named(key: &str) -> Result<&'static Self, Error> {
        fields()
            .find(|field| field.key == key)
            .ok_or_else(|| unknown("key", key, "", nearest(key, fields().map(|field| field.key))))
    }

    /// Every variable that sets this key, in the order in which they win.
    pub(super) fn variables(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        let general = format!("CACHE_{}", self.key.replace('.', "_").to_ascii_uppercase());
        if !names.contains(&general) {
            names.push(general);
        }
        names
    }

    /// The error for `text` as a value of this key; `place` says where the text stood.
    pub(super) fn refuse(&self, text: &str, place: &str, rule: &str) -> Error {
        let text = if self.kind.is_secret() {
            "***".to_owned()
        } else {
            // A whole file pasted into a variable need not be repeated in full.
            const MOST_SHOWN: usize = 80;
            let cut: String = text.chars().take(MOST_SHOWN).collect();
            let more = if cut.len() < text.len() { "..." } else { "" };
            format!("{cut:?}{more}")
        };
        Error::new(ErrorKind::Config, format!("{} = {text} ({place}): {rule}", self.key))
    }
}

/// The reference of all keys as a Markdown table: key, variables, default, rule, meaning.
pub fn reference() -> String {
    let mut table =
        String::from("| key | environment | default | value | meaning |\n|---|---|---|---|---|\n");
    for field in fields() {
        let mut names = field.variables();
        if field.kind.is_secret() {
            names.extend(field.variables().iter().map(|name| format!("{name}_FILE")));
        }
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {} |",
            field.key,
            names.join(", "),
            field.default,
            field.kind.rule(),
            field.meaning
        );
    }
    for (key, value, meaning) in LISTS {
        let _ = writeln!(table, "| `{key}` | files only | none | {value} | {meaning} |");
    }
    table
}

//! The environment as a source: which variables there are, and what they may not do.
//!
//! `CACHE_*` is ours alone, so an unknown one is a spelling error and refused. `REDIS_*` and
//! `NODE_ENV` belong to others too: of those only the known names are read. A variable that is
//! set to nothing counts as not set, as deployment tools write it for "no value". For a secret,
//! `NAME_FILE` names a file that holds it.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::Read as _,
};

use crate::{
    config::{
        Config, Source,
        fields::{Field, fields},
        names::{nearest, unknown},
    },
    error::{Error, ErrorKind, Result},
};

/// The prefix that is ours.
const PREFIX: &str = "CACHE_";
/// The ending of variables that name a file with a secret in it.
const FILE_ENDING: &str = "_FILE";
/// Larger files hold no password.
const MOST_SECRET_BYTES: u64 = 64 << 10;

/// Sorted variables, so that messages do not depend on the order of the environment.
pub(super) struct Variables(Vec<(String, OsString)>);

impl Variables {
    /// Keeps what concerns us; of a name that comes twice, the first.
    pub(super) fn of(all: impl Iterator<Item = (OsString, OsString)>) -> Self {
        let mut kept: Vec<(String, OsString)> = all
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|(name, value)| {
                let lossy = name.to_string_lossy();
                let ours = lossy.starts_with(PREFIX) || is_legal(&lossy);
                ours.then(|| (lossy.into_owned(), value))
            })
            .collect();
        kept.sort_by(|left, right| left.0.cmp(&right.0));
        kept.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(kept)
    }

    fn get(&self, name: &str) -> Option<&OsStr> {
        let found = self.0.iter().find(|(known, _)| known == name)?;
        Some(&found.1)
    }
}

fn is_legal(name: &str) -> bool {
    legal_names().any(|legal| legal == name)
}

fn legal_names() -> impl Iterator<Item = String> {
    fields().flat_map(|field| {
        let names = field.variables();
        let files: Vec<String> = if field.kind.is_secret() {
            names.iter().map(|name| format!("{name}{FILE_ENDING}")).collect()
        } else {
            Vec::new()
        };
        names.into_iter().chain(files)
    })
}

/// Writes what the environment says over `config`.
pub(super) fn apply(config: &mut Config, variables: &Variables) -> Result<()> {
    if let Some((name, _)) = variables.0.iter().find(|(name, _)| !is_legal(name)) {
        let legal: Vec<String> = legal_names().collect();
        let near = nearest(name, legal.iter().map(String::as_str));
        return Err(unknown("variable", name, "environment", near));
    }
    fields().try_for_each(|field| apply_field(config, variables, field))
}

/// Reads one key: the first of its names that is set, after a look at whether the others agree.
fn apply_field(config: &mut Config, variables: &Variables, field: &Field) -> Result<()> {
    let mut chosen: Option<(String, String)> = None;
    for name in field.variables() {
        if chosen.is_some() && field.first_name_wins {
            break;
        }
        let Some((said_by, text)) = text_of(variables, field, &name)? else { continue };
        let place = format!("env {said_by}");
        let value = field.kind.parse(&text);
        let value = value.ok_or_else(|| field.refuse(&text, &place, &field.kind.rule()))?;
        match &chosen {
            None => chosen = Some((said_by, text)),
            Some((first, first_text)) => {
                if field.kind.parse(first_text) != Some(value) {
                    let rule = format!("must be the same as {first}, which sets the same key");
                    return Err(field.refuse(&text, &place, &rule));
                }
            }
        }
    }
    match chosen {
        Some((name, text)) => config.assign(field, &text, Source::Environment { name }),
        None => Ok(()),
    }
}

/// The text of one variable or of the file that its `_FILE` sister names, with the name of the
/// one that was set.
fn text_of(variables: &Variables, field: &Field, name: &str) -> Result<Option<(String, String)>> {
    let plain = match variables.get(name) {
        Some(value) => Some(value.to_str().ok_or_else(|| {
            field.refuse("not UTF-8", &format!("env {name}"), "must be UTF-8 text")
        })?),
        None => None,
    };
    let file_name = format!("{name}{FILE_ENDING}");
    let file = variables.get(&file_name).filter(|_| field.kind.is_secret());
    match (plain, file) {
        (None, None) => Ok(None),
        (Some(text), None) => Ok(Some((name.to_owned(), text.to_owned()))),
        (None, Some(path)) => {
            read_secret(field, &file_name, path).map(|text| Some((file_name, text)))
        }
        (Some(_), Some(_)) => Err(Error::new(
            ErrorKind::Config,
            format!("{} (env {name} and {file_name}): only one of the two may be set", field.key),
        )),
    }
}

/// Reads a mounted secret; one line break at its end is not part of it.
fn read_secret(field: &Field, variable: &str, path: &OsStr) -> Result<String> {
    let shown = path.to_string_lossy();
    let refuse = |rule: &str| {
        Error::new(ErrorKind::Config, format!("{} (env {variable} = {shown:?}): {rule}", field.key))
    };
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MOST_SECRET_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| refuse("must name a readable file of UTF-8 text").caused_by(error))?;
    if text.len() as u64 > MOST_SECRET_BYTES {
        return Err(refuse("must name a file of at most 64 KiB"));
    }
    let kept = text.strip_suffix('\n').unwrap_or(&text);
    let kept = kept.strip_suffix('\r').unwrap_or(kept);
    if kept.is_empty() {
        return Err(refuse("must name a file that is not empty"));
    }
    Ok(kept.to_owned())
}

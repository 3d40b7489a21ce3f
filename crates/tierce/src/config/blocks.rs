//! The blocks of the phased deployment plan that configuration files may hold as they stand.
//!
//! `cache_config` has names and a unit of its own; it is translated into our keys. The other
//! blocks of that plan are known by name, so that a file which holds one is told plainly that
//! this version does not do what the block asks for, in place of a spelling hint.

use crate::{
    config::{
        document::{Content, Entry},
        names::{nearest, unknown},
    },
    error::{Error, ErrorKind, Result},
};

/// The block that is understood.
pub(super) const CACHE_CONFIG: &str = "cache_config";

/// Its keys, and ours.
const CACHE_CONFIG_KEYS: [(&str, &str); 3] = [
    ("cache_config.capacity", "memory.max_entries"),
    ("cache_config.max_memory_mb", "memory.max_bytes"),
    ("cache_config.default_ttl", "default_ttl"),
];

/// The keys that are understood, for suggestions.
pub(super) fn legal_keys() -> impl Iterator<Item = &'static str> {
    CACHE_CONFIG_KEYS.iter().map(|(theirs, _)| *theirs)
}

/// Blocks and top-level keys of the plan that ask for parts which this version does not have.
const NOT_SUPPORTED: [&str; 18] = [
    "http2_config",
    "monitoring",
    "enhanced_monitoring",
    "traffic_split",
    "alerts",
    "automatic_rollback",
    "security",
    "autoscaling",
    "contingency_plan_a",
    "contingency_plan_b",
    "contingency_plan_c",
    "emergency_contacts",
    "escalation_path",
    "monitoring_components",
    "dashboards",
    "deployment_strategy",
    "rollback_capability",
    "health_check_grace_period",
];

/// Refuses the blocks that this version does not support: all that the document holds, by name.
///
/// # Errors
/// [`ErrorKind::Unsupported`].
pub(super) fn refuse_unsupported(entries: &[Entry], place: &str) -> Result<()> {
    let mut found: Vec<&str> = Vec::new();
    for entry in entries {
        let top = entry.path.split('.').next().unwrap_or_default();
        if NOT_SUPPORTED.contains(&top) && !found.contains(&top) {
            found.push(top);
        }
    }
    let subject = match found.as_slice() {
        [] => return Ok(()),
        [one] => format!("block {one} ({place}): is"),
        many => format!("blocks {} ({place}): are", many.join(", ")),
    };
    Err(Error::new(
        ErrorKind::Unsupported,
        format!(
            "{subject} known from the phased deployment plan but not supported by this version"
        ),
    ))
}

/// Translates an entry of `cache_config` into our key; entries of other blocks stay as they are.
///
/// # Errors
/// [`ErrorKind::Config`] for a key that the block does not have, or a memory bound that is not a
/// whole number of megabytes.
pub(super) fn translate(mut entry: Entry, place: &str) -> Result<Entry> {
    if !entry.path.strip_prefix(CACHE_CONFIG).is_some_and(|rest| rest.starts_with('.')) {
        return Ok(entry);
    }
    let known = CACHE_CONFIG_KEYS.iter().find(|(theirs, _)| *theirs == entry.path);
    let Some((theirs, key)) = known else {
        let near = nearest(&entry.path, legal_keys());
        return Err(unknown("key of the block cache_config", &entry.path, place, near));
    };
    if theirs.ends_with("_mb") {
        match &mut entry.content {
            Content::Scalar { text, .. } if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                text.push_str("MB");
            }
            Content::Scalar { text, .. } => {
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "{} = {text:?} ({place}): must be a whole number of megabytes, without \
                         a unit",
                        entry.path
                    ),
                ));
            }
            Content::Nothing | Content::List => {}
        }
    }
    entry.path = (*key).to_owned();
    Ok(entry)
}

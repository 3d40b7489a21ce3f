//! The blocks of the phased deployment plan that configuration files may hold as they stand.
//!
//! `cache_config` has names and a unit of its own; it is translated into our keys. `alerts`,
//! `monitoring`, `traffic_split` and `automatic_rollback` are taken as they stand. The other blocks of that plan are known
//! by name, so that a file which holds one is told plainly what becomes of it, in place of a spelling
//! hint: what speaks to other programs is taken and has no effect, which
//! [`Config::advice`](super::Config::advice) says; what somebody would rely on is refused.

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

/// Blocks of the plan that ask for what somebody would rely on and does not have here.
const NOT_SUPPORTED: [(&str, &str); 7] = [
    ("security", "authentication and limits of requests are the service's"),
    ("contingency_plan_a", CONTINGENCY),
    ("contingency_plan_b", CONTINGENCY),
    ("contingency_plan_c", CONTINGENCY),
    ("deployment_strategy", PLAN),
    ("rollback_capability", PLAN),
    ("health_check_grace_period", PLAN),
];
const CONTINGENCY: &str = "nothing here would carry it out";
const PLAN: &str = "it belongs in the plan of a rollout, the file that rollout.plan names";

/// Blocks of the plan that speak to other programs: taken, without an effect.
const FOREIGN: [(&str, &str); 7] = [
    ("http2_config", "the cache asks no origin over HTTP: give it to the client of your loader"),
    ("enhanced_monitoring", "the cache asks no origin over HTTP: its client has these rates"),
    ("autoscaling", "it is for the cluster"),
    ("monitoring_components", "it is for whoever installs them"),
    ("dashboards", "it is for whoever installs them"),
    ("emergency_contacts", "it is for people"),
    ("escalation_path", "it is for people"),
];

fn top(entry: &Entry) -> &str {
    entry.path.split('.').next().unwrap_or_default()
}

/// Takes the blocks that speak to other programs out, and says so of each.
pub(super) fn take_foreign(entries: &mut Vec<Entry>, place: &str) -> Vec<String> {
    let found = |entry: &Entry| FOREIGN.iter().position(|(name, _)| *name == top(entry));
    let mut numbers: Vec<usize> = entries.iter().filter_map(found).collect();
    numbers.dedup();
    entries.retain(|entry| found(entry).is_none());
    let told = |number: usize| {
        let (name, why) = FOREIGN[number];
        format!("block {name} ({place}): has no effect here: {why}")
    };
    numbers.into_iter().map(told).collect()
}

/// Refuses the blocks that this version does not support: all that the document holds, by name.
///
/// # Errors
/// [`ErrorKind::Unsupported`].
pub(super) fn refuse_unsupported(entries: &[Entry], place: &str) -> Result<()> {
    let mut found: Vec<String> = Vec::new();
    for entry in entries {
        let known = NOT_SUPPORTED.iter().find(|(name, _)| *name == top(entry));
        let told = known.map(|(name, why)| format!("block {name} ({place}): {why}"));
        found.extend(told.filter(|told| !found.contains(told)));
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Unsupported, found.join("; ")))
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

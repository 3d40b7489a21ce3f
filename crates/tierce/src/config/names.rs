//! What is said of a name that does not exist: an error with the legal name that is nearest to it.

use crate::error::{Error, ErrorKind};

/// The error for a name that does not exist.
pub(super) fn unknown(what: &str, name: &str, place: &str, nearest: Option<&str>) -> Error {
    let place = if place.is_empty() { String::new() } else { format!(" ({place})") };
    let hint = nearest.map_or_else(String::new, |near| format!("; the nearest one is {near}"));
    Error::new(ErrorKind::Config, format!("{name:?}{place}: no such {what}{hint}"))
}

/// The legal name that is nearest to `name`: by letters swapped, added, left out or changed,
/// over the whole name or over its last part alone (`max_entires` for `memory.max_entries`). A
/// name that begins with the other one is one step away: `dir` for `directory`.
///
/// Damerau: "A technique for computer detection and correction of spelling errors", CACM 7(3),
/// 1964. Of equals the first in the table wins, so that messages are always the same.
pub(super) fn nearest<'a>(name: &str, legal: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A longer name is nobody's typing error, and the distance is quadratic in the length.
    const MOST_COMPARED: usize = 100;
    let name: String = name.chars().take(MOST_COMPARED).collect::<String>().to_lowercase();
    legal.min_by_key(|candidate| {
        let candidate = candidate.to_lowercase();
        distance(&name, &candidate).min(1 + distance(last_part(&name), last_part(&candidate)))
    })
}

fn distance(left: &str, right: &str) -> usize {
    // Below three letters everything begins with everything.
    let begins = left.len().min(right.len()) >= 3
        && left != right
        && (left.starts_with(right) || right.starts_with(left));
    if begins { 1 } else { strsim::damerau_levenshtein(left, right) }
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or_default()
}

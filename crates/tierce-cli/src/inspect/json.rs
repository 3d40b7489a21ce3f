//! The report as one JSON document. Its names are stable: more may come, none changes.

use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use tierce::{
    StoreContents, StoreFinding, StoreHeader, StoreHistogram, StoreLook, StoreSegment,
    StoreStatistics,
};

use super::Report;

/// The document.
pub(super) fn document(report: &Report) -> Value {
    let Report { inspection, look, users, processes, contents } = report;
    let process = |process: &tierce::StoreProcess| json!({ "slot": process.slot, "process": process.process, "name": process.name });
    let user = |user: &tierce::StoreUser| {
        json!({
            "slot": user.slot,
            "alive": user.is_alive,
            "statistics": statistics(&user.statistics),
        })
    };
    json!({
        "file": inspection.path().to_string_lossy(),
        "header": header(inspection.header()),
        "state": state(look),
        "users": {
            "in_use": users.is_in_use,
            "no_counters": users.no_counters,
            "slots": users.users.iter().map(user).collect::<Vec<_>>(),
            "processes": processes.iter().map(process).collect::<Vec<_>>(),
            "folded": statistics(&users.folded),
            "total": statistics(&users.total),
        },
        "segments": look.segments.iter().map(segment).collect::<Vec<_>>(),
        "contents": self::contents(contents),
        "check": contents.is_verified.then(|| json!({
            "records": contents.records,
            "right": contents.right,
            "wrong": contents.wrong,
            "wrong_slots": contents.slots.wrong,
            "torn": contents.torn,
        })),
        "damages": contents.damages,
        "findings": contents.findings.iter().map(finding).collect::<Vec<_>>(),
    })
}

fn header(header: &StoreHeader) -> Value {
    json!({
        "format_version": format!("{}.{}", header.format_major, header.format_minor),
        "library_version": header.library_version,
        "uuid": format!("{:032x}", header.uuid),
        "schema": header.schema,
        "medium": if header.on_disk { "disk" } else { "mapped" },
        "segment_bytes": header.segment_bytes,
        "segments": header.segments,
        "sets": header.sets,
        "slots": header.slots,
        "stamps": header.stamps,
        "shards": header.shards,
        "classes": header.classes,
        "max_entries": header.max_entries,
        "max_key_bytes": header.max_key_bytes,
        "max_value_bytes": header.max_value_bytes,
        "data_at": header.data_at,
        "data_bytes": header.data_bytes,
        "file_bytes": header.file_bytes,
    })
}

fn state(look: &StoreLook) -> Value {
    let made = look.made.and_then(|made| made.duration_since(UNIX_EPOCH).ok());
    json!({
        "file_bytes": look.file_bytes,
        "allocated_bytes": look.allocated_bytes,
        "made_unix_seconds": made.map(|made| made.as_secs()),
        "of_this_boot": look.is_of_this_boot,
        "clear_epoch": look.clear_epoch,
        "coherence_epoch": look.coherence_epoch,
        "shard_epochs": look.shard_epochs,
        "claims": look.claims,
        "writes": look.writes,
        "entries": look.entries,
        "live_bytes": look.live_bytes,
        "doubts": {
            "below_in_use": look.doubts.is_below_in_use,
            "changed_alone": look.doubts.changed_alone,
            "groups": look.doubts.groups,
            "of_groups": look.doubts.of_groups,
            "oldest_seconds": look.doubts.oldest.as_ref().map(Duration::as_secs),
        },
    })
}

fn segment(segment: &StoreSegment) -> Value {
    json!({
        "number": segment.number,
        "state": segment.state.as_str(),
        "owner": segment.owner,
        "class": segment.class,
        "generation": segment.generation,
        "claim": segment.claim,
        "used_bytes": segment.used_bytes,
        "live_bytes": segment.live_bytes,
        "expires_in_seconds": segment.expires_in.as_ref().map(Duration::as_secs),
    })
}

fn contents(contents: &StoreContents) -> Value {
    let slots = &contents.slots;
    // The last row is those without an end.
    let seconds = pairs(&contents.seconds_left);
    let (for_ever, seconds) = seconds.split_last().unwrap_or((&(0, 0), &[]));
    json!({
        "records": contents.records,
        "live_entries": contents.live_entries,
        "live_bytes": contents.live_bytes,
        "dead_bytes": contents.dead_bytes,
        "large_entries": contents.large_entries,
        "incomplete_entries": contents.incomplete_entries,
        "restless_segments": contents.restless_segments,
        "slots": {
            "used": slots.used,
            "live": slots.live,
            "dead": slots.dead,
            "stale": slots.stale,
            "wrong": slots.wrong,
            "full_sets": slots.full_sets,
        },
        "value_bytes": histogram(&contents.value_bytes),
        "writes_since": histogram(&contents.writes_since),
        "seconds_left": rows(seconds),
        "never_expire": for_ever.1,
    })
}

/// Rows with their upper bounds; `null` for the last, which has none.
fn histogram(histogram: &StoreHistogram) -> Value {
    rows(&pairs(histogram))
}

fn pairs(histogram: &StoreHistogram) -> Vec<(u64, u64)> {
    histogram.bounds.iter().copied().zip(histogram.counts.iter().copied()).collect()
}

fn rows(pairs: &[(u64, u64)]) -> Value {
    let last = pairs.len().saturating_sub(1);
    let row = |(number, (bound, count)): (usize, &(u64, u64))| json!({ "up_to": (number < last).then_some(bound), "count": count });
    pairs.iter().enumerate().map(row).collect()
}

fn finding(finding: &StoreFinding) -> Value {
    json!({
        "severity": finding.severity.as_str(),
        "place": finding.place.kind(),
        "where": finding.place.to_string(),
        "position": finding.position,
        "what": finding.what,
    })
}

fn statistics(statistics: &StoreStatistics) -> Value {
    let named = statistics.named().map(|(name, number)| (name.to_owned(), number.into()));
    Value::Object(named.collect::<Map<_, _>>())
}

//! The report as text.

use std::io::{self, Write};

use tierce::{StoreContents, StoreHeader, StoreHistogram, StoreSegment, StoreSegmentState};

use super::Report;
use crate::{
    quantity::{bytes, share, span},
    table::{Align, Table},
};

/// Segments above this are not drawn one by one.
const MOST_DRAWN: usize = 4096;
/// Segments drawn in a line.
const DRAWN_PER_LINE: usize = 64;

/// Writes the report.
pub(super) fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    write_facts(report, out)?;
    write_users(report, out)?;
    write_segments(report, out)?;
    write_classes(report, out)?;
    write_histograms(&report.contents, out)?;
    write_check(&report.contents, out)
}

fn write_facts(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let Report { inspection, look, users, contents, .. } = report;
    let header = inspection.header();
    let use_of = if users.is_in_use { "in use" } else { "not in use" };
    writeln!(out, "{}: a store, {use_of}", inspection.path().display())?;
    writeln!(out)?;
    let mut line = |name: &str, text: String| writeln!(out, "{name:<10}  {text}");
    line(
        "format",
        format!(
            "{}.{}, made by tierce {}",
            header.format_major, header.format_minor, header.library_version
        ),
    )?;
    line("store", format!("{:032x}, schema {}", header.uuid, header.schema))?;
    let made = look.made.and_then(|made| made.elapsed().ok());
    let made = made.map_or_else(|| "at an unknown time".into(), |ago| format!("{} ago", span(ago)));
    line(
        "made",
        if look.is_of_this_boot {
            made
        } else {
            format!("{made}, used in another boot of the machine: starts empty when it is opened")
        },
    )?;
    line(
        "medium",
        if header.on_disk {
            "disk: records by pread and pwrite".into()
        } else {
            "mapped: records in memory".into()
        },
    )?;
    line(
        "file",
        format!(
            "{} bytes, {} allocated, data from byte {}",
            look.file_bytes,
            bytes(look.allocated_bytes),
            header.data_at
        ),
    )?;
    line("geometry", geometry(header))?;
    line(
        "bounds",
        format!(
            "{} entries, keys up to {}, values up to {}",
            header.max_entries,
            bytes(header.max_key_bytes),
            bytes(header.max_value_bytes)
        ),
    )?;
    let raised: u64 = look.shard_epochs.iter().map(|epoch| u64::from(*epoch)).sum();
    line(
        "epochs",
        format!(
            "{} clears, {raised} shards given up, coherence {}",
            look.clear_epoch, look.coherence_epoch
        ),
    )?;
    line("written", format!("{} records in {} segments taken into use", look.writes, look.claims))?;
    line(
        "entries",
        format!(
            "{} live, {} by the store's own count, {} of the bound",
            contents.live_entries,
            look.entries,
            share(contents.live_entries, header.max_entries)
        ),
    )?;
    if contents.large_entries + contents.incomplete_entries > 0 {
        line(
            "",
            format!(
                "{} of them in pieces; {} more have lost a piece",
                contents.large_entries, contents.incomplete_entries
            ),
        )?;
    }
    let unused = header.data_bytes.saturating_sub(contents.live_bytes + contents.dead_bytes);
    line(
        "bytes",
        format!(
            "{} live, {} dead, {} unused of {}",
            bytes(contents.live_bytes),
            bytes(contents.dead_bytes),
            bytes(unused),
            bytes(header.data_bytes)
        ),
    )?;
    let slots = &contents.slots;
    line(
        "index",
        format!(
            "{} of {} slots used ({}): {} live, {} dead, {} stale, {} wrong; {} sets full",
            slots.used,
            header.slots,
            share(slots.used, header.slots),
            slots.live,
            slots.dead,
            slots.stale,
            slots.wrong,
            slots.full_sets
        ),
    )?;
    let doubts = &look.doubts;
    line(
        "doubts",
        match doubts.oldest {
            Some(oldest) => format!(
                "{} of {} groups of keys, the oldest for {}",
                doubts.groups,
                doubts.of_groups,
                span(oldest)
            ),
            None if doubts.is_below_in_use => "none about the tier below".into(),
            None => "none: no tier below is in use".into(),
        },
    )
}

fn geometry(header: &StoreHeader) -> String {
    format!(
        "{} segments of {}, {} slots in {} sets, {} stamps, shards {}, classes {}",
        header.segments,
        bytes(header.segment_bytes.into()),
        header.slots,
        header.sets,
        header.stamps,
        header.shards,
        header.classes
    )
}

fn write_users(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let users = &report.users;
    writeln!(out)?;
    if let Some(why) = &users.no_counters {
        return writeln!(out, "users: unknown: {why}");
    }
    let numbers = ["hits", "misses", "puts", "fills", "deletes", "dropped", "evicted", "corrupt"];
    let columns = [("slot", Align::Right), ("state", Align::Left), ("process", Align::Left)];
    let mut table = Table::new(columns.into_iter().chain(numbers.map(|name| (name, Align::Right))));
    let mut row = |head: [String; 3], counted: &tierce::StoreStatistics| {
        let dropped = counted.named().filter(|(name, _)| name.starts_with("dropped_"));
        let numbers = [
            counted.hits,
            counted.misses,
            counted.puts,
            counted.fills,
            counted.deletes,
            dropped.map(|(_, number)| number).sum(),
            counted.evicted_size + counted.evicted_expired,
            counted.corrupt,
        ];
        table.row(head.into_iter().chain(numbers.map(|number| number.to_string())));
    };
    for user in &users.users {
        let state = if user.is_alive { "alive" } else { "gone" };
        let who = who(&report.processes, user.slot);
        row([user.slot.to_string(), state.into(), who], &user.statistics);
    }
    row(["0".into(), "folded".into(), who(&report.processes, 0)], &users.folded);
    row(["".into(), "all".into(), String::new()], &users.total);
    table.write(out)
}

/// The processes that count into a slot: one by name, the others by number.
pub(crate) fn who(processes: &[tierce::StoreProcess], slot: u32) -> String {
    let of_slot: Vec<String> = processes
        .iter()
        .filter(|process| process.slot == slot)
        .map(|process| format!("{} {}", process.process, process.name))
        .collect();
    of_slot.join(", ")
}

fn write_segments(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    let segments = &report.look.segments;
    let mut table = Table::new([
        ("segments", Align::Left),
        ("count", Align::Right),
        ("used", Align::Right),
        ("live", Align::Right),
    ]);
    for state in StoreSegmentState::ALL {
        let of_state: Vec<&StoreSegment> =
            segments.iter().filter(|segment| segment.state == state).collect();
        table.row(sums(state.as_str().into(), &of_state));
    }
    table.write(out)?;
    if segments.len() > MOST_DRAWN {
        return Ok(());
    }
    writeln!(out, "each: . free, + being filled, ! being emptied, 0 to 9 tenths live if sealed")?;
    let segment_bytes = report.inspection.header().segment_bytes;
    for (line, number) in segments.chunks(DRAWN_PER_LINE).zip((0..).step_by(DRAWN_PER_LINE)) {
        let drawn: String = line.iter().map(|segment| draw(segment, segment_bytes)).collect();
        writeln!(out, "{number:>6}  {drawn}")?;
    }
    Ok(())
}

fn draw(segment: &StoreSegment, segment_bytes: u32) -> char {
    match segment.state {
        StoreSegmentState::Free => '.',
        StoreSegmentState::Active => '+',
        StoreSegmentState::Evicting => '!',
        _ => {
            let tenths = u64::from(segment.live_bytes) * 10 / u64::from(segment_bytes.max(1));
            char::from_digit(tenths.min(9) as u32, 10).unwrap_or('9')
        }
    }
}

fn sums(name: String, segments: &[&StoreSegment]) -> [String; 4] {
    let used = segments.iter().map(|segment| u64::from(segment.used_bytes)).sum();
    let live = segments.iter().map(|segment| u64::from(segment.live_bytes)).sum();
    [name, segments.len().to_string(), bytes(used), bytes(live)]
}

fn write_classes(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let names: &[&str] = match report.inspection.header().classes {
        2 => &["under 10 min", "longer"],
        4 => &["under 1 min", "under 10 min", "under 1 h", "longer"],
        _ => return Ok(()),
    };
    writeln!(out)?;
    let mut table = Table::new([
        ("time to live", Align::Left),
        ("segments", Align::Right),
        ("used", Align::Right),
        ("live", Align::Right),
    ]);
    let shards = report.inspection.header().shards;
    let in_use = || report.look.segments.iter().filter(|one| one.state != StoreSegmentState::Free);
    for (name, class) in names.iter().zip(0..) {
        let of_class: Vec<&StoreSegment> =
            in_use().filter(|one| one.class == class && one.owner < shards).collect();
        table.row(sums((*name).into(), &of_class));
    }
    let carried: Vec<&StoreSegment> = in_use().filter(|one| one.owner >= shards).collect();
    table.row(sums("carried over".into(), &carried));
    table.write(out)
}

fn write_histograms(contents: &StoreContents, out: &mut dyn Write) -> io::Result<()> {
    let size = |bound| match bound {
        u64::MAX => "larger".into(),
        bound => format!("up to {}", bytes(bound)),
    };
    write_histogram("values", &contents.value_bytes, size, out)?;
    let age = |bound| match bound {
        u64::MAX => "more".into(),
        bound => format!("under {}", bound + 1),
    };
    write_histogram("age in writes of its shard", &contents.writes_since, age, out)?;
    let left = |bound| match bound {
        u64::MAX => "for ever".into(),
        bound if bound == u64::MAX - 1 => "longer".into(),
        bound => format!("under {}", span(std::time::Duration::from_secs(bound + 1))),
    };
    write_histogram("left to live", &contents.seconds_left, left, out)
}

fn write_histogram(
    name: &'static str,
    histogram: &StoreHistogram,
    label: impl Fn(u64) -> String,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out)?;
    let head = [(name, Align::Left), ("entries", Align::Right), ("share", Align::Right)];
    let mut table = Table::new(head);
    let rows = histogram.bounds.iter().zip(&histogram.counts).filter(|(_, count)| **count > 0);
    for (bound, count) in rows {
        table.row([label(*bound), count.to_string(), share(*count, histogram.total())]);
    }
    table.write(out)
}

fn write_check(contents: &StoreContents, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out)?;
    if contents.is_verified {
        let StoreContents { records, right, wrong, torn, .. } = contents;
        writeln!(out, "checked {records} records: {right} right, {wrong} wrong")?;
        let slots = &contents.slots;
        writeln!(out, "checked {} slots: {} wrong", slots.used, slots.wrong)?;
        writeln!(out, "left unfinished by killed processes: {torn}, of no harm to readers")?;
    } else {
        writeln!(out, "values not verified: --check does")?;
    }
    if contents.restless_segments > 0 {
        let number = contents.restless_segments;
        writeln!(out, "emptied whenever they were looked at: {number} segments")?;
    }
    for finding in &contents.findings {
        writeln!(out, "{finding}")?;
    }
    let listed = contents.findings.len() as u64;
    let unlisted = (contents.damages + contents.torn).saturating_sub(listed);
    if unlisted > 0 {
        writeln!(out, "and {unlisted} more")?;
    }
    if contents.damages > 0 {
        writeln!(out, "damaged in {} places", contents.damages)?;
    }
    Ok(())
}

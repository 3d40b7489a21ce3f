//! A frame as plain text, for scripts.

use std::{
    io::{self, Write},
    path::Path,
};

use super::frame::{Frame, Rates};
use crate::{
    quantity::{bytes, rate, share},
    table::{Align, Table},
};

/// The columns of rates, in both views.
pub(super) const RATES: [&str; 8] =
    ["gets/s", "hits", "puts/s", "fills/s", "deletes/s", "drops/s", "evicts/s", "misses/s"];

/// The cells below [`RATES`].
pub(super) fn cells(rates: &Rates) -> [String; 8] {
    let hits =
        rates.hit_ratio().map_or_else(|| "-".into(), |hits| format!("{:.1} %", 100.0 * hits));
    [
        rate(rates.gets()),
        hits,
        rate(rates.puts),
        rate(rates.fills),
        rate(rates.deletes),
        rate(rates.dropped),
        rate(rates.evicted),
        rate(rates.misses),
    ]
}

/// Writes one frame.
pub(super) fn write(frame: &Frame, path: &Path, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}: open {} times", path.display(), frame.alive)?;
    writeln!(
        out,
        "entries   {} of {} ({})",
        frame.entries,
        frame.max_entries,
        share(frame.entries, frame.max_entries)
    )?;
    writeln!(
        out,
        "bytes     {} live of {} ({})",
        bytes(frame.live_bytes),
        bytes(frame.data_bytes),
        share(frame.live_bytes, frame.data_bytes)
    )?;
    writeln!(out, "segments  {}", frame.segments_text())?;
    for note in &frame.notes {
        writeln!(out, "note      {note}")?;
    }
    writeln!(out)?;
    let head = [("slot", Align::Right), ("process", Align::Left)];
    let mut table = Table::new(head.into_iter().chain(RATES.map(|name| (name, Align::Right))));
    for row in &frame.rows {
        let who = if row.is_alive { row.who.clone() } else { "gone".into() };
        table.row([row.slot.to_string(), who].into_iter().chain(cells(&row.rates)));
    }
    table.row([String::new(), "all".into()].into_iter().chain(cells(&frame.total)));
    table.write(out)
}

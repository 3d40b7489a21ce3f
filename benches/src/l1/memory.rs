//! Bytes per entry beside key and value, each rival in a process of its own.
//!
//! Two figures. What the system says: the growth of the process's anonymous memory. What was asked
//! of the allocator: the sizes of all live blocks, without the allocator's own overhead. A cache
//! that maps memory itself shows in the first alone; one that asks for more than it touches is
//! larger in the second.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    fmt::Write as _,
    fs,
    process::Command,
    sync::atomic::{AtomicBool, AtomicI64, Ordering},
};

use serde_json::{Value, json};

use super::{
    arguments::many_entries,
    data::{Data, Numbers},
    rivals::{NAMES, contender},
};
use tierce_benches::arguments::Arguments;

/// What the system is asked for; does the counting of this program once it is told to.
pub(crate) struct Counting;

static IS_COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// Adds to the live bytes. Without counting it costs one load of a line that nobody writes.
#[inline]
fn count(bytes: i64) {
    if IS_COUNTING.load(Ordering::Relaxed) {
        LIVE_BYTES.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: each call goes to `System` unchanged, and what it returned is returned unchanged.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps the rules of `alloc`, which are those of `System`.
        unsafe { System.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller keeps the rules of `alloc_zeroed`, which are those of `System`.
        unsafe { System.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: the caller keeps the rules of `dealloc`, and the block came from `System`.
        unsafe { System.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as i64 - layout.size() as i64);
        // SAFETY: the caller keeps the rules of `realloc`, and the block came from `System`.
        unsafe { System.realloc(block, layout, size) }
    }
}

/// Bytes per entry beside key and value.
#[derive(Clone, Copy)]
pub(super) struct Overhead {
    pub(super) resident: f64,
    pub(super) allocated: f64,
    held: usize,
}

/// What one rival took.
pub(super) struct Row {
    pub(super) rival: &'static str,
    pub(super) full: Overhead,
    pub(super) after_turnover: Overhead,
}

/// What a child prints: numbers in one line, the full cache first.
fn line_of(parts: [Overhead; 2]) -> String {
    let part = |part: Overhead| format!("{} {} {}", part.resident, part.allocated, part.held);
    parts.map(part).join(" ")
}

fn parse(line: &str) -> Option<[Overhead; 2]> {
    let numbers: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let part = |at: &[f64]| Overhead { resident: at[0], allocated: at[1], held: at[2] as usize };
    (numbers.len() == 6).then(|| [part(&numbers[..3]), part(&numbers[3..])])
}

/// Runs a child for each rival.
///
/// # Errors
/// If one fails; the text says which.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Row>, String> {
    if !arguments.wants("memory/u64/1M/1t") {
        return Ok(vec![]);
    }
    eprintln!("memory");
    let program = std::env::current_exe().map_err(|error| format!("no path to self: {error}"))?;
    // Reads are not measured here, so rows that differ in them alone are left out.
    let rivals =
        arguments.rivals.iter().filter(|name| !matches!(**name, "tierce-get_with" | "scc-read"));
    rivals
        .map(|rival| {
            let entries = many_entries(arguments).to_string();
            let output = Command::new(&program)
                .args(["--memory-of", rival, &entries])
                .output()
                .map_err(|error| format!("{rival}: no child: {error}"))?;
            let [full, after_turnover] = parse(&String::from_utf8_lossy(&output.stdout))
                .ok_or_else(|| {
                    format!("{rival}: {}", String::from_utf8_lossy(&output.stderr).trim())
                })?;
            Ok(Row { rival, full, after_turnover })
        })
        .collect()
}

/// What a child does.
///
/// # Errors
/// If there is no such rival, or the system does not tell.
pub(super) fn print_of(rival: &str, entries: usize) -> Result<(), String> {
    let known = NAMES.iter().find(|name| **name == rival);
    let name = known.ok_or(format!("unknown rival {rival:?}"))?;
    let resident_before = anonymous_bytes()?;
    IS_COUNTING.store(true, Ordering::Relaxed);
    let cache = contender::<Numbers>(name, entries);
    let overhead = || {
        let held = cache.held();
        let data = size_of::<(<Numbers as Data>::Key, <Numbers as Data>::Value)>() as f64;
        let per_entry = |bytes: i64| bytes as f64 / held as f64 - data;
        Ok::<_, String>(Overhead {
            resident: per_entry(anonymous_bytes()? - resident_before),
            allocated: per_entry(LIVE_BYTES.load(Ordering::Relaxed)),
            held,
        })
    };
    let entries = entries as u32;
    cache.fill(&mut (0..entries));
    let full = overhead()?;
    cache.fill(&mut (entries..4 * entries));
    println!("{}", line_of([full, overhead()?]));
    Ok(())
}

/// The memory of this process that no file stands behind.
fn anonymous_bytes() -> Result<i64, String> {
    let status = fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:")?.trim().strip_suffix("kB"))
        .and_then(|kilobytes| kilobytes.trim().parse::<i64>().ok())
        .map(|kilobytes| kilobytes * 1_024)
        .ok_or_else(|| "/proc/self/status has no RssAnon".into())
}

pub(super) fn markdown(rows: &[Row], size: &str) -> String {
    let mut text = String::new();
    if rows.is_empty() {
        return text;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "\n## Memory, u64 -> u64, {size} entries\n\n\
         Bytes per entry that is held, beside the 16 of key and value: resident (allocated)\n\n\
         | | full | after 3x turnover | entries held |\n|---|---|---|---|"
    );
    for Row { rival, full, after_turnover } in rows {
        let cell = |part: &Overhead| format!("{:.1} ({:.1})", part.resident, part.allocated);
        let (first, second) = (cell(full), cell(after_turnover));
        let (held, later) = (full.held, after_turnover.held);
        let _ = writeln!(text, "| {rival} | {first} | {second} | {held}, then {later} |");
    }
    text
}

pub(super) fn json(rows: &[Row]) -> Value {
    let part = |part: &Overhead| json!({ "resident": part.resident, "allocated": part.allocated, "held": part.held });
    let row = |row: &Row| {
        json!({
            "name": row.rival,
            "full": part(&row.full),
            "after_turnover": part(&row.after_turnover),
        })
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_child_prints_is_read_back() {
        let part = |resident| Overhead { resident, allocated: 2.5, held: 900 };
        let [full, later] = parse(&line_of([part(1.25), part(7.0)])).unwrap();
        assert_eq!((full.resident, full.allocated, full.held), (1.25, 2.5, 900));
        assert_eq!((later.resident, later.held), (7.0, 900));
        assert!(parse("1 2 3").is_none());
    }
}

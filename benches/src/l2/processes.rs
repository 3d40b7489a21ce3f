//! Two processes on one store, beside one: what sharing costs.
//!
//! Of each rival two workers are started, and in each round one of them works alone, then both at
//! a time. The figure is the throughput of the two by that of the one; on a machine with two cores
//! it cannot be above 2, and what the array reaches is what the memory allows.

use std::fmt::Write as _;

use tierce_benches::{
    arguments::Arguments,
    process::Process,
    results::{Cell, Row},
    rounds::median,
};

use super::{
    cells::{Group, SIZES, Stand, Work, count_name},
    children::{order_of, run_of, start},
    rivals::{ARRAY, LMDB, LMDB_WRITEMAP, OURS, SQLITE},
    timing::Run,
};

/// Those that more than one process can open, in the mode they run in here.
const RIVALS: [&str; 5] = [OURS, ARRAY, LMDB, LMDB_WRITEMAP, SQLITE];

/// A rival with its workers, which end before its files do.
struct Pair {
    workers: [Process; 2],
    /// True if its puts are of new keys.
    is_fresh: bool,
    stand: Stand,
}

/// Measures all.
///
/// # Errors
/// If a rival cannot be set up, or a worker fails.
pub(super) fn measure(arguments: &Arguments) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    for size in &SIZES[..2] {
        for work in [Work::Get, Work::Put] {
            let entries = arguments.amount(size.entries / 2);
            let name = format!("two-{}/{}/{}", work.name(), size.name, count_name(entries));
            if !arguments.wants(&name) {
                continue;
            }
            eprintln!("{name}");
            let group = Group::on_memory(*size, entries, arguments);
            let mut pairs = vec![];
            for rival in arguments.rivals.iter().filter(|rival| RIVALS.contains(rival)) {
                let pair =
                    pair(&group, rival, work).map_err(|error| format!("{rival}: {error}"))?;
                pairs.push(pair);
            }
            cells.push(Cell { name, rows: compete(arguments, work, &mut pairs)? });
        }
    }
    Ok(cells)
}

fn pair(group: &Group<'_>, name: &'static str, work: Work) -> Result<Pair, String> {
    let is_fresh = work == Work::Put && name == OURS;
    let stand = if is_fresh { group.full(name) } else { group.resident(name) };
    let stand = stand.map_err(|error| error.to_string())?;
    let folder = stand.folder.path().to_string_lossy().into_owned();
    let (entries, value_bytes) = (group.entries.to_string(), group.size.value_bytes.to_string());
    let worker = |place| start(&["work", name, &folder, &entries, &value_bytes, place]);
    Ok(Pair { workers: [worker("0")?, worker("1")?], is_fresh, stand })
}

fn compete(arguments: &Arguments, work: Work, pairs: &mut [Pair]) -> Result<Vec<Row>, String> {
    let figure = |run: Run| if work == Work::Put { run.mean } else { run.median };
    let mut ratios = vec![vec![]; pairs.len()];
    let mut alone = vec![vec![]; pairs.len()];
    let mut refused: Vec<f64> = vec![0.0; pairs.len()];
    for round in 0..=arguments.rounds {
        for (index, pair) in pairs.iter_mut().enumerate() {
            let order = order_of(work == Work::Put, pair.is_fresh, work.limit(arguments));
            let [first, second] = &mut pair.workers;
            first.order(&order)?;
            let one = figure(run_of(&first.answer()?)?);
            first.order(&order)?;
            second.order(&order)?;
            let both = [run_of(&first.answer()?)?, run_of(&second.answer()?)?];
            let two = both.map(figure);
            refused[index] = both.iter().map(|run| 1.0 - run.hits).fold(refused[index], f64::max);
            // The first round warms up.
            if round > 0 {
                ratios[index].push(one / two[0] + one / two[1]);
                alone[index].push(one);
            }
        }
    }
    let row = |(((pair, ratios), mut alone), refused): (((&mut Pair, _), Vec<f64>), f64)| {
        let alone = median(&mut alone);
        let mut row = Row::of(pair.stand.name, ratios);
        row.aside = Some(alone);
        row.note = format!("alone {alone:.0} ns");
        if refused > 0.0 {
            let what = if work == Work::Put { "dropped" } else { "missed" };
            let _ = write!(row.note, ", up to {:.3} % {what}", 100.0 * refused);
        }
        row
    };
    Ok(pairs.iter_mut().zip(ratios).zip(alone).zip(refused).map(row).collect())
}

//! Which loads, and the rounds in which the rivals take turns.

use std::{path::Path, time::Duration};

use tierce_benches::{
    arguments::Arguments,
    results::{Cell, Row},
    rounds::{median, turns},
};

use super::{
    data::MANY,
    rivals::{self, Rival},
    server::{Place, Server},
    timing::Verb,
};

/// How long one run of one rival takes.
const RUN: Duration = Duration::from_millis(500);
const QUICK_RUN: Duration = Duration::from_millis(100);

/// Callers at once, where there are many.
const CALLERS: usize = 64;

/// Operations per second of many callers, and the server's reads for each of them.
pub(super) fn of_many(
    arguments: &Arguments,
    server: &Server,
    folder: &Path,
) -> Result<Vec<Cell>, String> {
    let verbs = [(Verb::Get, "get"), (Verb::Put, "put")];
    each(arguments, server, folder, &verbs, &format!("{CALLERS}-callers"), |rival, verb, limit| {
        let before = server.reads()?;
        let run = rival.many(CALLERS, verb, limit).map_err(|fault| fault.to_string())?;
        let reads = server.reads()? - before;
        Ok((run.operations as f64 / run.seconds, Some(reads as f64 / run.operations.max(1) as f64)))
    })
}

/// Microseconds of the middle call of one caller.
pub(super) fn of_one(
    arguments: &Arguments,
    server: &Server,
    folder: &Path,
) -> Result<Vec<Cell>, String> {
    let many = format!("get-many/{MANY}");
    let verbs = [(Verb::Get, "get"), (Verb::Put, "put"), (Verb::GetMany, &many)];
    each(arguments, server, folder, &verbs, "1-caller", |rival, verb, limit| {
        Ok((rival.one(verb, limit).map_err(|fault| fault.to_string())?, None))
    })
}

/// One run: its figure, and a second one.
type Figures = (f64, Option<f64>);

fn each(
    arguments: &Arguments,
    server: &Server,
    folder: &Path,
    verbs: &[(Verb, &str)],
    callers: &str,
    run: impl Fn(&dyn Rival, Verb, Duration) -> Result<Figures, String>,
) -> Result<Vec<Cell>, String> {
    let mut cells = vec![];
    for &(verb, word) in verbs {
        for (place, way) in [(server.tcp(), "tcp"), (server.unix(), "unix")] {
            let name = format!("{word}/1KiB/{callers}/{way}");
            if arguments.wants(&name) {
                let rows = rows(arguments, &place, folder, |rival, limit| run(rival, verb, limit))
                    .map_err(|error| format!("{name}: {error}"))?;
                cells.push(Cell { name, rows });
            }
        }
    }
    Ok(cells)
}

fn rows(
    arguments: &Arguments,
    place: &Place,
    folder: &Path,
    run: impl Fn(&dyn Rival, Duration) -> Result<Figures, String>,
) -> Result<Vec<Row>, String> {
    let limit = if arguments.quick { QUICK_RUN } else { RUN };
    let mut rows = vec![];
    let mut taking_part = vec![];
    // The values of the others are there before anybody asks for them.
    rivals::fill(place).map_err(|fault| fault.to_string())?;
    for name in arguments.rivals.iter().filter(|name| rivals::ASKING.contains(name)) {
        match rivals::open(name, place, folder) {
            Ok(rival) => taking_part.push((*name, rival, vec![], vec![])),
            Err(fault) => rows.push(Row::absent(name, fault.to_string())),
        }
    }
    for (_, turn) in turns(taking_part.len(), arguments.rounds) {
        let (name, rival, figures, asides) = &mut taking_part[turn];
        let (figure, aside) = run(&**rival, limit).map_err(|error| format!("{name}: {error}"))?;
        figures.push(figure);
        asides.extend(aside);
    }
    let measured = taking_part.into_iter().map(|(name, _, figures, mut asides)| {
        let aside = (!asides.is_empty()).then(|| median(&mut asides));
        Row { aside, ..Row::of(name, figures) }
    });
    rows.splice(0..0, measured);
    Ok(rows)
}

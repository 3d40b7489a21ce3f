//! A result as text: Markdown to read, JSON to compare.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    contestants::{Contestant, Role},
    run::Cell,
    summary::{Summary, best_rival, summaries},
    workload::Share,
};
use crate::report::Machine;

/// What was asked, and how the contestants are set up.
const QUESTION: &str = "\
Which share of the requests of real traces hits? A request is a get and, on a miss, an insert of \
the key as its own value; all entries count 1. Capacities are shares of a trace's unique keys. \
One thread plays each trace in full; caches hash by foldhash with a fixed seed, and every draw is \
seeded. The traces `zipf-*` are drawn: a million requests for 40,000 keys, the n-th most wanted in \
proportion to n to the power of minus the number in its name. They are in no mean of the real ones.

- **tierce**: `MemoryCache` by `max_entries`, default policy and default shards, while no other \
thread of the process reads such a cache. *Beside a reader*: while one does nothing else; what is \
evicted then waits for it, which changes a little what goes next, differently in each run. No \
measure of anybody.
- **quick_cache**: sync, default options, estimated items = capacity (its default shards round the \
capacity up); *unsync*: its single-threaded cache, one shard of exactly the capacity.
- **moka**: sync, default policy (TinyLFU); `run_pending_tasks` after every insert, so that it holds \
no more than its capacity. *unsettled*: never called; it then works when its buffers fill and \
holds up to some hundred entries too many, which flatters it in small caches. Beside the field.
- **foyer**: foyer-memory, its five evictions with default settings, one shard (its shards divide \
the capacity and it warns where that is small).
- **LRU, S3-FIFO, SIEVE, W-TinyLFU**: simulated as in their papers. S3-FIFO: a tenth for the small \
queue, promotion after 1 or 2 hits. W-TinyLFU: as Caffeine's, window fixed at 1 % or 10 %, main part \
segmented 20/80, 4-bit count-min sketch, sample of ten times the capacity.
- **FIFO, ARC, LIRS**: simulated, beside the field. LIRS: 1 % HIR, ghosts up to twice the capacity.
- **OPT**: Belady's optimum, which may also pass a newcomer by.
- `scc::HashCache` is left out: it rounds its capacity up to a power of two, and so holds up to \
twice what the others may.

Regret: points of hit ratio that a contestant lacks to the best rival of a cell, 0 where it is \
better; rivals are the caches and the simulated LRU, S3-FIFO, SIEVE and W-TinyLFU. \"Against all\": \
the same against the best of ours (undisturbed), of the rivals and of those beside the field.";

/// The result as Markdown.
pub fn markdown(cells: &[Cell], contestants: &[Contestant]) -> String {
    let machine = Machine::here();
    let mut text = format!(
        "# hitratio\n\n{QUESTION}\n\n{}; {} cores; Linux {}; {}; commit {}.\n",
        machine.cpu, machine.cores, machine.kernel, machine.date, machine.commit,
    );
    text.push_str("\n![hit ratio over capacity](hitratio.svg)\n");
    text.push_str(&means(cells, contestants));
    for of_trace in cells.chunk_by(|one, next| one.trace == next.trace) {
        text.push_str(&table(of_trace, contestants));
    }
    text
}

/// Cells over which a mean is taken.
fn of(cells: &[Cell], counts: impl Fn(&Cell) -> bool) -> Vec<&Cell> {
    cells.iter().filter(|cell| counts(cell)).collect()
}

fn recorded_and_small(cell: &Cell) -> bool {
    cell.recorded && cell.share.is_small()
}

/// The tables of means: over the small capacities of what was recorded, over all of them, and over
/// all of what was drawn.
pub fn means(cells: &[Cell], contestants: &[Contestant]) -> String {
    let mut text = String::new();
    for (title, cells) in [
        ("Means over the capacities up to 12.5 %", of(cells, recorded_and_small)),
        ("Means over all capacities", of(cells, |cell| cell.recorded)),
        ("Means over the drawn traces, all capacities", of(cells, |cell| !cell.recorded)),
    ] {
        if cells.is_empty() {
            continue;
        }
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\n## {title} ({} cells)\n\n| | mean hit ratio | mean regret | worst regret | in cell | \
             no rival better in | mean regret against all |\n|---|---:|---:|---:|---|---:|---:|",
            cells.len(),
        );
        let summaries = summaries(&cells, contestants);
        let mut order: Vec<usize> = (0..contestants.len()).collect();
        order.sort_by(|one, other| summaries[*other].mean.total_cmp(&summaries[*one].mean));
        for index in order {
            let name = emphasized(&contestants[index]);
            let Summary { mean, mean_regret, mean_regret_of_all, worst, best_cells } =
                &summaries[index];
            if contestants[index].role == Role::Bound {
                let _ = writeln!(text, "| {name} | {mean:.2} | | | | | |");
                continue;
            }
            let (worst, at) = match (worst, cells.get(worst.1)) {
                ((regret, _), Some(cell)) if *regret > 0.0 => {
                    (*regret, format!("{}, {} %", cell.trace, cell.share.percent()))
                }
                _ => (0.0, String::new()),
            };
            let _ = writeln!(
                text,
                "| {name} | {mean:.2} | {mean_regret:.2} | {worst:.2} | {at} | {best_cells} | \
                 {mean_regret_of_all:.2} |",
            );
        }
    }
    text
}

/// Ours stand out in tables.
fn emphasized(contestant: &Contestant) -> String {
    match contestant.role {
        Role::Ours => format!("**{}**", contestant.name),
        Role::Aside | Role::Disturbed | Role::Bound => format!("*{}*", contestant.name),
        Role::Rival => contestant.name.to_owned(),
    }
}

/// One trace: contestants down, capacities across; the best rival is bold.
fn table(cells: &[Cell], contestants: &[Contestant]) -> String {
    let mut text = format!("\n## {}\n\n|", cells[0].trace);
    for cell in cells {
        let _ = write!(text, " | {} % ({})", cell.share.percent(), cell.capacity);
    }
    let _ = writeln!(text, " |\n|---|{}", "---:|".repeat(cells.len()));
    let best: Vec<usize> = cells.iter().map(|cell| best_rival(cell, contestants)).collect();
    for (index, contestant) in contestants.iter().enumerate() {
        let _ = write!(text, "| {} |", emphasized(contestant));
        for (cell, best) in cells.iter().zip(&best) {
            let mark = if *best == index { "**" } else { "" };
            let _ = write!(text, " {mark}{:.2}{mark} |", cell.ratios[index]);
        }
        text.push('\n');
    }
    text.push_str("| best rival |");
    best.iter().for_each(|best| {
        let _ = write!(text, " {} |", contestants[*best].name);
    });
    for (index, contestant) in contestants.iter().enumerate() {
        if contestant.role == Role::Ours {
            let _ = write!(text, "\n| {}, lead |", emphasized(contestant));
            for (cell, best) in cells.iter().zip(&best) {
                let _ = write!(text, " {:+.2} |", cell.ratios[index] - cell.ratios[*best]);
            }
        }
    }
    text.push('\n');
    text
}

/// The result as JSON.
pub fn json(cells: &[Cell], contestants: &[Contestant]) -> Value {
    let machine = Machine::here();
    let cell = |cell: &Cell| {
        let ratio = |(contestant, ratio): (&Contestant, &f64)| {
            (contestant.name.to_owned(), json!((ratio * 1e4).round() / 1e4))
        };
        let ratios = contestants.iter().zip(&cell.ratios).map(ratio);
        json!({
            "trace": cell.trace,
            "capacity_percent": cell.share.percent(),
            "capacity": cell.capacity,
            "best_rival": contestants[best_rival(cell, contestants)].name,
            "hit_ratio_percent": ratios.collect::<serde_json::Map<_, _>>(),
        })
    };
    let means = |cells: Vec<&Cell>| {
        let one = |(contestant, summary): (&Contestant, Summary)| {
            let worst = cells.get(summary.worst.1).filter(|_| summary.worst.0 > 0.0);
            json!({
                "name": contestant.name,
                "role": format!("{:?}", contestant.role).to_lowercase(),
                "mean_hit_ratio": summary.mean,
                "mean_regret": summary.mean_regret,
                "worst_regret": summary.worst.0,
                "worst_cell": worst.map(|cell| json!([cell.trace, cell.share.percent()])),
                "no_rival_better_in": summary.best_cells,
                "mean_regret_against_all": summary.mean_regret_of_all,
            })
        };
        let summaries = summaries(&cells, contestants);
        contestants.iter().zip(summaries).map(one).collect::<Vec<_>>()
    };
    json!({
        "name": "hitratio",
        "question": QUESTION,
        "date": machine.date,
        "machine": { "cpu": machine.cpu, "cores": machine.cores, "kernel": machine.kernel },
        "commit": machine.commit,
        "capacities_percent": Share::ALL.map(Share::percent),
        "means_up_to_12.5_percent": means(of(cells, recorded_and_small)),
        "means_over_all": means(of(cells, |cell| cell.recorded)),
        "means_over_drawn": means(of(cells, |cell| !cell.recorded)),
        "cells": cells.iter().map(cell).collect::<Vec<_>>(),
    })
}

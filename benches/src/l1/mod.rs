//! The parts of `bench-l1`.
//!
//! | file | answers |
//! |---|---|
//! | `arguments` | what the program was asked for |
//! | `data` | which keys and values |
//! | `rivals` | which caches, and how each is set up |
//! | `timing` | how one run is timed, by one thread or two |
//! | `cells` | which loads, and how each cache is brought into the state that the load is about |
//! | `bars` | which ratios and means are drawn from the cells |
//! | `memory` | how many bytes an entry costs beside key and value |
//! | `latency` | how long the slowest inserts take |
//! | `many` | what reading a hundred keys at once gains |
//! | `question` | what the report says of all this |

mod arguments;
mod bars;
mod cells;
mod data;
mod latency;
mod many;
pub(crate) mod memory;
mod question;
mod rivals;
mod timing;

use serde_json::json;
use tierce_benches::{
    arguments::Arguments,
    bars::Bar,
    report::{Machine, write_files},
};

use arguments::{Task, many_entries};

/// Does what the arguments say.
///
/// # Errors
/// If the arguments are wrong, a child fails or a file cannot be written; the text says which.
pub(crate) fn main() -> Result<(), String> {
    let (arguments, task) = arguments::from_command_line()?;
    match &task {
        Task::Measure => measure(&arguments),
        Task::Profile { cell, operations } => cells::profile(&arguments, cell, *operations),
        Task::MemoryOf { rival, entries } => memory::print_of(rival, *entries),
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    // Children first: the memory that this process has by then is none of theirs, but the
    // machine's.
    let memory = memory::measure(arguments)?;
    let cells = cells::measure(arguments);
    let latency = latency::measure(arguments);
    let many = many::measure(arguments);
    if cells.is_empty() && memory.is_empty() && latency.is_empty() && many.is_empty() {
        return Err("no cell has such a name".into());
    }

    let machine = Machine::here();
    let mut text = format!("# l1\n\n{}\n\n{}\n", machine.line(), question::HOW);
    let bars = bars::of(&cells, &memory, &latency, &many);
    text += &Bar::table(&bars);
    text += &bars::means(&cells);
    text += &cells::markdown(&cells);
    let size = cells::size_name(many_entries(arguments));
    text += &memory::markdown(&memory, &size);
    text += &latency::markdown(&latency, &size);
    text += &many::markdown(&many, &size);
    println!("{text}");
    if arguments.keeps_results() {
        let mut value = machine.json("l1", question::HOW);
        value["throughput"] = json!({ "unit": "ns per operation", "cells": cells::json(&cells) });
        value["memory"] = json!({ "unit": "bytes per entry", "rivals": memory::json(&memory) });
        value["latency"] = json!({ "unit": "ns per insert", "rows": latency::json(&latency) });
        value["get_many"] = json!({ "unit": "ns per key", "rows": many::json(&many) });
        value["bars"] = bars.iter().map(Bar::json).collect();
        write_files("l1", &text, &value)
            .map_err(|error| format!("results could not be written: {error}"))?;
    }
    Ok(())
}

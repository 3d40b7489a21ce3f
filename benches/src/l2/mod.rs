//! The parts of `bench-l2`.
//!
//! | file | answers |
//! |---|---|
//! | `data` | which keys and values |
//! | `folder` | where the stores lie |
//! | `rivals/` | which stores, and how each is set up |
//! | `timing` | how one run is timed |
//! | `cells` | gets, puts and misses of one process |
//! | `processes` | two processes beside one |
//! | `children` | what this program does as another process |
//! | `facade` | what the check of a stamp adds to a hit in L1 |
//! | `space` | file bytes per live byte |
//! | `evictions` | hit ratios on real traces |
//! | `opening` | the first open after a kill |
//! | `bars` | which figures are drawn from it, each beside its bar |
//! | `question` | what the report says of all this |

mod bars;
mod cells;
mod children;
mod data;
mod evictions;
mod facade;
mod folder;
mod opening;
mod processes;
mod question;
mod rivals;
mod space;
mod timing;

use serde_json::Value;
use tierce_benches::{
    arguments::Arguments,
    bars::Bar,
    report::{Machine, write_files},
    results::Section,
};

/// Does what the arguments say.
///
/// # Errors
/// If the arguments are wrong, a rival fails or a file cannot be written; the text says which.
pub(crate) fn main() -> Result<(), String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.first().is_some_and(|first| first == children::FLAG) {
        return children::main(&given[1..]);
    }
    let arguments = Arguments::parse(given.into_iter(), &rivals::NAMES)?;
    let sections = [
        Section {
            title: "One process, /dev/shm",
            unit: "ns per operation",
            cells: cells::on_memory(&arguments)?,
        },
        Section {
            title: "One process, disk, page cache hot",
            unit: "ns per operation",
            cells: cells::on_disk(&arguments)?,
        },
        Section {
            title: "Two processes on one store",
            unit: "throughput of two by that of one",
            cells: processes::measure(&arguments)?,
        },
        Section {
            title: "A hit in L1, with and without L2 below",
            unit: "ns per operation",
            cells: facade::measure(&arguments)?,
        },
        Section {
            title: "Space",
            unit: "file bytes per live byte",
            cells: space::measure(&arguments)?,
        },
        Section { title: "Open after kill -9", unit: "ms", cells: opening::measure(&arguments)? },
        Section {
            title: "Hit ratios of the eviction",
            unit: "percent of hits",
            cells: evictions::measure(&arguments)?,
        },
    ];
    if sections.iter().all(|section| section.cells.is_empty()) {
        return Err("no cell has such a name".into());
    }

    let machine = Machine::here();
    let bars = bars::of(&sections);
    let mut text = format!("# l2\n\n{}\n\n{}\n", machine.line(), question::HOW);
    text += &Bar::table(&bars);
    text.extend(sections.iter().map(Section::table));
    println!("{text}");
    if arguments.keeps_results() {
        let mut value = machine.json("l2", question::HOW);
        value["sections"] = sections.iter().map(Section::json).collect::<Value>();
        value["bars"] = bars.iter().map(Bar::json).collect();
        write_files("l2", &text, &value)
            .map_err(|error| format!("results could not be written: {error}"))?;
    }
    Ok(())
}

//! The parts of `bench-l2`.
//!
//! | file | answers |
//! |---|---|
//! | `arguments` | what the program was asked for |
//! | `data` | which keys and values |
//! | `folder` | where the stores lie |
//! | `rivals/` | which stores, and how each is set up |
//! | `timing` | how one run is timed |
//! | `cells` | gets, puts and misses of one process |
//! | `results` | how what was measured becomes tables and JSON |
//! | `bars` | which figures are drawn from it, each beside its bar |
//! | `question` | what the report says of all this |

mod arguments;
mod bars;
mod cells;
mod data;
mod folder;
mod question;
mod results;
mod rivals;
mod timing;

use serde_json::{Value, json};
use tierce_benches::report::{Machine, write_files};

use arguments::Arguments;
use results::Section;

/// Does what the arguments say.
///
/// # Errors
/// If the arguments are wrong, a rival fails or a file cannot be written; the text says which.
pub(crate) fn main() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
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
    ];
    if sections.iter().all(|section| section.cells.is_empty()) {
        return Err("no cell has such a name".into());
    }

    let machine = Machine::here();
    let bars = bars::of(&sections);
    let mut text = format!("# l2\n\n{}\n\n{}\n", machine.line(), question::HOW);
    text += &bars::markdown(&bars);
    text.extend(sections.iter().map(Section::markdown));
    println!("{text}");
    if arguments.keeps_results() {
        let mut value = machine.json("l2", question::HOW);
        value["sections"] = sections.iter().map(Section::json).collect::<Value>();
        value["bars"] = json!(bars::json(&bars));
        write_files("l2", &text, &value)
            .map_err(|error| format!("results could not be written: {error}"))?;
    }
    Ok(())
}

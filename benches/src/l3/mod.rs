//! The parts of `bench-l3`.
//!
//! | file | answers |
//! |---|---|
//! | `data` | which keys and values |
//! | `server` | the server that all talk to |
//! | `rivals` | which clients, and how each is set up; `hiredis.c` is one of them |
//! | `timing` | how one run is timed |
//! | `cells` | which loads |
//! | `near/` | copies near on two hosts: what they cost, and how long changes take to be seen |
//! | `bars` | which figures are drawn from it, each beside its bar |
//! | `question` | what the report says of all this |

mod bars;
mod cells;
mod data;
mod near;
mod question;
mod rivals;
mod server;
mod timing;

use serde_json::Value;
use tierce_benches::{
    arguments::Arguments,
    bars::Bar,
    report::{Machine, write_files},
    results::Section,
};

use server::Server;

/// Does what the arguments say.
///
/// # Errors
/// If the arguments are wrong, a rival fails or a file cannot be written; the text says which.
pub(crate) fn main() -> Result<(), String> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    if given.first().is_some_and(|first| first == near::FLAG) {
        return near::main(&given[1..]);
    }
    let arguments = Arguments::parse(given.into_iter(), &rivals::NAMES)?;
    let server = Server::start()?;
    let folder = tempfile::tempdir().map_err(|error| format!("no folder: {error}"))?;
    let sections = [
        Section {
            title: "64 callers at once",
            unit: "operations per second",
            cells: cells::of_many(&arguments, &server, folder.path())?,
        },
        Section {
            title: "One caller",
            unit: "microseconds of the middle call",
            cells: cells::of_one(&arguments, &server, folder.path())?,
        },
    ];
    let near = near::measure(&arguments)?;
    if sections.iter().chain(&near.sections).all(|section| section.cells.is_empty()) {
        return Err("no cell has such a name".into());
    }

    let machine = Machine::here();
    let mut bars = bars::of(&sections);
    bars.extend(near.bars);
    let version = server.version()?;
    let mut text =
        format!("# l3\n\n{} redis-server {version}.\n\n{}\n", machine.line(), question::HOW);
    text += &Bar::table(&bars);
    let reads = "server's reads per operation";
    text.extend(sections.iter().map(|section| section.tables(reads)));
    text.extend(near.sections.iter().map(Section::table));
    println!("{text}");
    if arguments.keeps_results() {
        let mut value = machine.json("l3", question::HOW);
        value["server"] = Value::from(version);
        value["sections"] =
            sections.iter().chain(&near.sections).map(Section::json).collect::<Value>();
        value["bars"] = bars.iter().map(Bar::json).collect();
        write_files("l3", &text, &value)
            .map_err(|error| format!("results could not be written: {error}"))?;
    }
    Ok(())
}

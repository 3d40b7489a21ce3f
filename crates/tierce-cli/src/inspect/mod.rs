//! `tierce inspect`: what a store file is, who uses it, what is in it, what is wrong with it.
//!
//! Looks from outside and changes nothing: see `StoreInspection`. Exit code 1 where something is
//! wrong; what a killed writer left unfinished is told, and is not wrong.

mod json;
mod text;

use std::{io::Write, path::PathBuf};

use clap::Args;
use tierce::{Clock, StoreContents, StoreInspection, StoreLook, StoreProcess, StoreUsers};

pub(crate) use self::text::who;
use crate::output::{Outcome, Verdict};

/// The arguments of `tierce inspect`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The store: its l2.data, or the folder that has it.
    file: PathBuf,
    /// Verifies every record and slot, and says where each wrong one is.
    #[arg(long)]
    check: bool,
    /// Prints one JSON document instead.
    #[arg(long)]
    json: bool,
}

/// All that is told of a store.
struct Report {
    inspection: StoreInspection,
    look: StoreLook,
    users: StoreUsers,
    processes: Vec<StoreProcess>,
    contents: StoreContents,
}

/// Runs `tierce inspect`.
pub(crate) fn run(arguments: &Arguments, out: &mut dyn Write) -> Outcome {
    let inspection = StoreInspection::open(&arguments.file, Clock::system())?;
    let report = Report {
        users: inspection.users()?,
        processes: inspection.processes(),
        look: inspection.look()?,
        contents: inspection.contents(arguments.check)?,
        inspection,
    };
    if arguments.json {
        serde_json::to_writer_pretty(&mut *out, &json::document(&report))?;
        writeln!(out)?;
    } else {
        text::write(&report, out)?;
    }
    out.flush()?;
    Ok(if report.contents.damages == 0 { Verdict::Good } else { Verdict::Bad })
}

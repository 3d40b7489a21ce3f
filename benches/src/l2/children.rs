//! This program as processes of their own: workers that share a store, and a user of a store that
//! is killed.

use std::{io::stdin, path::Path, time::Duration};

use tierce::Medium;
use tierce_benches::process::{self, Process, say_ready};

use super::{
    data::{Numbers, Request, Value},
    opening,
    rivals::{NAMES, Rival, Setup, open},
    timing::{Pace, Run},
};

/// The first argument of a child; what follows is for this file alone.
pub(super) const FLAG: &str = "--child";

/// Starts a child with these arguments and waits until it is ready.
///
/// # Errors
/// If it cannot be started, or ends; what it has to say goes to standard error.
pub(super) fn start(arguments: &[&str]) -> Result<Process, String> {
    let mut command = process::this_program()?;
    command.arg(FLAG).args(arguments);
    Process::start(command)
}

/// What a child does, with the arguments after [`FLAG`].
///
/// # Errors
/// If they are not what this program gives to its children, or a store fails.
pub(super) fn main(arguments: &[String]) -> Result<(), String> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?}: no number"));
    match arguments[..] {
        ["work", name, folder, entries, value_bytes, place] => {
            let folder = Path::new(folder);
            let (entries, value_bytes) = (number(entries)?, number(value_bytes)?);
            let setup =
                Setup { folder, entries, value_bytes, medium: Medium::Auto, mapped_reads: false };
            let name = NAMES.iter().find(|known| **known == name).ok_or("no such rival")?;
            let rival = open(name, &setup).map_err(|error| format!("{name}: {error}"))?;
            work(rival, &setup, number(place)? as u32)
        }
        ["use", folder, bytes] => opening::use_until_killed(Path::new(folder), number(bytes)?),
        _ => Err("not the arguments of a child".into()),
    }
}

/// Ends this child when its parent is gone, which then orders nothing more.
pub(super) fn end_with_parent() {
    std::thread::spawn(|| {
        for order in stdin().lines() {
            if order.is_err() {
                break;
            }
        }
        std::process::exit(0);
    });
}

/// The order to do a run.
pub(super) fn order_of(is_put: bool, is_fresh: bool, limit: Duration) -> String {
    let work = match (is_put, is_fresh) {
        (false, _) => "get",
        (true, false) => "overwrite",
        (true, true) => "put",
    };
    format!("{work} {}", limit.as_millis())
}

/// The answer to it.
///
/// # Errors
/// If it is none.
pub(super) fn run_of(answer: &str) -> Result<Run, String> {
    let mut numbers = answer.split(' ').map(str::parse::<f64>);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(median)), Some(Ok(mean)), Some(Ok(hits))) => Ok(Run { median, mean, hits }),
        _ => Err(format!("a child answered {answer:?}")),
    }
}

/// Does runs until nobody orders more. `place` is the number of this worker among its like.
fn work(mut rival: Box<dyn Rival>, setup: &Setup<'_>, place: u32) -> Result<(), String> {
    let mut values = Value::up_to(setup.value_bytes);
    let bytes = setup.value_bytes;
    let mut uniform = Numbers::uniform(setup.entries, u64::from(place));
    let mut fresh = Numbers::Fresh { next: (place + 1) << 29 };
    say_ready();
    for order in stdin().lines() {
        let order = order.map_err(|error| error.to_string())?;
        let (work, limit) = order.split_once(' ').ok_or("an order without a time")?;
        let limit = limit.parse().map_err(|_| "an order without a time")?;
        let pace = Pace::of(bytes, Duration::from_millis(limit));
        let numbers = if work == "put" { &mut fresh } else { &mut uniform };
        let run = if work == "get" {
            pace.run(
                numbers,
                &mut rival,
                |rival, request: &Request| {
                    rival.get(request).is_some_and(|seen| seen.bytes == bytes)
                },
                |_| {},
            )
        } else {
            let put = |rival: &mut Box<dyn Rival>, request: &Request| {
                rival.put(request, values.of(request.number, bytes))
            };
            pace.run(numbers, &mut rival, put, |rival| rival.settle())
        };
        println!("{} {} {}", run.median, run.mean, run.hits);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_runs() {
        assert_eq!(run_of("1.5 2 0.25"), Ok(Run { median: 1.5, mean: 2.0, hits: 0.25 }));
        assert!(run_of("1.5 2").is_err() && run_of("fast 2 1").is_err());
        assert_eq!(order_of(true, false, Duration::from_millis(150)), "overwrite 150");
    }
}

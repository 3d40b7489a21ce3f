//! Which share of the requests of traces, real ones and some drawn by Zipf's law, hits in each cache,
//! and how far is ours from the best?
//!
//! ```sh
//! bench-hitratio                     # all traces; writes benches/results/hitratio.{md,json,svg}
//! bench-hitratio --quick             # the small traces; writes nothing
//! bench-hitratio --trace lirs-cpp    # one trace, or several; writes nothing
//! bench-hitratio --json FILE         # with any of these: the result as JSON, there
//! bench-hitratio --plot FILE         # the same for the picture, SVG
//! ```

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Instant,
};

use tierce_benches::hitratio::{
    contestants, document, plot,
    run::run,
    workload::{Workload, name_of, traces},
};

fn main() -> ExitCode {
    match bench() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("bench-hitratio: {message}");
            ExitCode::FAILURE
        }
    }
}

#[derive(Debug, Default, PartialEq)]
struct Arguments {
    quick: bool,
    /// The traces to play; empty for all.
    names: Vec<String>,
    json: Option<PathBuf>,
    plot: Option<PathBuf>,
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut arguments = Self::default();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} takes a value"));
            match word.as_str() {
                "--quick" => arguments.quick = true,
                "--trace" => arguments.names.push(value()?),
                "--json" => arguments.json = Some(value()?.into()),
                "--plot" => arguments.plot = Some(value()?.into()),
                _ => {
                    return Err(format!(
                        "unknown argument {word:?}: --quick, --trace NAME, --json PATH and \
                         --plot PATH are known"
                    ));
                }
            }
        }
        Ok(arguments)
    }

    fn workloads(&self) -> Result<Vec<Workload>, String> {
        let mut paths = traces(!self.quick)?;
        let mut drawn = if self.quick { vec![] } else { Workload::drawn() };
        let mut names: Vec<String> = paths.iter().map(|path| name_of(path)).collect();
        names.extend(drawn.iter().map(|workload| workload.name.clone()));
        if let Some(name) = self.names.iter().find(|name| !names.contains(name)) {
            return Err(format!("--trace {name}: there are {}", names.join(", ")));
        }
        let wanted = |name: &String| self.names.is_empty() || self.names.contains(name);
        paths.retain(|path| wanted(&name_of(path)));
        drawn.retain(|workload| wanted(&workload.name));
        let recorded: Result<Vec<Workload>, String> =
            paths.iter().map(|path| Workload::read(path)).collect();
        Ok(recorded?.into_iter().chain(drawn).collect())
    }
}

fn bench() -> Result<(), String> {
    let arguments = Arguments::parse(std::env::args().skip(1))?;
    let begin = Instant::now();
    let workloads = arguments.workloads()?;
    let requests: usize = workloads.iter().map(|workload| workload.keys.len()).sum();
    eprintln!("{} traces, {requests} requests", workloads.len());
    let contestants = contestants::all();
    let cells = run(&workloads, &contestants, |left| {
        if left % 250 == 0 {
            eprintln!("{left} plays left");
        }
    });
    println!("{}", document::means(&cells, &contestants));
    eprintln!("played in {:.0} s", begin.elapsed().as_secs_f64());
    let json = || format!("{:#}\n", document::json(&cells, &contestants));
    if let Some(path) = &arguments.json {
        write(path, json())?;
    }
    if let Some(path) = &arguments.plot {
        plot::draw(path, &cells, &contestants)?;
    }
    if arguments.quick || !arguments.names.is_empty() {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    write(&folder.join("hitratio.md"), document::markdown(&cells, &contestants))?;
    write(&folder.join("hitratio.json"), json())?;
    plot::draw(&folder.join("hitratio.svg"), &cells, &contestants)
}

fn write(path: &Path, content: String) -> Result<(), String> {
    fs::write(path, content)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Arguments, String> {
        Arguments::parse(words.iter().map(|word| (*word).to_owned()))
    }

    #[test]
    fn arguments_are_understood_or_refused_by_name() {
        let arguments = parse(&["--quick", "--trace", "a", "--trace", "b", "--json", "x"]).unwrap();
        assert!(arguments.quick && arguments.names == ["a", "b"]);
        assert_eq!(arguments.json, Some("x".into()));
        assert!(parse(&["--trace"]).unwrap_err().contains("--trace takes a value"));
        assert!(parse(&["--fast"]).unwrap_err().contains("\"--fast\""));
        let none = Arguments { names: vec!["none".into()], ..Arguments::default() };
        assert!(none.workloads().err().unwrap().contains("lirs-cpp"));
    }
}

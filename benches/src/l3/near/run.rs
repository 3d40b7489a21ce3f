//! How hosts are told, in which order, and what is made of their logs.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tempfile::TempDir;
use tierce_benches::{
    arguments::Arguments,
    bars::Bar,
    process::{Process, this_program},
    results::{Cell, Row, Section},
    rounds::{median, turns},
};

use super::{
    BOUND, FLAG, KEYS, Near, READS,
    clients::{PYTHON, RUST, TIERCE_BEHIND},
    judge::{Ages, Judge},
    log::{self, Done},
    network::Network,
};
use crate::l3::{rivals::OURS, server::Server};

/// How long one run of one client takes.
const MIX: Duration = Duration::from_millis(1_000);
const QUICK_MIX: Duration = Duration::from_millis(200);

/// How long keys are changed and watched: so that all rounds together have a hundred thousand
/// changes.
const CHANGE: Duration = Duration::from_secs(8);
const QUICK_CHANGE: Duration = Duration::from_millis(300);

/// How much longer they are watched than changed.
const AFTERWARDS: Duration = Duration::from_millis(500);

/// A change that is not seen for so long when the watch ends counts with that: far above what is
/// promised of the slowest.
const UNSEEN: Duration = Duration::from_millis(400);

/// Both hosts of a client.
struct Pair {
    name: &'static str,
    hosts: [Process; 2],
    logs: [PathBuf; 2],
    judge: Judge,
    /// What each round gave.
    rates: Vec<f64>,
    /// The middle of its reads, and their mean.
    reads: Vec<f64>,
    means: Vec<f64>,
    delays: Vec<f64>,
    /// Of all rounds.
    ages: Ages,
    all_delays: Vec<u64>,
}

/// Measures all that is asked for.
pub(super) fn measure(arguments: &Arguments) -> Result<Near, String> {
    let groups = [("rust", &RUST[..]), ("python", &PYTHON[..])];
    let names = |language: &str| {
        let load = format!("{READS}-5/zipf-0.99/{}k-keys", KEYS / 1_000);
        ["near", "near-read", "near-change"].map(|what| format!("{what}/{language}/{load}"))
    };
    let (mut rates, mut reads, mut changes, mut bars) = (vec![], vec![], vec![], vec![]);
    for (language, clients) in groups {
        let [rate, read, change] = names(language);
        let wants_mix = arguments.wants(&rate) || arguments.wants(&read);
        let wants_change = arguments.wants(&change) && language == "rust";
        if !wants_mix && !wants_change {
            continue;
        }
        let network = Network::new();
        let server = Server::start_at(&network.addresses())?;
        let folder = tempfile::tempdir().map_err(|error| format!("no folder: {error}"))?;
        let mut absent = vec![];
        let mut pairs = vec![];
        for name in clients.iter().filter(|name| arguments.rivals.contains(name)) {
            match Pair::start(name, &network, &server, &folder) {
                Ok(pair) => pairs.push(pair),
                Err(error) if name == &OURS => return Err(error),
                Err(error) => absent.push(Row::absent(name, error)),
            }
        }
        if wants_mix {
            mix(arguments, &mut pairs)?;
        }
        if wants_change {
            change_and_watch(arguments, &mut pairs)?;
        }
        bars.extend(bars_of(language, &pairs, &network.told()));
        let mut cell = |cells: &mut Vec<Cell>, name: String, row: &dyn Fn(&mut Pair) -> Row| {
            let mut rows: Vec<Row> = pairs.iter_mut().map(row).collect();
            rows.append(&mut absent.iter().map(again).collect());
            cells.push(Cell { name, rows });
        };
        if wants_mix {
            cell(&mut rates, rate, &|pair| pair.rate(&network.told()));
            cell(&mut reads, read, &Pair::read);
        }
        if wants_change {
            cell(&mut changes, change, &Pair::change);
        }
    }
    let sections = vec![
        Section {
            title: "Near-caches: two hosts, 95 % reads",
            unit: "operations of both hosts per second of calls",
            cells: rates,
        },
        Section { title: "Near-caches: the middle read of these", unit: "ns", cells: reads },
        Section {
            title: "Near-caches: how long changes take to be seen by the other host",
            unit: "ms, the middle of each round",
            cells: changes,
        },
    ];
    Ok(Near { sections, bars })
}

/// The same row once more.
fn again(row: &Row) -> Row {
    Row::absent(row.rival, row.note.clone())
}

/// Rounds of reads and sets by both hosts at a time.
fn mix(arguments: &Arguments, pairs: &mut [Pair]) -> Result<(), String> {
    let limit = if arguments.quick { QUICK_MIX } else { MIX };
    for pair in &mut *pairs {
        pair.both(["fill", "fill"])?;
    }
    for (round, turn) in turns(pairs.len(), arguments.rounds + 1) {
        let pair = &mut pairs[turn];
        let order = format!("mix {} {round}", limit.as_millis());
        let logs = pair.both([&order, &order])?;
        // The first round brings copies near.
        if round > 0 {
            pair.take(&logs);
        }
    }
    Ok(())
}

/// Rounds of changes by one host that the other one watches.
fn change_and_watch(arguments: &Arguments, pairs: &mut [Pair]) -> Result<(), String> {
    let limit = if arguments.quick { QUICK_CHANGE } else { CHANGE };
    for (round, turn) in turns(pairs.len(), arguments.rounds) {
        let pair = &mut pairs[turn];
        let change = format!("change {}", limit.as_millis());
        let watch = format!("watch {}", (limit + AFTERWARDS).as_millis());
        let logs = if round % 2 == 0 {
            pair.both([&change, &watch])?
        } else {
            let [watched, sets] = pair.both([&watch, &change])?;
            [sets, watched]
        };
        let mut delays = pair.judge.delays(&logs[0], &logs[1], UNSEEN.as_nanos() as u64);
        pair.delays.push(percentile(&mut delays, 0.5));
        pair.all_delays.append(&mut delays);
    }
    Ok(())
}

impl Pair {
    fn start(
        name: &'static str,
        network: &Network,
        server: &Server,
        folder: &TempDir,
    ) -> Result<Self, String> {
        let log = |host: usize| folder.path().join(format!("{name}-{host}"));
        let logs = [log(0), log(1)];
        let start = |host: usize| {
            let url = format!("redis://{}:{}", network.address_from(host), server.port());
            let mut command = program(name)?;
            command.args([name, &host.to_string(), &url]).arg(&logs[host]);
            Process::start(network.on_host(host, command))
        };
        let hosts = [start(0)?, start(1)?];
        Ok(Self {
            name,
            hosts,
            logs,
            judge: Judge::new(),
            rates: vec![],
            reads: vec![],
            means: vec![],
            delays: vec![],
            ages: Ages::default(),
            all_delays: vec![],
        })
    }

    /// Has both hosts do something at a time; what they have done then.
    fn both(&mut self, orders: [&str; 2]) -> Result<[Vec<Done>; 2], String> {
        for (host, order) in self.hosts.iter_mut().zip(orders) {
            host.order(order)?;
        }
        for host in &mut self.hosts {
            let answer = host.answer()?;
            if answer != "done" {
                return Err(format!("{}: {answer}", self.name));
            }
        }
        let logs = [log::read(&self.logs[0])?, log::read(&self.logs[1])?];
        for log in &logs {
            self.judge.learn(log)?;
        }
        Ok(logs)
    }

    /// Draws the figures of a round.
    fn take(&mut self, logs: &[Vec<Done>; 2]) {
        let rate = |log: &Vec<Done>| {
            let busy: u64 = log.iter().map(Done::nanoseconds).sum();
            log.len() as f64 / (busy.max(1) as f64 / 1e9)
        };
        self.rates.push(logs.iter().map(rate).sum());
        let reads = logs.iter().flatten().filter(|done| !done.is_set);
        let mut reads: Vec<u64> = reads.map(Done::nanoseconds).collect();
        self.reads.push(percentile(&mut reads, 0.5));
        self.means.push(reads.iter().sum::<u64>() as f64 / reads.len().max(1) as f64);
        for log in logs {
            self.ages.add(&self.judge.ages(log, BOUND.as_nanos() as u64));
        }
    }

    fn rate(&mut self, network: &str) -> Row {
        let Ages { reads, absent, replaced, stale, longest } = self.ages;
        let longest = milliseconds(longest as f64);
        let note = format!(
            "{network}: of {reads} reads {stale} past the bound, {replaced} of values that had been \
             replaced ({longest:.1} ms before at most), {absent} of none"
        );
        Row { aside: Some(longest), note, ..Row::of(self.name, self.rates.clone()) }
    }

    fn read(&mut self) -> Row {
        let mean = median(&mut self.means.clone());
        let note = format!("{mean:.0} in the mean");
        Row { aside: Some(mean), note, ..Row::of(self.name, self.reads.clone()) }
    }

    fn change(&mut self) -> Row {
        let delays = self.delays.iter().map(|delay| milliseconds(*delay)).collect();
        let at = |share| milliseconds(percentile(&mut self.all_delays.clone(), share));
        let note = format!(
            "of {} changes 99 % within {:.2} ms, 99.9 % within {:.2} ms, all within {:.1} ms",
            self.all_delays.len(),
            at(0.99),
            at(0.999),
            at(1.0)
        );
        Row { aside: Some(at(0.999)), note, ..Row::of(self.name, delays) }
    }
}

/// What runs the host of a client.
fn program(name: &str) -> Result<Command, String> {
    if !PYTHON.contains(&name) {
        let mut command = this_program()?;
        command.arg(FLAG);
        return Ok(command);
    }
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = tree.join(".venv/bin/python");
    if !python.exists() {
        return Err("no .venv: `make wheel` makes it".into());
    }
    let mut command = Command::new(python);
    command.arg(tree.join("benches/python/near.py"));
    Ok(command)
}

fn milliseconds(nanoseconds: f64) -> f64 {
    nanoseconds / 1e6
}

/// The value below which this share of all lies; sorts them. 0 where there is none.
fn percentile(values: &mut [u64], share: f64) -> f64 {
    values.sort_unstable();
    let at = (values.len() as f64 * share) as usize;
    values.get(at.min(values.len().saturating_sub(1))).map_or(0.0, |value| *value as f64)
}

fn bars_of(language: &str, pairs: &[Pair], network: &str) -> Vec<Bar> {
    let Some((ours, rivals)) = pairs.split_first() else { return vec![] };
    if ![RUST[0], PYTHON[0]].contains(&ours.name) {
        return vec![];
    }
    let bar = if language == "rust" { 5.0 } else { 20.0 };
    let middle = |runs: &[f64]| (!runs.is_empty()).then(|| median(&mut runs.to_vec()));
    let mut bars = vec![];
    let (behind, rivals): (Vec<_>, Vec<_>) =
        rivals.iter().partition(|rival| rival.name == TIERCE_BEHIND);
    let rates = rivals.iter().filter_map(|rival| middle(&rival.rates));
    if let (Some(mine), Some(theirs)) = (middle(&ours.rates), rates.max_by(f64::total_cmp)) {
        let what = format!("near-cache, {language}: operations per second by those of the best");
        bars.push(Bar::at_least(what, mine / theirs, bar).note(network));
        for mine in behind.iter().filter_map(|behind| middle(&behind.rates)) {
            let what = format!("near-cache, {language}: the same, where ours sends values later");
            bars.push(Bar::at_least(what, mine / theirs, bar).note(network));
        }
    }
    let reads = rivals.iter().filter_map(|rival| middle(&rival.reads));
    if let (Some(mine), Some(theirs)) = (middle(&ours.reads), reads.min_by(f64::total_cmp)) {
        let what = format!("near-cache, {language}: the middle read of the best by ours");
        bars.push(Bar::at_least(what, theirs / mine, bar));
    }
    if ours.ages.reads > 0 {
        let what = format!("near-cache, {language}: reads of ours past the staleness bound");
        let note = format!("of {}", ours.ages.reads);
        bars.push(Bar::at_most(what, ours.ages.stale as f64, 0.0).note(note));
    }
    if !ours.all_delays.is_empty() {
        for (word, share, bar) in [("half", 0.5, 2.0), ("99.9 %", 0.999, 50.0)] {
            let what = format!("near-cache, {language}: ms until {word} of the changes are seen");
            let figure = milliseconds(percentile(&mut ours.all_delays.clone(), share));
            bars.push(Bar::at_most(what, figure, bar).note(network));
        }
    }
    bars
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values() {
        let mut values: Vec<u64> = (1..=1_000).rev().collect();
        let at = [0.0, 0.5, 0.999, 1.0].map(|share| percentile(&mut values, share));
        assert_eq!(at, [1.0, 501.0, 1_000.0, 1_000.0]);
        assert_eq!(percentile(&mut [], 0.5), 0.0);
    }
}

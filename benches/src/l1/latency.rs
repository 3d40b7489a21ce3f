//! The slowest inserts: each timed by itself, in one thread, while a cache grows and when it is
//! full.
//!
//! Nothing is subtracted: a figure has a look at the clock in it, some 20 to 40 ns. The largest
//! of a million calls also show when the machine took the core away, for all rivals alike; each
//! percentile is the median of the rounds, so that this happens to none by chance.

use std::{fmt::Write as _, time::Instant};

use serde_json::{Value, json};
use tierce_benches::rounds::{median, turns};

use super::{
    arguments::many_entries,
    data::{Data, Numbers},
    rivals::{Rival, contender},
};
use tierce_benches::arguments::Arguments;

/// The rows of these tables; others differ from them in reads only, or in a weigher.
const RIVALS: [&str; 7] =
    ["tierce", "tierce-bare", "quick_cache", "moka", "foyer-s3fifo", "foyer-lru", "scc"];

const SHARES: [(&str, f64); 5] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// Rounds are long here, and fewer do.
const MOST_ROUNDS: usize = 5;

/// What one rival gave in one table: nanoseconds, in the order of [`SHARES`].
pub(super) struct Row {
    pub(super) table: &'static str,
    pub(super) rival: &'static str,
    pub(super) nanoseconds: [f64; SHARES.len()],
}

impl Row {
    pub(super) fn p9999(&self) -> f64 {
        self.nanoseconds[3]
    }
}

/// Appends the nanoseconds of each insert.
pub(super) fn time_inserts<D: Data>(
    rival: &impl Rival<D>,
    keys: Vec<(D::Key, D::Value)>,
    nanoseconds: &mut Vec<u32>,
) {
    let mut before = Instant::now();
    for (key, value) in keys {
        rival.put(key, value);
        let after = Instant::now();
        nanoseconds.push(u32::try_from((after - before).as_nanos()).unwrap_or(u32::MAX));
        before = after;
    }
}

/// Measures both tables.
pub(super) fn measure(arguments: &Arguments) -> Vec<Row> {
    const TABLES: [&str; 2] = ["growing", "full"];
    if !arguments.wants("latency/u64/1M/1t") {
        return vec![];
    }
    let entries = many_entries(arguments);
    let rivals: Vec<_> =
        RIVALS.into_iter().filter(|rival| arguments.rivals.contains(rival)).collect();
    let rounds = arguments.rounds.min(MOST_ROUNDS);
    let mut runs = vec![[const { vec![] }; TABLES.len()]; rivals.len()];
    // Written to once, so that no page of it is new while calls are timed.
    let mut nanoseconds = vec![1; entries];
    for (round, index) in turns(rivals.len(), rounds) {
        if index == 0 {
            eprintln!("latency, round {}", round + 1);
        }
        let rival = contender::<Numbers>(rivals[index], entries);
        for (table, runs) in runs[index].iter_mut().enumerate() {
            // Between the tables as many new keys again, untimed: the full cache is in its stride.
            let first = (2 * table * entries) as u32;
            if table > 0 {
                rival.fill(&mut (first - entries as u32..first));
            }
            let own = |number: u32| {
                let key = Numbers::key(number);
                (key, Numbers::value(&key))
            };
            nanoseconds.clear();
            let keys = (first..first + entries as u32).map(own).collect();
            rival.insert_latencies(keys, &mut nanoseconds);
            nanoseconds.sort_unstable();
            runs.push(SHARES.map(|(_, share)| at_share(&nanoseconds, share)));
        }
    }
    let mut rows = vec![];
    for (table, name) in TABLES.into_iter().enumerate() {
        for (rival, runs) in rivals.iter().zip(&runs) {
            let of = |share: usize| {
                median(&mut runs[table].iter().map(|run| run[share]).collect::<Vec<_>>())
            };
            rows.push(Row { table: name, rival, nanoseconds: std::array::from_fn(of) });
        }
    }
    rows
}

/// The value below or at which this share of the sorted values lies.
fn at_share(sorted: &[u32], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    f64::from(sorted[rank.clamp(1, sorted.len()) - 1])
}

pub(super) fn markdown(rows: &[Row], size: &str) -> String {
    let mut text = String::new();
    for table in rows.chunk_by(|a, b| a.table == b.table) {
        let state = match table[0].table {
            "growing" => "while the cache grows from empty to",
            _ => "into the full cache of",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "\n## Latency of insert, new u64 keys, {state} {size} entries\n");
        let _ = writeln!(text, "ns (times ours)\n");
        let _ = writeln!(text, "| | {} |", SHARES.map(|(name, _)| name).join(" | "));
        let _ = writeln!(text, "|---|{}", "---|".repeat(SHARES.len()));
        for row in table {
            let _ = write!(text, "| {} |", row.rival);
            for (value, ours) in row.nanoseconds.iter().zip(table[0].nanoseconds) {
                let _ = write!(text, " {value:.0} ({:.2}) |", value / ours);
            }
            text.push('\n');
        }
    }
    text
}

pub(super) fn json(rows: &[Row]) -> Value {
    let row = |row: &Row| {
        let mut value = json!({ "table": row.table, "name": row.rival });
        for ((share, _), nanoseconds) in SHARES.iter().zip(row.nanoseconds) {
            value[*share] = json!(nanoseconds);
        }
        value
    };
    rows.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_ranks() {
        let sorted: Vec<u32> = (1..=10_000).collect();
        assert_eq!(
            SHARES.map(|(_, share)| at_share(&sorted, share)),
            [5_000.0, 9_900.0, 9_990.0, 9_999.0, 10_000.0]
        );
        assert_eq!(at_share(&[7], 0.5), 7.0);
    }
}

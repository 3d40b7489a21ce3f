//! A result as a file: Markdown to read, JSON to compare, both with machine, date and commit.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

/// Writes a report as `name.md` and `name.json` into `benches/results/` of this source tree and
/// returns the paths.
///
/// # Errors
/// If a file cannot be written.
pub fn write_files(name: &str, markdown: &str, json: &Value) -> io::Result<[PathBuf; 2]> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("results");
    fs::create_dir_all(&folder)?;
    let files = ["md", "json"].map(|end| folder.join(format!("{name}.{end}")));
    fs::write(&files[0], markdown)?;
    fs::write(&files[1], format!("{json:#}\n"))?;
    Ok(files)
}

/// Where, when and of which source a result was measured.
pub struct Machine {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Over the last minute: on a machine with other work the figures are too high.
    pub(crate) load: String,
    pub(crate) date: String,
    pub(crate) commit: String,
}

impl Machine {
    /// This machine and this source tree, now.
    pub fn here() -> Self {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(':').nth(1));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        Self {
            cpu: cpu.map_or_else(|| "unknown CPU".into(), |cpu| cpu.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: kernel.trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            date: date_of(seconds / 86_400),
            commit: commit(),
        }
    }

    /// All of it in one line.
    pub fn line(&self) -> String {
        let Self { cpu, cores, kernel, load, date, commit } = self;
        format!(
            "{cpu}; {cores} cores; Linux {kernel}; load average {load} at the end; {date}; \
             commit {commit}."
        )
    }

    /// A result under this name, with all of it; what was measured is to be added.
    pub fn json(&self, name: &str, question: &str) -> Value {
        json!({
            "name": name,
            "question": question,
            "date": self.date,
            "machine": {
                "cpu": self.cpu,
                "cores": self.cores,
                "kernel": self.kernel,
                "load_average": self.load,
            },
            "commit": self.commit,
        })
    }
}

/// The commit of this source tree, marked if files of the library differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-C", env!("CARGO_MANIFEST_DIR")])
            .args(arguments)
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(hash) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".into() };
    let changed = git(&["status", "--porcelain", "--", "../crates", "src"]);
    let mark = if changed.is_some_and(|files| files.is_empty()) { "" } else { " with changes" };
    hash + mark
}

/// The date of a day since 1970-01-01 (Hinnant: "chrono-Compatible Low-Level Date Algorithms").
fn date_of(days: u64) -> String {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        for (days, date) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_819, "2027-01-01"),
        ] {
            assert_eq!(date_of(days), date);
        }
    }
}

//! What the system tells of this process: processor time, memory, threads and open files.

use super::{families::Families, text::Text};

/// Processor time and memory of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    /// Milliseconds that all threads were running, of the program and in the kernel for it.
    pub(crate) processor_millis: u64,
    /// Bytes of memory in use; 0 where the system does not tell.
    pub(crate) resident: u64,
}

impl Process {
    /// How it is now: reads two small files, some 20 us.
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self {
            processor_millis: processor_millis(&read("/proc/self/stat")).unwrap_or(0),
            resident: resident(&read("/proc/self/status")).unwrap_or(0),
        }
    }

    /// Not told on this system.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Self {
        Self::default()
    }
}

/// Fields 14 and 15 of `stat`, behind the name of the program, which may hold anything.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn processor_millis(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    // The kernel counts for user space in hundredths of a second on all platforms of today.
    (user + system).checked_mul(10)
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn resident(status: &str) -> Option<u64> {
    kilobytes(status, "VmRSS:")
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn kilobytes(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
}

/// What the system tells of this process, in the text format of Prometheus, under the names that its
/// client libraries use; empty where the system does not tell.
///
/// For a page that nobody else writes such metrics to: each name may stand there once.
pub fn process_to_prometheus() -> String {
    let mut text = Text::default();
    write_process(&mut text);
    text.finish()
}

/// The same as families of metrics.
pub(crate) fn write_process(out: &mut dyn Families) {
    #[cfg(target_os = "linux")]
    Files::read().write(out);
    #[cfg(not(target_os = "linux"))]
    let _ = out;
}

/// What the files of the system say.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
#[derive(Debug, Default)]
struct Files {
    stat: String,
    status: String,
    limits: String,
    /// Of the whole system.
    system: String,
    open_files: Option<usize>,
}

#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
impl Files {
    fn read() -> Self {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        // One of them is the folder itself, open for the length of the count.
        let open_files = std::fs::read_dir("/proc/self/fd").map(|files| files.count() - 1);
        Self {
            stat: read("/proc/self/stat"),
            status: read("/proc/self/status"),
            limits: read("/proc/self/limits"),
            system: read("/proc/stat"),
            open_files: open_files.ok(),
        }
    }

    fn write(&self, out: &mut dyn Families) {
        let metrics = [
            (
                "process_cpu_seconds_total",
                "counter",
                "Total user and system CPU time spent in seconds.",
                processor_millis(&self.stat).map(|millis| millis as f64 / 1000.0),
            ),
            (
                "process_start_time_seconds",
                "gauge",
                "Start time of the process since unix epoch in seconds.",
                self.start(),
            ),
            (
                "process_resident_memory_bytes",
                "gauge",
                "Resident memory size in bytes.",
                resident(&self.status).map(|bytes| bytes as f64),
            ),
            (
                "process_virtual_memory_bytes",
                "gauge",
                "Virtual memory size in bytes.",
                kilobytes(&self.status, "VmSize:").map(|bytes| bytes as f64),
            ),
            (
                "process_threads",
                "gauge",
                "Number of OS threads in the process.",
                value(&self.status, "Threads:"),
            ),
            (
                "process_open_fds",
                "gauge",
                "Number of open file descriptors.",
                self.open_files.map(|count| count as f64),
            ),
            (
                "process_max_fds",
                "gauge",
                "Maximum number of open file descriptors.",
                value(&self.limits, "Max open files"),
            ),
        ];
        for (name, kind, help, value) in metrics {
            if let Some(value) = value {
                out.head(name, kind, help);
                out.sample(&[], value);
            }
        }
    }

    /// The boot of the system, and the hundredths of a second to the start in field 22 of `stat`.
    fn start(&self) -> Option<f64> {
        let ticks: f64 =
            self.stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
        Some(value(&self.system, "btime")? + ticks / 100.0)
    }
}

/// The first number behind a name at the begin of a line.
fn value(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_system_are_read_right() {
        let stat = "42 (a) b) R 1 2 3 4 5 6 7 8 9 10 120 30 1 1 20 0 8 0 77";
        assert_eq!(processor_millis(stat), Some(1500));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t3\n"), Some(2 << 20));
        assert_eq!((processor_millis(""), resident("VmRSS: many")), (None, None));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_uses_memory() {
        assert!(Process::now().resident > 1 << 20);
    }

    #[test]
    fn the_names_are_those_of_the_client_libraries() {
        let files = Files {
            stat: "42 (a) b) R 1 2 3 4 5 6 7 8 9 10 120 30 1 1 20 0 8 0 7750 9".into(),
            status: "VmSize:\t  4096 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n".into(),
            limits: "Max open files            1024                 4096     files\n".into(),
            system: "cpu 1 2 3\nbtime 1700000000\n".into(),
            open_files: Some(9),
        };
        let text = |files: &Files| {
            let mut text = Text::default();
            files.write(&mut text);
            text.finish()
        };
        for line in [
            "process_cpu_seconds_total 1.5",
            "process_start_time_seconds 1700000077.5",
            "process_resident_memory_bytes 2097152",
            "process_virtual_memory_bytes 4194304",
            "process_threads 3",
            "process_open_fds 9",
            "process_max_fds 1024",
        ] {
            let text = text(&files);
            assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
        }
        assert_eq!(text(&Files::default()), "");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_files_of_this_system_are_understood() {
        let text = process_to_prometheus();
        assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 7, "{text}");
        let begun = Files::read().start().unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!((0.0..86_400.0).contains(&(now.as_secs_f64() + 1.0 - begun)), "{begun}");
    }
}

//! What the system tells of this process: processor time and memory.

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
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?.checked_mul(1024)
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
}

//! What the machine allows: checked before a byte is asked for, because exceeding some of these
//! limits does not return an error but kills the process.
//!
//! | limit | what would happen |
//! |---|---|
//! | RLIMIT_FSIZE | SIGXFSZ |
//! | memory of a control group, for a store on tmpfs | the OOM killer |
//! | free space | `posix_fallocate` says ENOSPC; checked first, to name the figures |

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::error::{Error, ErrorKind, Result};

/// Left to the rest of the control group or machine: 1/16 of the limit.
const SHARE_LEFT: u64 = 16;

fn full(text: String) -> Error {
    Error::new(ErrorKind::Full, text)
}

/// Checks that a file of `bytes` may be made on a file system with `free_bytes` left, after one
/// with `freed_bytes` was removed from it.
pub(super) fn check(
    bytes: u64,
    free_bytes: u64,
    freed_bytes: u64,
    file_limit: Option<u64>,
    is_memory: bool,
) -> Result<()> {
    if let Some(limit) = file_limit.filter(|limit| *limit < bytes) {
        return Err(full(format!(
            "store of {bytes} bytes: above the file size limit (RLIMIT_FSIZE) of {limit} bytes"
        )));
    }
    if free_bytes.saturating_add(freed_bytes) < bytes {
        return Err(full(format!(
            "store of {bytes} bytes: the file system has {free_bytes} bytes left"
        )));
    }
    if is_memory {
        check_memory("store", bytes.saturating_sub(freed_bytes))?;
    }
    Ok(())
}

/// Checks that the machine and the control groups have memory for `what` of so many bytes.
pub(crate) fn check_memory(what: &str, bytes: u64) -> Result<()> {
    check_memory_below(Path::new("/"), what, bytes)
}

/// Checks memory limits as found below `root`: a folder with `proc` and `sys`.
fn check_memory_below(root: &Path, what: &str, bytes: u64) -> Result<()> {
    if let Some(available) = memory_available(&root.join("proc/meminfo"))
        && available.saturating_sub(available / SHARE_LEFT) < bytes
    {
        return Err(full(format!(
            "{what} of {bytes} bytes in memory: the machine has {available} bytes available"
        )));
    }
    for group in control_groups(root) {
        if let Some((limit, used)) = group.read()
            && limit.saturating_sub(used).saturating_sub(limit / SHARE_LEFT) < bytes
        {
            return Err(full(format!(
                "{what} of {bytes} bytes in memory: the control group at {} allows {limit} bytes \
                 and uses {used}",
                group.folder.display()
            )));
        }
    }
    Ok(())
}

fn memory_available(meminfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(meminfo).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A folder with memory limits, of version 1 or 2.
struct ControlGroup {
    folder: PathBuf,
    limit: &'static str,
    usage: &'static str,
    file: &'static str,
    shared: &'static str,
}

impl ControlGroup {
    /// The limit and what counts against it: cached file pages are given back under pressure,
    /// except those of tmpfs.
    fn read(&self) -> Option<(u64, u64)> {
        let number = |name: &str| {
            fs::read_to_string(self.folder.join(name)).ok()?.trim().parse::<u64>().ok()
        };
        let limit = number(self.limit)?;
        let usage = number(self.usage).unwrap_or(0);
        let stat = fs::read_to_string(self.folder.join("memory.stat")).unwrap_or_default();
        let field = |name: &str| {
            stat.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
                .unwrap_or(0_u64)
        };
        let cached = field(self.file).saturating_sub(field(self.shared));
        Some((limit, usage.saturating_sub(cached)))
    }
}

/// The control groups that limit this process, from its own up to the root.
fn control_groups(root: &Path) -> Vec<ControlGroup> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut groups = Vec::new();
    for line in text.lines() {
        // hierarchy:controllers:path
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_second = controllers.is_empty();
        let mount = if is_second {
            root.join("sys/fs/cgroup")
        } else if controllers.split(',').any(|name| name == "memory") {
            root.join("sys/fs/cgroup/memory")
        } else {
            continue;
        };
        // In a container the path may be the host's, of which only the mount's root is seen: a
        // folder that does not exist is skipped, and the walk ends at the mount.
        let own = mount.join(path.trim_start_matches('/'));
        for folder in own.ancestors().take_while(|folder| folder.starts_with(&mount)) {
            let folder = folder.to_path_buf();
            groups.push(if is_second {
                ControlGroup {
                    folder,
                    limit: "memory.max",
                    usage: "memory.current",
                    file: "file",
                    shared: "shmem",
                }
            } else {
                ControlGroup {
                    folder,
                    limit: "memory.limit_in_bytes",
                    usage: "memory.usage_in_bytes",
                    file: "total_cache",
                    shared: "total_shmem",
                }
            });
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    #[test]
    fn a_limit_of_a_parent_control_group_counts() {
        let root = machine(&[
            ("proc/self/cgroup", "0::/pod/app\n"),
            ("sys/fs/cgroup/pod/app/memory.max", "max\n"),
            ("sys/fs/cgroup/pod/memory.max", "67108864\n"),
            ("sys/fs/cgroup/pod/memory.current", "41943040\n"),
            ("sys/fs/cgroup/pod/memory.stat", "anon 1\nfile 31457280\nshmem 10485760\n"),
        ]);
        // 64 MiB less 40 used, of which 20 can be given back, less 4 for the rest: 40.
        check_memory_below(root.path(), "store", 40 * MIB).unwrap();
        let error = check_memory_below(root.path(), "store", 41 * MIB).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert!(error.to_string().contains("67108864"), "{error}");
    }

    #[test]
    fn version_one_is_read_too() {
        let root = machine(&[
            ("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/docker/abc\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "67108864\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "0\n"),
        ]);
        check_memory_below(root.path(), "store", 60 * MIB).unwrap();
        assert!(check_memory_below(root.path(), "store", 61 * MIB).is_err());
    }

    #[test]
    fn available_memory_and_file_limits_count() {
        let root = machine(&[("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   16384 kB\n")]);
        check_memory_below(root.path(), "store", 15 * MIB).unwrap();
        assert!(check_memory_below(root.path(), "store", 16 * MIB).is_err());
        assert!(check(2 * MIB, 3 * MIB, 0, Some(MIB), false).is_err());
        assert!(check(2 * MIB, MIB, 0, None, false).is_err());
        check(2 * MIB, 2 * MIB, 0, Some(2 * MIB), false).unwrap();
        check(2 * MIB, MIB, MIB, None, false).unwrap();
    }
}

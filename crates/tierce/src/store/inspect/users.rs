//! Who has a store open, and what each of them counted.
//!
//! A slot of the lock file whose byte is locked has a living owner; the kernel lets go of the lock
//! with the last descriptor. The kernel is asked for locks and never for one, so nobody waits for
//! an inspection. Which process holds which lock is in `/proc/PID/fdinfo`, of the processes that
//! this user may look at.

use std::{
    fs,
    mem::offset_of,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{StoreInspection, StoreProcess, StoreUser, StoreUsers, file::LookedAt};
use crate::{
    error::Result,
    store::{
        files,
        lock::{self, LOCK_FILE_BYTES, LockHead, STATISTICS_AT},
        statistics::{self, COUNTERS, SLOT_BYTES, SLOTS},
    },
};

impl StoreInspection {
    /// Who uses the store, and the counters of all. Reads the lock file, and asks the kernel for
    /// its locks: a few dozen calls.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) where the kernel refuses.
    pub fn users(&self) -> Result<StoreUsers> {
        let mut users = StoreUsers::default();
        let locked = |file: &LookedAt, byte| {
            files::byte_is_locked(&file.file, byte).map_err(|error| file.failed(error))
        };
        // Removing the lock file under running processes leaves the lock on the data.
        users.is_in_use = locked(&self.data, 0)?;
        let file = match LookedAt::open(&self.lock_path()) {
            Ok(file) => file,
            Err(error) => {
                users.no_counters = Some(error.to_string());
                return Ok(users);
            }
        };
        users.is_in_use |= locked(&file, 0)?;
        let (bytes, have) = file.read(0, LOCK_FILE_BYTES as usize)?;
        users.no_counters = self.why_no_counters(&file, &bytes, have);
        if users.no_counters.is_some() {
            return Ok(users);
        }
        let mut total = [0_u64; COUNTERS];
        for slot in 0..SLOTS {
            let at = STATISTICS_AT as usize + slot as usize * SLOT_BYTES as usize;
            let counters = statistics::of_slot(|offset| bytes.u64(at + offset));
            for (total, counter) in total.iter_mut().zip(&counters) {
                *total = total.wrapping_add(*counter);
            }
            let statistics = statistics::named(&counters);
            if slot == 0 {
                users.folded = statistics;
                continue;
            }
            let is_alive = users.is_in_use && locked(&file, u64::from(slot))?;
            if is_alive || counters.iter().any(|counter| *counter != 0) {
                users.users.push(StoreUser { slot, is_alive, statistics });
            }
        }
        users.total = statistics::named(&total);
        Ok(users)
    }

    fn why_no_counters(
        &self,
        file: &LookedAt,
        bytes: &super::file::Bytes,
        have: usize,
    ) -> Option<String> {
        let path = file.path.display();
        let (magic, uuid) =
            (bytes.u64(offset_of!(LockHead, magic)), bytes.u128(offset_of!(LockHead, uuid)));
        if (have as u64) < LOCK_FILE_BYTES {
            Some(format!("{path}: has {have} bytes, must have {LOCK_FILE_BYTES}"))
        } else if magic != lock::MAGIC {
            let (found, wanted) = (magic.to_ne_bytes(), lock::MAGIC.to_ne_bytes());
            Some(format!(
                "{path}: begins with \"{}\": a lock file begins with \"{}\"",
                found.escape_ascii(),
                wanted.escape_ascii()
            ))
        } else if bytes.u64(offset_of!(LockHead, ready)) != 1 {
            Some(format!("{path}: the first process to open the store has not finished"))
        } else if uuid != self.facts.uuid {
            let wanted = self.facts.uuid;
            Some(format!("{path}: belongs to store {uuid:032x}, this one is {wanted:032x}"))
        } else {
            None
        }
    }

    /// The processes that have the store open, of those that this user may look at. Reads the
    /// list of open files of every process: milliseconds, more on a busy host.
    pub fn processes(&self) -> Vec<StoreProcess> {
        let mut found = Vec::new();
        let Ok(about) = fs::metadata(self.lock_path()) else { return found };
        let identity = (about.dev(), about.ino());
        let Ok(processes) = fs::read_dir("/proc") else { return found };
        for entry in processes.flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let slots = slots_of(&entry.path(), identity);
            if slots.is_empty() {
                continue;
            }
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            // A name may hold anything, and ends up on a terminal.
            let name: String =
                name.trim_end().chars().filter(|letter| !letter.is_control()).collect();
            let of_slot = |slot| StoreProcess { slot, process, name: name.clone() };
            found.extend(slots.into_iter().map(of_slot));
        }
        found.sort_by_key(|process| (process.slot, process.process));
        found
    }

    fn lock_path(&self) -> PathBuf {
        self.data.path.with_file_name("l2.lock")
    }
}

/// The slots that the openings of one process own; 0 for one without a slot.
fn slots_of(process: &Path, lock_file: (u64, u64)) -> Vec<u32> {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return Vec::new() };
    let mut slots = Vec::new();
    for descriptor in descriptors.flatten() {
        let is_it = fs::metadata(descriptor.path())
            .is_ok_and(|about| (about.dev(), about.ino()) == lock_file);
        if !is_it {
            continue;
        }
        let info = process.join("fdinfo").join(descriptor.file_name());
        let bytes = locked_bytes(&fs::read_to_string(info).unwrap_or_default());
        // Byte 0 is locked by whoever uses the store; others only have the file open.
        if bytes.contains(&0) {
            slots.push(bytes.into_iter().max().unwrap_or(0));
        }
    }
    slots
}

/// The first bytes of the locks that a descriptor holds:
/// `lock:  1: OFDLCK  ADVISORY  WRITE -1 00:1a:77 5 5`.
fn locked_bytes(info: &str) -> Vec<u32> {
    info.lines()
        .filter(|line| line.starts_with("lock:") && line.contains("OFDLCK"))
        .filter_map(|line| line.split_whitespace().rev().nth(1)?.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_a_descriptor_has_locked_are_read_from_what_the_kernel_says() {
        let info = "pos:\t0\nflags:\t02500002\nmnt_id:\t33\nino:\t77\n\
                    lock:\t1: OFDLCK  ADVISORY  WRITE -1 00:1a:77 12 12\n\
                    lock:\t2: OFDLCK  ADVISORY  READ -1 00:1a:77 0 0\n\
                    lock:\t3: POSIX  ADVISORY  READ 9 00:1a:77 5 5\n\
                    lock:\t4: OFDLCK  ADVISORY  READ -1 00:1a:77 x EOF\n";
        assert_eq!(locked_bytes(info), [12, 0]);
        assert_eq!(locked_bytes(""), [0; 0]);
    }
}

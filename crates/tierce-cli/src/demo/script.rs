//! What the workers ask for: a real trace, played round and round.
//!
//! The C preprocessor's trace of the LIRS paper: 9047 requests for 1223 blocks, of which a cold
//! cache in four processes can load all within the warm-up. It is part of the executable; a run
//! unpacks it into its folder, from where the workers read it.

use std::{collections::HashMap, fs, path::Path};

use tierce_trace::Trace;

use crate::output::Failure;

/// The trace as it lies in the repository.
const TRACE: &[u8] = include_bytes!("../../../../tests/traces/lirs-cpp.trc.zst");
/// Its name in the report.
pub(super) const TRACE_NAME: &str = "lirs-cpp";

/// A trace with its keys numbered: item 0 is the first key that is asked for.
#[derive(Debug)]
pub(super) struct Script {
    keys: Vec<u64>,
    requests: Vec<u32>,
}

impl Script {
    /// Writes the trace to `path`, for [`read`](Self::read).
    pub(super) fn unpack(path: &Path) -> Result<(), Failure> {
        Ok(fs::write(path, TRACE)?)
    }

    /// Reads the trace.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let keys = Trace::read(path, None)?.requests.into_iter().map(|request| request.key);
        Ok(Self::of(keys))
    }

    fn of(trace: impl Iterator<Item = u64>) -> Self {
        let mut script = Self { keys: Vec::new(), requests: Vec::new() };
        let mut items = HashMap::new();
        for key in trace {
            let item = *items.entry(key).or_insert_with(|| {
                script.keys.push(key);
                script.keys.len() as u32 - 1
            });
            script.requests.push(item);
        }
        script
    }

    /// How many different keys there are.
    pub(super) fn items(&self) -> usize {
        self.keys.len()
    }

    /// How many requests one round has.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// The key of an item, for the origin.
    pub(super) fn key(&self, item: u32) -> u64 {
        self.keys[item as usize]
    }

    /// The item that the request at `position` asks for; past the end it begins again.
    pub(super) fn at(&self, position: u64) -> u32 {
        self.requests[(position % self.requests.len() as u64) as usize]
    }

    /// The item with the most requests among those that `chosen` lets through.
    pub(super) fn favourite(&self, chosen: impl Fn(u32) -> bool) -> Option<u32> {
        let mut counts = vec![0u32; self.items()];
        self.requests.iter().for_each(|item| counts[*item as usize] += 1);
        (0..self.items() as u32).filter(|item| chosen(*item)).max_by_key(|it| counts[*it as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_trace_is_the_one_that_the_report_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace");
        Script::unpack(&path).unwrap();
        let script = Script::read(&path).unwrap();
        assert_eq!((script.len(), script.items()), (9047, 1223));
    }

    #[test]
    fn items_are_numbered_as_they_come_and_the_trace_begins_again() {
        let script = Script::of([70, 50, 70, 90, 50, 50].into_iter());
        let played: Vec<u32> = (0..8).map(|position| script.at(position)).collect();
        assert_eq!(played, [0, 1, 0, 2, 1, 1, 0, 1]);
        assert_eq!(script.key(2), 90);
        assert_eq!(script.favourite(|_| true), Some(1));
        assert_eq!(script.favourite(|item| item != 1), Some(0));
        assert_eq!(script.favourite(|_| false), None);
    }
}

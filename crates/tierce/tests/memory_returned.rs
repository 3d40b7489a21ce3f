//! Memory that goes back to the system. In a process of its own, as it is that of the process.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use tierce::{MemoryCache, MemoryOptions};

#[test]
fn the_memory_of_places_and_tables_goes_back_within_a_second_of_a_lower_bound() {
    let cache = MemoryCache::<u64, u64>::new(MemoryOptions::new().max_entries(1 << 20)).unwrap();
    let before = status("VmRSS");
    (0..1 << 20).for_each(|key| _ = cache.insert(key, key));
    let full = status("VmRSS") - before;
    assert!(full > 25_000, "{full} KiB");
    cache.set_capacity(Some(1_000), None).unwrap();
    let begin = Instant::now();
    while status("VmRSS") > before + full / 3 {
        assert!(begin.elapsed() < Duration::from_secs(1), "{} KiB", status("VmRSS") - before);
        thread::sleep(Duration::from_millis(10));
    }
    assert!(cache.len() <= 1_000);
    cache.validate();
}

/// A number of `/proc/self/status`.
fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

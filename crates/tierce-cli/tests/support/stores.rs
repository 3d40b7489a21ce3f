//! Stores that real processes made: the test program itself, started again as a child.
//!
//! A test program that uses this has a test `child_process` that calls [`be_child`], which returns
//! at once unless a parent asks for a child.
#![allow(dead_code, reason = "each test file uses a part of this")]

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tierce::{Clock, Medium, Millis, NewRecord, Store, StoreOptions};

const FOLDER: &str = "TIERCE_TEST_FOLDER";
const WORK: &str = "TIERCE_TEST_WORK";
const MEDIUM: &str = "TIERCE_TEST_MEDIUM";
/// Keys that are used.
pub(crate) const KEYS: u64 = 2_000;

/// What a child does once it has filled its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing, until it is killed.
    Rest,
    /// Reads and writes without a pause, until it is killed.
    Toil,
}

/// Options for a store of 4 MiB below `folder`.
pub(crate) fn options(folder: &Path, medium: Medium) -> StoreOptions {
    StoreOptions::new(folder.join("store")).max_bytes(5 << 20).max_entries(10_000).medium(medium)
}

/// Options for about the smallest store that has several shards.
pub(crate) fn small_options(folder: &Path, medium: Medium) -> StoreOptions {
    options(folder, medium).max_bytes(2 << 20).segment_bytes(16 << 10)
}

/// The data file of the store below `folder`.
pub(crate) fn data(folder: &Path) -> PathBuf {
    folder.join("store/l2.data")
}

/// Opens the store below `folder` in this process.
pub(crate) fn open(folder: &Path, medium: Medium) -> Store {
    Store::open(&options(folder, medium), Clock::system()).unwrap()
}

/// Puts the value of a number under its key; every fourth ends in under ten minutes, some are large.
pub(crate) fn put(store: &Store, number: u64, round: u64) {
    let key = format!("key-{number}");
    let bytes = match number % 100 {
        0 => 100_000,
        size => 40 + size as usize * 7,
    };
    let value = vec![(number ^ round) as u8; bytes];
    let expires_at = match number % 4 {
        0 => Clock::system().boot().after(Duration::from_secs(500)),
        _ => Millis::NEVER,
    };
    let record = NewRecord::new(&value, 1, expires_at);
    store.put(store.hash(key.as_bytes()), key.as_bytes(), record, None);
}

/// Reads the key of a number.
pub(crate) fn get(store: &Store, number: u64) {
    let key = format!("key-{number}");
    store.get(store.hash(key.as_bytes()), key.as_bytes()).unwrap();
}

/// A process that uses the store; killed with the value.
pub(crate) struct User(Child);

impl User {
    /// Starts one, and waits until it has filled the store.
    pub(crate) fn start(folder: &Path, medium: Medium, work: Work) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child_process", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, folder)
            .env(WORK, if work == Work::Toil { "toil" } else { "rest" })
            .env(MEDIUM, if medium == Medium::Disk { "disk" } else { "mapped" })
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let is_ready = lines.map_while(Result::ok).any(|line| line.ends_with("filled"));
        assert!(is_ready, "the child ended early");
        Self(child)
    }

    pub(crate) fn process(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as nothing can be prevented from ending.
    pub(crate) fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The life of a child, in a process that was started as one.
pub(crate) fn be_child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let medium = if env::var(MEDIUM).unwrap() == "disk" { Medium::Disk } else { Medium::Mapped };
    let store = open(Path::new(&folder), medium);
    (0..KEYS).for_each(|number| put(&store, number, 0));
    (0..KEYS * 2).step_by(3).for_each(|number| get(&store, number));
    println!("\nfilled");
    std::io::stdout().flush().unwrap();
    let mut random = fastrand::Rng::new();
    loop {
        if env::var(WORK).unwrap() == "rest" {
            std::thread::sleep(Duration::from_secs(60));
            continue;
        }
        for round in 0..100 {
            put(&store, random.u64(..KEYS), round);
            get(&store, random.u64(..KEYS * 2));
        }
    }
}

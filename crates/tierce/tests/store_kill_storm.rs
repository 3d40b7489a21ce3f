//! Processes that share a store are killed at any moment, many times: no value is ever wrong or
//! older than a change that had returned, nobody hangs, and the next process finds the store warm.
//!
//! This file runs itself as three workers. A worker changes the keys of its number and reads all,
//! through a small cache of its own that judges entries by the store's stamps, as L1 does. Two
//! plain files stand for the truth: `origin` has the version of each key that its writer began to
//! set, `floor` the one that a returned call has set: whoever reads `floor` first must not see an
//! older version afterwards. A key's writer writes origin, then the store, then floor.
//!
//! `TIERCE_TORTURE_SECONDS` sets the duration (8), `TIERCE_SEED` takes the choices of a run again.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr)]

mod store_support;

use std::{
    collections::HashMap,
    env,
    fs::{File, OpenOptions},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    path::Path,
    process::{Child, Command, exit},
    time::{Duration, Instant},
};

use store_support::*;
use tierce::{Medium, Put, Store, StoreFill, StoreOptions};

const WORKERS: u64 = 3;
const KEYS: u64 = 600;
/// Entries of a worker's own cache.
const OWN_ENTRIES: usize = 200;

fn options(folder: &Path, medium: Medium) -> StoreOptions {
    options_in(folder).max_bytes(4 << 20).segment_bytes(32 << 10).medium(medium)
}

/// One version per key in a plain file.
struct Versions(File);

impl Versions {
    fn open(folder: &Path, name: &str) -> Self {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(folder.join(name)).unwrap();
        file.set_len(KEYS * 8).unwrap();
        Self(file)
    }

    fn get(&self, key: u64) -> u64 {
        let mut bytes = [0; 8];
        self.0.read_exact_at(&mut bytes, key * 8).unwrap();
        u64::from_le_bytes(bytes)
    }

    fn set(&self, key: u64, version: u64) {
        self.0.write_all_at(&version.to_le_bytes(), key * 8).unwrap();
    }
}

/// An entry of a worker's own cache: valid while stamp and clear epoch are those of the store.
struct Own {
    version: u64,
    stamp_index: u32,
    stamp: u32,
    clear_epoch: u32,
}

struct Worker {
    number: u64,
    store: Store,
    origin: Versions,
    floor: Versions,
    own: HashMap<u64, Own>,
    random: fastrand::Rng,
}

impl Worker {
    fn run(&mut self) {
        let parent = std::os::unix::process::parent_id();
        loop {
            for _ in 0..200 {
                match self.random.u32(0..1000) {
                    0..600 => self.read(),
                    600..850 => self.change(true),
                    850..950 => self.change(false),
                    950..999 => self.fill(),
                    _ if self.random.u32(0..20) == 0 => self.store.clear(),
                    _ => {}
                }
            }
            if std::os::unix::process::parent_id() != parent {
                exit(0);
            }
        }
    }

    fn wrong(&self, what: &str, key: u64) -> ! {
        eprintln!("worker {}: {what} of key {key}: {:?}", self.number, self.store.statistics());
        exit(9);
    }

    fn read(&mut self) {
        let number = self.random.u64(0..KEYS);
        let floor = self.floor.get(number);
        if let Some(own) = self.own.get(&number)
            && self.store.stamp_at(own.stamp_index) == own.stamp
            && self.store.clear_epoch() == own.clear_epoch
        {
            if own.version < floor {
                self.wrong("an old version in the own cache", number);
            }
            return;
        }
        let (hash, key) = hash_of(&self.store, number);
        let token = self.store.token(hash);
        let found = match self.store.get(hash, &key) {
            Ok(Some(found)) => found,
            Ok(None) => return,
            Err(error) => self.wrong(&error.to_string(), number),
        };
        let Some(version) = described_version(number, &found.value) else {
            self.wrong("a torn or wrong value", number);
        };
        if version < floor {
            self.wrong("an old version", number);
        }
        self.file(number, version, token.stamp, token.stamp_index, token.clear_epoch);
    }

    fn file(&mut self, key: u64, version: u64, stamp: u32, stamp_index: u32, clear_epoch: u32) {
        if self.own.len() >= OWN_ENTRIES {
            self.own.clear();
        }
        self.own.insert(key, Own { version, stamp_index, stamp, clear_epoch });
    }

    fn change(&mut self, is_put: bool) {
        let number = self.random.u64(0..KEYS / WORKERS) * WORKERS + self.number;
        let (hash, key) = hash_of(&self.store, number);
        let version = self.origin.get(number) + 1;
        self.origin.set(number, version);
        if is_put {
            let bytes = match self.random.u32(0..20) {
                0 => self.random.usize(8_000..40_000),
                _ => self.random.usize(64..3_000),
            };
            let value = describing_value(number, version, bytes);
            let token = self.store.token(hash);
            let expect = self.random.bool().then_some(token);
            match self.store.put(hash, &key, record(&value), expect) {
                Put::Stored { stamp } => {
                    self.file(number, version, stamp, token.stamp_index, token.clear_epoch);
                }
                Put::Removed { .. } => {
                    self.own.remove(&number);
                }
            }
        } else {
            self.store.delete(hash, &key);
        }
        self.floor.set(number, version);
    }

    /// As a loader does: token, value from the origin, fill.
    fn fill(&mut self) {
        let number = self.random.u64(0..KEYS);
        let (hash, key) = hash_of(&self.store, number);
        let token = self.store.token(hash);
        let version = self.origin.get(number);
        let value = describing_value(number, version, self.random.usize(64..2_000));
        if self.random.u32(0..4) == 0 {
            // Time for others to change the key meanwhile.
            std::thread::yield_now();
        }
        let floor = self.floor.get(number);
        let filled = self.store.fill(hash, &key, record(&value), token);
        match filled {
            StoreFill::Stored | StoreFill::Replaced(_) => {
                let stamp = match filled {
                    StoreFill::Replaced(stamp) => stamp,
                    _ => token.stamp,
                };
                self.file(number, version, stamp, token.stamp_index, token.clear_epoch);
            }
            StoreFill::Adopted(found) => match described_version(number, &found.value) {
                Some(version) if version >= floor => {}
                _ => self.wrong("an old or torn adopted value", number),
            },
            StoreFill::Refused | StoreFill::Dropped(_) => {}
        }
    }
}

fn worker(folder: &Path, medium: Medium, number: u64, seed: u64) {
    // On a disk, half of them by mapping; of no effect elsewhere.
    let store = open(&options(folder, medium).mapped_reads(number % 2 == 1));
    let mut worker = Worker {
        number,
        store,
        origin: Versions::open(folder, "origin"),
        floor: Versions::open(folder, "floor"),
        own: HashMap::new(),
        random: fastrand::Rng::with_seed(seed),
    };
    worker.run();
}

fn spawn(folder: &Path, medium: Medium, number: u64, seed: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["worker", &format!("{medium:?}"), &number.to_string(), &seed.to_string()])
        .arg(folder)
        .spawn()
        .unwrap()
}

/// Kills a worker, which must have had no other end.
fn kill(worker: &mut Child) {
    worker.kill().unwrap();
    let status = worker.wait().unwrap();
    assert_eq!(status.signal(), Some(9), "a worker ended by itself: {status}");
}

fn storm(medium: Medium, duration: Duration, seed: u64) -> u32 {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut random = fastrand::Rng::with_seed(seed);
    let start = |number, random: &mut fastrand::Rng| spawn(folder, medium, number, random.u64(..));
    // Open all the time, so that the counters are of the whole storm; except where all are killed
    // at once, for the next to be the first opener.
    let mut observer = open(&options(folder, medium));
    let mut workers: Vec<Child> = (0..WORKERS).map(|number| start(number, &mut random)).collect();
    let (mut kills, mut restarts) = (0, 0);
    let (mut hits, mut changes, mut owner_deaths, mut epochs) = (0, 0, 0, 0);
    let mut add_up = |store: &Store| {
        let numbers = store.statistics();
        // No process has to leave the store alone because of what the killed left.
        assert_eq!((numbers.corrupt, numbers.dropped_parked), (0, 0), "seed {seed}: {numbers:?}");
        hits += numbers.hits;
        changes += numbers.puts + numbers.fills + numbers.deletes;
        owner_deaths += numbers.owner_deaths;
        epochs += numbers.epochs_raised;
    };
    let begin = Instant::now();
    // At least so many kills, however busy the machine is.
    let least = (duration.as_secs_f64() * 5.0).ceil() as u32;
    while begin.elapsed() < duration || kills < least {
        std::thread::sleep(Duration::from_millis(random.u64(20..120)));
        if random.u32(0..8) > 0 {
            let number = random.usize(0..workers.len());
            kill(&mut workers[number]);
            kills += 1;
            workers[number] = start(number as u64, &mut random);
            continue;
        }
        for worker in &mut workers {
            kill(worker);
            kills += 1;
        }
        add_up(&observer);
        drop(observer);
        let opening = Instant::now();
        observer = open(&options(folder, medium));
        assert!(opening.elapsed() < Duration::from_secs(1), "seed {seed}: a slow open");
        let warm = warm_keys(&observer);
        // A clear may have come just before; then nothing is the right answer once in a while.
        restarts += u32::from(warm > 0);
        for (number, worker) in workers.iter_mut().enumerate() {
            *worker = start(number as u64, &mut random);
        }
    }
    for worker in &mut workers {
        kill(worker);
        kills += 1;
    }
    add_up(&observer);
    let check = observer.validate().unwrap();
    assert_eq!((check.corrupt, check.doubled), (0, 0), "seed {seed}: {check:?}");
    drop(observer);
    let store = open(&options(folder, medium));
    let warm = warm_keys(&store);
    for number in 0..KEYS {
        put(&store, &key_of(number), &describing_value(number, u64::MAX, 100));
    }
    println!(
        "{medium:?}: {kills} kills, {hits} hits, {changes} changes, {owner_deaths} owner deaths, \
         {epochs} epochs raised, {restarts} warm restarts, {warm} of {KEYS} keys found at the end"
    );
    assert!(restarts > 0 || warm > 0, "seed {seed}: never warm");
    assert!(hits > 200 && changes > 200, "seed {seed}: too little happened");
    kills
}

/// Keys that are found, each with a value that is right.
fn warm_keys(store: &Store) -> usize {
    (0..KEYS)
        .filter(|number| {
            get(store, &key_of(*number)).is_some_and(|value| {
                assert!(described_version(*number, &value).is_some(), "key {number} is torn");
                true
            })
        })
        .count()
}

fn main() {
    let arguments: Vec<String> = env::args().collect();
    if let [_, role, medium, number, seed, folder] = &arguments[..]
        && role == "worker"
    {
        let medium = if medium == "Disk" { Medium::Disk } else { Medium::Mapped };
        return worker(Path::new(folder), medium, number.parse().unwrap(), seed.parse().unwrap());
    }
    if arguments.iter().any(|argument| argument == "--list") {
        println!("killed_processes_leave_no_wrong_value: test");
        return;
    }
    let seconds = env::var("TIERCE_TORTURE_SECONDS")
        .map_or(8.0, |text| text.parse::<f64>().expect("TIERCE_TORTURE_SECONDS is a number"));
    let seed = seed();
    let kills = storm(Medium::Mapped, Duration::from_secs_f64(seconds * 0.7), seed)
        + storm(Medium::Disk, Duration::from_secs_f64(seconds * 0.3), seed);
    assert!(f64::from(kills) >= seconds * 5.0, "only {kills} kills in {seconds} s");
    println!("{kills} kills: ok");
}

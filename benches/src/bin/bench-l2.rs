//! How long do a get and a put of the shared store take, beside LMDB and beside plain memory?
//!
//! All lie on a memory file system (/dev/shm) and hand out copies, as a cache must. The plain
//! mapping is no store: it knows where each value lies, copies it and computes the XXH3 of it, and
//! so shows what checksum and copy alone cost.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]

use std::{hint::black_box, path::Path, process::ExitCode, time::Instant};

use bytes::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, types::Bytes as RawBytes};
use memmap2::MmapMut;
use tierce::{Clock, Millis, NewRecord, Put, Store, StoreOptions};
use tierce_benches::{
    Effort,
    load::{Skew, draws, shuffled, text_key},
    report::{Case, Report},
    rounds::{Contestant, compete, median},
};
use xxhash_rust::xxh3::xxh3_64;

const SEED: u64 = 7;

/// Operations between two looks at the clock; see `bench-l1`.
const BATCH: usize = 256;

/// The bytes of all values of a case, so that the larger ones do not fit the processor's caches.
const DATA_BYTES: usize = 64 << 20;

const QUESTION: &str = "Microseconds per get and put of L2 on /dev/shm, one thread, 32-byte keys, \
    all resident, asked for uniformly. tierce: default options but for the size. LMDB by heed: \
    NOSYNC and WRITEMAP, one transaction per operation (a cache that batched puts would lose \
    them to others), value copied out. mapping: memcpy and XXH3 of a value whose place is known; \
    a physical limit, not a store. A run's figure is the median of its batches of 256 operations, \
    so that time slices of other processes do not count.";

trait Shared {
    fn put(&mut self, number: u32, key: &[u8], value: &[u8]);
    fn get(&mut self, number: u32, key: &[u8]) -> Option<Bytes>;
}

impl Shared for Store {
    fn put(&mut self, _: u32, key: &[u8], value: &[u8]) {
        let record = NewRecord { value, format: 0, expires_at: Millis::NEVER };
        let put = Store::put(self, self.hash(key), key, record, None);
        assert!(matches!(put, Put::Stored { .. }), "the store has room: {put:?}");
    }

    fn get(&mut self, _: u32, key: &[u8]) -> Option<Bytes> {
        let found = Store::get(self, self.hash(key), key).expect("the store is sound");
        found.map(|record| record.value)
    }
}

struct Lmdb<'env> {
    env: &'env Env,
    database: Database<'env, RawBytes, RawBytes>,
}

/// Opens an environment without syncs, written to through its map.
fn lmdb_in(folder: &Path, bytes: usize) -> heed::Result<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(bytes.next_multiple_of(1 << 20));
    // SAFETY: without syncs a crash of the machine may break the file, which is in memory and
    // thrown away after this run; and nobody else has the file open.
    unsafe {
        options.flags(EnvFlags::NO_SYNC | EnvFlags::WRITE_MAP);
        options.open(folder)
    }
}

impl<'env> Lmdb<'env> {
    fn new(env: &'env Env) -> heed::Result<Self> {
        let created =
            env.create_databases_and_commit(env.write_txn()?, |opener, transaction| {
                opener.create_database(transaction, None).map(CommitOrAbort::<_, ()>::Commit)
            })?;
        Ok(Self { env, database: created.unwrap_commit() })
    }
}

impl Shared for Lmdb<'_> {
    fn put(&mut self, _: u32, key: &[u8], value: &[u8]) {
        let mut transaction = self.env.write_txn().expect("nobody else writes");
        self.database.put(&mut transaction, key, value).expect("the map is large enough");
        transaction.commit().expect("the map is large enough");
    }

    fn get(&mut self, _: u32, key: &[u8]) -> Option<Bytes> {
        let transaction = self.env.read_txn().expect("there is a reader's slot");
        let found = self.database.get(&transaction, key).expect("the file is sound");
        found.map(Bytes::copy_from_slice)
    }
}

struct Mapping {
    bytes: MmapMut,
    value_bytes: usize,
}

impl Mapping {
    fn new(folder: &Path, count: usize, value_bytes: usize) -> std::io::Result<Self> {
        let file = std::fs::File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(folder.join("mapping"))?;
        file.set_len((count * value_bytes) as u64)?;
        // SAFETY: the file is new, in a private folder, and nobody else opens or truncates it.
        let bytes = unsafe { MmapMut::map_mut(&file)? };
        Ok(Self { bytes, value_bytes })
    }
}

impl Shared for Mapping {
    fn put(&mut self, number: u32, _: &[u8], value: &[u8]) {
        let at = number as usize * self.value_bytes;
        black_box(xxh3_64(value));
        self.bytes[at..at + self.value_bytes].copy_from_slice(value);
    }

    fn get(&mut self, number: u32, _: &[u8]) -> Option<Bytes> {
        let at = number as usize * self.value_bytes;
        let value = Bytes::copy_from_slice(&self.bytes[at..at + self.value_bytes]);
        black_box(xxh3_64(&value));
        Some(value)
    }
}

/// The requests of one case.
struct Load {
    value_bytes: usize,
    /// Number and key of each request.
    requests: Vec<(u32, String)>,
}

/// Microseconds per operation in the middle batch.
fn timed(requests: &[(u32, String)], mut operation: impl FnMut(u32, &[u8])) -> f64 {
    let mut batches: Vec<_> = requests
        .chunks(BATCH)
        .map(|batch| {
            let begin = Instant::now();
            for (number, key) in batch {
                operation(*number, key.as_bytes());
            }
            begin.elapsed().as_nanos() as f64 / 1_000.0 / batch.len() as f64
        })
        .collect();
    median(&mut batches)
}

#[derive(Clone, Copy)]
enum Work {
    Gets,
    Puts,
}

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Gets => "get",
            Self::Puts => "put",
        }
    }
}

fn run(work: Work, rival: &mut impl Shared, load: &Load) -> f64 {
    let mut value = vec![1; load.value_bytes];
    timed(&load.requests, |number, key| match work {
        Work::Gets => {
            let value = rival.get(number, key).expect("all keys are resident");
            assert_eq!((value.len(), value[0]), (load.value_bytes, number as u8));
        }
        Work::Puts => {
            value[0] = number as u8;
            rival.put(number, key, &value);
        }
    })
}

fn cases(value_bytes: usize, effort: Effort) -> Result<[Case; 2], Box<dyn std::error::Error>> {
    let data_bytes = if effort.quick { DATA_BYTES / 16 } else { DATA_BYTES };
    let count = (data_bytes / value_bytes).min(100_000);
    let folder = || tempfile::Builder::new().prefix("tierce-bench-").tempdir_in("/dev/shm");
    let (ours, lmdb, mapping) = (folder()?, folder()?, folder()?);
    // Four times the data: neither evicts, and LMDB has the free pages that it wants.
    let room = (data_bytes * 4).max(count * 1_024);
    let options = StoreOptions::new(ours.path()).max_bytes(room as u64);
    // Twice the entries, as those of a shard are bounded too.
    let options = options.max_entries(2 * count as u64);
    let mut ours = Store::open(&options, Clock::system())?;
    let environment = lmdb_in(lmdb.path(), room)?;
    let mut lmdb = Lmdb::new(&environment)?;
    let mut mapping = Mapping::new(mapping.path(), count, value_bytes)?;

    let mut value = vec![1; value_bytes];
    for number in shuffled(count, SEED) {
        value[0] = number as u8;
        let key = text_key(number);
        Shared::put(&mut ours, number, key.as_bytes(), &value);
        lmdb.put(number, key.as_bytes(), &value);
        mapping.put(number, key.as_bytes(), &value);
    }
    let numbers = draws(Skew::Uniform, count, effort.operations, SEED + 1);
    let requests = numbers.into_iter().map(|number| (number, text_key(number))).collect();
    let load = Load { value_bytes, requests };
    let mut case = |work: Work| {
        let mut contestants = [
            Contestant::new("tierce", || run(work, &mut ours, &load)),
            Contestant::new("LMDB (heed)", || run(work, &mut lmdb, &load)),
            Contestant::new("mapping", || run(work, &mut mapping, &load)),
        ];
        let timings = compete(&mut contestants, effort.rounds);
        Case {
            name: format!(
                "{}/uniform/{value_bytes}-bytes/{count}-keys/1-threads/seed-{SEED}",
                work.name()
            ),
            timings,
        }
    };
    // A put may drop others' records when segments are reused, so gets come first.
    Ok([case(Work::Gets), case(Work::Puts)])
}

fn main() -> ExitCode {
    let effort = match Effort::from_arguments(9, 1 << 14) {
        Ok(effort) => effort,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    let mut report =
        Report { name: "l2-get-put", question: QUESTION, unit: "us per operation", cases: vec![] };
    for value_bytes in [100, 1_024, 16_384] {
        match cases(value_bytes, effort) {
            Ok(cases) => report.cases.extend(cases),
            Err(error) => {
                eprintln!("{value_bytes} bytes: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    print!("{}", report.markdown());
    if !effort.quick
        && let Err(error) = report.write()
    {
        eprintln!("results could not be written: {error}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

//! A process that uses a cache as a service would, for tests that need several of them.
//!
//! ```text
//! worker mix STORE BOARD KEYS ID WORKERS THREADS SEED [REDIS-SOCKET]   until the board says stop
//! worker host STORE BOARD KEYS ID WORKERS THREADS SEED REDIS ROLE    the same, of one host
//! worker set STORE KEY VALUE
//! worker get STORE KEY                                                 exit 3 on a miss
//! worker delete STORE KEY
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::{io::Write, path::Path, process::ExitCode, sync::atomic::Ordering};

use tierce::{Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering};
use tierce_tests::{
    board::{Board, Counter},
    hosts::{HEARTBEAT, STALENESS_BOUND},
    value,
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["mix", store, board, keys, id, workers, threads, seed, ref redis @ ..] => {
            let number = |text: &str| text.parse::<u64>().unwrap();
            let mix = Mix {
                cache: cache(store, redis.first().copied()),
                board: Board::open(Path::new(board), number(keys) as usize),
                writers: number(workers) * number(threads),
                writes: true,
            };
            mix.run_all(number(id), number(threads), number(seed));
            ExitCode::SUCCESS
        }
        ["host", store, board, keys, id, workers, threads, seed, redis, role] => {
            let number = |text: &str| text.parse::<u64>().unwrap();
            let mix = Mix {
                cache: cache_of_host(store, redis, role),
                board: Board::open(Path::new(board), number(keys) as usize),
                writers: number(workers) * number(threads),
                writes: role != "reads",
            };
            mix.run_all(number(id), number(threads), number(seed));
            ExitCode::SUCCESS
        }
        ["set", store, key, text] => {
            cache(store, None).set(key, text.to_owned().into()).unwrap();
            ExitCode::SUCCESS
        }
        ["delete", store, key] => {
            cache(store, None).delete(key).unwrap();
            ExitCode::SUCCESS
        }
        ["get", store, key] => match cache(store, None).get(key) {
            Some(found) => {
                std::io::stdout().write_all(&found).unwrap();
                ExitCode::SUCCESS
            }
            None => ExitCode::from(3),
        },
        _ => {
            eprintln!("worker: unknown arguments {arguments:?}");
            ExitCode::from(2)
        }
    }
}

fn cache(store: &str, redis: Option<&str>) -> Cache {
    let builder = Cache::builder()
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(store).max_bytes(32 << 20).max_entries(20_000));
    match redis {
        None => builder.tiering(Tiering::L1L2),
        Some(socket) => {
            builder.tiering(Tiering::L1L2L3).redis(RedisOptions::new().unix_path(socket))
        }
    }
    .build()
    .unwrap()
}

/// A cache that hears of other hosts soon, and of the loss of its link. One of the role
/// `writes-patiently` waits for an answer rather than doubt what it changed.
fn cache_of_host(store: &str, redis: &str, role: &str) -> Cache {
    let soon = std::time::Duration::from_millis(100);
    let wait = if role == "writes-patiently" { soon * 100 } else { soon };
    let redis = RedisOptions::new()
        .url(redis)
        .connect_timeout(soon * 3)
        .read_timeout(wait)
        .write_timeout(wait)
        .heartbeat(HEARTBEAT)
        .staleness_bound(STALENESS_BOUND);
    Cache::builder()
        .memory(MemoryOptions::new().max_entries(10_000))
        .shared(StoreOptions::new(store).max_bytes(32 << 20).max_entries(20_000))
        .tiering(Tiering::L1L2L3)
        .redis(redis)
        .build()
        .unwrap()
}

/// Reads, loads and changes keys, and judges every value that it gets.
struct Mix {
    cache: Cache,
    board: Board,
    writers: u64,
    /// False for a host that changes nothing, and hears of changes later.
    writes: bool,
}

impl Mix {
    fn run_all(&self, id: u64, threads: u64, seed: u64) {
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let writer = id * threads + thread;
                let seed = seed.wrapping_add(writer + 1).rotate_left(17);
                scope.spawn(move || self.run(writer, seed));
            }
        });
    }

    /// What a read that begins now must find at least.
    fn floor(&self, key: u64) -> u64 {
        let known = if self.writes { self.board.returned(key) } else { self.board.settled(key) };
        known.load(Ordering::Acquire)
    }

    fn run(&self, writer: u64, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let keys = self.board.keys() as u64;
        while self.board.counter(Counter::Stop).load(Ordering::Relaxed) == 0 {
            for _ in 0..64 {
                match random.u8(..100) {
                    0..90 => self.read(random.u64(..keys)),
                    90..95 => self.load(random.u64(..keys)),
                    _ if !self.writes => self.read(random.u64(..keys)),
                    // One writer a key, so that its versions rise in one order.
                    dice => {
                        let key = random.u64(..keys / self.writers) * self.writers + writer;
                        self.change(key, dice >= 98, random.usize(..2000));
                    }
                }
            }
        }
    }

    fn read(&self, key: u64) {
        let floor = self.floor(key);
        if let Some(found) = self.cache.get(key.to_le_bytes()) {
            self.board.judge(key, floor, &found, "get");
        }
    }

    fn load(&self, key: u64) {
        let floor = self.floor(key);
        let loaded = self.cache.get_or_load(key.to_le_bytes(), |_| {
            let version = self.board.database(key).load(Ordering::Acquire);
            std::io::Result::Ok(value::make(key, version, 100))
        });
        match loaded {
            Ok(found) => self.board.judge(key, floor, &found, "get_or_load"),
            Err(error) => {
                self.board.counter(Counter::Errors).fetch_add(1, Ordering::Relaxed);
                eprintln!("get_or_load: {error}");
            }
        }
    }

    fn change(&self, key: u64, delete: bool, payload: usize) {
        let version = self.board.database(key).load(Ordering::Acquire) + 1;
        self.board.database(key).store(version, Ordering::Release);
        let changed = if delete {
            self.cache.delete(key.to_le_bytes())
        } else {
            self.cache.set(key.to_le_bytes(), value::make(key, version, payload))
        };
        if let Err(error) = changed {
            self.board.counter(Counter::Errors).fetch_add(1, Ordering::Relaxed);
            eprintln!("change: {error}");
        }
        self.board.returned(key).store(version, Ordering::Release);
        self.board.counter(Counter::Changes).fetch_add(1, Ordering::Relaxed);
    }
}

//! A process whose threads ask for a key that must be loaded, once a round.
//!
//! ```text
//! loader STORE|- NOTES ROUNDS THREADS LEASE-MS FIRST FIRST-MS MS [SOCKET FLEET-LEASE-MS]
//!     STORE     `-`: L1 alone
//!     FIRST     what the first load of a round does after FIRST-MS: `succeeds` or `fails`
//!     MS        how long the other loads take
//!     SOCKET    that of a redis-server; FLEET-LEASE-MS: the lease of a host there
//! ```
#![allow(clippy::unwrap_used)]

use std::{path::Path, sync::atomic::Ordering, time::Duration};

use tierce::{Cache, RedisOptions, StoreOptions, Tiering};
use tierce_tests::{
    loads::{Loads, Note, now},
    value,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments[at].parse::<u64>().unwrap();
    let builder = match arguments[0].as_str() {
        "-" => Cache::builder().tiering(Tiering::L1),
        store => Cache::builder().tiering(Tiering::L1L2).shared(
            StoreOptions::new(store)
                .max_bytes(8 << 20)
                // A fill that waits longer for a busy machine is dropped, and its key loaded again.
                .lock_wait(Duration::from_secs(1))
                .load_lease(Duration::from_millis(number(4))),
        ),
    };
    let builder = match arguments.get(8) {
        None => builder,
        Some(socket) => {
            let tiering = if arguments[0] == "-" { Tiering::L1L3 } else { Tiering::L1L2L3 };
            let options = RedisOptions::new()
                .unix_path(socket)
                .connect_timeout(Duration::from_secs(5))
                .read_timeout(Duration::from_secs(5))
                .write_timeout(Duration::from_secs(5))
                .load_lease(Duration::from_millis(number(9)));
            builder.tiering(tiering).redis(options)
        }
    };
    let process = Process {
        cache: builder.build().unwrap(),
        loads: Loads::open(Path::new(&arguments[1]), number(2) as usize),
        threads: number(3) as u32,
        first_fails: arguments[5] == "fails",
        first: Duration::from_millis(number(6)),
        others: Duration::from_millis(number(7)),
    };
    std::thread::scope(|scope| {
        for _ in 0..number(3) {
            scope.spawn(|| (0..number(2)).for_each(|round| process.ask(round)));
        }
    });
}

struct Process {
    cache: Cache,
    loads: Loads,
    threads: u32,
    first_fails: bool,
    first: Duration,
    others: Duration,
}

impl Process {
    fn ask(&self, round: u64) {
        let loads = &self.loads;
        loads.at(round, Note::Ready).fetch_add(1, Ordering::SeqCst);
        loads.wait_among(self.threads, round, Note::Go, 1);
        let floor = loads.of(round, Note::Floor);
        let answer = self.cache.get_or_load(round.to_le_bytes(), |_| self.load(round));
        let note = match &answer {
            Ok(found) if value::check(round, found).is_ok_and(|version| version >= floor) => {
                Note::Answered
            }
            Ok(_) => Note::Wrong,
            Err(_) => Note::Failed,
        };
        loads.at(round, note).fetch_add(1, Ordering::SeqCst);
    }

    fn load(&self, round: u64) -> std::io::Result<tierce::Bytes> {
        let loads = &self.loads;
        let version = loads.of(round, Note::Database);
        let before = loads.at(round, Note::Begun).fetch_add(1, Ordering::SeqCst);
        match before {
            0 => {
                loads.at(round, Note::FirstAt).store(now(), Ordering::SeqCst);
                loads.at(round, Note::Leader).store(std::process::id().into(), Ordering::SeqCst);
            }
            1 => loads.at(round, Note::SecondAt).store(now(), Ordering::SeqCst),
            _ => {}
        }
        std::thread::sleep(if before == 0 { self.first } else { self.others });
        if before == 0 && self.first_fails {
            loads.at(round, Note::FailedAt).store(now(), Ordering::SeqCst);
            return Err(std::io::Error::other("the database is away"));
        }
        Ok(value::make(round, version, 100))
    }
}

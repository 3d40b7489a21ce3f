//! Two hosts, each in a network namespace of its own with four processes and a store, above one
//! redis-server. One host writes. The cable of the other is cut again and again, processes are
//! killed, the server is stopped and started anew, empty, or all of that: no host serves what was replaced longer
//! ago than it says.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    collections::VecDeque,
    path::Path,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use tierce_tests::{
    board::{Board, Counter},
    hosts::{HEARTBEAT, Namespace, STALENESS_BOUND, redis_at},
    process::Worker,
    seed, store_folder,
};

const WORKER: &str = env!("CARGO_BIN_EXE_worker");
const KEYS: usize = 512;
const WORKERS: usize = 4;

/// A loaded machine may let a process wait for so long.
const SLACK: Duration = Duration::from_secs(3);

/// How long a change that the server did not take rests before it is settled: two write deadlines
/// of the workers and two seconds.
const REST: Duration = Duration::from_millis(2200);

/// How long the server is away: longer than two heartbeats.
const OUTAGE: Duration = Duration::from_secs(1);

struct Host<'a> {
    namespace: &'a Namespace,
    redis: String,
    store: String,
    board: &'a str,
    role: &'static str,
    seed: u64,
    starts: u64,
    workers: Vec<Worker>,
}

impl<'a> Host<'a> {
    fn new(
        namespace: &'a Namespace,
        port: u16,
        (store, board): (&Path, &'a str),
        role: &'static str,
        seed: u64,
    ) -> Self {
        let redis = format!("redis://{}:{port}", namespace.address());
        let store = store.to_str().unwrap().to_owned();
        let mut host =
            Self { namespace, redis, store, board, role, seed, starts: 0, workers: vec![] };
        for id in 0..WORKERS {
            let worker = host.start(id);
            host.workers.push(worker);
        }
        host
    }

    fn start(&mut self, id: usize) -> Worker {
        self.starts += 1;
        let seed = self.seed.wrapping_add(self.starts).to_string();
        let (keys, id, workers) = (KEYS.to_string(), id.to_string(), WORKERS.to_string());
        let [program, entry @ ..] = self.namespace.entry();
        let command = ["host", &self.store, self.board, &keys, &id, &workers, "2", &seed];
        let words = [&entry[..], &[WORKER], &command, &[&self.redis, self.role]].concat();
        Worker::start(program, &words)
    }

    fn kill_one(&mut self, id: usize) {
        self.workers[id].kill();
        self.workers[id] = self.start(id);
    }
}

/// What happens while the hosts work.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Trouble {
    Cable,
    Server,
    Both,
}

/// Reads that are checked at least in a long run, of a minute and more.
const CHECKED: u64 = 1_000_000;

/// And in each second of a shorter one, which may be of a build without optimization, on a machine that
/// runs other tests.
const CHECKED_A_SECOND: u64 = 1_000;

fn storm(trouble: Trouble, span: Duration) {
    let seed = seed();
    let namespaces = match [0, 1].map(|host| Namespace::new(3 * host + trouble as u32)) {
        [Ok(one), Ok(other)] => [one, other],
        [Err(error), _] | [_, Err(error)] => {
            println!("left out, no network namespaces: {error}");
            return;
        }
    };
    let (mut redis, port) = redis_at(&namespaces.each_ref().map(Namespace::address));
    let folder = store_folder();
    let board_path = folder.path().join("board").to_str().unwrap().to_owned();
    let board = Board::open(Path::new(&board_path), KEYS);
    let stores = ["one", "other"].map(|name| folder.path().join(name));
    let role = match trouble {
        Trouble::Cable => "writes-patiently",
        Trouble::Server | Trouble::Both => "writes",
    };
    let mut one = Host::new(&namespaces[0], port, (&stores[0], &board_path), role, seed);
    let mut other = Host::new(&namespaces[1], port, (&stores[1], &board_path), "reads", !seed);

    // Of a change that the server did not take, the other host hears when it is settled.
    let late = match trouble {
        Trouble::Cable => STALENESS_BOUND + SLACK,
        Trouble::Server | Trouble::Both => STALENESS_BOUND + SLACK + OUTAGE + REST + 4 * HEARTBEAT,
    };
    let mut random = fastrand::Rng::with_seed(seed);
    let mut returned = VecDeque::new();
    let (begin, mut events) = (Instant::now(), 0);
    let mut next_event = Instant::now() + Duration::from_secs(1);
    let (mut cut, mut cuts, mut outages) = (false, 0_u64, 0_u64);
    while begin.elapsed() < span {
        thread::sleep(Duration::from_millis(20));
        returned.push_back((Instant::now(), board.all_returned()));
        while returned.front().is_some_and(|(at, _)| at.elapsed() > late) {
            let (_, versions) = returned.pop_front().unwrap();
            for (key, version) in versions.into_iter().enumerate() {
                board.settled(key as u64).fetch_max(version, Ordering::Release);
            }
        }
        if Instant::now() < next_event {
            continue;
        }
        events += 1;
        next_event = Instant::now() + Duration::from_millis(random.u64(100..800));
        let cable = match trouble {
            Trouble::Cable => true,
            Trouble::Server => false,
            Trouble::Both => random.bool(),
        };
        match random.u8(..4) {
            0 => one.kill_one(random.usize(..WORKERS)),
            1 => other.kill_one(random.usize(..WORKERS)),
            _ if cable => {
                cut = !cut;
                cuts += u64::from(cut);
                namespaces[1].cut(cut);
                // Longer than the bound, now and then.
                next_event += Duration::from_millis(random.u64(..2500));
            }
            2 => {
                redis.signal(libc::SIGSTOP);
                thread::sleep(OUTAGE);
                redis.signal(libc::SIGCONT);
                outages += 1;
            }
            _ => {
                redis.kill();
                thread::sleep(OUTAGE);
                redis.restart();
                outages += 1;
            }
        }
    }
    board.counter(Counter::Stop).store(1, Ordering::Relaxed);
    for worker in one.workers.iter_mut().chain(&mut other.workers) {
        let status = worker.wait(Duration::from_secs(30)).expect("a worker hangs");
        assert!(status.success(), "{status}");
    }
    let count = |counter| board.counter(counter).load(Ordering::Relaxed);
    let (checked, changes) = (count(Counter::Checked), count(Counter::Changes));
    println!(
        "{trouble:?}: {checked} checked reads, {changes} changes, {events} events, {cuts} cuts, \
         {outages} outages"
    );
    assert_eq!(count(Counter::Wrong), 0, "wrong values: see above; seed {seed}");
    assert_eq!(count(Counter::Errors), 0, "errors: see above; seed {seed}");
    let least = match span.as_secs() {
        60.. => CHECKED,
        seconds => CHECKED_A_SECOND * seconds,
    };
    assert!(checked >= least && changes > 20, "{checked} of {least} checked, {changes} changes");
    if trouble == Trouble::Both && span.as_secs() >= 60 {
        assert!(cuts > 0 && outages > 0, "{cuts} cuts, {outages} outages");
    }
}

/// `TIERCE_TORTURE_SECONDS`, or a few.
fn span() -> Duration {
    let seconds = std::env::var("TIERCE_TORTURE_SECONDS").map_or(12, |it| it.parse().unwrap());
    Duration::from_secs(seconds)
}

#[test]
fn a_host_whose_cable_is_cut_serves_nothing_stale_past_the_bound() {
    storm(Trouble::Cable, span());
}

#[test]
fn a_server_that_is_stopped_or_begins_anew_brings_nothing_stale_back() {
    storm(Trouble::Server, span());
}

#[test]
fn cut_cables_and_lost_servers_together_bring_nothing_stale_back() {
    storm(Trouble::Both, span());
}

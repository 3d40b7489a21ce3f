//! Two hosts, each in a network namespace of its own with processes under load and a store, that move
//! their caches together by one redis-server: a rollback on one is in force on the other within a
//! second, whoever is killed, cut off, or away.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    path::PathBuf,
    sync::atomic::Ordering,
    thread,
    time::{Duration, Instant},
};

use tierce::{
    RedisOptions,
    guard::rollout::{Action, Command, DecisionKind, RedisRollout, StoreRollout},
};
use tierce_tests::{
    hosts::{Namespace, redis_at},
    loads::now,
    moves::{Moves, Place},
    process::Worker,
    redis::Redis,
    store_folder,
    waiting::{wait_until, wait_within},
};

const MOVER: &str = env!("CARGO_BIN_EXE_mover");
const HOSTS: usize = 2;
/// Processes of one host.
const PROCESSES: usize = 4;
const ALL: usize = HOSTS * PROCESSES;

/// Operations that the processes are asked for in a second, together.
const RATE: u64 = 24_000;

/// How often the rollout goes up and is taken back.
const ROUNDS: usize = 5;

/// How long it may take until all processes of both hosts are on their old tiers alone.
const BAR: Duration = Duration::from_secs(1);

/// For how long who leads does so without a word; and how much later another one looks, and how long
/// a loaded machine may let it wait.
const LEASE: Duration = Duration::from_secs(3);
const SLACK: Duration = Duration::from_secs(3);

const PLAN: &str = "
plan: two-hosts
baseline: L1
phases:
  - name: canary
    target: L1L2L3
    split: key
    steps: [{share: 25%, wait: 1h}, {share: 75%, wait: 1h}]
";

const BACK: Command = Command::Rollback(Action::Immediate);

struct Host {
    namespace: Namespace,
    url: String,
    store: PathBuf,
    workers: Vec<Worker>,
}

impl Host {
    fn rollout(&self) -> StoreRollout {
        StoreRollout::open(&self.store).unwrap()
    }

    fn percent(&self) -> f64 {
        self.rollout().percent().unwrap().unwrap_or(0.0)
    }
}

struct Fleet {
    hosts: Vec<Host>,
    rollout: RedisRollout,
    redis: Redis,
    moves: Moves,
    board: String,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// `None` where the system has no namespaces for us.
    fn of(number: u32) -> Option<Self> {
        let namespaces = [0, 1].map(|host| Namespace::new(number + host));
        let namespaces = match namespaces {
            [Ok(one), Ok(other)] => [one, other],
            [Err(error), _] | [_, Err(error)] => {
                println!("left out, no network namespaces: {error}");
                return None;
            }
        };
        let (redis, port) = redis_at(&namespaces.each_ref().map(Namespace::address));
        let folder = store_folder();
        let host = |(id, namespace): (usize, Namespace)| Host {
            url: format!("redis://{}:{port}", namespace.address()),
            store: folder.path().join(format!("store-{id}")),
            workers: Vec::new(),
            namespace,
        };
        let hosts = namespaces.into_iter().enumerate().map(host).collect();
        let board = folder.path().join("moves").to_str().unwrap().to_owned();
        let moves = Moves::open(board.as_ref(), ALL);
        let options = RedisOptions::new().unix_path(redis.socket());
        let patience = Duration::from_secs(2);
        let options = options.read_timeout(patience).write_timeout(patience);
        let rollout = RedisRollout::open(options).unwrap();
        Some(Self { hosts, rollout, redis, moves, board, _folder: folder })
    }

    /// Starts the processes of a host.
    fn start(&mut self, host: usize) {
        for place in 0..PROCESSES {
            let worker = self.process(host, place);
            self.hosts[host].workers.push(worker);
        }
        let ids = host * PROCESSES..(host + 1) * PROCESSES;
        wait_until("processes to work", || {
            ids.clone().all(|id| self.at(id, Place::Operations) > 0)
        });
    }

    fn process(&self, host: usize, place: usize) -> Worker {
        let Host { namespace, url, store, .. } = &self.hosts[host];
        let [program, entry @ ..] = namespace.entry();
        let id = (host * PROCESSES + place).to_string();
        let (all, rate) = (ALL.to_string(), (RATE / ALL as u64).to_string());
        let words = [MOVER, store.to_str().unwrap(), &self.board, &id, &all, &rate, url];
        Worker::start(program, &[&entry[..], &words].concat())
    }

    fn started(number: u32) -> Option<Self> {
        let mut fleet = Self::of(number)?;
        (0..HOSTS).for_each(|host| fleet.start(host));
        Some(fleet)
    }

    fn at(&self, id: usize, place: Place) -> u64 {
        self.moves.at(id, place).load(Ordering::SeqCst)
    }

    fn are_all(&self, hosts: &[usize], state: u64) -> bool {
        let ids = |host: &usize| host * PROCESSES..(host + 1) * PROCESSES;
        hosts.iter().flat_map(ids).all(|id| self.at(id, Place::State) == state)
    }

    fn wait_for_split(&self) {
        wait_until("all processes to be split", || self.are_all(&[0, 1], 1));
    }

    /// Whose turn it is to lead.
    fn leader(&self) -> Option<usize> {
        let name = self.rollout.leader().ok()??;
        name.strip_prefix("mover ")?.parse().ok()
    }

    /// All must have gone well.
    fn end(self) {
        self.moves.end();
        let (failed, stale) = (self.moves.sum(Place::Failed), self.moves.sum(Place::Stale));
        println!(
            "{} operations, {failed} failed, {stale} stale",
            self.moves.sum(Place::Operations)
        );
        assert_eq!((failed, stale), (0, 0));
    }
}

#[test]
fn a_rollback_on_one_host_is_in_force_on_the_other_within_a_second() {
    let Some(fleet) = Fleet::started(10) else { return };
    let mut spans = Vec::new();
    for round in 0..ROUNDS {
        fleet.rollout.start("ada", PLAN).unwrap();
        fleet.wait_for_split();
        fleet.rollout.ask("ada", Command::Force).unwrap();
        wait_until("the second step", || fleet.hosts.iter().all(|host| host.percent() == 75.0));
        let before = fleet.moves.sum(Place::Operations);
        thread::sleep(Duration::from_millis(500));
        let rate = (fleet.moves.sum(Place::Operations) - before) * 2;
        let begin = now();
        // By way of the store of one host: Redis is not asked.
        let host = round % HOSTS;
        fleet.hosts[host].rollout().ask("ada", BACK).unwrap();
        assert_eq!(fleet.hosts[host].percent(), 0.0);
        wait_until("all to be back", || fleet.are_all(&[0, 1], 2));
        let took = |host: usize| {
            let ids = host * PROCESSES..(host + 1) * PROCESSES;
            let last = ids.map(|id| fleet.at(id, Place::ChangedAt)).max().unwrap();
            Duration::from_micros(last.saturating_sub(begin))
        };
        let (here, there) = (took(host), took(1 - host));
        println!(
            "round {round}: {rate} operations/s; all back here in {here:?}, there in {there:?}"
        );
        spans.push(there);
    }
    spans.sort();
    println!("the other host was back after {spans:?}");
    assert!(spans[ROUNDS / 2] <= BAR, "{spans:?}");
    fleet.end();
}

#[test]
fn when_the_leader_is_killed_another_leads_after_the_lease_and_no_step_is_taken_twice() {
    let Some(mut fleet) = Fleet::started(20) else { return };
    let shares = [10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0];
    let steps: Vec<String> =
        shares.iter().map(|share| format!("{{share: {share}%, wait: 1s}}")).collect();
    let plan = PLAN.replace(
        "{share: 25%, wait: 1h}, {share: 75%, wait: 1h}",
        &format!("{}, {{share: 90%, wait: 1h}}", steps.join(", ")),
    );
    fleet.rollout.start("ada", &plan).unwrap();
    fleet.wait_for_split();
    for least in [20.0, 50.0] {
        wait_until("a step", || fleet.rollout.percent().unwrap() >= Some(least));
        let leader = fleet.leader().expect("somebody took the step");
        let begin = Instant::now();
        let (host, place) = (leader / PROCESSES, leader % PROCESSES);
        fleet.hosts[host].workers[place].kill();
        let took = wait_within(LEASE + SLACK, "another leader", || {
            fleet.leader().is_some_and(|other| other != leader)
        });
        let next = fleet.leader();
        println!("process {leader} was killed; {next:?} leads after {took:?}");
        assert!(begin.elapsed() > LEASE / 2, "nobody leads beside one that may live");
        fleet.hosts[host].workers[place] = fleet.process(host, place);
    }
    wait_until("the last step", || fleet.rollout.percent().unwrap() == Some(90.0));
    wait_until("all hosts to follow", || fleet.hosts.iter().all(|host| host.percent() == 90.0));
    let all = fleet.rollout.history().unwrap();
    let steps = |decisions: &[tierce::guard::rollout::Decision]| -> Vec<f64> {
        let steps = decisions.iter().filter(|one| one.kind == DecisionKind::Step);
        steps.map(|one| one.percent).collect()
    };
    let wanted = [&shares[..], &[90.0]].concat();
    assert_eq!(steps(&all), wanted);
    for host in &fleet.hosts {
        assert_eq!(steps(host.rollout().history().unwrap()), wanted);
    }
    fleet.end();
}

#[test]
fn a_rollback_while_redis_is_gone_is_on_both_hosts_when_it_is_back() {
    let Some(mut fleet) = Fleet::started(30) else { return };
    fleet.rollout.start("ada", PLAN).unwrap();
    fleet.wait_for_split();
    fleet.redis.kill();
    thread::sleep(Duration::from_millis(500));
    fleet.hosts[0].rollout().ask("ada", BACK).unwrap();
    let here = wait_until("this host to be back", || fleet.are_all(&[0], 2));
    // Longer than the lease.
    thread::sleep(LEASE + Duration::from_secs(1));
    assert!(fleet.are_all(&[1], 1), "the other keeps its share");
    fleet.redis.restart();
    let there = wait_until("both hosts to be back", || fleet.are_all(&[0, 1], 2));
    println!("this host was back after {here:?}, the other {there:?} after Redis was");
    wait_until("Redis to know", || fleet.rollout.percent().is_ok_and(|it| it == Some(0.0)));
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        assert!(fleet.are_all(&[0, 1], 2), "nothing is undone");
        thread::sleep(Duration::from_millis(10));
    }
    for host in &fleet.hosts {
        let mut rollout = host.rollout();
        let by = rollout.latest().unwrap().unwrap().by.clone();
        assert_eq!(by, "operator ada");
    }
    fleet.end();
}

#[test]
fn a_host_that_is_cut_off_follows_when_its_cable_is_mended_and_brings_its_own_rollback() {
    let Some(fleet) = Fleet::started(40) else { return };
    for cut_one_decides in [false, true] {
        fleet.rollout.start("ada", PLAN).unwrap();
        fleet.wait_for_split();
        fleet.hosts[1].namespace.cut(true);
        thread::sleep(Duration::from_millis(300));
        let decides = usize::from(cut_one_decides);
        fleet.hosts[decides].rollout().ask("ada", BACK).unwrap();
        wait_until("who decides to be back", || fleet.are_all(&[decides], 2));
        thread::sleep(Duration::from_secs(1));
        assert!(fleet.are_all(&[1 - decides], 1), "the other cannot know");
        fleet.hosts[1].namespace.cut(false);
        let took = wait_until("both to be back", || fleet.are_all(&[0, 1], 2));
        println!("the other was back {took:?} after the cable was");
    }
    fleet.end();
}

#[test]
fn a_host_that_starts_late_follows_and_a_flush_in_the_midst_loses_nothing() {
    let Some(mut fleet) = Fleet::of(50) else { return };
    fleet.start(0);
    fleet.rollout.start("ada", PLAN).unwrap();
    wait_until("the first host to be split", || fleet.are_all(&[0], 1));
    fleet.start(1);
    let late = wait_until("the late host to follow", || fleet.are_all(&[1], 1));
    println!("the late host followed {late:?} after it worked");
    let before = fleet.rollout.history().unwrap().len();
    let _: () = redis::cmd("FLUSHALL").query(&mut fleet.redis.client()).unwrap();
    let took =
        wait_until("the state to be back", || fleet.rollout.percent().unwrap() == Some(25.0));
    println!("the state was back after {took:?}");
    assert!(fleet.are_all(&[0, 1], 1), "hosts keep what they know");
    assert!(fleet.rollout.history().unwrap().len() >= before);
    wait_until("somebody to lead", || fleet.leader().is_some());
    fleet.rollout.ask("ada", Command::Force).unwrap();
    wait_until("the next step", || fleet.hosts.iter().all(|host| host.percent() == 75.0));
    fleet.hosts[1].rollout().ask("ada", BACK).unwrap();
    wait_until("all to be back", || fleet.are_all(&[0, 1], 2));
    fleet.end();
}

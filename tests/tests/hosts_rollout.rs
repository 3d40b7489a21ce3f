//! Two hosts, each a store, that move their caches together by one Redis: what each decides, what
//! the other makes of it, and what is left of it when the server forgets all or is not there.
//!
//! Guards are made to look by the test, so each step is one that it took; `hosts_rollout_processes`
//! has the same with processes, load, and clocks.

// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use tierce::{
    Bytes, Cache, MemoryOptions, RedisOptions, StoreOptions, Tiering,
    guard::{
        Guard,
        rollout::{Action, Command, DecisionKind, RedisRollout, Stage, StoreRollout},
    },
};
use tierce_tests::{redis::Redis, store_folder, waiting::wait_until};

const PLAN: &str = "
plan: two-hosts
baseline: L1
phases:
  - name: canary
    target: L1L2L3
    split: key
    steps: [{share: 25%, wait: 1h}, {share: 50%, wait: 1h}, {share: 100%, wait: 1h}]
    rollback: [{condition: input.incidents > 0}]
gradual_rollback: [{share: 10%, wait: 1s}, {share: 0%, wait: 1s}]
";

/// For so long the guard of a host leads, or takes the server for present, that it heard of.
const LEASE: Duration = Duration::from_millis(3100);

struct Host {
    folder: tempfile::TempDir,
    cache: Cache,
    guard: Guard<Bytes>,
}

fn options(redis: &Redis) -> RedisOptions {
    // A loaded machine may let the server wait.
    let patience = Duration::from_secs(5);
    let options = RedisOptions::new().unix_path(redis.socket()).coherence(false);
    options.connect_timeout(patience).read_timeout(patience).write_timeout(patience)
}

impl Host {
    fn new(redis: &Redis) -> Self {
        Self::on(store_folder(), redis)
    }

    fn on(folder: tempfile::TempDir, redis: &Redis) -> Self {
        let cache = Cache::builder()
            .tiering(Tiering::L1)
            .memory(MemoryOptions::new().max_entries(1000))
            .shared(StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20))
            .redis(options(redis))
            .build()
            .unwrap();
        let guard = Guard::of(&cache).rollout_of_store("one").build().unwrap();
        Self { folder, cache, guard }
    }

    /// The same with threads of its own.
    fn alive(redis: &Redis) -> Self {
        let host = Self::new(redis);
        let guard = Guard::of(&host.cache).rollout_of_store("alive").start().unwrap();
        Self { guard, ..host }
    }

    /// Ends the process, and begins it anew on the same store.
    fn restarted(self, redis: &Redis) -> Self {
        let Self { folder, cache, guard } = self;
        drop((guard, cache));
        Self::on(folder, redis)
    }

    fn store(&self) -> StoreRollout {
        StoreRollout::open(self.folder.path().join("store")).unwrap()
    }

    fn stands_at(&self) -> (Stage, f64) {
        let status = self.guard.rollout().unwrap();
        (status.stage, status.percent)
    }

    /// What calls of the cache go by.
    fn percent(&self) -> f64 {
        self.store().percent().unwrap().unwrap_or(0.0)
    }

    fn kinds(&self) -> Vec<DecisionKind> {
        self.store().history().unwrap().iter().map(|decision| decision.kind).collect()
    }
}

fn round(hosts: &[&Host]) {
    // The second hears of what the third decided.
    for _ in 0..2 {
        hosts.iter().for_each(|host| host.guard.round().unwrap());
    }
}

/// Hosts look until all have talked to the server again.
fn meet(redis: &RedisRollout, hosts: &[&Host]) {
    let is_met = |host: &&Host| host.guard.rollout().unwrap().hosts.unwrap().is_reachable;
    wait_until("the server", || redis.percent().is_ok());
    // Those who saw it go say so for the time of a lease.
    wait_until("hosts to meet", || {
        hosts.iter().for_each(|host| host.guard.round().unwrap());
        hosts.iter().all(is_met)
    });
}

/// Two hosts at the first step.
fn under_way() -> (Redis, RedisRollout, Host, Host) {
    let redis = Redis::start();
    let rollout = RedisRollout::open(options(&redis)).unwrap();
    let (one, other) = (Host::new(&redis), Host::new(&redis));
    round(&[&one, &other]);
    assert_eq!((one.stands_at(), other.stands_at()), ((Stage::Idle, 0.0), (Stage::Idle, 0.0)));
    rollout.start("ada", PLAN).unwrap();
    round(&[&one, &other]);
    for host in [&one, &other] {
        assert_eq!((host.stands_at(), host.percent()), ((Stage::Running, 25.0), 25.0));
        assert!(host.cache.is_split());
    }
    (redis, rollout, one, other)
}

const BACK: Command = Command::Rollback(Action::Immediate);

#[test]
fn hosts_follow_what_an_operator_asks_of_redis_and_one_of_them_leads() {
    let (_redis, rollout, one, other) = under_way();
    let leads = |host: &Host| host.guard.rollout().unwrap().hosts.unwrap().leads;
    assert!(leads(&one) && !leads(&other));
    assert_eq!(rollout.leader().unwrap().as_deref(), Some("one"));
    assert!(rollout.start("bob", PLAN).unwrap_err().to_string().contains("started already"));
    rollout.ask("ada", Command::Force).unwrap();
    round(&[&one, &other]);
    assert_eq!(
        (one.percent(), other.percent(), rollout.percent().unwrap()),
        (50.0, 50.0, Some(50.0))
    );
    // By way of a process of a host that does not lead, too.
    other.guard.command("bob", Command::Force).unwrap();
    assert_eq!(other.stands_at(), (Stage::Running, 100.0));
    round(&[&one]);
    assert_eq!(one.percent(), 100.0);
    other.guard.command("bob", Command::Pause).unwrap();
    round(&[&one]);
    assert_eq!(one.stands_at(), (Stage::Paused, 100.0));
    rollout.ask("ada", BACK).unwrap();
    round(&[&one, &other]);
    for host in [&one, &other] {
        assert_eq!((host.stands_at(), host.percent()), ((Stage::RolledBack, 0.0), 0.0));
        assert_eq!((host.cache.is_split(), host.cache.tiering()), (false, Tiering::L1));
    }
    // Every host has the decisions of all, with who made them.
    let all = rollout.history().unwrap();
    for host in [&one, &other] {
        assert_eq!(host.store().history().unwrap(), all);
    }
    let by: Vec<&str> = all.iter().map(|decision| decision.by.as_str()).collect();
    assert!(by.contains(&"operator bob") && by.contains(&"rule"), "{by:?}");
    // A start makes it live again, on both.
    rollout.start("ada", &PLAN.replace("two-hosts", "again")).unwrap();
    round(&[&one, &other]);
    assert_eq!(
        (one.stands_at(), other.stands_at()),
        ((Stage::Running, 25.0), (Stage::Running, 25.0))
    );
    assert_eq!(other.guard.rollout().unwrap().plan, "again");
}

#[test]
fn a_rollback_of_one_host_is_in_force_there_at_once_and_on_the_other_when_it_looks() {
    let (_redis, rollout, one, other) = under_way();
    let mut store = other.store();
    let refusal = store.ask("bob", Command::Force).unwrap_err().to_string();
    assert!(refusal.contains("ask their Redis"), "{refusal}");
    assert!(store.start("bob", PLAN).is_err());
    store.ask("bob", BACK).unwrap();
    assert_eq!((other.percent(), one.percent()), (0.0, 25.0), "nobody looked yet");
    round(&[&other, &one]);
    assert_eq!((one.stands_at(), one.percent()), ((Stage::RolledBack, 0.0), 0.0));
    assert_eq!(rollout.latest().unwrap().unwrap().by, "operator bob");
}

#[test]
fn what_one_host_sees_takes_it_back_on_all() {
    let (_redis, rollout, one, other) = under_way();
    other.guard.push("incidents", 1.0).unwrap();
    round(&[&other, &one]);
    for host in [&one, &other] {
        assert_eq!(host.stands_at(), (Stage::RolledBack, 0.0));
        let latest = host.store().latest().unwrap().cloned().unwrap();
        assert_eq!(latest.by, "rule");
    }
    let began = rollout.history().unwrap();
    let began = began.iter().find(|one| one.kind == DecisionKind::RollbackBegan).unwrap();
    assert_eq!(began.rule.as_deref(), Some("input.incidents > 0 for 0 s"));
    assert_eq!(began.value.as_deref(), Some("1"));
}

#[test]
fn without_redis_a_host_keeps_its_share_and_only_a_rollback_is_taken() {
    let (mut redis, rollout, one, other) = under_way();
    redis.kill();
    round(&[&one, &other]);
    assert_eq!((one.percent(), other.percent()), (25.0, 25.0));
    assert!(rollout.ask("ada", Command::Force).is_err());
    assert!(one.guard.command("ada", Command::Force).is_err());
    round(&[&one]);
    assert_eq!(one.percent(), 25.0);
    other.guard.command("bob", BACK).unwrap();
    assert_eq!((other.stands_at(), other.percent()), ((Stage::RolledBack, 0.0), 0.0));
    round(&[&one]);
    assert_eq!(one.percent(), 25.0, "it cannot have heard");
    // The server comes back empty, and the host that knows less is the first to put back what it
    // has.
    redis.restart();
    std::thread::sleep(LEASE);
    meet(&rollout, &[&one]);
    assert_eq!(one.percent(), 25.0);
    assert_eq!(rollout.percent().unwrap(), Some(25.0));
    meet(&rollout, &[&other]);
    round(&[&other, &one]);
    for host in [&one, &other] {
        assert_eq!((host.stands_at(), host.percent()), ((Stage::RolledBack, 0.0), 0.0));
        assert!(!host.cache.is_split());
    }
    round(&[&one, &other]);
    assert_eq!(rollout.latest().unwrap().unwrap().stage, Stage::RolledBack);
}

#[test]
fn a_state_that_redis_lost_is_put_back_and_nobody_leads_for_a_lease() {
    let (redis, rollout, one, other) = under_way();
    rollout.ask("ada", Command::Force).unwrap();
    // This one alone knows of the second step.
    round(&[&one]);
    let before = rollout.history().unwrap();
    let _: () = redis::cmd("FLUSHALL").query(&mut redis.client()).unwrap();
    assert_eq!(rollout.percent().unwrap(), None);
    round(&[&other]);
    assert_eq!(rollout.percent().unwrap(), Some(25.0));
    round(&[&one]);
    assert_eq!(rollout.percent().unwrap(), Some(50.0), "who knows more wins");
    round(&[&other]);
    assert_eq!((one.percent(), other.percent()), (50.0, 50.0));
    assert_eq!(rollout.leader().unwrap(), None);
    let plain = |mut all: Vec<tierce::guard::rollout::Decision>| {
        all.iter_mut().for_each(|decision| decision.number = None);
        all
    };
    assert_eq!(plain(rollout.history().unwrap()), plain(before));
    std::thread::sleep(LEASE);
    round(&[&other, &one]);
    assert_eq!(rollout.leader().unwrap().as_deref(), Some("one"));
    rollout.ask("ada", BACK).unwrap();
    round(&[&one, &other]);
    assert_eq!((one.percent(), other.percent()), (0.0, 0.0));
}

#[test]
fn an_older_state_of_redis_undoes_nothing() {
    let (redis, rollout, one, other) = under_way();
    let mut client = redis.client();
    let names = ["tierce:o:{01}", "tierce:o:{01}:log"];
    let dumps =
        names.map(|name| redis::cmd("DUMP").arg(name).query::<Vec<u8>>(&mut client).unwrap());
    one.store().ask("ada", BACK).unwrap();
    round(&[&one, &other]);
    for (name, dump) in names.iter().zip(&dumps) {
        let mut command = redis::cmd("RESTORE");
        let _: () = command.arg(name).arg(0).arg(dump).arg("REPLACE").query(&mut client).unwrap();
    }
    assert_eq!(rollout.percent().unwrap(), Some(25.0));
    round(&[&other, &one]);
    assert_eq!((one.percent(), other.percent(), rollout.percent().unwrap()), (0.0, 0.0, Some(0.0)));
    assert_eq!(one.kinds().iter().filter(|kind| **kind == DecisionKind::RolledBack).count(), 1);
}

#[test]
fn a_rollback_of_an_earlier_start_does_not_touch_a_later_one() {
    let (_redis, rollout, one, other) = under_way();
    rollout.ask("ada", BACK).unwrap();
    rollout.start("ada", PLAN).unwrap();
    round(&[&one]);
    assert_eq!(one.stands_at(), (Stage::Running, 25.0));
    // This host heard of neither.
    other.store().ask("bob", BACK).unwrap();
    assert_eq!(other.percent(), 0.0);
    round(&[&other, &one]);
    assert_eq!((one.percent(), other.percent()), (25.0, 25.0));
    assert!(other.kinds().iter().filter(|kind| **kind == DecisionKind::Started).count() == 2);
}

#[test]
fn hosts_that_begin_late_or_anew_follow() {
    let (redis, rollout, one, other) = under_way();
    rollout.ask("ada", Command::Force).unwrap();
    round(&[&one]);
    let late = Host::new(&redis);
    round(&[&late]);
    assert_eq!((late.stands_at(), late.percent()), ((Stage::Running, 50.0), 50.0));
    assert_eq!(late.store().history().unwrap(), rollout.history().unwrap());
    let other = other.restarted(&redis);
    round(&[&other]);
    assert_eq!((other.stands_at(), other.percent()), ((Stage::Running, 50.0), 50.0));
    let one = one.restarted(&redis);
    let before = one.kinds();
    round(&[&one]);
    assert_eq!(one.kinds(), before, "nothing is written twice");
}

#[test]
fn a_rollback_by_steps_goes_down_on_each_host_without_redis() {
    let (mut redis, rollout, one, other) = under_way();
    rollout.ask("ada", Command::Rollback(Action::Gradual)).unwrap();
    round(&[&one, &other]);
    for host in [&one, &other] {
        assert_eq!((host.stands_at(), host.percent()), ((Stage::RollingBack, 10.0), 10.0));
    }
    redis.kill();
    std::thread::sleep(LEASE + Duration::from_secs(1));
    round(&[&one, &other]);
    for host in [&one, &other] {
        assert_eq!((host.stands_at(), host.percent()), ((Stage::RolledBack, 0.0), 0.0));
    }
    redis.restart();
    meet(&rollout, &[&one, &other]);
    round(&[&one, &other]);
    assert_eq!(rollout.percent().unwrap(), Some(0.0));
}

#[test]
fn processes_without_an_l3_follow_those_of_their_host_and_take_back_for_all() {
    let redis = Redis::start();
    let rollout = RedisRollout::open(options(&redis)).unwrap();
    let folder = store_folder();
    let store = StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20);
    let plain = Cache::builder().tiering(Tiering::L1).shared(store).build().unwrap();
    // It is there first, and would lead a rollout of the host alone.
    let guard = Guard::of(&plain).rollout_of_store("plain").build().unwrap();
    guard.round().unwrap();
    let host = Host::on(folder, &redis);
    rollout.start("ada", &PLAN.replace("L1L2L3", "L1L2")).unwrap();
    let look = || {
        round(&[&host]);
        guard.round().unwrap();
        round(&[&host]);
    };
    look();
    assert_eq!((host.percent(), plain.is_split()), (25.0, true));
    let refusal = guard.command("bob", Command::Force).unwrap_err().to_string();
    assert!(refusal.contains("ask their Redis"), "{refusal}");
    look();
    assert_eq!(host.percent(), 25.0);
    guard.command("bob", BACK).unwrap();
    look();
    assert_eq!((host.percent(), rollout.percent().unwrap()), (0.0, Some(0.0)));
    assert!(!plain.is_split() && !host.cache.is_split());
}

#[test]
fn a_process_without_an_l3_takes_no_step_by_itself() {
    let redis = Redis::start();
    let rollout = RedisRollout::open(options(&redis)).unwrap();
    let folder = store_folder();
    let store = folder.path().join("store");
    let options = StoreOptions::new(&store).max_bytes(16 << 20);
    let plain = Cache::builder().tiering(Tiering::L1).shared(options).build().unwrap();
    let guard = Guard::of(&plain).rollout_of_store("plain").build().unwrap();
    guard.round().unwrap();
    let Host { folder: _folder, cache, guard: hosts } = Host::on(folder, &redis);
    let quick = PLAN.replace("L1L2L3", "L1L2").replace("wait: 1h", "wait: 2s");
    rollout.start("ada", &quick).unwrap();
    hosts.round().unwrap();
    hosts.round().unwrap();
    drop((hosts, cache));
    let end = Instant::now() + Duration::from_secs(4);
    while Instant::now() < end {
        guard.round().unwrap();
        std::thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(StoreRollout::open(store).unwrap().percent().unwrap(), Some(25.0));
    assert!(plain.is_split());
}

#[test]
fn a_server_that_hangs_holds_up_no_rollback() {
    let redis = Redis::start();
    let rollout = RedisRollout::open(options(&redis)).unwrap();
    let host = Host::alive(&redis);
    rollout.start("ada", PLAN).unwrap();
    wait_until("the first step", || host.percent() == 25.0 && host.cache.is_split());
    redis.signal(libc::SIGSTOP);
    // The courier asks five times a second, and waits for five.
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    host.guard.command("ada", BACK).unwrap();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!((host.stands_at(), host.percent()), ((Stage::RolledBack, 0.0), 0.0));
    redis.signal(libc::SIGCONT);
    wait_until("the server to know", || rollout.percent().is_ok_and(|it| it == Some(0.0)));
}

//! `tierce slo`, `alerts` and `rollout`: what they print, and that they say what is wrong.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{fs, path::PathBuf, sync::Arc};

use tierce::{
    Bytes, Cache,
    guard::{Guard, Objectives, ServeOptions},
};

mod support;
use support::{fail, holds, run, succeed, tierce};

fn profile(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tierce/profiles").join(name)
}

#[test]
fn objectives_are_printed_with_their_budgets() {
    let table = succeed(&mut tierce(["slo", "--env", "production"]));
    holds(&table, &["availability > 99.9%   0.1 %", "hit_rate > 80%          20 %"]);
    assert!(succeed(&mut tierce(["slo"])).contains("staging-canary"));
    holds(&fail(&mut tierce(["slo", "--env", "prodction"]), 1), &["must be one of staging"]);
    let rules = succeed(&mut tierce(["slo", "--env", "staging", "--prometheus"]));
    holds(&rules, &["slo:sli_error:ratio_rate5m", "TierceBudgetBurnsPage"]);
}

#[test]
fn a_running_cache_is_judged_over_http() {
    let cache = Cache::builder().build().unwrap();
    let objectives = Objectives::new("mine", ["hit_rate > 50%"]).unwrap();
    let guard = Arc::new(Guard::of(&cache).objectives(objectives).build().unwrap());
    let served = guard.serve(&ServeOptions::new().address("127.0.0.1:0")).unwrap();
    guard.round().unwrap();
    let address = served.address().to_string();
    holds(&succeed(&mut tierce(["slo", "--address", &address])), &["mine", "no data"]);
    cache.set("a", Bytes::from("1")).unwrap();
    cache.get("a");
    std::thread::sleep(std::time::Duration::from_millis(20));
    holds(&succeed(&mut tierce(["slo", "--address", &address])), &["100%", "green"]);
    (0..9).for_each(|_| drop(cache.get("b")));
    std::thread::sleep(std::time::Duration::from_millis(20));
    let (code, out, _) = run(&mut tierce(["slo", "--address", &address]));
    assert_eq!(code, 1);
    holds(&out, &["10%", "RED"]);
    drop(served);
    fail(&mut tierce(["slo", "--address", "127.0.0.1:1"]), 1);
}

#[test]
fn files_of_alerts_are_checked_and_turned_into_rules() {
    for name in ["cache-alerts.yaml", "phased-alerts.yaml"] {
        let path = profile(name);
        let mut command = tierce(["alerts", "check"]);
        holds(&succeed(command.arg(&path)), &["error_rate > 1%", "critical"]);
        let mut command = tierce(["alerts", "prometheus"]);
        holds(
            &succeed(command.arg(&path)),
            &["record: tierce:error_rate:1m", "severity: critical"],
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("alerts.yaml");
    fs::write(&path, "alerts: [{name: A, condition: error_rate > 1, severity: info}]").unwrap();
    let said = fail(tierce(["alerts", "check"]).arg(&path), 1);
    holds(&said, &["alert \"A\"", "must be a percentage"]);
}

#[test]
fn plans_are_printed_and_a_rollout_is_taken_back_by_its_journal() {
    let encore = profile("encore-rollout.yaml");
    let text = succeed(tierce(["rollout", "plan"]).arg(&encore));
    holds(
        &text,
        &[
            "step            10%  green for 30m, then 2d",
            "back when     error_rate > 1%: immediate_rollback",
            "setting       CACHE_ENCORE_MAX_ENTRIES=1000000",
        ],
    );
    let text = succeed(tierce(["rollout", "plan", "--env", "staging"]).arg(&encore));
    assert!(!text.contains("production-canary"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    let journal = folder.path().join("rollout.jsonl");
    let ask = |what: &str| {
        let mut command = tierce(["rollout", "ask", what, "--by", "ada", "--plan"]);
        command.arg(&encore).arg("--journal").arg(&journal);
        command
    };
    let look = |what: &str| {
        let mut command = tierce(["rollout", what, "--journal"]);
        command.arg(&journal);
        command
    };
    holds(&fail(&mut look("status"), 1), &["there is no such journal"]);
    succeed(&mut ask("start"));
    succeed(&mut ask("force"));
    holds(&succeed(&mut look("status")), &["staging-canary", "10%", "running", "operator ada"]);
    holds(&fail(&mut ask("start"), 1), &["it was started already"]);
    succeed(&mut ask("rollback"));
    holds(&succeed(&mut look("status")), &["rolled_back", "0%"]);
    let history = succeed(&mut look("history"));
    assert_eq!(history.lines().count(), 2 + 4, "{history}");
}

#[test]
fn a_rollout_of_a_store_is_started_looked_at_and_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let (store, plan) = (folder.path().join("store"), folder.path().join("plan.yaml"));
    let text = "{plan: mine, baseline: L1, phases: [{name: canary, target: L1L2, split: key, \
                steps: [{share: 10%, wait: 1h}]}]}";
    fs::write(&plan, text).unwrap();
    let tell = |what: &str| {
        let mut command = tierce(["rollout", what, "--store"]);
        command.arg(&store);
        command
    };
    let start = || {
        let mut command = tell("start");
        command.args(["--by", "ada", "--plan"]).arg(&plan);
        command
    };
    fail(&mut tell("status"), 1);
    let options = tierce::StoreOptions::new(&store).max_bytes(16 << 20);
    let cache = tierce::Cache::builder().shared(options).build().unwrap();
    let guard = tierce::guard::Guard::of(&cache).rollout_of_store("one").build().unwrap();
    holds(&succeed(&mut tell("status")), &["nobody started it"]);
    holds(&fail(&mut tell("pause"), 1), &["nobody started one"]);
    holds(&succeed(&mut start()), &["started", "operator ada"]);
    holds(&fail(&mut start(), 1), &["it was started already"]);
    succeed(&mut tell("force"));
    holds(&succeed(&mut tell("status")), &["canary", "10%", "running", "a share of 10%"]);
    guard.round().unwrap();
    assert!(cache.is_split());
    holds(&fail(&mut tell("advance"), 1), &["the gate is shut"]);
    succeed(&mut tell("pause"));
    succeed(&mut tell("resume"));
    succeed(&mut tell("rollback"));
    holds(&succeed(&mut tell("status")), &["rolled_back", "a share of 0%"]);
    guard.round().unwrap();
    assert!(!cache.is_split());
    holds(&succeed(&mut tell("history")), &["paused", "resumed", "rollback_began"]);
}

#[test]
fn a_rollout_of_hosts_is_asked_of_their_redis() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.yaml");
    let text = "{plan: mine, baseline: L1, phases: [{name: canary, target: L1L2, split: key, \
                steps: [{share: 10%, wait: 1h}]}]}";
    fs::write(&plan, text).unwrap();
    let socket = folder.path().join("redis.sock");
    let mut server = std::process::Command::new("redis-server")
        .args(["--port", "0", "--save", "", "--daemonize", "no", "--loglevel", "warning"])
        .args([std::ffi::OsStr::new("--unixsocket"), socket.as_os_str()])
        .current_dir(folder.path())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let url = format!("unix://{}", socket.display());
    let tell = |what: &str, prefix: &str| {
        let mut command = tierce(["rollout", what, "--redis", &url, "--prefix", prefix]);
        if what == "start" {
            command.args(["--by", "ada", "--plan"]).arg(&plan);
        }
        command
    };
    holds(&succeed(&mut tell("status", "shop")), &["nobody started it"]);
    holds(&fail(&mut tell("pause", "shop"), 1), &["nobody started one"]);
    holds(&succeed(&mut tell("start", "shop")), &["started", "operator ada"]);
    holds(&fail(&mut tell("start", "shop"), 1), &["it was started already"]);
    holds(&succeed(&mut tell("force", "shop")), &["10%", "running"]);
    holds(&fail(&mut tell("advance", "shop"), 1), &["the gate is shut"]);
    holds(&succeed(&mut tell("status", "shop")), &["a share of 10%, and nobody leads"]);
    holds(&succeed(&mut tell("status", "another")), &["nobody started it"]);
    succeed(&mut tell("rollback", "shop"));
    let history = succeed(&mut tell("history", "shop"));
    holds(&history, &["started", "step", "rollback_began", "rolled_back"]);
    server.kill().unwrap();
    server.wait().unwrap();
    fail(&mut tell("status", "shop"), 1);
    fail(&mut tierce(["rollout", "status", "--store", "a", "--redis", &url]), 2);
    fail(&mut tierce(["rollout", "status"]), 2);
}

#[test]
fn both_sides_of_a_running_rollout_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let plan = "{plan: mine, baseline: L1, phases: [{name: canary, target: L1L2, split: request, \
                steps: [{share: 50%, wait: 1h}], compare: [hit_rate], \
                rollback: [{condition: input.incidents > 0}]}]}";
    let options = tierce::StoreOptions::new(folder.path().join("store")).max_bytes(16 << 20);
    let cache = Cache::builder().shared(options).build().unwrap();
    let plan = tierce::guard::rollout::Plan::from_yaml(plan).unwrap();
    let journal = folder.path().join("rollout.jsonl");
    let guard = Arc::new(Guard::of(&cache).rollout(plan, &journal, "one").build().unwrap());
    let served = guard.serve(&ServeOptions::new().address("127.0.0.1:0")).unwrap();
    let address = served.address().to_string();
    let look = || succeed(&mut tierce(["rollout", "status", "--address", &address]));
    guard.round().unwrap();
    holds(&look(), &["mine: idle"]);
    guard.command("ada", tierce::guard::rollout::Command::Start).unwrap();
    guard.round().unwrap();
    guard.round().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(20));
    cache.set("a", Bytes::from("1")).unwrap();
    (0..300).for_each(|_| drop(cache.get("a")));
    (0..100).for_each(|key| drop(cache.get(format!("none {key}"))));
    std::thread::sleep(std::time::Duration::from_millis(20));
    guard.round().unwrap();
    let text = look();
    holds(&text, &["mine: running, phase canary, share 50.0%", "hit_rate: bad 2", "not worse"]);
    // Requests take turns; a change takes one too.
    for side in ["old   L1    ", "new   L1L2  "] {
        let line = text.lines().find(|line| line.starts_with(side)).expect(&text);
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        assert!(number(2).abs_diff(200) <= 1 && number(3).abs_diff(150) <= 1, "{line}");
        assert_eq!((number(4), words[6]), (0, "ms"));
    }
    fail(&mut tierce(["rollout", "history", "--address", &address]), 1);
    // The journal has who, when, by which rule and which value.
    guard.push("incidents", 1.0).unwrap();
    guard.round().unwrap();
    let mut command = tierce(["rollout", "history", "--journal"]);
    let history = succeed(command.arg(&journal));
    let line = history.lines().find(|line| line.contains("rollback_began")).unwrap();
    holds(line, &["20", "canary", "0%", "rolled_back", "rule", "input.incidents > 0 for 0 s: 1"]);
}

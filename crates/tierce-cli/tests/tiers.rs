//! `tierce replay` with L2 and L3: a real store, and a real server where one is installed.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{collections::HashSet, fs, path::Path, process::Stdio};

mod support;
use serde_json::Value;
use support::{keys, run, server::Server, succeed, tierce, trace};

/// Replays the trace and returns its figures.
fn replay(name: &str, arguments: &[&str]) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("figures.json");
    let mut command = tierce(["replay"]);
    command.arg(trace(name)).args(arguments).arg("--json").arg(&path);
    succeed(&mut command);
    serde_json::from_slice(&fs::read(&path).unwrap()).unwrap()
}

/// Answers by tiers, by the wait for another's load, and by the origin.
fn counts(figures: &Value) -> [u64; 5] {
    let rows = figures["slices"]["rows"].as_array().unwrap();
    let sum = |column: usize| rows.iter().map(|row| row[column].as_u64().unwrap()).sum();
    [0, 1, 2, 3, 4].map(sum)
}

fn unique(name: &str) -> u64 {
    keys(name).into_iter().collect::<HashSet<_>>().len() as u64
}

fn lru_hits(name: &str, entries: usize) -> u64 {
    let mut cache = lru::LruCache::new(entries.try_into().unwrap());
    keys(name).into_iter().filter(|key| cache.put(*key, ()).is_some()).count() as u64
}

/// Every key is loaded once; on a busy machine a lock or an answer that comes too late costs a
/// load more now and then.
fn assert_few_more(loads: u64, keys: u64) {
    assert!((keys..keys + keys / 10).contains(&loads), "{loads} loads of {keys} keys");
}

#[test]
fn l2_answers_all_that_l1_has_evicted() {
    let figures = replay(
        "lirs-multi1",
        &["--tiering", "L1L2", "--memory-entries", "500", "--memory-policy", "lru"],
    );
    let (hits, unique) = (lru_hits("lirs-multi1", 500), unique("lirs-multi1"));
    assert_eq!(counts(&figures), [hits, 15858 - hits - unique, 0, 0, unique]);
    assert_eq!((&figures["wrong_values"], &figures["origin_calls"]), (&0.into(), &unique.into()));
}

#[test]
fn l2_alone_answers_requests_of_several_workers() {
    let figures =
        replay("lirs-ps", &["--tiering", "L2", "--workers", "3", "--value-bytes", "1000"]);
    let [l1, l2, l3, joined, origin] = counts(&figures);
    assert_eq!((l1, l3, l2 + joined + origin), (0, 0, 10448));
    assert_few_more(origin, unique("lirs-ps"));
    assert_eq!(figures["wrong_values"], 0);
}

#[test]
fn l2_that_is_too_small_loads_again_and_stays_right() {
    let figures = replay(
        "lirs-multi1",
        &["--tiering", "L1L2", "--memory-entries", "100", "--shared-entries", "400"],
    );
    assert!(figures["origin_calls"].as_u64().unwrap() > unique("lirs-multi1"));
    assert_eq!((&figures["requests"], &figures["wrong_values"]), (&15858.into(), &0.into()));
}

#[test]
fn the_store_of_a_replay_goes_with_it() {
    let mut command = tierce(["replay"]);
    command.arg(trace("lirs-cpp")).args(["--tiering", "L1L2"]);
    let child = command.stdout(Stdio::null()).spawn().unwrap();
    let name = format!("tierce-replay-{}-", child.id());
    assert!(child.wait_with_output().unwrap().status.success());
    for folder in [Path::new("/dev/shm"), &std::env::temp_dir()] {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.flatten() {
            assert!(!entry.file_name().to_string_lossy().starts_with(&name), "{entry:?}");
        }
    }
}

#[test]
fn l3_answers_what_no_tier_above_has_and_its_keys_expire() {
    let server = Server::start();
    let url = server.url();
    // A loaded machine may take longer than a call may by default.
    let arguments = ["--redis", &url, "--redis-timeout", "10s", "--limit", "2000"];
    let arguments = [&arguments[..], &["--memory-entries", "100"]].concat();
    for tiering in ["L1L3", "L1L2L3"] {
        let figures = replay("lirs-multi1", &[&["--tiering", tiering][..], &arguments].concat());
        let keys = keys("lirs-multi1").into_iter().take(2000).collect::<HashSet<_>>().len() as u64;
        let counts = counts(&figures);
        assert_eq!(counts.iter().sum::<u64>(), 2000, "{tiering} {counts:?}");
        assert_few_more(counts[4], keys);
        assert_eq!(figures["wrong_values"], 0);
        assert!(tiering != "L1L3" || counts[2] > 0, "{counts:?}");
    }
    let left = server.ask(&["--scan", "--pattern", "tierce-replay-*:k:{*"]);
    assert!(left.lines().next().is_some(), "nothing was kept in L3");
    let expires = server.ask(&["info", "keyspace"]);
    assert!(!expires.contains("expires=0"), "{expires}");
}

#[test]
fn a_server_that_is_not_there_costs_no_request_and_is_told() {
    let mut command = tierce(["replay"]);
    command.arg(trace("lirs-cpp")).args(["--tiering", "L1L3", "--memory-entries", "200"]);
    command.args(["--redis", "unix:///nonexistent/redis.sock"]);
    command.args(["--memory-policy", "lru"]);
    let (code, out, _) = run(&mut command);
    let hits = lru_hits("lirs-cpp", 200);
    support::holds(&out, &["warning: L3-Redis does not serve", &format!("hits          {hits} ")]);
    support::holds(&out, &["errors        0", "wrong values  0"]);
    assert_eq!(code, 1, "{out}");
}

//! `tierce load`: a rate that is kept, one that cannot be, and the verdict on both.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;
use std::fs;

use serde_json::Value;
use support::{fail, holds, run, server::Server, tierce};

/// A busy machine wakes threads late: what it does not allow at first it allows later.
const TRIES: usize = 10;

/// The exit code and the figures.
fn load(arguments: &[&str]) -> (i32, Value) {
    let (code, out, err) = run(tierce(["load", "--json"]).args(arguments));
    let figures = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    (code, figures)
}

#[test]
fn a_rate_that_is_kept_is_judged_by_the_objectives_of_the_profile() {
    let arguments = ["--rps", "200", "--duration", "2s", "--keys", "100", "--profile", "staging"];
    let is_met = |(code, _): &(i32, Value)| *code == 0;
    let (code, figures) =
        (1..TRIES).map(|_| load(&arguments)).find(is_met).unwrap_or_else(|| load(&arguments));
    assert_eq!((code, &figures["is_met"]), (0, &true.into()), "{figures:#}");
    assert_eq!(figures["wrong_values"], 0);
    let made = figures["reads"].as_u64().unwrap();
    assert!((390..=410).contains(&made), "{figures:#}");
    let lines = figures["objectives"].as_array().unwrap();
    assert_eq!(lines.len(), 6);
    assert!(lines.iter().all(|line| line["is_met"] == true), "{figures:#}");
    let (_, out, _) = run(tierce(["load"]).args(arguments));
    holds(&out, &["from when they were due", "latency_p95 < 100ms", "staging: "]);
}

#[test]
fn objectives_that_are_not_met_are_named_and_end_with_one() {
    // As many keys as requests: nothing is asked for twice.
    let arguments =
        ["--rps", "100", "--duration", "1s", "--keys", "10000000", "--zipf", "0", "--profile"];
    let arguments = [&arguments[..], &["production"]].concat();
    let was_made = |(_, figures): &(i32, Value)| figures["reads"] != 0;
    let (code, figures) =
        (0..TRIES).map(|_| load(&arguments)).find(was_made).expect("requests were made");
    assert_eq!((code, &figures["is_met"]), (1, &false.into()));
    let lines = figures["objectives"].as_array().unwrap();
    let hits = lines.iter().find(|line| line["objective"] == "hit_rate > 80%").unwrap();
    assert_eq!(hits["is_met"], false, "{figures:#}");
}

#[test]
fn a_rate_out_of_reach_is_not_called_met() {
    // One thread, each request takes 20 ms: fifty a second and no more.
    let slow = ["--threads", "1", "--origin", "20ms", "--keys", "1000000", "--zipf", "0"];
    let (code, figures) = load(
        &[&["--rps", "1000", "--duration", "500ms", "--profile", "staging"], &slow[..]].concat(),
    );
    assert_eq!(
        (code, &figures["is_reached"], &figures["is_met"]),
        (1, &false.into(), &false.into())
    );
    assert!(figures["reached_rps"].as_f64().unwrap() < 100.0, "{figures:#}");
    assert!(figures["never_made"].as_u64().unwrap() > 100, "{figures:#}");
    let notes = figures["notes"].to_string();
    holds(&notes, &["threads are the limit", "never made"]);
    // Without a profile it fails by its rate alone.
    let (code, _) = load(&[&["--rps", "1000", "--duration", "500ms"], &slow[..]].concat());
    assert_eq!(code, 1);
}

#[test]
fn processes_share_the_tiers_below_and_leave_nothing() {
    let server = Server::start();
    let before = fs::read_dir("/dev/shm").map_or(0, Iterator::count);
    let url = format!("redis.url={}", server.url());
    let (_, figures) = load(&[
        "--rps",
        "200",
        "--duration",
        "1s",
        "--warmup",
        "500ms",
        "--processes",
        "2",
        "--threads",
        "2",
        "--writes",
        "10%",
        "--keys",
        "50",
        "--tiering",
        "L1L2L3",
        "--set",
        &url,
        "--set",
        "redis.read_timeout=5s",
        "--set",
        "redis.write_timeout=5s",
    ]);
    let count = |name: &str| figures[name].as_u64().unwrap();
    assert_eq!((count("wrong_values"), count("errors")), (0, 0), "{figures:#}");
    assert!(count("writes") > 5 && count("reads") + count("writes") > 150, "{figures:#}");
    // What one has loaded, the other finds: fewer loads than two caches of their own.
    assert!(count("loads") <= 55, "{figures:#}");
    assert!(fs::read_dir("/dev/shm").map_or(0, Iterator::count) <= before);
    assert!(server.ask(&["keys", "*"]).contains("tierce-load-"));
}

#[test]
fn arguments_that_make_no_sense_are_refused_by_their_names() {
    holds(&fail(&mut tierce(["load", "--rps", "0", "--duration", "1s"]), 2), &["--rps", "0.1"]);
    let unknown = ["load", "--rps", "1", "--duration", "1s", "--profile", "prodction"];
    holds(&fail(&mut tierce(unknown), 1), &["prodction", "must be one of staging"]);
    let steep = ["load", "--rps", "1", "--duration", "1s", "--zipf", "11"];
    holds(&fail(&mut tierce(steep), 1), &["--zipf 11"]);
    fail(&mut tierce(["load", "--rps", "1", "--duration", "1s", "--writes", "110%"]), 2);
}

//! `tierce demo` on the real binary: it ends well, it can fail, and it leaves nothing behind,
//! however it ends.
//!
//! Runs one at a time: each is four processes of many threads.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn one_at_a_time() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tierce"))
        .arg("demo")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a demo to its end: its output, and the id that its processes and folder bear.
fn run(arguments: &[&str]) -> (Output, u32) {
    let child = start(arguments);
    let id = child.id();
    (child.wait_with_output().unwrap(), id)
}

/// The processes and folders of the demo with this id: all bear the name of its folder.
fn remains(id: u32) -> Vec<String> {
    let name = format!("tierce-demo-{id}-");
    let processes = fs::read_dir("/proc").unwrap().flatten().filter_map(|process| {
        let line = fs::read(process.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        line.contains(&name).then_some(line)
    });
    let places = [Path::new("/dev/shm").to_owned(), env::temp_dir()];
    let folders = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten().flatten();
    let folders = folders.filter_map(|folder| {
        let folder = folder.path().display().to_string();
        folder.contains(&name).then_some(folder)
    });
    processes.chain(folders).collect()
}

/// Waits until the workers play.
fn wait_until_it_plays(id: u32) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while remains(id).iter().filter(|line| line.contains("demo-worker")).count() < 4 {
        assert!(Instant::now() < deadline, "the workers did not start: {:?}", remains(id));
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(Duration::from_millis(500));
}

fn wait_until_nothing_remains(id: u32) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !remains(id).is_empty() {
        assert!(Instant::now() < deadline, "left behind: {:?}", remains(id));
        thread::sleep(Duration::from_millis(20));
    }
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8(both).unwrap()
}

/// The second column of the row that begins with `name`.
fn fact<'a>(text: &'a str, name: &str) -> &'a str {
    let row = text.lines().find(|line| line.starts_with(name));
    row.unwrap_or_else(|| panic!("no row {name:?} in\n{text}"))[name.len()..].trim()
}

#[test]
fn a_demo_ends_well_and_leaves_nothing_behind() {
    let _turn = one_at_a_time();
    let (output, id) = run(&["--seconds", "8"]);
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    assert_eq!(remains(id), Vec::<String>::new());
    assert_eq!(fact(&text, "errors seen by callers"), "0");
    assert!(fact(&text, "wrong values").starts_with("0 of "), "{text}");
    for row in ["without cache ", "warm-up ", "steady ", "one killed ", "another killed "] {
        assert!(text.lines().any(|line| line.starts_with(row)), "no row {row:?} in\n{text}");
    }
    for name in ["latency p50 ", "latency p95 ", "requests/s ", "origin calls ", "coherence "] {
        assert_ne!(fact(&text, name), "", "{text}");
    }
    assert!(!fact(&text, "coherence").starts_with("0 "), "nothing was changed: {text}");
    for headline in ["SIGKILL to worker 2", "SIGKILL to worker 3", "cold L1L2"] {
        assert!(text.contains(headline), "no progress {headline:?} in\n{text}");
    }
    assert!(fact(&text, "worker 2 after SIGKILL").contains("were in L2"), "{text}");
    assert!(fact(&text, "worker 3 after SIGKILL").contains("were in L2"), "{text}");
    if text.contains("tiering L1L2L3") {
        assert!(fact(&text, "Redis stopped ").starts_with("for "), "{text}");
        assert!(text.lines().any(|line| line.starts_with("Redis back ")), "{text}");
    } else {
        assert!(text.contains("no redis-server is installed"), "{text}");
    }
}

#[test]
fn a_demo_whose_origin_goes_back_on_a_change_fails() {
    let _turn = one_at_a_time();
    let (output, id) = run(&["--seconds", "6", "--without-redis", "--sabotage", "origin-lies"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED"), "{text}");
    assert!(!fact(&text, "wrong values").starts_with("0 of "), "{text}");
    assert!(text.contains("was in force before the read began"), "{text}");
    assert_eq!(remains(id), Vec::<String>::new());
}

#[test]
fn a_demo_whose_workers_do_not_tell_the_cache_of_changes_fails() {
    let _turn = one_at_a_time();
    let (output, id) = run(&["--seconds", "6", "--without-redis", "--sabotage", "skip-change"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED"), "{text}");
    assert!(text.contains("was in force before the read began"), "{text}");
    assert_eq!(remains(id), Vec::<String>::new());
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    let _turn = one_at_a_time();
    let child = start(&["--seconds", "30"]);
    wait_until_it_plays(child.id());
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let id = child.id();
    let begin = Instant::now();
    let output = child.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(begin.elapsed() < Duration::from_secs(5), "it took {:?}", begin.elapsed());
    assert!(text(&output).contains("interrupted"), "{}", text(&output));
    assert_eq!(remains(id), Vec::<String>::new());
}

#[test]
fn a_demo_that_is_killed_leaves_nothing_behind() {
    let _turn = one_at_a_time();
    let mut child = start(&["--seconds", "30"]);
    wait_until_it_plays(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until_nothing_remains(child.id());
}

//! Two builds of the library, with two C libraries, come to one store: who comes second while it
//! is in use has L2 off, and has it warm once the first has gone.
//!
//! The mutexes of C libraries differ, so this program is built once more, for musl, and started
//! beside the one that runs. Left out where that target is not installed (`rustup target add`).
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod store_support;

use std::{
    env,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use store_support::*;
use tierce::{Cache, Clock, ErrorKind, Medium, Store, StoreOptions, Tiering};

const FOLDER: &str = "TIERCE_TEST_FOLDER";
const ROLE: &str = "TIERCE_TEST_ROLE";

/// This test program, built for musl.
fn build_for_musl() -> Option<PathBuf> {
    let target = format!("{}-unknown-linux-musl", env::consts::ARCH);
    let folder = env!("CARGO_MANIFEST_DIR");
    let libraries = Command::new(env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .args(["--print", "target-libdir", "--target", &target])
        .current_dir(folder)
        .output()
        .unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    if !Path::new(libraries.trim()).is_dir() {
        println!("left out: the target {target} is not installed");
        return None;
    }
    let built = Command::new(env::var("CARGO").unwrap_or_else(|_| env!("CARGO").into()))
        .args(["test", "--offline", "--no-run", "-p", "tierce", "--test", "store_builds"])
        .args(["--features", "shared", "--target", &target, "--message-format", "json"])
        .args(["--target-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/musl")])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let messages = String::from_utf8(built.stdout).unwrap();
    assert!(built.status.success(), "{messages}");
    let mut program = messages.lines().filter_map(|line| {
        let (_, path) = line.split_once("\"executable\":\"")?;
        path.split_once('"').map(|(path, _)| PathBuf::from(path))
    });
    Some(program.next_back().expect("a program was built"))
}

fn options(folder: &Path, medium: Medium) -> StoreOptions {
    options_in(folder).medium(medium)
}

/// What the program does that is started beside the one that runs the tests.
fn play(role: &str, folder: &Path, medium: Medium) {
    let options = options(folder, medium);
    match role {
        "refused" => is_refused(&options),
        "holds" => {
            let store = open(&options);
            for number in 0..200 {
                put(&store, &key_of(number), &describing_value(number, 7, 500));
            }
            println!("\nready");
            std::io::stdin().read_line(&mut String::new()).unwrap();
            is_whole(&store, 7);
        }
        "next" => {
            let store = open(&options);
            is_whole(&store, 5);
            for number in 0..200 {
                put(&store, &key_of(number), &describing_value(number, 6, 500));
            }
        }
        role => panic!("{role}"),
    }
    println!("\nready");
}

fn is_whole(store: &Store, version: u64) {
    for number in 0..200 {
        let value = get(store, &key_of(number)).expect("warm");
        assert_eq!(described_version(number, &value), Some(version));
    }
    let numbers = store.statistics();
    assert_eq!((numbers.corrupt, numbers.owner_deaths, store.trouble()), (0, 0, None));
}

/// The store is in use by the other build: L2 is off for that reason, and all else works.
fn is_refused(options: &StoreOptions) {
    let error = Store::open(options, Clock::system()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("another C library"), "{error}");
    let cache = Cache::builder().tiering(Tiering::L1L2).shared(options.clone()).build().unwrap();
    cache.set("a", "1".into()).unwrap();
    assert_eq!(cache.get("a").as_deref(), Some(&b"1"[..]));
    let reason = cache.health().dependencies.into_iter().find_map(|it| it.reason).unwrap();
    assert!(reason.contains("another C library"), "{reason}");
}

/// What the other build does; nothing when the tests are run as such.
#[test]
fn other_build() {
    let (Some(folder), Ok(role)) = (env::var_os(FOLDER), env::var(ROLE)) else { return };
    let (role, medium) = role.split_once(' ').unwrap();
    let medium = if medium == "Disk" { Medium::Disk } else { Medium::Mapped };
    play(role, Path::new(&folder), medium);
}

/// Starts the other build, and waits until it is ready or has ended.
fn start(program: &Path, role: &str, folder: &Path, medium: Medium) -> Child {
    let mut child = Command::new(program)
        .args(["other_build", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROLE, format!("{role} {medium:?}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "ready"), "{role}, {medium:?}: {}", child.wait().unwrap());
    // What else it says must find somebody who reads.
    std::thread::spawn(move || lines.count());
    child
}

fn run(program: &Path, role: &str, folder: &Path, medium: Medium) {
    let status = start(program, role, folder, medium).wait().unwrap();
    assert!(status.success(), "{role}, {medium:?}: {status}");
}

#[test]
fn builds_with_two_c_libraries_do_not_share_a_store_at_a_time() {
    let Some(musl) = build_for_musl() else { return };
    for medium in MEDIA {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        let store = open(&options(folder, medium));
        for number in 0..200 {
            put(&store, &key_of(number), &describing_value(number, 5, 500));
        }
        run(&musl, "refused", folder, medium);
        is_whole(&store, 5);
        drop(store);
        run(&musl, "next", folder, medium);
        let store = open(&options(folder, medium));
        is_whole(&store, 6);
        drop(store);
        // The other way round.
        let mut holder = start(&musl, "holds", folder, medium);
        is_refused(&options(folder, medium));
        drop(holder.stdin.take());
        let status = holder.wait().unwrap();
        assert!(status.success(), "{medium:?}: {status}");
        is_whole(&open(&options(folder, medium)), 7);
    }
}

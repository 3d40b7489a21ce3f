//! `tierce doctor`: a sound place, and each thing broken in turn.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{fs, path::Path, process::Command};

mod support;
use serde_json::Value;
use support::{fail, run, server::Server, succeed, tierce};

/// The exit code, and the checks by their names.
fn examine(command: &mut Command) -> (i32, Vec<(String, String, String)>) {
    let (code, out, err) = run(command.arg("--json"));
    let document: Value =
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{err}"));
    let word = |one: &Value, name: &str| one[name].as_str().unwrap_or_default().to_owned();
    let checks = document["checks"].as_array().unwrap().iter();
    let checks = checks.map(|one| {
        let said = format!("{} -> {}", word(one, "found"), word(one, "remedy"));
        (word(one, "check"), word(one, "verdict"), said)
    });
    (code, checks.collect())
}

/// The verdict on one thing, and what was said of it.
fn of<'a>(checks: &'a [(String, String, String)], name: &str) -> (&'a str, &'a str) {
    let found = checks.iter().find(|(check, ..)| check == name);
    let found = found.map(|(_, verdict, said)| (verdict.as_str(), said.as_str()));
    found.unwrap_or_else(|| panic!("no {name}: {checks:#?}"))
}

fn with_store(folder: &Path) -> Command {
    let mut command = tierce(["doctor", "--set", "tiering=L1L2", "--set", "shared.max_bytes=8MiB"]);
    command.arg("--set").arg(format!("shared.directory={}", folder.display()));
    command
}

fn with_server(server: &Server, settings: &[&str]) -> Command {
    let mut command = tierce(["doctor", "--set", "tiering=L1L3"]);
    command.arg("--set").arg(format!("redis.url={}", server.url()));
    // A busy machine takes longer than a service would wait.
    command.args(["--set", "redis.read_timeout=5s", "--set", "redis.connect_timeout=5s"]);
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    command
}

/// The same command within mounts of its own, after `mount` was run there.
fn within(mount: &str, command: &Command) -> Command {
    let mut inside = Command::new("unshare");
    inside.args(["-rm", "sh", "-c", &format!("{mount} && exec \"$0\" \"$@\"")]);
    inside.arg(command.get_program()).args(command.get_args());
    inside
}

#[test]
fn a_sound_place_is_told_to_be_and_left_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let (code, checks) = examine(&mut with_store(&folder.path().join("store")));
    assert_eq!(code, 0, "{checks:#?}");
    for name in ["machine.memory", "store.folder", "store.room", "store.mutexes"] {
        assert_eq!(of(&checks, name).0, "ok", "{checks:#?}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    let text = succeed(&mut with_store(&folder.path().join("store")));
    assert!(text.lines().last().unwrap().ends_with("0 failures"), "{text}");
    fail(&mut tierce(["doctor", "--set", "tiering=L9"]), 1);
}

#[test]
fn a_file_system_that_is_too_small_or_read_only_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let mount = |options| format!("mount -t tmpfs -o {options} tmpfs {}", folder.path().display());
    let store = folder.path().join("store");
    let (code, checks) = examine(&mut within(&mount("mode=0700,size=2m"), &with_store(&store)));
    let (verdict, said) = of(&checks, "store.room");
    assert_eq!((code, verdict), (1, "fail"), "{checks:#?}");
    assert!(said.contains("2097152 bytes left") && said.contains("--shm-size"), "{said}");
    let (code, checks) = examine(&mut within(&mount("mode=0700,size=32m,ro"), &with_store(&store)));
    let (verdict, said) = of(&checks, "store.folder");
    assert_eq!((code, verdict), (1, "fail"), "{checks:#?}");
    assert!(said.contains("Read-only file system"), "{said}");
    // With room and rights nothing is left to be said.
    let (code, checks) = examine(&mut within(&mount("mode=0700,size=32m"), &with_store(&store)));
    assert_eq!((code, of(&checks, "store.room").0), (0, "ok"), "{checks:#?}");
}

#[test]
fn limits_of_the_process_are_told_before_a_signal_tells_them() {
    let folder = tempfile::tempdir().unwrap();
    let command = with_store(&folder.path().join("store"));
    let (code, checks) = examine(&mut within("ulimit -f 1024", &command));
    let (verdict, said) = of(&checks, "store.room");
    assert_eq!((code, verdict), (1, "fail"), "{checks:#?}");
    assert!(said.contains("RLIMIT_FSIZE"), "{said}");
    let (_, checks) = examine(&mut within("ulimit -n 64", &command));
    assert_eq!(of(&checks, "machine.descriptors").0, "warn");
}

#[test]
fn a_server_that_is_not_there_or_knows_us_not_fails() {
    let mut command = tierce(["doctor", "--set", "tiering=L1L3"]);
    command.args(["--set", "redis.url=unix:///nonexistent/redis.sock"]);
    let (code, checks) = examine(&mut command);
    assert_eq!((code, of(&checks, "redis.reached").0), (1, "fail"));
    let server = Server::start();
    let credentials = ["redis.username=nobody", "redis.password=hunter2"];
    let (code, checks) = examine(&mut with_server(&server, &credentials));
    let (verdict, said) = of(&checks, "redis.reached");
    assert_eq!((code, verdict), (1, "fail"));
    assert!(said.contains("refused our credentials") && !said.contains("hunter2"), "{said}");
}

#[test]
fn each_replica_that_is_to_be_read_is_asked_whether_it_follows() {
    let free_port = || {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port().to_string()
    };
    let (master_port, port) = (free_port(), free_port());
    let master = Server::start_with(&["--port", &master_port]);
    let of_master = format!("127.0.0.1 {master_port}");
    let replica = Server::start_with(&["--port", &port, "--replicaof", &of_master]);
    let begin = std::time::Instant::now();
    while !replica.ask(&["role"]).contains("connected") {
        assert!(begin.elapsed().as_secs() < 30, "the replica does not follow");
    }
    let replicas = format!("redis.replicas=127.0.0.1:{port}");
    let settings = ["redis.replica_reads=true", &replicas];
    let check = format!("redis.replica.127.0.0.1:{port}");
    let (code, checks) = examine(&mut with_server(&master, &settings));
    let (verdict, said) = of(&checks, &check);
    assert_eq!((code, verdict), (0, "ok"), "{checks:#?}");
    assert!(said.contains("follows, "), "{said}");
    replica.ask(&["replicaof", "no", "one"]);
    let (code, checks) = examine(&mut with_server(&master, &settings));
    let (verdict, said) = of(&checks, &check);
    assert_eq!((code, verdict), (0, "warn"), "{checks:#?}");
    assert!(said.contains("no replica with a link to its master"), "{said}");
    drop(replica);
    let (_, checks) = examine(&mut with_server(&master, &settings));
    let (verdict, said) = of(&checks, &check);
    assert!(verdict == "warn" && said.contains("does not answer"), "{said}");
}

#[test]
fn each_right_that_the_user_lacks_is_named_with_what_it_costs() {
    let server = Server::start();
    let (code, checks) = examine(&mut with_server(&server, &[]));
    assert_eq!((code, of(&checks, "redis.commands").0), (0, "ok"), "{checks:#?}");
    assert_eq!(server.ask(&["keys", "*"]).trim(), "", "nothing is left there");
    let user = |rules: &str| {
        let rules: Vec<&str> = rules.split(' ').collect();
        let answer =
            server.ask(&[&["acl", "setuser", "app", "reset", "on", ">word"], &rules[..]].concat());
        assert_eq!(answer.trim(), "OK");
        examine(&mut with_server(&server, &["redis.username=app", "redis.password=word"]))
    };
    let (code, checks) = user("~tierce:* +@all -evalsha -hset -setrange");
    assert_eq!(code, 1);
    assert_eq!(of(&checks, "redis.command.EVALSHA").0, "fail");
    assert!(of(&checks, "redis.command.EVALSHA").1.contains("ACL SETUSER ... +evalsha"));
    assert_eq!(of(&checks, "redis.command.HSET").0, "warn");
    assert!(of(&checks, "redis.command.SETRANGE").1.contains("instead of making stale"));
    assert_eq!(of(&checks, "redis.stream").0, "ok");
    let (code, checks) = user("~tierce:* +@all -client|tracking");
    assert_eq!((code, of(&checks, "redis.stream").0), (1, "fail"));
    assert_eq!(of(&checks, "redis.commands").0, "ok");
    // By pub/sub, then.
    for (rules, expected) in [
        ("", "changes by tierce are told by pub/sub"),
        (" -publish", "see with their next heartbeat"),
        (" -pubsub", "see with their next heartbeat"),
    ] {
        let (code, checks) = user(&format!("~tierce:* &tierce:* +@all -client|tracking{rules}"));
        let (verdict, said) = of(&checks, "redis.stream");
        assert_eq!((code, verdict), (0, "warn"), "{rules}: {checks:#?}");
        assert!(said.contains(expected), "{said}");
    }
    let (code, checks) = user("~tierce:l:* ~tierce:k:* +@all");
    assert_eq!((code, of(&checks, "redis.names").0), (1, "fail"), "{checks:#?}");
    assert!(of(&checks, "redis.names").1.contains("~tierce:*"));
    // All names but those by which hosts agree on a rollout.
    let all_but_one = "~tierce:k:* ~tierce:s:* ~tierce:e:* ~tierce:n:* ~tierce:r:* ~tierce:t:* ~tierce:l:* ~tierce:v:* +@all";
    let (code, checks) = user(all_but_one);
    assert_eq!((code, of(&checks, "redis.names").0), (0, "ok"), "{checks:#?}");
    let (verdict, said) = of(&checks, "redis.rollout_names");
    assert_eq!(verdict, "warn", "{checks:#?}");
    assert!(
        said.contains("rollouts are those of each host") && said.contains("~tierce:o:*"),
        "{said}"
    );
    let (code, checks) = user(&format!("{all_but_one} ~tierce:o:*"));
    assert_eq!((code, of(&checks, "redis.rollout_names").0), (0, "ok"), "{checks:#?}");
    // The rights that the documentation names are enough for all of it.
    let (code, checks) = user(
        "~tierce:* &tierce:* +@connection +@string +@hash +@list +@keyspace +@scripting +@pubsub +info +time +scan",
    );
    assert_eq!((code, of(&checks, "redis.commands").0), (0, "ok"), "{checks:#?}");
}

#[test]
fn a_server_that_is_full_or_has_no_bound_is_told() {
    let server = Server::start();
    assert_eq!(of(&examine(&mut with_server(&server, &[])).1, "redis.memory").0, "warn");
    server.ask(&["config", "set", "maxmemory", "100mb"]);
    let said = examine(&mut with_server(&server, &[])).1;
    assert!(of(&said, "redis.memory").1.contains("noeviction"), "{said:#?}");
    server.ask(&["config", "set", "maxmemory-policy", "allkeys-lfu"]);
    assert_eq!(of(&examine(&mut with_server(&server, &[])).1, "redis.memory").0, "ok");
    server.ask(&["config", "set", "maxmemory-policy", "noeviction"]);
    server.ask(&["config", "set", "maxmemory", "1"]);
    let (code, checks) = examine(&mut with_server(&server, &[]));
    assert_eq!((code, of(&checks, "redis.command.SET").0), (1, "fail"), "{checks:#?}");
}

#[test]
fn a_node_of_a_cluster_that_the_settings_do_not_name_is_told() {
    // A node of a cluster needs two ports; both are held until they are told apart.
    let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, two) = (free(), free());
    let [port, bus] = [&one, &two].map(|it| it.local_addr().unwrap().port().to_string());
    drop((one, two));
    let server =
        Server::start_with(&["--cluster-enabled", "yes", "--port", &port, "--cluster-port", &bus]);
    let (code, checks) = examine(&mut with_server(&server, &[]));
    let (verdict, said) = of(&checks, "redis.place");
    assert_eq!((code, verdict), (1, "fail"), "{checks:#?}");
    assert!(said.contains("set redis.cluster"), "{said}");
    // It serves no slot.
    assert!(of(&checks, "redis.command.SET").1.contains("CLUSTERDOWN"), "{checks:#?}");
}

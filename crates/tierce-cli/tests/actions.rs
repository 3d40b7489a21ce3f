//! `tierce act` and `tierce advise` beside a running cache with a real server.
#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::{sync::Arc, time::Duration};

use tierce::{
    Bytes, Cache, ErrorKind, MemoryOptions, RedisOptions, StoreOptions, Tiering,
    guard::{Guard, ServeOptions, Served},
};

mod support;
use support::{fail, holds, run, server::Server, succeed, tierce};

struct Running {
    cache: Cache,
    _guard: Arc<Guard<Bytes>>,
    served: Served,
}

fn running(cache: Cache) -> Running {
    let guard = Arc::new(Guard::of(&cache).build().unwrap());
    let options = ServeOptions::new().address("127.0.0.1:0").token("word");
    let served = guard.serve(&options).unwrap();
    Running { cache, _guard: guard, served }
}

impl Running {
    fn command(&self, name: &str, words: &[&str]) -> std::process::Command {
        let address = self.served.address().to_string();
        let mut command = tierce([name, "--address", &address]);
        command.args(words).env("TIERCE_TOKEN", "word");
        command
    }
}

fn load(cache: &Cache, key: &str) -> Result<Bytes, ErrorKind> {
    let loaded = cache.get_or_load(key, |_| std::io::Result::Ok(Bytes::from("1")));
    loaded.map_err(|error| error.kind())
}

#[test]
fn an_operator_acts_from_the_command_line_and_undoes_it() {
    let running = running(Cache::builder().build().unwrap());
    let shed = running.command("act", &["shed", "0%", "--answer", "error"]).output().unwrap();
    assert!(shed.status.success(), "{shed:?}");
    assert_eq!(load(&running.cache, "a"), Err(ErrorKind::Busy));
    holds(&succeed(&mut running.command("act", &["status"])), &["\"passes\":0.0"]);
    holds(&succeed(&mut running.command("act", &["block"])), &["\"is_blocked\":true"]);
    assert_eq!(load(&running.cache, "a"), Err(ErrorKind::Denied));
    holds(&succeed(&mut running.command("act", &["lift"])), &["\"passes\":1.0"]);
    assert!(load(&running.cache, "a").is_ok());
    holds(&fail(&mut running.command("act", &["shed", "70"]), 1), &["must be a percentage"]);
    holds(&fail(running.command("act", &["lift"]).env("TIERCE_TOKEN", "other"), 1), &["401"]);
    holds(
        &fail(running.command("act", &["lift"]).env_remove("TIERCE_TOKEN"), 1),
        &["TIERCE_TOKEN"],
    );
}

#[test]
fn connections_are_dropped_and_made_anew_under_load() {
    let server = Server::start();
    let options = RedisOptions::new()
        .unix_path(server.socket())
        .read_timeout(Duration::from_secs(5))
        .write_timeout(Duration::from_secs(5));
    let cache = Cache::builder().tiering(Tiering::L3).redis(options).build().unwrap();
    let running = running(cache);
    let cache = &running.cache;
    cache.set("a", Bytes::from("1")).unwrap();
    let connects = || {
        let info = server.ask(&["info", "stats"]);
        let line = info.lines().find(|line| line.starts_with("total_connections_received:"));
        line.unwrap().split(':').nth(1).unwrap().trim().parse::<u64>().unwrap()
    };
    let before = connects();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    let (failed, read) = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let (mut failed, mut read) = (0, 0);
                    while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                        failed += u32::from(cache.set("b", Bytes::from("2")).is_err());
                        cache.get("a");
                        read += 1;
                    }
                    (failed, read)
                })
            })
            .collect();
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(100));
            holds(&succeed(&mut running.command("act", &["reset"])), &["\"passes\":1.0"]);
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        readers
            .into_iter()
            .map(|reader| reader.join().unwrap())
            .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    assert!(read > 0 && failed == 0, "{failed} of {read} calls failed");
    // The command's own questions come over connections too: one each.
    assert!(connects() >= before + 3, "{} after {before}", connects());
    let until = std::time::Instant::now() + Duration::from_secs(20);
    while cache.get("a").is_none() {
        assert!(std::time::Instant::now() < until, "L3 is not back");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn advice_is_given_of_a_running_cache_and_of_its_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = StoreOptions::new(folder.path().join("s")).max_bytes(2 << 20).max_entries(4000);
    let memory = MemoryOptions::new().max_entries(64);
    let builder = Cache::builder().tiering(Tiering::L1L2).shared(store).memory(memory);
    let running = running(builder.build().unwrap());
    let path = folder.path().join("s");
    let of_store = || run(tierce(["advise", "--store"]).arg(&path));
    let (code, out, err) = of_store();
    assert_eq!((code, out.as_str()), (0, "nothing in the numbers is unwise\n"), "{err}");
    let survey = running.command("advise", &["--survey", "3s"]);
    let told = std::thread::scope(|scope| {
        let asked = scope.spawn(move || {
            let mut survey = survey;
            run(&mut survey)
        });
        let is_begun = || running.cache.survey().is_some();
        let until = std::time::Instant::now() + Duration::from_secs(20);
        while !is_begun() {
            assert!(std::time::Instant::now() < until, "no survey");
            std::thread::yield_now();
        }
        let value = Bytes::from(vec![7; 1000]);
        for number in 0..6000 {
            running.cache.set(format!("org:{number}:x"), value.clone()).unwrap();
            drop(running.cache.get("org:7:hot"));
        }
        asked.join().unwrap()
    });
    assert_eq!(told.0, 1, "{told:?}");
    holds(&told.1, &["evictions_of_shared: L2-Shared evicted", "heavy_prefix: ", "org:7:"]);
    assert!(running.cache.survey().is_none(), "it ends with the command");
    let (code, out, _) = of_store();
    assert_eq!(code, 1);
    holds(&out, &["above 10 %", "or enable L3"]);
    holds(&fail(&mut tierce(["advise"]), 2), &["--address"]);
}

//! A cache with L2 that was built before a fork works in every child, and beside them in the
//! parent, while threads of either are in the midst of calls.
//!
//! As a server that preloads its application: one process opens the cache, four are forked off
//! it and serve. `TIERCE_FORKS` sets how many children are forked in turn (40), `TIERCE_SEED` takes
//! the choices of a run again.
#![cfg(all(feature = "shared", target_os = "linux"))]
// To the lint, functions that tests call are not tests.
#![allow(clippy::unwrap_used, clippy::print_stdout)]
#![allow(unsafe_code)]

mod store_support;

use std::{
    fs, io,
    path::Path,
    process,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use store_support::*;
use tierce::{Bytes, Cache, Medium, MemoryOptions, TierKind, Tiering};

const KEYS: u64 = 200;
/// A child is done after some milliseconds, or hangs.
const PATIENCE: Duration = Duration::from_secs(30);

fn cache((medium, mapped_reads): (Medium, bool)) -> (tempfile::TempDir, Cache) {
    let (folder, options) = small_store(medium);
    let options = options.mapped_reads(mapped_reads);
    // A change that has to wait long for a lock is dropped otherwise, on a busy machine.
    let options = options.lock_wait(Duration::from_secs(1));
    let options = options.max_bytes(2 << 20).segment_bytes(32 << 10);
    let cache = Cache::builder()
        .tiering(Tiering::L1L2)
        .memory(MemoryOptions::new().max_entries(50))
        .shared(options)
        .build()
        .unwrap();
    (folder, cache)
}

/// Calls of every kind; false where a value is wrong or a call fails.
fn calls(cache: &Cache, count: u64, random: &mut fastrand::Rng) -> bool {
    (0..count).all(|_| {
        let number = random.u64(0..KEYS);
        let key = key_of(number);
        let value = describing_value(number, random.u64(..), random.usize(24..3000));
        let is_well = match random.u32(0..6) {
            0 => cache.set(&key, Bytes::from(value)).is_ok(),
            1 => cache.delete(&key).is_ok(),
            2 => cache.get_or_load(&key, |_| io::Result::Ok(Bytes::from(value))).is_ok(),
            _ => true,
        };
        is_well && cache.get(&key).is_none_or(|found| described_version(number, &found).is_some())
    })
}

/// A child that was forked off, and is killed where it was not waited for.
struct Child(libc::pid_t);

impl Child {
    fn fork(work: impl FnOnce() -> bool) -> Self {
        // SAFETY: the child uses the cache and the C library's allocator, which a fork leaves
        // usable, and ends by `_exit`.
        let child = unsafe { libc::fork() };
        assert!(child >= 0, "no fork");
        if child == 0 {
            let is_well = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(if matches!(is_well, Ok(true)) { 0 } else { 9 }) };
        }
        Self(child)
    }

    /// Waits for the end, which must be a good one.
    fn join(self, tale: &str) {
        let begin = Instant::now();
        loop {
            let mut status = 0;
            // SAFETY: waits for the child just made, with memory for its status.
            let ended = unsafe { libc::waitpid(self.0, &raw mut status, libc::WNOHANG) };
            if ended == self.0 {
                std::mem::forget(self);
                assert_eq!(status, 0, "{tale}: status {status:#x}");
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{tale}: hangs");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: ends the child just made, and waits for it.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

#[test]
fn four_workers_forked_off_a_loaded_parent_serve_and_see_each_others_changes() {
    let _alone = traced::alone();
    for form in FORMS {
        let seed = seed();
        let (_folder, cache) = cache(form);
        assert!(calls(&cache, 300, &mut fastrand::Rng::with_seed(seed)));
        cache.set("from the parent", "1".into()).unwrap();
        let workers: Vec<Child> = (1..=4)
            .map(|worker| {
                let cache = &cache;
                Child::fork(move || {
                    let sees = cache.get("from the parent").is_some_and(|found| found == "1");
                    let are_well = thread::scope(|scope| {
                        let run = |thread: u64| {
                            let seed = seed ^ (worker * 10 + thread);
                            scope.spawn(move || {
                                calls(cache, 1000, &mut fastrand::Rng::with_seed(seed))
                            })
                        };
                        let threads = [run(1), run(2), run(3)];
                        threads.into_iter().all(|thread| thread.join().unwrap_or(false))
                    });
                    let key = format!("from worker {worker}");
                    sees && are_well && cache.set(key, "2".into()).is_ok()
                })
            })
            .collect();
        assert!(calls(&cache, 1000, &mut fastrand::Rng::with_seed(seed + 1)));
        for worker in workers {
            worker.join(&format!("seed {seed}, {form:?}"));
        }
        for worker in 1..=4 {
            let found = cache.get(format!("from worker {worker}"));
            assert_eq!(found.as_deref(), Some(&b"2"[..]), "worker {worker}, {form:?}");
        }
        assert_eq!(cache.health().status.as_str(), "healthy");
        assert!(cache.stats().tier(TierKind::Shared).is_some_and(|tier| tier.errors_total() == 0));
    }
}

/// The files below `folder` that a process has open or mapped.
fn files_of(process: u32, folder: &Path) -> Vec<String> {
    let folder = folder.to_str().unwrap();
    let open = fs::read_dir(format!("/proc/{process}/fd")).unwrap().filter_map(|entry| {
        Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned())
    });
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let mapped = maps.lines().map(str::to_owned);
    open.chain(mapped).filter(|file| file.contains(folder)).collect()
}

#[test]
fn a_program_that_is_started_has_nothing_of_the_store() {
    let _alone = traced::alone();
    for medium in MEDIA {
        let (folder, options) = small_store(medium);
        let cache = Cache::builder().tiering(Tiering::L1L2).shared(options.clone());
        let cache = cache.build().unwrap();
        cache.set("k", "v".into()).unwrap();
        // A child forked while the store is in use counts in a slot of its own, by one more file.
        Child::fork(|| {
            cache.get("k").is_some()
                && cache.get("nothing").is_none()
                && !files_of(std::process::id(), folder.path()).is_empty()
                && files_of_program(folder.path()).is_empty()
        })
        .join(&format!("{medium:?}"));
        assert!(!files_of(std::process::id(), folder.path()).is_empty(), "{medium:?}");
        let mut programs: Vec<_> = (0..20).map(|_| start_program()).collect();
        for program in &programs {
            assert_eq!(files_of(program.id(), folder.path()), [""; 0], "{medium:?}");
        }
        // They do not keep the store in use either: who opens it next is alone, and may have
        // another schema.
        drop(cache);
        put(&open(&options.schema(7)), b"k", b"another schema");
        for program in &mut programs {
            program.kill().unwrap();
            program.wait().unwrap();
        }
    }
}

/// A program that runs until it is killed, and has begun: it has closed what closes on exec.
fn start_program() -> process::Child {
    let mut program = process::Command::new("cat");
    program.stdin(process::Stdio::piped()).stdout(process::Stdio::piped()).spawn().unwrap()
}

fn files_of_program(folder: &Path) -> Vec<String> {
    let mut program = start_program();
    let files = files_of(program.id(), folder);
    program.kill().unwrap();
    program.wait().unwrap();
    files
}

#[test]
fn children_forked_amid_calls_of_other_threads_work_and_leave_no_lock() {
    let _alone = traced::alone();
    let forks = std::env::var("TIERCE_FORKS")
        .map_or(40, |text| text.parse::<u64>().expect("TIERCE_FORKS is a number"));
    let seed = seed();
    let (_folder, cache) = cache((Medium::Mapped, false));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 1..=2 {
            let (cache, stop) = (&cache, &stop);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed ^ thread);
                while !stop.load(Ordering::Relaxed) {
                    assert!(calls(cache, 20, &mut random));
                }
            });
        }
        let mut random = fastrand::Rng::with_seed(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for fork in 0..forks {
                let tale = format!("seed {seed}, child {fork}");
                let seed = random.u64(..);
                let cache = &cache;
                let child =
                    Child::fork(move || calls(cache, 100, &mut fastrand::Rng::with_seed(seed)));
                if fork % 4 == 0 {
                    // Killed in the midst: what it held is taken over.
                    thread::sleep(Duration::from_micros(random.u64(0..5000)));
                    drop(child);
                } else {
                    child.join(&tale);
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        run.unwrap();
    });
    let begin = Instant::now();
    for number in 0..KEYS {
        let value = describing_value(number, 0, 100);
        cache.set(key_of(number), value.clone().into()).unwrap();
        assert_eq!(cache.get(key_of(number)).as_deref(), Some(&value[..]), "seed {seed}");
    }
    assert!(begin.elapsed() < PATIENCE, "seed {seed}");
    assert_eq!(cache.health().status.as_str(), "healthy", "seed {seed}");
}

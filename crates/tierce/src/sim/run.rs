//! Many histories, and making a failing one shorter.

use std::{
    env, fs,
    path::PathBuf,
    process,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

use super::{
    SimFailure, SimOptions, SimReport,
    history::{self, Run},
    schedule::{lock, stay_on_one_core},
    script::Script,
    world::Ground,
};

/// Histories that are tried to find a shorter one.
const MOST_TRIES: usize = 400;
/// Orders of events that are tried for each shorter script.
const ORDERS: u64 = 4;

/// Tells runs of one process apart.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// Runs histories until one fails or there were as many as asked for.
///
/// # Panics
/// Where there is no thread or no room for the stores of the simulated hosts.
pub fn run(options: &SimOptions) -> SimReport {
    let begin = Instant::now();
    let folder = Folder::new(options);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = options.workers.unwrap_or(cores).min(options.histories.max(1) as usize);
    let next = AtomicU64::new(0);
    // The lowest that failed: those after it need not run.
    let failed = AtomicU64::new(u64::MAX);
    let report = Mutex::new(SimReport::default());
    thread::scope(|scope| {
        for worker in 0..workers {
            let (folder, next, failed, report) = (&folder, &next, &failed, &report);
            scope.spawn(move || {
                stay_on_one_core(worker);
                let mut ground = folder.ground(worker);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= options.histories || number > failed.load(Ordering::Relaxed) {
                        break;
                    }
                    let seed = options.seed.wrapping_add(number);
                    let script = Script::new(seed, options.callers, options.steps);
                    let run = one(&ground, options, &script, seed, false);
                    let mut report = lock(report);
                    report.histories += 1;
                    report.calls += run.calls;
                    report.steps += run.steps;
                    report.switches += run.switches;
                    // In any order.
                    report.trace = report.trace.wrapping_add(run.trace.wrapping_mul(seed | 1));
                    let hangs = run.hangs;
                    if let Some(what) = run.failure {
                        failed.fetch_min(number, Ordering::Relaxed);
                        if report.failure.as_ref().is_none_or(|other| seed < other.seed) {
                            let list = run.list;
                            let histories = number + 1;
                            report.failure =
                                Some(SimFailure { seed, histories, what, list, shorter: None });
                        }
                        drop(report);
                        if hangs {
                            // Its threads wait for ever.
                            ground = folder.ground(worker + workers);
                        }
                        break;
                    }
                }
                ground.schedule.dismiss();
            });
        }
    });
    let mut report = report.into_inner().unwrap_or_default();
    if let Some(failure) = &mut report.failure
        && options.shortens
    {
        failure.shorter = thread::scope(|scope| {
            let shorten = scope.spawn(|| {
                stay_on_one_core(0);
                shorten(&folder, options, failure.seed, &failure.what)
            });
            shorten.join().ok().flatten()
        });
    }
    report.elapsed = begin.elapsed();
    report
}

fn one(ground: &Ground, options: &SimOptions, script: &Script, seed: u64, is_read: bool) -> Run {
    history::run(ground, script, seed, options.planted, options.loader.clone(), is_read)
}

/// A shorter history that fails too, as a list.
fn shorten(folder: &Folder, options: &SimOptions, seed: u64, what: &str) -> Option<String> {
    let mut number = 1000;
    let mut ground = folder.ground(number);
    let mut script = Script::new(seed, options.callers, options.steps);
    let (mut tries, mut best) = (0, None);
    let rule = |what: &str| what.split(':').next().map(str::to_owned);
    let broken = rule(what);
    let mut fails = |script: &Script| {
        (0..ORDERS).find_map(|order| {
            tries += 1;
            if tries > MOST_TRIES {
                return None;
            }
            // The order of the seed itself first.
            let run = one(&ground, options, script, seed.wrapping_add(order << 48), true);
            if run.hangs {
                number += 1;
                ground = folder.ground(number);
            }
            let what = run.failure.filter(|what| rule(what) == broken)?;
            Some(format!("{what}\n{}", run.list))
        })
    };
    loop {
        let mut is_shorter = false;
        for part in parts(&script) {
            let Some(shorter) = without(&script, part) else { continue };
            if let Some(list) = fails(&shorter) {
                script = shorter;
                best = Some(list);
                is_shorter = true;
                break;
            }
        }
        if !is_shorter {
            break;
        }
    }
    ground.schedule.dismiss();
    best
}

/// Something that a script may do without: a verb, all of a caller, or the end.
#[derive(Clone, Copy)]
enum Part {
    Recovery,
    Caller(usize),
    Mischief(usize),
    Verb(usize, usize),
}

fn parts(script: &Script) -> Vec<Part> {
    let mut parts = vec![Part::Recovery];
    parts.extend((0..script.callers.len()).map(Part::Caller));
    parts.extend((0..script.mischief.len()).map(Part::Mischief));
    for (caller, it) in script.callers.iter().enumerate() {
        parts.extend((0..it.verbs.len()).map(|verb| Part::Verb(caller, verb)));
    }
    parts
}

fn without(script: &Script, part: Part) -> Option<Script> {
    let mut shorter = script.clone();
    match part {
        Part::Recovery if !shorter.settings.recovers => return None,
        Part::Recovery => shorter.settings.recovers = false,
        Part::Caller(caller) if shorter.callers[caller].verbs.is_empty() => return None,
        // Who it was keeps the number.
        Part::Caller(caller) => shorter.callers[caller].verbs.clear(),
        Part::Mischief(verb) => {
            shorter.mischief.remove(verb);
        }
        Part::Verb(caller, verb) => {
            shorter.callers[caller].verbs.remove(verb);
        }
    }
    Some(shorter)
}

/// The folder of a run, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new(options: &SimOptions) -> Self {
        let memory = PathBuf::from("/dev/shm");
        let place = options
            .directory
            .clone()
            .unwrap_or_else(|| if memory.is_dir() { memory } else { env::temp_dir() });
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        Self(place.join(format!("tierce-sim-{}-{run}", process::id())))
    }

    fn ground(&self, number: usize) -> Ground {
        let folder = self.0.join(number.to_string());
        fs::create_dir_all(&folder).expect("a simulation needs a folder for its stores");
        Ground::new(&folder).expect("a simulation needs room for its stores")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        _ = fs::remove_dir_all(&self.0);
    }
}

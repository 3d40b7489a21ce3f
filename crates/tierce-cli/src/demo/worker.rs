//! One worker process: callers that play their share of the trace through a cache, a changer, and
//! probers of what was changed.
//!
//! | thread | does |
//! |---|---|
//! | callers | take the next request of this worker's share, ask, judge the answer, pause |
//! | changer | changes items that are this worker's to change: at the origin, then in the cache |
//! | probers | read each changed item at once, and changed items over and over |
//! | listener | reads what the demo says; where that ends, removes the run's folder and ends all |
//! | main | reports |
//!
//! Every thread that reads takes the item's [floor](super::floors) before it asks and judges what
//! it got. An item is changed by one worker only (its number modulo the workers), so that floors
//! only rise; who reads it is everybody.

use std::{
    fs,
    io::{self, BufRead, Write},
    net::SocketAddr,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use tierce::{
    Answer, BreakerOptions, Bytes, Cache, LoadOptions, MemoryOptions, Origin, RedisOptions,
    StoreOptions, TierKind, Tiering,
};

use super::{
    client::Client,
    floors::{FIRST_VERSION, Floors},
    item::{self, Wrong},
    protocol::{Counted, INTERVAL, Interval, Line, PHASE, STOP, Tally},
    sabotage::Sabotage,
    script::Script,
    story::{BASELINE, CALLERS, THINK_TIME},
};
use crate::output::{Failure, Outcome, Verdict};

/// How often a worker changes an item. With four workers eight a second: enough races with loads
/// of 464 ms in every phase, and few enough that hits still tell of the trace.
const CHANGE_EVERY: Duration = Duration::from_millis(500);
/// Threads that read changed items: after a removal each such read takes the origin's 464 ms.
const PROBERS: usize = 4;
/// The pause between two reads of a prober.
const PROBE_PAUSE: Duration = Duration::from_millis(5);
/// No item is changed past this version: a floor is one byte.
const LAST_VERSION: u8 = 250;
/// Wrong values and errors that are told in words; the rest are only counted.
const MOST_TROUBLES: u64 = 20;

/// L1 of each worker holds this part of the items, L2 that part: so that every tier has work.
const MEMORY_PART: usize = 8;
const SHARED_PART: (usize, usize) = (3, 4);
/// The store file: many times what all the items take.
const STORE_BYTES: u64 = 32 << 20;
/// How long L3 is left alone after failures: short, for the run is.
const BREAKER_PAUSE: Duration = Duration::from_millis(500);

/// Arguments of `demo-worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct WorkerArguments {
    #[arg(long)]
    folder: PathBuf,
    #[arg(long)]
    origin: SocketAddr,
    #[arg(long)]
    tiering: Tiering,
    #[arg(long)]
    redis: Option<PathBuf>,
    #[arg(long)]
    workers: usize,
    #[arg(long)]
    worker: usize,
    #[arg(long)]
    life: u32,
    #[arg(long)]
    phase: usize,
    #[arg(long)]
    position: u64,
    #[arg(long, value_enum)]
    sabotage: Option<Sabotage>,
}

/// The files of a run.
pub(super) fn trace_file(folder: &Path) -> PathBuf {
    folder.join("trace")
}

pub(super) fn floors_file(folder: &Path) -> PathBuf {
    folder.join("floors")
}

/// Counts by phase, filled by one thread and emptied by the reporter.
type Counts = Mutex<Vec<(usize, Counted)>>;

/// What a thread does until it is told to stop.
type Work = Box<dyn FnOnce(&Worker, &Counts) -> io::Result<()> + Send>;

struct Worker {
    cache: Cache,
    script: Script,
    floors: Floors,
    origin: SocketAddr,
    worker: usize,
    workers: usize,
    sabotage: Option<Sabotage>,
    position: AtomicU64,
    phase: AtomicUsize,
    stopped: AtomicBool,
    troubles: Sender<String>,
    troubles_told: AtomicU64,
}

/// What a read came to.
enum Judged {
    Right(Tally),
    Wrong,
    Failed,
}

/// Plays until told to stop.
pub(crate) fn run(arguments: &WorkerArguments, out: &mut impl Write) -> Outcome {
    // Before anything else, so that no worker outlives the demo.
    let (lines, heard) = mpsc::channel();
    let folder = arguments.folder.clone();
    thread::spawn(move || listen(&lines, &folder));
    die_with_the_first_panic();

    let script = Script::read(&trace_file(&arguments.folder))?;
    let cache = open_cache(arguments, script.items())?;
    let opened = Instant::now();
    let (troubles, told) = mpsc::channel();
    let worker = Arc::new(Worker {
        floors: Floors::open(&floors_file(&arguments.folder), script.items())?,
        script,
        cache,
        origin: arguments.origin,
        worker: arguments.worker,
        workers: arguments.workers,
        sabotage: arguments.sabotage,
        position: AtomicU64::new(arguments.position),
        phase: AtomicUsize::new(arguments.phase),
        stopped: AtomicBool::new(false),
        troubles,
        troubles_told: AtomicU64::new(0),
    });
    say(out, &Line::Ready { shared_trouble: trouble_of(&worker.cache, "shared") })?;

    let mut counts: Vec<Arc<Counts>> = Vec::new();
    let mut threads = Vec::new();
    let mut spawn = |work: Work| {
        let count = Arc::new(Counts::default());
        counts.push(Arc::clone(&count));
        let worker = Arc::clone(&worker);
        threads.push(thread::spawn(move || {
            if let Err(error) = work(&worker, &count) {
                worker.count(&count, |tally| tally.errors += 1);
                worker.tell(format!("a thread of worker {} ended: {error}", worker.worker + 1));
            }
        }));
    };
    (0..CALLERS).for_each(|_| spawn(Box::new(Worker::play)));
    let seed = u64::from(arguments.life) << 32 | arguments.worker as u64;
    spawn(Box::new(move |worker, counts| worker.change(counts, seed)));
    for prober in 0..PROBERS {
        spawn(Box::new(move |worker, counts| worker.probe(counts, prober, seed)));
    }

    while worker.obey(&heard) {
        report(out, &worker, &counts, &told, opened)?;
    }
    worker.stopped.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a thread of the worker panicked")?;
    }
    report(out, &worker, &counts, &told, opened)?;
    worker.cache.close();
    say(out, &Line::Ended)?;
    Ok(Verdict::Good)
}

fn open_cache(arguments: &WorkerArguments, items: usize) -> Result<Cache, Failure> {
    let (part, of) = SHARED_PART;
    let mut builder = Cache::builder()
        .service(format!("demo-{}", arguments.worker + 1))
        .tiering(arguments.tiering)
        .breaker(BreakerOptions::new().open_for(BREAKER_PAUSE))
        .memory(MemoryOptions::new().max_entries((items / MEMORY_PART) as u64))
        .shared(
            StoreOptions::new(arguments.folder.join("store"))
                .max_bytes(STORE_BYTES)
                .max_entries((items * part / of) as u64),
        );
    if let Some(socket) = &arguments.redis {
        builder = builder.redis(RedisOptions::new().unix_path(socket));
    }
    Ok(builder.build()?)
}

/// Passes on what the demo says. Where that ends without a stop the demo was killed and cannot
/// clean up: its folder goes, and all threads with this process.
fn listen(lines: &Sender<String>, folder: &Path) {
    for line in io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let stops = line == STOP;
        if lines.send(line).is_err() || stops {
            return;
        }
    }
    // Its siblings do the same at the same time: whoever comes second finds nothing.
    let _ = fs::remove_dir_all(folder);
    process::exit(1);
}

/// A thread that panicked would only be missed at the end; the process ends at once, and the demo
/// counts an error.
fn die_with_the_first_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        process::exit(101);
    }));
}

fn say(out: &mut impl Write, line: &Line) -> Result<(), Failure> {
    writeln!(out, "{}", serde_json::to_string(line)?)?;
    Ok(out.flush()?)
}

/// Waits for the rest of an interval, telling troubles as they come; then reports what was
/// counted in it.
fn report(
    out: &mut impl Write,
    worker: &Worker,
    counts: &[Arc<Counts>],
    told: &Receiver<String>,
    opened: Instant,
) -> Result<(), Failure> {
    let deadline = Instant::now() + INTERVAL;
    let ends = worker.stopped.load(Ordering::Relaxed);
    loop {
        let rest = if ends { Duration::ZERO } else { deadline - Instant::now().min(deadline) };
        match told.recv_timeout(rest) {
            Ok(trouble) => say(out, &Line::Trouble(trouble))?,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
        }
    }
    let mut sums: Vec<(usize, Counted)> = Vec::new();
    for count in counts {
        for (phase, counted) in std::mem::take(&mut *lock(count)) {
            in_phase(&mut sums, phase).add(&counted);
        }
    }
    let parts = sums.iter().map(|(phase, counted)| counted.to_part(*phase)).collect();
    let age_milliseconds = opened.elapsed().as_millis() as u64;
    let redis_trouble = trouble_of(&worker.cache, "redis");
    say(out, &Line::Interval(Interval { age_milliseconds, redis_trouble, parts }))
}

/// What the health document says against a tier.
fn trouble_of(cache: &Cache, kind: &str) -> Option<String> {
    let tiers = cache.health().dependencies;
    tiers.into_iter().find(|tier| tier.stats.kind == kind).and_then(|tier| tier.reason)
}

impl Worker {
    /// Follows what was heard; false once the demo said to stop.
    fn obey(&self, heard: &Receiver<String>) -> bool {
        for line in heard.try_iter() {
            let phase = line.strip_prefix(PHASE).and_then(|number| number.trim().parse().ok());
            if let Some(phase) = phase {
                self.phase.store(phase, Ordering::Relaxed);
            }
            if line == STOP {
                return false;
            }
        }
        true
    }

    fn is_playing(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    /// A caller.
    fn play(&self, counts: &Counts) -> io::Result<()> {
        let mut client = Client::new(self.origin)?;
        while self.is_playing() {
            let phase = self.phase.load(Ordering::Relaxed);
            // Every so manieth request is this worker's.
            let position = self.position.fetch_add(1, Ordering::Relaxed);
            let item = self.script.at(position * self.workers as u64 + self.worker as u64);
            let floor = self.floors.get(item)?;
            let begin = Instant::now();
            let answer = if phase == BASELINE {
                client
                    .fetch(self.script.key(item))
                    .map(|value| (value, Origin::Loaded))
                    .map_err(Into::into)
            } else {
                self.ask(&mut client, item)
            };
            let took = begin.elapsed();
            let judged = self.judge(item, floor, answer);
            let mut counts = lock(counts);
            let counted = in_phase(&mut counts, phase);
            counted.latencies.add(took.as_nanos() as u64);
            counted.tally.requests += 1;
            match judged {
                Judged::Right(tally) => counted.tally.add(&tally),
                Judged::Wrong => counted.tally.wrong += 1,
                Judged::Failed => counted.tally.errors += 1,
            }
            drop(counts);
            thread::sleep(THINK_TIME);
        }
        Ok(())
    }

    /// The changer.
    fn change(&self, counts: &Counts, seed: u64) -> io::Result<()> {
        let mut client = Client::new(self.origin)?;
        let mut random = fastrand::Rng::with_seed(seed);
        let mine = |item: u32| item as usize % self.workers == self.worker;
        // The first to change is the item asked for most, and by removal: the hardest case.
        let mut next = self.script.favourite(mine);
        let mut removes = true;
        while self.is_playing() {
            thread::sleep(CHANGE_EVERY);
            let item = match next.take() {
                Some(item) => item,
                None => self.script.at(random.u64(..)),
            };
            if !mine(item)
                || self.floors.get(item)? >= LAST_VERSION
                || self.phase.load(Ordering::Relaxed) == BASELINE
            {
                continue;
            }
            let outcome = self.change_item(&mut client, item, removes);
            match outcome {
                Ok(()) if removes => self.count(counts, |tally| tally.deletes += 1),
                Ok(()) => self.count(counts, |tally| tally.sets += 1),
                Err(error) => {
                    self.count(counts, |tally| tally.errors += 1);
                    self.tell(format!("item {item} could not be changed: {error}"));
                }
            }
            removes = !removes;
        }
        Ok(())
    }

    /// Changes an item at the origin, then in the cache, and only then declares the old version
    /// out of force.
    fn change_item(&self, client: &mut Client, item: u32, removes: bool) -> Result<(), Failure> {
        let key = self.script.key(item);
        let value = client.change(key)?;
        let version = item::check(key, &value).map_err(|wrong| wrong.to_string())?;
        if self.sabotage != Some(Sabotage::SkipChange) {
            if removes {
                self.cache.delete(name(key))?;
            } else {
                self.cache.set(name(key), value)?;
            }
        }
        Ok(self.floors.raise(item, version)?)
    }

    /// A prober: of the items whose number it is responsible for.
    fn probe(&self, counts: &Counts, prober: usize, seed: u64) -> io::Result<()> {
        let mut client = Client::new(self.origin)?;
        let mut random = fastrand::Rng::with_seed(seed + prober as u64);
        let mut known = self.floors.all()?;
        while self.is_playing() {
            thread::sleep(PROBE_PAUSE);
            if self.phase.load(Ordering::Relaxed) == BASELINE {
                continue;
            }
            let now = self.floors.all()?;
            let mine = || (prober..now.len()).step_by(PROBERS);
            let mut picked: Vec<usize> = mine().filter(|at| now[*at] != known[*at]).collect();
            if picked.is_empty() {
                let changed: Vec<usize> = mine().filter(|at| now[*at] > FIRST_VERSION).collect();
                picked.extend(random.choice(changed));
            }
            for item in picked.into_iter().map(|at| at as u32) {
                let floor = self.floors.get(item)?;
                let answer = self.ask(&mut client, item);
                let judged = self.judge(item, floor, answer);
                self.count(counts, |tally| {
                    tally.probes += 1;
                    match judged {
                        Judged::Right(_) => {}
                        Judged::Wrong => tally.wrong += 1,
                        Judged::Failed => tally.errors += 1,
                    }
                });
            }
            known = now;
        }
        Ok(())
    }

    fn ask(&self, client: &mut Client, item: u32) -> Result<(Bytes, Origin), Failure> {
        let key = self.script.key(item);
        let load = |_: &[u8]| client.fetch(key);
        let Answer { value, origin, .. } =
            self.cache.get_or_load_with(name(key), &LoadOptions::new(), load)?;
        Ok((value, origin))
    }

    /// Compares what was read with what it must be.
    fn judge(&self, item: u32, floor: u8, answer: Result<(Bytes, Origin), Failure>) -> Judged {
        let (value, origin) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                self.tell(format!("item {item} could not be read: {error}"));
                return Judged::Failed;
            }
        };
        let wrong = match item::check(self.script.key(item), &value) {
            Ok(version) if version < floor => Wrong::Old { version, floor },
            Ok(_) => return Judged::Right(tally_of(origin)),
            Err(wrong) => wrong,
        };
        self.tell(format!("item {item} from {origin:?}: {wrong}"));
        Judged::Wrong
    }

    fn count(&self, counts: &Counts, step: impl FnOnce(&mut Tally)) {
        let phase = self.phase.load(Ordering::Relaxed);
        step(&mut in_phase(&mut lock(counts), phase).tally);
    }

    fn tell(&self, trouble: String) {
        if self.troubles_told.fetch_add(1, Ordering::Relaxed) < MOST_TROUBLES {
            // An error means that the worker ends, and the trouble was counted.
            let _ = self.troubles.send(format!("worker {}: {trouble}", self.worker + 1));
        }
    }
}

fn tally_of(origin: Origin) -> Tally {
    let mut tally = Tally::default();
    match origin {
        Origin::Tier(TierKind::Memory) => tally.memory = 1,
        Origin::Tier(TierKind::Shared) => tally.shared = 1,
        Origin::Tier(TierKind::Redis) => tally.redis = 1,
        Origin::Loaded => tally.loaded = 1,
        Origin::Joined => tally.joined = 1,
    }
    tally
}

/// An item's key in the cache.
fn name(key: u64) -> String {
    format!("item:{key}")
}

fn in_phase(counts: &mut Vec<(usize, Counted)>, phase: usize) -> &mut Counted {
    let at = counts.iter().position(|(of, _)| *of == phase).unwrap_or_else(|| {
        counts.push((phase, Counted::new()));
        counts.len() - 1
    });
    &mut counts[at].1
}

/// Counting cannot leave a count half way, and a panic ends the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

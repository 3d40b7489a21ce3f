//! The run: what happens in which order, and for how long.
//!
//! ```text
//!   without cache | warm-up | steady | kill one | kill another | Redis gone | Redis back
//!       10 %          26 %     14 %      12 %         12 %           13 %         13 %
//! ```
//! Everything the run makes lies in one folder and hangs on values of [`play`]'s stack: however it
//! ends (an error, a panic, Ctrl-C), the processes are killed first, then the folder goes.

use std::{
    env,
    path::PathBuf,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tierce::Tiering;

use super::{
    book::Book,
    crew::{Crew, PATIENCE},
    floors::Floors,
    origin::Origin,
    redis_server::RedisServer,
    sabotage::Sabotage,
    screen::Screen,
    script::Script,
    worker::{floors_file, trace_file},
};
use crate::output::Failure;

/// Worker processes.
pub(super) const WORKERS: usize = 4;
/// Callers in each: threads, of which most wait for the origin in the beginning.
pub(super) const CALLERS: usize = 32;
/// What a caller does between two requests: keeps two processors from being the subject.
pub(super) const THINK_TIME: Duration = Duration::from_millis(4);
/// The first phase, in which callers go straight to the origin.
pub(super) const BASELINE: usize = 0;
/// The first phase with the cache.
pub(super) const WARM_UP: usize = 1;
/// The phase that shows the cache at its ordinary work.
pub(super) const STEADY: usize = 2;
/// The workers to be killed: neither the first nor the last.
const FIRST_VICTIM: usize = 1;
const SECOND_VICTIM: usize = 2;

/// A part of the run.
pub(super) struct Phase {
    pub(super) name: &'static str,
    /// Parts of a hundred of the run.
    share: u32,
    needs_redis: bool,
    begin: Event,
}

/// What a phase begins with.
#[derive(Clone, Copy)]
enum Event {
    Nothing,
    CacheOn,
    Kill(usize),
    StopRedis,
    StartRedis,
}

const PHASES: [Phase; 7] = [
    Phase { name: "without cache", share: 10, needs_redis: false, begin: Event::Nothing },
    Phase { name: "warm-up", share: 26, needs_redis: false, begin: Event::CacheOn },
    Phase { name: "steady", share: 14, needs_redis: false, begin: Event::Nothing },
    Phase { name: "one killed", share: 12, needs_redis: false, begin: Event::Kill(FIRST_VICTIM) },
    Phase {
        name: "another killed",
        share: 12,
        needs_redis: false,
        begin: Event::Kill(SECOND_VICTIM),
    },
    Phase { name: "Redis gone", share: 13, needs_redis: true, begin: Event::StopRedis },
    Phase { name: "Redis back", share: 13, needs_redis: true, begin: Event::StartRedis },
];

/// How often the demo looks up from listening.
const GLANCE: Duration = Duration::from_millis(50);

/// What a run was asked to be.
pub(super) struct Plan {
    pub(super) length: Duration,
    pub(super) with_redis: bool,
    pub(super) sabotage: Option<Sabotage>,
}

/// What a run came to.
pub(super) struct Ending {
    pub(super) book: Book,
    pub(super) phases: Vec<Phase>,
    pub(super) tiering: Tiering,
    pub(super) rounds: f64,
    pub(super) script: Script,
    /// Reads that the origin was asked for: without the cache, and since.
    pub(super) origin_reads: (u64, u64),
    pub(super) took: Duration,
}

/// Plays all phases.
pub(super) fn play(plan: &Plan, screen: &mut Screen) -> Result<Ending, Failure> {
    let begin = Instant::now();
    let folder = make_folder()?;
    Script::unpack(&trace_file(folder.path()))?;
    let script = Script::read(&trace_file(folder.path()))?;
    Floors::create(&floors_file(folder.path()), script.items())?;
    let origin = Origin::start(plan.sabotage == Some(Sabotage::OriginLies))?;
    let mut redis = if plan.with_redis { start_redis(&folder, screen) } else { None };
    let tiering = if redis.is_some() { Tiering::L1L2L3 } else { Tiering::L1L2 };
    let phases: Vec<Phase> =
        PHASES.into_iter().filter(|phase| redis.is_some() || !phase.needs_redis).collect();
    let shares: u32 = phases.iter().map(|phase| phase.share).sum();

    let mut arguments = vec![
        format!("--folder={}", folder.path().display()),
        format!("--origin={}", origin.address()),
        format!("--tiering={tiering}"),
        format!("--workers={WORKERS}"),
    ];
    arguments.extend(redis.as_ref().map(|it| format!("--redis={}", it.socket().display())));
    arguments.extend(plan.sabotage.map(|it| format!("--sabotage={it}")));
    let mut crew = Crew::start(WORKERS, arguments)?;
    let mut book = Book::new(WORKERS, phases.len());
    listen(&crew, &mut book, &origin, Book::all_ready)?;

    let mut reads_without_cache = 0;
    for (number, phase) in phases.iter().enumerate() {
        let phase_began = Instant::now();
        let end = phase_began + plan.length * phase.share / shares;
        crew.tell_phase(number);
        match phase.begin {
            Event::Nothing => screen.headline(&match number {
                BASELINE => format!(
                    "{WORKERS} workers of {CALLERS} callers each play {} straight at the origin",
                    super::script::TRACE_NAME
                ),
                _ => "the cache at its ordinary work".into(),
            }),
            Event::CacheOn => {
                reads_without_cache = origin.reads();
                book.begin_cold();
                screen.headline(&format!("the same through a cold {tiering} cache"));
            }
            Event::Kill(victim) => {
                let killed = Instant::now();
                crew.replace(victim, book.played(victim))?;
                book.replaced(victim, crew.life(victim), killed);
                let number = victim + 1;
                screen.headline(&format!("SIGKILL to worker {number}; a new one takes its place"));
            }
            Event::StopRedis => {
                redis.iter_mut().for_each(RedisServer::stop);
                book.redis_stopped = Some((Instant::now(), book.workers_without_redis()));
                screen.headline("Redis is killed");
            }
            Event::StartRedis => {
                redis.as_mut().map_or(Ok(()), RedisServer::start)?;
                book.redis_started = Some(Instant::now());
                screen.headline("Redis is started again, empty");
            }
        }
        while Instant::now() < end {
            glance(&crew, &mut book, &origin, end)?;
            screen.status(phase.name, &mut book);
        }
        book.phases[number].1 = phase_began.elapsed();
    }
    let origin_reads = (reads_without_cache, origin.reads() - reads_without_cache);
    crew.stop();
    listen(&crew, &mut book, &origin, Book::all_ended)?;
    drop(crew);
    drop(redis);
    folder.close()?;
    screen.clear();
    let played: u64 = (0..WORKERS).map(|worker| book.played(worker)).sum();
    let rounds = played as f64 / script.len() as f64;
    Ok(Ending { book, phases, tiering, rounds, script, origin_reads, took: begin.elapsed() })
}

/// Listens until the book says that it is enough.
fn listen(
    crew: &Crew,
    book: &mut Book,
    origin: &Origin,
    is_enough: impl Fn(&Book) -> bool,
) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while !is_enough(book) {
        glance(crew, book, origin, deadline)?;
        if Instant::now() > deadline {
            return Err(format!("the workers did not answer within {PATIENCE:?}").into());
        }
    }
    Ok(())
}

/// Writes down what is heard in the next moment.
fn glance(crew: &Crew, book: &mut Book, origin: &Origin, end: Instant) -> Result<(), Failure> {
    let until = end.min(Instant::now() + GLANCE);
    while let Some(heard) = crew.hear(until) {
        book.write(heard)?;
    }
    if origin.interrupted() {
        return Err("interrupted".into());
    }
    Ok(())
}

/// The folder of the run: in memory where there is room, as an L2 wants it.
fn make_folder() -> Result<TempDir, Failure> {
    let memory = PathBuf::from("/dev/shm");
    let has_room = rustix::fs::statvfs(&memory)
        .is_ok_and(|it| it.f_bavail.saturating_mul(it.f_frsize) > ROOM_BYTES);
    let prefix = format!("tierce-demo-{}-", std::process::id());
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(&prefix);
    if has_room && let Ok(folder) = builder.tempdir_in(&memory) {
        return Ok(folder);
    }
    Ok(builder.tempdir_in(env::temp_dir())?)
}

/// Twice what the store file takes.
const ROOM_BYTES: u64 = 64 << 20;

fn start_redis(folder: &TempDir, screen: &mut Screen) -> Option<RedisServer> {
    let Some(mut redis) = RedisServer::find(folder.path()) else {
        screen.headline("no redis-server is installed: L1 and L2 only");
        return None;
    };
    match redis.start() {
        Ok(()) => Some(redis),
        Err(error) => {
            screen.headline(&format!("L1 and L2 only: {error}"));
            None
        }
    }
}

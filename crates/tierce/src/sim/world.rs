//! What a history happens in: two hosts with a store each, three processes, the server, the links
//! between them, the source of truth, and the clock.
//!
//! ```text
//!   host 0                        host 1
//!   process 0   process 1         process 2        L1, and all the rest of a cache
//!        \       /                    |
//!         store 0                  store 1         real files, used by one history after the other
//!             \________   ____________/
//!                      \ /
//!                     server  ─ ─ ─ changes ─ ─ ─> who listens on each host
//! ```

use std::{
    path::Path,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{
    Fault, LoaderUnderTest, listen,
    remote::SimulatedRemote,
    schedule::{At, Pace, Schedule, lock, me},
    script::{Behind, HOSTS, Settings, Stale, host_of},
    server::Server,
    tale::Tale,
    verb::DELIMITER,
};
use crate::{
    BreakerOptions, Builder, Bytes, Cache, Freshness, MemoryOptions, RedisOptions, Result,
    StoreOptions, Tiering, WritePolicy,
    tier::{
        ChangeListener, SharedTier,
        injected::{self, Injected},
    },
};

/// How long the processes wait, in milliseconds.
pub(super) const READ_TIMEOUT: u64 = 50;
pub(super) const WRITE_TIMEOUT: u64 = 100;
pub(super) const HEARTBEAT: u64 = 500;
pub(super) const BOUND: u64 = 1500;
pub(super) const LOAD_WAIT: u64 = 2000;
const LEASE: u64 = 1000;
/// Longer than the server is silent as a rule, and no longer than a call may be.
const FLUSH_TIMEOUT: u64 = 500;
const BREAKER_OPEN: u64 = 400;

/// Actors that a history may have: callers, one who makes mischief, and who listens.
pub(super) const CALLERS: usize = 6;
pub(super) const MISCHIEF: usize = CALLERS + 1;
pub(super) const LISTENERS: usize = 7;
pub(super) const ACTORS: usize = MISCHIEF + LISTENERS;
/// Background threads of all caches together; a cache that finds none has its caller do the work.
const WORKERS: usize = 5;

/// The link of a host to the server.
#[derive(Clone, Copy, Default)]
pub(super) struct Link {
    /// Until then nothing gets through.
    pub(super) down_until: u64,
    /// Those who try meanwhile hear of it at once, or wait until their deadline.
    pub(super) refuses: bool,
}

/// A process as it is now: started anew it is another one.
#[derive(Clone)]
pub(super) struct Process {
    pub(super) number: usize,
    pub(super) host: usize,
    pub(super) cache: Cache<Bytes>,
    injected: Injected,
    pub(super) remote: Arc<SimulatedRemote>,
    /// One at a time, so that it is known which tiering came last.
    pub(super) is_retiering: Arc<AtomicBool>,
}

/// A world and the history that it is at.
pub(super) struct World {
    pub(super) schedule: Arc<Schedule>,
    stores: Vec<Arc<SharedTier>>,
    pub(super) planted: u32,
    pub(super) server: Mutex<Server>,
    pub(super) links: Mutex<[Link; HOSTS]>,
    /// Until when those who listen stand still.
    stalls: Mutex<[u64; HOSTS]>,
    pub(super) tale: Mutex<Tale>,
    pub(super) settings: Settings,
    processes: Mutex<Vec<Process>>,
    /// How many processes there were.
    born: Mutex<usize>,
    /// Who listens: the number of the process, and its host.
    listeners: Mutex<Vec<(usize, usize)>>,
    is_over: AtomicBool,
    is_well: AtomicBool,
    /// Processes for which nobody listens any more.
    stopped: Mutex<Vec<usize>>,
    pub(super) loader: Option<LoaderUnderTest>,
}

/// What lasts from history to history: threads, stores and the clock.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) schedule: Arc<Schedule>,
    stores: Vec<Arc<SharedTier>>,
}

impl Ground {
    /// With stores in this directory.
    pub(super) fn new(directory: &Path) -> Result<Self> {
        let schedule = Schedule::new(ACTORS, WORKERS);
        // As an actor, so that the stores are the same each time.
        schedule.begin(0, Pace { switches: 0, advances: 0 }, 0);
        let stores = super::script::SLOTS.iter().map(|host| {
            let options = StoreOptions::new(directory.join(format!("host-{host}")))
                .max_bytes(8 << 20)
                .max_entries(4096)
                .load_lease(Duration::from_millis(LEASE));
            SharedTier::open(&options, schedule.clock()).map(Arc::new)
        });
        let stores = stores.collect::<Result<Vec<_>>>();
        schedule.end();
        Ok(Self { schedule, stores: stores? })
    }

    /// A new history with these processes.
    pub(super) fn world(
        &self,
        settings: &Settings,
        planted: u32,
        loader: Option<LoaderUnderTest>,
    ) -> Result<Arc<World>> {
        let mut server = Server::new();
        server.slowness = settings.slowness;
        server.prompt = settings.prompt;
        server.tells_of_absent = planted & Fault::AbsentUntold.bit() == 0;
        let world = Arc::new(World {
            schedule: Arc::clone(&self.schedule),
            stores: self.stores.clone(),
            planted,
            server: Mutex::new(server),
            links: Mutex::default(),
            stalls: Mutex::default(),
            tale: Mutex::default(),
            settings: settings.clone(),
            processes: Mutex::default(),
            born: Mutex::new(0),
            listeners: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_well: AtomicBool::new(false),
            stopped: Mutex::default(),
            loader,
        });
        for store in &self.stores {
            store.forget_all();
        }
        for (slot, tiering) in settings.tierings.iter().enumerate() {
            let process = world.start(slot, *tiering)?;
            lock(&world.processes).push(process);
        }
        Ok(world)
    }
}

impl World {
    /// The process of this slot.
    pub(super) fn process(&self, slot: usize) -> Process {
        lock(&self.processes)[slot].clone()
    }

    /// Puts a new process in a slot; the one before goes on with what it is at.
    pub(super) fn restart(self: &Arc<Self>, slot: usize, tiering: Tiering) -> Result<Process> {
        let process = self.start(slot, tiering)?;
        Ok(std::mem::replace(&mut lock(&self.processes)[slot], process))
    }

    /// Retiers a process, which may open what it had not.
    pub(super) fn retier(&self, process: &Process, tiering: Tiering) -> Result<()> {
        injected::with(process.injected.clone(), || process.cache.retier(tiering))
    }

    pub(super) fn now(&self) -> At {
        self.schedule.now()
    }

    /// Makes the calling actor sleep for so long.
    pub(super) fn sleep(&self, millis: u64) {
        self.schedule.sleep_until(me(), self.now().millis + millis);
    }

    pub(super) fn sleep_until(&self, millis: u64) {
        self.schedule.sleep_until(me(), millis);
    }

    /// Asks the server something, now.
    pub(super) fn at_server<R>(
        &self,
        ask: impl FnOnce(&mut Server, At, &mut super::draws::Draws) -> R,
    ) -> R {
        let now = self.schedule.moment();
        let mut server = lock(&self.server);
        while let Some((at, change)) = server.next_buffered(now) {
            let at = self.schedule.at(at);
            self.schedule.draw(|draws| _ = server.apply(change, at, draws));
        }
        let (answer, arrivals) = self.schedule.draw(|draws| {
            server.catch_up(now, draws);
            if draws.chance(600) {
                server.end_turn(now, draws);
            }
            let answer = ask(&mut server, now, draws);
            if !self.settings.turns || draws.chance(800) {
                server.end_turn(now, draws);
            }
            (answer, server.arrivals().collect::<Vec<_>>())
        });
        drop(server);
        for (listener, at) in arrivals {
            if let Some(actor) = self.actor_of(listener) {
                self.schedule.wake_by(actor, at);
            }
        }
        answer
    }

    /// Notes something of a process for who reads the history.
    pub(super) fn note(&self, number: usize, note: impl FnOnce() -> String) {
        let at = self.now();
        lock(&self.tale).note(at, || format!("process {number} {}", note()));
    }

    /// Has the changes that the server is told be told to a process.
    pub(super) fn listen(
        self: &Arc<Self>,
        number: usize,
        host: usize,
        listener: Weak<dyn ChangeListener>,
    ) {
        let mut listeners = lock(&self.listeners);
        let is_known = listeners.iter().any(|(known, _)| *known == number);
        if is_known || listeners.len() >= LISTENERS {
            return;
        }
        listeners.push((number, host));
        let actor = MISCHIEF + listeners.len();
        let world = Arc::clone(self);
        let job = Box::new(move || listen::run(&world, number, host, &listener));
        self.schedule.start(actor, true, self.planted, job);
    }

    /// Ends who listens for a process, and waits for that.
    pub(super) fn stop_listening(&self, number: usize) {
        let Some(actor) = self.actor_of(number) else { return };
        lock(&self.stopped).push(number);
        self.schedule.wake_by(actor, 0);
        self.schedule.wait_for(actor);
    }

    /// True where who listens for a process is to end.
    pub(super) fn is_stopped(&self, number: usize) -> bool {
        self.is_over.load(Ordering::Relaxed) || lock(&self.stopped).contains(&number)
    }

    /// Ends those who listen, for the judge.
    pub(super) fn end_listening(&self) {
        self.is_over.store(true, Ordering::Relaxed);
        let count = lock(&self.listeners).len();
        for actor in MISCHIEF + 1..=MISCHIEF + count {
            self.schedule.wake_by(actor, 0);
        }
        for actor in MISCHIEF + 1..=MISCHIEF + count {
            self.schedule.wait_for(actor);
        }
    }

    /// Has those of a host who listen stand still from their next step on.
    pub(super) fn stall(&self, host: usize, millis: u64) {
        lock(&self.stalls)[host] = self.now().millis + millis;
    }

    /// Until when those who listen on a host stand still.
    pub(super) fn stalled_until(&self, host: usize) -> u64 {
        lock(&self.stalls)[host]
    }

    /// Nothing gets through between this host and the server for so long.
    pub(super) fn cut_link(&self, host: usize, millis: u64, refuses: bool) {
        let down_until = self.now().millis + millis;
        lock(&self.links)[host] = Link { down_until, refuses };
        let listeners = lock(&self.listeners).clone();
        for (number, _) in listeners.into_iter().filter(|(_, at)| *at == host) {
            self.at_server(|server, now, draws| server.cut(number, now, !refuses, draws));
        }
    }

    /// From now on nothing fails, and no thread stands still.
    pub(super) fn heal(&self) {
        *lock(&self.links) = Default::default();
        *lock(&self.stalls) = Default::default();
        self.is_well.store(true, Ordering::Relaxed);
        self.schedule.keep_time();
    }

    /// Calls of the server that fail now, of a thousand.
    pub(super) fn faults(&self) -> u32 {
        if self.is_well.load(Ordering::Relaxed) { 0 } else { self.settings.faults }
    }

    /// Longest delay of the way between a listener and the server. Once all is well none takes so long
    /// that a listener gives up.
    pub(super) fn slowness(&self) -> u64 {
        let most = if self.is_well.load(Ordering::Relaxed) { HEARTBEAT / 8 } else { u64::MAX };
        self.settings.slowness.min(most)
    }

    /// Whether a process can be heard by another one's listener.
    pub(super) fn may_restart(&self) -> bool {
        *lock(&self.born) < LISTENERS
    }

    /// Forgets the processes, so that their caches are dropped by the caller.
    pub(super) fn forget_processes(&self) {
        let processes = std::mem::take(&mut *lock(&self.processes));
        drop(processes);
    }

    fn actor_of(&self, listener: usize) -> Option<usize> {
        let place = lock(&self.listeners).iter().position(|(number, _)| *number == listener)?;
        Some(MISCHIEF + 1 + place)
    }

    fn start(self: &Arc<Self>, slot: usize, tiering: Tiering) -> Result<Process> {
        let number = {
            let mut born = lock(&self.born);
            *born += 1;
            *born - 1
        };
        let host = host_of(slot);
        let remote = Arc::new(SimulatedRemote::new(self, number, host));
        let injected =
            Injected { shared: Arc::clone(&self.stores[slot]), redis: Arc::clone(&remote) as _ };
        let builder = self.builder(slot, tiering);
        let cache = injected::with(injected.clone(), || builder.build())?;
        lock(&self.tale).born(number, host, tiering, self.now());
        Ok(Process { number, host, cache, injected, remote, is_retiering: Arc::default() })
    }

    fn builder(&self, slot: usize, tiering: Tiering) -> Builder {
        let span = Duration::from_millis;
        let redis = RedisOptions::new()
            .read_timeout(span(READ_TIMEOUT))
            .write_timeout(span(WRITE_TIMEOUT))
            .heartbeat(span(HEARTBEAT))
            .staleness_bound(span(BOUND));
        let redis = match self.settings.behind {
            Some(Behind { slots, delay }) if slots[slot] => redis
                .write(WritePolicy::Behind)
                .write_delay(span(delay))
                .flush_timeout(span(FLUSH_TIMEOUT)),
            _ => redis,
        };
        let breaker = BreakerOptions::new()
            .min_calls(4)
            .consecutive_failures(3)
            .window(Duration::from_secs(1))
            .open_for(span(BREAKER_OPEN))
            .probes(1)
            .jitter(0.0);
        let memory = MemoryOptions::new().shards(1).max_entries(self.settings.memory_entries);
        let builder = Cache::builder();
        let builder = match self.settings.has_prefixes {
            true => builder.prefix_delimiter(DELIMITER),
            false => builder,
        };
        let builder = match self.settings.stale {
            Some(stale) => builder.freshness(freshness(stale)),
            None => builder,
        };
        builder
            .tiering(tiering)
            .memory(memory)
            .redis(redis)
            .breaker(breaker)
            .load_wait(span(LOAD_WAIT))
            .clock(self.schedule.clock())
    }
}

/// What holds for values that may be stale.
fn freshness(stale: Stale) -> Freshness {
    let span = Duration::from_millis;
    let mut freshness = Freshness::new()
        .ttl(span(stale.ttl))
        .stale_if_error(span(stale.if_error))
        .stale_while_revalidate(span(stale.while_revalidate))
        .negative_ttl(span(stale.negative));
    if let Some(soft) = stale.soft {
        freshness = freshness.soft_timeout(span(soft));
    }
    if let Some(hard) = stale.hard {
        freshness = freshness.hard_timeout(span(hard));
    }
    if let Some(first) = stale.backoff {
        freshness = freshness.failure_backoff(span(first), span(4 * first));
    }
    freshness
}
